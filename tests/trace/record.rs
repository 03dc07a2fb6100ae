// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a run leaves in the file, and what is said of a file that is none.

use crate::common::*;
use crate::scripted::*;
use proptest::prelude::*;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use vhost_device_uvm::trace::{
    describe, export, Depth, Diff, Event, Format, Reader, Recorder, Replay, Report, RingId, Selection, Sink, Stat,
    TraceError, Tracer, Who,
};
use vhost_device_uvm::Config;

#[test]
fn a_file_gives_back_every_event_that_happened() {
    for depth in [Depth::Mmio, Depth::Full] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.trace");
        let memory = Memory::default();
        let mut seen = Rig::new();
        memory.attach(&mut seen, depth);
        scripted_run(&mut seen);
        let mut filed = Rig::new();
        record(&mut filed, depth, &path);
        scripted_run(&mut filed);
        filed.gpu.set_trace(Tracer::default());
        let mut expected = memory.events();
        let mut events = read(&path);
        assert!(matches!(&expected[0].1, Event::Device { config, .. } if config.vram_size == VRAM));
        // Each device has a key of its own.
        for list in [&mut expected, &mut events] {
            let Event::Device { key, .. } = &mut list[0].1 else { panic!("no header") };
            assert_eq!(key.len(), if depth == Depth::Full { 32 } else { 0 });
            key.clear();
        }
        assert_eq!(events, expected);
    }
}

#[test]
fn a_run_reads_by_names_and_fields() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.trace");
    let mut rig = Rig::new();
    record(&mut rig, Depth::Full, &path);
    scripted_run(&mut rig);
    rig.gpu.set_trace(Tracer::default());
    let mut text = Vec::new();
    let reader = Reader::open(&path).unwrap();
    let events = export(reader, Format::Text, &Selection::default(), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(events, text.lines().count() as u64);
    golden("text", &text);
}

#[test]
fn a_shallow_trace_is_what_a_full_one_says_of_registers_doorbells_faults_and_interrupts() {
    let [shallow, full] = [Depth::Mmio, Depth::Full].map(|depth| {
        let memory = Memory::default();
        let mut rig = Rig::new();
        memory.attach(&mut rig, depth);
        scripted_run(&mut rig);
        memory.events()
    });
    let kept = |event: &Event| {
        matches!(
            event,
            Event::Register { .. }
                | Event::Doorbell { .. }
                | Event::Fault { .. }
                | Event::Interrupt { .. }
                | Event::Line { .. }
                | Event::Reset
        )
    };
    let full: Vec<_> = full.into_iter().filter(|(_, event)| kept(event)).collect();
    assert_eq!(shallow[1..], full);
    assert!(full.iter().any(|(_, event)| matches!(event, Event::Fault { .. })));
    assert!(full.iter().any(|(_, event)| matches!(event, Event::Line { .. })));
}

#[test]
fn nothing_is_recorded_while_nobody_listens() {
    let memory = Memory::default();
    let mut rig = Rig::new();
    rig.gpu.set_trace(Tracer::new(Depth::Off, Box::new(memory.clone())));
    scripted_run(&mut rig);
    assert!(memory.events().is_empty());
    memory.attach(&mut rig, Depth::Full);
    let before = memory.events().len();
    rig.gpu.set_trace(Tracer::default());
    scripted_run(&mut rig);
    assert_eq!(memory.events().len(), before);
}

#[test]
fn tracing_changes_nothing_of_what_a_run_does() {
    let mut plain = Rig::new();
    scripted_run(&mut plain);
    for depth in [Depth::Mmio, Depth::Full] {
        let mut traced = Rig::new();
        Memory::default().attach(&mut traced, depth);
        scripted_run(&mut traced);
        same("VRAM", &traced.peek_vram(0, VRAM as usize), &plain.peek_vram(0, VRAM as usize));
        same("RAM", &traced.peek(0, 2 << 20), &plain.peek(0, 2 << 20));
    }
}

#[test]
fn an_existing_file_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    std::fs::write(&path, "mine").unwrap();
    let error = Recorder::create(&path, Depth::Full).err().unwrap();
    assert!(matches!(error, TraceError::Open { .. }));
    assert!(error.to_string().contains("precious"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    let nowhere = folder.path().join("no such folder").join("run.trace");
    assert!(matches!(Recorder::create(&nowhere, Depth::Full), Err(TraceError::Open { .. })));
    assert!(matches!(Reader::open(&nowhere), Err(TraceError::Open { .. })));
}

fn decode(path: &Path) -> Result<u64, TraceError> {
    export(Reader::open(path)?, Format::Text, &Selection::default(), &mut std::io::sink())
}

#[test]
fn a_trace_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.trace");
    drop(Recorder::create(&path, Depth::Full).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
}

#[test]
fn a_foreign_file_and_another_version_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for (content, foreign) in [
        (&b""[..], true),
        (b"uvm-tr", true),
        (b"\x7fELF and so on and on", true),
        (b"uvm-trace 1\n", false),
        (b"uvm-trace 10\n and more", false),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = decode(&path).unwrap_err();
        assert_eq!(matches!(error, TraceError::Foreign(_)), foreign, "{error}");
        assert_eq!(matches!(error, TraceError::Version(_)), !foreign, "{error}");
        assert!(error.to_string().contains("file"), "{error}");
    }
}

