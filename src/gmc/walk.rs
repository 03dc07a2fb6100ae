// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The page-table walker: a pure function of memory, context, address and access.

use super::{Access, Cause, Fault, Memory, Phys, Space};
use uvm_spec::{pte, PAGE_SHIFT, PAGE_SIZE};

/// An address space as its registers describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Its number, for faults.
    pub vmid: u8,
    /// Whether it translates at all.
    pub enabled: bool,
    /// Levels above the page table: 0 is one flat table.
    pub depth: u8,
    /// log2 of the pages that a page table maps, 9 or more.
    pub block_bits: u32,
    /// First page number.
    pub start: u64,
    /// Last page number.
    pub end: u64,
    /// Root: VALID, SYSTEM and the table's address, as in a directory entry.
    pub base: u64,
    /// VRAM's place in the entries' address space, bytes.
    pub fb_offset: u64,
}

/// A translated address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Where the byte lies; None for a partially resident page, which reads as zero and drops writes.
    pub at: Option<Phys>,
    /// Bytes from there that translate alike.
    pub len: u64,
    /// The entry that maps it.
    pub entry: u64,
}

impl Context {
    fn phys(&self, entry: u64, mask: u64) -> Option<Phys> {
        let addr = entry & mask;
        if entry & pte::SYSTEM != 0 {
            return Some(Phys { space: Space::System, addr });
        }
        Some(Phys { space: Space::Vram, addr: addr.checked_sub(self.fb_offset)? })
    }
}

/// Translates `va` for `access`.
pub fn walk(memory: &Memory<'_>, ctx: &Context, va: u64, access: Access) -> Result<Translation, Fault> {
    let fault = |cause| Fault { vmid: ctx.vmid, va, access, cause };
    let page = va >> PAGE_SHIFT;
    if !ctx.enabled || page < ctx.start || page > ctx.end {
        return Err(fault(Cause::Range));
    }
    // Tables index pages from the start of the space.
    let index = page - ctx.start;
    let mut entry = ctx.base;
    let mut level = ctx.depth;
    loop {
        let table = ctx.phys(entry, pte::PDE_ADDR).ok_or(fault(Cause::Nack))?;
        let shift = if level == 0 { 0 } else { ctx.block_bits + pte::LEVEL_BITS * (u32::from(level) - 1) };
        let slot = match level {
            _ if level == ctx.depth => index >> shift,
            0 => index & ((1 << ctx.block_bits) - 1),
            _ => (index >> shift) & ((1 << pte::LEVEL_BITS) - 1),
        };
        let at = slot.checked_mul(pte::ENTRY_BYTES).and_then(|o| table.offset(o)).ok_or(fault(Cause::Nack))?;
        entry = memory.load::<u64>(at).ok_or(fault(Cause::Nack))?;
        if level == 0 || entry & (pte::PDE_PTE | pte::VALID) == pte::PDE_PTE | pte::VALID {
            let size = 1u64 << (shift + PAGE_SHIFT);
            let offset = (index & ((1 << shift) - 1)) << PAGE_SHIFT;
            let mut found = leaf(ctx, entry, va, offset, size, access).map_err(fault)?;
            // A large page may reach past the end of the space; what is past it is no part of the translation.
            let left = ((ctx.end - page).saturating_add(1).saturating_mul(PAGE_SIZE)) - va % PAGE_SIZE;
            found.len = found.len.min(left);
            return Ok(found);
        }
        if entry & pte::VALID == 0 {
            // A partially resident directory entry makes all below it partially resident.
            if entry & pte::PRT != 0 {
                return Ok(Translation { at: None, len: (1 << PAGE_SHIFT) - (va & 0xfff), entry });
            }
            return Err(fault(Cause::Pde(level - 1)));
        }
        level -= 1;
    }
}

/// The end of a walk: `entry` maps `size` bytes, of which the page of `va` starts at `offset`.
fn leaf(ctx: &Context, entry: u64, va: u64, offset: u64, size: u64, access: Access) -> Result<Translation, Cause> {
    let offset = offset | va & ((1 << PAGE_SHIFT) - 1);
    let len = size - offset;
    if entry & pte::VALID == 0 {
        return match entry & pte::PRT {
            0 => Err(Cause::Valid),
            _ => Ok(Translation { at: None, len, entry }),
        };
    }
    let needed = match access {
        Access::Read => pte::READABLE,
        Access::Write => pte::WRITEABLE,
        Access::Execute => pte::EXECUTABLE,
    };
    if entry & needed == 0 {
        return Err(Cause::Permission);
    }
    let at = ctx.phys(entry, pte::PTE_ADDR).and_then(|p| p.offset(offset)).ok_or(Cause::Nack)?;
    Ok(Translation { at: Some(at), len, entry })
}
