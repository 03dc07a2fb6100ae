// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What the device, its driver and every decoder agree on: layout and names, no behaviour.
//!
//! Formats are the public Vega10-class (GMC v9, SDMA v4, OSSSYS 4.0, NBIO 6.1) ones, with the vendor's names. One table
//! of registers serves the device's register file, the trace decoder, the driver's C header and the register reference.
//!
//! Register offsets are in dwords, as in the vendor's headers; byte offsets are four times as large.
#![no_std]

#[macro_use]
mod reg;
pub mod access;
pub mod annotate;
pub mod counters;
pub mod fidelity;
pub mod hub;
pub mod ih;
pub mod nbio;
pub mod packet;
pub mod pte;
pub mod render;
pub mod sdma;
#[macro_use]
pub mod uapi;
pub mod vidmm;
pub mod window;

pub use reg::{lookup, Access, Block, Field, Located, Reg, BLOCKS};

/// Registers the device decodes: dword indices `0..MMIO_DWORDS` (a 512 KiB BAR).
pub const MMIO_DWORDS: u32 = 0x2_0000;
/// Address spaces of a VM hub. VMID 0 is the kernel driver's.
pub const VMIDS: usize = 16;
/// SDMA instances.
pub const SDMA_INSTANCES: usize = 2;
/// Interrupt rings of the IH block.
pub const IH_RINGS: usize = 3;
/// Page size of the GPU's page tables, bytes.
pub const PAGE_SIZE: u64 = 4096;
/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;
