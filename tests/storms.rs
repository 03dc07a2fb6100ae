// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Faults that nobody resolves: the device does not spin, queues do not grow, and nothing is forgotten. Work is counted in
//! turns of the engine and in faults, not in time.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::spaces::{faults, FREE, ON, RETRY};
use common::{bit, packets as p, reg, Rig, FB, IH_BASE, IH_ON, MIB};
use std::time::Duration;
use vhost_device_uvm::Progress;

const QUEUES: [(usize, u32, u64); 4] = [(0, 2, 3), (0, 3, 4), (1, 2, 5), (1, 3, 6)];

fn ram(n: u64) -> u64 {
    (1 << 32) + 64 * 4096 + n * 4096
}

/// Four queues, each with a fence to a page of its own that is not there.
fn four_waiting_queues(cam: Option<u32>) -> Rig {
    let mut rig = Rig::new();
    if let Some(size) = cam {
        rig.cam_on();
        rig.write(reg::IH + 0xe9, 1 << 16 | size);
    }
    for (e, ring, vmid) in QUEUES {
        rig.space(vmid, ON | RETRY);
        rig.queue(e, ring, vmid);
        rig.enqueue(e, ring, vmid, &p::fence(FREE << 12, vmid as u32));
    }
    rig
}

/// Gives the device `turns` turns without winding the clock; how many of them found something to do, and the last answer.
fn turns(rig: &mut Rig, turns: usize) -> (usize, Progress) {
    let mut busy = 0;
    for _ in 0..turns {
        match rig.gpu.run() {
            Progress::More => busy += 1,
            other => return (busy, other),
        }
    }
    panic!("busy for {turns} turns");
}

/// The pages are mapped, and everybody who was told is answered: all fences must be there in the end.
fn resolve(rig: &mut Rig) {
    for (_, _, vmid) in QUEUES {
        rig.set_pte(vmid, FREE, ram(vmid) | bit::RAM);
    }
    for _ in 0..8 {
        rig.run_to_idle();
        for fault in faults(&rig.take_vectors()) {
            rig.answer(fault.cam);
        }
    }
    for (e, ring, vmid) in QUEUES {
        assert!(rig.drained(e, ring), "SDMA{e} ring {ring}");
        assert_eq!(rig.peek32(ram(vmid)), vmid as u32);
    }
}

#[test]
fn without_the_cam_each_ring_faults_once_in_100_microseconds() {
    let mut rig = four_waiting_queues(None);
    turns(&mut rig, 8);
    rig.take_vectors();
    let before = rig.gpu.counters();
    // A driver that reads and does nothing else: moving the read pointer must not hasten the next fault.
    for _ in 0..1000 {
        rig.clock.advance(10_000);
        let (busy, then) = turns(&mut rig, 8);
        assert!(busy <= 1, "{busy} quanta for four faults");
        let Progress::Waiting(time) = then else { panic!("{then:?}") };
        assert!(time <= Duration::from_micros(100) && time > Duration::from_micros(99), "{time:?}");
        assert_eq!(faults(&rig.take_vectors()).len(), 4);
        assert!(matches!(turns(&mut rig, 8), (0, Progress::Waiting(_))), "woken by the read pointer");
    }
    let after = rig.gpu.counters();
    assert_eq!((after.faults - before.faults, after.interrupts - before.interrupts), (4000, 4000));
    resolve(&mut rig);
}

#[test]
fn without_the_cam_a_full_ring_costs_no_more_and_loses_nothing() {
    let mut rig = four_waiting_queues(None);
    // Eight vectors, and no overflow.
    rig.write(reg::IH_CNTL, 0);
    rig.write(reg::IH_CNTL, (IH_ON & !(31 << 1) & !(1 << 16)) | 6 << 1);
    for _ in 0..100 {
        let (busy, then) = turns(&mut rig, 8);
        assert!(busy <= 1 && matches!(then, Progress::Waiting(_)));
        rig.clock.advance(10_000);
    }
    let counters = rig.gpu.counters();
    assert_eq!((counters.interrupts, counters.dropped), (7, 393));
    rig.write(reg::IH_RPTR, 7 * 32);
    resolve(&mut rig);
}

