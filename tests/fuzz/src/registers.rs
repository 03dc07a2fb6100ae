// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Register accesses, doorbells and turns of the engines in any order: the device stays bounded, undefined registers read
//! as zero, and a reset brings every register back.
//!
//! An input is a list of steps, each a byte that says which and its operands; an operand that the input does not hold is 0.

use std::sync::OnceLock;
use uvm_spec::{nbio, Access, BLOCKS, MMIO_DWORDS};
use vhost_device_uvm::bus::{ManualClock, SystemMemory};
use vhost_device_uvm::{Config, Gpu, Progress};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryMmap};

const VRAM: u64 = 16 << 20;
const RAM: usize = 1 << 20;
/// Steps of an input that count.
const MAX_STEPS: usize = 400;

/// Every defined register's index, in the order of the tables.
fn defined() -> Vec<u32> {
    let of_block = |block: &'static uvm_spec::Block| {
        block.regs.iter().flat_map(move |reg| (0..reg.count).map(move |n| block.index(reg, n)))
    };
    BLOCKS.iter().flat_map(|block| of_block(block)).collect()
}

/// [`defined`], and the [`stable`] ones among them.
static TABLES: OnceLock<(Vec<u32>, Vec<u32>)> = OnceLock::new();

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let (head, rest) = self.0.split_at(self.0.len().min(N));
        bytes[..head.len()].copy_from_slice(head);
        self.0 = rest;
        bytes
    }
    fn byte(&mut self) -> u8 {
        self.take::<1>()[0]
    }
    fn half(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }
    fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }
}

/// The target.
pub fn run(data: &[u8]) {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).expect("memory");
    let memory = SystemMemory::new(memory);
    let clock = ManualClock::default();
    let config = Config { vram_size: VRAM, ..Config::default() };
    let mut gpu = Gpu::new(config, memory.clone(), Box::new(clock.clone())).expect("a device");
    let (defined, stable) = TABLES.get_or_init(|| {
        let defined = defined();
        let stable = stable(&defined).collect();
        (defined, stable)
    });
    let before: Vec<u32> = stable.iter().map(|&index| gpu.mmio_read(index)).collect();
    let mut input = Input(data);
    for _ in 0..MAX_STEPS {
        if input.0.is_empty() {
            break;
        }
        let kind = input.byte();
        match kind % 8 {
            0 | 1 => {
                let index = defined[usize::from(input.half()) % defined.len()];
                gpu.mmio_write(index, input.word());
            }
            2 => {
                let index = defined[usize::from(input.half()) % defined.len()];
                gpu.mmio_read(index);
            }
            3 => {
                let index = input.word() % (2 * MMIO_DWORDS);
                gpu.mmio_write(index, input.word());
                if uvm_spec::lookup(index).is_none() {
                    assert_eq!(gpu.mmio_read(index), 0);
                }
            }
            4 => gpu.doorbell(u32::from(input.half()), u64::from(input.word())),
            5 => {
                clock.advance(u64::from(input.half()));
                for _ in 0..8 {
                    if gpu.run() != Progress::More {
                        break;
                    }
                }
                while gpu.take_interrupt().is_some() {}
            }
            6 => {
                let at = GuestAddress(u64::from(input.word()) % (RAM as u64 - 3));
                memory.memory().write_obj(input.word(), at).expect("in memory");
            }
            _ => {
                let at = u64::from(input.word()) % (VRAM - 3);
                let value = input.word();
                gpu.vram().slice(at, 4).expect("in VRAM").write_slice(&value.to_le_bytes(), 0).expect("in VRAM");
            }
        }
    }
    gpu.reset();
    assert_eq!(gpu.run(), Progress::Idle);
    let after: Vec<u32> = stable.iter().map(|&index| gpu.mmio_read(index)).collect();
    assert_eq!(before, after);
}

/// Registers whose reading shows themselves: not the windows on others.
fn stable(defined: &[u32]) -> impl Iterator<Item = u32> + '_ {
    let windows = [nbio::MM_DATA.offset, nbio::PCIE_DATA2.offset];
    defined.iter().copied().filter(move |index| !windows.contains(index)).filter(|&index| {
        // A semaphore changes by being read.
        uvm_spec::lookup(index).is_some_and(|l| l.reg.access != Access::Special || l.reg.fields.len() != 1)
    })
}
