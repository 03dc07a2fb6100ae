// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What the caller tells when it has happened.

use core::ops::Range;

use super::attributes::Place;
use super::batch::first_record;
use super::chunks::Owner;
use super::log::RecordKind;
use super::pages::{block_of, Pages, PAGE_SHIFT};
use super::thrash::Moved;
use super::{Advice, SpaceId, Svm};
use crate::error::Error;

/// How long what could not come to VRAM is not tried again, in nanoseconds.
const STUCK: u64 = 200_000_000;

/// Why pages moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Cause {
    /// A fault of the device, with what came along.
    Fault = 0,
    /// Somebody asked, or it was guessed.
    Prefetch = 1,
    /// No room in VRAM.
    Eviction = 2,
    /// The CPU touched them.
    CpuFault = 3,
    /// A counter of accesses.
    Counter = 4,
    /// They were unmapped where they were. Perhaps they are there still, but that is to be found out: until then they
    /// count as if they were in system memory. No move, and so neither counted nor recorded.
    Lost = 5,
}

impl Cause {
    /// From its number.
    pub fn from_raw(raw: u32) -> Result<Self, Error> {
        match raw {
            0 => Ok(Self::Fault),
            1 => Ok(Self::Prefetch),
            2 => Ok(Self::Eviction),
            3 => Ok(Self::CpuFault),
            4 => Ok(Self::Counter),
            5 => Ok(Self::Lost),
            _ => Err(Error::Invalid),
        }
    }
}

/// Something that happened. `va` is any address of the block that `pages` are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Pages moved; the device's entries for them are gone.
    Migrated {
        /// Whose.
        space: SpaceId,
        /// Which block.
        va: u64,
        /// Which of its pages.
        pages: Pages,
        /// Where to.
        to: Place,
        /// Why.
        cause: Cause,
        /// Which chunk of VRAM they are in now, or were in.
        chunk: Option<u32>,
    },
    /// Pages are in the device's table.
    Mapped {
        /// Whose.
        space: SpaceId,
        /// Which block.
        va: u64,
        /// Which of its pages.
        pages: Pages,
        /// Those of them that the device may write.
        writable: Pages,
    },
    /// Pages are out of the device's table (a notifier's work).
    Unmapped {
        /// Whose.
        space: SpaceId,
        /// Bytes.
        range: Range<u64>,
    },
    /// Addresses are not mapped by the CPU any more; nothing that was said about them holds.
    Gone {
        /// Whose.
        space: SpaceId,
        /// Bytes.
        range: Range<u64>,
    },
    /// Pages could not be moved, or (to [`Place::System`]) not be mapped for a moment: then those that should be are
    /// asked for again.
    Failed {
        /// Whose.
        space: SpaceId,
        /// Which block.
        va: u64,
        /// Which of its pages.
        pages: Pages,
        /// Where to.
        to: Place,
    },
    /// Pages of a chunk are used, whoever has them.
    ChunkUsed(u32),
    /// A chunk has no page any more.
    ChunkFree(u32),
    /// A chunk that was picked to leave could not.
    ChunkStays(u32),
}

