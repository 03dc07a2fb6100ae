// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A VM hub: its registers, the apertures of VMID 0, fault status, invalidation engines.

use super::{walk, Access, Cause, Context, Fault, Memory, Phys, Space, Translation};
use crate::regs::{RegFile, Written};
use uvm_spec::hub::{mm, HubRegs, GC_HUB, GC_REGS, MM_HUB, MM_REGS};
use uvm_spec::{ih, PAGE_SHIFT, VMIDS};

/// Which hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HubId {
    /// Graphics.
    Gc,
    /// Multimedia: SDMA and IH.
    Mm,
}

/// SYSTEM_ACCESS_MODE values of MC_VM_MX_L1_TLB_CNTL.
mod access_mode {
    pub const PA_ONLY: u32 = 0;
    pub const USE_SYS_MAP: u32 = 1;
    pub const IN_SYS: u32 = 2;
}

/// Granularity of the FB and AGP apertures: log2 of 16 MiB.
const UNIT_SHIFT: u32 = 24;
/// Granularity of the system aperture: log2 of 256 KiB.
const SYS_SHIFT: u32 = 18;

/// A hub's state.
#[derive(Debug)]
pub struct Hub {
    id: HubId,
    regs: RegFile,
    role: &'static HubRegs,
    contexts: [Context; VMIDS],
    /// Faults since reset.
    pub faults: u64,
}

/// What a fault led to.
#[derive(Clone, Copy, Debug)]
pub struct Handled {
    /// The interrupt to raise; the PASID is the IH's to fill in.
    pub vector: Option<ih::Vector>,
    /// The page that stands in for data; None stops the engine.
    pub page: Option<Phys>,
}

impl Hub {
    /// The hub after reset.
    pub fn new(id: HubId) -> Self {
        let (block, role) = match id {
            HubId::Gc => (&GC_HUB, &GC_REGS),
            HubId::Mm => (&MM_HUB, &MM_REGS),
        };
        let off = Context { vmid: 0, enabled: false, depth: 0, block_bits: 9, start: 0, end: 0, base: 0, fb_offset: 0 };
        let mut hub = Self { id, regs: RegFile::new(block), role, contexts: [off; VMIDS], faults: 0 };
        hub.decode_contexts();
        hub
    }
    /// Brings every register to its reset value.
    pub fn reset(&mut self) {
        self.regs.reset();
        self.decode_contexts();
        self.faults = 0;
    }
    /// The register file, for dispatch.
    pub fn regs(&self) -> &RegFile {
        &self.regs
    }
    /// The address space `vmid` as its registers describe it now.
    pub fn context(&self, vmid: u8) -> Option<&Context> {
        self.contexts.get(usize::from(vmid))
    }

    /// A guest's read.
    pub fn read(&mut self, offset: u32) -> Option<u32> {
        let (value, reg, n) = self.regs.read(offset)?;
        if reg.offset == self.role.inv_sem.offset {
            // Reading the semaphore takes it: 1 to who got it, 0 while somebody holds it.
            self.regs.set(reg, n, 1);
            return Some(value ^ 1);
        }
        Some(value)
    }
    /// A guest's write.
    pub fn write(&mut self, offset: u32, value: u32) -> Option<Written> {
        let role = self.role;
        let sem = self.regs.find(offset).filter(|(r, _)| r.offset == role.inv_sem.offset);
        let held = sem.map(|(reg, n)| self.regs.get(reg, n));
        let written = self.regs.write(offset, value)?;
        if let (Some((reg, n)), Some(held)) = (sem, held) {
            // A write of 0 releases; a 1 cannot take it.
            self.regs.set(reg, n, held & value);
        }
        if written.is(role.inv_req) {
            self.invalidate(written.element, value);
        } else if written.is(role.fault_cntl) {
            if mm::VM_L2_PROTECTION_FAULT_CNTL::CLEAR_PROTECTION_FAULT_STATUS_ADDR.is_set(value) {
                self.clear_fault();
            }
        } else {
            self.decode_contexts();
        }
        Some(written)
    }

    /// Which way `va` goes and where it ends.
    pub fn translate(&self, memory: &Memory<'_>, vmid: u8, va: u64, access: Access) -> Result<Translation, Fault> {
        let context = self.contexts.get(usize::from(vmid)).ok_or(Fault { vmid, va, access, cause: Cause::Range })?;
        if vmid != 0 {
            return walk(memory, context, va, access);
        }
        let (bypasses, alike) = self.bypasses(va);
        let found = if bypasses { self.direct(memory, va, access) } else { walk(memory, context, va, access) };
        found.map(|t| Translation { len: t.len.min(alike), ..t })
    }

