// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The real process over its socket: a well-behaved front end, a guest that is not, and messages that are no vhost-user.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod cli;
mod config;
mod control;
mod guest;
mod lifecycle;
mod malformed;
mod process;
mod queues;
mod ring;
mod session;
mod uma;
