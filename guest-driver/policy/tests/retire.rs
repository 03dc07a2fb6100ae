// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Retired pages are never given out, whatever lay on them.
#![allow(clippy::unwrap_used)]

use uvm_policy::{AllocRequest, BlockKind, Domain, Error, From, Policy, SegmentConfig, SegmentId};

const PAGE: u64 = 4096;
const PAGES: u64 = 256;
/// A base that shows where it is forgotten.
const BASE: u64 = 64 << 20;

fn policy() -> (Policy, SegmentId) {
    let mut policy = Policy::new(PAGE).unwrap();
    let config = SegmentConfig { domain: Domain::Vram, base: BASE, size: PAGES * PAGE };
    let segment = policy.add_segment(&config).unwrap();
    (policy, segment)
}

fn request(pages: u64) -> AllocRequest {
    AllocRequest { size: pages * PAGE, align: 0, from: From::Bottom, within: None }
}

/// Takes all that can be had, page by page: the pages' numbers.
fn all(policy: &mut Policy, segment: SegmentId) -> Vec<u64> {
    std::iter::from_fn(|| policy.alloc(segment, &request(1)).ok()).map(|a| (a.offset - BASE) / PAGE).collect()
}

#[test]
fn a_free_page_is_out_of_use_at_once() {
    let (mut policy, segment) = policy();
    assert_eq!(policy.retire(segment, BASE + 7 * PAGE + 5), Ok(true));
    assert_eq!(policy.retire(segment, BASE + 7 * PAGE), Ok(true), "twice is once");
    assert_eq!(policy.stats(segment).unwrap().reserved, PAGE);
    assert_eq!(policy.retired(segment), Ok(1));
    let given = all(&mut policy, segment);
    assert_eq!(given, (0..PAGES).filter(|&n| n != 7).collect::<Vec<_>>());
}

#[test]
fn a_page_in_use_is_out_of_use_once_it_is_freed() {
    let (mut policy, segment) = policy();
    let block = policy.alloc(segment, &request(16)).unwrap();
    let other = policy.alloc(segment, &request(16)).unwrap();
    assert_eq!(policy.retire(segment, block.offset + 3 * PAGE), Ok(false));
    assert_eq!(policy.allocation(block.id).unwrap(), block, "its owner keeps it");
    policy.free(block.id).unwrap();
    let again = policy.alloc(segment, &request(16)).unwrap();
    assert_ne!(again.offset, block.offset);
    assert_eq!(policy.find(segment, block.offset + 3 * PAGE).unwrap().kind, BlockKind::Reserved);
    for id in [again.id, other.id] {
        policy.free(id).unwrap();
    }
    assert_eq!(all(&mut policy, segment).len() as u64, PAGES - 1);
}

#[test]
fn nothing_that_was_retired_is_ever_given_out() {
    let (mut policy, segment) = policy();
    let mut seed = 99u64;
    let mut random = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % n
    };
    let (mut held, mut bad) = (Vec::new(), std::collections::BTreeMap::new());
    for round in 0..20_000u64 {
        if round % 200 == 0 {
            let page = random(PAGES);
            let in_use = held.iter().any(|(_, first, len): &(_, u64, u64)| (*first..first + len).contains(&page));
            let now = policy.retire(segment, BASE + page * PAGE).unwrap();
            assert!(bad.contains_key(&page) || now != in_use);
            bad.entry(page).or_insert(round);
        }
        if random(2) == 0 {
            let Ok(block) = policy.alloc(segment, &request(1 + random(8))) else { continue };
            let (first, len) = ((block.offset - BASE) / PAGE, block.size / PAGE);
            let wrong: Vec<_> = (first..first + len).filter(|page| bad.contains_key(page)).collect();
            assert!(wrong.is_empty(), "pages {wrong:?} were given out in round {round}");
            held.push((block.id, first, len));
        } else if !held.is_empty() {
            let (id, ..) = held.swap_remove(usize::try_from(random(held.len() as u64)).unwrap());
            policy.free(id).unwrap();
        }
    }
    assert!(bad.len() > 50);
    for (id, ..) in held {
        policy.free(id).unwrap();
    }
    let given = all(&mut policy, segment);
    assert_eq!(given, (0..PAGES).filter(|page| !bad.contains_key(page)).collect::<Vec<_>>());
    assert_eq!(policy.retired(segment), Ok(bad.len() as u64));
}

#[test]
fn fixed_ranges_do_not_get_it_either() {
    let (mut policy, segment) = policy();
    let block = policy.alloc(segment, &request(1)).unwrap();
    policy.retire(segment, block.offset).unwrap();
    policy.free(block.id).unwrap();
    assert_eq!(policy.reserve(segment, block.offset, PAGE), Err(Error::NoSpace));
}

#[test]
fn pages_outside_are_refused() {
    let (mut policy, segment) = policy();
    for offset in [0, BASE - 1, BASE + PAGES * PAGE, u64::MAX] {
        assert_eq!(policy.retire(segment, offset), Err(Error::Invalid), "{offset:#x}");
    }
    assert_eq!(policy.retired(segment), Ok(0));
}
