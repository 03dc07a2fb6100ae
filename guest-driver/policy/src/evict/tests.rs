// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
#![allow(clippy::unwrap_used)]

use alloc::vec::Vec;

use super::*;

/// A segment of `room` single pages: uses pages in order and tells how many were not there.
fn misses(kind: EvictKind, room: usize, uses: impl IntoIterator<Item = u32>) -> usize {
    let mut rule = Evictor::new(kind, room as u64);
    rule.ensure(256).unwrap();
    let mut resident: Vec<u32> = Vec::new();
    let mut misses = 0;
    for slot in uses {
        if !resident.contains(&slot) {
            misses += 1;
            if resident.len() == room {
                let victim = rule.pick(|_| true).unwrap();
                rule.evict(victim);
                resident.retain(|other| *other != victim);
            }
            rule.admit(slot, 1);
            resident.push(slot);
        }
        rule.touch(slot);
    }
    misses
}

#[test]
fn lru_takes_the_one_whose_last_use_is_oldest() {
    let mut rule = Evictor::new(EvictKind::Lru, 8);
    rule.ensure(4).unwrap();
    (0..4).for_each(|slot| rule.admit(slot, 1));
    rule.touch(0);

    assert_eq!(rule.pick(|_| true), Some(1));
    assert_eq!(rule.pick(|slot| slot == 0), Some(0));
}

#[test]
fn clock_gives_a_second_chance_once() {
    let mut rule = Evictor::new(EvictKind::Clock, 8);
    rule.ensure(3).unwrap();
    (0..3).for_each(|slot| rule.admit(slot, 1));
    rule.touch(0);

    assert_eq!(rule.pick(|_| true), Some(1));
    rule.evict(1);
    assert_eq!(rule.pick(|_| true), Some(2));
    rule.evict(2);
    assert_eq!(rule.pick(|_| true), Some(0));
}

#[test]
fn two_queues_keep_the_hot_set_through_a_scan_and_lru_does_not() {
    // The hot set comes back after more newcomers than fit; then a scan of what is used once.
    let uses = || (0..4u32).chain(4..16).chain(0..4).chain(20..100).chain(0..4);

    assert_eq!(misses(EvictKind::Lru, 12, uses()), 16 + 4 + 80 + 4);
    assert_eq!(misses(EvictKind::TwoQueues, 12, uses()), 16 + 4 + 80);
}

#[test]
fn whatever_may_not_go_is_never_picked_and_picking_ends() {
    for kind in [EvictKind::Lru, EvictKind::Clock, EvictKind::TwoQueues] {
        let mut rule = Evictor::new(kind, 8);
        rule.ensure(8).unwrap();
        (0..8).for_each(|slot| rule.admit(slot, 1));
        (0..8).for_each(|slot| rule.touch(slot));

        assert_eq!(rule.pick(|_| false), None);
        assert_eq!(rule.pick(|slot| slot == 5), Some(5));
        rule.forget(5);
        assert_eq!(rule.pick(|slot| slot == 5), None);
    }
}

#[test]
fn what_was_forgotten_is_not_remembered_as_evicted() {
    let mut rule = TwoQueues::new(8);
    rule.ensure(8).unwrap();
    rule.admit(1, 1);
    rule.evict(1);
    rule.admit(1, 1);
    rule.admit(2, 1);
    rule.evict(2);
    rule.forget(2);
    rule.admit(2, 1);

    // 1 came back and is in the main queue, 2 counts as new: with few newcomers the main queue goes first.
    assert_eq!(rule.pick(|_| true), Some(1));
}
