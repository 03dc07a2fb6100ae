// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Shared memory's policy at its edges: no memory, too many of everything, victims, pins that end, a million events.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test may give up

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use uvm_policy::svm::*;
use uvm_policy::Error;

#[path = "common/failing.rs"]
mod failing;

#[global_allocator]
static ALLOCATOR: failing::Failing = failing::Failing;

const BLOCK: u64 = 1 << BLOCK_SHIFT;
const PAGE: u64 = 1 << PAGE_SHIFT;

fn svm(change: impl FnOnce(&mut SvmConfig)) -> (Svm, SpaceId) {
    let mut config = SvmConfig { chunks: 64, ..SvmConfig::default() };
    change(&mut config);
    let mut svm = Svm::new(&config).unwrap();
    let space = svm.create().unwrap();
    (svm, space)
}

fn fault(space: SpaceId, va: u64) -> Fault {
    Fault { space, va, tag: 0, access: Access::Write, region: 0 }
}

fn serve(svm: &mut Svm, batch: &mut Batch, faults: &[Fault], now: u64) -> Vec<Region> {
    batch.clear();
    faults.iter().for_each(|fault| batch.push(*fault).unwrap());
    let (faults, regions) = batch.parts(MAX_REGIONS);
    let plan = svm.serve(faults, false, now, regions).unwrap();
    regions[..plan.regions].to_vec()
}

fn came(space: SpaceId, block: u64, pages: Pages, chunk: u32) -> Event {
    let (to, cause) = (Place::Vram, Cause::Fault);
    Event::Migrated { space, va: block * BLOCK, pages, to, cause, chunk: Some(chunk) }
}

fn left(space: SpaceId, block: u64, pages: Pages, cause: Cause) -> Event {
    Event::Migrated { space, va: block * BLOCK, pages, to: Place::System, cause, chunk: None }
}

/// A stream of numbers from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % n
    }
}

#[test]
fn chunks_leave_in_order_of_use_and_those_that_should_stay_leave_last() {
    let (mut svm, space) = svm(|_| {});
    let mut now = 1_000_000_000;
    for block in 0..6 {
        svm.event(&came(space, block, Pages::ALL, block as u32), now).unwrap();
        now += 1_000_000;
    }
    // Block 0 is faulted on again, block 1 is preferred in VRAM, block 5 has only just come.
    let mut batch = Batch::try_new().unwrap();
    serve(&mut svm, &mut batch, &[fault(space, 7 * PAGE)], now);
    svm.advise(space, &(BLOCK..2 * BLOCK), Advice::Preferred(Some(Place::Vram))).unwrap();
    svm.event(&came(space, 5, Pages::ALL, 5), now).unwrap();

    let order: Vec<u32> = std::iter::from_fn(|| svm.victim(now)).collect();

    assert_eq!(order, [2, 3, 4, 0, 1, 5]);
    assert_eq!(svm.victim(now), None, "none is named twice");
    svm.event(&Event::ChunkStays(4), now).unwrap();
    svm.event(&Event::ChunkFree(3), now).unwrap();
    assert_eq!((svm.victim(now), svm.victim(now)), (Some(4), None));
    assert_eq!(svm.event(&Event::ChunkFree(64), now), Err(Error::Invalid));
}

#[test]
fn chunk_in_use_by_whoever_leaves_last_and_one_that_leaves_stays_named() {
    let (mut svm, space) = svm(|config| config.switches.spare = false);
    for block in 0..3 {
        svm.event(&came(space, block, Pages::ALL, block as u32), 1).unwrap();
    }
    // Of nobody that is known.
    svm.event(&Event::ChunkUsed(9), 2).unwrap();
    svm.event(&Event::ChunkUsed(0), 3).unwrap();

    assert_eq!(svm.victim(4), Some(1));
    svm.event(&Event::ChunkUsed(1), 5).unwrap();

    let rest: Vec<u32> = std::iter::from_fn(|| svm.victim(6)).collect();
    assert_eq!(rest, [2, 9, 0]);
    assert_eq!(svm.event(&Event::ChunkUsed(64), 7), Err(Error::Invalid));
}

