// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A change of what an address space maps, from its begin to its retirement.
//!
//! The change is planned over whole blocks: an entry that says "these 2^n pages translate alike" must be
//! rewritten together with all others of its block, so the range is widened to the blocks, before and after the
//! change, that cross its ends. Inside it the tables that the new state needs are made and filled while nothing
//! points at them, then the entries of the tables that both states have are rewritten one after the other. At each
//! moment every page translates as before or as after.
//!
//! All that can fail is the planning. Once the writes are known the change is committed: the next one is planned on
//! top of it, while its writes wait in the driver's queue, to be performed in the order of the commits. Then it has
//! landed, and when no cache can hold a trace of what was before it is retired: the tables that it took out are
//! given back.

use alloc::vec::Vec;

use super::emit;
use super::geometry::Geometry;
use super::ranges::{self, Piece};
use super::tables::{Home, NONE, ROOT};
use super::Vm;
use crate::domain::Domain;
use crate::error::Error;
use crate::ids::Key;
use crate::table::{partition_point, try_push, try_reserve};

/// Entries of 8 bytes to be written, from entry `first` of a table on: `value`, `value + increment`, ...
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableWrite {
    /// VRAM or SYSTEM.
    pub domain: Domain,
    /// Where the table lies: a VRAM offset or a system address.
    pub table: u64,
    /// Entries from the table's start.
    pub first: u64,
    /// Number of entries, at most what one PTEPDE packet can do.
    pub count: u64,
    /// The first entry.
    pub value: u64,
    /// Difference of each to the one before.
    pub increment: u64,
}

/// An entry that points elsewhere after the change.
#[derive(Clone, Copy)]
struct Edit {
    table: u32,
    entry: u64,
    old: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// What is to be mapped is still being told.
    Collecting,
    /// Tables are made, but have no memory yet.
    Planned,
    /// Filling new tables: the number of the next one, its next entry.
    Filling(usize, u64),
    /// Rewriting entries of tables in use: the next page.
    Writing(u64),
    /// All writes were given.
    Given,
    /// The address space is planned as if it were done.
    Committed,
    /// It is done.
    Landed,
}

/// What to map a range onto.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) attributes: u64,
    pub(super) bo: u64,
    /// In pages.
    pub(super) offset: u64,
}

pub(crate) struct Update {
    pub(super) vm: Key,
    start: u64,
    end: u64,
    /// `None`: onto nothing.
    target: Option<Target>,
    /// What the range is to map, as far as it was told.
    told: Vec<Piece>,
    /// How far that is: the next page.
    told_to: u64,
    /// The range, widened to whole blocks, and what it maps before and after.
    low: u64,
    high: u64,
    old: Vec<Piece>,
    new: Vec<Piece>,
    edits: Vec<Edit>,
    created: Vec<u32>,
    /// How many of them have memory.
    housed: usize,
    garbage: Vec<u32>,
    phase: Phase,
    /// Something was mapped before, which a cache may hold.
    replaces: bool,
    /// Its turn among the address space's committed ones.
    turn: u64,
}

impl Update {
    pub(super) fn new(vm: Key, start: u64, end: u64, target: Option<Target>) -> Self {
        Self {
            vm,
            start,
            end,
            target,
            told: Vec::new(),
            told_to: start,
            low: start,
            high: end,
            old: Vec::new(),
            new: Vec::new(),
            edits: Vec::new(),
            created: Vec::new(),
            housed: 0,
            garbage: Vec::new(),
            phase: Phase::Collecting,
            replaces: false,
            turn: 0,
        }
    }

    /// The next pages of the range are to be these, which lie in a row.
    pub(super) fn tell(&mut self, geometry: &Geometry, addr: u64, pages: u64, system: bool) -> Result<(), Error> {
        let target = self.target.filter(|_| self.phase == Phase::Collecting).ok_or(Error::Invalid)?;
        let end = self.told_to.checked_add(pages).filter(|end| pages != 0 && *end <= self.end);
        let end = end.ok_or(Error::Invalid)?;
        let bytes = pages.checked_mul(uvm_spec::PAGE_SIZE).ok_or(Error::Invalid)?;
        if !geometry.is_address(addr, bytes, system) {
            return Err(Error::Invalid);
        }
        let piece = Piece {
            start: self.told_to,
            len: pages,
            entry: geometry.page_entry(addr, system, target.attributes),
            bo: target.bo,
            offset: target.offset.wrapping_add(self.told_to.saturating_sub(self.start)),
        };
        ranges::append(&mut self.told, piece)?;
        self.told_to = end;
        Ok(())
    }