/// A trace in three blocks of one event each, and where each block starts and the closing one.
fn three_blocks() -> (Vec<u8>, Vec<usize>) {
    let out = Shared::default();
    let mut sink = Recorder::new(out.clone(), Depth::Full, 1 << 20).unwrap();
    let mut starts = Vec::new();
    for index in 0..3 {
        starts.push(out.len());
        sink.record(u64::from(index) << 40, &Event::Register { who: Who::Driver, write: true, index, value: u32::MAX });
        out.wait_beyond(*starts.last().unwrap());
    }
    starts.push(out.len());
    drop(sink);
    let raw = out.bytes.lock().unwrap().0.clone();
    (raw, starts)
}

/// A file in memory that several hold: its bytes, and how many of them are flushed.
#[derive(Clone, Default)]
struct Shared {
    bytes: Arc<Mutex<(Vec<u8>, usize)>>,
    grown: Arc<Condvar>,
    /// A flush waits while this is held.
    gate: Arc<Mutex<()>>,
}

impl Shared {
    /// Flushed bytes.
    fn len(&self) -> usize {
        self.bytes.lock().unwrap().1
    }
    fn wait_beyond(&self, len: usize) {
        let bytes = self.bytes.lock().unwrap();
        drop(self.grown.wait_while(bytes, |bytes| bytes.1 <= len).unwrap());
    }
}

impl Write for Shared {
    fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
        self.bytes.lock().unwrap().0.extend(part);
        Ok(part.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        drop(self.gate.lock().unwrap());
        let mut bytes = self.bytes.lock().unwrap();
        bytes.1 = bytes.0.len();
        self.grown.notify_all();
        Ok(())
    }
}

#[test]
fn a_trace_cut_anywhere_gives_its_whole_blocks_and_says_so() {
    let (raw, starts) = three_blocks();
    for len in 12..raw.len() {
        let whole = starts.iter().filter(|&&s| s <= len).count() - 1;
        let items: Vec<_> = Reader::new(&raw[..len], "cut").unwrap().collect();
        assert_eq!(items.len(), whole + 1, "{len}");
        assert!(items[..whole].iter().all(Result::is_ok));
        match (&items[whole], starts.contains(&len)) {
            (Err(TraceError::Cut { events, .. }), true) => assert_eq!(*events, whole as u64),
            (Err(TraceError::Broken { events, byte, .. }), false) => {
                assert_eq!((*events, *byte), (whole as u64, starts[whole] as u64));
            }
            other => panic!("{len}: {other:?}"),
        }
    }
    assert!(Reader::new(&raw[..], "whole").unwrap().all(|item| item.is_ok()));
}

#[test]
fn a_flipped_bit_is_told_by_its_block() {
    let (raw, starts) = three_blocks();
    for at in 12..raw.len() {
        let mut raw = raw.clone();
        raw[at] ^= 0x10;
        let block = starts.iter().filter(|&&s| s <= at).count() - 1;
        let items: Vec<_> = Reader::new(&raw[..], "flipped").unwrap().collect();
        let good = items.iter().take_while(|item| item.is_ok()).count();
        assert!(good == block && items.len() == block + 1, "byte {at}: {items:?}");
    }
}

#[test]
fn a_block_of_absurd_length_is_broken_and_not_read() {
    for header in [[u32::MAX, 8], [8, u32::MAX]] {
        let lens: Vec<u8> = header.iter().flat_map(|n| n.to_le_bytes()).collect();
        let raw = [&b"uvm-trace 2\n"[..], &lens, &[0; 64]].concat();
        let mut reader = Reader::new(&raw[..], "long").unwrap();
        assert!(matches!(reader.next(), Some(Err(TraceError::Broken { events: 0, byte: 12, .. }))));
        assert!(reader.next().is_none());
    }
}

