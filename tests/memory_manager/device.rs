// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The same lives with the device underneath: its VRAM, its GART walked through its TLB, its copy engine on packets in
//! a ring, system memory by bus addresses. Every byte of a page counts.

use std::os::unix::fs::FileExt;

use uvm_policy::{EvictKind, Limits};

use crate::common::{bit, packets, Rig, DATA, DUMMY, FB, MIB};
use crate::machine::{Bytes, Engine, Machine, Phys, Sizes, GARBAGE};
use crate::world::{policy, World};

/// The part of VRAM that is managed.
const VRAM: u64 = 8 * MIB;
/// Frame 0, behind what the rig keeps for its rings.
const FRAMES: u64 = (1 << 32) + 64 * 4096;
/// The first GART page that is managed.
const FIRST: u64 = 32;

struct Device(Rig);

impl Device {
    fn new(sizes: &Sizes) -> Self {
        let mut device = Self(Rig::new());
        (0..sizes.vram).for_each(|page| device.write(Phys::Vram(page), GARBAGE));
        (0..sizes.frames).for_each(|frame| device.write(Phys::Frame(frame), GARBAGE));
        device
    }
    fn run(&mut self, dwords: &[u32]) {
        self.0.execute(0, dwords);
        assert_eq!(self.0.exception(0), 0, "the engine stopped");
    }
}

fn address(at: Engine) -> u64 {
    match at {
        Engine::Vram(page) => FB + VRAM + page * 4096,
        Engine::Gart(entry) => DATA + entry * 4096,
    }
}

impl Bytes for Device {
    fn read(&mut self, at: Phys) -> u64 {
        let page = match at {
            Phys::Vram(page) => self.0.peek_vram(VRAM + page * 4096, 4096),
            Phys::Frame(frame) => self.0.peek(FRAMES + frame * 4096, 4096),
        };
        let words: Vec<u64> = page.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        assert!(words.iter().all(|word| *word == words[0]), "a page of two minds at {at:?}");
        words[0]
    }
    fn write(&mut self, at: Phys, stamp: u64) {
        let page = stamp.to_le_bytes().repeat(512);
        match at {
            Phys::Vram(number) => {
                self.0.gpu.vram().file().unwrap().write_all_at(&page, VRAM + number * 4096).unwrap();
            }
            Phys::Frame(frame) => self.0.ram.write(FRAMES + frame * 4096, &page),
        }
    }
    fn set_gart(&mut self, entries: &[(u64, Option<u64>)]) {
        for &(entry, frame) in entries {
            let page = frame.map_or(DUMMY, |frame| FRAMES + frame * 4096);
            self.0.map(FIRST + entry, page | bit::RAM);
        }
        self.0.invalidate(4, 1);
    }
    fn copy(&mut self, from: Engine, to: Engine, pages: u64) {
        self.run(&packets::copy(address(to), address(from), pages as u32 * 4096));
    }
    fn clear(&mut self, at: Engine, pages: u64) {
        self.run(&packets::fill(address(at), 2, 0, pages as u32 * 4096));
    }
}

#[test]
fn no_byte_is_lost_on_the_device() {
    let sizes = Sizes { vram: 40, visible: 24, gart: 40, paging: 8, frames: 160, swap: 160 };
    let limits = Limits::NONE;
    for (seed, failing) in [(1, 0), (2, 12)] {
        let machine = Machine::new(&sizes, Device::new(&sizes));
        let mut world = World::new(policy(&sizes, 3, EvictKind::TwoQueues), machine, 3, limits, seed);
        world.failing = failing;
        let mut next_check = 0;
        while world.events < 6_000 {
            world.step(12);
            if world.events > next_check {
                world.check_all();
                next_check = world.events + 400;
            }
        }
        let stats = world.policy.manager_stats();
        println!("{stats:?} {:?} {:?}", world.refused, world.machine.bytes.0.gpu.counters());
        assert!(stats.copied > 50 * 4096 && stats.swapped_in > 0);
        world.finish();
    }
}
