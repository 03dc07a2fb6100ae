// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What the device shows of itself. Nothing here changes it: translations go past the caches, registers past the
//! effects that a read has.

use super::*;
use crate::access::program;
use crate::gmc::walk::{Look, Step as WalkLevel};
use crate::gmc::{Access, Cause, Translation};
use crate::ring::view::RingState;
use crate::sdma::packet::{fixed_dwords, MAX_FIXED};
use crate::trace::{describe_packet, engine_name};
use crate::view::*;
use uvm_spec::{hub, pte, sdma as sdmaspec, Access as RegAccess, Located, PAGE_SIZE, VMIDS};

impl Gpu {
    /// What a read of the register at dword `index` would give, without the read's effects. None: undefined.
    pub fn peek_register(&self, index: u32) -> Option<u32> {
        // The hubs' semaphores are taken by a read; what indirect data registers stand for is shown by its own name.
        if let Some(offset) = self.mm_hub.regs().offset_of(index) {
            return self.mm_hub.regs().read(offset).map(|r| r.0);
        }
        if let Some(offset) = self.gc_hub.regs().offset_of(index) {
            return self.gc_hub.regs().read(offset).map(|r| r.0);
        }
        if let Some((vidmm, offset)) = self.mm_hub.vidmm().and_then(|v| Some((v, v.regs().offset_of(index)?))) {
            return vidmm.regs().read(offset).map(|r| r.0);
        }
        if let Some((sdma, offset)) = self.sdma.iter().find_map(|s| Some((s, s.regs().offset_of(index)?))) {
            return sdma.read(offset);
        }
        if let Some(offset) = self.access.regs().offset_of(index) {
            return self.access.read(offset);
        }
        if let Some(offset) = self.mm_hub.counters.regs().offset_of(index) {
            return self.mm_hub.counters.read(offset);
        }
        if let Some(offset) = self.ih.regs().offset_of(index) {
            return self.ih.read(offset);
        }
        self.nbio.regs().read(index).map(|r| r.0)
    }
    /// The registers called `name` (see [`names::find`]), or all that this device has.
    pub fn view_registers(&self, name: Option<&str>) -> Result<Vec<Register>, ViewError> {
        let wanted = match name {
            Some(name) => names::find(name)?,
            None => names::all().collect(),
        };
        Ok(wanted
            .into_iter()
            .filter_map(|(index, reg)| Some(register(index, &reg, self.peek_register(index)?)))
            .collect())
    }

    /// What the tables say of `va` in address space `vmid` now.
    pub fn view_walk(&self, vmid: u32, va: u64) -> Result<Walk, ViewError> {
        let number = u8::try_from(vmid).ok().filter(|&v| usize::from(v) < VMIDS).ok_or(ViewError::Vmid(vmid))?;
        let memory = Memory::new(&self.vram, &self.memory);
        let mut walk = Walk { vmid: number, va: Hex(va), aperture: false, steps: Vec::new(), ends: Vec::new() };
        for access in [Access::Read, Access::Write, Access::Execute, Access::Atomic] {
            let mut looks = Vec::new();
            let end = match self.mm_hub.watch(&memory, number, va, access, &mut looks) {
                Some(end) => end,
                None => {
                    walk.aperture = true;
                    self.mm_hub.peek(&memory, number, va, access)
                }
            };
            if let (Err(Fault { cause: Cause::Range, .. }), Some(context)) = (end, self.mm_hub.space_of(number, va)) {
                if !context.enabled {
                    return Err(ViewError::Disabled(number));
                }
                let (first, last) = limits(context.start, context.end);
                return Err(ViewError::Outside { vmid: number, va: Hex(va), first, last });
            }
            if walk.steps.is_empty() {
                walk.steps = looks.iter().map(step).collect();
            }
            walk.ends.push(walk_end(access, end));
        }
        Ok(walk)
    }

