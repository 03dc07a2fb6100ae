// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Ranges that are given out of segments, against a model that knows which pages are taken: no two overlap, none is
//! refused that fits, and shortage of memory changes nothing.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test may give up, and the segments are small

#[path = "common/failing.rs"]
mod failing;

use failing::with_allocations;
use proptest::prelude::*;
use uvm_policy::*;

const PAGE: u64 = 4096;
const VRAM_PAGES: u64 = 48;
const GART_PAGES: u64 = 24;
/// Not zero, so that a confusion of GART offsets with others shows.
const GART_BASE: u64 = 1 << 32;

#[global_allocator]
static ALLOCATOR: failing::Failing = failing::Failing;

#[derive(Clone, Debug)]
enum Op {
    Alloc { gart: bool, pages: u64, align: u32, top: bool },
    Reserve { gart: bool, start: u64, pages: u64 },
    Free { which: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (any::<bool>(), 1u64..16, 0u32..4, any::<bool>())
            .prop_map(|(gart, pages, align, top)| Op::Alloc { gart, pages, align, top }),
        2 => (any::<bool>(), 0..VRAM_PAGES, 1u64..8).prop_map(|(gart, start, pages)| Op::Reserve { gart, start, pages }),
        3 => any::<usize>().prop_map(|which| Op::Free { which }),
    ]
}

struct World {
    policy: Policy,
    vram: SegmentId,
    gart: SegmentId,
    ranges: Vec<Allocation>,
}

impl World {
    fn new() -> Self {
        let mut policy = Policy::new(PAGE).unwrap();
        let segment = |domain, base, pages: u64| SegmentConfig { domain, base, size: pages * PAGE };
        let vram = policy.add_segment(&segment(Domain::Vram, 0, VRAM_PAGES)).unwrap();
        let gart = policy.add_segment(&segment(Domain::Gtt, GART_BASE, GART_PAGES)).unwrap();
        Self { policy, vram, gart, ranges: vec![] }
    }

    fn segment(&self, gart: bool) -> (SegmentId, u64, u64) {
        if gart {
            (self.gart, GART_BASE, GART_PAGES)
        } else {
            (self.vram, 0, VRAM_PAGES)
        }
    }

    /// Taken pages of a segment, from what was given out; fails on overlap.
    fn taken(&self, gart: bool) -> Vec<bool> {
        let (segment, base, pages) = self.segment(gart);
        let mut map = vec![false; pages as usize];
        for range in self.ranges.iter().filter(|range| range.segment == segment) {
            for page in (range.offset - base) / PAGE..(range.offset - base + range.size) / PAGE {
                assert!(!std::mem::replace(&mut map[page as usize], true), "page {page} given twice");
            }
        }
        map
    }

    fn check(&self) {
        for gart in [false, true] {
            let used = self.taken(gart).iter().filter(|taken| **taken).count() as u64;
            assert_eq!(self.policy.stats(self.segment(gart).0).unwrap().used, used * PAGE);
        }
    }

    fn step(&mut self, op: &Op, short_of_memory: bool) {
        let budget = if short_of_memory { 0 } else { u32::MAX };
        match *op {
            Op::Alloc { gart, pages, align, top } => {
                let (segment, map) = (self.segment(gart).0, self.taken(gart));
                let from = if top { From::Top } else { From::Bottom };
                let request = AllocRequest { size: pages * PAGE, align: PAGE << align, from, within: None };
                let fits = (0..map.len())
                    .step_by(1 << align)
                    .any(|start| map.get(start..start + pages as usize).is_some_and(|run| run.iter().all(|t| !t)));
                match with_allocations(budget, || self.policy.alloc(segment, &request)) {
                    Ok(range) => {
                        assert_eq!(range.offset % (PAGE << align), 0);
                        self.ranges.push(range);
                    }
                    Err(Error::NoSpace) => assert!(!fits),
                    Err(error) => assert!(short_of_memory && error == Error::NoMemory),
                }
            }
            Op::Reserve { gart, start, pages } => {
                let ((segment, base, _), map) = (self.segment(gart), self.taken(gart));
                let free = map.get(start as usize..(start + pages) as usize).map(|run| run.iter().all(|t| !t));
                let (offset, size) = (base + start * PAGE, pages * PAGE);
                match with_allocations(budget, || self.policy.reserve(segment, offset, size)) {
                    Ok(range) => {
                        assert_eq!((free, range.offset, range.size), (Some(true), offset, size));
                        self.ranges.push(range);
                    }
                    Err(Error::NoSpace) => assert_eq!(free, Some(false)),
                    Err(Error::Invalid) => assert_eq!(free, None),
                    Err(error) => assert!(short_of_memory && error == Error::NoMemory),
                }
            }
            Op::Free { which } if !self.ranges.is_empty() => {
                let range = self.ranges.swap_remove(which % self.ranges.len());
                assert_eq!(with_allocations(0, || self.policy.free(range.id)), Ok(()));
                assert_eq!(self.policy.free(range.id), Err(Error::Unknown));
            }
            Op::Free { .. } => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ranges_never_overlap_and_what_fits_is_given(
        ops in prop::collection::vec((op(), prop::bool::weighted(0.1)), 1..200)
    ) {
        let mut world = World::new();

        for (op, short_of_memory) in &ops {
            world.step(op, *short_of_memory);
            world.check();
        }

        while !world.ranges.is_empty() {
            world.step(&Op::Free { which: 0 }, false);
        }
        for segment in [world.vram, world.gart] {
            let stats = world.policy.stats(segment).unwrap();
            prop_assert_eq!((stats.used, stats.reserved, stats.blocks, stats.holes), (0, 0, 0, 1));
            prop_assert_eq!(stats.longest_free, stats.size);
        }
    }
}
