// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Identifiers: what crosses the border instead of pointers.
//!
//! All are 64 bits: kind in 63:60, segment in 59:56 (of actions: which one of a move), generation in 55:32, slot in
//! 31:0. The kind keeps a block from being taken for a buffer; the generation changes each time a slot is used again,
//! so an id kept after its object's end is told from the slot's new owner (for 2^24 - 1 reuses of one slot).

const KIND_SHIFT: u32 = 60;
const SEGMENT_SHIFT: u32 = 56;
const GENERATION_SHIFT: u32 = 32;
const GENERATION_MASK: u32 = 0x00ff_ffff;

/// Most segments a policy can have: the width of the segment field of a [`BlockId`].
pub const MAX_SEGMENTS: usize = 16;

/// The generation after `generation`: never zero, so that no id is ever zero in this field.
pub(crate) fn next_generation(generation: u32) -> u32 {
    match generation.wrapping_add(1) & GENERATION_MASK {
        0 => 1,
        next => next,
    }
}

/// Where an id points: a slot of a table, and the generation the slot had when the id was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

fn pack(kind: u64, segment: u8, key: Key) -> u64 {
    (kind << KIND_SHIFT)
        | (u64::from(segment & 0xf) << SEGMENT_SHIFT)
        | (u64::from(key.generation & GENERATION_MASK) << GENERATION_SHIFT)
        | u64::from(key.slot)
}

#[allow(clippy::cast_possible_truncation)] // each field is masked to its width first
fn unpack(kind: u64, raw: u64) -> Option<(u8, Key)> {
    if raw >> KIND_SHIFT != kind {
        return None;
    }
    let segment = ((raw >> SEGMENT_SHIFT) & 0xf) as u8;
    let generation = ((raw >> GENERATION_SHIFT) & u64::from(GENERATION_MASK)) as u32;
    let slot = (raw & u64::from(u32::MAX)) as u32;
    Some((segment, Key { slot, generation }))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The id that crosses a border as a plain number.
            pub fn raw(self) -> u64 {
                self.0
            }

            /// An id from a number of unknown origin; it is checked at each use.
            pub fn from_raw(raw: u64) -> Self {
                Self(raw)
            }
        }
    };
}

id! {
    /// A range of a segment.
    BlockId
}
id! {
    /// A buffer object.
    BoId
}
id! {
    /// A move that has begun and is not complete.
    Token
}
id! {
    /// An address space.
    VmId
}
id! {
    /// A job that was granted a VMID and has not ended.
    JobId
}
id! {
    /// A change of an address space that has begun and is not complete.
    UpdateId
}

id! {
    /// A process: the owner of allocations, with its limits.
    ProcessId
}
id! {
    /// A submission, or another use that needs allocations in place.
    TicketId
}
id! {
    /// An action that was given out and is to be answered.
    ActionId
}

const KIND_BLOCK: u64 = 1;
const KIND_BO: u64 = 2;
const KIND_TOKEN: u64 = 3;
const KIND_VM: u64 = 4;
const KIND_JOB: u64 = 5;
const KIND_UPDATE: u64 = 6;
const KIND_PROCESS: u64 = 7;
const KIND_TICKET: u64 = 8;
const KIND_ACTION: u64 = 9;

impl BlockId {
    pub(crate) fn pack(segment: SegmentId, key: Key) -> Self {
        Self(pack(KIND_BLOCK, segment.0, key))
    }

    pub(crate) fn unpack(self) -> Option<(SegmentId, Key)> {
        unpack(KIND_BLOCK, self.0).map(|(segment, key)| (SegmentId(segment), key))
    }
}

macro_rules! pack {
    ($($name:ident = $kind:ident)*) => {
        $(impl $name {
            pub(crate) fn pack(key: Key) -> Self {
                Self(pack($kind, 0, key))
            }

            pub(crate) fn unpack(self) -> Option<Key> {
                unpack($kind, self.0).map(|(_, key)| key)
            }
        })*
    };
}

pack! {
    BoId = KIND_BO VmId = KIND_VM JobId = KIND_JOB UpdateId = KIND_UPDATE
    ProcessId = KIND_PROCESS TicketId = KIND_TICKET
}

impl Token {
    pub(crate) fn pack(key: Key) -> Self {
        Self(pack(KIND_TOKEN, 0, key))
    }
}

impl ActionId {
    /// `key` is the move's; `part` tells its actions apart and has four bits.
    pub(crate) fn pack(part: u8, key: Key) -> Self {
        Self(pack(KIND_ACTION, part, key))
    }

    pub(crate) fn unpack(self) -> Option<(u8, Key)> {
        unpack(KIND_ACTION, self.0)
    }
}

/// A segment: the index in which it was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_different_kinds_are_never_taken_for_each_other() {
        let key = Key { slot: 7, generation: 3 };

        let block = BlockId::pack(SegmentId(2), key);

        assert_eq!(block.unpack(), Some((SegmentId(2), key)));
        assert_eq!(BoId::from_raw(block.raw()).unpack(), None);
        assert_eq!(TicketId::from_raw(block.raw()).unpack(), None);
    }

    #[test]
    fn generation_wraps_past_zero() {
        assert_eq!(next_generation(GENERATION_MASK), 1);
        assert_eq!(next_generation(1), 2);
    }
}
