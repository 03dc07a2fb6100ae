// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Two things at once: a thread beside a test.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{ensure, Result};

use super::case::{Ctx, PATIENCE};

/// A thread that runs beside a test: told to stop, it is waited for and its result given.
pub struct Beside<T> {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: JoinHandle<Result<T>>,
}

impl<T: Send + 'static> Beside<T> {
    /// Runs `round` over and over on `state`, which is the result in the end.
    pub fn start<S>(
        state: impl FnOnce() -> Result<S> + Send + 'static,
        mut round: impl FnMut(&mut S, u64) -> Result<()> + Send + 'static,
        result: impl FnOnce(S) -> T + Send + 'static,
    ) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (seen_stop, count) = (stop.clone(), rounds.clone());
        let thread = std::thread::spawn(move || {
            let mut state = state()?;
            while !seen_stop.load(Ordering::Relaxed) {
                round(&mut state, count.fetch_add(1, Ordering::Relaxed))?;
            }
            Ok(result(state))
        });
        Self { stop, rounds, thread }
    }

    /// Does `work` `times` times, and on until the thread has done `least` rounds of its own meanwhile: a busy machine may
    /// let the two wait for each other. Then ends the thread and gives its result.
    pub fn during(self, ctx: &Ctx, times: u64, least: u64, mut work: impl FnMut(u64) -> Result<()>) -> Result<T> {
        let start = Instant::now();
        let mut n = 0;
        let mut done = Ok(());
        while done.is_ok() && !self.thread.is_finished() {
            if n >= times && (self.rounds.load(Ordering::Relaxed) >= least || start.elapsed() > PATIENCE) {
                break;
            }
            done = work(n);
            n += 1;
        }
        self.stop.store(true, Ordering::Relaxed);
        let result = self.thread.join().map_err(|_| anyhow::anyhow!("the thread beside panicked"))??;
        done?;
        let rounds = self.rounds.load(Ordering::Relaxed);
        ctx.note(format_args!("{rounds} rounds beside {n} of the test"));
        ensure!(rounds >= least, "expected {least} rounds beside the test, seen {rounds} in {:?}", start.elapsed());
        Ok(result)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn counts(least: u64, fails_at: u64) -> Result<u64> {
        let round = move |state: &mut u64, n| {
            ensure!(n < fails_at, "round {n} failed");
            *state += 1;
            Ok(())
        };
        let beside = Beside::start(|| Ok(0), round, |state| state);
        beside.during(&Ctx::new("x", 0), 3, least, |_| {
            std::thread::yield_now();
            Ok(())
        })
    }

    #[test]
    fn test_goes_on_until_the_thread_has_done_its_rounds() {
        assert!(counts(5000, u64::MAX).unwrap() >= 5000);
    }

    #[test]
    fn failure_of_the_thread_is_the_result() {
        assert_eq!(counts(5000, 70).unwrap_err().to_string(), "round 70 failed");
    }

    #[test]
    fn failure_of_the_test_ends_the_thread() {
        let beside = Beside::start(|| Ok(()), |(), _| Ok(()), |()| ());
        assert!(beside.during(&Ctx::new("x", 0), 3, 0, |_| anyhow::bail!("no")).is_err());
    }
}
