// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Events as text: registers by name and field, packets by name and operand, interrupt vectors by client and source.

use super::event::{cache, Answer, Call, Depth, Event, Found, RingId, Stage, Who};
use super::guest::GuestEvent;
use crate::bus::CLOCK_HZ;
use crate::gmc::{Access, Phys};
use std::fmt::{self, Write};
use uvm_spec::ih::{client, source, PageFault, Vector};
use uvm_spec::{access, lookup, packet, sdma};

/// Reference clocks as seconds.
pub fn seconds(ticks: u64) -> f64 {
    #[allow(clippy::cast_precision_loss)] // for reading
    let seconds = ticks as f64 / CLOCK_HZ as f64;
    seconds
}

/// An engine's name: an SDMA instance, or the access engine.
pub fn engine_name(instance: u8) -> String {
    if usize::from(instance) == access::INSTANCE {
        "ACCESS".into()
    } else {
        format!("SDMA{instance}")
    }
}

impl fmt::Display for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = if usize::from(self.instance) == access::INSTANCE { access::QUEUE_NAMES } else { sdma::RING_NAMES };
        let name = names.get(usize::from(self.ring)).copied().unwrap_or("?");
        write!(f, "{} {name}", engine_name(self.instance))
    }
}

/// The event as one line of text.
pub fn describe(event: &Event) -> String {
    match event {
        Event::Device { version, depth, config, .. } => {
            let depth = if *depth == Depth::Full { "full" } else { "mmio" };
            format!(
                "device {version}: {} MiB of VRAM, {} levels; a {depth} trace",
                config.vram_size >> 20,
                config.levels
            )
        }
        Event::Call(call) => match call {
            Call::Read { index } => format!("call: read {}", name(*index)),
            Call::Write { index, value } => format!("call: write {} := {value:#x}", name(*index)),
            Call::Doorbell { slot, value } => format!("call: doorbell {slot:#x} := {value:#x}"),
            Call::Run => "call: run".into(),
            Call::Reset => "call: reset".into(),
            Call::TakeInterrupt => "call: take an interrupt".into(),
            Call::Inject { spec } => format!("call: inject {spec}"),
            Call::Heal => "call: end what is injected".into(),
        },
        Event::Clock => "clock".into(),
        Event::Map { regions } => {
            let list: Vec<String> = regions.iter().map(|(at, len)| format!("{at:#x}+{len:#x}")).collect();
            format!("memory map {}", list.join(" "))
        }
        Event::Load { at, data } => format!("load {at} +{:#x}{}", data.len(), short(data)),
        Event::Store { at, len, digest } => format!("store {at} +{len:#x} digest {digest:016x}"),
        Event::Register { who, write, index, value } => {
            let by = match who {
                Who::Driver => String::new(),
                Who::Sdma(n) => format!(" by SDMA{n}"),
            };
            format!("{} {}{by}", verb(*write), describe_register(*index, *value))
        }
        Event::Doorbell { slot, value, taken } => {
            format!("doorbell {slot:#x} := {value:#x}{}", if *taken { "" } else { " (nobody listens)" })
        }
        Event::Reset => "reset".into(),
        Event::Packet { ring, vmid, indirect, at, dwords } => {
            let from = if *indirect { " IB" } else { "" };
            format!("packet {ring}{from} vmid {vmid} @{at:#x} {}", describe_packet(dwords))
        }
        Event::Ring { ring, rptr, wptr } => format!("ring {ring} rptr {rptr:#x} wptr {wptr:#x}"),
        Event::Walk { client, vmid, va, access, found } => {
            let end = match found {
                Found::Page { at: Some(at), entry } => format!("{at} by {entry:#x}"),
                Found::Page { at: None, entry } => format!("nothing resident by {entry:#x}"),
                Found::Fault { cause, retry } => format!("fault {cause:?}{}", if *retry { ", retry" } else { "" }),
            };
            format!("walk {} vmid {vmid} {} {va:#x}: {end}", engine_name(*client), way(*access))
        }
        Event::Fill { client, vmid, va, bits, caches } => {
            let bytes = 1u64.checked_shl(*bits).unwrap_or(0);
            let client = engine_name(*client);
            format!("fill {} of {client} vmid {vmid} {va:#x}, {bytes:#x} bytes", caches_of(*caches))
        }
        Event::Invalidate { hub, engine, vmids, range, caches } => {
            let what = match range {
                Some((first, last)) => format!("{first:#x}..={last:#x}"),
                None => "everything".into(),
            };
            format!("invalidate {} of {hub:?} by engine {engine}, vmids {vmids:#x}: {what}", caches_of(*caches))
        }
        Event::Tlb { hits, walks } => format!("tlb {hits} hits {walks} walks"),
        Event::Fault { id, stage } => format!("fault {id} {}", describe_stage(stage)),
        Event::Copy { vmid, from, to, bytes } => {
            let from = from.map_or("zeroes".into(), |at: Phys| at.to_string());
            format!("copy vmid {vmid} {from} to {to} +{bytes:#x}")
        }
        Event::Interrupt { vector, delivered } => {
            format!("interrupt {}{}", interrupt(*vector), if *delivered { "" } else { " (dropped)" })
        }
        Event::Line { ring, wptr } => format!("line ring {ring} wptr {wptr:#x}"),
        Event::Lost { events } => format!("{events} events lost here"),
        Event::End => "end".into(),
    }
}

