// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The vhost-user transport: the device behind stock QEMU's `vhost-user-test-device-pci`.
//!
//! The config space is a register window ([`window`]), a virtqueue carries doorbells and another the interrupts, VRAM is a
//! shared memory region. This is the only place that names the vhost crates.

mod backend;
mod engine;
mod queues;
mod relay;
mod server;
mod shared;
mod shmem;
mod socket;
pub mod window;

pub use server::{Handle, ServeError, Server};
pub use socket::{Socket, SocketError, SocketName};
