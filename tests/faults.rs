// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Page faults: what the status says, what the vector carries, what stands in for the data, and what goes on.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{packets as p, *};

/// A GART page that the tests unmap, and its address.
const HOLE: u64 = 100;
const HOLE_VA: u64 = GART + HOLE * 4096;
/// CID of each instance's reads and writes: they come in by ports of their own.
const READS: [u32; 2] = [46 << 9, 15 << 9];
const WRITES: [u32; 2] = [15 << 9, 46 << 9];

fn rig_with_entry(entry: u64) -> Rig {
    let mut rig = Rig::new();
    rig.poke_vram(8 * MIB, &Numbers(5).bytes(MIB as usize));
    rig.poke(DUMMY, &Numbers(6).bytes(4096));
    rig.map(HOLE, entry);
    rig
}
fn fault_page(rig: &mut Rig) -> u64 {
    u64::from(rig.read(reg::FAULT_ADDR)) | u64::from(rig.read(reg::FAULT_ADDR + 1)) << 32
}

#[test]
fn an_unmapped_read_tells_permission_faults_3_and_reads_the_dummy_page() {
    let mut rig = rig_with_entry(0);
    rig.execute_checked(0, &p::copy(FB + 9 * MIB, HOLE_VA + 8, 100));
    assert_eq!(rig.read(reg::FAULT_STATUS), 3 << 4 | READS[0]);
    assert_eq!(fault_page(&mut rig), HOLE_VA >> 12);
    let vectors = rig.take_vectors();
    assert_eq!(vectors.len(), 1);
    // Client VMC, source 0, ring 0, VMID 0 of the MM hub; the page number; no write.
    assert_eq!(vectors[0], [0x8000_0012, 0, 0, 0, (HOLE_VA >> 12) as u32, 0, 0, 0]);
    assert_eq!(rig.peek_vram(9 * MIB, 100), rig.peek(DUMMY + 8, 100));
}

#[test]
fn an_unmapped_write_tells_permission_faults_5_and_lands_in_the_dummy_page() {
    let mut rig = rig_with_entry(0);
    rig.clock.advance(0x1_2345_6789);
    rig.model.now = 0x1_2345_6789;
    rig.execute_checked(1, &p::fence(HOLE_VA + 0x40, 0xfeed_beef));
    assert_eq!(rig.read(reg::FAULT_STATUS), 5 << 4 | 1 << 18 | WRITES[1]);
    let vectors = rig.take_vectors();
    assert_eq!(vectors, [[0x8000_0012, 0x2345_6789, 1, 0, (HOLE_VA >> 12) as u32, 1 << 5, 0, 0]]);
    assert_eq!(rig.peek32(DUMMY + 0x40), 0xfeed_beef);
}

#[test]
fn a_denied_access_tells_the_permission_without_valid() {
    let frame = 9 * MIB;
    for (entry, packet, status) in [
        (frame | bit::VALID | bit::WRITE, p::copy(FB + 10 * MIB, HOLE_VA, 4), 2 << 4 | READS[0]),
        (frame | bit::VALID | bit::READ, p::fence(HOLE_VA, 1), 4 << 4 | 1 << 18 | WRITES[0]),
        (frame | bit::VALID | bit::READ, p::atomic(7, HOLE_VA, 1, 0), 4 << 4 | 3 << 18 | WRITES[0]),
    ] {
        let mut rig = rig_with_entry(entry);
        rig.execute_checked(0, &packet);
        assert_eq!(rig.read(reg::FAULT_STATUS), status);
        assert_eq!(rig.peek_vram(frame, 64), rig.model.mem.vram[frame as usize..][..64]);
    }
}

#[test]
fn an_address_outside_the_space_is_a_range_fault() {
    let mut rig = rig_with_entry(0);
    let past = GART + GART_PAGES * 4096;
    rig.execute_checked(0, &p::fence(past + 4, 1));
    assert_eq!(rig.read(reg::FAULT_STATUS), 1 << 1 | 1 << 18 | WRITES[0]);
    assert_eq!(fault_page(&mut rig), past >> 12);
    assert_eq!(rig.take_vectors().len(), 1);
}

