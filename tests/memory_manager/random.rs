// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Random lives of random buffers, with and without failures.

use uvm_policy::{EvictKind, Limits, ManagerStats, Policy, SegmentTable};

use crate::machine::{Machine, Sizes, Tables, GART_BASE, PAGE};
use crate::world::{policy, policy_on, World};

pub const SMALL: Sizes = Sizes { vram: 48, visible: 32, gart: 40, paging: 8, frames: 96, swap: 160 };

/// What goes wrong in a run: of actions and of the policy's own allocations, one in so many; 0: none.
#[derive(Clone, Copy, Default)]
struct Wrong {
    failing: u64,
    starving: u64,
}

const NOTHING: Wrong = Wrong { failing: 0, starving: 0 };

/// A run that prints its seed if it fails.
fn run(sizes: &Sizes, evict: EvictKind, wrong: Wrong, seed: u64, events: u64) -> ManagerStats {
    live(sizes, policy(sizes, 3, evict), wrong, seed, events)
}

fn live(sizes: &Sizes, policy: Policy, wrong: Wrong, seed: u64, events: u64) -> ManagerStats {
    struct Said(u64);
    impl Drop for Said {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the seed was {}", self.0);
            }
        }
    }
    let said = Said(seed);
    let limits = Limits { total: 200 * 4096, local: 40 * 4096, pages: 90 * 4096 };
    let mut world = World::new(policy, Machine::new(sizes, Tables::new(sizes)), 4, limits, seed);
    (world.failing, world.starving) = (wrong.failing, wrong.starving);
    let mut next_check = 0;
    while world.events < events {
        world.step(14);
        if world.events > next_check {
            world.check_all();
            next_check = world.events + 200;
        }
    }
    let stats = world.policy.manager_stats();
    world.finish();
    drop(said);
    println!("seed {seed}: {stats:?} {:?}", world.refused);
    stats
}

#[test]
fn no_byte_is_lost_whatever_ends_first() {
    for (seed, evict) in (1..).zip([EvictKind::Lru, EvictKind::Clock, EvictKind::TwoQueues]) {
        let stats = run(&SMALL, evict, NOTHING, seed, 60_000);
        let ManagerStats { hits, evicted, copied, swapped_out, swapped_in, purged, refused, .. } = stats;
        let reached = [hits, evicted, copied, swapped_out, swapped_in, purged, refused];
        assert!(reached.into_iter().all(|count| count > 50), "{stats:?}");
    }
}

#[test]
fn no_byte_is_lost_whatever_fails() {
    for (seed, evict) in (11..).zip([EvictKind::Lru, EvictKind::Clock, EvictKind::TwoQueues]) {
        let stats = run(&SMALL, evict, Wrong { failing: 6, starving: 0 }, seed, 60_000);
        assert!(stats.failed > 1000);
    }
}

#[test]
fn no_byte_is_lost_when_nearly_all_fails_and_memory_is_scarce() {
    let scarce = Sizes { frames: 40, swap: 24, ..SMALL };
    for seed in 21..24 {
        run(&scarce, EvictKind::Lru, Wrong { failing: 2, starving: 3 }, seed, 30_000);
    }
}

#[test]
fn no_byte_is_lost_when_the_policy_has_no_memory_for_its_tables() {
    let roomy = Sizes { frames: 600, swap: 600, ..SMALL };
    for seed in 31..34 {
        run(&roomy, EvictKind::TwoQueues, Wrong { failing: 0, starving: 2 }, seed, 40_000);
    }
}

#[test]
fn no_byte_is_lost_on_other_tables_of_segments() {
    let uma = SegmentTable::uma(48 * PAGE, GART_BASE, 40 * PAGE, 8 * PAGE).unwrap();
    // Page tables lie before local memory; the GART is snooped, unsnooped and paging.
    let vidmm = SegmentTable::vidmm(8 * PAGE, 40 * PAGE, GART_BASE, 16 * PAGE, 16 * PAGE, 8 * PAGE).unwrap();
    for (seed, table) in [(41, uma), (42, vidmm)] {
        let policy = policy_on(&table, 3, EvictKind::Lru);
        let stats = live(&SMALL, policy, Wrong { failing: 9, starving: 0 }, seed, 40_000);
        assert!(stats.evicted > 0 && stats.swapped_in > 0);
    }
}

#[test]
fn a_million_events_pass() {
    let begun = std::time::Instant::now();
    run(&SMALL, EvictKind::Clock, Wrong { failing: 20, starving: 0 }, 51, 1_000_000);
    println!("a million events, every page checked 5000 times: {:?}", begun.elapsed());
}

#[test]
fn short_lives_end_clean_from_many_seeds() {
    for seed in 1000..1200 {
        run(&SMALL, EvictKind::Lru, Wrong { failing: 9, starving: 0 }, seed, 400);
    }
}
