// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What packets should do, done by the CPU: the oracle that the device's results are held against.
//!
//! An [`Op`] works on one arena of bytes. It is emitted as a packet on a buffer object and applied to a `Vec` in step.

use uvm_spec::packet::atomic;

use crate::ib::{Atomic, Entries, FillSize, Ib, Place};
use crate::rng::Rng;

/// A packet with offsets into the arena.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Op {
    Nop { extra: u32 },
    Copy { from: usize, to: usize, bytes: usize },
    Write { to: usize, data: Vec<u32> },
    Fill { to: usize, value: u32, size: FillSize, bytes: usize },
    Fence { to: usize, value: u32 },
    Atomic { at: usize, atomic: Atomic },
    Entries { to: usize, entries: Entries },
    Cond { at: usize, reference: u32, then: Vec<Op> },
}

impl Op {
    /// Adds the packet, for an arena that is the buffer object `handle` from `base`.
    pub fn emit(&self, ib: &mut Ib, handle: u32, base: u64) {
        let place = |offset: usize| Place::Bo(handle, base.wrapping_add(offset as u64));
        match self {
            Self::Nop { extra } => ib.nop(*extra),
            Self::Copy { from, to, bytes } => ib.copy(place(*from), place(*to), *bytes as u64),
            Self::Write { to, data } => ib.write(place(*to), data),
            Self::Fill { to, value, size, bytes } => ib.fill(place(*to), *value, *size, *bytes as u64),
            Self::Fence { to, value } => ib.fence(place(*to), *value),
            Self::Atomic { at, atomic } => ib.atomic(place(*at), *atomic),
            Self::Entries { to, entries } => ib.entries(place(*to), *entries),
            Self::Cond { at, reference, then } => {
                ib.cond(place(*at), *reference, |ib| then.iter().for_each(|op| op.emit(ib, handle, base)))
            }
        };
    }

    /// Does it. Panics where an offset lies outside of the arena.
    pub fn apply(&self, arena: &mut [u8]) {
        match self {
            Self::Nop { .. } => {}
            Self::Copy { from, to, bytes } => arena.copy_within(*from..from + bytes, *to),
            Self::Write { to, data } => {
                for (n, dword) in data.iter().enumerate() {
                    put(arena, to + 4 * n, &dword.to_le_bytes());
                }
            }
            Self::Fill { to, value, size, bytes } => {
                let pattern = value.to_le_bytes();
                for n in 0..*bytes {
                    arena[to + n] = pattern[n % size.bytes()];
                }
            }
            Self::Fence { to, value } => put(arena, *to, &value.to_le_bytes()),
            Self::Atomic { at, atomic } if atomic.op & atomic::BITS64 != 0 => {
                let old = u64_at(arena, *at);
                put(arena, *at, &result(atomic.op, 64, old, atomic.source, atomic.compare).to_le_bytes());
            }
            Self::Atomic { at, atomic } => {
                let old = u64::from(u32_at(arena, *at));
                let low = u64::from(u32::MAX);
                let new = result(atomic.op, 32, old, atomic.source & low, atomic.compare & low);
                put(arena, *at, &new.to_le_bytes()[..4]);
            }
            Self::Entries { to, entries } => {
                for n in 0..u64::from(entries.count) {
                    let at = to + usize::try_from(8 * n).unwrap_or(usize::MAX);
                    let value = entries.value.wrapping_add(n.wrapping_mul(entries.increment));
                    put(arena, at, &(entries.flags | value).to_le_bytes());
                }
            }
            Self::Cond { at, reference, then } => {
                if u32_at(arena, *at) == *reference {
                    then.iter().for_each(|op| op.apply(arena));
                }
            }
        }
    }

