// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Access counters: what is counted, when it is told, and what clears it.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::access::{Operand, Program};
use common::{packets as p, spaces::*, *};

const VMID: u64 = 6;
/// First page of the data: a whole granule of 64 KiB each, system memory and VRAM in turn.
const FIRST: u64 = 64;
const GRANULE: u64 = 16;
const C: u32 = 0x1e100;
const ACCESS_CLIENT: u32 = 4;

fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.space(VMID, ON);
    for n in 0..4 * GRANULE {
        let at = match n / GRANULE % 2 {
            0 => ((1 << 32) + 0x8_0000 + n * 4096) | bit::RAM,
            _ => (8 * MIB + n * 4096) | bit::VRAM,
        };
        rig.set_pte(VMID, FIRST + n, at);
    }
    rig.access_queue(0, VMID);
    rig
}
/// Reads `count` dwords from page `page` on, `stride` apart.
fn read(rig: &mut Rig, page: u64, count: u32, stride: i32) {
    let a = Operand::affine((FIRST + page) << 12, 0, [stride, 0, 0]);
    let (b, d) = (Operand::default(), Operand::default());
    let trips = [count, 1, 1];
    let program = Program::Nest { element: 2, func: 0, update: 0, reduce: false, trips, imm: 0, sum: 0, a, b, d };
    rig.access(0, &program.packet(8));
    rig.run_to_idle();
    assert!(rig.access_drained(0));
}
fn on(rig: &mut Rig, granularity: u32, threshold: u32, clients: u32) {
    rig.write(C + 1, threshold);
    rig.write(C, 1 | granularity << 4 | clients << 8);
}
fn count(rig: &mut Rig, vmid: u64, page: u64) -> u32 {
    rig.write(C + 3, (FIRST + page) as u32);
    rig.write(C + 4, 0);
    rig.write(C + 5, vmid as u32);
    rig.read(C + 6)
}
/// The counters' vectors: VMID, PASID, first page, accesses, log2 of the granule.
fn told(rig: &mut Rig) -> Vec<(u32, u32, u64, u32, u32)> {
    let vectors = rig.take_vectors().into_iter().filter(|v| v[0] & 0xffff == 0x1d);
    let page = |v: &[u32; 8]| u64::from(v[4]) | u64::from(v[5] & 15) << 32;
    vectors.map(|v| (v[0] >> 24 & 15, v[3] & 0xffff, page(&v), v[6], v[7])).collect()
}

#[test]
fn system_pages_are_counted_and_vram_is_not() {
    let mut rig = rig();
    on(&mut rig, 0, 1000, ACCESS_CLIENT);
    read(&mut rig, 0, 100, 1);
    read(&mut rig, GRANULE, 50, 1);
    read(&mut rig, 2 * GRANULE + 3, 7, 1024);
    // Each access is one; the queue's own, of its ring, are none.
    assert_eq!([0, GRANULE, 2 * GRANULE, 3 * GRANULE].map(|page| count(&mut rig, VMID, page)), [100, 0, 7, 0]);
    assert_eq!(count(&mut rig, 5, 0), 0, "another process has done nothing");
    assert_eq!(rig.read(C + 7), 2);
    assert!(told(&mut rig).is_empty());
}

#[test]
fn the_access_that_reaches_the_threshold_is_told_once_until_it_is_cleared() {
    let mut rig = rig();
    on(&mut rig, 0, 10, ACCESS_CLIENT);
    read(&mut rig, 2, 9, 1);
    assert!(told(&mut rig).is_empty());
    read(&mut rig, 2, 30, 1);
    assert_eq!(told(&mut rig), [(VMID as u32, 1006, FIRST, 10, 16)]);
    read(&mut rig, 2, 100, 1);
    assert!(told(&mut rig).is_empty());
    assert_eq!((count(&mut rig, VMID, 5), rig.read(C + 8)), (139, 1));
    // Cleared alone; the next lap counts from zero.
    read(&mut rig, 2 * GRANULE, 5, 1);
    assert_eq!(count(&mut rig, VMID, 7), 139);
    rig.write(C + 2, 0);
    assert_eq!((count(&mut rig, VMID, 7), count(&mut rig, VMID, 2 * GRANULE)), (0, 5));
    read(&mut rig, 0, 10, 1);
    assert_eq!(told(&mut rig).len(), 1);
    rig.write(C + 2, 1);
    assert_eq!((rig.read(C + 7), rig.read(C + 8)), (0, 2));
}

