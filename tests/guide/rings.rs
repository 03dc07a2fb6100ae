// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! SDMA rings: start, submit, wait, take down.

use crate::driver::{Buffer, Driver};
use crate::packets;
use crate::regs::*;

/// Rings of an instance.
pub const GFX: u32 = 0;
pub const PAGE_RING: u32 = 1;
pub const RLC0: u32 = 2;
/// The access engine, in place of an instance: its queues' registers lie where a third one's would.
pub const ACCESS: u32 = 2;

/// Two scattered pages.
pub const RING_PAGES: u64 = 2;
const RING_BYTES: u64 = RING_PAGES * 4096;
const LOG2_DWORDS: u32 = 11;
/// Dword offset of instance 0's doorbells, four slots an instance.
const DOORBELLS: u32 = 0x20;
/// Where in the write-back page the fence lies, behind the read pointer.
const FENCE: u64 = 16;

/// A ring that runs.
pub struct Ring {
    pub instance: u32,
    ring: u32,
    memory: Buffer,
    pub writeback: Buffer,
    wptr: u64,
    pub fence: u32,
}

impl Ring {
    /// Where its registers lie behind those of SDMA0's GFX ring.
    fn at(&self) -> u32 {
        self.instance * SDMA_STRIDE + self.ring * RING_STRIDE
    }

    fn doorbell(&self) -> u32 {
        DOORBELLS + 8 * self.instance + 2 * self.ring
    }
}

impl Driver {
    /// Un-halts an instance and routes its doorbells.
    pub fn start_engine(&mut self, instance: u32) {
        let range = if instance == ACCESS { BIF_ACCESS_DOORBELL_RANGE } else { BIF_SDMA_DOORBELL_RANGE + instance };
        self.write(range, (DOORBELLS + 8 * instance) << 2 | 8 << 16);
        let at = instance * SDMA_STRIDE;
        // Traps, the translation cache, and where there are any an interrupt for each preempted indirect buffer.
        self.write(SDMA_CNTL + at, 1 | 1 << 1 | if instance == ACCESS { 0 } else { 1 << 30 });
        self.write(SDMA_F32_CNTL + at, 0);
    }

    /// A kernel ring in the GART window.
    pub fn start_ring(&mut self, instance: u32, ring: u32) -> Ring {
        let (memory, writeback) = (self.gart(RING_PAGES), self.gart(1));
        self.start(instance, ring, 0, memory, writeback)
    }

    /// Any ring, its memory and write-back page named by addresses of `vmid`.
    pub fn start(&mut self, instance: u32, ring: u32, vmid: u32, memory: Buffer, writeback: Buffer) -> Ring {
        let ring = Ring { instance, ring, memory, writeback, wptr: 0, fence: 0 };
        self.program(&ring, vmid);
        ring
    }

    fn program(&mut self, ring: &Ring, vmid: u32) {
        let at = ring.at();
        self.write(RB_CNTL + at, 0);
        self.write(RB_BASE + at, (ring.memory.address >> 8) as u32);
        self.write(RB_BASE_HI + at, (ring.memory.address >> 40) as u32);
        for pointer in [RB_RPTR, RB_RPTR_HI, RB_WPTR_HI, RB_WPTR] {
            self.write(pointer + at, 0);
        }
        self.write(RB_RPTR_ADDR_LO + at, ring.writeback.address as u32);
        self.write(RB_RPTR_ADDR_HI + at, (ring.writeback.address >> 32) as u32);
        self.write(DOORBELL_OFFSET + at, ring.doorbell() << 2);
        self.write(DOORBELL + at, 1 << 28);
        if ring.instance != ACCESS {
            self.write(IB_CNTL + at, 1);
        }
        self.write(RB_CNTL + at, 1 | LOG2_DWORDS << 1 | 1 << 12 | vmid << 24);
    }

    /// Puts packets on the ring and rings its doorbell; the ring must have room.
    pub fn submit(&mut self, ring: &mut Ring, packets: &[u32]) {
        self.put(ring, packets);
        self.gpu.doorbell(ring.doorbell() / 2, ring.wptr);
    }

    /// The same without a doorbell; nothing starts before the pointer is whole.
    pub fn submit_by_register(&mut self, mut ring: Ring, packets: &[u32]) {
        self.put(&mut ring, packets);
        self.write(MINOR_PTR_UPDATE + ring.at(), 1);
        self.write(RB_WPTR + ring.at(), ring.wptr as u32);
        self.write(RB_WPTR_HI + ring.at(), (ring.wptr >> 32) as u32);
        self.settle();
        assert_eq!(self.rptr(&ring), 0, "not yet");
        self.write(MINOR_PTR_UPDATE + ring.at(), 0);
        self.settle();
        assert_eq!(self.rptr(&ring), ring.wptr);
    }

    fn put(&mut self, ring: &mut Ring, packets: &[u32]) {
        let room = self.rptr(ring) + RING_BYTES - ring.wptr;
        assert!(4 * packets.len() as u64 <= room, "room for {} dwords in {room} bytes", packets.len());
        for dword in packets {
            self.set_dword(&ring.memory, ring.wptr % RING_BYTES, *dword);
            ring.wptr += 4;
        }
    }

    /// The read pointer as it was written back.
    pub fn rptr(&self, ring: &Ring) -> u64 {
        u64::from(self.dword(&ring.writeback, 0)) | u64::from(self.dword(&ring.writeback, 4)) << 32
    }

    /// Puts a fence behind `packets` and lets the device work. Whether the fence came.
    pub fn execute(&mut self, ring: &mut Ring, packets: &[u32]) -> bool {
        ring.fence += 1;
        let mut all = packets.to_vec();
        all.extend(packets::fence(ring.writeback.address + FENCE, ring.fence));
        self.submit(ring, &all);
        self.settle();
        self.reached(ring)
    }

    /// Whether the last fence came.
    pub fn reached(&self, ring: &Ring) -> bool {
        self.dword(&ring.writeback, FENCE) == ring.fence
    }

    /// Why the ring stopped, 0 if it did not.
    pub fn exception(&mut self, ring: &Ring) -> u32 {
        self.read(CONTEXT_STATUS + ring.at()) >> 4 & 7
    }

    pub fn waits_for_page(&mut self, ring: &Ring) -> bool {
        self.read(CONTEXT_STATUS + ring.at()) >> 8 & 1 == 1
    }

    pub fn ib_offset(&mut self, ring: &Ring) -> u32 {
        self.read(IB_OFFSET + ring.at()) >> 2 & 0xf_ffff
    }

    pub fn preempt(&mut self, ring: &Ring) {
        self.write(PREEMPT + ring.at(), 1);
    }

    /// Starts a stopped ring anew and empty, as at bring-up.
    pub fn reset(&mut self, ring: &mut Ring, vmid: u32) {
        ring.wptr = 0;
        for offset in [0, 4, FENCE] {
            self.set_dword(&ring.writeback, offset, 0);
        }
        ring.fence = 0;
        self.program(ring, vmid);
    }

    /// Takes a queue away from its process.
    pub fn take_down(&mut self, ring: Ring) {
        self.write(RB_CNTL + ring.at(), 0);
        self.write(DOORBELL + ring.at(), 0);
    }
}
