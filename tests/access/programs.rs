// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What programs compute.

use crate::common::access::{Flat, Operand, Program};
use crate::common::{spaces::*, *};
use crate::*;

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
fn loops_of_no_trips_do_nothing_but_tell_their_sum() {
    for trips in [[0, 5, 5], [5, 0, 5], [5, 5, 0]] {
        let program = nest(trips, 9, 1, Operand::default(), Operand::default(), Operand::linear(D));
        compare(flat(20), std::slice::from_ref(&program), 8);
        if trips[0] != 0 {
            compare(flat(20), &[reduced(program)], 8);
        }
    }
}
