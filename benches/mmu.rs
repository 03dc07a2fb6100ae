// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! How fast addresses translate, each figure beside a pointer chase of the same depth over the same memory in the same
//! run; and how long a retry fault takes in the device.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a bench that panics has failed")]

use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::time::Instant;
use uvm_spec::hub::{mm, Cid, MM_HUB};
use uvm_spec::{ih, packet, pte, sdma, Reg};
use vhost_device_uvm::bus::RealClock;
use vhost_device_uvm::gmc::{walk, Access, Client, Context, Hub, HubId, Memory, TlbSizes};
use vhost_device_uvm::vram::Vram;
use vhost_device_uvm::{Config, Gpu, Progress};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap, VolatileMemory};

const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;
const ROUNDS: usize = 15;
const VMID: u8 = 1;
const CLIENT: Client = Client { l1: 0, cid: Cid { read: 0, write: 0 }, counted: true };

fn main() {
    tlb_hits();
    four_level_misses();
    retry_fault();
}

/// One line of result. Rates in million a second; the bar is a rate, as the limit is.
fn figure(name: &str, value: f64, limit: f64, bar: f64) {
    println!("figure {name} value={value:.1} limit={limit:.1} ratio={:.3} bar={bar:.1}", value / limit);
}

/// The median of `measure`'s results.
fn median(mut measure: impl FnMut() -> f64) -> f64 {
    let mut all: Vec<f64> = (0..ROUNDS).map(|_| measure()).collect();
    all.sort_by(f64::total_cmp);
    all[ROUNDS / 2]
}

/// Million times a second that `turns` turns of `work` happen.
fn rate(turns: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    turns as f64 / start.elapsed().as_secs_f64() / 1e6
}

/// Numbers without a pattern that a prefetcher knows.
fn numbers() -> impl FnMut() -> u64 {
    let mut state = 1u64;
    move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state >> 33
    }
}

/// A four-level space of `pages` pages in VRAM: root, and one table of each level per 2^9 of the one below.
struct Space {
    vram: Vram,
    root: u64,
}

impl Space {
    /// Maps page n to page n of VRAM, for a footprint of `pages`, each in a 2 MiB block of its own if `sparse`.
    fn new(pages: u64, sparse: bool) -> Self {
        let vram = Vram::new(256 * MIB).unwrap();
        let file = vram.file().unwrap();
        let mut next = MIB;
        let mut table = || {
            next += PAGE;
            next - PAGE
        };
        let put = |at: u64, slot: u64, entry: u64| file.write_all_at(&entry.to_le_bytes(), at + 8 * slot).unwrap();
        let root = table();
        let mut known = std::collections::HashMap::new();
        for n in 0..pages {
            let va = va(n, sparse);
            let mut at = root;
            for shift in [39, 30, 21] {
                let slot = va >> shift & 511;
                at = *known.entry((at, slot)).or_insert_with(|| {
                    let below = table();
                    put(at, slot, below | pte::VALID);
                    below
                });
            }
            put(at, va >> 12 & 511, (n % 1024 * PAGE) | pte::VALID | pte::READABLE | pte::WRITEABLE);
        }
        Self { vram, root }
    }
    fn memory(&self) -> Memory<'_> {
        Memory::new(&self.vram, &GuestMemoryAtomic::new(GuestMemoryMmap::new()))
    }
    fn context(&self) -> Context {
        let end = (1 << 36) - 1;
        Context {
            vmid: VMID,
            enabled: true,
            depth: 3,
            block_bits: 9,
            end,
            base: self.root | pte::VALID,
            ..Context::default()
        }
    }
    fn hub(&self) -> Hub {
        let mut hub = Hub::new(HubId::Mm, 4, TlbSizes::default());
        let v = u32::from(VMID);
        let mut set = |reg: &Reg, n: u32, value: u32| {
            hub.write(reg.at(n), value).expect("a register of the hub");
        };
        set(&mm::VM_CONTEXT_PAGE_TABLE_BASE_ADDR, 2 * v, self.root as u32 | 1);
        set(&mm::VM_CONTEXT_PAGE_TABLE_END_ADDR, 2 * v, u32::MAX);
        set(&mm::VM_CONTEXT_PAGE_TABLE_END_ADDR, 2 * v + 1, 15);
        set(&mm::VM_CONTEXT_CNTL, v, 1 | 3 << 1);
        hub
    }
    /// Dependent loads over the words of VRAM that hold tables: as many for an address as the walk has levels.
    fn chase(&self, addresses: &[u64], depth: usize) -> f64 {
        let vram = self.vram.slice(0, (64 * MIB) as usize).unwrap();
        let at: Vec<usize> = addresses.iter().map(|a| (MIB + a % (16 * MIB)) as usize & !7).collect();
        rate(at.len(), || {
            let mut last = 0u64;
            for start in &at {
                let mut place = *start;
                for _ in 0..depth {
                    let word = vram.get_atomic_ref::<std::sync::atomic::AtomicU64>(place).unwrap();
                    last = word.load(std::sync::atomic::Ordering::Acquire);
                    // The next place depends on what was read, as in a walk.
                    place = (place + PAGE as usize + (last as usize & 0xff8)) & (0x1f_ffff & !7);
                }
            }
            black_box(last);
        })
    }
}

/// Where page `n` lies. Sparse pages are 2 MiB and one page apart.
fn va(n: u64, sparse: bool) -> u64 {
    if sparse {
        n * (2 * MIB + PAGE) % (1 << 40)
    } else {
        n * PAGE
    }
}

