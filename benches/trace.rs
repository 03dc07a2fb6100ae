// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a trace costs, against the same work without one in the same run, turn by turn: a driver's small jobs over the
//! in-process device, without transport or guest, so that nothing hides the cost. `cargo vm bench trace` tells what is left
//! of it in the demo.
//!
//! There is no device without the places that a trace is made at. What they cost while it is off is told as the time of
//! one such test, times the events that a full trace of the work has, as part of the work's time.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a bench that panics has failed")]

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;
use uvm_spec::sdma::{self, SDMA0};
use uvm_spec::{hub, nbio, packet, Reg};
use vhost_device_uvm::bus::RealClock;
use vhost_device_uvm::trace::{Depth, Event, Recorder, Sink, Tracer};
use vhost_device_uvm::{Config, Gpu, Progress};
use vm_memory::{Bytes, GuestAddress, GuestMemoryAtomic, GuestMemoryMmap};

const MIB: u64 = 1 << 20;
const VRAM: u64 = 64 * MIB;
const RAM: u64 = 16 * MIB;
const ROUNDS: usize = 15;
/// Jobs of a round: each some register accesses, a copy of a page, a fence and a doorbell.
const JOBS: u64 = 4000;
const FB: u64 = 0xf4_0000_0000;
const AGP: u64 = 0xf1_0000_0000;
const RING: u64 = MIB;
const RING_LOG2: u32 = 16;

/// Counts events and forgets them.
#[derive(Clone, Default)]
struct Count(Arc<AtomicU64>);

impl Sink for Count {
    fn record(&mut self, _time: u64, _event: &Event) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..ROUNDS {
        for (n, (depth, times)) in [Depth::Off, Depth::Mmio, Depth::Full].into_iter().zip(&mut times).enumerate() {
            let path = folder.path().join(format!("{round}-{n}"));
            let trace = match depth {
                Depth::Off => Tracer::default(),
                _ => Tracer::new(depth, Box::new(Recorder::create(&path, depth).unwrap())),
            };
            let mut bench = Bench::new(trace);
            let start = Instant::now();
            bench.work();
            times.push(start.elapsed().as_secs_f64() * 1e6 / JOBS as f64);
            bench.gpu.set_trace(Tracer::default());
            let _ = std::fs::remove_file(path);
        }
    }
    let [off, mmio, full] = times.map(median);
    let events = Count::default();
    let mut counted = Bench::new(Tracer::new(Depth::Full, Box::new(events.clone())));
    events.0.store(0, Ordering::Relaxed);
    counted.work();
    let tests = events.0.load(Ordering::Relaxed) as f64 / JOBS as f64;
    let part = 1.0 + tests * off_test() / off;
    println!("figure job_us_trace_off value={:.3} limit={off:.3} ratio={part:.4} bar=1.01", off * part);
    println!("figure job_us_trace_mmio value={mmio:.3} limit={off:.3} ratio={:.3} bar=none", mmio / off);
    println!("figure job_us_trace_full value={full:.3} limit={off:.3} ratio={:.3} bar=none", full / off);
}

/// What a test of a tracer that is off costs, microseconds.
fn off_test() -> f64 {
    const TESTS: u32 = 10_000_000;
    let trace = Tracer::default();
    let times = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        for _ in 0..TESTS {
            black_box(&trace).record(|| Event::Reset);
        }
        start.elapsed().as_secs_f64() * 1e6 / f64::from(TESTS)
    });
    median(times.collect())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

struct Bench {
    gpu: Gpu,
    wptr: u64,
}

impl Bench {
    fn new(trace: Tracer) -> Self {
        let config = Config { vram_size: VRAM, ..Config::default() };
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM as usize)]).unwrap();
        let mut gpu = Gpu::new(config, GuestMemoryAtomic::new(ram), Box::<RealClock>::default()).unwrap();
        gpu.set_trace(trace);
        let mut mm = |reg: &Reg, value: u64| gpu.mmio_write(hub::MM_HUB.index(reg, 0), value as u32);
        let role = &hub::MM_REGS;
        mm(role.fb_base, FB >> 24);
        mm(role.fb_top, (FB + VRAM - 1) >> 24);
        mm(role.agp_bot, AGP >> 24);
        mm(role.agp_top, AGP >> 24);
        mm(role.sys_low, AGP >> 18);
        mm(role.sys_high, (FB + VRAM - 1) >> 18);
        mm(role.l1_tlb_cntl, 3 << 3);
        for (reg, value) in [
            (&sdma::RB_BASE, (FB + RING) >> 8),
            (&sdma::RB_BASE_HI, (FB + RING) >> 40),
            (&sdma::F32_CNTL, 0),
            (&sdma::RB_CNTL, u64::from(1 | RING_LOG2 << 1)),
        ] {
            gpu.mmio_write(SDMA0.index(reg, 0), value as u32);
        }
        Self { gpu, wptr: 0 }
    }
    fn work(&mut self) {
        let scratch = nbio::NBIO.index(&nbio::BIOS_SCRATCH, 0);
        for job in 0..JOBS {
            for n in 0..4 {
                self.gpu.mmio_write(scratch + n, job as u32);
                black_box(self.gpu.mmio_read(scratch + n));
            }
            let (src, dst) = (AGP + job % 1024 * 4096, FB + 8 * MIB + job % 1024 * 4096);
            let copy =
                [u32::from(packet::op::COPY), 4095, 0, src as u32, (src >> 32) as u32, dst as u32, (dst >> 32) as u32];
            let fence = [u32::from(packet::op::FENCE), FB as u32, (FB >> 32) as u32, job as u32];
            self.push(&copy);
            self.push(&fence);
            self.gpu.mmio_write(SDMA0.index(&sdma::RB_WPTR, 0), self.wptr as u32);
            while self.gpu.run() == Progress::More {}
        }
    }
    fn push(&mut self, dwords: &[u32]) {
        let vram = self.gpu.vram().slice(0, VRAM as usize).unwrap();
        for dw in dwords {
            let at = RING + self.wptr % (4 << RING_LOG2);
            vram.write_slice(&dw.to_le_bytes(), at as usize).unwrap();
            self.wptr += 4;
        }
    }
}