#[test]
fn with_the_cam_a_driver_that_never_answers_is_told_once_and_costs_nothing() {
    let mut rig = four_waiting_queues(Some(16));
    let (busy, then) = turns(&mut rig, 8);
    assert!(busy <= 1 && then == Progress::Idle);
    let before = rig.gpu.counters();
    for _ in 0..1000 {
        rig.clock.advance(1_000_000);
        assert_eq!(rig.gpu.run(), Progress::Idle);
        rig.read(reg::IH_WPTR);
    }
    let after = rig.gpu.counters();
    assert_eq!((before.faults, before.interrupts), (4, 4));
    assert_eq!((after.faults, after.interrupts), (4, 4));
    resolve(&mut rig);
}

#[test]
fn with_a_full_cam_the_rest_waits_for_an_answer() {
    let mut rig = four_waiting_queues(Some(2));
    assert_eq!(turns(&mut rig, 8).1, Progress::Idle);
    let told = faults(&rig.take_vectors());
    assert_eq!(told.len(), 2);
    // The read pointer moved: the two others look again, find no room, and wait.
    assert_eq!(turns(&mut rig, 8).1, Progress::Idle);
    assert_eq!(rig.gpu.counters().faults, 6);
    for _ in 0..100 {
        rig.clock.advance(1_000_000);
        assert_eq!(rig.gpu.run(), Progress::Idle);
    }
    assert_eq!(rig.gpu.counters().faults, 6);
    for fault in told {
        rig.answer(fault.cam);
    }
    resolve(&mut rig);
}

/// Each way in which a vector finds no place, and what the driver does to make one.
#[test]
fn a_fault_that_found_no_place_in_ring_1_is_told_when_there_is_one() {
    const CNTL: u32 = reg::IH + 0x88;
    const RING1_ON: u32 = 1 | 6 << 1 | 1 << 17 | 2 << 28;
    let full = |rig: &mut Rig| {
        rig.write(CNTL, RING1_ON);
        rig.write(reg::IH + 0x8b, 32);
    };
    let make_room = |rig: &mut Rig| rig.write(reg::IH + 0x8b, 0);
    let off = |rig: &mut Rig| rig.write(CNTL, RING1_ON & !1);
    let turn_on = |rig: &mut Rig| rig.write(CNTL, RING1_ON);
    let nowhere = |rig: &mut Rig| {
        rig.write(CNTL, RING1_ON);
        rig.write(reg::IH + 0x8a, 0xff);
    };
    let place = |rig: &mut Rig| rig.write(reg::IH + 0x8a, 0);
    type Step = fn(&mut Rig);
    for (name, break_it, mend) in
        [("full", full as Step, make_room as Step), ("off", off, turn_on), ("nowhere", nowhere, place)]
    {
        let mut rig = Rig::new();
        rig.cam_on();
        rig.write(reg::IH + 0x188, 0x12);
        rig.write(reg::IH + 0x189, 1 << 22);
        rig.write(reg::IH + 0x89, ((IH_BASE + 0x1_0000) >> 8) as u32);
        break_it(&mut rig);
        rig.space(3, ON | RETRY);
        rig.queue(0, 2, 3);
        rig.enqueue(0, 2, 3, &p::fence(FREE << 12, 9));
        assert_eq!(turns(&mut rig, 8).1, Progress::Idle, "{name}");
        let counters = rig.gpu.counters();
        assert_eq!((counters.interrupts, counters.dropped, rig.gpu.ih_wptr(1)), (0, 1, 0), "{name}");
        for _ in 0..100 {
            rig.clock.advance(1_000_000);
            assert_eq!(rig.gpu.run(), Progress::Idle, "{name}");
        }
        mend(&mut rig);
        assert_eq!(turns(&mut rig, 8).1, Progress::Idle, "{name}");
        assert_eq!(rig.gpu.ih_wptr(1), 32, "{name}: told");
        let cam = rig.peek32(IH_BASE + 0x1_0000 + 24);
        rig.set_pte(3, FREE, ram(0) | bit::RAM);
        rig.answer(cam & 0x3ff);
        rig.run_to_idle();
        assert_eq!(rig.peek32(ram(0)), 9, "{name}");
    }
}

