// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The directory caches of the L2: entries of page directories, a cache a level. A walk starts at the deepest entry that
//! is cached, so a directory entry that changed stays in use until an invalidation names its level, as on hardware.
//!
//! Valid entries are kept, those that map memory themselves among them; an invalid one never is.

use super::walk::{shift, Start};
use super::{Context, Pages};
use uvm_spec::{PAGE_SHIFT, VMIDS};

/// Entries of the cache of each level, from the directory above the page table up: one gigabyte of page tables with 2 MiB
/// each, and as many entries above them as a few processes with scattered addresses have in use.
const SIZES: [usize; LEVELS] = [512, 64, 16, 16];
/// Levels of directories.
pub const LEVELS: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// First page that it covers, and VMID.
    key: u64,
    entry: u64,
    /// Generation of the address space when it was filled; 0 is none.
    generation: u32,
    /// log2 of the pages that it covers.
    shift: u8,
}

const EMPTY: Entry = Entry { key: 0, entry: 0, generation: 0, shift: 0 };
/// log2 of the room for a VMID in a key.
const VMID_BITS: u32 = 8;

impl Entry {
    fn vmid(&self) -> u64 {
        self.key & ((1 << VMID_BITS) - 1)
    }
    /// First and last byte that it covers.
    fn bytes(&self) -> (u64, u64) {
        let first = self.key >> VMID_BITS << PAGE_SHIFT;
        let size = 1u64.checked_shl(u32::from(self.shift) + PAGE_SHIFT).unwrap_or(0);
        (first, first.saturating_add(size.wrapping_sub(1)))
    }
}

/// One level's cache: an entry has one place.
#[derive(Debug)]
struct Level {
    entries: Vec<Entry>,
    generations: [u32; VMIDS],
}

impl Level {
    fn new(size: usize) -> Self {
        Self { entries: vec![EMPTY; size.next_power_of_two()], generations: [1; VMIDS] }
    }
    /// Where the entry that covers page `index` of the space lives, its key, and the generation that it must have.
    #[inline]
    fn place(&self, ctx: &Context, index: u64, shift: u32) -> Option<(usize, u64, u32)> {
        let number = index.checked_shr(shift)?;
        // Address spaces are spread over the places, or they would fight for the low ones.
        let spread = usize::try_from(number & 0xffff_ffff).ok()? ^ usize::from(ctx.vmid).wrapping_mul(0x9e5);
        let first = ctx.start.wrapping_add(number << shift);
        let generation = self.generations.get(usize::from(ctx.vmid)).copied()?;
        Some((spread & (self.entries.len() - 1), first << VMID_BITS | u64::from(ctx.vmid), generation))
    }
    fn forget(&mut self) {
        self.entries.fill(EMPTY);
        self.generations = [1; VMIDS];
    }
    fn invalidate(&mut self, vmids: u32, pages: Pages) {
        match pages {
            Pages::All => {
                for vmid in (0..VMIDS).filter(|v| vmids & 1 << v != 0) {
                    let Some(generation) = self.generations.get_mut(vmid) else { continue };
                    let Some(next) = generation.checked_add(1) else {
                        // Numbers are used up: none of an old generation may come back.
                        self.forget();
                        return;
                    };
                    *generation = next;
                }
            }
            Pages::Range { first, last } => {
                for entry in &mut self.entries {
                    let (start, end) = entry.bytes();
                    if vmids & 1 << entry.vmid() != 0 && start <= last && first <= end {
                        entry.generation = 0;
                    }
                }
            }
        }
    }
}

/// A hub's directory caches.
#[derive(Debug)]
pub struct PdeCache {
    levels: [Level; LEVELS],
}

impl Default for PdeCache {
    fn default() -> Self {
        Self { levels: SIZES.map(Level::new) }
    }
}

impl PdeCache {
    /// Where the walk for page `index` of the space starts: at the deepest entry that is cached, or at the root.
    #[inline]
    pub fn start(&self, ctx: &Context, index: u64) -> Start {
        for (number, level) in (0..ctx.depth).zip(&self.levels) {
            let shift = shift(ctx, number);
            let Some((place, key, generation)) = level.place(ctx, index, shift) else { continue };
            let Some(found) = level.entries.get(place) else { continue };
            if found.key == key && found.generation == generation && u32::from(found.shift) == shift {
                return Start { entry: found.entry, level: number };
            }
        }
        ctx.root()
    }
    /// Keeps a valid entry that the walk for page `index` of the space read in the directory of level `number`.
    pub fn fill(&mut self, ctx: &Context, index: u64, number: u8, entry: u64) {
        let Some(level) = self.levels.get_mut(usize::from(number)) else { return };
        let bits = shift(ctx, number);
        let Some((place, key, generation)) = level.place(ctx, index, bits) else { return };
        let (Some(slot), Ok(shift)) = (level.entries.get_mut(place), u8::try_from(bits)) else { return };
        *slot = Entry { key, entry, generation, shift };
    }
    /// Drops what covers any of `pages` in the address spaces of `vmids`, a bit each, from the caches of `levels`, a bit
    /// each.
    pub fn invalidate(&mut self, levels: u32, vmids: u32, pages: Pages) {
        for (_, level) in self.levels.iter_mut().enumerate().filter(|(n, _)| levels >> n & 1 != 0) {
            level.invalidate(vmids, pages);
        }
    }
    /// Drops everything.
    pub fn reset(&mut self) {
        self.levels.iter_mut().for_each(Level::forget);
    }
}
