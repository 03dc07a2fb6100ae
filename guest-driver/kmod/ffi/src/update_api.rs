// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The functions of the C border for what address spaces map. Docs are kernel-doc: they become the header's.
//!
//! Lists come as a pointer and a count. `update_pages` and `update_next` read and write exactly so many elements.
#![allow(unsafe_code)] // exporting under a fixed name counts as unsafe, and lists cross as pointers

use core::ffi::c_int;
use core::mem::MaybeUninit;
use core::slice;

use uvm_policy::{Change, Domain, Error, Prepared, UpdateId, UpdateRequest, VmId};

use crate::api::{answer, with, UvmPolicy};
use crate::errno::{again, errno, status};
use crate::vm_types::*;

/// uvm_policy_update_begin() - begin a change of what an address space maps
/// @policy: the policy
/// @update: the change
/// @token: names it from now on; never 0
///
/// One is planned at a time for each address space. Then: uvm_policy_update_pages() until all pages
/// of a map are told; uvm_policy_update_prepare(); uvm_policy_update_next() until it gives no more
/// writes; uvm_policy_update_commit(), or before that uvm_policy_update_abandon(). Nothing after the
/// commit allocates or fails: the next change may be planned now. The writes of committed changes
/// are performed in the order of their commits, and each is told by uvm_policy_update_landed(); one
/// uvm_policy_vm_flush() serves all that have landed; uvm_policy_update_retire() ends each. The
/// policy's lock is not held for the writes nor for the invalidation.
///
/// Return: 0, -EBUSY while another change of the address space is planned, -EEXIST also for what
/// was handed over, -ENOMEM, -ENOENT also where nothing was handed over that could be taken back,
/// -EINVAL.
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
            UVM_POLICY_CHANGE_HAND_OVER => Change::HandOver,
            UVM_POLICY_CHANGE_TAKE_BACK => Change::TakeBack,
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

/// uvm_policy_update_next() - the next writes of a change
/// @policy: the policy
/// @token: of uvm_policy_update_begin()
/// @writes: the writes, to be performed in order once the change is committed
/// @room: how many @writes can hold, not 0
/// @count: how many there are; 0: all were given before
///
/// Return: 0, -ENOENT, -EINVAL before uvm_policy_update_prepare().
///
/// # Safety
///
/// `writes` is NULL or has room for `room` writes.
#[no_mangle]
pub unsafe extern "C" fn uvm_policy_update_next(
    policy: Option<&mut UvmPolicy>,
    token: u64,
    writes: *mut UvmPolicyWrite,
    room: u32,
    count: Option<&mut MaybeUninit<u32>>,
) -> c_int {
    let (Some(policy), Some(count)) = (policy, count) else { return errno(Error::Invalid) };
    count.write(0);
    if writes.is_null() {
        return errno(Error::Invalid);
    }
    // SAFETY: the caller's contract; what is there need not be initialised, and nothing reads it.
    let writes = unsafe { slice::from_raw_parts_mut(writes.cast::<MaybeUninit<UvmPolicyWrite>>(), room as usize) };
    let mut given = 0u32;
    let mut places = writes.iter_mut();
    let room = room as usize;
    let result = policy.0.update_next(UpdateId::from_raw(token), room, |write| {
        if let Some(place) = places.next() {
            place.write(write.into());
            given = given.saturating_add(1);
        }
    });
    count.write(given);
    status(result)
}

/// uvm_policy_update_commit() - make a change the state that the next one is planned on
/// @policy: the policy
/// @token: of uvm_policy_update_begin()
///
/// Never allocates.
///
/// Return: 0, -ENOENT, -EINVAL before all writes were given.
#[no_mangle]
pub extern "C" fn uvm_policy_update_commit(policy: Option<&mut UvmPolicy>, token: u64) -> c_int {
    with(policy, |policy| policy.update_commit(UpdateId::from_raw(token)))
}

/// uvm_policy_update_abandon() - give up a change that is not committed
/// @policy: the policy
/// @token: of uvm_policy_update_begin()
///
/// The address space maps what it did before. Never allocates.
///
/// Return: 0, -ENOENT, -EINVAL when it is committed.
#[no_mangle]
pub extern "C" fn uvm_policy_update_abandon(policy: Option<&mut UvmPolicy>, token: u64) -> c_int {
    with(policy, |policy| policy.update_abandon(UpdateId::from_raw(token)))
}

