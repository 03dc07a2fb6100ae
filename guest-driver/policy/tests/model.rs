// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The policy against a machine of a few pages that carries out what it is told: whatever order moves complete
//! in, whichever step fails, and whenever memory runs short, each buffer's pages keep what was written to them.
//!
//! The machine is the oracle. It refuses a step that would bind over a bound GART entry or unbind another's,
//! it stamps each page, and it knows which pages are free, so overlap, leaks and needless refusals all show.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test may give up, and the machine is small

#[path = "common/failing.rs"]
mod failing;
#[path = "common/machine.rs"]
mod machine;

use failing::with_allocations;
use machine::{Machine, GART_BASE, GART_PAGES, PAGE, VRAM_PAGES};
use proptest::prelude::*;
use uvm_policy::*;

#[global_allocator]
static ALLOCATOR: failing::Failing = failing::Failing;

#[derive(Clone, Debug)]
enum Op {
    Create { pages: u64, align: u32, allowed: u32 },
    Destroy { which: usize },
    Write { which: usize, page: usize },
    Begin { which: usize, to: Domain, relocate: bool, top_down: bool },
    Finish { which: usize, fail_at: Option<usize> },
    Alloc { gart: bool, pages: u64, align: u32, top: bool },
    Reserve { gart: bool, start: u64, pages: u64 },
    Free { which: usize },
    Pin { which: usize },
    Unpin { which: usize },
    StaleToken { which: usize },
}

fn domain() -> impl Strategy<Value = Domain> {
    prop_oneof![Just(Domain::System), Just(Domain::Gtt), Just(Domain::Vram)]
}

fn op() -> impl Strategy<Value = Op> {
    let which = any::<usize>;
    prop_oneof![
        4 => (1u64..24, 0u32..4, 0u32..8).prop_map(|(pages, align, allowed)| Op::Create { pages, align, allowed }),
        2 => which().prop_map(|which| Op::Destroy { which }),
        4 => (which(), which()).prop_map(|(which, page)| Op::Write { which, page }),
        8 => (which(), domain(), any::<bool>(), any::<bool>())
            .prop_map(|(which, to, relocate, top_down)| Op::Begin { which, to, relocate, top_down }),
        7 => (which(), prop::option::weighted(0.3, 0usize..4)).prop_map(|(which, fail_at)| Op::Finish { which, fail_at }),
        2 => (any::<bool>(), 1u64..16, 0u32..4, any::<bool>())
            .prop_map(|(gart, pages, align, top)| Op::Alloc { gart, pages, align, top }),
        1 => (any::<bool>(), 0..VRAM_PAGES, 1u64..8).prop_map(|(gart, start, pages)| Op::Reserve { gart, start, pages }),
        2 => which().prop_map(|which| Op::Free { which }),
        1 => which().prop_map(|which| Op::Pin { which }),
        1 => which().prop_map(|which| Op::Unpin { which }),
        1 => which().prop_map(|which| Op::StaleToken { which }),
    ]
}

/// A buffer as its user sees it.
struct Buffer {
    id: BoId,
    allowed: u32,
    align: u64,
    location: Location,
    /// What each page should read as; zero until written.
    content: Vec<u64>,
    written: bool,
    pins: u32,
    moving: Option<Flight>,
}

#[derive(Clone)]
struct Flight {
    started: Started,
    window: bool,
}

struct World {
    policy: Policy,
    vram: SegmentId,
    gart: SegmentId,
    machine: Machine,
    buffers: Vec<Buffer>,
    ranges: Vec<Allocation>,
    done: Vec<Token>,
    next_stamp: u64,
}

impl World {
    fn new() -> Self {
        let mut policy = Policy::new(PAGE).unwrap();
        let segment = |domain, base, pages: u64| SegmentConfig { domain, base, size: pages * PAGE };
        let vram = policy.add_segment(&segment(Domain::Vram, 0, VRAM_PAGES)).unwrap();
        let gart = policy.add_segment(&segment(Domain::Gtt, GART_BASE, GART_PAGES)).unwrap();
        let machine = Machine::new();
        Self { policy, vram, gart, machine, buffers: vec![], ranges: vec![], done: vec![], next_stamp: 1 }
    }

    /// Taken pages of a segment, from what was given out; fails on overlap.
    fn taken(&self, domain: Domain) -> Vec<bool> {
        let (base, pages, segment) = match domain {
            Domain::Vram => (0, VRAM_PAGES, self.vram),
            _ => (GART_BASE, GART_PAGES, self.gart),
        };
        let mut map = vec![false; pages as usize];
        let mut take = |offset: u64, size: u64| {
            for page in (offset - base) / PAGE..(offset - base + size) / PAGE {
                assert!(!std::mem::replace(&mut map[page as usize], true), "page {page} of {domain:?} given twice");
            }
        };
        for range in self.ranges.iter().filter(|range| range.segment == segment) {
            take(range.offset, range.size);
        }
        for buffer in &self.buffers {
            let size = buffer.content.len() as u64 * PAGE;
            let to = buffer.moving.iter().map(|flight| flight.started.to);
            for at in to.chain([buffer.location]).filter(|at| at.domain == domain) {
                assert_eq!(at.offset % (buffer.align.max(1) * PAGE), 0);
                take(at.offset, size);
            }
            if domain == Domain::Gtt {
                for action in buffer.moving.iter().flat_map(|flight| flight.started.actions.as_slice()) {
                    if let Action::Copy { window, window_size, .. } = action {
                        take((*window).max(base), *window_size);
                    }
                }
            }
        }
        map
    }

