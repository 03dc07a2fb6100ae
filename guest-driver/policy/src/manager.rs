// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The memory manager's entry: events in, actions out.

use alloc::vec::Vec;

use crate::error::Error;
use crate::event::{Action, Event, Failure, Issued, Reply};
use crate::evict::list::Lists;
use crate::evict::{EvictKind, Evictor};
use crate::ids::{BoId, SegmentId, TicketId};
use crate::policy::Policy;
use crate::residency::Process;
use crate::segment::SegmentKind;
use crate::slab::Slab;
use crate::spare::Spare;
use crate::table::try_push;
use crate::victims::Classes;
use crate::working_set::{Need, Ticket};

/// How the memory manager is to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManagerConfig {
    /// Most bytes of one copy through the paging segment, of one write to the backing store, or of one read from
    /// it. Cut to half the paging segment, so that one copy can be under way while another one is prepared.
    pub chunk: u64,
    /// The rule of eviction, for all segments.
    pub evict: EvictKind,
}

impl Default for ManagerConfig {
    fn default() -> Self {
        Self { chunk: 2 << 20, evict: EvictKind::Lru }
    }
}

/// What happened since the start. Bytes where not said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ManagerStats {
    /// Allocations that a use found in place (a count).
    pub hits: u64,
    /// Allocations that a use had to wait for (a count).
    pub misses: u64,
    /// Moved out of segments to make room.
    pub evicted: u64,
    /// Brought into segments, cleared ones included.
    pub brought_in: u64,
    /// Copied between local memory and system pages, either way.
    pub copied: u64,
    /// Written to the backing store.
    pub swapped_out: u64,
    /// Read from the backing store.
    pub swapped_in: u64,
    /// Thrown away because nobody needed it.
    pub purged: u64,
    /// Moves that failed and were taken back (a count).
    pub failed: u64,
    /// Uses that were refused (a count).
    pub refused: u64,
    /// Most jobs that were made ready past a waiting use while it was the first of the queue (a count).
    pub overtaken: u64,
}

/// What is kept of each place where allocations reside: of each segment, and of system pages without one.
pub(crate) struct Area {
    pub(crate) evictor: Evictor,
    /// Bytes of what the evictor knows: resident, pageable, neither pinned nor leaving.
    pub(crate) evictable: u64,
    pub(crate) classes: Classes,
    /// Bytes that are on their way out, or will be once their last use ends.
    pub(crate) outgoing: u64,
    /// Scratch of one look at the first use of the queue: what it still needs here, what of it is here, and
    /// whether it waits for room here.
    pub(crate) wanted: u64,
    pub(crate) held: u64,
    pub(crate) blocked: bool,
    pub(crate) spare: Spare,
}

pub(crate) struct Manager {
    started: bool,
    pub(crate) config: ManagerConfig,
    pub(crate) paging: SegmentId,
    /// System pages first, then the segments.
    pub(crate) areas: Vec<Area>,
    pub(crate) processes: Slab<Process>,
    pub(crate) tickets: Slab<Ticket>,
    /// Tickets that wait, in order of arrival.
    pub(crate) queue: Lists<1>,
    /// Tickets with something to tell.
    pub(crate) notices: Lists<1>,
    /// Allocations that will leave once their last use has ended.
    pub(crate) condemned: Lists<1>,
    /// Buffers that are gone and not told yet.
    pub(crate) gone: Lists<1>,
    /// Moves with an action to give out.
    pub(crate) ready: Lists<1>,
    /// Moves that wait for a range of the paging segment, first come first served.
    pub(crate) windows: Lists<1>,
    /// Moves with a step that failed and must not: again at the next tick.
    pub(crate) stalled: Lists<1>,
    /// Changes whenever a move ends.
    pub(crate) ended: u64,
    /// Uses made ready past the present first of the queue.
    pub(crate) passed: u64,
    /// Moves to the backing store under way.
    pub(crate) swapping: u32,
    pub(crate) stats: ManagerStats,
}

impl Manager {
    pub(crate) fn new() -> Self {
        Self {
            started: false,
            config: ManagerConfig { chunk: 0, evict: EvictKind::Lru },
            paging: SegmentId(0),
            areas: Vec::new(),
            processes: Slab::new(),
            tickets: Slab::new(),
            queue: Lists::new(),
            notices: Lists::new(),
            condemned: Lists::new(),
            gone: Lists::new(),
            ready: Lists::new(),
            windows: Lists::new(),
            stalled: Lists::new(),
            ended: 0,
            passed: 0,
            swapping: 0,
            stats: ManagerStats::default(),
        }
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started
    }

    /// The area of a segment, or of system pages.
    pub(crate) fn area(&mut self, segment: Option<SegmentId>) -> Option<&mut Area> {
        self.areas.get_mut(segment.map_or(0, |id| usize::from(id.0).saturating_add(1)))
    }
}

