// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Memory that CPU and GPU name by one pointer, and programs that run on it.
//!
//! [`Uvm`] is a process's face: [`Uvm::alloc`], [`Uvm::prefetch`], [`Uvm::advise`], [`Uvm::launch`]. Where memory comes
//! from is [`Backing`]'s matter; an address means the same to both sides either way.

mod advice;
mod aperture;
pub mod program;
pub mod workload;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use uvm_spec::{packet, uapi, PAGE_SIZE};

use crate::drm::{Bo, Device, Domain, Mapping, May, Placed, Queue, Reservation, RW};
pub use advice::Advice;
use aperture::{Addresses, Aperture, Range};
use program::Program;

/// What memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Buffer objects in a domain, bound where the CPU sees them.
    Buffers(Domain),
    /// The process's own, which the device mirrors.
    Mirrored,
}

/// Bytes of the queue's ring.
const RING: u64 = 64 << 10;
/// Lanes of a program unless it says otherwise.
pub const LANES: u32 = 64;

/// A process's shared addresses, and its queue of the access engine.
pub struct Uvm {
    device: Device,
    backing: Backing,
    queue: RefCell<Queue>,
    /// Fence value, and the sum of the last program behind it.
    done: Memory,
    fences: RefCell<u32>,
    patience: Duration,
    busy: Cell<Duration>,
    space: Rc<Space>,
    // Behind the queue: it goes later.
    _ring: Ring,
}

/// Where allocations lie.
struct Space {
    aperture: Aperture<Rc<Reservation>>,
    /// Of a reserved one.
    addresses: RefCell<Option<Addresses>>,
}

/// A range of shared addresses that is to be.
struct Place {
    at: u64,
    /// Where the whole process is shared, each allocation has a reservation of its own.
    own: Option<Rc<Reservation>>,
}

impl Space {
    fn new(reach: Range) -> Result<Self> {
        let range = aperture::common([reach]).context("the device reaches none of this process's addresses")?;
        let aperture = aperture::choose(range, |at, bytes| Some(Rc::new(Reservation::at(at, bytes).ok()?)));
        let aperture = aperture.context("no room for addresses that the device reaches, too")?;
        let addresses = match &aperture {
            Aperture::Whole => None,
            Aperture::Reserved(r) => Some(Addresses::new(Range { first: r.start(), end: r.start() + r.bytes() })),
        };
        Ok(Self { aperture, addresses: RefCell::new(addresses) })
    }
    fn take(&self, bytes: u64) -> Result<Place> {
        if let Some(addresses) = self.addresses.borrow_mut().as_mut() {
            let at = addresses.take(bytes).with_context(|| format!("no {bytes:#x} bytes of shared addresses left"))?;
            return Ok(Place { at, own: None });
        }
        // With room to align, and a guard page that stays inaccessible.
        let slack = if bytes >= aperture::ALIGNMENT { aperture::ALIGNMENT } else { 0 };
        let own = Reservation::anywhere(bytes + slack + PAGE_SIZE)?;
        let free = Range { first: own.start(), end: own.start() + own.bytes() };
        let at = aperture::place(free, bytes + PAGE_SIZE).context("a reservation that is too small")?;
        Ok(Place { at, own: Some(Rc::new(own)) })
    }
    /// Takes back what [`Space::take`] gave. Reservations of their own go by themselves.
    fn give(&self, at: u64, bytes: u64) {
        if let Some(addresses) = self.addresses.borrow_mut().as_mut() {
            addresses.give(at, bytes);
        }
    }
}

/// Memory at one address for both sides; gone with the value.
pub struct Memory {
    map: Option<Placed>,
    bo: Option<Bo>,
    device: Device,
    space: Rc<Space>,
    at: u64,
    bytes: u64,
    /// Nobody may write it but for [`Memory::write`], for as long as that takes.
    read_mostly: Cell<bool>,
}

