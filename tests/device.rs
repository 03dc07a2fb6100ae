// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The device as a whole: its register space, indirect access, reset, what it refuses to be.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{packets as p, *};
use proptest::prelude::*;
use uvm_spec::{hub, nbio, Access, BLOCKS, MMIO_DWORDS};
use vhost_device_uvm::bus::ManualClock;
use vhost_device_uvm::{Config, Gpu, Progress};
use vm_memory::GuestMemoryAtomic;

/// Every defined register: index, reset value, access. The indirect windows and semaphores answer with something else.
fn registers() -> Vec<(u32, u32, Access, String)> {
    let mut all = Vec::new();
    for block in BLOCKS {
        for reg in block.regs {
            for n in 0..reg.count {
                let index = block.index(reg, n);
                let reset = if reg.name == nbio::RCC_CONFIG_MEMSIZE.name { (VRAM >> 20) as u32 } else { reg.reset };
                let name = uvm_spec::lookup(index).unwrap().to_string();
                if [nbio::MM_DATA.name, nbio::PCIE_DATA2.name].contains(&reg.name) {
                    continue;
                }
                if reg.name == hub::mm::VM_INVALIDATE_ENG_SEM.name {
                    // Free: the first reader gets it.
                    all.push((index, 1, reg.access, name));
                } else {
                    all.push((index, reset, reg.access, name));
                }
            }
        }
    }
    all
}
fn assert_at_reset(rig: &mut Rig) {
    for (index, reset, _, name) in registers() {
        assert_eq!(rig.gpu.mmio_read(index), reset, "{name} at {index:#x}");
    }
}

#[test]
fn every_register_starts_at_its_reset_value() {
    assert_at_reset(&mut Rig::bare());
}

#[test]
fn a_read_only_register_and_an_undefined_one_swallow_writes() {
    let mut rig = Rig::bare();
    for (index, reset, access, name) in registers() {
        if access == Access::Ro {
            rig.gpu.mmio_write(index, !reset);
            assert_eq!(rig.gpu.mmio_read(index), reset, "{name}");
        }
    }
    for index in [2, 0x57, 0xfff, 0x1_2345, MMIO_DWORDS - 1, MMIO_DWORDS, 0x3_ffff, u32::MAX] {
        assert!(uvm_spec::lookup(index).is_none());
        rig.gpu.mmio_write(index, u32::MAX);
        assert_eq!(rig.gpu.mmio_read(index), 0);
    }
    assert_at_reset(&mut rig);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reset_brings_every_register_back_whatever_was_written_and_run(seed in any::<u64>(), brought_up in any::<bool>()) {
        let mut rig = if brought_up { Rig::new() } else { Rig::bare() };
        let mut numbers = Numbers(seed);
        let kept = numbers.bytes(4096);
        let defined: Vec<u32> = registers().into_iter().map(|(index, ..)| index).collect();
        rig.poke_vram(15 * MIB, &kept);
        if brought_up {
            let endless = p::poll_mem(FB + 15 * MIB, 0, 0, 0, 0, 0xfff);
            rig.submit(0, &[p::fence(0x1234, 0), p::trap(1), endless, vec![0xff]].concat());
            let _ = rig.gpu.run();
        }
        for _ in 0..4 {
            // All but the indirect data registers, which could write VRAM; and some that are none.
            for index in defined.iter().copied().chain((0..MMIO_DWORDS).step_by(97).skip(1)) {
                let value = numbers.next() as u32;
                rig.gpu.mmio_write(index, value);
            }
            rig.gpu.doorbell(numbers.below(600) as u32, numbers.next());
            for _ in 0..4 {
                let _ = rig.gpu.run();
            }
        }
        rig.poke_vram(15 * MIB, &kept);
        rig.gpu.reset();
        prop_assert_eq!(rig.gpu.counters(), Default::default());
        prop_assert_eq!(rig.gpu.run(), Progress::Idle);
        prop_assert!(rig.gpu.take_interrupt().is_none());
        assert_at_reset(&mut rig);
        prop_assert_eq!(rig.peek_vram(15 * MIB, 4096), kept);
        // And a driver can bring it up again.
        rig.gpu.reset();
        rig.clock.advance(5);
        rig.bring_up();
        rig.execute(1, &[p::fence(FB + 15 * MIB, 0x600d_600d), p::trap(7)].concat());
        prop_assert_eq!(rig.peek_vram(15 * MIB, 4), 0x600d_600du32.to_le_bytes());
        let raised = rig.take_vectors();
        prop_assert_eq!((raised.len(), raised[0][4]), (1, 7));
    }
}

#[test]
fn the_indirect_registers_reach_registers() {
    let mut rig = Rig::bare();
    let scratch = reg::SCRATCH + 2;
    for (index, data) in [(0, 1), (0xe, 0xf)] {
        rig.gpu.mmio_write(index, scratch * 4);
        rig.gpu.mmio_write(data, 0x1111_0000 | data);
        assert_eq!(rig.gpu.mmio_read(scratch), 0x1111_0000 | data);
        assert_eq!(rig.gpu.mmio_read(data), 0x1111_0000 | data);
        // An SDMA register far out, read with its live value.
        rig.gpu.mmio_write(index, (0x1460 + 0x91) * 4);
        assert_eq!(rig.gpu.mmio_read(data), 4);
    }
}

