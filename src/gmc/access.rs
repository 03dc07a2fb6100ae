// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! An engine's reads, writes, copies and atomics by virtual address. Translation and use happen in one step, so that an
//! address cannot go stale between them.

use super::{Access, Cause, Client, Fault, Hub, Memory, Phys, Space};
use crate::check::Used;
use crate::trace::Event;
use std::sync::atomic::{AtomicU32, AtomicU64};
use uvm_spec::{ih, pte, PAGE_SIZE};
use vm_memory::VolatileSlice;

/// The access did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It failed and no default page stands in: the engine stops.
    Error,
    /// What it read has an uncorrectable error: the engine stops.
    Poison,
    /// It waits for its page and may be made again.
    Retry(Fault),
}

/// A piece of an address range.
enum Piece<'m> {
    Memory(VolatileSlice<'m>),
    /// Encrypted VRAM: offset and bytes, no more than [`BOUNCE`].
    Secret(u64, usize),
    /// Reads as zero, drops writes: a partially resident page, or a default page that is nowhere.
    Nothing(usize),
}

impl Piece<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Memory(s) => s.len(),
            Self::Secret(_, n) | Self::Nothing(n) => *n,
        }
    }
}

/// Memory as a client of a hub sees it.
pub struct Vm<'a, 'm> {
    hub: &'a mut Hub,
    memory: &'m Memory<'m>,
    client: Client,
    /// Where interrupts go.
    vectors: &'a mut Vec<ih::Vector>,
    /// A packet reports one fault a direction: a stray copy of many pages is one mistake, not a storm.
    reported: &'a mut Reported,
}

/// Which directions of the current packet have reported a fault.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reported {
    read: bool,
    write: bool,
}

/// Pieces that a copy translates before it moves them.
const AHEAD: usize = 64;
/// The same of a copy of about a page, which need not pay for more.
const FEW: usize = 4;
/// Most bytes that pass the cipher at once.
const BOUNCE: usize = 4096;
/// Zeroes to read from.
static ZERO: [u8; 4096] = [0; 4096];

impl<'a, 'm> Vm<'a, 'm> {
    /// `client`'s view through `hub`. Fault interrupts are pushed to `vectors`, one a direction in `reported`.
    pub fn new(
        hub: &'a mut Hub,
        memory: &'m Memory<'m>,
        client: Client,
        vectors: &'a mut Vec<ih::Vector>,
        reported: &'a mut Reported,
    ) -> Self {
        Self { hub, memory, client, vectors, reported }
    }
    /// The physical memory behind it.
    pub fn memory(&self) -> &'m Memory<'m> {
        self.memory
    }

