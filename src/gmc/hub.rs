// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A VM hub: its registers, the apertures of VMID 0, fault status, invalidation engines.

mod view;

use super::corrupt::Corruptions;
use super::walk::{shift, walk, walk_from, Step, LINE};
use super::{
    Access, Cause, Context, Counters, DummyPage, Fault, Look, Memory, Page, Pages, PdeCache, Phys, Recent, Space,
};
use super::{Stream, Tlb, Translation, Vidmm};
use crate::check::{Checks, Seen, Used};
use crate::inject::Struck;
use crate::regs::{RegFile, Written};
use crate::trace::event::{cache, Event, Found};
use crate::trace::Tracer;
use serde::{Deserialize, Serialize};
use uvm_spec::hub::{mm, Cid, HubRegs, GC_HUB, GC_REGS, MM_HUB, MM_REGS};
use uvm_spec::{ih, pte, PAGE_SHIFT, PAGE_SIZE, VMIDS};

/// Which hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    system_aperture: SystemAperture,
    dummy: Option<DummyPage>,
    levels: u32,
    /// Takes the place of VMID 0's table, if the device has it.
    vidmm: Option<Vidmm>,
    l1: [Tlb; CLIENTS],
    /// Before each L1: what the client reads and what it writes.
    streams: [[Stream; 2]; CLIENTS],
    l2: Tlb,
    pdes: PdeCache,
    /// VMIDs whose translations were invalidated since [`Hub::take_invalidated`].
    invalidated: u32,
    /// Faults since reset; one that is retried counts each time.
    pub faults: u64,
    /// Page-table walks since reset.
    pub walks: u64,
    /// Bytes that copies brought from system memory into VRAM since reset, and back.
    pub vram_in: u64,
    /// See `vram_in`.
    pub vram_out: u64,
    /// Accesses over the bus.
    pub counters: Counters,
    trace: Tracer,
    checks: Checks,
    /// The last faults.
    recent: Recent,
    corruptions: Corruptions,
}

/// Who translates through a hub: each has an L1 of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Which L1, below [`CLIENTS`].
    pub l1: usize,
    /// Its numbers in fault status.
    pub cid: Cid,
    /// Its accesses are work, and not the fetch of it: the access counters may count them.
    pub counted: bool,
}

impl Client {
    /// Which L1, as events name it.
    fn number(self) -> u8 {
        u8::try_from(self.l1).unwrap_or(u8::MAX)
    }
}

/// log2 of the bytes of a stream's line.
const LINE_BITS: u32 = PAGE_SHIFT + LINE.ilog2();
/// Levels of directories at most.
const PDE_LEVELS: u8 = 4;

/// Clients of a hub: the SDMA instances and the access engine.
pub const CLIENTS: usize = 3;

/// Sizes of a hub's caches, entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlbSizes {
    /// Each client's L1.
    pub l1: usize,
    /// The shared L2.
    pub l2: usize,
}

impl Default for TlbSizes {
    fn default() -> Self {
        Self { l1: 64, l2: 4096 }
    }
}

