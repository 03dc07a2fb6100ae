// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What the device shows of itself is what it then does, and looking changes nothing.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::spaces::{faults, FREE, ON, PAGES, RETRY};
use common::walker::{walk, Kind, Loc, Space, Why};
use common::{bit, packets as p, reg, Numbers, Rig, FB, GART, MIB, VRAM};
use uvm_spec::nbio;
use vhost_device_uvm::view::{Hex, ViewError, Walk};

fn va(page: u64) -> u64 {
    page << 12
}

/// Everything that an access can change: all registers, counters, the caches, pending edges.
fn state(rig: &mut Rig) -> String {
    let gpu = &rig.gpu;
    let registers = gpu.view_registers(None).unwrap();
    let waiting = (gpu.view_rings(), gpu.view_faults(), gpu.view_tlb(None, usize::MAX), gpu.counters());
    format!("{registers:?} {waiting:?}")
}

/// A device with a parked queue, a queue in a buffer, cached translations and a fault in the status register.
fn busy() -> Rig {
    let mut rig = Rig::new();
    rig.cam_on();
    rig.space(3, ON | RETRY);
    rig.space(4, ON);
    rig.queue(0, 2, 3);
    rig.execute(1, &p::fence(GART + 100 * 4096, 1));
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 0x1111));
    rig.submit(1, &[p::poll_mem(FB, 3, 1, u32::MAX, 10, 0xfff), p::trap(5)].concat());
    rig.settle();
    rig
}
/// Submits and runs as far as it goes while others wait.
fn execute(rig: &mut Rig, dwords: &[u32]) {
    rig.submit(0, dwords);
    rig.settle();
}

#[test]
fn looking_changes_nothing() {
    let mut rig = busy();
    let before = state(&mut rig);
    for vmid in 0..16 {
        for page in [0, FREE, FREE + 1, PAGES, GART >> 12, FB >> 12] {
            let _ = rig.gpu.view_walk(vmid, va(page));
        }
    }
    let (_, _, _) = (rig.gpu.view_rings(), rig.gpu.view_vmids(), rig.gpu.view_summary());
    assert_eq!(state(&mut rig), before);
    // A semaphore that was looked at is still free.
    let sem = &rig.gpu.view_registers(Some("MMHUB.VM_INVALIDATE_ENG3_SEM")).unwrap()[0];
    assert_eq!(sem.value, Hex(0));
    assert_eq!(rig.read(reg::MM + 0x6d1 + 3), 1, "the first to read it takes it");
}

#[test]
fn registers_are_shown_by_name_as_a_read_gives_them() {
    let mut rig = busy();
    for shown in rig.gpu.view_registers(None).unwrap() {
        let index = u32::try_from(shown.index.0).unwrap();
        let special = [nbio::MM_DATA.name, nbio::PCIE_DATA2.name].contains(&shown.name.as_str());
        if shown.name.contains("SEM") || special {
            continue;
        }
        assert_eq!(shown.value.0, u64::from(rig.read(index)), "{}", shown.name);
        // Its fields put together are the register again.
        let joined = shown.fields.iter().fold(0u64, |v, f| v | u64::from(f.value) << f.bits.1);
        if !shown.fields.is_empty() {
            assert_eq!(joined, shown.value.0, "{}", shown.name);
        }
    }
    let error = rig.gpu.view_registers(Some("IH_RB_CNTRL")).unwrap_err();
    assert_eq!(error.to_string(), "no register is called IH_RB_CNTRL; is IH_RB_CNTL meant?");
}

/// What the view's walk says, in the naive walker's words.
fn told(walk: &Walk, access: usize) -> Result<Loc, Why> {
    let end = &walk.ends[access];
    match end.at {
        Some(at) if at.vram => Ok(Loc::Vram(at.addr.0)),
        Some(at) => Ok(Loc::System(at.addr.0)),
        None if end.why.starts_with("partially") => Ok(Loc::Nothing),
        None if end.why.contains("PDB") => Err(Why::Pde(end.why.split("PDB").nth(1).unwrap()[..1].parse().unwrap())),
        None if end.why.contains("not valid") => Err(Why::Valid),
        None if end.why.contains("denies") => Err(Why::Permission),
        None if end.why.contains("no memory") => Err(Why::Nack),
        None => panic!("{}", end.why),
    }
}

