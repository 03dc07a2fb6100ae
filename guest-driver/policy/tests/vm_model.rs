// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Address spaces against a map of single pages: whatever is mapped, replaced or unmapped, whichever write fails
//! half-way and whenever memory is short, each page translates as before or as after at each moment, and once a
//! change is complete no cache and no table remembers the other state.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test may give up

#[path = "common/cache.rs"]
mod cache;
#[path = "common/failing.rs"]
mod failing;
#[path = "common/space.rs"]
mod space;

use std::collections::HashMap;

use cache::{advance, Cache};
use failing::with_allocations;
use proptest::prelude::*;
use space::{Meaning, Memory};
use uvm_policy::*;
use uvm_spec::pte;

#[global_allocator]
static ALLOCATOR: failing::Failing = failing::Failing;

const PAGE: u64 = 4096;
/// Pages of each window that is mapped into.
const WINDOW: u64 = 1600;
const VRAM_BASE: u64 = 0x80_0000_0000;
const VRAM_SIZE: u64 = 8 << 20;
const MM: u32 = 2;
const SYSTEM_ROOT: u64 = 0x7_0000_0000;

#[derive(Clone, Copy, Debug)]
struct Shape {
    levels: u32,
    system: bool,
    fragment: u32,
    leaf_level: u32,
}

fn shape() -> impl Strategy<Value = Shape> {
    (1u32..6, any::<bool>(), prop_oneof![Just(0u32), Just(4), Just(9), Just(11)], 0u32..3).prop_map(
        |(levels, system, fragment, leaf_level)| Shape {
            levels,
            system,
            fragment,
            leaf_level: leaf_level.min(levels - 1),
        },
    )
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// Memory in a row, apart from the addresses by this many pages modulo a block.
    Row {
        skew: u64,
    },
    /// Pages anywhere, in runs of this length.
    Scattered {
        run: u64,
    },
    Prt,
    Nothing,
}

#[derive(Clone, Debug)]
struct Op {
    window: usize,
    start: u64,
    pages: u64,
    what: What,
    system: bool,
    attributes: u64,
    bo: u64,
    replace: bool,
    /// Which action fails, which ones of the undo, in order.
    fail_at: Option<usize>,
    undo_fail_at: Option<usize>,
    /// Allocations that the planning may make.
    memory: Option<u32>,
    /// A job runs meanwhile.
    busy: bool,
    room: usize,
    touch: Vec<u64>,
}

fn op() -> impl Strategy<Value = Op> {
    let what = prop_oneof![
        3 => prop_oneof![Just(0u64), Just(0), Just(16), Just(3)].prop_map(|skew| What::Row { skew }),
        2 => (1u64..40).prop_map(|run| What::Scattered { run }),
        1 => Just(What::Prt),
        4 => Just(What::Nothing),
    ];
    let start = prop_oneof![0..WINDOW, (0..WINDOW / 64).prop_map(|n| n * 64), (0..WINDOW / 512).prop_map(|n| n * 512)];
    let pages = prop_oneof![1u64..20, 1u64..WINDOW, Just(512), Just(64)];
    let attributes = prop_oneof![
        Just(pte::READABLE | pte::WRITEABLE),
        Just(pte::READABLE | pte::EXECUTABLE | pte::SNOOPED),
        Just(pte::READABLE | pte::TMZ | 3 << pte::MTYPE_SHIFT),
    ];
    let failures = (
        prop::option::weighted(0.25, 0usize..12),
        prop::option::weighted(0.3, 0usize..6),
        prop::option::weighted(0.1, 0u32..12),
    );
    let place = (0usize..2, start, pages, what, any::<bool>());
    let how = (attributes, 1u64..4, prop::bool::weighted(0.7), any::<bool>(), 1usize..6);
    (place, how, failures, prop::collection::vec(0..WINDOW, 4)).prop_map(
        |((window, start, pages, what, system), (attributes, bo, replace, busy, room), failures, touch)| Op {
            window,
            start,
            pages: pages.min(WINDOW - start),
            what,
            system,
            attributes,
            bo,
            replace,
            fail_at: failures.0,
            undo_fail_at: failures.1,
            memory: failures.2,
            busy,
            room,
            touch,
        },
    )
}

struct World {
    policy: Policy,
    vm: VmId,
    memory: Memory,
    cache: Cache,
    model: HashMap<u64, u64>,
    windows: [u64; 2],
    fence: u64,
    next_page: u64,
}

