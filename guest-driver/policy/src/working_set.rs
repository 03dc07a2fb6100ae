// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Uses of allocations: a job's working set is in place as a whole, or the job is refused with a reason.
//!
//! **One at a time.** Uses that wait form one queue, first come first served, and only the first one makes others
//! leave. What it gathers stays until it is made ready, so it cannot lose with one hand what it takes with the
//! other, and two processes that both need more than half take turns: that of the second one begins when the jobs
//! of the first that run at that moment have ended.
//!
//! **Bounded waiting.** What the first one picks to leave is condemned: jobs that use it may end, none may begin.
//! So it waits for moves, and for jobs that began before it picked. Others pass it by only if their process has
//! nothing in the queue and all they need is in place and not condemned, they bring nothing in, and there are
//! [`PASSES`] of them at most. Each round of picking makes the rest smaller, and failures are counted; after a few
//! the use is refused.

use alloc::vec::Vec;

use crate::error::Error;
use crate::event::Failure;
use crate::evict::Evict;
use crate::gather::Brought;
use crate::ids::{BoId, Key, ProcessId, TicketId};
use crate::policy::Policy;
use crate::residency::{Residency, Spot};
use crate::segment::SegmentKind;
use crate::table::{try_push, try_reserve};

/// Failed moves after which a use is refused.
const TRIES: u32 = 8;

/// Uses that may be made ready past the first of the queue before all wait for it.
pub const PASSES: u64 = 16;

/// What a use needs of its allocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// To be in one of their placements, with page table entries.
    Placed,
    /// To be in one of their placements, by an address that needs no page tables of processes.
    Addressed,
    /// To be where the CPU reaches them.
    Cpu,
    /// To be in a segment of that kind.
    In(SegmentKind),
}

/// How far compaction went: the use's own allocations leave as well, and come back largest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compaction {
    Not,
    Leaving,
    Back,
}

pub(crate) struct Ticket {
    process: u32,
    pub(crate) need: Need,
    pub(crate) bos: Vec<u32>,
    running: bool,
    pub(crate) refused: Option<Error>,
    pub(crate) failures: u32,
    last: Option<Failure>,
    /// System pages were short; some are being given up.
    pub(crate) short: bool,
    pub(crate) compaction: Compaction,
    counted: bool,
}

enum Verdict {
    Ready,
    Wait,
    Refuse(Error),
}

impl Policy {
    pub(crate) fn submit(&mut self, process: ProcessId, ids: &[BoId], need: Need) -> Result<TicketId, Error> {
        let Key { slot: process, .. } = {
            let key = process.unpack().ok_or(Error::Unknown)?;
            self.mm.processes.get(key)?;
            key
        };
        let mut bos = Vec::new();
        let listed = self.gather(ids, &mut bos);
        for slot in &bos {
            self.edit(*slot, |residency| residency.seen = false);
        }
        listed?;
        self.enqueue(process, need, bos)
    }

    /// The slots of what `ids` name, each once; marks them as seen.
    fn gather(&mut self, ids: &[BoId], bos: &mut Vec<u32>) -> Result<(), Error> {
        try_reserve(bos, ids.len())?;
        for id in ids {
            let (slot, _, residency) = self.managed(*id)?;
            if !residency.need || residency.placements.as_slice().is_empty() {
                return Err(Error::Invalid);
            }
            if !residency.seen {
                try_push(bos, slot)?;
                self.edit(slot, |residency| residency.seen = true);
            }
        }
        Ok(())
    }

    pub(crate) fn cpu_ticket(&mut self, slot: u32) -> Result<TicketId, Error> {
        let owner = self.residency(slot).ok_or(Error::Unknown)?.owner;
        let mut bos = Vec::new();
        try_push(&mut bos, slot)?;
        self.enqueue(owner, Need::Cpu, bos)
    }

    pub(crate) fn explicit_move(&mut self, id: BoId, to: SegmentKind) -> Result<TicketId, Error> {
        let (slot, _, residency) = self.managed(id)?;
        if !to.is_placement() || !residency.need {
            return Err(Error::Invalid);
        }
        let owner = residency.owner;
        let mut bos = Vec::new();
        try_push(&mut bos, slot)?;
        self.enqueue(owner, Need::In(to), bos)
    }