impl Policy {
    /// Starts the memory manager on the segments there are, one of them a paging segment. No segment can be added
    /// after that. Once only.
    pub fn start(&mut self, config: &ManagerConfig) -> Result<(), Error> {
        let paging = self.segment_ids().find(|id| self.kind(*id) == Some(SegmentKind::Paging)).ok_or(Error::Invalid)?;
        let half = self.page.pages_down(self.stats(paging)?.size) >> 1;
        let chunk = self.page.to_bytes(self.page.pages_down(config.chunk).min(half));
        if self.mm.started || chunk == 0 {
            return Err(Error::Invalid);
        }
        self.mm.areas.clear();
        for segment in core::iter::once(None).chain(self.segment_ids().map(Some)) {
            let pages = match segment {
                None => 0,
                Some(id) => self.segment(id)?.heap.stats().size,
            };
            let evictor = Evictor::new(config.evict, pages);
            let classes = Classes::default();
            let area = Area {
                evictor,
                evictable: 0,
                classes,
                outgoing: 0,
                wanted: 0,
                held: 0,
                blocked: false,
                spare: Spare::default(),
            };
            try_push(&mut self.mm.areas, area)?;
        }
        self.mm.paging = paging;
        self.mm.config = ManagerConfig { chunk, ..*config };
        self.mm.started = true;
        Ok(())
    }

    /// Takes an event. An error means that nothing happened.
    pub fn handle(&mut self, event: &Event) -> Result<Reply, Error> {
        if !self.mm.started {
            return Err(Error::Invalid);
        }
        let reply = match *event {
            Event::Open(limits) => self.open(limits).map(Reply::Process),
            Event::Close(process) => self.close(process).map(|()| Reply::Done),
            Event::Create(process, ref spec) => self.create(process, spec).map(Reply::Bo),
            Event::Destroy(bo) => self.destroy(bo).map(|()| Reply::Done),
            Event::Map(bo) => self.map(bo, true).map(|()| Reply::Done),
            Event::Unmap(bo) => self.map(bo, false).map(|()| Reply::Done),
            Event::Place(bo, placements) => self.set_placements(bo, placements).map(|()| Reply::Done),
            Event::Submit { process, bos, addressed } => {
                let need = if addressed { Need::Addressed } else { Need::Placed };
                self.submit(process, bos, need).map(Reply::Ticket)
            }
            Event::Fault { process, bo } => self.submit(process, &[bo], Need::Placed).map(Reply::Ticket),
            Event::CpuAccess { bo, mapping } => self.cpu_access(bo, mapping),
            Event::Move { bo, to } => self.explicit_move(bo, to).map(Reply::Ticket),
            Event::Cancel(ticket) => self.cancel(ticket).map(|()| Reply::Done),
            Event::Fence(ticket) => self.fence(ticket).map(|()| Reply::Done),
            Event::Pin(bo) => self.pin(bo, true).map(|()| Reply::Done),
            Event::Unpin(bo) => self.pin(bo, false).map(|()| Reply::Done),
            Event::Advise { bo, need } => self.advise(bo, need).map(Reply::Retained),
            Event::Pressure(bytes) => Ok(Reply::Freeing(self.reclaim(bytes, true))),
            Event::MakeWay { size, held } => self.make_way(size, held).map(Reply::Freeing),
            Event::Tick => {
                self.tick();
                Ok(Reply::Done)
            }
            Event::Done(action, result) => self.action_done(action, result).map(|()| Reply::Done),
        }?;
        self.advance();
        Ok(reply)
    }

    /// The next thing to do, if there is one now.
    pub fn next_action(&mut self) -> Option<Issued> {
        if let Some(slot) = self.mm.notices.pop(0) {
            return self.notice(slot);
        }
        if let Some(slot) = self.mm.gone.pop(0) {
            let id = BoId::pack(self.bos.key(slot)?);
            self.bury(slot);
            return Some(Issued { id: None, action: Action::Gone(id) });
        }
        while let Some(slot) = self.mm.ready.front(0) {
            if let Some(issued) = self.issue(slot) {
                return Some(issued);
            }
        }
        None
    }

    fn notice(&mut self, slot: u32) -> Option<Issued> {
        let id = TicketId::pack(self.mm.tickets.key(slot)?);
        let action = match self.mm.tickets.at(slot)?.refused {
            None => Action::Ready(id),
            Some(error) => {
                self.drop_ticket(slot);
                Action::Refused(id, error)
            }
        };
        Some(Issued { id: None, action })
    }

    /// What happened since the start.
    pub fn manager_stats(&self) -> ManagerStats {
        self.mm.stats
    }

    /// Number of processes and of uses that wait or run: both zero before a clean end.
    pub fn uses(&self) -> (u32, u32) {
        (self.mm.processes.len(), self.mm.tickets.len())
    }

    pub(crate) fn segment_ids(&self) -> impl Iterator<Item = SegmentId> {
        let count = u8::try_from(self.segments.len()).unwrap_or(0);
        (0..count).map(SegmentId)
    }

    pub(crate) fn kind(&self, id: SegmentId) -> Option<SegmentKind> {
        self.segments.get(usize::from(id.0)).map(|segment| segment.kind)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoMemory | Failure::SwapFull => Error::NoMemory,
            Failure::Io => Error::Failed,
        }
    }
}
