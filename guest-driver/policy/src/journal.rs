// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What others than the memory manager do to segments, kept until a record of it is made: their ranges decide what is
//! free for it, so a log without them would not replay.

use alloc::vec::Vec;

use crate::ids::SegmentId;
use crate::table::try_push;

/// Notes that are kept at most; nobody makes more between two calls of the memory manager than tables of one change.
const KEPT: usize = 1 << 16;

/// Something that others did. Offsets as the domain counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// They took a range.
    Took {
        /// Where.
        segment: SegmentId,
        /// First byte.
        offset: u64,
        /// Bytes.
        size: u64,
    },
    /// They gave one back.
    Gave {
        /// Where.
        segment: SegmentId,
        /// First byte.
        offset: u64,
    },
    /// They took a page out of use for good.
    Retired {
        /// Where.
        segment: SegmentId,
        /// A byte of it.
        offset: u64,
    },
}

/// Notes in their order.
#[derive(Default)]
pub(crate) struct Journal {
    kept: bool,
    notes: Vec<Note>,
    lost: u64,
}

impl Journal {
    /// From now on notes are kept.
    pub(crate) fn begin(&mut self) {
        self.kept = true;
    }

    pub(crate) fn note(&mut self, note: Note) {
        if self.kept && (self.notes.len() >= KEPT || try_push(&mut self.notes, note).is_err()) {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.notes.len()
    }

    /// Tells them all and forgets them; gives the number of those that were lost before.
    pub(crate) fn drain(&mut self, mut tell: impl FnMut(Note)) -> u64 {
        self.notes.drain(..).for_each(&mut tell);
        core::mem::take(&mut self.lost)
    }
}