#[test]
fn a_walk_shows_each_level_and_ends_where_the_naive_one_does() {
    let mut numbers = Numbers(77);
    let mut seen = std::collections::BTreeSet::new();
    let mut rig = Rig::new();
    for _ in 0..4000 {
        let depth = numbers.below(4) as u32;
        // Tables of random entries in the first MiB of VRAM: each points at another table there, or at any page.
        let mut tables = Vec::new();
        for _ in 0..64 {
            let kind = numbers.below(8);
            let address = match kind {
                0 => 1 << 40,
                _ => (4 + numbers.below(8)) * 4096,
            };
            let flags = [bit::VALID | bit::READ, bit::VALID | bit::READ | bit::WRITE, bit::PRT, 0];
            let large = if numbers.below(16) == 0 { bit::PDE_PTE } else { 0 };
            let flags = if numbers.below(4) > 0 { bit::VRAM } else { flags[numbers.below(4) as usize] };
            tables.extend_from_slice(&(address | flags | large).to_le_bytes());
        }
        for table in 4..12 {
            rig.poke_vram(table * 4096, &tables);
        }
        let root = (4 * 4096) | bit::VALID;
        let last = (1u64 << (9 * (depth + 1))) - 1;
        for (index, value) in [
            (reg::PT_BASE + 10, root as u32),
            (reg::PT_START + 10, 0),
            (reg::PT_END + 10, last as u32),
            (reg::PT_END + 11, (last >> 32) as u32),
            (reg::CONTEXT0 + 5, ON | depth << 1),
        ] {
            rig.write(index, value);
        }
        let address = (0..=depth).fold(0, |va, level| va | numbers.below(64) << (12 + 9 * level)) | numbers.below(4096);
        let space = Space { enabled: true, depth, block_bits: 9, first_page: 0, last_page: last, root, fb_offset: 0 };
        let shown = rig.gpu.view_walk(5, address).unwrap();
        for (access, kind) in [Kind::Read, Kind::Write, Kind::Execute].into_iter().enumerate() {
            let naive = walk(&mut rig.model.mem, &space, address, kind);
            assert_eq!(told(&shown, access), naive, "{address:#x} {kind:?} {shown:?}");
            seen.insert(format!("{naive:?}").split('(').take(2).collect::<Vec<_>>().join("("));
        }
        // Each step's entry is what lies there, and each but the last points at the next one's table.
        for (step, next) in shown.steps.iter().zip(shown.steps.iter().skip(1).map(Some).chain([None])) {
            let Some(entry) = step.entry else { continue };
            let raw = rig.peek_vram(step.at.addr.0, 8);
            assert_eq!(entry.0, u64::from_le_bytes(raw.try_into().unwrap()));
            if let Some(next) = next {
                assert_eq!(entry.0 & 0xffff_ffff_ffc0, next.at.addr.0 - 8 * next.slot);
            }
        }
        let levels: Vec<&str> = shown.steps.iter().map(|s| s.level.as_str()).collect();
        let all: Vec<String> = (0..depth).rev().map(|n| format!("PDB{n}")).chain(["PTB".into()]).collect();
        assert_eq!(levels, all[..levels.len()]);
    }
    for end in ["Ok(Vram", "Ok(Nothing)", "Err(Pde", "Err(Valid)", "Err(Permission)", "Err(Nack)"] {
        assert!(seen.contains(end), "{end} is not among {seen:?}");
    }
}

