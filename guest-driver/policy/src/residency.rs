// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Allocations and their owners: where each resides, who may have how much, what may go.

use crate::buffers::{Bo, Place};
use crate::domain::Location;
use crate::error::Error;
use crate::event::Reply;
use crate::evict::Evict;
use crate::ids::{BoId, Key, ProcessId, SegmentId};
use crate::manager::Area;
use crate::policy::Policy;
use crate::segment::{Placements, SegmentKind};

/// Priorities: 0 goes first, 2 last.
pub const PRIORITIES: u8 = 3;

/// What a process may have, in bytes; `u64::MAX` for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of allocations in all.
    pub total: u64,
    /// Of local memory at a time.
    pub local: u64,
    /// Of system pages at a time, with GPU addresses or without. What others push out of local memory goes on to the
    /// backing store beyond that.
    pub pages: u64,
}

impl Limits {
    /// No limit at all.
    pub const NONE: Self = Self { total: u64::MAX, local: u64::MAX, pages: u64::MAX };
}

/// What a process has, in bytes. What moves counts at both ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sizes of its allocations.
    pub total: u64,
    /// In local memory.
    pub local: u64,
    /// In PCIe segments.
    pub pcie: u64,
    /// In system pages without GPU addresses.
    pub pages: u64,
    /// In the backing store.
    pub swap: u64,
}

pub(crate) struct Process {
    limits: Limits,
    used: Usage,
    bos: u32,
    /// Of its uses, those that wait.
    pub(crate) waiting: u32,
    /// Those that wait or run.
    pub(crate) uses: u32,
}

/// What a new allocation is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Size in bytes, not zero; rounded up to pages.
    pub size: u64,
    /// Alignment in bytes in a segment: a power of two, or zero for one page.
    pub align: u64,
    /// Where it may be used, best first.
    pub placements: Placements,
    /// Less than [`PRIORITIES`].
    pub priority: u8,
    /// It may be moved out of a segment again, or to the backing store, or thrown away if it is not needed.
    pub pageable: bool,
    /// When the best placement is full, a lesser one with room is better than to move others out.
    pub fallback: bool,
}

/// Where the bytes of an allocation are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residence {
    /// Nowhere: they read as zeros.
    Empty,
    /// In system pages without GPU addresses.
    Pages,
    /// In the backing store.
    Swap,
    /// In a segment.
    Segment(SegmentKind, Location),
}

/// What the bytes outside all segments are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing: they read as zeros.
    Empty,
    /// System pages.
    Pages,
    /// The backing store.
    Swap,
}

/// Where an allocation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    Empty,
    Pages,
    Swap,
    In(SegmentId),
}

/// What is known of an allocation that the memory manager moves.
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub(crate) struct Residency {
    /// Slot of its process.
    pub(crate) owner: u32,
    pub(crate) placements: Placements,
    pub(crate) priority: u8,
    pub(crate) pageable: bool,
    pub(crate) fallback: bool,
    /// Holds outside segments only.
    pub(crate) content: Content,
    /// The content is needed; else it may be thrown away.
    pub(crate) need: bool,
    /// It was.
    pub(crate) purged: bool,
    /// Places in address spaces.
    pub(crate) maps: u32,
    /// Their page table entries are written.
    pub(crate) shown: bool,
    /// Those of some are.
    pub(crate) entries: bool,
    /// The CPU may have it mapped.
    pub(crate) cpu: bool,
    /// Uses that run.
    pub(crate) users: u32,
    /// Uses that wait or run.
    pub(crate) refs: u32,
    /// Belongs to the use at the front of the queue.
    pub(crate) held: bool,
    /// Picked to leave once its last use has ended: nobody may begin another.
    pub(crate) condemned: bool,
    /// Given up by its owner.
    pub(crate) doomed: bool,
    /// To go on to the backing store once it is in system pages.
    pub(crate) then_swap: bool,
    /// An evictor knows it.
    pub(crate) listed: bool,
    /// Left ahead of need: when, as [`crate::spare::Spare`] counts. Zero if not.
    pub(crate) ahead: u64,
    /// Scratch: found in a list already.
    pub(crate) seen: bool,
}

impl Policy {
    pub(crate) fn open(&mut self, limits: Limits) -> Result<ProcessId, Error> {
        let process = Process { limits, used: Usage::default(), bos: 0, waiting: 0, uses: 0 };
        self.mm.processes.insert(process).map(ProcessId::pack)
    }

    pub(crate) fn close(&mut self, id: ProcessId) -> Result<(), Error> {
        let key = id.unpack().ok_or(Error::Unknown)?;
        let process = self.mm.processes.get(key)?;
        if process.bos != 0 || process.uses != 0 {
            return Err(Error::Busy);
        }
        self.mm.processes.remove(key).map(drop)
    }

