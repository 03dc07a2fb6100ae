// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The pages of a block: a set of 512, a bit each.

use core::ops::{BitAnd, BitOr, BitOrAssign, Not};

/// Bytes of a page, as a shift.
pub const PAGE_SHIFT: u32 = 12;
/// log2 of the pages of a block.
pub const BLOCK_ORDER: u32 = 9;
/// Pages of a block.
pub const BLOCK_PAGES: u32 = 1 << BLOCK_ORDER;
/// Bytes of a block, as a shift: 2 MiB.
pub const BLOCK_SHIFT: u32 = PAGE_SHIFT + BLOCK_ORDER;
const WORDS: usize = 8;

/// Number of the block that holds an address.
pub(crate) fn block_of(va: u64) -> u64 {
    va >> BLOCK_SHIFT
}

/// Number of an address's page in its block.
#[allow(clippy::cast_possible_truncation)] // nine bits
pub(crate) fn page_of(va: u64) -> u32 {
    (va >> PAGE_SHIFT) as u32 & (BLOCK_PAGES - 1)
}

/// First address of a block.
pub(crate) fn block_va(block: u64) -> u64 {
    block.wrapping_shl(BLOCK_SHIFT)
}

/// A set of pages of one block. Bit `n & 63` of word `n >> 6` is page `n`, as in a bitmap of the kernel's on a
/// 64-bit machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Pages(pub [u64; WORDS]);

/// The lowest `n` bits; all for 64 and more.
fn low_bits(n: u32) -> u64 {
    if n >= 64 {
        u64::MAX
    } else {
        1u64.wrapping_shl(n).wrapping_sub(1)
    }
}

impl Pages {
    /// No page.
    pub const NONE: Self = Self([0; WORDS]);
    /// The whole block.
    pub const ALL: Self = Self([u64::MAX; WORDS]);

    /// The pages `[first, end)`, as far as the block has them.
    pub fn range(first: u32, end: u32) -> Self {
        let mut pages = Self::NONE;
        for (word, base) in pages.0.iter_mut().zip((0u32..).step_by(64)) {
            *word = low_bits(end.saturating_sub(base)) & !low_bits(first.saturating_sub(base));
        }
        pages
    }

    /// The aligned 2^order pages around page `n`.
    pub fn around(n: u32, order: u32) -> Self {
        let len = 1u32.wrapping_shl(order.min(BLOCK_ORDER));
        let first = n & !len.wrapping_sub(1);
        Self::range(first, first.saturating_add(len))
    }

    /// The pages that the bytes `[start, end)` touch in a block.
    pub(crate) fn of_bytes(block: u64, start: u64, end: u64) -> Self {
        let base = block_va(block);
        let last = 1u64 << BLOCK_SHIFT;
        let from = start.saturating_sub(base).min(last);
        let to = end.saturating_sub(base).min(last);
        if from >= to {
            return Self::NONE;
        }
        let page = |at: u64| u32::try_from(at >> PAGE_SHIFT).unwrap_or(BLOCK_PAGES);
        Self::range(page(from), page(to.saturating_add((1 << PAGE_SHIFT) - 1)))
    }

    /// Whether page `n` is in it.
    pub fn has(&self, n: u32) -> bool {
        self.0.get((n >> 6) as usize).is_some_and(|word| word.wrapping_shr(n & 63) & 1 == 1)
    }

    /// Puts page `n` in.
    pub fn add(&mut self, n: u32) {
        if let Some(word) = self.0.get_mut((n >> 6) as usize) {
            *word |= 1u64.wrapping_shl(n & 63);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.0.iter().fold(0, |sum, word| word.count_ones().saturating_add(sum))
    }

    /// Those that are not in `other`.
    pub fn minus(self, other: Self) -> Self {
        self & !other
    }

    /// The first one from page `n` on.
    pub fn next(&self, n: u32) -> Option<u32> {
        for (word, base) in self.0.iter().zip((0u32..).step_by(64)) {
            let rest = *word & !low_bits(n.saturating_sub(base));
            if rest != 0 {
                return Some(base.saturating_add(rest.trailing_zeros()));
            }
        }
        None
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let pages = *self;
        let mut at = 0;
        core::iter::from_fn(move || {
            let page = pages.next(at)?;
            at = page.saturating_add(1);
            Some(page)
        })
    }
}

impl BitAnd for Pages {
    type Output = Self;
    fn bitand(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a &= b);
        self
    }
}

impl BitOr for Pages {
    type Output = Self;
    fn bitor(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a |= b);
        self
    }
}

impl BitOrAssign for Pages {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl Not for Pages {
    type Output = Self;
    fn not(mut self) -> Self {
        self.0.iter_mut().for_each(|word| *word = !*word);
        self
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// Against a list of booleans.
    #[test]
    fn ranges_are_what_a_list_says() {
        for (first, end) in [(0, 0), (0, 512), (3, 4), (63, 65), (64, 128), (5, 300), (511, 512), (9, 4), (0, 9999)] {
            let pages = Pages::range(first, end);
            let listed: Vec<u32> = (0..512).filter(|n| *n >= first && *n < end).collect();
            assert_eq!(pages.iter().collect::<Vec<_>>(), listed, "{first}..{end}");
            assert_eq!(pages.count() as usize, listed.len());
            assert!((0..600).all(|n| pages.has(n) == listed.contains(&n)));
        }
    }

    #[test]
    fn bytes_round_outwards_and_stay_in_their_block() {
        let base = 7 << BLOCK_SHIFT;
        assert_eq!(Pages::of_bytes(7, base + 1, base + 4097), Pages::range(0, 2));
        assert_eq!(Pages::of_bytes(7, 0, u64::MAX), Pages::ALL);
        assert_eq!(Pages::of_bytes(7, 0, base), Pages::NONE);
        assert_eq!(Pages::of_bytes(7, base + (2 << 20), u64::MAX), Pages::NONE);
        assert_eq!(Pages::around(37, 4), Pages::range(32, 48));
        assert_eq!(Pages::around(37, 40), Pages::ALL);
    }
}
