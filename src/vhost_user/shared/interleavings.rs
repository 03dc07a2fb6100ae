// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Invalidations under every interleaving that a scheduler finds: without one a stale translation stays in use; once one
//! is acknowledged, and once the device was reset, none is used ever again.
//!
//! The code is the product's: its lock is given a raw mutex that asks the scheduler at each turn, and its clock, which the
//! engines read within a quantum, asks too, so that the driver's stores to page tables land between any two packets. The
//! last test gives an invalidation that is acknowledged before it is made: the scheduler must find the access that this
//! lets through, or the others prove nothing.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test that panics has failed")]
#![allow(unsafe_code, reason = "a raw mutex is promised to exclude")]

use super::SharedGpu;
use crate::bus::{Clock, SystemMemory};
use crate::device::{Config, Gpu, Progress};
use crate::vhost_user::shmem::Mapper;
use crate::vhost_user::window::Identity;
use parking_lot::lock_api::{GuardSend, RawMutex, RawMutexFair};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::atomic::AtomicU64;
use shuttle::{thread, Runner};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use uvm_spec::hub::{mm, MM_HUB};
use uvm_spec::sdma::{self, SDMA0};
use uvm_spec::window::{command, offset, Doorbell};
use uvm_spec::{nbio, packet, pte, Reg};
use vm_memory::{Bytes, GuestAddress, GuestMemoryAtomic, GuestMemoryMmap};

/// A lock whose owner is the scheduler's choice.
struct Scheduled(AtomicBool);

