// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Moves that the memory manager carries out step by step: between segments, system pages and the backing store.
//!
//! A move has two lanes. A stage that is one action uses the first; chunks use both, so that one is copied while
//! the other gets pages or waits for an end to be told. Until all its chunks are there the bytes count as being at the old place; a
//! failure lets what is under way end, takes back what was done, and leaves them there. Actions that take something
//! back must succeed: one that fails is given out again at the next tick.

use crate::buffers::Place;
use crate::domain::Location;
use crate::error::Error;
use crate::event::{Action, Failure, Issued};
use crate::heap::{BlockKind, From};
use crate::ids::{ActionId, BoId, Token};
use crate::policy::{AllocRequest, Policy};
use crate::residency::{spot_of, Content, Spot};
use crate::run::{stage, stages, Chain, Class, Lane, Move, Phase, Run, Step, IDLE};

impl Policy {
    fn class(&self, spot: Spot) -> Class {
        match spot {
            Spot::Empty => Class::Empty,
            Spot::Pages => Class::Pages,
            Spot::Swap => Class::Swap,
            Spot::In(id) if self.is_local(id) => Class::Local,
            Spot::In(_) => Class::Pcie,
        }
    }

    /// Begins to move an allocation that does not move. The place is freed if it cannot begin.
    pub(crate) fn begin_run(&mut self, slot: u32, to: Place, content: Content) -> Result<(), Error> {
        match self.try_begin(slot, to, content) {
            Err(error) => match to.block {
                Some(block) => self.release(block).and(Err(error)),
                None => Err(error),
            },
            done => done,
        }
    }

    fn try_begin(&mut self, slot: u32, to: Place, content: Content) -> Result<(), Error> {
        let key = self.bos.key(slot).ok_or(Error::Unknown)?;
        let bo = self.bos.get(key)?;
        let residency = &bo.residency;
        if let Some(token) = bo.moving {
            return Err(Error::Wait(token));
        }
        let (size, owner) = (bo.size, residency.owner);
        let (from, dest) = (self.spot(slot), spot_of(&to, content));
        let (mut before, mut after, chain) = stages(self.class(from), self.class(dest)).ok_or(Error::Invalid)?;
        if residency.entries || residency.cpu {
            // What goes away for good counts as gone at once.
            *(if dest == Spot::Empty { &mut after } else { &mut before }) |= stage::ZAP;
        }
        let leaving = match from {
            Spot::In(segment) => Some(segment),
            _ => None,
        };
        let swapping = dest == Spot::Swap;
        let run = Run {
            phase: Phase::Before,
            before,
            after,
            undo: 0,
            chain,
            next: 0,
            lanes: [IDLE; 2],
            content,
            failure: None,
            shown: false,
            leaving,
            swapping,
            dies: dest == Spot::Empty,
            stays: false,
        };
        let moved = self.moves.insert(Move { bo: BoId::pack(key), to, run })?;
        self.unlist(slot);
        self.pardon(slot);
        if let Some(bo) = self.bos.at_mut(slot) {
            bo.moving = Some(Token::pack(moved));
        }
        if let Some(area) = leaving.and_then(|segment| self.mm.area(Some(segment))) {
            area.outgoing = area.outgoing.saturating_add(size);
        }
        self.mm.swapping = self.mm.swapping.saturating_add(u32::from(swapping));
        self.charge(owner, dest, size, true);
        if dest == Spot::Empty {
            self.edit(slot, |residency| residency.purged = true);
        }
        self.go_on(moved.slot);
        Ok(())
    }

    /// Begins to write the page table entries of an allocation that is in a segment.
    pub(crate) fn begin_show(&mut self, slot: u32) -> Result<(), Error> {
        let key = self.bos.key(slot).ok_or(Error::Unknown)?;
        let run = Run {
            phase: Phase::Tail,
            before: 0,
            after: 0,
            undo: 0,
            chain: Chain::PageIn,
            next: 0,
            lanes: [IDLE; 2],
            content: Content::Pages,
            failure: None,
            shown: false,
            leaving: None,
            swapping: false,
            dies: false,
            stays: true,
        };
        let moved = self.moves.insert(Move { bo: BoId::pack(key), to: Place::SYSTEM, run })?;
        self.unlist(slot);
        if let Some(bo) = self.bos.at_mut(slot) {
            bo.moving = Some(Token::pack(moved));
        }
        self.go_on(moved.slot);
        Ok(())
    }

