// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The two ways in which something is kept: in a table that grows where it may fail, or in a short list that
//! does not grow at all.

use alloc::vec::Vec;

use crate::error::Error;

/// Appends to a table. In the kernel, where an allocation that cannot fail does not exist, this is also the
/// only way to: the build leaves such methods as `Vec::push` out of `alloc`.
pub(crate) fn try_push<T>(table: &mut Vec<T>, value: T) -> Result<(), Error> {
    table.try_reserve(1)?;
    #[cfg(not(uvm_kernel))]
    table.push(value);
    #[cfg(uvm_kernel)]
    table.push_within_capacity(value).map_err(|_| Error::NoMemory)?;
    Ok(())
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
