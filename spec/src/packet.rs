// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! SDMA v4 packets: opcodes, fields of their dwords, lengths. All packets start with a header: op 7:0, sub_op 15:8.
//!
//! | packet | dwords |
//! |---|---|
//! | NOP | header (COUNT 29:16 more dwords are skipped) |
//! | COPY LINEAR | header, bytes - 1 (22 bits), parameters, source (2), destination (2) |
//! | WRITE LINEAR | header, destination (2), dwords - 1 (20 bits), data |
//! | INDIRECT | header (VMID 19:16), buffer (2, 32-byte aligned), dwords (20 bits), context save area (2) |
//! | FENCE | header, address (2), value |
//! | TRAP | header, context (28 bits) |
//! | POLL_REGMEM | header (FUNC 30:28, MEM_POLL 31), address (2), reference, mask, INTERVAL 15:0 and RETRY_COUNT 27:16 |
//! | COND_EXE | header, address (2), reference, dwords that are skipped unless memory equals it (14 bits) |
//! | ATOMIC | header (LOOP 16, ATOMIC_OP 31:25), address (2), operand (2), compare (2), LOOP_INTERVAL 12:0 |
//! | CONST_FILL | header (FILLSIZE 31:30), destination (2), value, bytes - 1 (22 bits) |
//! | PTEPDE GEN | header, destination (2), flags (2), first value (2), increment (2), entries - 1 (19 bits) |
//! | TIMESTAMP | header, value to set (2) or address (2) |
//! | SRBM_WRITE | header (BYTE_EN 31:28), register dword index (18 bits), value |
//!
//! Two-dword values come low dword first. Byte addresses are virtual addresses of the ring's (or buffer's) VMID.

use crate::Field;

/// Opcodes.
pub mod op {
    /// No operation; may span dwords.
    pub const NOP: u8 = 0;
    /// Copy.
    pub const COPY: u8 = 1;
    /// Write dwords from the packet.
    pub const WRITE: u8 = 2;
    /// Run an indirect buffer.
    pub const INDIRECT: u8 = 4;
    /// Write a dword once all before is done.
    pub const FENCE: u8 = 5;
    /// Interrupt.
    pub const TRAP: u8 = 6;
    /// Wait for a register or a dword in memory.
    pub const POLL_REGMEM: u8 = 8;
    /// Skip dwords unless memory holds a value.
    pub const COND_EXE: u8 = 9;
    /// Atomic read-modify-write.
    pub const ATOMIC: u8 = 10;
    /// Fill with a constant.
    pub const CONST_FILL: u8 = 11;
    /// Generate page table entries.
    pub const PTEPDE: u8 = 12;
    /// Read or set the time stamp.
    pub const TIMESTAMP: u8 = 13;
    /// Write a register.
    pub const SRBM_WRITE: u8 = 14;
}

/// Sub-opcodes.
pub mod sub_op {
    /// COPY: linear to linear.
    pub const COPY_LINEAR: u8 = 0;
    /// WRITE: linear.
    pub const WRITE_LINEAR: u8 = 0;
    /// PTEPDE: generate.
    pub const PTEPDE_GEN: u8 = 0;
    /// TIMESTAMP: set the engine's counter.
    pub const TIMESTAMP_SET: u8 = 0;
    /// TIMESTAMP: write the engine's counter to memory.
    pub const TIMESTAMP_GET: u8 = 1;
    /// TIMESTAMP: write the reference clock to memory.
    pub const TIMESTAMP_GET_GLOBAL: u8 = 2;
}

