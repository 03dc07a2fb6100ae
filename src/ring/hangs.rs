// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Injected hangs.

use crate::inject::Struck;

/// Injected hangs of an engine that are still to come: a ring stands still in the middle of its work, and says of itself
/// that it is busy.
#[derive(Debug, Default)]
pub struct Hangs(Vec<Hang>);

#[derive(Debug)]
struct Hang {
    ring: usize,
    /// Packets that are fetched before.
    after: u64,
    struck: Struck,
}

impl Hangs {
    /// Ring `ring` is to hang instead of fetching the packet after `after` more.
    pub fn add(&mut self, ring: usize, after: u64, struck: Struck) {
        self.0.push(Hang { ring, after, struck });
    }
    /// None is to come any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }
    /// Ring `ring` is about to fetch a packet: whether it hangs instead.
    #[inline]
    pub fn strikes(&mut self, ring: usize) -> bool {
        !self.0.is_empty() && self.next(ring)
    }
    #[cold]
    fn next(&mut self, ring: usize) -> bool {
        let mut hung = false;
        self.0.retain_mut(|hang| {
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
        hung
    }
}
