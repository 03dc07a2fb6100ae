// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Placement of ranges inside one segment, in pages.
//!
//! The choice is address-ordered first fit over one balanced tree of all extents, rather than size classes
//! (TLSF, buddy), because of what a GPU's segments need next to raw speed:
//! - both ends matter: page tables and pinned things grow from the top, buffers from the bottom, and ranges may
//!   be limited (the part of VRAM that the CPU sees). First fit by address gives that its exact meaning;
//! - fixed ranges are reserved, and eviction starts from an address: both look an address up;
//! - nothing is rounded up to a class: a request fails only when no free range fits it.
//!
//! First fit by address fragments about as little as best fit does. An operation touches one path of the tree,
//! some 20 nodes at 100,000 extents.
//!
//! **Beside a buddy allocator**, which rounds a range up to a power of two or gives the rest back (`cargo bench -p
//! uvm-policy --bench heaps`; a million requests of 4 KiB to 16 MiB, each in one piece, to 1 GiB, one in eight of them
//! long-lived; "forced" are the requests for which others had to leave although there was room in pieces):
//!
//! | | tree | buddy, rounding | buddy, giving back |
//! |---|---|---|---|
//! | how full it gets under pressure | 84 % | 66 % | 59 % (lowest address first), 20 % (last freed first) |
//! | forced, kept at 70 % | 0.00 % | 2.8 to 3.3 % | 5.0 % (and at 59 % or 20 %) |
//! | forced, as full as it gets | 3 % | 5 % | 5 % |
//! | free whole 2 MiB, kept at 70 % | 22 % of all | 8 to 15 % (at 67 %) | 31 % (at 59 %) |
//! | free whole 2 MiB, as full as it gets | 6 % (at 84 %) | 13 to 19 % (at 66 %) | 32 % (at 59 %) |
//! | no 2 MiB for an adversary that holds | 0.2 % | 0.2 % | 0.2 % |
//! | pairs of allocation and free a second | some millions | tens of millions | millions to ten millions |
//!
//! So the tree keeps a quarter more of VRAM in use, and at the same use has more of it left in whole 2 MiB; what the
//! buddies have more of, they have because they are emptier. They are ten times as fast, which is of no use to ranges
//! that are filled by copies: a pair takes less than a microsecond here, and a job's way to an engine and back tens.

mod retire;
mod tree;

use core::ops::Range;

use crate::error::Error;
use crate::ids::{next_generation, Key};
use crate::table::Few;
use retire::Retired;
use tree::{Extent, Tree, MAX_HEIGHT, NIL};

/// Free extents that are tried one by one for an aligned fit before a longer one that surely fits is taken.
const ALIGNED_TRIES: u32 = 8;

/// What an extent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Nobody's.
    Free,
    /// Allocated by a caller, who frees it.
    Caller,
    /// Belongs to a buffer object or to a move, and is freed by them alone.
    Buffer,
    /// A fixed range that was asked for by address.
    Reserved,
}

/// From which end of the segment the search starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Lowest address first.
    Bottom,
    /// Highest address first.
    Top,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Request {
    /// Length in pages, not zero.
    pub len: u64,
    /// Alignment of the first page, in pages: a power of two.
    pub align: u64,
    /// The end to search from.
    pub from: From,
    /// Pages among which the range must lie; may reach past the end of the segment.
    pub within: Range<u64>,
}

/// An extent that is not free, as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// First page.
    pub start: u64,
    /// Length in pages.
    pub len: u64,
    /// What it is: never `Free`.
    pub kind: BlockKind,
}

/// Counts of a heap, in pages where not said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Length of the segment.
    pub size: u64,
    /// Pages in blocks of any kind, reserved ones included.
    pub used: u64,
    /// Pages in reserved blocks.
    pub reserved: u64,
    /// The longest free extent.
    pub longest_free: u64,
    /// Number of blocks of any kind.
    pub blocks: u64,
    /// Number of free extents.
    pub holes: u64,
}

/// The heap of one segment.
pub struct Heap {
    tree: Tree,
    stats: Stats,
    retired: Retired,
}

impl Heap {
    /// A heap of `size` free pages, not zero.
    pub fn try_new(size: u64) -> Result<Self, Error> {
        if size == 0 {
            return Err(Error::Invalid);
        }
        Ok(Self {
            tree: Tree::try_new(size)?,
            stats: Stats { size, holes: 1, ..Stats::default() },
            retired: Retired::default(),
        })
    }

    /// Counts at this moment.
    pub fn stats(&self) -> Stats {
        Stats { longest_free: self.tree.get(self.tree.root()).longest, ..self.stats }
    }

