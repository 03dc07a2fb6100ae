// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The functions of the C border. Docs are kernel-doc: they become the header's.
//!
//! Pointers come in as `Option` of references, for which NULL is `None` by the language's own layout rule, and
//! results go out through `MaybeUninit`, so C need not initialise them; the module's docs say what C owes.
#![allow(unsafe_code)] // exporting under a fixed name counts as unsafe, and the policy's box crosses as a pointer

use alloc::alloc::{alloc, Layout};
use alloc::boxed::Box;
use core::ffi::c_int;
use core::mem::MaybeUninit;

use uvm_policy::{AllocRequest, BlockId, Domain, Error, From, Policy, SegmentConfig};

use crate::errno::{errno, status};
use crate::types::*;

/// struct uvm_policy - the memory manager's decisions for one device
///
/// Owned by the driver behind one sleeping mutex. Calls are short, sleep only to allocate tables,
/// and must not be made from atomic context or a non-blockable notifier.
pub struct UvmPolicy(pub(crate) Policy);

/// uvm_policy_new() - make a policy
/// @config: what the device has
///
/// Return: the policy, or ERR_PTR(-EINVAL) for sizes that make no sense, ERR_PTR(-ENOMEM).
#[no_mangle]
pub extern "C" fn uvm_policy_new(config: Option<&UvmPolicyConfig>) -> *mut UvmPolicy {
    match config.ok_or(Error::Invalid).and_then(build).and_then(try_box) {
        Ok(policy) => Box::into_raw(policy),
        // The kernel's error pointers: the last page of the address space, which nothing lives in.
        Err(error) => core::ptr::without_provenance_mut(errno(error) as isize as usize),
    }
}

fn build(config: &UvmPolicyConfig) -> Result<UvmPolicy, Error> {
    let mut policy = Policy::new(config.page_size)?;
    for (domain, base, size) in
        [(Domain::Vram, config.vram_base, config.vram_size), (Domain::Gtt, config.gart_base, config.gart_size)]
    {
        if size != 0 {
            policy.add_segment(&SegmentConfig { domain, base, size })?;
        }
    }
    Ok(UvmPolicy(policy))
}

/// `Box::new` that reports a shortage of memory instead of ending the kernel.
fn try_box(policy: UvmPolicy) -> Result<Box<UvmPolicy>, Error> {
    let layout = Layout::new::<UvmPolicy>();
    // SAFETY: the layout's size is not zero, a policy has tables.
    let place = unsafe { alloc(layout) }.cast::<UvmPolicy>();
    if place.is_null() {
        return Err(Error::NoMemory);
    }
    // SAFETY: fresh memory of the type's own layout from the global allocator, written before it is boxed.
    Ok(unsafe {
        place.write(policy);
        Box::from_raw(place)
    })
}

/// uvm_policy_destroy() - end a policy
/// @policy: from uvm_policy_new(), or NULL
///
/// All ranges, buffers and moves end with it; uvm_policy_in_use() before tells what was leaked.
///
/// # Safety
///
/// The pointer is NULL or from `uvm_policy_new`, no call is under way, and none follows.
#[no_mangle]
pub unsafe extern "C" fn uvm_policy_destroy(policy: *mut UvmPolicy) {
    if !policy.is_null() {
        // SAFETY: the caller's contract: made by Box::into_raw in uvm_policy_new, not destroyed yet.
        drop(unsafe { Box::from_raw(policy) });
    }
}

/// uvm_policy_in_use() - count what is still there
/// @policy: the policy
/// @bos: number of buffers
/// @moves: number of moves in flight
///
/// Return: 0 or -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_in_use(
    policy: Option<&UvmPolicy>,
    bos: Option<&mut MaybeUninit<u32>>,
    moves: Option<&mut MaybeUninit<u32>>,
) -> c_int {
    let (Some(policy), Some(bos), Some(moves)) = (policy, bos, moves) else { return errno(Error::Invalid) };
    let (bo_count, move_count) = policy.0.in_use();
    bos.write(bo_count);
    moves.write(move_count);
    0
}