/// Interrupts of others overwrite the faults' vectors before the driver looks: the pages are told again, each once.
#[test]
fn a_fault_whose_vector_was_overwritten_is_told_again() {
    let mut rig = Rig::new();
    // Eight vectors, with overflow.
    rig.write(reg::IH_CNTL, 0);
    rig.write(reg::IH_CNTL, IH_ON & !(31 << 1) | 6 << 1);
    rig.cam_on();
    for (e, ring, vmid) in QUEUES {
        rig.space(vmid, ON | RETRY);
        rig.queue(e, ring, vmid);
        rig.enqueue(e, ring, vmid, &p::fence(FREE << 12, vmid as u32));
    }
    rig.settle();
    assert_eq!(rig.read(reg::IH_WPTR), 4 * 32);
    // Six traps: three of the four are gone, as the ring holds seven.
    for n in 0..6 {
        rig.execute(0, &p::trap(n));
    }
    let wptr = rig.read(reg::IH_WPTR);
    assert_eq!(wptr, 64 | 1, "overflow");
    let oldest = ((wptr & !1) + 32) & 0xff;
    let mut told: Vec<u64> = read_vectors(&rig, oldest, wptr & !1).iter().map(|fault| fault.vmid).collect();
    assert_eq!(told.len(), 1, "three were overwritten");
    let cntl = rig.read(reg::IH_CNTL);
    rig.write(reg::IH_CNTL, cntl | 1 << 31);
    rig.write(reg::IH_CNTL, cntl);
    rig.write(reg::IH_RPTR, wptr & !1);
    rig.settle();
    let now = rig.read(reg::IH_WPTR);
    assert_eq!(now & 1, 0);
    told.extend(read_vectors(&rig, wptr & !1, now).iter().map(|fault| fault.vmid));
    told.sort_unstable();
    assert_eq!(told, [3, 4, 5, 6], "each once, one before and three again");
    assert_eq!(rig.gpu.run(), Progress::Idle);
}

/// The fault vectors between two pointers of a ring of eight.
fn read_vectors(rig: &Rig, mut rptr: u32, wptr: u32) -> Vec<common::spaces::FaultVector> {
    let mut vectors = Vec::new();
    while rptr != wptr {
        let raw = rig.peek(IH_BASE + u64::from(rptr), 32);
        vectors.push(std::array::from_fn(|i| u32::from_le_bytes(raw[4 * i..][..4].try_into().unwrap())));
        rptr = (rptr + 32) & 0xff;
    }
    faults(&vectors)
}

#[test]
fn a_cam_that_is_turned_off_leaves_nobody_waiting_for_its_answer() {
    let mut rig = four_waiting_queues(Some(16));
    assert_eq!(turns(&mut rig, 8).1, Progress::Idle);
    rig.take_vectors();
    rig.write(reg::IH + 0xe9, 16);
    assert!(matches!(turns(&mut rig, 8).1, Progress::Waiting(_)));
    assert_eq!(faults(&rig.take_vectors()).len(), 4, "raised again, as without a CAM");
    // On again: its entries are new ones.
    rig.write(reg::IH + 0xe9, 1 << 16 | 16);
    rig.clock.advance(10_000);
    assert_eq!(turns(&mut rig, 8).1, Progress::Idle);
    let told = faults(&rig.take_vectors());
    assert_eq!(told.len(), 4);
    for fault in told {
        rig.answer(fault.cam);
    }
    resolve(&mut rig);
}

#[test]
fn faults_of_one_space_that_fail_again_and_again_do_not_slow_the_others_fences() {
    let mut rig = four_waiting_queues(None);
    turns(&mut rig, 8);
    for n in 0..50 {
        rig.clock.advance(10_000);
        rig.execute_without_waiting(&p::fence(FB + 12 * MIB, n));
        assert_eq!(rig.peek_vram(12 * MIB, 4), n.to_le_bytes());
    }
}

impl Rig {
    /// One turn of the engine must do for a fence, whoever else faults.
    fn execute_without_waiting(&mut self, dwords: &[u32]) {
        self.submit(0, dwords);
        let _ = self.gpu.run();
    }
}
