// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Plans against a model that keeps a record for each page and decides by the table in the crate's documentation.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test may give up

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use proptest::prelude::*;
use uvm_policy::svm::*;

const PAGE: u64 = 1 << PAGE_SHIFT;
const BLOCK: u64 = 1 << BLOCK_SHIFT;
/// The pages that a process has: three blocks and a bit of a fourth.
const PAGES: u64 = 3 * 512 + 100;
/// Where they begin: not at a block's border.
const BASE: u64 = 0x5500_0000_0000 + BLOCK - 40 * PAGE;

/// What the model knows of a page.
#[derive(Clone, Copy, Default)]
struct Page {
    said: Attributes,
    vram: bool,
    both: bool,
    mapped: bool,
    writable: bool,
}

struct Model {
    svm: Svm,
    space: SpaceId,
    pages: HashMap<u64, Page>,
    frozen: Vec<u32>,
    groups: Vec<u32>,
    now: u64,
}

/// What is done with it.
#[derive(Clone, Debug)]
enum Step {
    Advise(u64, u64, u8, u8),
    Freeze(usize, bool),
    Batch(Vec<(u64, u8)>, bool),
    CpuTakes(u64, u64),
    Evict(u64),
    Unmap(u64, u64),
    Gone(u64, u64),
    Prefetch(u64, u64, u8),
    Counted(u64, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let page = 0..PAGES;
    let len = prop_oneof![1..40u64, 1..1500u64];
    let fault = (page.clone(), 0..3u8);
    let step = prop_oneof![
        3 => (page.clone(), len.clone(), 0..12u8, 0..10u8).prop_map(|(at, len, what, value)| Step::Advise(at, len, what, value)),
        1 => (0..3usize, any::<bool>()).prop_map(|(group, on)| Step::Freeze(group, on)),
        8 => (prop::collection::vec(fault, 1..60), any::<bool>()).prop_map(|(faults, more)| Step::Batch(faults, more)),
        2 => (page.clone(), 1..64u64).prop_map(|(at, len)| Step::CpuTakes(at, len)),
        1 => (0..4u64).prop_map(Step::Evict),
        1 => (page.clone(), len.clone()).prop_map(|(at, len)| Step::Unmap(at, len)),
        1 => (page.clone(), len.clone()).prop_map(|(at, len)| Step::Gone(at, len)),
        1 => (page.clone(), len, 0..3u8).prop_map(|(at, len, to)| Step::Prefetch(at, len, to)),
        1 => (page, 0..10u8).prop_map(|(at, order)| Step::Counted(at, order)),
    ];
    prop::collection::vec(step, 1..40)
}

fn config(seed: u32) -> SvmConfig {
    let mut config = SvmConfig { chunks: 16, ..SvmConfig::default() };
    let on = |bit: u32| seed >> bit & 1 == 1;
    config.switches = Switches {
        migrate: !(on(0) && on(1) && on(2)),
        density: on(3),
        correlation: false,
        // Bounces depend on time, which has a test of its own.
        thrash: false,
        counters: on(4),
        counters_first: on(5) && on(6),
        duplication: on(7),
        spare: on(8),
    };
    config.density = [1, 25, 50, 51, 75, 100][(seed >> 9) as usize % 6];
    config.granule = (seed >> 13) as u8 % 10;
    config.replay = [Replay::Block, Replay::Batch, Replay::BatchFlush, Replay::Once][(seed >> 17) as usize % 4];
    config
}

fn va(page: u64) -> u64 {
    BASE + page * PAGE
}

fn number(va: u64) -> u64 {
    va >> BLOCK_SHIFT
}

impl Model {
    fn new(config: &SvmConfig) -> Self {
        let mut svm = Svm::new(config).unwrap();
        let space = svm.create().unwrap();
        let groups = (0..3).map(|_| svm.create_group(space).unwrap()).collect();
        Self { svm, space, pages: HashMap::new(), frozen: vec![], groups, now: 0 }
    }

    fn page(&self, va: u64) -> Page {
        self.pages.get(&(va >> PAGE_SHIFT)).copied().unwrap_or_default()
    }

