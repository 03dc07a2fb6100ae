// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Processes that do what they like, a scheduler that picks which action ends next and how, and a reference that
//! knows what each page must read as.

use std::collections::{HashMap, VecDeque};

use uvm_policy::event::{Action, Event, Failure, Issued, Reply};
use uvm_policy::record::Recorder;
use uvm_policy::*;

use crate::common::Numbers;
use crate::failing::with_allocations;
use crate::machine::{Bytes, Machine, Sizes, GART_BASE, PAGE};

/// A buffer as its owner knows it.
pub struct Buffer {
    pub id: BoId,
    pub process: ProcessId,
    pub content: Vec<u64>,
    /// Declared as not needed: the content may go at any time.
    pub disposable: bool,
    pub maps: u32,
    pub pins: u32,
    pub pageable: bool,
    pub placements: Placements,
    pub doomed: bool,
}

/// What a use was told to be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A job that goes by page tables.
    Placed,
    /// A job that goes by the addresses of segments.
    Addressed,
    /// A move.
    In(SegmentKind),
    /// The CPU.
    Cpu,
}

/// A use.
pub struct Use {
    pub bos: Vec<BoId>,
    /// `Some` once it was told to be ready: where each buffer is.
    pub running: Option<Vec<Residence>>,
    pub wish: Wish,
    /// When it was submitted.
    pub order: u64,
    /// How many waited then, and how many were ready before it that came after it.
    pub ahead: u64,
    pub passed: u64,
}

pub struct World<B> {
    pub policy: Policy,
    pub machine: Machine<B>,
    pub numbers: Numbers,
    pub processes: Vec<ProcessId>,
    pub buffers: Vec<Buffer>,
    pub uses: HashMap<TicketId, Use>,
    /// Given out and not answered.
    pub pending: Vec<Issued>,
    /// One in so many actions fails; 0: none.
    pub failing: u64,
    /// For one in so many events the policy finds no memory for its own tables; 0: none.
    pub starving: u64,
    pub events: u64,
    pub refused: HashMap<String, u64>,
    /// Events, and actions they led to.
    pub told: u64,
    pub asked: u64,
    /// Everything, if wanted.
    pub log: Option<Vec<u8>>,
    pub next_stamp: u64,
    next_order: u64,
    /// Uses that waited when they were submitted, in order.
    pub line: VecDeque<TicketId>,
}

pub const FAILURES: [Failure; 3] = [Failure::NoMemory, Failure::SwapFull, Failure::Io];

/// The segments of a device of that size.
pub fn table(sizes: &Sizes) -> SegmentTable {
    let [vram, visible, gart, paging] = [sizes.vram, sizes.visible, sizes.gart, sizes.paging].map(|n| n * PAGE);
    SegmentTable::discrete(vram, visible, GART_BASE, gart, paging).unwrap()
}

/// A policy with the memory manager started.
pub fn policy(sizes: &Sizes, chunk: u64, evict: EvictKind) -> Policy {
    policy_on(&table(sizes), chunk, evict)
}

/// The same on any segments.
pub fn policy_on(table: &SegmentTable, chunk: u64, evict: EvictKind) -> Policy {
    let mut policy = Policy::new(PAGE).unwrap();
    for segment in table.as_slice() {
        policy.add_segment_of(segment).unwrap();
    }
    policy.start(&ManagerConfig { chunk: chunk * PAGE, evict }).unwrap();
    policy
}

impl<B: Bytes> World<B> {
    pub fn new(policy: Policy, machine: Machine<B>, processes: u64, limits: Limits, seed: u64) -> Self {
        let mut world = Self {
            policy,
            machine,
            numbers: Numbers(seed),
            processes: vec![],
            buffers: vec![],
            uses: HashMap::new(),
            pending: vec![],
            failing: 0,
            starving: 0,
            events: 0,
            refused: HashMap::new(),
            told: 0,
            asked: 0,
            log: None,
            next_stamp: 1,
            next_order: 0,
            line: VecDeque::new(),
        };
        world.open(processes, limits);
        world
    }

    pub fn open(&mut self, processes: u64, limits: Limits) {
        for _ in 0..processes {
            let Ok(Reply::Process(id)) = self.handle(&Event::Open(limits)) else { panic!("a process") };
            self.processes.push(id);
        }
    }

