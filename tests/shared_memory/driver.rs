// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A driver of few words: it takes faults, asks the policy, moves pages, writes entries, answers. Each page has a frame
//! of system memory, and a place in VRAM where it may be as well; what is at the other place is garbage.

use std::collections::HashMap;

use uvm_policy::svm::*;

use crate::common::spaces::{faults, FaultVector, ON, RETRY};
use crate::common::{bit, packets as p, Rig, DATA, FB, MIB};

pub const PAGE: u64 = 4096;
/// The first page that workloads use; those below hold ring and buffer of the queue.
pub const FIRST: u64 = 512;
/// Blocks of data of each space.
pub const BLOCKS: u64 = 7;
/// Chunks of VRAM for data.
pub const CHUNKS: [u64; 3] = [4 * MIB, 6 * MIB, 8 * MIB];
/// Frame of the first page of the first space.
const FRAMES: u64 = (1 << 32) + 2 * MIB;
/// GART pages that show frames to the copy engine.
const WINDOW: u64 = 32;
/// What is read where no page is.
const GARBAGE: u8 = 0xdb;

/// Where a page's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    System,
    Vram,
    Both,
}

pub struct Space {
    pub id: SpaceId,
    vmid: u64,
    queue: (usize, u32),
}

pub struct Driver {
    pub rig: Rig,
    pub svm: Svm,
    pub spaces: Vec<Space>,
    /// Nanoseconds.
    pub now: u64,
    at: HashMap<(usize, u64), At>,
    entries: HashMap<(usize, u64), u64>,
    chunk_of: HashMap<(usize, u64), usize>,
    /// Faults to be served again at a time.
    throttled: Vec<(u64, FaultVector)>,
    /// Entries of the retry CAM whose answer is to wait.
    held: Vec<u32>,
    pub faults: u64,
    /// Pages copied either way.
    pub copied: u64,
    pub batches: Vec<usize>,
}

impl Driver {
    pub fn new(spaces: usize, config: SvmConfig) -> Self {
        let mut rig = Rig::on(
            &[(0, 2 * MIB), (2 * MIB, MIB), (1 << 32, (2 + 2 * BLOCKS * spaces as u64) * MIB)],
            Default::default(),
        );
        rig.bring_up();
        rig.cam_on();
        let mut svm = Svm::new(&SvmConfig { chunks: CHUNKS.len() as u32, ..config }).unwrap();
        let spaces = [(0, 2), (0, 3), (1, 2), (1, 3)]
            .into_iter()
            .zip(3..)
            .take(spaces)
            .map(|(queue, vmid)| {
                rig.space(vmid, ON | RETRY);
                rig.queue(queue.0, queue.1, vmid);
                Space { id: svm.create().unwrap(), vmid, queue }
            })
            .collect();
        for chunk in CHUNKS {
            rig.poke_vram(chunk, &vec![GARBAGE; 2 * MIB as usize]);
        }
        Self {
            rig,
            svm,
            spaces,
            now: 1_000_000_000,
            at: HashMap::new(),
            entries: HashMap::new(),
            chunk_of: HashMap::new(),
            throttled: vec![],
            held: vec![],
            faults: 0,
            copied: 0,
            batches: vec![],
        }
    }

    pub fn at(&self, space: usize, page: u64) -> At {
        self.at.get(&(space, page)).copied().unwrap_or(At::System)
    }

    fn frame(&self, space: usize, page: u64) -> u64 {
        FRAMES + (space as u64 * BLOCKS * 512 + page - FIRST) * PAGE
    }

    fn vram(&self, space: usize, page: u64) -> u64 {
        CHUNKS[self.chunk_of[&(space, page / 512)]] + page % 512 * PAGE
    }

    /// Where the CPU would find a page's bytes without moving them.
    pub fn peek(&self, space: usize, page: u64, offset: u64) -> u32 {
        let raw = match self.at(space, page) {
            At::Vram => self.rig.peek_vram(self.vram(space, page) + offset, 4),
            _ => self.rig.peek(self.frame(space, page) + offset, 4),
        };
        u32::from_le_bytes(raw.try_into().unwrap())
    }

