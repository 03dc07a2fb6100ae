// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The formats of others, read by what knows nothing of the exporters: the formats' own descriptions.

use crate::common::{packets as p, spaces, spaces::RETRY, *};
use crate::scripted::*;
use std::collections::{BTreeMap, BTreeSet};
use vhost_device_uvm::trace::{self, describe, Depth, Event, Format, Selection, TraceError, Who};

fn export(events: &[(u64, Event)], format: Format, selection: &Selection) -> Vec<u8> {
    let mut out = Vec::new();
    trace::export(events.iter().cloned().map(Ok), format, selection, &mut out).unwrap();
    out
}
fn text(events: &[(u64, Event)], format: Format, selection: &Selection) -> String {
    String::from_utf8(export(events, format, selection)).unwrap()
}

/// The scripted run, and faults that are retried behind it.
fn session(depth: Depth) -> Vec<(u64, Event)> {
    let mut rig = Rig::new();
    let memory = Memory::default();
    memory.attach(&mut rig, depth);
    scripted_run(&mut rig);
    rig.bring_up();
    rig.cam_on();
    rig.space(3, spaces::ON | RETRY);
    rig.queue(0, 2, 3);
    for page in [9, 11] {
        rig.clock.advance(1234);
        rig.enqueue(0, 2, 3, &p::fence(page * 4096, 7));
        rig.settle();
        let told = spaces::faults(&rig.take_vectors());
        rig.set_pte(3, page, (9 * MIB) | bit::VRAM);
        rig.clock.advance(77);
        rig.answer(told[0].cam);
        rig.settle();
    }
    memory.events()
}

// mmiotrace: Documentation/trace/mmiotrace.rst of Linux, "Trace Log Format", version 20070824.

/// A line's keyword and arguments, checked as the format's table has them: (keyword, number of arguments).
fn mmiotrace_line(line: &str) -> Vec<&str> {
    let words: Vec<&str> = line.split(' ').collect();
    let stamp = |word: &str| {
        let (seconds, decimals) = word.split_once('.').unwrap_or_else(|| panic!("{line}"));
        assert!(decimals.len() == 6 && decimals.parse::<u32>().is_ok() && seconds.parse::<u64>().is_ok(), "{line}");
    };
    let hex =
        |word: &str| u64::from_str_radix(word.strip_prefix("0x").unwrap_or_else(|| panic!("{line}")), 16).unwrap();
    match words[0] {
        "VERSION" => assert_eq!(words[1..], ["20070824"]),
        // Width, time stamp, map id, physical, value, PC, PID.
        "R" | "W" => {
            assert_eq!(words.len(), 8, "{line}");
            let width: u32 = words[1].parse().unwrap();
            stamp(words[2]);
            words[3].parse::<u32>().unwrap();
            assert_eq!(hex(words[4]) % u64::from(width), 0, "{line}");
            assert!(width == 8 || hex(words[5]) >> (8 * width) == 0, "{line}");
            assert_eq!((hex(words[6]), words[7]), (0, "0"), "{line}");
        }
        // Time stamp, map id, physical, virtual, length, PC, PID.
        "MAP" => {
            assert_eq!(words.len(), 8, "{line}");
            stamp(words[1]);
            words[2].parse::<u32>().unwrap();
            assert!(words[3..7].iter().all(|word| hex(word) < u64::MAX));
            assert_eq!(words[7], "0");
        }
        // Time stamp, map id, PC, PID.
        "UNMAP" => {
            assert_eq!(words.len(), 5, "{line}");
            stamp(words[1]);
            words[2].parse::<u32>().unwrap();
        }
        "MARK" => stamp(words[1]),
        other => panic!("no such keyword: {other}"),
    }
    words
}

