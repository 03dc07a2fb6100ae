// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Segments: the ranges of addresses that memory is given out of, as the device describes them.

use crate::domain::{Domain, DomainMask};
use crate::error::Error;
use crate::heap::Heap;
use crate::table::Few;

/// What lies behind a segment and who reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum SegmentKind {
    /// The device's own memory, through the BAR the CPU's as well.
    Local = 0,
    /// The device's own memory beyond the end of the BAR.
    LocalInvisible = 1,
    /// System pages through the GART, by snooped accesses.
    Snooped = 2,
    /// System pages through the GART, past the CPU's caches.
    Unsnooped = 3,
    /// Addresses of the GART through which bytes pass between local memory and system pages that have none.
    Paging = 4,
    /// The device's own memory for the driver's own use: page tables, which cannot wait for others to leave.
    OwnLocal = 5,
    /// The GART for the driver's own use: rings, write-backs.
    OwnPcie = 6,
    /// System pages without an address in the GART, which jobs reach by their page tables alone. It has no range and
    /// no heap: a placement, but no segment of a device.
    System = 7,
}

impl SegmentKind {
    /// From its number.
    pub fn from_raw(raw: u32) -> Result<Self, Error> {
        match raw {
            0 => Ok(Self::Local),
            1 => Ok(Self::LocalInvisible),
            2 => Ok(Self::Snooped),
            3 => Ok(Self::Unsnooped),
            4 => Ok(Self::Paging),
            5 => Ok(Self::OwnLocal),
            6 => Ok(Self::OwnPcie),
            7 => Ok(Self::System),
            _ => Err(Error::Invalid),
        }
    }

    /// Whose addresses its offsets are.
    pub fn domain(self) -> Domain {
        match self {
            Self::Local | Self::LocalInvisible | Self::OwnLocal => Domain::Vram,
            Self::Snooped | Self::Unsnooped | Self::Paging | Self::OwnPcie => Domain::Gtt,
            Self::System => Domain::System,
        }
    }

    /// Whether it is the driver's own: nothing is placed there but by `Policy::alloc` and for page tables, which in
    /// turn take such a segment where there is one.
    pub fn is_own(self) -> bool {
        matches!(self, Self::OwnLocal | Self::OwnPcie)
    }

    /// Whether an allocation may be placed there.
    pub fn is_placement(self) -> bool {
        self != Self::Paging && !self.is_own()
    }

    /// Whether the CPU reaches what lies in it.
    pub fn is_cpu_visible(self) -> bool {
        self != Self::LocalInvisible
    }
}

/// One segment of a device's table. Units are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentDesc {
    /// What lies behind it.
    pub kind: SegmentKind,
    /// First byte, as offsets in the domain count: in VRAM, or in the GART.
    pub base: u64,
    /// Length.
    pub size: u64,
}

/// The segments of a device, in the order in which they are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentTable(Few<SegmentDesc, 7>);

impl SegmentTable {
    /// VRAM of `vram` bytes of which the BAR shows the first `visible`, and a GART of `gart` bytes at `gart_base`
    /// whose last `paging` bytes are the paging segment.
    pub fn discrete(vram: u64, visible: u64, gart_base: u64, gart: u64, paging: u64) -> Result<Self, Error> {
        let visible = visible.min(vram);
        let mut table = Self::none();
        table.add(SegmentDesc { kind: SegmentKind::Local, base: 0, size: visible });
        table.add(SegmentDesc { kind: SegmentKind::LocalInvisible, base: visible, size: vram.saturating_sub(visible) });
        let rest = gart.checked_sub(paging).ok_or(Error::Invalid)?;
        let bounce = gart_base.checked_add(rest).ok_or(Error::Invalid)?;
        table.add(SegmentDesc { kind: SegmentKind::Snooped, base: gart_base, size: rest });
        table.add(SegmentDesc { kind: SegmentKind::Paging, base: bounce, size: paging });
        Ok(table)
    }

    /// A carve-out of system RAM that plays VRAM, all of it in the CPU's reach, and a GART.
    pub fn uma(carve_out: u64, gart_base: u64, gart: u64, paging: u64) -> Result<Self, Error> {
        Self::discrete(carve_out, carve_out, gart_base, gart, paging)
    }

    /// The profile with two PCIe segments: local memory from `local_base` on (its start holds page tables), then a
    /// GART whose addresses are shared between snooped, unsnooped and paging segment, in this order.
    pub fn vidmm(
        local_base: u64,
        local: u64,
        gart_base: u64,
        snooped: u64,
        unsnooped: u64,
        paging: u64,
    ) -> Result<Self, Error> {
        let mut table = Self::none();
        let second = gart_base.checked_add(snooped).ok_or(Error::Invalid)?;
        let third = second.checked_add(unsnooped).ok_or(Error::Invalid)?;
        table.add(SegmentDesc { kind: SegmentKind::Local, base: local_base, size: local });
        table.add(SegmentDesc { kind: SegmentKind::Snooped, base: gart_base, size: snooped });
        table.add(SegmentDesc { kind: SegmentKind::Unsnooped, base: second, size: unsnooped });
        table.add(SegmentDesc { kind: SegmentKind::Paging, base: third, size: paging });
        Ok(table)
    }