#[test]
fn an_address_outside_of_the_space_is_refused_in_words() {
    let rig = busy();
    let refused = |vmid, va| rig.gpu.view_walk(vmid, va).unwrap_err();
    assert_eq!(refused(16, 0), ViewError::Vmid(16));
    assert_eq!(refused(9, 0), ViewError::Disabled(9));
    assert_eq!(refused(3, va(PAGES)).to_string(), "0x2000000 lies outside of VMID 3's space, 0x0 to 0x1ffffff",);
    assert_eq!(
        refused(3, u64::MAX),
        ViewError::Outside { vmid: 3, va: Hex(u64::MAX), first: Hex(0), last: Hex(0x1ff_ffff) }
    );
    let direct = rig.gpu.view_walk(0, FB + 0x1234).unwrap();
    assert!(direct.aperture && direct.steps.is_empty());
    assert_eq!(direct.ends[1].at.unwrap().to_string(), "VRAM 0x1234");
}

#[test]
fn rings_show_where_they_stand() {
    let mut rig = busy();
    let rings = rig.gpu.view_rings();
    let find = |instance, name: &str| rings.iter().find(|r| (r.instance, r.ring.as_str()) == (instance, name)).unwrap();
    // Four of each SDMA instance, and the access engine's queues.
    assert_eq!(rings.len(), 12);
    assert_eq!(find(0, "GFX").state, "idle");
    assert_eq!(find(0, "RLC1").state, "disabled");
    let parked = find(0, "RLC0");
    assert_eq!((parked.state.as_str(), parked.vmid), ("parked", 3));
    assert_eq!(parked.packet.as_deref(), Some("FENCE addr=0x2000 data=0x1111"));
    assert!(parked.why.as_ref().unwrap().contains("write of 0x2000 in VMID 3"), "{parked:?}");
    let waiting = find(1, "GFX");
    assert_eq!(waiting.state, "waiting");
    assert!(waiting.packet.as_ref().unwrap().contains(" addr=0xf400000000 "), "{waiting:?}");
    // An illegal packet stops its ring where it is.
    rig.submit(0, &[0xff]);
    rig.settle();
    let stopped = &rig.gpu.view_rings()[0];
    assert_eq!((stopped.state.as_str(), stopped.why.as_deref()), ("exception", Some("illegal packet")));
    assert_eq!(stopped.packet.as_deref(), Some("illegal header 0x000000ff"));
}

#[test]
fn a_ring_in_a_buffer_shows_the_buffers_packet() {
    let mut rig = Rig::new();
    let buffer = [p::nop(2), p::poll_mem(FB, 3, 1, u32::MAX, 10, 0xfff)].concat();
    let raw: Vec<u8> = buffer.iter().flat_map(|dw| dw.to_le_bytes()).collect();
    rig.poke_va(common::IB, &raw);
    rig.submit(0, &p::indirect(0, common::IB, buffer.len() as u32));
    rig.settle();
    let ring = rig.gpu.view_rings().remove(0);
    let ib = ring.ib.unwrap();
    assert_eq!((ib.vmid, ib.base.0, ib.dwords, ib.at), (0, common::IB, buffer.len() as u32, 3));
    assert!(ib.packet.unwrap().starts_with("POLL_REGMEM"));
    assert!(ring.packet.unwrap().starts_with("INDIRECT"));
}

