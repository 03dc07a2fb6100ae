// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Room that buffers make for processes' own memory, which comes to VRAM in chunks: powers of two, aligned to their size.
//!
//! Chunks make way for each other and, whenever a use needs it, for buffers. The other way it is a matter of taste: up to
//! [`SHARE`] of local memory, buffers that nobody uses or waits for make way; beyond it, and while a use waits itself,
//! chunks have to do with each other's room. Only what lies in one piece is of use, so who leaves is found by address: the
//! first in the order of eviction that lies in a piece of which all can leave, and whoever else lies there.

use alloc::vec::Vec;

use crate::buffers::Bo;
use crate::error::Error;
use crate::ids::{BlockId, SegmentId};
use crate::policy::Policy;
use crate::residency::Residency;
use crate::segment::SegmentKind;
use crate::table::try_push;

/// What part of local memory chunks take from buffers, at most.
const SHARE: u64 = 2;

/// A piece as large and as aligned as is wanted; in bytes.
#[derive(Clone, Copy, Default)]
struct Piece {
    /// Free, or about to be.
    free: u64,
    /// Of buffers that can leave.
    leaves: u64,
}

/// All pieces that lie wholly in a segment.
struct Pieces {
    table: Vec<Piece>,
    shift: u32,
    /// Number of the first, counted from offset 0.
    first: u64,
}

impl Pieces {
    /// Calls with each piece that a range of the segment meets, and how many bytes of it lie there.
    fn each(&mut self, start: u64, size: u64, mut call: impl FnMut(&mut Piece, u64)) {
        let end = start.saturating_add(size);
        let mut at = start;
        while at < end {
            let number = at.wrapping_shr(self.shift);
            let next = number.saturating_add(1).wrapping_shl(self.shift).min(end);
            let piece = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
            if let Some(piece) = piece.and_then(|index| self.table.get_mut(index)) {
                call(piece, next.saturating_sub(at));
            }
            if next <= at {
                return;
            }
            at = next;
        }
    }

    /// The first piece that a range meets and that can be emptied.
    fn to_empty(&self, start: u64, size: u64) -> Option<u64> {
        let last = start.saturating_add(size.saturating_sub(1)).wrapping_shr(self.shift);
        (start.wrapping_shr(self.shift)..=last).find(|number| {
            let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
            let piece = index.and_then(|index| self.table.get(index));
            piece.is_some_and(|piece| piece.free.saturating_add(piece.leaves) == 1u64.wrapping_shl(self.shift))
        })
    }
}

impl Policy {
    /// Processes' own memory, of which `held` bytes are in local memory already, wants a chunk of `size` bytes there. The
    /// answer is `size` where one is free, or will be once buffers have left, who begin to; and 0 where they do not.
    pub(crate) fn make_way(&mut self, size: u64, held: u64) -> Result<u64, Error> {
        if !size.is_power_of_two() || size < self.page_size() {
            return Err(Error::Invalid);
        }
        let kinds = [SegmentKind::LocalInvisible, SegmentKind::Local];
        let mut total = 0u64;
        for segment in self.segment_ids().filter(|id| self.kind(*id).is_some_and(|kind| kinds.contains(&kind))) {
            total = total.saturating_add(self.stats(segment)?.size);
        }
        if held.saturating_add(size) > total.checked_div(SHARE).unwrap_or(0) || self.mm.queue.front(0).is_some() {
            return Ok(0);
        }
        for kind in kinds {
            for index in 0..self.segments.len() {
                let segment = SegmentId(u8::try_from(index).map_err(|_| Error::Invalid)?);
                if self.kind(segment) == Some(kind) && self.clear_piece(segment, size)? {
                    return Ok(size);
                }
            }
        }
        Ok(0)
    }

    /// Empties a piece of a segment; says whether one is free or will be.
    fn clear_piece(&mut self, segment: SegmentId, size: u64) -> Result<bool, Error> {
        let pieces = self.pieces(segment, size)?;
        if pieces.table.iter().any(|piece| piece.free >= size) {
            return Ok(true);
        }
        let of = |bo: &Bo| pieces.to_empty(bo.place.location.offset, bo.size);
        let Some(victim) = self.pick_of(Some(segment), true, &|bo| of(bo).is_some()) else { return Ok(false) };
        let Some(number) = self.bos.at(victim).and_then(of) else { return Ok(false) };
        let start = number.wrapping_shl(pieces.shift);
        // No use is to be blamed for a move of theirs that fails.
        let entered = self.mm.area(Some(segment)).map_or(0, |area| area.spare.entered);
        let mut begun = false;
        for slot in 0..self.bos.slots() {
            let Some(bo) = self.bos.at(slot).filter(|bo| is_in(segment, bo.place.block) && self.can_leave(bo)) else {
                continue;
            };
            let at = bo.place.location.offset;
            let beside = at >= start.saturating_add(size) || at.saturating_add(bo.size) <= start;
            if !beside && self.begin_eviction(slot).is_ok() {
                self.edit(slot, |residency| residency.ahead = entered);
                begun = true;
            }
        }
        Ok(begun)
    }

    /// How each piece of a segment stands.
    fn pieces(&self, segment: SegmentId, size: u64) -> Result<Pieces, Error> {
        let (base, length, shift) = (self.segment_base(segment)?, self.stats(segment)?.size, size.trailing_zeros());
        let first = base.saturating_add(size.saturating_sub(1)).wrapping_shr(shift);
        let count = base.saturating_add(length).wrapping_shr(shift).saturating_sub(first);
        let mut pieces = Pieces { table: Vec::new(), shift, first };
        for _ in 0..count {
            try_push(&mut pieces.table, Piece::default())?;
        }
        self.segment(segment)?.heap.each_hole(|start, pages| {
            let start = base.saturating_add(self.page.to_bytes(start));
            pieces.each(start, self.page.to_bytes(pages), |piece, bytes| {
                piece.free = piece.free.saturating_add(bytes);
            });
        });
        for bo in self.bos.iter().filter(|bo| is_in(segment, bo.place.block) && self.can_leave(bo)) {
            pieces.each(bo.place.location.offset, bo.size, |piece, bytes| {
                piece.leaves = piece.leaves.saturating_add(bytes);
            });
        }
        for moved in self.moves.iter().filter(|moved| moved.run.leaving == Some(segment)) {
            let Ok(bo) = self.bo(moved.bo) else { continue };
            // Its bytes are on their way, or have left and the place is about to be given back.
            for place in [bo.place, moved.to].into_iter().filter(|place| is_in(segment, place.block)) {
                pieces.each(place.location.offset, bo.size, |piece, bytes| {
                    piece.free = piece.free.saturating_add(bytes);
                });
            }
        }
        Ok(pieces)
    }

    /// Whether a buffer may leave for this: not what is waited for, and not to the backing store.
    fn can_leave(&self, bo: &Bo) -> bool {
        let Residency { owner, listed, refs, held, condemned, need, .. } = bo.residency;
        listed && refs == 0 && !held && !condemned && (!need || self.pages_room(owner, bo.size))
    }
}

fn is_in(segment: SegmentId, block: Option<BlockId>) -> bool {
    block.and_then(BlockId::unpack).is_some_and(|(id, _)| id == segment)
}
