// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! VM hubs (VML2/MC of GC 9.0 and MMHUB 1.0): address spaces, apertures, invalidation engines, fault status.
//!
//! The two hubs hold the same registers in another order, so each has a table; [`HubRegs`] names what behaviour needs.
//! The SDMA engines translate through the MM hub.

use crate::{Block, Reg};

/// The graphics hub.
pub const GC_HUB: Block = Block { prefix: "GC.", base: 0x2000, regs: gc::REGS };
/// The multimedia hub: SDMA, IH.
pub const MM_HUB: Block = Block { prefix: "MMHUB.", base: 0x1a000, regs: mm::REGS };
/// Invalidation engines of a hub.
pub const INVALIDATE_ENGINES: u32 = 18;

/// The registers of a hub by role, so that one implementation serves both hubs.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug)]
pub struct HubRegs {
    pub l2_cntl: &'static Reg,
    pub dummy_cntl: &'static Reg,
    pub dummy_addr: &'static Reg,
    pub fault_cntl: &'static Reg,
    pub fault_cntl2: &'static Reg,
    pub fault_status: &'static Reg,
    pub fault_addr: &'static Reg,
    pub fault_default_addr: &'static Reg,
    pub context_cntl: &'static Reg,
    pub contexts_disable: &'static Reg,
    pub inv_sem: &'static Reg,
    pub inv_req: &'static Reg,
    pub inv_ack: &'static Reg,
    pub inv_range: &'static Reg,
    pub pt_base: &'static Reg,
    pub pt_start: &'static Reg,
    pub pt_end: &'static Reg,
    pub fb_offset: &'static Reg,
    pub fb_base: &'static Reg,
    pub fb_top: &'static Reg,
    pub agp_top: &'static Reg,
    pub agp_bot: &'static Reg,
    pub agp_base: &'static Reg,
    pub sys_low: &'static Reg,
    pub sys_high: &'static Reg,
    pub sys_default: &'static Reg,
    pub l1_tlb_cntl: &'static Reg,
}

