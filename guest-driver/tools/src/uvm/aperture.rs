// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Which addresses memory may have that CPU and devices name alike.
//!
//! Addresses are canonical: those of the lower half, below 2^47. What every device reaches is shared. Where that goes to
//! the end of the lower half, any address of the process will do. Else a range of it is reserved: as large as there is,
//! or half of that, and so on until it fits.

use uvm_spec::PAGE_SIZE;

/// Bytes of a process's addresses.
pub const PROCESS: u64 = 1 << 47;
/// Nothing is put below: a pointer that is nearly null is to stay wrong.
pub const LOWEST: u64 = 64 << 10;
/// The least that is worth reserving.
pub const LEAST: u64 = 64 << 20;
/// What reservations start at multiples of.
pub const ALIGNMENT: u64 = 2 << 20;
/// How many places are tried for one size.
const PLACES: u64 = 64;

/// Addresses from `first` up to, but not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub first: u64,
    /// Behind the last.
    pub end: u64,
}

impl Range {
    /// Bytes.
    pub fn bytes(self) -> u64 {
        self.end.saturating_sub(self.first)
    }
}

/// How the process shares its addresses with the devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aperture<R> {
    /// Any address.
    Whole,
    /// Addresses of this reservation.
    Reserved(R),
}

/// What all of `devices` reach, of the process's addresses; None if that is nothing.
pub fn common(devices: impl IntoIterator<Item = Range>) -> Option<Range> {
    let all = Range { first: LOWEST, end: PROCESS };
    let meet = |a: Range, b: Range| Range { first: a.first.max(b.first), end: a.end.min(b.end) };
    let range = devices.into_iter().fold(all, meet);
    (range.first < range.end).then_some(range)
}

/// Finds the aperture in `range`: `reserve` reserves bytes at an address or refuses. None where nothing fits.
pub fn choose<R>(range: Range, mut reserve: impl FnMut(u64, u64) -> Option<R>) -> Option<Aperture<R>> {
    if range.first <= LOWEST && range.end >= PROCESS {
        return Some(Aperture::Whole);
    }
    let first = range.first.checked_next_multiple_of(ALIGNMENT)?;
    let end = range.end / ALIGNMENT * ALIGNMENT;
    let mut bytes = end.checked_sub(first)?;
    while bytes >= LEAST {
        // High places first: programs and heaps are low, and a device's reach ends low as well.
        let room = end - first - bytes;
        let step = (room / PLACES).next_multiple_of(ALIGNMENT).max(ALIGNMENT);
        let places = (0..=room / step).map(|n| first + (room - n * step) / ALIGNMENT * ALIGNMENT);
        if let Some(reserved) = places.into_iter().find_map(|at| reserve(at, bytes)) {
            return Some(Aperture::Reserved(reserved));
        }
        bytes = (bytes / 2).checked_next_multiple_of(ALIGNMENT)?;
        if bytes < LEAST * 2 && bytes > LEAST {
            bytes = LEAST;
        }
    }
    None
}

/// Where in a free stretch an allocation of `bytes` may lie: large ones on 2 MiB, so that page tables need few entries.
pub fn place(free: Range, bytes: u64) -> Option<u64> {
    let alignment = if bytes >= ALIGNMENT { ALIGNMENT } else { PAGE_SIZE };
    let at = free.first.checked_next_multiple_of(alignment)?;
    (at.checked_add(bytes)? <= free.end).then_some(at)
}

/// Hands out addresses of a range, with a page between two allocations that neither has: what runs over its end is found.
#[derive(Debug)]
pub struct Addresses {
    free: Vec<Range>,
}

