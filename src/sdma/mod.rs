// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! SDMA engines. `engine`: registers, rings, arbitration. `packet`: raw dwords to valid packets. `work`: what a packet
//! does, in pieces of bounded size.

pub mod engine;
pub mod packet;
pub mod work;

pub use engine::{Io, RegOp, Sdma, Step};
pub use packet::{decode, Illegal, Packet};
