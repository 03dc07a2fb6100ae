// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! OSSSYS: the interrupt handler (IH 4.0), and the 32-byte interrupt vector it writes to memory.

use crate::Block;

/// The interrupt handler.
pub const OSSSYS: Block = Block { prefix: "", base: 0x10a0, regs: REGS };

registers! {
    /// PASID that vectors of a GC-hub VMID carry.
    IH_VMID_LUT = "IH_VMID_{}_LUT" @ 0x00 [16; 1] Rw { PASID 15:0 }
    /// PASID that vectors of an MM-hub VMID carry.
    IH_VMID_LUT_MM = "IH_VMID_{}_LUT_MM" @ 0x10 [16; 1] Rw { PASID 15:0 }
    /// Ring 0 control. RB_SIZE is log2 of the size in dwords; MC_SPACE 2 is a bus address, 4 a VMID-0 address.
    IH_RB_CNTL = "IH_RB_CNTL" @ 0x80 Rw {
        RB_ENABLE 0, RB_SIZE 5:1, WPTR_WRITEBACK_ENABLE 8, RB_FULL_DRAIN_ENABLE 9, WPTR_OVERFLOW_ENABLE 16, ENABLE_INTR 17,
        MC_SWAP 19:18, MC_SNOOP 20, RPTR_REARM 21, MC_RO 22, MC_VMID 27:24, MC_SPACE 30:28, WPTR_OVERFLOW_CLEAR 31,
    }
    /// Ring 0 base address, bits 39:8.
    IH_RB_BASE = "IH_RB_BASE" @ 0x81 Rw {}
    /// Ring 0 base address, bits 47:40.
    IH_RB_BASE_HI = "IH_RB_BASE_HI" @ 0x82 Rw { ADDR 7:0 }
    /// Ring 0 read pointer, bytes.
    IH_RB_RPTR = "IH_RB_RPTR" @ 0x83 Rw { OFFSET 17:2 }
    /// Ring 0 write pointer, bytes; RB_OVERFLOW says that vectors were overwritten.
    IH_RB_WPTR = "IH_RB_WPTR" @ 0x84 Rw { RB_OVERFLOW 0, OFFSET 17:2 }
    /// Where the write pointer is written back, bits 47:32.
    IH_RB_WPTR_ADDR_HI = "IH_RB_WPTR_ADDR_HI" @ 0x85 Rw { ADDR 15:0 }
    /// Where the write pointer is written back, bits 31:2.
    IH_RB_WPTR_ADDR_LO = "IH_RB_WPTR_ADDR_LO" @ 0x86 Rw { ADDR 31:2 }
    /// The doorbell (dword offset) that sets ring 0's read pointer.
    IH_DOORBELL_RPTR = "IH_DOORBELL_RPTR" @ 0x87 Rw { OFFSET 25:0, ENABLE 28 }
    /// Ring 1 control. Rings 1 and 2 have no write-back of the write pointer.
    IH_RB_CNTL_RING1 = "IH_RB_CNTL_RING1" @ 0x88 Rw {
        RB_ENABLE 0, RB_SIZE 5:1, WPTR_WRITEBACK_ENABLE 8, RB_FULL_DRAIN_ENABLE 9, WPTR_OVERFLOW_ENABLE 16, ENABLE_INTR 17,
        MC_SWAP 19:18, MC_SNOOP 20, RPTR_REARM 21, MC_RO 22, MC_VMID 27:24, MC_SPACE 30:28, WPTR_OVERFLOW_CLEAR 31,
    }
    /// Ring 1 base address, bits 39:8.
    IH_RB_BASE_RING1 = "IH_RB_BASE_RING1" @ 0x89 Rw {}
    /// Ring 1 base address, bits 47:40.
    IH_RB_BASE_HI_RING1 = "IH_RB_BASE_HI_RING1" @ 0x8a Rw { ADDR 7:0 }
    /// Ring 1 read pointer, bytes.
    IH_RB_RPTR_RING1 = "IH_RB_RPTR_RING1" @ 0x8b Rw { OFFSET 17:2 }
    /// Ring 1 write pointer, bytes.
    IH_RB_WPTR_RING1 = "IH_RB_WPTR_RING1" @ 0x8c Rw { RB_OVERFLOW 0, OFFSET 17:2 }
    /// The doorbell that sets ring 1's read pointer.
    IH_DOORBELL_RPTR_RING1 = "IH_DOORBELL_RPTR_RING1" @ 0x8f Rw { OFFSET 25:0, ENABLE 28 }
    /// Ring 2 control.
    IH_RB_CNTL_RING2 = "IH_RB_CNTL_RING2" @ 0x90 Rw {
        RB_ENABLE 0, RB_SIZE 5:1, WPTR_WRITEBACK_ENABLE 8, RB_FULL_DRAIN_ENABLE 9, WPTR_OVERFLOW_ENABLE 16, ENABLE_INTR 17,
        MC_SWAP 19:18, MC_SNOOP 20, RPTR_REARM 21, MC_RO 22, MC_VMID 27:24, MC_SPACE 30:28, WPTR_OVERFLOW_CLEAR 31,
    }
    /// Ring 2 base address, bits 39:8.
    IH_RB_BASE_RING2 = "IH_RB_BASE_RING2" @ 0x91 Rw {}
    /// Ring 2 base address, bits 47:40.
    IH_RB_BASE_HI_RING2 = "IH_RB_BASE_HI_RING2" @ 0x92 Rw { ADDR 7:0 }
    /// Ring 2 read pointer, bytes.
    IH_RB_RPTR_RING2 = "IH_RB_RPTR_RING2" @ 0x93 Rw { OFFSET 17:2 }
    /// Ring 2 write pointer, bytes.
    IH_RB_WPTR_RING2 = "IH_RB_WPTR_RING2" @ 0x94 Rw { RB_OVERFLOW 0, OFFSET 17:2 }
    /// The doorbell that sets ring 2's read pointer.
    IH_DOORBELL_RPTR_RING2 = "IH_DOORBELL_RPTR_RING2" @ 0x97 Rw { OFFSET 25:0, ENABLE 28 }
    /// The doorbell (dword offset) that answers retry CAM entries: its value is the entry's index.
    IH_DOORBELL_RETRY_CAM = "IH_DOORBELL_RETRY_CAM" @ 0x98 Rw { OFFSET 25:0, ENABLE 28 }
    /// A write answers a retry CAM entry.
    IH_RETRY_CAM_ACK = "IH_RETRY_CAM_ACK" @ 0xa4 Wo { INDEX 9:0 }
    /// The retry CAM: entries (CAM_SIZE, and 32 for each of CAM_SIZE_HI), and whether it filters at all. Without it a waiting access raises its fault again and again.
    IH_RETRY_INT_CAM_CNTL = "IH_RETRY_INT_CAM_CNTL" @ 0xe9 Rw = 0x0000_2a10 { CAM_SIZE 4:0, BACK_PRESSURE_THRESHOLD 13:8, ENABLE 16, CAM_SIZE_HI 28:24 }
    /// The client that IH_CLIENT_CFG_DATA is about.
    IH_CLIENT_CFG_INDEX = "IH_CLIENT_CFG_INDEX" @ 0x188 Rw { INDEX 4:0 }
    /// Routing of the client's vectors: RING_ID 0, 1 or 2.
    IH_CLIENT_CFG_DATA = "IH_CLIENT_CFG_DATA" @ 0x189 Special { CREDIT_RETURN_ADDR 17:0, CLIENT_TYPE 19:18, RING_ID 23:22 }
}

