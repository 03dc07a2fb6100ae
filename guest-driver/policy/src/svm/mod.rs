// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Memory that CPU and device share by the same pointers: what to do about the device's page faults, what to bring
//! before it is asked for, what to leave alone, and who goes when VRAM is full.
//!
//! [`Svm`] is one object a device, apart from [`crate::Policy`] and with nothing in common with it, so it has a lock of
//! its own. The rules are the same: no IO, no clock (time comes with each call, in nanoseconds of a clock that does not
//! go back), no panic on any input, tables that grow only where that may fail.
//!
//! # Blocks, pages, hearsay
//!
//! An address space ([`SpaceId`]) mirrors a process's addresses. The unit of service is a block of 2 MiB, its pages a
//! set of 512 ([`Pages`]). What is known of a block (which pages are in VRAM, which are mapped) was told by the caller
//! after the fact, never from a notifier, and blocks that were not touched for long are forgotten. **So each plan is a
//! proposal**: the caller looks at the pages themselves when it carries it out (`hmm_range_fault`, `migrate_vma_*`),
//! maps what it finds there, and skips what need not or cannot move. Pages beyond the end of what is mapped by the CPU
//! may be named by a prefetch, and are skipped as well. A plan that is out of date costs time and no byte.
//!
//! # A batch of faults
//!
//! [`Svm::serve`] takes up to [`MAX_FAULTS`] faults as they came, sorts them by space, block and page, and gives a list
//! of [`Region`]s: a block, pages of it, one [`Action`] for these. Each fault is told which region serves it
//! ([`Fault::region`]). For each fault in this order:
//!
//! | the page | action |
//! |---|---|
//! | may not be accessed so | `Deny` |
//! | was told in VRAM | `Map` |
//! | thrashes, and the CPU has its slice | `Throttle` until that ends |
//! | is pinned because it thrashed | `MapRemote`, or `ToVram` if that is preferred |
//! | went to and fro as VRAM was full | `MapRemote`, with its block, unless a place is preferred or it is an atomic |
//! | prefers VRAM | `ToVram` |
//! | prefers system memory | `MapRemote` (`ToSystem` first, if it is in VRAM) |
//! | is accessed by the device, or its group must not move | `Map` |
//! | may be duplicated, and is read | `Duplicate` |
//! | none of these | `ToVram`; `MapRemote` if counters are to decide |
//!
//! `MapExclusive` stands in for `MapRemote` and `Map` of system pages when the access is atomic. What comes to VRAM
//! brings its granule with it, and by density or correlation more. The pages of a region that faulted are in
//! [`Region::faulted`]; all others are a guess that may fail silently.
//!
//! # Replay
//!
//! A fault is answered when its pages are there: at the end of its region if that has [`Region::replay`], else at the
//! end of the plan. [`Plan::flush`]: before that, take the vectors that have come meanwhile, and answer those whose page
//! is there by now along with the rest. [`Plan::hold`]: do not answer yet, but with the next plan that does not say so.
//! A denied fault is answered in its own way, a throttled one is given to `serve` again when its time has come.
//!
//! # What is owed
//!
//! [`Event`]s: what moved, what was mapped, what vanished, which chunk of VRAM is used or free. The order of events
//! about the same pages is that in which it happened.
//!
//! A guess can be taken back at any time, so all heuristics can be switched ([`Switches`]) while work goes on.

mod attributes;
mod batch;
mod blocks;
mod chunks;
mod correlate;
mod counts;
mod decide;
mod density;
mod log;
mod pages;
mod requests;
mod rounds;
mod space;
mod thrash;
mod told;

use crate::error::Error;
use crate::ids::Key;
use crate::slab::Slab;

pub use attributes::{Advice, Attributes, Place, MAX_GROUPS, MAX_RANGES};
pub use batch::{Batch, Plan, MAX_FAULTS, MAX_REGIONS};
pub use counts::SvmStats;
pub use log::{Record, RecordKind, MAX_RECORDS};
pub use pages::{Pages, BLOCK_ORDER, BLOCK_PAGES, BLOCK_SHIFT, PAGE_SHIFT};
pub use requests::Notification;
pub use thrash::ThrashConfig;
pub use told::{Cause, Event};

