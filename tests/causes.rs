// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Every cause of a page fault against every setting of its switches: what the status says, whether an interrupt comes,
//! and whether the default page stands in. The other causes' switches are always set the other way.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{packets as p, *};
use uvm_spec::hub::Cid;
use vhost_device_uvm::gmc::{Access, Client, Hub, HubId, Memory, TlbSizes};
use vhost_device_uvm::vram::Vram;
use vm_memory::GuestMemoryAtomic;

const VMID: u32 = 5;
/// VRAM: a directory of four levels' worth, page tables, and the indirect buffer.
const DIRECTORIES: [u64; 3] = [3 * MIB, 3 * MIB + 4096, 3 * MIB + 2 * 4096];
const PAGE_TABLE: u64 = 3 * MIB + 3 * 4096;
const BUFFER: u64 = 4 * MIB;
const DATA_FRAME: u64 = 5 * MIB;
/// System memory that nothing should reach.
const DUMMY_FRAME: u64 = (1 << 32) + 0x18_0000;
/// Pages of the space.
const GOOD: u64 = 1;
const INVALID: u64 = 2;
const READ_ONLY: u64 = 3;
const WRITE_ONLY: u64 = 4;
const TO_DUMMY: u64 = 5;
const NOWHERE_PAGE: u64 = 6;
const LAST: u64 = (1 << 28) - 1;
const OFFSET: u64 = 0x40;

struct Cause {
    name: &'static str,
    /// The page that it is met at, and whether a write meets it.
    page: u64,
    write: bool,
    /// WALKER_ERROR and PERMISSION_FAULTS.
    walker: u32,
    permissions: u32,
    /// Interrupt switch in VM_CONTEXT_CNTL; the default-page switch is the next bit.
    switch: u32,
    /// Default-page switch in VM_L2_PROTECTION_FAULT_CNTL.
    hub_switch: u32,
}

const fn cause(
    name: &'static str,
    page: u64,
    write: bool,
    walker: u32,
    permissions: u32,
    switch: u32,
    hub_switch: u32,
) -> Cause {
    Cause { name, page, write, walker, permissions, switch, hub_switch }
}

/// Every cause that a DMA engine can meet.
const CAUSES: [Cause; 12] = [
    cause("range, write", LAST + 1, true, 1, 0, 9, 2),
    cause("range, read", LAST + 7, false, 1, 0, 9, 2),
    cause("dummy page, write", TO_DUMMY, true, 7, 0, 11, 8),
    cause("dummy page, read", TO_DUMMY, false, 7, 0, 11, 8),
    cause("PDE0", 1 << 9, true, 2, 1 | 4, 13, 3),
    cause("PDE1", 1 << 18, false, 3, 1 | 2, 13, 4),
    cause("PDE2", 1 << 27, true, 4, 1 | 4, 13, 5),
    cause("no memory", NOWHERE_PAGE, true, 6, 0, 15, 7),
    cause("valid, write", INVALID, true, 0, 1 | 4, 15, 9),
    cause("valid, read", INVALID, false, 0, 1 | 2, 15, 9),
    cause("read", WRITE_ONLY, false, 0, 2, 17, 10),
    cause("write", READ_ONLY, true, 0, 4, 19, 11),
];

/// VM_CONTEXT_CNTL: four levels, the switches of the cause as said, and all others the other way.
fn context(cause: &Cause, interrupt: bool, default: bool) -> u32 {
    let pairs = |i: bool, d: bool| (0..7).fold(0, |all, n| all | (u32::from(i) | u32::from(d) << 1) << (9 + 2 * n));
    let own = 3 << cause.switch;
    1 | 3 << 1 | pairs(!interrupt, !default) & !own | pairs(interrupt, default) & own
}

