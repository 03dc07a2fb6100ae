// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The heap against a model that is a row of pages, searched by trying each of them.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // the model is a few hundred pages long

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Alloc(Request, BlockKind),
    Reserve { start: u64, len: u64 },
    Free { which: usize },
    FreeStale { which: usize },
    Find { page: u64 },
}

const SIZE: u64 = 192;

fn op() -> impl Strategy<Value = Op> {
    let request = (
        prop_oneof![1u64..4, 1u64..40],
        0u32..7,
        any::<bool>(),
        prop_oneof![1 => Just(None), 1 => (0..SIZE, 0..2 * SIZE).prop_map(Some)],
    )
        .prop_map(|(len, order, top, within)| Request {
            len,
            align: 1 << order,
            from: if top { From::Top } else { From::Bottom },
            within: within.map_or(0..u64::MAX, |(low, len)| low..low + len),
        });
    prop_oneof![
        6 => (request, prop_oneof![Just(BlockKind::Caller), Just(BlockKind::Buffer)]).prop_map(|(r, k)| Op::Alloc(r, k)),
        1 => (0..SIZE + 8, 1u64..24).prop_map(|(start, len)| Op::Reserve { start, len }),
        5 => any::<usize>().prop_map(|which| Op::Free { which }),
        1 => any::<usize>().prop_map(|which| Op::FreeStale { which }),
        1 => (0..SIZE + 8).prop_map(|page| Op::Find { page }),
    ]
}

/// One entry a page: the key of the block it belongs to.
struct Model {
    pages: Vec<Option<Key>>,
}

impl Model {
    fn is_free(&self, start: u64, len: u64) -> bool {
        (start..start + len).all(|page| page < SIZE && self.pages[page as usize].is_none())
    }

    fn expected(&self, request: &Request) -> Option<u64> {
        let fits = |start: &u64| {
            start % request.align == 0
                && *start >= request.within.start
                && start + request.len <= request.within.end
                && self.is_free(*start, request.len)
        };
        let mut starts = 0..SIZE;
        match request.from {
            From::Bottom => starts.find(fits),
            From::Top => starts.rev().find(fits),
        }
    }

    fn set(&mut self, start: u64, len: u64, owner: Option<Key>) {
        self.pages[start as usize..(start + len) as usize].fill(owner);
    }

    fn free_blocks(&self, base: u64, len: u64) -> u64 {
        let starts = (0..SIZE).filter(|start| (base + start) % len == 0);
        starts.filter(|start| self.is_free(*start, len)).count() as u64
    }

