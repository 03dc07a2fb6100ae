// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Moves of buffer objects between domains: a begin that plans, and a complete that commits or rolls back.
//!
//! These are the moves that the caller asks for and carries out. The memory manager's own are in `paging`; both kinds
//! are kept in one table, and a buffer has one at most.
//!
//! Between the two the buffer is busy: its old range and its new one are both held, so whichever way the move
//! ends, its bytes are valid in one of them.

use crate::buffers::Place;
use crate::error::Error;
use crate::heap::{BlockKind, From};
use crate::ids::{BlockId, BoId, Token};
use crate::journal::Note;
use crate::policy::{AllocRequest, Policy};
use crate::run::Run;
use crate::table::Few;

/// The largest window of GART addresses used to copy to or from system pages that have no lasting ones. Past
/// this a longer window saves nothing: each piece already outweighs the cost of binding it.
const MAX_WINDOW: u64 = 2 << 20;

/// Where bytes can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Domain {
    /// System pages that the GPU has no address for.
    System = 0,
    /// System pages bound in the GART.
    Gtt = 1,
    /// The device's own memory.
    Vram = 2,
}

impl Domain {
    /// From its number.
    pub fn from_raw(raw: u32) -> Result<Self, Error> {
        match raw {
            0 => Ok(Domain::System),
            1 => Ok(Domain::Gtt),
            2 => Ok(Domain::Vram),
            _ => Err(Error::Invalid),
        }
    }

    pub(crate) fn bit(self) -> u32 {
        1u32.wrapping_shl(self as u32)
    }
}

/// A domain and the offset in it (bytes from the segment's base on; zero in SYSTEM).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Which kind of memory.
    pub domain: Domain,
    /// Where in it.
    pub offset: u64,
}

/// One step of a move. All units are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make sure that the buffer's system pages exist, zeroed if new, and stay.
    Populate,
    /// Point the GART entries of `[offset, offset + size)` at the buffer's system pages and invalidate.
    Bind {
        /// First byte in the GART segment.
        offset: u64,
        /// Length.
        size: u64,
    },
    /// Point the GART entries of `[offset, offset + size)` at the dummy page, invalidate, await the acknowledge.
    Unbind {
        /// First byte in the GART segment.
        offset: u64,
        /// Length.
        size: u64,
    },
    /// Copy the buffer and await the fence. An end in SYSTEM is reached piece by piece: bind the next
    /// `window_size` bytes of system pages at `window`, copy them, unbind.
    Copy {
        /// Where the bytes are.
        from: Location,
        /// Where they go.
        to: Location,
        /// Length.
        size: u64,
        /// First byte of the window in the GART segment.
        window: u64,
        /// Length of the window; zero when both ends have GPU addresses.
        window_size: u64,
    },
    /// Fill the range with zeros and await the fence: nobody may read what its last owner left.
    Clear {
        /// Which range.
        at: Location,
        /// Length.
        size: u64,
    },
    /// The system pages hold nothing any more; give them back.
    ReleasePages,
}

/// The steps of a move, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actions(Few<Action, { Self::MAX }>);

impl Actions {
    /// The most steps a move has.
    pub const MAX: usize = 4;

    /// The steps.
    pub fn as_slice(&self) -> &[Action] {
        self.0.as_slice()
    }
}

/// What the caller of `begin_move` knows or wants besides the target.
#[derive(Clone, Copy, Debug, Default)]
pub struct MoveOptions {
    /// The buffer holds nothing yet: nobody has written it and no page of it exists.
    pub empty: bool,
    /// Move even when the buffer is in that domain already: to another range of it.
    pub relocate: bool,
    /// Take the new range from the top of its segment.
    pub top_down: bool,
}

impl MoveOptions {
    /// As a record has them.
    pub(crate) fn bits(self) -> u32 {
        u32::from(self.empty) | u32::from(self.relocate) << 1 | u32::from(self.top_down) << 2
    }

    pub(crate) fn from_bits(bits: u32) -> Self {
        Self { empty: bits & 1 != 0, relocate: bits & 2 != 0, top_down: bits & 4 != 0 }
    }
}

/// A move that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Names it for `complete`.
    pub token: Token,
    /// Where the buffer will be.
    pub to: Location,
    /// What to do, in order.
    pub actions: Actions,
}

/// The answer to `begin_move`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // a box would be an allocation that cannot fail cleanly
pub enum Begin {
    /// The buffer is there already; nothing begun.
    Already(Location),
    /// Perform the actions, then `complete`.
    Started(Started),
    /// Another move of the buffer is in flight; try again after its `complete`.
    Wait(Token),
}

/// How the actions went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All were performed.
    Done,
    /// One failed, and the caller has undone those before it: nothing reaches the new range any more, the old
    /// range is bound as it was, and pages that the move populated are given back.
    Failed,
}

/// A move in flight.
pub(crate) struct Move {
    pub(crate) bo: BoId,
    /// The place that is free at the end: the new one, until the bytes count as moved; then the old one.
    pub(crate) to: Place,
    /// Of a move that the caller carries out.
    pub(crate) window: Option<BlockId>,
    /// Of one that the memory manager does.
    pub(crate) run: Option<Run>,
}

