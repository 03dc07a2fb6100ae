// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A guest that scribbles over everything, without a kernel to spare: random bytes in all memory, random values in all
//! registers, doorbells, turns of the engines. Memory lies between pages that nobody may touch, so that an access outside
//! ends the test; and after a reset the device works.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ptr;

use uvm_spec::packet::{header, op, sub_op};
use uvm_spec::{pte, sdma, BLOCKS, MMIO_DWORDS};
use vhost_device_uvm::bus::{ManualClock, SystemMemory};
use vhost_device_uvm::device::Uma;
use vhost_device_uvm::{Config, Gpu, Progress};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryMmap, GuestRegionMmap};

const MIB: u64 = 1 << 20;
const GUARD: usize = 64 << 20;
/// The lower region has VRAM at its end.
const RAM: [(u64, u64); 2] = [(0, 32 * MIB), (1 << 32, MIB)];
const VRAM: u64 = 16 * MIB;
const VRAM_AT: u64 = 16 * MIB;
const FB: u64 = 0x80_0000_0000;

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut n = self.0;
        n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    }
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
    /// A bus address in memory, at its edges, or anywhere.
    fn bus(&mut self) -> u64 {
        let (start, length) = RAM[usize::from(self.below(4) == 0)];
        match self.below(8) {
            0 => self.next() & 0xffff_ffff_ffff,
            1 => start + length - 8 * self.below(16),
            2 => start.wrapping_sub(8 * self.below(16)) & 0xffff_ffff_ffff,
            _ => start + 8 * self.below(length / 8),
        }
    }
    /// An entry, a virtual address, a packet's header, or nothing of the kind.
    fn word(&mut self) -> u64 {
        let kinds = [
            op::COPY,
            op::WRITE,
            op::INDIRECT,
            op::FENCE,
            op::TRAP,
            op::POLL_REGMEM,
            op::COND_EXE,
            op::ATOMIC,
            op::CONST_FILL,
            op::PTEPDE,
            op::TIMESTAMP,
            op::SRBM_WRITE,
        ];
        match self.below(5) {
            0 => self.bus() & pte::PTE_ADDR | self.next() & 0x1f0_0000_0000_0fff | pte::VALID,
            1 => FB + self.below(VRAM),
            2 => self.bus(),
            3 => {
                let low = header(kinds[usize::try_from(self.below(kinds.len() as u64)).unwrap()], 0);
                u64::from(low) | self.next() & 0xffff_ffff_ffff_0000
            }
            _ => self.next(),
        }
    }
}

/// Memory between pages that nobody may touch.
#[allow(unsafe_code, reason = "memory maps have no safe form")]
fn guarded(length: usize) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice; then a part of that mapping is opened.
    unsafe {
        let all = libc::mmap(ptr::null_mut(), length + 2 * GUARD, libc::PROT_NONE, flags, -1, 0);
        assert_ne!(all, libc::MAP_FAILED);
        let inner = all.cast::<u8>().add(GUARD);
        assert_eq!(libc::mprotect(inner.cast(), length, libc::PROT_READ | libc::PROT_WRITE), 0);
        inner
    }
}

#[allow(unsafe_code, reason = "a region over memory that the test mapped")]
fn memory() -> SystemMemory {
    let region = |&(at, length): &(u64, u64)| {
        let length = usize::try_from(length).unwrap();
        let start = guarded(length);
        let builder = MmapRegionBuilder::new(length).with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: `start` is mapped for `length` bytes and is never unmapped.
        let region = unsafe { builder.with_raw_mmap_pointer(start) }.build().unwrap();
        GuestRegionMmap::new(region, GuestAddress(at)).unwrap()
    };
    SystemMemory::new(GuestMemoryMmap::from_regions(RAM.iter().map(region).collect()).unwrap())
}

