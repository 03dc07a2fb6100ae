// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A trace in other programs' formats.

mod json;
mod mmiotrace;
mod perfetto;

use super::event::Event;
use super::guest::{Guest, GuestEvent};
use super::text::{describe, describe_guest, seconds};
use super::TraceError;
use crate::view::{names, ViewError};
use std::collections::BTreeSet;
use std::io::Write;

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One line an event: its number, seconds, what happened by names and fields.
    Text,
    /// One JSON object a line.
    Json,
    /// What the Linux kernel's mmiotrace writes: register accesses and doorbells.
    Mmiotrace,
    /// What Perfetto reads: a track a ring, a VMID, a fault.
    Perfetto,
}

/// Which events, and how.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Dword indices of registers: only accesses of these. Empty is everything.
    pub registers: BTreeSet<u32>,
    /// What is of the seam too: calls, clock values, memory.
    pub seam: bool,
    /// Where register accesses and doorbells lie for mmiotrace, bus address.
    pub base: u64,
    /// What the guest's kernel said meanwhile.
    pub guest: Guest,
}

impl Selection {
    /// Only accesses of the registers called `names` too.
    pub fn with_registers(mut self, names: &[String]) -> Result<Self, ViewError> {
        for name in names {
            self.registers.extend(names::find(name)?.into_iter().map(|(index, _)| index));
        }
        Ok(self)
    }
    fn takes(&self, event: &Event) -> bool {
        match event {
            Event::Register { index, .. } => self.registers.is_empty() || self.registers.contains(index),
            _ if !self.registers.is_empty() => false,
            event => self.seam || !event.is_seam(),
        }
    }
}

/// Where a format goes, event by event.
trait Exporter {
    fn event(&mut self, number: u64, time: u64, event: &Event, out: &mut dyn Write) -> std::io::Result<()>;
    /// An event of the guest's kernel.
    fn guest(&mut self, event: &GuestEvent, out: &mut dyn Write) -> std::io::Result<()>;
    /// After the last event.
    fn end(&mut self, _out: &mut dyn Write) -> std::io::Result<()> {
        Ok(())
    }
}

struct Text;

impl Exporter for Text {
    fn event(&mut self, number: u64, time: u64, event: &Event, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "{number:>8} {:>14.6} {}", seconds(time), describe(event))
    }
    fn guest(&mut self, event: &GuestEvent, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "{:>8} {:>14.6} {}", "guest", seconds(event.time), describe_guest(event))
    }
}

/// Writes the events of `trace` that `selection` takes to `out`; their number. A trace that breaks is written as far as it
/// goes.
pub fn export(
    trace: impl Iterator<Item = Result<(u64, Event), TraceError>>,
    format: Format,
    selection: &Selection,
    out: &mut dyn Write,
) -> Result<u64, TraceError> {
    let mut exporter: Box<dyn Exporter> = match format {
        Format::Text => Box::new(Text),
        Format::Json => Box::new(json::Json),
        Format::Mmiotrace => Box::new(mmiotrace::Mmiotrace::new(selection.base)),
        Format::Perfetto => Box::new(perfetto::Perfetto::default()),
    };
    let mut events = 0;
    let mut result = Ok(());
    let mut guest = selection.guest.events().iter().peekable();
    for (number, item) in (0..).zip(trace) {
        match item {
            Ok((time, event)) if selection.takes(&event) => {
                while let Some(event) = guest.next_if(|event| event.time < time) {
                    exporter.guest(event, out)?;
                }
                exporter.event(number, time, &event, out)?;
                events += 1;
            }
            Ok(_) => {}
            Err(error) => result = Err(error),
        }
    }
    for event in guest {
        exporter.guest(event, out)?;
    }
    exporter.end(out)?;
    out.flush()?;
    result.map(|()| events)
}
