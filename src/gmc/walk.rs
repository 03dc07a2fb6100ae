// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The page-table walker: a pure function of memory, context, address and access.
//!
//! Levels from the root down: PDB3, PDB2, PDB1, PDB0, page table. A directory entry with PDE_PTE maps what it covers
//! itself. BLOCK_FRAGMENT_SIZE of the entry that points at a page table says how many pages (a power of two) each of
//! that table's entries maps; such an entry with TF points at one more table, of single pages (translate further).

use super::{Access, Cause, Fault, Memory, Phys, Space};
use uvm_spec::{pte, PAGE_SHIFT, PAGE_SIZE};

/// An address space as its registers describe it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// An invalid or denied page may be retried.
    pub retry_page: bool,
    /// Other faults may be retried.
    pub retry_other: bool,
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
    /// log2 of the aligned bytes around the address that a cache may keep as one: page and FRAGMENT.
    pub bits: u32,
}

impl Translation {
    /// The same, of which only the first `bytes` are meant.
    pub fn within(self, bytes: u64) -> Self {
        Self { len: self.len.min(bytes), ..self }
    }
}

/// An invalid entry that is never worth a retry, whatever the context says.
const NO_RETRY: u64 = pte::EXECUTABLE | pte::PDE_PTE | pte::TF;
/// The same for tables that use translate-further, where PDE_PTE is not free for it.
const NO_RETRY_TF: u64 = pte::VALID | pte::SYSTEM | pte::PRT;

/// Where a walk starts: at the root, or further down at a directory entry that was read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The entry: of the root as in [`Context::base`].
    pub entry: u64,
    /// Its directory's level: 0 is the one above the page table, the context's depth is the root itself.
    pub level: u8,
}

impl Context {
    /// The root, where every walk starts that has no short cut.
    pub fn root(&self) -> Start {
        Start { entry: self.base, level: self.depth }
    }
    pub(crate) fn phys(&self, entry: u64, mask: u64) -> Option<Phys> {
        let addr = entry & mask;
        if entry & pte::SYSTEM != 0 {
            return Some(Phys { space: Space::System, addr });
        }
        Some(Phys { space: Space::Vram, addr: addr.checked_sub(self.fb_offset)? })
    }
    /// The fault of `va`: retryable if the context says so for its cause, and the entry does not deny it.
    pub(super) fn fault(&self, va: u64, access: Access, cause: Cause, entry: u64) -> Fault {
        let retry = match cause {
            Cause::Pde(_) | Cause::Valid | Cause::Permission => self.retry_page && entry & NO_RETRY != NO_RETRY,
            Cause::NoRetry => false,
            _ => self.retry_other,
        };
        let cause = if cause == Cause::NoRetry { Cause::Valid } else { cause };
        Fault { vmid: self.vmid, va, access, cause, retry }
    }
    /// Entry `slot` of the table that `table` points at.
    #[inline]
    fn load(
        &self,
        memory: &Memory<'_>,
        table: u64,
        slot: u64,
        step: Step,
        see: &mut impl FnMut(Look),
    ) -> Result<u64, Cause> {
        let table = self.phys(table, pte::PDE_ADDR).ok_or(Cause::Nack)?;
        let at = slot.checked_mul(pte::ENTRY_BYTES).and_then(|o| table.offset(o)).ok_or(Cause::Nack)?;
        let entry = memory.load::<u64>(at);
        see(Look { step, slot, at, entry });
        entry.ok_or(Cause::Nack)
    }
}

/// Which table a walk looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A directory of this level: 0 is the one above the page table.
    Directory(u8),
    /// The page table.
    Table,
    /// The table of single pages behind an entry with TF.
    Further,
}

/// A walk's look at an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// In which table.
    pub step: Step,
    /// Which entry of it.
    pub slot: u64,
    /// Where the entry lies.
    pub at: Phys,
    /// The entry; None where no memory is.
    pub entry: Option<u64>,
}

/// log2 of the pages that an entry in a directory of level `level` covers.
#[inline]
pub(super) fn shift(ctx: &Context, level: u8) -> u32 {
    ctx.block_bits + pte::LEVEL_BITS * u32::from(level)
}

