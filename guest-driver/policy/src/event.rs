// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What the memory manager is told and what it asks for. The protocol is in the crate's documentation.

use crate::domain::Location;
use crate::error::Error;
use crate::ids::{ActionId, BoId, ProcessId, TicketId};
use crate::residency::{Limits, Spec};
use crate::segment::{Placements, SegmentKind};

/// Something that happened. Sizes and offsets are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A process begins; answered by [`Reply::Process`].
    Open(Limits),
    /// A process ends; [`Error::Busy`] while it has allocations or uses.
    Close(ProcessId),
    /// An allocation is made: it reads as zeros and takes no memory yet. Answered by [`Reply::Bo`].
    Create(ProcessId, Spec),
    /// An allocation's owner has given it up. [`Action::Gone`] follows once nothing uses it.
    Destroy(BoId),
    /// The allocation got one more place in an address space: its page table entries are to follow it.
    Map(BoId),
    /// The allocation lost such a place; its entries there are cleared.
    Unmap(BoId),
    /// From now on the allocation's placements are these; where it is, it stays until its next use.
    Place(BoId, Placements),
    /// A job that needs all of `bos` in their placements at once. Answered by [`Reply::Ticket`]; then [`Action::Ready`] or
    /// [`Action::Refused`] follows.
    Submit {
        /// Whose job.
        process: ProcessId,
        /// The working set; naming one twice is the same as once.
        bos: &'a [BoId],
        /// The job knows no page tables: what is placed in system pages goes to the snooped segment for it.
        addressed: bool,
    },
    /// A device's access to a page that is not there: as a submission of one allocation.
    Fault {
        /// Whose access.
        process: ProcessId,
        /// What was accessed.
        bo: BoId,
    },
    /// The CPU wants the bytes. [`Reply::Direct`] and [`Reply::Peek`] say how it gets them now; else
    /// [`Reply::Ticket`]: they move to where it can have them.
    CpuAccess {
        /// The allocation.
        bo: BoId,
        /// A mapping, rather than a few bytes that may be read or written through the device.
        mapping: bool,
    },
    /// The allocation should be in that kind of segment, and nowhere else, whatever its placements are;
    /// [`Reply::Ticket`].
    Move {
        /// The allocation.
        bo: BoId,
        /// Where to.
        to: SegmentKind,
    },
    /// Nobody waits for this use any more. [`Error::Busy`] when it was told to be ready: its end is a fence.
    Cancel(TicketId),
    /// A use that was told to be ready has ended, well or not.
    Fence(TicketId),
    /// The allocation stays where it is until as many `Unpin`s; [`Error::Wait`] while it moves.
    Pin(BoId),
    /// One pin less.
    Unpin(BoId),
    /// Whether the content will be needed; if not, it may be thrown away. [`Reply::Retained`] tells if it
    /// was not; [`Error::Wait`] while it is going.
    Advise {
        /// The allocation.
        bo: BoId,
        /// It will.
        need: bool,
    },
    /// System memory is short: give up so many bytes of pages. [`Reply::Freeing`] says how many will be.
    Pressure(u64),
    /// Processes' own memory wants a chunk of local memory, and there is none: buffers that nobody uses make way, as long
    /// as such memory has little of it. [`Reply::Freeing`] says how much is free or will be: a chunk, or nothing.
    MakeWay {
        /// Of the chunk: a power of two, and its alignment.
        size: u64,
        /// What such memory has.
        held: u64,
    },
    /// Some time has passed: what must not be given up and failed is tried again.
    Tick,
    /// An action ended.
    Done(ActionId, Result<(), Failure>),
}

/// Why an action failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Failure {
    /// No memory: no page to be had, no page table.
    NoMemory = 1,
    /// The backing store is full.
    SwapFull = 2,
    /// The engine, the bus or the backing store failed.
    Io = 3,
}

impl Failure {
    /// From its number.
    pub fn from_raw(raw: u32) -> Result<Self, Error> {
        match raw {
            1 => Ok(Self::NoMemory),
            2 => Ok(Self::SwapFull),
            3 => Ok(Self::Io),
            _ => Err(Error::Invalid),
        }
    }
}

