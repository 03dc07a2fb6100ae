// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A batch of faults becomes a plan: sorted, without duplicates, block by block.

use alloc::vec::Vec;

use super::correlate::Successors;
use super::decide::{comes_to_vram, Known};
use super::log::{Record, RecordKind};
use super::pages::{block_of, block_va, page_of, Pages, BLOCK_ORDER, PAGE_SHIFT};
use super::{density, Access, Action, Attributes, Fault, Place, Region, Replay, SpaceId, Svm};
use crate::error::Error;
use crate::table::{partition_point, try_push, try_reserve, Few};

/// Most faults of a batch.
pub const MAX_FAULTS: usize = 256;
/// Most spaces of a batch for which it is guessed what comes next.
const GUESSED_SPACES: usize = 8;

/// A plan's regions are in the caller's buffer; this says the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Number of regions.
    pub regions: usize,
    /// Before faults are answered, take in what came meanwhile.
    pub flush: bool,
    /// Faults are answered with a later plan.
    pub hold: bool,
}

/// Room for a batch and its plan, for callers that have none.
pub struct Batch {
    faults: Vec<Fault>,
    regions: Vec<Region>,
}

/// Regions that a [`Batch`] has room for.
pub const MAX_REGIONS: usize = MAX_FAULTS + 64;

impl Batch {
    /// Takes the memory for it, once.
    pub fn try_new() -> Result<Self, Error> {
        let mut batch = Self { faults: Vec::new(), regions: Vec::new() };
        try_reserve(&mut batch.faults, MAX_FAULTS)?;
        try_reserve(&mut batch.regions, MAX_REGIONS)?;
        let nowhere = SpaceId::from_raw(0);
        let (pages, faulted, written) = (Pages::NONE, Pages::NONE, Pages::NONE);
        let filler = Region {
            space: nowhere,
            va: 0,
            until: 0,
            action: Action::Map,
            replay: false,
            guess: true,
            pages,
            faulted,
            written,
        };
        for _ in 0..MAX_REGIONS {
            try_push(&mut batch.regions, filler)?;
        }
        Ok(batch)
    }

    /// No fault is in it.
    pub fn clear(&mut self) {
        self.faults.clear();
    }

    /// Puts a fault in. [`Error::Limit`]: it is full.
    pub fn push(&mut self, fault: Fault) -> Result<(), Error> {
        if self.faults.len() >= MAX_FAULTS {
            return Err(Error::Limit);
        }
        try_push(&mut self.faults, fault)
    }

    /// The faults, and room for regions: at most `regions`.
    pub fn parts(&mut self, regions: usize) -> (&mut [Fault], &mut [Region]) {
        let room = self.regions.get_mut(..regions.min(MAX_REGIONS)).unwrap_or_default();
        (&mut self.faults, room)
    }
}

/// Regions on their way to the caller.
pub(crate) struct Output<'a> {
    pub(crate) regions: &'a mut [Region],
    pub(crate) len: usize,
}

impl Output<'_> {
    /// Appends a region if there is room, and says where.
    pub(crate) fn push(&mut self, region: Region) -> Option<u32> {
        *self.regions.get_mut(self.len)? = region;
        let at = u32::try_from(self.len).ok();
        self.len = self.len.saturating_add(1);
        at
    }
}

/// What one action is to be done to.
#[derive(Clone, Copy, Default)]
struct Share {
    faulted: Pages,
    written: Pages,
    /// Neighbours for whom the reason holds too.
    spread: Pages,
    eager: bool,
}

fn key(fault: &Fault) -> (u64, u64, core::cmp::Reverse<Access>) {
    (fault.space.raw(), fault.va >> PAGE_SHIFT, core::cmp::Reverse(fault.access))
}

/// By space, block, page; the strongest access to a page first. (The library's sorts can panic.)
fn sort(faults: &mut [Fault]) {
    for gap in [132usize, 57, 23, 10, 4, 1] {
        for end in gap..faults.len() {
            let mut at = end;
            while let Some(before) = at.checked_sub(gap) {
                let (Some(low), Some(high)) = (faults.get(before).copied(), faults.get(at).copied()) else { break };
                if key(&low) <= key(&high) {
                    break;
                }
                if let Some(place) = faults.get_mut(before) {
                    *place = high;
                }
                if let Some(place) = faults.get_mut(at) {
                    *place = low;
                }
                at = before;
            }
        }
    }
}