/// Translates `va` for `access`.
pub fn walk(memory: &Memory<'_>, ctx: &Context, va: u64, access: Access) -> Result<Translation, Fault> {
    walk_from(memory, ctx, ctx.root(), va, access, |_| {})
}
/// The same from further down. `see` is shown each look at an entry.
pub fn walk_from(
    memory: &Memory<'_>,
    ctx: &Context,
    from: Start,
    va: u64,
    access: Access,
    mut see: impl FnMut(Look),
) -> Result<Translation, Fault> {
    let page = va >> PAGE_SHIFT;
    if !ctx.enabled || page < ctx.start || page > ctx.end {
        return Err(ctx.fault(va, access, Cause::Range, 0));
    }
    // Tables index pages from the start of the space.
    let index = page - ctx.start;
    let (entry, shift) =
        descend(memory, ctx, from, index, &mut see).map_err(|(cause, e)| ctx.fault(va, access, cause, e))?;
    let found = leaf(ctx, entry, va, index, shift, access).map_err(|cause| ctx.fault(va, access, cause, entry))?;
    // A large page may reach past the end of the space; what is past it is no part of the translation.
    let left = (ctx.end - page).saturating_add(1).saturating_mul(PAGE_SIZE) - va % PAGE_SIZE;
    Ok(Translation { len: found.len.min(left), bits: cached_bits(ctx, va, &found), ..found })
}

/// The entry that maps page `index` of the space, and log2 of the pages it maps.
fn descend(
    memory: &Memory<'_>,
    ctx: &Context,
    from: Start,
    index: u64,
    see: &mut impl FnMut(Look),
) -> Result<(u64, u32), (Cause, u64)> {
    let table = match directories(memory, ctx, from, index, see)? {
        (entry, Some(shift)) => return Ok((entry, shift)),
        (table, None) => table,
    };
    let block = pte::block_fragment(table).min(ctx.block_bits);
    let entry = ctx.load(memory, table, inside(ctx, index) >> block, Step::Table, see).map_err(|c| (c, 0))?;
    if block > 0 && entry & (pte::VALID | pte::TF) == pte::VALID | pte::TF {
        let entry = ctx.load(memory, entry, index & mask(block), Step::Further, see).map_err(|c| (c, 0))?;
        return Ok((entry, 0));
    }
    Ok((entry, block))
}
/// What the directories say of page `index`: an entry that maps 2 to the number's pages, or one that points at the
/// page table.
fn directories(
    memory: &Memory<'_>,
    ctx: &Context,
    from: Start,
    index: u64,
    see: &mut impl FnMut(Look),
) -> Result<(u64, Option<u32>), (Cause, u64)> {
    let Start { mut entry, level } = from;
    if level < ctx.depth && entry & pte::PDE_PTE != 0 {
        return Ok((entry, Some(shift(ctx, level))));
    }
    for level in (0..level).rev() {
        let shift = shift(ctx, level);
        // The root takes all the bits that are left.
        let slot = if level + 1 == ctx.depth { index >> shift } else { (index >> shift) & mask(pte::LEVEL_BITS) };
        entry = ctx.load(memory, entry, slot, Step::Directory(level), see).map_err(|c| (c, 0))?;
        if entry & pte::VALID == 0 {
            // A partially resident directory entry makes all below it partially resident.
            let prt = entry & pte::PRT != 0;
            return if prt { Ok((entry, Some(shift))) } else { Err((Cause::Pde(level), entry)) };
        }
        if entry & pte::PDE_PTE != 0 {
            return Ok((entry, Some(shift)));
        }
    }
    Ok((entry, None))
}
/// Which page of its page table page `index` is.
fn inside(ctx: &Context, index: u64) -> u64 {
    if ctx.depth == 0 {
        index
    } else {
        index & mask(ctx.block_bits)
    }
}

/// Pages whose entries lie in one cache line of a GPU, 128 bytes of a page table.
pub const LINE: usize = 16;

/// A page as a cache keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Its address; bit 0 is set in system memory.
    pub at: u64,
    /// Its entry; 0 where the page does not translate on its own.
    pub entry: u64,
}