    fn run(&self, moved: u32) -> Option<(u32, &Run)> {
        let Move { bo, run, .. } = self.moves.at(moved)?;
        Some((bo.unpack()?.slot, run))
    }

    fn edit_run(&mut self, moved: u32, change: impl FnOnce(&mut Run)) {
        if let Some(moved) = self.moves.at_mut(moved) {
            change(&mut moved.run);
        }
    }

    fn edit_lane(&mut self, moved: u32, lane: u8, change: impl FnOnce(&mut Lane)) {
        self.edit_run(moved, |run| {
            if let Some(lane) = run.lanes.get_mut(usize::from(lane)) {
                change(lane);
            }
        });
    }

    /// Gives each idle lane its next step, and passes from stage to stage while nothing is under way.
    fn go_on(&mut self, moved: u32) {
        // Each turn passes a phase, or begins something and returns.
        for _ in 0..8 {
            let Some((slot, run)) = self.run(moved) else { return };
            if run.lanes.iter().any(|lane| lane.step != Step::Idle) {
                return;
            }
            let (phase, failed) = (run.phase, run.failure.is_some());
            let todo = match phase {
                Phase::Before if failed => 0,
                Phase::Before => run.before,
                Phase::After => run.after,
                Phase::Undo => run.undo,
                Phase::Tail => 0,
            };
            let next = todo & todo.wrapping_neg();
            if next == stage::CHUNKS {
                let size = self.bos.at(slot).map_or(0, |bo| bo.size);
                if run.next < size {
                    self.feed(moved, 0);
                    self.feed(moved, 1);
                    return;
                }
                self.edit_run(moved, |run| run.before &= !stage::CHUNKS);
            } else if next != 0 {
                self.begin_step(moved, 0, Step::Whole(next));
                return;
            } else {
                match phase {
                    Phase::Before if failed => self.edit_run(moved, |run| run.phase = Phase::Undo),
                    Phase::Before => self.commit(moved),
                    Phase::After | Phase::Undo => self.edit_run(moved, |run| run.phase = Phase::Tail),
                    Phase::Tail if self.wants_show(moved) => {
                        self.edit_run(moved, |run| run.shown = true);
                        self.begin_step(moved, 0, Step::Whole(stage::SHOW));
                        return;
                    }
                    Phase::Tail => {
                        self.end_run(moved);
                        return;
                    }
                }
            }
        }
    }

    /// Whether page tables are to be written at the end of a move.
    fn wants_show(&self, moved: u32) -> bool {
        let Some((slot, run)) = self.run(moved) else { return false };
        let Some(residency) = self.residency(slot) else { return false };
        let used = !residency.doomed || residency.refs != 0;
        self.may_show(slot, residency) && residency.maps != 0 && !residency.shown && used && !run.shown
    }

    /// The bytes count as moved from here on.
    fn commit(&mut self, moved: u32) {
        let Some(Move { bo, to, run }) = self.moves.at_mut(moved) else { return };
        run.phase = Phase::After;
        let Some(bo) = bo.unpack().and_then(|key| self.bos.at_mut(key.slot)) else { return };
        core::mem::swap(&mut bo.place, to);
        core::mem::swap(&mut bo.residency.content, &mut run.content);
    }

    /// Gives an idle lane the next chunk, if there is one.
    fn feed(&mut self, moved: u32, lane: u8) {
        let Some((slot, run)) = self.run(moved) else { return };
        let size = self.bos.at(slot).map_or(0, |bo| bo.size);
        let (at, first) = (run.next, run.chain.first());
        let len = size.saturating_sub(at).min(self.mm.config.chunk);
        if len == 0 || run.failure.is_some() {
            return;
        }
        self.edit_run(moved, |run| run.next = at.saturating_add(len));
        self.edit_lane(moved, lane, |lane| (lane.at, lane.len) = (at, len));
        self.begin_step(moved, lane, first);
    }