// SAFETY: only who changes the flag from false to true returns from `lock`, and only the owner changes it back.
unsafe impl RawMutex for Scheduled {
    #[allow(clippy::declare_interior_mutable_const, reason = "the trait asks for it")]
    const INIT: Self = Self(AtomicBool::new(false));
    type GuardMarker = GuardSend;
    fn lock(&self) {
        loop {
            thread::yield_now();
            if self.try_lock() {
                return;
            }
        }
    }
    fn try_lock(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}

// SAFETY: `unlock_fair` is `unlock`, which excludes as said above.
unsafe impl RawMutexFair for Scheduled {
    unsafe fn unlock_fair(&self) {
        // SAFETY: the caller owns the lock.
        unsafe { self.unlock() }
        thread::yield_now();
    }
}

/// Time passes with each look, and the scheduler may turn to another thread.
struct Ticks(AtomicU64);

impl Clock for Ticks {
    fn now(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

const PAGE: u64 = 4096;
const RAM: usize = 1 << 20;
const VMID: u32 = 3;
/// System memory: tables of three levels, two of them page tables; the ring; frames of the data.
const ROOT: u64 = 0x1000;
const DIRECTORY: u64 = 0x2000;
const TABLES: [u64; 2] = [0x3000, 0x4000];
const RING: u64 = 0x5000;
const SOURCE: u64 = 0x1_0000;
const OLD: u64 = 0x2_0000;
const NEW: u64 = 0x3_0000;
/// Where a freed page table leads who still reads it.
const TRAP: u64 = 0x4_0000;
/// Pages of a copy: enough for the stream buffers to take part.
const PAGES: u64 = 3;
/// Virtual pages.
const FROM: u64 = 16;
const TO: u64 = 32;
/// Jobs that the doorbells give, each a copy and a fence that counts in the copied page.
const JOBS: u32 = 5;
const JOB_DWORDS: u32 = 11;
/// Where in the first page the fence counts.
const COUNT: u64 = 8;
const SLOT: u32 = 0x20;

/// What the driver changes while the engines work.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    /// The page table entries of the copy's target.
    Entries,
    /// The directory entry above them: to a new page table, after which the old one is free.
    Directory,
}

/// What ends the use of the old translation.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Nothing,
    Acknowledge,
    Reset,
    /// The acknowledge comes while the request is still on its way: what no device may do.
    TooEarly,
}

struct Guest {
    shared: SharedGpu<Scheduled>,
    ram: GuestMemoryMmap,
    memory: SystemMemory,
    /// A processor's lock around the register window, and the sequence number of the last access.
    window: shuttle::sync::Mutex<u8>,
}

impl Guest {
    fn new() -> Self {
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap();
        let memory = GuestMemoryAtomic::new(ram.clone());
        let config = Config { vram_size: 16 << 20, levels: 3, ..Config::default() };
        let gpu = Gpu::new(config, memory.clone(), Box::new(Ticks(AtomicU64::new(0)))).unwrap();
        let identity = Identity { caps: 0, vram_size: 16 << 20, levels: 3, segments: [0; 6] };
        let shared = SharedGpu::new(gpu, identity, memory.clone(), Mapper::idle());
        let guest = Self { shared, ram, memory, window: shuttle::sync::Mutex::new(0) };
        for frame in 0..PAGES {
            guest.fill(SOURCE + frame * PAGE, 0x11);
        }
        guest.store(ROOT, DIRECTORY | pte::VALID | pte::SYSTEM);
        guest.store(DIRECTORY, TABLES[0] | pte::VALID | pte::SYSTEM);
        for (table, target) in [(TABLES[0], OLD), (TABLES[1], NEW)] {
            guest.map(table, 0, RING);
            for n in 0..PAGES {
                guest.map(table, FROM + n, SOURCE + n * PAGE);
                guest.map(table, TO + n, target + n * PAGE);
            }
        }
        for job in 0..=JOBS + 1 {
            let copy = packet::header(packet::op::COPY, packet::sub_op::COPY_LINEAR);
            let target = (TO * PAGE) as u32;
            let dwords = [
                [copy, (PAGES * PAGE) as u32 - 1, 0, (FROM * PAGE) as u32, 0, target, 0].as_slice(),
                &[u32::from(packet::op::FENCE), target + COUNT as u32, 0, job],
            ]
            .concat();
            for (i, dword) in (0u64..).zip(dwords) {
                guest.ram.write_obj(dword, GuestAddress(RING + u64::from(job * JOB_DWORDS) * 4 + 4 * i)).unwrap();
            }
        }
        guest.bring_up();
        guest
    }
    /// What a driver does with a device that it found.
    fn bring_up(&self) {
        self.shared.start();
        self.shared.machine.lock().queues = 1;
        let (hub, engine) = (|reg: &Reg, n| MM_HUB.index(reg, n), |reg: &Reg, n| SDMA0.index(reg, n));
        const RLC0: u32 = 2;
        for (index, value) in [
            (hub(&mm::VM_CONTEXT_PAGE_TABLE_BASE_ADDR, 2 * VMID), ROOT as u32 | 3),
            (hub(&mm::VM_CONTEXT_PAGE_TABLE_END_ADDR, 2 * VMID), 0xffff),
            (hub(&mm::VM_CONTEXT_CNTL, VMID), 1 | 2 << 1),
            (nbio::NBIO.index(&nbio::RCC_DOORBELL_APER_EN, 0), 1),
            (nbio::NBIO.index(&nbio::BIF_SDMA_DOORBELL_RANGE, 0), (2 * SLOT) << 2 | 2 << 16),
            (engine(&sdma::DOORBELL_OFFSET, RLC0), (2 * SLOT) << 2),
            (engine(&sdma::DOORBELL, RLC0), 1 << 28),
            (engine(&sdma::F32_CNTL, 0), 0),
            (engine(&sdma::RB_CNTL, RLC0), 1 | 10 << 1 | VMID << 24),
        ] {
            self.write(index, value);
        }
    }
    fn store(&self, at: u64, entry: u64) {
        self.ram.write_obj(entry, GuestAddress(at)).unwrap();
    }
    fn map(&self, table: u64, page: u64, frame: u64) {
        self.store(table + 8 * page, frame | pte::VALID | pte::SYSTEM | pte::READABLE | pte::WRITEABLE);
    }
    fn fill(&self, frame: u64, byte: u8) {
        self.ram.write_slice(&[byte; PAGE as usize], GuestAddress(frame)).unwrap();
    }
    fn is_filled(&self, frame: u64, byte: u8) -> bool {
        let mut data = [0; PAGE as usize];
        self.ram.read_slice(&mut data, GuestAddress(frame)).unwrap();
        data == [byte; PAGE as usize]
    }
    /// What the last fence left in the pages at `frames`.
    fn count(&self, frames: u64) -> u32 {
        self.ram.read_obj(GuestAddress(frames + COUNT)).unwrap()
    }
    fn write(&self, index: u32, value: u32) {
        let mut seq = self.window.lock().unwrap();
        *seq = seq.wrapping_add(1);
        self.shared.set_config(offset::DATA, &value.to_le_bytes());
        self.shared.set_config(offset::CMD, &command(*seq, true, index).to_le_bytes());
    }
    fn read(&self, index: u32) -> u32 {
        let mut seq = self.window.lock().unwrap();
        *seq = seq.wrapping_add(1);
        self.shared.set_config(offset::CMD, &command(*seq, false, index).to_le_bytes());
        let block = self.shared.config();
        u32::from_le_bytes(block[offset::DATA..][..4].try_into().unwrap())
    }
    /// Rings for jobs 0 to `last`.
    fn ring(&self, last: u32) {
        let value = u64::from((last + 1) * JOB_DWORDS * 4);
        self.shared.ring(&[Doorbell { slot: SLOT, value }]);
    }
    fn settle(&self) {
        while self.shared.turn() != Progress::Idle {}
    }
    fn request(&self) {
        for half in 0..2 {
            self.write(MM_HUB.index(&mm::VM_INVALIDATE_ENG_ADDR_RANGE, 2 * 5 + half), u32::MAX);
        }
        self.write(MM_HUB.index(&mm::VM_INVALIDATE_ENG_REQ, 5), 1 << VMID | 0x1f << 18);
    }
    fn invalidate(&self) {
        self.request();
        while self.read(MM_HUB.index(&mm::VM_INVALIDATE_ENG_ACK, 5)) & 1 << VMID == 0 {
            thread::yield_now();
        }
    }
    /// The driver's part: the change, its end, and the use of the freed memory for something else. Returns whether the
    /// engines went on with the old translation meanwhile.
    fn change(self: &Arc<Self>, change: Change, end: End) -> bool {
        thread::yield_now();
        let before = self.count(OLD);
        match change {
            Change::Entries => (0..PAGES).for_each(|n| self.map(TABLES[0], TO + n, NEW + n * PAGE)),
            Change::Directory => self.store(DIRECTORY, TABLES[1] | pte::VALID | pte::SYSTEM),
        }
        match end {
            End::Nothing => thread::yield_now(),
            End::Acknowledge => self.invalidate(),
            End::TooEarly => {
                let this = Arc::clone(self);
                thread::spawn(move || this.request());
            }
            End::Reset => {
                self.shared.queue_stopped(0);
                let _ = self.shared.config();
                self.bring_up();
            }
        }
        let after = self.count(OLD);
        if end != End::Nothing {
            (0..PAGES).for_each(|n| self.fill(OLD + n * PAGE, 0x5e));
            self.fill(TRAP, 0x5e);
            if change == Change::Directory {
                (0..512).for_each(|page| self.map(TABLES[0], page, TRAP));
            }
        }
        after > before
    }
}

/// One run: an engine, a driver, a processor that rings doorbells and one that reads registers. Whether a stale
/// translation was used.
fn scenario(change: Change, end: End) -> bool {
    let guest = Arc::new(Guest::new());
    guest.ring(0);
    guest.settle();
    assert_eq!(guest.count(OLD), 0, "the first job is done");
    assert_eq!((guest.count(OLD + PAGE), guest.count(NEW)), (0x1111_1111, 0));
    let over = Arc::new(AtomicBool::new(false));
    let engine = {
        let (guest, over) = (Arc::clone(&guest), Arc::clone(&over));
        thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                guest.shared.turn();
                thread::yield_now();
            }
        })
    };
    let bells = {
        let guest = Arc::clone(&guest);
        thread::spawn(move || (1..=JOBS).for_each(|job| guest.ring(job)))
    };
    let reader = {
        let guest = Arc::clone(&guest);
        thread::spawn(move || {
            for _ in 0..2 {
                guest.read(SDMA0.index(&sdma::RB_RPTR, 2));
            }
        })
    };
    let driver = {
        let guest = Arc::clone(&guest);
        thread::spawn(move || guest.change(change, end))
    };
    let stale = driver.join().unwrap();
    bells.join().unwrap();
    reader.join().unwrap();
    guest.ring(JOBS + 1);
    over.store(true, Ordering::SeqCst);
    engine.join().unwrap();
    guest.settle();
    if end == End::Nothing {
        assert_eq!(guest.count(OLD), JOBS + 1, "nobody invalidated: the old translation stays in use");
        assert!(guest.is_filled(NEW, 0) && guest.is_filled(NEW + PAGE, 0), "and the new one is unknown");
        return true;
    }
    let untouched = (0..PAGES).all(|n| guest.is_filled(OLD + n * PAGE, 0x5e)) && guest.is_filled(TRAP, 0x5e);
    assert!(untouched, "the freed memory was written");
    assert_eq!(guest.count(NEW), JOBS + 1);
    stale
}

