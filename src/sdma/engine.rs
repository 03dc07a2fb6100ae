// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! An SDMA instance: its registers, its rings, and the fetch of packets from a ring or an indirect buffer.

use super::packet::{decode, fixed_dwords, Packet, MAX_FIXED};
use super::work::{Outcome, Work};
use crate::gmc::access::Reported;
use crate::gmc::{Client, Fault, Vm};
use crate::regs::{RegFile, Written};
use crate::ring::{regs, Halt, Illegal, Io, Load, RegOp, Ring, Rings, Step, Stream, Who};
use crate::trace::Event;
use uvm_spec::sdma::*;
use uvm_spec::{hub::cid, ih};

/// An indirect buffer in execution; sizes and positions in dwords.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ib {
    pub vmid: u8,
    pub base: u64,
    pub dwords: u32,
    pub pos: u32,
}

/// A ring that waits for a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parked {
    pub fault: Fault,
    pub due: Option<u64>,
}

/// What a ring executes.
#[derive(Debug, Default)]
pub(crate) struct InExecution {
    pub ib: Option<Ib>,
    pub work: Option<Work>,
    /// Position in the indirect buffer after the packet in execution, dwords.
    ib_next: u32,
    pub parked: Option<Parked>,
}

impl Load for InExecution {
    fn busy(&self) -> bool {
        self.work.is_some() || self.ib.is_some()
    }
    fn waits(&self) -> impl Iterator<Item = &Fault> {
        self.parked.iter().map(|parked| &parked.fault)
    }
    fn vmid(&self) -> Option<u8> {
        self.ib.map(|ib| ib.vmid)
    }
}

/// An instance.
#[derive(Debug)]
pub struct Sdma {
    /// Its rings.
    pub(crate) rings: Rings<InExecution>,
    /// Offset of the settable time stamp from the reference clock.
    timestamp: u64,
    /// Bytes copied, filled or written since reset.
    pub bytes: u64,
}

/// GFX and PAGE rings run in VMID 0.
const KERNEL_RINGS: u32 = 2;

impl Sdma {
    /// Instance `number`, after reset.
    pub fn new(number: usize) -> Self {
        let (block, ih) = if number == 0 { (&SDMA0, ih::client::SDMA0) } else { (&SDMA1, ih::client::SDMA1) };
        let cid = cid::SDMA.get(number).copied().unwrap_or_default();
        let client = Client { l1: number, cid, counted: true };
        let who = Who { block, instance: number, client, ih, kernel: KERNEL_RINGS };
        Self { rings: Rings::new(who), timestamp: 0, bytes: 0 }
    }
    /// Brings every register to its reset value and drops all work.
    pub fn reset(&mut self) {
        self.rings.reset();
        (self.timestamp, self.bytes) = (0, 0);
    }
    /// The register file, for dispatch.
    pub fn regs(&self) -> &RegFile {
        &self.rings.regs
    }

    /// A guest's read.
    pub fn read(&self, offset: u32) -> Option<u32> {
        let (value, reg, n) = self.regs().read(offset)?;
        Some(match reg.offset {
            o if o == STATUS_REG.offset => self.rings.status(),
            o if o == CONTEXT_STATUS.offset => self.rings.context_status(n),
            _ => value,
        })
    }
    /// A guest's write.
    pub fn write(&mut self, offset: u32, value: u32) -> Option<Written> {
        self.rings.write(offset, value)
    }
    fn preempting(&self, n: u32) -> bool {
        self.regs().field(&PREEMPT, n, PREEMPT::IB_PREEMPT) != 0
    }