    pub(crate) fn none() -> Self {
        Self(Few::new(SegmentDesc { kind: SegmentKind::Local, base: 0, size: 0 }))
    }

    /// One more segment, unless it is empty.
    pub(crate) fn add(&mut self, desc: SegmentDesc) {
        if desc.size != 0 {
            self.0.push(desc);
        }
    }

    /// The segments that are not empty.
    pub fn as_slice(&self) -> &[SegmentDesc] {
        self.0.as_slice()
    }
}

/// The kinds of segment that an allocation may be in, best first. SYSTEM is where each can go when none has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placements(Few<SegmentKind, 4>);

impl Placements {
    /// No segment: system pages only.
    pub const NONE: Self = Self(Few::new(SegmentKind::Local));

    /// A list; the paging segment, the driver's own ones and a kind named twice are [`Error::Invalid`].
    pub fn new(kinds: &[SegmentKind]) -> Result<Self, Error> {
        let mut list = Self::NONE;
        for kind in kinds {
            if !kind.is_placement() || list.has(*kind) {
                return Err(Error::Invalid);
            }
            list.0.push(*kind);
        }
        Ok(list)
    }

    /// The list with one more kind at its end.
    #[must_use]
    pub(crate) fn with(mut self, kind: SegmentKind) -> Self {
        self.0.push(kind);
        self
    }

    /// What a user's domains mean: VRAM beyond the BAR first unless the CPU is a user too, PCIe behind VRAM unless
    /// it is `preferred`.
    pub fn of(domains: DomainMask, preferred: Option<Domain>, cpu_access: bool, snooped: bool) -> Self {
        let mut list = Self::NONE;
        let pcie = if snooped { SegmentKind::Snooped } else { SegmentKind::Unsnooped };
        let gtt_first = preferred == Some(Domain::Gtt) && domains.has(Domain::Gtt);
        if gtt_first {
            list.0.push(pcie);
        }
        if domains.has(Domain::Vram) {
            if !cpu_access {
                list.0.push(SegmentKind::LocalInvisible);
            }
            list.0.push(SegmentKind::Local);
        }
        if domains.has(Domain::Gtt) && !gtt_first {
            list.0.push(pcie);
        }
        list
    }

    /// The list for a job that knows no page tables of processes.
    pub(crate) fn addressed(&self) -> Self {
        let mut list = Self::NONE;
        for kind in self.as_slice() {
            let kind = if *kind == SegmentKind::System { SegmentKind::Snooped } else { *kind };
            if !list.has(kind) {
                list.0.push(kind);
            }
        }
        list
    }

    /// Whether a kind is in the list.
    pub fn has(&self, kind: SegmentKind) -> bool {
        self.as_slice().contains(&kind)
    }

    /// The kinds, best first.
    pub fn as_slice(&self) -> &[SegmentKind] {
        self.0.as_slice()
    }
}

/// A segment with what lies in it.
pub(crate) struct Segment {
    pub(crate) kind: SegmentKind,
    pub(crate) base: u64,
    pub(crate) heap: Heap,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn small_bar_splits_vram_in_two_and_paging_ends_the_gart() {
        let table = SegmentTable::discrete(1 << 30, 256 << 20, 0x1000, 64 << 20, 4 << 20).unwrap();

        let found: alloc::vec::Vec<_> = table.as_slice().iter().map(|s| (s.kind, s.base, s.size)).collect();
        assert_eq!(
            found,
            [
                (SegmentKind::Local, 0, 256 << 20),
                (SegmentKind::LocalInvisible, 256 << 20, 768 << 20),
                (SegmentKind::Snooped, 0x1000, 60 << 20),
                (SegmentKind::Paging, 0x1000 + (60 << 20), 4 << 20),
            ]
        );
    }

    #[test]
    fn carve_out_has_no_invisible_part_and_the_profile_has_two_pcie_segments() {
        let kinds = |table: SegmentTable| table.as_slice().iter().map(|s| s.kind).collect::<alloc::vec::Vec<_>>();
        use SegmentKind::*;

        assert_eq!(kinds(SegmentTable::uma(64 << 20, 0, 32 << 20, 1 << 20).unwrap()), [Local, Snooped, Paging]);
        let vidmm = SegmentTable::vidmm(4 << 20, 60 << 20, 0, 16 << 20, 16 << 20, 2 << 20).unwrap();
        assert_eq!(kinds(vidmm), [Local, Snooped, Unsnooped, Paging]);
        assert_eq!(SegmentTable::discrete(1 << 20, 1 << 20, 0, 1 << 20, 2 << 20), Err(Error::Invalid));
    }

    #[test]
    fn paging_segment_own_ones_and_repeats_are_no_placements() {
        assert_eq!(Placements::new(&[SegmentKind::Paging]), Err(Error::Invalid));
        assert_eq!(Placements::new(&[SegmentKind::OwnLocal]), Err(Error::Invalid));
        assert_eq!(Placements::new(&[SegmentKind::Local, SegmentKind::Local]), Err(Error::Invalid));
    }
}