    fn edit(&mut self, va: u64, change: impl FnOnce(&mut Page)) {
        change(self.pages.entry(va >> PAGE_SHIFT).or_default());
    }

    fn may_move(&self, page: &Page) -> bool {
        !self.frozen.contains(&page.said.group)
    }

    fn expected(&self, va: u64, access: Access) -> Action {
        let page = self.page(va);
        expected(&page, access, &self.svm.config().switches, self.may_move(&page))
    }

    /// Whether a read of it would bring it to VRAM: then it may be brought unasked.
    fn comes(&self, va: u64) -> bool {
        let page = Page { vram: false, both: false, ..self.page(va) };
        expected(&page, Access::Read, &self.svm.config().switches, self.may_move(&page)) == Action::ToVram
    }
}

/// The table of the documentation.
fn expected(page: &Page, access: Access, switches: &Switches, may_move: bool) -> Action {
    let write = access != Access::Read;
    if page.said.no_access || (page.said.read_only && write) {
        return Action::Deny;
    }
    let moves = may_move && switches.migrate;
    if page.vram {
        if page.said.preferred == Some(Place::System) && moves {
            return Action::ToSystem;
        }
        return if write && page.both { Action::ToVram } else { Action::Map };
    }
    let (remote, in_place) = match access {
        Access::Atomic => (Action::MapExclusive, Action::MapExclusive),
        _ => (Action::MapRemote, Action::Map),
    };
    match page.said.preferred {
        Some(Place::Vram) if moves => Action::ToVram,
        Some(_) => remote,
        None if page.said.accessed_by_device || !moves => in_place,
        None if page.said.read_duplication && switches.duplication && !write => Action::Duplicate,
        None if switches.counters_first => remote,
        None => Action::ToVram,
    }
}

/// The largest half of a block around a page of which more than `percent` are present, found by cutting it in two.
fn dense_half(present: &[bool], page: usize, percent: usize) -> Range<usize> {
    let mut half = 0..present.len();
    loop {
        let there = present[half.clone()].iter().filter(|there| **there).count();
        if there * 100 > percent * half.len() || half.len() == 1 {
            return half;
        }
        let middle = half.start + half.len() / 2;
        half = if page < middle { half.start..middle } else { middle..half.end };
    }
}

impl Model {
    fn batch(&mut self, faults: &[(u64, u8)], more: bool) {
        let mut given: Vec<Fault> = (0..)
            .zip(faults)
            .map(|(tag, (page, access))| Fault {
                space: self.space,
                va: va(*page) + u64::from(tag) * 7 % PAGE,
                tag,
                access: [Access::Read, Access::Write, Access::Atomic][*access as usize],
                region: 12345,
            })
            .collect();
        let mut batch = Batch::try_new().unwrap();
        let (_, regions) = batch.parts(MAX_REGIONS);
        let plan = self.svm.serve(&mut given, more, self.now, regions).unwrap();
        let regions = &regions[..plan.regions];
        let replay = self.svm.config().replay;
        assert_eq!(plan.flush, replay == Replay::BatchFlush);
        assert_eq!(plan.hold, replay == Replay::Once && more);

        // The strongest access to each page decides, and all its faults have the same region.
        let mut wanted: BTreeMap<u64, Access> = BTreeMap::new();
        for (page, access) in faults {
            let access = [Access::Read, Access::Write, Access::Atomic][*access as usize];
            let known = wanted.entry(va(*page)).or_insert(access);
            *known = (*known).max(access);
        }
        assert_eq!(given.len(), faults.len());
        for fault in &given {
            let (page, action) =
                (fault.va & !(PAGE - 1), self.expected(fault.va & !(PAGE - 1), wanted[&(fault.va & !(PAGE - 1))]));
            let region = &regions[fault.region as usize];
            assert_eq!((region.va, region.action), (fault.va & !(BLOCK - 1), action), "{page:#x} {fault:?}");
            let n = ((fault.va - region.va) >> PAGE_SHIFT) as u32;
            assert!(region.faulted.has(n));
            assert_eq!(region.written.has(n), wanted[&page] != Access::Read);
        }
        let keys: Vec<_> = given.iter().map(|fault| fault.va >> PAGE_SHIFT).collect();
        assert!(keys.is_sorted(), "in order of addresses");

        // Nothing else is in the plan, and what comes along is what should.
        let faulted: u32 = regions.iter().map(|region| region.faulted.count()).sum();
        assert_eq!(faulted as usize, wanted.len());
        let mut seen = HashMap::new();
        for region in regions {
            assert!(!region.guess && region.faulted.minus(region.pages).is_empty());
            assert_eq!(region.pages, self.company(region, &wanted, &seen), "{region:?}");
            for n in region.pages.iter() {
                assert_eq!(seen.insert((region.va, n), region.action), None, "one action a page");
            }
            let eager = region.faulted.iter().any(|n| self.page(region.va + u64::from(n) * PAGE).said.eager_replay);
            assert_eq!(region.replay, eager || replay == Replay::Block);
        }
        let regions = regions.to_vec();
        regions.iter().for_each(|region| self.perform(region, Cause::Fault));
    }