    /// Every ring of every instance.
    pub fn view_rings(&self) -> Vec<Ring> {
        let memory = Memory::new(&self.vram, &self.memory);
        self.rings().map(|(instance, state)| self.ring(&memory, instance, state)).collect()
    }
    fn rings(&self) -> impl Iterator<Item = (usize, RingState)> + '_ {
        let sdma =
            self.sdma.iter().enumerate().flat_map(|(n, sdma)| sdma.view().into_iter().map(move |ring| (n, ring)));
        sdma.chain(self.access.view().into_iter().map(|queue| (accessspec::INSTANCE, queue)))
    }
    fn ring(&self, memory: &Memory<'_>, instance: usize, state: RingState) -> Ring {
        let ahead = state.wptr.wrapping_sub(state.rptr);
        let there = state.state != "disabled" && ahead > 0 && ahead <= state.size;
        let at = |i: u64| state.base.wrapping_add(state.rptr.wrapping_add(4 * i) & (state.size - 1));
        Ring {
            instance,
            ring: queue_name(instance, state.ring).into(),
            state: state.state.into(),
            why: state.why,
            base: Hex(state.base),
            size: Hex(state.size),
            rptr: Hex(state.rptr),
            wptr: Hex(state.wptr),
            vmid: state.vmid,
            packet: there.then(|| self.packet(memory, instance, state.vmid, ahead / 4, at)),
            ib: state.ib.map(|(vmid, base, dwords, pos)| {
                let left = u64::from(dwords.saturating_sub(pos));
                let packet = self.packet(memory, instance, vmid, left, |i| base.wrapping_add(4 * (u64::from(pos) + i)));
                IndirectBuffer { vmid, base: Hex(base), dwords, at: pos, packet: Some(packet) }
            }),
        }
    }
    /// The packet whose dword n lies at `at(n)`, of which there are `left`.
    fn packet(&self, memory: &Memory<'_>, engine: usize, vmid: u8, left: u64, at: impl Fn(u64) -> u64) -> String {
        let load = |i: u64| {
            let place = self.mm_hub.peek(memory, vmid, at(i) & !3, Access::Read).ok()?.at?;
            memory.load::<u32>(place).map(u32::from_le)
        };
        let Some(header) = load(0) else { return "(cannot be read)".into() };
        let fixed = match engine {
            accessspec::INSTANCE => program::fixed_dwords(header).unwrap_or(1).min(accessspec::MAX_DWORDS),
            _ => fixed_dwords(header).unwrap_or(1).min(MAX_FIXED),
        } as u64;
        let dwords: Option<Vec<u32>> = (0..fixed.min(left)).map(load).collect();
        dwords.map_or_else(|| "(cannot be read)".into(), |dwords| describe_packet(&dwords))
    }

    /// What the translation caches hold: of `vmid`, or of all; at most `most` entries a cache.
    pub fn view_tlb(&self, vmid: Option<u8>, most: usize) -> Tlbs {
        let (l1, l2) = self.mm_hub.caches();
        let name = |n: usize| format!("L1 {}", engine_name(u8::try_from(n).unwrap_or(u8::MAX)));
        let named = l1.iter().enumerate().map(|(n, tlb)| (name(n), Some(n), tlb));
        let caches = named.chain([("L2".to_string(), None, l2)]).map(|(name, client, tlb)| {
            let lines = self.mm_hub.stream_pages().filter(|(n, ..)| Some(*n) == client).map(|(_, vmid, va, page)| {
                (vmid, va, Translation { at: Some(page.phys(0)), len: PAGE_SIZE, entry: page.entry, bits: PAGE_SHIFT })
            });
            let wanted = lines.chain(tlb.entries()).filter(|(v, ..)| vmid.is_none_or(|wanted| wanted == *v));
            let mut entries: Vec<TlbEntry> = wanted.filter_map(|(vmid, va, t)| tlb_entry(vmid, va, &t)).collect();
            entries.sort_by_key(|e| (e.vmid, e.va, e.len));
            entries.dedup();
            let left_out = entries.len().saturating_sub(most);
            entries.truncate(most);
            TlbCache { name, capacity: tlb.capacity(), hits: tlb.hits, misses: tlb.misses, entries, left_out }
        });
        Tlbs { caches: caches.collect(), walks: self.mm_hub.walks }
    }

    /// Every address space.
    pub fn view_vmids(&self) -> Vec<AddressSpace> {
        let numbers = 0u8..;
        let spaces = numbers.take(VMIDS).filter_map(|vmid| Some((vmid, self.mm_hub.context(vmid)?)));
        let spaces = spaces.map(|(vmid, context)| {
            let (first, last) = limits(context.start, context.end);
            let busy = self.rings().filter(|(_, r)| r.busy && r.ib.map_or(r.vmid, |ib| ib.0) == vmid);
            AddressSpace {
                vmid,
                enabled: context.enabled,
                levels: context.depth + 1,
                block_bits: context.block_bits,
                first,
                last,
                root: context.phys(context.base, pte::PDE_ADDR).map(Place::from),
                retry: context.retry_page,
                pasid: self.ih.pasid(vmid),
                busy: busy.map(|(n, r)| ring_name(n, r.ring)).collect(),
            }
        });
        spaces.collect()
    }

    /// What the checks found; None where nobody judges.
    pub fn view_findings(&self) -> Option<Findings> {
        self.checks.tell(|checker| Findings {
            findings: checker.findings().map(finding).collect(),
            counts: checker.counts().iter().map(|(rule, &count)| (rule.name().into(), count)).collect(),
        })
    }

    /// What is known of page faults.
    pub fn view_faults(&self) -> Faults {
        let hubs = [("MMHUB", &self.mm_hub), ("GC", &self.gc_hub)];
        let status = hubs.into_iter().filter_map(|(name, hub)| {
            let (value, va) = hub.fault_status();
            (value != 0).then(|| FaultStatus {
                hub: name.into(),
                va: Hex(va),
                value: value.into(),
                text: status(value),
            })
        });
        let parked = self.rings().flat_map(|(n, r)| {
            let ring = ring_name(n, r.ring);
            r.parked.into_iter().map(move |fault| ParkedRing {
                ring: ring.clone(),
                vmid: fault.vmid,
                va: Hex(fault.va),
                access: fault.access.name().into(),
                cause: fault.cause.to_string(),
            })
        });
        Faults {
            count: self.counters().faults,
            status: status.collect(),
            cam: self
                .ih
                .cam()
                .entries()
                .map(|(index, vmid, page, ih_ring)| CamEntry { index, vmid, va: Hex(page << PAGE_SHIFT), ih_ring })
                .collect(),
            parked: parked.collect(),
            recent: self.mm_hub.recent().iter().map(recent).collect(),
        }
    }

    /// What `top` shows.
    pub fn view_summary(&self) -> Summary {
        let rings = self.rings().filter(|(_, r)| r.state != "disabled");
        Summary {
            time: self.clock.now(),
            counters: self.counters(),
            outstanding: self.ih.outstanding(),
            rings: rings
                .map(|(n, r)| (ring_name(n, r.ring), r.state.into(), r.wptr.wrapping_sub(r.rptr).min(r.size)))
                .collect(),
            vmids: (0u8..).take(VMIDS).filter(|&v| self.mm_hub.context(v).is_some_and(|c| c.enabled)).collect(),
            injected: self.injections(),
        }
    }
}

