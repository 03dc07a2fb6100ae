// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The front of updates: what a caller says and is told, and where tables get their memory.

use alloc::vec::Vec;

use uvm_spec::pte;
use uvm_spec::PAGE_SIZE;

use super::leaf;
use super::ranges;
use super::tables::Home;
use super::update::{TableWrite, Target, Update};
use crate::domain::Domain;
use crate::error::Error;
use crate::ids::{Key, UpdateId, VmId};
use crate::policy::Policy;
use crate::table::{try_push, try_reserve};

/// Bits of a page table entry that a mapping may choose.
const ATTRIBUTES: u64 =
    pte::SNOOPED | pte::TMZ | pte::EXECUTABLE | pte::READABLE | pte::WRITEABLE | 3 << pte::MTYPE_SHIFT;

/// What is to become of a range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Map memory, which [`Policy::update_pages`] tells.
    Map {
        /// SNOOPED, TMZ, EXECUTABLE, READABLE, WRITEABLE and MTYPE as in a page table entry.
        attributes: u64,
        /// Whose memory, as the caller calls it. Nothing depends on it but that ranges of one lie together.
        bo: u64,
        /// Where in it, bytes: a multiple of the page size.
        bo_offset: u64,
    },
    /// Make it partially resident: reads give zero, writes go nowhere, nothing faults.
    Prt,
    /// Map nothing.
    Unmap,
    /// Give the leaf table of one aligned block of 512 pages, where nothing is mapped, over to the caller: its entries
    /// are all zero, and the caller's from then on (see [`Policy::vm_leaf`]). Nothing else is mapped there meanwhile.
    HandOver,
    /// Take such a block back; nothing is mapped there then.
    TakeBack,
}

/// A change of a range of addresses.
#[derive(Clone, Copy, Debug)]
pub struct UpdateRequest {
    /// First address; canonical where the space has 48 or 57 bits.
    pub va: u64,
    /// Bytes, whole pages, not zero.
    pub size: u64,
    /// What it is to become.
    pub change: Change,
    /// Whether something may be mapped there already. Unmapping takes away whatever there is.
    pub replace: bool,
}

/// The answer to [`Policy::update_prepare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// Fetch and perform the steps.
    Ready,
    /// So many pages of system memory are wanted for tables: see [`Policy::table_page_add`].
    NeedPages(u64),
}

/// Pages to invalidate, and the acknowledges to await.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalidate {
    /// Bits `1 << vmid`, not zero.
    pub vmids: u32,
    /// First page number.
    pub start: u64,
    /// Number of pages.
    pub pages: u64,
}

/// What an address is mapped onto. Units are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address of the piece around the one that was asked for: contiguous in memory.
    pub va: u64,
    /// Its length.
    pub size: u64,
    /// The page table entry of its first page; without VALID it is partially resident.
    pub entry: u64,
    /// As given to [`Change::Map`].
    pub bo: u64,
    /// Of its first byte.
    pub bo_offset: u64,
}

/// Pages of system memory for tables.
#[derive(Default)]
pub(crate) struct TablePages {
    idle: Vec<u64>,
    in_use: usize,
}

impl TablePages {
    fn add(&mut self, page: u64) -> Result<(), Error> {
        // Room for those in use too, so that giving them back cannot fail.
        try_reserve(&mut self.idle, self.in_use.saturating_add(1))?;
        try_push(&mut self.idle, page)
    }

    fn take(&mut self) -> Option<u64> {
        let page = self.idle.pop()?;
        self.in_use = self.in_use.saturating_add(1);
        Some(page)
    }

    fn put(&mut self, page: u64) -> Result<(), Error> {
        self.in_use = self.in_use.saturating_sub(1);
        try_push(&mut self.idle, page)
    }
}

