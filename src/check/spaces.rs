// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Rules about address spaces: tables, caches, invalidations, and what may not be reached.

use super::rings::{number, RINGS};
use super::{Report, Rule};
use crate::bus::CLOCK_HZ;
use crate::gmc::{Access, Phys, Space};
use crate::trace::RingId;
use std::collections::BTreeMap;
use uvm_spec::hub::{self, mm};
use uvm_spec::{pte, PAGE_SHIFT, VMIDS};

/// Pages in use that are remembered; further ones are not judged until an invalidation forgets others.
const PAGES: usize = 4096;
/// Stretches of freed VRAM that are remembered.
const FREED: usize = 4096;
/// A semaphore that is held longer will not be released: reference clocks.
const PATIENCE: u64 = 10 * CLOCK_HZ;

/// Where faults are retried, what the tables do not say any more may be in use for so long, from the write of an entry to
/// the end of the invalidation: reference clocks.
const LATE: u64 = 3 * CLOCK_HZ;

/// What a translation came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The entry that was used, out of a cache or the table.
    pub entry: u64,
    /// Where it leads; None for a partially resident page.
    pub at: Option<Phys>,
}

impl Used {
    /// Whether both lead to the same place in the same way. Their entries may differ in the address where one of them maps
    /// more pages than the other, alone or by its FRAGMENT.
    fn agrees(&self, other: &Self) -> bool {
        const WHERE: u64 = pte::PTE_ADDR | pte::PDE_PTE | 0x1f << pte::FRAGMENT_SHIFT;
        self.at == other.at && (self.entry ^ other.entry) & !WHERE == 0
    }
    /// The same for the first byte of the page of `va`.
    fn of_page(self, va: u64) -> Self {
        let offset = va & ((1 << PAGE_SHIFT) - 1);
        Self { at: self.at.map(|at| Phys { addr: at.addr.wrapping_sub(offset), ..at }), ..self }
    }
}

/// A translation in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Address space.
    pub vmid: u8,
    /// Address.
    pub va: u64,
    /// What for.
    pub access: Access,
    /// What was used.
    pub used: Used,
    /// What the tables say at the same moment; None if they deny the access.
    pub current: Option<Used>,
    /// It leads to the dummy page.
    pub dummy: bool,
}

/// A page in use.
#[derive(Debug)]
struct Page {
    used: Used,
    /// How it was used last.
    access: Access,
    /// The packet that used it last while the tables agreed.
    packet: (RingId, u64),
    /// The tables say otherwise since this submission: the write pointers of before it.
    changed: Option<[u64; RINGS]>,
    /// When it was first used although the tables said otherwise.
    late: Option<u64>,
}

/// How a translation leads to a system page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    snoops: bool,
    /// Another address space has used the page the other way since. A driver that gives a VMID to nobody invalidates it
    /// when somebody gets it, so this is no fault before the translation is used again.
    crossed: bool,
}

#[derive(Debug)]
pub struct Spaces {
    /// Who has the turn.
    ring: RingId,
    pages: BTreeMap<(u8, u64), Page>,
    /// A submission came since [`Spaces::pages`] was asked for.
    submitted: bool,
    /// Write pointers at the last submission of each ring, from before it.
    wptr: [u64; RINGS],
    /// Read pointer of the packet in execution, and the packet's number.
    rptr: [(u64, u64); RINGS],
    packets: u64,
    /// VMIDs with another table than when they were last invalidated, of those that have translated.
    unflushed: u32,
    translated: u32,
    /// VMIDs whose faults are retried: there a page may go at any time, and is gone once an invalidation says so.
    retries: u32,
    /// Per engine of the MM hub: requested and the acknowledge not read.
    unread: [bool; hub::INVALIDATE_ENGINES as usize],
    /// Per engine: since when its semaphore is held.
    held: [Option<u64>; hub::INVALIDATE_ENGINES as usize],
    /// How system pages are mapped: bus page, VMID and page of translations that were used and not invalidated since.
    snooped: BTreeMap<(u64, u8, u64), Way>,
    /// Freed VRAM: first byte, bytes.
    freed: BTreeMap<u64, u64>,
}

