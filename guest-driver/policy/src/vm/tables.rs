// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The page tables of an address space: which exist, where they lie, which points at which. What their entries
//! say follows from the ranges and is not kept.

use alloc::vec::Vec;

use super::geometry::Geometry;
use crate::error::Error;
use crate::ids::BlockId;
use crate::table::try_push;

/// "No table".
pub(crate) const NONE: u32 = u32::MAX;
/// The slot of the root.
pub(crate) const ROOT: u32 = 0;

/// Where a table lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    /// A VRAM offset, or a system address.
    pub(crate) addr: u64,
    /// The range of VRAM, if it is one that the policy gave.
    pub(crate) block: Option<BlockId>,
}

pub(crate) struct Table {
    pub(crate) level: u32,
    /// The first page that it translates.
    pub(crate) base: u64,
    /// `None` until memory was found for it.
    pub(crate) home: Option<Home>,
    /// No entry of the hardware's is known to point at it.
    pub(crate) detached: bool,
    /// Slots of the tables that its entries point at; empty for a page table.
    children: Vec<u32>,
    /// The next vacant slot while this one is vacant, which it is when `level` is [`VACANT`].
    next: u32,
}

const VACANT: u32 = u32::MAX;

pub(crate) struct Tables {
    slots: Vec<Table>,
    vacant: u32,
}

impl Tables {
    /// A root.
    pub(crate) fn try_new(geometry: &Geometry, home: Home) -> Result<Self, Error> {
        let mut tables = Self { slots: Vec::new(), vacant: NONE };
        let root = tables.add(geometry, geometry.depth(), 0)?;
        tables.edit(root, |table| (table.home, table.detached) = (Some(home), false));
        Ok(tables)
    }

    /// A table that nothing points at and that has no memory yet.
    pub(crate) fn add(&mut self, geometry: &Geometry, level: u32, base: u64) -> Result<u32, Error> {
        let mut children = Vec::new();
        if level != 0 {
            let count = usize::try_from(geometry.entries(level)).map_err(|_| Error::NoMemory)?;
            children.try_reserve_exact(count)?;
            for _ in 0..count {
                try_push(&mut children, NONE)?;
            }
        }
        let table = Table { level, base, home: None, detached: true, children, next: NONE };
        let slot = self.vacant;
        if let Some(place) = self.slots.get_mut(slot as usize) {
            self.vacant = place.next;
            *place = table;
            return Ok(slot);
        }
        let slot = u32::try_from(self.slots.len()).ok().filter(|slot| *slot != NONE).ok_or(Error::NoMemory)?;
        try_push(&mut self.slots, table)?;
        Ok(slot)
    }

    /// Forgets a table; gives what it lay in.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<Home> {
        let next = self.vacant;
        let table = self.slots.get_mut(slot as usize).filter(|table| table.level != VACANT)?;
        let home = table.home.take();
        (table.level, table.next, table.children) = (VACANT, next, Vec::new());
        self.vacant = slot;
        home
    }

    pub(crate) fn get(&self, slot: u32) -> Result<&Table, Error> {
        self.slots.get(slot as usize).filter(|table| table.level != VACANT).ok_or(Error::Unknown)
    }

    pub(crate) fn edit(&mut self, slot: u32, change: impl FnOnce(&mut Table)) {
        if let Some(table) = self.slots.get_mut(slot as usize) {
            change(table);
        }
    }

    pub(crate) fn set_child(&mut self, slot: u32, entry: u64, child: u32) {
        self.edit(slot, |table| {
            if let Some(place) = usize::try_from(entry).ok().and_then(|entry| table.children.get_mut(entry)) {
                *place = child;
            }
        });
    }

    /// Appends a table and all below it.
    pub(crate) fn subtree(&self, slot: u32, list: &mut Vec<u32>) -> Result<(), Error> {
        let mut done = list.len();
        try_push(list, slot)?;
        while let Some(slot) = list.get(done).copied() {
            done = done.saturating_add(1);
            for child in self.get(slot)?.children.iter().filter(|child| **child != NONE) {
                try_push(list, *child)?;
            }
        }
        Ok(())
    }

    /// Slots that may hold a table.
    pub(crate) fn slots(&self) -> core::ops::Range<u32> {
        0..u32::try_from(self.slots.len()).unwrap_or(NONE)
    }

    /// Number of tables, the root included.
    pub(crate) fn count(&self) -> u64 {
        self.slots.iter().filter(|table| table.level != VACANT).fold(0u64, |count, _| count.saturating_add(1))
    }
}

impl Table {
    /// The table that an entry points at, or [`NONE`].
    pub(crate) fn child(&self, entry: u64) -> u32 {
        usize::try_from(entry).ok().and_then(|entry| self.children.get(entry)).copied().unwrap_or(NONE)
    }

    /// The entry for a page.
    pub(crate) fn entry_of(&self, page: u64) -> u64 {
        page.saturating_sub(self.base).wrapping_shr(Geometry::shift(self.level))
    }

    /// The first page under an entry.
    pub(crate) fn page_of(&self, entry: u64) -> u64 {
        self.base.saturating_add(entry.wrapping_shl(Geometry::shift(self.level)))
    }
}
