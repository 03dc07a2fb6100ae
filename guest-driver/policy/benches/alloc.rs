// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Allocation and free pairs a second on a well-filled segment, against the bar of one million.
//!
//! The limit printed beside it is the same traffic on the host's own allocator in the same run, which has
//! size classes and no alignment, limits or ends to honour.

use std::alloc::{alloc, dealloc, Layout};
use std::hint::black_box;
use std::time::{Duration, Instant};

use uvm_policy::{AllocRequest, BlockId, Domain, From, Policy, SegmentConfig, SegmentId};

const PAGE: u64 = 4096;
const LIVE: usize = 10_000;
const ROUNDS: usize = 20_000;
const BAR: f64 = 1e6;

/// xorshift64*: the same traffic in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.next() % (len as u64)).unwrap_or(0)
    }

    /// One page to 1 MiB, small ones more often, as buffer objects are.
    fn size(&mut self) -> u64 {
        let order = self.next() % 9;
        PAGE * (1 + self.next() % (1 << order))
    }
}

fn best_rate(mut pairs: impl FnMut()) -> f64 {
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut best = 0.0f64;
    while Instant::now() < deadline {
        let start = Instant::now();
        pairs();
        best = best.max(ROUNDS as f64 / start.elapsed().as_secs_f64());
    }
    best
}

fn policy_rate(align: u64) -> f64 {
    let mut random = Random(0x5eed);
    let mut policy = Policy::new(PAGE).expect("policy");
    let vram: SegmentId =
        policy.add_segment(&SegmentConfig { domain: Domain::Vram, base: 0, size: 4 << 30 }).expect("segment");
    let request = |random: &mut Random| AllocRequest {
        size: random.size(),
        align,
        from: if random.next() % 4 == 0 { From::Top } else { From::Bottom },
        within: None,
    };
    let mut live: Vec<BlockId> =
        (0..LIVE).map(|_| policy.alloc(vram, &request(&mut random)).expect("room for the standing set").id).collect();
    best_rate(|| {
        for _ in 0..ROUNDS {
            let victim = random.index(live.len());
            policy.free(live[victim]).expect("a live block");
            live[victim] = policy.alloc(vram, &request(&mut random)).expect("room for one more").id;
        }
    })
}

/// The same sizes from the host's allocator. It is not touched, so that page faults do not count.
#[allow(unsafe_code)] // measuring the allocator below `Vec` takes its raw interface
fn host_rate() -> f64 {
    let mut random = Random(0x5eed);
    let layout = |random: &mut Random| {
        Layout::from_size_align(usize::try_from(random.size() / 64).unwrap_or(64), 8).expect("layout")
    };
    let mut live: Vec<(*mut u8, Layout)> = (0..LIVE)
        .map(|_| {
            let layout = layout(&mut random);
            // SAFETY: the layout is at least 64 bytes.
            (unsafe { alloc(layout) }, layout)
        })
        .collect();
    let rate = best_rate(|| {
        for _ in 0..ROUNDS {
            let victim = random.index(live.len());
            let (pointer, old) = live[victim];
            // SAFETY: allocated with this layout, freed once: the entry is replaced below.
            unsafe { dealloc(pointer, old) };
            let layout = layout(&mut random);
            // SAFETY: the layout is at least 64 bytes.
            live[victim] = (black_box(unsafe { alloc(layout) }), layout);
        }
    });
    for (pointer, layout) in live {
        // SAFETY: allocated with this layout and still live.
        unsafe { dealloc(pointer, layout) };
    }
    rate
}

fn main() {
    let limit = host_rate();
    for (name, align) in [("policy_alloc_free", 0), ("policy_alloc_free_64k", 64 << 10)] {
        let value = policy_rate(align);
        println!("figure {name} value={value:.0} limit={limit:.0} ratio={:.3} bar={BAR:.0}", value / limit);
    }
}