    /// Gives the next ring in turn a step: one packet, or one piece of a long one.
    pub fn step(&mut self, io: &mut Io<'_, '_>) -> Step {
        let mut wait: Option<u64> = None;
        for n in self.rings.turns() {
            let preempting = self.preempting(n);
            let Some(ring) = self.rings.working(n) else { continue };
            let due = ring.load.parked.map(|parked| parked.due);
            if !preempting && due.is_some_and(|due| due.is_none_or(|due| due > io.now)) {
                if let Some(due) = due.flatten() {
                    wait = Some(wait.map_or(due, |w| w.min(due)));
                }
                continue;
            }
            if let Some(ring) = self.rings.at_mut(n).filter(|_| !preempting) {
                ring.load.parked = None;
            }
            io.trace.fault_retried(self.rings.id(n));
            io.checks.tell(|c| c.turn(self.rings.id(n), self.rings.rptr(n)));
            match self.step_ring(n, io) {
                Step::Until(t) => wait = Some(wait.map_or(t, |w| w.min(t))),
                Step::Idle => {}
                step => {
                    self.rings.had_turn(n);
                    return step;
                }
            }
        }
        wait.map_or(Step::Idle, Step::Until)
    }
    /// Lets the rings go on whose fault `answered` accepts; it is told whether the ring goes on by itself after a time.
    pub fn wake(&mut self, answered: impl Fn(&Fault, bool) -> bool) {
        for ring in self.rings.all_mut() {
            ring.load.parked.take_if(|p| answered(&p.fault, p.due.is_some()));
        }
    }
    /// Ring `n` waits for its page; the others go on.
    fn park(&mut self, n: u32, fault: Fault, io: &mut Io<'_, '_>) {
        if let Some(ring) = self.rings.at_mut(n) {
            ring.load.parked = Some(Parked { fault, due: io.retry_due });
        }
        self.rings.raise(n, &fault, io);
    }
    /// The register that ring `n`'s poll wanted holds `value`.
    pub fn polled(&mut self, n: u32, value: u32, io: &mut Io<'_, '_>) {
        let Some(work) = self.rings.at_mut(n).and_then(|ring| ring.load.work.as_mut()) else { return };
        let outcome = work.polled(value, io.now);
        self.settle(n, outcome, io);
    }

