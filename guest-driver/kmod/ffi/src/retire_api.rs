// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Broken memory on the C border.
#![allow(unsafe_code)] // exporting under a fixed name counts as unsafe

use core::ffi::c_int;

use uvm_policy::{Domain, Error};

use crate::api::UvmPolicy;
use crate::errno::errno;

/// uvm_policy_retire() - never give out a page again
/// @policy: the policy
/// @domain: VRAM or GTT
/// @offset: any byte of the page
///
/// Return: 0 when it is out of use, 1 when somebody has it: it is out of use once they free it;
/// -EINVAL when it is in no segment, -ENOMEM, -ENOSPC for too many.
#[no_mangle]
pub extern "C" fn uvm_policy_retire(policy: Option<&mut UvmPolicy>, domain: u32, offset: u64) -> c_int {
    let retired = policy.ok_or(Error::Invalid).and_then(|policy| {
        let segment = policy.0.segment_at(Domain::from_raw(domain)?, offset)?;
        policy.0.retire(segment, offset)
    });
    match retired {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(error) => errno(error),
    }
}
