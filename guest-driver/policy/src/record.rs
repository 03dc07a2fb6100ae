// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A log of what the memory manager was told and what it asked for, compact enough to be written in the kernel; and
//! its replay, which tells whether this code does the same again.
//!
//! A log is a sequence of records, each a sequence of numbers in LEB128: a tag, the count of the words that follow,
//! the words. The first record is the start: page size, chunk, rule of eviction, and three words a segment. An
//! event's record ends in its answer, two words. What takes ranges of segments beside the memory manager (page
//! tables, rings) is recorded too, since it decides what is free. A log that was cut off at the end of a record is a log;
//! one that begins again, as when the driver was loaded twice, is one as well.

use alloc::vec::Vec;

use crate::domain::Location;
use crate::error::Error;
use crate::event::{Action, Event, Failure, Issued, Reply};
use crate::evict::EvictKind;
use crate::ids::{ActionId, BoId, ProcessId, SegmentId, TicketId};
use crate::journal::Note;
use crate::manager::ManagerConfig;
use crate::policy::Policy;
use crate::residency::{Limits, Spec};
use crate::segment::{Placements, SegmentDesc, SegmentKind};
use crate::table::try_push;

const START: u64 = 1;
const TAKE: u64 = 2;
const GIVE: u64 = 3;
const RETIRE: u64 = 4;
/// Tags of events and of actions begin here.
const EVENT: u64 = 16;
const ACTION: u64 = 64;
/// Answers of this value and above are errors.
const ERROR: u64 = 16;

/// Writes records into a buffer of the caller's.
pub struct Recorder<'a> {
    bytes: &'a mut [u8],
    len: usize,
    lost: u64,
}

impl<'a> Recorder<'a> {
    /// An empty log.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, len: 0, lost: 0 }
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Records that did not fit. A log with a gap does not replay.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The start of the memory manager on these segments, before anything else.
    pub fn start(&mut self, page: u64, segments: &[SegmentDesc], config: &ManagerConfig) {
        self.record(START, |out| {
            [page, config.chunk, config.evict as u64].into_iter().for_each(&mut *out);
            for segment in segments {
                [segment.kind as u64, segment.base, segment.size].into_iter().for_each(&mut *out);
            }
        });
    }

    /// A range of a segment was taken by somebody else. Offsets as the domain counts.
    pub fn take(&mut self, segment: SegmentId, offset: u64, size: u64) {
        self.record(TAKE, |out| [u64::from(segment.0), offset, size].into_iter().for_each(out));
    }

    /// Such a range was given back.
    pub fn give(&mut self, segment: SegmentId, offset: u64) {
        self.record(GIVE, |out| [u64::from(segment.0), offset].into_iter().for_each(out));
    }

    fn note(&mut self, note: Note) {
        let segment = |id: SegmentId| u64::from(id.0);
        match note {
            Note::Took { segment, offset, size } => self.take(segment, offset, size),
            Note::Gave { segment, offset } => self.give(segment, offset),
            Note::Retired { segment: id, offset } => self.words(RETIRE, &[segment(id), offset]),
        }
    }

    fn words(&mut self, tag: u64, words: &[u64]) {
        self.record(tag, |out| words.iter().copied().for_each(out));
    }

    /// An event and its answer.
    pub fn event(&mut self, event: &Event, answer: &Result<Reply, Error>) {
        self.record(EVENT.wrapping_add(event_tag(event)), |out| {
            event_words(event, out);
            answer_words(answer).into_iter().for_each(out);
        });
    }

    /// An action as it was given out.
    pub fn action(&mut self, issued: &Issued) {
        self.record(ACTION.wrapping_add(action_tag(&issued.action)), |out| action_words(issued, out));
    }

    fn record(&mut self, tag: u64, words: impl Fn(&mut dyn FnMut(u64))) {
        let mut count = 0u64;
        words(&mut |_| count = count.wrapping_add(1));
        let before = self.len;
        let mut fits = self.number(tag) && self.number(count);
        words(&mut |word| fits = fits && self.number(word));
        if !fits {
            self.len = before;
            self.lost = self.lost.saturating_add(1);
        }
    }

