// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The policy object: segments and what lies in them. The memory manager's events are in `residency`, `working_set`
//! and `paging`.

use alloc::vec::Vec;
use core::ops::Range;

use crate::buffers::{Bo, BoInfo};
use crate::domain::Domain;
use crate::error::Error;
use crate::heap::{BlockKind, From, Heap, Request};
use crate::ids::{BlockId, BoId, SegmentId, MAX_SEGMENTS};
use crate::journal::{Journal, Note};
use crate::manager::Manager;
use crate::page::PageSize;
use crate::pasid::Pasids;
use crate::run::Move;
use crate::segment::{Segment, SegmentDesc, SegmentKind};
use crate::slab::Slab;
use crate::table::try_push;
use crate::vm::{TablePages, Update, Vm};
use crate::vmid::Vmids;
use crate::watch::Watch;

/// A range of addresses that memory is given out of.
#[derive(Clone, Copy, Debug)]
pub struct SegmentConfig {
    /// What lies behind it: VRAM, or system pages through the GART. SYSTEM has no addresses and no segment.
    pub domain: Domain,
    /// Offset of its first byte as all offsets of its blocks count; a multiple of the page size.
    pub base: u64,
    /// Size in bytes; a multiple of the page size, not zero.
    pub size: u64,
}

/// A request for a range of a segment. Units are bytes.
#[derive(Clone, Debug)]
pub struct AllocRequest {
    /// Size, not zero; rounded up to pages.
    pub size: u64,
    /// Alignment of the offset: a power of two; less than a page, zero included, means one page.
    pub align: u64,
    /// The end of the segment to search from.
    pub from: From,
    /// Offsets within which the range must lie; `None` for the whole segment.
    pub within: Option<Range<u64>>,
}

/// A range that was given out. Units are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Names it from now on.
    pub id: BlockId,
    /// The segment it lies in.
    pub segment: SegmentId,
    /// Offset of its first byte, from the segment's base on.
    pub offset: u64,
    /// Size, a multiple of the page size.
    pub size: u64,
    /// Who it belongs to: never `Free`.
    pub kind: BlockKind,
}

/// How full a segment is. Sizes are bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentStats {
    /// Size of the segment.
    pub size: u64,
    /// In blocks, reserved ones included.
    pub used: u64,
    /// In reserved blocks.
    pub reserved: u64,
    /// The longest free range.
    pub longest_free: u64,
    /// Number of blocks, reserved ones included.
    pub blocks: u64,
    /// Number of free ranges.
    pub holes: u64,
}

/// The memory manager's decisions for one device.
///
/// Callers hold it behind one lock of their own: each call is short and finishes what it began.
pub struct Policy {
    pub(crate) page: PageSize,
    pub(crate) segments: Vec<Segment>,
    pub(crate) mm: Manager,
    pub(crate) bos: Slab<Bo>,
    pub(crate) moves: Slab<Move>,
    pub(crate) vms: Slab<Vm>,
    pub(crate) updates: Slab<Update>,
    pub(crate) table_pages: TablePages,
    pub(crate) pasids: Pasids,
    pub(crate) vmids: Vmids,
    pub(crate) watch: Watch,
    pub(crate) journal: Journal,
}

impl Policy {
    /// A policy without segments. `page` is the granule of all of them in bytes, a power of two.
    pub fn new(page: u64) -> Result<Self, Error> {
        let page = PageSize::new(page)?;
        Ok(Self {
            page,
            segments: Vec::new(),
            mm: Manager::new(),
            bos: Slab::new(),
            moves: Slab::new(),
            vms: Slab::new(),
            updates: Slab::new(),
            table_pages: TablePages::default(),
            pasids: Pasids::new(),
            vmids: Vmids::try_new()?,
            watch: Watch::default(),
            journal: Journal::default(),
        })
    }

    /// Adds a segment of VRAM that the CPU reaches, or of the GART for snooped accesses. The first one of a domain
    /// is where that domain's buffers go.
    pub fn add_segment(&mut self, config: &SegmentConfig) -> Result<SegmentId, Error> {
        let kind = match config.domain {
            Domain::System => return Err(Error::Invalid),
            Domain::Gtt => SegmentKind::Snooped,
            Domain::Vram => SegmentKind::Local,
        };
        self.add_segment_of(&SegmentDesc { kind, base: config.base, size: config.size })
    }

    /// Adds a segment of any kind. Segments of one domain share its addresses and must not overlap.
    pub fn add_segment_of(&mut self, desc: &SegmentDesc) -> Result<SegmentId, Error> {
        if !self.page.is_aligned(desc.base | desc.size) || desc.kind == SegmentKind::System {
            return Err(Error::Invalid);
        }
        let end = desc.base.checked_add(desc.size).ok_or(Error::Invalid)?;
        let overlaps = |other: &Segment| {
            let other_end = other.base.saturating_add(self.page.to_bytes(other.heap.stats().size));
            other.kind.domain() == desc.kind.domain() && desc.base < other_end && other.base < end
        };
        if self.mm.is_started() || self.segments.iter().any(overlaps) {
            return Err(Error::Invalid);
        }
        if self.segments.len() >= MAX_SEGMENTS {
            return Err(Error::NoSpace);
        }
        let id = SegmentId(u8::try_from(self.segments.len()).map_err(|_| Error::NoSpace)?);
        let heap = Heap::try_new(self.page.pages_down(desc.size))?;
        try_push(&mut self.segments, Segment { kind: desc.kind, base: desc.base, heap })?;
        Ok(id)
    }

