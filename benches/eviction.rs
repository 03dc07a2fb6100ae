// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The rules of eviction on the same accesses: how many jobs find their buffers in VRAM, beside the best that any rule
//! could do with the future known; and how many events the memory manager takes a second.
//!
//! Nothing is copied here: an action ends when it is given out.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use uvm_policy::event::{Action, Event, Reply};
use uvm_policy::*;

const PAGE: u64 = 4096;
/// Buffers that fit into VRAM, and the pages of each.
const ROOM: u64 = 200;
const PAGES: u64 = 16;
const JOBS: usize = 20_000;
const RULES: [(EvictKind, &str); 3] =
    [(EvictKind::Lru, "lru"), (EvictKind::Clock, "clock"), (EvictKind::TwoQueues, "2q")];
/// A million events in ten seconds.
const BAR: f64 = 1e5;

/// splitmix64: the same accesses for each rule.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % n
    }
}

/// Which buffer each job uses.
fn accesses(pattern: &str, buffers: u64) -> Vec<usize> {
    let mut random = Random(7);
    let mut weights = vec![];
    let mut sum = 0u64;
    for rank in 1..=buffers {
        sum += 1_000_000 / rank;
        weights.push(sum);
    }
    (0..JOBS as u64)
        .map(|job| match pattern {
            "sequential" => job % buffers,
            // A loop that is a little too long for VRAM, and now and then something else.
            "loop" if random.below(50) == 0 => random.below(buffers),
            "loop" => job % (ROOM * 105 / 100),
            // A few hot buffers beside a scan of the rest.
            "scan+hot" if job % 2 == 0 => random.below(ROOM / 4),
            "scan+hot" => ROOM / 4 + job / 2 % (buffers - ROOM / 4),
            "zipf" => {
                let point = random.below(sum);
                weights.partition_point(|weight| *weight <= point) as u64 * 7 % buffers
            }
            // Six tenths of VRAM for a while, then six tenths further on.
            "shift" => (job / 2000 * (ROOM * 6 / 10) + random.below(ROOM * 6 / 10)) % buffers,
            _ => unreachable!("a pattern without a rule"),
        })
        .map(|buffer| usize::try_from(buffer).expect("a small number"))
        .collect()
}

/// Hits of the rule that evicts whatever is used last in the future.
fn best(accesses: &[usize]) -> u64 {
    let mut next = vec![usize::MAX; accesses.len()];
    let mut seen = HashMap::new();
    for (job, buffer) in accesses.iter().enumerate().rev() {
        next[job] = seen.insert(*buffer, job).unwrap_or(usize::MAX);
    }
    let (mut resident, mut order, mut hits) = (HashMap::new(), BTreeSet::new(), 0);
    for (job, buffer) in accesses.iter().enumerate() {
        if let Some(old) = resident.remove(buffer) {
            order.remove(&(old, *buffer));
            hits += 1;
        } else if resident.len() as u64 == ROOM {
            let (_, victim) = order.pop_last().expect("a resident buffer");
            resident.remove(&victim);
        }
        resident.insert(*buffer, next[job]);
        order.insert((next[job], *buffer));
    }
    hits
}

/// A process with its buffers on a device.
struct Bench {
    policy: Policy,
    process: ProcessId,
    buffers: Vec<BoId>,
    events: u64,
    /// Sum over jobs of the share of VRAM in use.
    used: f64,
}

impl Bench {
    /// `count` buffers, each of a size of its own, in pages.
    fn new(evict: EvictKind, count: u64, pages: impl Fn(u64) -> u64) -> Self {
        let mut policy = Policy::new(PAGE).expect("a policy");
        let vram = ROOM * PAGES * PAGE;
        let table = SegmentTable::discrete(vram, vram, 0, 8 << 20, 4 << 20).expect("a table");
        for segment in table.as_slice() {
            policy.add_segment_of(segment).expect("a segment");
        }
        policy.start(&ManagerConfig { chunk: 2 << 20, evict }).expect("a start");
        let limits = Limits::NONE;
        let Ok(Reply::Process(process)) = policy.handle(&Event::Open(limits)) else { panic!("no process") };
        let placements = Placements::new(&[SegmentKind::Local]).expect("a placement");
        let spec = |pages| {
            let size = pages * PAGE;
            Spec { size, align: 0, placements, priority: 1, pageable: true, fallback: false }
        };
        let mut create = |number| match policy.handle(&Event::Create(process, spec(pages(number)))) {
            Ok(Reply::Bo(id)) => id,
            reply => panic!("{reply:?}"),
        };
        let buffers = (0..count).map(&mut create).collect();
        Self { policy, process, buffers, events: count, used: 0.0 }
    }

