// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What the checks look at. Nothing of it is done without them.

use super::Gpu;
use crate::check::{Checker, Pointers, Used};
use crate::gmc::Memory;
use crate::trace::RingId;
use uvm_spec::{IH_RINGS, PAGE_SHIFT};

/// What the checks compare before and after something from outside.
pub(super) struct Watched {
    /// VMIDs that rings work in, a bit each.
    pub(super) active: u32,
    rings: Vec<(RingId, Pointers)>,
    rptrs: [u32; IH_RINGS],
}

impl Gpu {
    pub(super) fn tick(&self) {
        // Judging is no part of the device: it reads no clock that a replay would miss.
        let now = self.trace.last().unwrap_or_else(|| self.clock.now());
        self.checks.tell(|c| c.tick(now, |index| self.ih.waits(index)));
    }
    /// What may change under a register write or a doorbell.
    pub(super) fn watch(&self) -> Option<Watched> {
        if !self.checks.is_on() {
            return None;
        }
        self.tick();
        let active = self.sdma.iter().fold(self.access.rings.active_vmids(), |all, s| all | s.rings.active_vmids());
        let rings = self.sdma.iter().flat_map(|s| s.rings.states()).chain(self.access.rings.states());
        Some(Watched { active, rings: rings.collect(), rptrs: self.ih.rptrs() })
    }
    /// The driver answered CAM entry `index`.
    pub(super) fn answered(&self, index: u32) {
        self.checks.tell(|c| c.answered(index));
    }
    /// Tells the checker what changed since `before`.
    pub(super) fn judge(&mut self, before: &Watched) {
        let after = self.sdma.iter().flat_map(|s| s.rings.states()).chain(self.access.rings.states());
        self.checks.tell(|c| {
            for ((ring, old), (_, new)) in before.rings.iter().zip(after) {
                c.pointers(*ring, *old, new);
            }
            for (ring, (old, new)) in before.rptrs.into_iter().zip(self.ih.rptrs()).enumerate() {
                if old != new {
                    c.acknowledged(ring);
                }
            }
        });
        let pages = self.checks.tell(Checker::pages).unwrap_or_default();
        if pages.is_empty() {
            return;
        }
        let memory = Memory::new(&self.vram, &self.memory);
        for (vmid, page, access) in pages {
            let now = self.mm_hub.peek(&memory, vmid, page << PAGE_SHIFT, access).ok();
            let now = now.map(|t| Used { entry: t.entry, at: t.at });
            self.checks.tell(|c| c.looked(vmid, page, now));
        }
    }
}
