// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Which number a page fault has while it lives.
//!
//! A fault lives from the access that fails to the retry that follows its acknowledgement, or, where nothing is retried,
//! to its vector. Rings that wait for the same page with the same access share one.

use super::event::{Answer, RingId, Stage};
use crate::gmc::{Access, Fault};
use uvm_spec::PAGE_SHIFT;

/// Most faults that live at once. The device has fewer: each SDMA ring waits for one, each queue of the access engine for
/// as many as a program has lanes, and a packet tells of two.
const MOST: usize = 512;

#[derive(Debug)]
struct Open {
    id: u64,
    vmid: u8,
    page: u64,
    access: Access,
    /// Rings that wait, a bit each.
    waiting: u32,
    acknowledged: bool,
}

impl Open {
    fn is_of(&self, fault: &Fault) -> bool {
        self.vmid == fault.vmid && self.page == fault.va >> PAGE_SHIFT
    }
}

/// The faults that live.
#[derive(Debug, Default)]
pub(super) struct Faults {
    open: Vec<Open>,
    last: u64,
}

impl Faults {
    /// An access of `ring` failed, or of nobody who waits.
    pub(super) fn raised(&mut self, fault: &Fault, ring: Option<RingId>) -> (u64, Stage) {
        let Fault { vmid, va, access, cause, .. } = *fault;
        let stage = Stage::Raised { vmid, va, access, cause, waits: ring };
        let bit = ring.map_or(0, RingId::bit);
        // One that was answered, and whose rings are all on their way, is over: this is another.
        let same = |o: &&mut Open| o.is_of(fault) && o.access == access && !(o.acknowledged && o.waiting == 0);
        if let Some(open) = self.open.iter_mut().find(same).filter(|_| bit != 0) {
            open.waiting |= bit;
            return (open.id, stage);
        }
        self.last += 1;
        if self.open.len() >= MOST {
            self.open.remove(0);
        }
        let page = va >> PAGE_SHIFT;
        self.open.push(Open { id: self.last, vmid, page, access, waiting: bit, acknowledged: false });
        (self.last, stage)
    }
    /// A fault's vector was written, or not: `stage` says.
    pub(super) fn told(&mut self, fault: &Fault, stage: Stage) -> Option<(u64, Stage)> {
        let at = self.open.iter().rposition(|o| o.is_of(fault) && o.access == fault.access)?;
        let open = self.open.get(at)?;
        let told = (open.id, stage);
        if open.waiting == 0 {
            self.open.remove(at);
        }
        Some(told)
    }
    /// The access of `fault` may be made again.
    pub(super) fn answered(&mut self, fault: &Fault, by: Answer) -> Option<(u64, Stage)> {
        let same = |o: &&mut Open| o.is_of(fault) && o.access == fault.access && !o.acknowledged;
        let open = self.open.iter_mut().find(same)?;
        open.acknowledged = true;
        Some((open.id, Stage::Acknowledged { by }))
    }
    /// `ring` makes its access again.
    pub(super) fn retried(&mut self, ring: RingId) -> Option<(u64, Stage)> {
        let open = self.open.iter_mut().find(|o| o.waiting & ring.bit() != 0)?;
        open.waiting &= !ring.bit();
        Some((open.id, Stage::Retried { ring }))
    }
    /// An access of `ring`, which may wait for several pages, is made again: the one of `fault`.
    pub(super) fn access_retried(&mut self, ring: RingId, fault: &Fault) -> Option<(u64, Stage)> {
        let same = |o: &&mut Open| o.is_of(fault) && o.access == fault.access && o.waiting & ring.bit() != 0;
        let open = self.open.iter_mut().find(same)?;
        open.waiting &= !ring.bit();
        Some((open.id, Stage::Retried { ring }))
    }
    /// A ring's step is over: what nobody waits for is over too.
    pub(super) fn settle(&mut self) {
        self.open.retain(|o| o.waiting != 0);
    }
    /// Forgets the faults, not the numbers.
    pub(super) fn reset(&mut self) {
        self.open.clear();
    }
}
