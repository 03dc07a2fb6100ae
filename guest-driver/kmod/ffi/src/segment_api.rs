// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Segments on the C border: how a device's memory is divided, and what becomes of it. Docs are kernel-doc.
#![allow(unsafe_code)] // exporting under a fixed name counts as unsafe

use core::ffi::c_int;
use core::mem::MaybeUninit;

use uvm_policy::{Described, Domain, DomainMask, Error, Placements, SegmentId, SegmentTable};

use crate::api::{answer, UvmPolicy};
use crate::errno::{errno, status};
use crate::mm_types::{UvmMmConfig, UvmMmSegment, UVM_MM_MAX_KINDS};

/// struct uvm_mm_described - what a device describes and what the driver needs of it
/// @local: bytes of VRAM that the CPU reaches, the first ones
/// @invisible: bytes of VRAM behind them
/// @unsnooped: most bytes of the GART for accesses past the CPU's caches
/// @gart: bytes of the GART
/// @paging: bytes of the GART for copies of the memory manager
/// @tables: bytes of VRAM for the GART's tables
/// @own_first: 1: what the driver needs of VRAM is its start, not the end of @local
/// @pad: must be 0
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // said in kernel-doc above, here and below
pub struct UvmMmDescribed {
    pub local: u64,
    pub invisible: u64,
    pub unsnooped: u64,
    pub gart: u64,
    pub paging: u64,
    pub tables: u64,
    pub own_first: u32,
    pub pad: u32,
}

/// struct uvm_mm_wish - where a user would have an allocation
/// @domains: a bit for each UVM_POLICY_DOMAIN_* where jobs may use it
/// @preferred: UVM_POLICY_DOMAIN_*
/// @cpu_access: 1: the CPU is a user as well
/// @unsnooped: 1: in system pages, accesses go past the CPU's caches
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct UvmMmWish {
    pub domains: u32,
    pub preferred: u32,
    pub cpu_access: u32,
    pub unsnooped: u32,
}

/// struct uvm_policy_range_change - a range of VRAM that was given out or given back
/// @offset: first byte
/// @size: bytes; U64_MAX: all there are
/// @freed: 1: nobody may use it; 0: it is somebody's
/// @pad: 0
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicyRangeChange {
    pub offset: u64,
    pub size: u64,
    pub freed: u32,
    pub pad: u32,
}

/// uvm_mm_divide() - make segments of what a device describes
/// @described: the description
/// @config: its @count and @segments are the answer; the rest stays
///
/// Return: 0, -EINVAL, -ENOSPC when nothing is left for buffers.
#[no_mangle]
pub extern "C" fn uvm_mm_divide(described: Option<&UvmMmDescribed>, config: Option<&mut UvmMmConfig>) -> c_int {
    let (Some(described), Some(config)) = (described, config) else { return errno(Error::Invalid) };
    let UvmMmDescribed { local, invisible, unsnooped, gart, paging, tables, own_first, pad } = *described;
    if own_first > 1 || pad != 0 {
        return errno(Error::Invalid);
    }
    let own_first = own_first == 1;
    let described = Described { local, invisible, unsnooped, gart, paging, tables, own_first };
    status(SegmentTable::divide(&described).map(|table| {
        config.count = 0;
        for (segment, desc) in config.segments.iter_mut().zip(table.as_slice()) {
            *segment = UvmMmSegment { base: desc.base, size: desc.size, kind: desc.kind as u32, pad: 0 };
            config.count = config.count.saturating_add(1);
        }
    }))
}

/// uvm_mm_placements() - the kinds of segment that a wish means
/// @wish: the wish
/// @kinds: out: UVM_MM_SEG_*, best first, room for UVM_MM_MAX_KINDS
/// @count: out: how many
///
/// Return: 0 or -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_mm_placements(
    wish: Option<&UvmMmWish>,
    kinds: Option<&mut [u32; UVM_MM_MAX_KINDS]>,
    count: Option<&mut u32>,
) -> c_int {
    let (Some(wish), Some(kinds), Some(count)) = (wish, kinds, count) else { return errno(Error::Invalid) };
    let list = (|| {
        if wish.cpu_access > 1 || wish.unsnooped > 1 {
            return Err(Error::Invalid);
        }
        let preferred = Domain::from_raw(wish.preferred)?;
        let domains = DomainMask::from_bits(wish.domains)?;
        Ok(Placements::of(domains, Some(preferred), wish.cpu_access == 1, wish.unsnooped == 0))
    })();
    status(list.map(|list| {
        *count = 0;
        for (place, kind) in kinds.iter_mut().zip(list.as_slice()) {
            *place = *kind as u32;
            *count = count.saturating_add(1);
        }
    }))
}

/// uvm_mm_segment_free_blocks() - how fragmented a segment is
/// @policy: the policy
/// @segment: its number in struct uvm_mm_config
/// @size: bytes, a power of two
/// @count: how many blocks of @size, at multiples of it, are wholly free
///
/// Looks at each range of the segment.
///
/// Return: 0, -ENOENT for a number that is none, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_mm_segment_free_blocks(
    policy: Option<&UvmPolicy>,
    segment: u32,
    size: u64,
    count: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    let (Some(policy), Some(count)) = (policy, count) else { return errno(Error::Invalid) };
    answer(count, || {
        let segment = u8::try_from(segment).map(SegmentId).map_err(|_| Error::Unknown)?;
        policy.0.free_blocks(segment, size)
    })
}

/// uvm_policy_watch() - keep from now on what happens to VRAM
/// @policy: the policy
///
/// From then on uvm_policy_next_change() is to be called until it gives nothing, before the policy's
/// lock is let go.
///
/// Return: 0 or -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_watch(policy: Option<&mut UvmPolicy>) -> c_int {
    status(policy.ok_or(Error::Invalid).map(|policy| policy.0.watch()))
}

/// uvm_policy_next_change() - ask what happened to VRAM
/// @policy: the policy, which keeps it
/// @change: the answer
///
/// Return: 1 with a change, 0 when there is none, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_next_change(
    policy: Option<&mut UvmPolicy>,
    change: Option<&mut MaybeUninit<UvmPolicyRangeChange>>,
) -> c_int {
    let (Some(policy), Some(change)) = (policy, change) else { return errno(Error::Invalid) };
    let Some(next) = policy.0.next_change() else { return 0 };
    let freed = u32::from(next.freed);
    change.write(UvmPolicyRangeChange { offset: next.offset, size: next.size, freed, pad: 0 });
    1
}
