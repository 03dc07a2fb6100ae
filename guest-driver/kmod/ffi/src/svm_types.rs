// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The structures and numbers of the C border of shared virtual memory. Docs are kernel-doc: they become the header's.

use uvm_policy::svm::{
    Access, Action, Attributes, Cause, Fault, Notification, Pages, Place, Plan, Record, RecordKind, Region, Replay,
    SpaceId, SvmConfig, SvmStats, Switches, ThrashConfig, MAX_FAULTS,
};
use uvm_policy::Error;

/// Words of a block's 512 pages: on a 64-bit machine a bitmap as the kernel knows them.
pub const UVM_POLICY_SVM_WORDS: usize = 8;
/// Most faults of a batch.
pub const UVM_POLICY_SVM_MAX_FAULTS: usize = 256;
/// Most regions of a plan that are of use: one a fault, and some guesses.
pub const UVM_POLICY_SVM_MAX_REGIONS: usize = 320;

/// Switch: faults move pages to VRAM at all.
pub const UVM_POLICY_SVM_MIGRATE: u32 = 1;
/// Switch: prefetch by density.
pub const UVM_POLICY_SVM_DENSITY: u32 = 2;
/// Switch: prefetch by correlation.
pub const UVM_POLICY_SVM_CORRELATION: u32 = 4;
/// Switch: throttle and pin what thrashes.
pub const UVM_POLICY_SVM_THRASH: u32 = 8;
/// Switch: counters of accesses move pages.
pub const UVM_POLICY_SVM_COUNTERS: u32 = 16;
/// Switch: a first fault maps remotely, only counters move.
pub const UVM_POLICY_SVM_COUNTERS_FIRST: u32 = 32;
/// Switch: read duplication where a process allows it.
pub const UVM_POLICY_SVM_DUPLICATION: u32 = 64;
/// Switch: spare chunks that are preferred in VRAM or were only just filled.
pub const UVM_POLICY_SVM_SPARE: u32 = 128;
/// All switches.
pub const UVM_POLICY_SVM_SWITCHES: u32 = 255;

/// Place: system memory.
pub const UVM_POLICY_SVM_SYSTEM: u32 = 0;
/// Place: VRAM.
pub const UVM_POLICY_SVM_VRAM: u32 = 1;
/// Place: a copy in each, read-only.
pub const UVM_POLICY_SVM_BOTH: u32 = 2;
/// Place: nothing was said.
pub const UVM_POLICY_SVM_NOWHERE: u32 = 0xffff_ffff;

/// Access: read.
pub const UVM_POLICY_SVM_READ: u32 = 0;
/// Access: write.
pub const UVM_POLICY_SVM_WRITE: u32 = 1;
/// Access: atomic.
pub const UVM_POLICY_SVM_ATOMIC: u32 = 2;

/// Replay: each block's faults when it is done.
pub const UVM_POLICY_SVM_REPLAY_BLOCK: u32 = 0;
/// Replay: all faults of a batch at its end.
pub const UVM_POLICY_SVM_REPLAY_BATCH: u32 = 1;
/// Replay: the same, after those that came meanwhile were taken in.
pub const UVM_POLICY_SVM_REPLAY_FLUSH: u32 = 2;
/// Replay: when no fault is left in the buffer.
pub const UVM_POLICY_SVM_REPLAY_ONCE: u32 = 3;

/// Advice: @value is the preferred place, or UVM_POLICY_SVM_NOWHERE.
pub const UVM_POLICY_SVM_ADVISE_PREFERRED: u32 = 0;
/// Advice: @value 1: always mapped for the device, its faults move nothing.
pub const UVM_POLICY_SVM_ADVISE_ACCESSED: u32 = 1;
/// Advice: @value 1: may be duplicated while nobody writes.
pub const UVM_POLICY_SVM_ADVISE_DUPLICATE: u32 = 2;
/// Advice: @value 1: not for the device.
pub const UVM_POLICY_SVM_ADVISE_NO_ACCESS: u32 = 3;
/// Advice: @value 1: the device may not write.
pub const UVM_POLICY_SVM_ADVISE_READ_ONLY: u32 = 4;
/// Advice: @value 1: replay its faults as soon as their pages are there.
pub const UVM_POLICY_SVM_ADVISE_EAGER: u32 = 5;
/// Advice: @value is log2 of the pages that a fault brings, or UVM_POLICY_SVM_NOWHERE.
pub const UVM_POLICY_SVM_ADVISE_GRANULE: u32 = 6;
/// Advice: @value is the range group, 0 for none.
pub const UVM_POLICY_SVM_ADVISE_GROUP: u32 = 7;
/// Advice: back to the default, all of it.
pub const UVM_POLICY_SVM_ADVISE_RESET: u32 = 8;

