// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Least recently used.

use super::list::Lists;
use super::Evict;
use crate::error::Error;

/// In order of last use, the oldest first.
pub(crate) struct Lru(Lists<1>);

impl Lru {
    pub(super) fn new() -> Self {
        Self(Lists::new())
    }
}

impl Evict for Lru {
    fn ensure(&mut self, slots: u32) -> Result<(), Error> {
        self.0.ensure(slots)
    }

    fn admit(&mut self, slot: u32, _pages: u64) {
        self.0.push_back(0, slot);
    }

    fn touch(&mut self, slot: u32) {
        if self.0.remove(slot) {
            self.0.push_back(0, slot);
        }
    }

    fn evict(&mut self, slot: u32) {
        self.0.remove(slot);
    }

    fn forget(&mut self, slot: u32) {
        self.0.remove(slot);
    }

    fn pick(&mut self, mut may_go: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut here = self.0.front(0);
        while let Some(slot) = here {
            if may_go(slot) {
                return Some(slot);
            }
            here = self.0.next(slot);
        }
        None
    }
}
