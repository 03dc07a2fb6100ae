// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The engine: its registers, its queues, and the fetch of packets from their rings.

use super::lane::Mem;
use super::program::{decode, fixed_dwords, Command};
use super::run::{Happened, Parked, Run, Turn};
use crate::check::Pointers;
use crate::gmc::access::Reported;
use crate::gmc::{Client, Fault, Stop, Vm};
use crate::inject::Struck;
use crate::regs::{RegFile, Written};
use crate::ring::{self, Hangs};
use crate::sdma::work::Stream;
use crate::sdma::{Illegal, Io, Step};
use crate::throttle::Throttle;
use crate::trace::{Event, RingId};
use uvm_spec::access::*;
use uvm_spec::sdma::exception;
use uvm_spec::{hub::cid, ih};

/// A queue's state beyond its registers.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Write pointer taken over from the registers or a doorbell, bytes.
    pub wptr: u64,
    /// Where the queue goes on after the packet in execution, bytes.
    next: u64,
    pub run: Option<Run>,
    pub exception: u32,
    reported: Reported,
    /// An access of the queue's own, and not a lane's, waits: for a packet, a fence, a sum, the read pointer.
    pub parked: Option<Parked>,
    /// The read pointer was not written back yet: its page was not there.
    owed: Option<u64>,
    /// It stands still until it is switched off.
    pub hung: bool,
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    regs: RegFile,
    pub(super) queues: [Queue; QUEUES as usize],
    /// The queue that had the last turn.
    turn: usize,
    stops: Throttle,
    hangs: Hangs,
    /// Packets executed since reset.
    pub packets: u64,
    /// Accesses that lanes made since reset.
    pub accesses: u64,
    /// Bytes that they read and wrote.
    pub bytes: u64,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            regs: RegFile::new(&ACCESS),
            queues: Default::default(),
            turn: 0,
            stops: Throttle::default(),
            hangs: Hangs::default(),
            packets: 0,
            accesses: 0,
            bytes: 0,
        }
    }
}

/// Lanes, and queues that fetch packets for them.
const LANE: Client = Client { l1: INSTANCE, cid: cid::ACCESS, counted: true };
const QUEUE: Client = Client { counted: false, ..LANE };

fn id(queue: usize) -> RingId {
    RingId::new(INSTANCE, queue)
}

/// Why a queue does not go on.
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

impl From<Illegal> for Halt {
    fn from(_: Illegal) -> Self {
        Self::Exception(exception::ILLEGAL)
    }
}

impl Engine {
    /// Brings every register to its reset value and drops all work.
    pub fn reset(&mut self) {
        let (stops, hangs) = (std::mem::take(&mut self.stops), std::mem::take(&mut self.hangs));
        *self = Self { stops, hangs, ..Self::default() };
    }
    /// The register file, for dispatch.
    pub fn regs(&self) -> &RegFile {
        &self.regs
    }