/// Action: map the pages where they are.
pub const UVM_POLICY_SVM_DO_MAP: u32 = 0;
/// Action: map them in system memory, leave them there.
pub const UVM_POLICY_SVM_DO_MAP_REMOTE: u32 = 1;
/// Action: the same with the CPU kept out, for atomics.
pub const UVM_POLICY_SVM_DO_MAP_EXCLUSIVE: u32 = 2;
/// Action: copy to VRAM, map read-only at both sides.
pub const UVM_POLICY_SVM_DO_DUPLICATE: u32 = 3;
/// Action: move to VRAM and map; what cannot move, map where it is.
pub const UVM_POLICY_SVM_DO_TO_VRAM: u32 = 4;
/// Action: move to system memory; map there what faulted.
pub const UVM_POLICY_SVM_DO_TO_SYSTEM: u32 = 5;
/// Action: give these faults to uvm_policy_svm_serve() again at @until.
pub const UVM_POLICY_SVM_DO_THROTTLE: u32 = 6;
/// Action: the process forbade it: its job fails.
pub const UVM_POLICY_SVM_DO_DENY: u32 = 7;

/// Region: answer its faults as soon as it is done.
pub const UVM_POLICY_SVM_REGION_REPLAY: u32 = 1;
/// Region: nobody waits for it.
pub const UVM_POLICY_SVM_REGION_GUESS: u32 = 2;

/// Plan: before faults are answered, take in those that came meanwhile.
pub const UVM_POLICY_SVM_PLAN_FLUSH: u32 = 1;
/// Plan: answer its faults with those of the next plan without this flag.
pub const UVM_POLICY_SVM_PLAN_HOLD: u32 = 2;

/// Cause: a fault of the device.
pub const UVM_POLICY_SVM_BY_FAULT: u32 = 0;
/// Cause: prefetch.
pub const UVM_POLICY_SVM_BY_PREFETCH: u32 = 1;
/// Cause: eviction.
pub const UVM_POLICY_SVM_BY_EVICTION: u32 = 2;
/// Cause: a fault of the CPU.
pub const UVM_POLICY_SVM_BY_CPU: u32 = 3;
/// Cause: a counter of accesses.
pub const UVM_POLICY_SVM_BY_COUNTER: u32 = 4;
/// Cause: none; @pages were unmapped, and may be anywhere.
pub const UVM_POLICY_SVM_LOST: u32 = 5;

/// Event: @pages of the block of @va moved to @place because of @cause; @chunk as there.
pub const UVM_POLICY_SVM_EV_MIGRATED: u32 = 0;
/// Event: @pages of the block of @va are in the device's table, @writable of them to be written.
pub const UVM_POLICY_SVM_EV_MAPPED: u32 = 1;
/// Event: [@va, @end) is out of the device's table.
pub const UVM_POLICY_SVM_EV_UNMAPPED: u32 = 2;
/// Event: [@va, @end) is not mapped by the CPU any more.
pub const UVM_POLICY_SVM_EV_GONE: u32 = 3;
/// Event: @pages of the block of @va could not go to VRAM; with @place SYSTEM: not be mapped now.
pub const UVM_POLICY_SVM_EV_FAILED: u32 = 4;
/// Event: @chunk has no page any more. @space is not looked at.
pub const UVM_POLICY_SVM_EV_CHUNK_FREE: u32 = 5;
/// Event: @chunk was picked and could not leave. @space is not looked at.
pub const UVM_POLICY_SVM_EV_CHUNK_STAYS: u32 = 6;

/// Event: pages of @chunk are used, whoever has them. @space is not looked at.
pub const UVM_POLICY_SVM_EV_CHUNK_USED: u32 = 7;

/// Chunk: none.
pub const UVM_POLICY_SVM_NO_CHUNK: u32 = 0xffff_ffff;

