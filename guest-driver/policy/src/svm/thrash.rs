// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Pages that both sides want, and that go to and fro: each side gets a slice of time with them, and when that does
//! not help they stay at one place for a while.

use alloc::vec::Vec;

use super::attributes::Place;
use super::pages::{Pages, BLOCK_PAGES};
use crate::error::Error;
use crate::table::{try_push, try_reserve};

/// When pages count as thrashing, and what is done. Times are nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrashConfig {
    /// Two moves of a page in opposite directions within that are a bounce; a longer rest forgets earlier ones.
    pub lapse: u64,
    /// So many bounces in a row make a page one that thrashes; not 0.
    pub bounces: u8,
    /// How long the side that got a thrashing page keeps it; less than `lapse`.
    pub slice: u64,
    /// So many waits for the other side's slice, and the page is pinned.
    pub waits: u8,
    /// How long it stays pinned.
    pub pin: u64,
    /// Most blocks that are watched at a time (8 KiB each).
    pub watched: u32,
}

impl Default for ThrashConfig {
    fn default() -> Self {
        Self { lapse: 500_000, bounces: 3, slice: 250_000, waits: 10, pin: 300_000_000, watched: 512 }
    }
}

impl ThrashConfig {
    pub(crate) fn is_valid(&self) -> bool {
        self.bounces != 0 && self.slice < self.lapse
    }
}

/// A page's recent past.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Past {
    /// When it last moved; for a pinned one when the pin ends.
    at: u64,
    bounces: u8,
    waits: u8,
    in_vram: bool,
    pinned: bool,
}

/// What to do about an access to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing special.
    None,
    /// Let it wait until then: the other side has its slice.
    Wait(u64),
    /// It stays where it is pinned; `true`: since now.
    Pinned(bool),
}

/// What a move of pages brought to light.
#[derive(Clone, Copy, Default)]
pub(crate) struct Moved {
    /// Pages that moved back within the lapse.
    pub(crate) bounced: u32,
    /// Those that thrash from now on.
    pub(crate) thrashing: Pages,
}

/// The pages of a block that is watched.
pub(crate) struct Watch(Vec<Past>);

impl Watch {
    /// `vram`: which pages are there now, since `came`.
    pub(crate) fn try_new(vram: Pages, came: u64) -> Result<Self, Error> {
        let mut pasts = Vec::new();
        try_reserve(&mut pasts, BLOCK_PAGES as usize)?;
        for page in 0..BLOCK_PAGES {
            try_push(&mut pasts, Past { at: came, bounces: 0, waits: 0, in_vram: vram.has(page), pinned: false })?;
        }
        Ok(Self(pasts))
    }

    /// Pages moved because somebody wanted them there.
    pub(crate) fn moved(&mut self, config: &ThrashConfig, pages: Pages, to: Place, now: u64) -> Moved {
        let mut result = Moved::default();
        for page in pages.iter() {
            let Some(past) = self.0.get_mut(page as usize) else { continue };
            if past.pinned && now < past.at {
                past.in_vram = to != Place::System;
                continue;
            }
            let quick = now.saturating_sub(past.at) < config.lapse && !past.pinned;
            let back = past.in_vram != (to != Place::System);
            if !quick {
                *past = Past { bounces: 0, waits: 0, pinned: false, ..*past };
            } else if back {
                past.bounces = past.bounces.saturating_add(1);
                result.bounced = result.bounced.saturating_add(1);
                if past.bounces == config.bounces {
                    result.thrashing.add(page);
                }
            }
            (past.at, past.in_vram) = (now, to != Place::System);
        }
        result
    }

    /// Pages moved for another reason: that is no bounce.
    pub(crate) fn carried(&mut self, pages: Pages, to: Place, now: u64) {
        for page in pages.iter() {
            let Some(past) = self.0.get_mut(page as usize) else { continue };
            past.in_vram = to != Place::System;
            if !past.pinned {
                past.at = now;
            }
        }
    }

    /// An access by the device (or else the CPU) to a page that is at the other side.
    pub(crate) fn judge(&mut self, config: &ThrashConfig, page: u32, by_device: bool, now: u64) -> Verdict {
        let Some(past) = self.0.get_mut(page as usize) else { return Verdict::None };
        if past.pinned {
            if now < past.at {
                return Verdict::Pinned(false);
            }
            *past = Past { at: now, bounces: 0, waits: 0, pinned: false, ..*past };
            return Verdict::None;
        }
        let elsewhere = past.in_vram != by_device;
        let slice_end = past.at.saturating_add(config.slice);
        if past.bounces < config.bounces || !elsewhere || now >= slice_end {
            return Verdict::None;
        }
        if past.waits < config.waits {
            past.waits = past.waits.saturating_add(1);
            return Verdict::Wait(slice_end);
        }
        // The CPU does not reach VRAM, so only the device's wish can end in a place that serves both.
        if !by_device {
            return Verdict::None;
        }
        *past = Past { at: now.saturating_add(config.pin), pinned: true, ..*past };
        Verdict::Pinned(true)
    }

    /// Whether a page thrashes or is pinned now: nothing that only guesses should move it.
    fn is_hot(past: &Past, config: &ThrashConfig, now: u64) -> bool {
        if past.pinned {
            return now < past.at;
        }
        past.bounces >= config.bounces && now.saturating_sub(past.at) < config.lapse
    }

    /// The pages about which that is so.
    pub(crate) fn hot(&self, config: &ThrashConfig, now: u64) -> Pages {
        let mut hot = Pages::NONE;
        // (Counting along with `zip` could overflow, for all that the compiler knows.)
        for page in 0..BLOCK_PAGES {
            if self.0.get(page as usize).is_some_and(|past| Self::is_hot(past, config, now)) {
                hot.add(page);
            }
        }
        hot
    }

    /// Whether all that is remembered is too old to matter.
    pub(crate) fn is_over(&self, config: &ThrashConfig, now: u64) -> bool {
        self.0.iter().all(|past| !Self::is_hot(past, config, now) && now.saturating_sub(past.at) >= config.lapse)
    }
}
