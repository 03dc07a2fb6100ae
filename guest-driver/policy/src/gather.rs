// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! How the first use of the queue comes by what it needs: room that there is, room that others make, and at last a new
//! order among its own.

use crate::buffers::Place;
use crate::domain::{Domain, Location};
use crate::error::Error;
use crate::heap::{BlockKind, From};
use crate::ids::{SegmentId, MAX_SEGMENTS};
use crate::policy::{AllocRequest, Policy};
use crate::residency::{Content, Spot};
use crate::segment::{Placements, SegmentKind};
use crate::table::Few;
use crate::working_set::{Compaction, Need};

/// How an allocation stands after a look at it.
pub(crate) enum Brought {
    InPlace,
    Coming,
    Never(Error),
}

impl Policy {
    /// Brings one allocation of the first use closer to where it is needed.
    pub(crate) fn bring(&mut self, first: u32, slot: u32) -> Brought {
        let Some(need) = self.mm.tickets.at(first).map(|ticket| ticket.need) else { return Brought::InPlace };
        let (Some(bo), Some(residency)) = (self.bos.at(slot), self.residency(slot)) else { return Brought::InPlace };
        let (pins, owner) = (bo.pins, residency.owner);
        if bo.moving.is_some() {
            return Brought::Coming;
        }
        if self.is_placed(slot, residency, need) && !residency.condemned {
            if !self.is_usable(slot, need) {
                return coming(self.begin_show(slot));
            }
            return self.bring_home(first, slot).unwrap_or(Brought::InPlace);
        }
        let spot = self.spot(slot);
        if let Spot::In(_) = spot {
            if residency.users != 0 || residency.condemned {
                return coming(self.expel(slot));
            }
            if pins != 0 {
                return Brought::Never(Error::Busy);
            }
        }
        if residency.users != 0 {
            // The CPU's, and short; those that may follow are few.
            return Brought::Coming;
        }
        if spot == Spot::Swap || (need == Need::Cpu && spot == Spot::Empty) {
            if let Some(brought) = self.make_page_room(slot) {
                return brought;
            }
            return coming(self.begin_run(slot, Place::SYSTEM, Content::Pages));
        }
        let kinds = match need {
            Need::Placed => residency.placements,
            Need::Addressed => residency.placements.addressed(),
            Need::In(kind) => Placements::NONE.with(kind),
            Need::Cpu => {
                let visible = Placements::NONE.with(SegmentKind::Local);
                let there = if residency.placements.has(SegmentKind::Local) { visible } else { Placements::NONE };
                return match self.enter(slot, &there, true) {
                    Some(brought) => brought,
                    None => coming(self.begin_run(slot, Place::SYSTEM, Content::Pages)),
                };
            }
        };
        let fallback = residency.fallback;
        if let Some(brought) = self.enter(slot, &kinds, fallback) {
            return brought;
        }
        if self.make_room(slot, &kinds) {
            return Brought::Coming;
        }
        // What was passed over while others might have gone is better than nothing.
        if let Some(brought) = self.enter(slot, &kinds, true) {
            return brought;
        }
        self.last_resort(first, slot, owner, &kinds)
    }

    /// What fell back goes to its best kind, if that has room now, nobody uses it, and all went well so far.
    fn bring_home(&mut self, first: u32, slot: u32) -> Option<Brought> {
        let (bo, residency, ticket) = (self.bos.at(slot)?, self.residency(slot)?, self.mm.tickets.at(first)?);
        let best = *residency.placements.as_slice().first()?;
        let Spot::In(segment) = self.spot(slot) else { return None };
        let fits = residency.fallback && residency.users == 0 && bo.pins == 0 && self.kind(segment) != Some(best);
        if !fits || ticket.need != Need::Placed || ticket.failures != 0 {
            return None;
        }
        self.enter(slot, &Placements::NONE.with(best), true)
    }

