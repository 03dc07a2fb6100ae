// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The memory controller: VM hubs with their apertures and address spaces, the page-table walker, faults, and access
//! to memory through them.
//!
//! `access` (an engine's reads and writes) → `hub` (which way an address goes) → `tlb` (cached translations) → `pde`
//! (cached directory entries) → `walk` (page tables) → `memory`.

pub mod access;
mod corrupt;
pub mod counters;
pub mod dummy;
pub mod fault;
pub mod hub;
pub mod memory;
pub mod pde;
pub mod recent;
pub mod stream;
mod tap;
pub mod tlb;
pub mod tmz;
pub mod vidmm;
pub mod walk;

use serde::{Deserialize, Serialize};
use uvm_spec::pte;

pub use access::{Stop, Vm};
pub use counters::Counters;
pub use dummy::DummyPage;
pub use fault::{Cause, Fault};
pub use hub::{Client, Hub, HubId, TlbSizes};
pub use memory::{Memory, Phys, Space};
pub use pde::PdeCache;
pub use recent::Recent;
pub use stream::Stream;
pub use tlb::{Pages, Tlb};
pub use vidmm::Vidmm;
pub use walk::{walk, Context, Look, Page, Translation};

/// How VMID 0 translates outside the untranslated apertures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mmu {
    /// A flat table, as context 0's registers say.
    #[default]
    Gart,
    /// Three levels, the first in registers.
    Vidmm,
}

/// What an access wants of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Read data.
    Read,
    /// Write data.
    Write,
    /// Fetch instructions.
    Execute,
    /// Read, modify and write data in one.
    Atomic,
}

impl Access {
    /// Its name in views and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Execute => "execute",
            Self::Atomic => "atomic",
        }
    }
    /// Whether it changes data.
    #[inline(always)]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Atomic)
    }
    /// Whether an entry that is valid allows it.
    #[inline(always)]
    pub const fn is_allowed(self, entry: u64) -> bool {
        match self {
            Self::Read => entry & pte::READABLE != 0,
            Self::Write => entry & pte::WRITEABLE != 0,
            Self::Execute => entry & pte::EXECUTABLE != 0,
            Self::Atomic => entry & (pte::WRITEABLE | pte::ATOMIC_DISABLE) == pte::WRITEABLE,
        }
    }
}