/// Entries of the retry CAM for a value of its control register: as many as INDEX can name at most.
pub const fn cam_entries(cntl: u32) -> u32 {
    IH_RETRY_INT_CAM_CNTL::CAM_SIZE.get(cntl) | IH_RETRY_INT_CAM_CNTL::CAM_SIZE_HI.get(cntl) << 5
}

/// Clients that IH_CLIENT_CFG knows.
pub const CLIENTS: usize = 32;

/// `MC_SPACE` values.
pub mod mc_space {
    /// The ring lies at a bus (system physical) address.
    pub const BUS: u32 = 2;
    /// The ring lies at a VMID-0 address.
    pub const GPU_VA: u32 = 4;
}

/// Bytes of an interrupt vector.
pub const VECTOR_BYTES: u32 = 32;

/// `client_id` values of an interrupt vector.
pub mod client {
    /// SDMA instance 0.
    pub const SDMA0: u8 = 0x08;
    /// SDMA instance 1.
    pub const SDMA1: u8 = 0x09;
    /// The access engine; the number is a shader array's.
    pub const ACCESS: u8 = 0x0a;
    /// The MM hub's page faults.
    pub const VMC: u8 = 0x12;
    /// The data fabric: errors of VRAM.
    pub const DF: u8 = 0x17;
    /// The GC hub's page faults.
    pub const UTCL2: u8 = 0x1b;
    /// The MM hub's access counters.
    pub const UTCL2LOG: u8 = 0x1d;
}

/// `source_id` values of an interrupt vector.
pub mod source {
    /// A page fault (clients VMC and UTCL2).
    pub const PAGE_FAULT: u8 = 0;
    /// An uncorrectable error of VRAM (client DF).
    pub const ECC_ERROR: u8 = 0;
    /// An access counter reached its threshold (client UTCL2LOG): data as of a page fault's address, data 2 the count.
    pub const ACCESS_COUNTER: u8 = 0;
    /// SDMA: an indirect buffer was preempted.
    pub const SDMA_IB_PREEMPT: u8 = 219;
    /// SDMA: the TRAP packet.
    pub const SDMA_TRAP: u8 = 224;
    /// SDMA: a doorbell rang for a ring that cannot take it.
    pub const SDMA_DOORBELL_INVALID: u8 = 244;
    /// SDMA: POLL_REGMEM gave up after its retry count.
    pub const SDMA_POLL_TIMEOUT: u8 = 246;
    /// SDMA: a packet that cannot be executed; the ring stops on it.
    pub const SDMA_ILLEGAL_INST: u8 = 247;
}

