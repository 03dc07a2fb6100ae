// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The functions of the C border for what address spaces map. Docs are kernel-doc: they become the header's.
//!
//! Lists come as a pointer and a count. `update_pages` and `update_next` read and write exactly so many elements.
#![allow(unsafe_code)] // exporting under a fixed name counts as unsafe, and lists cross as pointers

use core::ffi::c_int;
use core::mem::MaybeUninit;
use core::slice;

use uvm_policy::{Change, Completed, Domain, Error, Prepared, UpdateId, UpdateRequest, VmId};

use crate::api::{answer, with, UvmPolicy};
use crate::errno::{again, errno, status};
use crate::vm_types::*;

/// uvm_policy_update_begin() - begin a change of what an address space maps
/// @policy: the policy
/// @update: the change
/// @token: names it from now on; never 0
///
/// One at a time for each address space. Then: uvm_policy_update_pages() until all pages of a map
/// are told; uvm_policy_update_prepare(); uvm_policy_update_next() and the steps it gives until it
/// gives none; uvm_policy_update_complete(), which may come at any time to give up. The policy's
/// lock is not held for the steps.
///
/// Return: 0, -EBUSY while another change of the address space is under way, -EEXIST, -ENOMEM,
/// -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_update_begin(
    policy: Option<&mut UvmPolicy>,
    update: Option<&UvmPolicyUpdate>,
    token: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    let (Some(policy), Some(update), Some(token)) = (policy, update, token) else { return errno(Error::Invalid) };
    answer(token, || {
        let UvmPolicyUpdate { vm, va, size, attributes, bo, bo_offset, change, flags } = *update;
        let maps = change == UVM_POLICY_CHANGE_MAP;
        if flags & !UVM_POLICY_UPDATE_REPLACE != 0 || (!maps && (attributes | bo | bo_offset) != 0) {
            return Err(Error::Invalid);
        }
        let change = match change {
            UVM_POLICY_CHANGE_MAP => Change::Map { attributes, bo, bo_offset },
            UVM_POLICY_CHANGE_PRT => Change::Prt,
            UVM_POLICY_CHANGE_UNMAP => Change::Unmap,
            _ => return Err(Error::Invalid),
        };
        let replace = flags & UVM_POLICY_UPDATE_REPLACE != 0;
        let request = UpdateRequest { va, size, change, replace };
        policy.0.update_begin(VmId::from_raw(vm), &request).map(UpdateId::raw)
    })
}

/// uvm_policy_update_pages() - tell the next pages of a map
/// @policy: the policy
/// @token: of uvm_policy_update_begin()
/// @pages: runs of pages, in the order of the addresses that they are mapped at
/// @count: how many runs, not 0
///
/// Takes all of them or, on failure, none. Long lists take many calls.
///
/// Return: 0, -ENOMEM, -ENOENT, -EINVAL.
///
/// # Safety
///
/// `pages` is NULL or points at `count` runs.
#[no_mangle]
pub unsafe extern "C" fn uvm_policy_update_pages(
    policy: Option<&mut UvmPolicy>,
    token: u64,
    pages: *const UvmPolicyPages,
    count: u32,
) -> c_int {
    with(policy, |policy| {
        if pages.is_null() || count == 0 {
            return Err(Error::Invalid);
        }
        // SAFETY: the caller's contract; nothing else writes there during the call.
        let runs = unsafe { slice::from_raw_parts(pages, count as usize) };
        for run in runs {
            run.run()?;
        }
        let runs = runs.iter().map(|run| run.run().unwrap_or((Domain::Gtt, 0, 0)));
        policy.update_page_list(UpdateId::from_raw(token), runs)
    })
}

/// uvm_policy_update_prepare() - plan a change and take memory for its tables
/// @policy: the policy
/// @token: of uvm_policy_update_begin()
/// @need: with -EAGAIN, how many pages to give with uvm_policy_table_page_add(); else 0
///
/// On failure it may be tried again.
///
/// Return: 0, -EAGAIN when tables in SYSTEM need pages, -ENOSPC when VRAM has no room for tables,
/// -ENOMEM, -ENOENT, -EINVAL while pages of a map are missing.
#[no_mangle]
pub extern "C" fn uvm_policy_update_prepare(
    policy: Option<&mut UvmPolicy>,
    token: u64,
    need: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    let (Some(policy), Some(need)) = (policy, need) else { return errno(Error::Invalid) };
    let (missing, status) = match policy.0.update_prepare(UpdateId::from_raw(token)) {
        Ok(Prepared::Ready) => (0, 0),
        Ok(Prepared::NeedPages(missing)) => (missing, again()),
        Err(error) => (0, errno(error)),
    };
    need.write(missing);
    status
}

