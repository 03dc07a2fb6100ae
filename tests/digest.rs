// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Where data lies and what it is, told by the device past the driver: digests of addresses, and bytes by direction.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::spaces::{FREE, ON, PAGES};
use common::{bit, packets as p, Numbers, Rig, MIB};
use sha2::Digest as _;
use vhost_device_uvm::view::{ViewError, MAX_DIGEST};

const PAGE: usize = 4096;
const VMID: u64 = 3;
/// Where the pages of a test lie in VRAM, and in system memory (bus address).
const IN_VRAM: u64 = 12 * MIB;
const IN_SYSTEM: u64 = 1 << 32;

fn hex(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A space whose first free pages lie in VRAM, in system memory, nowhere, and in VRAM again; what is in them.
fn mixed() -> (Rig, Vec<u8>) {
    let mut rig = Rig::new();
    rig.space(VMID, ON);
    let mut numbers = Numbers(5);
    let mut content = Vec::new();
    for (page, entry) in [
        (0, Some((IN_VRAM + 5 * PAGE as u64) | bit::VRAM)),
        (1, Some(IN_SYSTEM | bit::RAM)),
        (2, None),
        (3, Some(IN_VRAM | bit::VRAM)),
    ] {
        let Some(entry) = entry else { continue };
        rig.set_pte(VMID, FREE + page, entry);
        let bytes = numbers.bytes(PAGE);
        if entry & bit::SYSTEM == bit::SYSTEM {
            rig.poke(IN_SYSTEM, &bytes);
        } else {
            rig.poke_vram(entry & 0xffff_f000, &bytes);
        }
        content.extend(bytes);
    }
    (rig, content)
}

#[test]
fn digest_tells_where_each_byte_lies_and_what_is_there() {
    let (rig, content) = mixed();
    let digest = rig.gpu.view_digest(VMID as u32, FREE << 12, 4 * PAGE as u64).unwrap();
    assert_eq!((digest.vram, digest.system, digest.none), (2 * 4096, 4096, 4096));
    assert_eq!(digest.sha256, hex(&content));
    // A part that begins and ends within pages.
    let part = rig.gpu.view_digest(VMID as u32, (FREE << 12) + 100, 5000).unwrap();
    assert_eq!((part.vram, part.system, part.none), (3996, 1004, 0));
    assert_eq!(part.sha256, hex(&content[100..5100]));
}

#[test]
fn digest_sees_the_tables_and_not_what_a_cache_still_holds() {
    let (mut rig, content) = mixed();
    rig.queue(0, 2, VMID);
    rig.enqueue(0, 2, VMID, &p::copy(FREE << 12, (FREE + 3) << 12, 4096));
    rig.settle();
    assert!(rig.drained(0, 2));
    rig.set_pte(VMID, FREE + 3, IN_SYSTEM | bit::RAM);
    let digest = rig.gpu.view_digest(VMID as u32, (FREE + 3) << 12, PAGE as u64).unwrap();
    assert_eq!((digest.vram, digest.sha256), (0, hex(&content[PAGE..2 * PAGE])));
}

#[test]
fn digest_of_what_does_not_exist_is_refused() {
    let rig = Rig::new();
    assert_eq!(rig.gpu.view_digest(16, 0, 1).unwrap_err(), ViewError::Vmid(16));
    assert_eq!(rig.gpu.view_digest(5, 0, 1).unwrap_err(), ViewError::Disabled(5));
    assert!(rig.gpu.view_digest(0, 0, MAX_DIGEST).is_ok());
    assert!(matches!(rig.gpu.view_digest(0, 0, MAX_DIGEST + 1).unwrap_err(), ViewError::Length { .. }));
    // Up to the end of the number range and round it.
    assert_eq!(rig.gpu.view_digest(0, u64::MAX, 4096).unwrap().vram % 4096, 0);
}

#[test]
fn copies_are_counted_by_direction() {
    let (mut rig, _) = mixed();
    for page in 0..64 {
        rig.set_pte(VMID, FREE + 100 + page, (IN_VRAM + (16 + page) * PAGE as u64) | bit::VRAM);
        rig.set_pte(VMID, FREE + 200 + page, (IN_SYSTEM + (16 + page) * PAGE as u64) | bit::RAM);
    }
    const { assert!(FREE + 264 < PAGES) };
    let (vram, system) = ((FREE + 100) << 12, (FREE + 200) << 12);
    let counted = |rig: &mut Rig, dst: u64, src: u64, bytes: u32| {
        let before = rig.gpu.counters();
        rig.queue(0, 2, VMID);
        rig.enqueue(0, 2, VMID, &p::copy(dst, src, bytes));
        rig.settle();
        assert!(rig.drained(0, 2));
        let after = rig.gpu.counters();
        assert_eq!(after.bytes - before.bytes, u64::from(bytes));
        (after.vram_in - before.vram_in, after.vram_out - before.vram_out)
    };
    assert_eq!(counted(&mut rig, vram, system, 200_000), (200_000, 0));
    assert_eq!(counted(&mut rig, system + 12, vram + 4, 1000), (0, 1000));
    assert_eq!(counted(&mut rig, vram, vram + 0x10000, 8192), (0, 0));
    assert_eq!(counted(&mut rig, system, system + 0x10000, 8192), (0, 0));
    rig.gpu.reset();
    assert_eq!((rig.gpu.counters().vram_in, rig.gpu.counters().vram_out), (0, 0));
}
