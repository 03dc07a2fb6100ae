// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Who has to go: picks by class and age, and what is condemned to go once its last use has ended.

use crate::buffers::{Bo, Place};
use crate::error::Error;
use crate::evict::Evict;
use crate::ids::SegmentId;
use crate::manager::Area;
use crate::policy::Policy;
use crate::residency::{Content, Residency, Spot, PRIORITIES};

/// What the evictor of an area knows, counted by class, so that no class is looked for in vain.
#[derive(Clone, Copy, Default)]
pub(crate) struct Classes {
    /// Nobody needs the content.
    pub(crate) disposable: u32,
    /// Needed, by priority.
    pub(crate) needed: [u32; PRIORITIES as usize],
}

impl Area {
    pub(crate) fn count(&mut self, residency: &Residency, add: bool) {
        let count = if !residency.need {
            &mut self.classes.disposable
        } else if let Some(count) = self.classes.needed.get_mut(usize::from(residency.priority)) {
            count
        } else {
            return;
        };
        *count = if add { count.saturating_add(1) } else { count.saturating_sub(1) };
    }
}

impl Policy {
    /// Who is to leave an area, in the order of its evictor within each class: what nobody needs, then what nobody
    /// uses by priority, then (unless `idle`) what is in use by priority, since waiting for a job costs more than
    /// a copy. Never what the first use of the queue needs, nor what is condemned already. `owner`: of that process
    /// alone.
    pub(crate) fn pick(&mut self, place: Option<SegmentId>, owner: Option<u32>, idle: bool) -> Option<u32> {
        self.pick_of(place, idle, &|bo| owner.is_none_or(|owner| owner == bo.residency.owner))
    }

    /// The same, of those that `fit`.
    pub(crate) fn pick_of(&mut self, place: Option<SegmentId>, idle: bool, fits: &dyn Fn(&Bo) -> bool) -> Option<u32> {
        let bos = &self.bos;
        let area = self.mm.areas.get_mut(place.map_or(0, |id| usize::from(id.0).saturating_add(1)))?;
        let classes = area.classes;
        let mut find = |matches: &dyn Fn(&Residency) -> bool| {
            area.evictor.pick(|slot| {
                bos.at(slot).is_some_and(|bo| {
                    let residency = &bo.residency;
                    !residency.held && !residency.condemned && matches(residency) && fits(bo)
                })
            })
        };
        if classes.disposable != 0 {
            if let Some(slot) = find(&|residency| !residency.need && residency.refs == 0) {
                return Some(slot);
            }
        }
        for busy in [false, true] {
            if busy && idle {
                break;
            }
            for (priority, count) in (0..PRIORITIES).zip(classes.needed) {
                if count == 0 {
                    continue;
                }
                let found = find(&|residency| {
                    residency.need && residency.priority == priority && (residency.users != 0) == busy
                });
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// Begins to move an idle allocation out: away if nobody needs it, from a segment to system pages, from there
    /// to the backing store.
    pub(crate) fn begin_eviction(&mut self, slot: u32) -> Result<(), Error> {
        let residency = self.residency(slot).ok_or(Error::Unknown)?;
        let disposable = !residency.need && residency.refs == 0;
        let owner = residency.owner;
        let content = match self.spot(slot) {
            _ if disposable => Content::Empty,
            Spot::In(_) => Content::Pages,
            Spot::Pages => Content::Swap,
            Spot::Empty | Spot::Swap => return Err(Error::Invalid),
        };
        let size = self.bos.at(slot).map_or(0, |bo| bo.size);
        if matches!(self.spot(slot), Spot::In(segment) if self.is_local(segment)) && !self.pages_room(owner, size) {
            self.edit(slot, |residency| residency.then_swap = true);
        }
        self.unlist_picked(slot);
        self.begin_run(slot, Place::SYSTEM, content)
    }

    /// Makes an allocation leave its segment: now, or when the jobs that use it have ended.
    pub(crate) fn expel(&mut self, slot: u32) -> Result<(), Error> {
        let Some(bo) = self.bos.at(slot) else { return Err(Error::Unknown) };
        let residency = &bo.residency;
        if bo.moving.is_some() || residency.condemned {
            return Ok(());
        }
        if residency.users == 0 {
            return self.begin_eviction(slot);
        }
        let (size, spot) = (bo.size, self.spot(slot));
        if let (Spot::In(segment), true) = (spot, self.mm.condemned.list_of(slot).is_none()) {
            self.unlist(slot);
            self.mm.condemned.push_back(0, slot);
            self.edit(slot, |residency| residency.condemned = true);
            if let Some(area) = self.mm.area(Some(segment)) {
                area.outgoing = area.outgoing.saturating_add(size);
            }
        }
        Ok(())
    }

    /// Takes a condemnation back.
    pub(crate) fn pardon(&mut self, slot: u32) {
        if !self.mm.condemned.remove(slot) {
            return;
        }
        self.edit(slot, |residency| residency.condemned = false);
        let size = self.bos.at(slot).map_or(0, |bo| bo.size);
        if let Spot::In(segment) = self.spot(slot) {
            if let Some(area) = self.mm.area(Some(segment)) {
                area.outgoing = area.outgoing.saturating_sub(size);
            }
        }
        self.list(slot);
    }
}
