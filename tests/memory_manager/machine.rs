// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The system around the policy: local memory, GART, frames of system memory, a backing store, page tables and CPU
//! mappings; it carries out actions, and refuses those that no driver could carry out safely.

use std::collections::HashMap;

use uvm_policy::event::{Action, Failure};
use uvm_policy::{BoId, Domain, Location, Residence};

pub const PAGE: u64 = 4096;
/// What a page reads as that its present owner did not write.
pub const GARBAGE: u64 = 0xdead_dead_dead_dead;

/// A page of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phys {
    /// Of local memory.
    Vram(u64),
    /// Of system memory.
    Frame(u64),
}

/// A page as the copy engine is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Vram(u64),
    Gart(u64),
}

/// Memory and a copy engine. All units are pages.
pub trait Bytes {
    fn read(&mut self, at: Phys) -> u64;
    fn write(&mut self, at: Phys, stamp: u64);
    /// Points a GART entry at a frame or at the dummy page.
    fn set_gart(&mut self, entries: &[(u64, Option<u64>)]);
    fn copy(&mut self, from: Engine, to: Engine, pages: u64);
    fn clear(&mut self, at: Engine, pages: u64);
}

/// Memory that is a table.
pub struct Tables {
    vram: Vec<u64>,
    frames: Vec<u64>,
    gart: Vec<Option<u64>>,
}

impl Tables {
    pub fn new(sizes: &Sizes) -> Self {
        let pages = |count: u64| vec![GARBAGE; count as usize];
        Self { vram: pages(sizes.vram), frames: pages(sizes.frames), gart: vec![None; sizes.gart as usize] }
    }
    fn at(&mut self, engine: Engine) -> &mut u64 {
        match engine {
            Engine::Vram(page) => &mut self.vram[page as usize],
            Engine::Gart(entry) => {
                let frame = self.gart[entry as usize].expect("the engine reaches the dummy page");
                &mut self.frames[frame as usize]
            }
        }
    }
}

impl Bytes for Tables {
    fn read(&mut self, at: Phys) -> u64 {
        match at {
            Phys::Vram(page) => self.vram[page as usize],
            Phys::Frame(frame) => self.frames[frame as usize],
        }
    }
    fn write(&mut self, at: Phys, stamp: u64) {
        match at {
            Phys::Vram(page) => self.vram[page as usize] = stamp,
            Phys::Frame(frame) => self.frames[frame as usize] = stamp,
        }
    }
    fn set_gart(&mut self, entries: &[(u64, Option<u64>)]) {
        for &(entry, frame) in entries {
            self.gart[entry as usize] = frame;
        }
    }
    fn copy(&mut self, from: Engine, to: Engine, pages: u64) {
        for page in 0..pages {
            let stamp = *self.at(from.plus(page));
            *self.at(to.plus(page)) = stamp;
        }
    }
    fn clear(&mut self, at: Engine, pages: u64) {
        (0..pages).for_each(|page| *self.at(at.plus(page)) = 0);
    }
}

impl Engine {
    pub fn plus(self, pages: u64) -> Self {
        match self {
            Self::Vram(page) => Self::Vram(page + pages),
            Self::Gart(entry) => Self::Gart(entry + pages),
        }
    }
}

/// How much there is of everything, in pages.
#[derive(Clone, Debug)]
pub struct Sizes {
    pub vram: u64,
    /// How much of VRAM the CPU sees.
    pub visible: u64,
    pub gart: u64,
    /// The end of the GART that is the paging segment.
    pub paging: u64,
    pub frames: u64,
    pub swap: u64,
}

/// First GART offset: not zero, so that a confusion with other offsets shows.
pub const GART_BASE: u64 = 1 << 32;

pub struct Machine<B> {
    pub bytes: B,
    sizes: Sizes,
    free_frames: Vec<u64>,
    /// What each GART entry points at: whose page, and the frame.
    gart: Vec<Option<(BoId, u64, u64)>>,
    /// The frame of each page of each buffer.
    pages: HashMap<(BoId, u64), u64>,
    swap: HashMap<(BoId, u64), u64>,
    /// Where page table entries point.
    ptes: HashMap<BoId, Location>,
    /// Where CPU mappings point; SYSTEM means the buffer's frames.
    pub cpu: HashMap<BoId, Location>,
}

impl<B: Bytes> Machine<B> {
    pub fn new(sizes: &Sizes, bytes: B) -> Self {
        Self {
            bytes,
            sizes: sizes.clone(),
            free_frames: (0..sizes.frames).rev().collect(),
            gart: vec![None; sizes.gart as usize],
            pages: HashMap::new(),
            swap: HashMap::new(),
            ptes: HashMap::new(),
            cpu: HashMap::new(),
        }
    }

