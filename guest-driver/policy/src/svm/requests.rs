// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What is asked of the policy besides faults: counters of accesses, prefetch that somebody wants, what is to be mapped
//! again, a CPU's fault, a chunk to evict.

use core::ops::Range;

use super::attributes::Place;
use super::batch::{first_record, Output};
use super::chunks::Owner;
use super::decide::counters_move;
use super::log::{Record, RecordKind};
use super::pages::{block_of, block_va, page_of, Pages, BLOCK_SHIFT};
use super::thrash::Verdict;
use super::{Action, Region, SpaceId, Svm};
use crate::error::Error;

/// A counter of accesses to remote pages has come to its threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Whose.
    pub space: SpaceId,
    /// First address that it counts for.
    pub va: u64,
    /// Bytes that it counts for; what lies beyond the block of `va` is not looked at.
    pub bytes: u64,
}

impl Svm {
    /// Decides what to do about accesses that were counted; gives the number of regions, at most one for each. Those
    /// that find no room in `out` are dropped: the counter will come again.
    pub fn counted(&mut self, notifications: &[Notification], now: u64, out: &mut [Region]) -> usize {
        let mut out = Output { regions: out, len: 0 };
        for notification in notifications {
            let Ok(space) = self.slot(notification.space) else { continue };
            let record = Record::new(now, RecordKind::Counter, notification.va, 0).value(notification.bytes);
            self.note(space, Some(record), |stats| stats.notifications = stats.notifications.saturating_add(1));
            let switches = self.config.switches;
            let number = block_of(notification.va);
            let Ok(slot) = self.block(space, number) else { continue };
            let known = self.known(Some(slot), now);
            let Some(ranges) = self.spaces.at(space).map(|space| &space.ranges) else { continue };
            let end = notification.va.saturating_add(notification.bytes);
            let near = Pages::of_bytes(number, notification.va, end);
            let may = ranges.pages(number, |said| counters_move(ranges, said));
            let pages = (near & may).minus(known.vram).minus(known.hot);
            if !switches.counters || !switches.migrate || known.away || pages.is_empty() {
                continue;
            }
            if out.push(region(notification.space, number, Action::ToVram, pages)).is_none() {
                continue;
            }
            self.count(space, Action::ToVram, pages);
            self.note(space, None, |stats| stats.counted = stats.counted.saturating_add(pages.count().into()));
        }
        out.len
    }

    /// Somebody wants a range to be at `to`: what to do about the first block of it (perhaps nothing: no pages), and
    /// where to go on, if there is more.
    pub fn prefetch(
        &mut self,
        space: SpaceId,
        range: &Range<u64>,
        to: Place,
        now: u64,
    ) -> Result<(Region, Option<u64>), Error> {
        let slot = self.slot(space)?;
        if range.start >= range.end {
            return Err(Error::Invalid);
        }
        let action = match to {
            Place::Vram => Action::ToVram,
            Place::System => Action::ToSystem,
            Place::Both => Action::Duplicate,
        };
        let number = block_of(range.start);
        let next = block_va(number).checked_add(1 << BLOCK_SHIFT).filter(|next| *next < range.end);
        let block = self.block(slot, number).ok();
        let known = self.known(block, now);
        let ranges = &self.spaces.at(slot).ok_or(Error::Unknown)?.ranges;
        let may = ranges.pages(number, |said| ranges.is_migratable(said) && (to == Place::System || !said.no_access));
        let mut pages = Pages::of_bytes(number, range.start, range.end) & may;
        if to != Place::System {
            pages = pages.minus(known.vram);
            if let Some(block) = block.and_then(|block| self.blocks.get_mut(block)) {
                block.awaited |= pages;
            }
        }
        self.count(slot, action, pages);
        let record = first_record(now, RecordKind::Prefetch, number, pages).map(|record| record.place(to).detail(2));
        self.note(slot, record, |stats| stats.asked = stats.asked.saturating_add(pages.count().into()));
        Ok((region(space, number, action, pages), next))
    }

    /// Pages of a space that should be mapped and are not: to be mapped where they are. `None`: no more.
    pub fn next_map(&mut self, space: SpaceId) -> Option<Region> {
        let of = self.slot(space).ok()?;
        loop {
            let (slot, pages) = self.blocks.next_map(of)?;
            let Some(block) = self.blocks.get(slot) else { continue };
            let (number, pages) = (block.number, pages.minus(block.mapped));
            if pages.is_empty() {
                continue;
            }
            self.note(of, None, |stats| stats.remapped = stats.remapped.saturating_add(pages.count().into()));
            return Some(region(space, number, Action::Map, pages));
        }
    }

    /// The CPU touched a page in VRAM. It comes back at once, or should wait until then: the device has its slice.
    pub fn cpu_fault(&mut self, space: SpaceId, va: u64, now: u64) -> Result<Option<u64>, Error> {
        let slot = self.slot(space)?;
        let config = self.config.thrash;
        if !self.config.switches.thrash {
            return Ok(None);
        }
        let block = self.known_block(slot, block_of(va)).and_then(|block| self.blocks.get_mut(block));
        let Some(watch) = block.and_then(|block| block.watch.as_mut()) else { return Ok(None) };
        let Verdict::Wait(until) = watch.judge(&config, page_of(va), false, now) else { return Ok(None) };
        let record = Record::new(now, RecordKind::Throttle, va, 1).value(until);
        self.note(slot, Some(record), |stats| stats.throttled = stats.throttled.saturating_add(1));
        Ok(Some(until))
    }

    /// The chunk of VRAM that should be emptied first. It is not named again until it was told to be free, used or
    /// not to go. `None`: none is in use.
    pub fn victim(&mut self, now: u64) -> Option<u32> {
        let Self { config, spaces, blocks, chunks, .. } = self;
        let may_stay = |owner: Owner| {
            let Some(space) = spaces.at(owner.space) else { return false };
            let Some(block) = space.index.find(owner.block).and_then(|slot| blocks.get(slot)) else { return false };
            let prefers = space.ranges.pages(owner.block, |said| said.preferred == Some(Place::Vram));
            let hot = block.watch.as_ref().map_or(Pages::NONE, |watch| watch.hot(&config.thrash, now));
            let fresh = now.saturating_sub(block.came) < config.thrash.slice;
            fresh || !((prefers | hot) & block.vram).is_empty()
        };
        let spare = config.switches.spare;
        chunks.pick(|owner| spare && may_stay(owner))
    }

    /// A block's chunk counts as used now.
    pub(crate) fn touch_chunk(&mut self, slot: Option<u32>) {
        let Some(block) = slot.and_then(|slot| self.blocks.get(slot)) else { return };
        if let Some(chunk) = block.chunk {
            self.chunks.touch(chunk, Owner { space: block.space, block: block.number });
        }
    }
}

fn region(space: SpaceId, number: u64, action: Action, pages: Pages) -> Region {
    let va = block_va(number);
    let (faulted, written) = (Pages::NONE, Pages::NONE);
    Region { space, va, until: 0, action, replay: false, guess: true, pages, faulted, written }
}
