// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Process address space ids: 16 bits, by which interrupts and faults name a process.

use alloc::vec::Vec;

use crate::error::Error;
use crate::table::try_push;

const WORDS: usize = (1 << 16) / 64;

/// The PASIDs given out. Zero never is: it means "no process" in an interrupt vector.
///
/// They are given out in a circle, so one that was given back comes again as late as possible: a fault that was
/// still on its way when its process ended then names nobody rather than somebody else.
pub(crate) struct Pasids {
    /// A bit for each; empty until the first is wanted.
    taken: Vec<u64>,
    /// Where the search begins.
    next: u16,
}

impl Pasids {
    pub(crate) const fn new() -> Self {
        Self { taken: Vec::new(), next: 1 }
    }

    /// Takes one; [`Error::NoSpace`] when all 65535 are taken.
    pub(crate) fn take(&mut self) -> Result<u16, Error> {
        if self.taken.len() < WORDS {
            self.taken.try_reserve_exact(WORDS)?;
            while self.taken.len() < WORDS {
                let zero = u64::from(self.taken.is_empty());
                try_push(&mut self.taken, zero)?;
            }
        }
        let pasid = self.free_from(self.next).or_else(|| self.free_from(1)).ok_or(Error::NoSpace)?;
        self.set(pasid, true);
        self.next = pasid.wrapping_add(1).max(1);
        Ok(pasid)
    }

    /// Gives one back.
    pub(crate) fn put(&mut self, pasid: u16) {
        self.set(pasid, false);
    }

    /// The first free one from `start` on: a word at a time.
    fn free_from(&self, start: u16) -> Option<u16> {
        let (first, bit) = (usize::from(start >> 6), start & 63);
        let below = 1u64.wrapping_shl(u32::from(bit)).wrapping_sub(1);
        (first..WORDS).find_map(|index| {
            let word = self.taken.get(index)?;
            let busy = if index == first { word | below } else { *word };
            let free = u16::try_from(busy.trailing_ones()).ok().filter(|free| *free < 64)?;
            u16::try_from(index).ok()?.checked_mul(64)?.checked_add(free)
        })
    }

    fn set(&mut self, pasid: u16, taken: bool) {
        let bit = 1u64.wrapping_shl(u32::from(pasid & 63));
        if let Some(word) = self.taken.get_mut(usize::from(pasid >> 6)) {
            *word = if taken { *word | bit } else { *word & !bit };
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn freed_pasid_comes_again_after_all_others() {
        let mut pasids = Pasids::new();
        let first = pasids.take().unwrap();
        pasids.put(first);

        let others: Vec<u16> = (0..65534).map(|_| pasids.take().unwrap()).collect();

        assert_eq!(first, 1);
        assert!(!others.contains(&first) && !others.contains(&0));
        assert_eq!(pasids.take(), Ok(first));
        assert_eq!(pasids.take(), Err(Error::NoSpace));
        pasids.put(40_000);
        assert_eq!(pasids.take(), Ok(40_000));
    }
}
