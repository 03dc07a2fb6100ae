// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Clock: a ring with a hand. Each use sets a mark; the hand takes marks away, and takes what has none.

use alloc::vec::Vec;

use super::list::Lists;
use super::Evict;
use crate::error::Error;
use crate::table::try_push;

/// The ring is a list whose front is under the hand; to pass a slot is to move it to the back.
pub(crate) struct Clock {
    ring: Lists<1>,
    marked: Vec<bool>,
    len: u64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { ring: Lists::new(), marked: Vec::new(), len: 0 }
    }

    fn mark(&mut self, slot: u32, mark: bool) {
        if let Some(marked) = self.marked.get_mut(slot as usize) {
            *marked = mark;
        }
    }

    fn is_marked(&self, slot: u32) -> bool {
        self.marked.get(slot as usize).copied().unwrap_or(false)
    }
}

impl Evict for Clock {
    fn ensure(&mut self, slots: u32) -> Result<(), Error> {
        self.ring.ensure(slots)?;
        while self.marked.len() < slots as usize {
            try_push(&mut self.marked, false)?;
        }
        Ok(())
    }

    fn admit(&mut self, slot: u32, _pages: u64) {
        if self.ring.list_of(slot).is_none() {
            self.ring.push_back(0, slot);
            self.mark(slot, false);
            self.len = self.len.saturating_add(1);
        }
    }

    fn touch(&mut self, slot: u32) {
        self.mark(slot, true);
    }

    fn evict(&mut self, slot: u32) {
        self.forget(slot);
    }

    fn forget(&mut self, slot: u32) {
        if self.ring.remove(slot) {
            self.len = self.len.saturating_sub(1);
        }
    }

    /// What may not go keeps its mark: the hand passes it as if it were not there.
    fn pick(&mut self, mut may_go: impl FnMut(u32) -> bool) -> Option<u32> {
        for _ in 0..self.len.saturating_mul(2) {
            let slot = self.ring.front(0)?;
            if may_go(slot) {
                if !self.is_marked(slot) {
                    return Some(slot);
                }
                self.mark(slot, false);
            }
            self.ring.remove(slot);
            self.ring.push_back(0, slot);
        }
        None
    }
}