/// An event of the guest's kernel, and what of the device it is about.
pub(super) fn describe_guest(event: &GuestEvent) -> String {
    let GuestEvent { task, cpu, name, text, .. } = event;
    let fault = event.fault.map_or(String::new(), |id| format!(" (fault {id})"));
    format!("{task} on CPU {cpu}: {name} {text}{fault}")
}

fn describe_stage(stage: &Stage) -> String {
    match stage {
        Stage::Raised { vmid, va, access, cause, waits } => {
            let waits = waits.map_or(String::new(), |ring| format!(", {ring} waits"));
            format!("raised: {} {va:#x} vmid {vmid}, {cause:?}{waits}", way(*access))
        }
        Stage::Delivered { stamp, cam } => format!("delivered: stamp {stamp:#x} cam {cam}"),
        Stage::Dropped => "dropped".into(),
        Stage::Held => "held: no vector raised".into(),
        Stage::Acknowledged { by } => match by {
            Answer::Cam => "acknowledged by its CAM entry".into(),
            Answer::Invalidation => "acknowledged by an invalidation".into(),
            Answer::Room => "acknowledged by room for its vector".into(),
        },
        Stage::Retried { ring } => format!("retried by {ring}"),
    }
}

pub(super) fn way(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Execute => "execute",
        Access::Atomic => "atomic",
    }
}

pub(super) fn caches_of(caches: u8) -> String {
    let names = [(cache::L1, "L1"), (cache::L2, "L2"), (cache::STREAM, "stream"), (cache::PDE, "PDE")];
    let held: Vec<&str> = names.iter().filter(|(bit, _)| caches & bit != 0).map(|(_, name)| *name).collect();
    held.join("+")
}

/// A few bytes as a number, as the device reads them.
fn short(data: &[u8]) -> String {
    if data.len() > 8 {
        return String::new();
    }
    let value = data.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
    format!(" = {value:#x}")
}

/// The register's name, or its index where it has none.
pub fn name(index: u32) -> String {
    lookup(index).map_or_else(|| format!("[{index:#07x}]"), |located| located.to_string())
}

fn verb(write: bool) -> &'static str {
    if write {
        "write"
    } else {
        "read "
    }
}

/// `NAME = value (FIELD=.., ..)`: fields that are not zero.
pub fn describe_register(index: u32, value: u32) -> String {
    let Some(located) = lookup(index) else { return format!("[{index:#07x}] = {value:#010x} (undefined)") };
    let mut text = format!("{located} = {value:#010x}");
    let set: Vec<String> = located
        .reg
        .fields
        .iter()
        .filter(|f| f.is_set(value))
        .map(|f| if f.msb == f.lsb { f.name.into() } else { format!("{}={:#x}", f.name, f.get(value)) })
        .collect();
    if !set.is_empty() {
        let _ = write!(text, " ({})", set.join(", "));
    }
    text
}

/// A packet's fixed dwords as `NAME operand=value ..`.
pub fn describe_packet(dwords: &[u32]) -> String {
    let Some(&header) = dwords.first() else { return "(empty)".into() };
    let Some(shape) = packet::shape(header).or_else(|| access::shape(header)) else {
        return format!("illegal header {header:#010x}");
    };
    let mut text = String::from(shape.name);
    if header > 0xffff {
        let _ = write!(text, " header={header:#010x}");
    }
    let body = dwords.get(1..).unwrap_or(&[]);
    let mut i = 0;
    while let (Some(name), Some(&value)) = (shape.dwords.get(i), body.get(i)) {
        match (name.strip_suffix("_lo"), body.get(i + 1)) {
            (Some(name), Some(&high)) => {
                let _ = write!(text, " {name}={:#x}", u64::from(value) | u64::from(high) << 32);
                i += 2;
            }
            _ => {
                let _ = write!(text, " {name}={value:#x}");
                i += 1;
            }
        }
    }
    text
}

fn interrupt(dwords: [u32; 8]) -> String {
    let v = Vector::unpack(dwords);
    let who = match v.client {
        client::SDMA0 => "SDMA0".into(),
        client::SDMA1 => "SDMA1".into(),
        client::ACCESS => "ACCESS".into(),
        client::VMC => "VMC".into(),
        client::UTCL2 => "UTCL2".into(),
        client::UTCL2LOG => "UTCL2LOG".into(),
        other => format!("client {other:#x}"),
    };
    let what = match (v.client, v.source) {
        (client::VMC | client::UTCL2, source::PAGE_FAULT) => {
            let f = PageFault::unpack(v.data);
            let way = if f.write { "write" } else { "read" };
            let retry = if f.retry { ", retry" } else { "" };
            return format!("{who} page fault: {way} of {:#x}, vmid {} pasid {}{retry}", f.va, v.vmid, v.pasid);
        }
        (client::UTCL2LOG, source::ACCESS_COUNTER) => {
            let va = PageFault::unpack(v.data).va;
            return format!(
                "{who} access counter: {} accesses at {va:#x}, vmid {} pasid {}",
                v.data[2], v.vmid, v.pasid
            );
        }
        (_, source::SDMA_TRAP) => "TRAP".into(),
        (_, source::SDMA_IB_PREEMPT) => "IB_PREEMPT".into(),
        (_, source::SDMA_POLL_TIMEOUT) => "POLL_TIMEOUT".into(),
        (_, source::SDMA_ILLEGAL_INST) => "ILLEGAL_INST".into(),
        (_, source::SDMA_DOORBELL_INVALID) => "DOORBELL_INVALID".into(),
        (_, other) => format!("source {other}"),
    };
    format!("{who} {what} ring {} vmid {} data {:#x}", v.ring, v.vmid, v.data[0])
}