/// The answer to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing to say.
    Done,
    /// The process is named so.
    Process(ProcessId),
    /// The allocation is named so.
    Bo(BoId),
    /// The use is named so.
    Ticket(TicketId),
    /// The CPU reaches the bytes there. After [`Action::Zap`] of the allocation it does not any more.
    Direct(Location),
    /// The CPU does not reach the bytes, the device does: by its copy engine, there.
    Peek(Location),
    /// The content was kept until now.
    Retained(bool),
    /// So many bytes of system pages will be given up by actions that follow.
    Freeing(u64),
}

/// Something to do. Sizes and offsets are bytes.
///
/// Ranges of an allocation's own bytes are `offset` and `size`; `gart` is an offset in the GART. A failed action
/// has changed nothing, except that what a copy, a clear or a swap was to write is then undefined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make system pages for the range.
    AllocPages {
        /// The allocation.
        bo: BoId,
        /// First byte.
        offset: u64,
        /// Length.
        size: u64,
        /// They are zeroed. Otherwise they hold anything: what comes next overwrites all of them, before anybody sees it.
        zeroed: bool,
    },
    /// Give back the range's system pages, as many as there are.
    FreePages {
        /// The allocation.
        bo: BoId,
        /// First byte.
        offset: u64,
        /// Length.
        size: u64,
    },
    /// Point the GART's entries at the range's pages; invalidate.
    Bind {
        /// The allocation.
        bo: BoId,
        /// First byte.
        offset: u64,
        /// Length.
        size: u64,
        /// First byte in the GART.
        gart: u64,
    },
    /// Point the GART's entries at the dummy page, invalidate, await the acknowledge.
    Unbind {
        /// First byte in the GART.
        gart: u64,
        /// Length.
        size: u64,
    },
    /// Copy from local memory to the range's pages and await the end, through a window of the GART: bind, copy, unbind,
    /// and nobody reaches the pages through it then, also if it failed.
    PageOut {
        /// The allocation.
        bo: BoId,
        /// First byte.
        offset: u64,
        /// Length.
        size: u64,
        /// The window's first byte in the GART.
        gart: u64,
        /// From where.
        from: Location,
    },
    /// The other way.
    PageIn {
        /// The allocation.
        bo: BoId,
        /// First byte.
        offset: u64,
        /// Length.
        size: u64,
        /// The window's first byte in the GART.
        gart: u64,
        /// To where.
        to: Location,
    },
    /// Copy by the device and await the end.
    Copy {
        /// Whose bytes.
        bo: BoId,
        /// From where; never SYSTEM.
        from: Location,
        /// To where; never SYSTEM.
        to: Location,
        /// Length.
        size: u64,
    },
    /// Fill with zeros by the device and await the end.
    Clear {
        /// For whom.
        bo: BoId,
        /// Where.
        at: Location,
        /// Length.
        size: u64,
    },
    /// Write the range's pages to the backing store. The pages stay until [`Action::FreePages`].
    SwapOut {
        /// The allocation.
        bo: BoId,
        /// First byte.
        offset: u64,
        /// Length.
        size: u64,
    },
    /// Read the range's pages from the backing store, which keeps its copy.
    SwapIn {
        /// The allocation.
        bo: BoId,
        /// First byte.
        offset: u64,
        /// Length.
        size: u64,
    },
    /// Drop all that the backing store has of the allocation.
    SwapDrop {
        /// The allocation.
        bo: BoId,
    },
    /// Take the allocation out of all page tables, GPUs' and CPUs', invalidate, await the acknowledge.
    Zap {
        /// The allocation.
        bo: BoId,
    },
    /// Write its page table entries in each address space that maps it.
    WritePtes {
        /// The allocation.
        bo: BoId,
        /// Where its bytes are.
        at: Location,
        /// Length.
        size: u64,
    },
    /// The working set is in place and stays until [`Event::Fence`]: run the job. Not answered.
    Ready(TicketId),
    /// The working set cannot be in place, and this is why. The ticket is gone. Not answered.
    Refused(TicketId, Error),
    /// The allocation is gone. Not answered.
    Gone(BoId),
}

/// An action as it was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    /// To answer by [`Event::Done`]; `None` for what is not answered.
    pub id: Option<ActionId>,
    /// What to do.
    pub action: Action,
}
