// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The life of a fault in the trace: one number from the access that fails to the retry that goes on.

use crate::common::{packets as p, spaces, spaces::RETRY, *};
use crate::scripted::*;
use std::collections::BTreeMap;
use vhost_device_uvm::trace::event::Answer;
use vhost_device_uvm::trace::{Depth, Event, RingId, Stage};

/// The stages of each fault in order, by number.
fn lives(memory: &Memory) -> BTreeMap<u64, Vec<Stage>> {
    let mut lives: BTreeMap<u64, Vec<Stage>> = BTreeMap::new();
    for (_, event) in memory.events() {
        if let Event::Fault { id, stage } = event {
            lives.entry(id).or_default().push(stage);
        }
    }
    lives
}

/// The stages by name.
fn names(stages: &[Stage]) -> Vec<&'static str> {
    let name = |stage: &Stage| match stage {
        Stage::Raised { .. } => "raised",
        Stage::Delivered { .. } => "delivered",
        Stage::Dropped => "dropped",
        Stage::Held => "held",
        Stage::Acknowledged { by: Answer::Cam } => "acknowledged",
        Stage::Acknowledged { by: Answer::Invalidation } => "invalidated",
        Stage::Acknowledged { by: Answer::Room } => "room",
        Stage::Retried { .. } => "retried",
    };
    stages.iter().map(name).collect()
}

/// A rig with VMID 3 on queue 2 and VMID 5 on queue 3 of SDMA0, whose pages are retried.
fn rig() -> (Rig, Memory) {
    let mut rig = Rig::new();
    rig.cam_on();
    for (queue, vmid) in [(2, 3), (3, 5)] {
        rig.space(vmid, spaces::ON | RETRY);
        rig.queue(0, queue, vmid);
    }
    let memory = Memory::default();
    memory.attach(&mut rig, Depth::Mmio);
    (rig, memory)
}

#[test]
fn a_fault_that_is_mapped_and_acknowledged_is_raised_delivered_acknowledged_and_retried() {
    let (mut rig, memory) = rig();
    rig.enqueue(0, 2, 3, &p::fence(9 * 4096 + 4, 7));
    rig.settle();
    let told = spaces::faults(&rig.take_vectors());
    rig.set_pte(3, 9, (9 * MIB) | bit::VRAM);
    rig.answer(told[0].cam);
    rig.settle();
    let lives = lives(&memory);
    assert_eq!(lives.len(), 1);
    assert_eq!(names(&lives[&1]), ["raised", "delivered", "acknowledged", "retried"]);
    let ring = RingId { instance: 0, ring: 2 };
    let Stage::Raised { vmid: 3, va, waits: Some(waits), .. } = lives[&1][0] else { panic!("{:?}", lives[&1]) };
    assert_eq!((va, waits), (9 * 4096 + 4, ring));
    let Stage::Delivered { cam, .. } = lives[&1][1] else { panic!("{:?}", lives[&1]) };
    assert_eq!(cam, told[0].cam);
    assert_eq!(lives[&1][3], Stage::Retried { ring });
}

#[test]
fn an_answer_without_a_page_makes_another_fault() {
    let (mut rig, memory) = rig();
    rig.enqueue(0, 2, 3, &p::fence(9 * 4096, 7));
    rig.settle();
    let told = spaces::faults(&rig.take_vectors());
    rig.answer(told[0].cam);
    rig.settle();
    let lives = lives(&memory);
    assert_eq!(names(&lives[&1]), ["raised", "delivered", "acknowledged", "retried"]);
    assert_eq!(names(&lives[&2]), ["raised", "delivered"]);
}

#[test]
fn two_rings_that_wait_for_one_page_share_a_fault() {
    let (mut rig, memory) = rig();
    rig.queue(1, 2, 3);
    rig.enqueue(0, 2, 3, &p::fence(9 * 4096, 7));
    rig.settle();
    // The other engine's queue of the same space runs the same packet from the same ring.
    rig.gpu.mmio_write(model::SDMA[1] + 0x60 * 2 + 0x85, 16);
    rig.settle();
    rig.set_pte(3, 9, (9 * MIB) | bit::VRAM);
    rig.invalidate(3, 1 << 3);
    rig.settle();
    let lives = lives(&memory);
    assert_eq!(lives.len(), 1);
    assert_eq!(names(&lives[&1]), ["raised", "delivered", "raised", "held", "invalidated", "retried", "retried"]);
}

#[test]
fn a_fault_whose_vector_finds_no_room_is_held_and_told_later() {
    let (mut rig, memory) = rig();
    rig.write(reg::IH_CNTL, 0);
    rig.enqueue(0, 2, 3, &p::fence(9 * 4096, 7));
    rig.settle();
    assert_eq!(names(&lives(&memory)[&1]), ["raised", "held"]);
    rig.write(reg::IH_CNTL, IH_ON);
    rig.write(reg::IH_RPTR, 0);
    rig.settle();
    let told = spaces::faults(&rig.take_vectors());
    assert_eq!(told.len(), 1);
    let lives = lives(&memory);
    assert_eq!(names(&lives[&1]), ["raised", "held", "room", "retried"]);
    assert_eq!(names(&lives[&2]), ["raised", "delivered"]);
}

#[test]
fn a_fault_that_is_not_retried_ends_with_its_vector() {
    let mut rig = Rig::new();
    let memory = Memory::default();
    memory.attach(&mut rig, Depth::Mmio);
    for page in [100, 101] {
        rig.map(page, 0);
        rig.execute(0, &p::fence(GART + page * 4096, 1));
    }
    rig.write(reg::IH_CNTL, 0);
    rig.map(102, 0);
    rig.execute(0, &p::fence(GART + 102 * 4096, 1));
    let lives = lives(&memory);
    assert_eq!(lives.len(), 3);
    assert_eq!(names(&lives[&1]), ["raised", "delivered"]);
    assert_eq!(names(&lives[&2]), ["raised", "delivered"]);
    assert_eq!(names(&lives[&3]), ["raised", "dropped"]);
    // The vector's stamp is how a driver finds the fault in the trace.
    let events = memory.events();
    for (id, stages) in &lives {
        let Some(Stage::Delivered { stamp, .. }) = stages.get(1) else { continue };
        let vector = events.iter().find_map(|(_, e)| match e {
            Event::Interrupt { vector, delivered: true } if vector[1] == *stamp as u32 => Some(vector),
            _ => None,
        });
        assert!(vector.is_some(), "fault {id}");
    }
}
