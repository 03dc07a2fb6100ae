// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Pages that one side writes while the other one reads, both without a pause: numbers that only rise.
//!
//! Whoever reads knows what was written before it asked and what was begun before it got its answer: what it sees lies
//! between the two, or a store was lost, or an old page was read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{anyhow, ensure, Context, Result};

use super::PAGE;
use crate::drm::{Mapping, Words, HUGE};

/// Pages that are written, each in another part of a huge page.
pub const SPOTS: usize = 16;
const APART: usize = HUGE / SPOTS;
/// Between two rounds over all pages: others want a CPU, too.
const PAUSE: Duration = Duration::from_micros(500);

/// The pages and their two threads.
pub struct Live {
    /// Of the CPU's numbers.
    pub cpu: Words,
    /// Of the GPU's.
    pub gpu: Words,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<u64>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// What the CPU has written everywhere.
    written: AtomicU64,
    /// What the GPU was asked to write to each page, and what it has written.
    asked: [AtomicU64; SPOTS],
    done: [AtomicU64; SPOTS],
}

impl Live {
    /// Starts the threads.
    pub fn start() -> Result<Self> {
        let words = || -> Result<Words> { Ok(Words::of(Mapping::transparent(HUGE)?)) };
        let (cpu, gpu, shared) = (words()?, words()?, Arc::new(Shared::default()));
        for n in 0..SPOTS {
            cpu.store(n * APART + PAGE - 8, 0);
            gpu.store(n * APART, 0);
        }
        let (to, of) = (cpu.clone(), shared.clone());
        let writer = thread::spawn(move || of.write(&to));
        let (from, of) = (gpu.clone(), shared.clone());
        let reader = thread::spawn(move || of.read(&from));
        Ok(Self { cpu, gpu, shared, threads: vec![writer, reader] })
    }

    /// Where a spot of the CPU's pages is.
    pub fn cpu_spot(&self, n: usize) -> u64 {
        self.cpu.va() + (n * APART) as u64
    }

    /// Has `read` read a page of the CPU's by the GPU, its first and its last word, and judges what it saw.
    pub fn judge(&self, read: impl FnOnce() -> Result<[u64; 2]>) -> Result<()> {
        let least = self.shared.written.load(Ordering::Acquire);
        let seen = read()?;
        let most = self.shared.written.load(Ordering::Acquire) + 1;
        let fits = seen.iter().all(|seen| (least..=most).contains(seen));
        ensure!(fits, "the CPU wrote {least} to {most}, the GPU read {seen:?}");
        Ok(())
    }

    /// Has `write` write the next number to a page of the GPU's, at that address.
    pub fn next(&self, n: usize, write: impl FnOnce(u64, u32) -> Result<()>) -> Result<()> {
        let (asked, done) = (&self.shared.asked[n], &self.shared.done[n]);
        let number = asked.load(Ordering::Relaxed) + 1;
        asked.store(number, Ordering::Release);
        write(self.gpu.va() + (n * APART) as u64, u32::try_from(number)?)?;
        done.store(number, Ordering::Release);
        Ok(())
    }

    /// Whether a thread has ended, which is no good sign.
    pub fn has_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Ends them; rounds of the one that writes and of the one that reads.
    pub fn stop(self) -> Result<[u64; 2]> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut rounds = [0; 2];
        for (thread, rounds) in self.threads.into_iter().zip(&mut rounds) {
            *rounds = thread.join().map_err(|_| anyhow!("a thread panicked"))?.context("beside the GPU")?;
        }
        Ok(rounds)
    }
}

impl Shared {
    fn write(&self, to: &Words) -> Result<u64> {
        for n in 1.. {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(n - 1);
            }
            for spot in 0..SPOTS {
                to.store(spot * APART, n);
                to.store(spot * APART + PAGE - 8, n);
            }
            self.written.store(n, Ordering::Release);
            thread::sleep(PAUSE);
        }
        Ok(0)
    }

    fn read(&self, from: &Words) -> Result<u64> {
        for n in 1.. {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(n - 1);
            }
            for (spot, (done, asked)) in self.done.iter().zip(&self.asked).enumerate() {
                let least = done.load(Ordering::Acquire);
                let seen = from.load(spot * APART);
                let most = asked.load(Ordering::Acquire);
                let fits = (least..=most).contains(&seen);
                ensure!(fits, "the GPU wrote {least} to {most} to page {spot}, the CPU read {seen}");
            }
            thread::sleep(PAUSE);
        }
        Ok(0)
    }
}