    /// A guest's read.
    pub fn read(&self, offset: u32) -> Option<u32> {
        let (value, reg, n) = self.regs.read(offset)?;
        let run = self.queues.get(n as usize).and_then(|q| q.run.as_ref());
        let done = run.map_or(0, |run| run.done);
        #[allow(clippy::cast_possible_truncation)] // two dwords of one number
        Some(match reg.offset {
            o if o == STATUS_REG.offset => self.status(),
            o if o == CONTEXT_STATUS.offset => self.context_status(n),
            o if o == LANES.offset => run.map_or(0, lanes),
            o if o == ITEMS.offset => done as u32,
            o if o == ITEMS_HI.offset => (done >> 32) as u32,
            _ => value,
        })
    }
    /// A guest's write.
    pub fn write(&mut self, offset: u32, value: u32) -> Option<Written> {
        let control = self.regs.find(offset).filter(|(r, _)| r.offset == RB_CNTL.offset);
        let before = control.is_some_and(|(_, n)| ring::enabled(&self.regs, n));
        let written = self.regs.write(offset, value)?;
        let n = written.element;
        if written.is(&RB_CNTL) && before != ring::enabled(&self.regs, n) {
            // A queue that is switched starts from its registers, without what it was doing and without an exception.
            if let Some(queue) = self.queues.get_mut(n as usize) {
                *queue = Queue::default();
            }
            self.take_wptr(n);
        } else if (written.is(&RB_WPTR) || written.is(&MINOR_PTR_UPDATE))
            && self.regs.field(&MINOR_PTR_UPDATE, n, MINOR_PTR_UPDATE::ENABLE) == 0
        {
            self.take_wptr(n);
        }
        Some(written)
    }
    /// A doorbell at dword offset `dw` of the aperture. True if it was a queue's.
    pub fn doorbell(&mut self, dw: u32, value: u64) -> bool {
        let Some(n) = ring::of_doorbell(&self.regs, dw) else { return false };
        ring::rang(&mut self.regs, n, value);
        self.take_wptr(n);
        true
    }
    /// Queue `queue` stands still instead of fetching the packet after `after` more, until it is switched off.
    pub fn hang(&mut self, queue: usize, after: u64, struck: Struck) {
        self.hangs.add(queue, after, struck);
    }
    /// No hang is to come any more, and queues that hang go on.
    pub fn clear_hangs(&mut self) {
        self.hangs.clear();
        self.queues.iter_mut().for_each(|queue| queue.hung = false);
    }
    fn take_wptr(&mut self, n: u32) {
        let wptr = ring::wptr(&self.regs, n);
        if let Some(queue) = self.queues.get_mut(n as usize) {
            queue.wptr = wptr;
        }
    }
    pub(super) fn halted(&self) -> bool {
        self.regs.field(&F32_CNTL, 0, F32_CNTL::HALT) != 0
    }
    /// Whether queue `n` has something to do.
    pub(super) fn busy(&self, n: u32) -> bool {
        let Some(queue) = self.queues.get(n as usize) else { return false };
        !self.halted()
            && ring::enabled(&self.regs, n)
            && queue.exception == exception::NONE
            && (queue.run.is_some() || queue.owed.is_some() || queue.wptr != ring::rptr(&self.regs, n))
    }
    /// Whether it may do it at time `now`.
    fn runnable(&self, n: u32, now: u64) -> bool {
        let Some(queue) = self.queues.get(n as usize).filter(|q| !q.hung && self.busy(n)) else { return false };
        match queue.parked {
            Some(parked) => parked.is_over(now),
            None => queue.run.as_ref().is_none_or(|run| run.is_ready(now)),
        }
    }
    fn status(&self) -> u32 {
        use STATUS_REG as S;
        let empty = (0..QUEUES).all(|n| !self.busy(n));
        let bits = [S::IDLE, S::RB_EMPTY, S::RB_CMD_IDLE, S::IB_CMD_IDLE];
        S::REG_IDLE.of(1) | if empty { bits.iter().map(|f| f.mask()).sum() } else { 0 }
    }
    fn context_status(&self, n: u32) -> u32 {
        let queue = self.queues.get(n as usize);
        let waits = queue.is_some_and(|q| q.waits().next().is_some());
        CONTEXT_STATUS::IDLE.of(u32::from(!self.busy(n)))
            | CONTEXT_STATUS::EXCEPTION.of(queue.map_or(0, |q| q.exception))
            | CONTEXT_STATUS::CTXSW_READY.of(u32::from(waits))
    }

    /// Gives the next queue in turn a step: one packet, or a turn of a program's lanes.
    pub fn step(&mut self, io: &mut Io<'_, '_>) -> Step {
        let mut wait: Option<u64> = None;
        for i in 1..=self.queues.len() {
            let queue = (self.turn + i) % self.queues.len();
            let Ok(n) = u32::try_from(queue) else { continue };
            if !self.runnable(n, io.now) {
                let state = self.queues.get(queue).filter(|q| !q.hung && self.busy(n));
                if let Some(due) = state.and_then(Queue::due) {
                    wait = Some(wait.map_or(due, |w| w.min(due)));
                }
                continue;
            }
            io.checks.tell(|c| c.turn(id(queue), ring::rptr(&self.regs, n)));
            self.turn = queue;
            self.step_queue(queue, n, io);
            return Step::More;
        }
        wait.map_or(Step::Idle, Step::Until)
    }
    /// Lets the lanes and queues go on whose fault `answered` accepts; it is told whether they go on by themselves after a
    /// time.
    pub fn wake(&mut self, answered: impl Fn(&Fault, bool) -> bool) {
        for queue in &mut self.queues {
            if let Some(parked) = queue.parked.as_mut().filter(|p| !p.awake) {
                parked.awake = answered(&parked.fault, parked.due.is_some());
            }
            if let Some(run) = &mut queue.run {
                run.wake(&answered);
            }
        }
    }

