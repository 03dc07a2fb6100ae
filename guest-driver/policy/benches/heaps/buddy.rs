// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A binary buddy allocator, to compare with: blocks of 2^n pages at multiples of their size, the free ones of an order in
//! a list or sorted by address, two free halves merge.

use std::collections::BTreeSet;

/// End of a list.
const NONE: u32 = u32::MAX;
/// Order of a frame that begins no free block.
const TAKEN: u8 = u8::MAX;

/// What is done with a request that is no power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It gets the next power of two.
    Kept,
    /// What is too much is given back, in as few blocks as it takes.
    Trimmed,
}

/// Which free block of an order is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The one that was freed last.
    Last,
    /// The one with the lowest address.
    Lowest,
}

/// The allocator of a number of pages that is a power of two.
pub struct Buddy {
    rest: Rest,
    pick: Pick,
    orders: usize,
    heads: Vec<u32>,
    /// The same free blocks by address, for [`Pick::Lowest`] alone.
    sorted: Vec<BTreeSet<u32>>,
    /// Orders with a free block, as bits.
    filled: u32,
    next: Vec<u32>,
    prev: Vec<u32>,
    /// Of the first frame of a free block.
    order: Vec<u8>,
    pub used: u64,
}

impl Buddy {
    pub fn new(pages: u64, rest: Rest, pick: Pick) -> Self {
        let orders = pages.ilog2() as usize + 1;
        let count = usize::try_from(pages).expect("pages");
        let mut buddy = Self {
            rest,
            pick,
            orders,
            heads: vec![NONE; orders],
            sorted: vec![BTreeSet::new(); orders],
            filled: 0,
            next: vec![NONE; count],
            prev: vec![NONE; count],
            order: vec![TAKEN; count],
            used: 0,
        };
        buddy.push(0, orders - 1);
        buddy
    }

    fn push(&mut self, frame: u32, order: usize) {
        let head = self.heads[order];
        (self.next[frame as usize], self.prev[frame as usize]) = (head, NONE);
        if head != NONE {
            self.prev[head as usize] = frame;
        }
        self.heads[order] = frame;
        self.order[frame as usize] = order as u8;
        self.filled |= 1 << order;
        if self.pick == Pick::Lowest {
            self.sorted[order].insert(frame);
        }
    }

    fn remove(&mut self, frame: u32, order: usize) {
        let (next, prev) = (self.next[frame as usize], self.prev[frame as usize]);
        match prev {
            NONE => self.heads[order] = next,
            prev => self.next[prev as usize] = next,
        }
        if next != NONE {
            self.prev[next as usize] = prev;
        }
        if self.heads[order] == NONE {
            self.filled &= !(1 << order);
        }
        self.order[frame as usize] = TAKEN;
        if self.pick == Pick::Lowest {
            self.sorted[order].remove(&frame);
        }
    }

    /// First page of so many in a row, or nothing.
    pub fn alloc(&mut self, pages: u64) -> Option<u64> {
        let order = pages.next_power_of_two().ilog2() as usize;
        if order >= self.orders {
            return None;
        }
        let fitting = self.filled >> order << order;
        if fitting == 0 {
            return None;
        }
        let mut have = fitting.trailing_zeros() as usize;
        let frame = self.sorted[have].first().copied().unwrap_or(self.heads[have]);
        self.remove(frame, have);
        while have > order {
            have -= 1;
            self.push(frame + (1 << have), have);
        }
        self.used += 1 << order;
        if self.rest == Rest::Trimmed {
            self.give(u64::from(frame) + pages, (1 << order) - pages);
        }
        Some(frame.into())
    }

    /// Gives back what [`Buddy::alloc`] gave for `pages`.
    pub fn free(&mut self, start: u64, pages: u64) {
        match self.rest {
            Rest::Kept => self.give(start, pages.next_power_of_two()),
            Rest::Trimmed => self.give(start, pages),
        }
    }

    /// Gives back a range, in aligned blocks.
    fn give(&mut self, mut start: u64, mut pages: u64) {
        self.used -= pages;
        while pages > 0 {
            let aligned = if start == 0 { self.orders - 1 } else { start.trailing_zeros() as usize };
            let order = aligned.min(pages.ilog2() as usize);
            self.merge(start as u32, order);
            start += 1 << order;
            pages -= 1 << order;
        }
    }

    fn merge(&mut self, mut frame: u32, mut order: usize) {
        while order + 1 < self.orders {
            let other = frame ^ (1 << order);
            if self.order[other as usize] as usize != order {
                break;
            }
            self.remove(other, order);
            frame &= !(1 << order);
            order += 1;
        }
        self.push(frame, order);
    }
}
