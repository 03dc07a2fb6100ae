// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The decisions of the guest driver's memory manager, apart from everything that carries them out.
//!
//! A [`Policy`] is told facts ("this buffer is to move to VRAM", "that copy failed") and answers with actions
//! ("bind these pages, copy this range"). It does no IO, knows no clock, takes no lock and holds no pointer to
//! anything outside itself, so the same code runs inside the kernel module, in a unit test, and under a rig
//! that replays a recorded guest.
//!
//! What callers can rely on:
//! - **No panic on any input.** Sizes that overflow, ids that were never given out or were given back, tokens
//!   used twice: each is an [`Error`] value. Arithmetic on caller's numbers is checked.
//! - **No infallible allocation.** Tables grow by `try_reserve` before anything is changed; shortage of memory
//!   is [`Error::NoMemory`] and leaves the policy as it was. Giving something back never allocates. The kernel
//!   build proves it: its `alloc` crate has no other kind of allocation.
//! - **Identifiers, not pointers.** An id carries its kind and a generation; a stale one is recognised.
//! - **Bounded work.** No recursion; every walk in a segment is bounded by the height of a balanced tree, except
//!   the one documented at [`Policy::alloc`], and every walk in an address space by the entries that change.
//!
//! A buffer goes to VRAM:
//!
//! ```
//! use uvm_policy::*;
//!
//! # fn main() -> Result<(), Error> {
//! let mut policy = Policy::new(4096)?;
//! policy.add_segment(&SegmentConfig { domain: Domain::Vram, base: 0, size: 256 << 20 })?;
//! policy.add_segment(&SegmentConfig { domain: Domain::Gtt, base: 0, size: 64 << 20 })?;
//! let bo = policy.bo_create(&BoConfig { size: 3 << 20, align: 0, allowed: DomainMask::ALL })?;
//!
//! let Begin::Started(plan) = policy.begin_move(bo, Domain::Vram, &MoveOptions::default())? else { unreachable!() };
//! for action in plan.actions.as_slice() {
//!     println!("{action:x?}"); // Populate, Copy through a window of 2 MiB of the GART, ReleasePages
//! }
//! # assert_eq!(plan.actions.as_slice().len(), 3);
//! // Had a step failed, `Outcome::Failed` would leave the buffer where it was.
//! let now = policy.complete(plan.token, Outcome::Done)?;
//! assert_eq!(now, Location { domain: Domain::Vram, offset: 0 });
//! # Ok(())
//! # }
//! ```
//!
//! Map: `heap` places ranges inside one segment, [`Policy`] owns segments, buffer objects and moves,
//! `placement` orders domains for a request, `moves` turns a change of domain into actions. `vm` keeps address
//! spaces and turns a change of what they map into writes of page table entries, `vmid` shares the hardware's
//! contexts among them.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(uvm_kernel, allow(stable_features), feature(vec_push_within_capacity))]

extern crate alloc;

mod buffers;
mod error;
mod heap;
mod ids;
mod moves;
mod page;
mod pasid;
mod placement;
mod policy;
mod slab;
mod table;
mod vm;
mod vmid;

pub use buffers::{BoConfig, BoInfo};
pub use error::Error;
pub use heap::{BlockKind, From};
pub use ids::{BlockId, BoId, JobId, SegmentId, Token, UpdateId, VmId};
pub use moves::{Action, Actions, Begin, Domain, Location, MoveOptions, Outcome, Started};
pub use placement::{DomainList, DomainMask, PlacementRequest};
pub use policy::{AllocRequest, Allocation, Policy, SegmentConfig, SegmentStats};
pub use vm::{Change, Invalidate, Mapping, Prepared, TableWrite, UpdateRequest, VmConfig, VmInfo};
pub use vmid::{Grab, GrabRequest, Grant, VmidWait, ALL_HUBS, HUBS};
