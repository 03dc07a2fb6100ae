// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Registers by name.

use super::ViewError;
use uvm_spec::{Located, BLOCKS};

/// Every register of every block, in the order of the table.
pub fn all() -> impl Iterator<Item = (u32, Located)> {
    BLOCKS.iter().flat_map(|block| {
        block.regs.iter().flat_map(move |&reg| {
            (0..reg.count).map(move |element| (block.index(reg, element), Located { block, reg, element }))
        })
    })
}

/// The registers called `name`: the vendor's name with or without the block's prefix, in any case; a `*` at the end
/// stands for any rest. Both hubs' registers answer to a name without prefix.
pub fn find(name: &str) -> Result<Vec<(u32, Located)>, ViewError> {
    let wanted = name.to_ascii_uppercase();
    let fits = |full: &str, bare: &str| match wanted.strip_suffix('*') {
        Some(start) => full.starts_with(start) || bare.starts_with(start),
        None => full == wanted || bare == wanted,
    };
    let mut nearest: Option<(usize, String)> = None;
    let mut found = Vec::new();
    for (index, located) in all() {
        let full = located.to_string();
        let bare = full.strip_prefix(located.block.prefix).unwrap_or(&full);
        if fits(&full, bare) {
            found.push((index, located));
        }
        let distance = distance(bare, &wanted).min(self::distance(&full, &wanted));
        if nearest.as_ref().is_none_or(|(least, _)| distance < *least) {
            nearest = Some((distance, full));
        }
    }
    if found.is_empty() {
        // A name that shares nothing with any is no misspelling of it.
        let near = nearest.filter(|(distance, _)| *distance <= wanted.len().div_ceil(2)).map(|(_, name)| name);
        return Err(ViewError::Register { name: name.into(), nearest: near });
    }
    Ok(found)
}

/// Letters to insert, delete or replace to make one of the other. Of long words only the start counts.
fn distance(a: &str, b: &str) -> usize {
    const MOST: usize = 64;
    let b: Vec<u8> = b.bytes().take(MOST).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().take(MOST).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (slot, y) in row.iter_mut().skip(1).zip(&b) {
            let above = *slot;
            *slot = (above + 1).min(left + 1).min(diagonal + usize::from(x != *y));
            (diagonal, left) = (above, *slot);
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str) -> Vec<String> {
        find(name).unwrap().iter().map(|(_, l)| l.to_string()).collect()
    }

    #[test]
    fn names_are_found_with_and_without_their_prefix() {
        assert_eq!(names("SDMA0_GFX_RB_CNTL"), ["SDMA0_GFX_RB_CNTL"]);
        assert_eq!(names("rlc1_rb_wptr"), ["SDMA0_RLC1_RB_WPTR", "SDMA1_RLC1_RB_WPTR"]);
        assert_eq!(names("VM_CONTEXT3_CNTL"), ["GC.VM_CONTEXT3_CNTL", "MMHUB.VM_CONTEXT3_CNTL"]);
        assert_eq!(names("mmhub.vm_context3_cntl"), ["MMHUB.VM_CONTEXT3_CNTL"]);
        assert_eq!(
            names("IH_RB_W*"),
            ["IH_RB_WPTR", "IH_RB_WPTR_ADDR_HI", "IH_RB_WPTR_ADDR_LO", "IH_RB_WPTR_RING1", "IH_RB_WPTR_RING2",]
        );
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest() {
        for (wrong, right) in [
            ("IH_RB_CNTRL", Some("IH_RB_CNTL")),
            ("SDMA0_GFX_RB_WTPR", Some("SDMA0_GFX_RB_WPTR")),
            ("MMHUB.VM_CONTEX7_CNTL", Some("MMHUB.VM_CONTEXT7_CNTL")),
            ("zzzzzzzz", None),
        ] {
            let Err(ViewError::Register { nearest, .. }) = find(wrong) else { panic!("{wrong} was found") };
            assert_eq!(nearest.as_deref(), right);
        }
    }

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (a, b, n) in [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("flaw", "lawn", 2)] {
            assert_eq!((distance(a, b), distance(b, a)), (n, n), "{a} {b}");
        }
    }
}
