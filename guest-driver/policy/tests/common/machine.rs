// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Memory of a few pages, each with a stamp, and a driver that performs the steps of moves on it.

use std::collections::HashMap;

use uvm_policy::{Action, BoId, Domain, Location, Outcome};

pub const PAGE: u64 = 4096;
pub const VRAM_PAGES: u64 = 48;
pub const GART_PAGES: u64 = 24;
/// Not zero, so that a confusion of GART offsets with others shows.
pub const GART_BASE: u64 = 1 << 32;

/// What a page reads as that its present owner did not write.
const GARBAGE: u64 = u64::MAX;

pub struct Machine {
    vram: Vec<u64>,
    /// The system page that each GART entry points at; `None`: the dummy page.
    gart: Vec<Option<(BoId, usize)>>,
    /// Each buffer's system pages, while it has some.
    system: HashMap<BoId, Vec<u64>>,
}

impl Machine {
    pub fn new() -> Self {
        Self { vram: vec![GARBAGE; VRAM_PAGES as usize], gart: vec![None; GART_PAGES as usize], system: HashMap::new() }
    }

    /// Reads a page as the GPU or the CPU reaches it at a location.
    fn read(&self, bo: BoId, at: Location, page: usize) -> u64 {
        match at.domain {
            Domain::System => self.system.get(&bo).map_or(0, |pages| pages[page]),
            Domain::Gtt => {
                let (owner, index) = self.gart[gart_index(at.offset) + page].expect("an entry that points at a page");
                assert_eq!((owner, index), (bo, page), "the entry points at another page");
                self.system[&owner][index]
            }
            Domain::Vram => self.vram[vram_index(at.offset) + page],
        }
    }

    fn store(&mut self, bo: BoId, at: Location, page: usize, stamp: u64) {
        match at.domain {
            Domain::System => panic!("system pages are reached through the GART or by the CPU"),
            Domain::Gtt => {
                let (owner, index) = self.gart[gart_index(at.offset) + page].expect("an entry that points at a page");
                assert_eq!(owner, bo);
                self.system.get_mut(&owner).expect("pages behind the entry")[index] = stamp;
            }
            Domain::Vram => self.vram[vram_index(at.offset) + page] = stamp,
        }
    }

    /// A write by the CPU.
    pub fn write(&mut self, bo: BoId, at: Location, pages: usize, page: usize, stamp: u64) {
        if at.domain == Domain::System {
            self.populate(bo, pages);
            self.system.get_mut(&bo).expect("just made")[page] = stamp;
        } else {
            self.store(bo, at, page, stamp);
        }
    }

    pub fn check(&self, bo: BoId, at: Location, content: &[u64]) {
        for (page, expected) in content.iter().enumerate() {
            assert_eq!(self.read(bo, at, page), *expected, "page {page} of {bo:?} at {at:?}");
        }
    }

    /// Whether a buffer holds system pages.
    pub fn has_pages(&self, bo: BoId) -> bool {
        self.system.contains_key(&bo)
    }

    /// The end of a buffer: unbound, pages gone, and what it held in VRAM is the next owner's problem.
    pub fn forget(&mut self, bo: BoId, at: Location, pages: usize) {
        if at.domain == Domain::Gtt {
            self.unbind(bo, at.offset, pages);
        }
        self.system.remove(&bo);
        assert!(self.gart.iter().flatten().all(|(owner, _)| *owner != bo), "an entry outlives its buffer");
    }

    /// Performs steps in order; those before a failed one are undone.
    pub fn perform(&mut self, bo: BoId, pages: usize, steps: &[Action], fail_at: Option<usize>) -> Outcome {
        let had_pages = self.has_pages(bo);
        for (i, step) in steps.iter().enumerate() {
            // These two do not fail in the driver: entries are overwritten, pages given back.
            let can_fail = !matches!(step, Action::Unbind { .. } | Action::ReleasePages);
            if fail_at == Some(i) && can_fail {
                self.fail_halfway(bo, step);
                for undone in &steps[..i] {
                    if let Action::Bind { offset, size } = undone {
                        self.unbind(bo, *offset, page_count(*size));
                    }
                }
                if !had_pages {
                    self.system.remove(&bo);
                }
                return Outcome::Failed;
            }
            self.step(bo, pages, step);
        }
        Outcome::Done
    }

    /// A copy or a fill that dies has written part of its target.
    fn fail_halfway(&mut self, bo: BoId, step: &Action) {
        match *step {
            Action::Copy { to, .. } | Action::Clear { at: to, .. } if to.domain != Domain::System => {
                self.store(bo, to, 0, if to.domain == Domain::Vram { GARBAGE } else { self.read(bo, to, 0) });
            }
            _ => {}
        }
    }

    fn step(&mut self, bo: BoId, pages: usize, step: &Action) {
        match *step {
            Action::Populate => self.populate(bo, pages),
            Action::Bind { offset, size } => self.bind(bo, offset, 0, page_count(size)),
            Action::Unbind { offset, size } => self.unbind(bo, offset, page_count(size)),
            Action::Clear { at, size } => {
                for page in 0..page_count(size) {
                    self.store(bo, at, page, 0);
                }
            }
            Action::ReleasePages => {
                self.system.remove(&bo);
            }
            Action::Copy { from, to, size, window: _, window_size: 0 } => {
                for page in 0..page_count(size) {
                    let stamp = self.read(bo, from, page);
                    self.store(bo, to, page, stamp);
                }
            }
            Action::Copy { from, to, size, window, window_size } => {
                let (total, piece) = (page_count(size), page_count(window_size));
                for first in (0..total).step_by(piece) {
                    let len = piece.min(total - first);
                    self.bind(bo, window, first, len);
                    for page in first..first + len {
                        let system = self.gart[gart_index(window) + page - first].expect("bound above").1;
                        match (from.domain, to.domain) {
                            (Domain::System, Domain::Vram) => {
                                let stamp = self.system[&bo][system];
                                self.store(bo, to, page, stamp);
                            }
                            (Domain::Vram, Domain::System) => {
                                let stamp = self.read(bo, from, page);
                                self.system.get_mut(&bo).expect("populated")[system] = stamp;
                            }
                            ends => panic!("a window between {ends:?}"),
                        }
                    }
                    self.gart[gart_index(window)..gart_index(window) + len].fill(None);
                }
            }
        }
    }

    fn populate(&mut self, bo: BoId, pages: usize) {
        self.system.entry(bo).or_insert_with(|| vec![0; pages]);
    }

    fn bind(&mut self, bo: BoId, offset: u64, first: usize, pages: usize) {
        assert!(self.system.contains_key(&bo), "bound without pages");
        for i in 0..pages {
            let entry = &mut self.gart[gart_index(offset) + i];
            assert_eq!(entry.replace((bo, first + i)), None, "bound over a bound entry");
        }
    }

    fn unbind(&mut self, bo: BoId, offset: u64, pages: usize) {
        for i in 0..pages {
            let entry = &mut self.gart[gart_index(offset) + i];
            assert_eq!(entry.take(), Some((bo, i)), "unbound an entry of another");
        }
    }
}

fn page_count(bytes: u64) -> usize {
    assert_eq!(bytes % PAGE, 0);
    (bytes / PAGE) as usize
}

fn vram_index(offset: u64) -> usize {
    page_count(offset)
}

fn gart_index(offset: u64) -> usize {
    page_count(offset.checked_sub(GART_BASE).expect("an offset in the GART"))
}
