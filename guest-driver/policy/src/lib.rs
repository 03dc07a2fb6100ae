// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The decisions of the guest driver's memory manager, apart from everything that carries them out.
//!
//! A [`Policy`] is told facts ("a job needs these buffers", "that copy failed") and answers with actions
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
//!   the one documented at [`Policy::alloc`], and every walk in an address space by the entries that change. An
//!   event of the memory manager looks at each resident allocation a few times at most for each that it picks.
//!
//! A job's buffer goes to VRAM:
//!
//! ```
//! use uvm_policy::event::{Action, Event, Issued, Reply};
//! use uvm_policy::*;
//!
//! # fn main() -> Result<(), Error> {
//! let mut policy = Policy::new(4096)?;
//! for segment in SegmentTable::discrete(256 << 20, 256 << 20, 0, 64 << 20, 4 << 20)?.as_slice() {
//!     policy.add_segment_of(segment)?;
//! }
//! policy.start(&ManagerConfig::default())?;
//! let Reply::Process(process) = policy.handle(&Event::Open(Limits::NONE))? else { unreachable!() };
//! let placements = Placements::new(&[SegmentKind::Local, SegmentKind::Snooped])?;
//! let spec = Spec { size: 3 << 20, align: 0, placements, priority: 1, pageable: true, fallback: false };
//! let Reply::Bo(bo) = policy.handle(&Event::Create(process, spec))? else { unreachable!() };
//!
//! let submit = Event::Submit { process, bos: &[bo], addressed: false };
//! let Reply::Ticket(ticket) = policy.handle(&submit)? else { unreachable!() };
//! while let Some(Issued { id, action }) = policy.next_action() {
//!     println!("{action:x?}"); // Clear, then Ready
//!     match id {
//!         // Had a step failed, the buffer would be where it was.
//!         Some(id) => policy.handle(&Event::Done(id, Ok(()))).map(drop)?,
//!         None => assert_eq!(action, Action::Ready(ticket)),
//!     }
//! }
//! let at = Location { domain: Domain::Vram, offset: 0 };
//! assert_eq!(policy.residence(bo)?, Residence::Segment(SegmentKind::Local, at));
//! policy.handle(&Event::Fence(ticket))?;
//! # Ok(())
//! # }
//! ```
//!
//! # The memory manager: events in, actions out
//!
//! It is started once ([`Policy::start`]) on segments that the device describes ([`SegmentTable`]: discrete with a small BAR, UMA,
//! vidmm), one of which is the paging segment; what the driver takes for itself (page tables, rings) should have
//! segments of its own kinds, since it cannot wait for others to leave. From then on the caller has two calls, both
//! short, both under its lock: [`Policy::handle`] takes an [`event::Event`] and answers at once;
//! [`Policy::next_action`] gives the next [`event::Action`] to carry out, until there is none. (C: `uvm_mm_start`,
//! `uvm_mm_event`, `uvm_mm_next`.)
//!
//! **The loop.** After each event call `next_action` until it gives nothing. What it gives may be carried out in any
//! order, at the same time and without the lock: whatever depends on an action comes only after its answer. Each
//! action with an id is answered exactly once by [`event::Event::Done`]; an id that was not given out or is answered
//! already is [`Error::Unknown`]. A notice (`Ready`, `Refused`, `Gone`) has no id and no answer.
//!
//! **What an action owes.** It has ended, in the device too, when it is answered: fences signalled, invalidations
//! acknowledged, frames really free. `WritePtes` alone may be answered once the entries are queued in each address space,
//! if jobs and a later `Zap` come behind them there.
//!
//! | action | does | if it fails |
//! |---|---|---|
//! | `AllocPages` | pages for a range of the allocation, zeroed or not, which stay | nothing was made; the move is taken back |
//! | `Bind` | GART entries for the range's pages | none is bound; taken back |
//! | `Copy`, `Clear` | the copy engine | the target is undefined; taken back |
//! | `SwapOut`, `SwapIn` | write or read the backing store, source kept | the target is undefined; taken back |
//! | `Zap` | out of all page tables, GPUs' and CPUs' | still in them; taken back, or again at a tick |
//! | `WritePtes` | entries in each address space that maps it | not there; the use that needs it tries again |
//! | `Unbind`, `FreePages`, `SwapDrop` | take something back | again at a tick, until it succeeds |
//!
//! So every failure is an event like any other and leaves each byte valid somewhere ([`Policy::residence`]): at the
//! old place until all of a move's bytes are at the new one, and from then on at the new one. A failed
//! move counts against the use that it was for, which tries again a few times and is then refused with the reason. For
//! lack of pages the manager first has others written to the backing store.
//!
//! **An allocation** ([`Spec`]) begins empty: no memory, reads as zeros. It has a list of segment kinds, best first,
//! where jobs may use it; `Place` gives it another. [`SegmentKind::System`] in it means that jobs reach it in system
//! pages too, by page tables; a job that knows none says so and gets an address in the GART. Outside of segments it is in system pages or in the backing store. A move goes one hop,
//! between local memory and system pages in chunks: pages, bind at a window of the paging segment, copy, unbind. Two
//! chunks are under way at a time. `Destroy` takes effect when no use is left; `Gone` is the last of it.
//!
//! **A use** is a job ([`event::Event::Submit`]), a device's fault, an explicit move or the CPU's wish to map what it
//! cannot reach. Its ticket ends in `Ready` or `Refused`. Between `Ready` and [`event::Event::Fence`] nothing of its
//! set moves. `Fence` says that the job has ended, well or not; the driver owes it for each `Ready`. Who waits is
//! served in order of arrival, see `working_set` for why nobody starves and how far others may pass ([`PASSES`]).
//! `Cancel` is for a caller that was interrupted before `Ready`. While allocations keep coming into full local memory,
//! the next to leave goes as soon as one has come, see `spare`; so moves may begin that no use waits for.
//!
//! **Page tables.** `Map` and `Unmap` count the places in address spaces that show the allocation; the caller itself
//! clears entries before `Unmap`. After `Map` the next use has them written. `Zap` comes before the bytes move,
//! `WritePtes` when they are in a segment again.
//!
//! **The CPU.** `CpuAccess` answers `Direct` (it reaches the bytes there until a `Zap`), `Peek` (local memory beyond
//! the BAR: by the copy engine), or a ticket, whose `Ready` means that it can be mapped now.
//!
//! **Memory pressure.** `Pressure` (a shrinker's scan) answers how many bytes will be freed; the actions follow. It is
//! safe from reclaim as long as the caller does not carry out actions there. `Advise` says that content is not needed
//! (it may be thrown away at any time) and is needed again, and tells whether it was kept.
//!
//! **Processes' own memory.** It comes to local memory in chunks, `chunk_take`, which nobody makes room for by himself.
//! `MakeWay` has buffers leave for one; whoever can wait tries again as moves end.
//!
//! A driver's part, in short:
//!
//! ```text
//! event(e):            lock; ret = uvm_mm_event(policy, e, &reply, log); unlock; queue the worker; return ret
//! worker:              lock; while (uvm_mm_next(policy, &a, log)) { unlock; begin a; lock; } unlock
//! when a has ended:    event({ .op = UVM_MM_EV_DONE, .id = a.id, .value = 0 or UVM_MM_FAIL_* })
//! submit ioctl:        event(SUBMIT) -> reply.id; wait for its READY (arm the fence then) or REFUSED (its error);
//!                      on a signal: event(CANCEL), and if that is -EBUSY it is ready after all
//! job's fence:         event(FENCE, ticket)     from a work item: the policy's lock sleeps
//! shrinker:            trylock; event(PRESSURE, bytes) -> reply.value
//! timer:               event(TICK) while something failed, a few times a second
//! ```
//!
//! **Beside the manager.** `uvm_policy_alloc`, `_reserve` and `_free` take ranges for the driver itself, best in segments
//! of its own.
//!
//! A run can be recorded ([`record`]) and done again elsewhere with the same actions. Ranges that are taken beside the
//! manager are part of that, since they decide what is free.
//!
//! Map: `heap` places ranges inside one segment, `segment` says which there are, [`Policy`] owns them, buffer objects
//! and moves. Of the memory manager, `manager` is the entry, `residency` keeps allocations and their
//! owners, `working_set` the queue of uses, `gather` finds room for the first one, `victims` picks who goes by the
//! rules in `evict`, `make_way` who goes for processes' own memory, `journal` notes what others take, `paging` carries out moves step by step as `run` lays them out. `vm` keeps address spaces and
//! turns a change of what they map into writes of page table entries, `vmid` shares the hardware's contexts among
//! them. [`svm`] stands apart: it decides about memory that processes share with the device.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(uvm_kernel, allow(stable_features), feature(vec_push_within_capacity))]