#[test]
fn the_system_aperture_without_memory_is_a_mapping_error_and_gets_its_own_default_page() {
    let mut rig = rig_with_entry(0);
    rig.execute_checked(0, &p::fence(NOWHERE + 0x123_4008, 0x0bad_cafe));
    assert_eq!(rig.read(reg::FAULT_STATUS), 1 << 8 | 1 << 18 | WRITES[0]);
    assert_eq!(rig.peek_vram(SYS_DEFAULT + 8, 4), 0x0bad_cafe_u32.to_le_bytes());
}

#[test]
fn a_page_where_no_memory_is_is_a_nack() {
    let mut rig = rig_with_entry((8 << 32) | bit::RAM);
    rig.execute_checked(0, &p::fence(HOLE_VA, 1));
    assert_eq!(rig.read(reg::FAULT_STATUS), 6 << 1 | 1 << 18 | WRITES[0]);
    // The AGP aperture over a hole of RAM is one too.
    let mut rig = rig_with_entry(0);
    rig.execute_checked(0, &p::fence(AGP + 3 * MIB, 1));
    assert_eq!(rig.read(reg::FAULT_STATUS), 6 << 1 | 1 << 18 | WRITES[0]);
}

#[test]
fn a_partially_resident_page_reads_zero_and_drops_writes_without_a_fault() {
    let mut rig = rig_with_entry(bit::PRT);
    let packets = [
        p::fence(HOLE_VA, 0xffff_ffff),
        p::copy(FB + 10 * MIB, HOLE_VA, 4096),
        p::atomic(0x0f, HOLE_VA, 5, 0),
        p::copy(HOLE_VA, FB + 8 * MIB, 4096),
    ];
    rig.execute_checked(0, &packets.concat());
    assert_eq!(rig.read(reg::FAULT_STATUS), 0);
    assert_eq!(rig.peek_vram(10 * MIB, 4096), [0; 4096]);
    assert!(rig.take_vectors().is_empty());
}

#[test]
fn the_status_holds_the_first_fault_and_says_that_more_came() {
    let mut rig = rig_with_entry(0);
    rig.map(HOLE + 1, 0);
    rig.execute(0, &p::fence(HOLE_VA, 1));
    assert_eq!(rig.read(reg::FAULT_STATUS) & 1, 0);
    rig.execute(0, &p::copy(FB + 9 * MIB, HOLE_VA + 4096, 4));
    assert_eq!(rig.read(reg::FAULT_STATUS), 1 | 5 << 4 | 1 << 18 | WRITES[0]);
    assert_eq!(fault_page(&mut rig), HOLE_VA >> 12);
    // Both were told by a vector of their own.
    assert_eq!(rig.take_vectors().len(), 2);
    // Clearing makes room for the next.
    rig.write(reg::FAULT_CNTL, 0x3fff_fffd);
    assert_eq!((rig.read(reg::FAULT_STATUS), fault_page(&mut rig)), (0, 0));
    rig.execute(0, &p::copy(FB + 9 * MIB, HOLE_VA + 4096, 4));
    assert_eq!(rig.read(reg::FAULT_STATUS), 3 << 4 | READS[0]);
    assert_eq!(fault_page(&mut rig), (HOLE_VA >> 12) + 1);
}

#[test]
fn an_invalidation_can_clear_the_status() {
    let mut rig = rig_with_entry(0);
    rig.execute(0, &p::fence(HOLE_VA, 1));
    rig.write(reg::MM + 0x6e3 + 3, 1);
    assert_ne!(rig.read(reg::FAULT_STATUS), 0);
    rig.write(reg::MM + 0x6e3 + 3, 1 | 1 << 23);
    assert_eq!((rig.read(reg::FAULT_STATUS), fault_page(&mut rig)), (0, 0));
    assert_eq!(rig.read(reg::MM + 0x6f5 + 3), 1);
}