/// Record: a fault; @detail: access, @value: the tag.
pub const UVM_POLICY_SVM_REC_FAULT: u32 = 1;
/// Record: pages moved to @place; @detail: cause.
pub const UVM_POLICY_SVM_REC_MIGRATION: u32 = 2;
/// Record: pages were evicted; @value: the chunk.
pub const UVM_POLICY_SVM_REC_EVICTION: u32 = 3;
/// Record: pages thrash.
pub const UVM_POLICY_SVM_REC_THRASH: u32 = 4;
/// Record: prefetch; @detail: 0 density and granule, 1 correlation, 2 asked for.
pub const UVM_POLICY_SVM_REC_PREFETCH: u32 = 5;
/// Record: a fault waits until @value.
pub const UVM_POLICY_SVM_REC_THROTTLE: u32 = 6;
/// Record: a page is pinned at @place until @value.
pub const UVM_POLICY_SVM_REC_PIN: u32 = 7;
/// Record: a counter for @value bytes came to its threshold.
pub const UVM_POLICY_SVM_REC_COUNTER: u32 = 8;
/// Record: an access that the process forbade; @detail: access.
pub const UVM_POLICY_SVM_REC_DENIED: u32 = 9;
/// Record: pages could not move to @place.
pub const UVM_POLICY_SVM_REC_FAILURE: u32 = 10;

/// struct uvm_policy_svm_config - how to decide about shared memory
/// @switches: UVM_POLICY_SVM_MIGRATE to UVM_POLICY_SVM_SPARE
/// @replay: UVM_POLICY_SVM_REPLAY_*
/// @density: percent of a half that bring the rest of it, 1 to 100
/// @granule: log2 of the pages that a fault brings, 0 to 9
/// @degree: blocks ahead of correlation prefetch, at most 16
/// @blocks: most blocks that something is known of, about 600 bytes each; fixed from the start on
/// @chunks: 2 MiB chunks of VRAM; fixed from the start on
/// @bounces: quick returns of a page that make it one that thrashes, 1 to 255
/// @waits: waits for the other side before a page is pinned, at most 255
/// @watched: most blocks whose pages' returns are counted, 8 KiB each
/// @lapse: nanoseconds between two moves that make the second one a return
/// @slice: nanoseconds that a side keeps a thrashing page, less than @lapse
/// @pin: nanoseconds that a page stays pinned
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // said in kernel-doc above, here and below
pub struct UvmPolicySvmConfig {
    pub switches: u32,
    pub replay: u32,
    pub density: u32,
    pub granule: u32,
    pub degree: u32,
    pub blocks: u32,
    pub chunks: u32,
    pub bounces: u32,
    pub waits: u32,
    pub watched: u32,
    pub lapse: u64,
    pub slice: u64,
    pub pin: u64,
}

/// struct uvm_policy_svm_fault - a page fault of the device
/// @space: whose; a number that names no space is allowed
/// @va: where
/// @tag: the driver's own
/// @access: UVM_POLICY_SVM_READ, _WRITE or _ATOMIC
/// @region: answer: index of the region that serves it, 0xffffffff if its space is gone
/// @pad: must be 0
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicySvmFault {
    pub space: u64,
    pub va: u64,
    pub tag: u32,
    pub access: u32,
    pub region: u32,
    pub pad: u32,
}

/// struct uvm_policy_svm_region - pages of a block, and what to do about them
/// @space: whose
/// @va: first address of the block
/// @until: of UVM_POLICY_SVM_DO_THROTTLE: nanoseconds
/// @action: UVM_POLICY_SVM_DO_*
/// @flags: UVM_POLICY_SVM_REGION_*
/// @pages: which
/// @faulted: those of them that faulted; the others may fail silently
/// @written: those that are to be written
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicySvmRegion {
    pub space: u64,
    pub va: u64,
    pub until: u64,
    pub action: u32,
    pub flags: u32,
    pub pages: [u64; UVM_POLICY_SVM_WORDS],
    pub faulted: [u64; UVM_POLICY_SVM_WORDS],
    pub written: [u64; UVM_POLICY_SVM_WORDS],
}