    /// Takes a range of a segment: the first one from the wanted end that fits.
    ///
    /// [`Error::NoSpace`] means that no free range fits, whatever the fragmentation. The time is that of a few
    /// walks from root to leaf of a balanced tree, except where an alignment beyond the page meets a segment
    /// whose free ranges are all too short to surely hold an aligned one: then each is looked at.
    pub fn alloc(&mut self, segment: SegmentId, request: &AllocRequest) -> Result<Allocation, Error> {
        self.take(segment, request, BlockKind::Caller)
    }

    /// Takes a range for somebody else than the memory manager.
    pub(crate) fn take(
        &mut self,
        segment: SegmentId,
        request: &AllocRequest,
        kind: BlockKind,
    ) -> Result<Allocation, Error> {
        let range = self.alloc_as(segment, request, kind)?;
        self.journal.note(Note::Took { segment, offset: range.offset, size: range.size });
        Ok(range)
    }

    /// Gives such a range back.
    pub(crate) fn give(&mut self, id: BlockId) -> Result<(), Error> {
        let Allocation { segment, offset, .. } = self.allocation(id)?;
        self.release(id)?;
        self.journal.note(Note::Gave { segment, offset });
        Ok(())
    }

    pub(crate) fn alloc_as(
        &mut self,
        segment: SegmentId,
        request: &AllocRequest,
        kind: BlockKind,
    ) -> Result<Allocation, Error> {
        let page = self.page;
        let len = page.pages_down(page.round_up(request.size)?);
        let target = self.segments.get_mut(usize::from(segment.0)).ok_or(Error::Unknown)?;
        let align = request.align.max(page.bytes());
        // An alignment holds for the offset, base included; a base that is less aligned cannot promise that.
        if !align.is_power_of_two() || target.base & align.wrapping_sub(1) != 0 {
            return Err(Error::Invalid);
        }
        let within = match &request.within {
            None => 0..u64::MAX,
            Some(limits) => {
                let low = limits.start.saturating_sub(target.base);
                let high = limits.end.saturating_sub(target.base);
                page.pages_up(low)..page.pages_down(high)
            }
        };
        let wish = Request { len, align: page.pages_down(align), from: request.from, within };
        let key = target.heap.alloc(&wish, kind)?;
        self.taken(segment, BlockId::pack(segment, key))
    }

    /// Takes a fixed range: [`Error::NoSpace`] when a page of it is taken already.
    ///
    /// Both ends are widened to whole pages.
    pub fn reserve(&mut self, segment: SegmentId, offset: u64, size: u64) -> Result<Allocation, Error> {
        let target = self.segments.get_mut(usize::from(segment.0)).ok_or(Error::Unknown)?;
        let start = offset.checked_sub(target.base).ok_or(Error::Invalid)?;
        let end = start.checked_add(size).ok_or(Error::Invalid)?;
        if size == 0 {
            return Err(Error::Invalid);
        }
        let (start, end) = (self.page.pages_down(start), self.page.pages_up(end));
        let key = target.heap.reserve(start, end.saturating_sub(start))?;
        let range = self.taken(segment, BlockId::pack(segment, key))?;
        self.journal.note(Note::Took { segment, offset: range.offset, size: range.size });
        Ok(range)
    }

    fn taken(&mut self, segment: SegmentId, id: BlockId) -> Result<Allocation, Error> {
        let range = self.allocation(id)?;
        self.note(segment, &range, false);
        Ok(range)
    }

    /// Gives back what `alloc` or `reserve` gave. What belongs to a buffer is [`Error::Busy`]: its buffer
    /// object frees it.
    pub fn free(&mut self, id: BlockId) -> Result<(), Error> {
        if self.allocation(id)?.kind == BlockKind::Buffer {
            return Err(Error::Busy);
        }
        self.give(id)
    }

    pub(crate) fn release(&mut self, id: BlockId) -> Result<(), Error> {
        let (segment, key) = id.unpack().ok_or(Error::Unknown)?;
        let range = self.allocation(id)?;
        let target = self.segments.get_mut(usize::from(segment.0)).ok_or(Error::Unknown)?;
        target.heap.free(key)?;
        self.note(segment, &range, true);
        Ok(())
    }

    /// Where a segment's offsets start.
    pub(crate) fn segment_base(&self, segment: SegmentId) -> Result<u64, Error> {
        Ok(self.segment(segment)?.base)
    }

    pub(crate) fn heap_mut(&mut self, segment: SegmentId) -> Result<&mut Heap, Error> {
        Ok(&mut self.segments.get_mut(usize::from(segment.0)).ok_or(Error::Unknown)?.heap)
    }

