// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The access engine: registers, and the programs that its queues execute. No original part has it: it stands for the
//! shaders whose accesses a memory manager has to live with.
//!
//! Its queues are set up like user rings of an SDMA instance, whose registers they have at the same offsets.
//!
//! | packet | dwords |
//! |---|---|
//! | NOP, FENCE, TRAP | as of SDMA |
//! | NEST | header, control, trip counts (3), immediate (2), sum (2), operands A, B, D (12 each) |
//! | CHASE | header, control, chains, hops, heads (2), offset of the next pointer, of the value, immediate (2), ends (2), sum (2) |
//! | EXPAND | header, vertices, depth, rows (2), columns (2), levels (2), sum (2) |
//! | PROBE, INSERT | header, keys, log2 of the slots, most steps, keys (2), table (2), values (2), miss, sum (2) |
//!
//! An operand: base (2), base of its indices (2), pattern, start, strides (3), range, seed (2).
//! Two-dword values come low dword first. Addresses are virtual, of the queue's VMID; bits below an element's size are
//! ignored.

use crate::packet::{header, op as sdma_op, Shape};
use crate::{sdma, Block, Field};

/// The engine.
pub const ACCESS: Block = Block { prefix: "ACCESS_", base: 0x1660, regs: REGS };
/// Its number where engines are counted: behind the SDMA instances.
pub const INSTANCE: usize = crate::SDMA_INSTANCES;
/// Queues.
pub const QUEUES: u32 = 4;
/// Names of the queues, by number.
pub const QUEUE_NAMES: [&str; QUEUES as usize] = ["Q0", "Q1", "Q2", "Q3"];

