// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Address spaces: made, advised, asked, ended.

use core::ops::Range;

use super::attributes::RangeTable;
use super::blocks::Index;
use super::correlate::Successors;
use super::log::Log;
use super::thrash::Watch;
use super::{Advice, Attributes, Record, SpaceId, Svm, SvmStats};
use crate::error::Error;

/// Blocks that are looked at when too many are watched.
const WATCHES_LOOKED_AT: u32 = 64;

/// What is known of an address space.
pub(crate) struct Space {
    pub(crate) ranges: RangeTable,
    pub(crate) index: Index,
    pub(crate) successors: Option<Successors>,
    pub(crate) log: Log,
    pub(crate) stats: SvmStats,
}

impl Svm {
    /// A new space, of which nothing is known.
    pub fn create(&mut self) -> Result<SpaceId, Error> {
        let space = Space {
            ranges: RangeTable::new(),
            index: Index::new(),
            successors: None,
            log: Log::off(),
            stats: SvmStats::default(),
        };
        self.spaces.insert(space).map(SpaceId::pack)
    }

    /// Forgets a space. Its chunks of VRAM stay in use until they are told to be free.
    pub fn destroy(&mut self, space: SpaceId) -> Result<(), Error> {
        let slot = self.slot(space)?;
        while let Some((number, _)) = self.spaces.at(slot).and_then(|space| space.index.from(0)) {
            self.forget_block(slot, number);
        }
        let space = self.spaces.remove(space.unpack().ok_or(Error::Unknown)?)?;
        self.past.add(&space.stats);
        Ok(())
    }

    /// Number of spaces, and of blocks of which something is known.
    pub fn in_use(&self) -> (u32, u32) {
        (self.spaces.len(), self.blocks.len())
    }

    pub(crate) fn slot(&self, space: SpaceId) -> Result<u32, Error> {
        let key = space.unpack().ok_or(Error::Unknown)?;
        self.spaces.get(key).map(|_| key.slot)
    }

    pub(crate) fn id(&self, slot: u32) -> Option<SpaceId> {
        self.spaces.key(slot).map(SpaceId::pack)
    }

    /// A process says something about whole pages of its addresses. [`Error::Limit`]: too many ranges.
    pub fn advise(&mut self, space: SpaceId, range: &Range<u64>, advice: Advice) -> Result<(), Error> {
        let slot = self.slot(space)?;
        self.spaces.at_mut(slot).ok_or(Error::Unknown)?.ranges.advise(range, advice)?;
        if advice == Advice::AccessedByDevice(true) {
            // What of it is known to be there and not mapped is mapped without waiting for a fault.
            self.each_block(slot, range, |svm, slot, _, pages| {
                let missing = svm.blocks.get(slot).map(|block| pages.minus(block.mapped) & block.vram);
                svm.blocks.want_map(slot, missing.unwrap_or_default());
            });
        }
        Ok(())
    }

    /// What was said about an address, and the range around it of which the same was said.
    pub fn attributes(&self, space: SpaceId, va: u64) -> Result<(Attributes, Range<u64>), Error> {
        let slot = self.slot(space)?;
        Ok(self.spaces.at(slot).ok_or(Error::Unknown)?.ranges.at(va))
    }

    /// Number of ranges of which something was said.
    pub fn ranges(&self, space: SpaceId) -> Result<usize, Error> {
        let slot = self.slot(space)?;
        Ok(self.spaces.at(slot).ok_or(Error::Unknown)?.ranges.len())
    }

    /// A new range group; its ranges may move.
    pub fn create_group(&mut self, space: SpaceId) -> Result<u32, Error> {
        let slot = self.slot(space)?;
        self.spaces.at_mut(slot).ok_or(Error::Unknown)?.ranges.create_group()
    }

    /// Ends a range group; its ranges are in none.
    pub fn destroy_group(&mut self, space: SpaceId, group: u32) -> Result<(), Error> {
        let slot = self.slot(space)?;
        self.spaces.at_mut(slot).ok_or(Error::Unknown)?.ranges.destroy_group(group)
    }

    /// Whether the ranges of a group may move.
    pub fn set_migratable(&mut self, space: SpaceId, group: u32, migratable: bool) -> Result<(), Error> {
        let slot = self.slot(space)?;
        self.spaces.at_mut(slot).ok_or(Error::Unknown)?.ranges.set_migratable(group, migratable)
    }

    /// The first range of a group that ends behind `from`, from there on; `None`: there is no other.
    pub fn next_of_group(&self, space: SpaceId, group: u32, from: u64) -> Result<Option<Range<u64>>, Error> {
        let slot = self.slot(space)?;
        self.spaces.at(slot).ok_or(Error::Unknown)?.ranges.next_of_group(group, from)
    }

    /// What happened in a space; `None`: in all there were.
    pub fn stats(&self, space: Option<SpaceId>) -> Result<SvmStats, Error> {
        if let Some(space) = space {
            let slot = self.slot(space)?;
            return self.spaces.at(slot).map(|space| space.stats).ok_or(Error::Unknown);
        }
        let mut sum = self.past;
        self.spaces.iter().for_each(|space| sum.add(&space.stats));
        Ok(sum)
    }

