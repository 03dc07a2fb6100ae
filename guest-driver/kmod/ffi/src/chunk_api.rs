// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Chunks of VRAM on the C border.
#![allow(unsafe_code)] // exporting under a fixed name counts as unsafe

use core::ffi::c_int;
use core::mem::MaybeUninit;

use uvm_policy::Error;

use crate::api::{answer, UvmPolicy};
use crate::errno::errno;
use crate::types::UvmPolicyRange;

/// uvm_policy_chunk() - take a chunk of VRAM for pages of processes' own memory
/// @policy: the policy
/// @size: bytes, a power of two; its alignment as well
/// @range: what was given, for uvm_policy_free()
///
/// Return: 0, -ENOSPC when there is none, -ENOMEM, -EINVAL, -ENOENT without VRAM.
#[no_mangle]
pub extern "C" fn uvm_policy_chunk(
    policy: Option<&mut UvmPolicy>,
    size: u64,
    range: Option<&mut MaybeUninit<UvmPolicyRange>>,
) -> c_int {
    let (Some(policy), Some(range)) = (policy, range) else { return errno(Error::Invalid) };
    answer(range, || policy.0.chunk(size).map(UvmPolicyRange::from))
}
