// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The seam: what a transport gives the device. Guest memory and a clock go in; interrupts are drained from the device.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

/// System (guest) memory. A transport replaces the map as a whole; the device loads it once per operation, an
/// engine's quantum being one.
pub type SystemMemory = GuestMemoryAtomic<GuestMemoryMmap>;

/// Ticks per second of the reference clock.
pub const CLOCK_HZ: u64 = 100_000_000;

/// The GPU's reference clock, in ticks of 10 ns.
pub trait Clock: Send {
    /// Ticks since the device came up.
    fn now(&self) -> u64;
}

/// The host's monotonic clock.
#[derive(Debug)]
pub struct RealClock(Instant);

impl Default for RealClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for RealClock {
    fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos() / u128::from(1_000_000_000 / CLOCK_HZ)).unwrap_or(u64::MAX)
    }
}

/// A clock that a test winds; clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// Moves the clock `ticks` forward.
    pub fn advance(&self, ticks: u64) {
        self.0.fetch_add(ticks, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