/// A working set that the L1 holds.
fn tlb_hits() {
    let space = Space::new(32, false);
    let memory = space.memory();
    let mut hub = space.hub();
    let mut number = numbers();
    let addresses: Vec<u64> = (0..1 << 20).map(|_| va(number() % 32, false) + 8).collect();
    let mut translate = || {
        rate(addresses.len(), || {
            for va in &addresses {
                black_box(hub.translate(&memory, CLIENT, VMID, *va, Access::Read).unwrap());
            }
        })
    };
    let value = median(&mut translate);
    let limit = median(|| space.chase(&addresses, 1));
    figure("tlb_hit", value, limit, 50.0);
}

/// Every translation walks four levels.
fn four_level_misses() {
    const SET: u64 = 2048;
    let space = Space::new(SET, true);
    let (memory, context) = (space.memory(), space.context());
    let mut number = numbers();
    let addresses: Vec<u64> = (0..1 << 18).map(|_| va(number() % SET, true)).collect();
    let value = median(|| {
        rate(addresses.len(), || {
            for va in &addresses {
                black_box(walk(&memory, &context, *va, Access::Read).unwrap());
            }
        })
    });
    let limit = median(|| space.chase(&addresses, 4));
    figure("four_level_miss", value, limit, 5.0);
}

/// From the miss to the visible vector, and from the answer to the retried access, without a transport: microseconds, p50.
fn retry_fault() {
    let ram = GuestMemoryMmap::from_ranges(&[(vm_memory::GuestAddress(0), (4 * MIB) as usize)]).unwrap();
    let config = Config { vram_size: 64 * MIB, ..Config::default() };
    let mut gpu = Gpu::new(config, GuestMemoryAtomic::new(ram), Box::new(RealClock::default())).unwrap();
    let write = |gpu: &mut Gpu, index: u32, value: u32| gpu.mmio_write(index, value);
    const TABLE: u64 = 8 * MIB;
    // A flat space of 4096 pages with a ring in its first.
    let poke = |gpu: &Gpu, at: u64, data: &[u8]| gpu.vram().file().unwrap().write_all_at(data, at).unwrap();
    let entry = |at: u64| (at | pte::VALID | pte::READABLE | pte::WRITEABLE).to_le_bytes();
    poke(&gpu, TABLE, &entry(MIB));
    let hub = |reg: &Reg, n: u32| MM_HUB.index(reg, n);
    let v = u32::from(VMID);
    for (index, value) in [
        (hub(&mm::VM_CONTEXT_PAGE_TABLE_BASE_ADDR, 2 * v), TABLE as u32 | 1),
        (hub(&mm::VM_CONTEXT_PAGE_TABLE_END_ADDR, 2 * v), 4095),
        (hub(&mm::VM_CONTEXT_CNTL, v), 1 | 1 << 7 | 0x3fff << 9),
        (ih::OSSSYS.index(&ih::IH_RB_BASE, 0), 0x1_0000 >> 8),
        (ih::OSSSYS.index(&ih::IH_RB_CNTL, 0), 1 | 14 << 1 | 1 << 17 | 2 << 28),
        (ih::OSSSYS.index(&ih::IH_RETRY_INT_CAM_CNTL, 0), 1 << 16 | 16),
        (sdma::SDMA0.index(&sdma::F32_CNTL, 0), 0),
        (sdma::SDMA0.index(&sdma::RB_CNTL, 2), 1 | 10 << 1 | v << 24),
    ] {
        write(&mut gpu, index, value);
    }
    let wptr_reg = sdma::SDMA0.index(&sdma::RB_WPTR, 2);
    let mut wptr = 0u32;
    let mut all = Vec::new();
    for page in 1..2001u64 {
        let dwords = [u32::from(packet::op::FENCE), (page * PAGE) as u32, 0, page as u32];
        for dw in dwords {
            poke(&gpu, MIB + u64::from(wptr % 4096), &dw.to_le_bytes());
            wptr += 4;
        }
        let start = Instant::now();
        write(&mut gpu, wptr_reg, wptr);
        while gpu.run() == Progress::More {}
        let told = gpu.take_interrupt().expect("the fault is told");
        let miss = start.elapsed();
        poke(&gpu, TABLE + 8 * page, &entry(2 * MIB));
        let start = Instant::now();
        write(&mut gpu, ih::OSSSYS.index(&ih::IH_RETRY_CAM_ACK, 0), 0);
        while gpu.run() == Progress::More {}
        let replay = start.elapsed();
        write(&mut gpu, ih::OSSSYS.index(&ih::IH_RB_RPTR, 0), told.wptr);
        let mut value = [0; 4];
        gpu.vram().file().unwrap().read_exact_at(&mut value, 2 * MIB).unwrap();
        assert_eq!(u64::from(u32::from_le_bytes(value)), page, "the access was made");
        all.push((miss + replay).as_secs_f64() * 1e6);
    }
    all.sort_by(f64::total_cmp);
    // The limit: what the same fence costs where nothing faults.
    let mut plain = Vec::new();
    for _ in 0..2000 {
        let dwords = [u32::from(packet::op::FENCE), PAGE as u32, 0, 1];
        for dw in dwords {
            poke(&gpu, MIB + u64::from(wptr % 4096), &dw.to_le_bytes());
            wptr += 4;
        }
        let start = Instant::now();
        write(&mut gpu, wptr_reg, wptr);
        while gpu.run() == Progress::More {}
        plain.push(start.elapsed().as_secs_f64() * 1e6);
    }
    plain.sort_by(f64::total_cmp);
    let (value, limit) = (all[all.len() / 2], plain[plain.len() / 2]);
    println!("figure retry_fault_us value={value:.2} limit={limit:.2} ratio={:.3} bar=10.00", value / limit);
}