    /// What is left when all buffers are gone must be nothing.
    pub fn check_empty(&self) {
        assert!(self.gart.iter().all(Option::is_none), "GART entries leaked");
        assert_eq!((self.pages.len(), self.swap.len()), (0, 0), "pages or swap leaked");
        assert_eq!(self.free_frames.len() as u64, self.sizes.frames, "frames leaked");
        assert!(self.ptes.is_empty() && self.cpu.is_empty(), "mappings leaked");
    }

    pub fn free_frames(&self) -> u64 {
        self.free_frames.len() as u64
    }

    fn engine(&self, at: Location) -> Engine {
        match at.domain {
            Domain::Vram => Engine::Vram(count(at.offset)),
            Domain::Gtt => Engine::Gart(gart_index(at.offset)),
            Domain::System => panic!("the engine has no address in SYSTEM"),
        }
    }

    /// Carries out an action; one that is to fail does what a failed one may do.
    pub fn perform(&mut self, action: &Action, fail: Option<Failure>) -> Result<(), Failure> {
        if let Some(failure) = fail {
            self.fail(action);
            return Err(failure);
        }
        match *action {
            Action::AllocPages { bo, offset, size, zeroed } => {
                let (first, pages) = (count(offset), count(size));
                if self.free_frames() < pages {
                    return Err(Failure::NoMemory);
                }
                for page in first..first + pages {
                    let frame = self.free_frames.pop().unwrap();
                    assert_eq!(self.pages.insert((bo, page), frame), None, "a page made twice");
                    self.bytes.write(Phys::Frame(frame), if zeroed { 0 } else { GARBAGE });
                }
            }
            Action::FreePages { bo, offset, size } => {
                for page in count(offset)..count(offset) + count(size) {
                    let bound = |entry: &(BoId, u64, u64)| (entry.0, entry.1) == (bo, page);
                    assert!(!self.gart.iter().flatten().any(bound), "a page freed while the GART reaches it");
                    if let Some(frame) = self.pages.remove(&(bo, page)) {
                        self.bytes.write(Phys::Frame(frame), GARBAGE);
                        self.free_frames.push(frame);
                    }
                }
                let by_cpu = self.cpu.get(&bo).is_some_and(|at| at.domain != Domain::Vram);
                assert!(!by_cpu, "pages freed while the CPU maps them");
                let by_gpu = self.ptes.get(&bo).is_some_and(|at| at.domain == Domain::System);
                assert!(!by_gpu, "pages freed while page tables point at them");
            }
            Action::Bind { bo, offset, size, gart } => self.bind(bo, offset, size, gart),
            Action::Unbind { gart, size } => self.unbind(gart, size),
            Action::PageOut { bo, offset, size, gart, from } => {
                self.bind(bo, offset, size, gart);
                self.bytes.copy(self.engine(from), Engine::Gart(gart_index(gart)), count(size));
                self.unbind(gart, size);
            }
            Action::PageIn { bo, offset, size, gart, to } => {
                self.bind(bo, offset, size, gart);
                self.bytes.copy(Engine::Gart(gart_index(gart)), self.engine(to), count(size));
                self.unbind(gart, size);
            }
            Action::Copy { bo, from, to, size } => {
                let (from, to) = (self.engine(from), self.engine(to));
                for end in [from, to] {
                    self.check_owner(bo, end, count(size));
                }
                self.bytes.copy(from, to, count(size));
            }
            Action::Clear { at, size, .. } => {
                let at = self.engine(at);
                self.bytes.clear(at, count(size));
            }
            Action::SwapOut { bo, offset, size } => {
                if self.swap.len() as u64 + count(size) > self.sizes.swap {
                    return Err(Failure::SwapFull);
                }
                for page in count(offset)..count(offset) + count(size) {
                    let stamp = self.bytes.read(Phys::Frame(self.pages[&(bo, page)]));
                    assert_eq!(self.swap.insert((bo, page), stamp), None, "a page swapped twice");
                }
            }
            Action::SwapIn { bo, offset, size } => {
                for page in count(offset)..count(offset) + count(size) {
                    let stamp = self.swap[&(bo, page)];
                    self.bytes.write(Phys::Frame(self.pages[&(bo, page)]), stamp);
                }
            }
            Action::SwapDrop { bo } => self.swap.retain(|key, _| key.0 != bo),
            Action::Zap { bo } => {
                self.ptes.remove(&bo);
                self.cpu.remove(&bo);
            }
            Action::WritePtes { bo, at, .. } => {
                self.ptes.insert(bo, at);
            }
            Action::Ready(_) | Action::Refused(..) | Action::Gone(_) => unreachable!("not to be carried out"),
        }
        Ok(())
    }

