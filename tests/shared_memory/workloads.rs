// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Patterns of access, with and without prefetch: how many faults there are, how much comes in vain, and whether each
//! byte is where it belongs.

use std::collections::{HashMap, HashSet};

use uvm_policy::svm::*;

use crate::common::{packets as p, Numbers};
use crate::driver::{At, Driver, BLOCKS, CHUNKS, FIRST, PAGE};

/// An access by a queue to a page of data, counted from the first.
#[derive(Clone, Copy, Debug)]
enum Touch {
    Read(u64),
    Write(u64),
}

/// A workload on a driver, and the stamps that its pages must have.
struct Run {
    driver: Driver,
    stamps: HashMap<(usize, u64), u32>,
    stamp: u32,
    touched: HashSet<(usize, u64)>,
}

/// Where in its buffer page a queue puts what it reads.
const LANDING: u64 = PAGE;
/// Accesses that a ring of 4 KiB takes at a time.
const AT_A_TIME: usize = 120;

impl Run {
    fn new(spaces: usize, config: SvmConfig) -> Self {
        let mut run =
            Self { driver: Driver::new(spaces, config), stamps: HashMap::new(), stamp: 0, touched: HashSet::new() };
        // The CPU wrote all of it before.
        for space in 0..spaces {
            for page in FIRST..FIRST + BLOCKS * 512 {
                run.stamp += 1;
                let stamp = run.stamp;
                run.driver.cpu_store(space, page, 0, stamp);
                run.stamps.insert((space, page), stamp);
            }
        }
        run
    }

    /// Gives each space's accesses to its queue, and compares what was read.
    fn touch(&mut self, touches: &[Vec<Touch>]) {
        let rounds = touches.iter().map(|list| list.len().div_ceil(AT_A_TIME)).max().unwrap();
        for round in 0..rounds {
            let mut expected = vec![];
            for (space, list) in touches.iter().enumerate() {
                let some = list.chunks(AT_A_TIME).nth(round).unwrap_or_default();
                let mut dwords = vec![];
                for (touch, n) in some.iter().zip(0..) {
                    let (Touch::Read(page) | Touch::Write(page)) = *touch;
                    let page = FIRST + page;
                    self.touched.insert((space, page));
                    match touch {
                        Touch::Read(_) => {
                            dwords.extend(p::copy(LANDING + 4 * n, page * PAGE, 4));
                            expected.push((space, n, self.stamps[&(space, page)]));
                        }
                        Touch::Write(_) => {
                            self.stamp += 1;
                            dwords.extend(p::fence(page * PAGE, self.stamp));
                            self.stamps.insert((space, page), self.stamp);
                        }
                    }
                }
                self.driver.enqueue(space, &dwords);
            }
            self.driver.finish();
            for (space, n, stamp) in expected {
                // The buffer page of VMID `3 + space`.
                let at = 13 * crate::common::MIB + ((3 + space as u64) * 2 + 1) * PAGE + 4 * n;
                let read = u32::from_le_bytes(self.driver.rig.peek_vram(at, 4).try_into().unwrap());
                assert_eq!(read, stamp, "what the device read");
            }
        }
    }

    /// The CPU takes everything back, and reads it.
    fn check(&mut self) {
        for ((space, page), stamp) in &self.stamps {
            assert_eq!(self.driver.peek(*space, *page, 0), *stamp, "page {page} of space {space}");
        }
        for space in 0..self.driver.spaces.len() {
            for block in FIRST / 512..FIRST / 512 + BLOCKS {
                let pages: Vec<u64> = (block * 512..block * 512 + 512).collect();
                self.driver.take_back(space, block, &pages, Cause::CpuFault);
            }
        }
        for ((space, page), stamp) in &self.stamps {
            assert_eq!(self.driver.at(*space, *page), At::System);
            assert_eq!(self.driver.peek(*space, *page, 0), *stamp, "page {page} of space {space}, at home");
        }
    }

