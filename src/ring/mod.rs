// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What rings have in common, those of the SDMA instances and the access engine's queues. `regs`: their registers.
//! `rings`: the rings of an engine. `stream`: the dwords of packets. `hangs`: injected ones. `view`: how they stand.

pub mod hangs;
pub mod regs;
pub mod rings;
pub mod stream;
pub mod view;

pub use rings::{Load, Ring, Rings, Who};
pub use stream::Stream;

use crate::check::Checks;
use crate::gmc::{Fault, Hub, Memory, Stop};
use crate::trace::Tracer;
use uvm_spec::ih::Vector;
use uvm_spec::sdma::exception;

/// A packet that cannot be executed: reserved opcode, sub-opcode or field value, or no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Illegal;

/// Why a ring does not go on.
#[derive(Clone, Copy, Debug)]
pub enum Halt {
    /// It stops: an exception code.
    Exception(u32),
    /// It waits for a page.
    Park(Fault),
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Error => Self::Exception(exception::FAULT),
            Stop::Poison => Self::Exception(exception::POISON),
            Stop::Retry(fault) => Self::Park(fault),
        }
    }
}

impl From<Illegal> for Halt {
    fn from(_: Illegal) -> Self {
        Self::Exception(exception::ILLEGAL)
    }
}

/// A register access that a packet makes; the device carries it out between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the packet's")]
pub enum RegOp {
    /// SRBM_WRITE: `byte_enable` has a bit per byte.
    Write { index: u32, value: u32, byte_enable: u32 },
    /// POLL_REGMEM: the value goes to [`crate::sdma::Sdma::polled`] with this ring number.
    Read { index: u32, ring: u32 },
}

/// What an engine's step left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// No ring has anything to do.
    Idle,
    /// A piece was done; there may be more.
    More,
    /// Every ring with work waits, this one until then (reference clock).
    Until(u64),
    /// A register access is wanted.
    Register(RegOp),
}

/// What an engine works with during a step.
pub struct Io<'a, 'm> {
    /// The hub that translates.
    pub hub: &'a mut Hub,
    /// Both memories.
    pub memory: &'m Memory<'m>,
    /// Where interrupt vectors go.
    pub vectors: &'a mut Vec<Vector>,
    /// Where faults go whose access waits: one a step of an SDMA ring at most, one a lane of a program.
    pub retries: &'a mut Vec<Fault>,
    /// Reference clock.
    pub now: u64,
    /// When an access that nobody answers is made again; None waits for an answer.
    pub retry_due: Option<u64>,
    /// Where events go.
    pub trace: &'a Tracer,
    /// Who judges the driver.
    pub checks: &'a Checks,
}
