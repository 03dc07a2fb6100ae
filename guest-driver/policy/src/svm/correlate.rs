// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Prefetch by correlation: which block a process faults on after which. A table of bounded size a process, in the
//! manner of a cache: sets of two, of which the less recently used one makes room.
//!
//! What is brought of a block is what came to VRAM the last time that it was there. What was brought by a guess raises no fault, so the chain would lose it: whoever follows the chain tells where it
//! ended ([`Successors::follow`]), and the next fault is learnt as the successor of that block.

use alloc::vec::Vec;

use crate::error::Error;
use crate::table::{try_push, try_reserve, Few};

/// Longest chain that is followed.
pub(crate) const MAX_DEGREE: usize = 16;
/// log2 of the number of sets.
const SETS: u32 = 8;
const WAYS: usize = 2;
/// Successors that are remembered of a block, the last seen first.
const SUCCESSORS: usize = 4;
/// No block has this number.
const NONE: u64 = u64::MAX;

#[derive(Clone, Copy)]
struct Row {
    block: u64,
    next: [u64; SUCCESSORS],
}

const EMPTY: Row = Row { block: NONE, next: [NONE; SUCCESSORS] };

/// What follows what, of one process.
pub(crate) struct Successors {
    /// Set by set; the more recently used row first.
    rows: Vec<[Row; WAYS]>,
    last: u64,
}

impl Successors {
    pub(crate) fn try_new() -> Result<Self, Error> {
        let mut rows = Vec::new();
        let count = 1usize << SETS;
        try_reserve(&mut rows, count)?;
        for _ in 0..count {
            try_push(&mut rows, [EMPTY; WAYS])?;
        }
        Ok(Self { rows, last: NONE })
    }

    #[allow(clippy::cast_possible_truncation)] // SETS bits
    fn set(block: u64) -> usize {
        (block.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SETS)) as usize
    }

    fn row(&self, block: u64) -> Option<&Row> {
        self.rows.get(Self::set(block))?.iter().find(|row| row.block == block)
    }

    /// A fault on a block.
    pub(crate) fn learn(&mut self, block: u64) {
        let last = core::mem::replace(&mut self.last, block);
        if last == NONE || last == block {
            return;
        }
        let Some([first, second]) = self.rows.get_mut(Self::set(last)) else { return };
        if first.block != last {
            core::mem::swap(first, second);
            if first.block != last {
                *first = Row { block: last, ..EMPTY };
            }
        }
        // To the front; what was there up to its old place, or the last one, moves back.
        let mut carried = block;
        for next in &mut first.next {
            core::mem::swap(next, &mut carried);
            if carried == block {
                break;
            }
        }
    }

    /// The blocks that should follow `block`: its last successor, that one's, and so on, `degree` of them at most.
    /// None is named twice.
    pub(crate) fn follow(&mut self, block: u64, degree: u32, mut take: impl FnMut(u64)) {
        let mut here = block;
        let mut seen = Few::<u64, { MAX_DEGREE + 1 }>::new(NONE);
        for _ in 0..degree.min(u32::try_from(MAX_DEGREE).unwrap_or(0)) {
            seen.push(here);
            let Some(next) = self.row(here).and_then(|row| row.next.first().copied()) else { return };
            if next == NONE || seen.as_slice().contains(&next) {
                return;
            }
            take(next);
            here = next;
            self.last = here;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chain(successors: &mut Successors, block: u64, degree: u32) -> Vec<u64> {
        let mut chain = Vec::new();
        successors.follow(block, degree, |next| chain.push(next));
        chain
    }

    #[test]
    fn a_path_walked_once_is_known() {
        let mut successors = Successors::try_new().unwrap();
        [5, 9, 9, 9, 2, 700].into_iter().for_each(|block| successors.learn(block));

        assert_eq!(chain(&mut successors, 5, 8), [9, 2, 700]);
        assert_eq!(chain(&mut successors, 5, 2), [9, 2]);
        assert_eq!(chain(&mut successors, 6, 2), []);
    }

    #[test]
    fn the_last_successor_comes_first_and_a_cycle_ends() {
        let mut successors = Successors::try_new().unwrap();
        [1, 2, 1, 3, 1, 2, 4, 2].into_iter().for_each(|block| successors.learn(block));

        assert_eq!(chain(&mut successors, 3, 1), [1]);
        assert_eq!(chain(&mut successors, 1, 10), [2, 4], "4 leads back to 2");
    }

    #[test]
    fn a_fault_after_a_followed_chain_continues_it() {
        let mut successors = Successors::try_new().unwrap();
        [1, 2, 3].into_iter().for_each(|block| successors.learn(block));
        successors.learn(50);
        successors.learn(1);
        assert_eq!(chain(&mut successors, 1, 2), [2, 3]);
        successors.learn(4);

        assert_eq!(chain(&mut successors, 1, 3), [2, 3, 4]);
    }
}