    /// A store or load by the CPU: `None`: the page is the device's for some time yet, until then.
    pub fn cpu_touch(&mut self, space: usize, page: u64) -> Option<u64> {
        if self.at(space, page) == At::Vram {
            if let Some(until) = self.svm.cpu_fault(self.spaces[space].id, page * PAGE, self.now).unwrap() {
                assert!(until > self.now);
                return Some(until);
            }
            self.take_back(space, page / 512, &[page], Cause::CpuFault);
        }
        None
    }

    pub fn cpu_store(&mut self, space: usize, page: u64, offset: u64, value: u32) {
        if self.at(space, page) == At::Both {
            // Nothing to copy: the frame is good.
            self.drop_vram(space, page / 512, &[page], Cause::CpuFault);
        }
        assert_eq!(self.at(space, page), At::System);
        let frame = self.frame(space, page);
        self.rig.poke(frame + offset, &value.to_le_bytes());
    }

    /// Gives a queue packets.
    pub fn enqueue(&mut self, space: usize, dwords: &[u32]) {
        let Space { vmid, queue: (e, ring), .. } = self.spaces[space];
        self.rig.enqueue(e, ring, vmid, dwords);
    }

    pub fn drained(&mut self, space: usize) -> bool {
        let (e, ring) = self.spaces[space].queue;
        self.rig.drained(e, ring)
    }

    /// Takes what faults there are, and serves them; says whether there were any.
    pub fn step(&mut self) -> bool {
        self.rig.settle();
        let mut told = faults(&self.rig.take_vectors());
        self.faults += told.len() as u64;
        let now = self.now;
        told.extend(self.throttled.iter().filter(|(until, _)| *until <= now).map(|(_, fault)| *fault));
        self.throttled.retain(|(until, _)| *until > now);
        if told.is_empty() {
            self.held.drain(..).for_each(|cam| self.rig.answer(cam));
            return false;
        }
        self.now += 5_000;
        for some in told.chunks(MAX_FAULTS) {
            self.serve(some);
        }
        true
    }

    /// When the first throttled fault may come again.
    pub fn next_time(&self) -> Option<u64> {
        self.throttled.iter().map(|(until, _)| *until).min()
    }

    /// Serves until every queue has executed all it was given.
    pub fn finish(&mut self) {
        for _ in 0..1_000_000 {
            if self.step() {
                continue;
            }
            self.rig.settle();
            if (0..self.spaces.len()).all(|space| self.drained(space)) {
                return;
            }
            if let Some(time) = self.next_time() {
                self.now = self.now.max(time);
            }
        }
        panic!("queues stand still");
    }

    fn serve(&mut self, told: &[FaultVector]) {
        let space_of = |vmid| self.spaces.iter().position(|space| space.vmid == vmid).unwrap();
        let mut batch = Batch::try_new().unwrap();
        for (fault, tag) in told.iter().zip(0..) {
            assert!(fault.retry && fault.pasid == 1000 + fault.vmid as u32);
            let access = if fault.write { Access::Write } else { Access::Read };
            let space = self.spaces[space_of(fault.vmid)].id;
            batch.push(Fault { space, va: fault.page * PAGE, tag, access, region: 0 }).unwrap();
        }
        let (given, regions) = batch.parts(MAX_REGIONS);
        let plan = self.svm.serve(given, false, self.now, regions).unwrap();
        self.batches.push(told.len());
        let (given, regions) = (given.to_vec(), regions[..plan.regions].to_vec());
        for (region, index) in regions.iter().zip(0..) {
            self.perform(region, if region.guess { Cause::Prefetch } else { Cause::Fault });
            for fault in given.iter().filter(|fault| fault.region == index) {
                let vector = told[fault.tag as usize];
                match region.action {
                    Action::Throttle => self.throttled.push((region.until, vector)),
                    _ if region.replay => self.rig.answer(vector.cam),
                    _ => self.held.push(vector.cam),
                }
            }
        }
        if plan.flush {
            self.rig.settle();
        }
        if !plan.hold {
            self.held.drain(..).for_each(|cam| self.rig.answer(cam));
        }
    }

