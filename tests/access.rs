// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Access programs against a model that runs them one item after the other: what they compute, how their lanes wait for
//! pages, and what ends them.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::access::{Flat, Operand, Program, ACCESS, ITEMS, LANES};
use common::{packets as p, spaces::*, *};
use proptest::prelude::*;

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

#[test]
fn a_vector_is_added() {
    let n = 4096;
    let add = nest([n, 1, 1], 1, 1, Operand::linear(A), Operand::linear(B), Operand::linear(D));
    let rig = compare(flat(1), &[add], 64);
    assert_eq!(rig.gpu.counters().accesses, 3 * u64::from(n) + 1);
    assert_eq!(rig.gpu.counters().accessed, 12 * u64::from(n) + 8);
}

#[test]
fn a_stencil_adds_the_neighbours_with_their_weights() {
    let (a, d) = (Operand::affine(A, -2, [1, 1, 0]), Operand::affine(D, 0, [0, 1, 0]));
    let mut a = a;
    a.base += 4096;
    compare(flat(2), &[reduced(nest([5, 3000, 1], 3, 1, a, Operand::linear(B), d))], 33);
}

#[test]
fn matrices_are_multiplied_block_by_block() {
    // C[i][j] += A[i][k] * B[k][j], 24 x 24 in blocks of 8: k innermost, each block adds to C.
    let mut programs = vec![nest([24 * 24, 1, 1], 9, 1, Operand::default(), Operand::default(), Operand::linear(D))];
    for block in 0..27 {
        let (i, j, k) = (block / 9 * 8, block / 3 % 3 * 8, block % 3 * 8);
        let a = Operand::affine(A, i * 24 + k, [1, 0, 24]);
        let b = Operand::affine(B, k * 24 + j, [24, 1, 0]);
        let c = Operand::affine(D, i * 24 + j, [0, 1, 24]);
        programs.push(reduced(nest([8, 8, 8], 3, 0x0f, a, b, c)));
    }
    let mut rig = compare(flat(3), &programs, 16);
    // Against a product by the book, as well as the model.
    let mut flat = flat(3);
    let mut product = vec![7u32; 24 * 24];
    for (at, slot) in product.iter_mut().enumerate() {
        for k in 0..24 {
            let (x, y) =
                (flat.get(A + 4 * (at as u64 / 24 * 24 + k), 4), flat.get(B + 4 * (k * 24 + at as u64 % 24), 4));
            *slot = slot.wrapping_add((x as u32).wrapping_mul(y as u32));
        }
    }
    let bytes: Vec<u8> = product.iter().flat_map(|n| n.to_le_bytes()).collect();
    same("the product", &held(&rig)[(D - BASE) as usize..][..bytes.len()], &bytes);
    assert!(rig.take_vectors().is_empty());
}

#[test]
fn a_histogram_is_counted_by_what_a_holds() {
    // A holds small numbers: the number of each is added up in D.
    let mut small = flat(4);
    for i in 0..4096 {
        let n = small.get(A + 4 * i, 4) % 100;
        small.put(A + 4 * i, 4, n);
    }
    let by_a = Operand { base: D, pattern: 4, ..Operand::default() };
    let mut count = nest([4096, 1, 1], 9, 0x0f, Operand::linear(A), Operand::default(), by_a);
    if let Program::Nest { imm, .. } = &mut count {
        *imm = 1;
    }
    compare(small, &[count], 64);
}

#[test]
fn chains_are_followed_to_their_ends() {
    // Nodes of 64 bytes in a shuffled order: next pointer at 8, value at 24. Some chains end early.
    let mut memory = flat(5);
    let nodes = 1000u64;
    let mut order: Vec<u64> = (0..nodes).collect();
    let mut numbers = Numbers(6);
    for i in (1..order.len()).rev() {
        order.swap(i, numbers.below(i as u64 + 1) as usize);
    }
    for pair in order.windows(2) {
        memory.put(A + 64 * pair[0] + 8, 8, A + 64 * pair[1]);
    }
    memory.put(A + 64 * order[nodes as usize - 1] + 8, 8, 0);
    for chain in 0..10u64 {
        memory.put(IDX + 8 * chain, 8, A + 64 * order[chain as usize * 100]);
    }
    let chase = |update, hops| Program::Chase {
        update,
        chains: 10,
        hops,
        heads: IDX,
        next: 8,
        value: 24,
        imm: 3,
        ends: D,
        sum: SUM,
    };
    compare(memory, &[chase(0, 150), chase(0x0f, 100), chase(0, 100_000)], 4);
}

