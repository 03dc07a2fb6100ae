// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The tables against themselves and against well-known values of the hardware.

use std::collections::BTreeMap;
use uvm_spec::{hub, ih, lookup, sdma, uapi, Access, BLOCKS, MMIO_DWORDS};

#[test]
fn no_two_registers_share_an_index() {
    let mut seen = BTreeMap::new();
    for block in BLOCKS {
        for reg in block.regs {
            for n in 0..reg.count {
                let index = block.index(reg, n);
                assert!(index < MMIO_DWORDS);
                if let Some(other) = seen.insert(index, reg.name) {
                    panic!("{index:#x}: {other} and {}{}", block.prefix, reg.name);
                }
                let found = lookup(index).expect("every register is found by its index");
                assert_eq!((found.reg.name, found.element, found.block.base), (reg.name, n, block.base));
            }
        }
    }
}

#[test]
fn fields_of_a_register_do_not_overlap() {
    for reg in BLOCKS.iter().flat_map(|b| b.regs) {
        let mut used = 0u32;
        for f in reg.fields {
            assert_eq!(used & f.mask(), 0, "{}.{}", reg.name, f.name);
            used |= f.mask();
        }
        assert!(
            reg.access == Access::Ro || reg.reset & !reg.writable() == 0,
            "{}: reset value outside its fields",
            reg.name
        );
    }
}

/// Indices as public dumps of the hardware show them.
#[test]
fn indices_are_the_hardware_s() {
    for (index, name) in [
        (0x12e0, "SDMA0_GFX_RB_CNTL"),
        (0x14e5, "SDMA1_GFX_RB_WPTR"),
        (0x13a0, "SDMA0_RLC0_RB_CNTL"),
        (0x1400, "SDMA0_RLC1_RB_CNTL"),
        (0x1120, "IH_RB_CNTL"),
        (0x0de3, "RCC_CONFIG_MEMSIZE"),
        (0x0ef1, "BIF_SDMA1_DOORBELL_RANGE"),
        (0x2883, "GC.VM_CONTEXT3_CNTL"),
        (0x1a6f5, "MMHUB.VM_INVALIDATE_ENG0_ACK"),
        (0x1a82c, "MMHUB.MC_VM_FB_LOCATION_BASE"),
    ] {
        assert_eq!(lookup(index).map(|l| l.to_string()).as_deref(), Some(name), "{index:#x}");
    }
    assert!(lookup(0x1ffff).is_none());
}

#[test]
fn both_hubs_play_the_same_roles() {
    assert_eq!(hub::gc::REGS.len(), hub::mm::REGS.len());
    for (a, b) in hub::gc::REGS.iter().zip(hub::mm::REGS) {
        assert_eq!((a.name, a.count, a.reset), (b.name, b.count, b.reset));
    }
}

#[test]
fn sdma_instances_do_not_reach_into_each_other() {
    assert!(sdma::SDMA0.base + sdma::SDMA0.dwords() <= sdma::SDMA1.base);
}

#[test]
fn vectors_survive_packing() {
    let fault = ih::PageFault { va: 0x01a5_fedc_ba98_7000, write: true, atomic: false, retry: true, cam: 0x2a5 };
    let vector = ih::Vector {
        client: ih::client::VMC,
        source: ih::source::PAGE_FAULT,
        ring: 7,
        vmid: 9,
        mm: true,
        timestamp: 0x1234_5678_9abc,
        pasid: 0xbeef,
        data: fault.pack(),
    };
    assert_eq!(ih::Vector::unpack(vector.pack()), vector);
    assert_eq!(ih::PageFault::unpack(vector.data), fault);
    assert_eq!(vector.pack()[0], 0x8907_0012);
}

#[test]
fn ioctl_structures_have_no_padding() {
    for s in uapi::STRUCTS.iter().copied().flatten() {
        let bytes: usize = s.members.iter().map(|m| if m.ty == "__u32" { 4 } else { 8 }).sum();
        assert_eq!(bytes, s.size, "{}", s.name);
        assert_eq!(s.size % 8, 0, "{}", s.name);
    }
}
