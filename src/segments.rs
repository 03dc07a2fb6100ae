// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The segments of memory that the device tells its driver of.

use crate::vram::GRANULE;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uvm_spec::window::{segment, SEGMENTS};
use uvm_spec::PAGE_SIZE;

/// What a user chooses about the segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segments {
    /// Bytes of VRAM behind the BAR, from the first one on: a multiple of 16 MiB; None: all of it.
    pub bar: Option<u64>,
    /// Most bytes of the GART for accesses that do not snoop the CPU's caches, whole pages; 0: there is no such segment.
    pub unsnooped: u64,
}

impl Default for Segments {
    fn default() -> Self {
        Self { bar: None, unsnooped: 32 << 20 }
    }
}

/// Why segments cannot be had.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SegmentsError {
    /// The BAR shows nothing, or is no whole number of granules.
    #[error("a BAR of {0} bytes: it must be a multiple of 16 MiB")]
    Bar(u64),
    /// The BAR shows more than there is.
    #[error("a BAR of {bar} bytes: VRAM has {vram}")]
    BarOverVram {
        /// What is asked for.
        bar: u64,
        /// What there is.
        vram: u64,
    },
    /// VRAM in system memory has no BAR.
    #[error("a BAR of {0} bytes: VRAM is part of system memory, which the CPU reaches without one")]
    NoBar(u64),
    /// No whole pages.
    #[error("an unsnooped segment of {0} bytes: it must be a multiple of 4 KiB")]
    Unsnooped(u64),
}

impl Segments {
    /// Refuses what a device with so much VRAM, part of system memory or not, cannot have.
    pub fn validate(&self, vram: u64, uma: bool) -> Result<(), SegmentsError> {
        if let Some(bar) = self.bar {
            if uma {
                return Err(SegmentsError::NoBar(bar));
            }
            if bar == 0 || bar % GRANULE != 0 {
                return Err(SegmentsError::Bar(bar));
            }
            if bar > vram {
                return Err(SegmentsError::BarOverVram { bar, vram });
            }
        }
        if self.unsnooped % PAGE_SIZE != 0 {
            return Err(SegmentsError::Unsnooped(self.unsnooped));
        }
        Ok(())
    }
    /// Bytes of VRAM that the CPU reaches.
    pub fn visible(&self, vram: u64) -> u64 {
        self.bar.unwrap_or(vram).min(vram)
    }
    /// As the window describes them.
    pub fn describe(&self, vram: u64) -> [u64; SEGMENTS] {
        let visible = self.visible(vram);
        let all = [
            Some(visible | segment::LOCAL),
            (visible < vram).then(|| (vram - visible) | segment::LOCAL_INVISIBLE),
            Some(segment::SNOOPED),
            (self.unsnooped != 0).then_some(self.unsnooped | segment::UNSNOOPED),
        ];
        let mut words = [0; SEGMENTS];
        for (word, segment) in words.iter_mut().zip(all.into_iter().flatten()) {
            *word = segment;
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn small_bar_divides_vram_and_zero_ends_the_list() {
        let segments = Segments { bar: Some(16 * MIB), unsnooped: 0 };
        assert_eq!(
            segments.describe(64 * MIB),
            [(16 * MIB) | segment::LOCAL, (48 * MIB) | segment::LOCAL_INVISIBLE, segment::SNOOPED, 0, 0, 0]
        );
        assert_eq!(
            Segments::default().describe(64 * MIB),
            [(64 * MIB) | segment::LOCAL, segment::SNOOPED, (32 * MIB) | segment::UNSNOOPED, 0, 0, 0]
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let bar = |bar| Segments { bar: Some(bar), ..Segments::default() };
        assert_eq!(bar(16 * MIB).validate(16 * MIB, false), Ok(()));
        assert_eq!(bar(0).validate(16 * MIB, false), Err(SegmentsError::Bar(0)));
        assert_eq!(bar(17 * MIB).validate(64 * MIB, false), Err(SegmentsError::Bar(17 * MIB)));
        let over = SegmentsError::BarOverVram { bar: 32 * MIB, vram: 16 * MIB };
        assert_eq!(bar(32 * MIB).validate(16 * MIB, false), Err(over));
        assert_eq!(bar(16 * MIB).validate(16 * MIB, true), Err(SegmentsError::NoBar(16 * MIB)));
        let odd = Segments { unsnooped: 100, ..Segments::default() };
        assert_eq!(odd.validate(16 * MIB, false), Err(SegmentsError::Unsnooped(100)));
    }
}
