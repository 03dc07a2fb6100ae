// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! An SDMA instance: its registers, its rings, and the fetch of packets from a ring or an indirect buffer.

pub mod view;

use super::packet::{decode, fixed_dwords, Packet, MAX_FIXED};
use super::work::{Outcome, Stream, Work};
use crate::check::{Checks, Pointers};
use crate::gmc::access::Reported;
use crate::gmc::{Client, Fault, Hub, Memory, Stop, Vm};
use crate::inject::Struck;
use crate::regs::{RegFile, Written};
use crate::ring::{self, Hangs};
use crate::throttle::Throttle;
use crate::trace::{Event, RingId, Tracer};
use uvm_spec::sdma::*;
use uvm_spec::{hub::cid, ih, Block};

/// A register access that a packet makes; the device carries it out between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the packet's")]
pub enum RegOp {
    /// SRBM_WRITE: `byte_enable` has a bit per byte.
    Write { index: u32, value: u32, byte_enable: u32 },
    /// POLL_REGMEM: the value goes to [`Sdma::polled`] with this ring number.
    Read { index: u32, ring: usize },
}

/// What a step left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// No ring has anything to do.
    Idle,
    /// A piece was done; there may be more.
    More,
    /// Every ring with work waits, this one until then (reference clock).
    Until(u64),
    /// A register access is wanted.
    Register(RegOp),
}

/// What an engine works with during a step.
pub struct Io<'a, 'm> {
    /// The hub that translates.
    pub hub: &'a mut Hub,
    /// Both memories.
    pub memory: &'m Memory<'m>,
    /// Where interrupt vectors go.
    pub vectors: &'a mut Vec<ih::Vector>,
    /// Where faults go whose access waits: one a step of an SDMA ring at most, one a lane of a program.
    pub retries: &'a mut Vec<Fault>,
    /// Reference clock.
    pub now: u64,
    /// When an access that nobody answers is made again; None waits for an answer.
    pub retry_due: Option<u64>,
    /// Where events go.
    pub trace: &'a Tracer,
    /// Who judges the driver.
    pub checks: &'a Checks,
}

/// An indirect buffer in execution; sizes and positions in dwords.
#[derive(Clone, Copy, Debug)]
struct Ib {
    vmid: u8,
    base: u64,
    dwords: u32,
    pos: u32,
}

/// A ring's state beyond its registers.
#[derive(Debug, Default)]
struct Ring {
    /// Write pointer taken over from the registers or a doorbell, bytes.
    wptr: u64,
    /// Where the ring goes on after the packet in execution, bytes.
    next: u64,
    ib: Option<Ib>,
    work: Option<Work>,
    /// Position in the indirect buffer after the packet in execution, dwords.
    ib_next: u32,
    exception: u32,
    reported: Reported,
    parked: Option<Parked>,
    /// The read pointer was not written back yet: its page was not there.
    owed: Option<u64>,
    /// It stands still until it is switched off.
    hung: bool,
}

/// A ring that waits for a page.
#[derive(Clone, Copy, Debug)]
struct Parked {
    fault: Fault,
    due: Option<u64>,
}

/// An instance.
#[derive(Debug)]
pub struct Sdma {
    number: usize,
    regs: RegFile,
    rings: [Ring; RINGS as usize],
    /// The ring that had the last turn.
    turn: usize,
    /// Offset of the settable time stamp from the reference clock.
    timestamp: u64,
    stops: Throttle,
    hangs: Hangs,
    /// Packets executed since reset.
    pub packets: u64,
    /// Bytes copied, filled or written since reset.
    pub bytes: u64,
}

/// Why a ring does not go on.
enum Halt {
    /// It stops: an exception code.
    Exception(u32),
    /// It waits for a page.
    Park(Fault),
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Error => Self::Exception(exception::FAULT),
            Stop::Poison => Self::Exception(exception::POISON),
            Stop::Retry(fault) => Self::Park(fault),
        }
    }
}

