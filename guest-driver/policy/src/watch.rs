// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What is told of local memory that is given out and given back: for a device that judges whether freed memory is used.

use alloc::vec::Vec;

use crate::domain::Domain;
use crate::ids::SegmentId;
use crate::policy::{Allocation, Policy};
use crate::table::try_push;

/// A range of local memory that was given out or given back. Units are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeChange {
    /// First byte, as offsets in VRAM count.
    pub offset: u64,
    /// Length.
    pub size: u64,
    /// Given back: nobody may use it. Else it is somebody's.
    pub freed: bool,
}

/// All of local memory may be used: what is told when there was no memory to keep what happened.
const ANY: RangeChange = RangeChange { offset: 0, size: u64::MAX, freed: false };

/// Changes that nobody has asked for yet, oldest first.
#[derive(Default)]
pub(crate) struct Watch {
    on: bool,
    changes: Vec<RangeChange>,
    told: usize,
    /// Some are missing.
    lost: bool,
}

impl Policy {
    /// Keeps from now on what happens to local memory, for [`Policy::next_change`].
    pub fn watch(&mut self) {
        self.watch.on = true;
    }

    /// What happened next. Whoever watches asks after each call, until there is nothing: a range is freed before it is
    /// given out anew, so what is told late is told wrong.
    pub fn next_change(&mut self) -> Option<RangeChange> {
        let watch = &mut self.watch;
        let next = if watch.lost { None } else { watch.changes.get(watch.told).copied() };
        watch.told = watch.told.saturating_add(1);
        if next.is_none() {
            watch.changes.clear();
            watch.told = 0;
        }
        let lost = core::mem::take(&mut watch.lost);
        next.or(lost.then_some(ANY))
    }

    pub(crate) fn note(&mut self, segment: SegmentId, range: &Allocation, freed: bool) {
        if !self.watch.on || self.kind(segment).is_none_or(|kind| kind.domain() != Domain::Vram) {
            return;
        }
        let change = RangeChange { offset: range.offset, size: range.size, freed };
        self.watch.lost |= try_push(&mut self.watch.changes, change).is_err();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::heap::From;
    use crate::policy::{AllocRequest, SegmentConfig};

    fn policy() -> (Policy, SegmentId, SegmentId) {
        let mut policy = Policy::new(4096).unwrap();
        let add = |policy: &mut Policy, domain| {
            policy.add_segment(&SegmentConfig { domain, base: 1 << 20, size: 1 << 20 }).unwrap()
        };
        let (vram, gart) = (add(&mut policy, Domain::Vram), add(&mut policy, Domain::Gtt));
        (policy, vram, gart)
    }

    fn request(size: u64) -> AllocRequest {
        AllocRequest { size, align: 0, from: From::Bottom, within: None }
    }

    fn changes(policy: &mut Policy) -> Vec<RangeChange> {
        core::iter::from_fn(|| policy.next_change()).collect()
    }

    #[test]
    fn range_is_told_when_it_is_taken_and_when_it_is_given_back() {
        let (mut policy, vram, gart) = policy();
        let unwatched = policy.alloc(vram, &request(4096)).unwrap();
        policy.watch();

        let taken = policy.alloc(vram, &request(5000)).unwrap();
        policy.alloc(gart, &request(5000)).unwrap();
        policy.free(taken.id).unwrap();
        policy.free(unwatched.id).unwrap();
        policy.reserve(vram, 1 << 20, 4096).unwrap();

        let change =
            |page: u64, pages: u64, freed| RangeChange { offset: (1 << 20) + page * 4096, size: pages * 4096, freed };
        assert_eq!(
            changes(&mut policy),
            [change(1, 2, false), change(1, 2, true), change(0, 1, true), change(0, 1, false)]
        );
        assert_eq!(changes(&mut policy), []);
    }

    #[test]
    fn what_was_lost_is_told_as_everything() {
        let (mut policy, vram, _) = policy();
        policy.watch();
        policy.alloc(vram, &request(4096)).unwrap();
        policy.watch.lost = true;

        assert_eq!(changes(&mut policy), [ANY]);
        let taken = policy.alloc(vram, &request(4096)).unwrap();
        assert_eq!(changes(&mut policy).first().map(|change| change.offset), Some(taken.offset));
    }
}