impl Policy {
    /// Begins a change of an address space; one is planned at a time.
    ///
    /// For a map all pages are told next, then comes [`Policy::update_prepare`], then [`Policy::update_next`]
    /// until it gives nothing, then [`Policy::update_commit`]; until then [`Policy::update_abandon`] gives it up.
    /// Then the next may begin. The writes of committed ones are performed in the order of their commits, each told
    /// by [`Policy::update_landed`]; one [`Policy::vm_flush`] serves any number of those; and each is ended by
    /// [`Policy::update_retire`].
    ///
    /// [`Error::Busy`] while another change is planned, [`Error::Exists`] for what is mapped and not to be
    /// replaced and for what was handed over, [`Error::Invalid`], [`Error::NoMemory`], [`Error::Unknown`] also where
    /// nothing was handed over that could be taken back.
    pub fn update_begin(&mut self, vm: VmId, request: &UpdateRequest) -> Result<UpdateId, Error> {
        let vm_key = vm.unpack().ok_or(Error::Unknown)?;
        let vm = self.vms.get_mut(vm_key)?;
        let (start, pages) = vm.geometry.range(request.va, request.size)?;
        let end = start.checked_add(pages).ok_or(Error::Invalid)?;
        let target = match request.change {
            Change::Map { attributes, bo, bo_offset } => {
                if attributes & !ATTRIBUTES != 0 || bo_offset & (PAGE_SIZE - 1) != 0 {
                    return Err(Error::Invalid);
                }
                bo_offset.checked_add(request.size).ok_or(Error::Invalid)?;
                Some(Target { attributes, bo, offset: bo_offset >> uvm_spec::PAGE_SHIFT })
            }
            Change::Prt | Change::Unmap => None,
            Change::HandOver | Change::TakeBack => {
                let block = leaf::is_block(&vm.geometry, start, pages);
                block.then_some(None).ok_or(Error::Invalid)?
            }
        };
        if vm.update.is_some() {
            return Err(Error::Busy);
        }
        let pieces = vm.ranges.as_slice();
        let refused = match request.change {
            Change::TakeBack if !leaf::is_handed_over(pieces, start) => return Err(Error::Unknown),
            Change::TakeBack => false,
            Change::HandOver => ranges::intersects(pieces, start, end),
            Change::Map { .. } | Change::Prt if !request.replace => ranges::intersects(pieces, start, end),
            _ => ranges::intersects_handed_over(pieces, start, end),
        };
        if refused {
            return Err(Error::Exists);
        }
        let mut update = Update::new(vm_key, start, end, target);
        match request.change {
            Change::Prt => update.tell_alike(pte::PRT)?,
            Change::HandOver => update.tell_alike(ranges::HANDED_OVER)?,
            _ => {}
        }
        let key = self.updates.insert(update)?;
        vm.update = Some(key);
        Ok(UpdateId::pack(key))
    }

    /// Tells the next pages of a map: `pages` in a row from `addr` on, a VRAM offset or a system address. Long
    /// lists take many calls; all pages of the range must have been told before `update_prepare`.
    pub fn update_pages(&mut self, id: UpdateId, domain: Domain, addr: u64, pages: u64) -> Result<(), Error> {
        let update = self.updates.get_mut(id.unpack().ok_or(Error::Unknown)?)?;
        let geometry = self.vms.get(update.vm)?.geometry;
        let system = match domain {
            Domain::System => true,
            Domain::Vram => false,
            Domain::Gtt => return Err(Error::Invalid),
        };
        update.tell(&geometry, addr, pages, system)
    }