    /// What a process has at this moment.
    pub fn usage(&self, id: ProcessId) -> Result<Usage, Error> {
        self.mm.processes.get(id.unpack().ok_or(Error::Unknown)?).map(|process| process.used)
    }

    pub(crate) fn create(&mut self, id: ProcessId, spec: &Spec) -> Result<BoId, Error> {
        let owner = id.unpack().ok_or(Error::Unknown)?;
        let size = self.page.round_up(spec.size)?;
        let align = spec.align.max(self.page.bytes());
        if !align.is_power_of_two() || spec.priority >= PRIORITIES {
            return Err(Error::Invalid);
        }
        let process = self.mm.processes.get(owner)?;
        if process.used.total.checked_add(size).is_none_or(|total| total > process.limits.total) {
            return Err(Error::Limit);
        }
        self.make_slots()?;
        let residency = Residency {
            owner: owner.slot,
            placements: spec.placements,
            priority: spec.priority,
            pageable: spec.pageable,
            fallback: spec.fallback,
            content: Content::Empty,
            need: true,
            purged: false,
            maps: 0,
            shown: false,
            entries: false,
            cpu: false,
            users: 0,
            refs: 0,
            held: false,
            condemned: false,
            doomed: false,
            then_swap: false,
            listed: false,
            ahead: 0,
            seen: false,
        };
        let key = self.bos.insert(Bo { size, align, place: Place::SYSTEM, moving: None, pins: 0, residency })?;
        if let Some(process) = self.mm.processes.at_mut(owner.slot) {
            process.used.total = process.used.total.saturating_add(size);
            process.bos = process.bos.saturating_add(1);
        }
        Ok(BoId::pack(key))
    }

    /// Makes room wherever one more buffer may have to be noted, so that nothing about it allocates later.
    pub(crate) fn make_slots(&mut self) -> Result<(), Error> {
        let count = self.bos.len().checked_add(1).ok_or(Error::NoMemory)?;
        self.bos.ensure(count)?;
        self.moves.ensure(count)?;
        let (bos, moves) = (self.bos.slots(), self.moves.slots());
        self.mm.gone.ensure(bos)?;
        self.mm.condemned.ensure(bos)?;
        for area in &mut self.mm.areas {
            area.evictor.ensure(bos)?;
        }
        self.mm.ready.ensure(moves)?;
        self.mm.windows.ensure(moves)?;
        self.mm.stalled.ensure(moves)
    }

    /// A living allocation of the memory manager's.
    pub(crate) fn managed(&self, id: BoId) -> Result<(u32, &Bo, &Residency), Error> {
        let Key { slot, .. } = id.unpack().ok_or(Error::Unknown)?;
        let bo = self.bo(id)?;
        if bo.residency.doomed {
            return Err(Error::Unknown);
        }
        Ok((slot, bo, &bo.residency))
    }

    pub(crate) fn residency(&self, slot: u32) -> Option<&Residency> {
        self.bos.at(slot).map(|bo| &bo.residency)
    }

    pub(crate) fn edit(&mut self, slot: u32, change: impl FnOnce(&mut Residency)) {
        if let Some(bo) = self.bos.at_mut(slot) {
            change(&mut bo.residency);
        }
    }

    /// Where an allocation is; during a move, where its bytes are valid.
    pub(crate) fn spot(&self, slot: u32) -> Spot {
        let Some(bo) = self.bos.at(slot) else { return Spot::Empty };
        spot_of(&bo.place, bo.residency.content)
    }

    /// Where the bytes of an allocation are valid at this moment.
    pub fn residence(&self, id: BoId) -> Result<Residence, Error> {
        let Key { slot, .. } = id.unpack().ok_or(Error::Unknown)?;
        let bo = self.bo(id)?;
        Ok(match self.spot(slot) {
            Spot::Empty => Residence::Empty,
            Spot::Pages => Residence::Pages,
            Spot::Swap => Residence::Swap,
            Spot::In(segment) => Residence::Segment(self.kind(segment).ok_or(Error::Unknown)?, bo.place.location),
        })
    }

    pub(crate) fn destroy(&mut self, id: BoId) -> Result<(), Error> {
        let (slot, bo, _) = self.managed(id)?;
        if bo.pins != 0 {
            return Err(Error::Busy);
        }
        self.unlist(slot);
        self.pardon(slot);
        self.edit(slot, |residency| residency.doomed = true);
        self.reap(slot);
        Ok(())
    }

