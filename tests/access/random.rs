// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Programs of any shape, and pages that come at any time.

use crate::common::access::{Operand, Program};
use crate::common::{packets as p, spaces::*, *};
use crate::*;
use proptest::prelude::*;

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
        lanes in 1..=256u32,
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
        missing in any::<u64>(), lanes in 1..=256u32, order in any::<u64>(), cam in any::<bool>(),
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