    /// Carries a region out.
    pub fn perform(&mut self, region: &Region, cause: Cause) {
        let space = self.spaces.iter().position(|space| space.id == region.space).unwrap();
        let block = region.va >> BLOCK_SHIFT;
        // What lies beyond the process's memory is skipped.
        let inside = |page: &u64| (FIRST..FIRST + BLOCKS * 512).contains(page);
        let pages: Vec<u64> = region.pages.iter().map(|n| block * 512 + u64::from(n)).filter(inside).collect();
        assert!(region.faulted.iter().all(|n| inside(&(block * 512 + u64::from(n)))), "a queue went astray");
        match region.action {
            Action::ToVram => self.bring(space, block, &pages, At::Vram, cause),
            Action::Duplicate => self.bring(space, block, &pages, At::Both, cause),
            Action::ToSystem => self.take_back(space, block, &pages, cause),
            Action::Map | Action::MapRemote | Action::MapExclusive => {}
            Action::Throttle => return,
            Action::Deny => panic!("nobody forbade anything"),
        }
        if region.action != Action::ToSystem || !region.faulted.is_empty() {
            self.map(space, block, &pages);
        }
        self.remap();
    }

    fn remap(&mut self) {
        for space in 0..self.spaces.len() {
            self.remap_of(space);
        }
    }

    fn remap_of(&mut self, space: usize) {
        while let Some(region) = self.svm.next_map(self.spaces[space].id) {
            let block = region.va >> BLOCK_SHIFT;
            let pages: Vec<u64> = region.pages.iter().map(|n| block * 512 + u64::from(n)).collect();
            self.map(space, block, &pages);
        }
    }

    fn map(&mut self, space: usize, block: u64, pages: &[u64]) {
        let (mut mapped, mut writable) = (Pages::NONE, Pages::NONE);
        for page in pages {
            let entry = match self.at(space, *page) {
                At::System => self.frame(space, *page) | bit::RAM,
                At::Vram => self.vram(space, *page) | bit::VRAM,
                At::Both => self.vram(space, *page) | bit::VALID | bit::READ,
            };
            self.set_entry(space, *page, entry);
            mapped.add((page % 512) as u32);
            if entry & bit::WRITE != 0 {
                writable.add((page % 512) as u32);
            }
        }
        let (space, va) = (self.spaces[space].id, block << BLOCK_SHIFT);
        self.svm.event(&Event::Mapped { space, va, pages: mapped, writable }, self.now).unwrap();
    }

    fn set_entry(&mut self, space: usize, page: u64, entry: u64) {
        if self.entries.insert((space, page), entry) != Some(entry) {
            self.rig.set_pte(self.spaces[space].vmid, page, entry);
        }
    }

    /// Out of the table, out of the device's caches.
    fn unmap(&mut self, space: usize, pages: &[u64]) {
        let were: Vec<u64> = pages
            .iter()
            .copied()
            .filter(|page| self.entries.get(&(space, *page)).is_some_and(|entry| *entry != 0))
            .collect();
        were.iter().for_each(|page| self.set_entry(space, *page, 0));
        if !were.is_empty() {
            self.rig.invalidate(2, 1 << self.spaces[space].vmid);
        }
    }

    fn migrated(&mut self, space: usize, block: u64, pages: &[u64], to: Place, cause: Cause) {
        let mut set = Pages::NONE;
        pages.iter().for_each(|page| set.add((page % 512) as u32));
        let chunk = self.chunk_of.get(&(space, block)).map(|chunk| *chunk as u32);
        let event =
            Event::Migrated { space: self.spaces[space].id, va: block << BLOCK_SHIFT, pages: set, to, cause, chunk };
        self.svm.event(&event, self.now).unwrap();
    }

