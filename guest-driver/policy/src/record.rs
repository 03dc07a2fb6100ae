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

    /// A page of a segment was taken out of use for good.
    pub fn retire(&mut self, segment: SegmentId, offset: u64) {
        self.record(RETIRE, |out| [u64::from(segment.0), offset].into_iter().for_each(out));
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
        let lost = self.journal.drain(|note| match note {
            Note::Took { segment, offset, size } => log.take(segment, offset, size),
            Note::Gave { segment, offset } => log.give(segment, offset),
            Note::Retired { segment, offset } => log.retire(segment, offset),
        });
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
    }
}

fn action_words(issued: &Issued, out: &mut dyn FnMut(u64)) {
    out(issued.id.map_or(0, ActionId::raw));
    let place = |at: Location| [at.domain as u64, at.offset];
    match issued.action {
        Action::AllocPages { bo, offset, size }
        | Action::FreePages { bo, offset, size }
        | Action::SwapOut { bo, offset, size }
        | Action::SwapIn { bo, offset, size } => [bo.raw(), offset, size].into_iter().for_each(out),
        Action::Bind { bo, offset, size, gart } => [bo.raw(), offset, size, gart].into_iter().for_each(out),
        Action::Unbind { gart, size } => [gart, size].into_iter().for_each(out),
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
    /// A range that others had is not free, or not theirs.
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

const EVENTS: [&str; 19] = [
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
];
const ACTIONS: [&str; 14] = [
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
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_size_come_back() {
        let mut bytes = [0; 64];
        let values = [0, 1, 127, 128, 1 << 32, u64::MAX];
        let mut log = Recorder::new(&mut bytes);
        assert!(values.into_iter().all(|value| log.number(value)));

        let mut reader = Reader { log: log.bytes(), at: 0 };

        assert_eq!(values.map(|_| reader.number().unwrap()), values);
        assert_eq!(reader.number(), None);
    }

    #[test]
    fn record_that_does_not_fit_leaves_the_log_as_it_was() {
        let mut bytes = [0; 8];
        let mut log = Recorder::new(&mut bytes);
        log.event(&Event::Tick, &Ok(Reply::Done));
        let before = log.bytes().len();

        log.event(&Event::Pressure(u64::MAX), &Ok(Reply::Freeing(0)));

        assert_eq!((log.bytes().len(), log.lost()), (before, 1));
    }

    /// A log of events on a segment of which others take ranges, with what those did or without.
    fn log_beside_others(told: bool) -> Vec<u8> {
        let mut policy = Policy::new(4096).unwrap();
        let config = ManagerConfig { chunk: 4096, evict: EvictKind::Lru };
        let segments = [
            SegmentDesc { kind: SegmentKind::Local, base: 0, size: 16 << 12 },
            SegmentDesc { kind: SegmentKind::Snooped, base: 0, size: 16 << 12 },
            SegmentDesc { kind: SegmentKind::Paging, base: 1 << 20, size: 4 << 12 },
        ];
        for segment in &segments {
            policy.add_segment_of(segment).unwrap();
        }
        policy.start(&config).unwrap();
        let mut bytes = [0; 4096];
        let mut log = Recorder::new(&mut bytes);
        log.start(4096, &segments, &config);
        policy.begin_notes();

        let request =
            |pages: u64| crate::AllocRequest { size: pages << 12, align: 0, from: crate::From::Bottom, within: None };
        let mut tell = |policy: &mut Policy, event: &Event| {
            let answer = policy.handle(event);
            if told {
                policy.record_notes(&mut log);
            }
            log.event(event, &answer);
            while let Some(issued) = policy.next_action() {
                log.action(&issued);
                if let Some(id) = issued.id {
                    let done = Event::Done(id, Ok(()));
                    let answer = policy.handle(&done);
                    log.event(&done, &answer);
                }
            }
            answer.unwrap()
        };
        let Reply::Process(process) = tell(&mut policy, &Event::Open(Limits::NONE)) else { panic!("no process") };
        let (first, second) = (policy.alloc(SegmentId(0), &request(2)), policy.alloc(SegmentId(0), &request(3)));
        policy.free(first.unwrap().id).unwrap();
        policy.retire(SegmentId(0), 0).unwrap();
        let placements = Placements::new(&[SegmentKind::Local]).unwrap();
        let spec = Spec { size: 2 << 12, align: 0, placements, priority: 1, pageable: true, fallback: false };
        let Reply::Bo(bo) = tell(&mut policy, &Event::Create(process, spec)) else { panic!("no buffer") };
        // Behind the other's range, as its hole lacks a page.
        tell(&mut policy, &Event::Submit { process, bos: &[bo], addressed: false });
        policy.free(second.unwrap().id).unwrap();
        tell(&mut policy, &Event::Tick);
        assert_eq!(log.lost(), 0);
        log.bytes().to_vec()
    }

    #[test]
    fn ranges_of_others_are_part_of_the_log() {
        let log = log_beside_others(true);

        // Open, Create, Submit, the end of a Clear, Tick; Clear and Ready.
        assert_eq!(replay(&log), Ok(Replayed { events: 5, actions: 2 }));
        assert!(matches!(replay(&log_beside_others(false)), Err(Stopped::Action(_, Some(_)))));
        // Twice, as when a driver was loaded twice.
        assert!(replay(&[&log[..], &log[..]].concat()).is_ok());
    }

    #[test]
    fn records_are_read_one_after_another() {
        let log = log_beside_others(true);
        let mut names = Vec::new();
        let mut at = 0;
        while let Some(record) = record_at(&log, at) {
            names.push(record.name);
            at = record.next;
        }

        assert_eq!(at, log.len());
        assert_eq!(names[..7], ["Start", "Open", "Take", "Take", "Give", "Retire", "Create"]);
    }

    #[test]
    fn room_is_enough_for_notes_and_the_longest_record() {
        let mut policy = Policy::new(4096).unwrap();
        policy.begin_notes();
        let note = Note::Took { segment: SegmentId(255), offset: u64::MAX, size: u64::MAX };
        (0..5).for_each(|_| policy.journal.note(note));
        let bos = [BoId::from_raw(u64::MAX); 9];
        let mut bytes = alloc::vec![0; policy.record_room(bos.len())];
        let mut log = Recorder::new(&mut bytes);
        policy.record_notes(&mut log);
        let submit = Event::Submit { process: ProcessId::from_raw(u64::MAX), bos: &bos, addressed: true };
        log.event(&submit, &Err(Error::Busy));

        assert_eq!(log.lost(), 0);
    }

    #[test]
    fn logs_that_are_none_stop_the_replay() {
        assert_eq!(replay(&[]), Ok(Replayed::default()));
        for log in [&[1u8][..], &[0x80; 20], &[16, 0], &[1, 3, 0, 0, 0], &[2, 0xff, 0xff, 0xff, 0xff, 0xff, 1]] {
            assert_eq!(replay(log), Err(Stopped::Malformed(0)), "{log:?}");
        }
    }
}