registers! {
    /// Interrupt switch: TRAP_ENABLE lets the TRAP packet interrupt.
    CNTL = "CNTL" @ 0x1c Rw = 0x0000_0002 { TRAP_ENABLE 0, UTC_L1_ENABLE 1 }
    /// What the engine is doing.
    STATUS_REG = "STATUS_REG" @ 0x25 Ro = 0x0000_0057 { IDLE 0, REG_IDLE 1, RB_EMPTY 2, RB_CMD_IDLE 4, IB_CMD_IDLE 6 }
    /// HALT stops every queue; it is set after reset.
    F32_CNTL = "F32_CNTL" @ 0x2a Rw = 0x0000_0001 { HALT 0 }
    /// Address of the last read that waits for its page: bits 31:0.
    UTCL1_RD_XNACK0 = "UTCL1_RD_XNACK0" @ 0x43 Ro {}
    /// Address and VMID of the last read that waits for its page.
    UTCL1_RD_XNACK1 = "UTCL1_RD_XNACK1" @ 0x44 Ro {}
    /// Address of the last write that waits for its page: bits 31:0.
    UTCL1_WR_XNACK0 = "UTCL1_WR_XNACK0" @ 0x45 Ro {}
    /// Address and VMID of the last write that waits for its page.
    UTCL1_WR_XNACK1 = "UTCL1_WR_XNACK1" @ 0x46 Ro {}
    /// Queue control. RB_SIZE is log2 of the size in dwords.
    RB_CNTL = "RB{}_CNTL" @ 0x80 [4; 0x60] Rw = 0x0004_0000 { RB_ENABLE 0, RB_SIZE 6:1, RB_SWAP_ENABLE 9, RPTR_WRITEBACK_ENABLE 12, RPTR_WRITEBACK_SWAP_ENABLE 13, RPTR_WRITEBACK_TIMER 20:16, RB_PRIV 23, RB_VMID 27:24 }
    /// Ring base address, bits 39:8.
    RB_BASE = "RB{}_BASE" @ 0x81 [4; 0x60] Rw {}
    /// Ring base address, bits 63:40.
    RB_BASE_HI = "RB{}_BASE_HI" @ 0x82 [4; 0x60] Rw { ADDR 23:0 }
    /// Read pointer, bytes, low dword. Pointers grow without wrapping; the ring's size masks them.
    RB_RPTR = "RB{}_RPTR" @ 0x83 [4; 0x60] Rw {}
    /// Read pointer, high dword.
    RB_RPTR_HI = "RB{}_RPTR_HI" @ 0x84 [4; 0x60] Rw {}
    /// Write pointer, bytes, low dword. A write here starts the queue.
    RB_WPTR = "RB{}_WPTR" @ 0x85 [4; 0x60] Rw {}
    /// Write pointer, high dword. Write it before the low dword.
    RB_WPTR_HI = "RB{}_WPTR_HI" @ 0x86 [4; 0x60] Rw {}
    /// Where the read pointer is written back, bits 63:32.
    RB_RPTR_ADDR_HI = "RB{}_RPTR_ADDR_HI" @ 0x88 [4; 0x60] Rw {}
    /// Where the read pointer is written back, bits 31:2.
    RB_RPTR_ADDR_LO = "RB{}_RPTR_ADDR_LO" @ 0x89 [4; 0x60] Rw { ADDR 31:2 }
    /// State of the queue. EXCEPTION says why it stopped, as for an SDMA ring. CTXSW_READY: something of it waits for a page.
    CONTEXT_STATUS = "RB{}_CONTEXT_STATUS" @ 0x91 [4; 0x60] Ro = 0x0000_0004 { IDLE 2, EXCEPTION 6:4, CTXSW_READY 8 }
    /// Doorbell switch.
    DOORBELL = "RB{}_DOORBELL" @ 0x92 [4; 0x60] Rw { ENABLE 28, CAPTURED 30 }
    /// The queue's doorbell: dword offset in the aperture.
    DOORBELL_OFFSET = "RB{}_DOORBELL_OFFSET" @ 0xab [4; 0x60] Rw { OFFSET 27:2 }
    /// Set to 1 before and 0 after a write pointer of two dwords is written: no start in between.
    MINOR_PTR_UPDATE = "RB{}_MINOR_PTR_UPDATE" @ 0xb5 [4; 0x60] Rw { ENABLE 0 }
    /// Lanes of the program in execution: at work, and waiting for a page.
    LANES = "RB{}_LANES" @ 0xc0 [4; 0x60] Ro { BUSY 8:0, WAITING 24:16 }
    /// Items that the program in execution has completed, low dword.
    ITEMS = "RB{}_ITEMS" @ 0xc1 [4; 0x60] Ro {}
    /// High dword of that.
    ITEMS_HI = "RB{}_ITEMS_HI" @ 0xc2 [4; 0x60] Ro {}
}

/// The queues' registers lie where an SDMA instance has those of its rings.
const _: () = {
    const fn same(a: &crate::Reg, b: &crate::Reg) -> bool {
        a.offset == b.offset && a.count == b.count && a.stride == b.stride
    }
    assert!(same(&RB_CNTL, &sdma::RB_CNTL) && same(&RB_BASE, &sdma::RB_BASE) && same(&RB_BASE_HI, &sdma::RB_BASE_HI));
    assert!(same(&RB_RPTR, &sdma::RB_RPTR) && same(&RB_RPTR_HI, &sdma::RB_RPTR_HI));
    assert!(same(&RB_WPTR, &sdma::RB_WPTR) && same(&RB_WPTR_HI, &sdma::RB_WPTR_HI));
    assert!(same(&RB_RPTR_ADDR_HI, &sdma::RB_RPTR_ADDR_HI) && same(&RB_RPTR_ADDR_LO, &sdma::RB_RPTR_ADDR_LO));
    assert!(same(&CONTEXT_STATUS, &sdma::CONTEXT_STATUS) && same(&DOORBELL, &sdma::DOORBELL));
    assert!(same(&DOORBELL_OFFSET, &sdma::DOORBELL_OFFSET) && same(&MINOR_PTR_UPDATE, &sdma::MINOR_PTR_UPDATE));
    assert!(same(&CNTL, &sdma::CNTL) && same(&F32_CNTL, &sdma::F32_CNTL) && same(&STATUS_REG, &sdma::STATUS_REG));
    assert!(ACCESS.base == sdma::SDMA1.base + (sdma::SDMA1.base - sdma::SDMA0.base));
};