    fn number(&mut self, mut value: u64) -> bool {
        loop {
            let Some(place) = self.bytes.get_mut(self.len) else { return false };
            let low = value.to_le_bytes()[0] & 0x7f;
            value >>= 7;
            *place = if value == 0 { low } else { low | 0x80 };
            self.len = self.len.saturating_add(1);
            if value == 0 {
                return true;
            }
        }
    }
}

/// Bytes that a record without a list takes, at most: eight words.
const RECORD: usize = 2 + 8 * WORD;
/// Bytes that a word takes, at most.
const WORD: usize = 10;

impl Policy {
    /// From now on, what others do to segments is noted for [`Policy::record_notes`].
    pub fn begin_notes(&mut self) {
        self.journal.begin();
    }

    /// Records what others did to segments since the last time. Before each event and each action.
    pub fn record_notes(&mut self, log: &mut Recorder) {
        let lost = self.journal.drain(|note| log.note(note));
        log.lost = log.lost.saturating_add(lost);
    }

    /// Bytes that these notes and one record, of an event with `bos` allocations or of an action, take at most.
    pub fn record_room(&self, bos: usize) -> usize {
        let notes = self.journal.len().saturating_mul(RECORD);
        notes.saturating_add(RECORD).saturating_add(bos.saturating_mul(WORD))
    }
}

fn event_tag(event: &Event) -> u64 {
    match event {
        Event::Open(_) => 0,
        Event::Close(_) => 1,
        Event::Create(..) => 2,
        Event::Destroy(_) => 3,
        Event::Map(_) => 4,
        Event::Unmap(_) => 5,
        Event::Submit { .. } => 6,
        Event::Fault { .. } => 7,
        Event::CpuAccess { .. } => 8,
        Event::Move { .. } => 9,
        Event::Cancel(_) => 10,
        Event::Fence(_) => 11,
        Event::Pin(_) => 12,
        Event::Unpin(_) => 13,
        Event::Advise { .. } => 14,
        Event::Pressure(_) => 15,
        Event::Tick => 16,
        Event::Done(..) => 17,
        Event::Place(..) => 18,
        Event::MakeWay { .. } => 19,
    }
}

fn event_words(event: &Event, out: &mut dyn FnMut(u64)) {
    match *event {
        Event::Open(Limits { total, local, pages }) => [total, local, pages].into_iter().for_each(out),
        Event::Close(process) => out(process.raw()),
        Event::Create(process, ref spec) => {
            let flags = u64::from(spec.pageable) | u64::from(spec.fallback) << 1;
            let kinds = spec.placements.as_slice();
            [process.raw(), spec.size, spec.align, u64::from(spec.priority), flags].into_iter().for_each(&mut *out);
            kinds.iter().for_each(|kind| out(*kind as u64));
        }
        Event::Destroy(bo) | Event::Map(bo) | Event::Unmap(bo) | Event::Pin(bo) | Event::Unpin(bo) => out(bo.raw()),
        Event::Place(bo, ref placements) => {
            out(bo.raw());
            placements.as_slice().iter().for_each(|kind| out(*kind as u64));
        }
        Event::Submit { process, bos, addressed } => {
            [process.raw(), u64::from(addressed)].into_iter().for_each(&mut *out);
            bos.iter().for_each(|bo| out(bo.raw()));
        }
        Event::Fault { process, bo } => [process.raw(), bo.raw()].into_iter().for_each(out),
        Event::CpuAccess { bo, mapping } => [bo.raw(), u64::from(mapping)].into_iter().for_each(out),
        Event::Move { bo, to } => [bo.raw(), to as u64].into_iter().for_each(out),
        Event::Cancel(ticket) | Event::Fence(ticket) => out(ticket.raw()),
        Event::Advise { bo, need } => [bo.raw(), u64::from(need)].into_iter().for_each(out),
        Event::Pressure(bytes) => out(bytes),
        Event::MakeWay { size, held } => [size, held].into_iter().for_each(out),
        Event::Tick => {}
        Event::Done(action, result) => {
            [action.raw(), result.err().map_or(0, |failure| failure as u64)].into_iter().for_each(out);
        }
    }
}