    fn fits(&self, domain: Domain, pages: u64, align: u64) -> bool {
        let map = self.taken(domain);
        (0..map.len())
            .step_by(align as usize)
            .any(|start| map.get(start..start + pages as usize).is_some_and(|run| run.iter().all(|taken| !taken)))
    }

    /// What the policy says it gave out is what it gave out, and each page reads as last written.
    fn check(&self) {
        for (domain, segment) in [(Domain::Vram, self.vram), (Domain::Gtt, self.gart)] {
            let map = self.taken(domain);
            let used = map.iter().filter(|taken| **taken).count() as u64;
            assert_eq!(self.policy.stats(segment).unwrap().used, used * PAGE, "{domain:?}");
        }
        for buffer in &self.buffers {
            let info = self.policy.bo_info(buffer.id).unwrap();
            assert_eq!(info.location, buffer.location);
            assert_eq!(info.pins, buffer.pins);
            assert_eq!(info.moving, buffer.moving.as_ref().map(|flight| flight.started.token));
            self.machine.check(buffer.id, buffer.location, &buffer.content);
            if buffer.moving.is_none() && buffer.location.domain == Domain::Vram {
                assert!(!self.machine.has_pages(buffer.id), "system pages kept by a buffer in VRAM");
            }
        }
        let moves = self.buffers.iter().filter(|buffer| buffer.moving.is_some()).count();
        assert_eq!(self.policy.in_use(), (self.buffers.len() as u32, moves as u32));
    }