    /// A random packet for an arena of `length` bytes (at least 4 KiB), at most `most` bytes long.
    pub fn random(rng: &mut Rng, length: usize, most: usize) -> Self {
        match rng.below(8) {
            0 => Self::Nop { extra: rng.next32() % 5 },
            7 => {
                let at = place(rng, length, 4, 4);
                let then = (0..=rng.below(2)).map(|_| Self::random_plain(rng, length, most)).collect();
                // Most of memory is random, so that this is mostly skipped; the directed tests take the other branch.
                Self::Cond { at, reference: rng.next32() & 1, then }
            }
            _ => Self::random_plain(rng, length, most),
        }
    }

    fn random_plain(rng: &mut Rng, length: usize, most: usize) -> Self {
        let bytes = usize::try_from(rng.size(most as u64)).unwrap_or(1).min(length / 4);
        match rng.below(6) {
            0 | 1 => {
                // Overlapping ranges have no defined result: the two lie in halves of their own.
                let half = length / 2;
                let (low, high) = (place(rng, half, bytes, 1), half + place(rng, half, bytes, 1));
                let (from, to) = if rng.below(2) == 0 { (low, high) } else { (high, low) };
                Self::Copy { from, to, bytes }
            }
            2 => {
                let data: Vec<u32> = (0..=rng.below(64)).map(|_| rng.next32()).collect();
                Self::Write { to: place(rng, length, 4 * data.len(), 4), data }
            }
            3 => {
                let size = rng.pick(&[FillSize::Byte, FillSize::Half, FillSize::Dword]);
                let bytes = bytes.next_multiple_of(size.bytes());
                Self::Fill { to: place(rng, length, bytes, size.bytes()), value: rng.next32(), size, bytes }
            }
            4 => {
                let wide = rng.below(2) == 1;
                let op = rng.pick(ATOMICS) | if wide { atomic::BITS64 } else { 0 };
                let op = op | if rng.below(2) == 1 { atomic::NO_RETURN } else { 0 };
                let atomic = Atomic { op, source: rng.next(), compare: rng.next() };
                Self::Atomic { at: place(rng, length, 8, 8), atomic }
            }
            _ => {
                let count = u32::try_from(rng.below(64)).unwrap_or(0) + 1;
                // Flags and address share no bit, as in real tables.
                let entries = Entries {
                    flags: rng.next() & 0x0fff,
                    value: rng.next() & 0xffff_ffff_f000,
                    increment: rng.next() & 0xf_f000,
                    count,
                };
                let bytes = 8 * usize::try_from(count).unwrap_or(0);
                Self::Entries { to: place(rng, length, bytes, 8), entries }
            }
        }
    }
}

/// Every atomic operation, 32 bits wide and with a return value.
pub const ATOMICS: &[u32] = &[
    atomic::SWAP,
    atomic::CMPSWAP,
    atomic::ADD,
    atomic::SUB,
    atomic::SMIN,
    atomic::UMIN,
    atomic::SMAX,
    atomic::UMAX,
    atomic::AND,
    atomic::OR,
    atomic::XOR,
    atomic::INC,
    atomic::DEC,
];

/// A random offset for `bytes` in `length`, a multiple of `align`.
fn place(rng: &mut Rng, length: usize, bytes: usize, align: usize) -> usize {
    rng.index((length - bytes) / align + 1) * align
}

fn put(arena: &mut [u8], at: usize, bytes: &[u8]) {
    arena[at..at + bytes.len()].copy_from_slice(bytes);
}

/// The little-endian dword at a byte offset. Panics outside of `bytes`.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    (0..4).rev().fold(0, |value, n| value << 8 | u32::from(bytes[at + n]))
}