    fn begin_step(&mut self, moved: u32, lane: u8, step: Step) {
        self.edit_lane(moved, lane, |lane| lane.step = step);
        if step == Step::Window {
            self.mm.windows.push_back(0, moved);
            self.serve_windows();
        } else {
            self.mm.ready.push_back(0, moved);
        }
    }

    /// Lends ranges of the paging segment, first come first served.
    fn serve_windows(&mut self) {
        while let Some(moved) = self.mm.windows.front(0) {
            for lane in 0..2u8 {
                let Some(Lane { step: Step::Window, len, .. }) = self.lane(moved, lane) else { continue };
                let request = AllocRequest { size: len, align: 0, from: From::Bottom, within: None };
                // No room: it waits, and those behind it do, for a window to come back; or for the next tick, if it
                // was the heap's table that found no memory.
                let Ok(range) = self.alloc_as(self.mm.paging, &request, BlockKind::Buffer) else { return };
                self.edit_lane(moved, lane, |lane| {
                    (lane.window, lane.step) = (Some((range.id, range.offset)), Step::Copy);
                });
                self.mm.ready.push_back(0, moved);
            }
            self.mm.windows.remove(moved);
        }
    }

    fn lane(&self, moved: u32, lane: u8) -> Option<Lane> {
        self.run(moved)?.1.lanes.get(usize::from(lane)).copied()
    }

    /// Gives out one action of a move, if one waits for that. A move without another one leaves the list at once, so
    /// that the order does not depend on how often somebody asked in vain.
    pub(crate) fn issue(&mut self, moved: u32) -> Option<Issued> {
        let issued = self.issue_one(moved);
        let more = (0..2u8).any(|number| self.lane(moved, number).is_some_and(|lane| lane.is_due()));
        if !more || issued.is_none() {
            self.mm.ready.remove(moved);
        }
        issued
    }

    fn issue_one(&mut self, moved: u32) -> Option<Issued> {
        for number in 0..2u8 {
            let Some(lane) = self.lane(moved, number).filter(Lane::is_due) else { continue };
            let Some(action) = self.action(moved, &lane) else { continue };
            let serial = lane.serial.wrapping_add(1) & 7;
            self.edit_lane(moved, number, |lane| (lane.serial, lane.issued) = (serial, true));
            let key = self.moves.key(moved)?;
            return Some(Issued { id: Some(ActionId::pack(number << 3 | serial, key)), action });
        }
        None
    }

    fn action(&self, moved: u32, lane: &Lane) -> Option<Action> {
        let Move { bo: id, to, run } = self.moves.at(moved)?;
        let bo = self.bo(*id).ok()?;
        let (id, size, here, there) = (*id, bo.size, bo.place.location, to.location);
        let (offset, len) = (lane.at, lane.len);
        let window = lane.window.map_or(0, |(_, offset)| offset);
        let part = |at: Location| Location { offset: at.offset.saturating_add(offset), ..at };
        Some(match lane.step {
            Step::Idle | Step::Window => return None,
            Step::Alloc => Action::AllocPages { bo: id, offset, size: len, zeroed: false },
            Step::Copy if run.chain == Chain::PageOut => {
                Action::PageOut { bo: id, offset, size: len, gart: window, from: part(here) }
            }
            Step::Copy => Action::PageIn { bo: id, offset, size: len, gart: window, to: part(there) },
            Step::Out => Action::SwapOut { bo: id, offset, size: len },
            Step::In => Action::SwapIn { bo: id, offset, size: len },
            Step::Whole(stage::ZAP) => Action::Zap { bo: id },
            Step::Whole(stage::ALLOC) => {
                Action::AllocPages { bo: id, offset: 0, size, zeroed: run.before & stage::COPY == 0 }
            }
            Step::Whole(stage::BIND) => Action::Bind { bo: id, offset: 0, size, gart: there.offset },
            Step::Whole(stage::CLEAR) => Action::Clear { bo: id, at: there, size },
            Step::Whole(stage::COPY) => Action::Copy { bo: id, from: here, to: there, size },
            Step::Whole(stage::UNBIND) => Action::Unbind { gart: there.offset, size },
            Step::Whole(stage::FREE) => Action::FreePages { bo: id, offset: 0, size },
            Step::Whole(stage::SWAP_DROP) => Action::SwapDrop { bo: id },
            Step::Whole(_) => Action::WritePtes { bo: id, at: here, size },
        })
    }