/// uvm_policy_update_next() - the next steps of a change
/// @policy: the policy
/// @token: of uvm_policy_update_begin()
/// @steps: the steps, to be performed in order
/// @room: how many @steps can hold, not 0
/// @count: how many there are; 0: all were given before
///
/// What was given before is performed, or sits before what comes on a ring; what was given up to a
/// sync has landed.
///
/// Return: 0, -ENOENT, -EINVAL before uvm_policy_update_prepare().
///
/// # Safety
///
/// `steps` is NULL or has room for `room` steps.
#[no_mangle]
pub unsafe extern "C" fn uvm_policy_update_next(
    policy: Option<&mut UvmPolicy>,
    token: u64,
    steps: *mut UvmPolicyStep,
    room: u32,
    count: Option<&mut MaybeUninit<u32>>,
) -> c_int {
    let (Some(policy), Some(count)) = (policy, count) else { return errno(Error::Invalid) };
    count.write(0);
    if steps.is_null() {
        return errno(Error::Invalid);
    }
    // SAFETY: the caller's contract; what is there need not be initialised, and nothing reads it.
    let steps = unsafe { slice::from_raw_parts_mut(steps.cast::<MaybeUninit<UvmPolicyStep>>(), room as usize) };
    let mut given = 0u32;
    let mut places = steps.iter_mut();
    let room = room as usize;
    let result = policy.0.update_next(UpdateId::from_raw(token), room, |action| {
        if let Some(place) = places.next() {
            place.write(action.into());
            given = given.saturating_add(1);
        }
    });
    count.write(given);
    status(result)
}

/// uvm_policy_update_complete() - end a change
/// @policy: the policy
/// @token: of uvm_policy_update_begin()
/// @error: 0 when all steps were given and performed; else one failed, or the change is given up
///
/// 0 to @error 0: the address space maps what was asked for, and nothing reaches any more what it
/// mapped before. 0 to an error: it maps what it did before, and nothing reaches what it was to map.
///
/// -EAGAIN, to an error only: entries in use may have been written. Fetch the steps that write
/// them back, perform them and complete with 0 (then: it maps what it did before) or an error, as
/// often as it takes; meanwhile both what was mapped and what was to be must stay. Never allocates.
///
/// Return: 0, -EAGAIN, -ENOENT, -EINVAL for an error of 0 before all steps were given.
#[no_mangle]
pub extern "C" fn uvm_policy_update_complete(policy: Option<&mut UvmPolicy>, token: u64, error: c_int) -> c_int {
    let Some(policy) = policy else { return errno(Error::Invalid) };
    match policy.0.update_complete(UpdateId::from_raw(token), error == 0) {
        Ok(Completed::Committed | Completed::RolledBack) => 0,
        Ok(Completed::Undo) => again(),
        Err(error) => errno(error),
    }
}

/// uvm_policy_vm_find() - what an address is mapped onto
/// @policy: the policy
/// @vm: the address space
/// @va: any address
/// @mapping: the answer; a change under way does not show before it is complete
///
/// Return: 0, -ENOENT, also when nothing is mapped there, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_vm_find(
    policy: Option<&UvmPolicy>,
    vm: u64,
    va: u64,
    mapping: Option<&mut MaybeUninit<UvmPolicyMapping>>,
) -> c_int {
    let (Some(policy), Some(mapping)) = (policy, mapping) else { return errno(Error::Invalid) };
    answer(mapping, || policy.0.vm_find(VmId::from_raw(vm), va).map(UvmPolicyMapping::from))
}

/// uvm_policy_table_page_add() - give a page of system memory for page tables
/// @policy: the policy
/// @addr: as the device addresses it
///
/// It need not be zeroed.
///
/// Return: 0, -ENOMEM, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_table_page_add(policy: Option<&mut UvmPolicy>, addr: u64) -> c_int {
    with(policy, |policy| policy.table_page_add(addr))
}

/// uvm_policy_table_page_take() - take back a page that no page table lies in
/// @policy: the policy
/// @addr: the page
///
/// Before uvm_policy_destroy(), until there is none. Never allocates.
///
/// Return: 0, -ENOENT when all are in use, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_table_page_take(
    policy: Option<&mut UvmPolicy>,
    addr: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    let (Some(policy), Some(addr)) = (policy, addr) else { return errno(Error::Invalid) };
    answer(addr, || policy.0.table_page_take().ok_or(Error::Unknown))
}
