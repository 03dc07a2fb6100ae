// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Lanes that wait for their pages.

use crate::common::access::{ACCESS, ITEMS, LANES};
use crate::common::{packets as p, spaces::*, *};
use crate::*;

#[test]
fn a_lane_that_waits_for_its_page_does_not_stop_the_others() {
    let mut memory = flat(13);
    // Every other page of A is missing; 12 lanes, each item on a page of its own.
    let mut rig = rig(ON | RETRY, &memory, |page| page >= 16 || page % 2 == 1);
    rig.cam_on();
    let program = page_a_lane(12, 0x0f);
    rig.access(0, &[program.packet(12), p::fence(FENCE, 1)].concat());
    rig.settle();
    let told = faults(&rig.take_vectors());
    let pages: Vec<u64> = told.iter().map(|f| f.page - BASE / 4096).collect();
    assert_eq!(pages, [0, 2, 4, 6, 8, 10]);
    assert!(told.iter().all(|f| f.retry && f.write && f.vmid == VMID && f.pasid == 1004));
    // Six are done, six wait; the queue says so.
    assert_eq!(rig.read(ACCESS + ITEMS), 6);
    assert_eq!(rig.read(ACCESS + LANES), 6 | 6 << 16);
    assert_eq!(rig.read(ACCESS + 0x91) >> 8 & 1, 1);
    memory.run(&program);
    for page in [1, 3, 5, 7, 9, 11] {
        let at = (page * 4096) as usize;
        same("a page that is there", &held(&rig)[at..at + 4], &memory.bytes[at..at + 4]);
    }
    assert_ne!(held(&rig)[..4], memory.bytes[..4]);
    // They come one by one: only the lane that is answered goes on.
    for (n, fault) in (1u32..).zip(&told) {
        rig.set_pte(VMID, fault.page, entry(fault.page - BASE / 4096));
        rig.answer(fault.cam);
        rig.settle();
        let done = if n == 6 { 0 } else { 6 + n };
        assert_eq!(rig.read(ACCESS + ITEMS), done);
    }
    assert!(rig.access_drained(0));
    memory.put(FENCE, 4, 1);
    same("data", &held(&rig), &memory.bytes);
}

#[test]
fn more_lanes_than_cam_entries_are_told_as_there_is_room() {
    let mut memory = flat(14);
    let mut rig = rig(ON | RETRY, &memory, |page| page >= 48);
    rig.cam_on();
    // 16 entries; pages 0 to 47 are missing, and 48 lanes wait.
    let program = page_a_lane(48, 0x0f);
    rig.access(0, &program.packet(48));
    rig.settle();
    assert_eq!(rig.read(ACCESS + LANES), 48 | 48 << 16);
    let (mut told, mut rounds) = (0, 0);
    loop {
        let batch = faults(&rig.take_vectors());
        rig.settle();
        if batch.is_empty() && rig.access_drained(0) {
            break;
        }
        rounds += 1;
        assert!(batch.len() <= 16 && rounds < 100);
        told += batch.len();
        for fault in batch {
            rig.set_pte(VMID, fault.page, entry(fault.page - BASE / 4096));
            rig.answer(fault.cam);
        }
        rig.settle();
    }
    assert_eq!(told, 48, "each page is told once");
    memory.run(&program);
    same("data", &held(&rig), &memory.bytes);
}

#[test]
fn with_the_upper_size_field_256_lanes_are_told_at_once() {
    let mut rig = rig(ON | RETRY, &flat(16), |_| false);
    rig.cam_on();
    // 10 and 32 * 8 entries.
    rig.write(reg::IH + 0xe9, 1 << 16 | 8 << 24 | 10);
    // A page a lane, and none of the sum.
    let mut program = page_a_lane(256, 0x0f);
    if let Program::Nest { sum, .. } = &mut program {
        *sum = 0;
    }
    rig.access(0, &program.packet(256));
    rig.settle();
    assert_eq!(rig.read(ACCESS + LANES), 256 | 256 << 16);
    let batch = faults(&rig.take_vectors());
    let told: Vec<(u64, u32)> = batch.iter().map(|fault| (fault.page - BASE / 4096, fault.cam)).collect();
    assert_eq!(told, (0..256).map(|n| (n, n as u32)).collect::<Vec<_>>());
    let frame = |fault: &FaultVector| 12 * MIB + (fault.page - BASE / 4096) * 4096;
    for fault in &batch {
        rig.poke_vram(frame(fault), &fault.cam.to_le_bytes());
        rig.set_pte(VMID, fault.page, frame(fault) | bit::VRAM);
        rig.answer(fault.cam);
    }
    rig.settle();
    assert!(rig.access_drained(0));
    for fault in &batch {
        assert_eq!(rig.peek_vram(frame(fault), 4), (fault.cam + 1).to_le_bytes());
    }
}

#[test]
fn without_the_cam_each_lane_tries_again_by_itself() {
    let mut memory = flat(15);
    let mut rig = rig(ON | RETRY, &memory, |page| page >= 4);
    let program = page_a_lane(8, 0x0f);
    rig.access(0, &program.packet(8));
    rig.settle();
    assert_eq!(faults(&rig.take_vectors()).len(), 4);
    for page in 0..4 {
        rig.set_pte(VMID, BASE / 4096 + page, entry(page));
    }
    rig.run_to_idle();
    memory.run(&program);
    same("data", &held(&rig), &memory.bytes);
}

#[test]
fn a_queue_that_is_switched_off_reaches_no_memory_any_more() {
    let memory = flat(17);
    let mut rig = rig(ON | RETRY, &memory, |page| page >= 16);
    rig.cam_on();
    rig.access(0, &page_a_lane(16, 0x0f).packet(16));
    rig.settle();
    let told = faults(&rig.take_vectors());
    rig.gpu.mmio_write(ACCESS + 0x80, 0);
    assert_eq!(rig.read(ACCESS + LANES), 0);
    for fault in told {
        rig.set_pte(VMID, fault.page, entry(fault.page - BASE / 4096));
        rig.answer(fault.cam);
    }
    rig.invalidate(3, 1 << VMID);
    rig.run_to_idle();
    same("data", &held(&rig), &memory.bytes);
    assert_eq!(rig.read(ACCESS + 0x91) & 4, 4, "idle");
}