/// A trace of 1000 register accesses through a recorder with room for `most` bytes, whose file stands still meanwhile.
fn stalled(depth: Depth, most: usize) -> (Vec<(u64, Event)>, u64) {
    let out = Shared::default();
    let mut sink = Recorder::new(out.clone(), depth, most).unwrap();
    let gate = out.gate.lock().unwrap();
    let feed = move || {
        for n in 0..1000 {
            sink.record(n, &Event::Doorbell { slot: 7, value: n, taken: true });
        }
    };
    let feeder = std::thread::spawn(feed);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!feeder.is_finished(), "closing waits for the file, and a full trace long before");
    drop(gate);
    feeder.join().unwrap();
    let raw = out.bytes.lock().unwrap().0.clone();
    let events: Vec<_> = Reader::new(&raw[..], "stalled").unwrap().map(Result::unwrap).collect();
    let lost = events.iter().map(|(_, e)| if let Event::Lost { events } = e { *events } else { 0 }).sum();
    (events, lost)
}

#[test]
fn a_shallow_trace_that_is_too_fast_for_its_file_counts_what_it_loses() {
    let (events, lost) = stalled(Depth::Mmio, 512);
    assert!(lost > 0);
    let kept = events.iter().filter(|(_, e)| matches!(e, Event::Doorbell { .. })).count() as u64;
    assert_eq!(kept + lost, 1000);
    // What is lost is told where it is missing.
    let mut next = 0;
    for (_, event) in events {
        match event {
            Event::Doorbell { value, .. } => {
                assert_eq!(value, next);
                next += 1;
            }
            Event::Lost { events } => next += events,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(next, 1000);
}

#[test]
fn a_full_trace_loses_nothing() {
    let (events, lost) = stalled(Depth::Full, 512);
    assert_eq!((events.len(), lost), (1000, 0));
}

#[test]
fn a_file_that_cannot_be_written_stops_no_device() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
            self.0 += part.len();
            if self.0 > 64 {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            Ok(part.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut rig = Rig::bare();
    let sink = Recorder::new(Full(0), Depth::Full, 4096).unwrap();
    rig.gpu.set_trace(Tracer::new(Depth::Full, Box::new(sink)));
    rig.bring_up();
    scripted_run(&mut rig);
    rig.gpu.set_trace(Tracer::default());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_reader_or_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), framed in any::<bool>()) {
        let mut raw = b"uvm-trace 2\n".to_vec();
        if framed {
            // A sound block of nonsense.
            let packed = lz4_flex::block::compress(&bytes);
            raw.extend((bytes.len() as u32).to_le_bytes());
            raw.extend((packed.len() as u32).to_le_bytes());
            raw.extend(xxhash_rust::xxh3::xxh3_64(&packed).to_le_bytes());
            raw.extend(packed);
        } else {
            raw.extend(&bytes);
        }
        for event in Reader::new(&raw[..], "noise").unwrap().take(1000).flatten() {
            prop_assert!(!describe(&event.1).is_empty());
        }
    }

    #[test]
    fn any_packet_dwords_have_a_description(dwords in prop::collection::vec(any::<u32>(), 0..12), op in 0..20u32) {
        let mut dwords = dwords;
        if let Some(header) = dwords.first_mut() {
            *header = *header & !0xffff | op;
        }
        let ring = RingId { instance: 9, ring: 9 };
        let event = Event::Packet { ring, vmid: 99, indirect: true, at: u64::MAX, dwords };
        prop_assert!(describe(&event).starts_with("packet SDMA9 ? IB vmid 99"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_events_make_a_tool_panic_or_hang(
        records in prop::collection::vec((0..22u8, prop::collection::vec(prop_oneof![0..4u8, any::<u8>(), Just(0xffu8)], 80)), 0..20),
    ) {
        // Whatever these bytes mean behind the number of an event.
        let events: Vec<(u64, Event)> = records
            .iter()
            .filter_map(|(kind, bytes)| {
                let time = u64::from(bytes[0]) << (bytes[1] % 56);
                Some((time, postcard::take_from_bytes(&[&[*kind], &bytes[2..]].concat()).ok()?.0))
            })
            .collect();
        let items = || events.clone().into_iter().map(Ok);
        let all = Selection { seam: true, ..Selection::default() };
        for format in [Format::Text, Format::Json, Format::Mmiotrace, Format::Perfetto] {
            prop_assert!(export(items(), format, &all, &mut std::io::sink()).is_ok());
        }
        let mut stat = Stat::default();
        stat.take(items()).unwrap();
        prop_assert!(!stat.to_string().is_empty());
        prop_assert!(!Diff::new(items(), items().rev()).unwrap().describe(5).is_empty());
        prop_assert!(Report::of(|| Ok(items())).unwrap().html("noise").ends_with("</html>\n"));
        // A device with such a life.
        let header = Event::Device {
            version: String::new(),
            depth: Depth::Full,
            config: Config { vram_size: VRAM, ..Config::default() },
            pristine: true,
            key: vec![7; 32],
        };
        let mut replay = Replay::new([Ok((0, header))].into_iter().chain(items())).unwrap();
        while let Ok(Some(_)) = replay.step() {}
    }
}
