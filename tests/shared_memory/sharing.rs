// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! CPU and device on the same page, word by word: it must not go to and fro for ever, and neither may starve.

use uvm_policy::svm::*;

use crate::common::packets as p;
use crate::driver::{At, Driver, FIRST, PAGE};

/// A page that both want.
const HERE: u64 = FIRST + 77;
/// What each side does before it wants the page again.
const THINK: u64 = 20_000;

/// Both sides count in words of their own of the same page, each as fast as it is let: how often pages were copied, and
/// the longest that a side waited.
struct Contest {
    driver: Driver,
    copied: u64,
    longest: u64,
    counts: [u32; 2],
}

impl Contest {
    fn new(thrash: bool) -> Self {
        let switches = Switches { thrash, density: false, ..Switches::default() };
        let mut driver = Driver::new(1, SvmConfig { granule: 0, switches, ..SvmConfig::default() });
        driver.cpu_store(0, HERE, 0, 0);
        Self { driver, copied: 0, longest: 0, counts: [0; 2] }
    }

    fn run(&mut self, turns: u32) {
        let start = self.driver.copied;
        let [mut cpu_next, mut gpu_next] = [self.driver.now; 2];
        let mut gpu_since = None;
        let goal = self.counts.map(|count| count + turns);
        while self.counts != goal {
            self.driver.now += 1_000;
            let now = self.driver.now;
            if self.counts[1] < goal[1] && gpu_since.is_none() && now >= gpu_next {
                self.driver.enqueue(0, &p::fence(HERE * PAGE + 4, self.counts[1] + 1));
                gpu_since = Some(now);
            }
            self.driver.step();
            self.driver.rig.settle();
            if let Some(since) = gpu_since.filter(|_| self.driver.drained(0)) {
                self.counts[1] += 1;
                self.longest = self.longest.max(self.driver.now - since);
                assert_eq!(self.driver.peek(0, HERE, 4), self.counts[1], "the device's store");
                (gpu_since, gpu_next) = (None, self.driver.now + THINK);
            }
            if self.counts[0] < goal[0] && self.driver.now >= cpu_next {
                match self.driver.cpu_touch(0, HERE) {
                    Some(until) => {
                        self.longest = self.longest.max(until - self.driver.now);
                        cpu_next = until;
                    }
                    None => {
                        self.counts[0] += 1;
                        let count = self.counts[0];
                        self.driver.cpu_store(0, HERE, 0, count);
                        cpu_next = self.driver.now + THINK;
                    }
                }
            }
            assert_eq!([0, 4].map(|at| self.driver.peek(0, HERE, at)), self.counts, "neither side's store is lost");
        }
        self.copied = self.driver.copied - start;
    }
}

#[test]
fn a_page_that_both_sides_write_is_sliced_and_then_pinned() {
    let mut without = Contest::new(false);
    without.run(400);
    let mut with = Contest::new(true);
    with.run(400);
    let stats = with.driver.svm.stats(None).unwrap();
    println!("copies: {} without, {} with; {stats:?}; longest wait {} ns", without.copied, with.copied, with.longest);

    assert!(without.copied >= 400, "it went to and fro: {}", without.copied);
    assert!(with.copied * 8 < without.copied, "{} of {}", with.copied, without.copied);
    assert_eq!((stats.thrashing, stats.pinned), (1, 1));
    assert!(stats.throttled > 0);
    assert_eq!(with.driver.at(0, HERE), At::System, "both reach it there");
    let slice = with.driver.svm.config().thrash.slice;
    assert!(with.longest <= slice + 100_000, "nobody waits for more than a slice: {}", with.longest);
}

#[test]
fn a_pin_ends_and_counters_bring_the_page_to_the_side_that_uses_it() {
    let mut contest = Contest::new(true);
    contest.run(400);
    let driver = &mut contest.driver;
    let space = driver.spaces[0].id;
    let counted = |driver: &mut Driver| {
        let mut batch = Batch::try_new().unwrap();
        let (_, regions) = batch.parts(1);
        let notification = Notification { space, va: (HERE & !15) * PAGE, bytes: 16 * PAGE };
        let count = driver.svm.counted(&[notification], driver.now, regions);
        regions[..count].iter().for_each(|region| driver.perform(region, Cause::Counter));
    };
    counted(driver);
    assert_eq!((driver.at(0, HERE), driver.at(0, HERE + 1)), (At::System, At::Vram), "pinned; its neighbour is not");
    driver.now += driver.svm.config().thrash.pin;
    counted(driver);
    assert_eq!(driver.at(0, HERE), At::Vram);
    assert_eq!([0, 4].map(|at| driver.peek(0, HERE, at)), contest.counts);
}

#[test]
fn a_duplicated_page_serves_both_until_somebody_writes() {
    let mut driver = Driver::new(1, SvmConfig { granule: 0, ..SvmConfig::default() });
    let space = driver.spaces[0].id;
    let range = FIRST * PAGE..(FIRST + 512) * PAGE;
    driver.svm.advise(space, &range, Advice::ReadDuplication(true)).unwrap();
    driver.cpu_store(0, HERE, 0, 7);
    let read = |driver: &mut Driver| {
        driver.enqueue(0, &p::copy(PAGE, HERE * PAGE, 4));
        driver.finish();
    };
    read(&mut driver);
    assert_eq!(driver.at(0, HERE), At::Both);
    let copied = driver.copied;
    (0..10).for_each(|_| {
        read(&mut driver);
        assert_eq!((driver.cpu_touch(0, HERE), driver.peek(0, HERE, 0)), (None, 7));
    });
    assert_eq!(driver.copied, copied, "nobody waits for anybody");
    // The device writes: its copy alone is left.
    driver.enqueue(0, &p::fence(HERE * PAGE, 8));
    driver.finish();
    assert_eq!((driver.at(0, HERE), driver.peek(0, HERE, 0)), (At::Vram, 8));
    // The CPU takes it, the device reads again, the CPU writes: the frame alone is left, and the device sees it.
    assert_eq!(driver.cpu_touch(0, HERE), None);
    read(&mut driver);
    assert_eq!(driver.at(0, HERE), At::Both);
    driver.cpu_store(0, HERE, 0, 9);
    assert_eq!(driver.at(0, HERE), At::System);
    read(&mut driver);
    assert_eq!(driver.rig.peek_vram(13 * crate::common::MIB + 7 * PAGE, 4), 9u32.to_le_bytes());
}

#[test]
fn what_the_device_always_accesses_is_mapped_again_without_a_fault() {
    let mut driver = Driver::new(1, SvmConfig { granule: 0, ..SvmConfig::default() });
    let space = driver.spaces[0].id;
    driver.enqueue(0, &p::fence(HERE * PAGE, 1));
    driver.finish();
    assert_eq!((driver.at(0, HERE), driver.faults), (At::Vram, 1));
    driver.svm.advise(space, &(FIRST * PAGE..(FIRST + 512) * PAGE), Advice::AccessedByDevice(true)).unwrap();
    assert_eq!(driver.cpu_touch(0, HERE), None);
    driver.cpu_store(0, HERE, 0, 2);
    driver.enqueue(0, &p::fence(HERE * PAGE, 3));
    driver.finish();
    assert_eq!((driver.at(0, HERE), driver.faults, driver.peek(0, HERE, 0)), (At::System, 1, 3));
}