/// The front end replaces the memory map while the engine works, and uses the old memory for something else: after an
/// answer, or without one.
fn remap(answered: bool) {
    let guest = Arc::new(Guest::new());
    let engine = {
        let guest = Arc::clone(&guest);
        // Who rings gives the engines their first quantum.
        thread::spawn(move || guest.ring(JOBS))
    };
    thread::yield_now();
    let new = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap();
    let mut all = vec![0; RAM];
    guest.ram.read_slice(&mut all, GuestAddress(0)).unwrap();
    new.write_slice(&all, GuestAddress(0)).unwrap();
    guest.memory.lock().unwrap().replace(new.clone());
    if answered {
        guest.shared.memory_changed();
    }
    (0..PAGES).for_each(|n| guest.fill(OLD + n * PAGE, 0x5e));
    engine.join().unwrap();
    guest.ring(JOBS + 1);
    guest.settle();
    assert!(
        (0..PAGES).all(|n| guest.is_filled(OLD + n * PAGE, 0x5e)),
        "memory was written that is no more the guest's"
    );
    assert_eq!(new.read_obj::<u32>(GuestAddress(OLD + COUNT)).unwrap(), JOBS + 1);
}

/// Runs the scenario in many interleavings; returns in how many a stale translation was used.
fn explore(scheduler: impl Scheduler + 'static, change: Change, end: End) -> usize {
    let stale = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&stale);
    runner(scheduler).run(move || {
        seen.fetch_add(usize::from(scenario(change, end)), Ordering::SeqCst);
    });
    stale.load(Ordering::SeqCst)
}

