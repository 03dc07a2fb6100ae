// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Events as text: registers by name and field, packets by name and operand, interrupt vectors by client and source.

use super::Event;
use std::fmt::Write;
use uvm_spec::ih::{client, source, PageFault, Vector};
use uvm_spec::{lookup, packet, sdma};

/// The event as one line of text.
pub fn describe(event: &Event) -> String {
    match event {
        Event::Register { write, index, value } => format!("{} {}", verb(*write), register(*index, *value)),
        Event::EngineRegister { instance, write, index, value } => {
            format!("{} {} by SDMA{instance}", verb(*write), register(*index, *value))
        }
        Event::Doorbell { slot, value, taken } => {
            format!("doorbell {slot:#x} := {value:#x}{}", if *taken { "" } else { " (nobody listens)" })
        }
        Event::Packet { instance, ring, vmid, indirect, at, dwords } => {
            let ring = sdma::RING_NAMES.get(usize::from(*ring)).copied().unwrap_or("?");
            let from = if *indirect { " IB" } else { "" };
            format!("packet SDMA{instance} {ring}{from} vmid {vmid} @{at:#x} {}", describe_packet(dwords))
        }
        Event::Interrupt { vector, delivered } => {
            format!("interrupt {}{}", interrupt(*vector), if *delivered { "" } else { " (dropped)" })
        }
        Event::Reset => "reset".into(),
    }
}

fn verb(write: bool) -> &'static str {
    if write {
        "write"
    } else {
        "read "
    }
}

/// `NAME = value (FIELD=.., ..)`: fields that are not zero.
fn register(index: u32, value: u32) -> String {
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
    let Some(shape) = packet::shape(header) else { return format!("illegal header {header:#010x}") };
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
        client::VMC => "VMC".into(),
        client::UTCL2 => "UTCL2".into(),
        other => format!("client {other:#x}"),
    };
    let what = match (v.client, v.source) {
        (client::VMC | client::UTCL2, source::PAGE_FAULT) => {
            let f = PageFault::unpack(v.data);
            let way = if f.write { "write" } else { "read" };
            let retry = if f.retry { ", retry" } else { "" };
            return format!("{who} page fault: {way} of {:#x}, vmid {} pasid {}{retry}", f.va, v.vmid, v.pasid);
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