    /// How many aligned blocks of `len` pages, a power of two, are wholly free; pages count from `base` on. Looks at
    /// each extent.
    pub fn free_blocks(&self, base: u64, len: u64) -> u64 {
        let (mask, shift) = (len.wrapping_sub(1), len.trailing_zeros());
        let mut blocks = 0u64;
        self.each_hole(|start, pages| {
            let first = base.saturating_add(start).saturating_add(mask).wrapping_shr(shift);
            let end = base.saturating_add(start).saturating_add(pages).wrapping_shr(shift);
            blocks = blocks.saturating_add(end.saturating_sub(first));
        });
        blocks
    }

    /// Calls with the first page and the length of each free extent, by address. Looks at each extent.
    pub fn each_hole(&self, mut call: impl FnMut(u64, u64)) {
        let mut slot = self.tree.first();
        while slot != NIL {
            let extent = self.tree.get(slot);
            if extent.is_free() {
                call(extent.start, extent.len);
            }
            slot = extent.next;
        }
    }

    /// Takes the first free range, in the order of the request, that fits.
    ///
    /// Costs one path down and up the tree when `align` is one. With a larger alignment up to 32 free extents
    /// that are long enough but misaligned are looked at, then any extent of `len + align - 1` pages is taken;
    /// only when there is none are all the others looked at, so that [`Error::NoSpace`] means that no free
    /// range fits, without exception.
    pub fn alloc(&mut self, request: &Request, kind: BlockKind) -> Result<Key, Error> {
        if request.len == 0 || !request.align.is_power_of_two() || kind == BlockKind::Free {
            return Err(Error::Invalid);
        }
        self.take_retired()?;
        let (slot, start) = self.search(request).ok_or(Error::NoSpace)?;
        self.carve(slot, start, request.len, kind)
    }

    /// Takes exactly the pages `[start, start + len)`; [`Error::NoSpace`] when one of them is not free.
    pub fn reserve(&mut self, start: u64, len: u64) -> Result<Key, Error> {
        let end = start.checked_add(len).ok_or(Error::Invalid)?;
        if len == 0 || end > self.stats.size {
            return Err(Error::Invalid);
        }
        self.take_retired()?;
        let slot = self.tree.find(start).ok_or(Error::NoSpace)?;
        let hole = self.tree.get(slot);
        if !hole.is_free() || hole.end() < end {
            return Err(Error::NoSpace);
        }
        self.carve(slot, start, len, BlockKind::Reserved)
    }

    /// Gives a block back and merges it with free neighbours. Never allocates.
    pub fn free(&mut self, key: Key) -> Result<Block, Error> {
        let block = self.block(key)?;
        let slot = key.slot;
        let Extent { prev, next, .. } = *self.tree.get(slot);
        self.stats.used = self.stats.used.saturating_sub(block.len);
        if block.kind == BlockKind::Reserved {
            self.stats.reserved = self.stats.reserved.saturating_sub(block.len);
        }
        self.stats.blocks = self.stats.blocks.saturating_sub(1);
        self.stats.holes = self.stats.holes.saturating_add(1);

        let mut hole = slot;
        self.tree.edit(slot, |e| e.kind = Some(BlockKind::Free));
        if self.tree.get(prev).is_free() {
            self.absorb(prev, slot);
            hole = prev;
        }
        if self.tree.get(next).is_free() {
            self.absorb(hole, next);
        }
        self.tree.retrace(hole);
        Ok(block)
    }

    /// Appends the free extent `gone`, the right neighbour of `kept`, to it.
    fn absorb(&mut self, kept: u32, gone: u32) {
        let len = self.tree.get(gone).len;
        self.tree.edit(kept, |e| e.len = e.len.saturating_add(len));
        self.tree.remove(gone);
        self.stats.holes = self.stats.holes.saturating_sub(1);
    }

    /// What a key names.
    pub fn block(&self, key: Key) -> Result<Block, Error> {
        let extent = self.tree.get(key.slot);
        match extent.kind {
            Some(kind) if kind != BlockKind::Free && extent.generation == key.generation => {
                Ok(Block { start: extent.start, len: extent.len, kind })
            }
            _ => Err(Error::Unknown),
        }
    }

    /// The block that holds a page; `None` when the page is free or outside.
    pub fn find(&self, page: u64) -> Option<Key> {
        let slot = self.tree.find(page)?;
        let extent = self.tree.get(slot);
        (!extent.is_free()).then_some(Key { slot, generation: extent.generation })
    }