/// The field `name`, bits `msb:lsb` of a packet dword.
macro_rules! fields { ($($(#[doc = $doc:literal])+ $id:ident = $name:literal $msb:literal:$lsb:literal;)*) => { $($(#[doc = $doc])+ pub const $id: Field = Field::new($name, $msb, $lsb);)* } }

fields! {
    /// Header: opcode.
    OP = "OP" 7:0;
    /// Header: sub-opcode.
    SUB_OP = "SUB_OP" 15:8;
    /// NOP header: dwords that follow and are skipped.
    NOP_COUNT = "COUNT" 29:16;
    /// COPY and CONST_FILL: bytes - 1.
    BYTES = "COUNT" 21:0;
    /// COPY header: one read, two writes. Not offered.
    COPY_BROADCAST = "BROADCAST" 27:27;
    /// WRITE: dwords - 1.
    WRITE_COUNT = "COUNT" 19:0;
    /// INDIRECT header: address space of the buffer.
    IB_VMID = "VMID" 19:16;
    /// INDIRECT: dwords of the buffer.
    IB_SIZE = "IB_SIZE" 19:0;
    /// TRAP: context that the interrupt vector carries.
    TRAP_CONTEXT = "INT_CONTEXT" 27:0;
    /// POLL header: comparison, see [`poll_func`].
    POLL_FUNC = "FUNC" 30:28;
    /// POLL header: memory rather than a register.
    POLL_MEM = "MEM_POLL" 31:31;
    /// POLL: reference clocks from one look to the next.
    POLL_INTERVAL = "INTERVAL" 15:0;
    /// POLL: looks before it gives up; 0xfff never does.
    POLL_RETRY = "RETRY_COUNT" 27:16;
    /// COND_EXE: dwords that depend on it.
    COND_COUNT = "EXEC_COUNT" 13:0;
    /// ATOMIC header: repeat a compare-and-swap until it succeeds.
    ATOMIC_LOOP = "LOOP" 16:16;
    /// ATOMIC header: operation, see [`atomic`].
    ATOMIC_OP = "ATOMIC_OP" 31:25;
    /// CONST_FILL header: 0 byte, 1 half word, 2 dword.
    FILL_SIZE = "FILLSIZE" 31:30;
    /// PTEPDE: entries - 1.
    PTE_COUNT = "COUNT" 18:0;
    /// SRBM_WRITE header: byte enables.
    SRBM_BYTE_EN = "BYTE_EN" 31:28;
    /// SRBM_WRITE: dword index of the register.
    SRBM_ADDR = "ADDR" 17:0;
}

/// POLL RETRY_COUNT that polls for ever.
pub const POLL_FOREVER: u32 = 0xfff;
/// Most bytes of one COPY or CONST_FILL packet.
pub const MAX_BYTES: u64 = 1 << 22;
/// Most entries of one PTEPDE packet.
pub const MAX_PTES: u64 = 0x3_ffff;

/// POLL comparisons: memory (masked) against the reference.
pub mod poll_func {
    #![allow(missing_docs)]
    pub const ALWAYS: u32 = 0;
    pub const LESS: u32 = 1;
    pub const LESS_EQUAL: u32 = 2;
    pub const EQUAL: u32 = 3;
    pub const NOT_EQUAL: u32 = 4;
    pub const GREATER_EQUAL: u32 = 5;
    pub const GREATER: u32 = 6;
}

/// ATOMIC operations: 32-bit numbers with return value. [`atomic::BITS64`] makes them 64 bits wide, [`atomic::NO_RETURN`] returns nothing.
pub mod atomic {
    #![allow(missing_docs)]
    pub const SWAP: u32 = 0x07;
    pub const CMPSWAP: u32 = 0x08;
    pub const ADD: u32 = 0x0f;
    pub const SUB: u32 = 0x10;
    pub const SMIN: u32 = 0x11;
    pub const UMIN: u32 = 0x12;
    pub const SMAX: u32 = 0x13;
    pub const UMAX: u32 = 0x14;
    pub const AND: u32 = 0x15;
    pub const OR: u32 = 0x16;
    pub const XOR: u32 = 0x17;
    pub const INC: u32 = 0x18;
    pub const DEC: u32 = 0x19;
    pub const BITS64: u32 = 0x20;
    pub const NO_RETURN: u32 = 0x40;
}

/// A packet header.
pub const fn header(op: u8, sub_op: u8) -> u32 {
    op as u32 | (sub_op as u32) << 8
}

/// Shape of a packet: its opcode, sub-opcode (None: any), name, and its dwords' names after the header.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Opcode.
    pub op: u8,
    /// Sub-opcode.
    pub sub_op: u8,
    /// Name.
    pub name: &'static str,
    /// Dwords after the header, `_lo` and `_hi` in pairs. WRITE and NOP go on with data.
    pub dwords: &'static [&'static str],
}

/// Every packet that the device executes.
pub const SHAPES: &[Shape] = &[
    Shape { op: op::NOP, sub_op: 0, name: "NOP", dwords: &[] },
    Shape {
        op: op::COPY,
        sub_op: sub_op::COPY_LINEAR,
        name: "COPY_LINEAR",
        dwords: &["count", "param", "src_lo", "src_hi", "dst_lo", "dst_hi"],
    },
    Shape { op: op::WRITE, sub_op: sub_op::WRITE_LINEAR, name: "WRITE_LINEAR", dwords: &["dst_lo", "dst_hi", "count"] },
    Shape { op: op::INDIRECT, sub_op: 0, name: "INDIRECT", dwords: &["ib_lo", "ib_hi", "size", "csa_lo", "csa_hi"] },
    Shape { op: op::FENCE, sub_op: 0, name: "FENCE", dwords: &["addr_lo", "addr_hi", "data"] },
    Shape { op: op::TRAP, sub_op: 0, name: "TRAP", dwords: &["context"] },
    Shape {
        op: op::POLL_REGMEM,
        sub_op: 0,
        name: "POLL_REGMEM",
        dwords: &["addr_lo", "addr_hi", "reference", "mask", "retry"],
    },
    Shape { op: op::COND_EXE, sub_op: 0, name: "COND_EXE", dwords: &["addr_lo", "addr_hi", "reference", "count"] },
    Shape {
        op: op::ATOMIC,
        sub_op: 0,
        name: "ATOMIC",
        dwords: &["addr_lo", "addr_hi", "src_lo", "src_hi", "cmp_lo", "cmp_hi", "interval"],
    },
    Shape { op: op::CONST_FILL, sub_op: 0, name: "CONST_FILL", dwords: &["dst_lo", "dst_hi", "data", "count"] },
    Shape {
        op: op::PTEPDE,
        sub_op: sub_op::PTEPDE_GEN,
        name: "PTEPDE_GEN",
        dwords: &["dst_lo", "dst_hi", "flags_lo", "flags_hi", "value_lo", "value_hi", "incr_lo", "incr_hi", "count"],
    },
    Shape {
        op: op::TIMESTAMP,
        sub_op: sub_op::TIMESTAMP_SET,
        name: "TIMESTAMP_SET",
        dwords: &["value_lo", "value_hi"],
    },
    Shape { op: op::TIMESTAMP, sub_op: sub_op::TIMESTAMP_GET, name: "TIMESTAMP_GET", dwords: &["addr_lo", "addr_hi"] },
    Shape {
        op: op::TIMESTAMP,
        sub_op: sub_op::TIMESTAMP_GET_GLOBAL,
        name: "TIMESTAMP_GET_GLOBAL",
        dwords: &["addr_lo", "addr_hi"],
    },
    Shape { op: op::SRBM_WRITE, sub_op: 0, name: "SRBM_WRITE", dwords: &["addr", "data"] },
];

/// The shape of the packet that starts with `header`, if its opcode and sub-opcode are defined.
pub fn shape(header: u32) -> Option<&'static Shape> {
    let (op, sub_op) = (OP.get(header), SUB_OP.get(header));
    SHAPES.iter().find(|s| u32::from(s.op) == op && u32::from(s.sub_op) == sub_op)
}