fn rig(cause: &Cause, interrupt: bool, default: bool, fault_cntl: u32) -> Rig {
    let mut rig = Rig::new();
    let mut put = |at: u64, slot: u64, entry: u64| rig.poke_vram(at + 8 * slot, &entry.to_le_bytes());
    put(DIRECTORIES[2], 0, DIRECTORIES[1] | bit::VALID);
    put(DIRECTORIES[1], 0, DIRECTORIES[0] | bit::VALID);
    put(DIRECTORIES[0], 0, PAGE_TABLE | bit::VALID);
    for (page, entry) in [
        (0, BUFFER | bit::VRAM),
        (GOOD, DATA_FRAME | bit::VRAM),
        (READ_ONLY, DATA_FRAME | bit::VALID | bit::READ),
        (WRITE_ONLY, DATA_FRAME | bit::VALID | bit::WRITE),
        (TO_DUMMY, DUMMY_FRAME | bit::RAM),
        (NOWHERE_PAGE, (8 << 32) | bit::RAM),
    ] {
        put(PAGE_TABLE, page, entry);
    }
    for (index, value) in [
        (reg::PT_BASE + 2 * VMID, (DIRECTORIES[2] | bit::VALID) as u32),
        (reg::PT_END + 2 * VMID, LAST as u32),
        (reg::CONTEXT0 + VMID, context(cause, interrupt, default)),
        (reg::FAULT_CNTL, fault_cntl),
        // Enabled, physical, all 36 bits of the page number.
        (reg::MM + 0x684, 1 | 36 << 2),
        (reg::MM + 0x685, (DUMMY_FRAME >> 12) as u32),
        (reg::MM + 0x686, (DUMMY_FRAME >> 44) as u32),
    ] {
        rig.write(index, value);
    }
    rig
}

/// Runs one access of `cause` in the space; checks the status; returns (fault interrupts, whether the ring stopped, what
/// the default page holds or gave).
fn provoke(rig: &mut Rig, cause: &Cause) -> (usize, bool, bool) {
    let at = cause.page * 4096 + OFFSET;
    rig.poke(DUMMY + OFFSET, &0x0d0d_0d0d_u32.to_le_bytes());
    let packet = if cause.write { p::fence(at, 0x600d_f00d) } else { p::copy(GOOD * 4096, at, 4) };
    let bytes: Vec<u8> = packet.iter().flat_map(|dw| dw.to_le_bytes()).collect();
    rig.poke_vram(BUFFER, &bytes);
    rig.execute(0, &p::indirect(VMID, 0, packet.len() as u32));
    let cid = if cause.write { 15 } else { 46 };
    let want = cause.walker << 1 | cause.permissions << 4 | cid << 9 | u32::from(cause.write) << 18 | VMID << 20;
    assert_eq!(rig.read(reg::FAULT_STATUS), want, "{}", cause.name);
    assert_eq!(u64::from(rig.read(reg::FAULT_ADDR)), cause.page, "{}", cause.name);
    let vectors: Vec<_> = rig.take_vectors().into_iter().filter(|v| v[0] & 0xffff == 0x12).collect();
    for vector in &vectors {
        assert_eq!(
            (vector[0] >> 24 & 15, u64::from(vector[4]), vector[5]),
            (VMID, cause.page, u32::from(cause.write) << 5)
        );
    }
    let stands_in = match cause.write {
        true => rig.peek32(DUMMY + OFFSET) == 0x600d_f00d,
        false => rig.peek_vram(DATA_FRAME, 4) == [0x0d; 4],
    };
    // Nothing else was reached, whatever the switches.
    assert_eq!((rig.peek_vram(DATA_FRAME + OFFSET, 4), rig.peek32(DUMMY_FRAME + OFFSET)), (vec![0; 4], 0));
    (vectors.len(), rig.exception(0) == 2, stands_in)
}

#[test]
fn each_cause_obeys_its_own_switches_of_the_context() {
    for cause in &CAUSES {
        for (interrupt, default) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut rig = rig(cause, interrupt, default, 0);
            let got = provoke(&mut rig, cause);
            let want = (usize::from(interrupt), !default, default);
            assert_eq!(got, want, "{}: interrupt {interrupt}, default page {default}", cause.name);
        }
    }
}