fn registers() -> Vec<u32> {
    let of_block = |block: &'static uvm_spec::Block| {
        block.regs.iter().flat_map(move |reg| (0..reg.count).map(move |n| block.index(reg, n)))
    };
    BLOCKS.iter().flat_map(|block| of_block(block)).collect()
}

/// What the chaos came to: packets, faults, interrupts.
fn chaos(gpu: &mut Gpu, clock: &ManualClock, memory: &SystemMemory, seed: u64, rounds: u32) -> [u64; 3] {
    let (mut rng, registers) = (Rng(seed), registers());
    #[allow(clippy::cast_possible_truncation, reason = "some bits of a random number")]
    for _ in 0..rounds {
        match rng.below(8) {
            0..3 => {
                let index = match rng.below(16) {
                    0 => rng.below(u64::from(2 * MMIO_DWORDS)) as u32,
                    _ => registers[rng.below(registers.len() as u64) as usize],
                };
                let word = rng.word();
                let value = [word, word >> 8, word >> 12, word >> 24][rng.below(4) as usize] as u32;
                gpu.mmio_write(index, value);
                gpu.mmio_read(index);
            }
            3 => {
                let at = GuestAddress(RAM[usize::from(rng.below(8) == 0)].0 + 8 * rng.below(MIB / 8 - 64));
                let words: Vec<u8> = (0..rng.below(64)).flat_map(|_| rng.word().to_le_bytes()).collect();
                memory.memory().write_slice(&words, at).unwrap();
            }
            4 => {
                let at = GuestAddress(VRAM_AT + 8 * rng.below(VRAM / 8 - 64));
                let words: Vec<u8> = (0..rng.below(64)).flat_map(|_| rng.word().to_le_bytes()).collect();
                memory.memory().write_slice(&words, at).unwrap();
            }
            5 => start(gpu, &mut rng),
            6 => gpu.doorbell(rng.below(512) as u32, rng.word() & 0xffff),
            _ => {
                clock.advance(rng.below(10_000));
                for _ in 0..8 {
                    if gpu.run() != Progress::More {
                        break;
                    }
                }
                while gpu.take_interrupt().is_some() {}
            }
        }
    }
    let counters = gpu.counters();
    [counters.packets, counters.faults, counters.interrupts + counters.dropped]
}

/// A ring somewhere, with apertures over all of memory and an IH ring at the edge of it, or beyond.
#[allow(clippy::cast_possible_truncation, reason = "dwords of 64-bit values")]
fn start(gpu: &mut Gpu, rng: &mut Rng) {
    const MM: u32 = 0x1a000;
    const IH: u32 = 0x10a0;
    let block = if rng.below(2) == 0 { &sdma::SDMA0 } else { &sdma::SDMA1 };
    let ring = rng.below(4) as u32;
    let base = (FB + rng.below(VRAM)) & !0xff;
    let vector = rng.bus();
    let writes = [
        (MM + 0x82c, (FB >> 24) as u32),
        (MM + 0x82d, (FB >> 24) as u32 + rng.below(3) as u32),
        (MM + 0x82e, 0xf10000),
        (MM + 0x82f, 0xf10000 - rng.below(2) as u32),
        (MM + 0x833, 1 | (rng.below(4) as u32) << 3),
        (MM + 0x831, 0),
        (MM + 0x832, u32::MAX),
        (MM + 0x72b + 2 * (rng.below(16) as u32), rng.bus() as u32 | 1 | (rng.below(2) as u32) << 1),
        (MM + 0x6c0 + (rng.below(16) as u32), rng.next() as u32 | 1),
        (IH + 0x81, (vector >> 8) as u32),
        (IH + 0x82, (vector >> 40) as u32),
        (IH + 0x80, 1 | (rng.below(32) as u32) << 1 | 1 << 8 | 1 << 17 | 2 << 28),
        (block.index(&sdma::RB_CNTL, ring), 0),
        (block.index(&sdma::RB_BASE, ring), (base >> 8) as u32),
        (block.index(&sdma::RB_BASE_HI, ring), (base >> 40) as u32),
        (block.index(&sdma::RB_RPTR, ring), 0),
        (block.index(&sdma::RB_RPTR_HI, ring), 0),
        (block.index(&sdma::RB_WPTR, ring), 4 * rng.below(1 << 12) as u32),
        (block.index(&sdma::RB_WPTR_HI, ring), 0),
        (block.index(&sdma::IB_CNTL, ring), 1),
        (block.index(&sdma::CNTL, 0), u32::MAX),
        (block.index(&sdma::RB_CNTL, ring), 1 | 12 << 1 | 1 << 12 | (rng.below(16) as u32) << 24),
        (block.index(&sdma::F32_CNTL, 0), 0),
    ];
    for (index, value) in writes {
        gpu.mmio_write(index, value);
    }
}