impl Memory {
    /// The pointer.
    pub fn address(&self) -> u64 {
        self.at
    }
    fn map(&self) -> Result<&Mapping> {
        self.map.as_deref().context("memory that is not mapped")
    }
    fn written(&self, at: usize, bytes: &[u8]) -> Result<()> {
        let map = self.map()?;
        if self.read_mostly.get() {
            map.protect(0, map.len(), May::ReadWrite)?;
        }
        map.write(at, bytes);
        if self.read_mostly.get() {
            map.protect(0, map.len(), May::Read)?;
        }
        Ok(())
    }
    /// Writes numbers from dword `at` on.
    pub fn write(&self, at: usize, numbers: &[u32]) -> Result<()> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        ensure!(4 * at + bytes.len() <= self.map()?.len(), "a write outside of its memory");
        self.written(4 * at, &bytes)
    }
    /// Writes quadwords from quadword `at` on.
    pub fn write_wide(&self, at: usize, numbers: &[u64]) -> Result<()> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        ensure!(8 * at + bytes.len() <= self.map()?.len(), "a write outside of its memory");
        self.written(8 * at, &bytes)
    }
    /// The first `count` dwords.
    pub fn read(&self, count: usize) -> Result<Vec<u32>> {
        let mut bytes = vec![0; 4 * count];
        ensure!(bytes.len() <= self.map()?.len(), "a read outside of its memory");
        self.map()?.read(0, &mut bytes);
        Ok(bytes.chunks_exact(4).filter_map(|b| b.first_chunk().map(|b| u32::from_le_bytes(*b))).collect())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.bo.is_some() {
            if let Err(error) = self.device.unbind(self.at, self.bytes) {
                eprintln!("# shared memory at {:#x}: {error}", self.at);
            }
        }
        self.map = None;
        self.bo = None;
        self.space.give(self.at, self.bytes);
    }
}

impl Uvm {
    /// A process's own, whose memory comes from `backing`.
    pub fn open(device: &Device, backing: Backing, patience: Duration) -> Result<Self> {
        let reach = Range { first: aperture::LOWEST, end: device.param(uapi::PARAM_VM_SIZE)? };
        let space = Rc::new(Space::new(reach)?);
        if backing == Backing::Mirrored {
            device.mirror()?;
        }
        // The queue's ring has addresses of this process, too: a stretch that one page table covers, so that no memory
        // of the process shares that with the ring.
        let place = space.take(aperture::ALIGNMENT)?;
        let queue = Queue::of_access_engine(device, place.at, RING)?;
        let ring = Ring { place, device: device.clone(), space: Rc::clone(&space) };
        let done = match backing {
            Backing::Mirrored => backing,
            Backing::Buffers(_) => Backing::Buffers(Domain::Gtt),
        };
        let done = allocate(device, &space, done, PAGE_SIZE)?;
        let (queue, fences) = (RefCell::new(queue), RefCell::new(0));
        let (device, busy) = (device.clone(), Cell::default());
        Ok(Self { device, backing, queue, done, fences, patience, busy, space, _ring: ring })
    }
    /// The client.
    pub fn device(&self) -> &Device {
        &self.device
    }
    /// How long programs ran, those that were waited for: from launch to end.
    pub fn busy(&self) -> Duration {
        self.busy.get()
    }
    /// Whether any address of the process is shared, rather than a range of them.
    pub fn shares_all_addresses(&self) -> bool {
        matches!(self.space.aperture, Aperture::Whole)
    }
    /// `bytes` of memory, zeroed.
    pub fn alloc(&self, bytes: u64) -> Result<Memory> {
        allocate(&self.device, &self.space, self.backing, bytes)
    }
    /// Brings memory near the GPU, or back, before anybody asks for it. Of the process's own memory the bytes that moved;
    /// a buffer is moved as a whole.
    pub fn prefetch(&self, memory: &Memory, to_device: bool) -> Result<u64> {
        let (buffers, own) = if to_device { (Domain::Vram, Domain::Vram) } else { (Domain::Gtt, Domain::System) };
        match &memory.bo {
            Some(bo) => bo.move_to(buffers, 0).map(|()| memory.bytes).map_err(Into::into),
            None => Ok(self.device.prefetch(memory.at, memory.bytes, own)?.moved),
        }
    }
    /// Starts `programs` one after the other, with a fence behind them.
    pub fn launch(&self, programs: &[Program], lanes: u32) -> Result<Launched<'_>> {
        let start = Instant::now();
        let mut fences = self.fences.borrow_mut();
        *fences += 1;
        let mut queue = self.queue.borrow_mut();
        for program in programs {
            let packet = program.packet(lanes, self.done.address() + 8);
            self.room(&queue, packet.len() as u64 * 4)?;
            queue.push_dwords(&packet);
            queue.kick()?;
        }
        let (low, high) = (self.done.address() & 0xffff_ffff, self.done.address() >> 32);
        let fence = [u32::from(packet::op::FENCE), u32::try_from(low)?, u32::try_from(high)?, *fences];
        self.room(&queue, 16)?;
        queue.push_dwords(&fence);
        queue.kick()?;
        Ok(Launched { uvm: self, fence: *fences, start })
    }
    /// Waits until the ring has room for so many bytes.
    fn room(&self, queue: &Queue, bytes: u64) -> Result<()> {
        let start = Instant::now();
        while queue.wptr() + bytes - queue.written_back() > RING {
            self.check(queue, start)?;
        }
        Ok(())
    }
    fn check(&self, queue: &Queue, start: Instant) -> Result<()> {
        let info = queue.info()?;
        if info.state == uapi::QUEUE_STOPPED {
            let why = self.device.fault()?.map_or(String::new(), |fault| {
                let way = if fault.write == 1 { "write" } else { "read" };
                format!(", a {way} of {:#x} failed", fault.va)
            });
            anyhow::bail!("the queue stopped at {:#x}, cause {}{why}", info.rptr, info.cause);
        }
        ensure!(start.elapsed() < self.patience, "the queue does not get on: {info:?}");
        std::thread::sleep(Duration::from_micros(200));
        Ok(())
    }
}

