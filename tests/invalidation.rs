// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Invalidation engines: eighteen of them, each with its semaphore, request, acknowledge and range; what a request drops
//! and whom it acknowledges; who may use an engine at a time.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{bit, packets as p, reg, Rig, FB, MIB, VRAM};
use std::os::unix::fs::FileExt;
use uvm_spec::hub::Cid;
use vhost_device_uvm::gmc::{Access, Client, Hub, HubId, Memory, TlbSizes};
use vhost_device_uvm::vram::Vram;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

const ENGINES: u32 = 18;
const SEM: u32 = reg::MM + 0x6d1;
const REQ: u32 = reg::MM + 0x6e3;
const ACK: u32 = reg::MM + 0x6f5;
/// Both translation caches and the directories.
const EVERYTHING: u32 = 0x1f << 18;
const SDMA0: u32 = 0x1260;

/// A hub with sixteen flat spaces of 64 pages, page n at frame `first + n`, all of them cached.
struct Bench {
    hub: Hub,
    vram: Vram,
}

impl Bench {
    fn new() -> Self {
        let mut hub = Hub::new(HubId::Mm, 4, TlbSizes::default());
        for vmid in 0..16 {
            hub.write(0x72b + 2 * vmid, table(vmid) as u32 | 1);
            hub.write(0x76b + 2 * vmid, 63);
            hub.write(0x6c0 + vmid, 1);
        }
        // VMID 0 is translated like the others.
        hub.write(0x833, 1 << 3);
        for n in 0..2 * ENGINES {
            hub.write(0x707 + n, u32::MAX);
        }
        Self { hub, vram: Vram::new(VRAM).unwrap() }
    }
    /// Points every page of every space at a frame of generation `generation`.
    fn map(&self, generation: u64) {
        for vmid in 0..16 {
            for page in 0..64 {
                let entry = frame(generation, vmid, page) | bit::VRAM;
                self.vram.file().unwrap().write_all_at(&entry.to_le_bytes(), table(vmid) + 8 * page).unwrap();
            }
        }
    }
    fn get(&mut self, vmid: u32, page: u64) -> u64 {
        let system = GuestMemoryAtomic::new(GuestMemoryMmap::<()>::new());
        let memory = Memory::new(&self.vram, &system);
        let client = Client { l1: vmid as usize % 2, cid: Cid::default(), counted: true };
        self.hub.translate(&memory, client, vmid as u8, page << 12, Access::Read).unwrap().at.unwrap().addr
    }
    /// Has the looked-at pages of a space cached.
    fn touch(&mut self, vmid: u32) {
        for page in PAGES {
            self.get(vmid, page);
        }
    }
}

fn table(vmid: u32) -> u64 {
    MIB + 4096 * u64::from(vmid)
}
fn frame(generation: u64, vmid: u32, page: u64) -> u64 {
    (generation * 1024 + u64::from(vmid) * 64 + page) << 12
}

/// Pages of a space that are looked at: alone, so that no stream forms.
const PAGES: [u64; 4] = [1, 15, 30, 32];

#[test]
fn every_engine_drops_its_vmids_with_every_flush_type_and_no_others() {
    for engine in 0..ENGINES {
        for flush in 0..4 {
            let mut bench = Bench::new();
            bench.map(0);
            for vmid in 0..16 {
                bench.touch(vmid);
            }
            bench.map(1);
            // A mask that has no pattern, another for each engine and flush type.
            let mask = (0x9e37 * (4 * engine + flush + 1)) & 0xffff;
            bench.hub.write(0x6e3 + engine, mask | flush << 16 | EVERYTHING);
            for other in 0..ENGINES {
                let want = if other == engine { mask } else { 0 };
                assert_eq!(bench.hub.read(0x6f5 + other).unwrap() & 0xffff, want);
            }
            for vmid in 0..16 {
                let generation = u64::from(mask >> vmid & 1);
                for page in PAGES {
                    let told = format!("engine {engine} flush type {flush} mask {mask:#x} VMID {vmid} page {page}");
                    assert_eq!(bench.get(vmid, page), frame(generation, vmid, page), "{told}");
                }
            }
        }
    }
}

#[test]
fn every_engine_has_a_range_of_its_own() {
    for engine in 0..ENGINES {
        let mut bench = Bench::new();
        bench.map(0);
        bench.touch(9);
        bench.map(1);
        for other in 0..ENGINES {
            // Pages 16 to 31 for this engine, page 1 for all others.
            let range = if other == engine { (16 | 7) << 1 | 1 } else { 1 << 1 };
            bench.hub.write(0x707 + 2 * other, range);
            bench.hub.write(0x708 + 2 * other, 0);
        }
        bench.hub.write(0x6e3 + engine, 1 << 9 | EVERYTHING);
        let got = PAGES.map(|page| bench.get(9, page));
        assert_eq!(got, [frame(0, 9, 1), frame(0, 9, 15), frame(1, 9, 30), frame(0, 9, 32)], "engine {engine}");
    }
}

