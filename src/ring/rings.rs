// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The rings of an engine: their registers, doorbells and pointers, and how they stop.

use super::hangs::Hangs;
use super::{regs, Io};
use crate::check::Pointers;
use crate::gmc::access::Reported;
use crate::gmc::{Client, Fault, Stop, Vm};
use crate::inject::Struck;
use crate::regs::{RegFile, Written};
use crate::throttle::Throttle;
use crate::trace::RingId;
use uvm_spec::sdma::*;
use uvm_spec::{ih, Block};

/// What an engine has in execution on a ring.
pub trait Load: Default {
    /// Whether that is anything.
    fn busy(&self) -> bool;
    /// The faults that it waits for.
    fn waits(&self) -> impl Iterator<Item = &Fault>;
    /// The address space that it works in, if it is another than the ring's.
    fn vmid(&self) -> Option<u8> {
        None
    }
}

/// A ring's state beyond its registers.
#[derive(Debug, Default)]
pub struct Ring<L> {
    /// Write pointer taken over from the registers or a doorbell, bytes.
    pub wptr: u64,
    /// Where the ring goes on after the packet in execution, bytes.
    pub next: u64,
    /// What is in execution.
    pub load: L,
    /// Why it stopped; 0: it did not.
    pub exception: u32,
    /// What was told already of the packet in execution.
    pub reported: Reported,
    /// The read pointer was not written back yet: its page was not there.
    pub owed: Option<u64>,
    /// It stands still until it is switched off.
    pub hung: bool,
}

/// What tells an engine's rings from another's.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    /// The registers.
    pub block: &'static Block,
    /// Number of the engine, in the names of its rings.
    pub instance: usize,
    /// As whom rings fetch packets, and write pointers and fences.
    pub client: Client,
    /// IH client of its vectors.
    pub ih: u8,
    /// Rings before this one run in VMID 0, whatever their registers say.
    pub kernel: u32,
}

/// The rings of an engine, and its registers.
#[derive(Debug)]
pub struct Rings<L> {
    who: Who,
    /// The registers.
    pub regs: RegFile,
    rings: [Ring<L>; RINGS as usize],
    /// The ring that had the last turn.
    turn: u32,
    stops: Throttle,
    hangs: Hangs,
    /// Packets executed since reset.
    pub packets: u64,
}

impl<L: Load> Rings<L> {
    /// After reset.
    pub fn new(who: Who) -> Self {
        Self {
            who,
            regs: RegFile::new(who.block),
            rings: Default::default(),
            turn: 0,
            stops: Throttle::default(),
            hangs: Hangs::default(),
            packets: 0,
        }
    }
    /// Brings every register to its reset value and drops all work.
    pub fn reset(&mut self) {
        let (stops, hangs) = (std::mem::take(&mut self.stops), std::mem::take(&mut self.hangs));
        *self = Self { stops, hangs, ..Self::new(self.who) };
    }

