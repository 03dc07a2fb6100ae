// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The shape of an address space: how its addresses split over levels, and how entries of each level look.

use uvm_spec::pte;
use uvm_spec::PAGE_SHIFT;

use super::VmConfig;
use crate::domain::Domain;
use crate::error::Error;

/// Entries of a table below the root.
pub(crate) const ENTRIES: u64 = 1 << pte::LEVEL_BITS;
/// Bytes of a table below the root.
pub(crate) const TABLE_BYTES: u64 = ENTRIES * pte::ENTRY_BYTES;
/// How many index bits the root may have more than another table, or fewer.
const ROOT_SLACK: u32 = pte::LEVEL_BITS;
/// What an entry's address field reaches.
const ADDRESS_END: u64 = 1 << 48;
/// Widths of whose addresses the upper half is written with all bits above set.
const CANONICAL: [u32; 2] = [48, 57];

#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    /// Levels above the page tables.
    depth: u32,
    va_bits: u32,
    system: bool,
    vram_base: u64,
    fragment: u32,
    leaf_level: u32,
}

impl Geometry {
    pub(crate) fn new(config: &VmConfig) -> Result<Self, Error> {
        let VmConfig { levels, va_bits, tables, vram_base, fragment, leaf_level, .. } = *config;
        let depth = levels.checked_sub(1).filter(|depth| *depth <= 4).ok_or(Error::Invalid)?;
        let usual = PAGE_SHIFT.saturating_add(pte::LEVEL_BITS.saturating_mul(levels));
        let va_bits = if va_bits == 0 { usual } else { va_bits };
        let root_bits = va_bits.saturating_add(ROOT_SLACK).checked_sub(usual);
        let sane = root_bits.is_some_and(|bits| (1..=2 * ROOT_SLACK).contains(&bits))
            && va_bits <= 57
            && tables != Domain::Gtt
            && fragment <= 31
            && leaf_level <= depth
            && vram_base < ADDRESS_END
            && vram_base & !pte::PTE_ADDR == 0;
        if !sane {
            return Err(Error::Invalid);
        }
        Ok(Self { depth, va_bits, system: tables == Domain::System, vram_base, fragment, leaf_level })
    }

