// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Prefetch by density: a block is a tree of halves; where enough of a half is there or coming, the rest of it is
//! brought too.

use super::pages::{Pages, BLOCK_ORDER};

/// The pages to bring besides `faulted`: for each of these the largest aligned power of two around it of which more
/// than `percent` are in `present` (which has the faulted ones too). Only pages of `eligible`.
pub(crate) fn expand(faulted: Pages, present: Pages, eligible: Pages, percent: u32) -> Pages {
    let mut chosen = Pages::NONE;
    let mut at = 0;
    while let Some(page) = faulted.next(at) {
        let mut end = page.saturating_add(1);
        for order in (1..=BLOCK_ORDER).rev() {
            let half = Pages::around(page, order);
            let there = (half & present).count().saturating_mul(100);
            if there > percent.saturating_mul(1u32.wrapping_shl(order)) {
                chosen |= half;
                // What else faulted in there finds a half that has this one in it, or this one.
                end = page | 1u32.wrapping_shl(order).wrapping_sub(1);
                end = end.saturating_add(1);
                break;
            }
        }
        at = end;
    }
    (chosen & eligible).minus(present)
}
