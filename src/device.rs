// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The blocks wired together: register dispatch, doorbells, engine turns, interrupts, reset.
//!
//! [`Gpu`] is a plain state machine: no thread, no callback. Whoever owns it serialises calls, calls [`Gpu::run`] while
//! it answers [`Progress::More`], and drains [`Gpu::take_interrupt`] after each call.

mod config;
mod digest;
mod inject;
mod judge;
mod view;

pub use config::{Config, GpuError, Uma, MAX_TLB, MAX_VRAM};

use crate::access::Engine;
use crate::bus::{Clock, SystemMemory, CLOCK_HZ};
use crate::check::{Checker, Checks, Finding, Rule};
use crate::gmc::{Fault, Hub, HubId, Memory, Mmu, Phys, Space};
use crate::ih::Ih;
use crate::nbio::{Indirect, Nbio, Route};
use crate::ring::{Io, RegOp, Step};
use crate::sdma::work::QUANTUM;
use crate::sdma::Sdma;
use crate::trace::event::{Answer, Call};
use crate::trace::{Event, RingId, Stage, Tracer, Who};
use crate::vram::Vram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uvm_spec::{access as accessspec, ih as ihspec, window, PAGE_SHIFT, SDMA_INSTANCES};
use vm_memory::GuestAddressSpace;

/// What [`Gpu::run`] left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing to do before the next register access or doorbell.
    Idle,
    /// Call again.
    More,
    /// A poll waits: call again after this time, or after the next register access or doorbell.
    Waiting(Duration),
}

/// What the device counted since its reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Register reads from outside.
    pub reads: u64,
    /// Register writes from outside.
    pub writes: u64,
    /// Doorbells.
    pub doorbells: u64,
    /// SDMA packets.
    pub packets: u64,
    /// Bytes that SDMA copied, filled or wrote.
    pub bytes: u64,
    /// Accesses of the access engine's lanes.
    #[serde(default)]
    pub accesses: u64,
    /// Bytes that they read and wrote.
    #[serde(default)]
    pub accessed: u64,
    /// Interrupt vectors delivered.
    pub interrupts: u64,
    /// Interrupt vectors dropped.
    pub dropped: u64,
    /// Page faults; one that is retried counts each time.
    pub faults: u64,
    /// Translations that a cache held, L1 or L2.
    pub tlb_hits: u64,
    /// Page-table walks.
    pub walks: u64,
    /// Bytes that copies brought from system memory into VRAM.
    pub vram_in: u64,
    /// Bytes that copies brought from VRAM into system memory.
    pub vram_out: u64,
}

/// The device.
pub struct Gpu {
    config: Config,
    memory: SystemMemory,
    clock: Box<dyn Clock>,
    vram: Arc<Vram>,
    nbio: Nbio,
    gc_hub: Hub,
    mm_hub: Hub,
    ih: Ih,
    sdma: [Sdma; SDMA_INSTANCES],
    access: Engine,
    /// The engine that had the last turn: an SDMA instance, or the access engine.
    turn: usize,
    /// Vectors that the blocks raised and the IH has not taken yet.
    vectors: Vec<ihspec::Vector>,
    /// Faults whose access waits and which the IH has not taken yet.
    retries: Vec<Fault>,
    trace: Tracer,
    checks: Checks,
    /// Nothing has happened to it yet.
    pristine: bool,
    counters: Counters,
    /// Faults that a user wants.
    injected: Option<Box<inject::Injected>>,
}

/// Engines: the SDMA instances and the access engine.
const ENGINES: usize = accessspec::INSTANCE + 1;

/// Without the retry CAM an access that waits is made again after this time, reference clocks: 100 us.
const RETRY_TICKS: u64 = CLOCK_HZ / 10_000;
/// Bytes of a copy that an access of a lane is worth.
const ACCESS_BYTES: u64 = 64;
/// Most packets of a quantum.
const QUANTUM_STEPS: usize = 128;