#[test]
fn each_cause_obeys_its_own_default_page_switch_of_the_hub() {
    for cause in &CAUSES {
        for own in [false, true] {
            let all = 0x1ffc;
            let switch = 1 << cause.hub_switch;
            let mut rig = rig(cause, false, false, if own { switch } else { all & !switch });
            assert_eq!(provoke(&mut rig, cause), (0, !own, own), "{}: {own}", cause.name);
        }
    }
}

#[test]
fn the_dummy_page_is_an_ordinary_one_until_its_fault_is_enabled() {
    for cntl in [36 << 2, 1 | 2 | 36 << 2, 1 | 36 << 2] {
        let mut rig = rig(&CAUSES[2], true, false, 0);
        rig.write(reg::MM + 0x684, cntl);
        let faults = cntl == 1 | 36 << 2;
        let packet: Vec<u8> = p::fence(TO_DUMMY * 4096, 7).iter().flat_map(|dw| dw.to_le_bytes()).collect();
        rig.poke_vram(BUFFER, &packet);
        rig.execute(0, &p::indirect(VMID, 0, 4));
        assert_eq!((rig.exception(0) == 2, rig.peek32(DUMMY_FRAME)), (faults, if faults { 0 } else { 7 }), "{cntl:#x}");
    }
}

#[test]
fn a_dummy_page_may_be_virtual_and_a_group_of_pages() {
    // The 26 highest of 36 bits count: 1024 pages around page 0x2400 of the space, which a large page maps with others.
    for (page, faults) in [(0x23ff, false), (0x2400, true), (0x27ff, true), (0x2800, false)] {
        let mut rig = rig(&CAUSES[2], true, false, 0);
        for (slot, at) in (0x12..0x15).map(|slot| (slot, 6 * MIB)) {
            rig.poke_vram(DIRECTORIES[0] + 8 * slot, &(at | bit::VRAM | bit::PDE_PTE).to_le_bytes());
        }
        rig.poke_vram(DIRECTORIES[0] + 8 * 0x11, &((6 * MIB) | bit::VRAM | bit::PDE_PTE).to_le_bytes());
        rig.write(reg::MM + 0x684, 1 | 2 | 26 << 2);
        rig.write(reg::MM + 0x685, 0x2555);
        rig.write(reg::MM + 0x686, 0);
        let packet: Vec<u8> = p::fence(page * 4096 + 4, 7).iter().flat_map(|dw| dw.to_le_bytes()).collect();
        rig.poke_vram(BUFFER, &packet);
        rig.execute(0, &p::indirect(VMID, 0, 4));
        assert_eq!(rig.exception(0) == 2, faults, "page {page:#x}");
        let landed = rig.peek_vram(6 * MIB + page % 512 * 4096 + 4, 4) == 7u32.to_le_bytes();
        assert_eq!(landed, !faults, "page {page:#x}");
    }
}

#[test]
fn an_access_that_runs_into_the_dummy_page_inside_a_large_page_stops_there() {
    let mut rig = rig(&CAUSES[2], true, false, 0);
    rig.poke_vram(DIRECTORIES[0] + 8, &((6 * MIB) | bit::VRAM | bit::PDE_PTE).to_le_bytes());
    rig.write(reg::MM + 0x685, ((6 * MIB) >> 12) as u32 + 41);
    rig.write(reg::MM + 0x686, 0);
    // From the middle of page 40 of the large page to the middle of page 41, in one piece.
    let fill = p::fill((512 + 40) * 4096 + 2048, 0, 7, 4096);
    let packet: Vec<u8> = fill.iter().flat_map(|dw| dw.to_le_bytes()).collect();
    rig.poke_vram(BUFFER, &packet);
    rig.execute(0, &p::indirect(VMID, 0, fill.len() as u32));
    assert_eq!((rig.exception(0), u64::from(rig.read(reg::FAULT_ADDR))), (2, 512 + 41));
    assert_eq!(rig.peek_vram(6 * MIB + 40 * 4096 + 2048, 2048), [7; 2048]);
    assert_eq!(rig.peek_vram(6 * MIB + 41 * 4096, 4096), [0; 4096]);
}

