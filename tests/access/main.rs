// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Access programs against a model that runs them one item after the other: what they compute, how their lanes wait for
//! pages, and what ends them.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;

mod life;
mod programs;
mod random;
mod waits;

use common::access::{Flat, Operand, Program};
use common::{spaces::*, *};

const VMID: u64 = 4;
/// Where data lies in VMID 4: pages from 16 on, half of them in VRAM.
const BASE: u64 = 16 << 12;
const DATA: u64 = 64;
/// Regions of the data.
const A: u64 = BASE;
const B: u64 = BASE + (16 << 12);
const D: u64 = BASE + (32 << 12);
const IDX: u64 = BASE + (48 << 12);
const SUM: u64 = BASE + (62 << 12);
const FENCE: u64 = BASE + (63 << 12);

/// What backs data page `page`: system memory and VRAM in turn.
fn backing(page: u64) -> (bool, u64) {
    if page % 2 == 0 {
        (true, 8 * MIB + page * 4096)
    } else {
        (false, (1 << 32) + 0x8_0000 + page * 4096)
    }
}
fn entry(page: u64) -> u64 {
    match backing(page) {
        (true, at) => at | bit::VRAM,
        (false, at) => at | bit::RAM,
    }
}

fn fill(rig: &mut Rig, flat: &Flat) {
    for page in 0..DATA {
        let bytes = flat.bytes[(page * 4096) as usize..][..4096].to_vec();
        match backing(page) {
            (true, at) => rig.poke_vram(at, &bytes),
            (false, at) => rig.poke(at, &bytes),
        }
    }
}
fn held(rig: &Rig) -> Vec<u8> {
    let page = |page| match backing(page) {
        (true, at) => rig.peek_vram(at, 4096),
        (false, at) => rig.peek(at, 4096),
    };
    (0..DATA).flat_map(page).collect()
}

/// A rig with the data pages mapped that `mapped` says, filled as `flat` has it.
fn rig(cntl: u32, flat: &Flat, mapped: impl Fn(u64) -> bool) -> Rig {
    let mut rig = Rig::new();
    rig.space(VMID, cntl);
    for page in (0..DATA).filter(|page| mapped(*page)) {
        rig.set_pte(VMID, BASE / 4096 + page, entry(page));
    }
    fill(&mut rig, flat);
    rig.access_queue(0, VMID);
    rig
}
fn flat(seed: u64) -> Flat {
    Flat { base: BASE, bytes: Numbers(seed).bytes((DATA * 4096) as usize) }
}

/// Runs `programs` on the device, one after the other in one queue, and on the model; compares all data.
fn compare(mut flat: Flat, programs: &[Program], lanes: u32) -> Rig {
    let mut rig = rig(ON, &flat, |_| true);
    for program in programs {
        rig.access(0, &program.packet(lanes));
        rig.run_to_idle();
        flat.run(program);
    }
    assert_eq!(rig.access_exception(0), 0);
    assert!(rig.access_drained(0));
    same("data", &held(&rig), &flat.bytes);
    rig
}

fn nest(trips: [u32; 3], func: u32, update: u32, a: Operand, b: Operand, d: Operand) -> Program {
    Program::Nest { element: 2, func, update, reduce: false, trips, imm: 7, sum: SUM, a, b, d }
}
fn reduced(mut program: Program) -> Program {
    if let Program::Nest { reduce, .. } = &mut program {
        *reduce = true;
    }
    program
}

/// Pages of A that lanes find missing, with a stride of a page a lane.
fn page_a_lane(lanes: u32, update: u32) -> Program {
    let each = Operand::affine(A, 0, [1024, 0, 0]);
    Program::Nest {
        element: 2,
        func: 9,
        update,
        reduce: false,
        trips: [lanes, 1, 1],
        imm: 1,
        sum: SUM,
        a: Operand::default(),
        b: Operand::default(),
        d: each,
    }
}