    fn enqueue(&mut self, process: u32, need: Need, bos: Vec<u32>) -> Result<TicketId, Error> {
        let count = self.mm.tickets.len().checked_add(1).ok_or(Error::NoMemory)?;
        self.mm.tickets.ensure(count)?;
        let slots = self.mm.tickets.slots();
        self.mm.queue.ensure(slots)?;
        self.mm.notices.ensure(slots)?;
        for slot in &bos {
            self.edit(*slot, |residency| residency.refs = residency.refs.saturating_add(1));
        }
        let passes = self.mm.queue.front(0).is_some()
            && self.mm.passed < PASSES
            && self.mm.processes.at(process).is_some_and(|process| process.waiting == 0)
            && bos.iter().all(|slot| self.is_usable(*slot, need));
        let key = self.mm.tickets.insert(Ticket {
            process,
            need,
            bos,
            running: false,
            refused: None,
            failures: 0,
            last: None,
            short: false,
            compaction: Compaction::Not,
            counted: false,
        })?;
        if let Some(process) = self.mm.processes.at_mut(process) {
            process.uses = process.uses.saturating_add(1);
            process.waiting = process.waiting.saturating_add(1);
        }
        self.mm.queue.push_back(0, key.slot);
        if passes {
            self.mm.passed = self.mm.passed.saturating_add(1);
            self.mm.stats.overtaken = self.mm.stats.overtaken.max(self.mm.passed);
            self.count_hits(key.slot);
            self.admit(key.slot);
        }
        Ok(TicketId::pack(key))
    }

    /// An allocation of a use, by number.
    fn member(&self, ticket: u32, number: usize) -> Option<u32> {
        self.mm.tickets.at(ticket)?.bos.get(number).copied()
    }

    fn members(&self, ticket: u32) -> usize {
        self.mm.tickets.at(ticket).map_or(0, |ticket| ticket.bos.len())
    }

    fn each(&mut self, ticket: u32, mut call: impl FnMut(&mut Self, u32)) {
        for number in 0..self.members(ticket) {
            if let Some(slot) = self.member(ticket, number) {
                call(self, slot);
            }
        }
    }

    /// Whether an allocation is where a use needs it, apart from its page tables.
    pub(crate) fn is_placed(&self, slot: u32, residency: &Residency, need: Need) -> bool {
        let (spot, kind) = match self.spot(slot) {
            Spot::In(segment) => (Spot::In(segment), self.kind(segment)),
            spot => (spot, None),
        };
        let placements = &residency.placements;
        // System pages with an address in the GART are as good for who wants none.
        let pages = placements.has(SegmentKind::System);
        match need {
            Need::Placed if spot == Spot::Pages => pages,
            Need::Placed | Need::Addressed => {
                kind.is_some_and(|kind| placements.has(kind) || (pages && kind == SegmentKind::Snooped))
            }
            Need::In(SegmentKind::System) => spot == Spot::Pages,
            Need::In(wanted) => kind == Some(wanted),
            Need::Cpu => spot == Spot::Pages || kind.is_some_and(SegmentKind::is_cpu_visible),
        }
    }

    /// Whether page tables may have an allocation where it is.
    pub(crate) fn may_show(&self, slot: u32, residency: &Residency) -> bool {
        match self.spot(slot) {
            Spot::In(_) => true,
            Spot::Pages => residency.placements.has(SegmentKind::System),
            Spot::Empty | Spot::Swap => false,
        }
    }

    pub(crate) fn is_usable(&self, slot: u32, need: Need) -> bool {
        let (Some(bo), Some(residency)) = (self.bos.at(slot), self.residency(slot)) else { return false };
        let shown = residency.maps == 0 || residency.shown || need == Need::Cpu || !self.may_show(slot, residency);
        bo.moving.is_none() && shown && !residency.condemned && self.is_placed(slot, residency, need)
    }