fn answer_words(answer: &Result<Reply, Error>) -> [u64; 2] {
    match *answer {
        Ok(Reply::Done) => [0, 0],
        Ok(Reply::Process(id)) => [1, id.raw()],
        Ok(Reply::Bo(id)) => [2, id.raw()],
        Ok(Reply::Ticket(id)) => [3, id.raw()],
        Ok(Reply::Direct(at)) => [4, at.offset],
        Ok(Reply::Peek(at)) => [5, at.offset],
        Ok(Reply::Retained(kept)) => [6, u64::from(kept)],
        Ok(Reply::Freeing(bytes)) => [7, bytes],
        Err(Error::Wait(token)) => [ERROR.wrapping_add(error_tag(Error::Wait(token))), token.raw()],
        Err(error) => [ERROR.wrapping_add(error_tag(error)), 0],
    }
}

fn error_tag(error: Error) -> u64 {
    match error {
        Error::NoMemory => NO_MEMORY,
        Error::NoSpace => 1,
        Error::Invalid => 2,
        Error::Unknown => 3,
        Error::Exists => 4,
        Error::Busy => 5,
        Error::Limit => 6,
        Error::Failed => 7,
        Error::Wait(_) => 8,
    }
}

const NO_MEMORY: u64 = 0;

fn action_tag(action: &Action) -> u64 {
    match action {
        Action::AllocPages { .. } => 0,
        Action::FreePages { .. } => 1,
        Action::Bind { .. } => 2,
        Action::Unbind { .. } => 3,
        Action::Copy { .. } => 4,
        Action::Clear { .. } => 5,
        Action::SwapOut { .. } => 6,
        Action::SwapIn { .. } => 7,
        Action::SwapDrop { .. } => 8,
        Action::Zap { .. } => 9,
        Action::WritePtes { .. } => 10,
        Action::Ready(_) => 11,
        Action::Refused(..) => 12,
        Action::Gone(_) => 13,
        Action::PageOut { .. } => 14,
        Action::PageIn { .. } => 15,
    }
}

fn action_words(issued: &Issued, out: &mut dyn FnMut(u64)) {
    out(issued.id.map_or(0, ActionId::raw));
    let place = |at: Location| [at.domain as u64, at.offset];
    match issued.action {
        Action::AllocPages { bo, offset, size, zeroed } => {
            [bo.raw(), offset, size, u64::from(zeroed)].into_iter().for_each(out);
        }
        Action::FreePages { bo, offset, size }
        | Action::SwapOut { bo, offset, size }
        | Action::SwapIn { bo, offset, size } => [bo.raw(), offset, size].into_iter().for_each(out),
        Action::Bind { bo, offset, size, gart } => [bo.raw(), offset, size, gart].into_iter().for_each(out),
        Action::Unbind { gart, size } => [gart, size].into_iter().for_each(out),
        Action::PageOut { bo, offset, size, gart, from: at } | Action::PageIn { bo, offset, size, gart, to: at } => {
            [bo.raw(), offset, size, gart].into_iter().chain(place(at)).for_each(out);
        }
        Action::Copy { bo, from, to, size } => {
            out(bo.raw());
            place(from).into_iter().chain(place(to)).for_each(&mut *out);
            out(size);
        }
        Action::Clear { bo, at, size } | Action::WritePtes { bo, at, size } => {
            out(bo.raw());
            place(at).into_iter().for_each(&mut *out);
            out(size);
        }
        Action::SwapDrop { bo } | Action::Zap { bo } | Action::Gone(bo) => out(bo.raw()),
        Action::Ready(ticket) => out(ticket.raw()),
        Action::Refused(ticket, error) => [ticket.raw(), error_tag(error)].into_iter().for_each(out),
    }
}

/// A log that was replayed to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Events that were taken again.
    pub events: u64,
    /// Actions that came again.
    pub actions: u64,
}

/// The first record at which a replay stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The log is cut off or not a log; at this byte.
    Malformed(usize),
    /// Another answer than the recorded one: its two words, as a record has them.
    Answer(usize, [u64; 2]),
    /// Another action than the recorded one, or none.
    Action(usize, Option<Issued>),
    /// What others did does not come out as it did then: a range is not free or not theirs, a buffer has another name.
    Range(usize),
    /// The replay itself had no memory.
    NoMemory,
}

impl From<Error> for Stopped {
    fn from(_: Error) -> Self {
        Stopped::NoMemory
    }
}

/// A record as it stands in a log.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is of.
    pub name: &'static str,
    /// Its words.
    pub words: Vec<u64>,
    /// Where the next one begins.
    pub next: usize,
}

