// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Random bytes, entries, addresses and packets that spare the kernel.

use std::ops::Range;

use uvm_spec::packet::{self, header, op, poll_func};
use uvm_spec::pte;

use crate::ib::{Entries, FillSize, Ib, Place, Poll};
use crate::rng::Rng;

/// Bits 1 and 3 of each byte clear: no SYSTEM and no TMZ bit at any alignment, and no opcode that writes registers or
/// computes. (Through TMZ, what is tame would lie in VRAM enciphered, and be anything.)
pub const fn tame(value: u64) -> u64 {
    value & 0xf5f5_f5f5_f5f5_f5f5
}

/// [`tame`] for a dword.
pub const fn tame32(value: u32) -> u32 {
    value & 0xf5f5_f5f5
}

/// Where things are.
pub struct Places {
    /// First VMID-0 address of VRAM.
    pub fb: u64,
    /// The test's own part of VRAM.
    pub own: Range<u64>,
    /// First VMID-0 address of the GART window.
    pub gart: u64,
    /// Bytes from there that the driver and the test have bound.
    pub bound: u64,
    /// The GART's table in VRAM.
    pub table: Range<u64>,
}

impl Places {
    /// A page table or page directory entry that leads to a page of the test's own VRAM.
    pub fn entry(&self, rng: &mut Rng) -> u64 {
        let page = self.own.start + 4096 * rng.below((self.own.end - self.own.start) / 4096);
        let mut flags = rng.next() & !(pte::PTE_ADDR | pte::SYSTEM | pte::TMZ);
        if rng.below(4) != 0 {
            flags |= pte::VALID | pte::READABLE | pte::WRITEABLE;
        }
        // Mostly plain ones, or hardly a walk comes to an end.
        if rng.below(4) != 0 {
            flags &= 0xff;
        }
        page | flags
    }

    /// A quadword of VRAM outside of the GART's table.
    pub fn anywhere(&self, rng: &mut Rng) -> u64 {
        8 * rng.below(self.table.start / 8)
    }

    /// An address of VMID 0 to read or write: whole quadwords. Only with `table` in the GART's table.
    pub fn target(&self, rng: &mut Rng, table: bool) -> u64 {
        match rng.below(8) {
            0..3 => self.fb + self.own.start + 8 * rng.below((self.own.end - self.own.start) / 8),
            3 => self.fb + self.anywhere(rng),
            // The driver's rings, indirect buffers and write-backs come first in the window.
            4 | 5 => self.gart + 8 * rng.below(self.bound / 8),
            6 if table => self.fb + self.table.start + 8 * rng.below((self.table.end - self.table.start) / 8),
            _ => nowhere(rng),
        }
    }

    /// An offset in own VRAM from where a packet can read.
    pub fn source(&self, rng: &mut Rng) -> u64 {
        8 * rng.below((self.own.end - self.own.start - MAX_BYTES) / 8)
    }
}

/// Any address.
pub fn nowhere(rng: &mut Rng) -> u64 {
    tame(rng.next()) & 0xffff_ffff_fff8
}

/// Most bytes that a packet moves.
const MAX_BYTES: u64 = 1 << 16;

/// A packet that reads or writes at `from` and `to`. A copy takes what it finds along: it reads in own VRAM, at `own`.
pub fn packet(rng: &mut Rng, ib: &mut Ib, own: u64, from: u64, to: u64) {
    let bytes = (8 * rng.size(MAX_BYTES / 8)).min(MAX_BYTES);
    let (own, from, to) = (Place::Raw(own), Place::Raw(from), Place::Raw(to));
    match rng.below(14) {
        0 => ib.nop(rng.next32() & 15),
        12 | 13 => ib.copy(own, to, bytes),
        1 | 2 => ib.fill(to, tame32(rng.next32()), FillSize::Dword, bytes),
        3 | 4 => {
            let data: Vec<u32> = (0..2 * rng.size(32)).map(|_| tame32(rng.next32())).collect();
            ib.write(to, &data)
        }
        // Alone in its quadword: what stays beside it may be half of an entry, and keeps its SYSTEM bit in the low half,
        // which is the one that is written.
        5 => ib.fence(to, tame32(rng.next32())),
        6 => ib.trap(tame32(rng.next32()) & 0x0fff_ffff),
        7 => {
            let func = rng.next32() % 8;
            let retry = rng.next32() % 64;
            ib.poll_memory(from, Poll { func, reference: rng.next32() & 5, mask: rng.next32() & 5, retry })
        }
        8 => ib.cond(from, tame32(rng.next32()), |ib| {
            ib.nop(3);
        }),
        9 => ib.entries(
            to,
            Entries {
                flags: rng.next() & 0x71,
                value: tame(rng.next()) & pte::PTE_ADDR,
                increment: 4096,
                count: tame32(rng.next32() & 0xff) + 1,
            },
        ),
        10 if rng.below(8) == 0 => ib.poll_memory(
            from,
            Poll { func: poll_func::EQUAL, reference: 0xffff_fff5, mask: u32::MAX, retry: packet::POLL_FOREVER },
        ),
        10 if rng.below(8) == 0 => ib.raw(header(op::INDIRECT, 0) | packet::IB_VMID.of(rng.next32())),
        10 => ib.indirect(from, tame32(rng.next32()) & 0xff),
        _ => {
            for _ in 0..rng.below(8) {
                ib.raw(tame32(rng.next32()));
            }
            ib
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places {
            fb: 0x80 << 32,
            own: 0x40_0000..0x140_0000,
            gart: 0x7f << 32,
            bound: 1 << 22,
            table: 0xff0_0000..0xff8_0000,
        }
    }

    #[test]
    fn entries_lead_to_own_vram_only() {
        let (places, mut rng) = (places(), Rng::new(1));
        for _ in 0..10_000 {
            let entry = places.entry(&mut rng);
            assert_eq!(entry & (pte::SYSTEM | pte::TMZ), 0);
            assert!(places.own.contains(&(entry & pte::PTE_ADDR)), "{entry:#x}");
        }
    }

    #[test]
    fn packets_name_no_register_and_have_no_register_opcode() {
        let (places, mut rng) = (places(), Rng::new(2));
        let mut ib = Ib::new();
        for _ in 0..10_000 {
            let (from, to) = (places.target(&mut rng, true), places.target(&mut rng, true));
            let own = places.fb + places.own.start + places.source(&mut rng);
            packet(&mut rng, &mut ib, own, from, to);
        }
        // At a packet's start or not: nothing that the engine could take for a register write.
        let registers = ib.dwords().iter().filter(|dword| **dword & 0xffff == u32::from(op::SRBM_WRITE)).count();
        assert_eq!(registers, 0);
    }
}