#[test]
fn what_was_prefetched_is_to_be_mapped_and_what_left_meanwhile_is_not() {
    let (mut svm, space) = svm(|_| {});
    let (to, cause) = (Place::Vram, Cause::Prefetch);
    svm.event(&Event::Migrated { space, va: 0, pages: Pages::range(0, 40), to, cause, chunk: Some(0) }, 1).unwrap();
    svm.event(&left(space, 0, Pages::range(8, 16), Cause::CpuFault), 2).unwrap();
    let pages = Pages::range(30, 40);
    svm.event(&Event::Mapped { space, va: 0, pages, writable: pages }, 3).unwrap();
    let other = svm.create().unwrap();

    assert_eq!(svm.next_map(other), None, "that is another's");
    let region = svm.next_map(space).unwrap();

    assert_eq!((region.action, region.pages), (Action::Map, Pages::range(0, 8) | Pages::range(16, 30)));
    assert_eq!(svm.next_map(space), None);
}

#[test]
fn page_on_its_way_is_asked_for_again_where_it_is_always_wanted() {
    let (mut svm, space) = svm(|_| {});
    svm.advise(space, &(0..10 * PAGE), Advice::AccessedByDevice(true)).unwrap();
    let (pages, to) = (Pages::range(5, 15), Place::System);
    svm.event(&came(space, 0, Pages::range(0, 1), 0), 1).unwrap();

    svm.event(&Event::Failed { space, va: 0, pages, to }, 2).unwrap();

    assert_eq!(svm.next_map(space).unwrap().pages, Pages::range(5, 10));
    assert_eq!(svm.stats(Some(space)).unwrap().failed, 0, "it has not failed to move");
}

#[test]
fn ranges_of_a_group_come_one_after_another() {
    let (mut svm, space) = svm(|_| {});
    let (group, other) = (svm.create_group(space).unwrap(), svm.create_group(space).unwrap());
    for (range, group) in [(2..4, group), (6..7, other), (7..9, group), (40..50, group)] {
        svm.advise(space, &(range.start * PAGE..range.end * PAGE), Advice::Group(group)).unwrap();
    }
    let (mut from, mut ranges) = (3 * PAGE, Vec::new());
    while let Some(range) = svm.next_of_group(space, group, from).unwrap() {
        from = range.end;
        ranges.push(range.start / PAGE..range.end / PAGE);
    }
    assert_eq!(ranges, [3..4, 7..9, 40..50]);
    assert_eq!(svm.next_of_group(space, 77, 0), Err(Error::Unknown));
}

/// The order of a naive list, with nothing spared.
#[test]
fn victims_are_the_least_recently_used() {
    let (mut svm, space) = svm(|config| config.switches.spare = false);
    let (mut numbers, mut list) = (Numbers(3), VecDeque::new());
    for turn in 0..20_000 {
        let chunk = numbers.below(64) as u32;
        match numbers.below(4) {
            0 => {
                assert_eq!(svm.victim(turn), list.pop_front());
            }
            1 => {
                svm.event(&Event::ChunkFree(chunk), turn).unwrap();
                list.retain(|other| *other != chunk);
            }
            _ => {
                svm.event(&came(space, chunk.into(), Pages::range(0, 4), chunk), turn).unwrap();
                list.retain(|other| *other != chunk);
                list.push_back(chunk);
            }
        }
    }
}