    /// Ring `n`.
    pub fn at(&self, n: u32) -> Option<&Ring<L>> {
        self.rings.get(n as usize)
    }
    /// Ring `n`.
    pub fn at_mut(&mut self, n: u32) -> Option<&mut Ring<L>> {
        self.rings.get_mut(n as usize)
    }
    /// All of them, in their order.
    pub fn all(&self) -> impl Iterator<Item = (u32, &Ring<L>)> + '_ {
        (0..RINGS).zip(&self.rings)
    }
    /// All of them, in their order.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Ring<L>> + '_ {
        self.rings.iter_mut()
    }
    /// Name of ring `n`.
    pub fn id(&self, n: u32) -> RingId {
        RingId::new(self.who.instance, n as usize)
    }
    /// As whom its rings reach memory.
    pub fn client(&self) -> Client {
        self.who.client
    }
    /// Address space of ring `n`.
    pub fn vmid(&self, n: u32) -> u8 {
        if n < self.who.kernel {
            0
        } else {
            regs::vmid(&self.regs, n)
        }
    }
    /// Read pointer of ring `n`, bytes.
    pub fn rptr(&self, n: u32) -> u64 {
        regs::rptr(&self.regs, n)
    }

    /// A guest's write to a register.
    pub fn write(&mut self, offset: u32, value: u32) -> Option<Written> {
        let control = self.regs.find(offset).filter(|(reg, _)| reg.offset == RB_CNTL.offset);
        let before = control.is_some_and(|(_, n)| regs::enabled(&self.regs, n));
        let written = self.regs.write(offset, value)?;
        let n = written.element;
        if written.is(&RB_CNTL) && before != regs::enabled(&self.regs, n) {
            // A ring that is switched starts from its registers, without what it was doing and without an exception.
            if let Some(ring) = self.at_mut(n) {
                *ring = Ring::default();
            }
            self.take_wptr(n);
        } else if (written.is(&RB_WPTR) || written.is(&MINOR_PTR_UPDATE))
            && self.regs.field(&MINOR_PTR_UPDATE, n, MINOR_PTR_UPDATE::ENABLE) == 0
        {
            self.take_wptr(n);
        }
        Some(written)
    }
    /// A doorbell at dword offset `dw` of the aperture. True if it was a ring's.
    pub fn doorbell(&mut self, dw: u32, value: u64) -> bool {
        let Some(n) = regs::of_doorbell(&self.regs, dw) else { return false };
        regs::rang(&mut self.regs, n, value);
        self.take_wptr(n);
        true
    }
    /// The ring whose doorbell is at dword offset `dw` of the aperture, and whether the ring is enabled.
    pub fn doorbell_target(&self, dw: u32) -> Option<(RingId, bool)> {
        let n = regs::of_doorbell(&self.regs, dw)?;
        Some((self.id(n), regs::enabled(&self.regs, n)))
    }
    fn take_wptr(&mut self, n: u32) {
        let wptr = regs::wptr(&self.regs, n);
        if let Some(ring) = self.at_mut(n) {
            ring.wptr = wptr;
        }
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
    /// Ring `n` is about to fetch a packet: whether it hangs instead.
    pub fn strikes(&mut self, n: u32) -> bool {
        let strikes = self.hangs.strikes(n as usize);
        if let Some(ring) = self.at_mut(n).filter(|_| strikes) {
            ring.hung = true;
        }
        strikes
    }

    /// The whole engine is halted.
    pub fn halted(&self) -> bool {
        self.regs.field(&F32_CNTL, 0, F32_CNTL::HALT) != 0
    }
    /// Whether ring `n` has something to do.
    pub fn busy(&self, n: u32) -> bool {
        let Some(ring) = self.at(n) else { return false };
        !self.halted()
            && regs::enabled(&self.regs, n)
            && ring.exception == exception::NONE
            && (ring.load.busy() || ring.owed.is_some() || ring.wptr != self.rptr(n))
    }
    /// Ring `n` if it has something to do and does not hang.
    pub fn working(&self, n: u32) -> Option<&Ring<L>> {
        self.at(n).filter(|ring| !ring.hung && self.busy(n))
    }
    /// All rings, in the order in which they have their turns.
    pub fn turns(&self) -> impl Iterator<Item = u32> + use<L> {
        let last = self.turn;
        (1..=RINGS).map(move |i| (last + i) % RINGS)
    }
    /// Ring `n` has had its turn.
    pub fn had_turn(&mut self, n: u32) {
        self.turn = n;
    }
    /// STATUS_REG.
    pub fn status(&self) -> u32 {
        use STATUS_REG as S;
        let empty = (0..RINGS).all(|n| !self.busy(n));
        let bits = [S::IDLE, S::RB_EMPTY, S::RB_CMD_IDLE, S::IB_CMD_IDLE];
        S::REG_IDLE.of(1) | if empty { bits.iter().map(|f| f.mask()).sum() } else { 0 }
    }
    /// CONTEXT_STATUS of ring `n`.
    pub fn context_status(&self, n: u32) -> u32 {
        let ring = self.at(n);
        let waits = ring.is_some_and(|ring| ring.load.waits().next().is_some());
        CONTEXT_STATUS::IDLE.of(u32::from(!self.busy(n)))
            | CONTEXT_STATUS::EXCEPTION.of(ring.map_or(0, |ring| ring.exception))
            | CONTEXT_STATUS::CTXSW_READY.of(u32::from(waits))
    }

    /// Dwords between the pointers of ring `n`; None where that is more than a ring's worth: the write pointer went
    /// backwards or is garbage.
    pub fn ahead(&self, n: u32) -> Option<u32> {
        let ahead = self.at(n)?.wptr.wrapping_sub(self.rptr(n));
        if ahead > regs::size(&self.regs, n) {
            return None;
        }
        u32::try_from(ahead / 4).ok()
    }
    /// On to where the ring goes on. A fault is one of the write of the read pointer.
    pub fn advance(&mut self, n: u32, io: &mut Io<'_, '_>) -> Result<(), Fault> {
        let Some(next) = self.at(n).map(|ring| ring.next) else { return Ok(()) };
        regs::set_rptr(&mut self.regs, n, next);
        self.write_back(n, next, io)
    }
    /// Writes the read pointer where the driver wants it, and owes that where its page may come: the fault tells.
    pub fn write_back(&mut self, n: u32, rptr: u64, io: &mut Io<'_, '_>) -> Result<(), Fault> {
        let Some(addr) = regs::write_back(&self.regs, n) else { return Ok(()) };
        let (client, vmid) = (self.client(), self.vmid(n));
        let Some(ring) = self.at_mut(n) else { return Ok(()) };
        let mut vm = Vm::new(io.hub, io.memory, client, io.vectors, &mut ring.reported);
        let done = if addr % 8 == 0 { vm.store64(vmid, addr, rptr) } else { vm.write(vmid, addr, &rptr.to_le_bytes()) };
        ring.reported = Reported::default();
        // One that goes nowhere is a fault of its own, and the ring goes on; one whose page may come waits like any other.
        match done {
            Err(Stop::Retry(fault)) => {
                ring.owed = Some(rptr);
                Err(fault)
            }
            _ => Ok(()),
        }
    }
    /// Tells of an access of ring `n` that waits.
    pub fn raise(&mut self, n: u32, fault: &Fault, io: &mut Io<'_, '_>) {
        regs::tell_waiting(&mut self.regs, fault.access.writes(), fault.vmid, fault.va);
        io.trace.fault_raised(fault, Some(self.id(n)));
        io.retries.push(*fault);
    }
    /// Ring `n` stops on the packet at its read pointer. Gives that and why.
    pub fn stop(&mut self, n: u32, code: u32, io: &mut Io<'_, '_>) -> (u64, &'static str) {
        let rptr = self.rptr(n);
        let why = regs::exception_name(code).unwrap_or("?");
        self.stops.warn(format_args!("{} stopped at RPTR {rptr:#x}: {why}", self.id(n)));
        if let Some(ring) = self.at_mut(n) {
            (ring.exception, ring.reported) = (code, Reported::default());
        }
        self.interrupt(n, ih::source::SDMA_ILLEGAL_INST, code, io);
        (rptr, why)
    }
    /// A vector of ring `n`.
    pub fn interrupt(&self, n: u32, source: u8, data: u32, io: &mut Io<'_, '_>) {
        io.vectors.push(ih::Vector {
            client: self.who.ih,
            source,
            ring: u8::try_from(n).unwrap_or(u8::MAX),
            vmid: self.at(n).and_then(|ring| ring.load.vmid()).unwrap_or(self.vmid(n)),
            mm: true,
            data: [data, 0, 0, 0],
            ..ih::Vector::default()
        });
    }

    /// Read and write pointer of each ring, bytes.
    pub fn pointers(&self) -> impl Iterator<Item = (RingId, u64, u64)> + '_ {
        self.all().map(|(n, ring)| (self.id(n), self.rptr(n), ring.wptr))
    }
    /// The rings, for the checks.
    pub fn states(&self) -> impl Iterator<Item = (RingId, Pointers)> + '_ {
        let halted = self.halted();
        self.all().map(move |(n, ring)| {
            let state = Pointers {
                enabled: regs::enabled(&self.regs, n),
                wptr: ring.wptr,
                rptr: self.rptr(n),
                size: regs::size(&self.regs, n),
                halted,
            };
            (self.id(n), state)
        })
    }
    /// VMIDs that rings with something to do work in, a bit each.
    pub fn active_vmids(&self) -> u32 {
        let busy = self.all().filter(|(n, _)| self.busy(*n));
        busy.fold(0, |all, (n, ring)| all | 1 << self.vmid(n) | ring.load.vmid().map_or(0, |vmid| 1 << vmid))
    }
}
