// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! How fast the SDMA engines copy, against memcpy of the same shape over the same memory in the same run, turn by turn.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a bench that panics has failed")]

use std::time::Instant;
use uvm_spec::sdma::{self, SDMA0};
use uvm_spec::{hub, packet, pte, Reg};
use vhost_device_uvm::bus::RealClock;
use vhost_device_uvm::{Config, Gpu, Progress};
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryAtomic, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, VolatileSlice,
};

const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;
/// Bytes that each round moves.
const SET: u64 = 64 * MIB;
const VRAM: u64 = 256 * MIB;
const ROUNDS: usize = 21;
const BAR: f64 = 0.8;

/// Places in VMID 0, and in VRAM: the GART's table behind the ring.
const FB: u64 = 0xf4_0000_0000;
const GART: u64 = 0x40_0000_0000;
const RING: u64 = 0;
const RING_LOG2: u32 = 18;
const TABLE: u64 = 16 * MIB;
const DATA: u64 = 64 * MIB;

fn main() {
    let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 2 * SET as usize)]).unwrap();
    let mut bench = Bench::new(ram.clone());

    let chunks: Vec<(u64, u64)> =
        (0..SET / (4 * MIB)).map(|i| (DATA + i * 4 * MIB, DATA + SET + i * 4 * MIB)).collect();
    let packets = chunks.iter().flat_map(|&(src, dst)| copy(FB + src, FB + dst, 4 * MIB)).collect::<Vec<_>>();
    let vram = bench.gpu.vram().slice(0, VRAM as usize).unwrap();
    let pairs = pairs(&vram, &chunks, 4 * MIB);
    bench.compare("sdma_copy_vram", &packets, &pairs);

    // Pages of the GART in order, frames of system memory in none.
    let mut frames: Vec<u64> = (0..2 * SET / PAGE).map(|i| i * PAGE).collect();
    shuffle(&mut frames);
    for (slot, frame) in (0u64..).zip(&frames) {
        let entry = frame | pte::VALID | pte::SYSTEM | pte::READABLE | pte::WRITEABLE;
        bench.poke(TABLE + 8 * slot, &entry.to_le_bytes());
    }
    let packets: Vec<u32> =
        (0..SET / (4 * MIB)).flat_map(|i| copy(GART + i * 4 * MIB, GART + SET + i * 4 * MIB, 4 * MIB)).collect();
    let (from, to) = frames.split_at(frames.len() / 2);
    let chunks: Vec<(u64, u64)> = from.iter().copied().zip(to.iter().copied()).collect();
    let region = ram.find_region(GuestAddress(0)).unwrap();
    let system = region.as_volatile_slice().unwrap();
    bench.compare("sdma_copy_gart4k", &packets, &self::pairs(&system, &chunks, PAGE));

    // The same pages, each by a packet of its own.
    let packets: Vec<u32> = (0..SET / PAGE).flat_map(|i| copy(GART + i * PAGE, GART + SET + i * PAGE, PAGE)).collect();
    bench.compare_without_bar("sdma_copy_packet4k", &packets, &self::pairs(&system, &chunks, PAGE));
}

struct Bench {
    gpu: Gpu,
    wptr: u64,
}

