// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The text of the Linux kernel's mmiotrace, version 20070824 (Documentation/trace/mmiotrace.rst): VERSION, MAP, then one R
//! or W a line with width, seconds, map id, bus address, value, PC and PID, and UNMAP.
//!
//! Registers are map 1 at the base, doorbells map 2 behind them. The vhost-user transport has neither BAR: the base is the
//! reader's choice. PC, PID and virtual addresses are the guest's secret and 0, as the kernel writes where it knows none.

use super::Exporter;
use crate::bus::CLOCK_HZ;
use crate::trace::event::{Event, Who};
use crate::trace::guest::GuestEvent;
use crate::trace::text::describe_guest;
use std::io::{self, Write};
use uvm_spec::MMIO_DWORDS;

/// Bytes of the register map.
const REGISTERS: u64 = 4 * MMIO_DWORDS as u64;
/// Bytes of the doorbell map: 64-bit slots.
const DOORBELLS: u64 = 2 << 20;

pub(super) struct Mmiotrace {
    base: u64,
    begun: bool,
    last: u64,
}

impl Mmiotrace {
    pub(super) fn new(base: u64) -> Self {
        Self { base, begun: false, last: 0 }
    }
    fn begin(&mut self, time: u64, out: &mut dyn Write) -> io::Result<()> {
        self.last = time;
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        writeln!(out, "VERSION 20070824")?;
        let at = stamp(time);
        writeln!(out, "MAP {at} 1 {:#x} 0x0 {REGISTERS:#x} 0x0 0", self.base)?;
        writeln!(out, "MAP {at} 2 {:#x} 0x0 {DOORBELLS:#x} 0x0 0", self.doorbells())
    }
    fn doorbells(&self) -> u64 {
        self.base.wrapping_add(DOORBELLS)
    }
}

/// Seconds with six digits, as the kernel writes them.
fn stamp(time: u64) -> String {
    let micros = time / (CLOCK_HZ / 1_000_000);
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

impl Exporter for Mmiotrace {
    fn event(&mut self, _number: u64, time: u64, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        self.begin(time, out)?;
        let at = stamp(time);
        match event {
            Event::Register { who: Who::Driver, write, index, value } => {
                let way = if *write { 'W' } else { 'R' };
                let addr = self.base.wrapping_add(4 * u64::from(*index));
                writeln!(out, "{way} 4 {at} 1 {addr:#x} {value:#x} 0x0 0")
            }
            Event::Doorbell { slot, value, .. } => {
                let addr = self.doorbells().wrapping_add(8 * u64::from(*slot));
                writeln!(out, "W 8 {at} 2 {addr:#x} {value:#x} 0x0 0")
            }
            Event::Lost { events } => writeln!(out, "MARK {at} Lost {events} events."),
            Event::Reset => writeln!(out, "MARK {at} device reset"),
            _ => Ok(()),
        }
    }
    fn guest(&mut self, event: &GuestEvent, out: &mut dyn Write) -> io::Result<()> {
        self.begin(event.time, out)?;
        writeln!(out, "MARK {} {}", stamp(event.time), describe_guest(event))
    }
    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.begin(self.last, out)?;
        let at = stamp(self.last);
        writeln!(out, "UNMAP {at} 1 0x0 0\nUNMAP {at} 2 0x0 0")
    }
}