/// Opcodes beside those that the engine shares with SDMA; no SDMA packet has them.
pub mod op {
    /// A nest of three loops over operands A, B and D.
    pub const NEST: u8 = 0x40;
    /// Chains of pointers.
    pub const CHASE: u8 = 0x41;
    /// A step of a breadth-first search.
    pub const EXPAND: u8 = 0x42;
    /// A hash table with linear probing.
    pub const HASH: u8 = 0x43;
}

/// Sub-opcodes of HASH.
pub mod sub_op {
    /// Look keys up.
    pub const PROBE: u8 = 0;
    /// Put keys and values in.
    pub const INSERT: u8 = 1;
}

/// The field `name`, bits `msb:lsb` of a packet dword.
macro_rules! fields { ($($(#[doc = $doc:literal])+ $id:ident = $name:literal $msb:literal:$lsb:literal;)*) => { $($(#[doc = $doc])+ pub const $id: Field = Field::new($name, $msb, $lsb);)* } }

fields! {
    /// Header: lanes - 1.
    LANE_COUNT = "LANES" 23:16;
    /// NEST control: log2 of an element's bytes.
    ELEMENT = "ELEMENT" 1:0;
    /// NEST control: what becomes of A and B, see [`func`].
    FUNC = "FUNC" 7:4;
    /// NEST and CHASE control: what is done to D or the value, see [`update`].
    UPDATE = "UPDATE" 14:8;
    /// NEST control: a lane adds up the innermost loop and updates D once.
    REDUCE = "REDUCE" 16:16;
    /// Operand: how an index is made, see [`pattern`].
    PATTERN = "PATTERN" 3:0;
    /// Operand: its indices are quadwords rather than dwords.
    WIDE_INDEX = "WIDE_INDEX" 4:4;
}

/// FUNC values: the value of an iteration, at the element's width, without signs.
pub mod func {
    #![allow(missing_docs)]
    pub const A: u32 = 0;
    pub const ADD: u32 = 1;
    /// A - B.
    pub const SUB: u32 = 2;
    pub const MUL: u32 = 3;
    pub const AND: u32 = 4;
    pub const OR: u32 = 5;
    pub const XOR: u32 = 6;
    pub const MIN: u32 = 7;
    pub const MAX: u32 = 8;
    /// The immediate.
    pub const IMMEDIATE: u32 = 9;
    /// The iteration's number plus the immediate.
    pub const NUMBER: u32 = 10;
    /// A times the immediate, plus B.
    pub const MULTIPLY_ADD: u32 = 11;
    /// [`super::mix`] of the iteration's number plus the immediate.
    pub const MIX: u32 = 12;
    /// How many there are.
    pub const COUNT: u32 = 13;
}

/// UPDATE values beside the ATOMIC operations SWAP and ADD to XOR ([`crate::packet::atomic`]), which read, modify and
/// write.
pub mod update {
    /// Nothing is written.
    pub const NONE: u32 = 0;
    /// The value is stored.
    pub const STORE: u32 = 1;
}

/// PATTERN values. `e` = start + i0 * stride 0 + i1 * stride 1 + i2 * stride 2; strides and start are signed.
pub mod pattern {
    /// There is no such operand: it reads as zero.
    pub const NONE: u32 = 0;
    /// The index is `e`.
    pub const AFFINE: u32 = 1;
    /// The index is element `e` of the indices.
    pub const GATHER: u32 = 2;
    /// The index is [`super::mix`]`(seed + e)` modulo the range.
    pub const RANDOM: u32 = 3;
    /// The index is `e` plus the value of A. Not for A itself.
    pub const BY_A: u32 = 4;
}

/// Most lanes of a program.
pub const MAX_LANES: u32 = 256;
/// Most iterations of a NEST.
pub const MAX_ITERATIONS: u64 = 1 << 32;
/// A key of a hash table that stands for an empty slot.
pub const EMPTY: u32 = u32::MAX;

/// Scatters numbers (the finaliser of splitmix64).
pub const fn mix(n: u64) -> u64 {
    let z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The slot where a search for `key` begins in a table of 2^`bits` slots, `bits` from 1 to 32.
pub const fn slot(key: u32, bits: u32) -> u64 {
    (key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits)
}

/// Dwords of an operand.
pub const OPERAND_DWORDS: usize = 12;

/// Every program that the engine executes, beside SDMA's NOP, FENCE and TRAP.
pub const SHAPES: &[Shape] = &[
    Shape {
        op: op::NEST,
        sub_op: 0,
        name: "NEST",
        dwords: &[
            "control",
            "n0",
            "n1",
            "n2",
            "imm_lo",
            "imm_hi",
            "sum_lo",
            "sum_hi",
            "a_lo",
            "a_hi",
            "a_index_lo",
            "a_index_hi",
            "a_pattern",
            "a_start",
            "a_stride0",
            "a_stride1",
            "a_stride2",
            "a_range",
            "a_seed_lo",
            "a_seed_hi",
            "b_lo",
            "b_hi",
            "b_index_lo",
            "b_index_hi",
            "b_pattern",
            "b_start",
            "b_stride0",
            "b_stride1",
            "b_stride2",
            "b_range",
            "b_seed_lo",
            "b_seed_hi",
            "d_lo",
            "d_hi",
            "d_index_lo",
            "d_index_hi",
            "d_pattern",
            "d_start",
            "d_stride0",
            "d_stride1",
            "d_stride2",
            "d_range",
            "d_seed_lo",
            "d_seed_hi",
        ],
    },
    Shape {
        op: op::CHASE,
        sub_op: 0,
        name: "CHASE",
        dwords: &[
            "control", "chains", "hops", "heads_lo", "heads_hi", "next", "value", "imm_lo", "imm_hi", "ends_lo",
            "ends_hi", "sum_lo", "sum_hi",
        ],
    },
    Shape {
        op: op::EXPAND,
        sub_op: 0,
        name: "EXPAND",
        dwords: &[
            "vertices",
            "depth",
            "rows_lo",
            "rows_hi",
            "columns_lo",
            "columns_hi",
            "levels_lo",
            "levels_hi",
            "sum_lo",
            "sum_hi",
        ],
    },
    Shape { op: op::HASH, sub_op: sub_op::PROBE, name: "PROBE", dwords: HASH_DWORDS },
    Shape { op: op::HASH, sub_op: sub_op::INSERT, name: "INSERT", dwords: HASH_DWORDS },
];

const HASH_DWORDS: &[&str] = &[
    "count",
    "bits",
    "limit",
    "keys_lo",
    "keys_hi",
    "table_lo",
    "table_hi",
    "values_lo",
    "values_hi",
    "miss",
    "sum_lo",
    "sum_hi",
];

/// Most dwords of a packet.
pub const MAX_DWORDS: usize = 9 + 3 * OPERAND_DWORDS;

/// The shape of the packet that starts with `packet_header`, if the engine executes it.
pub fn shape(packet_header: u32) -> Option<&'static Shape> {
    let kind = packet_header & 0xffff;
    let own = SHAPES.iter().find(|s| header(s.op, s.sub_op) == kind);
    let shared = [sdma_op::NOP, sdma_op::FENCE, sdma_op::TRAP];
    own.or_else(|| crate::packet::shape(packet_header).filter(|s| shared.contains(&s.op)))
}