#[test]
fn blocks_beyond_the_limit_push_the_oldest_out() {
    let (mut svm, space) = svm(|config| config.blocks = 8);
    let other = svm.create().unwrap();
    for block in 0..8 {
        svm.event(&came(if block % 2 == 0 { space } else { other }, block, Pages::ALL, 0), 1).unwrap();
    }
    let mut batch = Batch::try_new().unwrap();
    let touched = serve(&mut svm, &mut batch, &[fault(space, 0)], 2);
    assert_eq!(touched[0].action, Action::Map, "known to be there");
    serve(&mut svm, &mut batch, &[fault(space, 100 * BLOCK)], 3);

    assert_eq!(svm.in_use(), (2, 8));
    assert_eq!(svm.stats(Some(other)).unwrap().forgotten, 1, "block 1");
    let again = serve(&mut svm, &mut batch, &[fault(other, BLOCK)], 4);
    assert_eq!(again[0].action, Action::ToVram, "a guess, which the caller finds out");
    svm.destroy(space).unwrap();
    assert_eq!(svm.ranges(space), Err(Error::Unknown));
    assert!(svm.in_use().1 < 8);
}

#[test]
fn a_thousand_spaces_have_nothing_to_do_with_each_other() {
    let (mut svm, _) = svm(|_| {});
    let spaces: Vec<SpaceId> = (0..1000).map(|_| svm.create().unwrap()).collect();
    for (space, n) in spaces.iter().zip(0..) {
        svm.event(&came(*space, 5, Pages::range(n % 512, n % 512 + 1), 0), 1).unwrap();
    }
    let mut batch = Batch::try_new().unwrap();
    for (some, first) in spaces.chunks(256).zip((0u32..).step_by(256)) {
        let faults: Vec<Fault> =
            some.iter().zip(first..).map(|(space, n)| fault(*space, 5 * BLOCK + u64::from(n % 512) * PAGE)).collect();
        let regions = serve(&mut svm, &mut batch, &faults, 2);
        assert_eq!(regions.len(), faults.len());
        assert!(regions.iter().all(|region| region.action == Action::Map && region.faulted.count() == 1));
    }
    for space in &spaces[..500] {
        svm.destroy(*space).unwrap();
        assert_eq!(svm.destroy(*space), Err(Error::Unknown));
    }
    // New ones get their slots, and are not taken for them.
    let new: Vec<SpaceId> = (0..500).map(|_| svm.create().unwrap()).collect();
    assert!(new.iter().all(|space| !spaces.contains(space)));
    let faults = [fault(spaces[3], 0), fault(new[3], 0)];
    let regions = serve(&mut svm, &mut batch, &faults, 3);
    assert_eq!((regions.len(), regions[0].space), (1, new[3]));
}

#[test]
fn ranges_and_groups_have_limits_and_a_full_table_stays_as_it_was() {
    let (mut svm, space) = svm(|_| {});
    for n in 0..MAX_RANGES as u64 {
        svm.advise(space, &(2 * n * PAGE..(2 * n + 1) * PAGE), Advice::EagerReplay(true)).unwrap();
    }
    assert_eq!(svm.ranges(space), Ok(MAX_RANGES));
    assert_eq!(svm.advise(space, &(1 << 40..1 << 41), Advice::NoAccess(true)), Err(Error::Limit));
    assert_eq!(svm.attributes(space, 1 << 40).unwrap().0, Attributes::default());
    // One more advice for all of it makes one range of them.
    svm.advise(space, &(0..1 << 40), Advice::Reset).unwrap();
    assert_eq!(svm.ranges(space), Ok(0));
    for _ in 0..MAX_GROUPS {
        svm.create_group(space).unwrap();
    }
    assert_eq!(svm.create_group(space), Err(Error::Limit));
    for (start, end) in [(0, 0), (1, PAGE), (0, PAGE + 1), (PAGE, 0)] {
        assert_eq!(svm.advise(space, &(start..end), Advice::Reset), Err(Error::Invalid));
    }
    assert_eq!(svm.advise(space, &(0..PAGE), Advice::Granule(Some(10))), Err(Error::Invalid));
    assert_eq!(svm.advise(space, &(0..PAGE), Advice::Preferred(Some(Place::Both))), Err(Error::Invalid));
    assert_eq!(svm.advise(space, &(0..!(PAGE - 1)), Advice::Preferred(Some(Place::Vram))), Ok(()));
}