    fn bring(&mut self, space: usize, block: u64, pages: &[u64], to: At, cause: Cause) {
        let come: Vec<u64> = pages.iter().copied().filter(|page| self.at(space, *page) == At::System).collect();
        let collapse: Vec<u64> =
            pages.iter().copied().filter(|page| self.at(space, *page) == At::Both && to == At::Vram).collect();
        if come.is_empty() && collapse.is_empty() {
            return;
        }
        self.take_chunk(space, block);
        self.unmap(space, &[&come[..], &collapse].concat());
        self.copy(space, &come, true);
        for page in come.iter().chain(&collapse) {
            self.at.insert((space, *page), to);
            if to == At::Vram {
                let frame = self.frame(space, *page);
                self.rig.ram.write(frame, &[GARBAGE; PAGE as usize]);
            }
        }
        let place = if to == At::Vram { Place::Vram } else { Place::Both };
        self.migrated(space, block, &[come, collapse].concat(), place, cause);
    }

    pub fn take_back(&mut self, space: usize, block: u64, pages: &[u64], cause: Cause) {
        let go: Vec<u64> = pages.iter().copied().filter(|page| self.at(space, *page) == At::Vram).collect();
        self.unmap(space, &go);
        self.copy(space, &go, false);
        self.drop_vram(space, block, pages, cause);
    }

    /// The pages' bytes are in their frames.
    fn drop_vram(&mut self, space: usize, block: u64, pages: &[u64], cause: Cause) {
        let go: Vec<u64> = pages.iter().copied().filter(|page| self.at(space, *page) != At::System).collect();
        if go.is_empty() {
            return;
        }
        self.unmap(space, &go);
        for page in &go {
            let at = self.vram(space, *page);
            self.rig.poke_vram(at, &[GARBAGE; PAGE as usize]);
            self.at.remove(&(space, *page));
        }
        self.migrated(space, block, &go, Place::System, cause);
        if (block * 512..block * 512 + 512).all(|page| self.at(space, page) == At::System) {
            let chunk = self.chunk_of.remove(&(space, block)).unwrap();
            self.svm.event(&Event::ChunkFree(chunk as u32), self.now).unwrap();
        }
        self.remap();
    }

    fn take_chunk(&mut self, space: usize, block: u64) {
        if self.chunk_of.contains_key(&(space, block)) {
            return;
        }
        let free = |driver: &Self| (0..CHUNKS.len()).find(|chunk| !driver.chunk_of.values().any(|used| used == chunk));
        if free(self).is_none() {
            let victim = self.svm.victim(self.now).expect("all chunks are in use") as usize;
            let (space, block) = *self.chunk_of.iter().find(|(_, chunk)| **chunk == victim).unwrap().0;
            let pages: Vec<u64> = (block * 512..block * 512 + 512).collect();
            self.take_back(space, block, &pages, Cause::Eviction);
        }
        let chunk = free(self).expect("a chunk that was evicted is free");
        self.chunk_of.insert((space, block), chunk);
    }

    /// Copies pages of a block, run by run, by the copy engine, through GART entries that show their frames.
    fn copy(&mut self, space: usize, pages: &[u64], in_vram: bool) {
        let mut rest = pages;
        while let Some(first) = rest.first() {
            let len = rest.iter().zip(*first..).take_while(|(page, next)| *page == next).count();
            for n in 0..len as u64 {
                let frame = self.frame(space, first + n);
                self.rig.map(WINDOW + n, frame | bit::RAM);
            }
            self.rig.invalidate(4, 1);
            let (window, vram) = (DATA, FB + self.vram(space, *first));
            let (to, from) = if in_vram { (vram, window) } else { (window, vram) };
            self.rig.execute(0, &p::copy(to, from, len as u32 * PAGE as u32));
            assert_eq!(self.rig.exception(0), 0);
            self.copied += len as u64;
            self.now += 2_000 + 300 * len as u64;
            rest = &rest[len..];
        }
    }
}