    fn step_ring(&mut self, n: u32, io: &mut Io<'_, '_>) -> Step {
        match self.go_on(n, io) {
            Ok(step) => step,
            Err(Halt::Exception(code)) => {
                self.stop(n, code, io);
                Step::More
            }
            Err(Halt::Park(fault)) => {
                self.park(n, fault, io);
                Step::More
            }
        }
    }
    fn go_on(&mut self, n: u32, io: &mut Io<'_, '_>) -> Result<Step, Halt> {
        if self.preempting(n) && self.preempt(n, io)? {
            return Ok(Step::More);
        }
        if let Some(rptr) = self.rings.at_mut(n).and_then(|ring| ring.owed.take()) {
            return self.rings.write_back(n, rptr, io).map(|()| Step::More).map_err(Halt::Park);
        }
        match self.work(n, io)? {
            Some(outcome) => Ok(self.settle(n, outcome, io)),
            None => self.fetch(n, io),
        }
    }
    /// Ends the ring's indirect buffer if it is between two packets or waits. True once there is nothing to preempt.
    fn preempt(&mut self, n: u32, io: &mut Io<'_, '_>) -> Result<bool, Halt> {
        let Some(ring) = self.rings.at_mut(n) else { return Ok(true) };
        let load = &ring.load;
        let waits = matches!(load.work, None | Some(Work::Poll { .. } | Work::Atomic { .. }));
        if load.ib.is_some() && !waits && load.parked.is_none() {
            return Ok(false);
        }
        let Some(Ib { vmid, .. }) = load.ib else {
            self.rings.regs.set_field(&PREEMPT, n, PREEMPT::IB_PREEMPT, 0);
            return Ok(true);
        };
        *ring = Ring { wptr: ring.wptr, next: ring.next, ..Ring::default() };
        self.rings.regs.set_field(&PREEMPT, n, PREEMPT::IB_PREEMPT, 0);
        log::debug!("{}: indirect buffer of VMID {vmid} preempted", self.rings.id(n));
        let written = self.rings.advance(n, io);
        if self.regs().field(&CNTL, 0, CNTL::IB_PREEMPT_INT_ENABLE) != 0 {
            self.rings.interrupt(n, ih::source::SDMA_IB_PREEMPT, u32::from(vmid), io);
        }
        written.map(|()| true).map_err(Halt::Park)
    }
    /// Advances the packet in execution, if there is one.
    fn work(&mut self, n: u32, io: &mut Io<'_, '_>) -> Result<Option<Outcome>, Halt> {
        let (client, vmid) = (self.rings.client(), self.rings.vmid(n));
        let Some(ring) = self.rings.at_mut(n) else { return Ok(None) };
        let vmid = ring.load.vmid().unwrap_or(vmid);
        let Some(work) = ring.load.work.as_mut() else { return Ok(None) };
        let mut found = 0;
        let mut vm = Vm::new(io.hub, io.memory, client, io.vectors, &mut ring.reported);
        let outcome = work.advance(&mut vm, vmid, io.now, &mut found, &mut self.bytes)?;
        let returns = matches!(work, Work::Atomic { packet: Packet::Atomic { returns: true, .. }, .. });
        if returns && outcome == Outcome::Done {
            #[allow(clippy::cast_possible_truncation)] // two dwords of one value
            let (low, high) = (found as u32, (found >> 32) as u32);
            self.rings.regs.set(&ATOMIC_PREOP_LO, 0, low);
            self.rings.regs.set(&ATOMIC_PREOP_HI, 0, high);
        }
        Ok(Some(outcome))
    }
    fn settle(&mut self, n: u32, outcome: Outcome, io: &mut Io<'_, '_>) -> Step {
        match outcome {
            Outcome::More => return Step::More,
            Outcome::Until(due) => return Step::Until(due),
            Outcome::NeedRegister(index) => return Step::Register(RegOp::Read { index, ring: n }),
            Outcome::TimedOut => self.rings.interrupt(n, ih::source::SDMA_POLL_TIMEOUT, 0, io),
            Outcome::Done => {}
        }
        self.complete(n, io);
        Step::More
    }
    /// The packet in execution is done: on to the next one.
    fn complete(&mut self, n: u32, io: &mut Io<'_, '_>) {
        self.rings.packets += 1;
        let Some(Ring { load, reported, .. }) = self.rings.at_mut(n) else { return };
        load.work = None;
        *reported = Reported::default();
        if let Some(ib) = load.ib.as_mut() {
            ib.pos = load.ib_next;
            if ib.pos < ib.dwords {
                let (pos, left) = (ib.pos, ib.dwords - ib.pos);
                let regs = &mut self.rings.regs;
                regs.set(&IB_OFFSET, n, pos << 2);
                regs.set(&IB_RPTR, n, pos << 2);
                regs.set(&IB_SIZE, n, left);
                return;
            }
            load.ib = None;
            self.rings.regs.set(&IB_SIZE, n, 0);
        }
        if let Err(fault) = self.rings.advance(n, io) {
            self.park(n, fault, io);
        }
    }