    /// Reads `buf.len()` bytes.
    pub fn read(&mut self, vmid: u8, va: u64, buf: &mut [u8]) -> Result<(), Stop> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            let piece = self.piece(vmid, step(va, done), rest.len(), Access::Read)?;
            let n = piece.len().min(rest.len());
            let part = rest.get_mut(..n).ok_or(Stop::Error)?;
            match piece {
                Piece::Memory(s) => self.memory.get(&s, part).ok_or(Stop::Error)?,
                Piece::Secret(addr, _) => self.memory.read_secret(addr, part).ok_or(Stop::Error)?,
                Piece::Nothing(_) => part.fill(0),
            }
            done += n;
        }
        Ok(())
    }
    /// Writes `buf`.
    pub fn write(&mut self, vmid: u8, va: u64, buf: &[u8]) -> Result<(), Stop> {
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|r| !r.is_empty()) {
            let piece = self.piece(vmid, step(va, done), rest.len(), Access::Write)?;
            let n = piece.len().min(rest.len());
            let part = rest.get(..n).ok_or(Stop::Error)?;
            match piece {
                Piece::Memory(s) => self.memory.put(&s, part).ok_or(Stop::Error)?,
                Piece::Secret(addr, _) => self.memory.write_secret(addr, part).ok_or(Stop::Error)?,
                Piece::Nothing(_) => {}
            }
            done += n;
        }
        Ok(())
    }
    /// Copies from byte `done` to byte `len`, and moves `done` along. Where the ranges overlap the result is unspecified,
    /// as on hardware.
    ///
    /// Pieces are translated [`AHEAD`] at a time, so that the misses on page table entries overlap instead of each
    /// waiting for a page's copy. A stop still leaves everything before it copied.
    pub fn copy(&mut self, vmid: u8, dst: u64, src: u64, len: u64, done: &mut u64) -> Result<(), Stop> {
        if len.saturating_sub(*done) <= PAGE_SIZE {
            self.copy_by::<FEW>(vmid, dst, src, len, done)
        } else {
            self.copy_by::<AHEAD>(vmid, dst, src, len, done)
        }
    }
    /// The same, `N` pieces at a time.
    fn copy_by<const N: usize>(&mut self, vmid: u8, dst: u64, src: u64, len: u64, done: &mut u64) -> Result<(), Stop> {
        let vram = self.memory.vram_at();
        let in_vram = |piece: &Piece<'_>| match piece {
            Piece::Memory(slice) => vram.contains(&(slice.ptr_guard().as_ptr() as usize)),
            Piece::Secret(..) => true,
            Piece::Nothing(_) => false,
        };
        while *done < len {
            let mut batch = [const { None }; N];
            let mut stop = Ok(());
            let mut ahead = *done;
            for slot in &mut batch {
                let rest = usize::try_from(len - ahead).map_err(|_| Stop::Error)?;
                match self.pair(vmid, dst.wrapping_add(ahead), src.wrapping_add(ahead), rest) {
                    Ok((from, to)) => {
                        ahead += from.len().min(to.len()) as u64;
                        *slot = Some((from, to));
                    }
                    Err(e) => stop = Err(e),
                }
                if stop.is_err() || ahead >= len {
                    break;
                }
            }
            if self.memory.trace.is_some() {
                self.note_copies(vmid, &batch);
            }
            for (from, to) in batch.iter().flatten() {
                let n = from.len().min(to.len());
                if let (Piece::Secret(..), Piece::Memory(_)) = (from, to) {
                    self.hub.checks().tell(|c| c.leaked(vmid, src.wrapping_add(*done), dst.wrapping_add(*done)));
                }
                match (from, to) {
                    (Piece::Memory(from), Piece::Memory(to)) => self.memory.copy(from, to),
                    (Piece::Nothing(_), Piece::Memory(to)) => self.zero(to, n),
                    (_, Piece::Nothing(_)) => {}
                    (from, to) => self.bounce(from, to, n)?,
                }
                match (in_vram(from), in_vram(to)) {
                    (false, true) => self.hub.vram_in += n as u64,
                    (true, false) => self.hub.vram_out += n as u64,
                    _ => {}
                }
                *done += n as u64;
            }
            stop?;
        }
        Ok(())
    }
    /// The pieces at `src` and `dst`, at most `len` bytes; the shorter one counts.
    #[inline(always)]
    fn pair(&mut self, vmid: u8, dst: u64, src: u64, len: usize) -> Result<(Piece<'m>, Piece<'m>), Stop> {
        // The common case by itself, in registers: a copy of scattered pages is bound by what happens here.
        if let Some(from) = self.streamed(vmid, src, len, Access::Read) {
            let to = match self.streamed(vmid, dst, from.len(), Access::Write) {
                Some(to) => Piece::Memory(to),
                None => self.piece(vmid, dst, from.len(), Access::Write)?,
            };
            return Ok((Piece::Memory(from), to));
        }
        let from = self.piece(vmid, src, len, Access::Read)?;
        let to = self.piece(vmid, dst, from.len(), Access::Write)?;
        Ok((from, to))
    }
    /// Zeroes the first `len` bytes of `to`, or all it has.
    fn zero(&self, to: &VolatileSlice<'_>, len: usize) {
        let len = len.min(to.len());
        let mut done = 0;
        while done < len {
            let n = (len - done).min(ZERO.len());
            // The slice is as long as checked: this cannot fail.
            let Ok(part) = to.subslice(done, n) else { return };
            if self.memory.put(&part, ZERO.get(..n).unwrap_or(&[])).is_none() {
                return;
            }
            done += n;
        }
    }
    /// Copies `n` bytes where one side is encrypted.
    fn bounce(&self, from: &Piece<'_>, to: &Piece<'_>, n: usize) -> Result<(), Stop> {
        let mut buf = [0u8; BOUNCE];
        let part = buf.get_mut(..n).ok_or(Stop::Error)?;
        match from {
            Piece::Memory(s) => self.memory.get(s, part).ok_or(Stop::Error)?,
            Piece::Secret(addr, _) => self.memory.read_secret(*addr, part).ok_or(Stop::Error)?,
            Piece::Nothing(_) => {}
        }
        match to {
            Piece::Memory(s) => self.memory.put(s, part).ok_or(Stop::Error),
            Piece::Secret(addr, _) => self.memory.write_secret(*addr, part).ok_or(Stop::Error),
            Piece::Nothing(_) => Ok(()),
        }
    }
    /// Reads the dword at `va`, whose low two bits are ignored.
    pub fn load32(&mut self, vmid: u8, va: u64) -> Result<u32, Stop> {
        let va = va & !3;
        match self.piece(vmid, va, 4, Access::Read)? {
            Piece::Memory(s) => self.memory.load_from(&s).ok_or(Stop::Error),
            Piece::Secret(addr, _) => {
                let mut bytes = [0; 4];
                self.memory.read_secret(addr, &mut bytes).ok_or(Stop::Error)?;
                Ok(u32::from_le_bytes(bytes))
            }
            Piece::Nothing(_) => Ok(0),
        }
    }
    /// Reads the quadword at `va`, whose low three bits are ignored.
    pub fn load64(&mut self, vmid: u8, va: u64) -> Result<u64, Stop> {
        match self.piece(vmid, va & !7, 8, Access::Read)? {
            Piece::Memory(s) => self.memory.load_from(&s).ok_or(Stop::Error),
            Piece::Secret(addr, _) => {
                let mut bytes = [0; 8];
                self.memory.read_secret(addr, &mut bytes).ok_or(Stop::Error)?;
                Ok(u64::from_le_bytes(bytes))
            }
            Piece::Nothing(_) => Ok(0),
        }
    }
    /// Writes the dword at `va`, whose low two bits are ignored, after everything before it.
    pub fn store32(&mut self, vmid: u8, va: u64, value: u32) -> Result<(), Stop> {
        match self.piece(vmid, va & !3, 4, Access::Write)? {
            Piece::Memory(s) => self.memory.store_to(&s, value).ok_or(Stop::Error),
            Piece::Secret(addr, _) => self.memory.write_secret(addr, &value.to_le_bytes()).ok_or(Stop::Error),
            Piece::Nothing(_) => Ok(()),
        }
    }
    /// Writes the quadword at `va`, whose low three bits are ignored, after everything before it.
    pub fn store64(&mut self, vmid: u8, va: u64, value: u64) -> Result<(), Stop> {
        match self.piece(vmid, va & !7, 8, Access::Write)? {
            Piece::Memory(s) => self.memory.store_to(&s, value).ok_or(Stop::Error),
            Piece::Secret(addr, _) => self.memory.write_secret(addr, &value.to_le_bytes()).ok_or(Stop::Error),
            Piece::Nothing(_) => Ok(()),
        }
    }
    /// Runs `op` on the dword at `va` (low two bits ignored), or on a zero that is then forgotten.
    pub fn atomic32(&mut self, vmid: u8, va: u64, op: impl Fn(&AtomicU32) -> u32) -> Result<u32, Stop> {
        match self.atomic_piece(vmid, va & !3, 4)? {
            Piece::Memory(s) => self.memory.atomic32(&s, op).ok_or(Stop::Error),
            Piece::Secret(addr, _) => {
                // Nobody else sees the clear text, so there is nobody to be atomic against.
                let mut bytes = [0; 4];
                self.memory.read_secret(addr, &mut bytes).ok_or(Stop::Error)?;
                let value = AtomicU32::new(u32::from_le_bytes(bytes));
                let found = op(&value);
                self.memory.write_secret(addr, &value.into_inner().to_le_bytes()).ok_or(Stop::Error)?;
                Ok(found)
            }
            Piece::Nothing(_) => Ok(op(&AtomicU32::new(0))),
        }
    }
    /// Runs `op` on the quadword at `va` (low three bits ignored), or on a zero that is then forgotten.
    pub fn atomic64(&mut self, vmid: u8, va: u64, op: impl Fn(&AtomicU64) -> u64) -> Result<u64, Stop> {
        match self.atomic_piece(vmid, va & !7, 8)? {
            Piece::Memory(s) => self.memory.atomic64(&s, op).ok_or(Stop::Error),
            Piece::Secret(addr, _) => {
                let mut bytes = [0; 8];
                self.memory.read_secret(addr, &mut bytes).ok_or(Stop::Error)?;
                let value = AtomicU64::new(u64::from_le_bytes(bytes));
                let found = op(&value);
                self.memory.write_secret(addr, &value.into_inner().to_le_bytes()).ok_or(Stop::Error)?;
                Ok(found)
            }
            Piece::Nothing(_) => Ok(op(&AtomicU64::new(0))),
        }
    }

    /// Tells what is about to be copied: pieces that follow each other on both sides as one.
    #[cold]
    fn note_copies(&self, vmid: u8, batch: &[Option<(Piece<'m>, Piece<'m>)>]) {
        let trace = self.hub.trace();
        let mut run: Option<(Option<Phys>, Phys, u64)> = None;
        for (from, to) in batch.iter().flatten() {
            let n = from.len().min(to.len()) as u64;
            let place = |piece: &Piece<'_>| match piece {
                Piece::Memory(slice) => Some(self.memory.place(slice)),
                Piece::Secret(addr, _) => Some(Phys { space: Space::Vram, addr: *addr }),
                Piece::Nothing(_) => None,
            };
            let Some(target) = place(to) else { continue };
            let source = place(from);
            match &mut run {
                Some((first, into, bytes))
                    if into.offset(*bytes) == Some(target)
                        && first.map(|first| first.offset(*bytes)) == source.map(Some) =>
                {
                    *bytes += n;
                }
                _ => {
                    if let Some((from, to, bytes)) = run.replace((source, target, n)) {
                        trace.detail(|| Event::Copy { vmid, from, to, bytes });
                    }
                }
            }
        }
        if let Some((from, to, bytes)) = run {
            trace.detail(|| Event::Copy { vmid, from, to, bytes });
        }
    }
    /// The same where a stream has the page in clear memory.
    #[inline(always)]
    fn streamed(&mut self, vmid: u8, va: u64, len: usize, access: Access) -> Option<VolatileSlice<'m>> {
        if self.memory.has_poison() {
            return None;
        }
        let page = self.hub.streamed(self.client, vmid, va, access)?;
        let offset = va % PAGE_SIZE;
        let at = page.phys(offset);
        if page.entry & pte::TMZ != 0 && at.space == Space::Vram {
            return None;
        }
        if self.hub.checks().is_on() {
            self.hub.note_use(self.memory, vmid, va, access, Used { entry: page.entry, at: Some(at) });
        }
        if self.hub.counters.counts(self.client) {
            self.vectors.extend(self.hub.counters.note(vmid, va, at));
        }
        self.memory.slice(at, usize::try_from(PAGE_SIZE - offset).map_or(len, |left| left.min(len)))
    }
    /// The contiguous piece at `va`, at most `len` bytes.
    fn piece(&mut self, vmid: u8, va: u64, len: usize, access: Access) -> Result<Piece<'m>, Stop> {
        if let Some(slice) = self.streamed(vmid, va, len, access) {
            return Ok(Piece::Memory(slice));
        }
        let fault = match self.hub.translate(self.memory, self.client, vmid, va, access) {
            Ok(t) => {
                if self.hub.checks().is_on() {
                    self.hub.note_use(self.memory, vmid, va, access, Used { entry: t.entry, at: t.at });
                }
                let len = usize::try_from(t.len).unwrap_or(usize::MAX).min(len);
                let Some(at) = t.at else { return Ok(Piece::Nothing(len)) };
                if self.hub.counters.counts(self.client) {
                    self.vectors.extend(self.hub.counters.note(vmid, va, at));
                }
                let len = if access == Access::Write { len } else { self.sound(at, len)? };
                let secret = t.entry & pte::TMZ != 0 && at.space == Space::Vram;
                match self.memory.slice(at, len) {
                    Some(slice) if secret => return Ok(Piece::Secret(at.addr, slice.len().min(BOUNCE))),
                    Some(slice) => return Ok(Piece::Memory(slice)),
                    None => Fault { vmid, va, access, cause: Cause::Nack, retry: false },
                }
            }
            Err(fault) => fault,
        };
        self.fault(&fault, len)
    }
    /// How much of `len` bytes at `at` can be read. None of it: the driver is told of the page.
    fn sound(&mut self, at: Phys, len: usize) -> Result<usize, Stop> {
        match self.memory.sound(at, len) {
            0 if len > 0 => {
                log::debug!("uncorrectable error in VRAM at {:#x}", at.addr);
                self.vectors.push(ih::ecc_error(at.addr));
                Err(Stop::Poison)
            }
            sound => Ok(sound),
        }
    }
    fn atomic_piece(&mut self, vmid: u8, va: u64, len: usize) -> Result<Piece<'m>, Stop> {
        self.piece(vmid, va, len, Access::Atomic)
    }
    #[cold]
    fn fault(&mut self, fault: &Fault, len: usize) -> Result<Piece<'m>, Stop> {
        if fault.retry {
            self.hub.note(fault);
            return Err(Stop::Retry(*fault));
        }
        let handled = self.hub.handle(fault, self.client.cid);
        self.hub.checks().tell(|c| {
            if fault.cause == Cause::Nack {
                c.nowhere(fault.vmid, fault.va);
            }
            if handled.page.is_some() {
                c.stood_in(fault.vmid, fault.va);
            }
        });
        let reported = match fault.access {
            Access::Write | Access::Atomic => &mut self.reported.write,
            _ => &mut self.reported.read,
        };
        if !std::mem::replace(reported, true) {
            log::debug!("page fault: {fault:x?}");
            self.hub.trace().fault_raised(fault, None);
            self.vectors.extend(handled.vector);
        }
        let page = handled.page.ok_or(Stop::Error)?;
        let offset = fault.va % PAGE_SIZE;
        let len = usize::try_from(PAGE_SIZE - offset).unwrap_or(len).min(len);
        let at = Phys { space: page.space, addr: page.addr | offset };
        Ok(self.memory.slice(at, len).map_or(Piece::Nothing(len), Piece::Memory))
    }
}

fn step(va: u64, done: usize) -> u64 {
    va.wrapping_add(done as u64)
}