#[test]
fn an_acknowledge_tells_of_the_last_request_alone() {
    let mut bench = Bench::new();
    for mask in [1u32, 0x8000, 0, 0xffff, 0x10] {
        bench.hub.write(0x6e3 + 4, mask | EVERYTHING);
        assert_eq!(bench.hub.read(0x6f5 + 4).unwrap() & 0xffff, mask);
        // Nobody but the hub acknowledges.
        bench.hub.write(0x6f5 + 4, !mask);
        assert_eq!(bench.hub.read(0x6f5 + 4).unwrap() & 0xffff, mask);
    }
}

#[test]
fn only_a_request_that_says_so_clears_the_fault_status() {
    for engine in 0..ENGINES {
        let mut rig = Rig::new();
        rig.map(100, 0);
        rig.execute(0, &p::fence(common::GART + 100 * 4096, 1));
        let told = rig.read(reg::FAULT_STATUS);
        assert_ne!(told, 0);
        rig.write(REQ + engine, 0xffff | EVERYTHING | 3 << 16);
        assert_eq!(rig.read(reg::FAULT_STATUS), told);
        // For no VMID at all: the flag counts by itself.
        rig.write(REQ + engine, 1 << 23);
        assert_eq!((rig.read(reg::FAULT_STATUS), rig.read(reg::FAULT_ADDR)), (0, 0));
    }
}

#[test]
fn a_request_wakes_the_queues_of_its_vmids_alone() {
    use common::spaces::{FREE, ON, RETRY};
    let mut rig = Rig::new();
    rig.cam_on();
    for (e, vmid) in [(0, 3), (1, 4)] {
        rig.space(vmid, ON | RETRY);
        rig.queue(e, 2, vmid);
        rig.enqueue(e, 2, vmid, &p::fence(FREE << 12, vmid as u32));
    }
    rig.settle();
    for vmid in [3, 4] {
        rig.set_pte(vmid, FREE, (12 * MIB + vmid * 4096) | bit::VRAM);
    }
    rig.invalidate(11, 1 << 4);
    rig.settle();
    assert!(!rig.drained(0, 2) && rig.drained(1, 2));
    rig.invalidate(11, 1 << 3);
    rig.settle();
    assert!(rig.drained(0, 2));
}

/// A ring waits for a semaphore that the processor holds, uses the engine, and gives it back; meanwhile the processor waits.
#[test]
fn a_semaphore_keeps_two_agents_apart() {
    for engine in [0, 5, 17] {
        let mut rig = Rig::new();
        let sem = SEM + engine;
        assert_eq!(rig.read(sem), 1, "the processor takes it");
        let done = FB + 12 * MIB;
        let ring = [
            p::poll_reg(sem, 3, 1, 1, 100, 0xfff),
            p::srbm_write(REQ + engine, 1 << 6 | EVERYTHING, 0xf),
            p::poll_reg(ACK + engine, 3, 1 << 6, 1 << 6, 100, 0xfff),
            p::fence(done, 1),
            p::poll_mem(done + 4, 3, 1, u32::MAX, 100, 0xfff),
            p::srbm_write(sem, 0, 0xf),
            p::fence(done, 2),
        ];
        rig.submit(0, &ring.concat());
        for _ in 0..20 {
            rig.settle();
            rig.clock.advance(10_000);
        }
        assert_eq!(rig.peek_vram(12 * MIB, 4), [0; 4], "the ring waits for the processor");
        rig.write(REQ + engine, 1 << 9 | EVERYTHING);
        assert_eq!(rig.read(ACK + engine) & 0xffff, 1 << 9, "nobody came between");
        rig.write(sem, 0);
        for _ in 0..20 {
            rig.settle();
            rig.clock.advance(10_000);
        }
        assert_eq!(rig.peek_vram(12 * MIB, 4), [1, 0, 0, 0], "the ring has it");
        assert_eq!([rig.read(sem), rig.read(sem)], [0, 0], "and the processor has not");
        assert_eq!(rig.read(SEM + (engine + 1) % ENGINES), 1, "another engine's is free");
        assert_eq!(rig.read(ACK + engine) & 0xffff, 1 << 6);
        rig.poke_vram(12 * MIB + 4, &1u32.to_le_bytes());
        rig.run_to_idle();
        assert_eq!(rig.peek_vram(12 * MIB, 4), [2, 0, 0, 0]);
        assert_eq!((rig.read(sem), rig.exception(0)), (1, 0), "given back");
        assert_eq!(rig.read(SDMA0 + reg::RB_RPTR), rig.read(SDMA0 + reg::RB_WPTR));
    }
}
