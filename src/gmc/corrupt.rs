// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Injected corruption of page table entries: struck when a walk is about to look at them.

use super::walk::walk_from;
use super::{Access, Context, Memory};
use crate::inject::Struck;
use uvm_spec::PAGE_SHIFT;

/// A corruption that is still to come.
#[derive(Debug)]
struct Pending {
    /// Of this address space alone.
    vmid: Option<u8>,
    /// Of this page alone.
    page: Option<u64>,
    /// Walks that pass before.
    after: u64,
    /// Bits of the entry to flip.
    xor: u64,
    struck: Struck,
}

/// The corruptions of a hub.
#[derive(Debug, Default)]
pub(super) struct Corruptions(Vec<Pending>);

impl Corruptions {
    pub(super) fn add(&mut self, vmid: Option<u8>, page: Option<u64>, after: u64, xor: u64, struck: Struck) {
        self.0.push(Pending { vmid, page, after, xor, struck });
    }
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
    #[inline(always)]
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }
    /// A walk for `va` is about to start.
    #[cold]
    pub(super) fn strike(&mut self, memory: &Memory<'_>, context: &Context, va: u64) {
        self.0.retain_mut(|p| {
            let meant = p.vmid.is_none_or(|v| v == context.vmid) && p.page.is_none_or(|page| page == va >> PAGE_SHIFT);
            if !meant {
                return true;
            }
            if p.after > 0 {
                p.after -= 1;
                return true;
            }
            let mut last = None;
            let _ = walk_from(memory, context, context.root(), va, Access::Read, |look| last = Some(look));
            let Some((at, entry)) = last.and_then(|look| Some((look.at, look.entry?))) else { return true };
            // The tables may lie where nothing can be written: then nothing is corrupted.
            if memory.store(at, entry ^ p.xor).is_some() {
                log::info!("injected: entry of {va:#x} in VMID {} at {at:x?}: {entry:#x} ^ {:#x}", context.vmid, p.xor);
                p.struck.note();
            }
            false
        });
    }
}