    /// All of the range is to have the same entry, without memory.
    pub(super) fn tell_alike(&mut self, entry: u64) -> Result<(), Error> {
        let (start, len) = (self.start, self.end.saturating_sub(self.start));
        // Whose it is and where in it does not matter: then neighbours become one.
        ranges::append(&mut self.told, Piece { start, len, entry, bo: 0, offset: start })?;
        self.told_to = self.end;
        Ok(())
    }

    /// What can be undone: how much was told so far.
    pub(super) fn mark(&self) -> (usize, Option<Piece>, u64) {
        (self.told.len(), self.told.last().copied(), self.told_to)
    }

    pub(super) fn forget_since(&mut self, (len, last, told_to): (usize, Option<Piece>, u64)) {
        self.told.truncate(len);
        if let (Some(place), Some(last)) = (self.told.last_mut(), last) {
            *place = last;
        }
        self.told_to = told_to;
    }

    pub(super) fn is_planned(&self) -> bool {
        self.phase != Phase::Collecting
    }

    /// Finds out what changes. On failure nothing has changed, and it can be tried again.
    pub(super) fn plan(&mut self, vm: &mut Vm) -> Result<(), Error> {
        if self.told_to != self.end && (self.target.is_some() || !self.told.is_empty()) {
            return Err(Error::Invalid);
        }
        let planned = self.widen(vm).and_then(|()| self.restructure(vm));
        if let Err(error) = planned {
            self.restore_links(vm);
            for slot in self.created.drain(..) {
                vm.tables.remove(slot);
            }
            for slot in self.garbage.drain(..) {
                vm.tables.edit(slot, |table| table.detached = false);
            }
            self.edits.clear();
            return Err(error);
        }
        let nothing = self.old.is_empty() && self.new.is_empty();
        self.phase = if nothing { Phase::Given } else { Phase::Planned };
        self.replaces = !self.old.is_empty();
        Ok(())
    }

    /// Widens the range to whole blocks and gathers what it maps before and after.
    fn widen(&mut self, vm: &mut Vm) -> Result<(), Error> {
        let (start, end, geometry) = (self.start, self.end, &vm.geometry);
        let pieces = vm.ranges.as_slice();
        let below = start.checked_sub(1).and_then(|page| ranges::at(pieces, page)?.clip(0, start));
        let above = ranges::at(pieces, end).and_then(|piece| piece.clip(end, u64::MAX));
        self.new.clear();
        for piece in below.into_iter().chain(self.told.iter().copied()).chain(above) {
            ranges::append(&mut self.new, piece)?;
        }
        let (mut low, mut high) = (start, end);
        for state in [pieces, &self.new] {
            if let Some(piece) = ranges::at(state, start).filter(|piece| piece.start < start) {
                low = low.min(ranges::block(start, piece.block_order(geometry, start)).0);
            }
            let last = end.saturating_sub(1);
            if let Some(piece) = ranges::at(state, last).filter(|piece| piece.end() > end) {
                high = high.max(ranges::block(last, piece.block_order(geometry, last)).1);
            }
        }
        let mut kept = 0usize;
        for i in 0..self.new.len() {
            let Some(piece) = self.new.get(i).and_then(|piece| piece.clip(low, high)) else { continue };
            if let Some(place) = self.new.get_mut(kept) {
                *place = piece;
                kept = kept.saturating_add(1);
            }
        }
        self.new.truncate(kept);
        self.old.clear();
        for piece in pieces.iter().skip(partition_point(pieces, |piece| piece.end() <= low)) {
            match piece.clip(low, high) {
                Some(piece) => try_push(&mut self.old, piece)?,
                None => break,
            }
        }
        (self.low, self.high) = (low, high);
        vm.ranges.reserve(self.new.len())
    }

