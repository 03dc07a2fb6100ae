// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A stream buffer: a client that walks page after page gets the entries of a whole line of the page table at once.
//!
//! It stands before the L1 and is as stale as that one: what it holds stays in use until an invalidation. An entry that
//! does not translate is never held.

use super::{walk, Access, Context, Memory, Phys, Space, Translation};
use uvm_spec::{pte, PAGE_SHIFT, PAGE_SIZE};
use walk::LINE;

/// Bytes that a line's pages cover.
const SPAN: u64 = LINE as u64 * PAGE_SIZE;

/// The line that a stream reads, and where the stream goes on.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Address of the first page and VMID; no address has all bits set.
    key: u64,
    /// Where each page lies, bit 0 set in system memory, and its entry; 0 where there is none.
    pages: [(u64, u64); LINE],
    /// The page that a stream would walk next, and its VMID.
    next: u64,
}

impl Default for Stream {
    fn default() -> Self {
        Self { key: u64::MAX, pages: [(0, 0); LINE], next: u64::MAX }
    }
}

fn key(vmid: u8, va: u64) -> u64 {
    va & !(SPAN - 1) | u64::from(vmid)
}

impl Stream {
    /// The translation of `va`, if the line has it and allows `access`.
    #[inline]
    pub fn look_up(&self, vmid: u8, va: u64, access: Access) -> Option<Translation> {
        if self.key != key(vmid, va) {
            return None;
        }
        let needed = match access {
            Access::Read => pte::READABLE,
            Access::Write => pte::WRITEABLE,
            Access::Execute => pte::EXECUTABLE,
        };
        let &(at, entry) = self.pages.get(usize::try_from(va % SPAN / PAGE_SIZE).ok()?)?;
        if entry & needed == 0 {
            return None;
        }
        let space = if at & 1 == 0 { Space::Vram } else { Space::System };
        let offset = va % PAGE_SIZE;
        let at = Some(Phys { space, addr: (at & !1) | offset });
        Some(Translation { at, len: PAGE_SIZE - offset, entry, bits: PAGE_SHIFT })
    }
    /// The page of `va` was walked. Where that goes on from the page before, the rest of its line is fetched.
    pub fn walked(&mut self, memory: &Memory<'_>, context: &Context, vmid: u8, va: u64) {
        let page = va & !(PAGE_SIZE - 1) | u64::from(vmid);
        let goes_on = page == self.next;
        self.next = page.wrapping_add(PAGE_SIZE);
        if !goes_on {
            return;
        }
        let Some(line) = walk::line(memory, context, va) else { return };
        self.key = key(vmid, va);
        self.next = self.key.wrapping_add(SPAN);
        for (slot, page) in self.pages.iter_mut().zip(line) {
            // An address that is no page's has no place in it; bit 0 tells the memory.
            *slot = page
                .filter(|(at, _)| at.addr % PAGE_SIZE == 0)
                .map_or((0, 0), |(at, entry)| (at.addr | u64::from(at.space == Space::System), entry));
        }
    }
}