/// A copy through the FB aperture, on a device after its reset.
#[allow(clippy::cast_possible_truncation, reason = "dwords of 64-bit values")]
fn copies(gpu: &mut Gpu, memory: &SystemMemory) {
    const MM: u32 = 0x1a000;
    let (ring, from, to) = (FB, FB + 0x1_0000, FB + 0x2_0000);
    let memory = memory.memory();
    let at = |va: u64| GuestAddress(VRAM_AT + (va - FB));
    let packet = [
        header(op::COPY, sub_op::COPY_LINEAR),
        4095,
        0,
        from as u32,
        (from >> 32) as u32,
        to as u32,
        (to >> 32) as u32,
    ];
    let data: Vec<u8> = (0..4096_u32).flat_map(|n| [(n.wrapping_mul(31)) as u8]).collect();
    memory.write_slice(&data, at(from)).unwrap();
    memory.write_slice(&[0; 4096], at(to)).unwrap();
    for (n, dword) in (0..).zip(packet) {
        memory.write_obj(dword.to_le(), at(ring + 4 * n)).unwrap();
    }
    let block = &sdma::SDMA0;
    for (index, value) in [
        (MM + 0x82c, (FB >> 24) as u32),
        (MM + 0x82d, ((FB + VRAM - 1) >> 24) as u32),
        (MM + 0x831, (FB >> 18) as u32),
        (MM + 0x832, ((FB + VRAM - 1) >> 18) as u32),
        (MM + 0x833, 1 | 3 << 3),
        (block.index(&sdma::RB_BASE, 0), (ring >> 8) as u32),
        (block.index(&sdma::RB_BASE_HI, 0), (ring >> 40) as u32),
        (block.index(&sdma::RB_WPTR, 0), 4 * packet.len() as u32),
        (block.index(&sdma::RB_CNTL, 0), 1 | 10 << 1),
        (block.index(&sdma::F32_CNTL, 0), 0),
    ] {
        gpu.mmio_write(index, value);
    }
    while gpu.run() == Progress::More {}
    let mut seen = vec![0; 4096];
    memory.read_slice(&mut seen, at(to)).unwrap();
    assert_eq!(seen, data);
}

#[test]
fn scribbling_guest_stays_inside_its_memory_and_a_reset_cures_the_device() {
    let memory = memory();
    let clock = ManualClock::default();
    let config = Config { vram_size: VRAM, uma: Uma::At(VRAM_AT), ..Config::default() };
    let mut gpu = Gpu::new(config, memory.clone(), Box::new(clock.clone())).unwrap();
    let mut sums = [0; 3];
    for seed in 0..12 {
        let seen = chaos(&mut gpu, &clock, &memory, seed, 4000);
        sums.iter_mut().zip(seen).for_each(|(sum, n)| *sum += n);
        gpu.reset();
        assert_eq!(gpu.run(), Progress::Idle, "seed {seed}");
        copies(&mut gpu, &memory);
        gpu.reset();
    }
    // Else most of it had stopped at the first register.
    assert!(sums.iter().all(|&n| n > 1000), "packets, faults, vectors: {sums:?}");
}
