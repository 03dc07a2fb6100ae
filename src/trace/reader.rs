// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Reads a trace file, whatever is in it.

use super::event::Event;
use super::recorder::{MAGIC, MOST_WAITING};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

/// Longest block that a reader takes, bytes before compression: an event may follow the last that fitted.
const MOST_BLOCK: usize = 2 * MOST_WAITING;
/// Bytes of a block's header.
const HEADER: usize = 16;

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
    /// The file ends inside a block, or a block is damaged.
    #[error("{name}: broken after {events} events (byte {byte})")]
    Broken {
        /// The file.
        name: String,
        /// Events before it.
        events: u64,
        /// Offset of the broken block.
        byte: u64,
    },
    /// The file ends without the mark that closes a trace.
    #[error("{name}: cut off after {events} events")]
    Cut {
        /// The file.
        name: String,
        /// Events before it.
        events: u64,
    },
}

/// Reads the events of a trace: (time, event) in their order. The closing mark is not given back; a trace without one
/// ends with an error.
pub struct Reader<R> {
    input: R,
    name: String,
    events: u64,
    byte: u64,
    /// The current block, the reader's place in it, and its bytes in the file.
    block: Vec<u8>,
    at: usize,
    size: u64,
    over: bool,
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
        let byte = MAGIC.len() as u64;
        Ok(Self { input, name: name.into(), events: 0, byte, block: Vec::new(), at: 0, size: 0, over: false })
    }
    fn broken(&self) -> TraceError {
        TraceError::Broken { name: self.name.clone(), events: self.events, byte: self.byte }
    }
    /// Reads the next block; false at the end of the file.
    fn next_block(&mut self) -> Result<bool, TraceError> {
        self.byte += self.size;
        self.size = 0;
        let mut header = [0; HEADER];
        let mut got = 0;
        while let Some(rest) = header.get_mut(got..).filter(|r| !r.is_empty()) {
            match self.input.read(rest) {
                Ok(0) if got == 0 => return Ok(false),
                Ok(0) => return Err(self.broken()),
                Ok(n) => got += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        let [a, b, c, d, e, f, g, h, digest @ ..] = header;
        let (len, packed) = (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]) as usize);
        if len > MOST_BLOCK || packed > lz4_flex::block::get_maximum_output_size(MOST_BLOCK) {
            return Err(self.broken());
        }
        let mut bytes = Vec::new();
        self.input.by_ref().take(packed as u64).read_to_end(&mut bytes)?;
        if bytes.len() != packed || xxh3_64(&bytes) != u64::from_le_bytes(digest) {
            return Err(self.broken());
        }
        let block = lz4_flex::block::decompress(&bytes, len).ok().filter(|block| block.len() == len);
        self.block = block.ok_or_else(|| self.broken())?;
        self.at = 0;
        self.size = (HEADER + packed) as u64;
        Ok(true)
    }
    fn next_event(&mut self) -> Result<Option<(u64, Event)>, TraceError> {
        while self.at >= self.block.len() {
            if !self.next_block()? {
                return Err(TraceError::Cut { name: self.name.clone(), events: self.events });
            }
        }
        let rest = self.block.get(self.at..).unwrap_or(&[]);
        let Ok((event, left)) = postcard::take_from_bytes::<(u64, Event)>(rest) else { return Err(self.broken()) };
        self.at = self.block.len() - left.len();
        if event.1 == Event::End {
            return Ok(None);
        }
        self.events += 1;
        Ok(Some(event))
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<(u64, Event), TraceError>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.next_event().transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }
}