/// struct uvm_policy_svm_plan - what was decided about a batch
/// @regions: number of regions
/// @flags: UVM_POLICY_SVM_PLAN_*
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicySvmPlan {
    pub regions: u32,
    pub flags: u32,
}

/// struct uvm_policy_svm_notification - accesses to remote pages were counted
/// @space: whose
/// @va: first address that the counter stands for
/// @bytes: how many, inside one block
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicySvmNotification {
    pub space: u64,
    pub va: u64,
    pub bytes: u64,
}

/// struct uvm_policy_svm_event - something that happened
/// @op: UVM_POLICY_SVM_EV_*, which say what else is used; the rest is not looked at
/// @place: UVM_POLICY_SVM_SYSTEM, _VRAM or _BOTH
/// @cause: UVM_POLICY_SVM_BY_*
/// @chunk: number of a chunk of VRAM, or UVM_POLICY_SVM_NO_CHUNK
/// @space: whose
/// @va: first byte, or any one of a block
/// @end: byte after the last
/// @pages: pages of the block of @va
/// @writable: those of them that the device may write
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicySvmEvent {
    pub op: u32,
    pub place: u32,
    pub cause: u32,
    pub chunk: u32,
    pub space: u64,
    pub va: u64,
    pub end: u64,
    pub pages: [u64; UVM_POLICY_SVM_WORDS],
    pub writable: [u64; UVM_POLICY_SVM_WORDS],
}

/// struct uvm_policy_svm_attributes - what was said about an address
/// @start: the same was said from here on
/// @end: to here
/// @preferred: UVM_POLICY_SVM_SYSTEM, _VRAM or _NOWHERE
/// @granule: log2 of pages, or UVM_POLICY_SVM_NOWHERE
/// @group: range group, or 0
/// @flags: 1 << UVM_POLICY_SVM_ADVISE_ACCESSED to 1 << UVM_POLICY_SVM_ADVISE_EAGER
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicySvmAttributes {
    pub start: u64,
    pub end: u64,
    pub preferred: u32,
    pub granule: u32,
    pub group: u32,
    pub flags: u32,
}

/// struct uvm_policy_svm_record - what tools are told
/// @time: nanoseconds
/// @va: first address
/// @value: by kind
/// @pages: how many, of one block
/// @kind: UVM_POLICY_SVM_REC_*
/// @detail: by kind
/// @place: UVM_POLICY_SVM_SYSTEM, _VRAM or _BOTH
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicySvmRecord {
    pub time: u64,
    pub va: u64,
    pub value: u64,
    pub pages: u32,
    pub kind: u16,
    pub detail: u8,
    pub place: u8,
}

/// struct uvm_policy_svm_stats - what happened since the start; pages where not said otherwise
/// @faults: faults that came in, a count
/// @duplicates: those on a page that another one of the same batch was on too
/// @stale: those on a page that is believed to be mapped as needed: told before it was
/// @blocks: blocks served, one a batch each, a count
/// @mapped: pages planned to be mapped where they are
/// @remote: pages planned to be mapped in system memory, because they should stay there
/// @to_vram: pages planned to come to VRAM, prefetched ones included
/// @to_system: pages planned to go to system memory
/// @duplicated: pages planned to get a second copy
/// @denied: faults that were refused, a count
/// @granule: pages that a fault brought besides its own because of the granule
/// @density: pages prefetched by density
/// @correlated: pages prefetched by correlation
/// @asked: pages prefetched because somebody asked
/// @came: pages that came to VRAM
/// @prefetched: those of them that were prefetched
/// @cpu_faults: pages that went back because the CPU wanted them
/// @evicted: pages that left VRAM for want of room
/// @failed: pages that could not be moved
/// @bounced: pages that went back within the lapse
/// @thrashing: pages that were found to thrash
/// @throttled: accesses that had to wait for the other side's slice, a count
/// @pinned: pages that were pinned
/// @unwatched: blocks that should have been watched and could not be, a count
/// @notifications: notifications of access counters, a count
/// @counted: pages that they bring to VRAM
/// @remapped: pages mapped again for those who always want them mapped
/// @forgotten: blocks forgotten to make room for others, a count
/// @records_lost: records that tools did not read in time, a count
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicySvmStats {
    pub faults: u64,
    pub duplicates: u64,
    pub stale: u64,
    pub blocks: u64,
    pub mapped: u64,
    pub remote: u64,
    pub to_vram: u64,
    pub to_system: u64,
    pub duplicated: u64,
    pub denied: u64,
    pub granule: u64,
    pub density: u64,
    pub correlated: u64,
    pub asked: u64,
    pub came: u64,
    pub prefetched: u64,
    pub cpu_faults: u64,
    pub evicted: u64,
    pub failed: u64,
    pub bounced: u64,
    pub thrashing: u64,
    pub throttled: u64,
    pub pinned: u64,
    pub unwatched: u64,
    pub notifications: u64,
    pub counted: u64,
    pub remapped: u64,
    pub forgotten: u64,
    pub records_lost: u64,
}

