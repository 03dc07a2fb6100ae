// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A translation cache: an L1 a client, an L2 a hub. What it holds stays in use until an invalidation, as on hardware.
//!
//! An entry maps an aligned power of two of bytes. It lives in the set that the low bits of its number select, in the
//! largest size class that it fills; a look-up probes the classes that hold anything. Invalidating whole address spaces
//! is a change of their generation; invalidating a range looks at every entry.

use super::{Access, Phys, Space, Translation};
use uvm_spec::{PAGE_SHIFT, VMIDS};

/// log2 of the bytes of the size classes: page, 64 KiB, 2 MiB, 1 GiB.
const CLASSES: [u32; 4] = [12, 16, 21, 30];
/// Entries of a set.
const WAYS: usize = 4;

/// Two to a cache line: what a look-up costs is the lines that it touches.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// [`key`] of the first page.
    key: u64,
    /// Where the first byte lies: a page's address, bit 0 set in system memory.
    at: u64,
    /// The page table entry.
    entry: u64,
    /// Generation of the address space when it was filled; 0 is none.
    generation: u32,
    /// log2 of the range's bytes.
    bits: u8,
    class: u8,
}

const EMPTY: Entry = Entry { key: 0, at: 0, entry: 0, generation: 0, bits: 12, class: 0 };

/// What an entry is found by: page and VMID.
fn key(vmid: u8, va: u64) -> u64 {
    va >> PAGE_SHIFT << PAGE_SHIFT | u64::from(vmid)
}

impl Entry {
    #[inline]
    fn holds(&self, key: u64, generation: u32) -> bool {
        let mask = u64::MAX << self.bits | ((1 << PAGE_SHIFT) - 1);
        (self.key ^ key) & mask == 0 && self.generation == generation
    }
    #[inline]
    fn translate(&self, va: u64) -> Translation {
        let size = 1 << self.bits;
        let offset = va & (size - 1);
        let space = if self.at & 1 == 0 { Space::Vram } else { Space::System };
        let at = Phys { space, addr: self.at & !1 }.offset(offset);
        Translation { at, len: size - offset, entry: self.entry, bits: self.bits.into() }
    }
    fn vmid(&self) -> u64 {
        self.key & ((1 << PAGE_SHIFT) - 1)
    }
    fn first(&self) -> u64 {
        self.key >> PAGE_SHIFT << PAGE_SHIFT
    }
}

/// Pages to invalidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// All of them.
    All,
    /// From byte `first` to byte `last`.
    Range {
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
    },
}

/// A cache of translations.
#[derive(Debug)]
pub struct Tlb {
    /// A power of two of them.
    sets: Vec<[Entry; WAYS]>,
    /// The entry that hit last.
    last: Entry,
    /// The way that the next fill takes.
    victim: usize,
    generations: [u32; VMIDS],
    /// Which size classes hold entries, by VMID.
    used: [u8; VMIDS],
    /// Look-ups that found their page.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
}

