// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Chunks of VRAM on the C border.
#![allow(unsafe_code)] // exporting under a fixed name counts as unsafe

use core::ffi::c_int;
use core::mem::MaybeUninit;

use uvm_policy::{BlockId, Error};

use crate::api::{answer, with, UvmPolicy};
use crate::errno::errno;
use crate::types::UvmPolicyRange;

/// uvm_policy_chunk_take() - take a chunk of VRAM for pages of processes' own memory
/// @policy: the policy
/// @size: bytes, a power of two; its alignment as well
/// @range: what was given
///
/// Which one is emptied when there is none is known to uvm_policy_svm_victim().
///
/// Return: 0, -ENOSPC when there is none, -ENOMEM, -EINVAL, -ENOENT without VRAM.
#[no_mangle]
pub extern "C" fn uvm_policy_chunk_take(
    policy: Option<&mut UvmPolicy>,
    size: u64,
    range: Option<&mut MaybeUninit<UvmPolicyRange>>,
) -> c_int {
    let (Some(policy), Some(range)) = (policy, range) else { return errno(Error::Invalid) };
    answer(range, || policy.0.chunk_take(size).map(UvmPolicyRange::from))
}

/// uvm_policy_chunk_free() - give a chunk back
/// @policy: the policy
/// @id: of uvm_policy_chunk_take()
///
/// Nobody has a page of it. Never allocates.
///
/// Return: 0, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_policy_chunk_free(policy: Option<&mut UvmPolicy>, id: u64) -> c_int {
    with(policy, |policy| policy.free(BlockId::from_raw(id)))
}