impl Bench {
    fn new(ram: GuestMemoryMmap) -> Self {
        let config = Config { vram_size: VRAM, ..Config::default() };
        let mut gpu = Gpu::new(config, GuestMemoryAtomic::new(ram), Box::<RealClock>::default()).unwrap();
        let mut mm = |reg: &Reg, n: u32, value: u64| gpu.mmio_write(hub::MM_HUB.index(reg, n), value as u32);
        let role = &hub::MM_REGS;
        mm(role.fb_base, 0, FB >> 24);
        mm(role.fb_top, 0, (FB + VRAM - 1) >> 24);
        mm(role.sys_low, 0, FB >> 18);
        mm(role.sys_high, 0, (FB + VRAM - 1) >> 18);
        mm(role.l1_tlb_cntl, 0, 3 << 3);
        mm(role.pt_base, 0, TABLE | pte::VALID);
        mm(role.pt_start, 0, GART >> 12);
        mm(role.pt_start, 1, GART >> 44);
        mm(role.pt_end, 0, (GART + 2 * SET - 1) >> 12);
        mm(role.pt_end, 1, (GART + 2 * SET - 1) >> 44);
        mm(role.context_cntl, 0, 1);
        let mut sdma = |reg: &Reg, value: u64| gpu.mmio_write(SDMA0.index(reg, 0), value as u32);
        sdma(&sdma::RB_BASE, (FB + RING) >> 8);
        sdma(&sdma::RB_BASE_HI, (FB + RING) >> 40);
        sdma(&sdma::F32_CNTL, 0);
        sdma(&sdma::RB_CNTL, u64::from(1 | RING_LOG2 << 1));
        Self { gpu, wptr: 0 }
    }
    fn poke(&self, offset: u64, data: &[u8]) {
        self.gpu.vram().slice(offset, data.len()).unwrap().write_slice(data, 0).unwrap();
    }
    /// Seconds that the device takes for `packets`.
    fn device(&mut self, packets: &[u32]) -> f64 {
        for dw in packets {
            self.poke(RING + self.wptr % (4 << RING_LOG2), &dw.to_le_bytes());
            self.wptr += 4;
        }
        let start = Instant::now();
        self.gpu.mmio_write(SDMA0.index(&sdma::RB_WPTR_HI, 0), (self.wptr >> 32) as u32);
        self.gpu.mmio_write(SDMA0.index(&sdma::RB_WPTR, 0), self.wptr as u32);
        while self.gpu.run() != Progress::Idle {}
        start.elapsed().as_secs_f64()
    }
    /// GiB/s of the device and of memcpy.
    fn measure(&mut self, packets: &[u32], pairs: &[Pair]) -> (f64, f64) {
        let before = self.gpu.counters();
        let (mut device, mut memcpy) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let (d, m) = (self.device(packets), copy_all(pairs));
            // The first round touches the memory.
            if round > 0 {
                device.push(d);
                memcpy.push(m);
            }
        }
        let after = self.gpu.counters();
        assert_eq!(
            (after.bytes - before.bytes, after.faults),
            ((ROUNDS as u64 + 1) * SET, 0),
            "not what was asked for"
        );
        // Each round against its neighbour: what else the machine does slows both alike.
        let ratio = median(device.iter().zip(&memcpy).map(|(device, memcpy)| memcpy / device).collect());
        let limit = SET as f64 / median(memcpy) / (1u64 << 30) as f64;
        (limit * ratio, limit)
    }
    fn compare(&mut self, name: &str, packets: &[u32], pairs: &[Pair]) {
        if !wanted(name) {
            return;
        }
        let (value, limit) = self.measure(packets, pairs);
        println!("figure {name} value={value:.2} limit={limit:.2} ratio={:.3} bar={BAR} unit=GiB/s", value / limit);
    }
    fn compare_without_bar(&mut self, name: &str, packets: &[u32], pairs: &[Pair]) {
        if !wanted(name) {
            return;
        }
        let (value, limit) = self.measure(packets, pairs);
        println!("figure {name} value={value:.2} limit={limit:.2} ratio={:.3} unit=GiB/s", value / limit);
    }
}

/// Whether the command line asks for this figure: it names a part of it, or none at all.
fn wanted(name: &str) -> bool {
    let mut names = std::env::args().skip(1).filter(|a| !a.starts_with('-')).peekable();
    names.peek().is_none() || names.any(|n| name.contains(&n))
}

fn median(mut items: Vec<f64>) -> f64 {
    items.sort_by(f64::total_cmp);
    items[items.len() / 2]
}

fn copy(src: u64, dst: u64, bytes: u64) -> Vec<u32> {
    let header = packet::header(packet::op::COPY, packet::sub_op::COPY_LINEAR);
    vec![header, bytes as u32 - 1, 0, src as u32, (src >> 32) as u32, dst as u32, (dst >> 32) as u32]
}

/// What memcpy moves: the same host memory as the device.
struct Pair {
    src: *const u8,
    dst: *mut u8,
    len: usize,
}

fn pairs(memory: &VolatileSlice<'_>, chunks: &[(u64, u64)], len: u64) -> Vec<Pair> {
    let base = memory.ptr_guard_mut().as_ptr();
    let inside = |at: u64| at + len <= memory.len() as u64;
    assert!(chunks.iter().all(|&(src, dst)| inside(src) && inside(dst) && src.abs_diff(dst) >= len));
    let at = |offset: u64| base.wrapping_add(offset as usize);
    chunks.iter().map(|&(src, dst)| Pair { src: at(src), dst: at(dst), len: len as usize }).collect()
}

#[allow(unsafe_code, reason = "the memcpy to compare with")]
fn copy_all(pairs: &[Pair]) -> f64 {
    let start = Instant::now();
    for pair in pairs {
        // SAFETY: `pairs` checked that both ranges lie in one mapping, which outlives the bench, and do not overlap; the
        // device, the only other user of it, is at rest.
        unsafe { std::ptr::copy_nonoverlapping(pair.src, pair.dst, pair.len) };
    }
    start.elapsed().as_secs_f64()
}

fn shuffle(items: &mut [u64]) {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for i in (1..items.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        items.swap(i, (state % (i as u64 + 1)) as usize);
    }
}