use blocks::Blocks;
use chunks::Chunks;
use space::Space;

/// An address space that mirrors a process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct SpaceId(u64);

/// Kind of a [`SpaceId`], beside those of the other ids.
const KIND_SPACE: u64 = 10;

impl SpaceId {
    /// The id that crosses a border as a plain number; never 0.
    pub fn raw(self) -> u64 {
        self.0
    }

    /// An id from a number of unknown origin; it is checked at each use.
    pub fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    fn pack(key: Key) -> Self {
        Self(KIND_SPACE << 60 | u64::from(key.generation) << 32 | u64::from(key.slot))
    }

    #[allow(clippy::cast_possible_truncation)] // masked
    fn unpack(self) -> Option<Key> {
        let (slot, generation) = (self.0 as u32, (self.0 >> 32) as u32 & 0x00ff_ffff);
        (self.0 >> 56 == KIND_SPACE << 4).then_some(Key { slot, generation })
    }
}

/// An access that faulted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Access {
    /// A read.
    #[default]
    Read = 0,
    /// A write.
    Write = 1,
    /// An atomic read-modify-write.
    Atomic = 2,
}

impl Access {
    /// From its number.
    pub fn from_raw(raw: u32) -> Result<Self, Error> {
        match raw {
            0 => Ok(Self::Read),
            1 => Ok(Self::Write),
            2 => Ok(Self::Atomic),
            _ => Err(Error::Invalid),
        }
    }
}

/// A page fault of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whose.
    pub space: SpaceId,
    /// Where.
    pub va: u64,
    /// The caller's own, to know it by after the sort.
    pub tag: u32,
    /// What was tried.
    pub access: Access,
    /// Answer: index of the region that serves it. [`Fault::UNSERVED`]: no such space, it is nobody's fault any more.
    pub region: u32,
}

impl Fault {
    /// No region.
    pub const UNSERVED: u32 = u32::MAX;
}

/// What to do about pages of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
    /// Map them where they are.
    Map = 0,
    /// Map them in system memory and leave them there; accesses are worth counting.
    MapRemote = 1,
    /// As `MapRemote`, with the CPU kept out for as long as it does not ask: for atomics.
    MapExclusive = 2,
    /// Copy to VRAM, map read-only at both sides.
    Duplicate = 3,
    /// Move to VRAM and map; what cannot move, map where it is.
    ToVram = 4,
    /// Move to system memory, and map there if it faulted.
    ToSystem = 5,
    /// Give these faults to [`Svm::serve`] again at [`Region::until`].
    Throttle = 6,
    /// The process said that the device must not do that: its job fails.
    Deny = 7,
}

impl Action {
    const COUNT: usize = 8;
    const EACH: [Self; Self::COUNT] = [
        Self::Map,
        Self::MapRemote,
        Self::MapExclusive,
        Self::Duplicate,
        Self::ToVram,
        Self::ToSystem,
        Self::Throttle,
        Self::Deny,
    ];
}

/// Pages of a block, and what to do about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Whose.
    pub space: SpaceId,
    /// First address of the block.
    pub va: u64,
    /// When a throttled fault may come again, in nanoseconds.
    pub until: u64,
    /// What.
    pub action: Action,
    /// Answer its faults as soon as it is done.
    pub replay: bool,
    /// Nobody waits for it.
    pub guess: bool,
    /// Which pages.
    pub pages: Pages,
    /// Those of them that faulted; the others are a guess.
    pub faulted: Pages,
    /// Those that are to be written.
    pub written: Pages,
}

/// When faults are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Replay {
    /// Each block's when it is done: they go on early, and may fault again while the batch is served.
    Block = 0,
    /// All at the end of the batch.
    #[default]
    Batch = 1,
    /// The same, after the buffer was emptied of faults that the batch has served too.
    BatchFlush = 2,
    /// When no fault is left in the buffer.
    Once = 3,
}

