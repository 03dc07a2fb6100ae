// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a move consists of: stages in a fixed order, some before the point where it counts, some after, some to
//! take it back; and the state of one that is under way.

use crate::buffers::Place;
use crate::event::Failure;
use crate::ids::{BlockId, BoId, SegmentId};
use crate::residency::Content;

/// Stages, as bits; the lowest goes first.
pub(crate) mod stage {
    /// Out of all page tables.
    pub(crate) const ZAP: u16 = 1;
    /// System pages for all of it.
    pub(crate) const ALLOC: u16 = 1 << 1;
    /// Into the GART for as long as it stays.
    pub(crate) const BIND: u16 = 1 << 2;
    /// Zeros.
    pub(crate) const CLEAR: u16 = 1 << 3;
    /// All of it at once, both ends having GPU addresses.
    pub(crate) const COPY: u16 = 1 << 4;
    /// Chunk by chunk.
    pub(crate) const CHUNKS: u16 = 1 << 5;
    /// Out of the GART: the place that is given up.
    pub(crate) const UNBIND: u16 = 1 << 6;
    /// System pages given back.
    pub(crate) const FREE: u16 = 1 << 7;
    /// The backing store's copy dropped.
    pub(crate) const SWAP_DROP: u16 = 1 << 8;
    /// Into the page tables.
    pub(crate) const SHOW: u16 = 1 << 9;
}

/// Where bytes can be, as far as stages depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Empty,
    Pages,
    Swap,
    Pcie,
    Local,
}

/// What happens to each chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chain {
    /// Local memory to pages: allocate, copy through a window.
    PageOut,
    /// Pages to local memory: copy through a window.
    PageIn,
    /// Pages to the backing store.
    SwapOut,
    /// The backing store to pages: allocate, read.
    SwapIn,
}

/// Stages of a move from one class to another: before the bytes count as moved, and after. `None`: not in one move.
pub(crate) fn stages(from: Class, to: Class) -> Option<(u16, u16, Chain)> {
    use stage::*;
    let (before, after, chain) = match (from, to) {
        (Class::Empty, Class::Pages) => (ALLOC, 0, Chain::PageIn),
        (Class::Empty, Class::Pcie) => (ALLOC | BIND, 0, Chain::PageIn),
        (Class::Empty, Class::Local) => (CLEAR, 0, Chain::PageIn),
        (Class::Pages, Class::Pcie) => (BIND, 0, Chain::PageIn),
        (Class::Pages, Class::Local) => (CHUNKS, FREE, Chain::PageIn),
        (Class::Pages, Class::Swap) => (CHUNKS, FREE, Chain::SwapOut),
        (Class::Swap, Class::Pages) => (CHUNKS, SWAP_DROP, Chain::SwapIn),
        (Class::Pcie, Class::Pages) => (0, UNBIND, Chain::PageIn),
        (Class::Pcie, Class::Pcie) => (BIND, UNBIND, Chain::PageIn),
        (Class::Pcie, Class::Local) => (COPY, UNBIND | FREE, Chain::PageIn),
        (Class::Local, Class::Pages) => (CHUNKS, 0, Chain::PageOut),
        (Class::Local, Class::Pcie) => (ALLOC | BIND | COPY, 0, Chain::PageIn),
        (Class::Local, Class::Local) => (COPY, 0, Chain::PageIn),
        (Class::Pages, Class::Empty) => (0, FREE, Chain::PageIn),
        (Class::Swap, Class::Empty) => (0, SWAP_DROP, Chain::PageIn),
        (Class::Pcie, Class::Empty) => (0, UNBIND | FREE, Chain::PageIn),
        (Class::Local, Class::Empty) => (0, 0, Chain::PageIn),
        _ => return None,
    };
    Some((before, after, chain))
}

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The bytes are valid at the old place.
    Before,
    /// They are valid at the new one.
    After,
    /// Something failed; they are valid at the old place and the new one is given up.
    Undo,
    /// Only the page tables are left to do.
    Tail,
}

