// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Registers by name.

use thiserror::Error;
use uvm_spec::{Located, BLOCKS};

/// No register is called so.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("no register is called {name}; {nearest} is near")]
pub struct Unknown {
    /// What was asked for.
    pub name: String,
    /// The register whose name is most like it.
    pub nearest: String,
}

/// Every register: full name, name without its block, dword index.
fn all() -> impl Iterator<Item = (String, String, u32)> {
    BLOCKS.iter().flat_map(|&block| {
        block.regs.iter().flat_map(move |&reg| {
            (0..reg.count).map(move |element| {
                let full = Located { block, reg, element }.to_string();
                let short = full.strip_prefix(block.prefix).unwrap_or(&full).to_string();
                (full, short, block.index(reg, element))
            })
        })
    })
}

/// Dword indices of what is called `name`, in either case: one register by its full name, or the same of every block by
/// the name without the block's.
pub fn indices(name: &str) -> Result<Vec<u32>, Unknown> {
    let wanted = name.to_uppercase();
    let of = |full: bool| -> Vec<u32> {
        all()
            .filter(|(long, short, _)| wanted == if full { long.to_uppercase() } else { short.to_uppercase() })
            .map(|r| r.2)
            .collect()
    };
    let found = of(true);
    let found = if found.is_empty() { of(false) } else { found };
    if !found.is_empty() {
        return Ok(found);
    }
    let near = |text: &str| strsim::damerau_levenshtein(&wanted, &text.to_uppercase());
    let nearest = all().min_by_key(|(long, short, _)| near(long).min(near(short)));
    let nearest = nearest.map(|(long, ..)| long).unwrap_or_default();
    Err(Unknown { name: name.into(), nearest })
}