#[test]
fn a_breadth_first_search_finds_each_vertex_at_its_distance() {
    let (vertices, edges) = (1000u64, 3000u64);
    let (rows, columns, levels) = (A, B, D);
    let mut memory = flat(7);
    let mut numbers = Numbers(8);
    let mut lists = vec![Vec::new(); vertices as usize];
    for _ in 0..edges {
        let from = numbers.below(vertices) as usize;
        lists[from].push(numbers.below(vertices));
    }
    let mut at = 0;
    for (v, list) in (0u64..).zip(&lists) {
        memory.put(rows + 4 * v, 4, at);
        for u in list {
            memory.put(columns + 4 * at, 4, *u);
            at += 1;
        }
    }
    memory.put(rows + 4 * vertices, 4, at);
    for v in 0..vertices {
        memory.put(levels + 4 * v, 4, if v == 0 { 0 } else { 0xffff_ffff });
    }
    // Distances by a queue.
    let mut distance = vec![u32::MAX; vertices as usize];
    distance[0] = 0;
    let mut queue = std::collections::VecDeque::from([0usize]);
    while let Some(v) = queue.pop_front() {
        for &u in &lists[v] {
            if distance[u as usize] == u32::MAX {
                distance[u as usize] = distance[v] + 1;
                queue.push_back(u as usize);
            }
        }
    }
    let deepest = distance.iter().filter(|d| **d != u32::MAX).max().unwrap();
    let step = |depth| Program::Expand { vertices: vertices as u32, depth, rows, columns, levels, sum: SUM };
    let steps: Vec<Program> = (0..=*deepest).map(step).collect();
    let rig = compare(memory, &steps, 64);
    let bytes: Vec<u8> = distance.iter().flat_map(|d| d.to_le_bytes()).collect();
    same("levels", &held(&rig)[(levels - BASE) as usize..][..bytes.len()], &bytes);
    // The last step finds nothing.
    assert_eq!(held(&rig)[(SUM - BASE) as usize..][..8], [0; 8]);
}

#[test]
fn a_hash_table_joins_two_relations() {
    let mut memory = flat(9);
    let table = D;
    for slot in 0..1024 {
        memory.put(table + 8 * slot, 4, 0xffff_ffff);
    }
    // Distinct keys to put in; half of those looked for are among them.
    let key = |i: u64| i * 7919 % 100_003;
    for i in 0..700 {
        memory.put(A + 4 * i, 4, key(i));
        memory.put(IDX + 4 * i, 4, if i % 2 == 0 { key(i) } else { 200_000 + i });
    }
    let program = |insert, from, values| Program::Hash {
        insert,
        keys: 700,
        bits: 10,
        limit: 1024,
        from,
        table,
        values,
        miss: 0xdead,
        sum: SUM,
    };
    // Where a key comes to lie depends on the lanes' order, what is found does not.
    let mut expected = memory.clone();
    let mut rig = rig(ON, &memory, |_| true);
    rig.access(0, &[program(true, A, B).packet(20), program(false, IDX, B + 0x4000).packet(20)].concat());
    rig.run_to_idle();
    let found = Flat { base: BASE, bytes: held(&rig) };
    let (mut found, mut total) = (found, 0u64);
    for i in 0..700 {
        let want = if i % 2 == 0 { expected.get(B + 4 * i, 4) } else { 0xdead };
        assert_eq!(found.get(B + 0x4000 + 4 * i, 4), want, "key {i}");
        total += if i % 2 == 0 { want } else { 0 };
    }
    assert_eq!(found.get(SUM, 8), total);
}