impl From<SvmStats> for UvmPolicySvmStats {
    fn from(stats: SvmStats) -> Self {
        let SvmStats {
            faults,
            duplicates,
            stale,
            blocks,
            mapped,
            remote,
            to_vram,
            to_system,
            duplicated,
            denied,
            granule,
            density,
            correlated,
            asked,
            came,
            prefetched,
            cpu_faults,
            evicted,
            failed,
            bounced,
            thrashing,
            throttled,
            pinned,
            unwatched,
            notifications,
            counted,
            remapped,
            forgotten,
            records_lost,
        } = stats;
        Self {
            faults,
            duplicates,
            stale,
            blocks,
            mapped,
            remote,
            to_vram,
            to_system,
            duplicated,
            denied,
            granule,
            density,
            correlated,
            asked,
            came,
            prefetched,
            cpu_faults,
            evicted,
            failed,
            bounced,
            thrashing,
            throttled,
            pinned,
            unwatched,
            notifications,
            counted,
            remapped,
            forgotten,
            records_lost,
        }
    }
}

const _: () = {
    assert!(UVM_POLICY_SVM_MAX_FAULTS == MAX_FAULTS);
    assert!(UVM_POLICY_SVM_SYSTEM == Place::System as u32);
    assert!(UVM_POLICY_SVM_VRAM == Place::Vram as u32);
    assert!(UVM_POLICY_SVM_BOTH == Place::Both as u32);
    assert!(UVM_POLICY_SVM_READ == Access::Read as u32);
    assert!(UVM_POLICY_SVM_WRITE == Access::Write as u32);
    assert!(UVM_POLICY_SVM_ATOMIC == Access::Atomic as u32);
    assert!(UVM_POLICY_SVM_REPLAY_BLOCK == Replay::Block as u32);
    assert!(UVM_POLICY_SVM_REPLAY_BATCH == Replay::Batch as u32);
    assert!(UVM_POLICY_SVM_REPLAY_FLUSH == Replay::BatchFlush as u32);
    assert!(UVM_POLICY_SVM_REPLAY_ONCE == Replay::Once as u32);
    assert!(UVM_POLICY_SVM_DO_MAP == Action::Map as u32);
    assert!(UVM_POLICY_SVM_DO_MAP_REMOTE == Action::MapRemote as u32);
    assert!(UVM_POLICY_SVM_DO_MAP_EXCLUSIVE == Action::MapExclusive as u32);
    assert!(UVM_POLICY_SVM_DO_DUPLICATE == Action::Duplicate as u32);
    assert!(UVM_POLICY_SVM_DO_TO_VRAM == Action::ToVram as u32);
    assert!(UVM_POLICY_SVM_DO_TO_SYSTEM == Action::ToSystem as u32);
    assert!(UVM_POLICY_SVM_DO_THROTTLE == Action::Throttle as u32);
    assert!(UVM_POLICY_SVM_DO_DENY == Action::Deny as u32);
    assert!(UVM_POLICY_SVM_BY_FAULT == Cause::Fault as u32);
    assert!(UVM_POLICY_SVM_BY_PREFETCH == Cause::Prefetch as u32);
    assert!(UVM_POLICY_SVM_BY_EVICTION == Cause::Eviction as u32);
    assert!(UVM_POLICY_SVM_BY_CPU == Cause::CpuFault as u32);
    assert!(UVM_POLICY_SVM_BY_COUNTER == Cause::Counter as u32);
    assert!(UVM_POLICY_SVM_LOST == Cause::Lost as u32);
    assert!(UVM_POLICY_SVM_REC_FAULT == RecordKind::Fault as u32);
    assert!(UVM_POLICY_SVM_REC_MIGRATION == RecordKind::Migration as u32);
    assert!(UVM_POLICY_SVM_REC_EVICTION == RecordKind::Eviction as u32);
    assert!(UVM_POLICY_SVM_REC_THRASH == RecordKind::Thrash as u32);
    assert!(UVM_POLICY_SVM_REC_PREFETCH == RecordKind::Prefetch as u32);
    assert!(UVM_POLICY_SVM_REC_THROTTLE == RecordKind::Throttle as u32);
    assert!(UVM_POLICY_SVM_REC_PIN == RecordKind::Pin as u32);
    assert!(UVM_POLICY_SVM_REC_COUNTER == RecordKind::Counter as u32);
    assert!(UVM_POLICY_SVM_REC_DENIED == RecordKind::Denied as u32);
    assert!(UVM_POLICY_SVM_REC_FAILURE == RecordKind::Failure as u32);
};

