// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The `vidmm` MMU profile's first level: registers. The two levels in memory are the walker's.

use super::Context;
use crate::regs::{RegFile, Written};
use uvm_spec::vidmm::*;
use uvm_spec::PAGE_SHIFT;

/// log2 of the pages that a first-level entry maps.
const ENTRY_PAGES: u32 = ENTRY_SHIFT - PAGE_SHIFT;

/// The first level.
#[derive(Debug)]
pub struct Vidmm {
    regs: RegFile,
}

impl Default for Vidmm {
    fn default() -> Self {
        Self { regs: RegFile::new(&VIDMM) }
    }
}

impl Vidmm {
    /// The register file, for dispatch.
    pub fn regs(&self) -> &RegFile {
        &self.regs
    }
    /// A guest's write.
    pub fn write(&mut self, offset: u32, value: u32) -> Option<Written> {
        self.regs.write(offset, value)
    }
    /// Brings every register to its reset value.
    pub fn reset(&mut self) {
        self.regs.reset();
    }
    /// The address space that maps `va`: the two lower levels of its first-level entry. `like` gives the rest.
    pub fn context(&self, va: u64, like: &Context) -> Context {
        let number = u32::try_from(va >> ENTRY_SHIFT).unwrap_or(u32::MAX);
        let on = self.regs.field(&MMIO_MMU_CNTL, 0, MMIO_MMU_CNTL::ENABLE) != 0;
        let base = if number < ENTRIES { self.regs.pair(&MMIO_MMU_START_ADDRESS, 2 * number) } else { 0 };
        let start = u64::from(number) << ENTRY_PAGES;
        Context {
            enabled: on && number < ENTRIES && base & uvm_spec::pte::VALID != 0,
            depth: 1,
            block_bits: uvm_spec::pte::LEVEL_BITS,
            start,
            end: start | ((1 << ENTRY_PAGES) - 1),
            base,
            ..*like
        }
    }
}