/// An interrupt vector: eight dwords in memory.
///
/// | dword | content |
/// |---|---|
/// | 0 | client_id 7:0, source_id 15:8, ring_id 23:16, vmid 27:24, vmid_src 31 |
/// | 1, 2 | timestamp 47:0 |
/// | 3 | pasid 15:0, node_id 23:16 |
/// | 4-7 | source data |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vector {
    /// The block that interrupts: [`client`].
    pub client: u8,
    /// What happened there: [`source`].
    pub source: u8,
    /// Which of the block's rings.
    pub ring: u8,
    /// Address space of the access, 0..16.
    pub vmid: u8,
    /// Whether the VMID is the MM hub's.
    pub mm: bool,
    /// Reference clock (100 MHz) at the event; 48 bits.
    pub timestamp: u64,
    /// PASID bound to the VMID.
    pub pasid: u16,
    /// Meaning depends on the source.
    pub data: [u32; 4],
}

impl Vector {
    /// The vector's eight dwords.
    #[allow(clippy::cast_possible_truncation)]
    pub const fn pack(&self) -> [u32; 8] {
        let dw0 = self.client as u32
            | (self.source as u32) << 8
            | (self.ring as u32) << 16
            | (self.vmid as u32 & 0xf) << 24
            | (self.mm as u32) << 31;
        let (lo, hi) = (self.timestamp as u32, (self.timestamp >> 32) as u32 & 0xffff);
        let d = self.data;
        [dw0, lo, hi, self.pasid as u32, d[0], d[1], d[2], d[3]]
    }
    /// The inverse of [`Vector::pack`].
    #[allow(clippy::cast_possible_truncation)]
    pub const fn unpack(dw: [u32; 8]) -> Self {
        Self {
            client: dw[0] as u8,
            source: (dw[0] >> 8) as u8,
            ring: (dw[0] >> 16) as u8,
            vmid: (dw[0] >> 24) as u8 & 0xf,
            mm: dw[0] >> 31 != 0,
            timestamp: dw[1] as u64 | (dw[2] as u64 & 0xffff) << 32,
            pasid: dw[3] as u16,
            data: [dw[4], dw[5], dw[6], dw[7]],
        }
    }
}

/// The vector of an uncorrectable error at byte `offset` of VRAM: source data 0 and 1 hold the page's number. The layout
/// of the source data is this device's own.
#[allow(clippy::cast_possible_truncation)] // two dwords of one number
pub const fn ecc_error(offset: u64) -> Vector {
    let page = offset >> 12;
    Vector {
        client: client::DF,
        source: source::ECC_ERROR,
        ring: 0,
        vmid: 0,
        mm: true,
        timestamp: 0,
        pasid: 0,
        data: [page as u32, (page >> 32) as u32, 0, 0],
    }
}

/// Source data of a page-fault vector: dword 0 is VA 43:12; dword 1 VA 47:44 in bits 3:0, write in bit 5, retry in bit 7,
/// atomic (a write as well) in bit 17, which is this device's own, and with five levels of tables VA 56:48 in bits 16:8; dword 2 the CAM entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PageFault {
    /// Faulting address, page-aligned; 48 bits, or 57 with five levels.
    pub va: u64,
    /// The access was a write, or an atomic.
    pub write: bool,
    /// The access was an atomic.
    pub atomic: bool,
    /// The access waits and may be retried.
    pub retry: bool,
    /// Entry of the retry CAM; 10 bits.
    pub cam: u16,
}

impl PageFault {
    /// The vector's source data.
    #[allow(clippy::cast_possible_truncation)]
    pub const fn pack(&self) -> [u32; 4] {
        let high = ((self.va >> 48) as u32 & 0x1ff) << 8;
        let dw5 = (self.va >> 44) as u32 & 0xf | (self.write as u32) << 5 | (self.retry as u32) << 7 | high;
        let dw5 = dw5 | (self.atomic as u32) << 17;
        [(self.va >> 12) as u32, dw5, self.cam as u32 & 0x3ff, 0]
    }
    /// The inverse of [`PageFault::pack`].
    #[allow(clippy::cast_possible_truncation)]
    pub const fn unpack(data: [u32; 4]) -> Self {
        Self {
            va: (data[0] as u64) << 12 | (data[1] as u64 & 0xf) << 44 | (data[1] as u64 >> 8 & 0x1ff) << 48,
            write: data[1] & 1 << 5 != 0,
            atomic: data[1] & 1 << 17 != 0,
            retry: data[1] & 1 << 7 != 0,
            cam: (data[2] & 0x3ff) as u16,
        }
    }
}
