// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The functions of the C border of shared virtual memory. Docs are kernel-doc: they become the header's.
#![allow(unsafe_code)] // exporting under a fixed name counts as unsafe, and lists cross as pointers

use alloc::alloc::{alloc, Layout};
use alloc::boxed::Box;
use core::ffi::c_int;
use core::mem::MaybeUninit;
use core::slice;

use uvm_policy::svm::{Advice, Batch, Notification, Place, Record, SpaceId, Svm, SvmConfig};
use uvm_policy::Error;

use crate::api::answer;
use crate::errno::{errno, status};
use crate::svm_types::*;

/// struct uvm_policy_svm - the decisions about memory that a device shares with processes
///
/// Owned by the driver behind one sleeping mutex of its own, taken after mmap_lock, under which
/// nothing of a process is waited for. Calls are short, sleep only to allocate tables, and must not
/// be made from a notifier. They need no struct uvm_policy.
pub struct UvmPolicySvm {
    svm: Svm,
    /// Where a batch is worked on: too much for a kernel's stack.
    batch: Batch,
}

/// uvm_policy_svm_defaults() - how to decide when nothing is known better
/// @config: filled in; @chunks is 0
///
/// Return: 0 or -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_defaults(config: Option<&mut MaybeUninit<UvmPolicySvmConfig>>) -> c_int {
    let Some(config) = config else { return errno(Error::Invalid) };
    config.write(SvmConfig::default().into());
    0
}

/// uvm_policy_svm_new() - begin to decide about shared memory
/// @config: how
///
/// Return: the policy, ERR_PTR(-EINVAL) or ERR_PTR(-ENOMEM).
#[no_mangle]
pub extern "C" fn uvm_policy_svm_new(config: Option<&UvmPolicySvmConfig>) -> *mut UvmPolicySvm {
    let made = (|| {
        let config = config.ok_or(Error::Invalid)?.understood()?;
        try_box(UvmPolicySvm { svm: Svm::new(&config)?, batch: Batch::try_new()? })
    })();
    match made {
        Ok(svm) => Box::into_raw(svm),
        // The kernel's error pointers: the last page of the address space, which nothing lives in.
        Err(error) => core::ptr::without_provenance_mut(errno(error) as isize as usize),
    }
}

/// `Box::new` that reports a shortage of memory instead of ending the kernel.
fn try_box(svm: UvmPolicySvm) -> Result<Box<UvmPolicySvm>, Error> {
    let layout = Layout::new::<UvmPolicySvm>();
    // SAFETY: the layout's size is not zero.
    let place = unsafe { alloc(layout) }.cast::<UvmPolicySvm>();
    if place.is_null() {
        return Err(Error::NoMemory);
    }
    // SAFETY: fresh memory of the type's own layout from the global allocator, written before it is boxed.
    Ok(unsafe {
        place.write(svm);
        Box::from_raw(place)
    })
}

/// uvm_policy_svm_destroy() - end it
/// @svm: from uvm_policy_svm_new(), or NULL
///
/// # Safety
///
/// The pointer is NULL or from `uvm_policy_svm_new`, no call is under way, and none follows.
#[no_mangle]
pub unsafe extern "C" fn uvm_policy_svm_destroy(svm: *mut UvmPolicySvm) {
    if !svm.is_null() {
        // SAFETY: the caller's contract.
        drop(unsafe { Box::from_raw(svm) });
    }
}

/// uvm_policy_svm_configure() - decide otherwise from now on
/// @svm: the policy
/// @config: how; @blocks and @chunks are not looked at
///
/// Return: 0 or -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_configure(
    svm: Option<&mut UvmPolicySvm>,
    config: Option<&UvmPolicySvmConfig>,
) -> c_int {
    let (Some(svm), Some(config)) = (svm, config) else { return errno(Error::Invalid) };
    status(config.understood().and_then(|config| svm.svm.configure(&config)))
}

/// uvm_policy_svm_config() - how it decides now
/// @svm: the policy
/// @config: the answer
///
/// Return: 0 or -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_config(
    svm: Option<&UvmPolicySvm>,
    config: Option<&mut MaybeUninit<UvmPolicySvmConfig>>,
) -> c_int {
    let (Some(svm), Some(config)) = (svm, config) else { return errno(Error::Invalid) };
    config.write(svm.svm.config().into());
    0
}