/// The system aperture of VMID 0: bytes `low..end`, and whether addresses inside and outside it are untranslated.
#[derive(Clone, Copy, Debug, Default)]
struct SystemAperture {
    low: u64,
    end: u64,
    inside: bool,
    outside: bool,
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
    /// The hub after reset; page tables are `levels` deep at most, 1 to 5.
    pub fn new(id: HubId, levels: u32, sizes: TlbSizes) -> Self {
        let (block, role) = match id {
            HubId::Gc => (&GC_HUB, &GC_REGS),
            HubId::Mm => (&MM_HUB, &MM_REGS),
        };
        let mut hub = Self {
            id,
            regs: RegFile::new(block),
            role,
            contexts: [Context::default(); VMIDS],
            system_aperture: SystemAperture::default(),
            dummy: None,
            levels,
            vidmm: None,
            l1: std::array::from_fn(|_| Tlb::new(sizes.l1)),
            streams: Default::default(),
            l2: Tlb::new(sizes.l2),
            pdes: PdeCache::default(),
            invalidated: 0,
            faults: 0,
            walks: 0,
            vram_in: 0,
            vram_out: 0,
            counters: Counters::default(),
            trace: Tracer::default(),
            checks: Checks::default(),
            recent: Recent::default(),
            corruptions: Corruptions::default(),
        };
        hub.decode_contexts();
        hub
    }
    /// Gives VMID 0 the three-level table of the `vidmm` profile.
    pub fn with_vidmm(mut self) -> Self {
        self.vidmm = Some(Vidmm::default());
        self
    }
    /// The `vidmm` profile's registers, if the device has them.
    pub fn vidmm(&self) -> Option<&Vidmm> {
        self.vidmm.as_ref()
    }
    /// A guest's write to the `vidmm` profile's registers.
    pub fn write_vidmm(&mut self, offset: u32, value: u32) -> Option<Written> {
        self.vidmm.as_mut()?.write(offset, value)
    }
    /// Brings every register to its reset value.
    pub fn reset(&mut self) {
        if let Some(vidmm) = self.vidmm.as_mut() {
            vidmm.reset();
        }
        self.regs.reset();
        self.decode_contexts();
        self.l1.iter_mut().for_each(Tlb::reset);
        self.streams = Default::default();
        self.l2.reset();
        self.pdes.reset();
        self.counters = Counters::default();
        (self.faults, self.walks, self.invalidated) = (0, 0, 0);
        (self.vram_in, self.vram_out) = (0, 0);
        self.recent.clear();
    }
    /// Tells `checks` from now on.
    pub fn set_checks(&mut self, checks: Checks) {
        self.checks = checks;
    }
    /// Who judges the driver.
    #[inline(always)]
    pub fn checks(&self) -> &Checks {
        &self.checks
    }
    /// Tells the checker of a translation in use, beside what the tables say at the same moment.
    #[cold]
    pub fn note_use(&self, memory: &Memory<'_>, vmid: u8, va: u64, access: Access, used: Used) {
        let now = self.peek(&memory.quiet(), vmid, va, access);
        let current = now.ok().map(|t| Used { entry: t.entry, at: t.at });
        let page = self.regs.pair(self.role.fault_default_addr, 0) & 0xf_ffff_ffff;
        let dummy = used.at.is_some_and(|at| at.space == Space::System && at.addr >> PAGE_SHIFT == page);
        self.checks.tell(|c| c.translated(&Seen { vmid, va, access, used, current, dummy }));
    }
    /// Sends what it does to `trace` from now on.
    pub fn set_trace(&mut self, trace: Tracer) {
        self.trace = trace;
    }
    /// Where it sends events.
    pub fn trace(&self) -> &Tracer {
        &self.trace
    }
    /// The VMIDs, a bit each, that were invalidated since the last call.
    pub fn take_invalidated(&mut self) -> u32 {
        std::mem::take(&mut self.invalidated)
    }
    /// The caches, for counters: each client's L1, the L2.
    pub fn caches(&self) -> (&[Tlb], &Tlb) {
        (&self.l1, &self.l2)
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
            // A stream was translated under the registers as they were.
            self.streams = Default::default();
            self.decode_contexts();
        }
        Some(written)
    }

    /// Which way `va` goes and where it ends, for a client with an L1.
    #[inline]
    pub fn translate(
        &mut self,
        memory: &Memory<'_>,
        client: Client,
        vmid: u8,
        va: u64,
        access: Access,
    ) -> Result<Translation, Fault> {
        let alike = match self.bypasses(vmid, va) {
            (true, alike) => return self.direct(memory, va, access).map(|t| t.within(alike)),
            (false, alike) => alike,
        };
        let found = self.cached(memory, client, vmid, va, access)?.within(alike);
        let Some(dummy) = self.dummy else { return Ok(found) };
        let fault = |context: &Context| context.fault(va, access, Cause::DummyPage, 0);
        let nowhere = Fault { vmid, va, access, cause: Cause::DummyPage, retry: false };
        dummy.check(va, found).ok_or_else(|| self.context(vmid).map_or(nowhere, fault))
    }
    /// The same of an address that goes through page tables.
    #[inline]
    fn cached(
        &mut self,
        memory: &Memory<'_>,
        client: Client,
        vmid: u8,
        va: u64,
        access: Access,
    ) -> Result<Translation, Fault> {
        let Some(l1) = self.l1.get_mut(client.l1) else { return self.peek(memory, vmid, va, access) };
        if let Some(hit) = l1.look_up(vmid, va, access) {
            return Ok(hit);
        }
        if let Some(hit) = self.l2.look_up(vmid, va, access) {
            l1.fill(vmid, va, &hit);
            if self.trace.is_full() {
                self.note_fill(client, vmid, va, hit.bits, cache::L1);
            }
            return Ok(hit);
        }
        self.walks += 1;
        let space = Self::space(&self.contexts, self.vidmm.as_ref(), vmid, va);
        let context = space.ok_or(Fault { vmid, va, access, cause: Cause::Range, retry: false })?;
        if self.corruptions.any() {
            self.corruptions.strike(memory, &context, va);
        }
        let index = (va >> PAGE_SHIFT).wrapping_sub(context.start);
        let from = self.pdes.start(&context, index);
        let stream = self.streams.get_mut(client.l1).and_then(|s| s.get_mut(usize::from(access.writes())));
        // A stream answers without a look at the dummy page: it has to do without where there is one.
        if let Some(stream) = stream.filter(|_| self.dummy.is_none()) {
            if let Some(page) = stream.go_on(memory, &context, from, va, access) {
                let offset = va % PAGE_SIZE;
                let at = Some(page.phys(offset));
                let found = Translation { at, len: PAGE_SIZE - offset, entry: page.entry, bits: PAGE_SHIFT };
                if self.trace.is_full() {
                    self.note_walk(client, vmid, va, access, &Ok(found));
                    self.note_fill(client, vmid, va, LINE_BITS, cache::STREAM);
                }
                return Ok(found);
            }
            stream.walked(vmid, va);
        }
        let mut filled = 0u32;
        let found = walk_from(memory, &context, from, va, access, |look| {
            if let Look { step: Step::Directory(level), entry: Some(entry), .. } = look {
                // One that is not valid is never held.
                if entry & pte::VALID != 0 {
                    self.pdes.fill(&context, index, level, entry);
                    filled |= 1 << level;
                }
            }
        });
        if self.trace.is_full() {
            for level in (0..PDE_LEVELS).rev().filter(|level| filled & 1 << level != 0) {
                self.note_fill(client, vmid, va, PAGE_SHIFT + shift(&context, level), cache::PDE);
            }
            self.note_walk(client, vmid, va, access, &found);
        }
        let found = found?;
        let Some(l1) = self.l1.get_mut(client.l1) else { return Ok(found) };
        self.l2.fill(vmid, va, &found);
        l1.fill(vmid, va, &found);
        if self.trace.is_full() {
            self.note_fill(client, vmid, va, found.bits, cache::L1 | cache::L2);
        }
        Ok(found)
    }
    #[cold]
    #[inline(never)]
    fn note_walk(&self, client: Client, vmid: u8, va: u64, access: Access, end: &Result<Translation, Fault>) {
        self.trace.detail(|| {
            let found = match end {
                Ok(t) => Found::Page { at: t.at, entry: t.entry },
                Err(fault) => Found::Fault { cause: fault.cause, retry: fault.retry },
            };
            Event::Walk { client: client.number(), vmid, va, access, found }
        });
    }
    #[cold]
    #[inline(never)]
    fn note_fill(&self, client: Client, vmid: u8, va: u64, bits: u32, caches: u8) {
        self.trace.detail(|| Event::Fill { client: client.number(), vmid, va, bits, caches });
    }
    /// The page of `va`, where a stream of the client has it: a translation that is asked for first. No page reaches
    /// over a border of an aperture.
    #[inline(always)]
    pub fn streamed(&mut self, client: Client, vmid: u8, va: u64, access: Access) -> Option<Page> {
        let page = self.streams.get(client.l1)?.get(usize::from(access.writes()))?.look_up(vmid, va, access)?;
        self.l1.get_mut(client.l1)?.hits += 1;
        Some(page)
    }
    /// The same without any cache: what the tables say now.
    pub fn peek(&self, memory: &Memory<'_>, vmid: u8, va: u64, access: Access) -> Result<Translation, Fault> {
        let (bypasses, alike) = self.bypasses(vmid, va);
        let found = match bypasses {
            true => self.direct(memory, va, access),
            false => match Self::space(&self.contexts, self.vidmm.as_ref(), vmid, va) {
                Some(context) => walk(memory, &context, va, access),
                None => Err(Fault { vmid, va, access, cause: Cause::Range, retry: false }),
            },
        };
        found.map(|t| t.within(alike))
    }
    /// The address space that `va` of `vmid` is walked in.
    fn space(contexts: &[Context], vidmm: Option<&Vidmm>, vmid: u8, va: u64) -> Option<Context> {
        let context = contexts.get(usize::from(vmid))?;
        Some(match vidmm {
            Some(vidmm) if vmid == 0 => vidmm.context(va, context),
            _ => *context,
        })
    }

    /// Whether an address is untranslated, and for how many bytes from there the answer is the same. Only VMID 0's are.
    #[inline]
    fn bypasses(&self, vmid: u8, va: u64) -> (bool, u64) {
        let SystemAperture { low, end, inside, outside } = self.system_aperture;
        if vmid != 0 || inside == outside {
            (vmid == 0 && inside, u64::MAX)
        } else if va < low {
            (outside, low - va)
        } else if va < end {
            (inside, end - va)
        } else {
            (outside, u64::MAX)
        }
    }
    /// The system aperture is decoded when a register changes, not at each access.
    fn decode_system_aperture(&mut self) {
        use mm::MC_VM_MX_L1_TLB_CNTL as L1;
        let (inside, outside) = match self.regs.field(self.role.l1_tlb_cntl, 0, L1::SYSTEM_ACCESS_MODE) {
            access_mode::PA_ONLY => (true, true),
            access_mode::USE_SYS_MAP => (false, false),
            access_mode::IN_SYS => (false, true),
            _ => (true, false),
        };
        let low = u64::from(self.regs.get(self.role.sys_low, 0)) << SYS_SHIFT;
        let end = (u64::from(self.regs.get(self.role.sys_high, 0)) + 1) << SYS_SHIFT;
        self.system_aperture = SystemAperture { low, end, inside, outside };
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
                return Ok(Translation { at: Some(Phys { space: Space::Vram, addr }), len, entry: 0, bits: 0 });
            }
        }
        let (agp_bot, agp_top) = (get(self.role.agp_bot), get(self.role.agp_top));
        if (agp_bot..=agp_top).contains(&unit) {
            let addr = va - (agp_bot << UNIT_SHIFT) + (get(self.role.agp_base) << UNIT_SHIFT);
            let len = ((agp_top + 1) << UNIT_SHIFT) - va;
            return Ok(Translation { at: Some(Phys { space: Space::System, addr }), len, entry: 0, bits: 0 });
        }
        Err(Fault { vmid: 0, va, access, cause: Cause::Unmapped, retry: false })
    }

    /// Records a fault that is not retried, by client `cid`, and tells what follows from it.
    pub fn handle(&mut self, fault: &Fault, cid: Cid) -> Handled {
        use mm::{VM_L2_PROTECTION_FAULT_CNTL as F, VM_L2_PROTECTION_FAULT_STATUS as S};
        self.note(fault);
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
        let vector = switches.interrupt.is_set(context).then(|| self.vector(fault));
        let stands_in = switches.default.is_set(context) || switches.hub_default.is_set(fault_cntl);
        Handled { vector, page: stands_in.then(|| self.default_page(fault.cause)) }
    }
    /// The interrupt vector of a fault.
    pub fn vector(&self, fault: &Fault) -> ih::Vector {
        ih::Vector {
            client: if self.id == HubId::Mm { ih::client::VMC } else { ih::client::UTCL2 },
            source: ih::source::PAGE_FAULT,
            vmid: fault.vmid,
            mm: self.id == HubId::Mm,
            data: ih::PageFault {
                va: fault.va,
                write: fault.access.writes(),
                atomic: fault.access == Access::Atomic,
                retry: fault.retry,
                cam: 0,
            }
            .pack(),
            ..ih::Vector::default()
        }
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
    /// Drops what the request names from the caches. Nothing is in flight between two calls of the device, so the
    /// acknowledge can follow at once.
    fn invalidate(&mut self, engine: u32, request: u32) {
        use mm::VM_INVALIDATE_ENG_REQ as Q;
        let vmids = Q::PER_VMID_INVALIDATE_REQ.get(request);
        let pages = self.invalidate_range(engine);
        if Q::INVALIDATE_L1_PTES.is_set(request) {
            self.l1.iter_mut().for_each(|l1| l1.invalidate(vmids, pages));
            self.streams = Default::default();
        }
        if Q::INVALIDATE_L2_PTES.is_set(request) {
            self.l2.invalidate(vmids, pages);
        }
        let flags = [Q::INVALIDATE_L2_PDE0, Q::INVALIDATE_L2_PDE1, Q::INVALIDATE_L2_PDE2];
        let levels = (0u32..).zip(flags).fold(0, |levels, (n, flag)| levels | flag.get(request) << n);
        // The root of five levels has no flag of its own: it goes with the directory below it.
        self.pdes.invalidate(levels | (levels & 4) << 1, vmids, pages);
        let range = match pages {
            Pages::All => None,
            Pages::Range { first, last } => Some((first, last)),
        };
        // Who leaves a cache out vouches for what it holds: the checker forgets nothing.
        if Q::INVALIDATE_L1_PTES.is_set(request) && Q::INVALIDATE_L2_PTES.is_set(request) && levels == 7 {
            self.checks.tell(|c| c.invalidated(vmids, range));
        }
        self.invalidated |= vmids;
        self.trace.detail(|| {
            let l1 = if Q::INVALIDATE_L1_PTES.is_set(request) { cache::L1 | cache::STREAM } else { 0 };
            let l2 = if Q::INVALIDATE_L2_PTES.is_set(request) { cache::L2 } else { 0 };
            let pdes = if levels != 0 { cache::PDE } else { 0 };
            Event::Invalidate { hub: self.id, engine, vmids, range, caches: l1 | l2 | pdes }
        });
        if Q::CLEAR_PROTECTION_FAULT_STATUS_ADDR.is_set(request) {
            self.clear_fault();
        }
        self.regs.set(self.role.inv_ack, engine, Q::PER_VMID_INVALIDATE_REQ.get(request));
    }

    /// The pages that engine `engine`'s next request is about. As PCI ATS encodes it: without S one page; with S as
    /// many as the ones that the page number ends in say, twice per one. All ones is everything, and so is any range of a
    /// device with a fifth level, whose page numbers the register is too narrow for.
    fn invalidate_range(&self, engine: u32) -> Pages {
        const PAGE_BITS: u32 = 36;
        if self.levels > 4 {
            return Pages::All;
        }
        let raw = self.regs.pair(self.role.inv_range, 2 * engine);
        let page = raw >> 1 & ((1 << PAGE_BITS) - 1);
        let ones = if raw & 1 == 0 { 0 } else { page.trailing_ones() + 1 };
        if ones > PAGE_BITS {
            return Pages::All;
        }
        let first = page >> ones << ones;
        let last = first + ((1 << ones) - 1);
        Pages::Range { first: first << PAGE_SHIFT, last: last << PAGE_SHIFT | (PAGE_SIZE - 1) }
    }

    /// Contexts are decoded when a register changes, not at each access.
    fn decode_contexts(&mut self) {
        self.decode_system_aperture();
        self.dummy = DummyPage::decode(&self.regs, self.role);
        use mm::VM_CONTEXT_CNTL as C;
        let (regs, role, levels) = (&self.regs, self.role, self.levels);
        let disabled = regs.get(role.contexts_disable, 0);
        let fb_offset = u64::from(regs.get(role.fb_offset, 0)) << UNIT_SHIFT;
        for (vmid, context) in (0u8..).zip(self.contexts.iter_mut()) {
            let n = u32::from(vmid);
            let cntl = regs.get(role.context_cntl, n);
            *context = Context {
                vmid,
                enabled: C::ENABLE_CONTEXT.is_set(cntl) && disabled & 1 << n == 0,
                depth: depth(C::PAGE_TABLE_DEPTH.get(cntl), levels),
                block_bits: 9 + C::PAGE_TABLE_BLOCK_SIZE.get(cntl),
                start: regs.pair(role.pt_start, 2 * n),
                // No page number is larger, whatever the register's spare bits say.
                end: regs.pair(role.pt_end, 2 * n).min(u64::MAX >> PAGE_SHIFT),
                base: regs.pair(role.pt_base, 2 * n),
                fb_offset,
                retry_page: C::RETRY_PERMISSION_OR_INVALID_PAGE_FAULT.is_set(cntl),
                retry_other: C::RETRY_OTHER_FAULT.is_set(cntl),
            };
        }
    }
}

/// Levels above the page table. The field holds two bits: its highest value is as deep as the device goes, and more
/// than the device has is as much as it has.
fn depth(field: u32, levels: u32) -> u8 {
    let most = levels.saturating_sub(1);
    let depth = if field == 3 { most } else { field.min(most) };
    u8::try_from(depth).unwrap_or(0)
}

#[allow(clippy::cast_possible_truncation)] // the point of it
fn low(value: u64) -> u32 {
    value as u32
}
fn high(value: u64) -> u32 {
    low(value >> 32)
}