/// What a lane does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Idle,
    /// One of the stages that are one action.
    Whole(u16),
    /// Steps of a chunk.
    Alloc,
    /// Not an action: waits for a window.
    Window,
    Copy,
    Out,
    In,
}

impl Chain {
    pub(crate) fn first(self) -> Step {
        match self {
            Chain::PageOut | Chain::SwapIn => Step::Alloc,
            Chain::PageIn => Step::Window,
            Chain::SwapOut => Step::Out,
        }
    }

    /// What follows a step that went well.
    pub(crate) fn next(self, step: Step) -> Step {
        match (self, step) {
            (Chain::PageOut, Step::Alloc) => Step::Window,
            (Chain::SwapIn, Step::Alloc) => Step::In,
            (_, Step::Window) => Step::Copy,
            _ => Step::Idle,
        }
    }
}

/// One of the two sequences of actions that a move has under way at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    pub(crate) step: Step,
    /// The chunk: first byte and length.
    pub(crate) at: u64,
    pub(crate) len: u64,
    /// The window, and its first byte in the GART.
    pub(crate) window: Option<(BlockId, u64)>,
    /// Of the last action; three bits.
    pub(crate) serial: u8,
    /// The action was given out and not answered.
    pub(crate) issued: bool,
    /// It failed and waits to be given out again.
    pub(crate) stalled: bool,
}

impl Lane {
    /// An action waits to be given out.
    pub(crate) fn is_due(&self) -> bool {
        !self.issued && !self.stalled && !matches!(self.step, Step::Idle | Step::Window)
    }
}

pub(crate) const IDLE: Lane =
    Lane { step: Step::Idle, at: 0, len: 0, window: None, serial: 0, issued: false, stalled: false };

/// A move under way.
pub(crate) struct Move {
    pub(crate) bo: BoId,
    /// The place that is free at the end: the new one, until the bytes count as moved; then the old one.
    pub(crate) to: Place,
    pub(crate) run: Run,
}

/// How far it is, and what is left to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) phase: Phase,
    pub(crate) before: u16,
    pub(crate) after: u16,
    pub(crate) undo: u16,
    pub(crate) chain: Chain,
    /// First byte that no lane has begun with.
    pub(crate) next: u64,
    pub(crate) lanes: [Lane; 2],
    /// What will be outside segments once the move counts; until then, what is.
    pub(crate) content: Content,
    pub(crate) failure: Option<Failure>,
    /// The page tables were tried.
    pub(crate) shown: bool,
    /// The segment that counts its bytes as outgoing.
    pub(crate) leaving: Option<SegmentId>,
    /// Counted among the moves to the backing store.
    pub(crate) swapping: bool,
    /// The bytes go away for good.
    pub(crate) dies: bool,
    /// Nothing moves, only page tables are written.
    pub(crate) stays: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: [Class; 5] = [Class::Empty, Class::Pages, Class::Swap, Class::Pcie, Class::Local];

    #[test]
    fn every_place_can_be_left_for_every_other_in_at_most_two_moves() {
        for from in CLASSES {
            for to in CLASSES {
                let direct = stages(from, to).is_some();
                let over = |by| stages(from, by).is_some() && stages(by, to).is_some();
                assert!(direct || from == to || CLASSES.into_iter().any(over), "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn nothing_that_holds_the_old_bytes_goes_before_the_bytes_count_as_moved() {
        for from in CLASSES {
            for to in CLASSES {
                let Some((before, after, _)) = stages(from, to) else { continue };
                assert_eq!(before & (stage::UNBIND | stage::FREE | stage::SWAP_DROP), 0);
                assert_eq!(after & (stage::ALLOC | stage::BIND | stage::COPY | stage::CHUNKS | stage::CLEAR), 0);
                assert!(from == Class::Swap || after & stage::SWAP_DROP == 0);
            }
        }
    }
}
