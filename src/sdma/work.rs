// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a packet does to memory, in pieces: a long packet gives way to others every [`QUANTUM`] bytes.

use super::packet::{poll_passes, Packet, Target};
use crate::gmc::{Stop, Vm};
use crate::ring::Stream;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use uvm_spec::packet::atomic;

/// Most bytes moved before other rings, other engines and register accesses get their turn.
pub const QUANTUM: u64 = 128 << 10;

/// A packet in execution.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields are the packet's")]
pub enum Work {
    /// `done` of the dwords that `data` holds are written.
    Write { data: Stream, dst: u64, dwords: u32, done: u32 },
    /// `done` of the copy's bytes are there.
    Copy { src: u64, dst: u64, bytes: u64, done: u64 },
    /// `done` of the fill's bytes are there.
    Fill { dst: u64, value: u32, unit: u8, bytes: u64, done: u64 },
    /// `done` of the entries are there.
    Ptes { dst: u64, flags: u64, value: u64, increment: u64, count: u64, done: u64 },
    /// `tries` looks failed; the next is due at `due`.
    Poll { packet: Packet, tries: u32, due: u64 },
    /// A looping compare-and-swap; the next try is due at `due`.
    Atomic { packet: Packet, due: u64 },
}

/// [`QUANTUM`] in dwords.
const WRITE_QUANTUM: u32 = 64 << 10;

/// How far a piece of work got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The packet is complete.
    Done,
    /// There is more to do now.
    More,
    /// Nothing to do before this time (reference clock).
    Until(u64),
    /// The register of this index must be read; the answer goes to [`Work::polled`].
    NeedRegister(u32),
    /// A poll gave up.
    TimedOut,
}

/// Shortest time between two looks of a poll, reference clocks: a driver that asks for less gets this.
const MIN_INTERVAL: u64 = 1000;

impl Work {
    /// The packet as work, if it is of the kind that takes time.
    pub fn new(packet: Packet) -> Option<Self> {
        Some(match packet {
            Packet::Copy { src, dst, bytes } => Self::Copy { src, dst, bytes, done: 0 },
            Packet::Fill { dst, value, unit, bytes } => Self::Fill { dst, value, unit, bytes, done: 0 },
            Packet::Ptes { dst, flags, value, increment, count } => {
                Self::Ptes { dst, flags, value, increment, count, done: 0 }
            }
            Packet::Poll { .. } => Self::Poll { packet, tries: 0, due: 0 },
            Packet::Atomic { .. } => Self::Atomic { packet, due: 0 },
            _ => return None,
        })
    }
    /// Does the next piece at time `now`. `preop` gets the value that an atomic found; `bytes` counts what moved.
    pub fn advance(
        &mut self,
        vm: &mut Vm<'_, '_>,
        vmid: u8,
        now: u64,
        preop: &mut u64,
        moved: &mut u64,
    ) -> Result<Outcome, Stop> {
        match self {
            Self::Write { data, dst, dwords, done } => {
                let mut buf = [0u8; 4096];
                let until = (*done).saturating_add(WRITE_QUANTUM).min(*dwords);
                while *done < until {
                    let n = (until - *done).min(1024);
                    let part = buf.get_mut(..4 * n as usize).ok_or(Stop::Error)?;
                    let at = 4 * u64::from(*done);
                    data.skip(at).read(vm, part)?;
                    vm.write(vmid, dst.wrapping_add(at), part)?;
                    *moved += part.len() as u64;
                    *done += n;
                }
                Ok(progress(u64::from(*done), u64::from(*dwords)))
            }
            Self::Copy { src, dst, bytes, done } => {
                let (before, until) = (*done, (*done).saturating_add(QUANTUM).min(*bytes));
                let result = vm.copy(vmid, *dst, *src, until, done);
                *moved += *done - before;
                result.map(|()| progress(*done, *bytes))
            }
            Self::Fill { dst, value, unit, bytes, done } => {
                let (before, until) = (*done, (*done).saturating_add(QUANTUM).min(*bytes));
                let result = fill(vm, vmid, *dst, *value, *unit, until, done);
                *moved += *done - before;
                result.map(|()| progress(*done, *bytes))
            }
            Self::Ptes { dst, flags, value, increment, count, done } => {
                let n = (*count - *done).min(QUANTUM / 8);
                for i in *done..*done + n {
                    let entry = *flags | value.wrapping_add(increment.wrapping_mul(i));
                    vm.store64(vmid, dst.wrapping_add(8 * i), entry)?;
                    *moved += 8;
                    *done = i + 1;
                }
                Ok(progress(*done, *count))
            }
            Self::Poll { packet: Packet::Poll { target, .. }, due, .. } => {
                if now < *due {
                    return Ok(Outcome::Until(*due));
                }
                match *target {
                    Target::Register(index) => Ok(Outcome::NeedRegister(index)),
                    Target::Memory(addr) => {
                        let value = vm.load32(vmid, addr)?;
                        Ok(self.polled(value, now))
                    }
                }
            }
            Self::Atomic { packet: Packet::Atomic { op, wide, returns, addr, src, cmp, again }, due } => {
                if now < *due {
                    return Ok(Outcome::Until(*due));
                }
                let found = if *wide {
                    vm.atomic64(vmid, *addr, |a| atomic64(a, *op, *src, *cmp))?
                } else {
                    #[allow(clippy::cast_possible_truncation)] // the operand is the low dword
                    let (src, cmp) = (*src as u32, *cmp as u32);
                    u64::from(vm.atomic32(vmid, *addr, |a| atomic32(a, *op, src, cmp))?)
                };
                if *returns {
                    *preop = found;
                }
                let wanted = if *wide { *cmp } else { *cmp & 0xffff_ffff };
                match again {
                    Some(interval) if found != wanted => {
                        *due = now.saturating_add(u64::from(*interval).max(MIN_INTERVAL));
                        Ok(Outcome::Until(*due))
                    }
                    _ => Ok(Outcome::Done),
                }
            }
            Self::Poll { .. } | Self::Atomic { .. } => Ok(Outcome::Done),
        }
    }
    /// A poll's look found `value`.
    pub fn polled(&mut self, value: u32, now: u64) -> Outcome {
        let Self::Poll { packet: Packet::Poll { func, reference, mask, interval, retries, .. }, tries, due } = self
        else {
            return Outcome::Done;
        };
        if poll_passes(*func, value & *mask, *reference) {
            return Outcome::Done;
        }
        if retries.is_some_and(|most| *tries >= most) {
            return Outcome::TimedOut;
        }
        *tries = tries.saturating_add(1);
        *due = now.saturating_add(u64::from(*interval).max(MIN_INTERVAL));
        Outcome::Until(*due)
    }
}