    /// The pages that a region should have; `taken` belong to regions before it.
    fn company(&self, region: &Region, wanted: &BTreeMap<u64, Access>, taken: &HashMap<(u64, u32), Action>) -> Pages {
        let config = self.svm.config();
        let address = |n: usize| region.va + n as u64 * PAGE;
        let block: Vec<Page> = (0..512).map(|n| self.page(address(n))).collect();
        let own: Vec<bool> =
            (0..512).map(|n| wanted.contains_key(&address(n)) || taken.contains_key(&(region.va, n as u32))).collect();
        // The granule, as far as the same was said in a row. A page of which only the second copy goes brings nobody.
        let mut near = [false; 512];
        for n in region.faulted.iter().map(|n| n as usize) {
            if region.action == Action::ToVram && block[n].vram {
                continue;
            }
            let len = 1usize << block[n].said.granule.unwrap_or(config.granule);
            let alike = |other: &usize| block[*other].said == block[n].said;
            (n..n / len * len + len).take_while(alike).for_each(|other| near[other] = true);
            (n / len * len..n).rev().take_while(alike).for_each(|other| near[other] = true);
        }
        let free = |n: usize| near[n] && !own[n];
        let mut pages = region.faulted;
        for (n, page) in block.iter().enumerate() {
            let along = match region.action {
                Action::ToVram => free(n) && !page.vram && self.comes(address(n)),
                Action::Map => {
                    let stays = !page.said.no_access
                        && page.said.preferred.is_none()
                        && (page.said.accessed_by_device || !self.may_move(page) || !config.switches.migrate);
                    free(n) && ((page.vram && !page.both) || stays)
                }
                Action::MapRemote | Action::Duplicate => free(n) && !page.vram,
                Action::ToSystem => free(n) && page.vram,
                _ => false,
            };
            if along {
                pages.add(n as u32);
            }
        }
        if region.action == Action::ToVram && config.switches.density {
            let present: Vec<bool> = (0..512).map(|n| block[n].vram || pages.has(n as u32)).collect();
            for n in region.faulted.iter() {
                let half = dense_half(&present, n as usize, config.density as usize);
                for other in half.filter(|other| !present[*other] && !own[*other] && self.comes(address(*other))) {
                    pages.add(other as u32);
                }
            }
        }
        pages
    }

