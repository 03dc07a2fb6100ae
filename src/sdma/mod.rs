// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! SDMA engines. `engine`: registers, rings, arbitration. `packet`: raw dwords to valid packets. `work`: what a packet
//! does, in pieces of bounded size. `view`: how the rings stand.

pub mod engine;
pub mod packet;
mod view;
pub mod work;

pub use engine::Sdma;
pub use packet::{decode, Packet};