    /// Pages that came unasked and were touched, of those that came unasked.
    fn prefetched(&self) -> (u64, u64) {
        let stats = self.driver.svm.stats(None).unwrap();
        let wasted = (0..self.driver.spaces.len())
            .flat_map(|space| (FIRST..FIRST + BLOCKS * 512).map(move |page| (space, page)))
            .filter(|key| self.driver.at(key.0, key.1) != At::System && !self.touched.contains(key))
            .count() as u64;
        (stats.prefetched.saturating_sub(wasted), stats.prefetched)
    }
}

fn config(density: bool) -> SvmConfig {
    // Without the granule, so that it is density alone that shows.
    SvmConfig { granule: 0, switches: Switches { density, ..Switches::default() }, ..SvmConfig::default() }
}

fn sequential(pages: u64) -> Vec<Touch> {
    (0..pages).map(Touch::Write).collect()
}

fn random(pages: u64, count: u64, seed: u64) -> Vec<Touch> {
    let mut numbers = Numbers(seed);
    let touch = |numbers: &mut Numbers| match numbers.below(2) {
        0 => Touch::Read(numbers.below(pages)),
        _ => Touch::Write(numbers.below(pages)),
    };
    (0..count).map(|_| touch(&mut numbers)).collect()
}

/// Three points of one array to one of another, a block apart.
fn stencil(pages: u64) -> Vec<Touch> {
    let point = |i: u64| [Touch::Read(i - 1), Touch::Read(i), Touch::Read(i + 1), Touch::Write(512 + i)];
    (1..pages - 1).flat_map(point).collect()
}

/// Faults of a workload, without and with prefetch by density.
fn compare(name: &str, touches: &[Touch]) -> (u64, u64) {
    let [without, with] = [false, true].map(|density| {
        let mut run = Run::new(1, config(density));
        run.touch(&[touches.to_vec()]);
        let (hits, prefetched) = run.prefetched();
        println!(
            "{name}: density {density}: {} faults, {hits} of {prefetched} prefetched pages used",
            run.driver.faults
        );
        assert!(density || prefetched == 0);
        run.check();
        run.driver.faults
    });
    (without, with)
}

#[test]
fn density_removes_four_faults_in_five_of_a_sequential_workload() {
    let (without, with) = compare("sequential", &sequential(2 * 512));
    assert_eq!(without, 1024, "each page once");
    assert!(with * 5 <= without, "{with} of {without}");
}

#[test]
fn density_helps_where_pages_are_near_and_is_silent_where_they_are_not() {
    let strided: Vec<Touch> = (0..3 * 512).step_by(8).map(Touch::Read).collect();
    let (without, with) = compare("strided by 8", &strided);
    assert_eq!((without, with), (192, 192), "one in eight is not dense");
    let (without, with) = compare("stencil", &stencil(512));
    assert!(with * 5 <= without, "{with} of {without}");
    let (without, with) = compare("random", &random(512, 1500, 7));
    assert!(with < without * 3 / 4, "{with} of {without}");
}

#[test]
fn granule_density_and_percentage_are_at_work_together() {
    let faults = |granule, density, percent| {
        let switches = Switches { density, ..Switches::default() };
        let mut run = Run::new(1, SvmConfig { granule, density: percent, switches, ..SvmConfig::default() });
        run.touch(&[sequential(512)]);
        run.check();
        run.driver.faults
    };
    assert_eq!(faults(4, false, 51), 32, "64 KiB at a time");
    assert_eq!(faults(9, false, 51), 1);
    // The first 64 KiB, then the half that they are half of, and so on.
    assert_eq!(faults(4, true, 51), 6);
    assert_eq!(faults(4, true, 49), 5, "the first 64 KiB are enough for 128");
    assert_eq!(faults(4, true, 100), 32, "never");
}