    /// Turns `[start, start + len)`, which lies inside the free extent `slot`, into a block.
    fn carve(&mut self, slot: u32, start: u64, len: u64, kind: BlockKind) -> Result<Key, Error> {
        let hole = *self.tree.get(slot);
        let front = start.checked_sub(hole.start).ok_or(Error::Invalid)?;
        let end = start.checked_add(len).ok_or(Error::Invalid)?;
        let back = hole.end().checked_sub(end).ok_or(Error::Invalid)?;
        self.tree.reserve_slots(2)?; // nothing below fails

        let block = match (front, back) {
            (0, 0) => {
                self.tree.edit(slot, |e| {
                    e.kind = Some(kind);
                    e.generation = next_generation(e.generation);
                });
                self.tree.retrace(slot);
                self.stats.holes = self.stats.holes.saturating_sub(1);
                slot
            }
            (0, _) => {
                self.tree.edit(slot, |e| (e.start, e.len) = (end, back));
                let block = self.tree.insert_before(slot, start, len, kind);
                self.tree.retrace(slot);
                block
            }
            (_, _) => {
                self.tree.edit(slot, |e| e.len = front);
                let block = self.tree.insert_after(slot, start, len, kind);
                self.tree.retrace(slot);
                if back != 0 {
                    self.tree.insert_after(block, end, back, BlockKind::Free);
                    self.stats.holes = self.stats.holes.saturating_add(1);
                }
                block
            }
        };
        self.stats.used = self.stats.used.saturating_add(len);
        if kind == BlockKind::Reserved {
            self.stats.reserved = self.stats.reserved.saturating_add(len);
        }
        self.stats.blocks = self.stats.blocks.saturating_add(1);
        Ok(Key { slot: block, generation: self.tree.get(block).generation })
    }

    fn search(&self, request: &Request) -> Option<(u32, u64)> {
        match self.walk(request, request.len, ALIGNED_TRIES) {
            Walk::Found(slot, start) => return Some((slot, start)),
            Walk::Nothing => return None,
            Walk::TooMany => {}
        }
        if let Some(sure) = request.len.checked_add(request.align.wrapping_sub(1)) {
            if let Walk::Found(slot, start) = self.walk(request, sure, ALIGNED_TRIES) {
                return Some((slot, start));
            }
        }
        match self.walk(request, request.len, u32::MAX) {
            Walk::Found(slot, start) => Some((slot, start)),
            Walk::Nothing | Walk::TooMany => None,
        }
    }

    /// Visits the free extents of at least `at_least` pages in the order of the request until one fits.
    fn walk(&self, request: &Request, at_least: u64, tries: u32) -> Walk {
        let mut path = Few::<u32, MAX_HEIGHT>::new(NIL); // from the root to here
        let mut tried = 0u32;
        let mut slot = self.tree.root();
        loop {
            while self.tree.get(slot).longest >= at_least {
                path.push(slot);
                slot = near_child(self.tree.get(slot), request);
            }
            let Some(here) = path.pop() else { return Walk::Nothing };
            let extent = self.tree.get(here);
            if extent.is_free() && extent.len >= at_least {
                if let Some(start) = fit(extent, request) {
                    return Walk::Found(here, start);
                }
                tried = tried.saturating_add(1);
                if tried >= tries {
                    return Walk::TooMany;
                }
            }
            slot = far_child(extent, request);
        }
    }
}

enum Walk {
    Found(u32, u64),
    Nothing,
    TooMany,
}

/// The child that comes first in the order of the request, unless all of it lies outside the limits.
fn near_child(extent: &Extent, request: &Request) -> u32 {
    match request.from {
        From::Bottom => lower(extent, request),
        From::Top => upper(extent, request),
    }
}

fn far_child(extent: &Extent, request: &Request) -> u32 {
    match request.from {
        From::Bottom => upper(extent, request),
        From::Top => lower(extent, request),
    }
}

fn lower(extent: &Extent, request: &Request) -> u32 {
    if extent.start <= request.within.start {
        NIL
    } else {
        extent.left
    }
}

fn upper(extent: &Extent, request: &Request) -> u32 {
    if extent.end() >= request.within.end {
        NIL
    } else {
        extent.right
    }
}

/// Where in a free extent the request fits, nearest to the end it searches from.
fn fit(extent: &Extent, request: &Request) -> Option<u64> {
    let low = extent.start.max(request.within.start);
    let high = extent.end().min(request.within.end);
    let mask = request.align.wrapping_sub(1);
    let start = match request.from {
        From::Bottom => low.checked_add(mask)? & !mask,
        From::Top => high.checked_sub(request.len)? & !mask,
    };
    (start >= low && start.checked_add(request.len)? <= high).then_some(start)
}

#[cfg(test)]
mod tests;
