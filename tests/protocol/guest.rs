// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The least that a driver does: SDMA 0's GFX ring and IH ring 0 in guest memory, system memory at its own address.

use crate::session::Session;
use uvm_spec::hub::{mm, MM_HUB};
use uvm_spec::ih::{self, mc_space, OSSSYS};
use uvm_spec::nbio::{self, doorbell, NBIO};
use uvm_spec::packet::{header, op, sub_op};
use uvm_spec::sdma::{self, SDMA0};
use uvm_spec::window::Doorbell;
use vm_memory::{Bytes, GuestAddress};

/// GPU address of VRAM.
pub const FB: u64 = 0x80_0000_0000;
pub const RING: u64 = 0x30_000;
pub const RING_DWORDS: u64 = 1024;
pub const IH_RING: u64 = 0x40_000;
pub const IH_WPTR: u64 = 0x42_000;
pub const FENCE: u64 = 0x43_000;
pub const DATA: u64 = 0x100_000;

pub struct Guest {
    pub session: Session,
    wptr: u64,
}

impl Guest {
    /// Brings the engine and the interrupt handler up on a started device.
    pub fn new(mut session: Session) -> Self {
        let mut set = |index, value| session.write(index, value);
        set(MM_HUB.index(&mm::MC_VM_FB_LOCATION_BASE, 0), 0x8000);
        set(MM_HUB.index(&mm::MC_VM_FB_LOCATION_TOP, 0), 0x8000 + 15);
        set(MM_HUB.index(&mm::MC_VM_AGP_BOT, 0), 0);
        set(MM_HUB.index(&mm::MC_VM_AGP_TOP, 0), 0xff);

        set(NBIO.index(&nbio::RCC_DOORBELL_APER_EN, 0), 1);
        let range =
            |slot: u32| nbio::BIF_SDMA_DOORBELL_RANGE::OFFSET.of(2 * slot) | nbio::BIF_SDMA_DOORBELL_RANGE::SIZE.of(2);
        set(NBIO.index(&nbio::BIF_SDMA_DOORBELL_RANGE, 0), range(doorbell::SDMA0_GFX));
        set(NBIO.index(&nbio::BIF_IH_DOORBELL_RANGE, 0), range(doorbell::IH));

        use ih::IH_RB_CNTL as C;
        set(OSSSYS.index(&ih::IH_RB_BASE, 0), u32::try_from(IH_RING >> 8).unwrap());
        set(OSSSYS.index(&ih::IH_RB_WPTR_ADDR_LO, 0), u32::try_from(IH_WPTR).unwrap());
        let doorbell_rptr = ih::IH_DOORBELL_RPTR::OFFSET.of(2 * doorbell::IH) | ih::IH_DOORBELL_RPTR::ENABLE.of(1);
        set(OSSSYS.index(&ih::IH_DOORBELL_RPTR, 0), doorbell_rptr);
        let cntl = C::RB_ENABLE.of(1)
            | C::RB_SIZE.of(10)
            | C::WPTR_WRITEBACK_ENABLE.of(1)
            | C::ENABLE_INTR.of(1)
            | C::RPTR_REARM.of(1)
            | C::MC_SPACE.of(mc_space::BUS);
        set(OSSSYS.index(&ih::IH_RB_CNTL, 0), cntl);

        set(SDMA0.index(&sdma::CNTL, 0), sdma::CNTL::TRAP_ENABLE.of(1) | sdma::CNTL::UTC_L1_ENABLE.of(1));
        set(SDMA0.index(&sdma::RB_BASE, 0), u32::try_from(RING >> 8).unwrap());
        set(SDMA0.index(&sdma::DOORBELL_OFFSET, 0), sdma::DOORBELL_OFFSET::OFFSET.of(2 * doorbell::SDMA0_GFX));
        set(SDMA0.index(&sdma::DOORBELL, 0), sdma::DOORBELL::ENABLE.of(1));
        set(SDMA0.index(&sdma::RB_CNTL, 0), sdma::RB_CNTL::RB_SIZE.of(10) | sdma::RB_CNTL::RB_ENABLE.of(1));
        set(SDMA0.index(&sdma::F32_CNTL, 0), 0);
        Self { session, wptr: 0 }
    }

    /// Puts `dwords` on the ring and gives the doorbell that tells of them.
    pub fn emit(&mut self, dwords: &[u32]) -> Doorbell {
        for dword in dwords {
            let at = RING + self.wptr % (4 * RING_DWORDS);
            self.session.memory.write_obj(*dword, GuestAddress(at)).unwrap();
            self.wptr += 4;
        }
        Doorbell { slot: doorbell::SDMA0_GFX, value: self.wptr }
    }

    /// Puts `dwords` on the ring and starts them.
    pub fn submit(&mut self, dwords: &[u32]) {
        let doorbell = self.emit(dwords);
        self.session.ring(&[doorbell]);
    }

    /// Tells the IH that the vectors up to `rptr` were read.
    pub fn acknowledge(&mut self, rptr: u32) {
        self.session.ring(&[Doorbell { slot: doorbell::IH, value: u64::from(rptr) }]);
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the two halves")]
fn halves(address: u64) -> [u32; 2] {
    [address as u32, (address >> 32) as u32]
}

pub fn copy(from: u64, to: u64, bytes: u32) -> Vec<u32> {
    [&[header(op::COPY, sub_op::COPY_LINEAR), bytes - 1, 0][..], &halves(from), &halves(to)].concat()
}

pub fn fence(value: u32) -> Vec<u32> {
    [&[header(op::FENCE, 0)][..], &halves(FENCE), &[value]].concat()
}

pub fn trap() -> Vec<u32> {
    vec![header(op::TRAP, 0), 7]
}