    /// An action ended.
    pub(crate) fn action_done(&mut self, id: ActionId, result: Result<(), Failure>) -> Result<(), Error> {
        let (part, key) = id.unpack().ok_or(Error::Unknown)?;
        self.moves.get(key)?;
        let (moved, number) = (key.slot, part >> 3);
        let lane = self.lane(moved, number).filter(|lane| lane.issued && lane.serial == part & 7);
        let lane = lane.ok_or(Error::Unknown)?;
        self.edit_lane(moved, number, |lane| lane.issued = false);
        match result {
            Ok(()) => self.step_done(moved, number, &lane),
            Err(failure) => self.step_failed(moved, number, &lane, failure),
        }
        self.go_on(moved);
        Ok(())
    }

    fn step_done(&mut self, moved: u32, number: u8, lane: &Lane) {
        let Some((slot, run)) = self.run(moved) else { return };
        let (chain, phase, failed) = (run.chain, run.phase, run.failure.is_some());
        let stats = &mut self.mm.stats;
        match lane.step {
            Step::Whole(bit) => {
                let undo = match bit {
                    stage::ALLOC => stage::FREE,
                    stage::BIND => stage::UNBIND,
                    _ => 0,
                };
                self.edit_run(moved, |run| {
                    run.undo |= undo;
                    match phase {
                        Phase::Before => run.before &= !bit,
                        Phase::After => run.after &= !bit,
                        Phase::Undo => run.undo &= !bit,
                        Phase::Tail => {}
                    }
                });
                match bit {
                    stage::ZAP => self.edit(slot, |residency| {
                        (residency.shown, residency.entries, residency.cpu) = (false, false, false);
                    }),
                    stage::SHOW => self.edit(slot, |residency| {
                        (residency.shown, residency.entries) = (true, true);
                    }),
                    _ => {}
                }
                self.edit_lane(moved, number, |lane| lane.step = Step::Idle);
                return;
            }
            Step::Alloc => self.edit_run(moved, |run| run.undo |= stage::FREE),
            Step::Copy => {
                stats.copied = stats.copied.saturating_add(lane.len);
                self.end_window(moved, number, lane);
            }
            Step::Out => {
                stats.swapped_out = stats.swapped_out.saturating_add(lane.len);
                self.edit_run(moved, |run| run.undo |= stage::SWAP_DROP);
            }
            Step::In => stats.swapped_in = stats.swapped_in.saturating_add(lane.len),
            _ => {}
        }
        let next = match chain.next(lane.step) {
            // The other lane failed meanwhile: nothing new is begun.
            Step::Window | Step::In if failed => Step::Idle,
            next => next,
        };
        if next == Step::Idle {
            self.edit_lane(moved, number, |lane| lane.step = Step::Idle);
            self.feed(moved, number);
        } else {
            self.begin_step(moved, number, next);
        }
    }

