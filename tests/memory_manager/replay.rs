// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What was recorded is done again with the same answers and the same actions; what was changed is noticed.

use uvm_policy::event::Event;
use uvm_policy::record::{replay, Recorder, Replayed, Stopped};
use uvm_policy::{EvictKind, Limits, SegmentId};

use crate::machine::{Machine, Sizes, Tables};
use crate::random::SMALL;
use crate::world::{policy, table, World};

/// The log of a random life.
fn record(sizes: &Sizes, evict: EvictKind, seed: u64, events: u64) -> (Vec<u8>, u64, u64) {
    let limits = Limits::NONE;
    let mut policy = policy(sizes, 3, evict);
    let mut bytes = vec![0; 4096];
    let mut log = Recorder::new(&mut bytes);
    let config = uvm_policy::ManagerConfig { chunk: 3 * 4096, evict };
    log.start(4096, table(sizes).as_slice(), &config);
    // Somebody else's pages, in the middle.
    policy.reserve(SegmentId(0), 10 * 4096, 8192).unwrap();
    log.take(SegmentId(0), 10 * 4096, 8192);
    assert_eq!(log.lost(), 0);
    let start = log.bytes().to_vec();
    let mut world = World::new(policy, Machine::new(sizes, Tables::new(sizes)), 0, limits, seed);
    world.log = Some(start);
    world.open(3, limits);
    world.failing = 10;
    while world.events < events {
        world.step(12);
    }
    (world.log.take().unwrap(), world.told, world.asked)
}

#[test]
fn a_recorded_life_is_lived_again() {
    for (seed, evict) in (0..).zip([EvictKind::Lru, EvictKind::Clock, EvictKind::TwoQueues]) {
        let (log, events, actions) = record(&SMALL, evict, seed, 20_000);
        println!("{} bytes for {events} events and {actions} actions", log.len());
        assert!(actions > 3000);
        assert_eq!(replay(&log), Ok(Replayed { events, actions }));
    }
}

#[test]
fn another_rule_or_an_event_left_out_shows() {
    let (log, ..) = record(&SMALL, EvictKind::Lru, 7, 20_000);
    // The third word of the start is the rule.
    let mut other = log.clone();
    let rule = 2 + 2 + 2;
    assert_eq!((other[0], other[2..4].to_vec(), other[rule]), (1, vec![0x80, 0x20], 0));
    other[rule] = 1;
    assert!(matches!(replay(&other), Err(Stopped::Action(..) | Stopped::Answer(..))));

    let mut bytes = [0; 16];
    let mut tick = Recorder::new(&mut bytes);
    tick.event(&Event::Tick, &Ok(uvm_policy::event::Reply::Retained(true)));
    let cut = [&log[..], tick.bytes()].concat();
    assert!(matches!(replay(&cut), Err(Stopped::Answer(at, _)) if at == log.len()));
    assert!(matches!(replay(&log[..log.len() - 1]), Err(Stopped::Malformed(_))));
}