#[test]
fn a_granule_is_as_large_as_the_driver_says() {
    for (granularity, log2) in [(0, 16), (1, 17), (5, 21), (7, 21)] {
        let mut rig = rig();
        on(&mut rig, granularity, 3, ACCESS_CLIENT);
        // A read in each of the two system granules of 64 KiB, twice.
        for page in [0, 2 * GRANULE, 0, 2 * GRANULE] {
            read(&mut rig, page, 1, 1);
        }
        let one = log2 > 17;
        assert_eq!(rig.read(C + 7), if one { 1 } else { 2 }, "2^{log2}");
        let page = FIRST >> (log2 - 12) << (log2 - 12);
        let want = if one { vec![(VMID as u32, 1006, page, 3, log2)] } else { vec![] };
        assert_eq!(told(&mut rig), want);
    }
}

#[test]
fn only_the_chosen_clients_are_counted() {
    let mut rig = rig();
    on(&mut rig, 0, 1000, 1);
    read(&mut rig, 0, 10, 1);
    assert_eq!(count(&mut rig, VMID, 0), 0);
    // SDMA0 copies from a system page to VRAM: one access a piece.
    rig.queue(0, 2, VMID);
    rig.enqueue(0, 2, VMID, &p::copy((FIRST + GRANULE) << 12, FIRST << 12, 4096));
    rig.run_to_idle();
    assert!(count(&mut rig, VMID, 0) >= 1);
    // A write of the control forgets, and off nothing is counted.
    rig.write(C, ACCESS_CLIENT << 8);
    assert_eq!(rig.read(C + 7), 0);
    read(&mut rig, 0, 10, 1);
    assert_eq!(rig.read(C + 7), 0);
}

#[test]
fn granules_beyond_the_last_counter_are_missed_and_said_to_be() {
    let mut rig = rig();
    // A space of 32 MiB has 512 granules: sixteen spaces would fill the table, so many VMIDs share one table here.
    on(&mut rig, 0, 1, ACCESS_CLIENT);
    let system = (1 << 32) + 0x8_0000;
    for vmid in 1..15 {
        rig.space(vmid, ON);
        for page in (16..8192 - 8).step_by(16) {
            rig.set_pte(vmid, page, system | bit::RAM);
        }
        rig.invalidate(0, 1 << vmid);
        rig.access_queue(0, vmid);
        let a = Operand::affine(16 << 12, 0, [16 * 1024, 0, 0]);
        let (b, d) = (Operand::default(), Operand::default());
        let trips = [510, 1, 1];
        let program = Program::Nest { element: 2, func: 0, update: 0, reduce: false, trips, imm: 0, sum: 0, a, b, d };
        rig.access(0, &program.packet(64));
        rig.run_to_idle();
        assert!(rig.access_drained(0));
    }
    assert_eq!(rig.read(C + 7), 4096);
    assert_eq!(rig.read(C + 9), 14 * 510 - 4096);
    assert_eq!(rig.read(C + 8), 4096);
    // Room again after a clear; a reset forgets all.
    rig.write(C + 2, 1);
    read_one(&mut rig, 14);
    assert_eq!(rig.read(C + 7), 1);
    rig.gpu.reset();
    assert_eq!([rig.read(C), rig.read(C + 7), rig.read(C + 8), rig.read(C + 9)], [0x400, 0, 0, 0]);
}

fn read_one(rig: &mut Rig, vmid: u64) {
    rig.access_queue(0, vmid);
    let (a, b, d) = (Operand::linear(16 << 12), Operand::default(), Operand::default());
    let trips = [1, 1, 1];
    let program = Program::Nest { element: 2, func: 0, update: 0, reduce: false, trips, imm: 0, sum: 0, a, b, d };
    rig.access(0, &program.packet(1));
    rig.run_to_idle();
}