macro_rules! hub {
    ($module:ident, $roles:ident, $doc:literal,
     $l2:literal $dcntl:literal $daddr:literal $fcntl:literal $fcntl2:literal $fstat:literal $faddr:literal $fdef:literal $ctx:literal $dis:literal
     $sem:literal $req:literal $ack:literal $range:literal $base:literal $start:literal $end:literal
     $fboff:literal $fbb:literal $fbt:literal $agpt:literal $agpb:literal $agpbase:literal $slow:literal $shigh:literal $sdef:literal $l1:literal) => {
        #[doc = $doc]
        pub mod $module {
            registers! {
                /// L2 translation cache control.
                VM_L2_CNTL = "VM_L2_CNTL" @ $l2 Rw { ENABLE_L2_CACHE 0, ENABLE_L2_FRAGMENT_PROCESSING 1, L2_CACHE_PTE_ENDIAN_SWAP_MODE 3:2, L2_CACHE_PDE_ENDIAN_SWAP_MODE 5:4, L2_PDE0_CACHE_TAG_GENERATION_MODE 8, ENABLE_L2_PTE_CACHE_LRU_UPDATE_BY_WRITE 9, ENABLE_L2_PDE0_CACHE_LRU_UPDATE_BY_WRITE 10, ENABLE_DEFAULT_PAGE_OUT_TO_SYSTEM_MEMORY 11, L2_PDE0_CACHE_SPLIT_MODE 14:12, EFFECTIVE_L2_QUEUE_SIZE 17:15, PDE_FAULT_CLASSIFICATION 18, CONTEXT1_IDENTITY_ACCESS_MODE 20:19, IDENTITY_MODE_FRAGMENT_SIZE 25:21 }
                /// The dummy page's fault: COMPARE_MSBS bits of its number count, from the highest; LOGICAL is a virtual page.
                VM_DUMMY_PAGE_FAULT_CNTL = "VM_DUMMY_PAGE_FAULT_CNTL" @ $dcntl Rw = 0x0000_0090 { DUMMY_PAGE_FAULT_ENABLE 0, DUMMY_PAGE_ADDRESS_LOGICAL 1, DUMMY_PAGE_COMPARE_MSBS 7:2 }
                /// Page number of the dummy page: low and high dword.
                VM_DUMMY_PAGE_FAULT_ADDR = "VM_DUMMY_PAGE_FAULT_ADDR_{}" @ $daddr [2; 1] Rw {}
                /// Fault handling: bit 0 clears the status, bit 1 lets later faults overwrite it; the others send a failed access to the default page, by cause.
                VM_L2_PROTECTION_FAULT_CNTL = "VM_L2_PROTECTION_FAULT_CNTL" @ $fcntl Special = 0x3fff_fffc { CLEAR_PROTECTION_FAULT_STATUS_ADDR 0, ALLOW_SUBSEQUENT_PROTECTION_FAULT_STATUS_ADDR_UPDATES 1, RANGE_PROTECTION_FAULT_ENABLE_DEFAULT 2, PDE0_PROTECTION_FAULT_ENABLE_DEFAULT 3, PDE1_PROTECTION_FAULT_ENABLE_DEFAULT 4, PDE2_PROTECTION_FAULT_ENABLE_DEFAULT 5, TRANSLATE_FURTHER_PROTECTION_FAULT_ENABLE_DEFAULT 6, NACK_PROTECTION_FAULT_ENABLE_DEFAULT 7, DUMMY_PAGE_PROTECTION_FAULT_ENABLE_DEFAULT 8, VALID_PROTECTION_FAULT_ENABLE_DEFAULT 9, READ_PROTECTION_FAULT_ENABLE_DEFAULT 10, WRITE_PROTECTION_FAULT_ENABLE_DEFAULT 11, EXECUTE_PROTECTION_FAULT_ENABLE_DEFAULT 12, CLIENT_ID_NO_RETRY_FAULT_INTERRUPT 28:13, OTHER_CLIENT_ID_NO_RETRY_FAULT_INTERRUPT 29, CRASH_ON_NO_RETRY_FAULT 30, CRASH_ON_RETRY_FAULT 31 }
                /// More fault handling switches.
                VM_L2_PROTECTION_FAULT_CNTL2 = "VM_L2_PROTECTION_FAULT_CNTL2" @ $fcntl2 Rw { CLIENT_ID_PRT_FAULT_INTERRUPT 15:0, OTHER_CLIENT_ID_PRT_FAULT_INTERRUPT 16, ACTIVE_PAGE_MIGRATION_PTE 17, ACTIVE_PAGE_MIGRATION_PTE_READ_RETRY 18, ENABLE_RETRY_FAULT_INTERRUPT 19 }
                /// The first fault since the status was cleared. PERMISSION_FAULTS: 1 not valid, 2 read, 4 write, 8 execute.
                VM_L2_PROTECTION_FAULT_STATUS = "VM_L2_PROTECTION_FAULT_STATUS" @ $fstat Ro { MORE_FAULTS 0, WALKER_ERROR 3:1, PERMISSION_FAULTS 7:4, MAPPING_ERROR 8, CID 17:9, RW 18, ATOMIC 19, VMID 23:20, VF 24, VFID 28:25 }
                /// Page number of the fault in the status: low and high dword.
                VM_L2_PROTECTION_FAULT_ADDR = "VM_L2_PROTECTION_FAULT_ADDR_{}" @ $faddr [2; 1] Ro {}
                /// Page number of the dummy page, system memory: low and high dword.
                VM_L2_PROTECTION_FAULT_DEFAULT_ADDR = "VM_L2_PROTECTION_FAULT_DEFAULT_ADDR_{}" @ $fdef [2; 1] Rw {}
                /// An address space. Each cause of a fault has an interrupt switch and a default-page switch.
                VM_CONTEXT_CNTL = "VM_CONTEXT{}_CNTL" @ $ctx [16; 1] Rw { ENABLE_CONTEXT 0, PAGE_TABLE_DEPTH 2:1, PAGE_TABLE_BLOCK_SIZE 6:3, RETRY_PERMISSION_OR_INVALID_PAGE_FAULT 7, RETRY_OTHER_FAULT 8, RANGE_PROTECTION_FAULT_ENABLE_INTERRUPT 9, RANGE_PROTECTION_FAULT_ENABLE_DEFAULT 10, DUMMY_PAGE_PROTECTION_FAULT_ENABLE_INTERRUPT 11, DUMMY_PAGE_PROTECTION_FAULT_ENABLE_DEFAULT 12, PDE0_PROTECTION_FAULT_ENABLE_INTERRUPT 13, PDE0_PROTECTION_FAULT_ENABLE_DEFAULT 14, VALID_PROTECTION_FAULT_ENABLE_INTERRUPT 15, VALID_PROTECTION_FAULT_ENABLE_DEFAULT 16, READ_PROTECTION_FAULT_ENABLE_INTERRUPT 17, READ_PROTECTION_FAULT_ENABLE_DEFAULT 18, WRITE_PROTECTION_FAULT_ENABLE_INTERRUPT 19, WRITE_PROTECTION_FAULT_ENABLE_DEFAULT 20, EXECUTE_PROTECTION_FAULT_ENABLE_INTERRUPT 21, EXECUTE_PROTECTION_FAULT_ENABLE_DEFAULT 22 }
                /// A set bit disables that address space whatever its control register says.
                VM_CONTEXTS_DISABLE = "VM_CONTEXTS_DISABLE" @ $dis Rw { DISABLE_CONTEXT 15:0 }
                /// A read of 1 takes the engine's semaphore; a write of 0 releases it.
                VM_INVALIDATE_ENG_SEM = "VM_INVALIDATE_ENG{}_SEM" @ $sem [18; 1] Special { SEMAPHORE 0 }
                /// A write invalidates the named VMIDs' cached translations.
                VM_INVALIDATE_ENG_REQ = "VM_INVALIDATE_ENG{}_REQ" @ $req [18; 1] Special { PER_VMID_INVALIDATE_REQ 15:0, FLUSH_TYPE 17:16, INVALIDATE_L2_PTES 18, INVALIDATE_L2_PDE0 19, INVALIDATE_L2_PDE1 20, INVALIDATE_L2_PDE2 21, INVALIDATE_L1_PTES 22, CLEAR_PROTECTION_FAULT_STATUS_ADDR 23 }
                /// A VMID's bit is set once its invalidation is complete.
                VM_INVALIDATE_ENG_ACK = "VM_INVALIDATE_ENG{}_ACK" @ $ack [18; 1] Ro { PER_VMID_INVALIDATE_ACK 15:0, SEMAPHORE 16 }
                /// Page range of the engine's next request: low dword (bit 0 is S, bits 31:1 the page number's low bits), high dword; element 2n and 2n + 1 are engine n's.
                VM_INVALIDATE_ENG_ADDR_RANGE = "VM_INVALIDATE_ENG_ADDR_RANGE_{}" @ $range [36; 1] Rw {}
                /// Root table: low dword and high dword; elements 2n and 2n + 1 are VMID n's. Bit 0 VALID, bit 1 SYSTEM, address 47:6.
                VM_CONTEXT_PAGE_TABLE_BASE_ADDR = "VM_CONTEXT_PAGE_TABLE_BASE_ADDR_{}" @ $base [32; 1] Rw {}
                /// First page number of the space; elements 2n and 2n + 1 are VMID n's.
                VM_CONTEXT_PAGE_TABLE_START_ADDR = "VM_CONTEXT_PAGE_TABLE_START_ADDR_{}" @ $start [32; 1] Rw {}
                /// Last page number of the space; elements 2n and 2n + 1 are VMID n's.
                VM_CONTEXT_PAGE_TABLE_END_ADDR = "VM_CONTEXT_PAGE_TABLE_END_ADDR_{}" @ $end [32; 1] Rw {}
                /// Where VRAM begins in the addresses of table entries and table bases, units of 16 MiB.
                MC_VM_FB_OFFSET = "MC_VM_FB_OFFSET" @ $fboff Rw { FB_OFFSET 23:0 }
                /// FB aperture: first 16 MiB unit.
                MC_VM_FB_LOCATION_BASE = "MC_VM_FB_LOCATION_BASE" @ $fbb Rw { FB_BASE 23:0 }
                /// FB aperture: last 16 MiB unit.
                MC_VM_FB_LOCATION_TOP = "MC_VM_FB_LOCATION_TOP" @ $fbt Rw { FB_TOP 23:0 }
                /// AGP aperture: last 16 MiB unit.
                MC_VM_AGP_TOP = "MC_VM_AGP_TOP" @ $agpt Rw { AGP_TOP 23:0 }
                /// AGP aperture: first 16 MiB unit; empty while above AGP_TOP.
                MC_VM_AGP_BOT = "MC_VM_AGP_BOT" @ $agpb Rw = 0x00ff_ffff { AGP_BOT 23:0 }
                /// System address of the AGP aperture's start, units of 16 MiB.
                MC_VM_AGP_BASE = "MC_VM_AGP_BASE" @ $agpbase Rw { AGP_BASE 23:0 }
                /// System aperture: first 256 KiB unit. VMID-0 accesses inside it bypass the page table.
                MC_VM_SYSTEM_APERTURE_LOW_ADDR = "MC_VM_SYSTEM_APERTURE_LOW_ADDR" @ $slow Rw { LOGICAL_ADDR 29:0 }
                /// System aperture: last 256 KiB unit.
                MC_VM_SYSTEM_APERTURE_HIGH_ADDR = "MC_VM_SYSTEM_APERTURE_HIGH_ADDR" @ $shigh Rw { LOGICAL_ADDR 29:0 }
                /// Page number, in VRAM, of what an access in the system aperture but in no memory gets: low and high dword.
                MC_VM_SYSTEM_APERTURE_DEFAULT_ADDR = "MC_VM_SYSTEM_APERTURE_DEFAULT_ADDR_{}" @ $sdef [2; 1] Rw {}
                /// L1 control. SYSTEM_ACCESS_MODE 3: inside the system aperture untranslated, outside through VMID 0's table.
                MC_VM_MX_L1_TLB_CNTL = "MC_VM_MX_L1_TLB_CNTL" @ $l1 Rw { ENABLE_L1_TLB 0, SYSTEM_ACCESS_MODE 4:3, SYSTEM_APERTURE_UNMAPPED_ACCESS 5, ENABLE_ADVANCED_DRIVER_MODEL 6, ECO_BITS 10:7, MTYPE 12:11, ATC_EN 13 }
            }
        }
        /// The hub's registers by role.
        pub const $roles: HubRegs = HubRegs {
            l2_cntl: &$module::VM_L2_CNTL,
            dummy_cntl: &$module::VM_DUMMY_PAGE_FAULT_CNTL,
            dummy_addr: &$module::VM_DUMMY_PAGE_FAULT_ADDR,
            fault_cntl: &$module::VM_L2_PROTECTION_FAULT_CNTL,
            fault_cntl2: &$module::VM_L2_PROTECTION_FAULT_CNTL2,
            fault_status: &$module::VM_L2_PROTECTION_FAULT_STATUS,
            fault_addr: &$module::VM_L2_PROTECTION_FAULT_ADDR,
            fault_default_addr: &$module::VM_L2_PROTECTION_FAULT_DEFAULT_ADDR,
            context_cntl: &$module::VM_CONTEXT_CNTL,
            contexts_disable: &$module::VM_CONTEXTS_DISABLE,
            inv_sem: &$module::VM_INVALIDATE_ENG_SEM,
            inv_req: &$module::VM_INVALIDATE_ENG_REQ,
            inv_ack: &$module::VM_INVALIDATE_ENG_ACK,
            inv_range: &$module::VM_INVALIDATE_ENG_ADDR_RANGE,
            pt_base: &$module::VM_CONTEXT_PAGE_TABLE_BASE_ADDR,
            pt_start: &$module::VM_CONTEXT_PAGE_TABLE_START_ADDR,
            pt_end: &$module::VM_CONTEXT_PAGE_TABLE_END_ADDR,
            fb_offset: &$module::MC_VM_FB_OFFSET,
            fb_base: &$module::MC_VM_FB_LOCATION_BASE,
            fb_top: &$module::MC_VM_FB_LOCATION_TOP,
            agp_top: &$module::MC_VM_AGP_TOP,
            agp_bot: &$module::MC_VM_AGP_BOT,
            agp_base: &$module::MC_VM_AGP_BASE,
            sys_low: &$module::MC_VM_SYSTEM_APERTURE_LOW_ADDR,
            sys_high: &$module::MC_VM_SYSTEM_APERTURE_HIGH_ADDR,
            sys_default: &$module::MC_VM_SYSTEM_APERTURE_DEFAULT_ADDR,
            l1_tlb_cntl: &$module::MC_VM_MX_L1_TLB_CNTL,
        };
    };
}

