// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Address spaces and user queues on the rig: a flat table a VMID, whose first two pages hold its ring and its buffer.

use super::{bit, model::SDMA, reg, Rig, MIB};

/// Pages of a space.
pub const PAGES: u64 = 8192;
/// First page that a test may use.
pub const FREE: u64 = 2;
/// VM_CONTEXT_CNTL of a space: on, every fault interrupts and gets the default page.
pub const ON: u32 = super::CONTEXT_ON;
/// VM_CONTEXT_CNTL: invalid and denied pages are retried.
pub const RETRY: u32 = 1 << 7;
/// A ring of 4 KiB, enabled.
const RB_ON: u32 = 1 | 10 << 1;
/// Doorbell slot of the retry CAM.
pub const CAM_SLOT: u32 = 0xf7;

/// VRAM offset of VMID `vmid`'s table.
pub fn table(vmid: u64) -> u64 {
    10 * MIB + vmid * 8 * PAGES
}
/// VRAM offset of the page that ring (0) or buffer (1) of VMID `vmid` lies in, for queue `queue`.
fn own(vmid: u64, page: u64) -> u64 {
    13 * MIB + (vmid * 2 + page) * 4096
}

impl Rig {
    /// Turns VMID `vmid` on with `cntl`, nothing mapped but its own two pages.
    pub fn space(&mut self, vmid: u64, cntl: u32) {
        let v = vmid as u32;
        for page in 0..2 {
            self.set_pte(vmid, page, own(vmid, page) | bit::VRAM);
        }
        for (index, value) in [
            (reg::PT_BASE + 2 * v, table(vmid) as u32 | 1),
            (reg::PT_START + 2 * v, 0),
            (reg::PT_END + 2 * v, PAGES as u32 - 1),
            (reg::CONTEXT0 + v, cntl),
            (reg::IH + 0x10 + v, 1000 + v),
        ] {
            self.write(index, value);
        }
    }
    /// Writes a page table entry.
    pub fn set_pte(&mut self, vmid: u64, page: u64, entry: u64) {
        self.poke_vram(table(vmid) + 8 * page, &entry.to_le_bytes());
    }
    /// Invalidates every page of the VMIDs in `mask` through engine `engine`, and holds the acknowledge.
    pub fn invalidate(&mut self, engine: u32, mask: u32) {
        self.invalidate_range(engine, mask, u64::MAX >> 27);
    }
    /// The same with a range register pair of value `range`.
    pub fn invalidate_range(&mut self, engine: u32, mask: u32, range: u64) {
        self.write(reg::MM + 0x707 + 2 * engine, range as u32);
        self.write(reg::MM + 0x708 + 2 * engine, (range >> 32) as u32);
        self.write(reg::MM + 0x6e3 + engine, mask | 0x1f << 18);
        assert_eq!(self.read(reg::MM + 0x6f5 + engine) & 0xffff, mask);
    }
    /// Binds ring `ring` (2 and 3 are user queues) of instance `e` to VMID `vmid`, empty.
    pub fn queue(&mut self, e: usize, ring: u32, vmid: u64) {
        let base = SDMA[e] + 0x60 * ring;
        for (offset, value) in [(0x80, 0), (0x81, 0), (0x82, 0), (0x83, 0), (0x84, 0), (0x85, 0), (0x86, 0), (0x8a, 1)]
        {
            self.gpu.mmio_write(base + offset, value);
        }
        self.gpu.mmio_write(base + 0x80, RB_ON | (vmid as u32) << 24);
    }
    /// Puts `dwords` into the ring of `vmid`'s queue at its start, or behind what it has, and starts it.
    pub fn enqueue(&mut self, e: usize, ring: u32, vmid: u64, dwords: &[u32]) {
        let base = SDMA[e] + 0x60 * ring;
        let mut wptr = self.read(base + 0x85);
        for dw in dwords {
            self.poke_vram(own(vmid, 0) + u64::from(wptr % 4096), &dw.to_le_bytes());
            wptr += 4;
        }
        self.gpu.mmio_write(base + 0x85, wptr);
    }
    /// Whether that queue has executed all it was given.
    pub fn drained(&mut self, e: usize, ring: u32) -> bool {
        let base = SDMA[e] + 0x60 * ring;
        self.read(base + 0x83) == self.read(base + 0x85)
    }
    /// Runs until nothing runs any more (queues may wait for pages), without winding the clock.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            if self.gpu.run() != vhost_device_uvm::Progress::More {
                return;
            }
        }
        panic!("the device never settles");
    }
    /// Turns the retry CAM on with its doorbell.
    pub fn cam_on(&mut self) {
        self.write(0xde0, 1);
        self.write(0xef2, (0xf4 * 2) << 2 | 16 << 16);
        self.write(reg::IH + 0x98, (CAM_SLOT * 2) | (1 << 28));
        self.write(reg::IH + 0xe9, 1 << 16 | 0x10);
    }
    /// Answers retry CAM entry `index` by doorbell.
    pub fn answer(&mut self, index: u32) {
        self.gpu.doorbell(CAM_SLOT, index.into());
    }
}

/// A page-fault vector as a driver reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultVector {
    pub vmid: u64,
    pub pasid: u32,
    pub page: u64,
    pub write: bool,
    pub atomic: bool,
    pub retry: bool,
    pub cam: u32,
}

/// The page faults among `vectors`.
pub fn faults(vectors: &[[u32; 8]]) -> Vec<FaultVector> {
    let fault = |v: &[u32; 8]| FaultVector {
        vmid: u64::from(v[0] >> 24 & 15),
        pasid: v[3] & 0xffff,
        page: u64::from(v[4]) | u64::from(v[5] & 15) << 32 | u64::from(v[5] >> 8 & 0x1ff) << 36,
        write: v[5] >> 5 & 1 == 1,
        atomic: v[5] >> 17 & 1 == 1,
        retry: v[5] >> 7 & 1 == 1,
        cam: v[6] & 0x3ff,
    };
    vectors.iter().filter(|v| v[0] & 0xffff == 0x12).map(fault).collect()
}