/// Moves a page to and fro `times`, every `step` nanoseconds.
fn bounce(svm: &mut Svm, space: SpaceId, block: u64, times: u64, step: u64, now: &mut u64) {
    let page = Pages::range(9, 10);
    for _ in 0..times {
        svm.event(&came(space, block, page, 0), *now).unwrap();
        *now += step;
        svm.event(&left(space, block, page, Cause::CpuFault), *now).unwrap();
        *now += step;
    }
}

#[test]
fn what_returns_slowly_or_for_other_reasons_does_not_thrash() {
    let mut now = 1_000_000_000;
    let (mut svm, space) = svm(|_| {});
    let lapse = svm.config().thrash.lapse;
    bounce(&mut svm, space, 0, 50, lapse, &mut now);
    assert_eq!(svm.stats(None).unwrap().bounced, 0);
    for _ in 0..50 {
        svm.event(&came(space, 1, Pages::ALL, 1), now).unwrap();
        svm.event(&left(space, 1, Pages::ALL, Cause::Eviction), now + 10).unwrap();
        now += 20;
    }
    assert_eq!(svm.stats(None).unwrap().bounced, 0, "want of room");
    bounce(&mut svm, space, 2, 2, 1000, &mut now);
    let stats = svm.stats(None).unwrap();
    assert_eq!((stats.bounced, stats.thrashing), (3, 1));
    // The rest of its block is prefetched as before, the page itself waits for its slice.
    let mut batch = Batch::try_new().unwrap();
    let va = 2 * BLOCK + 9 * PAGE;
    let regions = serve(&mut svm, &mut batch, &[fault(space, va + PAGE), fault(space, va)], now);
    let by = |action| regions.iter().find(|region| region.action == action).unwrap();
    assert!(by(Action::ToVram).pages.has(8) && !by(Action::ToVram).pages.has(9));
    let throttle = by(Action::Throttle);
    let slice = svm.config().thrash.slice;
    assert!(throttle.until > now && throttle.until <= now + slice);
    let regions = serve(&mut svm, &mut batch, &[fault(space, va)], throttle.until);
    assert_eq!(regions[0].action, Action::ToVram, "then it is the device's turn");
    // With the switch off it is a page like any other.
    let mut config = svm.config();
    config.switches.thrash = false;
    svm.configure(&config).unwrap();
    let regions = serve(&mut svm, &mut batch, &[fault(space, va)], now);
    assert_eq!(regions[0].action, Action::ToVram);
}

#[test]
fn a_pinned_page_is_left_alone_until_its_time_is_over() {
    let mut now = 1_000_000_000;
    let (mut svm, space) = svm(|config| config.thrash.waits = 1);
    let mut batch = Batch::try_new().unwrap();
    let va = 9 * PAGE;
    bounce(&mut svm, space, 0, 3, 1000, &mut now);
    let mut actions = vec![];
    for _ in 0..3 {
        actions.push(serve(&mut svm, &mut batch, &[fault(space, va)], now)[0].action);
    }
    assert_eq!(actions, [Action::Throttle, Action::MapRemote, Action::MapRemote]);
    assert_eq!(svm.stats(None).unwrap().pinned, 1);
    // Atomics keep the CPU out; one that prefers VRAM is pinned there; neighbours do not bring it.
    let atomic = Fault { access: Access::Atomic, ..fault(space, va) };
    assert_eq!(serve(&mut svm, &mut batch, &[atomic], now)[0].action, Action::MapExclusive);
    let regions = serve(&mut svm, &mut batch, &[fault(space, va + PAGE)], now);
    assert!(regions[0].pages.has(8) && !regions[0].pages.has(9));
    svm.advise(space, &(0..BLOCK), Advice::Preferred(Some(Place::Vram))).unwrap();
    assert_eq!(serve(&mut svm, &mut batch, &[fault(space, va)], now)[0].action, Action::ToVram);
    svm.advise(space, &(0..BLOCK), Advice::Preferred(None)).unwrap();
    assert_eq!(serve(&mut svm, &mut batch, &[fault(space, va)], now)[0].action, Action::MapRemote);
    let later = now + svm.config().thrash.pin;
    assert_eq!(serve(&mut svm, &mut batch, &[fault(space, va)], later)[0].action, Action::ToVram);
}