    /// What an id names.
    pub fn allocation(&self, id: BlockId) -> Result<Allocation, Error> {
        let (segment, key) = id.unpack().ok_or(Error::Unknown)?;
        let target = self.segment(segment)?;
        let block = target.heap.block(key)?;
        Ok(Allocation {
            id,
            segment,
            offset: target.base.saturating_add(self.page.to_bytes(block.start)),
            size: self.page.to_bytes(block.len),
            kind: block.kind,
        })
    }

    /// The block that holds an offset of a segment; [`Error::Unknown`] when it is free or outside.
    pub fn find(&self, segment: SegmentId, offset: u64) -> Result<Allocation, Error> {
        let target = self.segment(segment)?;
        let page = self.page.pages_down(offset.checked_sub(target.base).ok_or(Error::Unknown)?);
        let key = target.heap.find(page).ok_or(Error::Unknown)?;
        self.allocation(BlockId::pack(segment, key))
    }

    /// How full a segment is.
    pub fn stats(&self, segment: SegmentId) -> Result<SegmentStats, Error> {
        let stats = self.segment(segment)?.heap.stats();
        Ok(SegmentStats {
            size: self.page.to_bytes(stats.size),
            used: self.page.to_bytes(stats.used),
            reserved: self.page.to_bytes(stats.reserved),
            longest_free: self.page.to_bytes(stats.longest_free),
            blocks: stats.blocks,
            holes: stats.holes,
        })
    }

    /// How many blocks of `size` bytes, a power of two of pages, at multiples of that are wholly free in a segment. Looks
    /// at each of its ranges.
    pub fn free_blocks(&self, segment: SegmentId, size: u64) -> Result<u64, Error> {
        if !size.is_power_of_two() || size < self.page.bytes() {
            return Err(Error::Invalid);
        }
        let segment = self.segment(segment)?;
        Ok(segment.heap.free_blocks(self.page.pages_down(segment.base), self.page.pages_down(size)))
    }

    /// How full the segments of a domain's buffers are, together; the longest free range is that of one of them.
    pub fn stats_of(&self, domain: Domain) -> Result<SegmentStats, Error> {
        let fits = |kind: SegmentKind| kind.domain() == domain && !kind.is_own() && kind != SegmentKind::Paging;
        let mut sum: Option<SegmentStats> = None;
        for id in self.segment_ids().filter(|id| self.kind(*id).is_some_and(fits)) {
            let (one, all) = (self.stats(id)?, sum.unwrap_or_default());
            sum = Some(SegmentStats {
                size: all.size.saturating_add(one.size),
                used: all.used.saturating_add(one.used),
                reserved: all.reserved.saturating_add(one.reserved),
                longest_free: all.longest_free.max(one.longest_free),
                blocks: all.blocks.saturating_add(one.blocks),
                holes: all.holes.saturating_add(one.holes),
            });
        }
        sum.ok_or(Error::Unknown)
    }

    /// The segment of a domain where the driver's own ranges go: its own one, or the first.
    pub fn segment_of(&self, domain: Domain) -> Result<SegmentId, Error> {
        let ids = || self.segment_ids().filter(|id| self.kind(*id).is_some_and(|kind| kind.domain() == domain));
        let own = ids().find(|id| self.kind(*id).is_some_and(SegmentKind::is_own));
        own.or_else(|| ids().next()).ok_or(Error::Unknown)
    }

    /// The segment of a domain where its buffers go: the first that is not the driver's own.
    pub fn buffer_segment_of(&self, domain: Domain) -> Result<SegmentId, Error> {
        let fits = |kind: SegmentKind| kind.domain() == domain && !kind.is_own();
        self.segment_ids().find(|id| self.kind(*id).is_some_and(fits)).ok_or(Error::Unknown)
    }

    /// The segment of a domain that has a byte, whoever it is for.
    pub fn segment_at(&self, domain: Domain, offset: u64) -> Result<SegmentId, Error> {
        let has = |id: SegmentId| {
            let Ok(segment) = self.segment(id) else { return false };
            let size = self.page.to_bytes(segment.heap.stats().size);
            segment.kind.domain() == domain && offset.checked_sub(segment.base).is_some_and(|at| at < size)
        };
        self.segment_ids().find(|id| has(*id)).ok_or(Error::Invalid)
    }

    /// A buffer object as it is now.
    pub fn bo_info(&self, id: BoId) -> Result<BoInfo, Error> {
        Ok(self.bo(id)?.info())
    }

    /// Number of buffer objects and of moves in flight: both zero before a clean end.
    pub fn in_use(&self) -> (u32, u32) {
        (self.bos.len(), self.moves.len())
    }

    pub(crate) fn bo(&self, id: BoId) -> Result<&Bo, Error> {
        self.bos.get(id.unpack().ok_or(Error::Unknown)?)
    }

    /// The granule of all segments, in bytes.
    pub fn page_size(&self) -> u64 {
        self.page.bytes()
    }

    pub(crate) fn segment(&self, id: SegmentId) -> Result<&Segment, Error> {
        self.segments.get(usize::from(id.0)).ok_or(Error::Unknown)
    }
}
