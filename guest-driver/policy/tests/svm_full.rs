// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Shared memory that is more than VRAM holds: who gets on, and how much is moved for it.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test may give up

use std::collections::{BTreeMap, BTreeSet};

use uvm_policy::svm::*;

const BLOCK: u64 = 1 << BLOCK_SHIFT;
/// What it takes to serve a batch, nanoseconds.
const STEP: u64 = 1_000_000;

/// A driver that moves whole blocks, each of which takes a chunk. A guess is carried out before anybody goes on.
struct Driver {
    svm: Svm,
    space: SpaceId,
    capacity: u32,
    now: u64,
    /// Chunks by block.
    vram: BTreeMap<u64, u32>,
    /// Blocks that need no fault.
    mapped: BTreeSet<u64>,
    batch: Batch,
    /// Blocks that came, blocks that were guessed, faults.
    moves: u64,
    guesses: u64,
    faults: u64,
}

impl Driver {
    fn new(capacity: u32, change: impl FnOnce(&mut SvmConfig)) -> Self {
        let mut config = SvmConfig { chunks: capacity, granule: 9, ..SvmConfig::default() };
        config.switches.density = false;
        change(&mut config);
        let mut svm = Svm::new(&config).unwrap();
        let space = svm.create().unwrap();
        let (vram, mapped, batch) = (BTreeMap::new(), BTreeSet::new(), Batch::try_new().unwrap());
        Self { svm, space, capacity, now: 1_000_000_000, vram, mapped, batch, moves: 0, guesses: 0, faults: 0 }
    }

    fn told(&mut self, event: &Event) {
        self.svm.event(event, self.now).unwrap();
    }

    fn leave(&mut self, block: u64, cause: Cause) {
        let Some(chunk) = self.vram.remove(&block) else { return };
        self.mapped.remove(&block);
        let (va, pages, to) = (block * BLOCK, Pages::ALL, Place::System);
        self.told(&Event::Unmapped { space: self.space, range: va..va + BLOCK });
        self.told(&Event::Migrated { space: self.space, va, pages, to, cause, chunk: None });
        self.told(&Event::ChunkFree(chunk));
    }

    fn come(&mut self, block: u64, cause: Cause) {
        if self.vram.contains_key(&block) {
            return;
        }
        if self.vram.len() == self.capacity as usize {
            let victim = self.svm.victim(self.now).unwrap();
            let (old, _) = self.vram.iter().find(|(_, chunk)| **chunk == victim).unwrap();
            self.leave(*old, Cause::Eviction);
        }
        let chunk = (0..self.capacity).find(|chunk| !self.vram.values().any(|used| used == chunk)).unwrap();
        self.vram.insert(block, chunk);
        self.moves += 1;
        let (va, pages, to) = (block * BLOCK, Pages::ALL, Place::Vram);
        self.told(&Event::Migrated { space: self.space, va, pages, to, cause, chunk: Some(chunk) });
    }

    /// Accesses to these blocks at the same time, until each was made.
    fn access(&mut self, blocks: &[u64], access: Access) {
        let mut waiting = blocks.to_vec();
        for _ in 0..50 {
            waiting.retain(|block| !self.mapped.contains(block));
            if waiting.is_empty() {
                return;
            }
            self.serve(&waiting, access);
        }
        panic!("accesses to {waiting:?} do not get on");
    }

    fn serve(&mut self, blocks: &[u64], access: Access) {
        self.now += STEP;
        self.faults += blocks.len() as u64;
        self.batch.clear();
        for block in blocks {
            let va = block * BLOCK;
            self.batch.push(Fault { space: self.space, va, tag: 0, access, region: 0 }).unwrap();
        }
        let (faults, regions) = self.batch.parts(MAX_REGIONS);
        let plan = self.svm.serve(faults, false, self.now, regions).unwrap();
        let regions = regions[..plan.regions].to_vec();
        for region in regions {
            let block = region.va / BLOCK;
            self.guesses += u64::from(region.guess);
            match region.action {
                Action::ToVram => self.come(block, if region.guess { Cause::Prefetch } else { Cause::Fault }),
                Action::Map | Action::MapRemote => assert_eq!(region.pages, Pages::ALL),
                action => panic!("{action:?}"),
            }
            self.mapped.insert(block);
            let (pages, writable) = (Pages::ALL, Pages::ALL);
            self.told(&Event::Mapped { space: self.space, va: region.va, pages, writable });
        }
    }

    /// Rounds through the first blocks, one at a time.
    fn rounds(&mut self, rounds: u64, blocks: u64) {
        for _ in 0..rounds {
            (0..blocks).for_each(|block| self.access(&[block], Access::Write));
        }
    }
}

fn correlation(config: &mut SvmConfig) {
    config.switches.correlation = true;
    config.switches.thrash = false;
}

#[test]
fn what_was_guessed_does_not_take_away_what_is_asked_for() {
    for capacity in 1..6 {
        let mut driver = Driver::new(capacity, correlation);
        // A stencil between two grids: each step is at both.
        for _ in 0..8 {
            for step in 0..6 {
                driver.access(&[step], Access::Read);
                driver.access(&[step + 6], Access::Write);
            }
        }
        assert!(driver.moves <= 2 * 8 * 12, "{} blocks came to {capacity} chunks", driver.moves);
    }
}

