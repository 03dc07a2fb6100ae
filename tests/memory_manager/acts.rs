// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What processes, their users and the kernel do at random, and what they may be answered.

use uvm_policy::event::{Event, Reply};
use uvm_policy::*;

use crate::machine::{Bytes, PAGE};
use crate::world::{Buffer, Wish, World};

use SegmentKind::*;
/// Where buffers may be placed.
const LISTS: [&[SegmentKind]; 10] = [
    &[Local, Unsnooped, Snooped],
    &[Unsnooped],
    &[Local],
    &[LocalInvisible, Local],
    &[LocalInvisible, Local, Snooped],
    &[Local, Snooped],
    &[Snooped],
    &[Snooped, Local],
    &[System],
    &[Local, System],
];

impl<B: Bytes> World<B> {
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
            90 => {
                let (size, held) = (PAGE << self.below(5), PAGE * self.below(40));
                let reply = self.handle(&Event::MakeWay { size, held });
                assert!(matches!(reply, Ok(Reply::Freeing(_)) | Err(Error::NoMemory)), "{reply:?}");
            }
            91..=92 => {
                let bytes = PAGE * self.below(32);
                assert!(matches!(self.handle(&Event::Pressure(bytes)), Ok(Reply::Freeing(_))));
            }
            93..=94 => {
                self.handle(&Event::Tick).unwrap();
            }
            95..=96 => self.random_cancel(),
            97 => self.random_move(),
            98 => self.random_place(),
            _ => self.cpu_store(),
        }
    }

    fn some_buffer(&mut self) -> Option<usize> {
        let alive: Vec<usize> = (0..self.buffers.len()).filter(|i| !self.buffers[*i].doomed).collect();
        (!alive.is_empty()).then(|| alive[self.below(alive.len() as u64) as usize])
    }

    fn random_create(&mut self, most_pages: u64) {
        let process = self.processes[self.numbers.below(self.processes.len() as u64) as usize];
        let spec = Spec {
            size: PAGE * (1 + self.numbers.below(most_pages)),
            align: PAGE << self.numbers.below(3),
            placements: Placements::new(LISTS[self.numbers.below(LISTS.len() as u64) as usize]).unwrap(),
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
        match self.submit_as(process, &ids, self.events % 5 == 0) {
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
            if self.buffers[index].maps == 0 {
                self.machine.clear_entries(id);
            }
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
            Ok(Reply::Ticket(ticket)) => self.note(ticket, vec![id], Wish::Cpu),
            Err(error) => assert!(error == Error::NoMemory || (disposable && error == Error::Invalid), "{error}"),
            reply => panic!("{reply:?}"),
        }
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
        let mut kinds = placements.as_slice();
        if self.below(4) == 0 {
            // Where it is not placed.
            kinds = &[SegmentKind::System, SegmentKind::Snooped, SegmentKind::Local];
        }
        let to = kinds[self.numbers.below(kinds.len() as u64) as usize];
        match self.handle(&Event::Move { bo: id, to }) {
            Ok(Reply::Ticket(ticket)) => self.note(ticket, vec![id], Wish::In(to)),
            Err(error) => assert!(error == Error::NoMemory || (disposable && error == Error::Invalid), "{error}"),
            reply => panic!("{reply:?}"),
        }
    }

    /// A buffer is to be somewhere else, from its next use on.
    fn random_place(&mut self) {
        let Some(index) = self.some_buffer() else { return };
        let id = self.buffers[index].id;
        // A use that waits or runs has its places by what held when it was made.
        if self.uses.values().any(|u| u.bos.contains(&id)) {
            return;
        }
        let placements = Placements::new(LISTS[self.numbers.below(LISTS.len() as u64) as usize]).unwrap();
        self.handle(&Event::Place(id, placements)).unwrap();
        self.buffers[index].placements = placements;
    }
}
