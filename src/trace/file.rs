// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The trace file: a magic line, then records of a 32-bit length and a postcard-encoded (time, event).

use super::{describe, Event, Sink};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use thiserror::Error;

/// First bytes of a trace file; the digit is the format's version.
const MAGIC: &[u8; 12] = b"uvm-trace 1\n";
/// Longest record that a reader takes, bytes: events are far smaller.
const MAX_RECORD: usize = 4096;

/// Why a trace cannot be read or written.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The file cannot be opened or created.
    #[error("{path}: {source}")]
    Open {
        /// The file.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Reading or writing failed.
    #[error("trace: {0}")]
    Io(#[from] io::Error),
    /// The file does not start as a trace does.
    #[error("{0}: not a trace of this program")]
    Foreign(String),
    /// The file is a trace of another version of the format.
    #[error("{0}: a trace of another version of the format")]
    Version(String),
    /// The file ends inside a record, or a record does not decode.
    #[error("trace broken after {events} events (byte {byte})")]
    Broken {
        /// Events before it.
        events: u64,
        /// Offset of the broken record.
        byte: u64,
    },
}

/// Writes events to a file. A write that fails is counted and told once; the device goes on.
pub struct FileSink {
    out: BufWriter<File>,
    lost: u64,
}

impl FileSink {
    /// A new trace at `path`; an existing file is refused.
    pub fn create(path: &Path) -> Result<Self, TraceError> {
        let file =
            File::create_new(path).map_err(|source| TraceError::Open { path: path.display().to_string(), source })?;
        let mut out = BufWriter::with_capacity(1 << 16, file);
        out.write_all(MAGIC)?;
        out.flush()?;
        Ok(Self { out, lost: 0 })
    }
    fn write(&mut self, time: u64, event: &Event) -> io::Result<()> {
        let record = postcard::to_stdvec(&(time, event)).map_err(io::Error::other)?;
        let len = u32::try_from(record.len()).map_err(io::Error::other)?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(&record)
    }
}

impl Sink for FileSink {
    fn record(&mut self, time: u64, event: &Event) {
        if let Err(e) = self.write(time, event) {
            if self.lost == 0 {
                log::error!("trace: {e}; events are lost from here on");
            }
            self.lost += 1;
        }
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if let Err(e) = self.out.flush() {
            log::error!("trace: {e}");
        }
        if self.lost > 0 {
            log::error!("trace: {} events lost", self.lost);
        }
    }
}

/// Reads the events of a trace.
pub struct Reader<R> {
    input: R,
    events: u64,
    byte: u64,
}

impl Reader<BufReader<File>> {
    /// The trace at `path`.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|source| TraceError::Open { path: name.clone(), source })?;
        Self::new(BufReader::new(file), &name)
    }
}

impl<R: Read> Reader<R> {
    /// The trace that `input` holds; `name` stands in errors.
    pub fn new(mut input: R, name: &str) -> Result<Self, TraceError> {
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic).map_err(|_| TraceError::Foreign(name.into()))?;
        if magic != *MAGIC {
            let versioned = magic.starts_with(b"uvm-trace ");
            let make = if versioned { TraceError::Version } else { TraceError::Foreign };
            return Err(make(name.into()));
        }
        Ok(Self { input, events: 0, byte: MAGIC.len() as u64 })
    }
    fn next_event(&mut self) -> Result<Option<(u64, Event)>, TraceError> {
        let broken = TraceError::Broken { events: self.events, byte: self.byte };
        let mut len = [0; 4];
        let mut got = 0;
        while let Some(rest) = len.get_mut(got..).filter(|r| !r.is_empty()) {
            match self.input.read(rest) {
                Ok(0) if got == 0 => return Ok(None),
                Ok(0) => return Err(broken),
                Ok(n) => got += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        let len = u32::from_le_bytes(len) as usize;
        if len > MAX_RECORD {
            return Err(broken);
        }
        let mut record = vec![0; len];
        if self.input.read_exact(&mut record).is_err() {
            return Err(broken);
        }
        let Ok(event) = postcard::from_bytes(&record) else { return Err(broken) };
        self.events += 1;
        self.byte += 4 + len as u64;
        Ok(Some(event))
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<(u64, Event), TraceError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().transpose()
    }
}

/// Prints the trace at `path` as text, one event a line, and returns their number.
pub fn decode_file(path: &Path, out: &mut dyn Write) -> Result<u64, TraceError> {
    let mut events = 0;
    for item in Reader::open(path)? {
        let (time, event) = item?;
        writeln!(out, "{:>14.6} {}", time as f64 / crate::bus::CLOCK_HZ as f64, describe(&event))?;
        events += 1;
    }
    Ok(events)
}