#[test]
fn a_key_without_room_is_not_inserted_and_not_found() {
    let mut memory = flat(10);
    for slot in 0..4 {
        memory.put(D + 8 * slot, 4, 0xffff_ffff);
    }
    for i in 0..10 {
        memory.put(A + 4 * i, 4, 1000 + i);
    }
    let program = |insert, values| Program::Hash {
        insert,
        keys: 10,
        bits: 2,
        limit: 9,
        from: A,
        table: D,
        values,
        miss: 5,
        sum: SUM,
    };
    // One lane: the order is the model's.
    let mut rig = compare(memory.clone(), &[program(true, B)], 1);
    assert_eq!(held(&rig)[(SUM - BASE) as usize..][..8], 4u64.to_le_bytes());
    rig.access(0, &program(false, IDX).packet(64));
    rig.run_to_idle();
    let missed = held(&rig)[(IDX - BASE) as usize..][..40].chunks(4).filter(|c| **c == 5u32.to_le_bytes()).count();
    assert_eq!(missed, 6);
}

#[test]
fn fence_and_trap_come_after_every_lane() {
    let mut rig = rig(ON, &flat(11), |_| true);
    let fill = nest([4096, 1, 1], 10, 1, Operand::default(), Operand::default(), Operand::linear(D));
    rig.access(0, &[fill.packet(64), p::fence(FENCE, 0xfeed), p::nop(3), p::trap(0x123)].concat());
    while rig.take_vectors().is_empty() {
        let done = held(&rig)[(FENCE - BASE) as usize..][..4] == 0xfeedu32.to_le_bytes();
        let last = held(&rig)[(D - BASE + 4 * 4095) as usize..][..4] == (4095u32 + 7).to_le_bytes();
        assert!(last || !done, "the fence is there before the last element");
        rig.gpu.run();
    }
    assert_eq!(held(&rig)[(FENCE - BASE) as usize..][..4], 0xfeedu32.to_le_bytes());
    assert!(rig.access_drained(0));
}