impl Svm {
    /// Takes in what happened at `now`.
    ///
    /// [`Error::NoMemory`]: it is not known, which makes for worse decisions only. [`Error::Invalid`]: no such chunk.
    pub fn event(&mut self, event: &Event, now: u64) -> Result<(), Error> {
        match event {
            Event::Migrated { space, va, pages, to, cause, chunk } => {
                let slot = self.slot(*space)?;
                if chunk.is_some_and(|chunk| !self.chunks.has(chunk)) {
                    return Err(Error::Invalid);
                }
                self.migrated((slot, block_of(*va)), *pages, (*to, *cause), *chunk, now)
            }
            Event::Mapped { space, va, pages, writable } => {
                let slot = self.slot(*space)?;
                let block = self.block(slot, block_of(*va))?;
                let block = self.blocks.get_mut(block).ok_or(Error::Unknown)?;
                block.mapped |= *pages;
                block.writable = block.writable.minus(*pages) | (*writable & *pages);
                Ok(())
            }
            Event::Unmapped { space, range } => {
                let slot = self.slot(*space)?;
                self.each_block(slot, range, |svm, slot, number, pages| svm.unmapped(slot, number, pages));
                Ok(())
            }
            Event::Gone { space, range } => self.vanished(self.slot(*space)?, range),
            Event::Failed { space, va, pages, to } => {
                let (slot, number) = (self.slot(*space)?, block_of(*va));
                let known = self.known_block(slot, number);
                if let Some(block) = known.and_then(|block| self.blocks.get_mut(block)) {
                    block.awaited = block.awaited.minus(*pages);
                    if *to != Place::System {
                        let still = if now < block.stuck_until { block.stuck } else { Pages::NONE };
                        block.stuck = still | *pages;
                        block.stuck_until = now.saturating_add(STUCK);
                    }
                }
                if let (Some(block), Place::System) = (known, to) {
                    self.want_mapped(block, number, *pages);
                    return Ok(());
                }
                let count = u64::from(pages.count());
                let record = first_record(now, RecordKind::Failure, number, *pages);
                let record = record.map(|record| record.place(*to).value(count));
                self.note(slot, record, |stats| stats.failed = stats.failed.saturating_add(count));
                Ok(())
            }
            Event::ChunkUsed(chunk) => self.chunks.in_use(*chunk),
            Event::ChunkFree(chunk) => self.chunks.gone(*chunk),
            Event::ChunkStays(chunk) => self.chunks.stays(*chunk),
        }
    }

    fn migrated(
        &mut self,
        (space, number): (u32, u64),
        pages: Pages,
        (to, cause): (Place, Cause),
        chunk: Option<u32>,
        now: u64,
    ) -> Result<(), Error> {
        let count = u64::from(pages.count());
        let kind = if cause == Cause::Eviction { RecordKind::Eviction } else { RecordKind::Migration };
        let record = first_record(now, kind, number, pages).map(|record| {
            let value = if cause == Cause::Eviction { chunk.map_or(u64::MAX, u64::from) } else { 0 };
            record.place(to).detail(cause as u32).value(value)
        });
        let record = record.filter(|_| cause != Cause::Lost);
        self.note(space, record, |stats| match (to, cause) {
            (_, Cause::Lost) => {}
            (Place::System, Cause::CpuFault) => stats.cpu_faults = stats.cpu_faults.saturating_add(count),
            (Place::System, Cause::Eviction) => stats.evicted = stats.evicted.saturating_add(count),
            (Place::System, _) => {}
            _ => stats.came = stats.came.saturating_add(count),
        });
        if let (Some(chunk), true) = (chunk, to != Place::System) {
            self.chunks.used(chunk, Owner { space, block: number })?;
        }
        let slot = match (to, self.known_block(space, number)) {
            (_, Some(slot)) => slot,
            // Nothing was known of it, and nothing has to be.
            (Place::System, None) => return Ok(()),
            (_, None) => self.block(space, number)?,
        };
        // Only a side's own wish counts as one, not what came along with it or left for others.
        let awaited = self.blocks.get(slot).map_or(Pages::NONE, |block| block.awaited & pages);
        let wanted = match cause {
            Cause::Fault | Cause::Counter => pages.minus(awaited),
            Cause::CpuFault => pages,
            Cause::Prefetch | Cause::Eviction | Cause::Lost => Pages::NONE,
        };
        self.watched_move(slot, pages, wanted, to, now);
        let Some(block) = self.blocks.get_mut(slot) else { return Ok(()) };
        block.mapped = block.mapped.minus(pages);
        block.writable = block.writable.minus(pages);
        block.awaited = block.awaited.minus(pages);
        block.both = if to == Place::Both { block.both | pages } else { block.both.minus(pages) };
        let turnover = self.chunks.turnover();
        if to == Place::System {
            if cause == Cause::Eviction && !(block.vram & pages).is_empty() {
                block.rounds.left(&turnover);
            }
            block.vram = block.vram.minus(pages);
            block.remap = block.remap.minus(pages);
            self.want_mapped(slot, number, pages);
            return Ok(());
        }
        block.learned = if block.vram.is_empty() { pages } else { block.learned | pages };
        block.rounds.came(&turnover);
        block.vram |= pages;
        block.came = now;
        block.chunk = chunk.or(block.chunk);
        self.blocks.touch(slot);
        if cause == Cause::Prefetch {
            // Nobody waits for them; that they need no fault either is what they were brought for.
            self.blocks.want_map(slot, pages);
        }
        self.note(space, None, |stats| {
            stats.prefetched = stats.prefetched.saturating_add(awaited.count().into());
        });
        Ok(())
    }