hub!(gc, GC_REGS, "Registers of the GC hub.",
    0x0840 0x0844 0x0845 0x0847 0x0848 0x084b 0x084c 0x084e 0x0880 0x0890
    0x0891 0x08a3 0x08b5 0x08c7 0x08eb 0x090b 0x092b
    0x096b 0x0980 0x0981 0x0982 0x0983 0x0984 0x0985 0x0986 0x096c 0x0987);
hub!(mm, MM_REGS, "Registers of the MM hub.",
    0x0680 0x0684 0x0685 0x0687 0x0688 0x068b 0x068c 0x068e 0x06c0 0x06d0
    0x06d1 0x06e3 0x06f5 0x0707 0x072b 0x074b 0x076b
    0x0817 0x082c 0x082d 0x082e 0x082f 0x0830 0x0831 0x0832 0x0818 0x0833);

/// `WALKER_ERROR` values of VM_L2_PROTECTION_FAULT_STATUS.
pub mod walker_error {
    /// The walk itself went well.
    pub const NONE: u32 = 0;
    /// The address lies outside the space's limits.
    pub const RANGE: u32 = 1;
    /// Page directory block 0 (the one above the page table).
    pub const PDE0: u32 = 2;
    /// Page directory block 1.
    pub const PDE1: u32 = 3;
    /// Page directory block 2.
    pub const PDE2: u32 = 4;
    /// The entry that a translate-further PDE points at.
    pub const TRANSLATE_FURTHER: u32 = 5;
    /// Memory answered with an error: the entry or the page lies nowhere.
    pub const NACK: u32 = 6;
    /// The dummy page.
    pub const DUMMY_PAGE: u32 = 7;
}

