// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What an address space maps: pieces in order of their addresses, each contiguous in memory too.
//!
//! One table, kept sorted. A lookup is a binary search; a change moves what lies above it, which for the tens of
//! thousands of pieces of a badly scattered space is about what writing their page table entries costs anyway.

use alloc::vec::Vec;

use uvm_spec::pte;
use uvm_spec::PAGE_SHIFT;

use super::geometry::Geometry;
use crate::error::Error;
use crate::table::{count, partition_point, try_push, try_reserve};

/// The entry of pages whose leaf table the caller writes itself.
pub(crate) const HANDED_OVER: u64 = 0;

/// Pages that are mapped onto as many in a row, or nowhere (partially resident), or as the caller writes into their
/// leaf table. All numbers but `entry` count pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) start: u64,
    pub(crate) len: u64,
    /// The page table entry of the first page, FRAGMENT apart.
    pub(crate) entry: u64,
    /// Whose memory it is, as the caller calls it.
    pub(crate) bo: u64,
    /// Where in it.
    pub(crate) offset: u64,
}

impl Piece {
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }

    /// Partially resident: no memory behind it.
    pub(crate) fn is_prt(&self) -> bool {
        self.entry & pte::VALID == 0 && !self.is_handed_over()
    }

    /// Whole blocks of a leaf table each, which are the caller's to fill.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.entry == HANDED_OVER
    }

    /// The entry of one of its pages, FRAGMENT apart.
    pub(crate) fn entry_at(&self, page: u64) -> u64 {
        if self.entry & pte::VALID == 0 {
            return self.entry;
        }
        self.entry.wrapping_add(page.wrapping_sub(self.start).wrapping_shl(PAGE_SHIFT))
    }

    /// The part of it inside `[low, high)`.
    pub(crate) fn clip(&self, low: u64, high: u64) -> Option<Self> {
        let (start, end) = (self.start.max(low), self.end().min(high));
        let len = end.checked_sub(start).filter(|len| *len != 0)?;
        let skipped = start.saturating_sub(self.start);
        Some(Self { start, len, entry: self.entry_at(start), offset: self.offset.wrapping_add(skipped), ..*self })
    }

    fn continues_with(&self, next: &Self) -> bool {
        self.end() == next.start
            && self.bo == next.bo
            && self.offset.wrapping_add(self.len) == next.offset
            && self.is_prt() == next.is_prt()
            && self.entry_at(next.start) == next.entry
    }

    /// log2 of the block of pages around `page` that is mapped as one: the largest that lies inside the piece
    /// and is aligned in both kinds of address.
    pub(crate) fn block_order(&self, geometry: &Geometry, page: u64) -> u32 {
        if self.is_handed_over() {
            return 0;
        }
        let apart = (self.entry_at(page) & pte::PTE_ADDR).wrapping_shr(PAGE_SHIFT).wrapping_sub(page);
        let alike = if self.is_prt() { 63 } else { apart.trailing_zeros() };
        let fits = self.len.checked_ilog2().unwrap_or(0);
        let mut order = geometry.largest_block(self.is_prt()).min(alike).min(fits);
        while order != 0 {
            let (start, end) = block(page, order);
            if start >= self.start && end <= self.end() {
                break;
            }
            order = order.saturating_sub(1);
        }
        order
    }
}

/// First page of the aligned block around a page, and the one after its last.
pub(crate) fn block(page: u64, order: u32) -> (u64, u64) {
    let len = 1u64.wrapping_shl(order);
    let start = page & !len.wrapping_sub(1);
    (start, start.saturating_add(len))
}

/// The first of sorted pieces that ends above a page: it holds the page, or is the next one after it.
pub(crate) fn from(pieces: &[Piece], page: u64) -> Option<&Piece> {
    pieces.get(partition_point(pieces, |piece| piece.end() <= page))
}

/// The piece that holds a page.
pub(crate) fn at(pieces: &[Piece], page: u64) -> Option<&Piece> {
    from(pieces, page).filter(|piece| piece.start <= page)
}