/// uvm_policy_svm_create() - a process's addresses are mirrored
/// @svm: the policy
/// @space: names them from now on; never 0
///
/// Return: 0, -ENOMEM, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_create(svm: Option<&mut UvmPolicySvm>, space: Option<&mut MaybeUninit<u64>>) -> c_int {
    let (Some(svm), Some(space)) = (svm, space) else { return errno(Error::Invalid) };
    answer(space, || svm.svm.create().map(SpaceId::raw))
}

/// uvm_policy_svm_end() - they are not any more
/// @svm: the policy
/// @space: forgotten; its chunks of VRAM are in use until they are told to be free
///
/// Never allocates.
///
/// Return: 0, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_end(svm: Option<&mut UvmPolicySvm>, space: u64) -> c_int {
    with(svm, |svm| svm.destroy(SpaceId::from_raw(space)))
}

/// uvm_policy_svm_in_use() - count what is known
/// @svm: the policy
/// @spaces: number of mirrored address spaces
/// @blocks: number of blocks of which something is known
///
/// Return: 0 or -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_in_use(
    svm: Option<&UvmPolicySvm>,
    spaces: Option<&mut MaybeUninit<u32>>,
    blocks: Option<&mut MaybeUninit<u32>>,
) -> c_int {
    let (Some(svm), Some(spaces), Some(blocks)) = (svm, spaces, blocks) else { return errno(Error::Invalid) };
    let (space_count, block_count) = svm.svm.in_use();
    spaces.write(space_count);
    blocks.write(block_count);
    0
}

/// uvm_policy_svm_advise() - a process says something about its addresses
/// @svm: the policy
/// @space: whose
/// @start: first byte, of whole pages
/// @end: byte after the last
/// @advice: UVM_POLICY_SVM_ADVISE_*
/// @value: see there
///
/// Then ask uvm_policy_svm_next_map().
///
/// Return: 0, -ENOENT for an unknown space or group, -ENOSPC for more than 8192 ranges, -ENOMEM,
/// -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_advise(
    svm: Option<&mut UvmPolicySvm>,
    space: u64,
    start: u64,
    end: u64,
    advice: u32,
    value: u32,
) -> c_int {
    with(svm, |svm| {
        let switch = || match value {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Error::Invalid),
        };
        let advice = match advice {
            UVM_POLICY_SVM_ADVISE_PREFERRED if value == UVM_POLICY_SVM_NOWHERE => Advice::Preferred(None),
            UVM_POLICY_SVM_ADVISE_PREFERRED => Advice::Preferred(Some(Place::from_raw(value)?)),
            UVM_POLICY_SVM_ADVISE_ACCESSED => Advice::AccessedByDevice(switch()?),
            UVM_POLICY_SVM_ADVISE_DUPLICATE => Advice::ReadDuplication(switch()?),
            UVM_POLICY_SVM_ADVISE_NO_ACCESS => Advice::NoAccess(switch()?),
            UVM_POLICY_SVM_ADVISE_READ_ONLY => Advice::ReadOnly(switch()?),
            UVM_POLICY_SVM_ADVISE_EAGER => Advice::EagerReplay(switch()?),
            UVM_POLICY_SVM_ADVISE_GRANULE if value == UVM_POLICY_SVM_NOWHERE => Advice::Granule(None),
            UVM_POLICY_SVM_ADVISE_GRANULE => Advice::Granule(Some(u8::try_from(value).map_err(|_| Error::Invalid)?)),
            UVM_POLICY_SVM_ADVISE_GROUP => Advice::Group(value),
            UVM_POLICY_SVM_ADVISE_RESET => Advice::Reset,
            _ => return Err(Error::Invalid),
        };
        svm.advise(SpaceId::from_raw(space), &(start..end), advice)
    })
}

/// uvm_policy_svm_attributes() - what was said about an address
/// @svm: the policy
/// @space: whose
/// @va: the address
/// @attributes: the answer, and the range around @va of which the same was said
///
/// Return: 0, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_attributes(
    svm: Option<&UvmPolicySvm>,
    space: u64,
    va: u64,
    attributes: Option<&mut MaybeUninit<UvmPolicySvmAttributes>>,
) -> c_int {
    let (Some(svm), Some(attributes)) = (svm, attributes) else { return errno(Error::Invalid) };
    answer(attributes, || {
        let (said, range) = svm.svm.attributes(SpaceId::from_raw(space), va)?;
        Ok(UvmPolicySvmAttributes::new(&said, &range))
    })
}