impl Gpu {
    /// A device after power-on, working on `memory`.
    pub fn new(config: Config, memory: SystemMemory, clock: Box<dyn Clock>) -> Result<Self, GpuError> {
        let vram = config.vram()?;
        Ok(Self::around(vram, config, memory, clock))
    }
    fn around(vram: Vram, config: Config, memory: SystemMemory, clock: Box<dyn Clock>) -> Self {
        let mm_hub = Hub::new(HubId::Mm, config.levels, config.tlb);
        Self {
            config,
            memory,
            clock,
            nbio: Nbio::new(vram.size()),
            vram: Arc::new(vram),
            gc_hub: Hub::new(HubId::Gc, config.levels, config.tlb),
            mm_hub: if config.mmu == Mmu::Vidmm { mm_hub.with_vidmm() } else { mm_hub },
            ih: Ih::default(),
            sdma: std::array::from_fn(Sdma::new),
            access: Engine::default(),
            turn: 0,
            vectors: Vec::new(),
            retries: Vec::new(),
            trace: Tracer::default(),
            checks: Checks::default(),
            pristine: true,
            counters: Counters::default(),
            injected: None,
        }
    }
    /// The same with this key of TMZ pages instead of a random one.
    pub fn with_key(
        config: Config,
        memory: SystemMemory,
        clock: Box<dyn Clock>,
        key: &[u8; 32],
    ) -> Result<Self, GpuError> {
        let vram = config.vram()?.with_key(key);
        Ok(Self::around(vram, config, memory, clock))
    }
    /// Sends every event to `trace` from now on.
    pub fn set_trace(&mut self, trace: Tracer) {
        self.mm_hub.set_trace(trace.clone());
        self.gc_hub.set_trace(trace.clone());
        self.trace = trace;
        self.trace.record(|| Event::Device {
            version: env!("CARGO_PKG_VERSION").into(),
            depth: self.trace.depth(),
            config: self.config,
            pristine: self.pristine,
            key: if self.trace.is_full() { self.vram.cipher().key().to_vec() } else { Vec::new() },
        });
    }
    /// Judges from now on what the driver does, or no longer.
    pub fn set_checks(&mut self, on: bool) {
        self.judged_by(if on { Checks::on(self.config.mmu) } else { Checks::default() });
    }
    /// Lets `checks` judge from now on what the driver does.
    pub fn judged_by(&mut self, checks: Checks) {
        self.mm_hub.set_checks(checks.clone());
        self.checks = checks;
    }
    /// Who judges the driver.
    pub fn checks(&self) -> &Checks {
        &self.checks
    }
    /// What the driver did wrong, oldest first: one finding a place.
    pub fn findings(&self) -> Vec<Finding> {
        self.checks.tell(|c| c.findings().cloned().collect()).unwrap_or_default()
    }
    /// How often each rule was broken.
    pub fn finding_counts(&self) -> BTreeMap<Rule, u64> {
        self.checks.tell(|c| c.counts().clone()).unwrap_or_default()
    }
    /// How it was made.
    pub fn config(&self) -> &Config {
        &self.config
    }
    /// Video memory.
    pub fn vram(&self) -> &Vram {
        &self.vram
    }
    /// Where VRAM lies in system memory, if it does: bus address.
    pub fn vram_base(&self) -> Option<u64> {
        self.vram.base(&self.memory.memory())
    }
    /// The system memory it works on.
    pub fn system_memory(&self) -> &SystemMemory {
        &self.memory
    }
    /// IH_RB_WPTR of `ring`.
    pub fn ih_wptr(&self, ring: usize) -> u32 {
        self.ih.wptr(ring)
    }
    /// The next edge of the interrupt line, if there is one.
    pub fn take_interrupt(&mut self) -> Option<window::Event> {
        let event = match self.injected.as_deref_mut() {
            None => self.ih.take_interrupt(),
            Some(injected) => injected.take_interrupt(),
        }?;
        self.begin(Call::TakeInterrupt);
        self.trace.record(|| Event::Line { ring: event.ring, wptr: event.wptr });
        Some(event)
    }
    /// A call from outside begins.
    #[inline]
    fn begin(&mut self, call: Call) {
        self.pristine = false;
        self.trace.call(&*self.clock, || call);
    }
    #[inline]
    fn now(&self) -> u64 {
        self.trace.clock(&*self.clock)
    }
    /// What was counted since the last reset.
    pub fn counters(&self) -> Counters {
        Counters {
            packets: self.sdma.iter().map(|s| s.rings.packets).sum(),
            bytes: self.sdma.iter().map(|s| s.bytes).sum(),
            accesses: self.access.accesses,
            accessed: self.access.bytes,
            interrupts: self.ih.delivered,
            dropped: self.ih.dropped,
            faults: self.gc_hub.faults + self.mm_hub.faults,
            tlb_hits: {
                let (l1, l2) = self.mm_hub.caches();
                l1.iter().map(|t| t.hits).sum::<u64>() + l2.hits
            },
            walks: self.mm_hub.walks,
            vram_in: self.mm_hub.vram_in,
            vram_out: self.mm_hub.vram_out,
            ..self.counters
        }
    }
    /// Brings every register to its reset value and stops the engines. VRAM keeps its content.
    pub fn reset(&mut self) {
        self.begin(Call::Reset);
        self.nbio.reset();
        self.gc_hub.reset();
        self.mm_hub.reset();
        self.ih.reset();
        for sdma in &mut self.sdma {
            sdma.reset();
        }
        self.access.reset();
        self.vectors.clear();
        self.retries.clear();
        self.counters = Counters::default();
        self.reset_injected();
        self.trace.reset();
        self.checks.tell(Checker::reset);
    }