    /// One job after another.
    fn run(&mut self, accesses: &[usize]) {
        for buffer in accesses {
            let bos = [self.buffers[*buffer]];
            let submit = Event::Submit { process: self.process, bos: &bos, addressed: false };
            self.policy.handle(&submit).expect("a ticket");
            self.events += 1;
            while let Some(issued) = self.policy.next_action() {
                let answer = match (issued.id, issued.action) {
                    (Some(id), _) => Event::Done(id, Ok(())),
                    (None, Action::Ready(ticket)) => Event::Fence(ticket),
                    (None, action) => panic!("{action:?}"),
                };
                self.policy.handle(&answer).expect("an answer that is due");
                self.events += 2;
            }
            let vram = self.policy.stats(SegmentId(0)).expect("VRAM");
            self.used += vram.used as f64 / vram.size as f64;
        }
    }
}

fn table() {
    println!("jobs that find their buffer in VRAM, in %; best: with the future known");
    println!("{:<11} {:>5} {:>7} {:>7} {:>7} {:>7}", "pattern", "of VRAM", "lru", "clock", "2q", "best");
    for pattern in ["sequential", "loop", "scan+hot", "zipf", "shift"] {
        for percent in [110, 125, 150, 200] {
            let buffers = ROOM * percent / 100;
            let accesses = accesses(pattern, buffers);
            let share = |hits: u64| hits as f64 * 100.0 / accesses.len() as f64;
            let found = RULES.map(|(evict, _)| {
                let mut bench = Bench::new(evict, buffers, |_| PAGES);
                bench.run(&accesses);
                let stats = bench.policy.manager_stats();
                assert_eq!((stats.hits + stats.misses, stats.refused), (accesses.len() as u64, 0));
                share(stats.hits)
            });
            let [lru, clock, queues] = found;
            let best = share(best(&accesses));
            println!("{pattern:<11} {percent:>5} % {lru:>7.1} {clock:>7.1} {queues:>7.1} {best:>7.1}");
            assert!(found.iter().all(|share| *share <= best + 1e-9), "better than the best: the table is wrong");
        }
    }
}

/// Buffers of 1 to 128 pages, each in one piece: how much of VRAM is in use on average, and how many jobs that serves.
fn pieces() {
    println!(
        "buffers of 1 to 128 pages, each in one piece: share of VRAM in use, and jobs that find their buffer, in %"
    );
    for percent in [125, 150, 200] {
        let pages = |number: u64| 1 << (number * 5 % 8);
        let count = ROOM * PAGES * percent / 100 * 8 / 255;
        let accesses = accesses("zipf", count);
        let found = RULES.map(|(evict, _)| {
            let mut bench = Bench::new(evict, count, pages);
            bench.run(&accesses);
            let stats = bench.policy.manager_stats();
            assert_eq!(stats.refused, 0);
            let hits = stats.hits as f64 * 100.0 / accesses.len() as f64;
            format!("{:.1} {hits:.1}", 100.0 * bench.used / accesses.len() as f64)
        });
        let [lru, clock, queues] = found;
        println!("{percent:>17} % lru {lru}  clock {clock}  2q {queues}");
    }
}

/// Events a second, beside the same number of events that have nothing to do.
fn rate() {
    for (evict, name) in RULES {
        let accesses = accesses("zipf", 2 * ROOM);
        let mut bench = Bench::new(evict, 2 * ROOM, |_| PAGES);
        let begun = Instant::now();
        while bench.events < 1_000_000 {
            bench.run(&accesses);
        }
        let value = bench.events as f64 / begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        for _ in 0..1_000_000 {
            bench.policy.handle(&Event::Tick).expect("a tick");
        }
        let limit = 1e6 / begun.elapsed().as_secs_f64();
        println!("figure mm_events_{name} value={value:.0} limit={limit:.0} ratio={:.3} bar={BAR:.0}", value / limit);
    }
}

fn main() {
    table();
    pieces();
    rate();
}