    /// Whether a VMID-0 address is untranslated, and for how many bytes from there the answer is the same.
    fn bypasses(&self, va: u64) -> (bool, u64) {
        use mm::MC_VM_MX_L1_TLB_CNTL as L1;
        let untranslated_inside = match self.regs.field(self.role.l1_tlb_cntl, 0, L1::SYSTEM_ACCESS_MODE) {
            access_mode::PA_ONLY => return (true, u64::MAX),
            access_mode::USE_SYS_MAP => return (false, u64::MAX),
            access_mode::IN_SYS => false,
            _ => true,
        };
        let low = u64::from(self.regs.get(self.role.sys_low, 0)) << SYS_SHIFT;
        let end = (u64::from(self.regs.get(self.role.sys_high, 0)) + 1) << SYS_SHIFT;
        if va < low {
            return (!untranslated_inside, low - va);
        }
        match end.checked_sub(va).filter(|&left| left > 0) {
            Some(left) => (untranslated_inside, left),
            None => (!untranslated_inside, u64::MAX),
        }
    }
    /// An untranslated address: the FB aperture, the AGP aperture, or nothing.
    fn direct(&self, memory: &Memory<'_>, va: u64, access: Access) -> Result<Translation, Fault> {
        let unit = va >> UNIT_SHIFT;
        let get = |reg| u64::from(self.regs.get(reg, 0));
        let (fb_base, fb_top) = (get(self.role.fb_base), get(self.role.fb_top));
        if (fb_base..=fb_top).contains(&unit) {
            let addr = va - (fb_base << UNIT_SHIFT);
            if addr < memory.vram_size() {
                let end = ((fb_top + 1) << UNIT_SHIFT) - (fb_base << UNIT_SHIFT);
                let len = end.min(memory.vram_size()) - addr;
                return Ok(Translation { at: Some(Phys { space: Space::Vram, addr }), len, entry: 0 });
            }
        }
        let (agp_bot, agp_top) = (get(self.role.agp_bot), get(self.role.agp_top));
        if (agp_bot..=agp_top).contains(&unit) {
            let addr = va - (agp_bot << UNIT_SHIFT) + (get(self.role.agp_base) << UNIT_SHIFT);
            let len = ((agp_top + 1) << UNIT_SHIFT) - va;
            return Ok(Translation { at: Some(Phys { space: Space::System, addr }), len, entry: 0 });
        }
        Err(Fault { vmid: 0, va, access, cause: Cause::Unmapped })
    }

    /// Records a fault by client `cid` and tells what follows from it.
    pub fn handle(&mut self, fault: &Fault, cid: u32) -> Handled {
        use mm::{VM_L2_PROTECTION_FAULT_CNTL as F, VM_L2_PROTECTION_FAULT_STATUS as S};
        self.faults += 1;
        let held = self.regs.get(self.role.fault_status, 0) != 0;
        let fault_cntl = self.regs.get(self.role.fault_cntl, 0);
        if held && !F::ALLOW_SUBSEQUENT_PROTECTION_FAULT_STATUS_ADDR_UPDATES.is_set(fault_cntl) {
            self.regs.set_field(self.role.fault_status, 0, S::MORE_FAULTS, 1);
        } else {
            let page = fault.va >> PAGE_SHIFT;
            self.regs.set(self.role.fault_status, 0, fault.status(cid));
            self.regs.set(self.role.fault_addr, 0, low(page));
            self.regs.set(self.role.fault_addr, 1, high(page));
        }
        let switches = fault.switches();
        let context = self.regs.get(self.role.context_cntl, u32::from(fault.vmid));
        let vector = switches.interrupt.is_set(context).then(|| ih::Vector {
            client: if self.id == HubId::Mm { ih::client::VMC } else { ih::client::UTCL2 },
            source: ih::source::PAGE_FAULT,
            vmid: fault.vmid,
            mm: self.id == HubId::Mm,
            data: ih::PageFault { va: fault.va, write: fault.access == Access::Write, retry: false, cam: 0 }.pack(),
            ..ih::Vector::default()
        });
        let stands_in = switches.default.is_set(context) || switches.hub_default.is_set(fault_cntl);
        Handled { vector, page: stands_in.then(|| self.default_page(fault.cause)) }
    }
    fn default_page(&self, cause: Cause) -> Phys {
        let (reg, space) = match cause {
            Cause::Unmapped => (self.role.sys_default, Space::Vram),
            _ => (self.role.fault_default_addr, Space::System),
        };
        Phys { space, addr: (self.regs.pair(reg, 0) & 0xf_ffff_ffff) << PAGE_SHIFT }
    }
    fn clear_fault(&mut self) {
        self.regs.set(self.role.fault_status, 0, 0);
        self.regs.set(self.role.fault_addr, 0, 0);
        self.regs.set(self.role.fault_addr, 1, 0);
    }
    /// Nothing is cached yet, so an invalidation is complete at once.
    fn invalidate(&mut self, engine: u32, request: u32) {
        use mm::VM_INVALIDATE_ENG_REQ as Q;
        if Q::CLEAR_PROTECTION_FAULT_STATUS_ADDR.is_set(request) {
            self.clear_fault();
        }
        self.regs.set(self.role.inv_ack, engine, Q::PER_VMID_INVALIDATE_REQ.get(request));
    }

    /// Contexts are decoded when a register changes, not at each access.
    fn decode_contexts(&mut self) {
        use mm::VM_CONTEXT_CNTL as C;
        let (regs, role) = (&self.regs, self.role);
        let disabled = regs.get(role.contexts_disable, 0);
        let fb_offset = u64::from(regs.get(role.fb_offset, 0)) << UNIT_SHIFT;
        for (vmid, context) in (0u8..).zip(self.contexts.iter_mut()) {
            let n = u32::from(vmid);
            let cntl = regs.get(role.context_cntl, n);
            *context = Context {
                vmid,
                enabled: C::ENABLE_CONTEXT.is_set(cntl) && disabled & 1 << n == 0,
                depth: u8::try_from(C::PAGE_TABLE_DEPTH.get(cntl)).unwrap_or(0),
                block_bits: 9 + C::PAGE_TABLE_BLOCK_SIZE.get(cntl),
                start: regs.pair(role.pt_start, 2 * n),
                end: regs.pair(role.pt_end, 2 * n),
                base: regs.pair(role.pt_base, 2 * n),
                fb_offset,
            };
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // the point of it
fn low(value: u64) -> u32 {
    value as u32
}
fn high(value: u64) -> u32 {
    low(value >> 32)
}