    /// Carries a region out, in the model and by events.
    fn perform(&mut self, region: &Region, cause: Cause) {
        let (space, at) = (self.space, region.va);
        let addresses: Vec<u64> = region.pages.iter().map(|n| at + u64::from(n) * PAGE).collect();
        let moved = match region.action {
            Action::ToVram => Some(Place::Vram),
            Action::ToSystem => Some(Place::System),
            Action::Duplicate => Some(Place::Both),
            Action::Deny | Action::Throttle => return,
            _ => None,
        };
        if let Some(to) = moved {
            let chunk = (to != Place::System).then_some((number(at) % 16) as u32);
            self.tell(&Event::Migrated { space, va: at, pages: region.pages, to, cause, chunk });
            for address in &addresses {
                self.edit(*address, |page| {
                    *page =
                        Page { said: page.said, vram: to != Place::System, both: to == Place::Both, ..Page::default() };
                });
            }
        }
        let writable = if region.action == Action::Duplicate { Pages::NONE } else { region.written };
        self.tell(&Event::Mapped { space, va: at, pages: region.pages, writable });
        for (n, address) in region.pages.iter().zip(addresses) {
            self.edit(address, |page| (page.mapped, page.writable) = (true, writable.has(n)));
        }
    }

    fn tell(&mut self, event: &Event) {
        self.now += 1_000_000;
        self.svm.event(event, self.now).unwrap();
    }