/// uvm_policy_svm_group_create() - a range group, whose ranges may move
/// @svm: the policy
/// @space: whose
/// @group: its number, never 0
///
/// Return: 0, -ENOENT, -ENOSPC for more than 256, -ENOMEM, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_group_create(
    svm: Option<&mut UvmPolicySvm>,
    space: u64,
    group: Option<&mut MaybeUninit<u32>>,
) -> c_int {
    let (Some(svm), Some(group)) = (svm, group) else { return errno(Error::Invalid) };
    answer(group, || svm.svm.create_group(SpaceId::from_raw(space)))
}

/// uvm_policy_svm_group_destroy() - end a range group; its ranges are in none
/// @svm: the policy
/// @space: whose
/// @group: its number
///
/// Return: 0, -ENOENT, -ENOMEM, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_group_destroy(svm: Option<&mut UvmPolicySvm>, space: u64, group: u32) -> c_int {
    with(svm, |svm| svm.destroy_group(SpaceId::from_raw(space), group))
}

/// uvm_policy_svm_group_set() - let the ranges of a group move, or not
/// @svm: the policy
/// @space: whose
/// @group: its number
/// @migratable: 0 or 1
///
/// Return: 0, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_group_set(
    svm: Option<&mut UvmPolicySvm>,
    space: u64,
    group: u32,
    migratable: u32,
) -> c_int {
    with(svm, |svm| match migratable {
        0 | 1 => svm.set_migratable(SpaceId::from_raw(space), group, migratable == 1),
        _ => Err(Error::Invalid),
    })
}

/// uvm_policy_svm_group_next() - the ranges of a range group, one after another
/// @svm: the policy
/// @space: whose
/// @group: its number
/// @from: the range is the first that ends behind that
/// @start: where it begins, not before @from
/// @end: byte after its last
///
/// Return: 1 with a range, 0 when there is none any more, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_group_next(
    svm: Option<&UvmPolicySvm>,
    space: u64,
    group: u32,
    from: u64,
    start: Option<&mut MaybeUninit<u64>>,
    end: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    let (Some(svm), Some(start), Some(end)) = (svm, start, end) else { return errno(Error::Invalid) };
    match svm.svm.next_of_group(SpaceId::from_raw(space), group, from) {
        Ok(Some(range)) => {
            start.write(range.start);
            end.write(range.end);
            1
        }
        Ok(None) => 0,
        Err(error) => errno(error),
    }
}

/// uvm_policy_svm_serve() - what to do about a batch of faults
/// @svm: the policy
/// @faults: as they came; sorted by space and address after it, and each told its region
/// @nr_faults: at most UVM_POLICY_SVM_MAX_FAULTS
/// @more: 1 if others are in the buffer, else 0
/// @now: nanoseconds of a clock that does not go back
/// @regions: what to do, one after another
/// @nr_regions: room there, at least @nr_faults; UVM_POLICY_SVM_MAX_REGIONS is always enough
/// @plan: the rest
///
/// A proposal, made of what uvm_policy_svm_event() told: tell all that happened first, and look at
/// the pages when it is carried out. Never fails for want of memory.
///
/// Return: 0 or -EINVAL.
///
/// # Safety
///
/// `faults` and `regions` point at as many.
#[no_mangle]
pub unsafe extern "C" fn uvm_policy_svm_serve(
    svm: Option<&mut UvmPolicySvm>,
    faults: *mut UvmPolicySvmFault,
    nr_faults: u32,
    more: u32,
    now: u64,
    regions: *mut UvmPolicySvmRegion,
    nr_regions: u32,
    plan: Option<&mut MaybeUninit<UvmPolicySvmPlan>>,
) -> c_int {
    let (Some(svm), Some(plan), false, false) = (svm, plan, faults.is_null(), regions.is_null()) else {
        return errno(Error::Invalid);
    };
    if nr_faults as usize > UVM_POLICY_SVM_MAX_FAULTS {
        return errno(Error::Invalid);
    }
    // SAFETY: the caller's contract.
    let faults = unsafe { slice::from_raw_parts_mut(faults, nr_faults as usize) };
    answer(plan, || {
        svm.batch.clear();
        for fault in &*faults {
            svm.batch.push(fault.understood()?)?;
        }
        let (sorted, planned) = svm.batch.parts(nr_regions as usize);
        let plan = svm.svm.serve(sorted, more != 0, now, planned)?;
        for (place, fault) in faults.iter_mut().zip(sorted) {
            *place = (*fault).into();
        }
        // SAFETY: the caller's contract; there are not more regions than room was given for.
        unsafe { give(planned.iter().take(plan.regions).map(|region| (*region).into()), regions) };
        Ok(plan.into())
    })
}

