// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The engine: its registers, its queues, and the fetch of packets from their rings.

use super::lane::Mem;
use super::program::{decode, fixed_dwords, Command};
use super::run::{Happened, Parked, Run, Turn};
use crate::gmc::access::Reported;
use crate::gmc::{Client, Fault, Vm};
use crate::regs::{RegFile, Written};
use crate::ring::{regs, Halt, Illegal, Io, Load, Rings, Step, Stream, Who};
use crate::trace::Event;
use uvm_spec::access::*;
use uvm_spec::{hub::cid, ih};

/// What a queue executes.
#[derive(Debug, Default)]
pub(crate) struct InExecution {
    pub run: Option<Run>,
    /// An access of the queue's own, and not a lane's, waits: for a packet, a fence, a sum, the read pointer.
    pub parked: Option<Parked>,
}

impl Load for InExecution {
    fn busy(&self) -> bool {
        self.run.is_some()
    }
    fn waits(&self) -> impl Iterator<Item = &Fault> {
        let own = self.parked.iter().filter(|parked| !parked.awake).map(|parked| &parked.fault);
        own.chain(self.run.iter().flat_map(Run::waits))
    }
}

impl InExecution {
    /// When the first access that waits is made again by itself.
    fn due(&self) -> Option<u64> {
        self.parked.map_or_else(|| self.run.as_ref().and_then(Run::due), |parked| parked.due)
    }
    /// Whether a queue may go on at time `now`.
    fn is_ready(&self, now: u64) -> bool {
        match self.parked {
            Some(parked) => parked.is_over(now),
            None => self.run.as_ref().is_none_or(|run| run.is_ready(now)),
        }
    }
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    /// Its queues.
    pub(crate) rings: Rings<InExecution>,
    /// Accesses that lanes made since reset.
    pub accesses: u64,
    /// Bytes that they read and wrote.
    pub bytes: u64,
}

/// Lanes, and queues that fetch packets for them.
const LANE: Client = Client { l1: INSTANCE, cid: cid::ACCESS, counted: true };
const WHO: Who = Who {
    block: &ACCESS,
    instance: INSTANCE,
    client: Client { counted: false, ..LANE },
    ih: ih::client::ACCESS,
    kernel: 0,
};
const _: () = assert!(QUEUES == uvm_spec::sdma::RINGS);

impl Default for Engine {
    fn default() -> Self {
        Self { rings: Rings::new(WHO), accesses: 0, bytes: 0 }
    }
}

impl Engine {
    /// Brings every register to its reset value and drops all work.
    pub fn reset(&mut self) {
        self.rings.reset();
        (self.accesses, self.bytes) = (0, 0);
    }
    /// The register file, for dispatch.
    pub fn regs(&self) -> &RegFile {
        &self.rings.regs
    }

    /// A guest's read.
    pub fn read(&self, offset: u32) -> Option<u32> {
        let (value, reg, n) = self.regs().read(offset)?;
        let run = self.rings.at(n).and_then(|queue| queue.load.run.as_ref());
        let done = run.map_or(0, |run| run.done);
        #[allow(clippy::cast_possible_truncation)] // two dwords of one number
        Some(match reg.offset {
            o if o == STATUS_REG.offset => self.rings.status(),
            o if o == CONTEXT_STATUS.offset => self.rings.context_status(n),
            o if o == LANES.offset => run.map_or(0, lanes),
            o if o == ITEMS.offset => done as u32,
            o if o == ITEMS_HI.offset => (done >> 32) as u32,
            _ => value,
        })
    }
    /// A guest's write.
    pub fn write(&mut self, offset: u32, value: u32) -> Option<Written> {
        self.rings.write(offset, value)
    }

    /// Gives the next queue in turn a step: one packet, or a turn of a program's lanes.
    pub fn step(&mut self, io: &mut Io<'_, '_>) -> Step {
        let mut wait: Option<u64> = None;
        for n in self.rings.turns() {
            let Some(queue) = self.rings.working(n) else { continue };
            if !queue.load.is_ready(io.now) {
                if let Some(due) = queue.load.due() {
                    wait = Some(wait.map_or(due, |w| w.min(due)));
                }
                continue;
            }
            io.checks.tell(|c| c.turn(self.rings.id(n), self.rings.rptr(n)));
            self.rings.had_turn(n);
            self.step_queue(n, io);
            return Step::More;
        }
        wait.map_or(Step::Idle, Step::Until)
    }
    /// Lets the lanes and queues go on whose fault `answered` accepts; it is told whether they go on by themselves after a
    /// time.
    pub fn wake(&mut self, answered: impl Fn(&Fault, bool) -> bool) {
        for queue in self.rings.all_mut() {
            if let Some(parked) = queue.load.parked.as_mut().filter(|p| !p.awake) {
                parked.awake = answered(&parked.fault, parked.due.is_some());
            }
            if let Some(run) = &mut queue.load.run {
                run.wake(&answered);
            }
        }
    }