impl Svm {
    /// Decides what to do about faults. `more`: there are others in the buffer. `out` has room for as many regions as
    /// there are faults, and some for guesses.
    ///
    /// [`Error::Invalid`]: more than [`MAX_FAULTS`], or too little room. Lack of memory makes for worse guesses only.
    pub fn serve(&mut self, faults: &mut [Fault], more: bool, now: u64, out: &mut [Region]) -> Result<Plan, Error> {
        if faults.len() > MAX_FAULTS || out.len() < faults.len() {
            return Err(Error::Invalid);
        }
        let mut out = Output { regions: out, len: 0 };
        let lasts = self.learn(faults);
        sort(faults);
        let (mut rest, mut wanted) = (faults, 0u32);
        while let Some(first) = rest.first().copied() {
            let here = (first.space, block_of(first.va));
            let len = partition_point(rest, |fault| (fault.space, block_of(fault.va)) == here);
            let Some((group, others)) = core::mem::take(&mut rest).split_at_mut_checked(len) else { break };
            self.serve_block(group, first, now, &mut out);
            wanted = wanted.saturating_add(1);
            rest = others;
        }
        let mut room = self.chunks.batch(wanted);
        for (space, block) in lasts.as_slice() {
            self.guess(*space, *block, now, &mut room, &mut out);
        }
        let replay = self.config.replay;
        Ok(Plan { regions: out.len, flush: replay == Replay::BatchFlush, hold: replay == Replay::Once && more })
    }

    fn serve_block(&mut self, group: &mut [Fault], first: Fault, now: u64, out: &mut Output) {
        let Ok(space) = self.slot(first.space) else {
            group.iter_mut().for_each(|fault| fault.region = Fault::UNSERVED);
            return;
        };
        let number = block_of(first.va);
        let slot = self.block(space, number).ok();
        let known = self.known(slot, now);
        self.touch_chunk(slot);
        let mut shares = [Share::default(); Action::COUNT];
        let mut until = 0;
        let mut last: Option<(u32, Action)> = None;
        let mut said = (Attributes::DEFAULT, 0..0, false);
        for fault in group.iter_mut() {
            let page = page_of(fault.va);
            self.note(space, None, |stats| stats.faults = stats.faults.saturating_add(1));
            if let Some((_, action)) = last.filter(|(of, _)| *of == page) {
                fault.region = action as u32;
                self.note(space, None, |stats| stats.duplicates = stats.duplicates.saturating_add(1));
                continue;
            }
            if !said.1.contains(&fault.va) {
                if let Some(space) = self.spaces.at(space) {
                    let (attributes, range) = space.ranges.at(fault.va);
                    said = (attributes, range, space.ranges.is_migratable(&attributes));
                }
            }
            let (attributes, range, migratable) = &said;
            let decision = self.decide(slot, &known, (page, fault.access), (attributes, *migratable), now);
            let granule = u32::from(attributes.granule.unwrap_or(self.config.granule));
            let granule = if decision.all { BLOCK_ORDER } else { granule };
            if let Some(share) = shares.get_mut(decision.action as usize) {
                share.faulted.add(page);
                if fault.access != Access::Read {
                    share.written.add(page);
                }
                if decision.spreads {
                    share.spread |= Pages::around(page, granule) & Pages::of_bytes(number, range.start, range.end);
                }
                share.eager |= attributes.eager_replay;
            }
            until = until.max(decision.until);
            self.note_fault(space, fault, &known, decision.action, now);
            if decision.action == Action::Throttle {
                let record = Record::new(now, RecordKind::Throttle, fault.va, 1).value(decision.until);
                self.note(space, Some(record), |stats| stats.throttled = stats.throttled.saturating_add(1));
            }
            if let Some(end) = decision.pinned {
                let place = if decision.action == Action::ToVram { Place::Vram } else { Place::System };
                let record = Record::new(now, RecordKind::Pin, fault.va, 1).place(place).value(end);
                self.note(space, Some(record), |stats| stats.pinned = stats.pinned.saturating_add(1));
            }
            fault.region = decision.action as u32;
            last = Some((page, decision.action));
        }
        let mut places = [Fault::UNSERVED; Action::COUNT];
        let mut all = shares.iter().fold(Pages::NONE, |all, share| all | share.faulted);
        for ((action, share), place) in Action::EACH.into_iter().zip(&shares).zip(&mut places) {
            if share.faulted.is_empty() {
                continue;
            }
            let pages = share.faulted | self.company(space, (slot, number), &known, action, share, all, now);
            all |= pages;
            self.count(space, action, pages);
            let region = Region {
                space: first.space,
                va: block_va(number),
                until: if action == Action::Throttle { until } else { 0 },
                action,
                replay: action != Action::Throttle && (share.eager || self.config.replay == Replay::Block),
                guess: false,
                pages,
                faulted: share.faulted,
                written: share.written,
            };
            *place = out.push(region).unwrap_or(Fault::UNSERVED);
        }
        for fault in group {
            fault.region = places.get(fault.region as usize).copied().unwrap_or(Fault::UNSERVED);
        }
        self.note(space, None, |stats| stats.blocks = stats.blocks.saturating_add(1));
    }

