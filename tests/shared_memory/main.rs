// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Memory that CPU and device share: the policy's decisions carried out on the device. Its user queues fault with
//! RETRY, pages move by its copy engine, page table entries are written where its walker reads them.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;
mod driver;
mod sharing;
mod workloads;
