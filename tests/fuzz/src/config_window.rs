// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Config-window messages. A guest behind a front end that caches the space as QEMU does reaches one device through the
//! window, and a second, equal one directly: whatever the messages, both must stay equal.
//!
//! An input is a list of steps, each a byte that says which and its operands; an operand that the input does not hold is 0.

use uvm_spec::window::{command, offset, MAGIC, SIZE};
use uvm_spec::{IH_RINGS, MMIO_DWORDS};
use vhost_device_uvm::bus::{ManualClock, SystemMemory};
use vhost_device_uvm::vhost_user::window::{Access, Identity, Live, Window};
use vhost_device_uvm::{Config, Gpu, Progress};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryMmap};

const VRAM: u64 = 16 << 20;
const RAM: usize = 1 << 20;
/// Steps of an input that count; the rest is left.
const MAX_STEPS: usize = 256;
/// Quanta after each step. A ring may have more to do than that: both devices stop at the same place.
const QUANTA: usize = 4;

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
    fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }
}

struct Device {
    gpu: Gpu,
    memory: SystemMemory,
    clock: ManualClock,
}

impl Device {
    fn new() -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).expect("memory");
        let memory = SystemMemory::new(memory);
        let clock = ManualClock::default();
        let config = Config { vram_size: VRAM, ..Config::default() };
        let gpu = Gpu::new(config, memory.clone(), Box::new(clock.clone())).expect("a device");
        Self { gpu, memory, clock }
    }
    fn run(&mut self) {
        self.clock.advance(100);
        for _ in 0..QUANTA {
            if self.gpu.run() != Progress::More {
                break;
            }
        }
    }
    fn store(&self, at: u32, value: u32) {
        let at = GuestAddress(u64::from(at) % (RAM as u64 - 3));
        self.memory.memory().write_obj(value, at).expect("in memory");
    }
}

struct FrontEnd {
    window: Window,
    cache: [u8; SIZE],
    seq: u8,
}

impl FrontEnd {
    fn load(&mut self, gpu: &Gpu, at: usize) -> u32 {
        let ih_wptr: [u32; IH_RINGS] = std::array::from_fn(|ring| gpu.ih_wptr(ring));
        self.cache = self.window.get(Live { vram_ready: true, ih_wptr, ..Live::default() });
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|n| self.cache[at + n]));
        assert_eq!(word(offset::MAGIC), MAGIC);
        assert_eq!(word(offset::IH_WPTR), ih_wptr[0]);
        word(at)
    }
    fn store(&mut self, at: usize, value: u32) -> Option<Access> {
        self.cache[at..at + 4].copy_from_slice(&value.to_le_bytes());
        self.window.set(0, &self.cache)
    }
}

/// Carries `access` out on both devices; a read's value, which both must agree on, goes to the window.
fn apply(front: &mut FrontEnd, ours: &mut Device, theirs: &mut Device, access: Access) {
    match access {
        Access::Read(index) => {
            assert!(index < MMIO_DWORDS);
            let value = ours.gpu.mmio_read(index);
            assert_eq!(value, theirs.gpu.mmio_read(index));
            front.window.complete(value);
        }
        Access::Write { index, value } => {
            assert!(index < MMIO_DWORDS);
            ours.gpu.mmio_write(index, value);
            theirs.gpu.mmio_write(index, value);
        }
    }
}

/// The target.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let (mut ours, mut theirs) = (Device::new(), Device::new());
    let window = Window::new(Identity { caps: 0, vram_size: VRAM, levels: 4, segments: [0; 6] });
    let mut front = FrontEnd { window, cache: [0; SIZE], seq: 0 };
    for _ in 0..MAX_STEPS {
        if input.0.is_empty() {
            break;
        }
        match input.byte() % 7 {
            0 => {
                front.load(&ours.gpu, 0);
            }
            1 => {
                let (index, value) = (input.word() % MMIO_DWORDS, input.word());
                front.seq = front.seq.wrapping_add(1);
                assert_eq!(front.store(offset::DATA, value), None);
                // Where the copy holds this very command, as stray stores below can bring about, nothing can be seen.
                if let Some(access) = front.store(offset::CMD, command(front.seq, true, index)) {
                    assert_eq!(access, Access::Write { index, value });
                    ours.gpu.mmio_write(index, value);
                    theirs.gpu.mmio_write(index, value);
                }
            }
            2 => {
                let index = input.word() % MMIO_DWORDS;
                front.seq = front.seq.wrapping_add(1);
                if let Some(access) = front.store(offset::CMD, command(front.seq, false, index)) {
                    assert_eq!(access, Access::Read(index));
                    let value = ours.gpu.mmio_read(index);
                    front.window.complete(value);
                    assert_eq!(front.load(&ours.gpu, offset::DATA), theirs.gpu.mmio_read(index));
                }
            }
            3 => {
                let (at, value) = (usize::from(input.byte() % 64) * 4, input.word());
                let access = front.store(at, value);
                assert!(access.is_none() || at == offset::CMD);
                if let Some(access) = access {
                    apply(&mut front, &mut ours, &mut theirs, access);
                }
            }
            4 => {
                let (at, len) = (usize::from(u16::from_le_bytes(input.take())), usize::from(input.byte()));
                let bytes: Vec<u8> = (0..len).map(|_| input.byte()).collect();
                let access = front.window.set(at, &bytes);
                assert!(access.is_none() || at + len <= SIZE);
                if let Some(access) = access {
                    apply(&mut front, &mut ours, &mut theirs, access);
                }
                // A front end whose copy is not the window's would be another one.
                front.load(&ours.gpu, 0);
            }
            5 => {
                let (slot, value) = (input.word(), u64::from(input.word()));
                ours.gpu.doorbell(slot, value);
                theirs.gpu.doorbell(slot, value);
            }
            _ => {
                let (at, value) = (input.word(), input.word());
                ours.store(at, value);
                theirs.store(at, value);
            }
        }
        ours.run();
        theirs.run();
        loop {
            let event = ours.gpu.take_interrupt();
            assert_eq!(event, theirs.gpu.take_interrupt());
            if event.is_none() {
                break;
            }
        }
    }
    assert_eq!(ours.gpu.counters(), theirs.gpu.counters());
}