    /// Makes the tables that the new state needs and unlinks those that it does not.
    fn restructure(&mut self, vm: &mut Vm) -> Result<(), Error> {
        let mut page = self.low;
        while page < self.high {
            let mut slot = ROOT;
            page = loop {
                let table = vm.tables.get(slot)?;
                let (level, detached, entry) = (table.level, table.detached, table.entry_of(page));
                if level == 0 {
                    break table.base.saturating_add(vm.geometry.entries(0));
                }
                let (first, after) = (table.page_of(entry), table.page_of(entry.saturating_add(1)));
                let child = table.child(entry);
                match (self.needs_table(vm, level, first, after), child) {
                    (false, NONE) => break after,
                    (false, _) => {
                        vm.tables.subtree(child, &mut self.garbage)?;
                        try_push(&mut self.edits, Edit { table: slot, entry, old: child })?;
                        vm.tables.edit(child, |table| table.detached = true);
                        vm.tables.set_child(slot, entry, NONE);
                        break after;
                    }
                    (true, NONE) => {
                        try_reserve(&mut self.edits, 1)?;
                        try_reserve(&mut self.created, 1)?;
                        let made = vm.tables.add(&vm.geometry, level.saturating_sub(1), first)?;
                        try_push(&mut self.created, made)?;
                        if !detached {
                            try_push(&mut self.edits, Edit { table: slot, entry, old: NONE })?;
                        }
                        vm.tables.set_child(slot, entry, made);
                        slot = made;
                    }
                    (true, _) => slot = child,
                }
            };
        }
        Ok(())
    }

    /// Whether the new state maps some of the pages `[first, after)` under an entry, but not all of them by the
    /// entry itself.
    fn needs_table(&self, vm: &Vm, level: u32, first: u64, after: u64) -> bool {
        if let Some(piece) = ranges::at(&self.new, first) {
            let order = piece.block_order(&vm.geometry, first);
            return vm.geometry.block_level(order, piece.is_prt()) < level;
        }
        let pieces = vm.ranges.as_slice();
        ranges::intersects(&self.new, first, after)
            || ranges::intersects(pieces, first, after.min(self.low))
            || ranges::intersects(pieces, first.max(self.high), after)
    }

    /// The next new table that has no memory yet, and how many have none. The last one comes first: as VRAM for
    /// tables is given from the top, neighbours then lie in the order of their addresses, and one run links them.
    pub(super) fn homeless(&self) -> (Option<u32>, usize) {
        let missing = self.created.len().saturating_sub(self.housed);
        (missing.checked_sub(1).and_then(|last| self.created.get(last)).copied(), missing)
    }

    /// That one has some now.
    pub(super) fn house(&mut self, vm: &mut Vm, home: Home) {
        if let (Some(slot), _) = self.homeless() {
            vm.tables.edit(slot, |table| table.home = Some(home));
            self.housed = self.housed.saturating_add(1);
        }
    }

    /// All tables have memory: writing can begin.
    pub(super) fn ready(&mut self) {
        if self.phase == Phase::Planned {
            self.phase = Phase::Filling(0, 0);
        }
    }

    /// Gives at most `room` of the next writes, in order; none when all were given.
    pub(super) fn next(&mut self, vm: &Vm, room: usize, mut give: impl FnMut(TableWrite)) -> Result<(), Error> {
        let mut given = 0usize;
        while given < room {
            match self.phase {
                Phase::Collecting | Phase::Planned => return Err(Error::Invalid),
                Phase::Filling(index, entry) => match self.created.get(index) {
                    Some(slot) => {
                        let table = vm.tables.get(*slot)?;
                        let end = vm.geometry.entries(table.level);
                        let (action, count) = write(vm, &self.new, *slot, entry, end)?;
                        give(action);
                        given = given.saturating_add(1);
                        let next = entry.saturating_add(count);
                        self.phase = if next < end {
                            Phase::Filling(index, next)
                        } else {
                            Phase::Filling(index.saturating_add(1), 0)
                        };
                    }
                    None => self.phase = Phase::Writing(self.low),
                },
                Phase::Writing(page) if page >= self.high => self.phase = Phase::Given,
                Phase::Writing(page) => {
                    give(self.rewrite(vm, page)?);
                    given = given.saturating_add(1);
                }
                Phase::Given | Phase::Committed | Phase::Landed => return Ok(()),
            }
        }
        Ok(())
    }

