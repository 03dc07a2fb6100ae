// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Writes a trace file: the device's thread encodes, a thread of its own compresses and writes.
//!
//! A file is a magic line, then blocks: bytes before and after LZ4 compression (4 each, little endian), XXH3-64 of the
//! compressed bytes (8), the compressed bytes. A block's bytes are postcard-encoded (time, event) pairs.
//!
//! What waits for the writer is bounded. Where it does not keep up, a shallow trace loses events and says how many, for it
//! must not slow the device down; a full one makes the device wait, for it is worth nothing with a hole.

use super::event::{Depth, Event, Sink};
use super::reader::TraceError;
use parking_lot::{Condvar, Mutex};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// First bytes of a trace file; the digit is the format's version.
pub(super) const MAGIC: &[u8; 12] = b"uvm-trace 2\n";
/// Most bytes that wait for the writer, and of a block before compression.
pub(super) const MOST_WAITING: usize = 4 << 20;
/// Bytes that are worth waking the writer.
const BLOCK: usize = 256 << 10;
/// How long a smaller block waits.
const LINGER: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Events lost since the last one that was taken, and in all.
    lost: u64,
    lost_in_all: u64,
    /// Writing failed: all that comes is lost.
    failed: bool,
    /// Somebody waits for room.
    urgent: bool,
    closing: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    work: Condvar,
    room: Condvar,
}

/// Records events in a file.
pub struct Recorder {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    patient: bool,
    most: usize,
    scratch: Vec<u8>,
    now: u64,
}

impl Recorder {
    /// A new trace at `path` that nobody else may read, for it holds guest memory; an existing file is refused.
    pub fn create(path: &Path, depth: Depth) -> Result<Self, TraceError> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|source| TraceError::Open { path: path.display().to_string(), source })?;
        Self::new(file, depth, MOST_WAITING)
    }
    /// A trace into `out`, with at most `most` bytes waiting.
    pub fn new(mut out: impl Write + Send + 'static, depth: Depth, most: usize) -> Result<Self, TraceError> {
        out.write_all(MAGIC)?;
        out.flush()?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let writer = std::thread::Builder::new().name("trace".into()).spawn(move || write(&theirs, &mut out))?;
        let most = most.min(MOST_WAITING);
        let patient = depth == Depth::Full;
        Ok(Self { shared, writer: Some(writer), patient, most, scratch: Vec::new(), now: 0 })
    }
    /// Encodes an event behind `bytes`.
    fn encode(bytes: Vec<u8>, time: u64, event: &Event) -> Vec<u8> {
        // Nothing in an event fails to encode.
        postcard::to_extend(&(time, event), bytes).unwrap_or_default()
    }
}

impl Sink for Recorder {
    fn record(&mut self, time: u64, event: &Event) {
        self.now = time;
        let mut record = std::mem::take(&mut self.scratch);
        record.clear();
        let record = Self::encode(record, time, event);
        let mut waiting = self.shared.waiting.lock();
        while self.patient && !waiting.failed && waiting.bytes.len() + record.len() > self.most {
            waiting.urgent = true;
            self.shared.work.notify_one();
            self.shared.room.wait(&mut waiting);
        }
        if waiting.failed || waiting.bytes.len() + record.len() > self.most {
            waiting.lost += 1;
            waiting.lost_in_all += 1;
        } else {
            note_lost(&mut waiting, time);
            let before = waiting.bytes.len();
            waiting.bytes.extend_from_slice(&record);
            if before < BLOCK && waiting.bytes.len() >= BLOCK {
                self.shared.work.notify_one();
            }
        }
        drop(waiting);
        self.scratch = record;
    }
}

/// Says in the trace what is missing before the next event.
fn note_lost(waiting: &mut Waiting, time: u64) {
    let events = std::mem::take(&mut waiting.lost);
    if events > 0 {
        waiting.bytes = Recorder::encode(std::mem::take(&mut waiting.bytes), time, &Event::Lost { events });
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let mut waiting = self.shared.waiting.lock();
        note_lost(&mut waiting, self.now);
        waiting.bytes = Self::encode(std::mem::take(&mut waiting.bytes), self.now, &Event::End);
        waiting.closing = true;
        drop(waiting);
        self.shared.work.notify_one();
        if let Some(writer) = self.writer.take() {
            if writer.join().is_err() {
                log::error!("trace: the writer panicked");
            }
        }
        let lost = self.shared.waiting.lock().lost_in_all;
        if lost > 0 {
            log::warn!("trace: {lost} events lost");
        }
    }
}

/// The writer's thread.
fn write(shared: &Shared, out: &mut impl Write) {
    let mut spare = Vec::new();
    loop {
        let mut waiting = shared.waiting.lock();
        if waiting.bytes.len() < BLOCK && !waiting.closing && !waiting.urgent {
            shared.work.wait_for(&mut waiting, LINGER);
        }
        waiting.urgent = false;
        let block = std::mem::replace(&mut waiting.bytes, std::mem::take(&mut spare));
        let closing = waiting.closing;
        drop(waiting);
        shared.room.notify_all();
        if !block.is_empty() {
            if let Err(error) = write_block(out, &block) {
                log::error!("trace: {error}; events are lost from here on");
                shared.waiting.lock().failed = true;
                shared.room.notify_all();
                return;
            }
        }
        if closing {
            return;
        }
        spare = block;
        spare.clear();
    }
}

fn write_block(out: &mut impl Write, block: &[u8]) -> io::Result<()> {
    let packed = lz4_flex::block::compress(block);
    for len in [block.len(), packed.len()] {
        out.write_all(&u32::try_from(len).map_err(io::Error::other)?.to_le_bytes())?;
    }
    out.write_all(&xxh3_64(&packed).to_le_bytes())?;
    out.write_all(&packed)?;
    out.flush()
}