#[test]
fn mmiotrace_is_in_the_kernels_format_and_tells_each_access_of_the_driver() {
    const BASE: u64 = 0xfe00_0000;
    let events = session(Depth::Mmio);
    let log = text(&events, Format::Mmiotrace, &Selection { base: BASE, ..Selection::default() });
    let lines: Vec<Vec<&str>> = log.lines().map(mmiotrace_line).collect();
    assert_eq!(lines[0][0], "VERSION");
    // Maps: id to address and length. An access lies in its map.
    let mut maps = BTreeMap::new();
    let hex = |word: &str| u64::from_str_radix(&word[2..], 16).unwrap();
    let mut accesses = Vec::new();
    for words in &lines {
        match words[0] {
            "MAP" => assert!(maps.insert(words[2], (hex(words[3]), hex(words[5]))).is_none()),
            "UNMAP" => assert!(maps.remove(words[2]).is_some()),
            "R" | "W" => {
                let (start, len) = maps[words[3]];
                let at = hex(words[4]);
                assert!((start..start + len).contains(&at), "{words:?}");
                accesses.push((words[0], words[1].to_string(), words[2].to_string(), at - start, hex(words[5])));
            }
            _ => {}
        }
    }
    assert!(maps.is_empty(), "left mapped: {maps:?}");
    let expected: Vec<_> = events
        .iter()
        .filter_map(|(time, event)| {
            let stamp = format!("{}.{:06}", time / 100_000_000, time / 100 % 1_000_000);
            match event {
                Event::Register { who: Who::Driver, write, index, value } => {
                    let way = if *write { "W" } else { "R" };
                    Some((way, "4".to_string(), stamp, u64::from(*index) * 4, u64::from(*value)))
                }
                Event::Doorbell { slot, value, .. } => Some(("W", "8".into(), stamp, u64::from(*slot) * 8, *value)),
                _ => None,
            }
        })
        .collect();
    assert!(expected.len() > 50);
    assert_eq!(accesses, expected);
}

#[test]
fn mmiotrace_of_a_short_run_is_what_was_looked_at() {
    let memory = Memory::default();
    let mut rig = Rig::new();
    memory.attach(&mut rig, Depth::Mmio);
    scripted_run(&mut rig);
    golden(
        "mmiotrace",
        &text(&memory.events(), Format::Mmiotrace, &Selection { base: 0xf000_0000, ..Selection::default() }),
    );
}

// JSON lines.

#[test]
fn json_has_an_object_a_line_with_numbers_and_names() {
    let events = session(Depth::Full);
    let selection = Selection { seam: true, ..Selection::default() };
    let json = text(&events, Format::Json, &selection);
    assert_eq!(json.lines().count(), events.len());
    let mut kinds = BTreeSet::new();
    for ((n, line), (time, event)) in json.lines().enumerate().zip(&events) {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["n"], n);
        assert_eq!(value["ticks"], *time);
        assert!((value["time"].as_f64().unwrap() - *time as f64 * 1e-8).abs() < 1e-12);
        assert_eq!(value["text"], describe(event));
        kinds.insert(value["event"].as_str().unwrap().to_string());
        if let Event::Load { data, .. } = event {
            assert_eq!(value["data"].as_str().unwrap().len(), 2 * data.len());
        }
    }
    for kind in
        ["device", "register", "doorbell", "packet", "walk", "fill", "invalidate", "fault", "copy", "load", "store"]
    {
        assert!(kinds.contains(kind) || kind == "invalidate", "{kind}: {kinds:?}");
    }
    let line =
        json.lines().find(|line| line.contains("BIF_SDMA0_DOORBELL_RANGE") && line.contains("\"register\"")).unwrap();
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(value["name"], "BIF_SDMA0_DOORBELL_RANGE");
    assert_eq!(value["fields"], serde_json::json!({ "OFFSET": 0x1e0, "SIZE": 4 }));
    assert_eq!((&value["who"], &value["write"], &value["value"]), (&"driver".into(), &true.into(), &0x40780.into()));
}

