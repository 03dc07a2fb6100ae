// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The structures and numbers of the C border. Docs are kernel-doc: they become the header's.

use uvm_policy::{Allocation, Domain, SegmentStats};

/// System pages that the GPU has no address for but in page tables of processes.
pub const UVM_POLICY_DOMAIN_SYSTEM: u32 = 0;
/// System pages bound in the GART.
pub const UVM_POLICY_DOMAIN_GTT: u32 = 1;
/// The device's own memory.
pub const UVM_POLICY_DOMAIN_VRAM: u32 = 2;

/// Request: search from the highest address down.
pub const UVM_POLICY_TOP_DOWN: u32 = 1;

/// struct uvm_policy_config - what the device has
/// @page_size: granule of all segments in bytes, a power of two
/// @vram_base: offset that VRAM ranges count from, a multiple of the page size
/// @vram_size: bytes of VRAM, a multiple of the page size; 0: no VRAM
/// @gart_base: offset that GTT ranges count from, a multiple of the page size
/// @gart_size: bytes that the GART maps, a multiple of the page size; 0: no GART
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // said in kernel-doc above, here and below
pub struct UvmPolicyConfig {
    pub page_size: u64,
    pub vram_base: u64,
    pub vram_size: u64,
    pub gart_base: u64,
    pub gart_size: u64,
}

/// struct uvm_policy_request - what range is wanted
/// @size: bytes, not 0; rounded up to pages
/// @align: a power of two; less than a page means a page
/// @min: lowest offset the range may have
/// @max: offset that the range must end at or before; 0: no limit
/// @flags: UVM_POLICY_TOP_DOWN
/// @pad: must be 0
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct UvmPolicyRequest {
    pub size: u64,
    pub align: u64,
    pub min: u64,
    pub max: u64,
    pub flags: u32,
    pub pad: u32,
}

/// struct uvm_policy_range - a range that was given
/// @id: names it from now on; never 0
/// @offset: first byte, counted from the segment's base
/// @size: bytes, a multiple of the page size
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicyRange {
    pub id: u64,
    pub offset: u64,
    pub size: u64,
}

/// struct uvm_policy_stats - how full a segment is
/// @size: bytes of the segment
/// @used: bytes given out, reserved ones included
/// @reserved: bytes reserved
/// @longest_free: bytes of the longest free range
/// @blocks: number of ranges given out, reserved ones included
/// @holes: number of free ranges
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicyStats {
    pub size: u64,
    pub used: u64,
    pub reserved: u64,
    pub longest_free: u64,
    pub blocks: u64,
    pub holes: u64,
}

const _: () = assert!(UVM_POLICY_DOMAIN_SYSTEM == Domain::System as u32);
const _: () = assert!(UVM_POLICY_DOMAIN_GTT == Domain::Gtt as u32);
const _: () = assert!(UVM_POLICY_DOMAIN_VRAM == Domain::Vram as u32);

impl From<Allocation> for UvmPolicyRange {
    fn from(range: Allocation) -> Self {
        Self { id: range.id.raw(), offset: range.offset, size: range.size }
    }
}

impl From<SegmentStats> for UvmPolicyStats {
    fn from(stats: SegmentStats) -> Self {
        let SegmentStats { size, used, reserved, longest_free, blocks, holes } = stats;
        Self { size, used, reserved, longest_free, blocks, holes }
    }
}
