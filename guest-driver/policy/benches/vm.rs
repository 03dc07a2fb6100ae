// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Page table entries planned a second, mapping and unmapping 256 MiB of scattered pages, and VMIDs granted a
//! second to one process that has the device for itself.
//!
//! The limit beside the entries is a loop that writes them one by one from a list and does nothing else; beside
//! the grants it is a take and release of an uncontended mutex, which the driver does around each call anyway.

use std::hint::black_box;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use uvm_policy::*;

const PAGE: u64 = 4096;
const PAGES: u64 = 65536;
const ROUNDS: u64 = 20_000;
/// A map of 4 KiB pages should not be what a copy of the same pages at 40 GB/s waits for.
const ENTRY_BAR: f64 = 1e7;
/// A submission costs its process a few microseconds; this is a tenth of that.
const GRANT_BAR: f64 = 2e6;

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

fn space() -> (Policy, VmId) {
    let mut policy = Policy::new(PAGE).expect("policy");
    policy.add_segment(&SegmentConfig { domain: Domain::Vram, base: 0, size: 64 << 20 }).expect("segment");
    let config =
        VmConfig { levels: 4, va_bits: 0, tables: Domain::Vram, root: 0, vram_base: 0, fragment: 9, leaf_level: 1 };
    let vm = policy.vm_create(&config).expect("address space");
    (policy, vm)
}

/// No two neighbours in a row.
fn scattered() -> Vec<u64> {
    (0..PAGES).map(|page| (page * 40_503 % PAGES * 2 + 16) * PAGE).collect()
}

fn perform(policy: &mut Policy, vm: VmId, update: UpdateId) -> u64 {
    assert_eq!(policy.update_prepare(update), Ok(Prepared::Ready));
    let mut entries = 0;
    loop {
        let mut given = 0;
        let count = |write| {
            given += 1;
            entries += black_box::<TableWrite>(write).count;
        };
        policy.update_next(update, 64, count).expect("writes");
        if given == 0 {
            break;
        }
    }
    policy.update_commit(update).expect("commit");
    policy.update_landed(update).expect("landed");
    policy.vm_flush(vm).expect("flush");
    policy.update_retire(update).expect("retire");
    entries
}

fn entry_rate(pages: &[u64]) -> f64 {
    let (mut policy, vm) = space();
    let request = |change| UpdateRequest { va: 1 << 30, size: PAGES * PAGE, change, replace: false };
    best_rate(2 * PAGES, || {
        let map = request(Change::Map { attributes: 0x60, bo: 1, bo_offset: 0 });
        let update = policy.update_begin(vm, &map).expect("begin");
        for chunk in pages.chunks(64) {
            policy.update_page_list(update, chunk.iter().map(|page| (Domain::System, *page, 1))).expect("pages");
        }
        assert!(perform(&mut policy, vm, update) >= PAGES);
        let update = policy.update_begin(vm, &request(Change::Unmap)).expect("begin");
        perform(&mut policy, vm, update);
    })
}

fn write_rate(pages: &[u64]) -> f64 {
    let mut table = vec![0u64; pages.len()];
    best_rate(2 * PAGES, || {
        for (entry, page) in table.iter_mut().zip(pages) {
            *black_box(entry) = page | 0x63;
        }
        for entry in &mut table {
            *black_box(entry) = 0;
        }
    })
}

fn grant_rate() -> f64 {
    let (mut policy, vm) = space();
    let mut fence = 0;
    best_rate(ROUNDS, || {
        for _ in 0..ROUNDS {
            fence += 1;
            let request = GrabRequest { ring: 0, hubs: 2, fence };
            let Ok(Grab::Granted(grant)) = policy.vmid_grab(vm, &request) else { unreachable!("it is alone") };
            policy.vmid_submitted(grant.job, false).expect("submitted");
            policy.vmid_signalled(grant.job).expect("signalled");
        }
    })
}

fn mutex_rate() -> f64 {
    let mutex = Mutex::new(0u64);
    best_rate(ROUNDS, || {
        for _ in 0..ROUNDS {
            *black_box(&mutex).lock().expect("no panic under it") += 1;
        }
    })
}

fn main() {
    let pages = scattered();
    let figures = [
        ("policy_map_unmap_entries", entry_rate(&pages), write_rate(&pages), ENTRY_BAR),
        ("policy_vmid_grants", grant_rate(), mutex_rate(), GRANT_BAR),
    ];
    for (name, value, limit, bar) in figures {
        println!("figure {name} value={value:.0} limit={limit:.0} ratio={:.3} bar={bar:.0}", value / limit);
    }
}