const ILLEGAL: Halt = Halt::Exception(exception::ILLEGAL);

impl Sdma {
    /// Instance `number`, after reset.
    pub fn new(number: usize) -> Self {
        let block: &'static Block = if number == 0 { &SDMA0 } else { &SDMA1 };
        Self {
            number,
            regs: RegFile::new(block),
            rings: Default::default(),
            turn: 0,
            timestamp: 0,
            stops: Throttle::default(),
            hangs: Hangs::default(),
            packets: 0,
            bytes: 0,
        }
    }
    /// Brings every register to its reset value and drops all work.
    pub fn reset(&mut self) {
        let (stops, hangs) = (std::mem::take(&mut self.stops), std::mem::take(&mut self.hangs));
        *self = Self { stops, hangs, ..Self::new(self.number) };
    }
    /// The register file, for dispatch.
    pub fn regs(&self) -> &RegFile {
        &self.regs
    }

    /// A guest's read.
    pub fn read(&self, offset: u32) -> Option<u32> {
        let (value, reg, n) = self.regs.read(offset)?;
        Some(match reg.offset {
            o if o == STATUS_REG.offset => self.status(),
            o if o == CONTEXT_STATUS.offset => self.context_status(n),
            _ => value,
        })
    }
    /// A guest's write.
    pub fn write(&mut self, offset: u32, value: u32) -> Option<Written> {
        let was_enabled = |s: &Self, n| ring::enabled(&s.regs, n);
        let before = self.regs.find(offset).is_some_and(|(r, n)| r.offset == RB_CNTL.offset && was_enabled(self, n));
        let written = self.regs.write(offset, value)?;
        let n = written.element;
        let minor = |s: &Self| s.regs.field(&MINOR_PTR_UPDATE, n, MINOR_PTR_UPDATE::ENABLE) != 0;
        if written.is(&RB_CNTL) && before != was_enabled(self, n) {
            // A ring that is switched starts from its registers, without what it was doing and without an exception.
            if let Some(ring) = self.rings.get_mut(n as usize) {
                *ring = Ring::default();
            }
            self.take_wptr(n);
        } else if (written.is(&RB_WPTR) || written.is(&MINOR_PTR_UPDATE)) && !minor(self) {
            self.take_wptr(n);
        }
        Some(written)
    }
    /// A doorbell at dword offset `dw` of the aperture. True if it was a ring's.
    pub fn doorbell(&mut self, dw: u32, value: u64) -> bool {
        let Some(n) = ring::of_doorbell(&self.regs, dw) else { return false };
        ring::rang(&mut self.regs, n, value);
        self.take_wptr(n);
        true
    }
    /// Ring `ring` stands still instead of fetching the packet after `after` more, until it is switched off.
    pub fn hang(&mut self, ring: usize, after: u64, struck: Struck) {
        self.hangs.add(ring, after, struck);
    }
    /// No hang is to come any more, and rings that hang go on.
    pub fn clear_hangs(&mut self) {
        self.hangs.clear();
        self.rings.iter_mut().for_each(|ring| ring.hung = false);
    }
    fn take_wptr(&mut self, n: u32) {
        let wptr = ring::wptr(&self.regs, n);
        if let Some(ring) = self.rings.get_mut(n as usize) {
            ring.wptr = wptr;
        }
    }
    fn rptr(&self, n: u32) -> u64 {
        ring::rptr(&self.regs, n)
    }

