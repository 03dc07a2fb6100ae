// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The two ways in which something is kept: in a table that grows where it may fail, or in a short list that
//! does not grow at all.

use alloc::vec::Vec;

use crate::error::Error;

/// More than a table can have.
const MAX_LEN: usize = isize::MAX as usize;
/// What a table begins with.
const FIRST_CAPACITY: usize = 4;

/// Appends to a table. In the kernel, where an allocation that cannot fail does not exist, this is also the
/// only way to: the build leaves such methods as `Vec::push` out of `alloc`.
pub(crate) fn try_push<T>(table: &mut Vec<T>, value: T) -> Result<(), Error> {
    // Never so; but without the check the compiler sees an addition that could overflow, and keeps a panic for it.
    if table.len() >= MAX_LEN {
        return Err(Error::NoMemory);
    }
    try_reserve(table, 1)?;
    #[cfg(not(uvm_kernel))]
    table.push(value);
    #[cfg(uvm_kernel)]
    table.push_within_capacity(value).map_err(|_| Error::NoMemory)?;
    Ok(())
}

/// Makes room for so many more, and for as many as there are: `Vec::try_reserve` with no panic in it.
pub(crate) fn try_reserve<T>(table: &mut Vec<T>, more: usize) -> Result<(), Error> {
    if table.capacity().saturating_sub(table.len()) < more {
        table.try_reserve_exact(more.max(table.capacity()).max(FIRST_CAPACITY))?;
    }
    Ok(())
}

/// Takes out each item that equals `item`; the others keep their order.
pub(crate) fn remove_item<T: Copy + PartialEq>(table: &mut Vec<T>, item: T) {
    let mut kept = 0usize;
    for i in 0..table.len() {
        let Some(other) = table.get(i).copied().filter(|other| *other != item) else { continue };
        if let Some(place) = table.get_mut(kept) {
            *place = other;
        }
        kept = kept.saturating_add(1);
    }
    table.truncate(kept);
}

/// Number of items. `Iterator::count` adds with a check, which is a panic in the kernel build.
pub(crate) fn count(items: impl Iterator) -> usize {
    items.fold(0, |count: usize, _| count.saturating_add(1))
}

/// Number of items at the start of a sorted table that `is_low`, for the same reason.
pub(crate) fn partition_point<T>(table: &[T], is_low: impl Fn(&T) -> bool) -> usize {
    let (mut low, mut high) = (0usize, table.len());
    while low < high {
        let middle = low.saturating_add(high.saturating_sub(low) >> 1);
        match table.get(middle) {
            Some(item) if is_low(item) => low = middle.saturating_add(1),
            _ => high = middle,
        }
    }
    low
}

/// At most `N` things. What does not fit is dropped: callers choose `N` so that this cannot happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Few<T, const N: usize> {
    items: [T; N],
    len: usize,
}

impl<T: Copy, const N: usize> Few<T, N> {
    /// An empty list; `filler` is never seen.
    pub(crate) const fn new(filler: T) -> Self {
        Self { items: [filler; N], len: 0 }
    }

    pub(crate) fn push(&mut self, item: T) {
        if let Some(place) = self.items.get_mut(self.len) {
            *place = item;
            self.len = self.len.saturating_add(1);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        self.items.get(self.len).copied()
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        self.items.get(..self.len).unwrap_or(&[])
    }
}