/// Whether any page of `[low, high)` is mapped.
pub(crate) fn intersects(pieces: &[Piece], low: u64, high: u64) -> bool {
    low < high && from(pieces, low).is_some_and(|piece| piece.start < high)
}

/// Whether any page of `[low, high)` is the caller's.
pub(crate) fn intersects_handed_over(pieces: &[Piece], low: u64, high: u64) -> bool {
    let pieces = pieces.iter().skip(partition_point(pieces, |piece| piece.end() <= low));
    pieces.take_while(|piece| piece.start < high).any(Piece::is_handed_over)
}

/// Appends a piece that lies above all others, to the last one where it continues it.
pub(crate) fn append(pieces: &mut Vec<Piece>, piece: Piece) -> Result<(), Error> {
    match pieces.last_mut() {
        Some(last) if last.continues_with(&piece) => {
            last.len = last.len.saturating_add(piece.len);
            Ok(())
        }
        _ => try_push(pieces, piece),
    }
}

/// Sorted pieces that neither overlap nor continue each other.
pub(crate) struct Ranges {
    pieces: Vec<Piece>,
}

impl Ranges {
    pub(crate) const fn new() -> Self {
        Self { pieces: Vec::new() }
    }

    pub(crate) fn as_slice(&self) -> &[Piece] {
        &self.pieces
    }

    /// Makes sure that a `replace` by so many pieces needs no memory.
    pub(crate) fn reserve(&mut self, count: usize) -> Result<(), Error> {
        try_reserve(&mut self.pieces, count.saturating_add(2))
    }

    /// Puts `new`, which lies inside `[low, high)`, in the place of all that lies there. Never fails after a
    /// `reserve`.
    pub(crate) fn replace(&mut self, low: u64, high: u64, new: &[Piece]) -> Result<(), Error> {
        // The pieces [first, last) go; what is left of them at either side, or touches there, comes back.
        let mut first = partition_point(&self.pieces, |piece| piece.end() < low);
        let last = partition_point(&self.pieces, |piece| piece.start <= high);
        let left = self.pieces.get(first).and_then(|piece| piece.clip(0, low));
        let right = last.checked_sub(1).and_then(|i| self.pieces.get(i)?.clip(high, u64::MAX));
        let merged = || {
            let mut rest = left.into_iter().chain(new.iter().copied()).chain(right).peekable();
            core::iter::from_fn(move || {
                let mut piece = rest.next()?;
                while let Some(next) = rest.next_if(|next| piece.continues_with(next)) {
                    piece.len = piece.len.saturating_add(next.len);
                }
                Some(piece)
            })
        };
        let count = count(merged());
        self.resize(first, last, count)?;
        for piece in merged() {
            self.put(first, piece);
            first = first.saturating_add(1);
        }
        Ok(())
    }

    /// Makes `count` places of `[first, last)`; what they hold is stale.
    fn resize(&mut self, first: usize, last: usize, count: usize) -> Result<(), Error> {
        let old = self.pieces.len();
        let after = first.saturating_add(count);
        if after > last {
            let filler = Piece { start: 0, len: 0, entry: 0, bo: 0, offset: 0 };
            for _ in last..after {
                try_push(&mut self.pieces, filler)?;
            }
            for i in (last..old).rev() {
                self.copy(i, i.saturating_sub(last).saturating_add(after));
            }
        } else {
            for i in last..old {
                self.copy(i, i.saturating_sub(last).saturating_add(after));
            }
            self.pieces.truncate(old.saturating_sub(last).saturating_add(after));
        }
        Ok(())
    }

    fn copy(&mut self, from: usize, to: usize) {
        if let Some(piece) = self.pieces.get(from).copied() {
            self.put(to, piece);
        }
    }

    fn put(&mut self, at: usize, piece: Piece) {
        if let Some(place) = self.pieces.get_mut(at) {
            *place = piece;
        }
    }
}