impl Replay {
    /// From its number.
    pub fn from_raw(raw: u32) -> Result<Self, Error> {
        match raw {
            0 => Ok(Self::Block),
            1 => Ok(Self::Batch),
            2 => Ok(Self::BatchFlush),
            3 => Ok(Self::Once),
            _ => Err(Error::Invalid),
        }
    }
}

/// Which heuristics are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switches {
    /// Faults move pages to VRAM at all; else they are mapped where they are.
    pub migrate: bool,
    /// Prefetch by density.
    pub density: bool,
    /// Prefetch by correlation.
    pub correlation: bool,
    /// Throttle and pin what thrashes.
    pub thrash: bool,
    /// Notifications of access counters move pages.
    pub counters: bool,
    /// A first fault maps pages remotely; only counters move them.
    pub counters_first: bool,
    /// Read duplication where a process allows it.
    pub duplication: bool,
    /// Spare chunks that are preferred in VRAM or have only just been filled.
    pub spare: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            migrate: true,
            density: true,
            correlation: false,
            thrash: true,
            counters: true,
            counters_first: false,
            duplication: true,
            spare: true,
        }
    }
}

/// How to work; all but `blocks` and `chunks` can be changed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SvmConfig {
    /// Which heuristics are on.
    pub switches: Switches,
    /// When faults are answered.
    pub replay: Replay,
    /// Density prefetch: more than so many percent of a half are there; 1 to 100, of which 100 means never.
    pub density: u32,
    /// log2 of the pages that a fault brings where a process says nothing: 0 to 9.
    pub granule: u8,
    /// Correlation prefetch: blocks ahead, 0 to 16.
    pub degree: u32,
    /// Thrashing.
    pub thrash: ThrashConfig,
    /// Most blocks that something is known of at a time, about 600 bytes each; not 0.
    pub blocks: u32,
    /// Chunks of VRAM.
    pub chunks: u32,
}

impl Default for SvmConfig {
    fn default() -> Self {
        Self {
            switches: Switches::default(),
            replay: Replay::default(),
            density: 51,
            granule: 4,
            degree: 4,
            thrash: ThrashConfig::default(),
            blocks: 16384,
            chunks: 0,
        }
    }
}

impl SvmConfig {
    fn check(&self) -> Result<(), Error> {
        let sane = (1..=100).contains(&self.density)
            && u32::from(self.granule) <= BLOCK_ORDER
            && self.degree as usize <= correlate::MAX_DEGREE
            && self.thrash.is_valid()
            && self.blocks != 0;
        if sane {
            Ok(())
        } else {
            Err(Error::Invalid)
        }
    }
}

/// The decisions about shared memory, for one device.
pub struct Svm {
    config: SvmConfig,
    spaces: Slab<Space>,
    blocks: Blocks,
    chunks: Chunks,
    /// Blocks that are watched for thrashing.
    watched: u32,
    /// Where the search for one that need not be goes on.
    hand: u32,
    /// Of spaces that are gone.
    past: SvmStats,
}

impl Svm {
    /// Nothing is known yet.
    pub fn new(config: &SvmConfig) -> Result<Self, Error> {
        config.check()?;
        Ok(Self {
            config: *config,
            spaces: Slab::new(),
            blocks: Blocks::new(config.blocks),
            chunks: Chunks::try_new(config.chunks)?,
            watched: 0,
            hand: 0,
            past: SvmStats::default(),
        })
    }

    /// How it works now.
    pub fn config(&self) -> SvmConfig {
        self.config
    }

    /// Works otherwise from now on; `blocks` and `chunks` stay as they were.
    pub fn configure(&mut self, config: &SvmConfig) -> Result<(), Error> {
        let config = SvmConfig { blocks: self.config.blocks, chunks: self.config.chunks, ..*config };
        config.check()?;
        self.config = config;
        Ok(())
    }
}