impl Policy {
    /// Plans the move of a buffer object to a domain and holds what it needs until `complete`.
    ///
    /// Errors: [`Error::Invalid`] for a domain the buffer may not be in (or a relocation within SYSTEM),
    /// [`Error::Busy`] for a pinned buffer, [`Error::NoSpace`] when the target or, for a copy that needs one,
    /// the GART has no free range, [`Error::NoMemory`], [`Error::Unknown`].
    pub fn begin_move(&mut self, id: BoId, to: Domain, options: &MoveOptions) -> Result<Begin, Error> {
        let bo = self.bo(id)?;
        if let Some(token) = bo.moving {
            return Ok(Begin::Wait(token));
        }
        let managed = bo.residency.is_some();
        if managed || !bo.allowed.has(to) || (options.relocate && to == Domain::System) {
            return Err(Error::Invalid);
        }
        let (from, size, align) = (bo.place.location, bo.size, bo.align);
        if from.domain == to && !options.relocate {
            return Ok(Begin::Already(from));
        }
        if bo.pins != 0 {
            return Err(Error::Busy);
        }

        let place = self.take_place(to, size, align, options.top_down)?;
        let window = match self.take_window(from.domain, to, size, options.empty) {
            Ok(window) => window,
            Err(error) => return Err(self.undo(place.block, None, error)),
        };
        let actions = plan(from, place.location, size, window.map(|(_, at, len)| (at, len)), options.empty);
        let window = window.map(|(block, ..)| block);
        let token = match self.moves.insert(Move { bo: id, to: place, window, run: None }) {
            Ok(key) => Token::pack(key),
            Err(error) => return Err(self.undo(place.block, window, error)),
        };
        self.bo_mut(id)?.moving = Some(token);
        self.journal.note(Note::Began { bo: id, token, to: to as u32, options: options.bits() });
        Ok(Begin::Started(Started { token, to: place.location, actions }))
    }

    /// Ends a move. [`Outcome::Done`]: the buffer is at its new place and the old range is free.
    /// [`Outcome::Failed`]: it is where it was and the new range is free. Never allocates, so it cannot fail
    /// for a token that is in flight; any other is [`Error::Unknown`].
    pub fn complete(&mut self, token: Token, outcome: Outcome) -> Result<Location, Error> {
        let key = token.unpack().ok_or(Error::Unknown)?;
        if self.moves.get(key)?.run.is_some() {
            return Err(Error::Invalid);
        }
        let Move { bo, to, window, .. } = self.moves.remove(key)?;
        let bo = self.bo_mut(bo)?;
        bo.moving = None;
        let freed = match outcome {
            Outcome::Done => core::mem::replace(&mut bo.place, to).block,
            Outcome::Failed => to.block,
        };
        let now = bo.place.location;
        for block in [freed, window].into_iter().flatten() {
            self.release(block)?;
        }
        self.journal.note(Note::Moved(token, outcome == Outcome::Done));
        Ok(now)
    }

    fn take_place(&mut self, domain: Domain, size: u64, align: u64, top_down: bool) -> Result<Place, Error> {
        if domain == Domain::System {
            return Ok(Place::SYSTEM);
        }
        let segment = self.buffer_segment_of(domain).map_err(|_| Error::NoSpace)?;
        let from = if top_down { From::Top } else { From::Bottom };
        let range = self.alloc_as(segment, &AllocRequest { size, align, from, within: None }, BlockKind::Buffer)?;
        Ok(Place { location: Location { domain, offset: range.offset }, block: Some(range.id) })
    }

    /// A copy between VRAM and pages without GART addresses borrows some: the whole buffer's if it is short,
    /// else as much as there is, halving down to one page.
    fn take_window(
        &mut self,
        from: Domain,
        to: Domain,
        size: u64,
        empty: bool,
    ) -> Result<Option<(BlockId, u64, u64)>, Error> {
        let copies = matches!((from, to), (Domain::System, Domain::Vram) | (Domain::Vram, Domain::System));
        if !copies || empty {
            return Ok(None);
        }
        let segment = self.buffer_segment_of(Domain::Gtt).map_err(|_| Error::NoSpace)?;
        let page = self.page_size();
        let mut want = size.min(MAX_WINDOW.max(page));
        loop {
            let request = AllocRequest { size: want, align: page, from: From::Top, within: None };
            match self.alloc_as(segment, &request, BlockKind::Buffer) {
                Ok(range) => return Ok(Some((range.id, range.offset, range.size))),
                Err(Error::NoSpace) if want > page => want = (want >> 1).max(page),
                Err(error) => return Err(error),
            }
        }
    }

    fn undo(&mut self, place: Option<BlockId>, window: Option<BlockId>, error: Error) -> Error {
        for block in [place, window].into_iter().flatten() {
            if let Err(worse) = self.release(block) {
                return worse;
            }
        }
        error
    }
}

fn plan(from: Location, to: Location, size: u64, window: Option<(u64, u64)>, empty: bool) -> Actions {
    let (window, window_size) = window.unwrap_or((0, 0));
    let mut actions = Few::new(Action::ReleasePages);
    let backed = |domain| domain != Domain::Vram;
    // What is bound in the GART has its pages already.
    if from.domain != Domain::Gtt && (backed(to.domain) || (backed(from.domain) && !empty)) {
        actions.push(Action::Populate);
    }
    if to.domain == Domain::Gtt {
        actions.push(Action::Bind { offset: to.offset, size });
    }
    if to.domain == Domain::Vram && empty {
        actions.push(Action::Clear { at: to, size });
    } else if (from.domain == Domain::Vram || to.domain == Domain::Vram) && !empty {
        actions.push(Action::Copy { from, to, size, window, window_size });
    }
    if from.domain == Domain::Gtt {
        actions.push(Action::Unbind { offset: from.offset, size });
    }
    if backed(from.domain) && to.domain == Domain::Vram {
        actions.push(Action::ReleasePages);
    }
    Actions(actions)
}