    /// Remembers a move for the sake of those that go to and fro.
    fn watched_move(&mut self, slot: u32, pages: Pages, wanted: Pages, to: Place, now: u64) {
        let config = self.config.thrash;
        let Some(block) = self.blocks.get(slot) else { return };
        let (space, number) = (block.space, block.number);
        let quick = now.saturating_sub(block.came) < config.lapse;
        if block.watch.is_none() {
            let back = to == Place::System && !(wanted & block.vram).is_empty();
            if !(self.config.switches.thrash && quick && back) {
                return;
            }
            self.watch(slot, now);
        }
        let Some(watch) = self.blocks.get_mut(slot).and_then(|block| block.watch.as_mut()) else { return };
        watch.carried(pages.minus(wanted), to, now);
        let Moved { bounced, thrashing } = watch.moved(&config, wanted, to, now);
        let found = u64::from(thrashing.count());
        let record = first_record(now, RecordKind::Thrash, number, thrashing).map(|record| record.place(to));
        self.note(space, record, |stats| {
            stats.bounced = stats.bounced.saturating_add(bounced.into());
            stats.thrashing = stats.thrashing.saturating_add(found);
        });
    }

    fn unmapped(&mut self, slot: u32, number: u64, pages: Pages) {
        let Some(block) = self.blocks.get_mut(slot) else { return };
        let were = block.mapped & pages;
        block.mapped = block.mapped.minus(pages);
        block.writable = block.writable.minus(pages);
        self.want_mapped(slot, number, were);
    }

    /// Pages are out of the table; those that should always be in it go on the list.
    fn want_mapped(&mut self, slot: u32, number: u64, pages: Pages) {
        let Some(space) = self.blocks.get(slot).and_then(|block| self.spaces.at(block.space)) else { return };
        if pages.is_empty() || space.ranges.len() == 0 {
            return;
        }
        let always = space.ranges.pages(number, |said| said.accessed_by_device && !said.no_access);
        self.blocks.want_map(slot, pages & always);
    }

    fn vanished(&mut self, space: u32, range: &Range<u64>) -> Result<(), Error> {
        self.each_block(space, range, |svm, slot, number, pages| {
            if pages == Pages::ALL {
                svm.forget_block(space, number);
                return;
            }
            let Some(block) = svm.blocks.get_mut(slot) else { return };
            for known in [
                &mut block.vram,
                &mut block.both,
                &mut block.mapped,
                &mut block.writable,
                &mut block.awaited,
                &mut block.learned,
                &mut block.remap,
            ] {
                *known = known.minus(pages);
            }
        });
        let low = range.start & !((1 << PAGE_SHIFT) - 1);
        let high = range.end.checked_next_multiple_of(1 << PAGE_SHIFT).unwrap_or(!((1 << PAGE_SHIFT) - 1));
        let ranges = &mut self.spaces.at_mut(space).ok_or(Error::Unknown)?.ranges;
        if low >= high || ranges.len() == 0 {
            return Ok(());
        }
        ranges.advise(&(low..high), Advice::Reset)
    }
}
