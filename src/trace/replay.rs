// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Runs a full trace again without QEMU or guest: a device made as the recorded one was, fed with the recorded inputs, whose
//! every event must be the recorded one.

use super::event::{Call, Depth, Event};
use super::reader::{Reader, TraceError};
use super::tape::{Divergence, Tape};
use super::Tracer;
use crate::bus::{ManualClock, SystemMemory};
use crate::check::Checks;
use crate::device::{Gpu, GpuError};
use std::path::Path;
use thiserror::Error;
use vm_memory::GuestMemoryMmap;

/// Why a trace is not replayed to its end.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The trace cannot be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The trace cannot be replayed.
    #[error("{0}")]
    Unfit(&'static str),
    /// The device cannot be made.
    #[error("the recorded device: {0}")]
    Device(#[from] GpuError),
    /// The replay came to something else than the recording.
    #[error("the replay diverges at {0}")]
    Diverged(Box<Divergence>),
}

/// What a step of a replay came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Number of the next event; the events of the trace are counted from 0, the device's header.
    pub event: u64,
    /// What the step did, without what is of the seam: number, time, event.
    pub events: Vec<(u64, u64, Event)>,
}

/// A trace in replay.
pub struct Replay {
    gpu: Gpu,
    trace: Tracer,
}

impl Replay {
    /// The trace at `path`.
    pub fn open(path: &Path) -> Result<Self, ReplayError> {
        Self::new(Reader::open(path)?)
    }
    /// The trace that `input` gives.
    pub fn new(
        mut input: impl Iterator<Item = Result<(u64, Event), TraceError>> + Send + 'static,
    ) -> Result<Self, ReplayError> {
        let first = input.next().transpose()?;
        let Some((_, Event::Device { depth, config, pristine, key, .. })) = first else {
            return Err(ReplayError::Unfit("the trace does not say what device it is of"));
        };
        if depth != Depth::Full {
            return Err(ReplayError::Unfit("only a full trace holds what a replay needs"));
        }
        let key = <[u8; 32]>::try_from(key).ok().filter(|_| pristine);
        let key = key.ok_or(ReplayError::Unfit("the trace does not begin where its device did"))?;
        let memory = SystemMemory::new(GuestMemoryMmap::new());
        let mut gpu = Gpu::with_key(config, memory, Box::new(ManualClock::default()), &key)?;
        let trace = Tracer::replay(Tape::new(input));
        gpu.set_trace(trace.clone());
        Ok(Self { gpu, trace })
    }
    /// Lets the checks judge the driver in what is replayed from now on: see [`Gpu::findings`].
    pub fn judge(&mut self) {
        self.gpu.judged_by(Checks::quiet(self.gpu.config().mmu));
    }
    /// The device as it is now.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }
    /// Replays the next call of the device. None at the end of the trace.
    pub fn step(&mut self) -> Result<Option<Stopped>, ReplayError> {
        let next = self.trace.tape(|tape| (tape.number(), tape.peek().cloned(), tape.take_error()));
        let (before, next) = match next {
            Some((_, None, Some(error))) => return Err(error.into()),
            Some((number, Some((_, event)), _)) => (number, event),
            _ => return Ok(None),
        };
        match next {
            Event::Call(call) => self.call(call),
            Event::Lost { .. } => return Err(ReplayError::Unfit("the trace has lost events")),
            _ => drop(self.trace.tape(|tape| tape.give_up("no call of the device".into()))),
        }
        self.trace.tape(|tape| {
            if tape.number() == before {
                tape.give_up("nothing".into());
            }
        });
        match self.trace.divergence() {
            Some(Divergence { recorded: Some((_, Event::Lost { .. })), .. }) => {
                Err(ReplayError::Unfit("the trace has lost events"))
            }
            Some(divergence) => Err(ReplayError::Diverged(Box::new(divergence))),
            None => match self.trace.tape(|tape| (tape.take_error(), tape.number(), tape.take_shown())) {
                Some((Some(error), ..)) => Err(error.into()),
                Some((None, event, events)) => Ok(Some(Stopped { event, events })),
                None => Ok(None),
            },
        }
    }
    fn call(&mut self, call: Call) {
        match call {
            Call::Read { index } => drop(self.gpu.mmio_read(index)),
            Call::Write { index, value } => self.gpu.mmio_write(index, value),
            Call::Doorbell { slot, value } => self.gpu.doorbell(slot, value),
            Call::Run => drop(self.gpu.run()),
            Call::Reset => self.gpu.reset(),
            Call::TakeInterrupt => drop(self.gpu.take_interrupt()),
            Call::Inject { spec } => match spec.parse() {
                Ok(spec) => self.gpu.inject(spec),
                Err(error) => drop(self.trace.tape(|tape| tape.give_up(error.to_string()))),
            },
            Call::Heal => self.gpu.clear_injected(),
        }
    }
    /// Replays until event `stop` has happened, or to the end of the trace: the number of the next event, and whether the
    /// trace goes on.
    pub fn run(&mut self, stop: Option<u64>) -> Result<(u64, bool), ReplayError> {
        let mut event = 1;
        while stop.is_none_or(|stop| event <= stop) {
            match self.step()? {
                Some(stopped) => event = stopped.event,
                None => return Ok((event, false)),
            }
        }
        Ok((event, true))
    }
}