#[test]
fn caches_show_what_they_hold_until_it_is_invalidated() {
    let mut rig = Rig::new();
    rig.space(4, ON);
    rig.queue(0, 2, 4);
    for page in 0..3 {
        rig.set_pte(4, FREE + 100 * page, (8 * MIB + page * 4096) | bit::VRAM);
        rig.enqueue(0, 2, 4, &p::fence(va(FREE + 100 * page), 1));
    }
    rig.settle();
    let held = |rig: &Rig, most| {
        let tlbs = rig.gpu.view_tlb(Some(4), most);
        let l2 = tlbs.caches.iter().find(|c| c.name == "L2").unwrap().clone();
        (l2.entries.iter().map(|e| (e.va.0, e.at.addr.0)).collect::<Vec<_>>(), l2.left_out)
    };
    let pages: Vec<(u64, u64)> = (0..3).map(|n| (va(FREE + 100 * n), 8 * MIB + n * 4096)).collect();
    let own = (0, 13 * MIB + 8 * 4096);
    assert_eq!(held(&rig, 100), ([&[own][..], &pages].concat(), 0));
    assert_eq!(held(&rig, 1), (vec![own], 3));
    // The table changes: the cache does not, and says so.
    rig.set_pte(4, FREE, (9 * MIB) | bit::VRAM);
    assert_eq!(held(&rig, 100).0[1], pages[0]);
    assert_eq!(rig.gpu.view_walk(4, va(FREE)).unwrap().ends[0].at.unwrap().addr.0, 9 * MIB);
    rig.invalidate(1, 1 << 4);
    assert_eq!(held(&rig, 100), (vec![], 0));
    let shown = rig.gpu.view_tlb(None, 0);
    let hits: u64 = shown.caches.iter().map(|c| c.hits).sum();
    assert_eq!((hits, shown.walks), (rig.gpu.counters().tlb_hits, rig.gpu.counters().walks));
}

#[test]
fn address_spaces_show_their_registers_their_process_and_their_work() {
    let rig = busy();
    let spaces = rig.gpu.view_vmids();
    assert_eq!(spaces.len(), 16);
    let on: Vec<u8> = spaces.iter().filter(|s| s.enabled).map(|s| s.vmid).collect();
    assert_eq!(on, [0, 3, 4]);
    let three = &spaces[3];
    assert_eq!((three.pasid, three.levels, three.retry), (1003, 1, true));
    assert_eq!((three.first, three.last), (Hex(0), Hex(PAGES * 4096 - 1)));
    assert_eq!(three.root.unwrap().to_string(), format!("VRAM {:#x}", common::spaces::table(3)));
    assert_eq!(three.busy, ["SDMA0 RLC0"]);
    assert_eq!(spaces[0].busy, ["SDMA1 GFX"]);
    assert!(spaces[4].busy.is_empty() && !spaces[4].retry);
}

#[test]
fn faults_show_who_waits_who_was_told_and_what_happened() {
    let mut rig = busy();
    let vector = faults(&rig.take_vectors())[0];
    execute(&mut rig, &p::fence(GART + common::GART_PAGES * 4096, 1));
    let shown = rig.gpu.view_faults();
    let cam: Vec<_> = shown.cam.iter().map(|e| (e.index, e.vmid, e.va.0)).collect();
    assert_eq!(cam, [(vector.cam as usize, 3, va(FREE))]);
    let parked: Vec<_> = shown.parked.iter().map(|p| (p.ring.as_str(), p.vmid, p.va.0, p.access.as_str())).collect();
    assert_eq!(parked, [("SDMA0 RLC0", 3, va(FREE), "write")]);
    assert_eq!(shown.status.len(), 1);
    assert_eq!(shown.status[0].va.0, GART + common::GART_PAGES * 4096);
    // CID 15 is where SDMA0 writes.
    assert_eq!(shown.status[0].text, "WALKER_ERROR=1 CID=15 RW=1");
    let recent: Vec<_> = shown.recent.iter().map(|f| (f.number, f.times, f.vmid, f.retry)).collect();
    assert_eq!(recent, [(2, 1, 0, false), (1, 1, 3, true)]);
    assert_eq!(shown.count, rig.gpu.counters().faults);
    // The list is bounded; the same fault over and over is one of it.
    for page in 0..200u64 {
        for _ in 0..2 {
            execute(&mut rig, &p::fence(GART + (common::GART_PAGES + page) * 4096, 1));
        }
    }
    let recent = rig.gpu.view_faults().recent;
    assert_eq!(recent.len(), 64);
    assert_eq!((recent[0].times, recent[0].va.0 >> 12), (2, (GART >> 12) + common::GART_PAGES + 199));
    assert_eq!(rig.gpu.vram().size(), VRAM);
}
