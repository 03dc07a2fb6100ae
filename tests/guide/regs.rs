// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Dword indices and bits, copied by hand out of the register reference: the device's own tables are not used here.

pub const MM_INDEX: u32 = 0x00000;
pub const MM_DATA: u32 = 0x00001;
pub const MM_INDEX_HI: u32 = 0x00006;
pub const RCC_DOORBELL_APER_EN: u32 = 0x00de0;
pub const BIF_SDMA_DOORBELL_RANGE: u32 = 0x00ef0;
pub const BIF_IH_DOORBELL_RANGE: u32 = 0x00ef2;
pub const BIF_ACCESS_DOORBELL_RANGE: u32 = 0x00ef3;
pub const BIOS_SCRATCH: u32 = 0x00058;

pub const IH_VMID_LUT_MM: u32 = 0x010b0;
/// Ring r's registers lie `8 * r` behind these.
pub const IH_RB_CNTL: u32 = 0x01120;
pub const IH_RB_BASE: u32 = 0x01121;
pub const IH_RB_BASE_HI: u32 = 0x01122;
pub const IH_RB_RPTR: u32 = 0x01123;
pub const IH_RB_WPTR: u32 = 0x01124;
pub const IH_RB_WPTR_ADDR_HI: u32 = 0x01125;
pub const IH_RB_WPTR_ADDR_LO: u32 = 0x01126;
pub const IH_DOORBELL_RPTR: u32 = 0x01127;
pub const IH_DOORBELL_RETRY_CAM: u32 = 0x01138;
pub const IH_RETRY_CAM_ACK: u32 = 0x01144;
pub const IH_RETRY_INT_CAM_CNTL: u32 = 0x01189;
pub const IH_CLIENT_CFG_INDEX: u32 = 0x01228;
pub const IH_CLIENT_CFG_DATA: u32 = 0x01229;

/// Instance 1's registers lie this far behind those of instance 0.
pub const SDMA_STRIDE: u32 = 0x200;
pub const SDMA_CNTL: u32 = 0x0127c;
pub const SDMA_F32_CNTL: u32 = 0x0128a;
pub const SDMA_ATOMIC_PREOP_LO: u32 = 0x0129a;
/// Ring r's registers lie this far behind those of ring 0.
pub const RING_STRIDE: u32 = 0x60;
pub const RB_CNTL: u32 = 0x012e0;
pub const RB_BASE: u32 = 0x012e1;
pub const RB_BASE_HI: u32 = 0x012e2;
pub const RB_RPTR: u32 = 0x012e3;
pub const RB_RPTR_HI: u32 = 0x012e4;
pub const RB_WPTR: u32 = 0x012e5;
pub const RB_WPTR_HI: u32 = 0x012e6;
pub const RB_RPTR_ADDR_HI: u32 = 0x012e8;
pub const RB_RPTR_ADDR_LO: u32 = 0x012e9;
pub const IB_CNTL: u32 = 0x012ea;
pub const IB_OFFSET: u32 = 0x012ec;
pub const CONTEXT_STATUS: u32 = 0x012f1;
pub const DOORBELL: u32 = 0x012f2;
pub const DOORBELL_OFFSET: u32 = 0x0130b;
pub const PREEMPT: u32 = 0x01310;
pub const MINOR_PTR_UPDATE: u32 = 0x01315;

// MM hub.
pub const VM_L2_CNTL: u32 = 0x1a680;
pub const FAULT_CNTL: u32 = 0x1a687;
pub const FAULT_STATUS: u32 = 0x1a68b;
pub const FAULT_ADDR: u32 = 0x1a68c;
pub const FAULT_DEFAULT_ADDR: u32 = 0x1a68e;
pub const VM_CONTEXT_CNTL: u32 = 0x1a6c0;
pub const VM_CONTEXTS_DISABLE: u32 = 0x1a6d0;
pub const INV_SEM: u32 = 0x1a6d1;
pub const INV_REQ: u32 = 0x1a6e3;
pub const INV_ACK: u32 = 0x1a6f5;
pub const INV_ADDR_RANGE: u32 = 0x1a707;
pub const PAGE_TABLE_BASE: u32 = 0x1a72b;
pub const PAGE_TABLE_START: u32 = 0x1a74b;
pub const PAGE_TABLE_END: u32 = 0x1a76b;
pub const MC_VM_FB_OFFSET: u32 = 0x1a817;
pub const SYSTEM_APERTURE_DEFAULT: u32 = 0x1a818;
pub const MC_VM_FB_LOCATION_BASE: u32 = 0x1a82c;
pub const MC_VM_FB_LOCATION_TOP: u32 = 0x1a82d;
pub const MC_VM_AGP_TOP: u32 = 0x1a82e;
pub const MC_VM_AGP_BOT: u32 = 0x1a82f;
pub const MC_VM_AGP_BASE: u32 = 0x1a830;
pub const SYSTEM_APERTURE_LOW: u32 = 0x1a831;
pub const SYSTEM_APERTURE_HIGH: u32 = 0x1a832;
pub const MX_L1_TLB_CNTL: u32 = 0x1a833;

// Profile vidmm.
pub const MMIO_MMU_CNTL: u32 = 0x1c000;
pub const MMIO_MMU_START_ADDRESS: u32 = 0x1c400;

/// Interrupt switches of every cause of a fault in VM_CONTEXT_CNTL; each has its default-page switch a bit above.
pub const FAULT_INTERRUPTS: u32 = 1 << 9 | 1 << 11 | 1 << 13 | 1 << 15 | 1 << 17 | 1 << 19 | 1 << 21;
pub const FAULT_DEFAULTS: u32 = FAULT_INTERRUPTS << 1;
pub const RETRY_FAULTS: u32 = 1 << 7 | 1 << 8;

pub const CLIENT_SDMA0: u32 = 0x08;
pub const CLIENT_SDMA1: u32 = 0x09;
pub const CLIENT_VMC: u32 = 0x12;

pub const ACCESS_LANES: u32 = 0x01720;
pub const ACCESS_ITEMS: u32 = 0x01721;
pub const ACCESS_COUNTER_CNTL: u32 = 0x1e100;
pub const ACCESS_COUNTER_THRESHOLD: u32 = 0x1e101;
pub const ACCESS_COUNTER_CLEAR: u32 = 0x1e102;
pub const ACCESS_COUNTER_ADDR: u32 = 0x1e103;
pub const ACCESS_COUNTER_VMID: u32 = 0x1e105;
pub const ACCESS_COUNTER_COUNT: u32 = 0x1e106;
