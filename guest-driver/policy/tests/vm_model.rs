// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Address spaces against a map of single pages: whatever is mapped, replaced or unmapped, however long changes wait
//! before they are made and whenever memory is short, each page translates as before or as after at each moment, and
//! once a change is retired no cache and no table remembers the other state.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test may give up

#[path = "common/cache.rs"]
mod cache;
#[path = "common/failing.rs"]
mod failing;
#[path = "common/space.rs"]
mod space;

use std::collections::{HashMap, VecDeque};

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
    /// It waits, with what else does, for a later one.
    waits: bool,
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
    let moment = (prop::bool::weighted(0.6), prop::option::weighted(0.1, 0u32..12));
    let place = (0usize..2, start, pages, what, any::<bool>());
    let how = (attributes, 1u64..4, prop::bool::weighted(0.7), any::<bool>(), 1usize..6);
    (place, how, moment, prop::collection::vec(0..WINDOW, 4)).prop_map(
        |((window, start, pages, what, system), (attributes, bo, replace, busy, room), (waits, memory), touch)| Op {
            window,
            start,
            pages: pages.min(WINDOW - start),
            what,
            system,
            attributes,
            bo,
            replace,
            waits,
            memory,
            busy,
            room,
            touch,
        },
    )
}

/// A change whose writes wait, and what each page translates to after them.
struct Queued {
    update: UpdateId,
    writes: Vec<TableWrite>,
    after: HashMap<u64, u64>,
    touch: Vec<u64>,
}

struct World {
    policy: Policy,
    vm: VmId,
    memory: Memory,
    cache: Cache,
    /// What each page will translate to when all is made, and what it does now.
    model: HashMap<u64, u64>,
    landed: HashMap<u64, u64>,
    queue: VecDeque<Queued>,
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
        Self {
            policy,
            vm,
            memory,
            cache: Cache::default(),
            model: HashMap::new(),
            landed: HashMap::new(),
            queue: VecDeque::new(),
            windows: [0, high],
            fence: 0,
            next_page: 1 << 20,
        }
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
            self.plan(op, begun.unwrap(), &runs, after);
        }
        if !op.waits {
            self.perform(op.busy);
        }
        if let Some(job) = job {
            self.cache.check(&self.landed);
            self.policy.vmid_signalled(job).unwrap();
        }
        self.check();
    }

    fn plan(&mut self, op: &Op, update: UpdateId, runs: &[(u64, u64)], after: HashMap<u64, u64>) {
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
            self.policy.update_abandon(update).unwrap();
            return;
        }
        let mut writes = vec![];
        loop {
            let before = writes.len();
            self.policy.update_next(update, op.room, |write| writes.push(write)).unwrap();
            assert!(writes.len() - before <= op.room);
            if writes.len() == before {
                break;
            }
        }
        self.policy.update_commit(update).unwrap();
        self.model.clone_from(&after);
        let window = self.windows[op.window];
        let ends = [op.start, op.start + op.pages - 1];
        let touch = op.touch.iter().copied().chain(ends).map(|page| window + page).collect();
        self.queue.push_back(Queued { update, writes, after, touch });
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

    /// Makes all changes that wait, with one flush for all.
    fn perform(&mut self, busy: bool) {
        let mut states = vec![self.landed.clone()];
        let mut done = vec![];
        while let Some(Queued { update, writes, after, touch }) = self.queue.pop_front() {
            states.push(after);
            for write in &writes {
                self.memory.write(write);
                for page in &touch {
                    let either = |states: &[HashMap<u64, u64>], found: Meaning| {
                        states.iter().any(|state| state.get(page).copied() == found)
                    };
                    let (found, _) = self.memory.walk(*page);
                    assert!(either(&states[states.len() - 2..], found), "page {page:#x} is {found:x?}");
                    if busy {
                        let cached = self.cache.translate(&self.memory, *page);
                        assert!(either(&states, cached), "page {page:#x} is cached as {cached:x?}");
                    }
                }
            }
            self.policy.update_landed(update).unwrap();
            done.push(update);
        }
        if let Some(flush) = self.policy.vm_flush(self.vm).unwrap() {
            assert_eq!(flush.vmids, self.policy.vm_info(self.vm).unwrap().busy);
            self.cache.invalidate(flush.start, flush.pages);
            self.policy.vm_flushed(self.vm).unwrap();
        }
        for update in done {
            self.policy.update_retire(update).unwrap();
        }
        self.memory.forget_unreachable();
        self.landed = states.pop().unwrap();
    }

    /// All that can be seen from outside agrees with the model, and nothing is kept that it does not need.
    fn check(&self) {
        for window in self.windows {
            for page in window..window + WINDOW {
                let expected = self.landed.get(&page).copied();
                let (found, order) = self.memory.walk(page);
                assert_eq!(found, expected, "page {page:#x}");
                if let (Some(first), true) = (found, page % (1 << order) == 0) {
                    for i in 1..1 << order {
                        let alike = self.landed.get(&(page + i)).copied();
                        assert_eq!(alike, Some(advance(first, i)), "page {i} of the block at {page:#x}");
                    }
                }
                if page % 61 == 0 {
                    let mapping = self.policy.vm_find(self.vm, page * PAGE + 5);
                    let entry = mapping.map(|m| advance(m.entry, page - m.va / PAGE));
                    assert_eq!(entry.ok(), self.model.get(&page).copied());
                    assert_eq!(self.policy.vm_reached(self.vm, page * PAGE + 5).ok(), expected, "page {page:#x}");
                }
            }
        }
        let info = self.policy.vm_info(self.vm).unwrap();
        if !self.queue.is_empty() {
            return;
        }
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
        self.perform(false);
        self.check();
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
