// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The registers of rings' pointers, which lie at the same offsets in each block.

use crate::regs::RegFile;
use uvm_spec::sdma::*;
use uvm_spec::Reg;

/// Two dwords of one number.
pub fn wide(regs: &RegFile, low: &Reg, high: &Reg, n: u32) -> u64 {
    u64::from(regs.get(low, n)) | u64::from(regs.get(high, n)) << 32
}
/// Read pointer of ring `n`, bytes.
pub fn rptr(regs: &RegFile, n: u32) -> u64 {
    wide(regs, &RB_RPTR, &RB_RPTR_HI, n) & !3
}
/// Sets it.
#[allow(clippy::cast_possible_truncation)] // two dwords of one pointer
pub fn set_rptr(regs: &mut RegFile, n: u32, rptr: u64) {
    regs.set(&RB_RPTR, n, rptr as u32);
    regs.set(&RB_RPTR_HI, n, (rptr >> 32) as u32);
}
/// Write pointer of ring `n` as its registers have it, bytes.
pub fn wptr(regs: &RegFile, n: u32) -> u64 {
    wide(regs, &RB_WPTR, &RB_WPTR_HI, n) & !3
}
/// Where the read pointer is written back.
pub fn write_back(regs: &RegFile, n: u32) -> Option<u64> {
    let on = regs.field(&RB_CNTL, n, RB_CNTL::RPTR_WRITEBACK_ENABLE) != 0;
    on.then(|| wide(regs, &RB_RPTR_ADDR_LO, &RB_RPTR_ADDR_HI, n) & !3)
}
/// Bytes of ring `n`.
pub fn size(regs: &RegFile, n: u32) -> u64 {
    4 << regs.field(&RB_CNTL, n, RB_CNTL::RB_SIZE).min(40)
}
/// First byte of ring `n`.
pub fn base(regs: &RegFile, n: u32) -> u64 {
    u64::from(regs.get(&RB_BASE, n)) << 8 | u64::from(regs.get(&RB_BASE_HI, n)) << 40
}
/// Whether ring `n` is on.
pub fn enabled(regs: &RegFile, n: u32) -> bool {
    regs.field(&RB_CNTL, n, RB_CNTL::RB_ENABLE) != 0
}
/// RB_VMID of ring `n`.
pub fn vmid(regs: &RegFile, n: u32) -> u8 {
    u8::try_from(regs.field(&RB_CNTL, n, RB_CNTL::RB_VMID)).unwrap_or(0)
}
/// The ring whose doorbell is at dword offset `dw` of the aperture.
pub fn of_doorbell(regs: &RegFile, dw: u32) -> Option<u32> {
    (0..RINGS).find(|&n| {
        regs.field(&DOORBELL, n, DOORBELL::ENABLE) != 0
            && regs.field(&DOORBELL_OFFSET, n, DOORBELL_OFFSET::OFFSET) == dw
    })
}
/// Ring `n`'s doorbell rang.
#[allow(clippy::cast_possible_truncation)] // two dwords of one pointer
pub fn rang(regs: &mut RegFile, n: u32, value: u64) {
    regs.set_field(&DOORBELL, n, DOORBELL::CAPTURED, 1);
    regs.set(&RB_WPTR, n, value as u32);
    regs.set(&RB_WPTR_HI, n, (value >> 32) as u32);
}
/// The page of an access that waits is told: of a write, or of anything else.
#[allow(clippy::cast_possible_truncation)] // two parts of one page number
pub fn tell_waiting(regs: &mut RegFile, write: bool, vmid: u8, va: u64) {
    let (low, high) = if write { (&UTCL1_WR_XNACK0, &UTCL1_WR_XNACK1) } else { (&UTCL1_RD_XNACK0, &UTCL1_RD_XNACK1) };
    let (page_low, page_high) = ((va >> 12) as u32, (va >> 44) as u32 & 0xf);
    regs.set(low, 0, page_low);
    regs.set(high, 0, page_high | u32::from(vmid) << 4 | 1 << 26);
}

/// Why a ring stopped, by its EXCEPTION.
pub fn exception_name(code: u32) -> Option<&'static str> {
    match code {
        exception::NONE => None,
        exception::ILLEGAL => Some("illegal packet"),
        exception::FAULT => Some("page fault without a default page"),
        exception::POISON => Some("uncorrectable error in what it read"),
        exception::NESTED_IB => Some("indirect buffer inside an indirect buffer"),
        _ => Some("unknown"),
    }
}