#[test]
fn later_faults_overwrite_the_status_where_that_is_allowed() {
    let mut rig = rig_with_entry(0);
    rig.write(reg::FAULT_CNTL, 0x3fff_fffe);
    rig.execute(0, &p::fence(HOLE_VA, 1));
    rig.execute(0, &p::copy(FB + 9 * MIB, NOWHERE, 4));
    assert_eq!(rig.read(reg::FAULT_STATUS), 1 << 8 | READS[0]);
    assert_eq!(fault_page(&mut rig), NOWHERE >> 12);
}

#[test]
fn a_packet_over_many_unmapped_pages_interrupts_once_a_direction() {
    let mut rig = rig_with_entry(0);
    for page in 0..64 {
        rig.map(HOLE + page, 0);
    }
    rig.execute_checked(0, &p::copy(HOLE_VA, HOLE_VA + 32 * 4096, 16 * 4096));
    let writes: Vec<u32> = rig.take_vectors().iter().map(|v| v[5] >> 5 & 1).collect();
    assert_eq!(writes, [0, 1]);
    assert_eq!(rig.gpu.counters().faults, 32);
}

#[test]
fn a_fault_without_a_default_page_stops_its_ring_and_no_other() {
    let mut rig = rig_with_entry(0);
    rig.write(reg::FAULT_CNTL, 0);
    // Interrupts without default pages.
    rig.write(reg::CONTEXT0, 1 | 0x1555 << 9);
    let copy = p::copy(HOLE_VA - 4096, FB + 8 * MIB, 4096 + 64);
    rig.map(HOLE - 1, (9 * MIB) | bit::VRAM);
    rig.push(0, &[copy, p::fence(FB + 10 * MIB, 1)].concat());
    rig.submit(1, &[p::fence(FB + 10 * MIB + 8, 2), p::trap(3)].concat());
    rig.kick(0);
    rig.run_to_idle();
    assert_eq!((rig.exception(0), rig.exception(1)), (2, 0));
    assert_eq!(rig.read(reg::FAULT_STATUS), 5 << 4 | 1 << 18 | WRITES[0]);
    // What came before the hole is there, what came after is not; the read pointer stays on the packet.
    assert_eq!(rig.peek_vram(9 * MIB, 4096), rig.peek_vram(8 * MIB, 4096));
    assert_eq!(rig.peek_vram(10 * MIB, 12), [0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(rig.read(0x1260 + reg::RB_RPTR), 0);
    let mut told: Vec<(u32, u32)> = rig.take_vectors().iter().map(|v| (v[0] & 0xffff, v[4])).collect();
    told.sort_unstable();
    assert_eq!(told, [(0x12, (HOLE_VA >> 12) as u32), (0x09 | 224 << 8, 3), (0x08 | 247 << 8, 2)]);
    // The ring goes on after it was switched off and on.
    rig.map(HOLE, (11 * MIB) | bit::VRAM);
    rig.write(0x1260 + reg::RB_CNTL, RB_ON & !1);
    rig.write(0x1260 + reg::RB_CNTL, RB_ON);
    rig.run_to_idle();
    assert_eq!(rig.exception(0), 0);
    assert_eq!(rig.peek_vram(10 * MIB, 1), [1]);
    assert_eq!(rig.peek_vram(11 * MIB, 64), rig.peek_vram(8 * MIB + 4096, 64));
}

#[test]
fn the_hub_and_the_context_each_can_give_the_default_page() {
    for (hub, context, exception) in
        [(0, CONTEXT_ON, 0), (0x3fff_fffc, 1 | 0x1555 << 9, 0), (0, 1 | 0x1555 << 9, 2), (0, 1, 2)]
    {
        let mut rig = rig_with_entry(0);
        rig.write(reg::FAULT_CNTL, hub);
        rig.write(reg::CONTEXT0, context);
        rig.execute_checked(0, &p::fence(HOLE_VA, 1));
        assert_eq!(rig.exception(0), exception, "{hub:#x} {context:#x}");
    }
}

#[test]
fn without_the_interrupt_bit_the_status_alone_tells() {
    let mut rig = rig_with_entry(0);
    rig.write(reg::CONTEXT0, 1 | 0x2aaa << 9);
    rig.execute_checked(0, &p::fence(HOLE_VA, 1));
    assert_ne!(rig.read(reg::FAULT_STATUS), 0);
    assert!(rig.take_vectors().is_empty());
}

#[test]
fn a_default_page_that_is_nowhere_drops_writes_and_reads_zero() {
    let mut rig = rig_with_entry(0);
    rig.write(reg::DEFAULT_ADDR, 0xffff_ffff);
    rig.write(reg::DEFAULT_ADDR + 1, 0xffff_ffff);
    let packets = [p::fence(HOLE_VA, 1), p::copy(FB + 8 * MIB + 16, HOLE_VA, 32), p::atomic(0x0f, HOLE_VA, 1, 0)];
    // The page number has 36 bits.
    rig.model.regs.insert(reg::DEFAULT_ADDR + 1, 0xf);
    rig.execute_checked(0, &packets.concat());
    assert_eq!(rig.exception(0), 0);
    assert_eq!(rig.peek_vram(8 * MIB + 16, 32), [0; 32]);
}

#[test]
fn a_disabled_context_faults_by_range_whichever_way_it_is_disabled() {
    for way in 0..2 {
        let mut rig = rig_with_entry(0);
        // The ring itself must stay readable: AGP addresses need no context.
        rig.write(0x1260 + reg::RB_CNTL, 0);
        rig.write(0x1260 + 0x81, ((AGP + MIB) >> 8) as u32);
        rig.write(0x1260 + 0x82, ((AGP + MIB) >> 40) as u32);
        rig.write(0x1260 + reg::RB_CNTL, RB_ON & !(1 << 12));
        let raw: Vec<u8> = p::fence(HOLE_VA - 4096, 7).iter().flat_map(|dw| dw.to_le_bytes()).collect();
        rig.poke(MIB, &raw);
        match way {
            0 => rig.write(reg::CONTEXT0, CONTEXT_ON & !1),
            _ => rig.write(reg::CONTEXTS_DISABLE, 1),
        }
        rig.model.engines[0].wptr = 16;
        rig.kick(0);
        rig.run_to_idle();
        rig.model.run(0);
        rig.check();
        assert_eq!(rig.read(reg::FAULT_STATUS), 1 << 1 | 1 << 18 | WRITES[0]);
    }
}

#[test]
fn a_fault_in_another_vmid_carries_its_pasid() {
    let mut rig = rig_with_entry(0);
    // MM hub's VMID 7; the GC hub's table must not be looked at.
    rig.write(reg::IH + 0x10 + 7, 0xabc7);
    rig.write(reg::IH + 7, 0x1111);
    rig.write(reg::CONTEXT0 + 7, CONTEXT_ON);
    rig.poke(DUMMY, &[0; 4096]);
    rig.execute_checked(0, &p::indirect(7, 0x5000, 4));
    let vectors = rig.take_vectors();
    assert_eq!(vectors[0][0], 0x8000_0012 | 7 << 24);
    assert_eq!(vectors[0][3], 0xabc7);
    assert_eq!(rig.read(reg::FAULT_STATUS) >> 20 & 15, 7);
}

#[test]
fn write_backs_and_rings_that_lie_nowhere_fault_and_stop_nobody_else() {
    let mut rig = rig_with_entry(0);
    // A read pointer's write-back into a hole goes to the dummy page; the ring goes on.
    rig.write(0x1260 + 0x88, (HOLE_VA >> 32) as u32);
    rig.write(0x1260 + 0x89, HOLE_VA as u32 | 16);
    rig.execute_checked(0, &[p::nop(0), p::fence(FB + 10 * MIB, 1)].concat());
    assert_eq!(rig.peek32(DUMMY + 16), 20);
    // A ring in a hole reads the dummy page: noise, which is no packet.
    rig.poke(DUMMY, &[0xff; 4096]);
    rig.write(0x1460 + 0x81, (HOLE_VA >> 8) as u32);
    rig.gpu.mmio_write(0x1460 + reg::RB_WPTR, 64);
    rig.submit(0, &p::fence(FB + 10 * MIB + 4, 1));
    rig.run_to_idle();
    assert_eq!((rig.exception(0), rig.exception(1)), (0, 1));
    assert_eq!(rig.peek_vram(10 * MIB + 4, 1), [1]);
}