#[test]
fn mm_index_reaches_all_of_vram_and_nothing_past_it() {
    let mut rig = Rig::bare();
    for at in [0, 4, 0x1234, VRAM - 4] {
        rig.gpu.mmio_write(0, at as u32 | 1 << 31);
        rig.gpu.mmio_write(6, (at >> 31) as u32);
        rig.gpu.mmio_write(1, 0xa5a5_0000 | at as u32 & 0xffff);
        assert_eq!(rig.peek_vram(at, 4), (0xa5a5_0000 | at as u32 & 0xffff).to_le_bytes());
        assert_eq!(rig.gpu.mmio_read(1), 0xa5a5_0000 | at as u32 & 0xffff);
    }
    for at in [VRAM, VRAM + (1 << 31), 1 << 62] {
        rig.gpu.mmio_write(0, at as u32 | 1 << 31);
        rig.gpu.mmio_write(6, (at >> 31) as u32);
        rig.gpu.mmio_write(1, 0xffff_ffff);
        assert_eq!(rig.gpu.mmio_read(1), 0, "{at:#x}");
    }
    assert_eq!(rig.peek_vram(0, 4), 0xa5a5_0000u32.to_le_bytes());
}

#[test]
fn an_indirect_register_that_names_an_indirect_one_leads_nowhere() {
    let mut rig = Rig::bare();
    for (index, data) in [(0u32, 1u32), (0xe, 0xf)] {
        for target in [1, 0xf] {
            rig.gpu.mmio_write(0, 4);
            rig.gpu.mmio_write(0xe, 4);
            rig.gpu.mmio_write(index, target * 4);
            rig.gpu.mmio_write(data, 99);
            assert_eq!(rig.gpu.mmio_read(data), 0);
        }
        // Its own index is an ordinary register.
        rig.gpu.mmio_write(index, index * 4);
        assert_eq!(rig.gpu.mmio_read(data), index * 4);
    }
}

#[test]
fn a_semaphore_has_one_holder() {
    let mut rig = Rig::bare();
    for base in [reg::MM + 0x6d1, 0x2000 + 0x891] {
        let sem = base + 17;
        assert_eq!([rig.gpu.mmio_read(sem), rig.gpu.mmio_read(sem)], [1, 0]);
        // Writing a one neither takes nor releases.
        rig.gpu.mmio_write(sem, 1);
        assert_eq!(rig.gpu.mmio_read(sem), 0);
        rig.gpu.mmio_write(sem, 0);
        rig.gpu.mmio_write(sem, 1);
        assert_eq!([rig.gpu.mmio_read(sem), rig.gpu.mmio_read(sem)], [1, 0]);
        // The others are others.
        assert_eq!(rig.gpu.mmio_read(base), 1);
    }
}

#[test]
fn an_invalidation_is_acknowledged_to_its_engine_for_its_vmids() {
    let mut rig = Rig::bare();
    for (req, ack) in [(reg::MM + 0x6e3, reg::MM + 0x6f5), (0x28a3, 0x28b5)] {
        rig.gpu.mmio_write(req + 5, 0xf8_0000 | 1 << 9);
        assert_eq!(rig.gpu.mmio_read(ack + 5) & 0xffff, 1 << 9);
        assert_eq!(rig.gpu.mmio_read(ack + 4), 0);
    }
}

#[test]
fn a_device_that_cannot_be_is_refused_in_words() {
    let make = |config| {
        let memory = GuestMemoryAtomic::new(common::memory::Ram::new(&RAM).map());
        Gpu::new(config, memory, Box::new(ManualClock::default())).map(drop).map_err(|e| e.to_string())
    };
    let ok = Config { vram_size: VRAM, ..Config::default() };
    assert_eq!(make(ok), Ok(()));
    for levels in [0, 6] {
        let said = make(Config { levels, ..ok }).unwrap_err();
        assert_eq!(said, format!("{levels} page-table levels: 1 to 5 are possible"));
    }
    for vram_size in [0, 1, VRAM - 1, VRAM + MIB] {
        let said = make(Config { vram_size, ..ok }).unwrap_err();
        assert_eq!(said, format!("VRAM of {vram_size} bytes: the size must be a multiple of 16 MiB"));
    }
    let said = make(Config { vram_size: 1 << 40, ..ok }).unwrap_err();
    assert!(said.contains("at most"), "{said}");
}

#[test]
fn guest_memory_that_goes_away_is_a_fault_and_no_end() {
    let mut rig = Rig::new();
    rig.submit(0, &p::copy(FB + 12 * MIB, GART + 40 * 4096, 4 << 20)[..]);
    let _ = rig.gpu.run();
    // The front end takes all RAM away, as between two memory tables.
    let empty = common::memory::Ram::new(&[(1 << 40, 4096)]);
    rig.gpu.system_memory().lock().unwrap().replace(empty.map());
    rig.gpu.mmio_write(0x1460 + reg::RB_WPTR, 256);
    rig.run_to_idle();
    assert_ne!(rig.read(reg::FAULT_STATUS), 0);
    assert_eq!(rig.gpu.mmio_read(0x0de3), (VRAM >> 20) as u32);
}

#[test]
fn vram_of_a_fresh_device_is_zero() {
    assert!(Rig::bare().peek_vram(0, VRAM as usize).iter().all(|&b| b == 0));
}