    /// Fetches, decodes and starts the next packet.
    fn fetch(&mut self, n: u32, io: &mut Io<'_, '_>) -> Result<Step, Halt> {
        if self.rings.strikes(n) {
            return Ok(Step::Idle);
        }
        let ahead = self.rings.ahead(n);
        let (id, rptr, client, ring_vmid) =
            (self.rings.id(n), self.rings.rptr(n), self.rings.client(), self.rings.vmid(n));
        let (size, base) = (regs::size(self.regs(), n), regs::base(self.regs(), n));
        let takes_ibs = self.regs().field(&IB_CNTL, n, IB_CNTL::IB_ENABLE) != 0;
        let Some(Ring { load, next, reported, .. }) = self.rings.at_mut(n) else { return Ok(Step::Idle) };
        let (stream, left) = match load.ib {
            Some(Ib { vmid, base, dwords, pos }) => {
                (Stream { vmid, base, offset: 4 * u64::from(pos), ring: None }, dwords - pos.min(dwords))
            }
            None => (Stream { vmid: ring_vmid, base, offset: rptr, ring: Some(size) }, ahead.ok_or(Illegal)?),
        };
        let vmid = stream.vmid;
        let mut vm = Vm::new(io.hub, io.memory, client, io.vectors, reported);
        let (dw, fixed) = stream.fetch::<MAX_FIXED>(&mut vm, left, fixed_dwords)?;
        let fixed_len = u32::try_from(fixed).map_err(|_| Illegal)?;
        let packet = decode(&dw)?;
        let len = match packet {
            Packet::Nop { skip } => 1 + skip,
            Packet::Write { dwords, .. } => fixed_len + dwords,
            _ => fixed_len,
        };
        if len > left {
            return Err(Illegal.into());
        }
        let (indirect, at, raw) = (load.ib.is_some(), stream.address(), dw.get(..fixed).unwrap_or(&dw));
        io.checks.tell(|c| c.packet(id, vmid, indirect, raw));
        io.trace.detail(|| Event::Packet { ring: id, vmid, indirect, at, dwords: raw.to_vec() });
        if vmid != 0 && packet.names_register() {
            // Registers hold every address space's limits: they are for those who run in the driver's own.
            return Err(Illegal.into());
        }
        let mut skip = 0;
        let mut step = Step::More;
        let mut trap = None;
        match packet {
            Packet::Nop { .. } => {}
            Packet::Indirect { .. } if indirect => return Err(Halt::Exception(exception::NESTED_IB)),
            Packet::Indirect { .. } if !takes_ibs => return Err(Illegal.into()),
            Packet::Indirect { vmid, base, dwords } => {
                // A user queue names no other address space than its own.
                let vmid = if ring_vmid == 0 { vmid } else { ring_vmid };
                if dwords > 0 {
                    *next = rptr.wrapping_add(4 * u64::from(len));
                    load.ib = Some(Ib { vmid, base, dwords, pos: 0 });
                    self.rings.packets += 1;
                    self.show_ib(n, base, dwords);
                    return Ok(Step::More);
                }
            }
            Packet::Write { dst, dwords } => {
                let data = stream.skip(4 * u64::from(fixed_len));
                load.work = Some(Work::Write { data, dst, dwords, done: 0 });
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
            Packet::Trap { context } => trap = Some(context),
            Packet::RegWrite { index, value, byte_enable } => {
                step = Step::Register(RegOp::Write { index, value, byte_enable });
            }
            _ => load.work = Work::new(packet),
        }
        let len = len.saturating_add(skip).min(left);
        match load.ib {
            Some(ib) => load.ib_next = ib.pos + len,
            None => *next = rptr.wrapping_add(4 * u64::from(len)),
        }
        let done = load.work.is_none();
        if let Some(context) = trap.filter(|_| self.regs().field(&CNTL, 0, CNTL::TRAP_ENABLE) != 0) {
            self.rings.interrupt(n, ih::source::SDMA_TRAP, context, io);
        }
        if done {
            self.complete(n, io);
        }
        Ok(step)
    }
    #[allow(clippy::cast_possible_truncation)] // two dwords of one address
    fn show_ib(&mut self, n: u32, base: u64, dwords: u32) {
        let regs = &mut self.rings.regs;
        regs.set(&IB_BASE_LO, n, base as u32);
        regs.set(&IB_BASE_HI, n, (base >> 32) as u32);
        regs.set(&IB_SIZE, n, dwords);
        regs.set(&IB_OFFSET, n, 0);
        regs.set(&IB_RPTR, n, 0);
    }
    /// The ring stops on the packet at its read pointer.
    fn stop(&mut self, n: u32, code: u32, io: &mut Io<'_, '_>) {
        let direct = self.rings.at(n).is_some_and(|ring| ring.load.ib.is_none());
        if let Some(ring) = self.rings.at_mut(n) {
            ring.load.work = None;
        }
        let (rptr, why) = self.rings.stop(n, code, io);
        if code == exception::ILLEGAL && direct && self.rings.vmid(n) == 0 {
            io.checks.tell(|c| c.stopped(self.rings.id(n), rptr, why));
        }
    }
}