    fn step_queue(&mut self, queue: usize, n: u32, io: &mut Io<'_, '_>) {
        let Some(state) = self.queues.get_mut(queue) else { return };
        if let Some(parked) = state.parked.take() {
            io.trace.access_retried(id(queue), &parked.fault);
        }
        if let Some(rptr) = state.owed.take() {
            return self.write_back_rptr(queue, n, rptr, io);
        }
        let result = if state.run.is_some() { self.work(queue, n, io) } else { self.fetch(queue, n, io) };
        match result {
            Ok(()) => {}
            Err(Halt::Exception(code)) => self.stop(queue, n, code, io),
            Err(Halt::Park(fault)) => self.park(queue, fault, io),
        }
    }
    /// A turn of the lanes of the program in execution.
    fn work(&mut self, queue: usize, n: u32, io: &mut Io<'_, '_>) -> Result<(), Halt> {
        let vmid = ring::vmid(&self.regs, n);
        let Some(state) = self.queues.get_mut(queue) else { return Ok(()) };
        let Some(run) = state.run.as_mut() else { return Ok(()) };
        let mut happened = Vec::new();
        let mut vm = Vm::new(io.hub, io.memory, LANE, io.vectors, &mut state.reported);
        let mut mem = Mem { vm: &mut vm, vmid, accesses: &mut self.accesses, bytes: &mut self.bytes };
        let turn = run.advance(&mut mem, io.now, io.retry_due, &mut happened);
        for what in happened {
            match what {
                Happened::Retried(fault) => io.trace.access_retried(id(queue), &fault),
                Happened::Parked(fault) => self.raise(queue, fault, io),
            }
        }
        if turn? == Turn::Done {
            self.complete(queue, n, io);
        }
        Ok(())
    }
    /// Fetches, decodes and starts the next packet.
    fn fetch(&mut self, queue: usize, n: u32, io: &mut Io<'_, '_>) -> Result<(), Halt> {
        let Some(state) = self.queues.get_mut(queue) else { return Ok(()) };
        if self.hangs.strikes(queue) {
            state.hung = true;
            return Ok(());
        }
        let (rptr, size, vmid) = (ring::rptr(&self.regs, n), ring::size(&self.regs, n), ring::vmid(&self.regs, n));
        // More than a ring's worth ahead: the pointer went backwards or is garbage.
        let ahead = state.wptr.wrapping_sub(rptr);
        if ahead > size {
            return Err(Illegal.into());
        }
        let left = usize::try_from(ahead / 4).map_err(|_| Illegal)?;
        let stream = Stream { vmid, base: ring::base(&self.regs, n), offset: rptr, ring: Some(size) };
        let mut vm = Vm::new(io.hub, io.memory, QUEUE, io.vectors, &mut state.reported);
        // The header is read first, the rest once its length is known; each dword once.
        let mut raw = [0u8; 4 * MAX_DWORDS];
        let (head, body) = raw.split_at_mut(4);
        stream.read(&mut vm, head)?;
        let header = u32::from_le_bytes(*head.first_chunk().ok_or(Illegal)?);
        let fixed = fixed_dwords(header)?;
        if fixed > left {
            return Err(Illegal.into());
        }
        stream.skip(4).read(&mut vm, body.get_mut(..4 * (fixed - 1)).ok_or(Illegal)?)?;
        let dwords: Vec<u32> = raw
            .chunks_exact(4)
            .take(fixed)
            .filter_map(|bytes| bytes.first_chunk().map(|dw| u32::from_le_bytes(*dw)))
            .collect();
        let command = decode(&dwords)?;
        let skip = if let Command::Nop { skip } = command { skip as usize } else { 0 };
        if fixed + skip > left {
            return Err(Illegal.into());
        }
        io.checks.tell(|c| c.packet(id(queue), vmid, false, &dwords));
        io.trace.detail(|| Event::Packet {
            ring: id(queue),
            vmid,
            indirect: false,
            at: stream.base.wrapping_add(rptr & (size - 1)),
            dwords,
        });
        match command {
            Command::Nop { .. } => {}
            Command::Fence { addr, value } => vm.store32(vmid, addr, value)?,
            Command::Trap { context } => {
                if self.regs.field(&CNTL, 0, CNTL::TRAP_ENABLE) != 0 {
                    self.interrupt(queue, n, ih::source::SDMA_TRAP, context, io);
                }
            }
            Command::Program { lanes, program } => state.run = Some(Run::new(program, lanes)),
        }
        let Some(state) = self.queues.get_mut(queue) else { return Ok(()) };
        state.next = rptr.wrapping_add(4 * (fixed + skip) as u64);
        if state.run.is_none() {
            self.complete(queue, n, io);
        }
        Ok(())
    }
    /// The packet in execution is done: on to the next one.
    fn complete(&mut self, queue: usize, n: u32, io: &mut Io<'_, '_>) {
        self.packets += 1;
        let Some(state) = self.queues.get_mut(queue) else { return };
        (state.run, state.reported) = (None, Reported::default());
        let next = state.next;
        ring::set_rptr(&mut self.regs, n, next);
        self.write_back_rptr(queue, n, next, io);
    }
    fn write_back_rptr(&mut self, queue: usize, n: u32, rptr: u64, io: &mut Io<'_, '_>) {
        let Some(addr) = ring::write_back(&self.regs, n) else { return };
        let vmid = ring::vmid(&self.regs, n);
        let Some(state) = self.queues.get_mut(queue) else { return };
        let mut vm = Vm::new(io.hub, io.memory, QUEUE, io.vectors, &mut state.reported);
        let done = if addr % 8 == 0 { vm.store64(vmid, addr, rptr) } else { vm.write(vmid, addr, &rptr.to_le_bytes()) };
        state.reported = Reported::default();
        // One that goes nowhere is a fault of its own, and the queue goes on; one whose page may come waits like any other.
        if let Err(Stop::Retry(fault)) = done {
            state.owed = Some(rptr);
            self.park(queue, fault, io);
        }
    }
    /// Queue `queue` itself waits for its page; the others go on.
    fn park(&mut self, queue: usize, fault: Fault, io: &mut Io<'_, '_>) {
        if let Some(state) = self.queues.get_mut(queue) {
            state.parked = Some(Parked { fault, due: io.retry_due, awake: false });
        }
        self.raise(queue, fault, io);
    }
    /// Tells of an access of queue `queue` that waits.
    fn raise(&mut self, queue: usize, fault: Fault, io: &mut Io<'_, '_>) {
        ring::tell_waiting(&mut self.regs, fault.access.writes(), fault.vmid, fault.va);
        io.trace.fault_raised(&fault, Some(id(queue)));
        io.retries.push(fault);
    }
    /// The queue stops on the packet at its read pointer.
    fn stop(&mut self, queue: usize, n: u32, code: u32, io: &mut Io<'_, '_>) {
        let rptr = ring::rptr(&self.regs, n);
        let why = ring::exception_name(code).unwrap_or("?");
        self.stops.warn(format_args!("{} stopped at RPTR {rptr:#x}: {why}", id(queue)));
        if let Some(state) = self.queues.get_mut(queue) {
            (state.exception, state.run, state.reported) = (code, None, Reported::default());
        }
        self.interrupt(queue, n, ih::source::SDMA_ILLEGAL_INST, code, io);
    }
    fn interrupt(&self, queue: usize, n: u32, source: u8, data: u32, io: &mut Io<'_, '_>) {
        io.vectors.push(ih::Vector {
            client: ih::client::ACCESS,
            source,
            ring: u8::try_from(queue).unwrap_or(u8::MAX),
            vmid: ring::vmid(&self.regs, n),
            mm: true,
            data: [data, 0, 0, 0],
            ..ih::Vector::default()
        });
    }