/// `PERMISSION_FAULTS` bits of VM_L2_PROTECTION_FAULT_STATUS.
pub mod permission {
    /// The entry is not valid.
    pub const VALID: u32 = 1;
    /// A read, and the entry denies it or is not valid.
    pub const READ: u32 = 2;
    /// A write, and the entry denies it or is not valid.
    pub const WRITE: u32 = 4;
    /// An instruction fetch, and the entry denies it or is not valid.
    pub const EXECUTE: u32 = 8;
}

/// A client's `CID` values in the MM hub's fault status: reads and writes come in by ports of their own, and two clients
/// may share a number where RW tells them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cid {
    /// Of its reads.
    pub read: u32,
    /// Of its writes, atomics included.
    pub write: u32,
}

/// The clients.
pub mod cid {
    use super::Cid;

    /// The SDMA instances.
    pub const SDMA: [Cid; crate::SDMA_INSTANCES] = [Cid { read: 46, write: 15 }, Cid { read: 15, write: 46 }];
    /// The access engine.
    pub const ACCESS: Cid = Cid { read: 48, write: 49 };
    /// The interrupt handler (OSS).
    pub const OSS: Cid = Cid { read: 14, write: 14 };
    /// The host through MM_INDEX/MM_DATA (HDP).
    pub const HDP: Cid = Cid { read: 3, write: 4 };
}
