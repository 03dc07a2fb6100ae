// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Where the device's blocks send events, and where its inputs pass. Costs a test of one byte while off.

use super::event::{Answer, Call, Depth, Event, RingId, Sink, Stage};
use super::faults::Faults;
use super::tape::{Divergence, Tape};
use crate::bus::{Clock, SystemMemory};
use crate::gmc::{Fault, Phys};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use xxhash_rust::xxh3::xxh3_64;

/// A handle; clones send to the same place.
#[derive(Clone, Default)]
pub struct Tracer {
    depth: Depth,
    state: Option<Arc<Mutex<State>>>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tracer({:?})", self.depth)
    }
}

struct State {
    /// What the clock said last.
    now: u64,
    end: End,
    faults: Faults,
    /// The memory map as last recorded.
    regions: Option<Vec<(u64, u64)>>,
    /// Pointers of the rings as last recorded.
    rings: BTreeMap<RingId, (u64, u64)>,
    /// Hits and walks as last recorded.
    tlb: (u64, u64),
}

/// Where events end.
enum End {
    /// They are recorded.
    Sink(Box<dyn Sink>),
    /// They are compared, and inputs come from there.
    Tape(Box<Tape>),
}

impl State {
    fn put(&mut self, event: &Event) {
        match &mut self.end {
            End::Sink(sink) => sink.record(self.now, event),
            End::Tape(tape) => tape.compare(self.now, event),
        }
    }
    fn fault(&mut self, step: Option<(u64, Stage)>) {
        if let Some((id, stage)) = step {
            self.put(&Event::Fault { id, stage });
        }
    }
}