impl World {
    fn new(shape: Shape) -> Self {
        let mut policy = Policy::new(PAGE).unwrap();
        policy.add_segment(&SegmentConfig { domain: Domain::Vram, base: 0, size: VRAM_SIZE }).unwrap();
        let config = VmConfig {
            levels: shape.levels,
            va_bits: if shape.levels == 1 { 30 } else { 0 },
            tables: if shape.system { Domain::System } else { Domain::Vram },
            root: if shape.system { SYSTEM_ROOT } else { 0 },
            vram_base: VRAM_BASE,
            fragment: shape.fragment,
            leaf_level: shape.leaf_level,
        };
        let vm = policy.vm_create(&config).unwrap();
        let info = policy.vm_info(vm).unwrap();
        let memory = Memory::new(shape.levels, info.root, (info.root_size / 8) as usize, shape.system, VRAM_BASE);
        // One window crosses what an entry two levels up translates, where there is one; the other starts at 0.
        let high = if shape.levels >= 3 { (1 << 18) - 1024 } else { 9 * 1024 };
        let cache = Cache::default();
        Self { policy, vm, memory, cache, model: HashMap::new(), windows: [0, high], fence: 0, next_page: 1 << 20 }
    }

    fn grab(&mut self) -> JobId {
        self.fence += 1;
        let request = GrabRequest { ring: 0, hubs: MM, fence: self.fence };
        let Grab::Granted(grant) = self.policy.vmid_grab(self.vm, &request).unwrap() else { panic!("all are free") };
        if grant.flush != 0 {
            self.cache.flush();
        }
        self.policy.vmid_submitted(grant.job, true).unwrap();
        grant.job
    }

    /// Runs of pages for an operation: first page number, pages.
    fn runs(&mut self, op: &Op, start: u64) -> Vec<(u64, u64)> {
        match op.what {
            What::Row { skew } => {
                let first = (self.next_page | 0xfff) + 1 + start % 4096 + skew;
                self.next_page = first + op.pages;
                vec![(first, op.pages)]
            }
            What::Scattered { run } => {
                let mut runs = vec![];
                let mut left = op.pages;
                while left != 0 {
                    let len = run.min(left);
                    // Now and then the next run follows on the last, as pages of a freshly started system do.
                    self.next_page += if left % 3 == 0 { 0 } else { 7 };
                    runs.push((self.next_page, len));
                    self.next_page += len;
                    left -= len;
                }
                runs
            }
            What::Prt | What::Nothing => vec![],
        }
    }

    fn check_page(&mut self, page: u64, busy: bool, allowed: &dyn Fn(u64) -> [Meaning; 2]) {
        let (found, _) = self.memory.walk(page);
        assert!(allowed(page).contains(&found), "page {page:#x}: {found:x?} is none of {:x?}", allowed(page));
        if busy {
            let cached = self.cache.translate(&self.memory, page);
            assert!(allowed(page).contains(&cached), "page {page:#x}: cached {cached:x?}, not {:x?}", allowed(page));
        }
    }

    fn apply(&mut self, op: &Op) {
        let start = self.windows[op.window] + op.start;
        let end = start + op.pages;
        let runs = self.runs(op, start);
        let mut after = self.model.clone();
        after.retain(|page, _| !(start..end).contains(page));
        let mut page = start;
        for (first, len) in &runs {
            for i in 0..*len {
                let base = if op.system { pte::SYSTEM } else { VRAM_BASE };
                after.insert(page, (base + (first + i) * PAGE) | pte::VALID | op.attributes);
                page += 1;
            }
        }
        if let What::Prt = op.what {
            after.extend((start..end).map(|page| (page, pte::PRT)));
        }
        let change = match op.what {
            What::Prt => Change::Prt,
            What::Nothing => Change::Unmap,
            _ => Change::Map { attributes: op.attributes, bo: op.bo, bo_offset: op.start * PAGE },
        };
        let job = op.busy.then(|| self.grab());
        let taken = (start..end).any(|page| self.model.contains_key(&page));
        let request = UpdateRequest { va: start * PAGE, size: op.pages * PAGE, change, replace: op.replace };
        let begun = self.policy.update_begin(self.vm, &request);
        if taken && !op.replace && change != Change::Unmap {
            assert_eq!(begun, Err(Error::Exists));
        } else {
            self.carry_out(op, begun.unwrap(), &runs, &after);
        }
        if let Some(job) = job {
            self.cache.check(&self.model);
            self.policy.vmid_signalled(job).unwrap();
        }
        self.check();
    }

    fn carry_out(&mut self, op: &Op, update: UpdateId, runs: &[(u64, u64)], after: &HashMap<u64, u64>) {
        let domain = if op.system { Domain::System } else { Domain::Vram };
        let list: Vec<_> = runs.iter().map(|(first, len)| (domain, first * PAGE, *len)).collect();
        let told = match op.memory {
            Some(count) => with_allocations(count, || self.policy.update_page_list(update, list.iter().copied())),
            None => self.policy.update_page_list(update, list.iter().copied()),
        };
        if let Err(error) = told {
            assert_eq!(error, Error::NoMemory);
            self.policy.update_page_list(update, list).unwrap();
        }
        if !self.prepare(op, update) {
            assert_eq!(self.policy.update_complete(update, false), Ok(Completed::RolledBack));
            return;
        }
        let mut completed = self.perform(op, update, after, op.fail_at);
        if completed == Completed::Undo {
            completed = self.perform(op, update, after, op.undo_fail_at);
        }
        if completed == Completed::Undo {
            completed = self.perform(op, update, after, None);
        }
        match completed {
            Completed::Committed => self.model = after.clone(),
            Completed::RolledBack => {}
            Completed::Undo => panic!("nothing failed"),
        }
        self.memory.forget_unreachable();
    }

