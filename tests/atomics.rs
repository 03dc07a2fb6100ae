// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Atomics: which entries allow them, how a refused one is told, and what a CPU beside them loses.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::access::{Operand, Program};
use common::{packets as p, spaces::*, *};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileMemory};

const VMID: u64 = 5;
/// A page of its space, and where it lies in system memory and in VRAM.
const PAGE: u64 = 100;
const VA: u64 = PAGE << 12;
const BUS: u64 = MIB + 0x4_0000;
const FRAME: u64 = 9 * MIB;
/// As the guide says.
const ATOMIC_DISABLE: u64 = 1 << 52;
const ADD: u32 = 0xf;

/// A queue in an address space that waits for its pages; [`PAGE`] has the entry `entry`.
fn rig(entry: u64) -> Rig {
    let mut rig = Rig::new();
    rig.write(reg::CONTEXTS_DISABLE, 0);
    rig.space(VMID, ON | RETRY);
    rig.set_pte(VMID, PAGE, entry);
    rig.queue(0, 2, VMID);
    rig.cam_on();
    rig
}
/// The 64-bit ADD of `value` at `va`.
fn add(va: u64, value: u64) -> Vec<u32> {
    p::atomic(ADD | 1 << 5, va, value, 0)
}

#[test]
fn an_entry_that_disables_atomics_takes_reads_and_writes_and_tells_of_the_atomic() {
    for (place, entry) in [(false, FRAME | bit::VRAM), (true, BUS | bit::RAM)] {
        let mut rig = rig(entry | ATOMIC_DISABLE);
        let held = |rig: &Rig| if place { rig.peek(BUS, 16) } else { rig.peek_vram(FRAME, 16) };
        // The write and the read are cached, the atomic has to see past the cache.
        let packets = [p::write(VA, &[7, 0]), p::copy(VA + 8, VA, 8), add(VA, 5), p::fence(VA + 8, 9)].concat();
        rig.enqueue(0, 2, VMID, &packets);
        rig.settle();
        assert_eq!(held(&rig), [7, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
        let told = faults(&rig.take_vectors());
        assert_eq!(told.len(), 1);
        assert!(told[0].atomic && told[0].write && told[0].retry);
        assert_eq!((told[0].vmid, told[0].page), (VMID, PAGE));
        // An answer without a better entry: it is told again.
        rig.answer(told[0].cam);
        rig.settle();
        let again = faults(&rig.take_vectors());
        assert_eq!((again.len(), again[0].atomic), (1, true));
        rig.set_pte(VMID, PAGE, entry);
        rig.invalidate(3, 1 << VMID);
        rig.answer(again[0].cam);
        rig.settle();
        assert!(rig.drained(0, 2));
        assert_eq!(held(&rig)[..12], [12, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0]);
    }
}

#[test]
fn a_refused_atomic_that_does_not_wait_stands_in_the_status() {
    for (entry, want) in [(BUS | bit::RAM | ATOMIC_DISABLE, 4 << 4), (0, 5 << 4)] {
        let mut rig = rig(entry);
        rig.space(VMID, ON);
        rig.set_pte(VMID, PAGE, entry);
        rig.enqueue(0, 2, VMID, &add(VA, 5));
        rig.settle();
        let status = rig.read(reg::FAULT_STATUS);
        // PERMISSION_FAULTS, RW, ATOMIC, VMID.
        assert_eq!(status & (0xff << 4 & 0xf0 | 3 << 18 | 15 << 20), want | 3 << 18 | (VMID as u32) << 20);
        let told = faults(&rig.take_vectors());
        assert!(told.len() == 1 && told[0].atomic && told[0].write && !told[0].retry);
    }
}

#[test]
fn lanes_that_read_modify_and_write_are_told_as_atomics_and_others_not() {
    let mut rig = rig(BUS | bit::RAM | ATOMIC_DISABLE);
    rig.access_queue(0, VMID);
    let sums = |update: u32| Program::Nest {
        element: 3,
        func: 9,
        update,
        reduce: false,
        trips: [4, 1, 1],
        imm: 3,
        sum: 0,
        a: Operand::default(),
        b: Operand::default(),
        d: Operand::linear(VA),
    };
    rig.access(0, &sums(1).packet(4));
    rig.settle();
    assert!(rig.access_drained(0) && rig.take_vectors().is_empty(), "stores go on");
    rig.access(0, &sums(ADD).packet(4));
    rig.settle();
    let told = faults(&rig.take_vectors());
    assert!(told.len() == 1 && told[0].atomic, "{told:?}");
    rig.set_pte(VMID, PAGE, BUS | bit::RAM);
    rig.invalidate(3, 1 << VMID);
    rig.answer(told[0].cam);
    rig.settle();
    assert!(rig.access_drained(0));
    for n in 0..4 {
        assert_eq!(rig.peek(BUS + 8 * n, 1), [6]);
    }
}

/// A CPU increments a counter for as long as the device does; how many increments are missing in the end.
fn missing(rig: &mut Rig, counter: &AtomicU64, rounds: u32) -> u64 {
    let stop = AtomicBool::new(false);
    let before = counter.load(Ordering::SeqCst);
    let (cpu, device) = std::thread::scope(|scope| {
        let cpu = scope.spawn(|| {
            let mut made = 0u64;
            while !stop.load(Ordering::Relaxed) {
                counter.fetch_add(1, Ordering::SeqCst);
                made += 1;
            }
            made
        });
        let packets: Vec<u32> = (0..64).flat_map(|_| add(VA, 1)).collect();
        for _ in 0..rounds {
            rig.enqueue(0, 2, VMID, &packets);
            rig.settle();
        }
        stop.store(true, Ordering::Relaxed);
        (cpu.join().unwrap(), 64 * u64::from(rounds))
    });
    before + cpu + device - counter.load(Ordering::SeqCst)
}

#[test]
fn beside_a_cpu_atomics_on_system_memory_lose_and_those_on_vram_do_not() {
    let mut rig = rig(BUS | bit::RAM);
    let ram = rig.ram.map();
    let slice = ram.get_slice(GuestAddress(BUS), 8).unwrap();
    let counter = slice.get_atomic_ref::<AtomicU64>(0).unwrap();
    ram.write_obj(0u64, GuestAddress(BUS)).unwrap();
    let start = Instant::now();
    // They have to run at the same time for that, which is up to the machine.
    while missing(&mut rig, counter, 50) == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "a CPU never lost an increment to the device");
    }
    rig.set_pte(VMID, PAGE, FRAME | bit::VRAM);
    rig.invalidate(3, 1 << VMID);
    let file = rig.gpu.vram().file().unwrap().try_clone().unwrap();
    let bar = GuestMemoryMmap::<()>::from_ranges_with_files([(
        GuestAddress(0),
        VRAM as usize,
        Some(FileOffset::new(file, 0)),
    )])
    .unwrap();
    let slice = bar.get_slice(GuestAddress(FRAME), 8).unwrap();
    let counter = slice.get_atomic_ref::<AtomicU64>(0).unwrap();
    assert_eq!(missing(&mut rig, counter, 500), 0);
}