impl UvmPolicySvmConfig {
    pub(crate) fn understood(&self) -> Result<SvmConfig, Error> {
        let has = |bit| self.switches & bit != 0;
        let small = |value: u32| u8::try_from(value).map_err(|_| Error::Invalid);
        if self.switches & !UVM_POLICY_SVM_SWITCHES != 0 {
            return Err(Error::Invalid);
        }
        Ok(SvmConfig {
            switches: Switches {
                migrate: has(UVM_POLICY_SVM_MIGRATE),
                density: has(UVM_POLICY_SVM_DENSITY),
                correlation: has(UVM_POLICY_SVM_CORRELATION),
                thrash: has(UVM_POLICY_SVM_THRASH),
                counters: has(UVM_POLICY_SVM_COUNTERS),
                counters_first: has(UVM_POLICY_SVM_COUNTERS_FIRST),
                duplication: has(UVM_POLICY_SVM_DUPLICATION),
                spare: has(UVM_POLICY_SVM_SPARE),
            },
            replay: Replay::from_raw(self.replay)?,
            density: self.density,
            granule: small(self.granule)?,
            degree: self.degree,
            thrash: ThrashConfig {
                lapse: self.lapse,
                bounces: small(self.bounces)?,
                slice: self.slice,
                waits: small(self.waits)?,
                pin: self.pin,
                watched: self.watched,
            },
            blocks: self.blocks,
            chunks: self.chunks,
        })
    }
}

impl From<SvmConfig> for UvmPolicySvmConfig {
    fn from(config: SvmConfig) -> Self {
        let Switches { migrate, density, correlation, thrash, counters, counters_first, duplication, spare } =
            config.switches;
        let switches = [
            (migrate, UVM_POLICY_SVM_MIGRATE),
            (density, UVM_POLICY_SVM_DENSITY),
            (correlation, UVM_POLICY_SVM_CORRELATION),
            (thrash, UVM_POLICY_SVM_THRASH),
            (counters, UVM_POLICY_SVM_COUNTERS),
            (counters_first, UVM_POLICY_SVM_COUNTERS_FIRST),
            (duplication, UVM_POLICY_SVM_DUPLICATION),
            (spare, UVM_POLICY_SVM_SPARE),
        ];
        Self {
            switches: switches.into_iter().fold(0, |bits, (on, bit)| if on { bits | bit } else { bits }),
            replay: config.replay as u32,
            density: config.density,
            granule: config.granule.into(),
            degree: config.degree,
            blocks: config.blocks,
            chunks: config.chunks,
            bounces: config.thrash.bounces.into(),
            waits: config.thrash.waits.into(),
            watched: config.thrash.watched,
            lapse: config.thrash.lapse,
            slice: config.thrash.slice,
            pin: config.thrash.pin,
        }
    }
}

impl UvmPolicySvmFault {
    pub(crate) fn understood(&self) -> Result<Fault, Error> {
        if self.pad != 0 {
            return Err(Error::Invalid);
        }
        let (space, access) = (SpaceId::from_raw(self.space), Access::from_raw(self.access)?);
        Ok(Fault { space, va: self.va, tag: self.tag, access, region: Fault::UNSERVED })
    }
}