    /// The root's level.
    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }

    /// Pages of the space.
    pub(crate) fn pages(&self) -> u64 {
        1u64.wrapping_shl(self.va_bits.saturating_sub(PAGE_SHIFT))
    }

    /// Bytes of the space.
    pub(crate) fn bytes(&self) -> u64 {
        1u64.wrapping_shl(self.va_bits)
    }

    /// Whether the tables lie in system memory.
    pub(crate) fn in_system(&self) -> bool {
        self.system
    }

    /// log2 of the pages under an entry of a level.
    pub(crate) fn shift(level: u32) -> u32 {
        level.saturating_mul(pte::LEVEL_BITS)
    }

    /// Entries of a table of a level.
    pub(crate) fn entries(&self, level: u32) -> u64 {
        if level == self.depth {
            self.pages().wrapping_shr(Self::shift(level)).max(1)
        } else {
            ENTRIES
        }
    }

    /// Bytes of the root, whole pages.
    pub(crate) fn root_bytes(&self) -> u64 {
        self.entries(self.depth).saturating_mul(pte::ENTRY_BYTES).max(uvm_spec::PAGE_SIZE)
    }

    /// Whether an entry can hold a page's address, given as system address or VRAM offset.
    pub(crate) fn is_address(&self, addr: u64, size: u64, system: bool) -> bool {
        let base = if system { 0 } else { self.vram_base };
        let end = addr.checked_add(base).and_then(|start| start.checked_add(size));
        addr & (uvm_spec::PAGE_SIZE - 1) == 0 && end.is_some_and(|end| end <= ADDRESS_END)
    }

    /// The entry of a table, as a base register takes it too.
    pub(crate) fn table_entry(&self, addr: u64) -> u64 {
        if self.system {
            pte::VALID | pte::SYSTEM | (addr & pte::PDE_ADDR)
        } else {
            pte::VALID | (addr.wrapping_add(self.vram_base) & pte::PDE_ADDR)
        }
    }

    /// The entry of a page, without FRAGMENT.
    pub(crate) fn page_entry(&self, addr: u64, system: bool, attributes: u64) -> u64 {
        if system {
            pte::VALID | pte::SYSTEM | attributes | (addr & pte::PTE_ADDR)
        } else {
            pte::VALID | attributes | (addr.wrapping_add(self.vram_base) & pte::PTE_ADDR)
        }
    }

    /// log2 of the most pages that may be mapped as one.
    pub(crate) fn largest_block(&self, prt: bool) -> u32 {
        if prt {
            Self::shift(self.depth).saturating_add(pte::LEVEL_BITS - 1)
        } else {
            self.fragment.max(Self::shift(self.leaf_level))
        }
    }

    /// The level whose entries map a block of `1 << order` pages. Partially resident ones need no memory behind
    /// them, and every directory can say so.
    pub(crate) fn block_level(&self, order: u32, prt: bool) -> u32 {
        let highest = if prt { self.depth } else { self.leaf_level };
        order.wrapping_div(pte::LEVEL_BITS).min(highest)
    }

    /// FRAGMENT of the entries, of `level`, that map a block.
    pub(crate) fn fragment(&self, order: u32, level: u32) -> u64 {
        u64::from(order.min(self.fragment).max(Self::shift(level)) & 0x1f).wrapping_shl(pte::FRAGMENT_SHIFT)
    }

    /// First page and number of pages of a range of addresses; [`Error::Invalid`] unless whole pages inside the
    /// space, an upper half written as canonical addresses included.
    pub(crate) fn range(&self, va: u64, size: u64) -> Result<(u64, u64), Error> {
        let mask = uvm_spec::PAGE_SIZE - 1;
        let last = va.checked_add(size.checked_sub(1).ok_or(Error::Invalid)?).ok_or(Error::Invalid)?;
        let (start, last) = (self.flat(va)?, self.flat(last)?);
        if (va | size) & mask != 0 || last < start || last.wrapping_sub(start) != size.wrapping_sub(1) {
            return Err(Error::Invalid);
        }
        Ok((start.wrapping_shr(PAGE_SHIFT), size.wrapping_shr(PAGE_SHIFT)))
    }

    /// An address as its user writes it.
    pub(crate) fn canonical(&self, flat: u64) -> u64 {
        let upper_half = flat & self.bytes().wrapping_shr(1) != 0;
        if CANONICAL.contains(&self.va_bits) && upper_half {
            flat | !self.bytes().wrapping_sub(1)
        } else {
            flat
        }
    }

    fn flat(&self, va: u64) -> Result<u64, Error> {
        let (high, low) = (va & !self.bytes().wrapping_sub(1), va & self.bytes().wrapping_sub(1));
        let upper_half = va & self.bytes().wrapping_shr(1) != 0;
        let expected = if CANONICAL.contains(&self.va_bits) && upper_half { !self.bytes().wrapping_sub(1) } else { 0 };
        if high == expected {
            Ok(low)
        } else {
            Err(Error::Invalid)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn config(levels: u32, va_bits: u32) -> VmConfig {
        VmConfig { levels, va_bits, tables: Domain::Vram, root: 0, vram_base: 0, fragment: 9, leaf_level: 0 }
    }

    #[test]
    fn four_levels_span_48_bits_with_canonical_halves() {
        let space = Geometry::new(&config(4, 0)).unwrap();

        assert_eq!((space.pages(), space.entries(3), space.root_bytes()), (1 << 36, 512, 4096));
        assert_eq!(space.range(0x7fff_ffff_f000, 0x1000), Ok((0x7_ffff_ffff, 1)));
        assert_eq!(space.range(0xffff_8000_0000_0000, 0x1000), Ok((0x8_0000_0000, 1)));
        assert_eq!(space.range(0x0000_8000_0000_0000, 0x1000), Err(Error::Invalid));
        assert_eq!(space.range(0x7fff_ffff_f000, 0x2000), Err(Error::Invalid));
        assert_eq!(space.range(0, 1 << 47), Ok((0, 1 << 35)));
        for (va, size) in [(1, 4096), (0, 1), (0, 0), (0, u64::MAX), (!0xfff, 0x2000)] {
            assert_eq!(space.range(va, size), Err(Error::Invalid), "{va:#x} {size:#x}");
        }
        assert_eq!(space.range(!0xfff, 0x1000), Ok(((1 << 36) - 1, 1)));
    }

    #[test]
    fn root_takes_the_bits_that_levels_do_not() {
        let wide = Geometry::new(&config(3, 48)).unwrap();
        let narrow = Geometry::new(&config(2, 22)).unwrap();

        assert_eq!((wide.entries(2), wide.entries(1), wide.root_bytes()), (1 << 18, 512, 2 << 20));
        assert_eq!((narrow.entries(1), narrow.root_bytes()), (2, 4096));
        for (levels, va_bits) in [(0, 0), (6, 0), (3, 49), (2, 21), (5, 58)] {
            assert_eq!(Geometry::new(&config(levels, va_bits)).err(), Some(Error::Invalid), "{levels} {va_bits}");
        }
    }
}