/// Writes items one after another.
///
/// # Safety
///
/// `to` points at room for all of them.
unsafe fn give<T>(items: impl Iterator<Item = T>, mut to: *mut T) {
    for item in items {
        // SAFETY: the caller's contract; one past the last is never written.
        unsafe {
            to.write(item);
            to = to.add(1);
        }
    }
}

/// uvm_policy_svm_counted() - what to do about accesses that were counted
/// @svm: the policy
/// @notifications: the counters that came to their thresholds
/// @count: how many, at most UVM_POLICY_SVM_MAX_FAULTS
/// @now: nanoseconds
/// @regions: what to do; room for @count
///
/// Return: the number of regions, or -EINVAL.
///
/// # Safety
///
/// `notifications` and `regions` point at `count`.
#[no_mangle]
pub unsafe extern "C" fn uvm_policy_svm_counted(
    svm: Option<&mut UvmPolicySvm>,
    notifications: *const UvmPolicySvmNotification,
    count: u32,
    now: u64,
    regions: *mut UvmPolicySvmRegion,
) -> c_int {
    let (Some(svm), false, false) = (svm, notifications.is_null(), regions.is_null()) else {
        return errno(Error::Invalid);
    };
    if count as usize > UVM_POLICY_SVM_MAX_FAULTS {
        return errno(Error::Invalid);
    }
    // SAFETY: the caller's contract.
    let notifications = unsafe { slice::from_raw_parts(notifications, count as usize) };
    let (mut given, mut to) = (0, regions);
    for notification in notifications {
        let (_, room) = svm.batch.parts(1);
        let found = svm.svm.counted(&[Notification::from(*notification)], now, room);
        for region in room.iter().take(found) {
            // SAFETY: the caller's contract: at most one for each notification.
            unsafe {
                to.write((*region).into());
                to = to.add(1);
            }
            given = c_int::wrapping_add(given, 1);
        }
    }
    given
}

/// uvm_policy_svm_prefetch() - somebody wants a range to be somewhere
/// @svm: the policy
/// @space: whose
/// @start: first byte
/// @end: byte after the last
/// @to: UVM_POLICY_SVM_SYSTEM, _VRAM or _BOTH
/// @now: nanoseconds
/// @region: what to do about the first block of it; no pages: nothing
/// @next: where to begin the next call
///
/// Return: 1 when there is more from @next on, 0 when that was all, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_prefetch(
    svm: Option<&mut UvmPolicySvm>,
    space: u64,
    start: u64,
    end: u64,
    to: u32,
    now: u64,
    region: Option<&mut MaybeUninit<UvmPolicySvmRegion>>,
    next: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    let (Some(svm), Some(region), Some(next)) = (svm, region, next) else { return errno(Error::Invalid) };
    let planned = Place::from_raw(to).and_then(|to| svm.svm.prefetch(SpaceId::from_raw(space), &(start..end), to, now));
    match planned {
        Ok((planned, more)) => {
            region.write(planned.into());
            next.write(more.unwrap_or(end));
            c_int::from(more.is_some())
        }
        Err(error) => errno(error),
    }
}

/// uvm_policy_svm_next_map() - pages that should be mapped and are not
/// @svm: the policy
/// @space: whose
/// @region: map them where they are
///
/// Ask until there is none after UVM_POLICY_SVM_EV_MIGRATED and _UNMAPPED, and after advice.
///
/// Return: 1 with a region, 0, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_next_map(
    svm: Option<&mut UvmPolicySvm>,
    space: u64,
    region: Option<&mut MaybeUninit<UvmPolicySvmRegion>>,
) -> c_int {
    let (Some(svm), Some(region)) = (svm, region) else { return errno(Error::Invalid) };
    let Some(found) = svm.svm.next_map(SpaceId::from_raw(space)) else { return 0 };
    region.write(found.into());
    1
}

/// uvm_policy_svm_cpu_fault() - the CPU touched a page in VRAM
/// @svm: the policy
/// @space: whose
/// @va: where
/// @now: nanoseconds
/// @until: when it should come back, with 1
///
/// Return: 0: at once; 1: the device has its slice until then; -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_cpu_fault(
    svm: Option<&mut UvmPolicySvm>,
    space: u64,
    va: u64,
    now: u64,
    until: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    let (Some(svm), Some(until)) = (svm, until) else { return errno(Error::Invalid) };
    match svm.svm.cpu_fault(SpaceId::from_raw(space), va, now) {
        Ok(Some(end)) => {
            until.write(end);
            1
        }
        Ok(None) => 0,
        Err(error) => errno(error),
    }
}

