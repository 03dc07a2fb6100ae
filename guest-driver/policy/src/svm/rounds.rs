// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Blocks that go round: VRAM does not hold what is used, so each leaves for another one and is wanted again soon. To
//! move it costs more than to reach it from afar, so after some rounds it stays in system memory for a while, mapped
//! there; those that are in VRAM at that time stay too, as nobody pushes them out.
//!
//! Time is counted in chunks that were picked to leave: what comes back after few of them would still be there if VRAM
//! was a few times as large.

use super::thrash::ThrashConfig;

/// Within so many times what VRAM holds a block is back soon.
const SOON: u64 = 4;
/// A pin that follows another one is twice as long, so many times at most.
const LONGEST: u8 = 5;

/// A block's coming and going.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rounds {
    /// Chunks that had been picked when it came, and when it left.
    came: u64,
    left: Option<u64>,
    /// How often it was back soon, in a row.
    returns: u8,
    /// How often it was pinned, in a row.
    pins: u8,
    /// When the pin ends.
    until: u64,
}

/// How it stands with VRAM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turnover {
    /// Chunks that were picked to leave, ever.
    pub(crate) picked: u64,
    /// Chunks in use.
    pub(crate) used: u32,
    /// Whether there was none left of late.
    pub(crate) full: bool,
}

impl Turnover {
    fn is_soon(&self, left: u64) -> bool {
        self.picked.saturating_sub(left) <= u64::from(self.used.max(1)).saturating_mul(SOON)
    }
}

impl Rounds {
    /// Pages of it left VRAM for others.
    pub(crate) fn left(&mut self, turnover: &Turnover) {
        // Else it was not for want of room.
        if turnover.picked > self.came {
            self.left = Some(turnover.picked);
        }
    }

    /// Pages of it came to VRAM.
    pub(crate) fn came(&mut self, turnover: &Turnover) {
        self.came = turnover.picked;
        match self.left.take() {
            Some(left) if turnover.is_soon(left) => self.returns = self.returns.saturating_add(1),
            Some(_) => (self.returns, self.pins) = (0, 0),
            None => {}
        }
    }

    /// Whether it is pinned in system memory.
    pub(crate) fn is_away(&self, now: u64) -> bool {
        now < self.until
    }

    /// Whether what is wanted of it stays where it is, and if since now, until when.
    pub(crate) fn judge(&mut self, config: &ThrashConfig, turnover: &Turnover, now: u64) -> Option<Option<u64>> {
        if self.is_away(now) {
            return Some(None);
        }
        let soon = self.left.is_some_and(|left| turnover.is_soon(left));
        if !(soon && turnover.full && self.returns >= config.bounces) {
            return None;
        }
        let times = 1u64.wrapping_shl(u32::from(self.pins));
        self.pins = self.pins.saturating_add(1).min(LONGEST);
        self.until = now.saturating_add(config.pin.saturating_mul(times));
        Some(Some(self.until))
    }

    /// What is wanted now cannot be done from afar.
    pub(crate) fn unpin(&mut self) {
        self.until = 0;
    }
}