/// The little-endian 64-bit word at a byte offset. Panics outside of `bytes`.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// What an atomic operation of `bits` bits leaves in memory. All values fit the width.
fn result(op: u32, bits: u32, old: u64, source: u64, compare: u64) -> u64 {
    let mask = u64::MAX >> (64 - bits);
    // Flipping the sign bit orders signed numbers as unsigned ones.
    let signed = |value: u64| value ^ (1 << (bits - 1));
    let new = match op & !(atomic::BITS64 | atomic::NO_RETURN) {
        atomic::SWAP => source,
        atomic::CMPSWAP if old == compare => source,
        atomic::CMPSWAP => old,
        atomic::ADD => old.wrapping_add(source),
        atomic::SUB => old.wrapping_sub(source),
        atomic::SMIN if signed(source) < signed(old) => source,
        atomic::SMAX if signed(source) > signed(old) => source,
        atomic::SMIN | atomic::SMAX => old,
        atomic::UMIN => old.min(source),
        atomic::UMAX => old.max(source),
        atomic::AND => old & source,
        atomic::OR => old | source,
        atomic::XOR => old ^ source,
        // The counters wrap at the operand.
        atomic::INC if old >= source => 0,
        atomic::INC => old + 1,
        atomic::DEC if old == 0 || old > source => source,
        atomic::DEC => old - 1,
        other => unreachable!("no atomic operation has the number {other:#x}"),
    };
    new & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn gives(op: u32, bits: u32, old: u64, source: u64, expected: u64) {
        assert_eq!(result(op, bits, old, source, 7), expected, "{op:#x} of {old:#x} and {source:#x}");
    }

    #[test]
    fn atomics_give_the_values_worked_out_by_hand() {
        gives(atomic::ADD, 32, 0xffff_ffff, 2, 1);
        gives(atomic::SUB, 32, 1, 2, 0xffff_ffff);
        gives(atomic::SUB, 64, 1, 2, u64::MAX);
        gives(atomic::SMIN, 32, 5, 0xffff_ffff, 0xffff_ffff);
        gives(atomic::UMIN, 32, 5, 0xffff_ffff, 5);
        gives(atomic::SMAX, 32, 5, 0xffff_ffff, 5);
        gives(atomic::UMAX, 64, 5, 0xffff_ffff, 0xffff_ffff);
        gives(atomic::CMPSWAP, 32, 7, 9, 9);
        gives(atomic::CMPSWAP, 32, 8, 9, 8);
        gives(atomic::INC, 32, 4, 5, 5);
        gives(atomic::INC, 32, 5, 5, 0);
        gives(atomic::DEC, 32, 0, 5, 5);
        gives(atomic::DEC, 32, 6, 5, 5);
        gives(atomic::DEC, 32, 3, 5, 2);
    }

    #[test]
    fn fill_repeats_the_low_part_of_the_value() {
        let mut arena = vec![0; 8];
        Op::Fill { to: 1, value: 0x0403_0201, size: FillSize::Half, bytes: 4 }.apply(&mut arena);
        assert_eq!(arena, [0, 1, 2, 1, 2, 0, 0, 0]);
    }

    #[test]
    fn narrow_atomic_leaves_the_next_dword_alone() {
        let mut arena = vec![0xff; 8];
        Op::Atomic { at: 0, atomic: Atomic { op: atomic::ADD, source: 1, compare: 0 } }.apply(&mut arena);
        assert_eq!(arena, [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn entries_count_up_from_the_value() {
        let mut arena = vec![0; 24];
        Op::Entries { to: 8, entries: Entries { flags: 0x73, value: 0x5000, increment: 0x1000, count: 2 } }
            .apply(&mut arena);
        assert_eq!([u64_at(&arena, 0), u64_at(&arena, 8), u64_at(&arena, 16)], [0, 0x5073, 0x6073]);
    }

    #[test]
    fn condition_runs_its_packets_only_on_a_match() {
        let then = vec![Op::Fence { to: 4, value: 9 }];
        let mut arena = vec![0; 8];
        Op::Cond { at: 0, reference: 1, then: then.clone() }.apply(&mut arena);
        assert_eq!(u32_at(&arena, 4), 0);
        Op::Cond { at: 0, reference: 0, then }.apply(&mut arena);
        assert_eq!(u32_at(&arena, 4), 9);
    }

    #[test]
    fn random_packets_stay_in_the_arena() {
        let mut rng = Rng::new(3);
        let mut arena = vec![0; 4096];
        for _ in 0..5000 {
            Op::random(&mut rng, arena.len(), 2048).apply(&mut arena);
        }
        assert!(arena.iter().any(|&byte| byte != 0));
    }
}