/// Where the queue's ring is bound: given back after the queue has ended.
struct Ring {
    place: Place,
    device: Device,
    space: Rc<Space>,
}

impl Drop for Ring {
    fn drop(&mut self) {
        if let Err(error) = self.device.unbind(self.place.at, RING + PAGE_SIZE) {
            eprintln!("# ring of shared memory's queue: {error}");
        }
        self.space.give(self.place.at, aperture::ALIGNMENT);
    }
}

fn allocate(device: &Device, space: &Rc<Space>, backing: Backing, bytes: u64) -> Result<Memory> {
    let bytes = bytes.max(1).next_multiple_of(PAGE_SIZE);
    let Place { at, own } = space.take(bytes)?;
    let reservation = match (&own, &space.aperture) {
        (Some(reservation), _) | (None, Aperture::Reserved(reservation)) => reservation,
        (None, Aperture::Whole) => anyhow::bail!("an allocation without addresses"),
    };
    let (device, space) = (device.clone(), Rc::clone(space));
    let read_mostly = Cell::new(false);
    let mut memory = Memory { map: None, bo: None, device, space, at, bytes, read_mostly };
    let Backing::Buffers(domain) = backing else {
        memory.map = Some(reservation.memory(at, bytes)?);
        return Ok(memory);
    };
    let bo = Bo::new(&memory.device, bytes, domain)?;
    memory.map = Some(reservation.buffer(at, &memory.device, &bo)?);
    memory.device.bind(at, &bo, 0, bytes, RW)?;
    memory.bo = Some(bo);
    Ok(memory)
}

/// Programs that were started.
#[must_use = "whether they ended is told by wait"]
pub struct Launched<'a> {
    uvm: &'a Uvm,
    fence: u32,
    start: Instant,
}

impl Launched<'_> {
    /// Waits for their end: the sum of the last program's values. An error where the queue stopped.
    pub fn wait(self) -> Result<u64> {
        let start = Instant::now();
        let done = self.uvm.done.map()?;
        // Later launches' fences are larger.
        while done.load(0) & 0xffff_ffff < u64::from(self.fence) {
            self.uvm.check(&self.uvm.queue.borrow(), start)?;
        }
        self.uvm.busy.set(self.uvm.busy.get() + self.start.elapsed());
        Ok(done.load(8))
    }
}
