// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! How a device is made.

use crate::gmc::{Mmu, TlbSizes};
use crate::segments::{Segments, SegmentsError};
use crate::vram::{Vram, VramError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a user chooses about the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Bytes of VRAM, a multiple of 16 MiB.
    pub vram_size: u64,
    /// Levels of the GPUVM page tables, 1 to 5.
    pub levels: u32,
    /// Entries of the translation caches.
    pub tlb: TlbSizes,
    /// How VMID 0 translates.
    pub mmu: Mmu,
    /// Whether VRAM is part of system memory, and where.
    pub uma: Uma,
    /// How memory is divided for the driver.
    #[serde(default)]
    pub segments: Segments,
}

/// What VRAM is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Uma {
    /// Memory of its own, behind a BAR.
    #[default]
    Off,
    /// System memory below 4 GiB, as high as it fits with 16 MiB above it for firmware.
    Top,
    /// System memory from this bus address on, a multiple of 16 MiB.
    At(u64),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vram_size: 256 << 20,
            levels: 4,
            tlb: TlbSizes::default(),
            mmu: Mmu::default(),
            uma: Uma::Off,
            segments: Segments::default(),
        }
    }
}

/// Most VRAM: what 40 bits of bus address can hold twice over.
pub const MAX_VRAM: u64 = 1 << 39;

/// Most entries of a translation cache.
pub const MAX_TLB: usize = 1 << 20;

/// Why the device cannot be made.
#[derive(Debug, Error)]
pub enum GpuError {
    /// VRAM cannot be had.
    #[error(transparent)]
    Vram(#[from] VramError),
    /// More VRAM than the device can address.
    #[error("VRAM of {0} bytes: at most {MAX_VRAM}")]
    TooMuchVram(u64),
    /// The number of levels is out of range.
    #[error("{0} page-table levels: 1 to 5 are possible")]
    Levels(u32),
    /// The segments do not fit.
    #[error(transparent)]
    Segments(#[from] SegmentsError),
    /// A translation cache has no or too many entries.
    #[error("a TLB of {0} entries: 1 to {MAX_TLB} are possible")]
    Tlb(usize),
}

impl Config {
    /// Refuses what no device can be.
    pub fn validate(&self) -> Result<(), GpuError> {
        if !(1..=5).contains(&self.levels) {
            return Err(GpuError::Levels(self.levels));
        }
        for entries in [self.tlb.l1, self.tlb.l2] {
            if !(1..=MAX_TLB).contains(&entries) {
                return Err(GpuError::Tlb(entries));
            }
        }
        if self.vram_size > MAX_VRAM {
            return Err(GpuError::TooMuchVram(self.vram_size));
        }
        self.segments.validate(self.vram_size, self.uma != Uma::Off)?;
        Ok(())
    }
    pub(super) fn vram(&self) -> Result<Vram, GpuError> {
        self.validate()?;
        Ok(match self.uma {
            Uma::Off => Vram::new(self.vram_size)?,
            Uma::Top => Vram::carveout(self.vram_size, None)?,
            Uma::At(base) => Vram::carveout(self.vram_size, Some(base))?,
        })
    }
}