impl Page {
    /// Where byte `offset` of the page is.
    #[inline]
    pub fn phys(self, offset: u64) -> Phys {
        let space = if self.at & 1 == 0 { Space::Vram } else { Space::System };
        Phys { space, addr: self.at & !1 | offset }
    }
}

/// The single pages that lie with `va` in one line of its page table. None where a line's pages are no aligned group of
/// addresses. The walk starts at `from`, as [`walk_from`] does.
pub fn line(memory: &Memory<'_>, ctx: &Context, from: Start, va: u64) -> Option<[Page; LINE]> {
    let page = va >> PAGE_SHIFT;
    if !ctx.enabled || page < ctx.start || page > ctx.end {
        return None;
    }
    let first = page & !(LINE as u64 - 1);
    let index = first.checked_sub(ctx.start).filter(|i| i % LINE as u64 == 0)?;
    let (table, None) = directories(memory, ctx, from, index, &mut |_| {}).ok()? else { return None };
    if pte::block_fragment(table).min(ctx.block_bits) > 0 {
        return None;
    }
    let at = ctx.phys(table, pte::PDE_ADDR)?.offset(inside(ctx, index).checked_mul(pte::ENTRY_BYTES)?)?;
    let mut entries = [0u64; LINE];
    if memory.has_poison() {
        return None;
    }
    let slice = memory.slice(at, LINE * 8).filter(|s| s.len() == LINE * 8)?;
    memory.get_entries(&slice, &mut entries)?;
    let count = usize::try_from(ctx.end.saturating_sub(first)).map_or(LINE, |left| left.saturating_add(1).min(LINE));
    let mut pages = [Page::default(); LINE];
    for (page, entry) in pages.iter_mut().zip(entries).take(count) {
        if entry & pte::VALID == 0 || entry & NO_RETRY_TF == NO_RETRY_TF {
            continue;
        }
        let Some(at) = ctx.phys(entry, pte::PTE_ADDR) else { continue };
        // What is no page's address has no place in it; bit 0 tells the memory.
        if at.addr % PAGE_SIZE == 0 {
            *page = Page { at: at.addr | u64::from(at.space == Space::System), entry };
        }
    }
    Some(pages)
}

/// The end of a walk: `entry` maps `1 << shift` pages, `index` among them.
fn leaf(ctx: &Context, entry: u64, va: u64, index: u64, shift: u32, access: Access) -> Result<Translation, Cause> {
    let offset = (index & mask(shift)) << PAGE_SHIFT | va & mask(PAGE_SHIFT);
    let bits = shift + PAGE_SHIFT;
    let len = (1u64 << bits) - offset;
    if entry & NO_RETRY_TF == NO_RETRY_TF {
        return Err(Cause::NoRetry);
    }
    if entry & pte::VALID == 0 {
        return match entry & pte::PRT {
            0 => Err(Cause::Valid),
            _ => Ok(Translation { at: None, len, entry, bits }),
        };
    }
    if !access.is_allowed(entry) {
        return Err(Cause::Permission);
    }
    let at = ctx.phys(entry, pte::PTE_ADDR).and_then(|p| p.offset(offset)).ok_or(Cause::Nack)?;
    Ok(Translation { at: Some(at), len, entry, bits })
}

/// How much around `va` one cache entry may keep: the page, or FRAGMENT where that is more. What is not aligned in both
/// spaces, or reaches out of the space's limits, is kept page by page.
fn cached_bits(ctx: &Context, va: u64, found: &Translation) -> u32 {
    let fragment = pte::fragment(found.entry) + PAGE_SHIFT;
    let Some(at) = found.at.filter(|_| fragment.max(found.bits) > PAGE_SHIFT) else { return PAGE_SHIFT };
    let fits = |bits: u32| {
        let first = va >> bits << (bits - PAGE_SHIFT);
        let inside = first >= ctx.start && first + mask(bits - PAGE_SHIFT) <= ctx.end;
        inside && ctx.start & mask(bits - PAGE_SHIFT) == 0 && (va ^ at.addr) & mask(bits) == 0
    };
    [fragment, found.bits].into_iter().filter(|&b| b >= found.bits).find(|&b| fits(b)).unwrap_or(PAGE_SHIFT)
}

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}
