// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The memory manager in a system whose every turn an adversary decides: which action ends next, which one fails,
//! who asks for what meanwhile. Each page carries a stamp; a reference knows what it must read as.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod acts;
mod ahead;
#[path = "../common/mod.rs"]
mod common;
mod device;
#[path = "../../guest-driver/policy/tests/common/failing.rs"]
mod failing;
mod failures;
mod fairness;
mod machine;
mod places;
mod random;
mod replay;
mod way;
mod world;

#[global_allocator]
static ALLOCATOR: failing::Failing = failing::Failing;