#[test]
fn watches_are_few_and_go_to_those_who_need_them_now() {
    let mut now = 1_000_000_000;
    let (mut svm, space) = svm(|config| config.thrash.watched = 4);
    for block in 0..6 {
        bounce(&mut svm, space, block, 3, 1000, &mut now);
    }
    let stats = svm.stats(None).unwrap();
    assert_eq!((stats.thrashing, stats.unwatched > 0), (4, true));
    now += 10 * svm.config().thrash.lapse;
    bounce(&mut svm, space, 5, 3, 1000, &mut now);
    assert_eq!(svm.stats(None).unwrap().thrashing, 5, "the others are calm");
    // What returns slowly takes none.
    let (mut svm, space) = self::svm(|config| config.thrash.watched = 1);
    let page = Pages::range(0, 1);
    svm.event(&came(space, 0, page, 0), now - 2 * svm.config().thrash.lapse).unwrap();
    svm.event(&left(space, 0, page, Cause::CpuFault), now).unwrap();
    bounce(&mut svm, space, 1, 2, 1000, &mut now);
    assert_eq!(svm.stats(None).unwrap().thrashing, 1);
}

#[test]
fn want_of_memory_makes_worse_guesses_and_nothing_else() {
    for allowed in 0..12 {
        let config = SvmConfig { chunks: 4, ..SvmConfig::default() };
        let made = failing::with_allocations(allowed, || Svm::new(&config));
        let Ok(mut svm) = made else {
            assert!(allowed < 4, "{allowed}");
            continue;
        };
        let mut batch = Batch::try_new().unwrap();
        let space = svm.create().unwrap();
        let faults = [fault(space, 9 * PAGE), fault(space, 5 * BLOCK)];
        let regions = failing::with_allocations(0, || {
            batch.clear();
            faults.iter().for_each(|fault| batch.push(*fault).unwrap());
            let (faults, regions) = batch.parts(MAX_REGIONS);
            let plan = svm.serve(faults, false, 1, regions).unwrap();
            (plan.regions, regions[0].action, regions[0].pages.count())
        });
        assert_eq!(regions, (2, Action::ToVram, 16));
        let advised = failing::with_allocations(0, || svm.advise(space, &(0..PAGE), Advice::NoAccess(true)));
        assert_eq!((advised, svm.ranges(space)), (Err(Error::NoMemory), Ok(0)));
        let told = failing::with_allocations(0, || svm.event(&came(space, 9, Pages::ALL, 1), 2));
        assert_eq!(told, Err(Error::NoMemory));
        assert_eq!(failing::with_allocations(0, || svm.event(&left(space, 9, Pages::ALL, Cause::CpuFault), 3)), Ok(()));
        assert_eq!(failing::with_allocations(0, || svm.keep_log(space, 10)), Err(Error::NoMemory));
        svm.event(&came(space, 9, Pages::ALL, 1), 4).unwrap();
        let gone = Event::Gone { space, range: 0..1 << 40 };
        assert_eq!(failing::with_allocations(0, || svm.event(&gone, 5)), Ok(()), "giving up needs nothing");
        assert_eq!(failing::with_allocations(0, || svm.destroy(space)), Ok(()));
    }
}

