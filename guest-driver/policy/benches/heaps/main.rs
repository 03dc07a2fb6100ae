// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The address-ordered tree of the policy's segments beside a buddy allocator: speed, fragmentation after a long mixed
//! run, and what is left for 2 MiB pages. Speed depends on the machine; all else is the same in each run.
#![allow(clippy::cast_possible_truncation, reason = "pages of a few GiB are few enough")]

mod buddy;

use std::time::{Duration, Instant};

use buddy::{Buddy, Pick, Rest};
use uvm_policy::{AllocRequest, BlockId, Domain, From, Policy, SegmentConfig, SegmentId};

const PAGE: u64 = 4096;
const GIB: u64 = 1 << 30;
const BIG: u64 = 512;
const BAR: f64 = 1e6;

/// An allocator of pages.
trait Pages {
    fn alloc(&mut self, pages: u64) -> Option<(u64, u64)>;
    fn free(&mut self, start: u64, pages: u64, id: u64);
    /// Pages that are not free, what was rounded up included.
    fn used(&self) -> u64;
}

struct Tree {
    policy: Policy,
    segment: SegmentId,
}

impl Tree {
    fn new(pages: u64) -> Self {
        let mut policy = Policy::new(PAGE).expect("policy");
        let config = SegmentConfig { domain: Domain::Vram, base: 0, size: pages * PAGE };
        let segment = policy.add_segment(&config).expect("segment");
        Self { policy, segment }
    }
}

impl Pages for Tree {
    fn alloc(&mut self, pages: u64) -> Option<(u64, u64)> {
        let request = AllocRequest { size: pages * PAGE, align: 0, from: From::Bottom, within: None };
        let range = self.policy.alloc(self.segment, &request).ok()?;
        Some((range.offset / PAGE, range.id.raw()))
    }
    fn free(&mut self, _: u64, _: u64, id: u64) {
        self.policy.free(BlockId::from_raw(id)).expect("a live block");
    }
    fn used(&self) -> u64 {
        self.policy.stats(self.segment).expect("stats").used / PAGE
    }
}

impl Pages for Buddy {
    fn alloc(&mut self, pages: u64) -> Option<(u64, u64)> {
        Buddy::alloc(self, pages).map(|start| (start, 0))
    }
    fn free(&mut self, start: u64, pages: u64, _: u64) {
        Buddy::free(self, start, pages);
    }
    fn used(&self) -> u64 {
        self.used
    }
}

type Make = fn(u64) -> Box<dyn Pages>;

const HEAPS: [(&str, Make); 5] = [
    ("tree", |pages| Box::new(Tree::new(pages))),
    ("buddy", |pages| Box::new(Buddy::new(pages, Rest::Kept, Pick::Last))),
    ("buddy_trimmed", |pages| Box::new(Buddy::new(pages, Rest::Trimmed, Pick::Last))),
    ("buddy_lowest", |pages| Box::new(Buddy::new(pages, Rest::Kept, Pick::Lowest))),
    ("buddy_lowest_trimmed", |pages| Box::new(Buddy::new(pages, Rest::Trimmed, Pick::Lowest))),
];

/// xorshift64*: the same traffic for each heap.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap_or(0)
    }
    /// Pages of a buffer: half are 4 KiB to 64 KiB, most others up to 2 MiB, some up to 16 MiB, none a power of two but
    /// by chance.
    fn pages(&mut self) -> u64 {
        let most = match self.next() % 10 {
            0..=4 => 16,
            5..=8 => BIG,
            _ => 8 * BIG,
        };
        1 + self.next() % most
    }
}

/// Pairs of free and allocate a second, beside 10,000 live ranges of one page to 1 MiB in 4 GiB.
fn speed(make: Make) -> f64 {
    const LIVE: usize = 10_000;
    const ROUNDS: usize = 20_000;
    let mut heap = make(4 * GIB / PAGE);
    let mut random = Random(0x5eed);
    let size = |random: &mut Random| {
        let order = random.next() % 9;
        1 + random.next() % (1 << order)
    };
    let mut live: Vec<(u64, u64, u64)> = (0..LIVE)
        .map(|_| {
            let pages = size(&mut random);
            let (start, id) = heap.alloc(pages).expect("room for the standing set");
            (start, pages, id)
        })
        .collect();
    let end = Instant::now() + Duration::from_secs(2);
    let mut best = 0.0f64;
    while Instant::now() < end {
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            let victim = random.below(LIVE);
            let (start, pages, id) = live[victim];
            heap.free(start, pages, id);
            let pages = size(&mut random);
            let (start, id) = heap.alloc(pages).expect("room for one more");
            live[victim] = (start, pages, id);
        }
        best = best.max(ROUNDS as f64 / begun.elapsed().as_secs_f64());
    }
    best
}