/// uvm_policy_svm_victim() - which chunk of VRAM to empty
/// @svm: the policy
/// @now: nanoseconds
/// @chunk: its number
///
/// It is not named again before UVM_POLICY_SVM_EV_CHUNK_FREE, _CHUNK_STAYS, or pages came to it.
///
/// Return: 1 with a chunk, 0 when none is in use, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_victim(
    svm: Option<&mut UvmPolicySvm>,
    now: u64,
    chunk: Option<&mut MaybeUninit<u32>>,
) -> c_int {
    let (Some(svm), Some(chunk)) = (svm, chunk) else { return errno(Error::Invalid) };
    let Some(victim) = svm.svm.victim(now) else { return 0 };
    chunk.write(victim);
    1
}

/// uvm_policy_svm_event() - tell what happened
/// @svm: the policy
/// @event: what
/// @now: nanoseconds
///
/// About the same pages in the order in which it happened; never from a notifier, but before the
/// next uvm_policy_svm_serve() that it matters to.
///
/// Return: 0, -ENOENT for an unknown space, -ENOMEM when it could not be kept (decisions are worse
/// for it, nothing else), -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_event(
    svm: Option<&mut UvmPolicySvm>,
    event: Option<&UvmPolicySvmEvent>,
    now: u64,
) -> c_int {
    let (Some(svm), Some(event)) = (svm, event) else { return errno(Error::Invalid) };
    status(event.understood().and_then(|event| svm.svm.event(&event, now)))
}

/// uvm_policy_svm_stats() - what happened since the start
/// @svm: the policy
/// @space: where; 0: everywhere, in spaces that are gone as well
/// @stats: the answer
///
/// Return: 0, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_stats(
    svm: Option<&UvmPolicySvm>,
    space: u64,
    stats: Option<&mut MaybeUninit<UvmPolicySvmStats>>,
) -> c_int {
    let (Some(svm), Some(stats)) = (svm, stats) else { return errno(Error::Invalid) };
    let space = (space != 0).then_some(SpaceId::from_raw(space));
    answer(stats, || svm.svm.stats(space).map(UvmPolicySvmStats::from))
}

/// uvm_policy_svm_keep_log() - keep records of what happens for tools
/// @svm: the policy
/// @space: where
/// @records: how many may wait to be read, at most 65536; 0: none are kept
///
/// Return: 0, -ENOENT, -ENOMEM, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_svm_keep_log(svm: Option<&mut UvmPolicySvm>, space: u64, records: u32) -> c_int {
    with(svm, |svm| svm.keep_log(SpaceId::from_raw(space), records))
}

/// uvm_policy_svm_read_log() - take the oldest records
/// @svm: the policy
/// @space: where
/// @records: they go there
/// @count: room; with 0 @records may be NULL
/// @lost: how many were lost since the last call, because nobody read
///
/// Return: how many were taken (for @count 0: how many wait), -ENOENT, -EINVAL.
///
/// # Safety
///
/// `records` points at room for `count`.
#[no_mangle]
pub unsafe extern "C" fn uvm_policy_svm_read_log(
    svm: Option<&mut UvmPolicySvm>,
    space: u64,
    records: *mut UvmPolicySvmRecord,
    count: u32,
    lost: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    let (Some(svm), Some(lost)) = (svm, lost) else { return errno(Error::Invalid) };
    let space = SpaceId::from_raw(space);
    lost.write(0);
    if count == 0 || records.is_null() {
        return match svm.svm.log_len(space) {
            Ok(_) if count != 0 => errno(Error::Invalid),
            Ok(waiting) => c_int::try_from(waiting).unwrap_or(c_int::MAX),
            Err(error) => errno(error),
        };
    }
    let (mut given, mut dropped, mut to) = (0u32, 0u64, records);
    while given < count {
        let mut one = [Record::default()];
        match svm.svm.read_log(space, &mut one) {
            Ok((taken, missing)) => {
                dropped = dropped.saturating_add(missing);
                if taken == 0 {
                    break;
                }
            }
            Err(error) => return errno(error),
        }
        let [record] = one;
        // SAFETY: the caller's contract.
        unsafe {
            to.write(record.into());
            to = to.add(1);
        }
        given = given.saturating_add(1);
    }
    lost.write(dropped);
    c_int::try_from(given).unwrap_or(c_int::MAX)
}

fn with(svm: Option<&mut UvmPolicySvm>, call: impl FnOnce(&mut Svm) -> Result<(), Error>) -> c_int {
    status(svm.ok_or(Error::Invalid).and_then(|svm| call(&mut svm.svm)))
}
