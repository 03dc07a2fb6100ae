// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The access engine: queues that execute access programs, whose lanes reach memory as shaders would.
//!
//! `engine`: registers, queues, arbitration. `program`: raw dwords to valid programs. `lane`: what a lane does, an access
//! at a time. `run`: the lanes of a program, each of which waits for its own pages.

pub mod engine;
pub mod lane;
pub mod program;
pub mod run;
mod view;

pub use engine::Engine;
pub use program::{decode, Command, Program};