    pub fn handle(&mut self, event: &Event) -> Result<Reply, Error> {
        self.events += 1;
        self.told += 1;
        // What ends something never takes memory; what begins something may be refused it.
        let begins = matches!(
            event,
            Event::Open(_)
                | Event::Create(..)
                | Event::Submit { .. }
                | Event::CpuAccess { .. }
                | Event::Move { .. }
                | Event::MakeWay { .. }
        );
        let starved = self.starving != 0 && self.numbers.below(self.starving) == 0;
        let budget = if starved { 0 } else { u32::MAX };
        let answer = with_allocations(budget, || self.policy.handle(event));
        assert!(answer != Err(Error::NoMemory) || (starved && begins), "no memory for {event:?}");
        self.record(|log| log.event(event, &answer));
        answer
    }

    fn record(&mut self, write: impl FnOnce(&mut Recorder)) {
        if let Some(log) = &mut self.log {
            let mut bytes = [0; 4096];
            let mut recorder = Recorder::new(&mut bytes);
            write(&mut recorder);
            assert_eq!(recorder.lost(), 0);
            log.extend(recorder.bytes());
        }
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.numbers.below(n)
    }

    pub fn index(&self, id: BoId) -> usize {
        self.buffers.iter().position(|buffer| buffer.id == id).expect("a buffer that is there")
    }

    pub fn create(&mut self, process: ProcessId, spec: Spec) -> Result<BoId, Error> {
        let Reply::Bo(id) = self.handle(&Event::Create(process, spec))? else { panic!("not a buffer") };
        self.buffers.push(Buffer {
            id,
            process,
            content: vec![0; spec.size.div_ceil(PAGE) as usize],
            disposable: false,
            maps: 0,
            pins: 0,
            pageable: spec.pageable,
            placements: spec.placements,
            doomed: false,
        });
        Ok(id)
    }

    pub fn submit(&mut self, process: ProcessId, bos: &[BoId]) -> Result<TicketId, Error> {
        self.submit_as(process, bos, false)
    }

    pub fn submit_as(&mut self, process: ProcessId, bos: &[BoId], addressed: bool) -> Result<TicketId, Error> {
        let submit = Event::Submit { process, bos, addressed };
        let Reply::Ticket(ticket) = self.handle(&submit)? else { panic!("not a ticket") };
        self.note(ticket, bos.to_vec(), if addressed { Wish::Addressed } else { Wish::Placed });
        Ok(ticket)
    }

    pub fn note(&mut self, ticket: TicketId, mut bos: Vec<BoId>, wish: Wish) {
        bos.sort();
        bos.dedup();
        self.next_order += 1;
        let order = self.next_order;
        let old =
            self.uses.insert(ticket, Use { bos, running: None, wish, order, ahead: self.line.len() as u64, passed: 0 });
        assert!(old.is_none(), "a ticket given out twice");
        self.line.push_back(ticket);
    }

    /// Takes actions from the policy; notices have their effect at once.
    pub fn poll(&mut self) -> Option<()> {
        let issued = with_allocations(0, || self.policy.next_action())?;
        self.events += 1;
        self.asked += 1;
        self.record(|log| log.action(&issued));
        match issued.action {
            Action::Ready(ticket) => self.ready(ticket),
            Action::Refused(ticket, error) => {
                *self.refused.entry(error.to_string()).or_default() += 1;
                self.uses.remove(&ticket).expect("a use that waits");
                self.line.retain(|other| *other != ticket);
            }
            Action::Gone(id) => {
                let index = self.index(id);
                let buffer = self.buffers.swap_remove(index);
                assert!(buffer.doomed, "a buffer went by itself");
                self.machine.forget(id);
                assert_eq!(self.policy.residence(id), Err(Error::Unknown));
            }
            _ => {
                assert!(issued.id.is_some());
                self.pending.push(issued);
            }
        }
        Some(())
    }

