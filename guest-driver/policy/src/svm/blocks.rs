// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What is believed about blocks. All of it is hearsay: the caller tells what happened after it happened, and blocks
//! that nobody touched for long are forgotten to make room for others.

use alloc::vec::Vec;

use super::pages::Pages;
use super::rounds::Rounds;
use super::thrash::Watch;
use crate::error::Error;
use crate::evict::list::Lists;
use crate::ids::Key;
use crate::slab::Slab;
use crate::table::{partition_point, try_push, try_reserve};

/// A block of which something is known.
pub(crate) struct Block {
    /// Slot of its space.
    pub(crate) space: u32,
    /// Its address, in blocks.
    pub(crate) number: u64,
    /// Pages with their bytes in VRAM.
    pub(crate) vram: Pages,
    /// Pages with a copy at either side.
    pub(crate) both: Pages,
    /// Pages that the device's table shows.
    pub(crate) mapped: Pages,
    /// Those of them that it may write.
    pub(crate) writable: Pages,
    /// Pages that were asked for without a fault, and have not come yet.
    pub(crate) awaited: Pages,
    /// What came to VRAM since the block had nothing there: what it will need when it is needed again.
    pub(crate) learned: Pages,
    /// Pages to be mapped again because somebody always wants them mapped.
    pub(crate) remap: Pages,
    /// The chunk of VRAM that its pages last came to.
    pub(crate) chunk: Option<u32>,
    /// When pages last came to VRAM, in nanoseconds.
    pub(crate) came: u64,
    /// What is kept of pages that go to and fro.
    pub(crate) watch: Option<Watch>,
    /// Its leaving for others and coming back.
    pub(crate) rounds: Rounds,
    /// Pages that could not come to VRAM, and until when that is not tried again, in nanoseconds.
    pub(crate) stuck: Pages,
    pub(crate) stuck_until: u64,
}

impl Block {
    fn new(space: u32, number: u64) -> Self {
        Self {
            space,
            number,
            vram: Pages::NONE,
            both: Pages::NONE,
            mapped: Pages::NONE,
            writable: Pages::NONE,
            awaited: Pages::NONE,
            learned: Pages::NONE,
            remap: Pages::NONE,
            chunk: None,
            came: 0,
            watch: None,
            rounds: Rounds::default(),
            stuck: Pages::NONE,
            stuck_until: 0,
        }
    }
}

/// The blocks of one space, sorted by number.
pub(crate) struct Index(Vec<(u64, u32)>);

impl Index {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    fn place(&self, number: u64) -> usize {
        partition_point(&self.0, |entry| entry.0 < number)
    }

    /// Slot of a block.
    pub(crate) fn find(&self, number: u64) -> Option<u32> {
        self.0.get(self.place(number)).filter(|entry| entry.0 == number).map(|entry| entry.1)
    }

    /// Number and slot of the first block at `number` or above.
    pub(crate) fn from(&self, number: u64) -> Option<(u64, u32)> {
        self.0.get(self.place(number)).copied()
    }

    /// Never fails after a `reserve`.
    fn insert(&mut self, number: u64, slot: u32) -> Result<(), Error> {
        let at = self.place(number);
        let mut carried = (number, slot);
        for place in self.0.get_mut(at..).unwrap_or_default() {
            core::mem::swap(place, &mut carried);
        }
        try_push(&mut self.0, carried)
    }

    fn remove(&mut self, number: u64) {
        let at = self.place(number);
        if self.0.get(at).is_none_or(|entry| entry.0 != number) {
            return;
        }
        let Some(mut carried) = self.0.pop() else { return };
        for place in self.0.get_mut(at..).unwrap_or_default().iter_mut().rev() {
            core::mem::swap(place, &mut carried);
        }
    }
}

/// A list of blocks by last use, the oldest first, and one of those with pages to be mapped again.
const USED: u8 = 0;

/// All blocks of all spaces, a bounded number.
pub(crate) struct Blocks {
    table: Slab<Block>,
    order: Lists<1>,
    /// Slots with `remap`, oldest first.
    remaps: Lists<1>,
    limit: u32,
}

impl Blocks {
    pub(crate) const fn new(limit: u32) -> Self {
        Self { table: Slab::new(), order: Lists::new(), remaps: Lists::new(), limit }
    }

    pub(crate) fn len(&self) -> u32 {
        self.table.len()
    }

    /// Number of slots; each below may have a block.
    pub(crate) fn slots(&self) -> u32 {
        self.table.slots()
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Block> {
        self.table.at(slot)
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Block> {
        self.table.at_mut(slot)
    }

    /// The oldest block, if one more would be too many.
    pub(crate) fn surplus(&self) -> Option<(u32, u64)> {
        if self.table.len() < self.limit {
            return None;
        }
        let block = self.table.at(self.order.front(USED)?)?;
        Some((block.space, block.number))
    }

    /// Makes a block that there is not. Nothing changes when that fails.
    pub(crate) fn insert(&mut self, index: &mut Index, space: u32, number: u64) -> Result<u32, Error> {
        try_reserve(&mut index.0, 1)?;
        let key = self.table.insert(Block::new(space, number))?;
        let slots = self.table.slots();
        if let Err(error) = self.order.ensure(slots).and_then(|()| self.remaps.ensure(slots)) {
            let _ = self.table.remove(key);
            return Err(error);
        }
        index.insert(number, key.slot)?;
        self.order.push_back(USED, key.slot);
        Ok(key.slot)
    }

    pub(crate) fn touch(&mut self, slot: u32) {
        if self.order.remove(slot) {
            self.order.push_back(USED, slot);
        }
    }

    /// Forgets a block.
    pub(crate) fn remove(&mut self, index: &mut Index, number: u64) -> Option<Block> {
        let slot = index.find(number)?;
        index.remove(number);
        self.order.remove(slot);
        self.remaps.remove(slot);
        let key: Key = self.table.key(slot)?;
        self.table.remove(key).ok()
    }

    /// Pages of a block are to be mapped again.
    pub(crate) fn want_map(&mut self, slot: u32, pages: Pages) {
        if pages.is_empty() {
            return;
        }
        if let Some(block) = self.table.at_mut(slot) {
            block.remap |= pages;
            self.remaps.push_back(USED, slot);
        }
    }

    /// The next block of a space with such pages, and what they are; they are not named again.
    pub(crate) fn next_map(&mut self, space: u32) -> Option<(u32, Pages)> {
        let mut slot = self.remaps.front(USED)?;
        while self.table.at(slot)?.space != space {
            slot = self.remaps.next(slot)?;
        }
        self.remaps.remove(slot);
        let block = self.table.at_mut(slot)?;
        Some((slot, core::mem::take(&mut block.remap)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;

    /// Against the library's map.
    #[test]
    fn an_index_finds_what_was_put_in() {
        let (mut index, mut map) = (Index::new(), BTreeMap::new());
        let mut seed = 7u32;
        for turn in 0..20_000u32 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = u64::from(seed >> 20 & 255);
            if let alloc::collections::btree_map::Entry::Vacant(place) = map.entry(number) {
                place.insert(turn);
                index.insert(number, turn).unwrap();
            } else if seed >> 28 & 1 == 0 {
                map.remove(&number);
                index.remove(number);
            }
            let probe = u64::from(seed >> 10 & 255);
            assert_eq!(index.find(probe), map.get(&probe).copied());
            assert_eq!(index.from(probe), map.range(probe..).next().map(|(number, slot)| (*number, *slot)));
        }
    }
}