/// uvm_policy_alloc() - take a range of a segment
/// @policy: the policy
/// @domain: VRAM or GTT
/// @request: what is wanted
/// @range: what was given
///
/// Return: 0, -ENOSPC when no free range fits, -ENOMEM, -EINVAL, -ENOENT for a domain without a
/// segment.
#[no_mangle]
pub extern "C" fn uvm_policy_alloc(
    policy: Option<&mut UvmPolicy>,
    domain: u32,
    request: Option<&UvmPolicyRequest>,
    range: Option<&mut MaybeUninit<UvmPolicyRange>>,
) -> c_int {
    let (Some(policy), Some(request), Some(range)) = (policy, request, range) else {
        return errno(Error::Invalid);
    };
    answer(range, || {
        if request.flags & !UVM_POLICY_TOP_DOWN != 0 || request.pad != 0 {
            return Err(Error::Invalid);
        }
        let segment = policy.0.segment_of(Domain::from_raw(domain)?)?;
        let end = if request.max == 0 { u64::MAX } else { request.max };
        let within = (request.min != 0 || request.max != 0).then_some(request.min..end);
        let from = if request.flags & UVM_POLICY_TOP_DOWN != 0 { From::Top } else { From::Bottom };
        let request = AllocRequest { size: request.size, align: request.align, from, within };
        policy.0.alloc(segment, &request).map(UvmPolicyRange::from)
    })
}

/// uvm_policy_reserve() - take a fixed range of a segment
/// @policy: the policy
/// @domain: VRAM or GTT
/// @offset: first byte; rounded down to a page
/// @size: bytes, not 0; the end is rounded up to a page
/// @range: what was given
///
/// Return: 0, -ENOSPC when part of it is taken, -ENOMEM, -EINVAL when it is not inside the segment,
/// -ENOENT for a domain without a segment.
#[no_mangle]
pub extern "C" fn uvm_policy_reserve(
    policy: Option<&mut UvmPolicy>,
    domain: u32,
    offset: u64,
    size: u64,
    range: Option<&mut MaybeUninit<UvmPolicyRange>>,
) -> c_int {
    let (Some(policy), Some(range)) = (policy, range) else { return errno(Error::Invalid) };
    answer(range, || {
        let segment = policy.0.segment_of(Domain::from_raw(domain)?)?;
        policy.0.reserve(segment, offset, size).map(UvmPolicyRange::from)
    })
}

/// uvm_policy_free() - give back a range
/// @policy: the policy
/// @id: of uvm_policy_alloc() or uvm_policy_reserve()
///
/// The caller has seen to it that nothing reaches the range any more. Never allocates.
///
/// Return: 0, -ENOENT for an unknown id, -EBUSY for a range that belongs to a buffer, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_free(policy: Option<&mut UvmPolicy>, id: u64) -> c_int {
    with(policy, |policy| policy.free(BlockId::from_raw(id)))
}

/// uvm_policy_find() - the range that holds an offset
/// @policy: the policy
/// @domain: VRAM or GTT
/// @offset: any byte of it
/// @range: the range
///
/// Return: 0, -ENOENT when the offset is free or outside, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_find(
    policy: Option<&UvmPolicy>,
    domain: u32,
    offset: u64,
    range: Option<&mut MaybeUninit<UvmPolicyRange>>,
) -> c_int {
    let (Some(policy), Some(range)) = (policy, range) else { return errno(Error::Invalid) };
    answer(range, || {
        let segment = policy.0.segment_of(Domain::from_raw(domain)?)?;
        policy.0.find(segment, offset).map(UvmPolicyRange::from)
    })
}

/// uvm_policy_stats() - how full the segments of a domain's buffers are, together
/// @policy: the policy
/// @domain: VRAM or GTT
/// @stats: the counts
///
/// Return: 0, -EINVAL, -ENOENT for a domain without a segment.
#[no_mangle]
pub extern "C" fn uvm_policy_stats(
    policy: Option<&UvmPolicy>,
    domain: u32,
    stats: Option<&mut MaybeUninit<UvmPolicyStats>>,
) -> c_int {
    let (Some(policy), Some(stats)) = (policy, stats) else { return errno(Error::Invalid) };
    answer(stats, || {
        let domain = Domain::from_raw(domain)?;
        policy.0.stats_of(domain).map(UvmPolicyStats::from)
    })
}

pub(crate) fn with(policy: Option<&mut UvmPolicy>, call: impl FnOnce(&mut Policy) -> Result<(), Error>) -> c_int {
    status(policy.ok_or(Error::Invalid).and_then(|policy| call(&mut policy.0)))
}

pub(crate) fn answer<T>(place: &mut MaybeUninit<T>, call: impl FnOnce() -> Result<T, Error>) -> c_int {
    status(call().map(|value| {
        place.write(value);
    }))
}
