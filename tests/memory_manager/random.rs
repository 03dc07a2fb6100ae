// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Random lives of random buffers, with and without failures.

use std::time::Instant;

use uvm_policy::{EvictKind, Limits};

use crate::machine::{Machine, Sizes, Tables};
use crate::world::{policy, World};

pub const SMALL: Sizes = Sizes { vram: 48, visible: 32, gart: 40, paging: 8, frames: 96, swap: 160 };

fn world(sizes: &Sizes, evict: EvictKind, seed: u64) -> World<Tables> {
    let limits = Limits { total: 200 * 4096, local: 40 * 4096 };
    World::new(policy(sizes, 3, evict), Machine::new(sizes, Tables::new(sizes)), 4, limits, seed)
}

/// A run that prints its seed before it fails.
fn run(sizes: &Sizes, evict: EvictKind, failing: u64, seed: u64, events: u64) -> u64 {
    struct Said(u64);
    impl Drop for Said {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the seed was {}", self.0);
            }
        }
    }
    let said = Said(seed);
    let mut world = world(sizes, evict, seed);
    world.failing = failing;
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
    println!("{evict:?} seed {seed}: {stats:?} {:?}", world.refused);
    world.events
}

#[test]
fn no_byte_is_lost_whatever_ends_first() {
    for (seed, evict) in (1..).zip([EvictKind::Lru, EvictKind::Clock, EvictKind::TwoQueues]) {
        run(&SMALL, evict, 0, seed, 60_000);
    }
}

#[test]
fn no_byte_is_lost_whatever_fails() {
    for (seed, evict) in (11..).zip([EvictKind::Lru, EvictKind::Clock, EvictKind::TwoQueues]) {
        run(&SMALL, evict, 6, seed, 60_000);
    }
}

#[test]
fn no_byte_is_lost_when_nearly_all_fails_and_memory_is_scarce() {
    let scarce = Sizes { frames: 40, swap: 24, ..SMALL };
    for seed in 21..24 {
        run(&scarce, EvictKind::Lru, 2, seed, 30_000);
    }
}

#[test]
fn short_lives_end_clean_from_many_seeds() {
    for seed in 1000..1200 {
        run(&SMALL, EvictKind::Lru, 9, seed, 400);
    }
}

#[test]
fn events_are_taken_at_a_rate_that_tests_can_afford() {
    let begun = Instant::now();
    let events = run(&SMALL, EvictKind::Lru, 20, 5, 100_000);
    let taken = begun.elapsed();
    println!("{events} events in {taken:?}");
}
