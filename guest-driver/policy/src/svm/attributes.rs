// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a process said about ranges of its addresses: a sorted list of ranges that differ from the default.

use alloc::vec::Vec;
use core::ops::Range;

use super::pages::{block_va, Pages, BLOCK_ORDER, BLOCK_SHIFT, PAGE_SHIFT};
use crate::error::Error;
use crate::table::{partition_point, remove_item, try_push, try_reserve};

/// Most ranges of one address space; a change that would need more is [`Error::Limit`].
pub const MAX_RANGES: usize = 8192;
/// Most range groups of one address space.
pub const MAX_GROUPS: usize = 256;

/// Where pages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Place {
    /// System memory, the CPU's.
    System = 0,
    /// The device's memory.
    Vram = 1,
    /// A copy in each, both read-only.
    Both = 2,
}

impl Place {
    /// From its number.
    pub fn from_raw(raw: u32) -> Result<Self, Error> {
        match raw {
            0 => Ok(Self::System),
            1 => Ok(Self::Vram),
            2 => Ok(Self::Both),
            _ => Err(Error::Invalid),
        }
    }
}

/// What a process said about a range. The default says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Where the pages should be; never [`Place::Both`].
    pub preferred: Option<Place>,
    /// The device should always find them mapped, wherever they are, and its faults move nothing.
    pub accessed_by_device: bool,
    /// While nobody writes, each side may have its copy.
    pub read_duplication: bool,
    /// The device may not reach them at all.
    pub no_access: bool,
    /// The device may not write.
    pub read_only: bool,
    /// Faults are replayed as soon as their own pages are there, whatever the device's rule.
    pub eager_replay: bool,
    /// log2 of the pages that one fault brings at least: 0 to 9; `None`: as configured.
    pub granule: Option<u8>,
    /// The range group, 0 for none.
    pub group: u32,
}

impl Attributes {
    /// Nothing was said.
    pub const DEFAULT: Self = Self {
        preferred: None,
        accessed_by_device: false,
        read_duplication: false,
        no_access: false,
        read_only: false,
        eager_replay: false,
        granule: None,
        group: 0,
    };
}

impl Default for Attributes {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// One thing that a process says about a range; the others stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// See [`Attributes::preferred`].
    Preferred(Option<Place>),
    /// See [`Attributes::accessed_by_device`].
    AccessedByDevice(bool),
    /// See [`Attributes::read_duplication`].
    ReadDuplication(bool),
    /// See [`Attributes::no_access`].
    NoAccess(bool),
    /// See [`Attributes::read_only`].
    ReadOnly(bool),
    /// See [`Attributes::eager_replay`].
    EagerReplay(bool),
    /// See [`Attributes::granule`].
    Granule(Option<u8>),
    /// See [`Attributes::group`].
    Group(u32),
    /// Everything back to the default.
    Reset,
}

impl Advice {
    fn apply(self, to: Attributes) -> Attributes {
        match self {
            Self::Preferred(preferred) => Attributes { preferred, ..to },
            Self::AccessedByDevice(accessed_by_device) => Attributes { accessed_by_device, ..to },
            Self::ReadDuplication(read_duplication) => Attributes { read_duplication, ..to },
            Self::NoAccess(no_access) => Attributes { no_access, ..to },
            Self::ReadOnly(read_only) => Attributes { read_only, ..to },
            Self::EagerReplay(eager_replay) => Attributes { eager_replay, ..to },
            Self::Granule(granule) => Attributes { granule, ..to },
            Self::Group(group) => Attributes { group, ..to },
            Self::Reset => Attributes::DEFAULT,
        }
    }
}

/// A range of bytes, whole pages, and what was said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    start: u64,
    end: u64,
    attributes: Attributes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    id: u32,
    migratable: bool,
}

/// The ranges and range groups of an address space.
pub(crate) struct RangeTable {
    /// Sorted, disjoint, none with the default, no two that touch and say the same.
    said: Vec<Said>,
    groups: Vec<Group>,
    last_group: u32,
}

impl RangeTable {
    pub(crate) const fn new() -> Self {
        Self { said: Vec::new(), groups: Vec::new(), last_group: 0 }
    }

    /// Number of ranges that say something.
    pub(crate) fn len(&self) -> usize {
        self.said.len()
    }

    /// Says something about a range of whole pages. The time is that of copying the list.
    pub(crate) fn advise(&mut self, range: &Range<u64>, advice: Advice) -> Result<(), Error> {
        if (range.start | range.end) & ((1 << PAGE_SHIFT) - 1) != 0 || range.start >= range.end {
            return Err(Error::Invalid);
        }
        match advice {
            Advice::Group(group) if group != 0 && !self.groups.iter().any(|known| known.id == group) => {
                return Err(Error::Unknown)
            }
            Advice::Preferred(Some(Place::Both)) => return Err(Error::Invalid),
            Advice::Granule(Some(order)) if u32::from(order) > BLOCK_ORDER => return Err(Error::Invalid),
            _ => {}
        }
        self.rebuild(|said, emit| {
            // `said` may be empty space between two ranges.
            let low = said.end.min(range.start).max(said.start);
            let high = said.start.max(range.end).min(said.end);
            emit(said.start, low, said.attributes)?;
            emit(low, high.max(low), advice.apply(said.attributes))?;
            emit(high.max(low), said.end, said.attributes)
        })
    }