impl Addresses {
    /// All of `range` is free.
    pub fn new(range: Range) -> Self {
        Self { free: vec![range] }
    }
    /// `bytes`, whole pages, with a guard page behind them. None where no stretch is long enough.
    pub fn take(&mut self, bytes: u64) -> Option<u64> {
        let guarded = bytes.checked_add(PAGE_SIZE)?;
        let (n, at) = self.free.iter().enumerate().find_map(|(n, free)| Some((n, place(*free, guarded)?)))?;
        let free = self.free.remove(n);
        for rest in [Range { first: at + guarded, end: free.end }, Range { first: free.first, end: at }] {
            if rest.bytes() > 0 {
                self.free.insert(n, rest);
            }
        }
        Some(at)
    }
    /// Takes back what [`Addresses::take`] gave.
    pub fn give(&mut self, at: u64, bytes: u64) {
        let mut back = Range { first: at, end: at + bytes + PAGE_SIZE };
        let n = self.free.partition_point(|free| free.first < at);
        if self.free.get(n).is_some_and(|next| next.first == back.end) {
            back.end = self.free.remove(n).end;
        }
        match n.checked_sub(1).and_then(|n| self.free.get_mut(n)) {
            Some(before) if before.end == back.first => before.end = back.end,
            _ => self.free.insert(n, back),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const GIB: u64 = 1 << 30;

    #[test]
    fn what_every_device_reaches_is_shared_and_canonical() {
        let reach = |first, end| Range { first, end };
        assert_eq!(common([]), Some(reach(LOWEST, PROCESS)));
        assert_eq!(common([reach(0, 1 << 48)]), Some(reach(LOWEST, PROCESS)));
        assert_eq!(common([reach(GIB, 1 << 39), reach(0, 1 << 40)]), Some(reach(GIB, 1 << 39)));
        assert_eq!(common([reach(0, GIB), reach(GIB, 1 << 40)]), None);
    }

    #[test]
    fn a_device_that_reaches_all_lets_any_address_do() {
        let never = |_, _| -> Option<u64> { panic!("nothing needs to be reserved") };
        assert_eq!(choose(common([Range { first: 0, end: 1 << 48 }]).unwrap(), never), Some(Aperture::Whole));
    }

    #[test]
    fn the_reservation_is_halved_until_it_fits() {
        let mut sizes = Vec::new();
        let chosen = choose(Range { first: LOWEST, end: 8 * GIB }, |at, bytes| {
            assert!(at >= LOWEST && at + bytes <= 8 * GIB && at % ALIGNMENT == 0 && bytes % ALIGNMENT == 0);
            sizes.push(bytes);
            (bytes <= GIB).then_some((at, bytes))
        });
        let Some(Aperture::Reserved((_, bytes))) = chosen else { panic!("{chosen:?}") };
        sizes.dedup();
        assert!(sizes.len() == 4 && sizes[0] > 7 * GIB && bytes > GIB / 2, "{sizes:?}");
        assert!(sizes.windows(2).all(|two| two[1] <= two[0] / 2 + ALIGNMENT), "{sizes:?}");
    }

    #[test]
    fn a_hole_between_mappings_is_found() {
        // Everything is in use but one stretch in the middle, which is off every place of a large step.
        let hole = Range { first: 3 * GIB + 6 * ALIGNMENT, end: 3 * GIB + 6 * ALIGNMENT + 700 * (1 << 20) };
        let chosen = choose(Range { first: LOWEST, end: 8 * GIB }, |at, bytes| {
            (at >= hole.first && at + bytes <= hole.end).then_some((at, bytes))
        });
        let Some(Aperture::Reserved((_, bytes))) = chosen else { panic!("{chosen:?}") };
        assert!(bytes >= LEAST);
    }

    #[test]
    fn nothing_is_reserved_where_too_little_is_left() {
        assert_eq!(choose::<u64>(Range { first: LOWEST, end: GIB }, |_, _| None), None);
        assert_eq!(choose(Range { first: LOWEST, end: LEAST / 2 }, |at, _| Some(at)), None);
    }

    #[test]
    fn allocations_never_touch_and_all_comes_back() {
        let range = Range { first: GIB, end: GIB + (64 << 20) };
        let mut addresses = Addresses::new(range);
        let mut rng = Rng::new(5);
        let mut held: Vec<(u64, u64)> = Vec::new();
        for _ in 0..5000 {
            if rng.below(2) == 0 {
                let bytes = rng.size(4 << 20).next_multiple_of(PAGE_SIZE);
                let Some(at) = addresses.take(bytes) else { continue };
                assert!(at >= range.first && at + bytes + PAGE_SIZE <= range.end);
                assert!(bytes < ALIGNMENT || at % ALIGNMENT == 0);
                // A guard page between any two.
                assert!(held.iter().all(|&(a, n)| a + n + PAGE_SIZE <= at || at + bytes + PAGE_SIZE <= a));
                held.push((at, bytes));
            } else if !held.is_empty() {
                let (at, bytes) = held.swap_remove(rng.index(held.len()));
                addresses.give(at, bytes);
            }
        }
        held.drain(..).for_each(|(at, bytes)| addresses.give(at, bytes));
        assert_eq!(addresses.free, [range]);
    }
}
