// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The control socket: who may, looks at the device while it runs.
//!
//! A request is one line of JSON, at most [`MAX_REQUEST`] bytes; so is its answer, of any length: `{"ok": ..}` with what
//! was asked for, or `{"error": ".."}`, one line of text. A client may ask as often as it likes on one connection.

mod client;
mod serve;

pub use client::{ask, ClientError, Connection};
pub use serve::Control;

use crate::view::Hex;
use serde::{Deserialize, Serialize};

/// Longest request, bytes.
pub const MAX_REQUEST: usize = 4096;
/// Most entries of a translation cache that an answer tells.
pub const MAX_TLB_ENTRIES: usize = 1 << 16;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Registers: [`crate::view::Register`]s.
    Regs {
        /// The vendor's name; all registers without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// A walk: [`crate::view::Walk`].
    Walk {
        /// Address space.
        vmid: u32,
        /// Virtual address.
        va: Hex,
    },
    /// What lies at a range of addresses, and where: a [`crate::view::Digest`].
    Digest {
        /// Address space.
        vmid: u32,
        /// First byte.
        va: Hex,
        /// Bytes, at most [`crate::view::MAX_DIGEST`].
        len: Hex,
    },
    /// The rings: [`crate::view::Ring`]s.
    Rings {},
    /// The translation caches: [`crate::view::Tlbs`].
    Tlb {
        /// Of this address space alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vmid: Option<u8>,
        /// Most entries of a cache; [`MAX_TLB_ENTRIES`] without it, and never more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        most: Option<usize>,
    },
    /// The address spaces: [`crate::view::AddressSpace`]s.
    Vmids {},
    /// Page faults: [`crate::view::Faults`].
    Faults {},
    /// What the checks found: [`crate::view::Findings`]; refused where nobody judges.
    Findings {},
    /// Lets something go wrong, see [`crate::inject`]: the injections as lines.
    Inject {
        /// What.
        spec: String,
    },
    /// What is injected: the injections as lines.
    Injected {},
    /// Ends what is injected: no line is left.
    Heal {},
    /// Counters and states: [`crate::view::Summary`].
    Summary {},
}

/// The answer: exactly one of the two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// What was asked for.
    Ok(serde_json::Value),
    /// Why it cannot be had.
    Error(String),
}