    fn ready(&mut self, ticket: TicketId) {
        let Use { bos, wish, .. } = &self.uses[&ticket];
        let (bos, wish) = (bos.clone(), *wish);
        assert!(self.uses[&ticket].running.is_none(), "made ready twice");
        let mut places = vec![];
        for id in &bos {
            let at = self.policy.residence(*id).expect("a buffer in use");
            self.check_buffer_at(*id, at);
            let buffer = &self.buffers[self.index(*id)];
            let (kind, location) = match at {
                Residence::Segment(kind, location) => (kind, location),
                Residence::Pages => (SegmentKind::System, Location { domain: Domain::System, offset: 0 }),
                _ => panic!("a use of what is in no memory"),
            };
            let pages = buffer.placements.has(SegmentKind::System) && kind == SegmentKind::Snooped;
            match wish {
                Wish::Cpu => assert!(kind.is_cpu_visible()),
                Wish::In(wanted) => assert_eq!(kind, wanted),
                Wish::Placed => assert!(pages || buffer.placements.has(kind), "not where it may be"),
                Wish::Addressed => {
                    assert!(kind != SegmentKind::System && (pages || buffer.placements.has(kind)), "{kind:?}");
                }
            }
            if wish == Wish::Cpu {
                self.machine.cpu.insert(*id, location);
            } else if buffer.maps > 0 && matches!(wish, Wish::Placed | Wish::Addressed) {
                self.machine.check_shown(*id, location);
            }
            places.push(at);
        }
        // Whoever is ready before an older use passed it. So many may for each that is first of the queue meanwhile.
        for other in self.line.iter().take_while(|other| **other != ticket) {
            let other = self.uses.get_mut(other).expect("a use that waits");
            other.passed += 1;
            assert!(
                other.passed <= PASSES * (other.ahead + 1),
                "{} passed one that had {} ahead",
                other.passed,
                other.ahead
            );
        }
        self.line.retain(|other| *other != ticket);
        self.uses.get_mut(&ticket).unwrap().running = Some(places);
    }

    /// Every page reads as it must, where the policy says that it is.
    pub fn check_buffer(&mut self, id: BoId) {
        if !self.buffers[self.index(id)].doomed {
            let at = self.policy.residence(id).expect("a buffer that is there");
            self.check_buffer_at(id, at);
        }
    }

    fn check_buffer_at(&mut self, id: BoId, at: Residence) {
        let index = self.index(id);
        if self.buffers[index].disposable {
            return;
        }
        for page in 0..self.buffers[index].content.len() {
            let found = self.machine.read(id, at, page as u64);
            assert_eq!(found, self.buffers[index].content[page], "page {page} of {id:?} at {at:?}");
        }
    }

    /// Every buffer, and that no two share memory.
    pub fn check_all(&mut self) {
        let mut taken = HashMap::new();
        for id in self.buffers.iter().map(|buffer| buffer.id).collect::<Vec<_>>() {
            self.check_buffer(id);
            if let Ok(Residence::Segment(_, at)) = self.policy.residence(id) {
                for page in 0..self.buffers[self.index(id)].content.len() as u64 {
                    let old = taken.insert((at.domain as u32, at.offset + page * PAGE), id);
                    assert_eq!(old, None, "two buffers in one page");
                }
            }
        }
        assert!(self.policy.manager_stats().overtaken <= PASSES);
    }

    /// One pending action ends: the one of that number, well unless it is to fail.
    pub fn end(&mut self, number: usize, fail: Option<Failure>) {
        let Issued { id, action } = self.pending.swap_remove(number);
        let result = self.machine.perform(&action, fail);
        let id = id.expect("an answer is due");
        self.handle(&Event::Done(id, result)).expect("an action that was given out");
        assert_eq!(self.handle(&Event::Done(id, Ok(()))), Err(Error::Unknown), "answered twice");
    }

    pub fn end_any(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let number = self.below(self.pending.len() as u64) as usize;
        let fails = self.failing != 0 && self.below(self.failing) == 0;
        let fail = fails.then(|| FAILURES[self.numbers.below(3) as usize]);
        self.end(number, fail);
    }

    /// A running use ends: its buffers did not move, and it has written to some.
    pub fn fence(&mut self, ticket: TicketId) {
        let Use { bos, running, .. } = self.uses.remove(&ticket).expect("a use");
        for (id, at) in bos.iter().zip(running.expect("a running use")) {
            let now = self.policy.bo_info(*id).expect("a buffer in use").location;
            let then = if let Residence::Segment(_, location) = at { location } else { now };
            assert_eq!(now, then, "moved under a job");
            self.check_buffer_at(*id, at);
            let pages = self.buffers[self.index(*id)].content.len() as u64;
            let page = self.below(pages);
            self.store(*id, at, page);
        }
        self.handle(&Event::Fence(ticket)).expect("a running use");
        assert!(self.handle(&Event::Fence(ticket)).is_err());
    }

