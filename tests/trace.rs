// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The trace: what a run leaves in the file, how it reads, and what is said of a file that is none.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{packets as p, *};
use proptest::prelude::*;
use std::path::Path;
use std::sync::{Arc, Mutex};
use vhost_device_uvm::trace::{decode_file, describe, Event, FileSink, Reader, Sink, TraceError};

/// Keeps events in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<(u64, Event)>>>);

impl Sink for Memory {
    fn record(&mut self, time: u64, event: &Event) {
        self.0.lock().unwrap().push((time, event.clone()));
    }
}

/// A short run with one of everything: registers, a doorbell, packets of ring and buffer, a fault, a drop, a reset.
fn scripted_run(rig: &mut Rig) {
    rig.clock.advance(150);
    rig.write(0x0de0, 1);
    rig.write(0x0ef0, 0x1e0 << 2 | 4 << 16);
    rig.write(0x1260 + 0xab, 0x1e0 << 2);
    rig.write(0x1260 + 0x92, 1 << 28);
    rig.read(0x1a000 + 0x68b);
    rig.read(0x57);
    let raw: Vec<u8> = p::fence(FB + 8 * MIB, 5).iter().flat_map(|dw| dw.to_le_bytes()).collect();
    rig.poke_va(IB, &raw);
    let ring = [
        p::copy(FB + 8 * MIB + 64, GART + 40 * 4096, 256),
        p::indirect(0, IB, 4),
        p::srbm_write(reg::SCRATCH, 0x1234, 15),
        p::poll_reg(reg::SCRATCH, 3, 0x34, 0xff, 1000, 2),
        p::trap(0xabc),
    ];
    rig.push(0, &ring.concat());
    let wptr = rig.model.engines[0].wptr;
    rig.gpu.doorbell(0xf0, wptr);
    rig.gpu.doorbell(0x10, 1);
    rig.run_to_idle();
    rig.clock.advance(1_000_000);
    rig.map(100, 0);
    rig.execute(1, &p::fence(GART + 100 * 4096 + 8, 1));
    rig.write(reg::IH_CNTL, 0);
    rig.execute(1, &p::trap(1));
    rig.gpu.reset();
}

#[test]
fn a_file_gives_back_every_event_that_happened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.trace");
    let memory = Memory::default();
    let mut seen = Rig::new();
    seen.gpu.set_trace(Some(Box::new(memory.clone())));
    scripted_run(&mut seen);
    let mut filed = Rig::new();
    filed.gpu.set_trace(Some(Box::new(FileSink::create(&path).unwrap())));
    scripted_run(&mut filed);
    filed.gpu.set_trace(None);
    let events: Vec<(u64, Event)> = Reader::open(&path).unwrap().map(Result::unwrap).collect();
    assert_eq!(events, *memory.0.lock().unwrap());
    assert_eq!(events.len(), include_str!("trace.golden").lines().count());
}

#[test]
fn a_run_reads_by_names_and_fields() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.trace");
    let mut rig = Rig::new();
    rig.gpu.set_trace(Some(Box::new(FileSink::create(&path).unwrap())));
    scripted_run(&mut rig);
    rig.gpu.set_trace(None);
    let mut text = Vec::new();
    let events = decode_file(&path, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(events, text.lines().count() as u64);
    assert_eq!(text, include_str!("trace.golden"));
}

#[test]
fn nothing_is_recorded_while_nobody_listens() {
    let memory = Memory::default();
    let mut rig = Rig::new();
    rig.gpu.set_trace(Some(Box::new(memory.clone())));
    rig.gpu.set_trace(None);
    scripted_run(&mut rig);
    assert!(memory.0.lock().unwrap().is_empty());
}

#[test]
fn tracing_changes_nothing_of_what_a_run_does() {
    let mut plain = Rig::new();
    scripted_run(&mut plain);
    let mut traced = Rig::new();
    traced.gpu.set_trace(Some(Box::new(Memory::default())));
    scripted_run(&mut traced);
    same("VRAM", &traced.peek_vram(0, VRAM as usize), &plain.peek_vram(0, VRAM as usize));
    same("RAM", &traced.peek(0, 2 << 20), &plain.peek(0, 2 << 20));
}