fn progress(done: u64, all: u64) -> Outcome {
    if done < all {
        Outcome::More
    } else {
        Outcome::Done
    }
}

/// Fills from byte `done` to byte `until`; a piece starts on a whole unit, since 4096 is a multiple of it.
fn fill(vm: &mut Vm<'_, '_>, vmid: u8, dst: u64, value: u32, unit: u8, until: u64, done: &mut u64) -> Result<(), Stop> {
    let unit = usize::from(unit);
    let mut pattern = [0u8; 4096];
    for chunk in pattern.chunks_mut(unit) {
        chunk.copy_from_slice(value.to_le_bytes().get(..unit).ok_or(Stop::Error)?);
    }
    while *done < until {
        let n = (until - *done).min(4096);
        let part = pattern.get(..usize::try_from(n).map_err(|_| Stop::Error)?).ok_or(Stop::Error)?;
        vm.write(vmid, dst.wrapping_add(*done), part)?;
        *done += n;
    }
    Ok(())
}

/// The two widths of the atomic unit. INC wraps to 0 above the operand; DEC wraps to the operand below 0 or above it.
macro_rules! atomic_unit {
    ($name:ident, $atomic:ty, $int:ty, $signed:ty) => {
        /// Does `op` with `src` (and `cmp`) to `a`; gives back what was there.
        #[allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)] // signed minimum and maximum
        pub fn $name(a: &$atomic, op: u32, src: $int, cmp: $int) -> $int {
            let order = Ordering::SeqCst;
            match op {
                atomic::SWAP => a.swap(src, order),
                atomic::CMPSWAP => a.compare_exchange(cmp, src, order, order).unwrap_or_else(|found| found),
                atomic::ADD => a.fetch_add(src, order),
                atomic::SUB => a.fetch_sub(src, order),
                atomic::UMIN => a.fetch_min(src, order),
                atomic::UMAX => a.fetch_max(src, order),
                atomic::AND => a.fetch_and(src, order),
                atomic::OR => a.fetch_or(src, order),
                atomic::XOR => a.fetch_xor(src, order),
                _ => {
                    let next = |old: $int| match op {
                        atomic::SMIN => (old as $signed).min(src as $signed) as $int,
                        atomic::SMAX => (old as $signed).max(src as $signed) as $int,
                        atomic::INC if old >= src => 0,
                        atomic::INC => old + 1,
                        _ if old == 0 || old > src => src,
                        _ => old - 1,
                    };
                    a.fetch_update(order, order, |old| Some(next(old))).unwrap_or_else(|found| found)
                }
            }
        }
    };
}
atomic_unit!(atomic32, AtomicU32, u32, i32);
atomic_unit!(atomic64, AtomicU64, u64, i64);
