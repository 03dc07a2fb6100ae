// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Buffer objects: what the policy knows of each.

use crate::domain::{Domain, Location};
use crate::ids::{BlockId, Token};
use crate::residency::Residency;

/// A buffer object as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoInfo {
    /// Size in bytes, a multiple of the page size.
    pub size: u64,
    /// Where its bytes are valid. During a move: where they come from.
    pub location: Location,
    /// The move in flight, if any.
    pub moving: Option<Token>,
    /// How many users need it to stay where it is.
    pub pins: u32,
}

/// A place that a buffer holds: its location, and the block behind it outside SYSTEM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) location: Location,
    pub(crate) block: Option<BlockId>,
}

impl Place {
    pub(crate) const SYSTEM: Self = Self { location: Location { domain: Domain::System, offset: 0 }, block: None };
}

pub(crate) struct Bo {
    pub(crate) size: u64,
    pub(crate) align: u64,
    pub(crate) place: Place,
    pub(crate) moving: Option<Token>,
    pub(crate) pins: u32,
    pub(crate) residency: Residency,
}

impl Bo {
    pub(crate) fn info(&self) -> BoInfo {
        BoInfo { size: self.size, location: self.place.location, moving: self.moving, pins: self.pins }
    }
}