    fn step_failed(&mut self, moved: u32, number: u8, lane: &Lane, failure: Failure) {
        let Some((_, run)) = self.run(moved) else { return };
        let dies = run.dies;
        match lane.step {
            Step::Whole(stage::UNBIND | stage::FREE | stage::SWAP_DROP) => {
                self.stall(moved, number);
                return;
            }
            // Bytes that go away for good must go.
            Step::Whole(stage::ZAP) if dies => {
                self.stall(moved, number);
                return;
            }
            Step::Out => self.edit_run(moved, |run| run.undo |= stage::SWAP_DROP),
            Step::Copy => self.end_window(moved, number, lane),
            _ => {}
        }
        self.edit_run(moved, |run| run.failure = run.failure.or(Some(failure)));
        self.edit_lane(moved, number, |lane| lane.step = Step::Idle);
        // A lane that waits for a window does not need it any more.
        let other = number ^ 1;
        if self.lane(moved, other).is_some_and(|lane| lane.step == Step::Window) {
            self.edit_lane(moved, other, |lane| lane.step = Step::Idle);
            self.mm.windows.remove(moved);
            self.serve_windows();
        }
    }

    fn stall(&mut self, moved: u32, number: u8) {
        self.edit_lane(moved, number, |lane| lane.stalled = true);
        self.mm.stalled.push_back(0, moved);
    }

    /// What failed and must not fail is given out again.
    pub(crate) fn tick(&mut self) {
        while let Some(moved) = self.mm.stalled.pop(0) {
            self.edit_run(moved, |run| run.lanes.iter_mut().for_each(|lane| lane.stalled = false));
            self.mm.ready.push_back(0, moved);
        }
        self.serve_windows();
    }

    fn end_window(&mut self, moved: u32, number: u8, lane: &Lane) {
        if let Some((block, _)) = lane.window {
            self.edit_lane(moved, number, |lane| lane.window = None);
            // A block of this lane's own.
            let _ = self.release(block);
            self.serve_windows();
        }
    }

    /// A move is over: the place that it gave up is free.
    fn end_run(&mut self, moved: u32) {
        for list in [&mut self.mm.ready, &mut self.mm.windows, &mut self.mm.stalled] {
            list.remove(moved);
        }
        let Some(Move { bo, to, run }) = self.moves.key(moved).and_then(|key| self.moves.remove(key).ok()) else {
            return;
        };
        let Some(slot) = bo.unpack().map(|key| key.slot) else { return };
        self.mm.ended = self.mm.ended.wrapping_add(1);
        let mut size = 0;
        if let Some(bo) = self.bos.at_mut(slot) {
            bo.moving = None;
            size = bo.size;
        }
        let Some(owner) = self.residency(slot).map(|residency| residency.owner) else { return };
        if let Some(area) = run.leaving.and_then(|segment| self.mm.area(Some(segment))) {
            area.outgoing = area.outgoing.saturating_sub(size);
        }
        if !run.stays {
            self.charge(owner, spot_of(&to, run.content), size, false);
        }
        if let Some(block) = to.block {
            // The move's own block.
            let _ = self.release(block);
        }
        self.mm.swapping = self.mm.swapping.saturating_sub(u32::from(run.swapping));
        self.list(slot);
        self.moved(slot, &run, size);
        self.reap(slot);
    }

    /// Counts a move that is over, and begins the one that was to follow.
    fn moved(&mut self, slot: u32, run: &Run, size: u64) {
        let (spot, stats) = (self.spot(slot), &mut self.mm.stats);
        if let Some(failure) = run.failure {
            stats.failed = stats.failed.saturating_add(1);
            self.edit(slot, |residency| residency.then_swap = false);
            if !self.note_vain(slot) {
                self.note_failure(slot, failure, size);
            }
            return;
        }
        let count = match (spot, run.leaving) {
            _ if run.stays => return,
            (Spot::In(_), _) => &mut stats.brought_in,
            (Spot::Empty, _) => &mut stats.purged,
            (_, Some(_)) => &mut stats.evicted,
            _ => return,
        };
        *count = count.saturating_add(size);
        let onward = self.residency(slot).is_some_and(|r| r.then_swap && !r.held && !r.doomed && r.refs == 0);
        self.edit(slot, |residency| residency.then_swap = false);
        if onward && spot == Spot::Pages && self.bos.at(slot).is_some_and(|bo| bo.pins == 0) {
            // It stays in system pages if that cannot begin.
            let _ = self.begin_eviction(slot);
        }
    }
}