    /// Makes the list anew from what `change` emits for each range and each gap; with an error it stays as it is.
    fn rebuild(
        &mut self,
        change: impl Fn(Said, &mut dyn FnMut(u64, u64, Attributes) -> Result<(), Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut new: Vec<Said> = Vec::new();
        try_reserve(&mut new, self.said.len().saturating_add(2))?;
        let mut emit = |start: u64, end: u64, attributes: Attributes| {
            if start >= end || attributes == Attributes::DEFAULT {
                return Ok(());
            }
            let full = new.len() >= MAX_RANGES;
            match new.last_mut() {
                Some(last) if last.end == start && last.attributes == attributes => last.end = end,
                _ if full => return Err(Error::Limit),
                _ => try_push(&mut new, Said { start, end, attributes })?,
            }
            Ok(())
        };
        let mut at = 0;
        for said in &self.said {
            change(Said { start: at, end: said.start, attributes: Attributes::DEFAULT }, &mut emit)?;
            change(*said, &mut emit)?;
            at = said.end;
        }
        change(Said { start: at, end: u64::MAX, attributes: Attributes::DEFAULT }, &mut emit)?;
        self.said = new;
        Ok(())
    }

    /// What was said about an address, and how far around it the same holds.
    pub(crate) fn at(&self, va: u64) -> (Attributes, Range<u64>) {
        let next = partition_point(&self.said, |said| said.end <= va);
        let before = next.checked_sub(1).and_then(|i| self.said.get(i)).map_or(0, |said| said.end);
        match self.said.get(next) {
            Some(said) if said.start <= va => (said.attributes, said.start..said.end),
            Some(said) => (Attributes::DEFAULT, before..said.start),
            None => (Attributes::DEFAULT, before..u64::MAX),
        }
    }

    /// Pages of a block about which `which` is true.
    pub(crate) fn pages(&self, block: u64, which: impl Fn(&Attributes) -> bool) -> Pages {
        let start = block_va(block);
        let end = start.saturating_add(1 << BLOCK_SHIFT);
        let mut found = if which(&Attributes::DEFAULT) { Pages::ALL } else { Pages::NONE };
        let first = partition_point(&self.said, |said| said.end <= start);
        for said in self.said.get(first..).unwrap_or_default().iter().take_while(|said| said.start < end) {
            let here = Pages::of_bytes(block, said.start, said.end);
            found = if which(&said.attributes) { found | here } else { found.minus(here) };
        }
        found
    }

    /// A new group, migratable.
    pub(crate) fn create_group(&mut self) -> Result<u32, Error> {
        if self.groups.len() >= MAX_GROUPS {
            return Err(Error::Limit);
        }
        let id = self.last_group.checked_add(1).ok_or(Error::Limit)?;
        try_push(&mut self.groups, Group { id, migratable: true })?;
        self.last_group = id;
        Ok(id)
    }

    /// Ends a group; its ranges are in none from now on.
    pub(crate) fn destroy_group(&mut self, id: u32) -> Result<(), Error> {
        let group = self.groups.iter().find(|group| group.id == id).copied().ok_or(Error::Unknown)?;
        self.rebuild(|said, emit| {
            let member = said.attributes.group == id && id != 0;
            let group = if member { 0 } else { said.attributes.group };
            emit(said.start, said.end, Attributes { group, ..said.attributes })
        })?;
        remove_item(&mut self.groups, group);
        Ok(())
    }

    /// Whether the ranges of a group may move.
    pub(crate) fn set_migratable(&mut self, id: u32, migratable: bool) -> Result<(), Error> {
        let group = self.groups.iter_mut().find(|group| group.id == id).ok_or(Error::Unknown)?;
        group.migratable = migratable;
        Ok(())
    }

    /// The first range of a group that ends behind `from`.
    pub(crate) fn next_of_group(&self, id: u32, from: u64) -> Result<Option<Range<u64>>, Error> {
        if !self.groups.iter().any(|group| group.id == id) {
            return Err(Error::Unknown);
        }
        let first = partition_point(&self.said, |said| said.end <= from);
        let mut rest = self.said.get(first..).unwrap_or_default().iter();
        let found = rest.find(|said| said.attributes.group == id);
        Ok(found.map(|said| said.start.max(from)..said.end))
    }

    /// Whether what these attributes are said of may move.
    pub(crate) fn is_migratable(&self, attributes: &Attributes) -> bool {
        attributes.group == 0 || !self.groups.iter().any(|group| group.id == attributes.group && !group.migratable)
    }
}