    fn bind(&mut self, bo: BoId, offset: u64, size: u64, gart: u64) {
        let mut entries = vec![];
        for page in 0..count(size) {
            let (number, entry) = (count(offset) + page, gart_index(gart) + page);
            let frame = *self.pages.get(&(bo, number)).expect("bound without a page");
            let old = self.gart[entry as usize].replace((bo, number, frame));
            assert_eq!(old, None, "bound over a bound entry");
            entries.push((entry, Some(frame)));
        }
        self.bytes.set_gart(&entries);
    }

    fn unbind(&mut self, gart: u64, size: u64) {
        let entries: Vec<_> = (0..count(size)).map(|page| (gart_index(gart) + page, None)).collect();
        for (entry, _) in &entries {
            assert!(self.gart[*entry as usize].take().is_some(), "unbound an entry that is not bound");
        }
        self.bytes.set_gart(&entries);
    }

    /// What a window shows has to be the buffer's own pages.
    fn check_owner(&self, bo: BoId, end: Engine, pages: u64) {
        if let Engine::Gart(first) = end {
            for entry in first..first + pages {
                let owner = self.gart[entry as usize].map(|(owner, ..)| owner);
                assert_eq!(owner, Some(bo), "a copy through another's GART entries");
            }
        }
    }

    /// What a failed action may leave behind: part of what it was to write.
    fn fail(&mut self, action: &Action) {
        match *action {
            Action::Copy { to, .. } => {
                let to = self.engine(to);
                match to {
                    Engine::Vram(page) => self.bytes.write(Phys::Vram(page), GARBAGE),
                    Engine::Gart(entry) => {
                        let frame = self.gart[entry as usize].expect("bound").2;
                        self.bytes.write(Phys::Frame(frame), GARBAGE);
                    }
                }
            }
            Action::Clear { at, .. } | Action::PageIn { to: at, .. } => {
                if let Engine::Vram(page) = self.engine(at) {
                    self.bytes.write(Phys::Vram(page), GARBAGE);
                }
            }
            Action::SwapIn { bo, offset, .. } | Action::PageOut { bo, offset, .. } => {
                self.bytes.write(Phys::Frame(self.pages[&(bo, count(offset))]), GARBAGE);
            }
            Action::SwapOut { bo, offset, .. } if (self.swap.len() as u64) < self.sizes.swap => {
                self.swap.insert((bo, count(offset)), GARBAGE);
            }
            _ => {}
        }
    }

    /// The page behind a buffer's page, where it resides.
    fn locate(&self, bo: BoId, at: Residence, page: u64) -> Option<Phys> {
        match at {
            Residence::Empty | Residence::Swap => None,
            Residence::Pages => Some(Phys::Frame(*self.pages.get(&(bo, page)).expect("a page that is there"))),
            Residence::Segment(_, Location { domain: Domain::Vram, offset }) => Some(Phys::Vram(count(offset) + page)),
            Residence::Segment(_, Location { offset, .. }) => {
                let entry = self.gart[(gart_index(offset) + page) as usize].expect("a bound entry");
                assert_eq!((entry.0, entry.1), (bo, page), "the GART shows another page");
                Some(Phys::Frame(entry.2))
            }
        }
    }

    pub fn read(&mut self, bo: BoId, at: Residence, page: u64) -> u64 {
        match (self.locate(bo, at, page), at) {
            (Some(phys), _) => self.bytes.read(phys),
            (None, Residence::Swap) => *self.swap.get(&(bo, page)).expect("a page in the backing store"),
            (None, _) => 0,
        }
    }

    pub fn write(&mut self, bo: BoId, at: Residence, page: u64, stamp: u64) {
        let phys = self.locate(bo, at, page).expect("memory behind the page");
        self.bytes.write(phys, stamp);
    }

    /// A store by the CPU through its mapping, wherever that points.
    pub fn cpu_store(&mut self, bo: BoId, page: u64, stamp: u64) {
        let phys = match self.cpu[&bo] {
            Location { domain: Domain::Vram, offset } => Phys::Vram(count(offset) + page),
            _ => Phys::Frame(*self.pages.get(&(bo, page)).expect("the CPU maps a page that is gone")),
        };
        self.bytes.write(phys, stamp);
    }

    /// Page tables point where the buffer is.
    pub fn check_shown(&self, bo: BoId, at: Location) {
        assert_eq!(self.ptes.get(&bo), Some(&at), "page tables of a job's buffer");
    }

    /// The caller itself clears the entries of the last mapping.
    pub fn clear_entries(&mut self, bo: BoId) {
        self.ptes.remove(&bo);
    }

    pub fn forget(&mut self, bo: BoId) {
        self.ptes.remove(&bo);
        self.cpu.remove(&bo);
    }
}

fn count(bytes: u64) -> u64 {
    assert_eq!(bytes % PAGE, 0);
    bytes / PAGE
}

fn gart_index(offset: u64) -> u64 {
    count(offset.checked_sub(GART_BASE).expect("an offset in the GART"))
}