    fn run(&mut self, step: &Step) {
        let range = |at: u64, len: u64| at..(at + len).min(PAGES);
        let bytes = |pages: &Range<u64>| va(pages.start)..va(pages.end);
        match *step {
            Step::Advise(at, len, what, value) => {
                let on = value % 2 == 0;
                let advice = match what {
                    0 => Advice::Preferred(None),
                    1 => Advice::Preferred(Some(Place::Vram)),
                    2 => Advice::Preferred(Some(Place::System)),
                    3 => Advice::AccessedByDevice(on),
                    4 | 5 => Advice::ReadDuplication(on),
                    6 => Advice::NoAccess(on),
                    7 => Advice::ReadOnly(on),
                    8 => Advice::EagerReplay(on),
                    9 => Advice::Granule(on.then_some(value)),
                    10 => Advice::Group(if on { self.groups[usize::from(value) % 3] } else { 0 }),
                    _ => Advice::Reset,
                };
                let pages = range(at, len);
                self.svm.advise(self.space, &bytes(&pages), advice).unwrap();
                for page in pages {
                    self.edit(va(page), |page| match advice {
                        Advice::Preferred(preferred) => page.said.preferred = preferred,
                        Advice::AccessedByDevice(on) => page.said.accessed_by_device = on,
                        Advice::ReadDuplication(on) => page.said.read_duplication = on,
                        Advice::NoAccess(on) => page.said.no_access = on,
                        Advice::ReadOnly(on) => page.said.read_only = on,
                        Advice::EagerReplay(on) => page.said.eager_replay = on,
                        Advice::Granule(granule) => page.said.granule = granule,
                        Advice::Group(group) => page.said.group = group,
                        Advice::Reset => page.said = Attributes::default(),
                    });
                }
            }
            Step::Freeze(group, on) => {
                let group = self.groups[group];
                self.svm.set_migratable(self.space, group, !on).unwrap();
                self.frozen.retain(|frozen| *frozen != group);
                if on {
                    self.frozen.push(group);
                }
            }
            Step::Batch(ref faults, more) => self.batch(faults, more),
            Step::CpuTakes(at, len) => {
                let mut blocks: BTreeMap<u64, Pages> = BTreeMap::new();
                for page in range(at, len) {
                    if self.page(va(page)).vram {
                        let n = (va(page) >> PAGE_SHIFT) as u32 % BLOCK_PAGES;
                        blocks.entry(number(va(page))).or_default().add(n);
                        self.edit(va(page), |page| *page = Page { said: page.said, ..Page::default() });
                    }
                }
                for (block, pages) in blocks {
                    let (space, va, to, cause) = (self.space, block << BLOCK_SHIFT, Place::System, Cause::CpuFault);
                    self.tell(&Event::Migrated { space, va, pages, to, cause, chunk: None });
                }
            }
            Step::Evict(block) => {
                let start = (number(BASE) + block) << BLOCK_SHIFT;
                let there = (0..512u32).filter(|n| self.page(start + u64::from(*n) * PAGE).vram);
                let mut pages = Pages::NONE;
                there.for_each(|n| pages.add(n));
                let (space, to, cause) = (self.space, Place::System, Cause::Eviction);
                self.tell(&Event::Migrated { space, va: start + 5, pages, to, cause, chunk: Some(0) });
                for n in pages.iter() {
                    self.edit(start + u64::from(n) * PAGE, |page| *page = Page { said: page.said, ..Page::default() });
                }
            }
            Step::Unmap(at, len) => {
                let pages = range(at, len);
                self.tell(&Event::Unmapped { space: self.space, range: bytes(&pages) });
                pages.for_each(|page| self.edit(va(page), |page| (page.mapped, page.writable) = (false, false)));
            }
            Step::Gone(at, len) => {
                let pages = range(at, len);
                self.tell(&Event::Gone { space: self.space, range: bytes(&pages) });
                pages.for_each(|page| self.edit(va(page), |page| *page = Page::default()));
            }
            Step::Prefetch(at, len, to) => {
                let to = [Place::System, Place::Vram, Place::Both][to as usize];
                let all = bytes(&range(at, len));
                let mut next = Some(all.start);
                while let Some(start) = next {
                    let (region, more) = self.svm.prefetch(self.space, &(start..all.end), to, self.now).unwrap();
                    assert!(more.is_none_or(|more| more > start && more % BLOCK == 0 && more < all.end));
                    for n in 0..512u32 {
                        let address = region.va + u64::from(n) * PAGE;
                        let page = self.page(address);
                        let bring = match to {
                            Place::System => true,
                            _ => !page.vram && !page.said.no_access,
                        };
                        let inside = (start..all.end).contains(&address);
                        assert_eq!(region.pages.has(n), inside && bring && self.may_move(&page), "{address:#x}");
                    }
                    assert!(region.guess && region.faulted.is_empty());
                    self.perform(&region, Cause::Prefetch);
                    next = more;
                }
            }
            Step::Counted(at, order) => {
                let bytes = PAGE << order;
                let at = va(at) & !(bytes - 1);
                let notification = Notification { space: self.space, va: at, bytes };
                let mut batch = Batch::try_new().unwrap();
                let (_, regions) = batch.parts(4);
                let count = self.svm.counted(&[notification], self.now, regions);
                let switches = self.svm.config().switches;
                let expected: Vec<u64> = (at..at + bytes)
                    .step_by(PAGE as usize)
                    .filter(|address| {
                        let page = self.page(*address);
                        let may = self.may_move(&page) && page.said.preferred != Some(Place::System);
                        may && !page.said.no_access && !page.vram && switches.counters && switches.migrate
                    })
                    .collect();
                let got: Vec<u64> = regions[..count]
                    .iter()
                    .flat_map(|region| region.pages.iter().map(|n| region.va + u64::from(n) * PAGE))
                    .collect();
                assert_eq!(got, expected);
                let regions = regions[..count].to_vec();
                regions.iter().for_each(|region| self.perform(region, Cause::Counter));
            }
        }
        self.check_remaps();
    }

    /// What should always be mapped is asked for once it is not, and only that.
    fn check_remaps(&mut self) {
        while let Some(region) = self.svm.next_map(self.space) {
            assert_eq!(region.action, Action::Map);
            for n in region.pages.iter() {
                let page = self.page(region.va + u64::from(n) * PAGE);
                assert!(!page.mapped);
            }
            self.perform(&region, Cause::Fault);
        }
    }

    fn check_attributes(&self) {
        for page in 0..PAGES {
            let (said, range) = self.svm.attributes(self.space, va(page)).unwrap();
            assert_eq!(said, self.page(va(page)).said, "page {page}");
            assert!(range.contains(&va(page)));
            for edge in [range.start, range.end.wrapping_sub(PAGE)] {
                assert_eq!(self.page(edge).said, said, "to the edges");
            }
            for beyond in [range.start.wrapping_sub(PAGE), range.end] {
                let outside = beyond < va(0) || beyond >= va(PAGES);
                assert!(outside || self.page(beyond).said != said, "as far as it goes");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]
    #[test]
    fn plans_are_what_the_table_says(seed: u32, steps in steps()) {
        let mut model = Model::new(&config(seed));
        for step in &steps {
            model.run(step);
        }
        model.check_attributes();
    }
}
