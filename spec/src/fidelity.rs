// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! How true the device is to the hardware: every register, packet and behaviour, and what differs.

/// How true a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fidelity {
    /// A driver that follows the public headers sees no difference.
    Exact,
    /// It works, with this difference.
    Approximate(&'static str),
    /// It can be written and read back, or not even that, and does nothing.
    Absent(&'static str),
}

use Fidelity::{Absent, Approximate, Exact};

const NO_SWAP: Fidelity = Approximate("byte swapping has no effect");
const RING12: Fidelity = Approximate("as ring 0, without a write-back of the write pointer");
const ACCESS: Fidelity = Approximate("the access engine: no hardware has it");
const COUNTERS: Fidelity = Approximate("the access counters: no hardware of this family has them");
const XNACK: Fidelity = Approximate("written at each parked access; the field layout is simplified");

/// Every register of [`crate::BLOCKS`], by its name in the tables.
pub const REGISTERS: &[(&str, Fidelity)] = &[
    ("MM_INDEX", Exact),
    ("MM_DATA", Exact),
    ("MM_INDEX_HI", Exact),
    ("PCIE_INDEX2", Approximate("names registers of this space, not of SMN")),
    ("PCIE_DATA2", Approximate("names registers of this space, not of SMN")),
    ("RCC_DOORBELL_APER_EN", Exact),
    ("RCC_CONFIG_MEMSIZE", Exact),
    ("BIF_SDMA{}_DOORBELL_RANGE", Exact),
    ("BIF_IH_DOORBELL_RANGE", Exact),
    ("BIF_ACCESS_DOORBELL_RANGE", ACCESS),
    ("BIOS_SCRATCH_{}", Exact),
    ("IH_VMID_{}_LUT", Exact),
    ("IH_VMID_{}_LUT_MM", Exact),
    ("IH_RB_CNTL", NO_SWAP),
    ("IH_RB_BASE", Exact),
    ("IH_RB_BASE_HI", Exact),
    ("IH_RB_RPTR", Exact),
    ("IH_RB_WPTR", Exact),
    ("IH_RB_WPTR_ADDR_HI", Exact),
    ("IH_RB_WPTR_ADDR_LO", Exact),
    ("IH_DOORBELL_RPTR", Exact),
    ("IH_RB_CNTL_RING1", RING12),
    ("IH_RB_BASE_RING1", Exact),
    ("IH_RB_BASE_HI_RING1", Exact),
    ("IH_RB_RPTR_RING1", Exact),
    ("IH_RB_WPTR_RING1", Exact),
    ("IH_DOORBELL_RPTR_RING1", Exact),
    ("IH_RB_CNTL_RING2", RING12),
    ("IH_RB_BASE_RING2", Exact),
    ("IH_RB_BASE_HI_RING2", Exact),
    ("IH_RB_RPTR_RING2", Exact),
    ("IH_RB_WPTR_RING2", Exact),
    ("IH_DOORBELL_RPTR_RING2", Exact),
    ("IH_DOORBELL_RETRY_CAM", Approximate("of OSSSYS 4.2, at another offset: 4.0 has no CAM")),
    ("IH_RETRY_CAM_ACK", Approximate("of OSSSYS 4.2: 4.0 has no CAM")),
    ("IH_RETRY_INT_CAM_CNTL", Approximate("of OSSSYS 4.2: 4.0 has no CAM; the back-pressure threshold has no effect; CAM_SIZE_HI is this device's own, since a batch of faults is larger than 31 entries")),
    ("IH_CLIENT_CFG_INDEX", Exact),
    ("IH_CLIENT_CFG_DATA", Approximate("only RING_ID acts")),
    ("CNTL", Approximate("TRAP_ENABLE and IB_PREEMPT_INT_ENABLE act")),
    ("STATUS_REG", Approximate("idle bits; the full bits are never set")),
    ("F32_CNTL", Approximate("HALT acts, single steps do not")),
    ("VERSION", Exact),
    ("ATOMIC_PREOP_LO", Exact),
    ("ATOMIC_PREOP_HI", Exact),
    ("UTCL1_CNTL", Absent("kept; translation timing is not modelled")),
    ("UTCL1_RD_XNACK0", XNACK),
    ("UTCL1_RD_XNACK1", XNACK),
    ("UTCL1_WR_XNACK0", XNACK),
    ("UTCL1_WR_XNACK1", XNACK),
    ("PUB_DUMMY_REG{}", Exact),
    ("{r}_RB_CNTL", NO_SWAP),
    ("{r}_RB_BASE", Exact),
    ("{r}_RB_BASE_HI", Exact),
    ("{r}_RB_RPTR", Exact),
    ("{r}_RB_RPTR_HI", Exact),
    ("{r}_RB_WPTR", Exact),
    ("{r}_RB_WPTR_HI", Exact),
    ("{r}_RB_WPTR_POLL_CNTL", Absent("kept; the write pointer in memory is not polled")),
    ("{r}_RB_RPTR_ADDR_HI", Exact),
    ("{r}_RB_RPTR_ADDR_LO", Exact),
    ("{r}_IB_CNTL", Approximate("IB_ENABLE acts")),
    ("{r}_IB_RPTR", Exact),
    ("{r}_IB_OFFSET", Exact),
    ("{r}_IB_BASE_LO", Exact),
    ("{r}_IB_BASE_HI", Exact),
    ("{r}_IB_SIZE", Exact),
    ("{r}_CONTEXT_STATUS", Approximate("IDLE, EXCEPTION and CTXSW_READY act; the exception codes are this device's")),
    ("{r}_DOORBELL", Exact),
    ("{r}_DOORBELL_OFFSET", Exact),
    ("{r}_PREEMPT", Approximate("ends the indirect buffer; no context is saved")),
    ("{r}_MINOR_PTR_UPDATE", Exact),
    ("VM_L2_CNTL", Absent("kept; the caches are always on")),
    ("VM_DUMMY_PAGE_FAULT_CNTL", Exact),
    ("VM_DUMMY_PAGE_FAULT_ADDR_{}", Exact),
    ("VM_L2_PROTECTION_FAULT_CNTL", Approximate("clear, overwrite and default-page switches act; a crash never")),
    ("VM_L2_PROTECTION_FAULT_CNTL2", Absent("kept")),
    ("VM_L2_PROTECTION_FAULT_STATUS", Approximate("one walker; VF and VFID are never set")),
    ("VM_L2_PROTECTION_FAULT_ADDR_{}", Exact),
    ("VM_L2_PROTECTION_FAULT_DEFAULT_ADDR_{}", Exact),
    ("VM_CONTEXT{}_CNTL", Exact),
    ("VM_CONTEXTS_DISABLE", Exact),
    ("VM_INVALIDATE_ENG{}_SEM", Exact),
    ("VM_INVALIDATE_ENG{}_REQ", Approximate("the flush types act alike; done before the write returns")),
    ("VM_INVALIDATE_ENG{}_ACK", Exact),
    ("VM_INVALIDATE_ENG_ADDR_RANGE_{}", Approximate("encoded as PCI ATS does")),
    ("VM_CONTEXT_PAGE_TABLE_BASE_ADDR_{}", Exact),
    ("VM_CONTEXT_PAGE_TABLE_START_ADDR_{}", Exact),
    ("VM_CONTEXT_PAGE_TABLE_END_ADDR_{}", Exact),
    ("MC_VM_FB_OFFSET", Exact),
    ("MC_VM_FB_LOCATION_BASE", Exact),
    ("MC_VM_FB_LOCATION_TOP", Exact),
    ("MC_VM_AGP_TOP", Exact),
    ("MC_VM_AGP_BOT", Exact),
    ("MC_VM_AGP_BASE", Exact),
    ("MC_VM_SYSTEM_APERTURE_LOW_ADDR", Exact),
    ("MC_VM_SYSTEM_APERTURE_HIGH_ADDR", Exact),
    ("MC_VM_SYSTEM_APERTURE_DEFAULT_ADDR_{}", Exact),
    ("MC_VM_MX_L1_TLB_CNTL", Approximate("SYSTEM_ACCESS_MODE acts; no ATC")),
    ("RB{}_CNTL", ACCESS),
    ("RB{}_BASE", ACCESS),
    ("RB{}_BASE_HI", ACCESS),
    ("RB{}_RPTR", ACCESS),
    ("RB{}_RPTR_HI", ACCESS),
    ("RB{}_WPTR", ACCESS),
    ("RB{}_WPTR_HI", ACCESS),
    ("RB{}_RPTR_ADDR_HI", ACCESS),
    ("RB{}_RPTR_ADDR_LO", ACCESS),
    ("RB{}_CONTEXT_STATUS", ACCESS),
    ("RB{}_DOORBELL", ACCESS),
    ("RB{}_DOORBELL_OFFSET", ACCESS),
    ("RB{}_MINOR_PTR_UPDATE", ACCESS),
    ("RB{}_LANES", ACCESS),
    ("RB{}_ITEMS", ACCESS),
    ("RB{}_ITEMS_HI", ACCESS),
    ("THRESHOLD", COUNTERS),
    ("CLEAR", COUNTERS),
    ("ADDR_{}", COUNTERS),
    ("VMID", COUNTERS),
    ("COUNT", COUNTERS),
    ("TRACKED", COUNTERS),
    ("NOTIFIED", COUNTERS),
    ("MISSED", COUNTERS),
    ("ANNOTATE_OP", Approximate("no hardware has it")),
    ("ANNOTATE_RANGE_{}", Approximate("no hardware has it")),
    ("MMIO_MMU_CNTL", Approximate("a profile of its own, after no public part")),
    ("MMIO_MMU_START_ADDRESS_{}", Approximate("a profile of its own, after no public part")),
];

/// The packets of SDMA v4, by name.
pub const PACKETS: &[(&str, Fidelity)] = &[
    ("NOP", Exact),
    ("COPY_LINEAR", Approximate("no broadcast, no swap; overlapping ranges are unspecified, as there")),
    ("COPY_TILED and sub-windows", Absent("illegal packet")),
    ("WRITE_LINEAR", Exact),
    ("INDIRECT", Approximate("the context save area is ignored")),
    ("FENCE", Exact),
    ("TRAP", Exact),
    ("SEM", Absent("illegal packet")),
    ("POLL_REGMEM", Exact),
    ("COND_EXE", Exact),
    ("ATOMIC", Approximate("integer operations; no floating point")),
    ("CONST_FILL", Exact),
    ("PTEPDE_GEN", Exact),
    ("TIMESTAMP_SET", Exact),
    ("TIMESTAMP_GET", Exact),
    ("TIMESTAMP_GET_GLOBAL", Exact),
    ("SRBM_WRITE", Approximate("illegal outside VMID 0")),
    ("NEST, CHASE, EXPAND, PROBE, INSERT", Approximate("the access engine's: no hardware has it")),
    ("PRE_EXE", Absent("illegal packet")),
    ("DUMMY_TRAP", Absent("illegal packet")),
];

/// What no single register or packet says.
pub const BEHAVIOURS: &[(&str, Fidelity)] = &[
    ("page table entries, directory entries, fragments, translate further, PRT", Exact),
    ("a fifth level of page tables", Approximate("borrowed from later parts")),
    ("TMZ", Approximate("AES-XTS with a key a power-on; the hardware's cipher is not public")),
    ("MTYPE and SNOOPED", Approximate("carried and shown; memory is always coherent")),
    (
        "translation caches",
        Approximate("an L1 an engine, a shared L2, a directory cache a level; sizes are options; replacement differs"),
    ),
    (
        "atomics on system memory",
        Approximate("PCIe AtomicOps are absent: to a CPU an atomic is a read and a write; bit 52 of an entry, ATOMIC_DISABLE, is this device's own"),
    ),
    (
        "which access of a retry fault was an atomic",
        Approximate("bit 17 of the vector's data 1: no hardware tells it there, only in the status register"),
    ),
    ("invalidation", Approximate("no access is ever in flight when a request is carried out")),
    ("retry faults", Approximate("one page a parked ring; the others go on")),
    ("fault vectors", Approximate("a packet reports one fault a direction, not one an access")),
    ("an illegal packet", Approximate("stops its ring and says so; hardware hangs")),
    ("order of a ring's packets", Exact),
    ("order between rings and instances", Approximate("turns of at most 256 KiB")),
    ("time", Approximate("100 MHz reference clock; bandwidth is the host's")),
    ("interrupt line", Approximate("an event queue in place of MSI")),
    ("doorbells", Approximate("a queue in place of a BAR: they may be overtaken by register accesses")),
    (
        "access engine",
        Approximate("no hardware has it: integer programs in place of shaders, so that their accesses can be had"),
    ),
    ("access counters", Approximate("no hardware of this family has them; by virtual granule, told by a vector")),
    ("graphics, compute, display, video, power management", Absent("no such block")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_register_is_judged_once() {
        extern crate std;
        let mut defined: std::vec::Vec<_> = crate::BLOCKS.iter().flat_map(|b| b.regs).map(|r| r.name).collect();
        defined.sort_unstable();
        defined.dedup();
        let mut judged: std::vec::Vec<_> = REGISTERS.iter().map(|r| r.0).collect();
        judged.sort_unstable();
        assert_eq!(judged, defined);
    }

    #[test]
    fn every_packet_that_is_executed_is_judged_and_not_absent() {
        for shape in crate::packet::SHAPES {
            let judged = PACKETS.iter().find(|p| p.0 == shape.name);
            assert!(judged.is_some_and(|p| !matches!(p.1, Absent(_))), "{}", shape.name);
        }
    }
}
