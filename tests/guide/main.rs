// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A tiny driver in user space over the in-process device, written from the programming guide and the register
//! reference alone: what it needs and cannot find there is a defect of the guide. It shares nothing with the device but
//! the handle: no tables of registers, no packet layouts. Oracles are bytes computed here.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may give up, and knows its numbers")]

mod access;
mod checks;
mod driver;
mod faults;
mod ih;
mod packets;
mod processes;
mod profiles;
mod regs;
mod rings;
mod spaces;

use driver::{noise, Driver, AGP, FB, PAGE};
use regs::*;
use rings::{Ring, GFX, PAGE_RING};
use vhost_device_uvm::Config;

/// A device with both engines' GFX rings running.
fn machine() -> (Driver, [Ring; 2]) {
    let mut driver = Driver::bring_up(Config::default());
    let rings = engines(&mut driver);
    (driver, rings)
}

fn engines(driver: &mut Driver) -> [Ring; 2] {
    [0, 1].map(|instance| {
        driver.start_engine(instance);
        driver.start_ring(instance, GFX)
    })
}

/// `bytes` as the dwords of a packet.
fn dwords(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn each_engine_copies_scattered_pages_to_vram_and_back() {
    let (mut driver, rings) = machine();
    for (k, mut ring) in rings.into_iter().enumerate() {
        let (source, back) = (driver.gart(8), driver.gart(8));
        let vram = driver.vram(8);
        let data = noise(k as u64, 8 * PAGE as usize);
        driver.fill_buffer(&source, &data);
        // Neither the addresses nor the length are aligned.
        let len = 7 * PAGE as u32 - 3;
        let mut p = packets::copy(source.address + 5, FB + vram + 1, len);
        p.extend(packets::copy(FB + vram + 1, back.address + 2, len));
        assert!(driver.execute(&mut ring, &p), "exception {}", driver.exception(&ring));
        assert_eq!(driver.vram_read(vram + 1, len as usize), data[5..][..len as usize]);
        assert_eq!(driver.buffer(&back)[2..][..len as usize], data[5..][..len as usize]);
    }
}

#[test]
fn the_agp_aperture_is_system_memory_by_bus_address() {
    let (mut driver, [mut ring, _]) = machine();
    let page = driver.system_page();
    let data = noise(3, 64);
    assert!(driver.execute(&mut ring, &packets::write(AGP + page + 8, &dwords(&data))));
    assert_eq!(driver.system_read(page + 8, 64), data);
}

#[test]
fn a_stray_access_lands_on_the_dummy_page_and_the_ring_goes_on() {
    let (mut driver, [mut ring, _]) = machine();
    driver.breaks("dummy_page_saved");
    driver.handle_interrupts();
    let stray = driver.unbound();
    assert!(driver.execute(&mut ring, &packets::write(stray + 12, &[0xdead_beef])));
    assert_eq!(driver.system_read(driver.dummy + 12, 4), 0xdead_beef_u32.to_le_bytes());
    assert_eq!(driver.handle_interrupts(), [], "an unused entry is valid: it points at the dummy page");
    // Outside of the table: the same, and an interrupt.
    let outside = driver.outside();
    assert!(driver.execute(&mut ring, &packets::write(outside + 16, &[0xcafe_f00d])));
    assert_eq!(driver.system_read(driver.dummy + 16, 4), 0xcafe_f00d_u32.to_le_bytes());
    let vectors = driver.handle_interrupts();
    assert_eq!(vectors.len(), 1, "{vectors:x?}");
    assert_eq!((vectors[0].client, vectors[0].page(), vectors[0].is_write()), (CLIENT_VMC, outside, true));
    // In the system aperture, but in neither memory.
    assert!(driver.execute(&mut ring, &packets::write(FB + (1 << 32) + 20, &[0x1234_5678])));
    assert_eq!(driver.vram_read(driver.in_nothing + 20, 4), 0x1234_5678_u32.to_le_bytes());
}

#[test]
fn a_ring_goes_round_its_end_many_times() {
    let (mut driver, [mut ring, _]) = machine();
    let target = driver.gart(1);
    for k in 0..700 {
        let at = u64::from(k % 1024) * 4;
        let mut p = packets::write(target.address + at, &[k ^ 0x5555]);
        p.extend(packets::nop(9));
        assert!(driver.execute(&mut ring, &p));
        assert_eq!(driver.dword(&target, at), k ^ 0x5555);
    }
    assert!(driver.rptr(&ring) > 5 * rings::RING_PAGES * PAGE, "it went round more than five times");
}

#[test]
fn fills_write_bytes_half_words_and_dwords() {
    let (mut driver, [mut ring, _]) = machine();
    let target = driver.gart(1);
    let mut p = packets::fill(0, target.address + 3, 0x0000_00a7, 5);
    p.extend(packets::fill(1, target.address + 16, 0x0000_b1b2, 6));
    p.extend(packets::fill(2, target.address + 32, 0xc1c2_c3c4, 8));
    assert!(driver.execute(&mut ring, &p));
    let mut expected = vec![0; PAGE as usize];
    expected[3..8].fill(0xa7);
    expected[16..22].copy_from_slice(&[0xb2, 0xb1].repeat(3));
    expected[32..40].copy_from_slice(&[0xc4, 0xc3, 0xc2, 0xc1].repeat(2));
    assert_eq!(driver.buffer(&target), expected);
}

#[test]
fn ptepde_writes_what_a_loop_would() {
    let (mut driver, [mut ring, _]) = machine();
    let target = driver.gart(2);
    let (flags, first, step) = (driver::SYSTEM_RW, 0x12_3456_7000, 0x2000);
    assert!(driver.execute(&mut ring, &packets::ptepde(target.address + 8, flags, first, step, 700)));
    let expected: Vec<u8> = (0..700).flat_map(|k| ((first + k * step) | flags).to_le_bytes()).collect();
    assert_eq!(driver.buffer(&target)[8..][..5600], expected);
}

#[test]
fn atomics_do_their_arithmetic_and_return_what_was_there() {
    // Operation, what memory holds, operand, compare: what memory holds then.
    let cases: [(u32, u64, u64, u64, u64); 14] = [
        (0x07, 5, 9, 0, 9),
        (0x08, 5, 9, 5, 9),
        (0x08, 5, 9, 6, 5),
        (0x0f, 0xffff_ffff, 2, 0, 1),
        (0x10, 3, 5, 0, 0xffff_fffe),
        (0x11, 0xffff_ffff, 1, 0, 0xffff_ffff),
        (0x12, 0xffff_ffff, 1, 0, 1),
        (0x13, 0xffff_ffff, 1, 0, 1),
        (0x14, 0xffff_ffff, 1, 0, 0xffff_ffff),
        (0x15, 0b1100, 0b1010, 0, 0b1000),
        (0x16, 0b1100, 0b1010, 0, 0b1110),
        (0x17, 0b1100, 0b1010, 0, 0b0110),
        (0x2f, 0xffff_ffff_0000_0001, 0xffff_ffff, 0, 0),
        (0x27, 0x1111_2222_3333_4444, 0x5555_6666_7777_8888, 0, 0x5555_6666_7777_8888),
    ];
    let (mut driver, [mut ring, _]) = machine();
    let target = driver.gart(1);
    for (op, before, operand, compare, after) in cases {
        driver.system_write(target.bus(0), &before.to_le_bytes());
        assert!(driver.execute(&mut ring, &packets::atomic(op, target.address, operand, compare)));
        let memory = u64::from_le_bytes(driver.system_read(target.bus(0), 8).try_into().unwrap());
        assert_eq!(memory, after, "operation {op:#x}");
        let low = driver.read(SDMA_ATOMIC_PREOP_LO);
        assert_eq!(low, before as u32, "operation {op:#x} returned");
        if op & 0x20 != 0 {
            assert_eq!(driver.read(SDMA_ATOMIC_PREOP_LO + 1), (before >> 32) as u32);
        }
    }
    // Increment wraps past the operand, decrement wraps to it.
    for (op, before, operand, after) in [(0x18, 6, 7, 7), (0x18, 7, 7, 0), (0x19, 3, 7, 2), (0x19, 0, 7, 7)] {
        driver.set_dword(&target, 0, before);
        assert!(driver.execute(&mut ring, &packets::atomic(op, target.address, operand, 0)));
        assert_eq!(driver.dword(&target, 0), after, "operation {op:#x} on {before}");
    }
}

#[test]
fn one_engine_waits_for_what_the_other_fences() {
    let (mut driver, [mut waiting, mut telling]) = machine();
    let (flag, target) = (driver.gart(1), driver.gart(1));
    let mut p = packets::poll(packets::EQUAL, flag.address, 7, packets::FOR_EVER);
    p.extend(packets::copy(flag.address, target.address, 4));
    assert!(!driver.execute(&mut waiting, &p), "nobody wrote the flag");
    assert_eq!(driver.dword(&target, 0), 0);
    assert!(driver.execute(&mut telling, &packets::fence(flag.address, 7)));
    driver.settle();
    assert!(driver.reached(&waiting));
    assert_eq!(driver.dword(&target, 0), 7);
}

#[test]
fn a_poll_that_gives_up_says_so_and_the_ring_goes_on() {
    let (mut driver, [mut ring, _]) = machine();
    let flag = driver.gart(1);
    driver.handle_interrupts();
    assert!(driver.execute(&mut ring, &packets::poll(packets::GREATER_OR_EQUAL, flag.address, 1, 3)));
    let vectors = driver.handle_interrupts();
    let told: Vec<_> = vectors.iter().map(|v| (v.ring, v.client, v.source)).collect();
    assert_eq!(told, [(0, CLIENT_SDMA0, 246)]);
}

#[test]
fn traps_come_in_order_with_context_engine_and_time() {
    let (mut driver, [mut first, mut second]) = machine();
    driver.handle_interrupts();
    let clock = driver.gart(2);
    let mut p = packets::timestamp_get_global(clock.address + 8);
    p.extend([packets::trap(0x012_3456), packets::trap(0x0ff_ffff)].concat());
    driver.clock.advance(12345);
    assert!(driver.execute(&mut first, &p));
    driver.clock.advance(100);
    assert!(driver.execute(&mut second, &packets::trap(3)));
    let vectors = driver.handle_interrupts();
    let told: Vec<_> = vectors.iter().map(|v| (v.client, v.source, v.data[0], v.vmid)).collect();
    let expected = [(CLIENT_SDMA0, 224, 0x012_3456, 0), (CLIENT_SDMA0, 224, 0x0ff_ffff, 0), (CLIENT_SDMA1, 224, 3, 0)];
    assert_eq!(told, expected);
    let stamp = u64::from_le_bytes(driver.system_read(clock.bus(8), 8).try_into().unwrap());
    assert!(stamp >= 12345 && vectors[0].time >= stamp, "{stamp} before {}", vectors[0].time);
    assert!(vectors[2].time >= vectors[0].time + 100);
}

#[test]
fn a_long_row_of_traps_is_handled_without_losing_one() {
    let (mut driver, [mut ring, _]) = machine();
    driver.handle_interrupts();
    let mut seen = Vec::new();
    for batch in 0..10 {
        let p: Vec<u32> = (0..50).flat_map(|k| packets::trap(batch * 50 + k)).collect();
        assert!(driver.execute(&mut ring, &p));
        seen.extend(driver.handle_interrupts().iter().map(|v| v.data[0]));
    }
    assert_eq!(seen, (0..500).collect::<Vec<u32>>());
    assert_eq!(driver.overflows, 0);
}

#[test]
fn a_handler_that_comes_late_finds_the_newest_vectors() {
    let (mut driver, [mut ring, _]) = machine();
    driver.breaks("ih_overflow");
    driver.handle_interrupts();
    for batch in 0..4 {
        let p: Vec<u32> = (0..50).flat_map(|k| packets::trap(batch * 50 + k)).collect();
        assert!(driver.execute(&mut ring, &p));
    }
    let seen: Vec<u32> = driver.handle_interrupts().iter().map(|v| v.data[0]).collect();
    assert_eq!(driver.overflows, 1);
    // A page holds 128 vectors, one of which is never told.
    assert_eq!(seen, (200 - 127..200).collect::<Vec<u32>>());
    assert!(driver.execute(&mut ring, &packets::trap(1000)));
    let seen: Vec<u32> = driver.handle_interrupts().iter().map(|v| v.data[0]).collect();
    assert_eq!((seen, driver.overflows), (vec![1000], 1));
}

#[test]
fn conditional_packets_are_skipped_unless_memory_says_so() {
    let (mut driver, [mut ring, _]) = machine();
    let (flag, target) = (driver.gart(1), driver.gart(1));
    driver.set_dword(&flag, 4, 1);
    let mut p = Vec::new();
    for (k, at) in [0, 4].into_iter().enumerate() {
        let guarded = packets::write(target.address + 8 * k as u64, &[0xaaaa]);
        p.extend(packets::cond_exe(flag.address + at, 1, guarded.len() as u32));
        p.extend(guarded);
    }
    assert!(driver.execute(&mut ring, &p));
    assert_eq!((driver.dword(&target, 0), driver.dword(&target, 8)), (0, 0xaaaa));
}

#[test]
fn a_kernel_ring_writes_and_polls_registers() {
    let (mut driver, [mut ring, _]) = machine();
    let mut p = packets::srbm_write(BIOS_SCRATCH + 2, 0x1357_9bdf);
    p.extend(packets::poll_register(packets::EQUAL, BIOS_SCRATCH + 2, 0x0007_0000, 0x000f_0000));
    driver.handle_interrupts();
    assert!(driver.execute(&mut ring, &p));
    assert_eq!(driver.read(BIOS_SCRATCH + 2), 0x1357_9bdf);
    assert_eq!(driver.handle_interrupts(), [], "the poll saw it");
}

#[test]
fn the_page_ring_works_while_the_gfx_ring_polls() {
    let (mut driver, [mut gfx, _]) = machine();
    let mut page = driver.start_ring(0, PAGE_RING);
    let (flag, target) = (driver.gart(1), driver.gart(1));
    assert!(!driver.execute(&mut gfx, &packets::poll(packets::EQUAL, flag.address, 1, packets::FOR_EVER)));
    assert!(driver.execute(&mut page, &packets::ptepde(target.address, 1, 0x5000, 0x1000, 3)));
    assert_eq!(driver.dword(&target, 16), 0x7001);
    assert!(!driver.reached(&gfx));
    driver.set_dword(&flag, 0, 1);
    driver.settle();
    assert!(driver.reached(&gfx));
}

#[test]
fn an_illegal_packet_stops_its_ring_alone_until_it_is_reset() {
    let (mut driver, [mut ring, mut other]) = machine();
    driver.breaks("illegal_packet");
    let target = driver.gart(1);
    driver.handle_interrupts();
    assert!(!driver.execute(&mut ring, &[0x0000_00ee]));
    assert_eq!(driver.exception(&ring), 1);
    assert_eq!(driver.rptr(&ring), 0, "it stands on the packet");
    let vectors = driver.handle_interrupts();
    let told: Vec<_> = vectors.iter().map(|v| (v.client, v.source, v.data[0])).collect();
    assert_eq!(told, [(CLIENT_SDMA0, 247, 1)]);
    assert!(driver.execute(&mut other, &packets::write(target.address, &[1])));
    driver.reset(&mut ring, 0);
    assert_eq!(driver.exception(&ring), 0);
    assert!(driver.execute(&mut ring, &packets::write(target.address + 4, &[2])));
    assert_eq!((driver.dword(&target, 0), driver.dword(&target, 4)), (1, 2));
}

#[test]
fn a_doorbell_that_no_ring_listens_to_is_reported_by_its_slot() {
    let (mut driver, [ring, _]) = machine();
    driver.breaks("doorbell_for_nobody");
    driver.handle_interrupts();
    driver.write(DOORBELL, 0);
    driver.gpu.doorbell(0x10, 64);
    driver.settle();
    let told: Vec<_> = driver.handle_interrupts().iter().map(|v| (v.client, v.source, v.data[0])).collect();
    assert_eq!(told, [(CLIENT_SDMA0, 244, 0x10)]);
    assert_eq!(driver.rptr(&ring), 0, "nothing ran");
}

#[test]
fn a_write_pointer_goes_by_register_too() {
    let (mut driver, [ring, _]) = machine();
    let target = driver.gart(1);
    driver.submit_by_register(ring, &packets::write(target.address, &[0x77]));
    assert_eq!(driver.dword(&target, 0), 0x77);
}

#[test]
fn vram_is_peeked_and_poked_through_two_registers() {
    let (mut driver, _rings) = machine();
    let vram = driver.vram(1);
    driver.vram_write(vram + 4, &0xfeed_0001_u32.to_le_bytes());
    driver.write(MM_INDEX_HI, (vram >> 31) as u32);
    driver.write(MM_INDEX, (vram + 4) as u32 | 1 << 31);
    assert_eq!(driver.read(MM_DATA), 0xfeed_0001);
    driver.write(MM_INDEX, (vram + 8) as u32 | 1 << 31);
    driver.write(MM_DATA, 0xfeed_0002);
    assert_eq!(driver.vram_read(vram + 8, 4), 0xfeed_0002_u32.to_le_bytes());
    driver.write(MM_INDEX, 4 * BIOS_SCRATCH);
    driver.write(MM_DATA, 0xfeed_0003);
    assert_eq!(driver.read(BIOS_SCRATCH), 0xfeed_0003);
}