    pub fn store(&mut self, id: BoId, at: Residence, page: u64) {
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        self.machine.write(id, at, page, stamp);
        let index = self.index(id);
        self.buffers[index].content[page as usize] = stamp;
    }

    pub fn running(&self) -> Vec<TicketId> {
        let mut running: Vec<_> = self.uses.iter().filter(|(_, u)| u.running.is_some()).map(|(id, _)| *id).collect();
        running.sort();
        running
    }

    /// A mapping by the CPU, now or by a use.
    pub fn cpu_access(&mut self, id: BoId) {
        match self.handle(&Event::CpuAccess { bo: id, mapping: true }) {
            Ok(Reply::Ticket(ticket)) => self.note(ticket, vec![id], Wish::Cpu),
            Ok(Reply::Direct(at)) => {
                self.machine.cpu.insert(id, at);
            }
            reply => panic!("{reply:?}"),
        }
    }

    pub fn note_move(&mut self, reply: Reply, id: BoId, to: SegmentKind) {
        let Reply::Ticket(ticket) = reply else { panic!("{reply:?}") };
        self.note(ticket, vec![id], Wish::In(to));
    }

    pub fn in_use(&self, id: BoId) -> bool {
        self.uses.values().any(|u| u.running.is_some() && u.bos.contains(&id))
    }

    /// Everything that is under way ends well, and every use with it. Fails when something waits for nothing.
    pub fn settle(&mut self) {
        let rounds = 200 + 20 * (self.uses.len() + self.buffers.len());
        for _ in 0..rounds {
            while self.poll().is_some() {}
            let running = self.running();
            if self.pending.is_empty() && running.is_empty() && self.uses.is_empty() {
                break;
            }
            while !self.pending.is_empty() {
                self.end(0, None);
                while self.poll().is_some() {}
            }
            for ticket in running {
                self.fence(ticket);
            }
            self.handle(&Event::Tick).unwrap();
        }
        while self.poll().is_some() {}
        while !self.pending.is_empty() {
            self.end(0, None);
            while self.poll().is_some() {}
        }
        if let Some(first) = self.uses.values().min_by_key(|u| u.order) {
            for id in &first.bos {
                let buffer = &self.buffers[self.index(*id)];
                let (at, info) = (self.policy.residence(*id), self.policy.bo_info(*id));
                eprintln!(
                    "{id:x?}: {} pages, {} pins, {} maps, {at:?} {info:x?}",
                    buffer.content.len(),
                    buffer.pins,
                    buffer.maps
                );
                eprintln!(
                    "    may be in {:?}, pageable: {}, doomed: {}",
                    buffer.placements, buffer.pageable, buffer.doomed
                );
            }
            panic!(
                "{} uses wait for nothing; the first: order {}, {:?}, {:?}",
                self.uses.len(),
                first.order,
                first.wish,
                first.running
            );
        }
        self.check_all();
    }

    /// The end: every buffer goes, and nothing is left.
    pub fn finish(&mut self) {
        (self.failing, self.starving) = (0, 0);
        self.settle();
        for index in 0..self.buffers.len() {
            while self.buffers[index].pins > 0 {
                self.handle(&Event::Unpin(self.buffers[index].id)).unwrap();
                self.buffers[index].pins -= 1;
            }
            if !self.buffers[index].doomed {
                self.handle(&Event::Destroy(self.buffers[index].id)).unwrap();
                self.buffers[index].doomed = true;
            }
        }
        self.settle();
        assert_eq!(self.buffers.len(), 0, "buffers that never went");
        self.machine.check_empty();
        assert_eq!(self.policy.in_use(), (0, 0));
        for process in std::mem::take(&mut self.processes) {
            assert_eq!(self.policy.usage(process), Ok(Usage::default()));
            self.handle(&Event::Close(process)).unwrap();
        }
        assert_eq!(self.policy.uses(), (0, 0));
        for segment in 0..5 {
            if let Ok(stats) = self.policy.stats(SegmentId(segment)) {
                assert_eq!((stats.used, stats.blocks, stats.longest_free), (0, 0, stats.size), "segment {segment}");
            }
        }
    }
}