fn runner<S: Scheduler + 'static>(scheduler: S) -> Runner<S> {
    let mut config = shuttle::Config::new();
    // An engine's step has page-sized buffers on its stack.
    config.stack_size = 1 << 20;
    config.failure_persistence = shuttle::FailurePersistence::None;
    Runner::new(scheduler, config)
}

const RUNS: usize = 200;

/// Both kinds of schedule: any at all, and the few switches that most errors need.
fn explore_all(change: Change, end: End) -> usize {
    explore(RandomScheduler::new(RUNS), change, end) + explore(PctScheduler::new(3, RUNS), change, end)
}

#[test]
fn without_an_invalidation_a_stale_entry_keeps_translating() {
    for change in [Change::Entries, Change::Directory] {
        explore_all(change, End::Nothing);
    }
}

#[test]
fn after_the_acknowledge_no_stale_entry_translates() {
    for change in [Change::Entries, Change::Directory] {
        let stale = explore_all(change, End::Acknowledge);
        assert!(stale > 0, "no run used the old translation before the acknowledge");
    }
}

#[test]
fn after_a_reset_no_stale_entry_translates() {
    for change in [Change::Entries, Change::Directory] {
        explore_all(change, End::Reset);
    }
}

#[test]
fn a_memory_map_that_was_answered_for_is_left_alone() {
    runner(RandomScheduler::new(RUNS)).run(|| remap(true));
    runner(PctScheduler::new(3, RUNS)).run(|| remap(true));
}

/// That `run` fails with a message that says `what`.
fn assert_found_out(what: &str, run: impl FnOnce() + std::panic::UnwindSafe) {
    let why = std::panic::catch_unwind(run).expect_err("no interleaving shows the error");
    let text = why.downcast_ref::<String>().cloned().or_else(|| why.downcast_ref::<&str>().map(|s| (*s).to_owned()));
    assert!(text.is_some_and(|text| text.contains(what)));
}

#[test]
fn a_memory_map_that_is_answered_for_too_early_is_found_out() {
    assert_found_out("no more the guest's", || {
        runner(RandomScheduler::new(20 * RUNS)).run(|| remap(false));
    });
}

#[test]
fn an_acknowledge_that_comes_too_early_is_found_out() {
    for change in [Change::Entries, Change::Directory] {
        assert_found_out("the freed memory was written", move || {
            explore(RandomScheduler::new(20 * RUNS), change, End::TooEarly);
        });
    }
}
