// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The trace: what a run leaves in the file, how it reads in each format, what is made of it, and its replay.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;
mod export;
mod faults;
mod program;
mod record;
mod replay;
mod scripted;
mod tools;
mod walks;