impl From<Fault> for UvmPolicySvmFault {
    fn from(fault: Fault) -> Self {
        let Fault { space, va, tag, access, region } = fault;
        Self { space: space.raw(), va, tag, access: access as u32, region, pad: 0 }
    }
}

impl From<Region> for UvmPolicySvmRegion {
    fn from(region: Region) -> Self {
        let flag = |on, bit| if on { bit } else { 0 };
        Self {
            space: region.space.raw(),
            va: region.va,
            until: region.until,
            action: region.action as u32,
            flags: flag(region.replay, UVM_POLICY_SVM_REGION_REPLAY) | flag(region.guess, UVM_POLICY_SVM_REGION_GUESS),
            pages: region.pages.0,
            faulted: region.faulted.0,
            written: region.written.0,
        }
    }
}

impl From<Plan> for UvmPolicySvmPlan {
    fn from(plan: Plan) -> Self {
        let flag = |on, bit| if on { bit } else { 0 };
        Self {
            regions: u32::try_from(plan.regions).unwrap_or(0),
            flags: flag(plan.flush, UVM_POLICY_SVM_PLAN_FLUSH) | flag(plan.hold, UVM_POLICY_SVM_PLAN_HOLD),
        }
    }
}

impl From<UvmPolicySvmNotification> for Notification {
    fn from(counted: UvmPolicySvmNotification) -> Self {
        Self { space: SpaceId::from_raw(counted.space), va: counted.va, bytes: counted.bytes }
    }
}

impl UvmPolicySvmEvent {
    pub(crate) fn understood(&self) -> Result<uvm_policy::svm::Event, Error> {
        use uvm_policy::svm::Event;
        let Self { op, place, cause, chunk, space, va, end, pages, writable } = *self;
        let (space, pages) = (SpaceId::from_raw(space), Pages(pages));
        Ok(match op {
            UVM_POLICY_SVM_EV_MIGRATED => Event::Migrated {
                space,
                va,
                pages,
                to: Place::from_raw(place)?,
                cause: Cause::from_raw(cause)?,
                chunk: Some(chunk).filter(|chunk| *chunk != UVM_POLICY_SVM_NO_CHUNK),
            },
            UVM_POLICY_SVM_EV_MAPPED => Event::Mapped { space, va, pages, writable: Pages(writable) },
            UVM_POLICY_SVM_EV_UNMAPPED => Event::Unmapped { space, range: va..end },
            UVM_POLICY_SVM_EV_GONE => Event::Gone { space, range: va..end },
            UVM_POLICY_SVM_EV_FAILED => Event::Failed { space, va, pages, to: Place::from_raw(place)? },
            UVM_POLICY_SVM_EV_CHUNK_USED => Event::ChunkUsed(chunk),
            UVM_POLICY_SVM_EV_CHUNK_FREE => Event::ChunkFree(chunk),
            UVM_POLICY_SVM_EV_CHUNK_STAYS => Event::ChunkStays(chunk),
            _ => return Err(Error::Invalid),
        })
    }
}

impl UvmPolicySvmAttributes {
    pub(crate) fn new(said: &Attributes, range: &core::ops::Range<u64>) -> Self {
        let flags = [
            (said.accessed_by_device, UVM_POLICY_SVM_ADVISE_ACCESSED),
            (said.read_duplication, UVM_POLICY_SVM_ADVISE_DUPLICATE),
            (said.no_access, UVM_POLICY_SVM_ADVISE_NO_ACCESS),
            (said.read_only, UVM_POLICY_SVM_ADVISE_READ_ONLY),
            (said.eager_replay, UVM_POLICY_SVM_ADVISE_EAGER),
        ];
        Self {
            start: range.start,
            end: range.end,
            preferred: said.preferred.map_or(UVM_POLICY_SVM_NOWHERE, |place| place as u32),
            granule: said.granule.map_or(UVM_POLICY_SVM_NOWHERE, u32::from),
            group: said.group,
            flags: flags.into_iter().fold(0, |bits, (on, flag)| if on { bits | 1u32.wrapping_shl(flag) } else { bits }),
        }
    }
}

impl From<Record> for UvmPolicySvmRecord {
    fn from(record: Record) -> Self {
        let Record { time, va, value, pages, kind, detail, place } = record;
        Self { time, va, value, pages, kind: kind as u16, detail, place }
    }
}