/// Random numbers at every function: no panic, and what is answered is in bounds.
#[test]
fn no_argument_breaks_it() {
    let mut numbers = Numbers(11);
    let (mut svm, space) = svm(|config| config.switches.correlation = true);
    let mut batch = Batch::try_new().unwrap();
    let odd = |numbers: &mut Numbers| match numbers.below(4) {
        0 => u64::MAX - numbers.below(3 * BLOCK),
        1 => numbers.below(3 * BLOCK),
        2 => (1 << 47) - BLOCK + numbers.below(2 * BLOCK),
        _ => numbers.below(1 << 48) << numbers.below(16),
    };
    for turn in 0..60_000u64 {
        let (a, b) = (odd(&mut numbers), odd(&mut numbers));
        let id = if numbers.below(8) == 0 { SpaceId::from_raw(odd(&mut numbers)) } else { space };
        let pages = Pages::range(numbers.below(600) as u32, numbers.below(600) as u32);
        let now = if numbers.below(9) == 0 { odd(&mut numbers) } else { turn * 1000 };
        let chunk = Some(numbers.below(66) as u32);
        let to = [Place::System, Place::Vram, Place::Both][numbers.below(3) as usize];
        let cause = Cause::from_raw(numbers.below(5) as u32).unwrap();
        match numbers.below(10) {
            0 => drop(svm.advise(id, &(a & !(PAGE - 1)..b & !(PAGE - 1)), Advice::AccessedByDevice(turn % 2 == 0))),
            1 => drop(svm.event(&Event::Migrated { space: id, va: a, pages, to, cause, chunk }, now)),
            2 => drop(svm.event(&Event::Mapped { space: id, va: a, pages, writable: !pages }, now)),
            3 => drop(svm.event(&Event::Unmapped { space: id, range: a..b }, now)),
            4 => drop(svm.event(&Event::Gone { space: id, range: a..b }, now)),
            5 => drop(svm.prefetch(id, &(a..b), to, now)),
            6 => drop(svm.cpu_fault(id, a, now)),
            7 => assert!(svm.victim(now).is_none_or(|chunk| chunk < 64)),
            8 => {
                let notifications = [Notification { space: id, va: a, bytes: b }];
                let (_, regions) = batch.parts(1);
                assert!(svm.counted(&notifications, now, regions) <= 1);
                while svm.next_map(id).is_some() {}
            }
            _ => {
                let faults: Vec<Fault> = (0..numbers.below(257)).map(|_| fault(id, odd(&mut numbers))).collect();
                let regions = serve(&mut svm, &mut batch, &faults, now);
                assert!(regions.iter().all(|region| region.va % BLOCK == 0 && !region.pages.is_empty()));
            }
        }
    }
}

#[test]
fn a_million_faults_in_seconds_and_twice_the_same() {
    let run = || {
        let (mut svm, space) = svm(|config| config.switches.correlation = true);
        let (mut numbers, mut batch, mut now) = (Numbers(5), Batch::try_new().unwrap(), 0);
        let (mut digest, mut events, mut resident) = (0u64, 0u64, BTreeSet::new());
        while events < 1_000_000 {
            now += 10_000;
            // Some in a row, some anywhere in 4 GiB.
            let start = numbers.below(1 << 32);
            let faults: Vec<Fault> = (0..256u64)
                .map(|n| fault(space, if n % 4 == 0 { numbers.below(1 << 32) } else { start + n * PAGE }))
                .collect();
            events += faults.len() as u64;
            for region in serve(&mut svm, &mut batch, &faults, now) {
                let words = region.pages.0.iter().chain(&region.faulted.0).chain([&region.va, &region.until]);
                digest = words.fold(digest, |digest, word| digest.rotate_left(5) ^ word.wrapping_mul(0x9e37_79b9));
                if region.action != Action::ToVram {
                    continue;
                }
                let block = region.va / BLOCK;
                svm.event(&came(space, block, region.pages, (block % 64) as u32), now).unwrap();
                resident.insert(block);
                events += 1;
                if resident.len() > 64 {
                    let block = resident.pop_first().unwrap();
                    svm.event(&left(space, block, Pages::ALL, Cause::Eviction), now).unwrap();
                    events += 1;
                }
            }
        }
        (digest, svm.stats(None).unwrap())
    };
    let start = Instant::now();
    let first = run();
    println!("a million events in {:?}: {:?}", start.elapsed(), first.1);
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    assert_eq!(run(), first);
}

