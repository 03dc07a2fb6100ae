// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! NBIO: the bus interface. Indirect register and VRAM access, doorbell routing.

use crate::regs::{RegFile, Written};
use uvm_spec::nbio::*;
use uvm_spec::SDMA_INSTANCES;

/// The block's state.
#[derive(Debug)]
pub struct Nbio {
    regs: RegFile,
    vram_mib: u32,
}

/// What an indirect data register stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indirect {
    /// A register, by dword index.
    Register(u32),
    /// A dword of VRAM, by byte offset.
    Vram(u64),
}

/// Who a doorbell is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// SDMA instance `.0`.
    Sdma(usize),
    /// The access engine.
    Access,
    /// The interrupt handler.
    Ih,
    /// Nobody: the aperture is off or no range covers it.
    Nobody,
}

impl Nbio {
    /// The block after reset, with `vram_size` bytes of VRAM behind it.
    pub fn new(vram_size: u64) -> Self {
        let vram_mib = u32::try_from(vram_size >> 20).unwrap_or(u32::MAX);
        let mut nbio = Self { regs: RegFile::new(&NBIO), vram_mib };
        nbio.reset();
        nbio
    }
    /// Brings every register to its reset value.
    pub fn reset(&mut self) {
        self.regs.reset();
        self.regs.set(&RCC_CONFIG_MEMSIZE, 0, self.vram_mib);
    }
    /// The register file, for dispatch.
    pub fn regs(&self) -> &RegFile {
        &self.regs
    }
    /// A guest's write to a register of this block (not through an indirect one).
    pub fn write(&mut self, offset: u32, value: u32) -> Option<Written> {
        self.regs.write(offset, value)
    }
    /// What `offset` stands for, if it is an indirect data register.
    pub fn indirect(&self, offset: u32) -> Option<Indirect> {
        if offset == PCIE_DATA2.offset {
            return Some(Indirect::Register(self.regs.get(&PCIE_INDEX2, 0) / 4));
        }
        if offset != MM_DATA.offset {
            return None;
        }
        let index = self.regs.get(&MM_INDEX, 0);
        let low = MM_INDEX::MM_OFFSET.get(index);
        if MM_INDEX::MM_APER.is_set(index) {
            return Some(Indirect::Vram(u64::from(low) | u64::from(self.regs.get(&MM_INDEX_HI, 0)) << 31));
        }
        Some(Indirect::Register(low / 4))
    }
    /// Who gets the doorbell at dword offset `dw`.
    pub fn route(&self, dw: u32) -> Route {
        if self.regs.field(&RCC_DOORBELL_APER_EN, 0, RCC_DOORBELL_APER_EN::BIF_DOORBELL_APER_EN) == 0 {
            return Route::Nobody;
        }
        let covers = |range: u32| {
            let first = BIF_SDMA_DOORBELL_RANGE::OFFSET.get(range);
            dw >= first && dw - first < BIF_SDMA_DOORBELL_RANGE::SIZE.get(range)
        };
        if covers(self.regs.get(&BIF_IH_DOORBELL_RANGE, 0)) {
            return Route::Ih;
        }
        if covers(self.regs.get(&BIF_ACCESS_DOORBELL_RANGE, 0)) {
            return Route::Access;
        }
        let instances = 0..u32::try_from(SDMA_INSTANCES).unwrap_or(0);
        instances
            .filter(|&n| covers(self.regs.get(&BIF_SDMA_DOORBELL_RANGE, n)))
            .find_map(|n| usize::try_from(n).ok())
            .map_or(Route::Nobody, Route::Sdma)
    }
}
