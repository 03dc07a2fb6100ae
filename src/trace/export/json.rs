// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! JSON lines: `n`, `time` in seconds, `ticks`, `event`, the event's fields as they are, `text`. Registers get their name and
//! fields, bytes are hexadecimal digits.

use super::Exporter;
use crate::trace::event::Event;
use crate::trace::guest::GuestEvent;
use crate::trace::text::{describe, name, seconds};
use serde_json::{json, Map, Value};
use std::io::{self, Write};
use uvm_spec::lookup;

pub(super) struct Json;

impl Exporter for Json {
    fn event(&mut self, number: u64, time: u64, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        let mut line = Map::new();
        line.insert("n".into(), number.into());
        line.insert("time".into(), seconds(time).into());
        line.insert("ticks".into(), time.into());
        match serde_json::to_value(event)? {
            Value::Object(tagged) => {
                for (kind, fields) in tagged {
                    line.insert("event".into(), kind.into());
                    match fields {
                        Value::Object(fields) => line.extend(fields),
                        other => drop(line.insert("what".into(), other)),
                    }
                }
            }
            kind => drop(line.insert("event".into(), kind)),
        }
        match event {
            Event::Load { data, .. } => drop(line.insert("data".into(), hex(data).into())),
            Event::Device { key, .. } => drop(line.insert("key".into(), hex(key).into())),
            Event::Register { index, value, .. } => {
                line.insert("name".into(), name(*index).into());
                let fields = lookup(*index).map_or(&[][..], |located| located.reg.fields);
                let fields = fields.iter().map(|f| (f.name.to_string(), json!(f.get(*value)))).collect();
                line.insert("fields".into(), Value::Object(fields));
            }
            _ => {}
        }
        line.insert("text".into(), describe(event).into());
        writeln!(out, "{}", Value::Object(line))
    }
    fn guest(&mut self, event: &GuestEvent, out: &mut dyn Write) -> io::Result<()> {
        let GuestEvent { time, task, cpu, name, text, fault, fence } = event;
        let line = json!({ "time": seconds(*time), "ticks": time, "event": "guest", "task": task, "cpu": cpu,
            "name": name, "fault": fault, "fence": fence, "text": text });
        writeln!(out, "{line}")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
