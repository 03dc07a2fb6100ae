// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Memory that holds page tables, and the plainest walker over it.

use std::collections::{HashMap, HashSet};

use uvm_policy::{Domain, TableWrite};
use uvm_spec::pte;

/// What fresh memory holds: looks like an entry, and leads nowhere.
const GARBAGE: u64 = 0x0000_dead_beef_f000 | pte::VALID | pte::READABLE;

/// Bits that are about how entries are stored rather than about what a page is.
const STORAGE: u64 = 0x1f << pte::FRAGMENT_SHIFT | pte::PDE_PTE;

/// What a page translates to: its page table entry without FRAGMENT; `None` is a fault.
pub type Meaning = Option<u64>;

/// The page tables of one address space in memory.
pub struct Memory {
    pub levels: u32,
    /// Entries of each table that exists, by its address as an entry holds it.
    pub tables: HashMap<u64, Vec<u64>>,
    pub root: u64,
    pub system: bool,
    pub vram_base: u64,
}

impl Memory {
    pub fn new(levels: u32, root: u64, root_entries: usize, system: bool, vram_base: u64) -> Self {
        let root = root & pte::PDE_ADDR;
        Self { levels, tables: HashMap::from([(root, vec![0; root_entries])]), root, system, vram_base }
    }

    /// Performs a write.
    pub fn write(&mut self, write: &TableWrite) {
        let TableWrite { domain, table, first, count, value, increment } = *write;
        assert_eq!(domain == Domain::System, self.system);
        assert!((1..=0x3ffff).contains(&count));
        let at = if self.system { table } else { table + self.vram_base };
        let entries = self.tables.entry(at).or_insert_with(|| vec![GARBAGE; 512]);
        for i in 0..count {
            entries[(first + i) as usize] = value.wrapping_add(increment.wrapping_mul(i));
        }
    }

    /// Translates a page, and says how many pages around it a cache may take to translate alike (log2).
    pub fn walk(&self, page: u64) -> (Meaning, u32) {
        let mut table = self.root;
        let mut level = self.levels - 1;
        loop {
            let entries = self.tables.get(&table).unwrap_or_else(|| panic!("page {page:#x}: no table at {table:#x}"));
            let index = page >> (9 * level);
            let entry = entries[if level == self.levels - 1 { index } else { index % 512 } as usize];
            let is_leaf = level == 0 || entry & pte::PDE_PTE != 0;
            if entry & pte::VALID == 0 {
                let meaning = if entry & pte::PRT != 0 { Some(pte::PRT) } else { None };
                assert!(meaning.is_some() || entry == 0, "an invalid entry with bits: {entry:#x}");
                return (meaning, 0);
            }
            if is_leaf {
                let inside = page & ((1 << (9 * level)) - 1);
                let meaning = (entry & !STORAGE) + (inside << 12);
                return (Some(meaning), pte::fragment(entry).max(9 * level));
            }
            assert_eq!(entry & pte::SYSTEM != 0, self.system, "table in the wrong memory");
            table = entry & pte::PDE_ADDR;
            level -= 1;
        }
    }

    /// Tables that the hardware can reach. Each but the root says something.
    pub fn reachable(&self) -> HashSet<u64> {
        let mut found = HashSet::from([self.root]);
        let mut todo = vec![(self.root, self.levels - 1)];
        while let Some((table, level)) = todo.pop() {
            let entries = self.tables.get(&table).unwrap_or_else(|| panic!("no table at {table:#x}"));
            assert!(table == self.root || entries.iter().any(|entry| *entry != 0), "an empty table");
            for entry in entries.iter().filter(|entry| level != 0 && **entry & pte::VALID != 0) {
                if entry & pte::PDE_PTE == 0 {
                    assert!(found.insert(entry & pte::PDE_ADDR), "a table with two parents");
                    todo.push((entry & pte::PDE_ADDR, level - 1));
                }
            }
        }
        found
    }

    /// Whatever is not reachable belongs to somebody else from now on.
    pub fn forget_unreachable(&mut self) {
        let reachable = self.reachable();
        self.tables.retain(|table, _| reachable.contains(table));
    }
}