    /// Tells pages as [`Policy::update_pages`] does, each `(domain, address, pages)`; all of them or, on
    /// failure, none.
    pub fn update_page_list(
        &mut self,
        id: UpdateId,
        list: impl IntoIterator<Item = (Domain, u64, u64)>,
    ) -> Result<(), Error> {
        let key = id.unpack().ok_or(Error::Unknown)?;
        let mark = self.updates.get(key)?.mark();
        for (domain, addr, pages) in list {
            if let Err(error) = self.update_pages(id, domain, addr, pages) {
                self.updates.get_mut(key)?.forget_since(mark);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Plans the change and takes memory for the tables it needs. On failure it may be tried again:
    /// [`Error::NoSpace`] when VRAM has none, [`Error::NoMemory`], [`Error::Invalid`] while pages are missing.
    pub fn update_prepare(&mut self, id: UpdateId) -> Result<Prepared, Error> {
        let key = id.unpack().ok_or(Error::Unknown)?;
        let update = self.updates.get_mut(key)?;
        let vm_key = update.vm;
        let vm = self.vms.get_mut(vm_key)?;
        if !update.is_planned() {
            update.plan(vm)?;
        }
        let geometry = vm.geometry;
        while let (Some(_), missing) = self.updates.get(key)?.homeless() {
            let home = if geometry.in_system() {
                match self.table_pages.take() {
                    Some(addr) => Home { addr, block: None },
                    None => return Ok(Prepared::NeedPages(u64::try_from(missing).unwrap_or(u64::MAX))),
                }
            } else {
                self.take_vram_table(&geometry, PAGE_SIZE)?
            };
            self.updates.get_mut(key)?.house(self.vms.get_mut(vm_key)?, home);
        }
        self.updates.get_mut(key)?.ready();
        Ok(Prepared::Ready)
    }

    /// Gives at most `room` of the writes that are next, in order; none when all were given. They may be performed
    /// once the change is committed, after those of all that were committed before.
    pub fn update_next(&mut self, id: UpdateId, room: usize, give: impl FnMut(TableWrite)) -> Result<(), Error> {
        let update = self.updates.get_mut(id.unpack().ok_or(Error::Unknown)?)?;
        if room == 0 {
            return Err(Error::Invalid);
        }
        update.next(self.vms.get(update.vm)?, room, give)
    }

    /// Makes a change whose writes were all given the state that the next one is planned on. What it took out
    /// of the tables is still reached until it was flushed. Never allocates.
    pub fn update_commit(&mut self, id: UpdateId) -> Result<(), Error> {
        let update = self.updates.get_mut(id.unpack().ok_or(Error::Unknown)?)?;
        let vm = self.vms.get_mut(update.vm)?;
        update.commit(vm)?;
        vm.update = None;
        vm.queued = vm.queued.saturating_add(1);
        Ok(())
    }

    /// Gives up a change that is not committed: the address space maps what it did before. Never allocates.
    pub fn update_abandon(&mut self, id: UpdateId) -> Result<(), Error> {
        let key = id.unpack().ok_or(Error::Unknown)?;
        if self.updates.get(key)?.is_committed() {
            return Err(Error::Invalid);
        }
        let update = self.updates.remove(key)?;
        let vm_key = update.vm;
        let vm = self.vms.get_mut(vm_key)?;
        vm.update = None;
        let gone = update.abandon(vm);
        self.give_tables(vm_key, &gone)
    }

    /// All writes of a committed change are performed. Never allocates.
    pub fn update_landed(&mut self, id: UpdateId) -> Result<(), Error> {
        let update = self.updates.get_mut(id.unpack().ok_or(Error::Unknown)?)?;
        let vm = self.vms.get_mut(update.vm)?;
        if let Some((low, high)) = update.land()? {
            let (start, end) = vm.stale.unwrap_or((low, high));
            vm.stale = Some((start.min(low), end.max(high)));
        }
        Ok(())
    }

    /// What to invalidate, on all hubs, before the changes that have landed so far are retired; `None` where no
    /// cache needs it. [`Policy::vm_flushed`] follows once that is acknowledged. Never allocates.
    pub fn vm_flush(&mut self, id: VmId) -> Result<Option<Invalidate>, Error> {
        let key = id.unpack().ok_or(Error::Unknown)?;
        let vmids = self.vmids.busy(key);
        let vm = self.vms.get_mut(key)?;
        let Some((start, end)) = vm.stale.take() else {
            // A flush that was never acknowledged is owed to nobody once nothing runs.
            vm.flushing = vm.flushing.filter(|_| vmids != 0);
            return Ok(None);
        };
        // From now on who gets a VMID flushes it; who had one before is among these.
        vm.seq = vm.seq.saturating_add(1);
        vm.flushing = (vmids != 0).then_some((vmids, vm.seq));
        Ok(vm.flushing.map(|_| Invalidate { vmids, start, pages: end.saturating_sub(start) }))
    }

    /// The last [`Policy::vm_flush`] of the address space is acknowledged. Never allocates.
    pub fn vm_flushed(&mut self, id: VmId) -> Result<(), Error> {
        let key = id.unpack().ok_or(Error::Unknown)?;
        let (vmids, seq) = self.vms.get_mut(key)?.flushing.take().ok_or(Error::Invalid)?;
        self.vmids.invalidated(key, vmids, seq);
        Ok(())
    }

    /// Ends a committed change once nothing reaches what it took out of the tables: it has landed and is flushed, or
    /// nothing runs in the address space any more, which ends. Never allocates.
    pub fn update_retire(&mut self, id: UpdateId) -> Result<(), Error> {
        let key = id.unpack().ok_or(Error::Unknown)?;
        let update = self.updates.get(key)?;
        let vm_key = update.vm;
        let vm = self.vms.get_mut(vm_key)?;
        if !update.is_committed() || vm.stale.is_some() || vm.flushing.is_some() {
            return Err(Error::Invalid);
        }
        vm.queued = vm.queued.saturating_sub(1);
        let gone = self.updates.remove(key)?.retire();
        self.give_tables(vm_key, &gone)
    }

    fn give_tables(&mut self, vm: Key, gone: &[u32]) -> Result<(), Error> {
        for slot in gone {
            if let Some(home) = self.vms.get_mut(vm)?.tables.remove(*slot) {
                self.give_home(home)?;
            }
        }
        Ok(())
    }

    /// What an address of an address space is mapped onto once all that is committed has landed;
    /// [`Error::Unknown`] for nothing, and for what was handed over.
    pub fn vm_find(&self, vm: VmId, va: u64) -> Result<Mapping, Error> {
        let vm = self.vms.get(vm.unpack().ok_or(Error::Unknown)?)?;
        let (page, _) = vm.geometry.range(va & !(PAGE_SIZE - 1), PAGE_SIZE)?;
        let piece = ranges::at(vm.ranges.as_slice(), page).filter(|piece| !piece.is_handed_over());
        let piece = piece.ok_or(Error::Unknown)?;
        let bytes = |pages: u64| pages.wrapping_shl(uvm_spec::PAGE_SHIFT);
        let bo_offset = if piece.is_prt() { 0 } else { bytes(piece.offset) };
        let va = vm.geometry.canonical(bytes(piece.start));
        Ok(Mapping { va, size: bytes(piece.len), entry: piece.entry, bo: piece.bo, bo_offset })
    }

    /// The entry of an address as the page tables have it, FRAGMENT apart: of what is committed, only what has landed
    /// shows. [`Error::Unknown`] for nothing. Costs a look at each change that is not retired.
    pub fn vm_reached(&self, vm: VmId, va: u64) -> Result<u64, Error> {
        let key = vm.unpack().ok_or(Error::Unknown)?;
        let vm = self.vms.get(key)?;
        let (page, _) = vm.geometry.range(va & !(PAGE_SIZE - 1), PAGE_SIZE)?;
        let queued = self.updates.iter().filter(|_| vm.queued != 0).filter_map(|update| update.before(key, page));
        let piece = match queued.min_by_key(|(turn, _)| *turn) {
            Some((_, before)) => before,
            None => ranges::at(vm.ranges.as_slice(), page),
        };
        piece.filter(|piece| !piece.is_handed_over()).map(|piece| piece.entry_at(page)).ok_or(Error::Unknown)
    }

    /// Gives a page of system memory for tables, by the address that the device knows it by. It need not be
    /// zeroed.
    pub fn table_page_add(&mut self, page: u64) -> Result<(), Error> {
        if page == 0 || page & !pte::PTE_ADDR != 0 {
            return Err(Error::Invalid);
        }
        self.table_pages.add(page)
    }

    /// Takes back a page that is not in use; `None` when all are. Before a clean end, until there is none.
    pub fn table_page_take(&mut self) -> Option<u64> {
        self.table_pages.idle.pop()
    }

    /// Pages for tables: idle, and in use.
    pub fn table_pages(&self) -> (usize, usize) {
        (self.table_pages.idle.len(), self.table_pages.in_use)
    }

    pub(super) fn give_home(&mut self, home: Home) -> Result<(), Error> {
        match home.block {
            Some(block) => self.give(block),
            None => self.table_pages.put(home.addr),
        }
    }
}