    fn step_queue(&mut self, n: u32, io: &mut Io<'_, '_>) {
        let id = self.rings.id(n);
        let Some(queue) = self.rings.at_mut(n) else { return };
        if let Some(parked) = queue.load.parked.take() {
            io.trace.access_retried(id, &parked.fault);
        }
        let result = if let Some(rptr) = queue.owed.take() {
            self.rings.write_back(n, rptr, io).map_err(Halt::Park)
        } else if queue.load.run.is_some() {
            self.work(n, io)
        } else {
            self.fetch(n, io)
        };
        match result {
            Ok(()) => {}
            Err(Halt::Park(fault)) => self.park(n, fault, io),
            Err(Halt::Exception(code)) => {
                if let Some(queue) = self.rings.at_mut(n) {
                    queue.load.run = None;
                }
                self.rings.stop(n, code, io);
            }
        }
    }
    /// A turn of the lanes of the program in execution.
    fn work(&mut self, n: u32, io: &mut Io<'_, '_>) -> Result<(), Halt> {
        let (id, vmid) = (self.rings.id(n), self.rings.vmid(n));
        let Some(queue) = self.rings.at_mut(n) else { return Ok(()) };
        let Some(run) = queue.load.run.as_mut() else { return Ok(()) };
        let mut happened = Vec::new();
        let mut vm = Vm::new(io.hub, io.memory, LANE, io.vectors, &mut queue.reported);
        let mut mem = Mem { vm: &mut vm, vmid, accesses: &mut self.accesses, bytes: &mut self.bytes };
        let turn = run.advance(&mut mem, io.now, io.retry_due, &mut happened);
        for what in happened {
            match what {
                Happened::Retried(fault) => io.trace.access_retried(id, &fault),
                Happened::Parked(fault) => self.rings.raise(n, &fault, io),
            }
        }
        if turn? == Turn::Done {
            self.complete(n, io);
        }
        Ok(())
    }
    /// Fetches, decodes and starts the next packet.
    fn fetch(&mut self, n: u32, io: &mut Io<'_, '_>) -> Result<(), Halt> {
        if self.rings.strikes(n) {
            return Ok(());
        }
        let left = self.rings.ahead(n).ok_or(Illegal)?;
        let (id, rptr, vmid, client) = (self.rings.id(n), self.rings.rptr(n), self.rings.vmid(n), self.rings.client());
        let (base, size) = (regs::base(self.regs(), n), regs::size(self.regs(), n));
        let traps = self.regs().field(&CNTL, 0, CNTL::TRAP_ENABLE) != 0;
        let Some(queue) = self.rings.at_mut(n) else { return Ok(()) };
        let stream = Stream { vmid, base, offset: rptr, ring: Some(size) };
        let mut vm = Vm::new(io.hub, io.memory, client, io.vectors, &mut queue.reported);
        let (dwords, fixed) = stream.fetch::<MAX_DWORDS>(&mut vm, left, fixed_dwords)?;
        let dwords = dwords.get(..fixed).ok_or(Illegal)?;
        let command = decode(dwords)?;
        let skip = if let Command::Nop { skip } = command { skip } else { 0 };
        let len = u32::try_from(fixed).ok().and_then(|fixed| fixed.checked_add(skip)).ok_or(Illegal)?;
        if len > left {
            return Err(Illegal.into());
        }
        io.checks.tell(|c| c.packet(id, vmid, false, dwords));
        let at = stream.address();
        io.trace.detail(|| Event::Packet { ring: id, vmid, indirect: false, at, dwords: dwords.to_vec() });
        queue.next = rptr.wrapping_add(4 * u64::from(len));
        match command {
            Command::Nop { .. } => {}
            Command::Fence { addr, value } => vm.store32(vmid, addr, value)?,
            Command::Trap { context } if traps => self.rings.interrupt(n, ih::source::SDMA_TRAP, context, io),
            Command::Trap { .. } => {}
            Command::Program { lanes, program } => {
                queue.load.run = Some(Run::new(program, lanes));
                return Ok(());
            }
        }
        self.complete(n, io);
        Ok(())
    }
    /// The packet in execution is done: on to the next one.
    fn complete(&mut self, n: u32, io: &mut Io<'_, '_>) {
        self.rings.packets += 1;
        if let Some(queue) = self.rings.at_mut(n) {
            (queue.load.run, queue.reported) = (None, Reported::default());
        }
        if let Err(fault) = self.rings.advance(n, io) {
            self.park(n, fault, io);
        }
    }
    /// Queue `n` itself waits for its page; the others go on.
    fn park(&mut self, n: u32, fault: Fault, io: &mut Io<'_, '_>) {
        if let Some(queue) = self.rings.at_mut(n) {
            queue.load.parked = Some(Parked { fault, due: io.retry_due, awake: false });
        }
        self.rings.raise(n, &fault, io);
    }
}

/// LANES of a program in execution.
fn lanes(run: &Run) -> u32 {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    LANES::BUSY.of(count(run.busy())) | LANES::WAITING.of(count(run.waits().count()))
}
