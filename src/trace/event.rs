// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The event type.
//!
//! A full trace is one sequence of two kinds of event. The *seam* events are what crossed the border between the device and
//! what it was given: calls, clock values, the memory map, bytes read, digests of bytes written. The others say what the
//! device made of them. A replay feeds the inputs of the seam to a device and compares all the rest.

use crate::device::Config;
use crate::gmc::{Access, Cause, HubId, Phys};
use serde::{Deserialize, Serialize};
use uvm_spec::sdma::RINGS;

/// How much is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// Nothing.
    #[default]
    Off,
    /// Register accesses, doorbells, faults, interrupts.
    Mmio,
    /// All that happens, and every input: enough for a replay.
    Full,
}

/// Who accesses a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The driver.
    Driver,
    /// A packet of this SDMA instance.
    Sdma(u8),
}

/// A ring of an SDMA instance, or a queue of the access engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RingId {
    /// SDMA instance, or [`uvm_spec::access::INSTANCE`].
    pub instance: u8,
    /// Ring of the instance.
    pub ring: u8,
}

impl RingId {
    /// Ring `ring` of instance `instance`.
    pub fn new(instance: usize, ring: usize) -> Self {
        let narrow = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        Self { instance: narrow(instance), ring: narrow(ring) }
    }
    /// A bit of its own among all rings.
    pub(super) fn bit(self) -> u32 {
        1u32.checked_shl(u32::from(self.instance).saturating_mul(RINGS).saturating_add(self.ring.into())).unwrap_or(0)
    }
}

/// A call of the device by its transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields are the call's")]
pub enum Call {
    Read { index: u32 },
    Write { index: u32, value: u32 },
    Doorbell { slot: u32, value: u64 },
    Run,
    Reset,
    TakeInterrupt,
    Inject { spec: String },
    Heal,
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// The address is here, mapped by `entry`.
    Page {
        /// Where the byte lies; None for a partially resident page.
        at: Option<Phys>,
        /// The entry that maps it.
        entry: u64,
    },
    /// It does not translate.
    Fault {
        /// Why.
        cause: Cause,
        /// The access may be retried.
        retry: bool,
    },
}

/// What let an access go on that waited for its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The driver acknowledged the page's CAM entry.
    Cam,
    /// The address space was invalidated.
    Invalidation,
    /// The driver made room for a vector that could not be raised.
    Room,
}

/// A step in the life of a page fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// An access failed.
    Raised {
        /// Address space.
        vmid: u8,
        /// Virtual address.
        va: u64,
        /// What was wanted.
        access: Access,
        /// Why it failed.
        cause: Cause,
        /// The ring whose access waits for the page; None where it is not retried.
        waits: Option<RingId>,
    },
    /// Its vector lies in an IH ring.
    Delivered {
        /// The vector's time stamp, by which the driver knows it.
        stamp: u64,
        /// The retry CAM's entry, for a fault that is retried.
        cam: u32,
    },
    /// Its vector was dropped.
    Dropped,
    /// No vector was raised: the driver knows of the page already, or there was no room.
    Held,
    /// The access may be made again.
    Acknowledged {
        /// What allows it.
        by: Answer,
    },
    /// The ring makes the access again.
    Retried {
        /// The ring.
        ring: RingId,
    },
}

/// Caches that a translation was put into, a bit each.
pub mod cache {
    /// The client's L1.
    pub const L1: u8 = 1;
    /// The shared L2.
    pub const L2: u8 = 2;
    /// The client's stream buffer: the whole line of the page table.
    pub const STREAM: u8 = 4;
    /// The shared cache of directory entries.
    pub const PDE: u8 = 8;
}

