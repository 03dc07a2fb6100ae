// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! SDMA packets: from raw dwords to valid values. The layout is [`uvm_spec::packet`]'s.

use crate::ring::Illegal;
use uvm_spec::packet::*;

/// Most dwords that a packet has before its data.
pub const MAX_FIXED: usize = 10;

/// What POLL_REGMEM looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A register, by dword index.
    Register(u32),
    /// A dword in memory.
    Memory(u64),
}

/// A valid packet. Addresses are bytes; counts are what they say, not one less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Packet {
    /// `skip` more dwords belong to it.
    Nop {
        skip: u32,
    },
    Copy {
        src: u64,
        dst: u64,
        bytes: u64,
    },
    /// `dwords` of data follow.
    Write {
        dst: u64,
        dwords: u32,
    },
    Indirect {
        vmid: u8,
        base: u64,
        dwords: u32,
    },
    Fence {
        addr: u64,
        value: u32,
    },
    Trap {
        context: u32,
    },
    /// `retries` None polls for ever; `interval` in reference clocks.
    Poll {
        target: Target,
        func: u32,
        reference: u32,
        mask: u32,
        interval: u32,
        retries: Option<u32>,
    },
    CondExe {
        addr: u64,
        reference: u32,
        dwords: u32,
    },
    /// `again` repeats a failed compare-and-swap after that many reference clocks.
    Atomic {
        op: u32,
        wide: bool,
        returns: bool,
        addr: u64,
        src: u64,
        cmp: u64,
        again: Option<u32>,
    },
    /// `unit` bytes of `value`, over and over.
    Fill {
        dst: u64,
        value: u32,
        unit: u8,
        bytes: u64,
    },
    Ptes {
        dst: u64,
        flags: u64,
        value: u64,
        increment: u64,
        count: u64,
    },
    TimestampSet {
        value: u64,
    },
    TimestampGet {
        addr: u64,
        global: bool,
    },
    RegWrite {
        index: u32,
        value: u32,
        byte_enable: u32,
    },
}

impl Packet {
    /// Whether it reads or writes a register.
    pub fn names_register(&self) -> bool {
        matches!(self, Self::RegWrite { .. } | Self::Poll { target: Target::Register(_), .. })
    }
}

/// Dwords of the packet that starts with `header`, without its data.
pub fn fixed_dwords(header: u32) -> Result<usize, Illegal> {
    shape(header).map(|s| s.dwords.len() + 1).ok_or(Illegal)
}

/// Decodes a packet from its header and the fixed dwords after it; missing ones read as zero.
#[allow(clippy::cast_possible_truncation)] // fields are narrower than what holds them
pub fn decode(dw: &[u32; MAX_FIXED]) -> Result<Packet, Illegal> {
    let header = dw[0];
    let wide = |n: usize| u64::from(dw[n]) | u64::from(dw[n + 1]) << 32;
    let bytes = |dword: u32| u64::from(BYTES.get(dword)) + 1;
    fixed_dwords(header)?;
    Ok(match OP.get(header) as u8 {
        op::NOP => Packet::Nop { skip: NOP_COUNT.get(header) },
        op::COPY if COPY_BROADCAST.is_set(header) => return Err(Illegal),
        op::COPY => Packet::Copy { bytes: bytes(dw[1]), src: wide(3), dst: wide(5) },
        op::WRITE => Packet::Write { dst: wide(1) & !3, dwords: WRITE_COUNT.get(dw[3]) + 1 },
        op::INDIRECT => {
            let base = wide(1);
            if base % 32 != 0 {
                return Err(Illegal);
            }
            Packet::Indirect { vmid: IB_VMID.get(header) as u8, base, dwords: IB_SIZE.get(dw[3]) }
        }
        op::FENCE => Packet::Fence { addr: wide(1) & !3, value: dw[3] },
        op::TRAP => Packet::Trap { context: TRAP_CONTEXT.get(dw[1]) },
        op::POLL_REGMEM => poll(dw)?,
        op::COND_EXE => Packet::CondExe { addr: wide(1) & !3, reference: dw[3], dwords: COND_COUNT.get(dw[4]) },
        op::ATOMIC => atomic(dw)?,
        op::CONST_FILL => Packet::Fill {
            dst: wide(1),
            value: dw[3],
            unit: match FILL_SIZE.get(header) {
                0 => 1,
                1 => 2,
                2 => 4,
                _ => return Err(Illegal),
            },
            bytes: bytes(dw[4]),
        },
        op::PTEPDE => Packet::Ptes {
            dst: wide(1) & !7,
            flags: wide(3),
            value: wide(5),
            increment: wide(7),
            count: u64::from(PTE_COUNT.get(dw[9])) + 1,
        },
        op::TIMESTAMP => match SUB_OP.get(header) as u8 {
            sub_op::TIMESTAMP_SET => Packet::TimestampSet { value: wide(1) },
            sub_op::TIMESTAMP_GET => Packet::TimestampGet { addr: wide(1) & !7, global: false },
            _ => Packet::TimestampGet { addr: wide(1) & !7, global: true },
        },
        op::SRBM_WRITE => {
            Packet::RegWrite { index: SRBM_ADDR.get(dw[1]), value: dw[2], byte_enable: SRBM_BYTE_EN.get(header) }
        }
        _ => return Err(Illegal),
    })
}

fn poll(dw: &[u32; MAX_FIXED]) -> Result<Packet, Illegal> {
    let func = POLL_FUNC.get(dw[0]);
    if func > poll_func::GREATER {
        return Err(Illegal);
    }
    let target = match POLL_MEM.is_set(dw[0]) {
        true => Target::Memory((u64::from(dw[1]) | u64::from(dw[2]) << 32) & !3),
        // The vendor's packet names a register by its byte offset.
        false => Target::Register(dw[1] >> 2),
    };
    let retries = Some(POLL_RETRY.get(dw[5])).filter(|&n| n != POLL_FOREVER);
    Ok(Packet::Poll { target, func, reference: dw[3], mask: dw[4], interval: POLL_INTERVAL.get(dw[5]), retries })
}

fn atomic(dw: &[u32; MAX_FIXED]) -> Result<Packet, Illegal> {
    use uvm_spec::packet::atomic as a;
    let code = ATOMIC_OP.get(dw[0]);
    let op = code & !(a::BITS64 | a::NO_RETURN);
    let wide = code & a::BITS64 != 0;
    if !(a::SWAP..=a::CMPSWAP).contains(&op) && !(a::ADD..=a::DEC).contains(&op) {
        return Err(Illegal);
    }
    let looping = ATOMIC_LOOP.is_set(dw[0]);
    if looping && op != a::CMPSWAP {
        return Err(Illegal);
    }
    let pair = |n: usize| u64::from(dw[n]) | u64::from(dw[n + 1]) << 32;
    Ok(Packet::Atomic {
        op,
        wide,
        returns: code & a::NO_RETURN == 0,
        addr: pair(1) & if wide { !7 } else { !3 },
        src: pair(3),
        cmp: pair(5),
        again: looping.then_some(dw[7] & 0x1fff),
    })
}

/// Whether `value` passes POLL comparison `func` against `reference`.
pub fn poll_passes(func: u32, value: u32, reference: u32) -> bool {
    match func {
        poll_func::ALWAYS => true,
        poll_func::LESS => value < reference,
        poll_func::LESS_EQUAL => value <= reference,
        poll_func::EQUAL => value == reference,
        poll_func::NOT_EQUAL => value != reference,
        poll_func::GREATER_EQUAL => value >= reference,
        _ => value > reference,
    }
}
