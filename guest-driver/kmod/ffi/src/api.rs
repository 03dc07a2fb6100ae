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

use uvm_policy::{
    AllocRequest, Begin, BlockId, BoConfig, BoId, Domain, DomainMask, Error, From, MoveOptions, Outcome,
    PlacementRequest, Policy, SegmentConfig, Token,
};

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

/// uvm_policy_place() - domains to try for a buffer
/// @policy: the policy
/// @placement: what is known of the buffer
/// @domains: the domains, best first; those that are full but large enough come last
///
/// Return: 0 or -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_place(
    policy: Option<&UvmPolicy>,
    placement: Option<&UvmPolicyPlacement>,
    domains: Option<&mut MaybeUninit<UvmPolicyDomains>>,
) -> c_int {
    let (Some(policy), Some(placement), Some(domains)) = (policy, placement, domains) else {
        return errno(Error::Invalid);
    };
    answer(domains, || {
        let known = UVM_POLICY_PLACE_CPU_ACCESS | UVM_POLICY_PLACE_PREFERRED;
        if placement.flags & !known != 0 || placement.pad != 0 {
            return Err(Error::Invalid);
        }
        let preferred = if placement.flags & UVM_POLICY_PLACE_PREFERRED != 0 {
            Some(Domain::from_raw(placement.preferred)?)
        } else {
            None
        };
        let list = policy.0.place(&PlacementRequest {
            size: placement.size,
            allowed: DomainMask::from_bits(placement.allowed)?,
            preferred,
            cpu_access: placement.flags & UVM_POLICY_PLACE_CPU_ACCESS != 0,
        })?;
        let mut answer = UvmPolicyDomains::default();
        for (place, domain) in answer.domain.iter_mut().zip(list.as_slice()) {
            *place = *domain as u32;
            answer.count = answer.count.saturating_add(1);
        }
        Ok(answer)
    })
}

/// uvm_policy_bo_create() - make a buffer, which begins in SYSTEM
/// @policy: the policy
/// @config: what it is to be
/// @bo: names it from now on; never 0
///
/// Return: 0, -ENOMEM, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_bo_create(
    policy: Option<&mut UvmPolicy>,
    config: Option<&UvmPolicyBoConfig>,
    bo: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    let (Some(policy), Some(config), Some(bo)) = (policy, config, bo) else { return errno(Error::Invalid) };
    answer(bo, || {
        if config.pad != 0 {
            return Err(Error::Invalid);
        }
        let allowed = DomainMask::from_bits(config.allowed)?;
        policy.0.bo_create(&BoConfig { size: config.size, align: config.align, allowed }).map(BoId::raw)
    })
}

/// uvm_policy_bo_destroy() - end a buffer and free its range
/// @policy: the policy
/// @bo: the buffer
///
/// The caller has seen to it that nothing reaches its range any more. Never allocates.
///
/// Return: 0, -EBUSY while it moves or is pinned, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_bo_destroy(policy: Option<&mut UvmPolicy>, bo: u64) -> c_int {
    with(policy, |policy| policy.bo_destroy(BoId::from_raw(bo)))
}

/// uvm_policy_bo_info() - a buffer as it is now
/// @policy: the policy
/// @bo: the buffer
/// @info: the answer
///
/// Return: 0, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_bo_info(
    policy: Option<&UvmPolicy>,
    bo: u64,
    info: Option<&mut MaybeUninit<UvmPolicyBoInfo>>,
) -> c_int {
    let (Some(policy), Some(info)) = (policy, info) else { return errno(Error::Invalid) };
    answer(info, || policy.0.bo_info(BoId::from_raw(bo)).map(UvmPolicyBoInfo::from))
}

/// uvm_policy_bo_pin() - keep a buffer where it is until as many unpins
/// @policy: the policy
/// @bo: the buffer
///
/// Return: 0, -EBUSY while it moves, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_bo_pin(policy: Option<&mut UvmPolicy>, bo: u64) -> c_int {
    with(policy, |policy| policy.bo_pin(BoId::from_raw(bo)))
}