#[test]
fn a_selection_of_registers_gives_their_accesses_and_nothing_else() {
    let events = session(Depth::Full);
    for (name, expected) in [("sdma0_gfx_doorbell_offset", 1), ("GFX_DOORBELL_OFFSET", 1), ("GFX_RB_CNTL", 4)] {
        let selection = Selection::default().with_registers(&[name.into()]).unwrap();
        let lines = text(&events, Format::Text, &selection);
        assert_eq!(lines.lines().count(), expected, "{lines}");
        assert!(lines.lines().all(|line| line.to_lowercase().contains(&name.to_lowercase())), "{lines}");
    }
    let unknown = Selection::default().with_registers(&["SDMA0_GFX_RB_CTNL".into()]).unwrap_err();
    assert!(unknown.to_string().contains("SDMA0_GFX_RB_CNTL"), "{unknown}");
}

// Perfetto: protos/perfetto/trace/{trace,trace_packet}.proto and track_event/*.proto. Messages are read by the wire format
// alone, fields by the numbers of those files.

/// A field's value by its wire type.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

/// A message's fields: (number, value).
#[derive(Clone, Debug)]
struct Message(Vec<(u64, Value)>);

impl Message {
    fn read(mut raw: &[u8]) -> Self {
        fn varint(raw: &mut &[u8]) -> u64 {
            let mut value = 0;
            for shift in (0..64).step_by(7) {
                let byte = raw[0];
                *raw = &raw[1..];
                value |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    return value;
                }
            }
            panic!("a number without an end")
        }
        let mut fields = Vec::new();
        while !raw.is_empty() {
            let key = varint(&mut raw);
            let value = match key & 7 {
                0 => Value::Number(varint(&mut raw)),
                1 => {
                    let (bytes, rest) = raw.split_first_chunk().unwrap();
                    raw = rest;
                    Value::Number(u64::from_le_bytes(*bytes))
                }
                2 => {
                    let len = varint(&mut raw) as usize;
                    let bytes = raw[..len].to_vec();
                    raw = &raw[len..];
                    Value::Bytes(bytes)
                }
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, value));
        }
        Self(fields)
    }
    fn all(&self, field: u64) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |(n, _)| *n == field).map(|(_, value)| value)
    }
    fn number(&self, field: u64) -> Option<u64> {
        self.all(field).map(|v| if let Value::Number(n) = v { *n } else { panic!("{self:?}") }).last()
    }
    fn messages(&self, field: u64) -> Vec<Message> {
        self.all(field).map(|v| if let Value::Bytes(b) = v { Self::read(b) } else { panic!("{self:?}") }).collect()
    }
    fn message(&self, field: u64) -> Option<Message> {
        self.messages(field).pop()
    }
    fn string(&self, field: u64) -> Option<String> {
        let bytes = self.all(field).last()?;
        if let Value::Bytes(b) = bytes {
            Some(String::from_utf8(b.clone()).unwrap())
        } else {
            panic!("{self:?}")
        }
    }
}

/// An event of a track: (nanoseconds, type, name).
type Entry = (u64, u64, Option<String>);

/// Tracks by name, each with its events; what every reader of the format relies on is checked.
fn perfetto(raw: &[u8]) -> BTreeMap<String, Vec<Entry>> {
    let mut names: BTreeMap<u64, String> = BTreeMap::new();
    let mut counters = BTreeSet::new();
    let mut tracks: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    let mut open: BTreeMap<u64, i32> = BTreeMap::new();
    let mut last = 0;
    let trace = Message::read(raw);
    assert!(trace.0.iter().all(|(field, _)| *field == 1), "Trace.packet");
    for packet in trace.messages(1) {
        assert!(packet.number(10).is_some_and(|id| id != 0), "trusted_packet_sequence_id");
        if let Some(track) = packet.message(60) {
            let uuid = track.number(1).expect("TrackDescriptor.uuid");
            if let Some(parent) = track.number(5) {
                assert!(names.contains_key(&parent), "TrackDescriptor.parent_uuid");
            } else {
                assert!(track.message(3).unwrap().number(1).is_some(), "ProcessDescriptor.pid");
            }
            if track.message(8).is_some() {
                counters.insert(uuid);
            }
            assert!(names.insert(uuid, track.string(2).expect("TrackDescriptor.name")).is_none(), "told twice");
        }
        let Some(event) = packet.message(11) else { continue };
        let time = packet.number(8).expect("TracePacket.timestamp");
        assert!(time >= last, "back in time");
        last = time;
        let uuid = event.number(11).expect("TrackEvent.track_uuid");
        let kind = event.number(9).expect("TrackEvent.type");
        let depth = open.entry(uuid).or_default();
        match kind {
            1 => *depth += 1,
            2 => *depth -= 1,
            3 => assert!(event.string(23).is_some(), "TrackEvent.name"),
            4 => assert!(counters.contains(&uuid) && event.number(30).is_some(), "TrackEvent.counter_value"),
            other => panic!("type {other}"),
        }
        assert!((0..=1).contains(depth), "slices of {} do not nest", names[&uuid]);
        assert_eq!(kind == 4, counters.contains(&uuid));
        for annotation in event.messages(4) {
            assert!(annotation.string(10).is_some(), "DebugAnnotation.name");
            assert!(annotation.number(3).is_some() ^ annotation.string(6).is_some(), "DebugAnnotation.value");
        }
        tracks.entry(names[&uuid].clone()).or_default().push((time, kind, event.string(23)));
    }
    assert!(open.values().all(|depth| *depth == 0), "slices left open");
    tracks
}