    /// The next write of entries in use, from `page` on.
    fn rewrite(&mut self, vm: &Vm, page: u64) -> Result<TableWrite, Error> {
        let mut slot = ROOT;
        loop {
            let table = vm.tables.get(slot)?;
            let entry = table.entry_of(page);
            let child = table.child(entry);
            let in_use = |child: u32| child != NONE && vm.tables.get(child).is_ok_and(|child| !child.detached);
            if in_use(child) {
                slot = child;
                continue;
            }
            let last = self.high.saturating_sub(1);
            let end = table.entry_of(last).saturating_add(1).min(vm.geometry.entries(table.level));
            let end = (entry.saturating_add(1)..end).find(|next| in_use(table.child(*next))).unwrap_or(end);
            let (action, count) = write(vm, &self.new, slot, entry, end)?;
            self.phase = Phase::Writing(table.page_of(entry.saturating_add(count)));
            return Ok(action);
        }
    }

    /// Makes the new state the one that the next change is planned on. Never allocates.
    pub(super) fn commit(&mut self, vm: &mut Vm) -> Result<(), Error> {
        if self.phase != Phase::Given {
            return Err(Error::Invalid);
        }
        vm.ranges.replace(self.low, self.high, &self.new)?;
        for slot in self.created.drain(..) {
            vm.tables.edit(slot, |table| table.detached = false);
        }
        self.phase = Phase::Committed;
        self.turn = vm.turn;
        vm.turn = vm.turn.saturating_add(1);
        // It may wait for long: what only the planning needed goes. The tables have the old state until then.
        (self.told, self.new) = (Vec::new(), Vec::new());
        (self.edits, self.created) = (Vec::new(), Vec::new());
        Ok(())
    }

    /// The writes of a committed one are performed; gives the first page, and the one after the last, that a cache
    /// may know otherwise.
    pub(super) fn land(&mut self) -> Result<Option<(u64, u64)>, Error> {
        if self.phase != Phase::Committed {
            return Err(Error::Invalid);
        }
        self.phase = Phase::Landed;
        self.old = Vec::new();
        Ok(self.replaces.then_some((self.low, self.high)))
    }

    /// Of a committed one that has not landed and rewrites the entry of a page: its turn, and what that page maps
    /// before it.
    pub(super) fn before(&self, vm: Key, page: u64) -> Option<(u64, Option<&Piece>)> {
        let rewrites = self.phase == Phase::Committed && self.vm == vm && (self.low..self.high).contains(&page);
        rewrites.then(|| (self.turn, ranges::at(&self.old, page)))
    }

    /// Whether the address space is planned as if it were done.
    pub(super) fn is_committed(&self) -> bool {
        matches!(self.phase, Phase::Committed | Phase::Landed)
    }

    /// Forgets a change that was not committed; gives the tables that only it needs.
    pub(super) fn abandon(self, vm: &mut Vm) -> Vec<u32> {
        self.restore_links(vm);
        for slot in self.garbage {
            vm.tables.edit(slot, |table| table.detached = false);
        }
        self.created
    }

    /// Ends one that was; gives the tables that nothing reaches any more.
    pub(super) fn retire(self) -> Vec<u32> {
        self.garbage
    }

    fn restore_links(&self, vm: &mut Vm) {
        for edit in &self.edits {
            vm.tables.set_child(edit.table, edit.entry, edit.old);
        }
    }
}

/// A write of entries from `first` on, before `end`, and how many.
fn write(vm: &Vm, pieces: &[Piece], slot: u32, first: u64, end: u64) -> Result<(TableWrite, u64), Error> {
    let table = vm.tables.get(slot)?;
    let home = table.home.ok_or(Error::Invalid)?;
    let run = emit::run(&vm.geometry, &vm.tables, pieces, table, first, end)?;
    let domain = if vm.geometry.in_system() { Domain::System } else { Domain::Vram };
    let emit::Run { count, value, increment } = run;
    Ok((TableWrite { domain, table: home.addr, first, count, value, increment }, count))
}
