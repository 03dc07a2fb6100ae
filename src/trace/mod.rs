// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What happened: one event type, a file of them, and its decoder.

mod decode;
mod file;

pub use decode::{describe, describe_packet};
pub use file::{decode_file, FileSink, Reader, TraceError};

use serde::{Deserialize, Serialize};

/// Something that happened in the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A register access from outside.
    Register {
        /// It was a write.
        write: bool,
        /// Dword index.
        index: u32,
        /// Value written or read.
        value: u32,
    },
    /// A register access by an SDMA packet.
    EngineRegister {
        /// SDMA instance.
        instance: u8,
        /// It was a write.
        write: bool,
        /// Dword index.
        index: u32,
        /// Value written or read.
        value: u32,
    },
    /// A doorbell.
    Doorbell {
        /// 64-bit slot.
        slot: u32,
        /// What was written.
        value: u64,
        /// Whether somebody took it.
        taken: bool,
    },
    /// A packet that an engine fetched.
    Packet {
        /// SDMA instance.
        instance: u8,
        /// Ring of the instance.
        ring: u8,
        /// Address space it runs in.
        vmid: u8,
        /// It came from an indirect buffer.
        indirect: bool,
        /// Its virtual address.
        at: u64,
        /// Header and fixed dwords.
        dwords: Vec<u32>,
    },
    /// An interrupt vector.
    Interrupt {
        /// The eight dwords.
        vector: [u32; 8],
        /// False if it was dropped.
        delivered: bool,
    },
    /// A device reset.
    Reset,
}

/// Takes events.
pub trait Sink: Send {
    /// Takes one event at `time` (reference clock).
    fn record(&mut self, time: u64, event: &Event);
}

/// Where the device's blocks send events; costs one test while off.
#[derive(Default)]
pub struct Tracer(Option<Box<dyn Sink>>);

impl Tracer {
    /// A tracer into `sink`.
    pub fn new(sink: Option<Box<dyn Sink>>) -> Self {
        Self(sink)
    }
    /// Whether anybody listens.
    pub fn full(&self) -> bool {
        self.0.is_some()
    }
    /// Records the event that `make` builds, if anybody listens.
    pub fn record(&mut self, time: u64, make: impl FnOnce() -> Event) {
        if let Some(sink) = self.0.as_mut() {
            sink.record(time, &make());
        }
    }
}
