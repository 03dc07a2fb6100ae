// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Why the policy refused.

use alloc::collections::TryReserveError;
use core::fmt;

use crate::ids::Token;

/// Why a call was refused. Nothing was changed by a call that returns one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No free range of the wanted size, alignment and limits exists in the segment.
    NoSpace,
    /// A table of the policy itself could not grow.
    NoMemory,
    /// An argument makes no sense: zero size, an alignment that is no power of two, an overflowing range.
    Invalid,
    /// The identifier was never given out, or what it named is gone.
    Unknown,
    /// Part of the range is mapped already.
    Exists,
    /// The thing is in use and no end of that use is known to the policy (a pin, an owner).
    Busy,
    /// The process may not have more.
    Limit,
    /// Steps of the memory manager's were tried again and again, and failed.
    Failed,
    /// The thing is in use by a move; the token says which one to wait for.
    Wait(Token),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoSpace => f.write_str("no free range fits the request"),
            Error::NoMemory => f.write_str("out of memory for the policy's own tables"),
            Error::Invalid => f.write_str("invalid argument"),
            Error::Unknown => f.write_str("unknown identifier"),
            Error::Exists => f.write_str("already mapped"),
            Error::Busy => f.write_str("in use"),
            Error::Limit => f.write_str("over the process's limit"),
            Error::Failed => f.write_str("a step failed again and again"),
            Error::Wait(token) => write!(f, "in use by move {:#x}", token.raw()),
        }
    }
}

impl core::error::Error for Error {}

impl From<TryReserveError> for Error {
    fn from(_: TryReserveError) -> Self {
        Error::NoMemory
    }
}
