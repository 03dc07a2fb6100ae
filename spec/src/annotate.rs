// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a driver tells the device's checks, that no hardware needs to know. Without checks the registers do nothing.

use crate::Block;

/// The annotations. No original part has them.
pub const ANNOTATE: Block = Block { prefix: "", base: 0x1e000, regs: REGS };

registers! {
    /// A write says what happened to the range: see the values of the guide's chapter on checks.
    ANNOTATE_OP = "ANNOTATE_OP" @ 0x0 Rw {}
    /// The range: VRAM offset of its first byte, low and high dword; its bytes, low and high dword.
    ANNOTATE_RANGE = "ANNOTATE_RANGE_{}" @ 0x4 [4; 1] Rw {}
}

/// Values of ANNOTATE_OP.
pub mod op {
    /// Nobody may use the range of VRAM any more.
    pub const FREED: u32 = 1;
    /// The range of VRAM is in use.
    pub const ALLOCATED: u32 = 2;
    /// What follows is wrong on purpose: nothing is found.
    pub const EXPECT: u32 = 3;
    /// The end of that.
    pub const EXPECT_END: u32 = 4;
}