    /// The pages that come along with those that faulted; `all` have actions of their own.
    #[allow(clippy::too_many_arguments)]
    fn company(
        &mut self,
        space: u32,
        (slot, number): (Option<u32>, u64),
        known: &Known,
        action: Action,
        share: &Share,
        all: Pages,
        now: u64,
    ) -> Pages {
        let switches = self.config.switches;
        let Some(ranges) = self.spaces.at(space).map(|space| &space.ranges) else { return Pages::NONE };
        let free = |pages: Pages| pages.minus(all).minus(known.hot);
        let spread = free(share.spread);
        match action {
            Action::ToVram => {
                let comes = ranges.pages(number, |attributes| comes_to_vram(ranges, &switches, attributes));
                let eligible = free(comes).minus(known.vram).minus(known.stuck);
                let granule = spread & eligible;
                let present = known.vram | share.faulted | granule;
                let dense = if switches.density {
                    density::expand(share.faulted, present, eligible, self.config.density)
                } else {
                    Pages::NONE
                };
                let company = granule | dense;
                if let Some(block) = slot.and_then(|slot| self.blocks.get_mut(slot)) {
                    block.awaited = company;
                }
                let record = first_record(now, RecordKind::Prefetch, number, company).map(|it| it.place(Place::Vram));
                self.note(space, record, |stats| {
                    stats.granule = stats.granule.saturating_add(granule.count().into());
                    stats.density = stats.density.saturating_add(dense.count().into());
                });
                company
            }
            // Mapping ahead is for pages that would be mapped there anyway, not for those that a fault would move.
            Action::Map => {
                let stays = |attributes: &Attributes| {
                    !attributes.no_access
                        && attributes.preferred.is_none()
                        && (attributes.accessed_by_device || !ranges.is_migratable(attributes) || !switches.migrate)
                };
                spread & (known.vram.minus(known.both) | ranges.pages(number, stays))
            }
            Action::MapRemote | Action::Duplicate => spread.minus(known.vram),
            Action::ToSystem => spread & known.vram,
            Action::MapExclusive | Action::Throttle | Action::Deny => Pages::NONE,
        }
    }

    fn note_fault(&mut self, space: u32, fault: &Fault, known: &Known, action: Action, now: u64) {
        let page = page_of(fault.va);
        let seen = known.mapped.has(page) && (fault.access == Access::Read || known.writable.has(page));
        let record =
            Record::new(now, RecordKind::Fault, fault.va, 1).detail(fault.access as u32).value(fault.tag.into());
        self.note(space, Some(record), |stats| stats.stale = stats.stale.saturating_add(u64::from(seen)));
        if action == Action::Deny {
            let record = Record::new(now, RecordKind::Denied, fault.va, 1).detail(fault.access as u32);
            self.note(space, Some(record), |stats| stats.denied = stats.denied.saturating_add(1));
        }
    }