#[test]
fn only_what_turns_round_is_a_bounce_and_what_came_along_counts_for_half() {
    let mut now = 1_000_000_000;
    let (mut svm, space) = svm(|_| {});
    let mut batch = Batch::try_new().unwrap();
    let mut bounced = vec![];
    for _ in 0..2 {
        let regions = serve(&mut svm, &mut batch, &[fault(space, 3 * PAGE)], now);
        assert_eq!(regions[0].pages, Pages::range(0, 16));
        for _ in 0..3 {
            // Told again and again, it came once.
            svm.event(&came(space, 0, regions[0].pages, 0), now).unwrap();
            now += 1000;
        }
        bounced.push(svm.stats(None).unwrap().bounced);
        svm.event(&left(space, 0, regions[0].pages, Cause::CpuFault), now).unwrap();
        bounced.push(svm.stats(None).unwrap().bounced);
        now += 1000;
    }
    // The CPU takes 16, the device wanted one of them back, the CPU takes 16.
    assert_eq!(bounced, [0, 16, 17, 33]);
}

#[test]
fn a_pin_outlives_what_moves_the_page_all_the_same() {
    let mut now = 1_000_000_000;
    let (mut svm, space) = svm(|config| config.thrash.waits = 0);
    let mut batch = Batch::try_new().unwrap();
    bounce(&mut svm, space, 0, 3, 1000, &mut now);
    let page = Pages::range(9, 10);
    assert_eq!(serve(&mut svm, &mut batch, &[fault(space, 9 * PAGE)], now)[0].action, Action::MapRemote);
    for cause in [Cause::CpuFault, Cause::Eviction] {
        svm.event(&came(space, 0, page, 0), now).unwrap();
        svm.event(&left(space, 0, page, cause), now + 10).unwrap();
    }
    now += svm.config().thrash.pin / 2;
    assert_eq!(serve(&mut svm, &mut batch, &[fault(space, 9 * PAGE)], now)[0].action, Action::MapRemote);
    assert_eq!(svm.stats(None).unwrap().pinned, 1);
}

#[test]
fn what_was_unmapped_is_no_eviction_and_may_come_again() {
    let (mut svm, space) = svm(|_| {});
    let mut batch = Batch::try_new().unwrap();
    let (vram, page) = (Pages::range(0, 16), Pages::range(9, 10));
    svm.event(&came(space, 4, vram, 0), 1).unwrap();
    svm.keep_log(space, 8).unwrap();
    let before = svm.stats(None).unwrap();
    svm.event(&left(space, 4, page, Cause::Lost), 3).unwrap();
    assert_eq!(svm.stats(None).unwrap(), before);
    assert_eq!(svm.read_log(space, &mut [Record::default(); 8]).unwrap(), (0, 0));
    let regions = serve(&mut svm, &mut batch, &[fault(space, 4 * BLOCK + 9 * PAGE)], 4);
    assert_eq!((regions[0].action, regions[0].pages), (Action::ToVram, page));
}

#[test]
fn what_a_block_needed_the_last_time_is_what_it_is_brought() {
    let (mut svm, space) = svm(|config| {
        config.switches.correlation = true;
        config.switches.density = false;
        config.granule = 0;
    });
    let mut batch = Batch::try_new().unwrap();
    let (first, second) = (Pages::range(0, 8), Pages::range(100, 104));
    for pages in [first, second] {
        for page in pages.iter() {
            svm.event(&came(space, 4, Pages::range(page, page + 1), 0), 1).unwrap();
        }
        svm.event(&left(space, 4, Pages::ALL, Cause::Eviction), 2).unwrap();
    }
    let regions = serve(&mut svm, &mut batch, &[fault(space, 4 * BLOCK + 300 * PAGE)], 3);
    let brought: Vec<_> = regions.iter().map(|region| (region.guess, region.pages)).collect();
    assert_eq!(brought, [(false, Pages::range(300, 301)), (true, second)]);
}

