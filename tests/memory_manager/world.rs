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

/// A use.
pub struct Use {
    pub bos: Vec<BoId>,
    /// `Some` once it was told to be ready: where each buffer is.
    pub running: Option<Vec<Residence>>,
    pub cpu: bool,
    /// Came while others waited and was ready in the same event.
    pub order: u64,
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
    next_stamp: u64,
    next_order: u64,
    /// Uses that waited when they were submitted, in order.
    line: VecDeque<TicketId>,
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
            Event::Open(_) | Event::Create(..) | Event::Submit { .. } | Event::CpuAccess { .. } | Event::Move { .. }
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

    fn below(&mut self, n: u64) -> u64 {
        self.numbers.below(n)
    }

    fn index(&self, id: BoId) -> usize {
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
        let Reply::Ticket(ticket) = self.handle(&Event::Submit { process, bos })? else { panic!("not a ticket") };
        self.note(ticket, bos.to_vec(), false);
        Ok(ticket)
    }

    fn note(&mut self, ticket: TicketId, mut bos: Vec<BoId>, cpu: bool) {
        bos.sort();
        bos.dedup();
        self.next_order += 1;
        let order = self.next_order;
        let old = self.uses.insert(ticket, Use { bos, running: None, cpu, order });
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
        let Use { bos, cpu, order, .. } = &self.uses[&ticket];
        let (bos, cpu, order) = (bos.clone(), *cpu, *order);
        assert!(self.uses[&ticket].running.is_none(), "made ready twice");
        let mut places = vec![];
        for id in &bos {
            let at = self.policy.residence(*id).expect("a buffer in use");
            self.check_buffer_at(*id, at);
            if let Residence::Segment(kind, location) = at {
                let buffer = &self.buffers[self.index(*id)];
                assert!(cpu || buffer.placements.has(kind), "not where it may be");
                if buffer.maps > 0 && !cpu {
                    self.machine.check_shown(*id, location);
                }
                if cpu {
                    self.machine.cpu.insert(*id, location);
                }
            } else {
                assert!(cpu && at == Residence::Pages, "a job's buffer is in no segment");
                self.machine.cpu.insert(*id, Location { domain: Domain::System, offset: 0 });
            }
            places.push(at);
        }
        // Whoever is ready before an older use passed it: only so many may.
        let passed = self.line.iter().take_while(|other| self.uses[other].order < order).count();
        assert!(passed == 0 || self.policy.manager_stats().overtaken > 0);
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

    fn end_any(&mut self) {
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

    fn store(&mut self, id: BoId, at: Residence, page: u64) {
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

    /// Something random happens.
    pub fn step(&mut self, most_pages: u64) {
        match self.below(100) {
            0..=5 => self.random_create(most_pages),
            6..=8 => self.random_destroy(),
            9..=30 => self.random_submit(),
            31..=42 => {
                let running = self.running();
                if !running.is_empty() {
                    let which = self.below(running.len() as u64) as usize;
                    self.fence(running[which]);
                }
            }
            43..=76 => {
                for _ in 0..1 + self.below(4) {
                    self.poll();
                }
                self.end_any();
            }
            77..=78 => self.random_map(),
            79..=83 => self.random_cpu(),
            84..=85 => self.random_pin(),
            86..=89 => self.random_advice(),
            90..=92 => {
                let bytes = PAGE * self.below(32);
                assert!(matches!(self.handle(&Event::Pressure(bytes)), Ok(Reply::Freeing(_))));
            }
            93..=94 => {
                self.handle(&Event::Tick).unwrap();
            }
            95..=96 => self.random_cancel(),
            97 => self.random_move(),
            _ => self.cpu_store(),
        }
    }

    fn some_buffer(&mut self) -> Option<usize> {
        let alive: Vec<usize> = (0..self.buffers.len()).filter(|i| !self.buffers[*i].doomed).collect();
        (!alive.is_empty()).then(|| alive[self.below(alive.len() as u64) as usize])
    }

    fn random_create(&mut self, most_pages: u64) {
        use SegmentKind::*;
        let lists: [&[SegmentKind]; 8] = [
            &[Local, Unsnooped, Snooped],
            &[Unsnooped],
            &[Local],
            &[LocalInvisible, Local],
            &[LocalInvisible, Local, Snooped],
            &[Local, Snooped],
            &[Snooped],
            &[Snooped, Local],
        ];
        let process = self.processes[self.numbers.below(self.processes.len() as u64) as usize];
        let spec = Spec {
            size: PAGE * (1 + self.numbers.below(most_pages)),
            align: PAGE << self.numbers.below(3),
            placements: Placements::new(lists[self.numbers.below(8) as usize]).unwrap(),
            priority: self.numbers.below(3) as u8,
            pageable: self.numbers.below(12) != 0,
            fallback: self.numbers.below(2) == 0,
        };
        match self.create(process, spec) {
            Ok(_) | Err(Error::Limit | Error::NoMemory) => {}
            Err(error) => panic!("create: {error}"),
        }
    }

    fn random_destroy(&mut self) {
        let Some(index) = self.some_buffer() else { return };
        let (id, pins) = (self.buffers[index].id, self.buffers[index].pins);
        let expected = if pins == 0 { Ok(Reply::Done) } else { Err(Error::Busy) };
        assert_eq!(self.handle(&Event::Destroy(id)), expected);
        self.buffers[index].doomed |= pins == 0;
    }

    fn random_submit(&mut self) {
        if self.uses.len() > 40 {
            return;
        }
        let process = self.processes[self.numbers.below(self.processes.len() as u64) as usize];
        let own: Vec<usize> = (0..self.buffers.len())
            .filter(|i| !self.buffers[*i].doomed && self.buffers[*i].process == process)
            .collect();
        let mut bos = vec![];
        for index in own {
            if self.below(3) == 0 {
                bos.push(index);
            }
        }
        let ids: Vec<BoId> = bos.iter().map(|i| self.buffers[*i].id).collect();
        let unneeded = bos.iter().any(|i| self.buffers[*i].disposable);
        match self.submit(process, &ids) {
            Ok(_) => assert!(!unneeded),
            Err(error) => assert!(error == Error::NoMemory || (unneeded && error == Error::Invalid), "{error}"),
        }
    }

    fn random_map(&mut self) {
        let Some(index) = self.some_buffer() else { return };
        let (id, maps) = (self.buffers[index].id, self.buffers[index].maps);
        // An unmap while a job uses it is the job's own fault; the model does without.
        if self.below(3) == 0 && maps > 0 {
            self.handle(&Event::Unmap(id)).unwrap();
            self.buffers[index].maps -= 1;
        } else if !self.uses.values().any(|u| u.bos.contains(&id)) {
            self.handle(&Event::Map(id)).unwrap();
            self.buffers[index].maps += 1;
        }
    }

    fn random_cpu(&mut self) {
        let Some(index) = self.some_buffer() else { return };
        let Buffer { id, disposable, .. } = self.buffers[index];
        let mapping = self.below(2) == 0;
        let page = self.numbers.below(self.buffers[index].content.len() as u64);
        let event = Event::CpuAccess { bo: id, mapping };
        match self.handle(&event) {
            Ok(Reply::Direct(at)) => {
                assert!(!matches!(self.policy.residence(id), Ok(Residence::Segment(SegmentKind::LocalInvisible, _))));
                let here = self.policy.residence(id).unwrap();
                self.check_buffer(id);
                if !self.in_use(id) {
                    self.store(id, here, page);
                }
                if mapping {
                    self.machine.cpu.insert(id, at);
                }
            }
            Ok(Reply::Peek(at)) => {
                assert_eq!(self.policy.residence(id), Ok(Residence::Segment(SegmentKind::LocalInvisible, at)));
                self.check_buffer(id);
            }
            Ok(Reply::Ticket(ticket)) => self.note(ticket, vec![id], true),
            Err(error) => assert!(error == Error::NoMemory || (disposable && error == Error::Invalid), "{error}"),
            reply => panic!("{reply:?}"),
        }
    }

    /// A mapping by the CPU, now or by a use.
    pub fn cpu_access(&mut self, id: BoId) {
        match self.handle(&Event::CpuAccess { bo: id, mapping: true }) {
            Ok(Reply::Ticket(ticket)) => self.note(ticket, vec![id], true),
            Ok(Reply::Direct(at)) => {
                self.machine.cpu.insert(id, at);
            }
            reply => panic!("{reply:?}"),
        }
    }

    pub fn note_move(&mut self, reply: Reply, id: BoId) {
        let Reply::Ticket(ticket) = reply else { panic!("{reply:?}") };
        self.note(ticket, vec![id], false);
    }

    fn in_use(&self, id: BoId) -> bool {
        self.uses.values().any(|u| u.running.is_some() && u.bos.contains(&id))
    }

    /// The CPU writes through a mapping that it has, whatever happens to the buffer meanwhile.
    fn cpu_store(&mut self) {
        let mut mapped: Vec<BoId> = self.machine.cpu.keys().copied().collect();
        mapped.sort();
        if mapped.is_empty() {
            return;
        }
        let id = mapped[self.below(mapped.len() as u64) as usize];
        let index = self.index(id);
        if self.buffers[index].doomed || self.buffers[index].disposable {
            return;
        }
        let page = self.below(self.buffers[index].content.len() as u64);
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        self.machine.cpu_store(id, page, stamp);
        self.buffers[index].content[page as usize] = stamp;
    }

    fn random_pin(&mut self) {
        let Some(index) = self.some_buffer() else { return };
        let (id, pins) = (self.buffers[index].id, self.buffers[index].pins);
        if pins > 0 {
            self.handle(&Event::Unpin(id)).unwrap();
            self.buffers[index].pins -= 1;
        } else if self.below(3) == 0 {
            match self.handle(&Event::Pin(id)) {
                Ok(_) => self.buffers[index].pins += 1,
                Err(error) => assert!(matches!(error, Error::Wait(_)), "{error}"),
            }
        }
    }

    fn random_advice(&mut self) {
        let Some(index) = self.some_buffer() else { return };
        let (id, disposable) = (self.buffers[index].id, self.buffers[index].disposable);
        let reply = self.handle(&Event::Advise { bo: id, need: disposable });
        if disposable && matches!(reply, Err(Error::Wait(_))) {
            return;
        }
        let Ok(Reply::Retained(kept)) = reply else { panic!("{reply:?}") };
        assert!(kept || disposable, "thrown away although it was needed");
        if disposable && !kept {
            self.buffers[index].content.fill(0);
        }
        self.buffers[index].disposable = !disposable;
        if kept {
            self.check_buffer(id);
        }
    }

    fn random_cancel(&mut self) {
        let mut all: Vec<TicketId> = self.uses.keys().copied().collect();
        all.sort();
        if all.is_empty() {
            return;
        }
        let ticket = all[self.below(all.len() as u64) as usize];
        let told = self.uses[&ticket].running.is_some();
        match self.handle(&Event::Cancel(ticket)) {
            Ok(_) => {
                assert!(!told);
                self.uses.remove(&ticket);
                self.line.retain(|other| *other != ticket);
            }
            Err(error) => assert!(told && error == Error::Busy, "{error}"),
        }
    }

    fn random_move(&mut self) {
        let Some(index) = self.some_buffer() else { return };
        let Buffer { id, disposable, placements, .. } = self.buffers[index];
        let kinds = placements.as_slice();
        let to = kinds[self.numbers.below(kinds.len() as u64) as usize];
        match self.handle(&Event::Move { bo: id, to }) {
            Ok(Reply::Ticket(ticket)) => self.note(ticket, vec![id], false),
            Err(error) => assert!(error == Error::NoMemory || (disposable && error == Error::Invalid), "{error}"),
            reply => panic!("{reply:?}"),
        }
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
                "{} uses wait for nothing; the first: order {}, CPU {}, {:?}",
                self.uses.len(),
                first.order,
                first.cpu,
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