/// uvm_policy_update_landed() - the writes of a committed change are performed
/// @policy: the policy
/// @token: of uvm_policy_update_begin()
///
/// Never allocates.
///
/// Return: 0, -ENOENT, -EINVAL when it is not committed or has landed before.
#[no_mangle]
pub extern "C" fn uvm_policy_update_landed(policy: Option<&mut UvmPolicy>, token: u64) -> c_int {
    with(policy, |policy| policy.update_landed(UpdateId::from_raw(token)))
}

/// uvm_policy_vm_flush() - what to invalidate for all changes that have landed
/// @policy: the policy
/// @vm: the address space
/// @invalidate: the pages, and the VMIDs whose acknowledges to await; then uvm_policy_vm_flushed()
///
/// Who gets a VMID from now on flushes it first. Never allocates.
///
/// Return: 0, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_vm_flush(
    policy: Option<&mut UvmPolicy>,
    vm: u64,
    invalidate: Option<&mut MaybeUninit<UvmPolicyInvalidate>>,
) -> c_int {
    let (Some(policy), Some(invalidate)) = (policy, invalidate) else { return errno(Error::Invalid) };
    answer(invalidate, || policy.0.vm_flush(VmId::from_raw(vm)).map(UvmPolicyInvalidate::from))
}

/// uvm_policy_vm_flushed() - what uvm_policy_vm_flush() asked for is acknowledged
/// @policy: the policy
/// @vm: the address space
///
/// Never allocates.
///
/// Return: 0, -ENOENT, -EINVAL when nothing was asked for.
#[no_mangle]
pub extern "C" fn uvm_policy_vm_flushed(policy: Option<&mut UvmPolicy>, vm: u64) -> c_int {
    with(policy, |policy| policy.vm_flushed(VmId::from_raw(vm)))
}

/// uvm_policy_update_retire() - end a committed change
/// @policy: the policy
/// @token: of uvm_policy_update_begin()
///
/// What it took out of the tables is reached no more: it has landed and was flushed; or the address
/// space ends, and nothing runs in it. Never allocates.
///
/// Return: 0, -ENOENT, -EINVAL when it is not committed, or while a flush is owed.
#[no_mangle]
pub extern "C" fn uvm_policy_update_retire(policy: Option<&mut UvmPolicy>, token: u64) -> c_int {
    with(policy, |policy| policy.update_retire(UpdateId::from_raw(token)))
}

/// uvm_policy_vm_find() - what an address is mapped onto
/// @policy: the policy
/// @vm: the address space
/// @va: any address
/// @mapping: the answer; a change shows once it is committed
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

/// uvm_policy_vm_reached() - the entry of an address as the page tables have it
/// @policy: the policy
/// @vm: the address space
/// @va: any address
/// @entry: the answer, without FRAGMENT; a change shows once it has landed
///
/// Return: 0, -ENOENT, also when nothing is mapped there, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_vm_reached(
    policy: Option<&UvmPolicy>,
    vm: u64,
    va: u64,
    entry: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    let (Some(policy), Some(entry)) = (policy, entry) else { return errno(Error::Invalid) };
    answer(entry, || policy.0.vm_reached(VmId::from_raw(vm), va))
}

/// uvm_policy_vm_leaf() - where the leaf table lies that was handed over for a block
/// @policy: the policy
/// @vm: the address space
/// @va: any address of the block
/// @leaf: its 512 entries: @table and @domain; nothing is to be written
///
/// The table is the driver's from the moment that UVM_POLICY_CHANGE_HAND_OVER is committed until
/// UVM_POLICY_CHANGE_TAKE_BACK is; entries may be written once the first has landed.
///
/// Return: 0, -ENOENT where none was handed over, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_vm_leaf(
    policy: Option<&UvmPolicy>,
    vm: u64,
    va: u64,
    leaf: Option<&mut MaybeUninit<UvmPolicyWrite>>,
) -> c_int {
    let (Some(policy), Some(leaf)) = (policy, leaf) else { return errno(Error::Invalid) };
    answer(leaf, || {
        let (domain, table) = policy.0.vm_leaf(VmId::from_raw(vm), va)?;
        Ok(UvmPolicyWrite { table, domain: domain as u32, ..UvmPolicyWrite::default() })
    })
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
