// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Perfetto's protobuf trace (protos/perfetto/trace): a track a ring with its packets, a track a VMID with walks, copies and
//! faults, a track a fault with its life; register accesses, interrupts and counters beside them. Times are nanoseconds of
//! the device's clock.

use super::Exporter;
use crate::bus::CLOCK_HZ;
use crate::trace::event::{Event, Found, RingId, Stage};
use crate::trace::guest::{fence_of, GuestEvent};
use crate::trace::text::{describe, describe_packet, name, way};
use prost::Message;
use std::collections::BTreeSet;
use std::io::{self, Write};

#[derive(Clone, PartialEq, Message)]
struct TracePacket {
    #[prost(uint64, optional, tag = "8")]
    timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "10")]
    trusted_packet_sequence_id: Option<u32>,
    #[prost(message, optional, tag = "11")]
    track_event: Option<TrackEvent>,
    #[prost(message, optional, tag = "60")]
    track_descriptor: Option<TrackDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
struct TrackDescriptor {
    #[prost(uint64, optional, tag = "1")]
    uuid: Option<u64>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(message, optional, tag = "3")]
    process: Option<ProcessDescriptor>,
    #[prost(uint64, optional, tag = "5")]
    parent_uuid: Option<u64>,
    #[prost(message, optional, tag = "8")]
    counter: Option<CounterDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
