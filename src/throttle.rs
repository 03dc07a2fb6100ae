// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Warnings that a guest can cause at will.

use parking_lot::Mutex;
use std::fmt::Display;
use std::time::{Duration, Instant};

/// At most one line in this time; those between are counted and told with the next.
const PERIOD: Duration = Duration::from_secs(1);

/// A source of warnings.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<(Option<Instant>, u64)>);

impl Throttle {
    /// Logs `message`, or counts it where one was logged a short while ago.
    pub(crate) fn warn(&self, message: impl Display) {
        let mut state = self.0.lock();
        let (last, held) = &mut *state;
        if last.is_some_and(|at| at.elapsed() < PERIOD) {
            *held = held.saturating_add(1);
            return;
        }
        match std::mem::take(held) {
            0 => log::warn!("{message}"),
            n => log::warn!("{message} (and {n} warnings of the kind before)"),
        }
        *last = Some(Instant::now());
    }
}