const EVENTS: [&str; 20] = [
    "Open",
    "Close",
    "Create",
    "Destroy",
    "Map",
    "Unmap",
    "Submit",
    "Fault",
    "CpuAccess",
    "Move",
    "Cancel",
    "Fence",
    "Pin",
    "Unpin",
    "Advise",
    "Pressure",
    "Tick",
    "Done",
    "Place",
    "MakeWay",
];
const ACTIONS: [&str; 16] = [
    "AllocPages",
    "FreePages",
    "Bind",
    "Unbind",
    "Copy",
    "Clear",
    "SwapOut",
    "SwapIn",
    "SwapDrop",
    "Zap",
    "WritePtes",
    "Ready",
    "Refused",
    "Gone",
    "PageOut",
    "PageIn",
];

/// The record at a byte of a log; `None` where there is none, or no memory to read it.
pub fn record_at(log: &[u8], at: usize) -> Option<Record> {
    let (mut reader, mut words) = (Reader { log, at }, Vec::new());
    let tag = reader.record(&mut words).ok().flatten()?;
    let of = |names: &[&'static str], first: u64| {
        let index = usize::try_from(tag.checked_sub(first)?).ok()?;
        names.get(index).copied()
    };
    let name = match tag {
        ACTION.. => of(&ACTIONS, ACTION),
        EVENT.. => of(&EVENTS, EVENT),
        _ => of(&["Start", "Take", "Give", "Retire"], START),
    };
    Some(Record { name: name?, words, next: reader.at })
}

/// Does again what a log says, on a policy of its own: the same answers and the same actions, or the first
/// difference.
pub fn replay(log: &[u8]) -> Result<Replayed, Stopped> {
    let mut reader = Reader { log, at: 0 };
    let mut policy = None;
    let mut done = Replayed::default();
    let mut words = Vec::new();
    while reader.at < log.len() {
        let at = reader.at;
        let malformed = Stopped::Malformed(at);
        let tag = reader.record(&mut words)?.ok_or(malformed)?;
        if tag == START {
            policy = Some(begin(&words).ok_or(malformed)?);
            continue;
        }
        let policy = policy.as_mut().ok_or(malformed)?;
        match (tag, words.as_slice()) {
            (TAKE, [segment, offset, size]) => {
                let segment = u8::try_from(*segment).map_err(|_| malformed)?;
                policy.reserve(SegmentId(segment), *offset, *size).map_err(|_| Stopped::Range(at))?;
            }
            (GIVE, [segment, offset]) => {
                let segment = u8::try_from(*segment).map_err(|_| malformed)?;
                let range = policy.find(SegmentId(segment), *offset);
                range.and_then(|range| policy.free(range.id)).map_err(|_| Stopped::Range(at))?;
            }
            (RETIRE, [segment, offset]) => {
                let segment = u8::try_from(*segment).map_err(|_| malformed)?;
                policy.retire(SegmentId(segment), *offset).map_err(|_| Stopped::Range(at))?;
            }
            (RETIRE..EVENT, _) => return Err(malformed),
            (EVENT..ACTION, words) => {
                let [event @ .., status, value] = words else { return Err(malformed) };
                // Memory that was short then is not short now, and nothing happened.
                if *status == ERROR | NO_MEMORY {
                    continue;
                }
                let answer = take_event(policy, tag.wrapping_sub(EVENT), event).ok_or(malformed)??;
                if answer_words(&answer) != [*status, *value] {
                    return Err(Stopped::Answer(at, answer_words(&answer)));
                }
                done.events = done.events.saturating_add(1);
            }
            (_, words) => {
                let issued = policy.next_action().ok_or(Stopped::Action(at, None))?;
                let mut rest = words.iter();
                let mut same = tag == ACTION.wrapping_add(action_tag(&issued.action));
                action_words(&issued, &mut |word| same = same && rest.next() == Some(&word));
                if !same || rest.next().is_some() {
                    return Err(Stopped::Action(at, Some(issued)));
                }
                done.actions = done.actions.saturating_add(1);
            }
        }
    }
    Ok(done)
}