    fn holes(&self) -> Vec<u64> {
        let mut holes = vec![];
        for run in self.pages.chunk_by(|a, b| a.is_none() == b.is_none()) {
            if run[0].is_none() {
                holes.push(run.len() as u64);
            }
        }
        holes
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn heap_gives_what_the_page_model_gives(ops in prop::collection::vec(op(), 1..160)) {
        let mut heap = Heap::try_new(SIZE).unwrap();
        let mut model = Model { pages: vec![None; SIZE as usize] };
        let mut live: Vec<(Key, Block)> = vec![];
        let mut dead: Vec<Key> = vec![];

        for op in ops {
            match op {
                Op::Alloc(request, kind) => match (heap.alloc(&request, kind), model.expected(&request)) {
                    (Ok(key), Some(expected)) => {
                        let block = heap.block(key).unwrap();
                        prop_assert_eq!(block.len, request.len);
                        prop_assert!(model.is_free(block.start, block.len));
                        prop_assert_eq!(block.start % request.align, 0);
                        prop_assert!(block.start >= request.within.start && block.start + block.len <= request.within.end);
                        // While all holes are looked at in order, the choice is the model's.
                        if model.holes().len() < ALIGNED_TRIES as usize {
                            prop_assert_eq!(block.start, expected);
                        }
                        model.set(block.start, block.len, Some(key));
                        live.push((key, block));
                    }
                    (got, None) => prop_assert_eq!(got, Err(Error::NoSpace)),
                    (Err(error), Some(at)) => prop_assert!(false, "{error} though {at} fits"),
                },
                Op::Reserve { start, len } => match heap.reserve(start, len) {
                    Ok(key) => {
                        prop_assert!(model.is_free(start, len));
                        model.set(start, len, Some(key));
                        live.push((key, Block { start, len, kind: BlockKind::Reserved }));
                    }
                    Err(Error::NoSpace) => prop_assert!(start + len <= SIZE && !model.is_free(start, len)),
                    Err(error) => prop_assert!(error == Error::Invalid && start + len > SIZE),
                },
                Op::Free { which } if !live.is_empty() => {
                    let (key, block) = live.swap_remove(which % live.len());
                    prop_assert_eq!(heap.free(key), Ok(block));
                    model.set(block.start, block.len, None);
                    dead.push(key);
                }
                Op::FreeStale { which } if !dead.is_empty() => {
                    prop_assert_eq!(heap.free(dead[which % dead.len()]), Err(Error::Unknown));
                }
                Op::Find { page } => {
                    let owner = model.pages.get(page as usize).copied().flatten();
                    prop_assert_eq!(heap.find(page), owner);
                }
                Op::Free { .. } | Op::FreeStale { .. } => {}
            }
            heap.tree.check();
            let holes = model.holes();
            for (base, len) in [(0, 1), (0, 8), (3, 4), (5, 32)] {
                prop_assert_eq!(heap.free_blocks(base, len), model.free_blocks(base, len));
            }
            let used: u64 = live.iter().map(|(_, block)| block.len).sum();
            let reserved =
                live.iter().filter(|(_, b)| b.kind == BlockKind::Reserved).map(|(_, block)| block.len).sum();
            prop_assert_eq!(heap.stats(), Stats {
                size: SIZE,
                used,
                reserved,
                longest_free: holes.iter().copied().max().unwrap_or(0),
                blocks: live.len() as u64,
                holes: holes.len() as u64,
            });
        }

        for (key, _) in live {
            heap.free(key).unwrap();
        }
        heap.tree.check();
        prop_assert_eq!(heap.stats(), Stats { size: SIZE, longest_free: SIZE, holes: 1, ..Stats::default() });
    }
}

fn request(len: u64, align: u64) -> Request {
    Request { len, align, from: From::Bottom, within: 0..u64::MAX }
}

/// A heap of `count` free extents of `hole` pages, each followed by `wall` taken ones, then what is left.
fn comb(size: u64, count: u64, hole: u64, wall: u64) -> Heap {
    let mut heap = Heap::try_new(size).unwrap();
    for i in 0..count {
        heap.reserve(i * (hole + wall) + hole, wall).unwrap();
    }
    heap
}

#[test]
fn only_aligned_hole_behind_many_misaligned_ones_is_found() {
    let mut heap = Heap::try_new(4000).unwrap();
    heap.reserve(0, 1).unwrap();
    for i in 0..400 {
        heap.reserve(1 + i * 8 + 7, 1).unwrap(); // holes [1 + 8i, 8 + 8i): seven pages, from an odd start
    }
    let tail = heap.reserve(3201, 799).unwrap();
    let before = heap.stats();

    assert_eq!(heap.alloc(&request(7, 8), BlockKind::Caller), Err(Error::NoSpace));
    assert_eq!(heap.stats(), before);
    heap.free(tail).unwrap();
    let key = heap.alloc(&request(7, 8), BlockKind::Caller).unwrap();
    assert_eq!(heap.block(key).unwrap().start, 3208);
}

#[test]
fn exact_aligned_hole_is_found_when_nothing_surely_fits() {
    let mut heap = comb(8 * 300, 300, 7, 1); // holes [8i, 8i + 7)
    heap.reserve(0, 1).unwrap();
    for i in 1..299 {
        heap.reserve(i * 8, 1).unwrap(); // now [8i + 1, 8i + 7), but for the last
    }

    let key = heap.alloc(&request(6, 8), BlockKind::Caller).unwrap();

    assert_eq!(heap.block(key).unwrap().start, 299 * 8);
    assert_eq!(heap.alloc(&request(6, 8), BlockKind::Caller), Err(Error::NoSpace));
}

#[test]
fn long_hole_is_taken_after_enough_misaligned_ones() {
    let mut heap = Heap::try_new(2000).unwrap();
    heap.reserve(0, 1).unwrap();
    for i in 0..40 {
        heap.reserve(i * 8 + 8, 1).unwrap(); // holes [8i + 1, 8i + 8)
    }

    let key = heap.alloc(&request(7, 8), BlockKind::Caller).unwrap();

    assert_eq!(heap.block(key).unwrap().start, 328);
}

#[test]
fn extreme_numbers_are_refused_without_overflow() {
    let mut heap = Heap::try_new(u64::MAX).unwrap();

    assert_eq!(heap.alloc(&request(0, 1), BlockKind::Caller), Err(Error::Invalid));
    assert_eq!(heap.alloc(&request(1, 0), BlockKind::Caller), Err(Error::Invalid));
    assert_eq!(heap.alloc(&request(1, 3), BlockKind::Caller), Err(Error::Invalid));
    assert_eq!(heap.reserve(u64::MAX, 2), Err(Error::Invalid));
    assert_eq!(heap.reserve(5, 0), Err(Error::Invalid));
    let all = heap.alloc(&request(u64::MAX, 1 << 63), BlockKind::Caller).unwrap();
    assert_eq!(heap.alloc(&request(1, 1), BlockKind::Caller), Err(Error::NoSpace));
    heap.free(all).unwrap();
    let high = heap.alloc(&Request { from: From::Top, ..request(2, 1 << 63) }, BlockKind::Caller).unwrap();
    assert_eq!(heap.block(high).unwrap().start, 1 << 63);
    assert_eq!(Heap::try_new(0).err(), Some(Error::Invalid));
}

#[test]
#[allow(clippy::reversed_empty_ranges)]
fn reversed_limits_have_no_space() {
    let mut heap = Heap::try_new(64).unwrap();

    for from in [From::Bottom, From::Top] {
        let wish = Request { within: 40..20, from, ..request(4, 1) };
        assert_eq!(heap.alloc(&wish, BlockKind::Caller), Err(Error::NoSpace));
    }
}

#[test]
fn tree_stays_balanced_under_ordered_insertion_and_removal() {
    let mut heap = Heap::try_new(1 << 16).unwrap();

    let keys: Vec<Key> = (0..1 << 12).map(|_| heap.alloc(&request(3, 1), BlockKind::Caller).unwrap()).collect();
    heap.tree.check();
    for key in keys.iter().step_by(2) {
        heap.free(*key).unwrap();
    }
    heap.tree.check();
    for key in keys.iter().skip(1).step_by(2) {
        heap.free(*key).unwrap();
    }

    heap.tree.check();
    assert_eq!(heap.stats().holes, 1);
}