    /// Takes room that there is. Without `fallback` only in the best kind that could ever hold it.
    fn enter(&mut self, slot: u32, kinds: &Placements, fallback: bool) -> Option<Brought> {
        let bo = self.bos.at(slot)?;
        let (size, align, owner) = (bo.size, bo.align, bo.residency.owner);
        let count = self.segments.len();
        for kind in kinds.as_slice() {
            if kind.domain() != Domain::Vram {
                match self.make_page_room(slot) {
                    None => {}
                    Some(Brought::Never(_)) => continue,
                    waits => return waits,
                }
            }
            if *kind == SegmentKind::System {
                return Some(coming(self.begin_run(slot, Place::SYSTEM, Content::Pages)));
            }
            let mut could = false;
            for index in 0..count {
                let Some(segment) = u8::try_from(index).ok().map(SegmentId) else { continue };
                if self.kind(segment) != Some(*kind) {
                    continue;
                }
                let local = self.is_local(segment);
                could |= self.stats(segment).is_ok_and(|stats| stats.size.saturating_sub(stats.reserved) >= size);
                let blocked = self.mm.area(Some(segment)).is_none_or(|area| area.blocked);
                if blocked || (local && !self.local_room(owner, size)) {
                    continue;
                }
                let request = AllocRequest { size, align, from: From::Bottom, within: None };
                match self.alloc_as(segment, &request, BlockKind::Buffer) {
                    Ok(range) => {
                        let location = Location { domain: kind.domain(), offset: range.offset };
                        let place = Place { location, block: Some(range.id) };
                        let begun = self.begin_run(slot, place, Content::Pages);
                        if begun.is_ok() {
                            self.note_entry(segment, slot);
                        }
                        return Some(coming(begun));
                    }
                    Err(Error::NoSpace) => {}
                    Err(error) => return Some(Brought::Never(error)),
                }
            }
            if could && !fallback {
                return None;
            }
        }
        None
    }

    fn has_pages(&self, slot: u32) -> bool {
        match self.spot(slot) {
            Spot::Pages => true,
            Spot::In(segment) => !self.is_local(segment),
            Spot::Empty | Spot::Swap => false,
        }
    }

    /// Whether the owner may have so many system pages more, if bringing the allocation takes any: `None`. If not, own
    /// ones that nobody uses go to the backing store.
    fn make_page_room(&mut self, slot: u32) -> Option<Brought> {
        let bo = self.bos.at(slot)?;
        let (size, owner) = (bo.size, bo.residency.owner);
        if self.has_pages(slot) || self.pages_room(owner, size) {
            return None;
        }
        // One after the other: what moves counts twice.
        if self.bos.iter().any(|bo| bo.moving.is_some() && bo.residency.owner == owner) {
            return Some(Brought::Coming);
        }
        let pcie = (0..self.segments.len()).filter_map(|index| u8::try_from(index).ok().map(SegmentId));
        let mut places = Few::<Option<SegmentId>, { MAX_SEGMENTS + 1 }>::new(None);
        places.push(None);
        pcie.filter(|id| !self.is_local(*id)).for_each(|id| places.push(Some(id)));
        for place in places.as_slice() {
            let Some(victim) = self.pick(*place, Some(owner), true) else { continue };
            self.edit(victim, |residency| residency.then_swap = true);
            // A store that is full is a failure of this use.
            if let Some(ticket) = self.mm.queue.front(0).and_then(|first| self.mm.tickets.at_mut(first)) {
                ticket.short = true;
            }
            return Some(coming(self.begin_eviction(victim)));
        }
        Some(Brought::Never(Error::Limit))
    }

    /// Makes others leave the first segment where that can help; says whether some are leaving.
    fn make_room(&mut self, slot: u32, kinds: &Placements) -> bool {
        let Some(bo) = self.bos.at(slot) else { return false };
        let (size, owner) = (bo.size, bo.residency.owner);
        for kind in kinds.as_slice() {
            for index in 0..self.segments.len() {
                let Some(segment) = u8::try_from(index).ok().map(SegmentId) else { continue };
                let allowed = !self.is_local(segment) || self.local_room(owner, size);
                if self.kind(segment) == Some(*kind) && allowed && self.clear_segment(segment, size) {
                    return true;
                }
            }
        }
        false
    }