#[test]
fn more_than_vram_goes_round_and_no_byte_is_lost() {
    for (seed, replay) in [(1, Replay::Block), (2, Replay::Batch), (3, Replay::BatchFlush), (4, Replay::Once)] {
        let mut run = Run::new(3, SvmConfig { replay, ..SvmConfig::default() });
        let lists: Vec<Vec<Touch>> = (0..3).map(|space| random(BLOCKS * 512, 360, seed * 10 + space)).collect();
        run.touch(&lists);
        let stats = run.driver.svm.stats(None).unwrap();
        println!(
            "{replay:?}: {} faults, largest batch {:?}, {stats:?}",
            run.driver.faults,
            run.driver.batches.iter().max()
        );
        assert!(stats.evicted > 0 && run.driver.batches.iter().any(|len| *len > 1));
        run.check();
    }
}

#[test]
fn what_follows_what_is_learnt_and_brought() {
    // A path through all blocks, again and again: VRAM has room for three of seven.
    let path = [3, 0, 5, 1, 6, 2, 4];
    let walk: Vec<Touch> =
        path.iter().flat_map(|block| (0..64).map(move |n| Touch::Read(block * 512 + n * 8))).collect();
    let [without, with] = [false, true].map(|correlation| {
        let switches = Switches { correlation, density: false, spare: false, ..Switches::default() };
        let mut run = Run::new(1, SvmConfig { granule: 0, degree: 1, switches, ..SvmConfig::default() });
        run.touch(std::slice::from_ref(&walk));
        let first = run.driver.faults;
        assert_eq!(first, 64 * 7, "the first time nothing is known");
        (0..3).for_each(|_| run.touch(std::slice::from_ref(&walk)));
        let stats = run.driver.svm.stats(None).unwrap();
        println!("correlation {correlation}: {} faults later, {stats:?}", run.driver.faults - first);
        run.check();
        run.driver.faults - first
    });
    assert_eq!(without, 3 * 64 * 7);
    assert!(with * 50 < without, "{with} of {without}");
}

#[test]
fn the_same_run_is_the_same_to_the_last_decision() {
    let run = || {
        let mut run = Run::new(2, SvmConfig::default());
        for space in 0..2 {
            let id = run.driver.spaces[space].id;
            run.driver.svm.keep_log(id, MAX_RECORDS).unwrap();
        }
        run.touch(&[random(BLOCKS * 512, 300, 5), random(BLOCKS * 512, 300, 6)]);
        let mut told = vec![];
        for space in 0..2 {
            let mut records = vec![Record::default(); 20_000];
            let (count, lost) = run.driver.svm.read_log(run.driver.spaces[space].id, &mut records).unwrap();
            assert_eq!(lost, 0);
            told.push(records[..count].to_vec());
        }
        (told, run.driver.copied, CHUNKS.len())
    };
    let (first, second) = (run(), run());
    assert!(first.0.iter().all(|told| told.len() > 200));
    assert_eq!(first, second);
}

#[test]
fn what_goes_round_is_reached_where_it_is_and_no_byte_is_lost() {
    // All blocks again and again, in a VRAM that has room for three of seven.
    let touch = |n: u64| if n % 3 == 0 { Touch::Read } else { Touch::Write };
    let walk: Vec<Touch> =
        (0..BLOCKS).flat_map(|block| (0..6).map(move |n| touch(block + n)(block * 512 + n * 2))).collect();
    let [copied, pinned] = [false, true].map(|thrash| {
        let switches = Switches { thrash, ..Switches::default() };
        let mut run = Run::new(1, SvmConfig { switches, ..SvmConfig::default() });
        (0..12).for_each(|_| run.touch(std::slice::from_ref(&walk)));
        let (stats, copied) = (run.driver.svm.stats(None).unwrap(), run.driver.copied);
        println!("thrash {thrash}: {} faults, {copied} pages copied, {stats:?}", run.driver.faults);
        assert_eq!(stats.pinned > 0, thrash);
        run.check();
        copied
    });
    assert!(pinned * 2 < copied, "{pinned} of {copied}");
}
