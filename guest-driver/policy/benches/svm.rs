// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Faults decided a second: batches of 256 in a row and at random, each plan told back as done.
//!
//! The limit is a sort of the same faults by the library and nothing else, which no one who serves them by block can
//! do without.

use std::hint::black_box;
use std::time::{Duration, Instant};

use uvm_policy::svm::*;

const BATCHES: u64 = 200;
/// To serve a fault takes a driver tens of microseconds; this is five.
const BAR: f64 = 2e5;

fn best_rate(count: u64, mut work: impl FnMut()) -> f64 {
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut best = 0.0f64;
    while Instant::now() < deadline {
        let start = Instant::now();
        work();
        best = best.max(count as f64 / start.elapsed().as_secs_f64());
    }
    best
}

/// A page in 4 GiB: the `n`th in a row, or somewhere.
fn page(n: u64, in_a_row: bool) -> u64 {
    if in_a_row {
        n % (1 << 20)
    } else {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44
    }
}

fn policy_rate(in_a_row: bool) -> f64 {
    let mut svm = Svm::new(&SvmConfig { chunks: 2048, ..SvmConfig::default() }).expect("policy");
    let space = svm.create().expect("space");
    let mut batch = Batch::try_new().expect("batch");
    let (mut n, mut now) = (0, 0);
    best_rate(BATCHES * MAX_FAULTS as u64, || {
        for _ in 0..BATCHES {
            batch.clear();
            for (tag, _) in (0u32..).zip(0..MAX_FAULTS) {
                let va = page(n, in_a_row) << PAGE_SHIFT;
                batch.push(Fault { space, va, tag, access: Access::Write, region: 0 }).expect("room");
                n += 1;
            }
            now += 100_000;
            let (faults, regions) = batch.parts(MAX_REGIONS);
            let plan = svm.serve(faults, false, now, regions).expect("plan");
            for region in regions.iter().take(plan.regions).filter(|region| region.action == Action::ToVram) {
                let chunk = u32::try_from(region.va >> BLOCK_SHIFT).ok().map(|block| block % 2048);
                let (va, pages, to, cause) = (region.va, region.pages, Place::Vram, Cause::Fault);
                svm.event(&Event::Migrated { space, va, pages, to, cause, chunk }, now).expect("told");
                svm.event(&Event::Mapped { space, va, pages, writable: pages }, now).expect("told");
            }
            // What came does not stay: else there is nothing to decide any more.
            if let Some(region) = regions.iter().take(plan.regions).next_back() {
                let gone = Event::Gone { space, range: 0..region.va.saturating_add(1 << BLOCK_SHIFT) };
                svm.event(&gone, now).expect("told");
            }
        }
    })
}

fn sort_rate(in_a_row: bool) -> f64 {
    let mut n = 0;
    let mut faults = Vec::with_capacity(MAX_FAULTS);
    best_rate(BATCHES * MAX_FAULTS as u64, || {
        for _ in 0..BATCHES {
            faults.clear();
            for (tag, _) in (0u32..).zip(0..MAX_FAULTS) {
                faults.push((page(n, in_a_row), tag));
                n += 1;
            }
            faults.sort_unstable();
            black_box(&faults);
        }
    })
}

fn main() {
    for (name, in_a_row) in [("svm_faults_in_a_row", true), ("svm_faults_at_random", false)] {
        let (value, limit) = (policy_rate(in_a_row), sort_rate(in_a_row));
        println!("figure {name} value={value:.0} limit={limit:.0} ratio={:.3} bar={BAR:.0}", value / limit);
    }
}
