// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! NBIO: the bus interface (NBIO 6.1). Indirect access, VRAM size, doorbell routing.

use crate::Block;

/// The bus interface. Offsets are absolute: its registers lie in several segments.
pub const NBIO: Block = Block { prefix: "", base: 0, regs: REGS };

registers! {
    /// Address for MM_DATA: a register's byte offset, or with bit 31 a VRAM byte address (with MM_INDEX_HI).
    MM_INDEX = "MM_INDEX" @ 0x0000 Rw { MM_OFFSET 30:0, MM_APER 31 }
    /// Reads or writes what MM_INDEX points at.
    MM_DATA = "MM_DATA" @ 0x0001 Special {}
    /// Bits 62:31 of the VRAM byte address in MM_INDEX.
    MM_INDEX_HI = "MM_INDEX_HI" @ 0x0006 Rw {}
    /// Byte offset of the register that PCIE_DATA2 reads or writes.
    PCIE_INDEX2 = "PCIE_INDEX2" @ 0x000e Rw {}
    /// Reads or writes the register that PCIE_INDEX2 points at.
    PCIE_DATA2 = "PCIE_DATA2" @ 0x000f Special {}
    /// Doorbells reach the engines only while enabled.
    RCC_DOORBELL_APER_EN = "RCC_DOORBELL_APER_EN" @ 0x0de0 Rw { BIF_DOORBELL_APER_EN 0 }
    /// Size of VRAM, MiB.
    RCC_CONFIG_MEMSIZE = "RCC_CONFIG_MEMSIZE" @ 0x0de3 Ro {}
    /// Doorbells routed to an SDMA instance: OFFSET in dwords, SIZE in dwords (0 routes none).
    BIF_SDMA_DOORBELL_RANGE = "BIF_SDMA{}_DOORBELL_RANGE" @ 0x0ef0 [2; 1] Rw { OFFSET 11:2, SIZE 20:16 }
    /// Doorbells routed to the IH: OFFSET in dwords, SIZE in dwords (0 routes none).
    BIF_IH_DOORBELL_RANGE = "BIF_IH_DOORBELL_RANGE" @ 0x0ef2 Rw { OFFSET 11:2, SIZE 20:16 }
    /// Doorbells routed to the access engine: OFFSET in dwords, SIZE in dwords (0 routes none).
    BIF_ACCESS_DOORBELL_RANGE = "BIF_ACCESS_DOORBELL_RANGE" @ 0x0ef3 Rw { OFFSET 11:2, SIZE 20:16 }
    /// Software scratch; the device never looks at them.
    BIOS_SCRATCH = "BIOS_SCRATCH_{}" @ 0x0058 [16; 1] Rw {}
}

/// Doorbell slots (64 bits each) of the aperture. Register fields count dwords: two a slot.
pub const DOORBELLS: u32 = 512;
/// Slot numbers that the driver of the original hardware uses by convention.
pub mod doorbell {
    /// SDMA instance 0, GFX ring; its other rings follow by number. Ten slots an instance, as on the later parts of the
    /// family: the two of the first ones leave no room for user queues.
    pub const SDMA0_GFX: u32 = 0x100;
    /// SDMA instance 1, GFX ring.
    pub const SDMA1_GFX: u32 = 0x10a;
    /// The access engine's queue 0; the others follow by number.
    pub const ACCESS_Q0: u32 = 0x114;
    /// Slots of an instance.
    pub const SDMA_SLOTS: u32 = 10;
    /// IH ring 0; rings 1 and 2 follow.
    pub const IH: u32 = 0xf4;
    /// The retry CAM.
    pub const RETRY_CAM: u32 = 0xf7;
}