fn ring_name(instance: usize, ring: usize) -> String {
    RingId::new(instance, ring).to_string()
}

/// The name of a ring among those of its engine.
fn queue_name(instance: usize, ring: usize) -> &'static str {
    let names = if instance == accessspec::INSTANCE { accessspec::QUEUE_NAMES } else { sdmaspec::RING_NAMES };
    names.get(ring).copied().unwrap_or("?")
}

/// First and last byte of the pages from `start` to `end`.
fn limits(start: u64, end: u64) -> (Hex, Hex) {
    (Hex(start << PAGE_SHIFT), Hex(end << PAGE_SHIFT | (PAGE_SIZE - 1)))
}

fn register(index: u32, reg: &Located, value: u32) -> Register {
    let fields = reg.reg.fields.iter();
    Register {
        name: reg.to_string(),
        index: index.into(),
        value: value.into(),
        reset: reg.reg.reset.into(),
        access: match reg.reg.access {
            RegAccess::Special => "RX".into(),
            access => access.tag().into(),
        },
        fields: fields.map(|f| FieldValue { name: f.name.into(), bits: (f.msb, f.lsb), value: f.get(value) }).collect(),
        doc: reg.reg.doc.trim().into(),
    }
}

fn step(look: &Look) -> WalkStep {
    let level = match look.step {
        WalkLevel::Directory(n) => format!("PDB{n}"),
        WalkLevel::Table => "PTB".into(),
        WalkLevel::Further => "PTB+".into(),
    };
    let text = match (look.entry, look.step) {
        (None, _) => "no memory is there".into(),
        (Some(e), WalkLevel::Directory(_)) if e & pte::PDE_PTE == 0 => entry::directory(e),
        (Some(e), _) => entry::page(e),
    };
    WalkStep { level, slot: look.slot, at: look.at.into(), entry: look.entry.map(Hex), text }
}

fn walk_end(access: Access, end: Result<Translation, Fault>) -> WalkEnd {
    let (at, len, why) = match end {
        Ok(Translation { at: Some(at), len, .. }) => (Some(at.into()), len, "translates".into()),
        Ok(Translation { at: None, len, .. }) => (None, len, "partially resident: reads zero, drops writes".into()),
        Err(fault) => {
            let retry = if fault.retry { "; the access waits and may be retried" } else { "" };
            (None, 0, format!("fault: {}{retry}", fault.cause))
        }
    };
    WalkEnd { access: access.name().into(), at, len: Hex(len), why }
}

fn tlb_entry(vmid: u8, va: u64, t: &Translation) -> Option<TlbEntry> {
    Some(TlbEntry { vmid, va: Hex(va), len: Hex(t.len), at: t.at?.into(), flags: entry::flags(t.entry) })
}

fn status(value: u32) -> String {
    let fields = hub::mm::VM_L2_PROTECTION_FAULT_STATUS.fields.iter().filter(|f| f.is_set(value));
    fields.map(|f| format!("{}={}", f.name, f.get(value))).collect::<Vec<_>>().join(" ")
}

fn recent(o: &crate::gmc::recent::Occurrence) -> RecentFault {
    let Fault { vmid, va, access, cause, retry } = o.fault;
    RecentFault {
        number: o.number,
        times: o.times,
        vmid,
        va: Hex(va),
        access: access.name().into(),
        cause: cause.to_string(),
        retry,
    }
}

fn finding(found: &crate::check::Finding) -> crate::view::Finding {
    let (rule, chapter) = (found.rule.name().into(), found.rule.chapter().into());
    crate::view::Finding { time: found.time, rule, what: found.what.clone(), chapter }
}
