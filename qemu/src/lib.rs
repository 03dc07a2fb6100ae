// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Starts the backend and QEMU, watches both and the guest, and ends both whatever happens.
//!
//! ```text
//!                 ┌───────────────── vm ─────────────────┐
//!   options ──> prepare ──> launch ──> watch ──> verdict ─┴─> exit status
//!                 │            │          ▲
//!             images/     backend, QEMU ──┘ output, status lines, ends
//! ```
//!
//! The binary's verbs are thin: each names a command for the guest and reads what it prints. Tests use the library the
//! same way: [`Lab::prepare`] once, then [`Lab::run`] per guest.

#![cfg_attr(test, allow(clippy::unwrap_used))] // a test that unwraps fails where it should

pub mod accel;
mod ask;
mod backend;
pub mod bench;
pub mod eviction;
pub mod failure;
pub mod hmm;
pub mod inject;
pub mod ktap;
pub mod lab;
pub mod options;
mod plot;
mod process;
pub mod qemu;
mod qmp;
pub mod replay;
pub mod sharing;
pub mod size;
mod slowdown;
mod streams;
pub mod uma;
pub mod verbs;
pub mod watch;

pub use failure::Failure;
pub use lab::Lab;
pub use options::Options;
pub use watch::{Job, Report};
