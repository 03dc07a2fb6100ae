// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Everything a guest boots from, made from Debian's packages and this checkout, and cached by content.
//!
//! ```text
//! recipe/ ──mmdebstrap──> build root ──┬─> QEMU, kernel, busybox
//!                                      └─> rustc, Kbuild ──> uvm.ko ─┐
//! guest-driver/tools ──cargo, static──> init and tools ──────────────┴─> initramfs
//! ```
//!
//! Each arrow is one module here. What is at hand and whole is used as it is; see [`cache`] for what "whole" means.

#![cfg_attr(test, allow(clippy::unwrap_used))] // a test that unwraps fails where it should

pub mod cache;
mod command;
pub mod error;
mod guards;
pub mod initramfs;
pub mod kernel;
pub mod kernel_source;
pub mod key;
pub mod kmods;
pub mod module;
pub mod progress;
pub mod root;
pub mod selftest;
pub mod tools;

pub use cache::{Cache, Check};
pub use command::find_program;
pub use error::{Error, Result};
pub use initramfs::Overlay;
pub use kernel::Kernel;
pub use key::{Key, KeyBuilder};
pub use module::{Module, Variant};
pub use root::Root;
pub use selftest::Selftest;
pub use tools::Workspace;
