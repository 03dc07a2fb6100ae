// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The device's state as plain data, for who looks at it while it runs. Looking changes nothing: no counter, no cache,
//! no fault, no semaphore.
//!
//! The blocks fill these in ([`crate::Gpu`]'s `view_*`); [`names`] finds registers by name.

pub mod entry;
pub mod hex;
pub mod names;

pub use hex::Hex;

/// Most bytes that a [`Digest`] is made of: the device stands still meanwhile.
pub const MAX_DIGEST: u64 = 16 << 20;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

/// Why something cannot be shown: what was asked for does not exist.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ViewError {
    /// No register has the name.
    #[error("no register is called {name}{}", .nearest.as_ref().map(|n| format!("; is {n} meant?")).unwrap_or_default())]
    Register {
        /// What was asked for.
        name: String,
        /// The name that comes closest.
        nearest: Option<String>,
    },
    /// More bytes than may be looked at in one go.
    #[error("{len} bytes are more than the {most} that are looked at in one go")]
    Length {
        /// What was asked for.
        len: Hex,
        /// What is possible.
        most: Hex,
    },
    /// There are 16 address spaces.
    #[error("no VMID {0}: there are 0 to 15")]
    Vmid(u32),
    /// The address space is off.
    #[error("VMID {0} is disabled: nothing translates in it")]
    Disabled(u8),
    /// The address lies outside of the space's limits.
    #[error("{va} lies outside of VMID {vmid}'s space, {first} to {last}")]
    Outside {
        /// Address space.
        vmid: u8,
        /// What was asked for.
        va: Hex,
        /// First byte of the space.
        first: Hex,
        /// Last byte of the space.
        last: Hex,
    },
}

/// A register and its fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// The vendor's name, with the block's prefix.
    pub name: String,
    /// Dword index.
    pub index: Hex,
    /// What a read would give. A write-only register's is zero; a semaphore's says whether it is held.
    pub value: Hex,
    /// Value after reset.
    pub reset: Hex,
    /// RW, RO, WO or RX (special).
    pub access: String,
    /// Fields in their order; none means that the whole dword is one value.
    pub fields: Vec<FieldValue>,
    /// What it is for.
    pub doc: String,
}

/// A field of a register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldValue {
    /// The vendor's name.
    pub name: String,
    /// Highest and lowest bit.
    pub bits: (u8, u8),
    /// Its value.
    pub value: u32,
}

/// A place in physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// In VRAM, by offset; else in system memory, by bus address.
    pub vram: bool,
    /// Byte.
    pub addr: Hex,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", if self.vram { "VRAM" } else { "system" }, self.addr)
    }
}

impl From<crate::gmc::Phys> for Place {
    fn from(at: crate::gmc::Phys) -> Self {
        Self { vram: at.space == crate::gmc::Space::Vram, addr: Hex(at.addr) }
    }
}

/// What the tables say of an address now, whatever the caches hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// Address space.
    pub vmid: u8,
    /// Address.
    pub va: Hex,
    /// The address is not translated: it lies in an aperture of VMID 0 that bypasses the tables.
    pub aperture: bool,
    /// The entries that the walk looked at, from the root down.
    pub steps: Vec<WalkStep>,
    /// What a read, a write and an instruction fetch get.
    pub ends: Vec<WalkEnd>,
}

/// What lies at a range of addresses now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Address space.
    pub vmid: u8,
    /// First byte.
    pub va: Hex,
    /// Bytes that lie in VRAM.
    pub vram: u64,
    /// Bytes that lie in system memory.
    pub system: u64,
    /// Bytes that a read does not get: it would fault there, or reads zero.
    pub none: u64,
    /// SHA-256 of the bytes that lie somewhere, in their order, as they lie there: what is encrypted stays so.
    pub sha256: String,
}

/// A look at a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkStep {
    /// PDB3 to PDB0, PTB, or PTB+ for the table behind an entry with TF.
    pub level: String,
    /// Which entry of the table.
    pub slot: u64,
    /// Where the entry lies.
    pub at: Place,
    /// The entry; none where no memory is.
    pub entry: Option<Hex>,
    /// The entry in words.
    pub text: String,
}

/// How a walk ends for one kind of access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkEnd {
    /// read, write, execute or atomic.
    pub access: String,
    /// Where the byte lies; none for a fault and for a partially resident page.
    pub at: Option<Place>,
    /// Bytes from there that translate alike.
    pub len: Hex,
    /// Why the walk stops here.
    pub why: String,
}

/// An SDMA ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    /// SDMA instance.
    pub instance: usize,
    /// GFX, PAGE, RLC0 or RLC1.
    pub ring: String,
    /// disabled, halted, idle, running, waiting (a poll), parked (a page), hung (injected) or exception.
    pub state: String,
    /// What it waits for, or why it stopped.
    pub why: Option<String>,
    /// First byte of the ring, in `vmid`.
    pub base: Hex,
    /// Bytes.
    pub size: Hex,
    /// Read pointer, bytes, not wrapped.
    pub rptr: Hex,
    /// Write pointer, bytes, not wrapped.
    pub wptr: Hex,
    /// Address space.
    pub vmid: u8,
    /// The packet at the read pointer, where there is one.
    pub packet: Option<String>,
    /// The indirect buffer in execution.
    pub ib: Option<IndirectBuffer>,
}

