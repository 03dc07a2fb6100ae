// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What happened: one event type, a file of them, and what reads it.
//!
//! The device's blocks send events to a [`Tracer`]; a [`Recorder`] writes them to a file; a [`Reader`] gives them back to
//! the exporters, to `stat`, `diff` and `report`, and to a [`Replay`].

mod diff;
pub mod event;
pub mod export;
mod faults;
mod guest;
mod reader;
mod recorder;
mod replay;
pub mod report;
mod stat;
mod tape;
mod text;
mod tracer;

pub use diff::{Diff, Difference, Programmed};
pub use event::{Depth, Event, RingId, Sink, Stage, Who};
pub use export::{export, Format, Selection};
pub use guest::{Guest, GuestEvent, JoinError};
pub use reader::{Reader, TraceError};
pub use recorder::Recorder;
pub use replay::{Replay, ReplayError, Stopped};
pub use report::Report;
pub use stat::Stat;
pub use tape::Divergence;
pub use text::{describe, describe_packet, describe_register, engine_name, seconds};
pub use tracer::Tracer;