    fn step(&mut self, op: Op, short_of_memory: bool) {
        let budget = if short_of_memory { 0 } else { u32::MAX };
        match op {
            Op::Create { pages, align, allowed } => {
                let config = BoConfig {
                    size: pages * PAGE,
                    align: PAGE << align,
                    allowed: DomainMask::from_bits(allowed).unwrap(),
                };
                match with_allocations(budget, || self.policy.bo_create(&config)) {
                    Ok(id) => self.buffers.push(Buffer {
                        id,
                        allowed: allowed | 1,
                        align: 1 << align,
                        location: Location { domain: Domain::System, offset: 0 },
                        content: vec![0; pages as usize],
                        written: false,
                        pins: 0,
                        moving: None,
                    }),
                    Err(error) => assert!(short_of_memory && error == Error::NoMemory),
                }
            }
            Op::Alloc { gart, pages, align, top } => {
                let (segment, domain) = self.segment(gart);
                let request = AllocRequest {
                    size: pages * PAGE,
                    align: PAGE << align,
                    from: if top { From::Top } else { From::Bottom },
                    within: None,
                };
                let fits = self.fits(domain, pages, 1 << align);
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
                let (segment, domain) = self.segment(gart);
                let (base, map) = (if gart { GART_BASE } else { 0 }, self.taken(domain));
                let free = map.get(start as usize..(start + pages) as usize).map(|run| run.iter().all(|t| !t));
                let size = pages * PAGE;
                match with_allocations(budget, || self.policy.reserve(segment, base + start * PAGE, size)) {
                    Ok(range) => {
                        assert_eq!((free, range.offset, range.size), (Some(true), base + start * PAGE, size));
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
            Op::StaleToken { which } if !self.done.is_empty() => {
                let token = self.done[which % self.done.len()];
                assert_eq!(self.policy.complete(token, Outcome::Done), Err(Error::Unknown));
            }
            Op::Free { .. } | Op::StaleToken { .. } => {}
            Op::Destroy { which } if !self.buffers.is_empty() => self.destroy(which % self.buffers.len()),
            Op::Write { which, page } if !self.buffers.is_empty() => {
                let which = which % self.buffers.len();
                self.write(which, page);
            }
            Op::Begin { which, to, relocate, top_down } if !self.buffers.is_empty() => {
                let which = which % self.buffers.len();
                self.begin(which, to, relocate, top_down, budget);
            }
            Op::Finish { which, fail_at } => {
                let flying: Vec<usize> =
                    (0..self.buffers.len()).filter(|i| self.buffers[*i].moving.is_some()).collect();
                if !flying.is_empty() {
                    self.finish(flying[which % flying.len()], fail_at);
                }
            }
            Op::Pin { which } if !self.buffers.is_empty() => {
                let count = self.buffers.len();
                let buffer = &mut self.buffers[which % count];
                let expected = match &buffer.moving {
                    Some(flight) => Err(Error::Wait(flight.started.token)),
                    None => Ok(()),
                };
                assert_eq!(self.policy.bo_pin(buffer.id), expected);
                buffer.pins += u32::from(expected.is_ok());
            }
            Op::Unpin { which } if !self.buffers.is_empty() => {
                let count = self.buffers.len();
                let buffer = &mut self.buffers[which % count];
                let expected = buffer.pins.checked_sub(1).ok_or(Error::Invalid);
                assert_eq!(self.policy.bo_unpin(buffer.id), expected.map(drop));
                buffer.pins = expected.unwrap_or(0);
            }
            Op::Destroy { .. } | Op::Write { .. } | Op::Begin { .. } | Op::Pin { .. } | Op::Unpin { .. } => {}
        }
    }

    fn segment(&self, gart: bool) -> (SegmentId, Domain) {
        if gart {
            (self.gart, Domain::Gtt)
        } else {
            (self.vram, Domain::Vram)
        }
    }

    fn destroy(&mut self, which: usize) {
        let buffer = &self.buffers[which];
        let expected = match (&buffer.moving, buffer.pins) {
            (Some(flight), _) => Err(Error::Wait(flight.started.token)),
            (None, 0) => Ok(()),
            (None, _) => Err(Error::Busy),
        };
        assert_eq!(with_allocations(0, || self.policy.bo_destroy(buffer.id)), expected);
        if expected.is_ok() {
            let buffer = self.buffers.swap_remove(which);
            self.machine.forget(buffer.id, buffer.location, buffer.content.len());
            assert_eq!(self.policy.bo_info(buffer.id), Err(Error::Unknown));
        }
    }

    /// The driver keeps the CPU out of a buffer while it moves.
    fn write(&mut self, which: usize, page: usize) {
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        let buffer = &mut self.buffers[which];
        if buffer.moving.is_none() {
            let page = page % buffer.content.len();
            buffer.content[page] = stamp;
            buffer.written = true;
            self.machine.write(buffer.id, buffer.location, buffer.content.len(), page, stamp);
        }
    }

    fn begin(&mut self, which: usize, to: Domain, relocate: bool, top_down: bool, budget: u32) {
        let buffer = &self.buffers[which];
        let pages = buffer.content.len() as u64;
        // What the driver knows: no page exists yet.
        let empty = !buffer.written && buffer.location.domain == Domain::System;
        let options = MoveOptions { empty, relocate, top_down };
        let target_fits = to == Domain::System || self.fits(to, pages, buffer.align);
        let windowed = !empty
            && matches!((buffer.location.domain, to), (Domain::System, Domain::Vram) | (Domain::Vram, Domain::System));
        let window_fits = !windowed || self.fits(Domain::Gtt, 1, 1);
        match with_allocations(budget, || self.policy.begin_move(buffer.id, to, &options)) {
            Ok(Begin::Already(at)) => assert!(at == buffer.location && at.domain == to && !relocate),
            Ok(Begin::Wait(token)) => assert_eq!(Some(token), buffer.moving.as_ref().map(|f| f.started.token)),
            Ok(Begin::Started(started)) => {
                assert!(buffer.moving.is_none() && buffer.pins == 0 && buffer.allowed & (1 << to as u32) != 0);
                assert!(target_fits && window_fits);
                self.buffers[which].moving = Some(Flight { started, window: windowed });
            }
            Err(Error::NoSpace) => assert!(!target_fits || !window_fits),
            Err(Error::Invalid) => {
                assert!(buffer.allowed & (1 << to as u32) == 0 || (relocate && to == Domain::System));
            }
            Err(Error::Busy) => assert!(buffer.pins != 0),
            Err(error) => assert!(budget == 0 && error == Error::NoMemory, "{error}"),
        }
    }

    fn finish(&mut self, which: usize, fail_at: Option<usize>) {
        let buffer = &mut self.buffers[which];
        let Flight { started, window } = buffer.moving.take().unwrap();
        let steps = started.actions.as_slice();
        assert_eq!(window, steps.iter().any(|s| matches!(s, Action::Copy { window_size, .. } if *window_size != 0)));
        let outcome = self.machine.perform(buffer.id, buffer.content.len(), steps, fail_at);
        let at = with_allocations(0, || self.policy.complete(started.token, outcome)).unwrap();
        if outcome == Outcome::Done {
            buffer.location = started.to;
        }
        assert_eq!(at, buffer.location);
        self.done.push(started.token);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pages_keep_their_content_whatever_moves_fail(
        ops in prop::collection::vec((op(), prop::bool::weighted(0.1)), 1..200)
    ) {
        let mut world = World::new();

        for (op, short_of_memory) in ops {
            world.step(op, short_of_memory);
            world.check();
        }

        while !world.buffers.is_empty() {
            if world.buffers[0].moving.is_some() {
                world.finish(0, None);
            }
            while world.buffers[0].pins > 0 {
                world.step(Op::Unpin { which: 0 }, false);
            }
            world.destroy(0);
            world.check();
        }
        while !world.ranges.is_empty() {
            world.step(Op::Free { which: 0 }, false);
        }
        for segment in [world.vram, world.gart] {
            let stats = world.policy.stats(segment).unwrap();
            prop_assert_eq!((stats.used, stats.reserved, stats.blocks, stats.holes), (0, 0, 0, 1));
            prop_assert_eq!(stats.longest_free, stats.size);
        }
    }
}