impl Tracer {
    /// Records into `sink` as deep as `depth`.
    pub fn new(depth: Depth, sink: Box<dyn Sink>) -> Self {
        match depth {
            Depth::Off => Self::default(),
            _ => Self::to(depth, End::Sink(sink)),
        }
    }
    /// Replays `tape`: takes inputs from it and compares the rest.
    pub(super) fn replay(tape: Tape) -> Self {
        Self::to(Depth::Full, End::Tape(Box::new(tape)))
    }
    fn to(depth: Depth, end: End) -> Self {
        let faults = Faults::default();
        let state = State { now: 0, end, faults, regions: None, rings: BTreeMap::new(), tlb: (0, 0) };
        Self { depth, state: Some(Arc::new(Mutex::new(state))) }
    }
    /// How much is recorded.
    pub fn depth(&self) -> Depth {
        self.depth
    }
    /// Whether everything is recorded.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        self.depth == Depth::Full
    }
    #[inline(always)]
    fn with(&self, work: impl FnOnce(&mut State)) {
        if self.depth != Depth::Off {
            self.with_state(work);
        }
    }
    #[cold]
    fn with_state(&self, work: impl FnOnce(&mut State)) {
        if let Some(state) = &self.state {
            work(&mut state.lock());
        }
    }
    /// Records the event that `make` builds, at either depth.
    #[inline]
    pub fn record(&self, make: impl FnOnce() -> Event) {
        self.with(|state| state.put(&make()));
    }
    /// Records the event that `make` builds in a full trace.
    #[inline]
    pub fn detail(&self, make: impl FnOnce() -> Event) {
        if self.is_full() {
            self.with_state(|state| state.put(&make()));
        }
    }

    // The seam.

    /// A call begins.
    #[inline]
    pub fn call(&self, clock: &dyn Clock, call: impl FnOnce() -> Call) {
        self.with(|state| {
            state.now = match &mut state.end {
                End::Sink(_) => clock.now(),
                End::Tape(tape) => tape.next_time(),
            };
            if self.depth == Depth::Full {
                state.put(&Event::Call(call()));
            }
        });
    }
    /// Reads the clock.
    #[inline]
    pub fn clock(&self, clock: &dyn Clock) -> u64 {
        if self.depth == Depth::Off {
            return clock.now();
        }
        let mut now = 0;
        self.with_state(|state| {
            state.now = match &mut state.end {
                End::Sink(_) => clock.now(),
                End::Tape(tape) => tape.next_time(),
            };
            now = state.now;
            if self.depth == Depth::Full {
                state.put(&Event::Clock);
            }
        });
        now
    }
    /// What the clock said last, if anything is recorded.
    pub fn last(&self) -> Option<u64> {
        self.state.as_ref().map(|state| state.lock().now)
    }
    /// A replay maps `memory` as it was mapped here.
    pub fn remap(&self, memory: &SystemMemory) {
        if !self.is_full() {
            return;
        }
        self.with_state(|state| {
            let End::Tape(tape) = &mut state.end else { return };
            let Some(regions) = tape.next_map() else { return };
            match super::tape::map(&regions) {
                Ok(map) => memory.lock().map(|guard| guard.replace(map)).unwrap_or(()),
                Err(why) => tape.give_up(format!("its memory map cannot be made: {why}")),
            }
        });
    }
    /// The device looks at the memory that `map` maps.
    pub fn mapped(&self, map: &GuestMemoryMmap) {
        if !self.is_full() {
            return;
        }
        self.with_state(|state| {
            let now = || map.iter().map(|r| (r.start_addr().0, r.len()));
            if !state.regions.as_ref().is_some_and(|seen| seen.iter().copied().eq(now())) {
                let regions: Vec<_> = now().collect();
                state.regions = Some(regions.clone());
                state.put(&Event::Map { regions });
            }
        });
    }
    /// The device read `data` at `at`. In a replay, `data` becomes what it was then; true if that changed it.
    pub fn load(&self, at: Phys, data: &mut [u8]) -> bool {
        let mut changed = false;
        self.with(|state| match &mut state.end {
            End::Sink(sink) => sink.record(state.now, &Event::Load { at, data: data.to_vec() }),
            End::Tape(tape) => changed = tape.load(state.now, at, data),
        });
        changed
    }
    /// The device writes `data` at `at`.
    pub fn store(&self, at: Phys, data: &[u8]) {
        self.detail(|| Event::Store { at, len: data.len() as u64, digest: xxh3_64(data) });
    }
    /// Why a replay does not go as it was recorded, if it does not.
    pub(super) fn divergence(&self) -> Option<Divergence> {
        self.tape(|tape| tape.divergence().cloned()).flatten()
    }
    /// Looks at the tape of a replay.
    pub(super) fn tape<R>(&self, look: impl FnOnce(&mut Tape) -> R) -> Option<R> {
        let state = self.state.as_ref()?;
        match &mut state.lock().end {
            End::Tape(tape) => Some(look(tape)),
            End::Sink(_) => None,
        }
    }

    // What the device makes of it.

    /// A ring's pointers are there.
    pub fn ring(&self, ring: RingId, rptr: u64, wptr: u64) {
        self.with(|state| {
            let seen = state.rings.insert(ring, (rptr, wptr)).unwrap_or((0, 0));
            if seen != (rptr, wptr) {
                state.put(&Event::Ring { ring, rptr, wptr });
            }
        });
    }
    /// The caches have counted so far.
    pub fn tlb(&self, hits: u64, walks: u64) {
        self.with(|state| {
            if std::mem::replace(&mut state.tlb, (hits, walks)) != (hits, walks) {
                state.put(&Event::Tlb { hits, walks });
            }
        });
    }
    /// The device was reset.
    pub fn reset(&self) {
        self.with(|state| {
            state.faults.reset();
            state.tlb = (0, 0);
            state.put(&Event::Reset);
        });
    }
    /// An access failed; `ring` waits for its page, or nobody does.
    pub fn fault_raised(&self, fault: &Fault, ring: Option<RingId>) {
        self.with(|state| {
            let step = state.faults.raised(fault, ring);
            state.fault(Some(step));
        });
    }
    /// A fault's vector was written, or not: `stage` says.
    pub fn fault_told(&self, fault: &Fault, stage: Stage) {
        self.with(|state| {
            let step = state.faults.told(fault, stage);
            state.fault(step);
        });
    }
    /// An access that waits may be made again.
    pub fn fault_answered(&self, fault: &Fault, by: Answer) {
        self.with(|state| {
            let step = state.faults.answered(fault, by);
            state.fault(step);
        });
    }
    /// A ring that waited makes its access again.
    pub fn fault_retried(&self, ring: RingId) {
        self.with(|state| {
            let step = state.faults.retried(ring);
            state.fault(step);
        });
    }
    /// An access of a ring, which may wait for several pages, is made again.
    pub fn access_retried(&self, ring: RingId, fault: &Fault) {
        self.with(|state| {
            let step = state.faults.access_retried(ring, fault);
            state.fault(step);
        });
    }
    /// An engine's step is over, and what it raised is told.
    #[inline]
    pub fn settle(&self) {
        self.with(|state| state.faults.settle());
    }
}