/// Something that happened in the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// First of each trace: the device and the depth of the trace.
    Device {
        /// Version of the program.
        version: String,
        /// How much is recorded.
        depth: Depth,
        /// How the device was made.
        config: Config,
        /// Nothing had happened to the device before.
        pristine: bool,
        /// The key that TMZ pages are encrypted with, in a full trace.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
    },
    /// Seam: a call begins.
    Call(Call),
    /// Seam: the clock was read; the event's time is what it said.
    Clock,
    /// Seam: system memory is mapped so from now on.
    Map {
        /// Bus address and bytes of each region.
        regions: Vec<(u64, u64)>,
    },
    /// Seam: the device read memory.
    Load {
        /// First byte.
        at: Phys,
        /// The bytes.
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// Seam: the device wrote memory.
    Store {
        /// First byte.
        at: Phys,
        /// Bytes.
        len: u64,
        /// XXH3-64 of the bytes.
        digest: u64,
    },
    /// A register access.
    Register {
        /// By whom.
        who: Who,
        /// It was a write.
        write: bool,
        /// Dword index.
        index: u32,
        /// Value written or read.
        value: u32,
    },
    /// A doorbell.
    Doorbell {
        /// 64-bit slot.
        slot: u32,
        /// What was written.
        value: u64,
        /// Whether somebody took it.
        taken: bool,
    },
    /// A device reset.
    Reset,
    /// A packet that an engine fetched.
    Packet {
        /// Where it runs.
        ring: RingId,
        /// Address space it runs in.
        vmid: u8,
        /// It came from an indirect buffer.
        indirect: bool,
        /// Its virtual address.
        at: u64,
        /// Header and fixed dwords.
        dwords: Vec<u32>,
    },
    /// A ring's pointers moved; recorded once before and after each of the engines' turns.
    Ring {
        /// Which ring.
        ring: RingId,
        /// Read pointer, bytes.
        rptr: u64,
        /// Write pointer, bytes.
        wptr: u64,
    },
    /// A page-table walk.
    Walk {
        /// The client, an SDMA instance.
        client: u8,
        /// Address space.
        vmid: u8,
        /// Virtual address.
        va: u64,
        /// What was wanted.
        access: Access,
        /// How it ended.
        found: Found,
    },
    /// A translation was put into caches.
    Fill {
        /// The client, an SDMA instance.
        client: u8,
        /// Address space.
        vmid: u8,
        /// An address that it is for.
        va: u64,
        /// log2 of the aligned bytes that it is for.
        bits: u32,
        /// Which caches: bits of [`cache`].
        caches: u8,
    },
    /// Translations were dropped from caches.
    Invalidate {
        /// Whose caches.
        hub: HubId,
        /// Invalidation engine.
        engine: u32,
        /// Address spaces, a bit each.
        vmids: u32,
        /// First and last byte; None is all.
        range: Option<(u64, u64)>,
        /// Which caches: bits of [`cache`].
        caches: u8,
    },
    /// What the translation caches did since the reset; recorded after the engines' turns.
    Tlb {
        /// Translations that a cache held.
        hits: u64,
        /// Page-table walks.
        walks: u64,
    },
    /// A page fault goes through its life.
    Fault {
        /// Its number, from 1 on.
        id: u64,
        /// What happened to it.
        stage: Stage,
    },
    /// Bytes were copied.
    Copy {
        /// Address space.
        vmid: u8,
        /// From here; None reads as zero.
        from: Option<Phys>,
        /// To here.
        to: Phys,
        /// Bytes, contiguous on both sides.
        bytes: u64,
    },
    /// An interrupt vector.
    Interrupt {
        /// The eight dwords.
        vector: [u32; 8],
        /// False if it was dropped.
        delivered: bool,
    },
    /// The transport took an edge of the interrupt line.
    Line {
        /// IH ring.
        ring: u32,
        /// Its write pointer.
        wptr: u32,
    },
    /// Events are missing here.
    Lost {
        /// How many.
        events: u64,
    },
    /// The recorder was closed in order.
    End,
}

impl Event {
    /// Whether it is of the seam: needed for a replay, noise to most readers.
    pub fn is_seam(&self) -> bool {
        matches!(self, Self::Call(_) | Self::Clock | Self::Map { .. } | Self::Load { .. } | Self::Store { .. })
    }
}

/// Takes events.
pub trait Sink: Send {
    /// Takes one event at `time` (reference clock).
    fn record(&mut self, time: u64, event: &Event);
}