impl Default for Spaces {
    fn default() -> Self {
        Self {
            ring: RingId { instance: 0, ring: 0 },
            pages: BTreeMap::new(),
            submitted: false,
            wptr: [0; RINGS],
            rptr: [(0, 0); RINGS],
            packets: 0,
            unflushed: 0,
            translated: 0,
            retries: 0,
            unread: Default::default(),
            held: Default::default(),
            snooped: BTreeMap::new(),
            freed: BTreeMap::new(),
        }
    }
}

impl Spaces {
    pub fn tick(&mut self, report: &mut Report) {
        let now = report.now;
        for (engine, since) in (0u64..).zip(&mut self.held) {
            if since.take_if(|s| now.saturating_sub(*s) >= PATIENCE).is_some() {
                let what = || format!("VM_INVALIDATE_ENG{engine}_SEM is held for {} s", PATIENCE / CLOCK_HZ);
                report.add(Rule::SemaphoreHeld, engine, what);
            }
        }
    }
    pub fn read(&mut self, report: &mut Report, index: u32, value: u32) {
        let Some(offset) = index.checked_sub(hub::MM_HUB.base) else { return };
        if let Some(engine) = element(&mm::VM_INVALIDATE_ENG_ACK, offset) {
            if let Some(unread) = self.unread.get_mut(engine) {
                *unread = false;
            }
        } else if let Some(engine) = element(&mm::VM_INVALIDATE_ENG_SEM, offset).filter(|_| value & 1 != 0) {
            if let Some(held) = self.held.get_mut(engine) {
                *held = Some(report.now);
            }
        }
    }
    pub fn write(&mut self, report: &mut Report, index: u32, value: u32, before: u32, active: u32) {
        let Some(offset) = index.checked_sub(hub::MM_HUB.base) else { return };
        if let Some(vmid) = element(&mm::VM_CONTEXT_CNTL, offset) {
            let retries = mm::VM_CONTEXT_CNTL::RETRY_PERMISSION_OR_INVALID_PAGE_FAULT.is_set(value);
            self.retries = self.retries & !(1 << vmid) | u32::from(retries) << vmid;
        } else if let Some(engine) = element(&mm::VM_INVALIDATE_ENG_REQ, offset) {
            let Some(unread) = self.unread.get_mut(engine) else { return };
            if std::mem::replace(unread, true) {
                report.add(Rule::AckNotAwaited, engine as u64, || {
                    format!("VM_INVALIDATE_ENG{engine}_REQ := {value:#x} before the acknowledge of the last was read")
                });
            }
        } else if let Some(engine) = element(&mm::VM_INVALIDATE_ENG_SEM, offset).filter(|_| value & 1 == 0) {
            if let Some(held) = self.held.get_mut(engine) {
                *held = None;
            }
        } else if let Some(n) = element(&mm::VM_CONTEXT_PAGE_TABLE_BASE_ADDR, offset).filter(|_| value != before) {
            let vmid = n / 2;
            if active & 1 << vmid != 0 {
                report.add(Rule::BaseChanged, vmid as u64, || {
                    format!("VM_CONTEXT_PAGE_TABLE_BASE_ADDR of VMID {vmid} changes from {before:#x} to {value:#x} while a ring works in it")
                });
            }
            self.unflushed |= self.translated & 1 << vmid;
        }
    }
    /// An invalidation of `vmids`; `all` of their pages, or only the bytes `range`.
    pub fn invalidated(&mut self, vmids: u32, range: Option<(u64, u64)>) {
        let named = |vmid: u8| vmids & 1 << vmid != 0;
        match range {
            None => {
                self.unflushed &= !vmids;
                self.translated &= !vmids;
                self.pages.retain(|&(vmid, _), _| !named(vmid));
                self.snooped.retain(|&(_, vmid, _), _| !named(vmid));
            }
            Some((first, last)) => {
                let gone = |vmid: u8, page: u64| {
                    let va = page << PAGE_SHIFT;
                    named(vmid) && va >= first && va <= last
                };
                self.pages.retain(|&(vmid, page), _| !gone(vmid, page));
                self.snooped.retain(|&(_, vmid, page), _| !gone(vmid, page));
            }
        }
    }

