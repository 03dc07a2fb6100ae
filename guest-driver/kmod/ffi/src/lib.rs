// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The border between the C driver and [`uvm_policy`].
//!
//! Compiled two ways from the same source: as a member of the workspace, where the tests drive it as C would,
//! and with `--cfg uvm_kernel` as a freestanding static library that becomes part of the kernel module; only
//! then does it bring an allocator and a panic handler, both of which end in functions of the C side.
//!
//! The C header beside the module's sources is generated from this crate by `tests/header.rs`, which also fails
//! when the two differ. The docs of the functions are therefore written as kernel-doc.
//!
//! What C owes, for each function: a policy pointer is NULL or came from `uvm_policy_new` and was not destroyed;
//! other pointers are NULL or valid for their type; calls on one policy never overlap (one mutex around all).
//! NULL is answered with -EINVAL. In turn nothing is kept of what a pointer named after the call returns.
#![no_std]

extern crate alloc;

mod api;
mod chunk_api;
mod errno;
#[cfg(uvm_kernel)]
mod kernel;
#[cfg(any(uvm_kernel, test))]
mod message;
mod mm_api;
mod mm_types;
mod retire_api;
mod segment_api;
mod svm_api;
mod svm_types;
mod types;
mod update_api;
mod vm_types;
mod vmid_api;

pub use api::*;
pub use chunk_api::*;
pub use mm_api::*;
pub use mm_types::*;
pub use retire_api::*;
pub use segment_api::*;
pub use svm_api::*;
pub use svm_types::*;
pub use types::*;
pub use update_api::*;
pub use vm_types::*;
pub use vmid_api::*;
