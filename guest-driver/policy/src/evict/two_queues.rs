// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! 2Q: newcomers wait in a short queue of their own; only what comes back soon after it left joins the others.

use alloc::vec::Vec;

use super::list::Lists;
use super::Evict;
use crate::error::Error;
use crate::table::try_push;

/// Newcomers, in order of arrival; uses do not change it.
const IN: u8 = 0;
/// Not resident any more: evicted newcomers that are remembered, in order of eviction.
const OUT: u8 = 1;
/// What came back while it was remembered, in order of last use.
const MAIN: u8 = 2;

/// Newcomers may take up to a quarter of the segment while others are there; half a segment is remembered.
pub(crate) struct TwoQueues {
    lists: Lists<3>,
    pages: Vec<u64>,
    in_pages: u64,
    out_pages: u64,
    most_in: u64,
    most_out: u64,
}

impl TwoQueues {
    pub(super) fn new(segment: u64) -> Self {
        Self {
            lists: Lists::new(),
            pages: Vec::new(),
            in_pages: 0,
            out_pages: 0,
            most_in: segment >> 2,
            most_out: segment >> 1,
        }
    }

    fn pages(&self, slot: u32) -> u64 {
        self.pages.get(slot as usize).copied().unwrap_or(0)
    }

    fn remove(&mut self, slot: u32) -> Option<u8> {
        let list = self.lists.list_of(slot)?;
        self.lists.remove(slot);
        match list {
            IN => self.in_pages = self.in_pages.saturating_sub(self.pages(slot)),
            OUT => self.out_pages = self.out_pages.saturating_sub(self.pages(slot)),
            _ => {}
        }
        Some(list)
    }

    fn first(&self, list: u8, may_go: &mut impl FnMut(u32) -> bool) -> Option<u32> {
        let mut here = self.lists.front(list);
        while let Some(slot) = here {
            if may_go(slot) {
                return Some(slot);
            }
            here = self.lists.next(slot);
        }
        None
    }
}

impl Evict for TwoQueues {
    fn ensure(&mut self, slots: u32) -> Result<(), Error> {
        self.lists.ensure(slots)?;
        while self.pages.len() < slots as usize {
            try_push(&mut self.pages, 0)?;
        }
        Ok(())
    }

    fn admit(&mut self, slot: u32, pages: u64) {
        match self.lists.list_of(slot) {
            Some(OUT) => {
                self.remove(slot);
                self.lists.push_back(MAIN, slot);
            }
            Some(_) => return,
            None => {
                self.lists.push_back(IN, slot);
                self.in_pages = self.in_pages.saturating_add(pages);
            }
        }
        if let Some(place) = self.pages.get_mut(slot as usize) {
            *place = pages;
        }
    }

    fn touch(&mut self, slot: u32) {
        if self.lists.list_of(slot) == Some(MAIN) {
            self.lists.remove(slot);
            self.lists.push_back(MAIN, slot);
        }
    }

    fn evict(&mut self, slot: u32) {
        if self.remove(slot) == Some(IN) {
            self.lists.push_back(OUT, slot);
            self.out_pages = self.out_pages.saturating_add(self.pages(slot));
            while self.out_pages > self.most_out {
                let Some(oldest) = self.lists.front(OUT) else { return };
                self.remove(oldest);
            }
        }
    }

    fn forget(&mut self, slot: u32) {
        self.remove(slot);
    }

    fn pick(&mut self, mut may_go: impl FnMut(u32) -> bool) -> Option<u32> {
        let order = if self.in_pages > self.most_in { [IN, MAIN] } else { [MAIN, IN] };
        let [first, second] = order;
        self.first(first, &mut may_go).or_else(|| self.first(second, &mut may_go))
    }
}
