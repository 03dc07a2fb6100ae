// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Injected hangs: a ring stands still in the middle of its work, and says of itself that it is busy.

use super::Sdma;
use crate::inject::Struck;

/// A hang that is still to come.
#[derive(Debug)]
pub(super) struct Hang {
    ring: usize,
    /// Packets that are fetched before.
    after: u64,
    struck: Struck,
}

impl Sdma {
    /// Ring `ring` stands still instead of fetching the packet after `after` more, until it is switched off.
    pub fn hang(&mut self, ring: usize, after: u64, struck: Struck) {
        self.hangs.push(Hang { ring, after, struck });
    }
    /// No hang is to come any more, and rings that hang go on.
    pub fn clear_hangs(&mut self) {
        self.hangs.clear();
        self.rings.iter_mut().for_each(|ring| ring.hung = false);
    }
    /// Ring `ring` is about to fetch a packet: whether it hangs instead.
    #[cold]
    pub(super) fn hangs_now(&mut self, ring: usize) -> bool {
        let mut hung = false;
        self.hangs.retain_mut(|hang| {
            if hang.ring != ring || hung {
                return true;
            }
            if hang.after > 0 {
                hang.after -= 1;
                return true;
            }
            hang.struck.note();
            hung = true;
            false
        });
        if let Some(state) = self.rings.get_mut(ring) {
            state.hung |= hung;
        }
        hung
    }
}
