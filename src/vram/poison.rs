// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Pages of VRAM with an uncorrectable error: a hard one, which writing does not heal.

use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use uvm_spec::{PAGE_SHIFT, PAGE_SIZE};

/// The pages, by number.
#[derive(Debug, Default)]
pub(super) struct Poison {
    /// Whether there are any: all that most devices ever ask.
    any: AtomicBool,
    pages: RwLock<BTreeSet<u64>>,
}

impl Poison {
    pub(super) fn add(&self, page: u64) {
        self.pages.write().insert(page);
        self.any.store(true, Ordering::Relaxed);
    }
    pub(super) fn clear(&self) {
        self.any.store(false, Ordering::Relaxed);
        self.pages.write().clear();
    }
    #[inline(always)]
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }
    /// Bytes from `offset` on, at most `len`, that come before the first bad page.
    pub(super) fn sound(&self, offset: u64, len: usize) -> usize {
        let first = self.pages.read().range(offset >> PAGE_SHIFT..).next().copied();
        let good = first.map_or(u64::MAX, |page| page.saturating_mul(PAGE_SIZE).saturating_sub(offset));
        usize::try_from(good).map_or(len, |good| good.min(len))
    }
}