    /// Whether the update can go on.
    fn prepare(&mut self, op: &Op, update: UpdateId) -> bool {
        if let Some(count) = op.memory {
            if let Err(error) = with_allocations(count, || self.policy.update_prepare(update)) {
                assert!(matches!(error, Error::NoMemory | Error::NoSpace));
            }
        }
        match self.policy.update_prepare(update) {
            Ok(Prepared::Ready) => true,
            Ok(Prepared::NeedPages(count)) => {
                assert!(self.memory.system && count > 0);
                if op.room == 1 {
                    return false; // none to be had
                }
                for _ in 0..count {
                    self.next_page += 1;
                    self.policy.table_page_add(self.next_page * PAGE).unwrap();
                }
                assert_eq!(self.policy.update_prepare(update), Ok(Prepared::Ready));
                true
            }
            Err(error) => {
                assert_eq!(error, Error::NoSpace);
                false
            }
        }
    }

    fn perform(
        &mut self,
        op: &Op,
        update: UpdateId,
        after: &HashMap<u64, u64>,
        mut fail_at: Option<usize>,
    ) -> Completed {
        let before = self.model.clone();
        let either = |page: u64| [before.get(&page).copied(), after.get(&page).copied()];
        let window = self.windows[op.window];
        let (first, last) = (self.windows[op.window] + op.start, self.windows[op.window] + op.start + op.pages - 1);
        loop {
            let mut batch = vec![];
            self.policy.update_next(update, op.room, |action| batch.push(action)).unwrap();
            assert!(batch.len() <= op.room);
            if batch.is_empty() {
                return self.policy.update_complete(update, true).unwrap();
            }
            for (i, action) in batch.iter().enumerate() {
                let fails = fail_at == Some(0);
                fail_at = fail_at.map(|left| left.saturating_sub(1)).filter(|_| !fails);
                match *action {
                    UpdateAction::Write { .. } => self.memory.write(action, fails),
                    UpdateAction::Sync => assert_eq!(i + 1, batch.len(), "something after a sync"),
                    UpdateAction::Invalidate { vmids, start, pages } => {
                        assert_eq!((batch.len(), vmids), (1, self.policy.vm_info(self.vm).unwrap().busy));
                        if !fails {
                            self.cache.invalidate(start, pages);
                        }
                    }
                }
                for page in op.touch.iter().map(|page| window + page).chain([first, last]) {
                    self.check_page(page, op.busy, &either);
                }
                if fails {
                    return self.policy.update_complete(update, false).unwrap();
                }
            }
        }
    }

    /// All that can be seen from outside agrees with the model, and nothing is kept that it does not need.
    fn check(&self) {
        for window in self.windows {
            for page in window..window + WINDOW {
                let expected = self.model.get(&page).copied();
                let (found, order) = self.memory.walk(page);
                assert_eq!(found, expected, "page {page:#x}");
                if let (Some(first), true) = (found, page % (1 << order) == 0) {
                    for i in 1..1 << order {
                        let alike = self.model.get(&(page + i)).copied();
                        assert_eq!(alike, Some(advance(first, i)), "page {i} of the block at {page:#x}");
                    }
                }
                if page % 61 == 0 {
                    let mapping = self.policy.vm_find(self.vm, page * PAGE + 5);
                    let entry = mapping.map(|m| advance(m.entry, page - m.va / PAGE));
                    assert_eq!(entry.ok(), expected);
                }
            }
        }
        let info = self.policy.vm_info(self.vm).unwrap();
        assert_eq!(self.memory.reachable().len() as u64, info.tables);
        let vram = self.policy.segment_of(Domain::Vram).unwrap();
        let used = self.policy.stats(vram).unwrap().used;
        if self.memory.system {
            assert_eq!((used, self.policy.table_pages().1 as u64), (0, info.tables - 1));
        } else {
            assert_eq!(used, info.root_size.max(PAGE) + (info.tables - 1) * PAGE);
        }
    }

    fn end(mut self) {
        self.policy.vm_destroy(self.vm).unwrap();
        let vram = self.policy.segment_of(Domain::Vram).unwrap();
        assert_eq!(self.policy.stats(vram).unwrap().used, 0);
        assert_eq!(self.policy.table_pages().1, 0);
        while self.policy.table_page_take().is_some() {}
        assert_eq!(self.policy.table_pages(), (0, 0));
    }
}
proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_page_translates_as_before_or_as_after(shape in shape(), ops in prop::collection::vec(op(), 1..40)) {
        let mut world = World::new(shape);
        for op in &ops {
            world.apply(op);
        }
        world.end();
    }
}