    /// Whether ring `n` has something to do and may do it at time `now`.
    fn runnable(&self, n: u32, now: u64) -> bool {
        let Some(ring) = self.rings.get(n as usize) else { return false };
        let parked = ring.parked;
        self.busy(n) && !ring.hung && (self.preempting(n) || parked.is_none_or(|p| p.due.is_some_and(|due| due <= now)))
    }
    /// Read and write pointer of each ring, bytes.
    pub fn pointers(&self) -> impl Iterator<Item = (RingId, u64, u64)> + '_ {
        (0..RINGS)
            .zip(&self.rings)
            .enumerate()
            .map(|(ring, (n, state))| (RingId::new(self.number, ring), self.rptr(n), state.wptr))
    }
    fn preempting(&self, n: u32) -> bool {
        self.regs.field(&PREEMPT, n, PREEMPT::IB_PREEMPT) != 0
    }
    /// Whether ring `n` has something to do.
    fn busy(&self, n: u32) -> bool {
        let Some(ring) = self.rings.get(n as usize) else { return false };
        self.regs.field(&F32_CNTL, 0, F32_CNTL::HALT) == 0
            && ring::enabled(&self.regs, n)
            && ring.exception == exception::NONE
            && (ring.work.is_some() || ring.ib.is_some() || ring.owed.is_some() || ring.wptr != self.rptr(n))
    }
    fn status(&self) -> u32 {
        let empty = (0..RINGS).all(|n| !self.busy(n));
        use STATUS_REG as S;
        let bits = [S::IDLE, S::RB_EMPTY, S::RB_CMD_IDLE, S::IB_CMD_IDLE];
        S::REG_IDLE.of(1) | if empty { bits.iter().map(|f| f.mask()).sum() } else { 0 }
    }
    fn context_status(&self, n: u32) -> u32 {
        let ring = self.rings.get(n as usize);
        let waits = ring.is_some_and(|r| r.parked.is_some());
        CONTEXT_STATUS::IDLE.of(u32::from(!self.busy(n)))
            | CONTEXT_STATUS::EXCEPTION.of(ring.map_or(0, |r| r.exception))
            | CONTEXT_STATUS::CTXSW_READY.of(u32::from(waits))
    }

    /// Gives the next ring in turn a step: one packet, or one piece of a long one.
    pub fn step(&mut self, io: &mut Io<'_, '_>) -> Step {
        let mut wait: Option<u64> = None;
        for i in 1..=self.rings.len() {
            let ring = (self.turn + i) % self.rings.len();
            let Ok(n) = u32::try_from(ring) else { continue };
            if !self.runnable(n, io.now) {
                if let Some(due) = self.rings.get(ring).and_then(|r| r.parked?.due) {
                    wait = Some(wait.map_or(due, |w| w.min(due)));
                }
                continue;
            }
            let preempting = self.preempting(n);
            if let Some(state) = self.rings.get_mut(ring).filter(|_| !preempting) {
                state.parked = None;
            }
            io.trace.fault_retried(RingId::new(self.number, ring));
            io.checks.tell(|c| c.turn(RingId::new(self.number, ring), self.rptr(n)));
            match self.step_ring(ring, n, io) {
                Step::Until(t) => wait = Some(wait.map_or(t, |w| w.min(t))),
                Step::Idle => {}
                step => {
                    self.turn = ring;
                    return step;
                }
            }
        }
        wait.map_or(Step::Idle, Step::Until)
    }
    /// Lets the rings go on whose fault `answered` accepts; it is told whether the ring goes on by itself after a time.
    pub fn wake(&mut self, answered: impl Fn(&Fault, bool) -> bool) {
        for ring in &mut self.rings {
            ring.parked.take_if(|p| answered(&p.fault, p.due.is_some()));
        }
    }
    /// Ring `ring` waits for its page; the others go on.
    fn park(&mut self, ring: usize, fault: &Fault, io: &mut Io<'_, '_>) {
        if let Some(state) = self.rings.get_mut(ring) {
            state.parked = Some(Parked { fault: *fault, due: io.retry_due });
        }
        ring::tell_waiting(&mut self.regs, fault.access.writes(), fault.vmid, fault.va);
        io.trace.fault_raised(fault, Some(RingId::new(self.number, ring)));
        io.retries.push(*fault);
    }
    /// The register that ring `ring`'s poll wanted holds `value`.
    pub fn polled(&mut self, ring: usize, value: u32, io: &mut Io<'_, '_>) {
        let Some(work) = self.rings.get_mut(ring).and_then(|r| r.work.as_mut()) else { return };
        let outcome = work.polled(value, io.now);
        if let Ok(n) = u32::try_from(ring) {
            self.settle(ring, n, outcome, io);
        }
    }

    fn step_ring(&mut self, ring: usize, n: u32, io: &mut Io<'_, '_>) -> Step {
        if self.preempting(n) && self.preempt(ring, n, io) {
            return Step::More;
        }
        if let Some(rptr) = self.rings.get_mut(ring).and_then(|r| r.owed.take()) {
            self.write_back_rptr(ring, n, rptr, io);
            return Step::More;
        }
        let outcome = match self.work(ring, n, io) {
            Ok(None) => match self.fetch(ring, n, io) {
                Ok(step) => return step,
                Err(e) => Err(e),
            },
            Ok(Some(outcome)) => Ok(outcome),
            Err(e) => Err(e),
        };
        match outcome {
            Ok(outcome) => self.settle(ring, n, outcome, io),
            Err(Halt::Exception(code)) => {
                self.stop(ring, n, code, io);
                Step::More
            }
            Err(Halt::Park(fault)) => {
                self.park(ring, &fault, io);
                Step::More
            }
        }
    }
    /// Ends the ring's indirect buffer if it is between two packets or waits. True once there is nothing to preempt.
    fn preempt(&mut self, ring: usize, n: u32, io: &mut Io<'_, '_>) -> bool {
        let Some(state) = self.rings.get_mut(ring) else { return true };
        let waits = matches!(state.work, None | Some(Work::Poll { .. } | Work::Atomic { .. }));
        if state.ib.is_some() && !waits && state.parked.is_none() {
            return false;
        }
        self.regs.set_field(&PREEMPT, n, PREEMPT::IB_PREEMPT, 0);
        if state.ib.is_none() {
            return true;
        }
        let next = state.next;
        let vmid = state.ib.map_or(0, |ib| ib.vmid);
        *state = Ring { wptr: state.wptr, next, ..Ring::default() };
        log::debug!("SDMA{} ring {n}: indirect buffer of VMID {vmid} preempted", self.number);
        ring::set_rptr(&mut self.regs, n, next);
        self.write_back_rptr(ring, n, next, io);
        if self.regs.field(&CNTL, 0, CNTL::IB_PREEMPT_INT_ENABLE) != 0 {
            self.interrupt(n, ih::source::SDMA_IB_PREEMPT, u32::from(vmid), io);
        }
        true
    }
    /// Advances the packet in execution, if there is one.
    fn work(&mut self, ring: usize, n: u32, io: &mut Io<'_, '_>) -> Result<Option<Outcome>, Halt> {
        let (client, vmid) = (self.client(), self.vmid(n));
        let Some(state) = self.rings.get_mut(ring) else { return Ok(None) };
        let Some(work) = state.work.as_mut() else { return Ok(None) };
        let vmid = state.ib.map_or(vmid, |ib| ib.vmid);
        let mut preop = None;
        let mut found = 0;
        let mut vm = Vm::new(io.hub, io.memory, client, io.vectors, &mut state.reported);
        let outcome = work.advance(&mut vm, vmid, io.now, &mut found, &mut self.bytes)?;
        if let Work::Atomic { packet: Packet::Atomic { returns: true, .. }, .. } = work {
            preop = Some(found);
        }
        if let (Some(found), Outcome::Done) = (preop, outcome) {
            #[allow(clippy::cast_possible_truncation)] // two dwords of one value
            let (low, high) = (found as u32, (found >> 32) as u32);
            self.regs.set(&ATOMIC_PREOP_LO, 0, low);
            self.regs.set(&ATOMIC_PREOP_HI, 0, high);
        }
        Ok(Some(outcome))
    }
    fn settle(&mut self, ring: usize, n: u32, outcome: Outcome, io: &mut Io<'_, '_>) -> Step {
        match outcome {
            Outcome::More => return Step::More,
            Outcome::Until(due) => return Step::Until(due),
            Outcome::NeedRegister(index) => return Step::Register(RegOp::Read { index, ring }),
            Outcome::TimedOut => self.interrupt(n, ih::source::SDMA_POLL_TIMEOUT, 0, io),
            Outcome::Done => {}
        }
        self.complete(ring, n, io);
        Step::More
    }
    /// The packet in execution is done: on to the next one.
    fn complete(&mut self, ring: usize, n: u32, io: &mut Io<'_, '_>) {
        self.packets += 1;
        let Some(state) = self.rings.get_mut(ring) else { return };
        state.work = None;
        state.reported = Reported::default();
        if let Some(ib) = state.ib.as_mut() {
            ib.pos = state.ib_next;
            if ib.pos < ib.dwords {
                let (pos, left) = (ib.pos, ib.dwords - ib.pos);
                self.regs.set(&IB_OFFSET, n, pos << 2);
                self.regs.set(&IB_RPTR, n, pos << 2);
                self.regs.set(&IB_SIZE, n, left);
                return;
            }
            state.ib = None;
            self.regs.set(&IB_SIZE, n, 0);
        }
        let next = state.next;
        ring::set_rptr(&mut self.regs, n, next);
        self.write_back_rptr(ring, n, next, io);
    }
    fn write_back_rptr(&mut self, ring: usize, n: u32, rptr: u64, io: &mut Io<'_, '_>) {
        let Some(addr) = ring::write_back(&self.regs, n) else { return };
        let (client, vmid) = (self.client(), self.vmid(n));
        let Some(state) = self.rings.get_mut(ring) else { return };
        let mut vm = Vm::new(io.hub, io.memory, client, io.vectors, &mut state.reported);
        let done = if addr % 8 == 0 { vm.store64(vmid, addr, rptr) } else { vm.write(vmid, addr, &rptr.to_le_bytes()) };
        state.reported = Reported::default();
        // One that goes nowhere is a fault of its own, and the ring goes on; one whose page may come waits like any other.
        if let Err(Stop::Retry(fault)) = done {
            state.owed = Some(rptr);
            self.park(ring, &fault, io);
        }
    }

    /// Fetches, decodes and starts the next packet.
    fn fetch(&mut self, ring: usize, n: u32, io: &mut Io<'_, '_>) -> Result<Step, Halt> {
        if self.hangs.strikes(ring) {
            if let Some(state) = self.rings.get_mut(ring) {
                state.hung = true;
            }
            return Ok(Step::Idle);
        }
        let rptr = self.rptr(n);
        let (size, base) = (ring::size(&self.regs, n), ring::base(&self.regs, n));
        let (client, ring_vmid) = (self.client(), self.vmid(n));
        let Some(state) = self.rings.get_mut(ring) else { return Ok(Step::Idle) };
        let (vmid, left) = match state.ib {
            Some(ib) => (ib.vmid, ib.dwords - ib.pos.min(ib.dwords)),
            None => {
                // More than a ring's worth ahead: the pointer went backwards or is garbage.
                let ahead = state.wptr.wrapping_sub(rptr);
                if ahead > size {
                    return Err(ILLEGAL);
                }
                (ring_vmid, u32::try_from(ahead / 4).map_err(|_| ILLEGAL)?)
            }
        };
        let stream = match state.ib {
            Some(ib) => Stream { vmid, base: ib.base, offset: 4 * u64::from(ib.pos), ring: None },
            None => Stream { vmid, base, offset: rptr, ring: Some(size) },
        };
        let mut vm = Vm::new(io.hub, io.memory, client, io.vectors, &mut state.reported);
        // The header is read first, the rest once its length is known; each dword once.
        let mut raw = [0u8; 4 * MAX_FIXED];
        let (head, body) = raw.split_at_mut(4);
        stream.read(&mut vm, head)?;
        let header = u32::from_le_bytes(*head.first_chunk().ok_or(ILLEGAL)?);
        let fixed = fixed_dwords(header).map_err(|_| ILLEGAL)?;
        let fixed_len = u32::try_from(fixed).map_err(|_| ILLEGAL)?;
        if fixed_len > left {
            return Err(ILLEGAL);
        }
        stream.skip(4).read(&mut vm, body.get_mut(..4 * (fixed - 1)).ok_or(ILLEGAL)?)?;
        let mut dw = [0u32; MAX_FIXED];
        for (slot, bytes) in dw.iter_mut().zip(raw.chunks_exact(4)) {
            *slot = u32::from_le_bytes(*bytes.first_chunk().ok_or(ILLEGAL)?);
        }
        let packet = decode(&dw).map_err(|_| ILLEGAL)?;
        let len = match packet {
            Packet::Nop { skip } => 1 + skip,
            Packet::Write { dwords, .. } => fixed_len + dwords,
            _ => fixed_len,
        };
        if len > left {
            return Err(ILLEGAL);
        }
        let indirect = state.ib.is_some();
        io.checks.tell(|c| {
            c.packet(RingId::new(self.number, ring), vmid, indirect, dw.get(..fixed).unwrap_or(&dw));
        });
        io.trace.detail(|| Event::Packet {
            ring: RingId::new(self.number, ring),
            vmid,
            indirect: state.ib.is_some(),
            at: stream.base.wrapping_add(stream.offset & stream.ring.map_or(u64::MAX, |size| size - 1)),
            dwords: dw.get(..fixed).unwrap_or(&dw).to_vec(),
        });
        if vmid != 0 && packet.names_register() {
            // Registers hold every address space's limits: they are for those who run in the driver's own.
            return Err(ILLEGAL);
        }
        let mut skip = 0;
        let mut step = Step::More;
        match packet {
            Packet::Nop { .. } => {}
            Packet::Indirect { .. } if state.ib.is_some() => return Err(Halt::Exception(exception::NESTED_IB)),
            Packet::Indirect { vmid, base, dwords } => {
                // A user queue names no other address space than its own.
                let vmid = if ring_vmid == 0 { vmid } else { ring_vmid };
                if self.regs.field(&IB_CNTL, n, IB_CNTL::IB_ENABLE) == 0 {
                    return Err(ILLEGAL);
                }
                state.next = rptr.wrapping_add(4 * u64::from(len));
                if dwords > 0 {
                    state.ib = Some(Ib { vmid, base, dwords, pos: 0 });
                    self.packets += 1;
                    self.show_ib(n, base, dwords);
                    return Ok(Step::More);
                }
            }
            Packet::Write { dst, dwords } => {
                let data = stream.skip(4 * u64::from(fixed_len));
                state.work = Some(Work::Write { data, dst, dwords, done: 0 });
            }
            Packet::Fence { addr, value } => vm.store32(vmid, addr, value)?,
            Packet::CondExe { addr, reference, dwords } => {
                if vm.load32(vmid, addr)? != reference {
                    skip = dwords;
                }
            }
            Packet::TimestampSet { value } => self.timestamp = value.wrapping_sub(io.now),
            Packet::TimestampGet { addr, global } => {
                let offset = if global { 0 } else { self.timestamp };
                vm.store64(vmid, addr, io.now.wrapping_add(offset))?;
            }
            Packet::Trap { context } => {
                if self.regs.field(&CNTL, 0, CNTL::TRAP_ENABLE) != 0 {
                    self.interrupt(n, ih::source::SDMA_TRAP, context, io);
                }
            }
            Packet::RegWrite { index, value, byte_enable } => {
                step = Step::Register(RegOp::Write { index, value, byte_enable });
            }
            _ => state.work = Work::new(packet),
        }
        let len = len.saturating_add(skip).min(left);
        let Some(state) = self.rings.get_mut(ring) else { return Ok(Step::Idle) };
        match state.ib {
            Some(ib) => state.ib_next = ib.pos + len,
            None => state.next = rptr.wrapping_add(4 * u64::from(len)),
        }
        if state.work.is_none() {
            self.complete(ring, n, io);
        }
        Ok(step)
    }

    /// The rings, for the checks.
    pub fn states(&self) -> impl Iterator<Item = (RingId, Pointers)> + '_ {
        let halted = self.regs.field(&F32_CNTL, 0, F32_CNTL::HALT) != 0;
        (0..RINGS).zip(&self.rings).map(move |(n, ring)| {
            let state = Pointers {
                enabled: ring::enabled(&self.regs, n),
                wptr: ring.wptr,
                rptr: self.rptr(n),
                size: ring::size(&self.regs, n),
                halted,
            };
            (RingId::new(self.number, n as usize), state)
        })
    }
    /// VMIDs that rings with something to do work in, a bit each.
    pub fn active_vmids(&self) -> u32 {
        let busy = (0..RINGS).zip(&self.rings).filter(|(n, _)| self.busy(*n));
        busy.fold(0, |all, (n, ring)| all | 1 << self.vmid(n) | ring.ib.map_or(0, |ib| 1 << ib.vmid))
    }
    /// The ring whose doorbell is at dword offset `dw` of the aperture, and whether the ring is enabled.
    pub fn doorbell_target(&self, dw: u32) -> Option<(RingId, bool)> {
        let n = ring::of_doorbell(&self.regs, dw)?;
        Some((RingId::new(self.number, n as usize), ring::enabled(&self.regs, n)))
    }
    #[allow(clippy::cast_possible_truncation)] // two dwords of one address
    fn show_ib(&mut self, n: u32, base: u64, dwords: u32) {
        self.regs.set(&IB_BASE_LO, n, base as u32);
        self.regs.set(&IB_BASE_HI, n, (base >> 32) as u32);
        self.regs.set(&IB_SIZE, n, dwords);
        self.regs.set(&IB_OFFSET, n, 0);
        self.regs.set(&IB_RPTR, n, 0);
    }
    /// The ring stops on the packet at its read pointer.
    fn stop(&mut self, ring: usize, n: u32, code: u32, io: &mut Io<'_, '_>) {
        let rptr = self.rptr(n);
        let why = ring::exception_name(code).unwrap_or("?");
        let name = RING_NAMES.get(ring).copied().unwrap_or("?");
        self.stops.warn(format_args!("SDMA{} {name} stopped at RPTR {rptr:#x}: {why}", self.number));
        if code == exception::ILLEGAL && self.vmid(n) == 0 && self.rings.get(ring).is_some_and(|r| r.ib.is_none()) {
            io.checks.tell(|c| c.stopped(RingId::new(self.number, ring), rptr, why));
        }
        if let Some(state) = self.rings.get_mut(ring) {
            state.exception = code;
            state.work = None;
            state.reported = Reported::default();
        }
        self.interrupt(n, ih::source::SDMA_ILLEGAL_INST, code, io);
    }
    #[allow(clippy::cast_possible_truncation)] // a ring number, a VMID
    fn interrupt(&self, n: u32, source: u8, data: u32, io: &mut Io<'_, '_>) {
        let vmid = self.rings.get(n as usize).and_then(|r| r.ib).map_or(self.vmid(n), |ib| ib.vmid);
        io.vectors.push(ih::Vector {
            client: if self.number == 0 { ih::client::SDMA0 } else { ih::client::SDMA1 },
            source,
            ring: n as u8,
            vmid,
            mm: true,
            data: [data, 0, 0, 0],
            ..ih::Vector::default()
        });
    }
    /// GFX and PAGE rings run in VMID 0.
    fn vmid(&self, n: u32) -> u8 {
        match n {
            0 | 1 => 0,
            _ => ring::vmid(&self.regs, n),
        }
    }
    fn client(&self) -> Client {
        Client { l1: self.number, cid: cid::SDMA.get(self.number).copied().unwrap_or_default(), counted: true }
    }
}