    /// Ends an allocation that was given up and that nothing uses any more.
    pub(crate) fn reap(&mut self, slot: u32) {
        let Some(bo) = self.bos.at(slot) else { return };
        if bo.moving.is_none() && bo.residency.doomed && bo.residency.refs == 0 {
            if self.spot(slot) == Spot::Empty {
                self.mm.gone.push_back(0, slot);
            } else {
                // The slot of its move was made with it: this cannot fail.
                let _ = self.begin_run(slot, Place::SYSTEM, Content::Empty);
            }
        }
    }

    /// Forgets an allocation that has no bytes any more.
    pub(crate) fn bury(&mut self, slot: u32) {
        for area in &mut self.mm.areas {
            area.evictor.forget(slot);
        }
        let Some(bo) = self.bos.key(slot).and_then(|key| self.bos.remove(key).ok()) else { return };
        if let Some(process) = self.mm.processes.at_mut(bo.residency.owner) {
            process.used.total = process.used.total.saturating_sub(bo.size);
            process.bos = process.bos.saturating_sub(1);
        }
    }

    pub(crate) fn set_placements(&mut self, id: BoId, placements: Placements) -> Result<(), Error> {
        let (slot, ..) = self.managed(id)?;
        self.edit(slot, |residency| residency.placements = placements);
        Ok(())
    }

    pub(crate) fn map(&mut self, id: BoId, one_more: bool) -> Result<(), Error> {
        let (slot, _, residency) = self.managed(id)?;
        let maps = if one_more { residency.maps.checked_add(1) } else { residency.maps.checked_sub(1) };
        let maps = maps.ok_or(Error::Invalid)?;
        self.edit(slot, |residency| {
            residency.maps = maps;
            residency.shown &= !one_more;
            residency.entries &= maps != 0;
        });
        Ok(())
    }

    pub(crate) fn pin(&mut self, id: BoId, one_more: bool) -> Result<(), Error> {
        let (slot, bo, _) = self.managed(id)?;
        if let (Some(token), true) = (bo.moving, one_more) {
            return Err(Error::Wait(token));
        }
        let pins = if one_more { bo.pins.checked_add(1) } else { bo.pins.checked_sub(1) };
        let pins = pins.ok_or(if one_more { Error::Busy } else { Error::Invalid })?;
        if let Some(bo) = self.bos.at_mut(slot) {
            bo.pins = pins;
        }
        if pins == 0 {
            self.list(slot);
        } else {
            self.unlist(slot);
            self.pardon(slot);
        }
        Ok(())
    }

    pub(crate) fn advise(&mut self, id: BoId, need: bool) -> Result<bool, Error> {
        let (slot, bo, residency) = self.managed(id)?;
        let retained = !residency.purged;
        if let (Some(token), false) = (bo.moving, retained) {
            return Err(Error::Wait(token));
        }
        let listed = self.unlist(slot);
        self.edit(slot, |residency| {
            residency.need = need;
            residency.purged &= !need;
        });
        if listed {
            self.list(slot);
        }
        Ok(retained)
    }

    /// Whether and how the CPU reaches an allocation; else it is queued for a place where it does.
    pub(crate) fn cpu_access(&mut self, id: BoId, mapping: bool) -> Result<Reply, Error> {
        let (slot, bo, residency) = self.managed(id)?;
        if !residency.need {
            return Err(Error::Invalid);
        }
        let (at, doubtful) = (bo.place.location, bo.moving.is_some() || residency.condemned);
        if let (Spot::In(segment), false) = (self.spot(slot), doubtful) {
            let visible = self.kind(segment).is_some_and(|kind| kind.is_cpu_visible());
            if visible {
                self.edit(slot, |residency| residency.cpu |= mapping);
                return Ok(Reply::Direct(at));
            }
            if !mapping {
                return Ok(Reply::Peek(at));
            }
        } else if self.spot(slot) == Spot::Pages && !doubtful {
            self.edit(slot, |residency| residency.cpu |= mapping);
            return Ok(Reply::Direct(at));
        }
        self.cpu_ticket(slot).map(Reply::Ticket)
    }

    /// Tells the evictor of an allocation's place that it may go, if it may.
    pub(crate) fn list(&mut self, slot: u32) {
        let spot = self.spot(slot);
        let Some(bo) = self.bos.at_mut(slot) else { return };
        let (pages, size) = (self.page.pages_down(bo.size), bo.size);
        let residency = &mut bo.residency;
        if residency.listed || residency.doomed || !residency.pageable || bo.pins != 0 || bo.moving.is_some() {
            return;
        }
        let place = match spot {
            Spot::In(segment) => Some(segment),
            Spot::Pages => None,
            Spot::Empty | Spot::Swap => return,
        };
        if let Some(area) = self.mm.area(place) {
            area.evictor.admit(slot, pages);
            area.evictable = area.evictable.saturating_add(size);
            area.count(residency, true);
            residency.listed = true;
        }
    }