impl Tlb {
    /// A cache of at least `entries` entries (rounded up to a power of two of sets).
    pub fn new(entries: usize) -> Self {
        let sets = entries.div_ceil(WAYS).next_power_of_two();
        Self {
            sets: vec![[EMPTY; WAYS]; sets],
            last: EMPTY,
            victim: 0,
            generations: [1; VMIDS],
            used: [0; VMIDS],
            hits: 0,
            misses: 0,
        }
    }
    fn set(&self, vmid: u8, va: u64, class: u32) -> usize {
        let number = usize::try_from(va >> class & 0xffff_ffff).unwrap_or(0);
        // Address spaces are spread over the sets, or they would fight for the low ones.
        (number ^ usize::from(vmid).wrapping_mul(0x9e5)) & (self.sets.len() - 1)
    }
    /// The cached translation of `va`, if it allows `access`. One that does not is no hit: the walker decides.
    #[inline]
    pub fn look_up(&mut self, vmid: u8, va: u64, access: Access) -> Option<Translation> {
        let generation = self.generations.get(usize::from(vmid)).copied()?;
        let key = key(vmid, va);
        if self.last.holds(key, generation) && access.is_allowed(self.last.entry) {
            self.hits += 1;
            return Some(self.last.translate(va));
        }
        let mut classes = self.used.get(usize::from(vmid)).copied()?;
        while classes != 0 {
            let class = classes.trailing_zeros() as usize;
            classes &= classes - 1;
            let set = self.sets.get(self.set(vmid, va, *CLASSES.get(class)?))?;
            for entry in set {
                if entry.holds(key, generation) && usize::from(entry.class) == class && access.is_allowed(entry.entry) {
                    self.last = *entry;
                    self.hits += 1;
                    return Some(entry.translate(va));
                }
            }
        }
        self.misses += 1;
        None
    }
    /// The entries in use: VMID, first byte, what it leads to (from that byte on).
    pub fn entries(&self) -> impl Iterator<Item = (u8, u64, Translation)> + '_ {
        self.sets.as_flattened().iter().filter_map(|e| {
            let vmid = u8::try_from(e.vmid()).ok()?;
            let valid = e.generation != 0 && self.generations.get(usize::from(vmid)) == Some(&e.generation);
            valid.then(|| (vmid, e.first(), e.translate(e.first())))
        })
    }
    /// Entries that it can hold.
    pub fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }
    /// Keeps a translation of `va`. Partially resident ones are not kept.
    pub fn fill(&mut self, vmid: u8, va: u64, translation: &Translation) {
        let (Some(at), Some(&generation)) = (translation.at, self.generations.get(usize::from(vmid))) else { return };
        let bits = translation.bits;
        let class = match bits {
            ..16 => 0,
            16..21 => 1,
            21..30 => 2,
            _ => 3,
        };
        let offset = va & ((1 << bits) - 1);
        // An entry holds page addresses; a start that is none has no place in it.
        let Some(start) = at.addr.checked_sub(offset).filter(|start| start & 1 == 0) else { return };
        let index = self.set(vmid, va, CLASSES.get(class).copied().unwrap_or(PAGE_SHIFT));
        let (Ok(class_number), Ok(bits)) = (u8::try_from(class), u8::try_from(bits)) else { return };
        let entry = Entry {
            key: key(vmid, va - offset),
            at: start | u64::from(at.space == Space::System),
            entry: translation.entry,
            generation,
            bits,
            class: class_number,
        };
        let Some(set) = self.sets.get_mut(index) else { return };
        // A stale or equal entry goes first, then one after the other.
        let key = key(vmid, va);
        let slot = match set.iter().position(|e| e.generation == 0 || e.holds(key, generation)) {
            Some(way) => set.get_mut(way),
            None => {
                self.victim = self.victim.wrapping_add(1);
                set.get_mut(self.victim % WAYS)
            }
        };
        if let Some(slot) = slot {
            *slot = entry;
            self.last = entry;
        }
        if let Some(used) = self.used.get_mut(usize::from(vmid)) {
            *used |= 1 << class;
        }
    }
    /// Drops the translations of `pages` in the address spaces of `vmids`, a bit each.
    pub fn invalidate(&mut self, vmids: u32, pages: Pages) {
        for vmid in (0..VMIDS).filter(|v| vmids & 1 << v != 0) {
            if pages == Pages::All {
                if let (Some(generation), Some(used)) = (self.generations.get_mut(vmid), self.used.get_mut(vmid)) {
                    let Some(next) = generation.checked_add(1) else {
                        // Numbers are used up: forget all entries, so that none of an old generation comes back.
                        self.forget();
                        return;
                    };
                    *generation = next;
                    *used = 0;
                }
            }
        }
        if let Pages::Range { first, last } = pages {
            for entry in self.sets.as_flattened_mut().iter_mut().chain([&mut self.last]) {
                let end = entry.first() | ((1 << entry.bits) - 1);
                if vmids & 1 << entry.vmid() != 0 && entry.first() <= last && first <= end {
                    entry.generation = 0;
                }
            }
        }
    }
    fn forget(&mut self) {
        self.sets.fill([EMPTY; WAYS]);
        self.last = EMPTY;
        self.generations = [1; VMIDS];
        self.used = [0; VMIDS];
    }
    /// Drops everything and the counts.
    pub fn reset(&mut self) {
        self.forget();
        (self.hits, self.misses) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uvm_spec::pte;

    fn page(addr: u64, bits: u32, entry: u64) -> Translation {
        Translation { at: Some(Phys { space: Space::System, addr }), len: 1, entry, bits }
    }

    #[test]
    fn a_fragment_serves_every_page_of_it() {
        let mut tlb = Tlb::new(64);
        tlb.fill(3, 0x7_2345_6000, &page(0x1_0005_6000, 18, pte::READABLE));
        let hit = tlb.look_up(3, 0x7_2345_8123, Access::Read).unwrap();
        assert_eq!(hit.at.map(|p| p.addr), Some(0x1_0005_8123));
        assert_eq!(hit.len, 0x4_0000 - 0x1_8123);
        assert!(tlb.look_up(4, 0x7_2345_8123, Access::Read).is_none(), "another address space");
        assert!(tlb.look_up(3, 0x7_2345_8123, Access::Write).is_none(), "a denied access is the walker's");
        assert!(tlb.look_up(3, 0x7_2348_0000, Access::Read).is_none(), "past the fragment");
    }

    #[test]
    fn an_entry_lives_until_its_invalidation() {
        let mut tlb = Tlb::new(64);
        for (vmid, va) in [(1, 0x1000), (1, 0x5000), (2, 0x1000)] {
            tlb.fill(vmid, va, &page(va, 12, pte::READABLE));
        }
        tlb.invalidate(1 << 1, Pages::Range { first: 0x1000, last: 0x1fff });
        assert!(tlb.look_up(1, 0x1000, Access::Read).is_none());
        assert!(tlb.look_up(1, 0x5000, Access::Read).is_some());
        assert!(tlb.look_up(2, 0x1000, Access::Read).is_some());
        tlb.invalidate(1 << 1, Pages::All);
        assert!(tlb.look_up(1, 0x5000, Access::Read).is_none());
        assert!(tlb.look_up(2, 0x1000, Access::Read).is_some());
    }
}
