// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The `vidmm` MMU profile: a three-level GART whose first level is in registers.
//!
//! A 39-bit space. The first level's 512 entries are register pairs from [`MMIO_MMU_START_ADDRESS`](const@MMIO_MMU_START_ADDRESS)
//! on, 1 GiB each; the second level (2 MiB an entry) and the third (4 KiB) are tables in local memory. Entries are those
//! of [`crate::pte`]: the first two levels directory entries, the third page table entries. The block is decoded only
//! with this profile, where it takes the place of VMID 0's page table.

use crate::Block;

/// The first level.
pub const VIDMM: Block = Block { prefix: "", base: 0x1c000, regs: REGS };
/// First-level entries.
pub const ENTRIES: u32 = 512;
/// log2 of the bytes that a first-level entry maps.
pub const ENTRY_SHIFT: u32 = 30;

registers! {
    /// Switch. While off, nothing outside the untranslated apertures translates.
    MMIO_MMU_CNTL = "MMIO_MMU_CNTL" @ 0x0 Rw { ENABLE 0 }
    /// First-level entries: elements 2n (low dword) and 2n + 1 (high dword) map bytes n << 30 and up.
    MMIO_MMU_START_ADDRESS = "MMIO_MMU_START_ADDRESS_{}" @ 0x400 [1024; 1] Rw {}
}
