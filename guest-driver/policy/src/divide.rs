// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! How what a device describes becomes segments: what of VRAM and of the GART the driver keeps for itself, and where.

use crate::error::Error;
use crate::segment::{SegmentDesc, SegmentKind, SegmentTable};

/// What part of VRAM is kept for page tables of address spaces, within limits.
const OWN_SHARE: u64 = 32;
const LEAST_OWN: u64 = 1 << 20;
const MOST_OWN: u64 = 16 << 20;
/// Most of the GART, as a part of it, that the unsnooped segment gets.
const UNSNOOPED_SHARE: u64 = 8;
/// Unit of the borders that are chosen here: what is taken in such blocks is aligned in each segment.
const UNIT: u64 = 2 << 20;
/// Least VRAM for buffers, and least GART for snooped ones.
const LEAST: u64 = 4 << 20;

/// What the device describes and what the driver needs. Units are bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// VRAM that the CPU reaches, from offset 0 on.
    pub local: u64,
    /// VRAM behind it, which the CPU does not reach.
    pub invisible: u64,
    /// Most of the GART for accesses past the CPU's caches; 0: the device has no such segment.
    pub unsnooped: u64,
    /// The GART, from offset 0 on.
    pub gart: u64,
    /// Of the GART: for copies between local memory and system pages.
    pub paging: u64,
    /// VRAM for the tables of the GART. The CPU writes them, so they have to be in its reach.
    pub tables: u64,
    /// The driver's own part of VRAM is its start (vidmm), not the end of what the CPU reaches.
    pub own_first: bool,
}

impl SegmentTable {
    /// The segments of a device.
    ///
    /// The driver's own part of VRAM, in the CPU's reach, takes `tables` and page tables of address spaces, which cannot
    /// wait for buffers to leave. The GART begins with the snooped segment and ends with the paging segment.
    /// [`Error::NoSpace`] when nothing to speak of is left for buffers.
    pub fn divide(described: &Described) -> Result<Self, Error> {
        let Described { local, invisible, unsnooped, gart, paging, tables, own_first } = *described;
        let vram = local.checked_add(invisible).ok_or(Error::Invalid)?;
        let spaces = (vram / OWN_SHARE).clamp(LEAST_OWN, MOST_OWN);
        let own =
            tables.checked_add(spaces).and_then(|own| own.checked_next_multiple_of(UNIT)).ok_or(Error::NoSpace)?;
        let buffers = local.checked_sub(own).filter(|rest| *rest >= LEAST).ok_or(Error::NoSpace)?;
        let unsnooped = down(unsnooped.min(gart / UNSNOOPED_SHARE));
        let taken = paging.checked_add(unsnooped).ok_or(Error::Invalid)?;
        let snooped = gart.checked_sub(taken).filter(|rest| *rest >= LEAST).ok_or(Error::NoSpace)?;

        let mut table = Self::none();
        let mut add = |kind, base, size| table.add(SegmentDesc { kind, base, size });
        if own_first {
            add(SegmentKind::OwnLocal, 0, own);
            add(SegmentKind::Local, own, buffers);
        } else {
            add(SegmentKind::Local, 0, buffers);
            add(SegmentKind::OwnLocal, buffers, own);
        }
        add(SegmentKind::LocalInvisible, local, invisible);
        add(SegmentKind::Snooped, 0, snooped);
        add(SegmentKind::Unsnooped, snooped, unsnooped);
        add(SegmentKind::Paging, snooped.saturating_add(unsnooped), paging);
        Ok(table)
    }
}

fn down(bytes: u64) -> u64 {
    bytes & !(UNIT.wrapping_sub(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use SegmentKind::*;

    const MIB: u64 = 1 << 20;

    fn described() -> Described {
        Described {
            local: 256 * MIB,
            invisible: 0,
            unsnooped: 32 * MIB,
            gart: 256 * MIB,
            paging: 4 * MIB,
            tables: MIB / 2 + 4096,
            own_first: false,
        }
    }

    fn found(described: &Described) -> Vec<(SegmentKind, u64, u64)> {
        let table = SegmentTable::divide(described).unwrap();
        table.as_slice().iter().map(|s| (s.kind, s.base / MIB, s.size / MIB)).collect()
    }

    #[test]
    fn own_part_ends_what_the_cpu_sees() {
        let whole = found(&described());
        assert_eq!(
            whole,
            [(Local, 0, 246), (OwnLocal, 246, 10), (Snooped, 0, 220), (Unsnooped, 220, 32), (Paging, 252, 4)]
        );
        let small = found(&Described { local: 32 * MIB, invisible: 224 * MIB, ..described() });
        assert_eq!(small.get(..3), Some(&[(Local, 0, 22), (OwnLocal, 22, 10), (LocalInvisible, 32, 224)][..]));
    }

    #[test]
    fn vidmm_begins_with_its_tables() {
        let table = found(&Described { own_first: true, ..described() });
        assert_eq!(table.get(..2), Some(&[(OwnLocal, 0, 10), (Local, 10, 246)][..]));
    }

    #[test]
    fn unsnooped_segment_is_a_part_of_the_gart_and_may_be_missing() {
        let none = found(&Described { unsnooped: 0, ..described() });
        assert_eq!(none.get(2..), Some(&[(Snooped, 0, 252), (Paging, 252, 4)][..]));
        let little = found(&Described { gart: 16 * MIB, ..described() });
        assert_eq!(little.get(2..), Some(&[(Snooped, 0, 10), (Unsnooped, 10, 2), (Paging, 12, 4)][..]));
    }

    #[test]
    fn too_little_is_refused() {
        let refused = |described: &Described| SegmentTable::divide(described) == Err(Error::NoSpace);
        assert!(refused(&Described { local: 4 * MIB, ..described() }));
        assert!(refused(&Described { tables: 255 * MIB, ..described() }));
        assert!(refused(&Described { gart: 6 * MIB, ..described() }));
        assert!(refused(&Described { tables: u64::MAX, ..described() }));
    }
}