#[test]
fn the_trap_s_vector_names_the_queue_and_its_process() {
    let mut rig = rig(ON, &flat(12), |_| true);
    rig.access_queue(2, VMID);
    rig.access(2, &p::trap(0x0abc_def0));
    rig.run_to_idle();
    let vectors = rig.take_vectors();
    // Client 0x0a, source 224, ring 2, VMID 4 of the MM hub, its PASID, the context.
    assert_eq!(vectors, [[0x8402_e00a, 0, 0, 1004, 0x0abc_def0, 0, 0, 0]]);
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
    assert_eq!(rig.read(ACCESS + LANES), 6 | 6 << 8);
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
    assert_eq!(rig.read(ACCESS + LANES), 48 | 48 << 8);
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
fn a_fault_that_is_not_retried_ends_the_program_and_stops_its_queue_alone() {
    let mut rig = rig(1 | 0x1555 << 9, &flat(16), |page| page != 5);
    // No default page stands in.
    rig.write(reg::FAULT_CNTL, 0);
    rig.access_queue(1, VMID);
    rig.access(0, &[page_a_lane(16, 1).packet(16), p::fence(FENCE, 1)].concat());
    rig.access(1, &p::fence(FENCE + 64, 2));
    rig.run_to_idle();
    assert_eq!((rig.access_exception(0), rig.access_exception(1)), (2, 0));
    assert_eq!(rig.read(ACCESS + 0x83), 0, "the read pointer stays on the program");
    let vectors = rig.take_vectors();
    let told = faults(&vectors);
    assert_eq!((told.len(), told[0].page, told[0].retry), (1, BASE / 4096 + 5, false));
    assert!(vectors.iter().any(|v| v[0] == 0x8400_f70a && v[4] == 2), "{vectors:x?}");
    // Client 49 wrote.
    assert_eq!(rig.read(reg::FAULT_STATUS) >> 9 & 0x1ff, 49);
    assert_eq!(held(&rig)[(FENCE + 64 - BASE) as usize], 2);
    assert_ne!(held(&rig)[(FENCE - BASE) as usize..][..4], 1u32.to_le_bytes());
    // Off and on again it works.
    rig.access_queue(0, VMID);
    rig.access(0, &p::fence(FENCE, 1));
    rig.run_to_idle();
    assert_eq!(rig.access_exception(0), 0);
    assert_eq!(held(&rig)[(FENCE - BASE) as usize..][..4], 1u32.to_le_bytes());
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

#[test]
fn a_program_without_end_gives_way() {
    let mut rig = rig(ON, &flat(18), |_| true);
    rig.access_queue(1, VMID);
    let endless =
        nest([0x1_0000, 0x1_0000, 1], 0, 0, Operand::affine(A, 0, [0; 3]), Operand::default(), Operand::default());
    rig.access(0, &endless.packet(64));
    rig.access(1, &p::fence(FENCE, 1));
    rig.submit(0, &p::fence(FB + 9 * MIB, 3));
    for _ in 0..4 {
        assert_eq!(rig.gpu.run(), vhost_device_uvm::Progress::More);
    }
    assert!(rig.access_drained(1));
    assert_eq!(rig.peek_vram(9 * MIB, 4), 3u32.to_le_bytes());
    assert!(!rig.access_drained(0));
    let accesses = rig.gpu.counters().accesses;
    assert!(accesses < 4 * 6000, "{accesses} accesses in four turns");
}

#[test]
fn what_no_program_may_say_is_illegal() {
    let good = nest([4, 1, 1], 0, 1, Operand::linear(A), Operand::default(), Operand::linear(D)).packet(4);
    let with = |at: usize, value: u32| {
        let mut packet = good.clone();
        packet[at] = value;
        packet
    };
    let hash = |bits| {
        let (from, table, values) = (A, D, 0);
        Program::Hash { insert: false, keys: 1, bits, limit: 1, from, table, values, miss: 0, sum: 0 }.packet(1)
    };
    let chase = |update| {
        let (heads, ends, sum) = (A, 0, 0);
        Program::Chase { update, chains: 1, hops: 1, heads, next: 0, value: 0, imm: 0, ends, sum }.packet(1)
    };
    for (what, packet) in [
        ("an opcode", vec![0x44]),
        ("SDMA's copy", p::copy(A, D, 4)),
        ("a sub-opcode", with(0, 0x140)),
        ("a header's bit", with(0, 0x40 | 1 << 22)),
        ("a control bit", with(1, 2 | 1 << 8 | 1 << 17)),
        ("a function", with(1, 2 | 13 << 4 | 1 << 8)),
        ("an update", with(1, 2 | 2 << 8)),
        ("compare and swap", with(1, 2 | 8 << 8)),
        ("an atomic of two bytes", with(1, 1 | 0x0f << 8)),
        ("too many iterations", with(3, 0x4000_0001)),
        ("a pattern", with(13, 5)),
        ("a pattern's bit", with(13, 1 | 1 << 5)),
        ("A by A", with(13, 4)),
        ("random of nothing", with(13, 3)),
        ("an update without D", with(37, 0)),
        ("D without an update", with(1, 2)),
        ("a table without a slot", hash(0)),
        ("a table too large", hash(33)),
        ("a chain that stores", chase(1)),
        ("a program cut short", good[..44].to_vec()),
    ] {
        let mut rig = rig(ON, &flat(19), |_| true);
        rig.access(0, &packet);
        rig.run_to_idle();
        assert_eq!(rig.access_exception(0), 1, "{what}");
        assert_eq!(rig.gpu.counters().accesses, 0, "{what}");
    }
    compare(flat(19), &[nest([4, 1, 1], 0, 1, Operand::linear(A), Operand::default(), Operand::linear(D))], 4);
}

#[test]
fn loops_of_no_trips_do_nothing_but_tell_their_sum() {
    for trips in [[0, 5, 5], [5, 0, 5], [5, 5, 0]] {
        let program = nest(trips, 9, 1, Operand::default(), Operand::default(), Operand::linear(D));
        compare(flat(20), std::slice::from_ref(&program), 8);
        if trips[0] != 0 {
            compare(flat(20), &[reduced(program)], 8);
        }
    }
}

#[test]
fn a_halted_engine_waits() {
    let mut rig = rig(ON, &flat(21), |_| true);
    rig.gpu.mmio_write(ACCESS + 0x2a, 1);
    rig.access(0, &p::fence(FENCE, 9));
    rig.run_to_idle();
    assert!(!rig.access_drained(0));
    rig.gpu.mmio_write(ACCESS + 0x2a, 0);
    rig.run_to_idle();
    assert!(rig.access_drained(0));
}

#[test]
fn an_injected_hang_stands_until_the_queue_is_reset() {
    let mut rig = rig(ON, &flat(22), |_| true);
    rig.gpu.inject("hang:ring=access.q0,after=1".parse().unwrap());
    rig.access(0, &[p::fence(FENCE, 1), p::fence(FENCE, 2)].concat());
    rig.run_to_idle();
    assert_eq!(held(&rig)[(FENCE - BASE) as usize], 1);
    assert_eq!(rig.gpu.view_rings().iter().find(|r| r.instance == 2).unwrap().state, "hung");
    rig.access_queue(0, VMID);
    rig.access(0, &p::fence(FENCE, 3));
    rig.run_to_idle();
    assert_eq!(held(&rig)[(FENCE - BASE) as usize], 3);
}

#[test]
fn a_doorbell_starts_its_queue_and_a_wrong_one_is_told() {
    let mut rig = rig(ON, &flat(23), |_| true);
    rig.write(0xde0, 1);
    rig.write(0xef3, (0x114 * 2) << 2 | 8 << 16);
    rig.gpu.mmio_write(ACCESS + 0xab, (0x114 * 2) << 2);
    rig.gpu.mmio_write(ACCESS + 0x92, 1 << 28);
    rig.access(0, &[]);
    for (at, dw) in p::fence(FENCE, 0x77).iter().enumerate() {
        rig.poke_vram(13 * MIB + 64 * 4096 + 4 * at as u64, &dw.to_le_bytes());
    }
    rig.gpu.doorbell(0x114, 16);
    rig.run_to_idle();
    assert_eq!(held(&rig)[(FENCE - BASE) as usize], 0x77);
    rig.gpu.doorbell(0x115, 16);
    assert_eq!(rig.take_vectors(), [[0x8000_f40a, 0, 0, 0, 0x115, 0, 0, 0]]);
}

#[test]
fn the_rules_find_nothing_in_ordinary_use() {
    let mut rig = rig(ON | RETRY, &flat(24), |page| page != 3);
    rig.gpu.set_checks(true);
    rig.cam_on();
    for vmid in [1, 4, 15] {
        // The checker saw nothing of the bring-up.
        rig.invalidate(1, 1 << vmid);
    }
    let before = rig.gpu.findings().len();
    rig.access(0, &page_a_lane(16, 1).packet(16));
    rig.settle();
    for fault in faults(&rig.take_vectors()) {
        rig.set_pte(VMID, fault.page, entry(fault.page - BASE / 4096));
        rig.invalidate(1, 1 << VMID);
        rig.answer(fault.cam);
    }
    rig.run_to_idle();
    assert!(rig.access_drained(0));
    assert_eq!(rig.gpu.findings()[before..], []);
    // A queue's VMID that changes its tables while it works is told.
    rig.access(0, &nest([4096, 16, 16], 0, 0, Operand::linear(A), Operand::default(), Operand::default()).packet(8));
    rig.gpu.run();
    rig.write(reg::PT_BASE + 2 * VMID as u32, 0x1001);
    assert!(rig.gpu.findings().iter().any(|f| f.rule.name() == "base_changed_while_active"));
}

fn operand(base: u64, elements: u32) -> impl Strategy<Value = Operand> {
    // Any place within the region: indices are taken by three strides that cannot leave it.
    let most = elements as i32 / 2;
    (1..4u32, any::<bool>(), 0..most, [0..most / 64, 0..most / 64, 0..most / 64], any::<u64>()).prop_map(
        move |(pattern, wide, start, strides, seed)| {
            let pattern = if pattern == 2 && wide { 0x12 } else { pattern };
            Operand { base, indices: IDX, pattern, start, strides, range: elements, seed }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nests_of_any_shape_do_what_the_model_does(
        element in 0..4u32,
        func in 0..13u32,
        update in prop::sample::select(vec![0u32, 1, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17]),
        reduce in any::<bool>(),
        trips in [1..12u32, 1..12u32, 1..8u32],
        imm in any::<u64>(),
        a in operand(A, 4096), b in operand(B, 4096), d in operand(D, 4096),
        missing in 0..4u32,
        lanes in 1..=64u32,
        seed in any::<u64>(),
    ) {
        let update = if element < 2 { update.min(1) } else { update };
        // What is stored goes to a place of its own an item: which item comes last is nobody's promise.
        let own = [1, trips[0], trips[0] * trips[1]].map(|n| n as i32);
        let d = match update {
            0 => Operand::default(),
            1 => Operand::affine(D, 0, own),
            _ => d,
        };
        let (a, b) = (if missing & 1 != 0 { Operand::default() } else { a }, if missing & 2 != 0 { Operand::default() } else { b });
        let mut memory = flat(seed);
        for i in 0..4096 {
            // Whether read as quadwords or dwords, an index stays within the regions.
            let (wide, n) = (8 * (i % 4096), Numbers(seed ^ i).below(4096));
            memory.put(IDX + wide, 8, n);
        }
        let program = Program::Nest { element, func, update, reduce, trips, imm, sum: SUM, a, b, d };
        compare(memory, &[program], lanes);
    }

    #[test]
    fn pages_that_come_late_change_nothing_but_the_time(
        missing in any::<u64>(), lanes in 1..=64u32, order in any::<u64>(), cam in any::<bool>(),
    ) {
        // A gather, added up at random places by A: each access of each lane may find its page missing.
        let mut memory = flat(missing);
        for i in 0..400 {
            let n = memory.get(IDX + 4 * i, 4) % 16_384;
            memory.put(IDX + 4 * i, 4, n);
            let n = memory.get(A + 4 * i, 4) % 16_384;
            memory.put(A + 4 * i, 4, n);
        }
        for i in 0..16_384 {
            let n = memory.get(A + 4 * i, 4) % 16_384;
            memory.put(A + 4 * i, 4, n);
        }
        let gather = Operand { base: A, indices: IDX, pattern: 2, strides: [1, 0, 0], ..Operand::default() };
        let by_a = |base| Operand { base, pattern: 4, ..Operand::default() };
        let program = nest([400, 1, 1], 1, 0x0f, gather, by_a(B), by_a(D));
        let mut rig = rig(ON | RETRY, &memory, |page| missing >> page & 1 == 0);
        if cam {
            rig.cam_on();
        }
        rig.access(0, &[program.packet(lanes), p::fence(FENCE, 1)].concat());
        let mut numbers = Numbers(order);
        let mut open = Vec::new();
        for _ in 0..10_000 {
            if rig.access_drained(0) {
                break;
            }
            rig.settle();
            rig.clock.advance(20_000);
            open.extend(faults(&rig.take_vectors()));
            if open.is_empty() {
                continue;
            }
            let fault = open.remove(numbers.below(open.len() as u64) as usize);
            // Now and then an answer without a page: the fault is raised again.
            if numbers.below(4) > 0 {
                rig.set_pte(VMID, fault.page, entry(fault.page - BASE / 4096));
            }
            if numbers.below(4) == 0 {
                rig.invalidate(2, 1 << VMID);
            }
            if cam {
                rig.answer(fault.cam);
            }
        }
        prop_assert!(rig.access_drained(0));
        memory.run(&program);
        memory.put(FENCE, 4, 1);
        same("data", &held(&rig), &memory.bytes);
    }
}
