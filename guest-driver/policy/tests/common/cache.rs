// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A cache of translations that keeps whatever it has seen.

use std::collections::HashMap;

use uvm_spec::pte;

use crate::space::{Meaning, Memory};

/// A cache of translations that forgets only what it is told to.
#[derive(Default)]
pub struct Cache {
    /// First page, pages, meaning of the first.
    blocks: Vec<(u64, u64, u64)>,
}

impl Cache {
    /// Translates a page as hardware with this cache would.
    pub fn translate(&mut self, memory: &Memory, page: u64) -> Meaning {
        if let Some((start, _, first)) =
            self.blocks.iter().find(|(start, len, _)| (*start..start + len).contains(&page))
        {
            return Some(advance(*first, page - start));
        }
        let (meaning, order) = memory.walk(page);
        let meaning = meaning?;
        let start = page & !((1u64 << order) - 1);
        let first = if meaning & pte::VALID == 0 { meaning } else { meaning - ((page - start) << 12) };
        self.blocks.push((start, 1 << order, first));
        Some(meaning)
    }

    /// Every page that it would translate is translated as it should be.
    pub fn check(&self, expected: &HashMap<u64, u64>) {
        for (start, len, first) in &self.blocks {
            for i in 0..*len {
                assert_eq!(expected.get(&(start + i)), Some(&advance(*first, i)), "stale: page {:#x}", start + i);
            }
        }
    }

    pub fn invalidate(&mut self, from: u64, pages: u64) {
        self.blocks.retain(|(start, len, _)| start + len <= from || *start >= from + pages);
    }

    pub fn flush(&mut self) {
        self.blocks.clear();
    }
}

/// What the page `pages` further on in one piece translates to.
pub fn advance(meaning: u64, pages: u64) -> u64 {
    if meaning & pte::VALID == 0 {
        meaning
    } else {
        meaning + (pages << 12)
    }
}
