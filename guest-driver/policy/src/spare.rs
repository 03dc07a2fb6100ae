// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Room that is made before it is asked for. Whoever comes into full local memory waits for two copies, one after the other:
//! that of who leaves, and its own. While they keep coming, the next to leave goes while the last to come is copied and its
//! job runs, and only one is waited for.
//!
//! What is kept free is of no use to anybody meanwhile, so it is no more than what last had to wait (twice that while others
//! wait behind it), and at most one part in [`SHARE`] of the segment; only what comes in makes others leave ahead, so a
//! working set that fits stays; and whoever comes back into the room that it left went in vain: then none goes ahead until
//! room was short [`BACKOFF`] times more.

use crate::ids::SegmentId;
use crate::policy::Policy;

/// What part of a segment may be kept free.
const SHARE: u64 = 16;
/// How often room has to be short, after somebody left in vain, before the next leaves ahead.
const BACKOFF: u32 = 16;

/// What is kept free of a segment.
pub(crate) struct Spare {
    /// Bytes; zero for none.
    want: u64,
    /// Allocations that came in so far, from one on.
    pub(crate) entered: u64,
    /// How often room has to be short before some is kept again.
    backoff: u32,
}

impl Default for Spare {
    fn default() -> Self {
        Self { want: 0, entered: 1, backoff: 0 }
    }
}

impl Spare {
    fn rest(&mut self) {
        (self.want, self.backoff) = (0, BACKOFF);
    }
}

impl Policy {
    /// What may be kept free of a segment, in bytes.
    fn spare_limit(&self, segment: SegmentId) -> u64 {
        self.stats(segment).map_or(0, |stats| stats.size.checked_div(SHARE).unwrap_or(0))
    }

    /// Somebody has to wait for `size` bytes of a segment.
    pub(crate) fn note_shortage(&mut self, segment: SegmentId, size: u64) {
        let local = self.is_local(segment);
        let most = self.spare_limit(segment);
        let Some(area) = self.mm.area(Some(segment)).filter(|_| local) else { return };
        match area.spare.backoff.checked_sub(1) {
            Some(left) => area.spare.backoff = left,
            None => area.spare.want = size.min(most),
        }
    }

    /// An allocation begins to come into a segment: who is to go next begins to leave.
    pub(crate) fn note_entry(&mut self, segment: SegmentId, slot: u32) {
        let ahead = self.residency(slot).map_or(0, |residency| residency.ahead);
        self.edit(slot, |residency| residency.ahead = 0);
        let Some(area) = self.mm.area(Some(segment)) else { return };
        if ahead == area.spare.entered {
            area.spare.rest();
        }
        area.spare.entered = area.spare.entered.saturating_add(1);
        let (want, entered) = (area.spare.want, area.spare.entered);
        // Whoever waits behind the one that is served now will need as much.
        let behind = self.mm.queue.front(0).and_then(|first| self.mm.queue.next(first)).is_some();
        let want = if behind { want.saturating_mul(2).min(self.spare_limit(segment)) } else { want };
        let free = self.stats(segment).map_or(0, |stats| stats.size.saturating_sub(stats.used));
        // Each turn takes one away from those that can be picked.
        for _ in 0..=self.bos.slots() {
            let outgoing = self.mm.area(Some(segment)).map_or(0, |area| area.outgoing);
            if free.saturating_add(outgoing) >= want {
                return;
            }
            let Some(victim) = self.pick(Some(segment), None, true) else { return };
            let Some((owner, refs)) = self.residency(victim).map(|victim| (victim.owner, victim.refs)) else { return };
            let size = self.bos.at(victim).map_or(0, |bo| bo.size);
            // It is not to be written to the backing store for this, nor to be missed by one who waits already.
            if refs != 0 || !self.pages_room(owner, size) || self.begin_eviction(victim).is_err() {
                return;
            }
            self.edit(victim, |victim| victim.ahead = entered);
        }
    }

    /// A move failed: whether it was one that nobody waits for.
    pub(crate) fn note_vain(&mut self, slot: u32) -> bool {
        let Some(ahead) = self.residency(slot).map(|residency| residency.ahead) else { return false };
        self.edit(slot, |residency| residency.ahead = 0);
        if ahead != 0 {
            self.mm.areas.iter_mut().for_each(|area| area.spare.rest());
        }
        ahead != 0
    }
}