/// What a long run left.
struct Left {
    /// Of the requests: those for which others had to leave although enough pages were free.
    forced: f64,
    /// Pages that live ranges asked for, to all, on average.
    full: f64,
    /// Free pages in whole aligned 2 MiB, to all pages.
    big: f64,
    /// The longest free run of pages, to all pages.
    longest: f64,
    /// Free pages in whole aligned 2 MiB once all but the long-lived have gone, to all pages.
    after: f64,
}

/// A million requests to a heap of 1 GiB that is kept `percent` full at most: somebody at random leaves before, and more
/// do where the room that there is lies in pieces. One in eight lives sixteen times as long as the others.
fn churn(make: Make, percent: u64) -> Left {
    const REQUESTS: u64 = 1_000_000;
    let all = GIB / PAGE;
    let mut heap = make(all);
    let mut random = Random(0xfeed);
    let mut live: Vec<(u64, u64, u64, bool)> = Vec::new();
    let (mut asked, mut forced, mut full) = (0u64, 0u64, 0.0);
    for _ in 0..REQUESTS {
        let pages = random.pages();
        let mut tries = 0;
        let (start, id) = loop {
            if asked + pages <= all * percent / 100 {
                if let Some(found) = heap.alloc(pages) {
                    break found;
                }
                tries += 1;
            }
            let victim = random.below(live.len());
            if live[victim].3 && random.next() % 16 != 0 {
                continue;
            }
            let (start, pages, id, _) = live.swap_remove(victim);
            heap.free(start, pages, id);
            asked -= pages;
        };
        forced += u64::from(tries > 0);
        asked += pages;
        full += asked as f64 / all as f64;
        live.push((start, pages, id, random.next() % 8 == 0));
    }
    // What a heap rounds up is not free either.
    let rounds = heap.used() != asked;
    let look = |live: &[(u64, u64, u64, bool)]| {
        let mut taken = vec![false; usize::try_from(all).expect("pages")];
        for &(start, pages, ..) in live {
            let pages = if rounds { pages.next_power_of_two() } else { pages };
            taken[start as usize..(start + pages) as usize].fill(true);
        }
        let big = taken.chunks(BIG as usize).filter(|chunk| chunk.iter().all(|taken| !taken)).count() as u64 * BIG;
        let longest = taken.split(|taken| *taken).map(<[bool]>::len).max().unwrap_or(0);
        (big as f64 / all as f64, longest as f64 / all as f64)
    };
    let (big, longest) = look(&live);
    live.retain(|&(.., long)| long);
    let (after, _) = look(&live);
    Left { forced: forced as f64 / REQUESTS as f64, full: full / REQUESTS as f64, big, longest, after }
}

/// Against an adversary: it fills a heap of 1 GiB with ranges of one page, then of two, of four, up to 1 MiB, and in
/// between frees all but one in each aligned piece of twice the length, so that little memory stands in the way of much.
/// What is held in the end, to all pages, and whether a request of 2 MiB still finds room.
fn adversary(make: Make) -> (f64, bool) {
    let all = GIB / PAGE;
    let mut heap = make(all);
    let mut live: Vec<(u64, u64, u64)> = Vec::new();
    for order in 0..9 {
        let pages = 1u64 << order;
        while let Some((start, id)) = heap.alloc(pages) {
            live.push((start, pages, id));
        }
        live.sort_unstable();
        let mut last = None;
        live.retain(|&(start, len, id)| {
            let piece = start / (2 * pages);
            if last == Some(piece) {
                heap.free(start, len, id);
                return false;
            }
            last = Some(piece);
            true
        });
    }
    (heap.used() as f64 / all as f64, heap.alloc(BIG).is_some())
}

fn main() {
    let rates = HEAPS.map(|(name, make)| (name, speed(make)));
    let [(_, tree), ..] = rates;
    println!("figure heap_alloc_free value={tree:.0} limit={BAR:.0} ratio={:.3} bar=1", tree / BAR);
    for (name, rate) in rates {
        println!("{name:<22} {rate:>12.0} pairs a second");
    }
    println!(
        "{:<22} {:>5} {:>8} {:>8} {:>11} {:>8} {:>8}",
        "heap", "limit", "full", "forced", "whole 2M", "longest", "2M later"
    );
    for percent in [70, 80, 90, 95] {
        for (name, make) in HEAPS {
            let left = churn(make, percent);
            let [full, forced, big, longest, after] =
                [left.full, left.forced, left.big, left.longest, left.after].map(|part| 100.0 * part);
            println!("{name:<22} {percent:>4}% {full:>7.1}% {forced:>7.2}% {big:>10.1}% {longest:>7.1}% {after:>7.1}%");
        }
    }
    for (name, make) in HEAPS {
        let (held, room) = adversary(make);
        let found = if room { "finds room" } else { "finds no room" };
        println!("{name:<22} {found} for 2 MiB when an adversary holds {:.1}%", 100.0 * held);
    }
}