#[test]
fn an_existing_file_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    std::fs::write(&path, "mine").unwrap();
    let error = FileSink::create(&path).err().unwrap();
    assert!(matches!(error, TraceError::Open { .. }));
    assert!(error.to_string().contains("precious"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    let nowhere = folder.path().join("no such folder").join("run.trace");
    assert!(matches!(FileSink::create(&nowhere), Err(TraceError::Open { .. })));
    assert!(matches!(Reader::open(&nowhere), Err(TraceError::Open { .. })));
}

fn decode(path: &Path) -> Result<u64, TraceError> {
    decode_file(path, &mut std::io::sink())
}

#[test]
fn a_foreign_file_and_another_version_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for (content, foreign) in [
        (&b""[..], true),
        (b"uvm-tr", true),
        (b"\x7fELF and so on and on", true),
        (b"uvm-trace 2\n", false),
        (b"uvm-trace 10\n and more", false),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = decode(&path).unwrap_err();
        assert_eq!(matches!(error, TraceError::Foreign(_)), foreign, "{error}");
        assert_eq!(matches!(error, TraceError::Version(_)), !foreign, "{error}");
        assert!(error.to_string().contains("file"), "{error}");
    }
    std::fs::write(&path, b"uvm-trace 1\n").unwrap();
    assert_eq!(decode(&path).unwrap(), 0);
}

/// A trace with three events, and where each starts.
fn three_events(path: &Path) -> (Vec<u8>, Vec<u64>) {
    let mut sink = FileSink::create(path).unwrap();
    for index in 0..3 {
        sink.record(u64::from(index) << 40, &Event::Register { write: true, index, value: u32::MAX });
    }
    drop(sink);
    let raw = std::fs::read(path).unwrap();
    let mut starts = vec![12];
    while starts.last() != Some(&(raw.len() as u64)) {
        let at = *starts.last().unwrap() as usize;
        let len = u32::from_le_bytes(raw[at..at + 4].try_into().unwrap());
        starts.push(at as u64 + 4 + u64::from(len));
    }
    assert_eq!(starts.len(), 4);
    (raw, starts)
}

#[test]
fn a_trace_cut_anywhere_gives_its_whole_events_and_says_where_it_breaks() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, starts) = three_events(&folder.path().join("whole"));
    for len in 12..raw.len() as u64 {
        let mut reader = Reader::new(&raw[..len as usize], "cut").unwrap();
        let whole = starts.iter().filter(|&&s| s <= len).count() as u64 - 1;
        let got = reader.by_ref().take_while(Result::is_ok).count() as u64;
        assert_eq!(got, whole);
        let mut reader = Reader::new(&raw[..len as usize], "cut").unwrap();
        match reader.nth(whole as usize) {
            None => assert!(starts.contains(&len)),
            Some(Err(TraceError::Broken { events, byte })) => {
                assert_eq!((events, byte), (whole, starts[whole as usize]));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_record_of_absurd_length_is_broken_and_not_read() {
    let raw = [&b"uvm-trace 1\n"[..], &u32::MAX.to_le_bytes(), &[0; 64]].concat();
    let mut reader = Reader::new(&raw[..], "long").unwrap();
    assert!(matches!(reader.next(), Some(Err(TraceError::Broken { events: 0, byte: 12 }))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_reader_or_the_decoder_panic(tail in prop::collection::vec(any::<u8>(), 0..200), framed in any::<bool>()) {
        let mut raw = b"uvm-trace 1\n".to_vec();
        if framed {
            raw.extend((tail.len() as u32).to_le_bytes());
        }
        raw.extend(&tail);
        // A reader that met an error may be asked again; it ends all the same.
        for event in Reader::new(&raw[..], "noise").unwrap().take(100).flatten() {
            prop_assert!(!describe(&event.1).is_empty());
        }
    }

    #[test]
    fn any_packet_dwords_have_a_description(dwords in prop::collection::vec(any::<u32>(), 0..12), op in 0..20u32) {
        let mut dwords = dwords;
        if let Some(header) = dwords.first_mut() {
            *header = *header & !0xffff | op;
        }
        let event = Event::Packet { instance: 9, ring: 9, vmid: 99, indirect: true, at: u64::MAX, dwords };
        prop_assert!(describe(&event).starts_with("packet SDMA9 ? IB vmid 99"));
    }
}