#[test]
fn a_stream_of_pages_stops_at_the_page_that_denies_it() {
    // The fourth page of the source or of the target is one that the copy may not have.
    for (source, entry, name) in [
        (false, DUMMY_FRAME | bit::RAM, "the dummy page"),
        (false, DUMMY_FRAME | bit::RAM & !bit::WRITE, "read-only"),
        (true, DUMMY_FRAME | bit::RAM & !bit::READ, "write-only"),
        (true, 0, "invalid"),
    ] {
        let mut rig = rig(&CAUSES[2], true, false, 0);
        rig.poke_vram(8 * MIB, &[7; 8 * 4096]);
        for n in 0..8 {
            for (first, frames, theirs) in [(16, 8 * MIB, source), (32, 6 * MIB, !source)] {
                let own = (frames + n * 4096) | bit::VRAM;
                let entry = if n == 3 && theirs { entry } else { own };
                rig.poke_vram(PAGE_TABLE + 8 * (first + n), &entry.to_le_bytes());
            }
        }
        rig.write(reg::CONTEXT0 + VMID, 1 | 3 << 1);
        if name != "the dummy page" {
            rig.write(reg::MM + 0x684, 36 << 2);
        }
        let copy = p::copy(32 * 4096, 16 * 4096, 8 * 4096);
        let packet: Vec<u8> = copy.iter().flat_map(|dw| dw.to_le_bytes()).collect();
        rig.poke_vram(BUFFER, &packet);
        rig.execute(0, &p::indirect(VMID, 0, 7));
        let at = if source { 16 + 3 } else { 32 + 3 };
        assert_eq!((rig.exception(0), u64::from(rig.read(reg::FAULT_ADDR))), (2, at), "{name}");
        assert_eq!(rig.peek_vram(6 * MIB, 3 * 4096), [7; 3 * 4096], "{name}");
        assert_eq!(rig.peek_vram(6 * MIB + 4 * 4096, 4096), [0; 4096], "{name}");
        assert_eq!(rig.peek(DUMMY_FRAME, 4096), [0; 4096], "{name}");
    }
}

/// No engine of the device fetches instructions: the hub itself is asked.
#[test]
fn a_denied_instruction_fetch_obeys_its_own_switches() {
    let cause = cause("execute", GOOD, false, 0, 8, 21, 12);
    for (interrupt, default, hub_default) in
        [(false, false, false), (false, true, false), (true, false, false), (true, true, false), (true, false, true)]
    {
        let mut hub = Hub::new(HubId::Mm, 4, TlbSizes::default());
        let vram = Vram::new(VRAM).unwrap();
        let system = GuestMemoryAtomic::new(common::memory::Ram::new(&RAM).map());
        let memory = Memory::new(&vram, &system);
        for (offset, value) in [
            (0x72b + 2 * VMID, (2 * MIB) as u32 | 1),
            (0x76b + 2 * VMID, 511),
            (0x6c0 + VMID, context(&cause, interrupt, default) & !6),
            (0x687, if hub_default { 1 << cause.hub_switch } else { 0 }),
            (0x68e, (DUMMY >> 12) as u32),
        ] {
            hub.write(offset, value);
        }
        let entry = DATA_FRAME | bit::VRAM;
        std::os::unix::fs::FileExt::write_all_at(vram.file().unwrap(), &entry.to_le_bytes(), 2 * MIB + 8 * GOOD)
            .unwrap();
        let client = Client { l1: 1, cid: Cid { read: 0x155, write: 0xaa }, counted: true };
        assert!(hub.translate(&memory, client, VMID as u8, GOOD << 12, Access::Read).is_ok());
        let fault = hub.translate(&memory, client, VMID as u8, GOOD << 12, Access::Execute).unwrap_err();
        let handled = hub.handle(&fault, client.cid);
        assert_eq!(hub.read(0x68b), Some(8 << 4 | 0x155 << 9 | VMID << 20));
        assert_eq!(handled.vector.is_some(), interrupt);
        assert_eq!(handled.page.map(|at| at.addr), (default || hub_default).then_some(DUMMY));
    }
}