    /// Serves the queue as far as it goes now.
    pub(crate) fn advance(&mut self) {
        // Each turn takes a use from the queue, or sees the end of a move that needed no action.
        for _ in 0..=self.mm.tickets.len().saturating_add(self.bos.len()) {
            let Some(first) = self.mm.queue.front(0) else { return };
            let ended = self.mm.ended;
            match self.acquire(first) {
                // What needs no action ends at once, and nothing else would tell: look again.
                Verdict::Wait if self.mm.ended != ended => {}
                Verdict::Wait => return,
                Verdict::Ready => self.admit(first),
                Verdict::Refuse(error) => {
                    self.leave_queue(first);
                    self.release_members(first);
                    self.mm.stats.refused = self.mm.stats.refused.saturating_add(1);
                    if let Some(ticket) = self.mm.tickets.at_mut(first) {
                        ticket.refused = Some(error);
                    }
                    self.mm.notices.push_back(0, first);
                }
            }
        }
    }

    fn count_hits(&mut self, ticket: u32) {
        let Some(Ticket { need, counted: false, .. }) = self.mm.tickets.at(ticket) else { return };
        let need = *need;
        self.each(ticket, |policy, slot| {
            let hit = policy.is_usable(slot, need);
            let stats = &mut policy.mm.stats;
            let count = if hit { &mut stats.hits } else { &mut stats.misses };
            *count = count.saturating_add(1);
        });
        if let Some(ticket) = self.mm.tickets.at_mut(ticket) {
            ticket.counted = true;
        }
    }

    /// A use begins: what it needs is in place.
    fn admit(&mut self, ticket: u32) {
        self.leave_queue(ticket);
        let cpu = self.mm.tickets.at(ticket).is_some_and(|ticket| ticket.need == Need::Cpu);
        self.each(ticket, |policy, slot| {
            policy.edit(slot, |residency| {
                residency.users = residency.users.saturating_add(1);
                residency.cpu |= cpu;
            });
            let place = if let Spot::In(segment) = policy.spot(slot) { Some(segment) } else { None };
            if let Some(area) = policy.mm.area(place) {
                area.evictor.touch(slot);
            }
        });
        if let Some(ticket) = self.mm.tickets.at_mut(ticket) {
            ticket.running = true;
        }
        self.mm.notices.push_back(0, ticket);
    }

    /// Takes a use from the queue; if it was the first, its rights over others end.
    fn leave_queue(&mut self, ticket: u32) {
        let reigned = self.mm.queue.front(0) == Some(ticket);
        if !self.mm.queue.remove(ticket) {
            return;
        }
        let process = self.mm.tickets.at(ticket).and_then(|ticket| self.mm.processes.at_mut(ticket.process));
        if let Some(process) = process {
            process.waiting = process.waiting.saturating_sub(1);
        }
        if reigned {
            self.each(ticket, |policy, slot| policy.edit(slot, |residency| residency.held = false));
            while let Some(slot) = self.mm.condemned.front(0) {
                self.pardon(slot);
            }
            self.mm.passed = 0;
        }
    }

    fn release_members(&mut self, ticket: u32) {
        self.each(ticket, |policy, slot| {
            policy.edit(slot, |residency| residency.refs = residency.refs.saturating_sub(1));
            policy.reap(slot);
        });
    }

    pub(crate) fn drop_ticket(&mut self, slot: u32) {
        let Some(ticket) = self.mm.tickets.key(slot).and_then(|key| self.mm.tickets.remove(key).ok()) else { return };
        if let Some(process) = self.mm.processes.at_mut(ticket.process) {
            process.uses = process.uses.saturating_sub(1);
        }
    }

    pub(crate) fn fence(&mut self, id: TicketId) -> Result<(), Error> {
        let key = id.unpack().ok_or(Error::Unknown)?;
        if !self.mm.tickets.get(key)?.running {
            return Err(Error::Invalid);
        }
        self.mm.notices.remove(key.slot);
        self.each(key.slot, |policy, slot| {
            policy.edit(slot, |residency| residency.users = residency.users.saturating_sub(1));
            if policy.residency(slot).is_some_and(|residency| residency.condemned && residency.users == 0) {
                policy.pardon(slot);
                // An allocation that cannot begin to leave is picked again.
                let _ = policy.begin_eviction(slot);
            }
        });
        self.release_members(key.slot);
        self.drop_ticket(key.slot);
        Ok(())
    }

