// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Which resident allocation goes first when a segment is full: the rules, one of which is chosen at creation.
//!
//! A rule orders slots (of allocations); what may go at all is the caller's to say, slot by slot.

mod clock;
pub(crate) mod list;
mod lru;
mod two_queues;

use crate::error::Error;
use clock::Clock;
use lru::Lru;
use two_queues::TwoQueues;

/// The rules there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum EvictKind {
    /// The least recently used one.
    #[default]
    Lru = 0,
    /// A second chance for what was used since the hand passed.
    Clock = 1,
    /// Two queues: what was used once goes before what came back, so one scan does not flush the rest.
    TwoQueues = 2,
}

impl EvictKind {
    /// From its number.
    pub fn from_raw(raw: u32) -> Result<Self, Error> {
        match raw {
            0 => Ok(Self::Lru),
            1 => Ok(Self::Clock),
            2 => Ok(Self::TwoQueues),
            _ => Err(Error::Invalid),
        }
    }
}

/// A rule of eviction for one segment. Only `ensure` allocates.
pub(crate) trait Evict {
    /// Makes room for slots below `slots`.
    fn ensure(&mut self, slots: u32) -> Result<(), Error>;
    /// A slot of so many pages became resident.
    fn admit(&mut self, slot: u32, pages: u64);
    /// A resident slot was used.
    fn touch(&mut self, slot: u32);
    /// A slot leaves because it was picked.
    fn evict(&mut self, slot: u32);
    /// A slot leaves for another reason; nothing of it is remembered.
    fn forget(&mut self, slot: u32);
    /// The first slot in the rule's order that may go. Looks at each resident slot twice at most.
    fn pick(&mut self, may_go: impl FnMut(u32) -> bool) -> Option<u32>;
}

/// One of the rules, without an allocation for the choice.
pub(crate) enum Evictor {
    Lru(Lru),
    Clock(Clock),
    TwoQueues(TwoQueues),
}

impl Evictor {
    /// A rule for a segment of so many pages.
    pub(crate) fn new(kind: EvictKind, pages: u64) -> Self {
        match kind {
            EvictKind::Lru => Self::Lru(Lru::new()),
            EvictKind::Clock => Self::Clock(Clock::new()),
            EvictKind::TwoQueues => Self::TwoQueues(TwoQueues::new(pages)),
        }
    }
}

macro_rules! each {
    ($self:ident, $rule:ident => $call:expr) => {
        match $self {
            Evictor::Lru($rule) => $call,
            Evictor::Clock($rule) => $call,
            Evictor::TwoQueues($rule) => $call,
        }
    };
}

impl Evict for Evictor {
    fn ensure(&mut self, slots: u32) -> Result<(), Error> {
        each!(self, rule => rule.ensure(slots))
    }

    fn admit(&mut self, slot: u32, pages: u64) {
        each!(self, rule => rule.admit(slot, pages));
    }

    fn touch(&mut self, slot: u32) {
        each!(self, rule => rule.touch(slot));
    }

    fn evict(&mut self, slot: u32) {
        each!(self, rule => rule.evict(slot));
    }

    fn forget(&mut self, slot: u32) {
        each!(self, rule => rule.forget(slot));
    }

    fn pick(&mut self, may_go: impl FnMut(u32) -> bool) -> Option<u32> {
        each!(self, rule => rule.pick(may_go))
    }
}

#[cfg(test)]
mod tests;