#[test]
fn guesses_turn_over_half_of_a_full_vram_and_all_of_one_that_is_not() {
    let guessed = |capacity| {
        let mut driver = Driver::new(capacity, |config| {
            correlation(config);
            config.degree = 16;
        });
        driver.rounds(1, 40);
        // None of it is there any more, though all is known.
        let there: Vec<u64> = driver.vram.keys().copied().filter(|_| capacity == 64).collect();
        there.iter().for_each(|block| driver.leave(*block, Cause::CpuFault));
        let before = driver.guesses;
        driver.access(&[0], Access::Read);
        driver.guesses - before
    };
    assert_eq!(guessed(64), 16, "there is room for all of them");
    assert_eq!(guessed(20), 9, "half of 20, less the one that is asked for");
    assert_eq!(guessed(3), 0);
}

#[test]
fn what_goes_round_too_often_is_reached_where_it_is() {
    let moves = |thrash| {
        let mut driver = Driver::new(3, |config| config.switches.thrash = thrash);
        driver.rounds(50, 6);
        let stats = driver.svm.stats(None).unwrap();
        (driver.moves, stats.pinned, stats.remote)
    };
    assert_eq!(moves(false), (300, 0, 0), "the one that is longest gone is the next one");
    let (moves, pinned, remote) = moves(true);
    assert!(moves < 60 && pinned >= 3 && remote > 0, "{moves} moves, {pinned} pins, {remote} pages from afar");
}

#[test]
fn a_batch_that_wants_more_than_there_is_comes_to_rest() {
    let mut driver = Driver::new(3, |_| {});
    for _ in 0..20 {
        driver.access(&[0, 1, 2, 3, 4, 5, 6], Access::Read);
    }
    let (moves, faults) = (driver.moves, driver.faults);
    for _ in 0..100 {
        driver.access(&[0, 1, 2, 3, 4, 5, 6], Access::Read);
    }
    assert_eq!((driver.moves, driver.faults), (moves, faults), "all is mapped somewhere");
}

#[test]
fn a_block_that_stays_away_comes_for_an_atomic_and_where_it_is_preferred() {
    let mut driver = Driver::new(3, |_| {});
    driver.rounds(10, 6);
    let away = (0..6).find(|block| !driver.vram.contains_key(block)).unwrap();
    assert!(driver.mapped.contains(&away));
    driver.mapped.remove(&away);
    driver.access(&[away], Access::Write);
    assert!(!driver.vram.contains_key(&away), "it is pinned");

    driver.mapped.remove(&away);
    driver.access(&[away], Access::Atomic);
    assert!(driver.vram.contains_key(&away));
    driver.leave(away, Cause::CpuFault);
    driver.access(&[away], Access::Read);
    assert!(driver.vram.contains_key(&away), "that has ended the pin");

    let other = (0..6).find(|block| !driver.vram.contains_key(block)).unwrap();
    let range = other * BLOCK..(other + 1) * BLOCK;
    driver.svm.advise(driver.space, &range, Advice::Preferred(Some(Place::Vram))).unwrap();
    driver.mapped.remove(&other);
    driver.access(&[other], Access::Read);
    assert!(driver.vram.contains_key(&other));
}

#[test]
fn a_pin_ends_with_its_time_or_when_vram_is_not_full_any_more() {
    let mut driver = Driver::new(3, |_| {});
    driver.rounds(10, 6);
    let away: Vec<u64> = (0..6).filter(|block| !driver.vram.contains_key(block)).collect();
    let asks = |driver: &mut Driver, block: u64| {
        driver.mapped.remove(&block);
        driver.access(&[block], Access::Read);
        driver.vram.contains_key(&block)
    };
    assert!(!asks(&mut driver, away[0]));
    // Counters are as patient.
    let wanted = [Notification { space: driver.space, va: away[0] * BLOCK, bytes: BLOCK }];
    let mut regions = vec![];
    {
        let (_, out) = driver.batch.parts(4);
        let n = driver.svm.counted(&wanted, driver.now, out);
        regions.extend_from_slice(&out[..n]);
    }
    assert_eq!(regions, []);

    driver.now += 20_000_000_000;
    let (_, out) = driver.batch.parts(4);
    assert_eq!(driver.svm.counted(&wanted, driver.now, out), 1, "its time is over");

    // Others have ended, and for many batches nobody had to leave.
    let still: Vec<u64> = driver.vram.keys().copied().collect();
    still.iter().for_each(|block| driver.leave(*block, Cause::CpuFault));
    for _ in 0..64 {
        driver.mapped.remove(&0);
        driver.access(&[0], Access::Read);
    }
    assert!(asks(&mut driver, away[1]));
}

#[test]
fn what_left_for_another_reason_or_long_ago_has_not_gone_round() {
    let mut driver = Driver::new(3, |_| {});
    driver.rounds(1, 9);
    (6..9).for_each(|block| driver.leave(block, Cause::CpuFault));
    for _ in 0..10 {
        // As before a rest: all of it goes, though nobody wants its room.
        driver.rounds(1, 3);
        (0..3).for_each(|block| driver.leave(block, Cause::Eviction));
    }
    driver.rounds(1, 3);
    assert_eq!((driver.moves, driver.svm.stats(None).unwrap().pinned), (9 + 33, 0));

    let mut driver = Driver::new(3, |_| {});
    driver.rounds(20, 30);
    assert_eq!((driver.moves, driver.svm.stats(None).unwrap().pinned), (600, 0), "VRAM is far too small for that");
}