extern crate alloc;

mod buffers;
mod chunks;
mod divide;
mod domain;
mod error;
pub mod event;
mod evict;
mod gather;
mod heap;
mod ids;
mod journal;
mod make_way;
mod manager;
mod page;
mod paging;
mod pasid;
mod policy;
pub mod record;
mod residency;
mod retire;
mod run;
mod segment;
mod slab;
mod spare;
pub mod svm;
mod table;
mod victims;
mod vm;
mod vmid;
mod watch;
mod working_set;

pub use buffers::BoInfo;
pub use divide::Described;
pub use domain::{Domain, DomainMask, Location};
pub use error::Error;
pub use evict::EvictKind;
pub use heap::{BlockKind, From};
pub use ids::{ActionId, BlockId, BoId, JobId, ProcessId, SegmentId, TicketId, Token, UpdateId, VmId};
pub use manager::{ManagerConfig, ManagerStats};
pub use policy::{AllocRequest, Allocation, Policy, SegmentConfig, SegmentStats};
pub use residency::{Limits, Residence, Spec, Usage, PRIORITIES};
pub use segment::{Placements, SegmentDesc, SegmentKind, SegmentTable};
pub use vm::{Change, Invalidate, Mapping, Prepared, TableWrite, UpdateRequest, VmConfig, VmInfo};
pub use vmid::{Grab, GrabRequest, Grant, VmidWait, ALL_HUBS, HUBS};
pub use watch::RangeChange;
pub use working_set::PASSES;
