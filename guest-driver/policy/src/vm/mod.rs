// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Address spaces: their life, and their use of VMIDs.
//!
//! `geometry` is an address space's shape, `ranges` what it maps, `tables` the page tables that tell the hardware.
//! `update` plans and carries out a change of both, `emit` finds the entries to write, `updates` is its front,
//! `leaf` the blocks whose entries the caller writes.

mod emit;
mod geometry;
mod leaf;
mod ranges;
mod tables;
mod update;
mod updates;

use crate::domain::Domain;
use crate::error::Error;
use crate::heap::{BlockKind, From};
use crate::ids::{JobId, Key, VmId};
use crate::policy::{AllocRequest, Policy};
use crate::vmid::{Grab, GrabRequest, Grant};

pub(crate) use geometry::Geometry;
use ranges::Ranges;
use tables::{Home, Tables, ROOT};
pub use update::TableWrite;
pub(crate) use update::Update;
pub(crate) use updates::TablePages;
pub use updates::{Change, Invalidate, Mapping, Prepared, UpdateRequest};

/// What a new address space is to be.
#[derive(Clone, Copy, Debug)]
pub struct VmConfig {
    /// Levels of page tables, 1..=5; 1 is one flat table.
    pub levels: u32,
    /// Bits of an address, at most 57: 12 and 9 a level, up to 9 more (the root is longer) or 8 fewer. Zero:
    /// 12 and 9 a level.
    pub va_bits: u32,
    /// Where the tables lie: VRAM or SYSTEM.
    pub tables: Domain,
    /// Address of the root when the tables lie in SYSTEM, where it must be contiguous; else zero.
    pub root: u64,
    /// What is added to a VRAM offset in an entry, bytes: where the device says VRAM begins.
    pub vram_base: u64,
    /// log2 of the most pages that may be marked to translate alike (FRAGMENT), 0..=31.
    pub fragment: u32,
    /// The highest level whose entries may map memory themselves; a page table's level is 0.
    pub leaf_level: u32,
}

/// An address space as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmInfo {
    /// 1..=65535.
    pub pasid: u16,
    /// The root as a base register takes it.
    pub root: u64,
    /// Where the root lies: a VRAM offset, or the system address that was given.
    pub root_addr: u64,
    /// Bytes of the root.
    pub root_size: u64,
    /// Bytes of the address space.
    pub size: u64,
    /// Number of page tables, the root included.
    pub tables: u64,
    /// Number of changes of the tables that a cache could have missed.
    pub seq: u64,
    /// VMIDs on which jobs of it run or are about to, bits `1 << vmid`.
    pub busy: u32,
}

/// An address space.
pub(crate) struct Vm {
    pub(crate) geometry: Geometry,
    pub(crate) pasid: u16,
    /// Counts changes of the tables that a cache could have missed.
    pub(crate) seq: u64,
    ranges: Ranges,
    tables: Tables,
    /// The change that is being planned.
    update: Option<Key>,
    /// Changes that are committed and not retired.
    queued: u32,
    /// The turn of the next that is committed.
    turn: u64,
    /// Pages that have landed and that a cache may know otherwise: the first, and the one after the last.
    stale: Option<(u64, u64)>,
    /// The flush that was given last: VMIDs, and which change of the tables it follows.
    flushing: Option<(u32, u64)>,
}

impl Vm {
    fn root_addr(&self) -> u64 {
        self.tables.get(ROOT).ok().and_then(|root| root.home).map_or(0, |home| home.addr)
    }

    fn root(&self) -> u64 {
        self.geometry.table_entry(self.root_addr())
    }
}

impl Policy {
    /// An empty address space with a PASID. The caller zeroes its root (see [`Policy::vm_info`]) before its
    /// first job.
    ///
    /// [`Error::NoSpace`]: no room for the root in VRAM, or no PASID left. [`Error::Invalid`] also when the
    /// policy's page is not the device's.
    pub fn vm_create(&mut self, config: &VmConfig) -> Result<VmId, Error> {
        let geometry = Geometry::new(config)?;
        let in_system = geometry.in_system();
        let bad_root = if in_system {
            config.root == 0 || !geometry.is_address(config.root, geometry.root_bytes(), true)
        } else {
            config.root != 0
        };
        if bad_root || self.page_size() != uvm_spec::PAGE_SIZE {
            return Err(Error::Invalid);
        }
        let home = if in_system {
            Home { addr: config.root, block: None }
        } else {
            self.take_vram_table(&geometry, geometry.root_bytes())?
        };
        let made = Tables::try_new(&geometry, home).and_then(|tables| {
            let pasid = self.pasids.take()?;
            let ranges = Ranges::new();
            let (update, stale, flushing) = (None, None, None);
            let vm = Vm { geometry, pasid, seq: 0, ranges, tables, update, queued: 0, turn: 0, stale, flushing };
            self.vms.insert(vm).inspect_err(|_| self.pasids.put(pasid))
        });
        match (made, home.block) {
            (Ok(key), _) => Ok(VmId::pack(key)),
            (Err(error), None) => Err(error),
            (Err(error), Some(block)) => self.give(block).and(Err(error)),
        }
    }

    /// Ends an address space, its mappings, its tables and its claim on VMIDs. The caller has seen to it that
    /// nothing of it runs: [`Error::Busy`] while a job has not been signalled or a change of it is planned or not retired.
    pub fn vm_destroy(&mut self, id: VmId) -> Result<(), Error> {
        let key = id.unpack().ok_or(Error::Unknown)?;
        let vm = self.vms.get(key)?;
        if vm.update.is_some() || vm.queued != 0 {
            return Err(Error::Busy);
        }
        self.vmids.release(key)?;
        let mut vm = self.vms.remove(key)?;
        self.pasids.put(vm.pasid);
        for slot in vm.tables.slots() {
            let home = vm.tables.remove(slot);
            // The root in system memory is its giver's.
            if let Some(home) = home.filter(|home| slot != ROOT || home.block.is_some()) {
                self.give_home(home)?;
            }
        }
        Ok(())
    }

