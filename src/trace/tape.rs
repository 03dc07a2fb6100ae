// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A recorded trace as a replaying device sees it: inputs come from it, and all else must be as it says.

use super::event::Event;
use super::reader::TraceError;
use super::text::describe;
use crate::gmc::Phys;
use std::fmt;
use vm_memory::{GuestAddress, GuestMemoryMmap};

/// Where a replay and its recording part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// Number of the recorded event.
    pub event: u64,
    /// What was recorded; None at the end of the trace.
    pub recorded: Option<(u64, Event)>,
    /// What the replay came to.
    pub replayed: String,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {}: recorded ", self.event)?;
        match &self.recorded {
            Some((time, event)) => write!(f, "[{time}] {}", describe(event))?,
            None => f.write_str("nothing more")?,
        }
        write!(f, ", replayed {}", self.replayed)
    }
}

/// The rest of a recorded trace.
pub(super) struct Tape {
    input: Box<dyn Iterator<Item = Result<(u64, Event), TraceError>> + Send>,
    next: Option<(u64, Event)>,
    /// Number of `next`.
    number: u64,
    /// The last compared event that was not of the seam.
    shown: Vec<(u64, u64, Event)>,
    divergence: Option<Divergence>,
    error: Option<TraceError>,
}

impl Tape {
    /// The tape that `input` holds behind its header, event 0.
    pub(super) fn new(input: impl Iterator<Item = Result<(u64, Event), TraceError>> + Send + 'static) -> Self {
        let mut tape =
            Self { input: Box::new(input), next: None, number: 0, shown: Vec::new(), divergence: None, error: None };
        tape.advance();
        tape
    }
    fn advance(&mut self) {
        self.number += 1;
        self.next = match self.input.next() {
            Some(Ok(next)) => Some(next),
            Some(Err(error)) => {
                self.error.get_or_insert(error);
                None
            }
            None => None,
        };
    }
    /// What comes next.
    pub(super) fn peek(&self) -> Option<&(u64, Event)> {
        self.next.as_ref()
    }
    /// The number of what comes next.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
    /// Why the trace cannot be read further, if that is why it ended.
    pub(super) fn take_error(&mut self) -> Option<TraceError> {
        self.error.take()
    }
    /// Where replay and recording part, if they do.
    pub(super) fn divergence(&self) -> Option<&Divergence> {
        self.divergence.as_ref()
    }
    /// Events outside the seam since the last call: number, time, event.
    pub(super) fn take_shown(&mut self) -> Vec<(u64, u64, Event)> {
        std::mem::take(&mut self.shown)
    }
    /// The replay cannot go on.
    pub(super) fn give_up(&mut self, why: String) {
        // A trace that cannot be read is no divergence.
        if self.error.is_none() && self.divergence.is_none() {
            self.divergence = Some(Divergence { event: self.number, recorded: self.next.clone(), replayed: why });
        }
    }
    fn is_over(&self) -> bool {
        self.divergence.is_some() || self.error.is_some()
    }
    /// The device did what `event` says.
    pub(super) fn compare(&mut self, time: u64, event: &Event) {
        // The header made the device that says so.
        if self.is_over() || matches!(event, Event::Device { .. }) {
            return;
        }
        if self.next.as_ref().is_none_or(|(at, next)| *at != time || next != event) {
            self.give_up(format!("[{time}] {}", describe(event)));
            return;
        }
        if !event.is_seam() {
            self.shown.push((self.number, time, event.clone()));
        }
        self.advance();
    }
    /// The time of what comes next.
    pub(super) fn next_time(&self) -> u64 {
        self.next.as_ref().map_or(0, |(time, _)| *time)
    }
    /// The memory map, if that comes next.
    pub(super) fn next_map(&self) -> Option<Vec<(u64, u64)>> {
        match &self.next {
            Some((_, Event::Map { regions })) if !self.is_over() => Some(regions.clone()),
            _ => None,
        }
    }
    /// The device reads memory: `data` becomes what it was. True if that changed it.
    pub(super) fn load(&mut self, time: u64, at: Phys, data: &mut [u8]) -> bool {
        if self.is_over() {
            return false;
        }
        match &self.next {
            Some((then, Event::Load { at: place, data: bytes }))
                if (*then, *place, bytes.len()) == (time, at, data.len()) =>
            {
                let changed = data != bytes.as_slice();
                data.copy_from_slice(bytes);
                self.advance();
                changed
            }
            _ => {
                self.give_up(format!("[{time}] a read of {} bytes at {at}", data.len()));
                false
            }
        }
    }
}

/// Memory with these regions, all zero.
pub(super) fn map(regions: &[(u64, u64)]) -> Result<GuestMemoryMmap, String> {
    if regions.is_empty() {
        return Ok(GuestMemoryMmap::new());
    }
    let ranges: Result<Vec<_>, _> =
        regions.iter().map(|&(at, len)| usize::try_from(len).map(|len| (GuestAddress(at), len))).collect();
    let ranges = ranges.map_err(|e| e.to_string())?;
    GuestMemoryMmap::from_ranges(&ranges).map_err(|e| e.to_string())
}