    pub fn submitted(&mut self, ring: RingId, wptr: u64) {
        self.submitted = true;
        if let Some(slot) = self.wptr.get_mut(number(ring)) {
            *slot = wptr;
        }
    }
    pub fn pages(&mut self) -> Vec<(u8, u64, Access)> {
        if !std::mem::take(&mut self.submitted) {
            return Vec::new();
        }
        let unchanged = self.pages.iter().filter(|(_, p)| p.changed.is_none());
        unchanged.map(|(&(vmid, page), p)| (vmid, page, p.access)).collect()
    }
    pub fn looked(&mut self, vmid: u8, page: u64, now: Option<Used>) {
        let wptr = self.wptr;
        if let Some(page) = self.pages.get_mut(&(vmid, page)).filter(|p| !now.is_some_and(|now| now.agrees(&p.used))) {
            page.changed = Some(wptr);
        }
    }
    pub fn turn(&mut self, ring: RingId, rptr: u64) {
        self.ring = ring;
        if let Some(slot) = self.rptr.get_mut(number(ring)) {
            slot.0 = rptr;
        }
    }
    pub fn packet(&mut self, ring: RingId) {
        self.packets += 1;
        if let Some(slot) = self.rptr.get_mut(number(ring)) {
            slot.1 = self.packets;
        }
    }