fn begin(words: &[u64]) -> Option<Policy> {
    let [page, chunk, evict, segments @ ..] = words else { return None };
    let mut policy = Policy::new(*page).ok()?;
    let mut rest = segments;
    while let [kind, base, size, more @ ..] = rest {
        let kind = SegmentKind::from_raw(u32::try_from(*kind).ok()?).ok()?;
        policy.add_segment_of(&SegmentDesc { kind, base: *base, size: *size }).ok()?;
        rest = more;
    }
    let evict = EvictKind::from_raw(u32::try_from(*evict).ok()?).ok()?;
    policy.start(&ManagerConfig { chunk: *chunk, evict }).ok()?;
    Some(policy)
}

fn placements(words: &[u64]) -> Option<Placements> {
    let mut list = Placements::NONE;
    for kind in words.iter().take(4) {
        list = list.with(SegmentKind::from_raw(u32::try_from(*kind).ok()?).ok()?);
    }
    Some(list)
}

/// Gives a recorded event to a policy. `None`: no event has such words.
fn take_event(policy: &mut Policy, tag: u64, words: &[u64]) -> Option<Result<Result<Reply, Error>, Stopped>> {
    let bo = BoId::from_raw;
    let process = ProcessId::from_raw;
    let event = match (tag, words) {
        (0, [total, local, pages]) => Event::Open(Limits { total: *total, local: *local, pages: *pages }),
        (1, [id]) => Event::Close(process(*id)),
        (2, [id, size, align, priority, flags, kinds @ ..]) => {
            let placements = placements(kinds)?;
            let priority = u8::try_from(*priority).ok()?;
            let (pageable, fallback) = (flags & 1 != 0, flags & 2 != 0);
            Event::Create(process(*id), Spec { size: *size, align: *align, placements, priority, pageable, fallback })
        }
        (3, [id]) => Event::Destroy(bo(*id)),
        (4, [id]) => Event::Map(bo(*id)),
        (5, [id]) => Event::Unmap(bo(*id)),
        (6, [id, addressed, set @ ..]) => {
            let mut bos = Vec::new();
            for id in set {
                if let Err(error) = try_push(&mut bos, bo(*id)) {
                    return Some(Err(error.into()));
                }
            }
            return Some(Ok(policy.handle(&Event::Submit {
                process: process(*id),
                bos: &bos,
                addressed: *addressed != 0,
            })));
        }
        (7, [id, what]) => Event::Fault { process: process(*id), bo: bo(*what) },
        (8, [id, mapping]) => Event::CpuAccess { bo: bo(*id), mapping: *mapping != 0 },
        (9, [id, to]) => Event::Move { bo: bo(*id), to: SegmentKind::from_raw(u32::try_from(*to).ok()?).ok()? },
        (10, [id]) => Event::Cancel(TicketId::from_raw(*id)),
        (11, [id]) => Event::Fence(TicketId::from_raw(*id)),
        (12, [id]) => Event::Pin(bo(*id)),
        (13, [id]) => Event::Unpin(bo(*id)),
        (14, [id, need]) => Event::Advise { bo: bo(*id), need: *need != 0 },
        (15, [bytes]) => Event::Pressure(*bytes),
        (16, []) => Event::Tick,
        (18, [id, kinds @ ..]) => Event::Place(bo(*id), placements(kinds)?),
        (19, [size, held]) => Event::MakeWay { size: *size, held: *held },
        (17, [id, 0]) => Event::Done(ActionId::from_raw(*id), Ok(())),
        (17, [id, failure]) => {
            Event::Done(ActionId::from_raw(*id), Err(Failure::from_raw(u32::try_from(*failure).ok()?).ok()?))
        }
        _ => return None,
    };
    Some(Ok(policy.handle(&event)))
}

struct Reader<'a> {
    log: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.log.get(self.at).copied()?;
            self.at = self.at.saturating_add(1);
            value |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// The next record's tag; `None` for what is no record.
    fn record(&mut self, words: &mut Vec<u64>) -> Result<Option<u64>, Stopped> {
        words.clear();
        let (Some(tag), Some(count)) = (self.number(), self.number()) else { return Ok(None) };
        // Each word has a byte at least, so a false count ends at the end of the log.
        for _ in 0..count {
            let Some(word) = self.number() else { return Ok(None) };
            try_push(words, word)?;
        }
        Ok(Some(tag))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