    /// Read and write pointer of each queue, bytes.
    pub fn pointers(&self) -> impl Iterator<Item = (RingId, u64, u64)> + '_ {
        (0..QUEUES).zip(&self.queues).map(|(n, queue)| (id(n as usize), ring::rptr(&self.regs, n), queue.wptr))
    }
    /// The queues, for the checks.
    pub fn states(&self) -> impl Iterator<Item = (RingId, Pointers)> + '_ {
        (0..QUEUES).zip(&self.queues).map(|(n, queue)| {
            let (regs, halted) = (&self.regs, self.halted());
            let (enabled, rptr, size) = (ring::enabled(regs, n), ring::rptr(regs, n), ring::size(regs, n));
            (id(n as usize), Pointers { enabled, wptr: queue.wptr, rptr, size, halted })
        })
    }
    /// VMIDs that queues with something to do work in, a bit each.
    pub fn active_vmids(&self) -> u32 {
        (0..QUEUES).filter(|&n| self.busy(n)).fold(0, |all, n| all | 1 << ring::vmid(&self.regs, n))
    }
    /// The queue whose doorbell is at dword offset `dw` of the aperture, and whether the queue is enabled.
    pub fn doorbell_target(&self, dw: u32) -> Option<(RingId, bool)> {
        let n = ring::of_doorbell(&self.regs, dw)?;
        Some((id(n as usize), ring::enabled(&self.regs, n)))
    }
}

/// LANES of a program in execution.
fn lanes(run: &Run) -> u32 {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    LANES::BUSY.of(count(run.busy())) | LANES::WAITING.of(count(run.waits().count()))
}

impl Queue {
    /// The faults that it and its lanes wait for.
    pub fn waits(&self) -> impl Iterator<Item = &Fault> {
        let own = self.parked.iter().filter(|p| !p.awake).map(|p| &p.fault);
        own.chain(self.run.iter().flat_map(Run::waits))
    }
    /// When the first access that waits is made again by itself.
    fn due(&self) -> Option<u64> {
        self.parked.map_or_else(|| self.run.as_ref().and_then(Run::due), |parked| parked.due)
    }
}
