// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A GPU's memory system in a process: the device blocks, usable without any transport, and the vhost-user transport.
//!
//! Data flows one way: a transport hands register accesses and doorbells to [`device::Gpu`]; NBIO routes them to a block;
//! the SDMA engines fetch packets and move data through the VM hub ([`gmc`]), which translates and faults; the interrupt
//! handler ([`ih`]) writes vectors to memory and raises the line, which the transport drains.

pub mod access;
pub mod bus;
pub mod check;
pub mod control;
pub mod device;
pub mod gmc;
pub mod ih;
pub mod inject;
pub mod nbio;
pub mod regs;
pub mod ring;
pub mod sdma;
pub mod segments;
mod throttle;
pub mod trace;
pub mod vhost_user;
pub mod view;
pub mod vram;

pub use device::{Config, Counters, Gpu, GpuError, Progress};
