// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! SDMA v4: registers of an instance. A ring's registers repeat every [`RING_STRIDE`] dwords: GFX, PAGE, RLC0, RLC1.

use crate::Block;

/// Instance 0.
pub const SDMA0: Block = Block { prefix: "SDMA0_", base: 0x1260, regs: REGS };
/// Instance 1.
pub const SDMA1: Block = Block { prefix: "SDMA1_", base: 0x1460, regs: REGS };
/// Dwords from a ring's registers to the next ring's.
pub const RING_STRIDE: u32 = 0x60;
/// Rings of an instance: GFX, PAGE, RLC0, RLC1.
pub const RINGS: u32 = 4;
/// Names of the rings, by number.
pub const RING_NAMES: [&str; RINGS as usize] = ["GFX", "PAGE", "RLC0", "RLC1"];

registers! {
    /// Interrupt switches. TRAP_ENABLE lets the TRAP packet interrupt.
    CNTL = "CNTL" @ 0x1c Rw = 0x0000_0002 { TRAP_ENABLE 0, UTC_L1_ENABLE 1, SEM_WAIT_INT_ENABLE 2, DATA_SWAP_ENABLE 3, AUTO_CTXSW_ENABLE 18, CTXEMPTY_INT_ENABLE 28, FROZEN_INT_ENABLE 29, IB_PREEMPT_INT_ENABLE 30 }
    /// What the instance is doing.
    STATUS_REG = "STATUS_REG" @ 0x25 Ro = 0x0000_0057 { IDLE 0, REG_IDLE 1, RB_EMPTY 2, RB_FULL 3, RB_CMD_IDLE 4, RB_CMD_FULL 5, IB_CMD_IDLE 6, IB_CMD_FULL 7 }
    /// HALT stops every ring of the instance; it is set after reset.
    F32_CNTL = "F32_CNTL" @ 0x2a Rw = 0x0000_0001 { HALT 0, STEP 1 }
    /// Version of the engine: major 15:8, minor 7:0.
    VERSION = "VERSION" @ 0x35 Ro = 0x0000_0400 { MINVER 6:0, MAJVER 14:8, REV 21:16 }
    /// Value that the last atomic operation found in memory, low dword.
    ATOMIC_PREOP_LO = "ATOMIC_PREOP_LO" @ 0x3a Ro {}
    /// Value that the last atomic operation found in memory, high dword.
    ATOMIC_PREOP_HI = "ATOMIC_PREOP_HI" @ 0x3b Ro {}
    /// Translation cache control.
    UTCL1_CNTL = "UTCL1_CNTL" @ 0x3c Rw = 0xd000_3019 {}
    /// Address of a read that waits for its page: bits 31:0.
    UTCL1_RD_XNACK0 = "UTCL1_RD_XNACK0" @ 0x43 Ro {}
    /// Address and VMID of a read that waits for its page.
    UTCL1_RD_XNACK1 = "UTCL1_RD_XNACK1" @ 0x44 Ro {}
    /// Address of a write that waits for its page: bits 31:0.
    UTCL1_WR_XNACK0 = "UTCL1_WR_XNACK0" @ 0x45 Ro {}
    /// Address and VMID of a write that waits for its page.
    UTCL1_WR_XNACK1 = "UTCL1_WR_XNACK1" @ 0x46 Ro {}
    /// Software scratch.
    PUB_DUMMY_REG = "PUB_DUMMY_REG{}" @ 0x51 [4; 1] Rw {}
    /// Ring control. RB_SIZE is log2 of the size in dwords. RB_VMID is used by RLC rings; the others run in VMID 0.
    RB_CNTL = "{r}_RB_CNTL" @ 0x80 [4; 0x60] Rw = 0x0004_0000 { RB_ENABLE 0, RB_SIZE 6:1, RB_SWAP_ENABLE 9, RPTR_WRITEBACK_ENABLE 12, RPTR_WRITEBACK_SWAP_ENABLE 13, RPTR_WRITEBACK_TIMER 20:16, RB_PRIV 23, RB_VMID 27:24 }
    /// Ring base address, bits 39:8.
    RB_BASE = "{r}_RB_BASE" @ 0x81 [4; 0x60] Rw {}
    /// Ring base address, bits 63:40.
    RB_BASE_HI = "{r}_RB_BASE_HI" @ 0x82 [4; 0x60] Rw { ADDR 23:0 }
    /// Read pointer, bytes, low dword. Pointers grow without wrapping; the ring's size masks them.
    RB_RPTR = "{r}_RB_RPTR" @ 0x83 [4; 0x60] Rw {}
    /// Read pointer, high dword.
    RB_RPTR_HI = "{r}_RB_RPTR_HI" @ 0x84 [4; 0x60] Rw {}
    /// Write pointer, bytes, low dword. A write here starts the ring.
    RB_WPTR = "{r}_RB_WPTR" @ 0x85 [4; 0x60] Rw {}
    /// Write pointer, high dword. Write it before the low dword.
    RB_WPTR_HI = "{r}_RB_WPTR_HI" @ 0x86 [4; 0x60] Rw {}
    /// Polling of the write pointer in memory.
    RB_WPTR_POLL_CNTL = "{r}_RB_WPTR_POLL_CNTL" @ 0x87 [4; 0x60] Rw = 0x0040_1000 { ENABLE 0, SWAP_ENABLE 1, F32_POLL_ENABLE 2, FREQUENCY 15:4, IDLE_POLL_COUNT 31:16 }
    /// Where the read pointer is written back, bits 63:32.
    RB_RPTR_ADDR_HI = "{r}_RB_RPTR_ADDR_HI" @ 0x88 [4; 0x60] Rw {}
    /// Where the read pointer is written back, bits 31:2.
    RB_RPTR_ADDR_LO = "{r}_RB_RPTR_ADDR_LO" @ 0x89 [4; 0x60] Rw { RPTR_WB_IDLE 0, ADDR 31:2 }
    /// INDIRECT packets run only while IB_ENABLE is set.
    IB_CNTL = "{r}_IB_CNTL" @ 0x8a [4; 0x60] Rw = 0x0000_0100 { IB_ENABLE 0, IB_SWAP_ENABLE 4, SWITCH_INSIDE_IB 8, CMD_VMID 19:16 }
    /// Dwords of the current indirect buffer already executed.
    IB_RPTR = "{r}_IB_RPTR" @ 0x8b [4; 0x60] Ro { OFFSET 21:2 }
    /// Dword offset in the current indirect buffer.
    IB_OFFSET = "{r}_IB_OFFSET" @ 0x8c [4; 0x60] Ro { OFFSET 21:2 }
    /// Address of the current indirect buffer, low dword.
    IB_BASE_LO = "{r}_IB_BASE_LO" @ 0x8d [4; 0x60] Ro { ADDR 31:5 }
    /// Address of the current indirect buffer, high dword.
    IB_BASE_HI = "{r}_IB_BASE_HI" @ 0x8e [4; 0x60] Ro {}
    /// Size of the current indirect buffer, dwords.
    IB_SIZE = "{r}_IB_SIZE" @ 0x8f [4; 0x60] Ro { SIZE 19:0 }
    /// State of the ring. EXCEPTION says why it stopped: see the packet reference. CTXSW_READY: it waits for a page.
    CONTEXT_STATUS = "{r}_CONTEXT_STATUS" @ 0x91 [4; 0x60] Ro = 0x0000_0004 { SELECTED 0, IDLE 2, EXPIRED 3, EXCEPTION 6:4, CTXSW_ABLE 7, CTXSW_READY 8 }
    /// Doorbell switch.
    DOORBELL = "{r}_DOORBELL" @ 0x92 [4; 0x60] Rw { ENABLE 28, CAPTURED 30 }
    /// The ring's doorbell: dword offset in the aperture.
    DOORBELL_OFFSET = "{r}_DOORBELL_OFFSET" @ 0xab [4; 0x60] Rw { OFFSET 27:2 }
    /// Ends the current indirect buffer before its next packet, or at once where it waits; IB_OFFSET tells how far it got.
    PREEMPT = "{r}_PREEMPT" @ 0xb0 [4; 0x60] Rw { IB_PREEMPT 0 }
    /// Set to 1 before and 0 after a write pointer of two dwords is written: no start in between.
    MINOR_PTR_UPDATE = "{r}_MINOR_PTR_UPDATE" @ 0xb5 [4; 0x60] Rw { ENABLE 0 }
}

/// `CONTEXT_STATUS.EXCEPTION` values: why a ring stopped. It goes on after RB_ENABLE was cleared and set again.
pub mod exception {
    /// The ring runs.
    pub const NONE: u32 = 0;
    /// A packet with a reserved opcode, sub-opcode or field, or one that runs past the ring's write pointer or its buffer's end.
    pub const ILLEGAL: u32 = 1;
    /// An access failed and no default page stands in.
    pub const FAULT: u32 = 2;
    /// An indirect buffer inside an indirect buffer, or an endless one.
    pub const NESTED_IB: u32 = 3;
    /// What it read has an uncorrectable error.
    pub const POISON: u32 = 4;
}