/// uvm_policy_bo_unpin() - take one pin away
/// @policy: the policy
/// @bo: the buffer
///
/// Return: 0, -EINVAL when it has none, -ENOENT.
#[no_mangle]
pub extern "C" fn uvm_policy_bo_unpin(policy: Option<&mut UvmPolicy>, bo: u64) -> c_int {
    with(policy, |policy| policy.bo_unpin(BoId::from_raw(bo)))
}

/// uvm_policy_move_begin() - plan the move of a buffer
/// @policy: the policy
/// @bo: the buffer
/// @domain: where to
/// @flags: UVM_POLICY_MOVE_*
/// @plan: what to do; on -EBUSY its token is the move to wait for, or 0 for a pinned buffer
///
/// Perform the actions in order, without the policy's lock, then call uvm_policy_move_complete().
/// Until then the old range and the new one are both held.
///
/// Return: 0 (with a token of 0 when the buffer is there already), -EBUSY, -ENOSPC when nothing free
/// fits, -ENOMEM, -EINVAL for a domain that the buffer may not be in, -ENOENT for an unknown one.
#[no_mangle]
pub extern "C" fn uvm_policy_move_begin(
    policy: Option<&mut UvmPolicy>,
    bo: u64,
    domain: u32,
    flags: u32,
    plan: Option<&mut MaybeUninit<UvmPolicyMove>>,
) -> c_int {
    let (Some(policy), Some(plan)) = (policy, plan) else { return errno(Error::Invalid) };
    let begun = (|| {
        let known = UVM_POLICY_MOVE_EMPTY | UVM_POLICY_MOVE_RELOCATE | UVM_POLICY_MOVE_TOP_DOWN;
        if flags & !known != 0 {
            return Err(Error::Invalid);
        }
        let options = MoveOptions {
            empty: flags & UVM_POLICY_MOVE_EMPTY != 0,
            relocate: flags & UVM_POLICY_MOVE_RELOCATE != 0,
            top_down: flags & UVM_POLICY_MOVE_TOP_DOWN != 0,
        };
        policy.0.begin_move(BoId::from_raw(bo), Domain::from_raw(domain)?, &options)
    })();
    let (answer, status) = match begun {
        Ok(Begin::Started(started)) => (started.into(), 0),
        Ok(Begin::Already(at)) => (at.into(), 0),
        Ok(Begin::Wait(token)) => {
            (UvmPolicyMove { token: token.raw(), ..UvmPolicyMove::default() }, errno(Error::Wait(token)))
        }
        Err(error) => (UvmPolicyMove::default(), errno(error)),
    };
    plan.write(answer);
    status
}

/// uvm_policy_move_complete() - end a move
/// @policy: the policy
/// @token: of uvm_policy_move_begin()
/// @error: 0 when all actions were performed; else one failed, those before it are undone: nothing
///         reaches the new range, the old one is bound as it was, pages populated are given back
///
/// With 0 the buffer is at its new place and the old range is free; else it is where it was and the
/// new range is free. Never allocates.
///
/// Return: 0, -ENOENT for a token that is not in flight, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_move_complete(policy: Option<&mut UvmPolicy>, token: u64, error: c_int) -> c_int {
    let outcome = if error == 0 { Outcome::Done } else { Outcome::Failed };
    with(policy, |policy| policy.complete(Token::from_raw(token), outcome).map(drop))
}

pub(crate) fn with(policy: Option<&mut UvmPolicy>, call: impl FnOnce(&mut Policy) -> Result<(), Error>) -> c_int {
    status(policy.ok_or(Error::Invalid).and_then(|policy| call(&mut policy.0)))
}

pub(crate) fn answer<T>(place: &mut MaybeUninit<T>, call: impl FnOnce() -> Result<T, Error>) -> c_int {
    status(call().map(|value| {
        place.write(value);
    }))
}
