// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Pages that are never given out again, because they are broken.
//!
//! A page in somebody's block stays there until the block is freed. It is taken out of the free range before the next
//! block is looked for, not when it becomes free: freeing never allocates, and taking a page out may.

use alloc::vec::Vec;

use super::{BlockKind, Heap};
use crate::error::Error;
use crate::table::try_push;

/// Broken pages that one heap keeps books about: a device with more is beyond use.
const MOST: usize = 4096;

/// A heap's broken pages.
#[derive(Default)]
pub(super) struct Retired {
    pages: Vec<Page>,
    /// Pages of them that still lie in a block or a free range.
    waiting: usize,
}

struct Page {
    number: u64,
    taken: bool,
}

impl Heap {
    /// Never gives out `page` again. True: it is out of use. False: somebody has it, and it is once they free it.
    pub fn retire(&mut self, page: u64) -> Result<bool, Error> {
        if page >= self.stats.size {
            return Err(Error::Invalid);
        }
        if let Some(known) = self.retired.pages.iter().find(|p| p.number == page) {
            return Ok(known.taken);
        }
        if self.retired.pages.len() >= MOST {
            return Err(Error::NoSpace);
        }
        try_push(&mut self.retired.pages, Page { number: page, taken: false })?;
        self.retired.waiting = self.retired.waiting.saturating_add(1);
        self.take_retired()?;
        Ok(self.retired.pages.iter().any(|p| p.number == page && p.taken))
    }

    /// Number of retired pages, those that are still in use among them.
    pub fn retired(&self) -> u64 {
        self.retired.pages.len() as u64
    }

    /// Takes every broken page that lies in a free range out of it. To be called before anything is given out.
    pub(super) fn take_retired(&mut self) -> Result<(), Error> {
        if self.retired.waiting == 0 {
            return Ok(());
        }
        for index in 0..self.retired.pages.len() {
            let Some(number) = self.retired.pages.get(index).filter(|p| !p.taken).map(|p| p.number) else { continue };
            let Some(slot) = self.tree.find(number).filter(|&slot| self.tree.get(slot).is_free()) else { continue };
            self.carve(slot, number, 1, BlockKind::Reserved)?;
            if let Some(page) = self.retired.pages.get_mut(index) {
                page.taken = true;
            }
            self.retired.waiting = self.retired.waiting.saturating_sub(1);
        }
        Ok(())
    }
}
