// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The functions of the C border for address spaces and their VMIDs. Docs are kernel-doc: they become the header's.
#![allow(unsafe_code)] // exporting under a fixed name counts as unsafe

use core::ffi::c_int;
use core::mem::MaybeUninit;

use uvm_policy::{Domain, Error, Grab, GrabRequest, JobId, VmConfig, VmId};

use crate::api::{answer, with, UvmPolicy};
use crate::errno::errno;
use crate::vm_types::*;

/// uvm_policy_vm_create() - make an address space, empty and with a PASID
/// @policy: the policy
/// @config: what it is to be
/// @vm: names it from now on; never 0
///
/// Zero the root (uvm_policy_vm_info()) before its first job.
///
/// Return: 0, -ENOSPC without room in VRAM for the root or without a free PASID, -ENOMEM, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_vm_create(
    policy: Option<&mut UvmPolicy>,
    config: Option<&UvmPolicyVmConfig>,
    vm: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    let (Some(policy), Some(config), Some(vm)) = (policy, config, vm) else { return errno(Error::Invalid) };
    answer(vm, || {
        let UvmPolicyVmConfig { root, vram_base, levels, va_bits, tables, fragment, leaf_level, pad } = *config;
        if pad != 0 {
            return Err(Error::Invalid);
        }
        let tables = Domain::from_raw(tables)?;
        let config = VmConfig { levels, va_bits, tables, root, vram_base, fragment, leaf_level };
        policy.0.vm_create(&config).map(VmId::raw)
    })
}

/// uvm_policy_vm_destroy() - end an address space, its mappings and its tables
/// @policy: the policy
/// @vm: the address space
///
/// The caller has seen to it that nothing of it runs. Never allocates.
///
/// Return: 0, -EBUSY while a job has not been signalled or an update is under way, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_vm_destroy(policy: Option<&mut UvmPolicy>, vm: u64) -> c_int {
    with(policy, |policy| policy.vm_destroy(VmId::from_raw(vm)))
}

/// uvm_policy_vm_info() - an address space as it is now
/// @policy: the policy
/// @vm: the address space
/// @info: the answer
///
/// Return: 0, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_vm_info(
    policy: Option<&UvmPolicy>,
    vm: u64,
    info: Option<&mut MaybeUninit<UvmPolicyVmInfo>>,
) -> c_int {
    let (Some(policy), Some(info)) = (policy, info) else { return errno(Error::Invalid) };
    answer(info, || policy.0.vm_info(VmId::from_raw(vm)).map(UvmPolicyVmInfo::from))
}

/// uvm_policy_vm_touch() - let each job that is granted a VMID from now on flush first
/// @policy: the policy
/// @vm: the address space
///
/// For tables that the driver changed by itself; updates see to it themselves.
///
/// Return: 0, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_vm_touch(policy: Option<&mut UvmPolicy>, vm: u64) -> c_int {
    with(policy, |policy| policy.vm_touch(VmId::from_raw(vm)))
}

/// uvm_policy_vms_in_use() - count what is still there
/// @policy: the policy
/// @vms: number of address spaces
/// @jobs: number of jobs that hold a VMID
///
/// Return: 0 or -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_vms_in_use(
    policy: Option<&UvmPolicy>,
    vms: Option<&mut MaybeUninit<u32>>,
    jobs: Option<&mut MaybeUninit<u32>>,
) -> c_int {
    let (Some(policy), Some(vms), Some(jobs)) = (policy, vms, jobs) else { return errno(Error::Invalid) };
    let (vm_count, job_count) = policy.0.vms_in_use();
    vms.write(vm_count);
    jobs.write(job_count);
    0
}

/// uvm_policy_vmid_set_aside() - keep VMIDs at the top for the driver's own use
/// @policy: the policy
/// @count: how many, at most 14
///
/// Return: 0, -EBUSY once an address space has a VMID, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_vmid_set_aside(policy: Option<&mut UvmPolicy>, count: u32) -> c_int {
    with(policy, |policy| policy.vmid_set_aside(count))
}