    fn clear_segment(&mut self, segment: SegmentId, size: u64) -> bool {
        let Ok(stats) = self.stats(segment) else { return false };
        let free = stats.size.saturating_sub(stats.used);
        let Some(area) = self.mm.area(Some(segment)) else { return false };
        let wanted = area.wanted.saturating_add(size);
        let may_leave = area.evictable.saturating_sub(area.held);
        if free.saturating_add(area.outgoing).saturating_add(may_leave) < wanted {
            return false;
        }
        let mut sent = false;
        // Each turn takes one away from those that can be picked.
        for _ in 0..=self.bos.slots() {
            let outgoing = self.mm.area(Some(segment)).map_or(0, |area| area.outgoing);
            // Enough bytes, but not in one piece: one more, as long as nobody is leaving.
            if outgoing != 0 && free.saturating_add(outgoing) >= wanted {
                break;
            }
            let ended = self.mm.ended;
            let picked = self.pick(Some(segment), None, false);
            if picked.is_none_or(|victim| self.expel(victim).is_err()) {
                if outgoing == 0 {
                    return false;
                }
                break;
            }
            sent = true;
            if self.mm.ended != ended {
                // It is gone already: the next look finds its room.
                break;
            }
        }
        if let Some(area) = self.mm.area(Some(segment)) {
            (area.wanted, area.blocked) = (wanted, true);
        }
        // Not again for each look at those who are on their way.
        if sent {
            self.note_shortage(segment, size);
        }
        true
    }

    /// Nobody else can go: the process's own allocations if it is over its limit, then the use's own.
    fn last_resort(&mut self, first: u32, slot: u32, owner: u32, kinds: &Placements) -> Brought {
        let size = self.bos.at(slot).map_or(0, |bo| bo.size);
        let limited = !self.local_room(owner, size);
        let pages = kinds.as_slice().iter().any(|kind| kind.domain() != Domain::Vram) && !self.has_pages(slot);
        let no_pages = pages && !self.pages_room(owner, size);
        // Where the use's own allocations come to lie decides what is left between them.
        let members = self.mm.tickets.at(first).map_or(&[][..], |ticket| &ticket.bos);
        if members.iter().any(|slot| self.bos.at(*slot).is_some_and(|bo| bo.moving.is_some())) {
            return Brought::Coming;
        }
        let mut compacts = false;
        for index in 0..self.segments.len() {
            let Some(segment) = u8::try_from(index).ok().map(SegmentId) else { continue };
            let Some(kind) = self.kind(segment).filter(|kind| kinds.has(*kind)) else { continue };
            let free = self.stats(segment).map_or(0, |stats| stats.size.saturating_sub(stats.used));
            let Some(area) = self.mm.area(Some(segment)) else { continue };
            let (outgoing, evictable, held) = (area.outgoing, area.evictable, area.held);
            if outgoing != 0 {
                return Brought::Coming;
            }
            if limited && kind.domain() == Domain::Vram {
                if let Some(victim) = self.pick(Some(segment), Some(owner), false) {
                    return coming(self.expel(victim));
                }
            } else {
                compacts |= held != 0 && free.saturating_add(evictable) >= size;
            }
        }
        let compaction = self.mm.tickets.at(first).map(|ticket| ticket.compaction);
        if compacts && compaction == Some(Compaction::Not) {
            self.set_compaction(first, Compaction::Leaving);
            if self.send_away(first) {
                return Brought::Coming;
            }
        }
        Brought::Never(if limited || no_pages { Error::Limit } else { Error::NoSpace })
    }
}

fn coming(begun: Result<(), Error>) -> Brought {
    match begun {
        Ok(()) => Brought::Coming,
        Err(error) => Brought::Never(error),
    }
}
