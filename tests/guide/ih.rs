// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The interrupt rings: 0 in the GART window with write-back and a doorbell, 1 at a bus address without either.

use crate::driver::{Buffer, Driver};
use crate::regs::*;

const RB_ENABLE: u32 = 1;
const WPTR_WRITEBACK_ENABLE: u32 = 1 << 8;
const WPTR_OVERFLOW_ENABLE: u32 = 1 << 16;
const ENABLE_INTR: u32 = 1 << 17;
const RPTR_REARM: u32 = 1 << 21;
const BUS: u32 = 2 << 28;
const VMID_0: u32 = 4 << 28;
const WPTR_OVERFLOW_CLEAR: u32 = 1 << 31;
const DOORBELL_ENABLE: u32 = 1 << 28;
/// A page.
const RING_BYTES: u32 = 4096;
const LOG2_DWORDS: u32 = 10;
/// Dword offsets of doorbells: ring 0's read pointer, and the answers to the retry CAM.
const RPTR_DOORBELL: u32 = 0x80;
const CAM_DOORBELL: u32 = 0x82;

/// One interrupt ring.
pub struct IhRing {
    ring: u32,
    memory: Buffer,
    /// Where ring 0's write pointer is written back.
    writeback: Option<Buffer>,
    rptr: u32,
}

/// An interrupt vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    /// The ring it came by.
    pub ring: u32,
    pub client: u32,
    pub source: u32,
    pub vmid: u32,
    pub mm_hub: bool,
    pub time: u64,
    pub pasid: u32,
    pub data: [u32; 4],
}

impl Vector {
    /// The address of a page fault.
    pub fn page(&self) -> u64 {
        let high = u64::from(self.data[1] & 0xf) << 44 | u64::from(self.data[1] >> 8 & 0x1ff) << 48;
        u64::from(self.data[0]) << 12 | high
    }
    pub fn is_write(&self) -> bool {
        self.data[1] & 1 << 5 != 0
    }
    pub fn is_retry(&self) -> bool {
        self.data[1] & 1 << 7 != 0
    }
}

impl Driver {
    /// The chapter "Interrupts".
    pub fn interrupts(&mut self) {
        self.write(RCC_DOORBELL_APER_EN, 1);
        self.write(BIF_IH_DOORBELL_RANGE, RPTR_DOORBELL << 2 | 4 << 16);
        self.write(IH_DOORBELL_RPTR, RPTR_DOORBELL | DOORBELL_ENABLE);
        self.write(IH_DOORBELL_RETRY_CAM, CAM_DOORBELL | DOORBELL_ENABLE);
        // Page faults by ring 1, all else by ring 0.
        self.write(IH_CLIENT_CFG_INDEX, CLIENT_VMC);
        self.write(IH_CLIENT_CFG_DATA, 1 << 22);
        let (memory, writeback) = (self.gart(1), self.gart(1));
        self.ih_ring(0, memory, Some(writeback));
        let page = self.system_page();
        self.ih_ring(1, Buffer { address: page, pages: vec![page] }, None);
        self.write(IH_RETRY_INT_CAM_CNTL, 16 | 1 << 16);
    }

    fn ih_ring(&mut self, ring: u32, memory: Buffer, writeback: Option<Buffer>) {
        let at = 8 * ring;
        self.write(IH_RB_CNTL + at, 0);
        self.write(IH_RB_BASE + at, (memory.address >> 8) as u32);
        self.write(IH_RB_BASE_HI + at, (memory.address >> 40) as u32);
        let mut control = RB_ENABLE | LOG2_DWORDS << 1 | WPTR_OVERFLOW_ENABLE | ENABLE_INTR | RPTR_REARM | BUS;
        if let Some(page) = &writeback {
            self.write(IH_RB_WPTR_ADDR_LO, page.address as u32);
            self.write(IH_RB_WPTR_ADDR_HI, (page.address >> 32) as u32);
            control = control & !BUS | VMID_0 | WPTR_WRITEBACK_ENABLE;
        }
        self.write(IH_RB_RPTR + at, 0);
        self.write(IH_RB_WPTR + at, 0);
        self.write(IH_RB_CNTL + at, control);
        self.ih.push(IhRing { ring, memory, writeback, rptr: 0 });
    }

    /// The interrupt handler: what came since it was last called. Without an edge it does nothing.
    pub fn handle_interrupts(&mut self) -> Vec<Vector> {
        let mut vectors = Vec::new();
        while let Some(edge) = self.gpu.take_interrupt() {
            let mut ih = self.ih.remove(edge.ring as usize);
            for _ in 0..100 {
                let wptr = match &ih.writeback {
                    Some(page) => self.dword(page, 0),
                    None => self.read(IH_RB_WPTR + 8 * ih.ring),
                };
                let wptr = self.after_overflow(&mut ih, wptr);
                if wptr == ih.rptr {
                    break;
                }
                while ih.rptr != wptr {
                    vectors.push(self.vector(&ih));
                    ih.rptr = (ih.rptr + 32) % RING_BYTES;
                }
                match ih.writeback {
                    Some(_) => self.gpu.doorbell(RPTR_DOORBELL / 2, ih.rptr.into()),
                    None => self.write(IH_RB_RPTR + 8 * ih.ring, ih.rptr),
                }
            }
            self.ih.insert(edge.ring as usize, ih);
        }
        vectors
    }

    /// Goes on behind the oldest vector that is left, if some were overwritten; the write pointer without its flag.
    fn after_overflow(&mut self, ih: &mut IhRing, wptr: u32) -> u32 {
        // The write-back keeps the flag until the next vector.
        let at = 8 * ih.ring;
        if wptr & 1 == 0 || self.read(IH_RB_WPTR + at) & 1 == 0 {
            return wptr & !1;
        }
        self.overflows += 1;
        let control = self.read(IH_RB_CNTL + at);
        self.write(IH_RB_CNTL + at, control | WPTR_OVERFLOW_CLEAR);
        self.write(IH_RB_CNTL + at, control & !WPTR_OVERFLOW_CLEAR);
        let wptr = self.read(IH_RB_WPTR + at) & !1;
        ih.rptr = (wptr + 32) % RING_BYTES;
        self.write(IH_RB_RPTR + at, ih.rptr);
        wptr
    }

    fn vector(&self, ih: &IhRing) -> Vector {
        let dword = |k: u32| self.dword(&ih.memory, (ih.rptr + 4 * k).into());
        Vector {
            ring: ih.ring,
            client: dword(0) & 0xff,
            source: dword(0) >> 8 & 0xff,
            vmid: dword(0) >> 24 & 0xf,
            mm_hub: dword(0) >> 31 == 1,
            time: u64::from(dword(1)) | u64::from(dword(2) & 0xffff) << 32,
            pasid: dword(3) & 0xffff,
            data: [4, 5, 6, 7].map(dword),
        }
    }

    /// Answers an entry of the retry CAM by its doorbell.
    pub fn answer_by_doorbell(&mut self, entry: u32) {
        self.gpu.doorbell(CAM_DOORBELL / 2, entry.into());
    }
}