/// uvm_policy_vmid_grab() - a VMID for a job
/// @policy: the policy
/// @request: the job
/// @grant: the VMID; with -EBUSY, what to wait for
///
/// A granted VMID belongs to the job until uvm_policy_vmid_signalled(), which must follow whether or
/// not the job ever runs.
///
/// With -EBUSY the address space is in the queue. Ask again after the fence in @grant; if that is 0,
/// VMIDs are free but belong to those before it in the queue, whose fences have signalled: ask again
/// after the next call about VMIDs. If it never asks again, call uvm_policy_vmid_give_up(), or those
/// behind it wait in vain.
///
/// Return: 0, -EBUSY, -ENOMEM, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_vmid_grab(
    policy: Option<&mut UvmPolicy>,
    request: Option<&UvmPolicyVmidRequest>,
    grant: Option<&mut MaybeUninit<UvmPolicyVmidGrant>>,
) -> c_int {
    let (Some(policy), Some(request), Some(grant)) = (policy, request, grant) else {
        return errno(Error::Invalid);
    };
    let grabbed = if request.fence == 0 {
        Err(Error::Invalid)
    } else {
        policy.0.vmid_grab(VmId::from_raw(request.vm), &GrabRequest::from(request))
    };
    let (answer, status) = match grabbed {
        Ok(Grab::Granted(granted)) => (granted.into(), 0),
        Ok(Grab::Wait(wait)) => (wait.into(), errno(Error::Busy)),
        Err(error) => (UvmPolicyVmidGrant::default(), errno(error)),
    };
    grant.write(answer);
    status
}

/// uvm_policy_vmid_submitted() - a job is on its ring
/// @policy: the policy
/// @job: of uvm_policy_vmid_grab()
/// @flushed: 0: what its grant asks for is done on the ring before it; 1: it is done already
///
/// Return: 0, -EINVAL when that was said before or the device was reset since the grant (see
/// uvm_policy_vmid_again()), -ENOENT.
#[no_mangle]
pub extern "C" fn uvm_policy_vmid_submitted(policy: Option<&mut UvmPolicy>, job: u64, flushed: u32) -> c_int {
    with(policy, |policy| policy.vmid_submitted(JobId::from_raw(job), flushed != 0))
}

/// uvm_policy_vmid_signalled() - a job has ended, well or not, or will never run
/// @policy: the policy
/// @job: of uvm_policy_vmid_grab()
///
/// Never allocates.
///
/// Return: 0, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_vmid_signalled(policy: Option<&mut UvmPolicy>, job: u64) -> c_int {
    with(policy, |policy| policy.vmid_signalled(JobId::from_raw(job)))
}

/// uvm_policy_vmid_again() - a new grant for a job that is submitted again after a reset
/// @policy: the policy
/// @job: of uvm_policy_vmid_grab()
/// @grant: the same VMID, and what it needs now
///
/// Return: 0, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_vmid_again(
    policy: Option<&mut UvmPolicy>,
    job: u64,
    grant: Option<&mut MaybeUninit<UvmPolicyVmidGrant>>,
) -> c_int {
    let (Some(policy), Some(grant)) = (policy, grant) else { return errno(Error::Invalid) };
    answer(grant, || policy.0.vmid_again(JobId::from_raw(job)).map(UvmPolicyVmidGrant::from))
}

/// uvm_policy_vmid_give_up() - leave the queue for a VMID
/// @policy: the policy
/// @vm: the address space
///
/// Return: 0, also when it is not in the queue, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_vmid_give_up(policy: Option<&mut UvmPolicy>, vm: u64) -> c_int {
    with(policy, |policy| policy.vmid_give_up(VmId::from_raw(vm)))
}

/// uvm_policy_vmid_reserve() - give an address space a VMID of its own
/// @policy: the policy
/// @vm: the address space
/// @vmid: 1 to 15
///
/// With -EBUSY the address space is in the queue: ask again after the next call about VMIDs, or call
/// uvm_policy_vmid_give_up().
///
/// Return: 0, -ENOSPC for the last two of the pool, -EBUSY when none is free now, -ENOMEM, -ENOENT,
/// -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_vmid_reserve(
    policy: Option<&mut UvmPolicy>,
    vm: u64,
    vmid: Option<&mut MaybeUninit<u32>>,
) -> c_int {
    let (Some(policy), Some(vmid)) = (policy, vmid) else { return errno(Error::Invalid) };
    answer(vmid, || policy.0.vmid_reserve(VmId::from_raw(vm)).map(u32::from))
}

/// uvm_policy_vmid_unreserve() - undo uvm_policy_vmid_reserve()
/// @policy: the policy
/// @vm: the address space
///
/// Return: 0, -EINVAL when there is nothing to undo, -ENOENT.
#[no_mangle]
pub extern "C" fn uvm_policy_vmid_unreserve(policy: Option<&mut UvmPolicy>, vm: u64) -> c_int {
    with(policy, |policy| policy.vmid_unreserve(VmId::from_raw(vm)))
}

/// uvm_policy_vmid_reset() - the device lost its base registers and caches
/// @policy: the policy
///
/// Grants that were not submitted are void. Jobs keep their VMIDs until they are signalled; one that
/// is submitted again takes uvm_policy_vmid_again() first.
///
/// Return: 0 or -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_vmid_reset(policy: Option<&mut UvmPolicy>) -> c_int {
    with(policy, |policy| {
        policy.vmid_reset();
        Ok(())
    })
}