/// An indirect buffer in execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndirectBuffer {
    /// Address space.
    pub vmid: u8,
    /// First byte.
    pub base: Hex,
    /// Its dwords.
    pub dwords: u32,
    /// Dword of the packet in execution.
    pub at: u32,
    /// That packet.
    pub packet: Option<String>,
}

/// The translation caches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tlbs {
    /// Each client's L1, then the L2.
    pub caches: Vec<TlbCache>,
    /// Page-table walks since reset.
    pub walks: u64,
}

/// A translation cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlbCache {
    /// L1 SDMA0, L1 SDMA1 or L2.
    pub name: String,
    /// Entries that it can hold.
    pub capacity: usize,
    /// Look-ups that found their page since reset.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Entries in use that were asked for, by VMID and address; at most as many as were asked for.
    pub entries: Vec<TlbEntry>,
    /// Entries in use that were asked for but are not among `entries`.
    pub left_out: usize,
}

/// A cached translation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlbEntry {
    /// Address space.
    pub vmid: u8,
    /// First byte.
    pub va: Hex,
    /// Bytes.
    pub len: Hex,
    /// Where it leads.
    pub at: Place,
    /// The page table entry's flags.
    pub flags: String,
}

/// An address space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressSpace {
    /// Its number.
    pub vmid: u8,
    /// Whether it translates at all.
    pub enabled: bool,
    /// Levels of its tables, 1 to 5.
    pub levels: u8,
    /// log2 of the pages that one of its page tables maps.
    pub block_bits: u32,
    /// First byte.
    pub first: Hex,
    /// Last byte.
    pub last: Hex,
    /// Where its root table lies; none where it can be nowhere.
    pub root: Option<Place>,
    /// An access to an invalid or denied page waits and may be retried.
    pub retry: bool,
    /// The process that it belongs to, as the IH tells it.
    pub pasid: u32,
    /// The rings that have work in it.
    pub busy: Vec<String>,
}

/// What a driver does wrong by the checks, as far as it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Every finding, oldest first: one a place, at most 100 a rule.
    pub findings: Vec<Finding>,
    /// How often each rule was broken, by its name.
    pub counts: BTreeMap<String, u64>,
}

/// A thing that a driver did wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// When, reference clock.
    pub time: u64,
    /// The rule's name.
    pub rule: String,
    /// What happened and where.
    pub what: String,
    /// The chapter of the guide that says the rule.
    pub chapter: String,
}

/// What is known of page faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Page faults since reset; one that is retried counts each time.
    pub count: u64,
    /// The fault status registers of the hubs that hold one.
    pub status: Vec<FaultStatus>,
    /// Faults that the driver was told of and has not answered.
    pub cam: Vec<CamEntry>,
    /// Rings that wait for a page.
    pub parked: Vec<ParkedRing>,
    /// The last faults, the newest first.
    pub recent: Vec<RecentFault>,
}

/// A hub's fault status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultStatus {
    /// GC or MMHUB.
    pub hub: String,
    /// First byte of the page.
    pub va: Hex,
    /// The register.
    pub value: Hex,
    /// Its fields that are set, in words.
    pub text: String,
}

/// An entry of the retry CAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CamEntry {
    /// What the driver's answer names.
    pub index: usize,
    /// Address space.
    pub vmid: u8,
    /// First byte of the page.
    pub va: Hex,
    /// The IH ring that the vector went to.
    pub ih_ring: usize,
}

/// A ring that waits for a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedRing {
    /// Such as SDMA0 RLC0.
    pub ring: String,
    /// Address space.
    pub vmid: u8,
    /// Address.
    pub va: Hex,
    /// read, write, execute or atomic.
    pub access: String,
    /// Why the address does not translate.
    pub cause: String,
}

/// A fault that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentFault {
    /// Which fault since reset, from 1: the number of its first occurrence.
    pub number: u64,
    /// How often it happened in a row.
    pub times: u64,
    /// Address space.
    pub vmid: u8,
    /// Address.
    pub va: Hex,
    /// read, write, execute or atomic.
    pub access: String,
    /// Why the address does not translate.
    pub cause: String,
    /// Its access waits and may be retried.
    pub retry: bool,
}

/// What `top` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Reference clock, ticks of 10 ns.
    pub time: u64,
    /// What the device counted since reset.
    pub counters: crate::Counters,
    /// Faults that the driver was told of and has not answered.
    pub outstanding: usize,
    /// Each ring that is enabled: name, state, bytes between read and write pointer.
    pub rings: Vec<(String, String, u64)>,
    /// Address spaces that are enabled.
    pub vmids: Vec<u8>,
    /// Faults that are injected, one line each.
    pub injected: Vec<String>,
}