    /// Reads the register at dword `index`; an undefined one reads as zero.
    pub fn mmio_read(&mut self, index: u32) -> u32 {
        self.begin(Call::Read { index });
        self.counters.reads += 1;
        let value = self.read(index).unwrap_or(0);
        self.trace.record(|| Event::Register { who: Who::Driver, write: false, index, value });
        if self.checks.is_on() {
            self.tick();
            self.checks.tell(|c| c.read(index, value));
        }
        value
    }
    /// Writes the register at dword `index`; an undefined one swallows it.
    pub fn mmio_write(&mut self, index: u32, value: u32) {
        self.begin(Call::Write { index, value });
        self.counters.writes += 1;
        self.trace.record(|| Event::Register { who: Who::Driver, write: true, index, value });
        let before = self.watch();
        if let Some(before) = &before {
            let held = self.peek_register(index).unwrap_or(0);
            self.checks.tell(|c| c.write(index, value, held, before.active));
        }
        if self.write(index, value).is_none() {
            log::debug!("write of {value:#x} to undefined register {index:#x}");
        }
        if let Some(before) = before {
            if index == ihspec::OSSSYS.index(&ihspec::IH_RETRY_CAM_ACK, 0) {
                self.answered(value);
            }
            self.judge(&before);
        }
    }
    /// Rings doorbell `slot` (64 bits each).
    pub fn doorbell(&mut self, slot: u32, value: u64) {
        self.begin(Call::Doorbell { slot, value });
        self.counters.doorbells += 1;
        let dw = slot.saturating_mul(2);
        let before = self.watch();
        let taken = match self.nbio.route(dw) {
            _ if self.is_removed() => false,
            #[allow(clippy::cast_possible_truncation)] // the IH's pointer is 32 bits wide
            Route::Ih => {
                let rang = self.ih.doorbell(dw, value as u32);
                self.wake(rang.flatten());
                rang.is_some()
            }
            Route::Sdma(n) => {
                let taken = self.sdma.get_mut(n).is_some_and(|s| s.rings.doorbell(dw, value));
                if !taken {
                    self.refuse_doorbell(if n == 0 { ihspec::client::SDMA0 } else { ihspec::client::SDMA1 }, slot);
                }
                taken
            }
            Route::Access => {
                let taken = self.access.rings.doorbell(dw, value);
                if !taken {
                    self.refuse_doorbell(ihspec::client::ACCESS, slot);
                }
                taken
            }
            Route::Nobody => false,
        };
        if !taken {
            log::debug!("doorbell {slot:#x} rang for nobody");
        }
        self.trace.record(|| Event::Doorbell { slot, value, taken });
        if let Some(before) = before {
            let target =
                self.sdma.iter().find_map(|s| s.rings.doorbell_target(dw)).or(self.access.rings.doorbell_target(dw));
            self.checks.tell(|c| c.doorbell(slot, taken, target));
            if self.ih.is_cam_doorbell(dw) {
                #[allow(clippy::cast_possible_truncation)] // as the IH takes it
                self.answered(value as u32);
            }
            self.judge(&before);
        }
    }