    /// Keeps up to so many records of what happens in a space for its tools; 0: none. Those not read are gone.
    pub fn keep_log(&mut self, space: SpaceId, records: u32) -> Result<(), Error> {
        let slot = self.slot(space)?;
        let log = Log::try_new(records)?;
        self.spaces.at_mut(slot).ok_or(Error::Unknown)?.log = log;
        Ok(())
    }

    /// Takes the oldest records of a space; says how many, and how many were lost since the last call.
    pub fn read_log(&mut self, space: SpaceId, records: &mut [Record]) -> Result<(usize, u64), Error> {
        let slot = self.slot(space)?;
        let space = self.spaces.at_mut(slot).ok_or(Error::Unknown)?;
        let mut taken = 0usize;
        for place in records {
            let Some(record) = space.log.pop() else { break };
            *place = record;
            taken = taken.saturating_add(1);
        }
        let (_, lost) = space.log.state();
        space.stats.records_lost = space.stats.records_lost.saturating_add(lost);
        Ok((taken, lost))
    }

    /// How many records wait to be read.
    pub fn log_len(&mut self, space: SpaceId) -> Result<usize, Error> {
        let slot = self.slot(space)?;
        Ok(self.spaces.at(slot).ok_or(Error::Unknown)?.log.len())
    }

    /// Writes down and counts what happened in a space.
    pub(crate) fn note(&mut self, slot: u32, record: Option<Record>, count: impl FnOnce(&mut SvmStats)) {
        if let Some(space) = self.spaces.at_mut(slot) {
            count(&mut space.stats);
            if let Some(record) = record {
                space.log.push(record);
            }
        }
    }

    /// The block of an address, made if nothing was known of it. The oldest one of all is forgotten if there are too
    /// many.
    pub(crate) fn block(&mut self, space: u32, number: u64) -> Result<u32, Error> {
        let index = &self.spaces.at(space).ok_or(Error::Unknown)?.index;
        if let Some(slot) = index.find(number) {
            self.blocks.touch(slot);
            return Ok(slot);
        }
        if let Some((other, oldest)) = self.blocks.surplus() {
            self.forget_block(other, oldest);
            self.note(other, None, |stats| stats.forgotten = stats.forgotten.saturating_add(1));
        }
        let index = &mut self.spaces.at_mut(space).ok_or(Error::Unknown)?.index;
        self.blocks.insert(index, space, number)
    }

    /// The block of an address, if something is known of it.
    pub(crate) fn known_block(&self, space: u32, number: u64) -> Option<u32> {
        self.spaces.at(space)?.index.find(number)
    }

    pub(crate) fn forget_block(&mut self, space: u32, number: u64) {
        let Some(space) = self.spaces.at_mut(space) else { return };
        let block = self.blocks.remove(&mut space.index, number);
        if block.is_some_and(|block| block.watch.is_some()) {
            self.watched = self.watched.saturating_sub(1);
        }
    }

    /// Calls `act` with the slot and number of each known block that a range touches, and with its pages there.
    pub(crate) fn each_block(
        &mut self,
        space: u32,
        range: &Range<u64>,
        mut act: impl FnMut(&mut Self, u32, u64, super::Pages),
    ) {
        let mut number = super::pages::block_of(range.start);
        let next = |svm: &Self, from| svm.spaces.at(space).and_then(|space| space.index.from(from));
        while let Some((found, slot)) = next(self, number) {
            if super::pages::block_va(found) >= range.end {
                break;
            }
            act(self, slot, found, super::Pages::of_bytes(found, range.start, range.end));
            number = found.saturating_add(1);
        }
    }

    /// Begins to watch the pages of a block, if there is room and memory for that.
    pub(crate) fn watch(&mut self, slot: u32, now: u64) {
        if self.watched >= self.config.thrash.watched {
            self.end_a_watch(now);
        }
        let room = self.watched < self.config.thrash.watched;
        let Some(block) = self.blocks.get_mut(slot).filter(|block| block.watch.is_none()) else { return };
        let space = block.space;
        match Watch::try_new(block.vram, block.came) {
            Ok(watch) if room => {
                block.watch = Some(watch);
                self.watched = self.watched.saturating_add(1);
            }
            _ => self.note(space, None, |stats| stats.unwatched = stats.unwatched.saturating_add(1)),
        }
    }

    /// Looks at some blocks in turn for one that need not be watched any more.
    fn end_a_watch(&mut self, now: u64) {
        for _ in 0..WATCHES_LOOKED_AT {
            self.hand = self.hand.checked_add(1).filter(|hand| *hand < self.blocks.slots()).unwrap_or(0);
            let Some(block) = self.blocks.get_mut(self.hand) else { continue };
            if block.watch.as_ref().is_some_and(|watch| watch.is_over(&self.config.thrash, now)) {
                block.watch = None;
                self.watched = self.watched.saturating_sub(1);
                return;
            }
        }
    }
}