struct ProcessDescriptor {
    #[prost(int32, optional, tag = "1")]
    pid: Option<i32>,
    #[prost(string, optional, tag = "6")]
    process_name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct CounterDescriptor {
    #[prost(string, optional, tag = "6")]
    unit_name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct TrackEvent {
    #[prost(message, repeated, tag = "4")]
    debug_annotations: Vec<DebugAnnotation>,
    #[prost(int32, optional, tag = "9")]
    r#type: Option<i32>,
    #[prost(uint64, optional, tag = "11")]
    track_uuid: Option<u64>,
    #[prost(string, repeated, tag = "22")]
    categories: Vec<String>,
    #[prost(string, optional, tag = "23")]
    name: Option<String>,
    #[prost(int64, optional, tag = "30")]
    counter_value: Option<i64>,
    /// Arrows between the events of both sides that are about one thing.
    #[prost(fixed64, repeated, packed = "false", tag = "47")]
    flow_ids: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct DebugAnnotation {
    #[prost(uint64, optional, tag = "3")]
    uint_value: Option<u64>,
    #[prost(string, optional, tag = "6")]
    string_value: Option<String>,
    #[prost(string, optional, tag = "10")]
    name: Option<String>,
}

/// Field number of `Trace.packet`.
const PACKET: u32 = 1;
/// Values of `TrackEvent.Type`.
mod kind {
    pub(super) const BEGIN: i32 = 1;
    pub(super) const END: i32 = 2;
    pub(super) const INSTANT: i32 = 3;
    pub(super) const COUNTER: i32 = 4;
}

/// A track's number, and what it is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Track {
    Device,
    Registers,
    Interrupts,
    Ring(RingId),
    Waiting(RingId),
    Vmid(u8),
    Fault(u64),
    TlbHits,
    Walks,
    /// A processor of the guest.
    Guest(u32),
}

impl Track {
    /// What tracks are told apart by.
    fn uuid(self) -> u64 {
        let ring = |r: RingId| u64::from(r.instance) << 8 | u64::from(r.ring);
        match self {
            Self::Device => 1,
            Self::Registers => 2,
            Self::Interrupts => 3,
            Self::TlbHits => 4,
            Self::Walks => 5,
            Self::Ring(r) => 1 << 16 | ring(r),
            Self::Waiting(r) => 2 << 16 | ring(r),
            Self::Vmid(vmid) => 3 << 16 | u64::from(vmid),
            Self::Guest(cpu) => 4 << 16 | u64::from(cpu),
            Self::Fault(id) => 1 << 32 | id,
        }
    }
    fn descriptor(self) -> TrackDescriptor {
        let (name, unit) = match self {
            Self::Device => ("vhost-device-uvm".into(), None),
            Self::Registers => ("registers".into(), None),
            Self::Interrupts => ("interrupts".into(), None),
            Self::TlbHits => ("TLB hits".into(), Some("translations")),
            Self::Walks => ("page-table walks".into(), Some("walks")),
            Self::Ring(ring) => (ring.to_string(), None),
            Self::Waiting(ring) => (format!("{ring} occupancy"), Some("bytes")),
            Self::Vmid(vmid) => (format!("VMID {vmid}"), None),
            Self::Fault(id) => (format!("fault {id}"), None),
            Self::Guest(cpu) => (format!("guest CPU {cpu}"), None),
        };
        let device = self == Self::Device;
        TrackDescriptor {
            uuid: Some(self.uuid()),
            process: device.then(|| ProcessDescriptor { pid: Some(1), process_name: Some(name.clone()) }),
            name: Some(name),
            parent_uuid: (!device).then(|| Self::Device.uuid()),
            counter: unit.map(|unit| CounterDescriptor { unit_name: Some(unit.into()) }),
        }
    }
}

#[derive(Default)]
pub(super) struct Perfetto {
    known: BTreeSet<Track>,
    /// Tracks with a slice that has not ended.
    open: BTreeSet<Track>,
    /// Faults that a ring waits for: not over with their vector.
    waited: BTreeSet<u64>,
    last: u64,
}

impl Perfetto {
    fn put(&self, packet: TracePacket, out: &mut dyn Write) -> io::Result<()> {
        let packet = TracePacket { trusted_packet_sequence_id: Some(1), ..packet };
        let mut bytes = Vec::new();
        prost::encoding::message::encode(PACKET, &packet, &mut bytes);
        out.write_all(&bytes)
    }
    fn track_event(&mut self, track: Track, event: TrackEvent, out: &mut dyn Write) -> io::Result<()> {
        for track in [Track::Device, track] {
            if self.known.insert(track) {
                self.put(TracePacket { track_descriptor: Some(track.descriptor()), ..TracePacket::default() }, out)?;
            }
        }
        let event = TrackEvent { track_uuid: Some(track.uuid()), ..event };
        let timestamp = self.last.saturating_mul(1_000_000_000 / CLOCK_HZ);
        self.put(TracePacket { timestamp: Some(timestamp), track_event: Some(event), ..TracePacket::default() }, out)
    }
    fn begin(&mut self, track: Track, label: Label, out: &mut dyn Write) -> io::Result<()> {
        self.end_slice(track, out)?;
        self.open.insert(track);
        self.track_event(track, label.event(kind::BEGIN), out)
    }
    fn end_slice(&mut self, track: Track, out: &mut dyn Write) -> io::Result<()> {
        if !self.open.remove(&track) {
            return Ok(());
        }
        self.track_event(track, TrackEvent { r#type: Some(kind::END), ..TrackEvent::default() }, out)
    }
    fn instant(&mut self, track: Track, label: Label, out: &mut dyn Write) -> io::Result<()> {
        self.track_event(track, label.event(kind::INSTANT), out)
    }
    fn count(&mut self, track: Track, value: u64, out: &mut dyn Write) -> io::Result<()> {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        let event = TrackEvent { r#type: Some(kind::COUNTER), counter_value: Some(value), ..TrackEvent::default() };
        self.track_event(track, event, out)
    }
    fn fault(&mut self, id: u64, stage: &Stage, out: &mut dyn Write) -> io::Result<()> {
        let track = Track::Fault(id);
        match stage {
            Stage::Raised { vmid, va, access, waits, .. } => {
                let label = Label::new("fault", format!("{} {va:#x}", way(*access)));
                let label = label.number("vmid", (*vmid).into()).number("va", *va).number("fault", id);
                if waits.is_some() {
                    self.waited.insert(id);
                }
                self.instant(Track::Vmid(*vmid), label.clone(), out)?;
                if self.open.contains(&track) {
                    return self.instant(track, label, out);
                }
                self.begin(track, label, out)
            }
            Stage::Retried { .. } => {
                self.waited.remove(&id);
                self.instant(track, Label::new("fault", "retried".into()), out)?;
                self.end_slice(track, out)
            }
            Stage::Delivered { stamp, cam } => {
                let label = Label::new("fault", "delivered".into()).flow(Some(flow_of_fault(id)));
                let label = label.number("stamp", *stamp).number("cam", (*cam).into());
                self.instant(track, label, out)?;
                self.told(id, out)
            }
            Stage::Dropped => {
                self.instant(track, Label::new("fault", "dropped".into()), out)?;
                self.told(id, out)
            }
            Stage::Held => self.instant(track, Label::new("fault", "held".into()), out),
            Stage::Acknowledged { .. } => self.instant(track, Label::new("fault", "acknowledged".into()), out),
        }
    }
    /// A fault's vector is there: the end, if nobody waits.
    fn told(&mut self, id: u64, out: &mut dyn Write) -> io::Result<()> {
        if self.waited.contains(&id) {
            return Ok(());
        }
        self.end_slice(Track::Fault(id), out)
    }
}

/// A fault's way through both traces.
fn flow_of_fault(id: u64) -> u64 {
    1 << 56 | id
}

/// A job's, by the instance and the value of its fence.
fn flow_of_fence((instance, value): (u32, u32)) -> u64 {
    2 << 56 | u64::from(instance) << 32 | u64::from(value)
}

/// What an event is called, and what is known of it.
#[derive(Clone)]
struct Label {
    category: &'static str,
    name: String,
    annotations: Vec<DebugAnnotation>,
    flows: Vec<u64>,
}

impl Label {
    fn new(category: &'static str, name: String) -> Self {
        Self { category, name, annotations: Vec::new(), flows: Vec::new() }
    }
    fn number(mut self, name: &str, value: u64) -> Self {
        let annotation = DebugAnnotation { name: Some(name.into()), uint_value: Some(value), string_value: None };
        self.annotations.push(annotation);
        self
    }
    fn text(mut self, name: &str, value: String) -> Self {
        let annotation = DebugAnnotation { name: Some(name.into()), uint_value: None, string_value: Some(value) };
        self.annotations.push(annotation);
        self
    }
    fn flow(mut self, flow: Option<u64>) -> Self {
        self.flows.extend(flow);
        self
    }
    fn event(self, kind: i32) -> TrackEvent {
        TrackEvent {
            r#type: Some(kind),
            categories: vec![self.category.into()],
            name: Some(self.name),
            debug_annotations: self.annotations,
            flow_ids: self.flows,
            ..TrackEvent::default()
        }
    }
}

impl Exporter for Perfetto {
    fn event(&mut self, number: u64, time: u64, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        self.last = time;
        let label = |category, name| Label::new(category, name).number("n", number).text("text", describe(event));
        match event {
            Event::Register { write, index, value, .. } => {
                let verb = if *write { "write" } else { "read" };
                let label = label("register", format!("{verb} {}", name(*index))).number("value", (*value).into());
                self.instant(Track::Registers, label, out)
            }
            Event::Doorbell { slot, value, .. } => {
                let label = label("register", format!("doorbell {slot:#x}")).number("value", *value);
                self.instant(Track::Registers, label, out)
            }
            Event::Packet { ring, vmid, dwords, indirect, .. } => {
                let text = describe_packet(dwords);
                let name = text.split(' ').next().unwrap_or_default().to_string();
                let fence = fence_of(*ring, dwords).filter(|_| !indirect).map(flow_of_fence);
                self.begin(Track::Ring(*ring), label("packet", name).number("vmid", (*vmid).into()).flow(fence), out)
            }
            Event::Ring { ring, rptr, wptr } => {
                if rptr == wptr {
                    self.end_slice(Track::Ring(*ring), out)?;
                }
                self.count(Track::Waiting(*ring), wptr.wrapping_sub(*rptr), out)
            }
            Event::Walk { vmid, va, found, .. } => {
                let name = if matches!(found, Found::Page { .. }) { "walk" } else { "failed walk" };
                self.instant(Track::Vmid(*vmid), label("walk", name.into()).number("va", *va), out)
            }
            Event::Copy { vmid, bytes, .. } => {
                self.instant(Track::Vmid(*vmid), label("copy", "copy".into()).number("bytes", *bytes), out)
            }
            Event::Invalidate { vmids, .. } => {
                for vmid in (0u8..32).filter(|v| vmids & 1 << v != 0) {
                    self.instant(Track::Vmid(vmid), label("invalidate", "invalidate".into()), out)?;
                }
                Ok(())
            }
            Event::Tlb { hits, walks } => {
                self.count(Track::TlbHits, *hits, out)?;
                self.count(Track::Walks, *walks, out)
            }
            Event::Fault { id, stage } => self.fault(*id, stage, out),
            Event::Interrupt { .. } => self.instant(Track::Interrupts, label("interrupt", "vector".into()), out),
            Event::Line { .. } => self.instant(Track::Interrupts, label("interrupt", "line".into()), out),
            Event::Reset | Event::Lost { .. } => self.instant(Track::Registers, label("device", describe(event)), out),
            _ => Ok(()),
        }
    }
    fn guest(&mut self, event: &GuestEvent, out: &mut dyn Write) -> io::Result<()> {
        self.last = self.last.max(event.time);
        let GuestEvent { task, name, text, .. } = event;
        let label = Label::new("guest", name.clone()).text("task", task.clone()).text("text", text.clone());
        let label = label.flow(event.fault.map(flow_of_fault)).flow(event.fence.map(flow_of_fence));
        self.instant(Track::Guest(event.cpu), label, out)
    }
    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let open: Vec<Track> = self.open.iter().copied().collect();
        open.into_iter().try_for_each(|track| self.end_slice(track, out))
    }
}
