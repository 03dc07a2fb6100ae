// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The fuzz targets' seeds, and whatever a fuzzer once found, as ordinary tests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed")]

use proptest::prelude::*;
use std::path::Path;

#[path = "fuzz/src/access.rs"]
mod access;
#[path = "fuzz/src/config_window.rs"]
mod config_window;
#[path = "fuzz/src/packet.rs"]
mod packet;
#[path = "fuzz/src/registers.rs"]
mod registers;

/// Runs `target` on every file of its seeds.
fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(name);
    let mut seeds = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        target(&std::fs::read(path).unwrap());
        seeds += 1;
    }
    assert!(seeds > 0, "no seeds in {}", folder.display());
}

#[test]
fn access_seeds() {
    replay("access", access::run);
}

#[test]
fn config_window_seeds() {
    replay("config_window", config_window::run);
}

#[test]
fn packet_seeds() {
    replay("packet", packet::run);
}

#[test]
fn register_seeds() {
    replay("registers", registers::run);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packets_of_any_opcode_are_bounded(
        switches in 0..8u8,
        stream in prop::collection::vec((0..20u32, any::<u32>(), prop::collection::vec(operand(), 0..10)), 0..20),
    ) {
        let mut input = vec![switches];
        for (op, header, operands) in stream {
            // Mostly valid headers: reserved bits only now and then.
            let header = if header % 4 == 0 { header & !0xff | op } else { header & 0xffff_0000 | op };
            input.extend(header.to_le_bytes());
            input.extend(operands.iter().flat_map(|dw| dw.to_le_bytes()));
        }
        packet::run(&input);
    }

    #[test]
    fn programs_of_any_kind_are_bounded(
        switches in 0..8u8,
        stream in prop::collection::vec((0..8usize, 0..64u32, prop::collection::vec(place(), 44)), 1..12),
    ) {
        let mut input = vec![switches];
        for (kind, lanes, mut operands) in stream {
            let header = [0x40, 0x40, 0x41, 0x42, 0x43, 0x143, 5, 6][kind] | lanes << 16;
            if kind < 2 {
                // Mostly valid shapes of nests: what is reserved stays clear.
                operands[0] &= 0x1_00f3 | 0x0f << 8;
                for at in [12, 24, 36] {
                    operands[at] %= 5;
                }
            }
            let dwords = [44, 44, 13, 10, 12, 12, 3, 1][kind];
            let header = if kind > 5 { header & 0xff } else { header };
            input.extend(header.to_le_bytes());
            input.extend(operands.iter().take(dwords).flat_map(|dw| dw.to_le_bytes()));
        }
        access::run(&input);
    }

    #[test]
    fn register_accesses_in_any_order_are_bounded(input in prop::collection::vec(any::<u8>(), 0..1500)) {
        registers::run(&input);
    }
}

/// Dwords that packets like: small numbers, high halves, places in VRAM and RAM, or anything.
fn operand() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 0..4096u32, 0..0x0110_0000u32, 0x4000_0000..0x4004_0000u32, any::<u32>()]
}

/// Dwords that programs like: nothing, small numbers, addresses of a small space, or anything.
fn place() -> impl Strategy<Value = u32> {
    prop_oneof![4 => Just(0), 4 => 0..64u32, 4 => 0..0x20_0000u32, 1 => any::<u32>()]
}