    pub(crate) fn cancel(&mut self, id: TicketId) -> Result<(), Error> {
        let key = id.unpack().ok_or(Error::Unknown)?;
        let ticket = self.mm.tickets.get(key)?;
        let (running, refused) = (ticket.running, ticket.refused.is_some());
        let told = self.mm.notices.list_of(key.slot).is_none();
        match (running, told) {
            (true, true) => return Err(Error::Busy),
            (true, false) => return self.fence(id),
            (false, _) => {}
        }
        if refused {
            self.mm.notices.remove(key.slot);
        } else {
            self.leave_queue(key.slot);
            self.release_members(key.slot);
        }
        self.drop_ticket(key.slot);
        Ok(())
    }

    /// A move failed: the use that it was for tries again, a few times.
    pub(crate) fn note_failure(&mut self, slot: u32, failure: Failure, size: u64) {
        let Some(first) = self.mm.queue.front(0) else { return };
        let held = self.residency(slot).is_some_and(|residency| residency.held);
        let Some(ticket) = self.mm.tickets.at_mut(first) else { return };
        let leaves = failure != Failure::SwapFull || ticket.short;
        if !held && !leaves {
            return;
        }
        ticket.failures = ticket.failures.saturating_add(1);
        ticket.last = Some(failure);
        if failure == Failure::NoMemory {
            ticket.short = true;
            self.reclaim(size, true);
        }
    }

    /// Looks at what the first use of the queue needs, and begins what can begin.
    fn acquire(&mut self, first: u32) -> Verdict {
        self.count_hits(first);
        let swapping = self.mm.swapping != 0;
        let Some(ticket) = self.mm.tickets.at_mut(first) else { return Verdict::Ready };
        if ticket.failures > TRIES {
            return Verdict::Refuse(ticket.last.map_or(Error::Failed, Error::from));
        }
        if ticket.short && swapping {
            return Verdict::Wait;
        }
        ticket.short = false;
        let compaction = ticket.compaction;
        let sizes = self.take_stock(first);
        if compaction == Compaction::Leaving {
            if self.send_away(first) {
                return Verdict::Wait;
            }
            self.set_compaction(first, Compaction::Back);
        }
        let mut waits = false;
        // The largest first: it has the fewest places to be.
        for class in (0..u64::BITS).rev() {
            if sizes & 1u64.wrapping_shl(class) == 0 {
                continue;
            }
            for number in 0..self.members(first) {
                let Some(slot) = self.member(first, number) else { continue };
                if self.bos.at(slot).and_then(|bo| bo.size.checked_ilog2()) != Some(class) {
                    continue;
                }
                match self.bring(first, slot) {
                    Brought::InPlace => {}
                    Brought::Coming => waits = true,
                    Brought::Never(error) => return Verdict::Refuse(error),
                }
            }
        }
        if waits {
            Verdict::Wait
        } else {
            Verdict::Ready
        }
    }

    /// Holds what the use needs, and counts it; gives the logarithms of its sizes, as bits.
    fn take_stock(&mut self, first: u32) -> u64 {
        for area in &mut self.mm.areas {
            (area.wanted, area.held, area.blocked) = (0, 0, false);
        }
        let mut sizes = 0u64;
        self.each(first, |policy, slot| {
            let Some(bo) = policy.bos.at(slot) else { return };
            let size = bo.size;
            sizes |= 1u64.wrapping_shl(size.checked_ilog2().unwrap_or(0));
            let listed = bo.residency.listed;
            policy.edit(slot, |residency| residency.held = true);
            if let (Spot::In(segment), true) = (policy.spot(slot), listed) {
                if let Some(area) = policy.mm.area(Some(segment)) {
                    area.held = area.held.saturating_add(size);
                }
            }
        });
        sizes
    }

    pub(crate) fn set_compaction(&mut self, first: u32, compaction: Compaction) {
        if let Some(ticket) = self.mm.tickets.at_mut(first) {
            ticket.compaction = compaction;
        }
    }

    /// Makes the use's own allocations leave their segments; says whether some are still there.
    pub(crate) fn send_away(&mut self, first: u32) -> bool {
        let mut waits = false;
        self.each(first, |policy, slot| {
            let Some(bo) = policy.bos.at(slot) else { return };
            let pageable = bo.residency.pageable;
            if bo.moving.is_some() {
                waits = true;
            } else if pageable && bo.pins == 0 && matches!(policy.spot(slot), Spot::In(_)) {
                waits |= policy.expel(slot).is_ok();
            }
        });
        waits
    }
}