    /// Takes an allocation from its evictor; says whether it was there.
    pub(crate) fn unlist(&mut self, slot: u32) -> bool {
        self.delist(slot, |area| area.evictor.forget(slot))
    }

    /// The same because it was picked.
    pub(crate) fn unlist_picked(&mut self, slot: u32) -> bool {
        self.delist(slot, |area| area.evictor.evict(slot))
    }

    fn delist(&mut self, slot: u32, how: impl FnOnce(&mut Area)) -> bool {
        let spot = self.spot(slot);
        let Some(bo) = self.bos.at_mut(slot) else { return false };
        let residency = &mut bo.residency;
        if !residency.listed {
            return false;
        }
        residency.listed = false;
        let place = if let Spot::In(segment) = spot { Some(segment) } else { None };
        if let Some(area) = self.mm.area(place) {
            how(area);
            area.evictable = area.evictable.saturating_sub(bo.size);
            area.count(residency, false);
        }
        true
    }

    /// Adds bytes to what a process has somewhere, or takes them away.
    pub(crate) fn charge(&mut self, owner: u32, spot: Spot, bytes: u64, add: bool) {
        let local = matches!(spot, Spot::In(id) if self.is_local(id));
        let Some(process) = self.mm.processes.at_mut(owner) else { return };
        let count = match spot {
            Spot::Empty => return,
            Spot::Pages => &mut process.used.pages,
            Spot::Swap => &mut process.used.swap,
            Spot::In(_) if local => &mut process.used.local,
            Spot::In(_) => &mut process.used.pcie,
        };
        *count = if add { count.saturating_add(bytes) } else { count.saturating_sub(bytes) };
    }

    /// Whether a process may have so much more local memory.
    pub(crate) fn local_room(&self, owner: u32, bytes: u64) -> bool {
        let Some(process) = self.mm.processes.at(owner) else { return false };
        process.used.local.checked_add(bytes).is_some_and(|sum| sum <= process.limits.local)
    }

    /// Whether a process may have so many more bytes of system pages.
    pub(crate) fn pages_room(&self, owner: u32, bytes: u64) -> bool {
        let Some(process) = self.mm.processes.at(owner) else { return false };
        let Usage { pages, pcie, .. } = process.used;
        pages.checked_add(pcie).and_then(|sum| sum.checked_add(bytes)).is_some_and(|sum| sum <= process.limits.pages)
    }

    /// Begins to free system pages: what nobody needs first, then by age, system pages without GPU addresses before
    /// those in PCIe segments, which are asked for only with `deep`. Gives the bytes that will become free.
    pub(crate) fn reclaim(&mut self, bytes: u64, deep: bool) -> u64 {
        let mut freeing = 0u64;
        let pcie = self.segment_ids().filter(|id| deep && !self.is_local(*id));
        let mut last = self.segments.len();
        let mut mask = 0u32;
        pcie.for_each(|id| mask |= 1u32.wrapping_shl(u32::from(id.0)));
        let mut place = None;
        while freeing < bytes {
            let picked = self.pick(place, None, true);
            let Some(slot) = picked else {
                // The next PCIe segment, from the last one down.
                place = loop {
                    let Some(index) = last.checked_sub(1) else { return freeing };
                    last = index;
                    let Ok(id) = u8::try_from(index) else { return freeing };
                    if mask & 1u32.wrapping_shl(u32::from(id)) != 0 {
                        break Some(SegmentId(id));
                    }
                };
                continue;
            };
            let size = self.bos.at(slot).map_or(0, |bo| bo.size);
            self.edit(slot, |residency| residency.then_swap = true);
            if self.begin_eviction(slot).is_err() {
                return freeing;
            }
            freeing = freeing.saturating_add(size);
        }
        freeing
    }

    pub(crate) fn is_local(&self, id: SegmentId) -> bool {
        self.kind(id).is_some_and(|kind| kind.domain() == crate::domain::Domain::Vram)
    }
}

pub(crate) fn spot_of(place: &Place, content: Content) -> Spot {
    match (place.block.and_then(|block| block.unpack()), content) {
        (Some((segment, _)), _) => Spot::In(segment),
        (None, Content::Empty) => Spot::Empty,
        (None, Content::Pages) => Spot::Pages,
        (None, Content::Swap) => Spot::Swap,
    }
}