#[test]
fn what_is_gone_is_not_mapped_again_and_hides_nobody_else() {
    let (mut svm, space) = svm(|_| {});
    svm.advise(space, &(0..4 * BLOCK), Advice::AccessedByDevice(true)).unwrap();
    for block in 0..3 {
        let (va, pages) = (block * BLOCK, Pages::ALL);
        svm.event(&Event::Mapped { space, va, pages, writable: pages }, 1).unwrap();
    }
    svm.event(&Event::Unmapped { space, range: 0..3 * BLOCK }, 2).unwrap();
    svm.event(&Event::Gone { space, range: 0..BLOCK }, 3).unwrap();
    svm.event(&Event::Gone { space, range: BLOCK..BLOCK + 500 * PAGE }, 3).unwrap();
    let again: Vec<_> = std::iter::from_fn(|| svm.next_map(space)).map(|region| (region.va, region.pages)).collect();
    assert_eq!(again, [(BLOCK, Pages::range(500, 512)), (2 * BLOCK, Pages::ALL)]);
}

#[test]
fn a_fault_on_what_is_mapped_enough_is_stale_and_no_other() {
    let (mut svm, space) = svm(|_| {});
    let mut batch = Batch::try_new().unwrap();
    let mapped = |writable| Event::Mapped { space, va: 0, pages: Pages::ALL, writable };
    let mut stale = |svm: &mut Svm, access| {
        let before = svm.stats(None).unwrap().stale;
        serve(svm, &mut batch, &[Fault { access, ..fault(space, 7 * PAGE) }], 1);
        svm.stats(None).unwrap().stale - before
    };
    assert_eq!(stale(&mut svm, Access::Read), 0);
    svm.event(&mapped(Pages::ALL), 1).unwrap();
    assert_eq!([stale(&mut svm, Access::Read), stale(&mut svm, Access::Write)], [1, 1]);
    svm.event(&mapped(Pages::NONE), 2).unwrap();
    assert_eq!([stale(&mut svm, Access::Read), stale(&mut svm, Access::Atomic)], [1, 0]);
    svm.event(&Event::Unmapped { space, range: 7 * PAGE..7 * PAGE + 1 }, 3).unwrap();
    assert_eq!(stale(&mut svm, Access::Read), 0);
}

/// What cannot move is mapped where it is: a second try would take away what the first one has mapped.
#[test]
fn what_failed_to_come_is_left_alone_for_a_while() {
    let (mut svm, space) = svm(|_| {});
    let mut batch = Batch::try_new().unwrap();
    let now = 1_000_000_000;
    svm.advise(space, &(0..BLOCK), Advice::Granule(Some(9))).unwrap();
    let plan = serve(&mut svm, &mut batch, &[fault(space, 7 * PAGE)], now);
    assert_eq!((plan[0].action, plan[0].pages), (Action::ToVram, Pages::ALL));
    let stays = Pages::around(0, 8);
    svm.event(&Event::Failed { space, va: 0, pages: stays, to: Place::Vram }, now).unwrap();

    let plan = serve(&mut svm, &mut batch, &[fault(space, 9 * PAGE)], now + 1_000_000);
    assert!(plan[0].action == Action::Map && (plan[0].pages.minus(stays)).is_empty(), "{plan:?}");
    let plan = serve(&mut svm, &mut batch, &[fault(space, 300 * PAGE)], now + 2_000_000);
    assert!(plan[0].action == Action::ToVram && (plan[0].pages & stays).is_empty(), "{plan:?}");

    let plan = serve(&mut svm, &mut batch, &[fault(space, 9 * PAGE)], now + 1_000_000_000);
    assert_eq!(plan[0].action, Action::ToVram);
    assert!(!(plan[0].pages & stays).minus(Pages::around(9, 0)).is_empty(), "{plan:?}");
}