    /// Doorbell `slot` is in the range of block `client`, but no ring of it listens.
    fn refuse_doorbell(&mut self, client: u8, slot: u32) {
        let (source, data) = (ihspec::source::SDMA_DOORBELL_INVALID, [slot, 0, 0, 0]);
        self.vectors.push(ihspec::Vector { client, source, mm: true, data, ..Default::default() });
        let vram = Arc::clone(&self.vram);
        self.deliver(&Memory::traced(&vram, &self.memory, &self.trace));
    }

    /// Gives the engines one quantum of work: bounded in packets and bytes.
    ///
    /// The quantum sees one memory map from its start to its end: one that is replaced meanwhile stays mapped until then.
    pub fn run(&mut self) -> Progress {
        self.begin(Call::Run);
        if self.checks.is_on() {
            self.tick();
        }
        self.note_state();
        let progress = match self.injected {
            None => self.quantum(),
            Some(_) => self.run_injected(),
        };
        self.note_state();
        progress
    }
    /// Where the rings are and what the caches did, for a full trace.
    #[inline]
    fn note_state(&self) {
        if !self.trace.is_full() {
            return;
        }
        for (ring, rptr, wptr) in self.ring_pointers() {
            self.trace.ring(ring, rptr, wptr);
        }
        let Counters { tlb_hits, walks, .. } = self.counters();
        self.trace.tlb(tlb_hits, walks);
    }
    fn quantum(&mut self) -> Progress {
        let vram = Arc::clone(&self.vram);
        let memory = Memory::traced(&vram, &self.memory, &self.trace);
        let before = self.moved();
        for _ in 0..QUANTUM_STEPS {
            let (step, instance) = self.step(&memory);
            self.deliver(&memory);
            self.trace.settle();
            match step {
                Step::Idle => return Progress::Idle,
                Step::Until(due) => {
                    let ticks = due.saturating_sub(self.now());
                    return Progress::Waiting(Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / CLOCK_HZ)));
                }
                Step::Register(op) => self.engine_register(instance, op, &memory),
                Step::More => {}
            }
            if self.moved() - before >= QUANTUM {
                break;
            }
        }
        Progress::More
    }
    /// What the engines did since reset, in bytes that it is worth.
    fn moved(&self) -> u64 {
        self.sdma.iter().map(|s| s.bytes).sum::<u64>() + self.access.accesses * ACCESS_BYTES
    }
    /// One step of the next engine in turn.
    fn step(&mut self, memory: &Memory<'_>) -> (Step, usize) {
        let now = self.now();
        let retry_due = if self.ih.cam_enabled() { None } else { Some(now.saturating_add(RETRY_TICKS)) };
        let mut wait: Option<u64> = None;
        for i in 1..=ENGINES {
            let n = (self.turn + i) % ENGINES;
            let mut io = Io {
                hub: &mut self.mm_hub,
                memory,
                vectors: &mut self.vectors,
                retries: &mut self.retries,
                now,
                retry_due,
                trace: &self.trace,
                checks: &self.checks,
            };
            let step = match self.sdma.get_mut(n) {
                Some(sdma) => sdma.step(&mut io),
                None => self.access.step(&mut io),
            };
            match step {
                Step::Idle => {}
                Step::Until(t) => wait = Some(wait.map_or(t, |w| w.min(t))),
                step => {
                    self.turn = n;
                    return (step, n);
                }
            }
        }
        (wait.map_or(Step::Idle, Step::Until), 0)
    }
    /// A packet's register access.
    fn engine_register(&mut self, instance: usize, op: RegOp, memory: &Memory<'_>) {
        #[allow(clippy::cast_possible_truncation)] // 0 or 1
        let number = instance as u8;
        let event = |write, index, value| move || Event::Register { who: Who::Sdma(number), write, index, value };
        match op {
            RegOp::Write { index, value, byte_enable } => {
                let mask = (0..4).filter(|b| byte_enable & 1 << b != 0).fold(0, |m, b| m | 0xff << (8 * b));
                let value = if mask == u32::MAX { value } else { self.read(index).unwrap_or(0) & !mask | value & mask };
                self.trace.record(event(true, index, value));
                self.write(index, value);
            }
            RegOp::Read { index, ring } => {
                let value = self.read(index).unwrap_or(0);
                self.trace.record(event(false, index, value));
                let now = self.now();
                let mut io = Io {
                    hub: &mut self.mm_hub,
                    memory,
                    vectors: &mut self.vectors,
                    retries: &mut self.retries,
                    retry_due: None,
                    now,
                    trace: &self.trace,
                    checks: &self.checks,
                };
                if let Some(sdma) = self.sdma.get_mut(instance) {
                    sdma.polled(ring, value, &mut io);
                }
            }
        }
        self.deliver(memory);
    }
    /// Hands raised vectors to the IH.
    fn deliver(&mut self, memory: &Memory<'_>) {
        if self.vectors.is_empty() && self.retries.is_empty() {
            return;
        }
        let now = self.now();
        for vector in self.vectors.drain(..) {
            let overwritten = self.ih.overwritten;
            let written = self.ih.raise(vector, now, memory, &self.mm_hub);
            let delivered = written.is_some();
            if delivered {
                self.checks.tell(|c| c.vector(self.ih.route(&vector), self.ih.overwritten > overwritten));
            }
            self.trace.record(|| Event::Interrupt { vector: written.unwrap_or(vector).pack(), delivered });
            if let Some(fault) = Fault::of_vector(&vector) {
                let stage = written.map_or(Stage::Dropped, |v| Stage::Delivered { stamp: v.timestamp, cam: 0 });
                self.trace.fault_told(&fault, stage);
            }
        }
        for fault in self.retries.drain(..) {
            let vector = self.mm_hub.vector(&fault);
            let overwritten = self.ih.overwritten;
            let written = self.ih.raise_retry(&fault, vector, now, memory, &self.mm_hub);
            if let Some(written) = written {
                self.checks.tell(|c| {
                    c.vector(self.ih.route(&vector), self.ih.overwritten > overwritten);
                    if self.ih.cam_enabled() {
                        c.told(written.data[2], fault.vmid, fault.va >> PAGE_SHIFT);
                    }
                });
                self.trace.record(|| Event::Interrupt { vector: written.pack(), delivered: true });
            }
            let told = |v: ihspec::Vector| Stage::Delivered { stamp: v.timestamp, cam: v.data[2] };
            self.trace.fault_told(&fault, written.map_or(Stage::Held, told));
        }
    }

    /// Lets rings go on that wait for a page: all that wait for the page of an `answered` CAM entry or in an
    /// invalidated address space; and where the driver made room, those whose fault it may never have seen.
    fn wake(&mut self, answered: Option<(u8, u64)>) {
        let invalidated = self.mm_hub.take_invalidated();
        let room = self.ih.take_room();
        if answered.is_none() && invalidated == 0 && !room {
            return;
        }
        let (ih, trace) = (&self.ih, &self.trace);
        let may_go_on = |f: &Fault, timed: bool| {
            let by = if answered == Some((f.vmid, f.va >> PAGE_SHIFT)) {
                Answer::Cam
            } else if invalidated & 1 << f.vmid != 0 {
                Answer::Invalidation
            } else if room && !timed && !ih.knows(f) {
                Answer::Room
            } else {
                return false;
            };
            trace.fault_answered(f, by);
            true
        };
        self.sdma.iter_mut().for_each(|sdma| sdma.wake(may_go_on));
        self.access.wake(may_go_on);
    }

    /// A register read, from outside or by a packet. None: undefined.
    fn read(&mut self, index: u32) -> Option<u32> {
        if let Some(value) = self.intercept_read(index) {
            return Some(value);
        }
        if let Some(indirect) = self.nbio.indirect(index) {
            return match indirect {
                // An indirect register that names an indirect register leads nowhere.
                Indirect::Register(target) if self.nbio.indirect(target).is_some() => None,
                Indirect::Register(target) => self.read(target),
                Indirect::Vram(addr) => {
                    let memory = Memory::traced(&self.vram, &self.memory, &self.trace);
                    memory.load::<u32>(Phys { space: Space::Vram, addr: addr & !3 }).map(u32::from_le)
                }
            };
        }
        if let Some(offset) = self.mm_hub.regs().offset_of(index) {
            return self.mm_hub.read(offset);
        }
        if let Some(offset) = self.gc_hub.regs().offset_of(index) {
            return self.gc_hub.read(offset);
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
    /// Read and write pointer of each ring and queue, bytes.
    pub fn ring_pointers(&self) -> impl Iterator<Item = (RingId, u64, u64)> + '_ {
        self.sdma.iter().flat_map(|s| s.rings.pointers()).chain(self.access.rings.pointers())
    }
    /// A register write, from outside or by a packet. None: undefined.
    fn write(&mut self, index: u32, value: u32) -> Option<()> {
        if self.intercept_write(index, value) {
            return Some(());
        }
        self.write_now(index, value)
    }
    fn write_now(&mut self, index: u32, value: u32) -> Option<()> {
        if let Some(indirect) = self.nbio.indirect(index) {
            return match indirect {
                Indirect::Register(target) if self.nbio.indirect(target).is_some() => None,
                Indirect::Register(target) => self.write(target, value),
                Indirect::Vram(addr) => {
                    let memory = Memory::traced(&self.vram, &self.memory, &self.trace);
                    memory.store(Phys { space: Space::Vram, addr: addr & !3 }, value.to_le())
                }
            };
        }
        if let Some(offset) = self.mm_hub.regs().offset_of(index) {
            let written = self.mm_hub.write(offset, value).map(drop);
            self.wake(None);
            return written;
        }
        if let Some(offset) = self.gc_hub.regs().offset_of(index) {
            return self.gc_hub.write(offset, value).map(drop);
        }
        if let Some(offset) = self.mm_hub.vidmm().and_then(|v| v.regs().offset_of(index)) {
            return self.mm_hub.write_vidmm(offset, value).map(drop);
        }
        if let Some((sdma, offset)) = self.sdma.iter_mut().find_map(|s| s.regs().offset_of(index).map(|o| (s, o))) {
            return sdma.write(offset, value).map(drop);
        }
        if let Some(offset) = self.access.regs().offset_of(index) {
            return self.access.write(offset, value).map(drop);
        }
        if let Some(offset) = self.mm_hub.counters.regs().offset_of(index) {
            return self.mm_hub.counters.write(offset, value).map(drop);
        }
        if let Some(offset) = self.ih.regs().offset_of(index) {
            let answered = self.ih.write(offset, value)?;
            self.wake(answered);
            return Some(());
        }
        self.nbio.write(index, value).map(drop)
    }
}
