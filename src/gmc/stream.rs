// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A stream buffer: a client that walks page after page gets the entries of a whole line of the page table at once.
//!
//! It stands before the L1 and is as stale as that one: what it holds stays in use until an invalidation. An entry that
//! does not translate is never held.

use super::walk::{self, Page, Start, LINE};
use super::{Access, Context, Memory};
use uvm_spec::PAGE_SIZE;

/// Bytes that a line's pages cover.
const SPAN: u64 = LINE as u64 * PAGE_SIZE;

/// The line that a stream reads, and where the stream goes on.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Address of the first page and VMID; no address has all bits set.
    key: u64,
    pages: [Page; LINE],
    /// The page that a stream would walk next, and its VMID.
    next: u64,
}

impl Default for Stream {
    fn default() -> Self {
        Self { key: u64::MAX, pages: [Page::default(); LINE], next: u64::MAX }
    }
}

fn key(vmid: u8, va: u64) -> u64 {
    va & !(SPAN - 1) | u64::from(vmid)
}

impl Stream {
    /// The page of `va`, if the line has it and it allows `access`.
    #[inline]
    pub fn look_up(&self, vmid: u8, va: u64, access: Access) -> Option<Page> {
        if self.key != key(vmid, va) {
            return None;
        }
        let page = self.pages.get(usize::try_from(va % SPAN / PAGE_SIZE).ok()?)?;
        access.is_allowed(page.entry).then_some(*page)
    }
    /// The pages that it holds: VMID, address, page.
    pub fn pages(&self) -> impl Iterator<Item = (u8, u64, Page)> + '_ {
        #[allow(clippy::cast_possible_truncation)] // the low bits hold a VMID
        let (vmid, first) = (self.key as u8 & 0xf, self.key & !(SPAN - 1));
        let held = (0u64..).zip(&self.pages).filter(|(_, page)| self.key != u64::MAX && page.entry != 0);
        held.map(move |(n, page)| (vmid, first + n * PAGE_SIZE, *page))
    }
    /// Fetches the line of `va` if the stream goes on there from its last page; the walk starts at `from`.
    pub fn go_on(
        &mut self,
        memory: &Memory<'_>,
        context: &Context,
        from: Start,
        va: u64,
        access: Access,
    ) -> Option<Page> {
        let vmid = context.vmid;
        if va & !(PAGE_SIZE - 1) | u64::from(vmid) != self.next {
            return None;
        }
        self.pages = walk::line(memory, context, from, va)?;
        self.key = key(vmid, va);
        self.next = self.key.wrapping_add(SPAN);
        self.look_up(vmid, va, access)
    }
    /// The page of `va` was walked by itself.
    pub fn walked(&mut self, vmid: u8, va: u64) {
        self.next = (va & !(PAGE_SIZE - 1) | u64::from(vmid)).wrapping_add(PAGE_SIZE);
    }
}
