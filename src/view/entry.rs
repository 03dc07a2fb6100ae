// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Page table and directory entries in words.

use uvm_spec::pte;

/// The names of the entry's set bits, `|` between them; an entry that is not valid says so.
pub fn flags(entry: u64) -> String {
    let names: Vec<&str> = pte::FLAG_NAMES.iter().filter(|(bit, _)| entry & bit != 0).map(|(_, name)| *name).collect();
    match (entry & pte::VALID != 0, names.is_empty()) {
        (true, _) => names.join("|"),
        (false, true) => "not valid".into(),
        (false, false) => format!("not valid {}", names.join("|")),
    }
}

/// A directory entry that points at a table.
pub fn directory(entry: u64) -> String {
    let mut text = format!("{} table {:#x}", flags(entry & !pte::PDE_ADDR), entry & pte::PDE_ADDR);
    if pte::block_fragment(entry) != 0 {
        text += &format!(" BLOCK_FRAGMENT_SIZE {}", pte::block_fragment(entry));
    }
    text
}

/// An entry that maps pages, or would if it were valid.
pub fn page(entry: u64) -> String {
    let mtype = ["NC", "RW", "CC", "UC"].get(pte::mtype(entry) as usize).copied().unwrap_or("?");
    let mut text = format!("{} page {:#x} MTYPE {mtype}", flags(entry), entry & pte::PTE_ADDR);
    if pte::fragment(entry) != 0 {
        text += &format!(" FRAGMENT {}", pte::fragment(entry));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_name_what_is_set() {
        let entry = 0x1234_5000 | pte::VALID | pte::READABLE | 3 << pte::MTYPE_SHIFT | 9 << pte::FRAGMENT_SHIFT;
        assert_eq!(page(entry), "VALID|R page 0x12345000 MTYPE UC FRAGMENT 9");
        let entry = 0x1240 | pte::VALID | pte::SYSTEM | 9 << pte::BLOCK_FRAGMENT_SHIFT;
        assert_eq!(directory(entry), "VALID|SYSTEM table 0x1240 BLOCK_FRAGMENT_SIZE 9");
        assert_eq!(directory(0), "not valid table 0x0");
        assert_eq!(page(pte::PRT | 0x5000), "not valid PRT page 0x5000 MTYPE NC");
    }
}
