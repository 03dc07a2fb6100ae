// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Page table and page directory entries of GMC v9: 64 bits each.
#![allow(clippy::cast_possible_truncation)] // fields of a few bits

/// Builds the bit constants of an entry.
macro_rules! bits { ($($(#[doc = $doc:literal])+ $name:ident = $bit:literal;)*) => { $($(#[doc = $doc])+ pub const $name: u64 = 1 << $bit;)* } }

bits! {
    /// The entry translates.
    VALID = 0;
    /// The page (or table) lies in system memory, else in VRAM.
    SYSTEM = 1;
    /// System accesses snoop the CPU's caches.
    SNOOPED = 2;
    /// The page is encrypted in VRAM (TMZ).
    TMZ = 3;
    /// Instruction fetches are allowed.
    EXECUTABLE = 4;
    /// Reads are allowed.
    READABLE = 5;
    /// Writes are allowed.
    WRITEABLE = 6;
    /// Partially resident: an invalid page reads as zero and drops writes, without a fault.
    PRT = 51;
    /// Atomics are not allowed, whatever WRITEABLE says. This device's own: see [`crate::fidelity`].
    ATOMIC_DISABLE = 52;
    /// A directory entry that maps a page itself.
    PDE_PTE = 54;
    /// Accesses are logged.
    LOG = 55;
    /// Translate further: a directory-0 entry that points at a table although it looks like a PTE.
    TF = 56;
}

/// Address bits of a PTE: 47:12.
pub const PTE_ADDR: u64 = 0x0000_ffff_ffff_f000;
/// Address bits of a PDE and of a root: 47:6.
pub const PDE_ADDR: u64 = 0x0000_ffff_ffff_ffc0;
/// Lowest bit of FRAGMENT, 5 bits: log2 of the pages that translate alike.
pub const FRAGMENT_SHIFT: u32 = 7;
/// Lowest bit of BLOCK_FRAGMENT_SIZE in a PDE, 5 bits.
pub const BLOCK_FRAGMENT_SHIFT: u32 = 59;
/// Lowest bit of MTYPE, 2 bits: 0 NC, 1 RW, 2 CC, 3 UC.
pub const MTYPE_SHIFT: u32 = 57;
/// Index bits of a directory level.
pub const LEVEL_BITS: u32 = 9;
/// Bytes of an entry.
pub const ENTRY_BYTES: u64 = 8;

/// FRAGMENT of a PTE: log2 of the pages that translate alike, 0..=31.
pub const fn fragment(entry: u64) -> u32 {
    (entry >> FRAGMENT_SHIFT) as u32 & 0x1f
}
/// BLOCK_FRAGMENT_SIZE of a PDE, 0..=31.
pub const fn block_fragment(entry: u64) -> u32 {
    (entry >> BLOCK_FRAGMENT_SHIFT) as u32 & 0x1f
}
/// MTYPE of an entry, 0..=3.
pub const fn mtype(entry: u64) -> u32 {
    (entry >> MTYPE_SHIFT) as u32 & 3
}
/// The names of an entry's set bits, for decoders.
pub const FLAG_NAMES: &[(u64, &str)] = &[
    (VALID, "VALID"),
    (SYSTEM, "SYSTEM"),
    (SNOOPED, "SNOOPED"),
    (TMZ, "TMZ"),
    (EXECUTABLE, "X"),
    (READABLE, "R"),
    (WRITEABLE, "W"),
    (PRT, "PRT"),
    (ATOMIC_DISABLE, "ATOMIC_DISABLE"),
    (PDE_PTE, "PDE_PTE"),
    (LOG, "LOG"),
    (TF, "TF"),
];
