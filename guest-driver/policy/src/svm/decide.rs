// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a fault on one page comes to, and what else of its block could come along.

use super::attributes::{Place, RangeTable};
use super::pages::Pages;
use super::thrash::Verdict;
use super::{Access, Action, Attributes, Svm, Switches};

/// What is believed of a block, as a plan begins.
#[derive(Clone, Copy, Default)]
pub(crate) struct Known {
    pub(crate) vram: Pages,
    pub(crate) both: Pages,
    pub(crate) mapped: Pages,
    pub(crate) writable: Pages,
    /// Pages that thrash or are pinned.
    pub(crate) hot: Pages,
    /// Pages that have just failed to come to VRAM.
    pub(crate) stuck: Pages,
    /// It has gone round too often and stays in system memory.
    pub(crate) away: bool,
}

/// What to do about a page.
#[derive(Clone, Copy)]
pub(crate) struct Decision {
    pub(crate) action: Action,
    /// The reason holds for its neighbours too.
    pub(crate) spreads: bool,
    /// For the whole block.
    pub(crate) all: bool,
    /// When to come again.
    pub(crate) until: u64,
    /// Since now it is pinned, until then.
    pub(crate) pinned: Option<u64>,
}

impl Decision {
    fn of(action: Action, spreads: bool) -> Self {
        Self { action, spreads, all: false, until: 0, pinned: None }
    }
}

/// Whether a fault on a page with these attributes, of which nothing else is known, brings it to VRAM. Then it may come
/// unasked as well.
pub(crate) fn comes_to_vram(ranges: &RangeTable, switches: &Switches, attributes: &Attributes) -> bool {
    if attributes.no_access || !switches.migrate || !ranges.is_migratable(attributes) {
        return false;
    }
    match attributes.preferred {
        Some(place) => place == Place::Vram,
        None => {
            let duplicated = attributes.read_duplication && switches.duplication;
            !attributes.accessed_by_device && !duplicated && !switches.counters_first
        }
    }
}

/// Whether counters of accesses may bring it to VRAM.
pub(crate) fn counters_move(ranges: &RangeTable, attributes: &Attributes) -> bool {
    !attributes.no_access && attributes.preferred != Some(Place::System) && ranges.is_migratable(attributes)
}

impl Svm {
    /// What is believed of a block now.
    pub(crate) fn known(&self, slot: Option<u32>, now: u64) -> Known {
        let Some(block) = slot.and_then(|slot| self.blocks.get(slot)) else { return Known::default() };
        let thrash = self.config.switches.thrash;
        let watch = block.watch.as_ref().filter(|_| thrash);
        let hot = watch.map_or(Pages::NONE, |watch| watch.hot(&self.config.thrash, now));
        let stuck = if now < block.stuck_until { block.stuck } else { Pages::NONE };
        let away = thrash && block.rounds.is_away(now);
        Known { vram: block.vram, both: block.both, mapped: block.mapped, writable: block.writable, hot, stuck, away }
    }

    /// Decides about a fault. `migratable`: the range may move.
    pub(crate) fn decide(
        &mut self,
        slot: Option<u32>,
        known: &Known,
        (page, access): (u32, Access),
        (attributes, migratable): (&Attributes, bool),
        now: u64,
    ) -> Decision {
        let switches = self.config.switches;
        let write = access != Access::Read;
        if attributes.no_access || (attributes.read_only && write) {
            return Decision::of(Action::Deny, false);
        }
        // To try again takes away what is mapped by now, and that may be what the same access needs.
        let moves = migratable && switches.migrate && !known.stuck.has(page);
        let prefers = attributes.preferred;
        if known.vram.has(page) {
            return match prefers {
                Some(Place::System) if moves => Decision::of(Action::ToSystem, true),
                // The system's copy has to go first.
                _ if write && known.both.has(page) => Decision::of(Action::ToVram, false),
                _ => Decision::of(Action::Map, true),
            };
        }
        let alone = access == Access::Atomic;
        let remote = if alone { Action::MapExclusive } else { Action::MapRemote };
        let in_place = if alone { Action::MapExclusive } else { Action::Map };
        if known.hot.has(page) && moves {
            match self.judge(slot, page, now) {
                Verdict::None => {}
                Verdict::Wait(until) => return Decision { until, ..Decision::of(Action::Throttle, false) },
                Verdict::Pinned(pinned) => {
                    let action = if prefers == Some(Place::Vram) { Action::ToVram } else { remote };
                    let pinned = pinned.then(|| now.saturating_add(self.config.thrash.pin));
                    return Decision { pinned, ..Decision::of(action, false) };
                }
            }
        }
        let duplicates = attributes.read_duplication && switches.duplication && !write;
        let wanted = prefers.is_none() && moves && !attributes.accessed_by_device && !duplicates;
        if wanted && switches.thrash {
            if let Some(pinned) = self.stays_away(slot, alone, now) {
                return Decision { pinned, all: true, ..Decision::of(Action::MapRemote, true) };
            }
        }
        match prefers {
            Some(Place::Vram) if moves => Decision::of(Action::ToVram, true),
            Some(_) => Decision::of(remote, !alone),
            None if attributes.accessed_by_device || !moves => Decision::of(in_place, !alone),
            None if duplicates => Decision::of(Action::Duplicate, true),
            None if switches.counters_first => Decision::of(remote, !alone),
            None => Decision::of(Action::ToVram, true),
        }
    }

    /// Whether a block has gone round too often to come once more; what only VRAM serves makes it come. If it stays away
    /// since now, until when.
    fn stays_away(&mut self, slot: Option<u32>, alone: bool, now: u64) -> Option<Option<u64>> {
        let (config, turnover) = (self.config.thrash, self.chunks.turnover());
        let rounds = &mut self.blocks.get_mut(slot?)?.rounds;
        if alone {
            rounds.unpin();
            return None;
        }
        rounds.judge(&config, &turnover, now)
    }

    fn judge(&mut self, slot: Option<u32>, page: u32, now: u64) -> Verdict {
        let config = self.config.thrash;
        let watch = slot.and_then(|slot| self.blocks.get_mut(slot)?.watch.as_mut());
        watch.map_or(Verdict::None, |watch| watch.judge(&config, page, true, now))
    }
}
