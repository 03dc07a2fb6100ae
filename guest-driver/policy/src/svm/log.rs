// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a process's tools are told: a ring of records, which drops the newest when nobody reads.

use alloc::vec::Vec;

use super::attributes::Place;
use crate::error::Error;
use crate::table::{try_push, try_reserve};

/// Most records that may wait to be read.
pub const MAX_RECORDS: u32 = 1 << 16;

/// What a record is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u16)]
pub enum RecordKind {
    /// The device faulted; `detail`: [`super::Access`], `value`: the caller's tag.
    #[default]
    Fault = 1,
    /// Pages moved to `place`; `detail`: [`super::Cause`].
    Migration = 2,
    /// Pages left VRAM for want of room; `value`: the chunk.
    Eviction = 3,
    /// Pages were found to thrash.
    Thrash = 4,
    /// Pages are asked for that nobody faulted on; `detail`: 0 density and granule, 1 correlation, 2 explicit.
    Prefetch = 5,
    /// A fault has to wait; `value`: until when, in nanoseconds.
    Throttle = 6,
    /// A page stays at `place`; `value`: until when.
    Pin = 7,
    /// A counter of accesses came to its threshold; `value`: bytes it counts for.
    Counter = 8,
    /// The device may not make that access; `detail`: [`super::Access`].
    Denied = 9,
    /// Pages could not be moved to `place`; `value`: how many.
    Failure = 10,
}

/// A record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// When, in nanoseconds of the caller's clock.
    pub time: u64,
    /// First address.
    pub va: u64,
    /// See [`RecordKind`].
    pub value: u64,
    /// How many pages; not always in a row, all in the block of `va`.
    pub pages: u32,
    /// About what.
    pub kind: RecordKind,
    /// See [`RecordKind`].
    pub detail: u8,
    /// The number of a [`Place`].
    pub place: u8,
}

impl Record {
    pub(crate) fn new(time: u64, kind: RecordKind, va: u64, pages: u32) -> Self {
        Self { time, va, pages, kind, ..Self::default() }
    }

    pub(crate) fn detail(self, detail: u32) -> Self {
        Self { detail: u8::try_from(detail).unwrap_or(u8::MAX), ..self }
    }

    pub(crate) fn place(self, place: Place) -> Self {
        Self { place: u8::try_from(place as u32).unwrap_or(u8::MAX), ..self }
    }

    pub(crate) fn value(self, value: u64) -> Self {
        Self { value, ..self }
    }
}

/// Records on their way to a reader.
pub(crate) struct Log {
    ring: Vec<Record>,
    first: usize,
    len: usize,
    lost: u64,
}

impl Log {
    /// A log that holds nothing and loses everything without counting.
    pub(crate) const fn off() -> Self {
        Self { ring: Vec::new(), first: 0, len: 0, lost: 0 }
    }

    /// Room for so many records; 0 turns it off.
    pub(crate) fn try_new(records: u32) -> Result<Self, Error> {
        if records > MAX_RECORDS {
            return Err(Error::Invalid);
        }
        let mut ring = Vec::new();
        try_reserve(&mut ring, records as usize)?;
        for _ in 0..records {
            try_push(&mut ring, Record::default())?;
        }
        Ok(Self { ring, ..Self::off() })
    }

    fn wrap(&self, at: usize) -> usize {
        at.checked_sub(self.ring.len()).unwrap_or(at)
    }

    pub(crate) fn push(&mut self, record: Record) {
        if self.len >= self.ring.len() {
            self.lost = self.lost.saturating_add(u64::from(!self.ring.is_empty()));
            return;
        }
        let at = self.wrap(self.first.saturating_add(self.len));
        if let Some(place) = self.ring.get_mut(at) {
            *place = record;
            self.len = self.len.saturating_add(1);
        }
    }

    /// Takes the oldest record.
    pub(crate) fn pop(&mut self) -> Option<Record> {
        self.len = self.len.checked_sub(1)?;
        let record = self.ring.get(self.first).copied();
        self.first = self.wrap(self.first.saturating_add(1));
        record
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many wait, and how many were lost since this was asked last.
    pub(crate) fn state(&mut self) -> (usize, u64) {
        (self.len, core::mem::take(&mut self.lost))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_keeps_the_oldest_and_counts_what_it_loses() {
        let mut log = Log::try_new(3).unwrap();
        for round in 0..4u64 {
            (0..5).for_each(|n| log.push(Record::new(round * 10 + n, RecordKind::Fault, 0, 1)));
            assert_eq!(log.state(), (3, 2));
            for n in 0..3 {
                assert_eq!(log.pop().unwrap().time, round * 10 + n);
            }
            assert_eq!(log.pop(), None);
        }
    }
}