#[test]
fn perfetto_has_a_track_a_ring_a_vmid_and_a_fault() {
    let events = session(Depth::Full);
    let tracks = perfetto(&export(&events, Format::Perfetto, &Selection::default()));
    // Every packet is a slice of its ring.
    let mut packets: BTreeMap<String, usize> = BTreeMap::new();
    for (_, event) in &events {
        if let Event::Packet { ring, .. } = event {
            *packets.entry(ring.to_string()).or_default() += 1;
        }
    }
    assert!(packets.len() >= 3, "{packets:?}");
    for (ring, count) in packets {
        assert_eq!(tracks[&ring].iter().filter(|(_, kind, _)| *kind == 1).count(), count, "{ring}");
        assert!(tracks.contains_key(&format!("{ring} occupancy")));
    }
    assert_eq!(tracks["SDMA0 GFX"][0].2.as_deref(), Some("COPY_LINEAR"));
    assert!(tracks["VMID 0"].iter().any(|(_, _, name)| name.as_deref() == Some("copy")));
    assert!(tracks["VMID 3"].iter().any(|(_, _, name)| name.as_deref() == Some("failed walk")));
    // A fault's track spans from the access that failed to its retry.
    let ids: BTreeSet<u64> =
        events.iter().filter_map(|(_, e)| if let Event::Fault { id, .. } = e { Some(*id) } else { None }).collect();
    assert_eq!(ids.len(), 3);
    for id in ids {
        let times: Vec<u64> = events
            .iter()
            .filter(|(_, e)| matches!(e, Event::Fault { id: n, .. } if *n == id))
            .map(|(time, _)| *time * 10)
            .collect();
        let track = &tracks[&format!("fault {id}")];
        assert_eq!((track[0].0, track[0].1), (times[0], 1));
        assert_eq!((track.last().unwrap().0, track.last().unwrap().1), (*times.last().unwrap(), 2));
    }
    let names: Vec<_> = tracks["fault 2"].iter().filter_map(|(_, _, name)| name.as_deref()).collect();
    assert_eq!(names, ["write 0x9000", "delivered", "acknowledged", "retried"]);
}

#[test]
fn a_broken_trace_is_exported_as_far_as_it_goes_and_then_told() {
    let events = session(Depth::Mmio);
    for format in [Format::Text, Format::Json, Format::Mmiotrace, Format::Perfetto] {
        let broken = || TraceError::Cut { name: "x".into(), events: 30 };
        let items = events.iter().take(30).cloned().map(Ok).chain([Err(broken())]);
        let mut out = Vec::new();
        let result = trace::export(items, format, &Selection::default(), &mut out);
        assert!(matches!(result, Err(TraceError::Cut { .. })));
        assert_eq!(out, export(&events[..30], format, &Selection::default()));
    }
}