    /// An address space as it is now.
    pub fn vm_info(&self, id: VmId) -> Result<VmInfo, Error> {
        let key = id.unpack().ok_or(Error::Unknown)?;
        let vm = self.vms.get(key)?;
        Ok(VmInfo {
            pasid: vm.pasid,
            root: vm.root(),
            root_addr: vm.root_addr(),
            root_size: vm.geometry.root_bytes(),
            size: vm.geometry.bytes(),
            tables: vm.tables.count(),
            seq: vm.seq,
            busy: self.vmids.busy(key),
        })
    }

    /// Makes each job that is granted a VMID from now on flush what was cached of an address space before. For
    /// tables that the caller changed itself; changes through the policy see to it themselves.
    pub fn vm_touch(&mut self, id: VmId) -> Result<(), Error> {
        let vm = self.vms.get_mut(id.unpack().ok_or(Error::Unknown)?)?;
        vm.seq = vm.seq.saturating_add(1);
        Ok(())
    }

    /// Sets `count` VMIDs at the top aside, which are never given out. [`Error::Busy`] while any is in use,
    /// [`Error::Invalid`] if none would remain.
    pub fn vmid_set_aside(&mut self, count: u32) -> Result<(), Error> {
        self.vmids.set_aside(count)
    }

    /// A VMID for a job. A granted one belongs to the job until [`Policy::vmid_signalled`], which must follow
    /// whether or not the job ever runs. One that has to wait is in the queue until it asks again with success,
    /// or [`Policy::vmid_give_up`]; if it does neither, those behind it wait in vain.
    pub fn vmid_grab(&mut self, vm: VmId, request: &GrabRequest) -> Result<Grab, Error> {
        let key = vm.unpack().ok_or(Error::Unknown)?;
        let vm = self.vms.get(key)?;
        self.vmids.grab(key, vm.root(), vm.seq, request)
    }

    /// The job is on its ring, behind the loads and flushes of its grant; `flushed` when the flushes have been
    /// acknowledged already. [`Error::Invalid`] when that was said before, or when the device was reset since
    /// the grant, which is then void: see [`Policy::vmid_again`].
    pub fn vmid_submitted(&mut self, job: JobId, flushed: bool) -> Result<(), Error> {
        self.vmids.submitted(job, flushed)
    }

    /// The job has ended, well or not, or will never run. Never allocates.
    pub fn vmid_signalled(&mut self, job: JobId) -> Result<(), Error> {
        self.vmids.signalled(job)
    }

    /// A new grant on the same VMID for a job that is to be submitted again after a reset.
    pub fn vmid_again(&mut self, job: JobId) -> Result<Grant, Error> {
        let vm = self.vms.get(self.vmids.owner(job)?)?;
        self.vmids.again(job, vm.root(), vm.seq)
    }

    /// Leaves the queue, if the address space is in it.
    pub fn vmid_give_up(&mut self, vm: VmId) -> Result<(), Error> {
        let key = vm.unpack().ok_or(Error::Unknown)?;
        self.vms.get(key)?;
        self.vmids.give_up(key);
        Ok(())
    }

    /// Sets a VMID aside for one address space: the one it has, or one that nobody waits for.
    /// [`Error::NoSpace`] for the last two of the pool; [`Error::Busy`] when none can be had at the moment: ask again
    /// after the next call about VMIDs, or [`Policy::vmid_give_up`] the place in the queue.
    pub fn vmid_reserve(&mut self, vm: VmId) -> Result<u8, Error> {
        let key = vm.unpack().ok_or(Error::Unknown)?;
        self.vms.get(key)?;
        self.vmids.reserve(key)
    }

    /// Undoes [`Policy::vmid_reserve`]; [`Error::Invalid`] when there is nothing to undo.
    pub fn vmid_unreserve(&mut self, vm: VmId) -> Result<(), Error> {
        let key = vm.unpack().ok_or(Error::Unknown)?;
        self.vms.get(key)?;
        self.vmids.unreserve(key)
    }

    /// The device lost its base registers and caches: all that is loaded or flushed must be again. Jobs keep
    /// their VMIDs until they are signalled.
    pub fn vmid_reset(&mut self) {
        self.vmids.reset();
    }

    /// Number of address spaces, and of jobs that hold a VMID: both zero before a clean end.
    pub fn vms_in_use(&self) -> (u32, u32) {
        (self.vms.len(), self.vmids.in_flight())
    }

    /// A piece of VRAM for tables: of the driver's own or, if that is full, of the buffers', from the top, where it
    /// stays out of their way.
    fn take_vram_table(&mut self, geometry: &Geometry, size: u64) -> Result<Home, Error> {
        let own = self.segment_of(Domain::Vram).map_err(|_| Error::NoSpace)?;
        let rest = self.buffer_segment_of(Domain::Vram).map_err(|_| Error::NoSpace)?;
        let request = AllocRequest { size, align: 0, from: From::Top, within: None };
        let range = match self.take(own, &request, BlockKind::Buffer) {
            Err(Error::NoSpace) if own != rest => self.take(rest, &request, BlockKind::Buffer),
            other => other,
        }?;
        if geometry.is_address(range.offset, range.size, false) {
            Ok(Home { addr: range.offset, block: Some(range.id) })
        } else {
            self.give(range.id).and(Err(Error::Invalid))
        }
    }
}