    pub(crate) fn count(&mut self, space: u32, action: Action, pages: Pages) {
        let pages = u64::from(pages.count());
        self.note(space, None, |stats| {
            let count = match action {
                Action::Map => &mut stats.mapped,
                Action::MapRemote | Action::MapExclusive => &mut stats.remote,
                Action::Duplicate => &mut stats.duplicated,
                Action::ToVram => &mut stats.to_vram,
                Action::ToSystem => &mut stats.to_system,
                Action::Throttle | Action::Deny => return,
            };
            *count = count.saturating_add(pages);
        });
    }

    /// Learns which block follows which, from faults in the order in which they came; gives the last block of each
    /// space.
    fn learn(&mut self, faults: &[Fault]) -> Few<(u32, u64), GUESSED_SPACES> {
        let mut lasts = Few::new((0, 0));
        if !self.config.switches.correlation || self.config.degree == 0 {
            return lasts;
        }
        for fault in faults {
            let Ok(slot) = self.slot(fault.space) else { continue };
            let Some(space) = self.spaces.at_mut(slot) else { continue };
            if space.successors.is_none() {
                space.successors = Successors::try_new().ok();
            }
            if let Some(successors) = &mut space.successors {
                successors.learn(block_of(fault.va));
            }
        }
        for fault in faults.iter().rev() {
            let Ok(slot) = self.slot(fault.space) else { continue };
            if !lasts.as_slice().iter().any(|(known, _)| *known == slot) {
                lasts.push((slot, block_of(fault.va)));
            }
        }
        lasts
    }

    /// Brings what the block that was faulted on needed the last time, and what should be faulted on next: of `room`
    /// other blocks at most.
    fn guess(&mut self, space: u32, block: u64, now: u64, room: &mut u32, out: &mut Output) {
        let (Some(id), degree) = (self.id(space), self.config.degree) else { return };
        let mut next = Few::<u64, { super::correlate::MAX_DEGREE + 1 }>::new(0);
        next.push(block);
        let successors = self.spaces.at_mut(space).and_then(|space| space.successors.as_mut());
        if let Some(successors) = successors {
            successors.follow(block, degree, |number| next.push(number));
        }
        for number in next.as_slice() {
            let Some(slot) = self.known_block(space, *number) else { continue };
            let known = self.known(Some(slot), now);
            if known.away {
                continue;
            }
            let Some(ranges) = self.spaces.at(space).map(|space| &space.ranges) else { continue };
            let comes = ranges.pages(*number, |said| comes_to_vram(ranges, &self.config.switches, said));
            let learned = self.blocks.get(slot).map_or(Pages::NONE, |block| block.learned);
            let planned = out.regions.iter().take(out.len).fold(Pages::NONE, |planned, region| {
                let same = region.space == id && region.va == block_va(*number);
                if same {
                    planned | region.pages
                } else {
                    planned
                }
            });
            let pages = (learned & comes).minus(known.vram).minus(known.hot).minus(known.stuck).minus(planned);
            let region = Region {
                space: id,
                va: block_va(*number),
                until: 0,
                action: Action::ToVram,
                replay: false,
                guess: true,
                pages,
                faulted: Pages::NONE,
                written: Pages::NONE,
            };
            let cost = u32::from(*number != block);
            if pages.is_empty() || *room < cost || out.push(region).is_none() {
                continue;
            }
            *room = room.saturating_sub(cost);
            if let Some(block) = self.blocks.get_mut(slot) {
                block.awaited |= pages;
            }
            self.count(space, Action::ToVram, pages);
            let record = first_record(now, RecordKind::Prefetch, *number, pages);
            let record = record.map(|record| record.place(Place::Vram).detail(1));
            self.note(space, record, |stats| {
                stats.correlated = stats.correlated.saturating_add(pages.count().into());
            });
        }
    }
}

/// A record about pages of a block, if there are any.
pub(crate) fn first_record(now: u64, kind: RecordKind, block: u64, pages: Pages) -> Option<Record> {
    let first = pages.next(0)?;
    let va = block_va(block).wrapping_add(u64::from(first).wrapping_shl(PAGE_SHIFT));
    Some(Record::new(now, kind, va, pages.count()))
}