    pub fn translated(&mut self, report: &mut Report, seen: &Seen) {
        let &Seen { vmid, va, access, used, current, .. } = seen;
        let ring = self.ring;
        let page = va >> PAGE_SHIFT;
        if self.unflushed & 1 << vmid != 0 {
            report.add(Rule::VmidReused, vmid.into(), || {
                format!("VMID {vmid} got another page table and translates {va:#x} without an invalidation in between")
            });
        }
        self.translated |= 1 << vmid & ((1 << VMIDS) - 1);
        let (rptr, packet) = self.rptr.get(number(ring)).copied().unwrap_or_default();
        let agree = current.is_some_and(|c| c.agrees(&used));
        if agree {
            if self.pages.len() < PAGES || self.pages.contains_key(&(vmid, page)) {
                self.pages.insert(
                    (vmid, page),
                    Page { used: used.of_page(va), access, packet: (ring, packet), changed: None, late: None },
                );
            }
        } else if let Some(known) = self.pages.get_mut(&(vmid, page)) {
            let now = current.map_or("denies it".to_owned(), |c| format!("is {:#x}", c.entry));
            let what = || format!("{}: VMID {vmid} {va:#x} by entry {:#x}; the table {now}", ring, used.entry);
            // Where faults are retried, a process submits by itself between the write of an entry and the invalidation
            // that the driver waits for before it gives the page to anybody. But that comes.
            let retries = self.retries & 1 << vmid != 0;
            let late = report.now.saturating_sub(*known.late.get_or_insert(report.now)) >= LATE;
            let submitted = known.changed.is_some_and(|w| w.get(number(ring)).is_some_and(|&w| rptr >= w));
            let stale = if retries { late } else { submitted };
            if stale {
                report.add(Rule::StaleTranslation, page << 4 | u64::from(vmid), what);
            } else if !retries && known.packet == (ring, packet) {
                report.add(Rule::InFlight, page << 4 | u64::from(vmid), what);
            }
        }
        if let Some(at) = used.at {
            self.reached(report, seen, at);
        }
    }
    /// Memory that an access reached.
    fn reached(&mut self, report: &mut Report, seen: &Seen, at: Phys) {
        let &Seen { vmid, va, access, used, .. } = seen;
        let ring = self.ring;
        if at.space == Space::Vram {
            let hit = self.freed.range(..=at.addr).next_back().filter(|(&first, &len)| at.addr - first < len);
            if let Some((&first, &len)) = hit {
                report.add(Rule::UseAfterFree, at.addr >> PAGE_SHIFT, || {
                    format!("{ring}: VMID {vmid} {va:#x} reaches VRAM {:#x}, freed as {first:#x}+{len:#x}", at.addr)
                });
            }
            return;
        }
        if seen.dummy && used.entry != 0 {
            report.add(Rule::DummyPage, va >> PAGE_SHIFT << 4 | u64::from(vmid), || {
                format!("{}: VMID {vmid} {va:#x} is mapped on the dummy page", ring)
            });
        }
        if used.entry == 0 {
            return;
        }
        if self.snooped.len() >= PAGES {
            self.snooped.clear();
        }
        let snoops = used.entry & pte::SNOOPED != 0;
        if self.aliases((at.addr >> PAGE_SHIFT, vmid, va >> PAGE_SHIFT), snoops) && access.writes() {
            report.add(Rule::Alias, at.addr >> PAGE_SHIFT, || {
                format!(
                    "{}: VMID {vmid} {va:#x} writes bus address {:#x}, mapped snooped and not snooped",
                    ring, at.addr
                )
            });
        }
    }
    /// Notes the use of a translation; whether the page is in use the other way.
    fn aliases(&mut self, key: (u64, u8, u64), snoops: bool) -> bool {
        let (page, vmid, _) = key;
        let known = self.snooped.insert(key, Way { snoops, crossed: false });
        let mut aliases = known.is_some_and(|way| way.crossed && way.snoops == snoops);
        let uses = self.snooped.range_mut((page, 0, 0)..=(page, u8::MAX, u64::MAX));
        for (&(_, other, _), way) in uses.filter(|(_, way)| way.snoops != snoops) {
            way.crossed = true;
            aliases |= other == vmid;
        }
        aliases
    }
    pub fn stood_in(&mut self, report: &mut Report, vmid: u8, va: u64) {
        report.add(Rule::DummyPage, va >> PAGE_SHIFT << 4 | u64::from(vmid), || {
            format!("VMID {vmid} {va:#x} faulted and got the default page")
        });
    }
    pub fn nowhere(&mut self, report: &mut Report, vmid: u8, va: u64) {
        report.add(Rule::Nowhere, va >> PAGE_SHIFT << 4 | u64::from(vmid), || {
            format!("VMID {vmid} {va:#x}: a table or its entry lies where no memory is")
        });
    }
    pub fn leaked(&mut self, report: &mut Report, vmid: u8, from: u64, to: u64) {
        report.add(Rule::Leak, from >> PAGE_SHIFT << 4 | u64::from(vmid), || {
            format!("VMID {vmid}: encrypted {from:#x} is copied to clear {to:#x}")
        });
    }

    pub fn freed(&mut self, (first, len): (u64, u64)) {
        if len > 0 && self.freed.len() < FREED {
            self.freed.insert(first, len);
        }
    }
    pub fn allocated(&mut self, (first, len): (u64, u64)) {
        let end = first.saturating_add(len);
        // Only what overlaps is in use again.
        let hit: Vec<_> =
            self.freed.iter().map(|(&f, &l)| (f, l)).filter(|&(f, l)| f < end && f.saturating_add(l) > first).collect();
        for (f, l) in hit {
            self.freed.remove(&f);
            let last = f.saturating_add(l);
            self.freed((f, first.saturating_sub(f)));
            self.freed((end, last.saturating_sub(end)));
        }
    }
}

fn element(reg: &uvm_spec::Reg, offset: u32) -> Option<usize> {
    let n = offset.checked_sub(reg.offset)?;
    (n < reg.count * reg.stride.max(1)).then_some(n as usize)
}
