// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The lanes of a program in execution: each takes items one by one and waits for its own pages.

use super::lane::{Lane, Mem, Next};
use super::program::Program;
use crate::gmc::{Fault, Stop};

/// Steps of lanes before other queues, other engines and register accesses get their turn.
pub const BUDGET: u32 = 1024;

/// A fault that a lane, or its queue, waits for.
#[derive(Clone, Copy, Debug)]
pub struct Parked {
    /// The fault.
    pub fault: Fault,
    /// When the access is made again by itself.
    pub due: Option<u64>,
    /// The access may be made again.
    pub awake: bool,
}

impl Parked {
    /// Whether the access may be made at time `now`.
    pub fn is_over(&self, now: u64) -> bool {
        self.awake || self.due.is_some_and(|due| due <= now)
    }
}

/// A lane and what it waits for.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// What it works on, if it does.
    lane: Option<Lane>,
    parked: Option<Parked>,
}

/// A program in execution.
#[derive(Clone, Debug)]
pub struct Run {
    program: Box<Program>,
    slots: Vec<Slot>,
    /// The lane that has the next turn.
    turn: usize,
    items: u64,
    /// Items that lanes have taken.
    taken: u64,
    /// Items that are complete.
    pub done: u64,
    sum: u64,
}

/// What a turn left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is more to do now, or only a page is waited for.
    More,
    /// The program is complete.
    Done,
}

/// What happens to a lane during a turn, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// Its access failed and waits.
    Parked(Fault),
    /// It makes an access again.
    Retried(Fault),
}

impl Run {
    /// The program at its start.
    pub fn new(program: Box<Program>, lanes: u32) -> Self {
        let items = program.items();
        let slots = (0..items.min(lanes.into())).map(|_| Slot::default()).collect();
        Self { program, slots, turn: 0, items, taken: 0, done: 0, sum: 0 }
    }
    /// Whether anything can be done at time `now`.
    pub fn is_ready(&self, now: u64) -> bool {
        self.done >= self.items || self.slots.iter().any(|slot| self.may_step(slot, now))
    }
    fn may_step(&self, slot: &Slot, now: u64) -> bool {
        match slot.parked {
            Some(parked) => parked.is_over(now),
            None => slot.lane.is_some() || self.taken < self.items,
        }
    }
    /// When the first access that waits is made again by itself.
    pub fn due(&self) -> Option<u64> {
        self.slots.iter().filter_map(|slot| slot.parked?.due).min()
    }
    /// The faults that lanes wait for.
    pub fn waits(&self) -> impl Iterator<Item = &Fault> {
        self.slots.iter().filter_map(|slot| slot.parked.as_ref()).filter(|p| !p.awake).map(|p| &p.fault)
    }
    /// Lanes that have an item.
    pub fn busy(&self) -> usize {
        self.slots.iter().filter(|slot| slot.lane.is_some()).count()
    }
    /// Pieces of work in all.
    pub fn items(&self) -> u64 {
        self.items
    }
    /// Lets the lanes go on whose fault `answered` accepts; it is told whether the lane goes on by itself after a time.
    pub fn wake(&mut self, answered: &impl Fn(&Fault, bool) -> bool) {
        for parked in self.slots.iter_mut().filter_map(|slot| slot.parked.as_mut()).filter(|p| !p.awake) {
            parked.awake = answered(&parked.fault, parked.due.is_some());
        }
    }
    /// Lets the lanes that may do a step each, one after the other, [`BUDGET`] steps at most. What happens to lanes is put
    /// into `happened`; an access that waits is made again at `due`.
    pub fn advance(
        &mut self,
        mem: &mut Mem<'_, '_, '_>,
        now: u64,
        due: Option<u64>,
        happened: &mut Vec<Happened>,
    ) -> Result<Turn, Stop> {
        let mut budget = BUDGET;
        // A turn without a step ends it.
        let mut idle = 0;
        while budget > 0 && self.done < self.items && idle < self.slots.len() {
            let turn = self.turn;
            self.turn = if turn + 1 < self.slots.len() { turn + 1 } else { 0 };
            idle += 1;
            let Some(slot) = self.slots.get_mut(turn) else { break };
            if let Some(parked) = slot.parked {
                if !parked.is_over(now) {
                    continue;
                }
                slot.parked = None;
                happened.push(Happened::Retried(parked.fault));
            }
            if slot.lane.is_none() && self.taken < self.items {
                slot.lane = Some(Lane::new(self.taken));
                self.taken += 1;
            }
            let Some(lane) = slot.lane.as_mut() else { continue };
            budget -= 1;
            idle = 0;
            match lane.step(&self.program, mem) {
                Ok(Next::More) => {}
                Ok(Next::Done(value)) => {
                    slot.lane = None;
                    self.done += 1;
                    self.sum = self.sum.wrapping_add(value);
                }
                Err(Stop::Retry(fault)) => {
                    slot.parked = Some(Parked { fault, due, awake: false });
                    happened.push(Happened::Parked(fault));
                }
                Err(stop) => return Err(stop),
            }
        }
        if self.done < self.items {
            return Ok(Turn::More);
        }
        match self.program.sum() {
            0 => {}
            at => mem.store(at, 3, self.sum)?,
        }
        Ok(Turn::Done)
    }
}
