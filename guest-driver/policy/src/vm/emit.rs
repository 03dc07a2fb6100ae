// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What the entries of a table should say, in runs that one packet or one loop can write.

use uvm_spec::packet::MAX_PTES;
use uvm_spec::pte;

use super::geometry::{Geometry, TABLE_BYTES};
use super::ranges::{self, Piece};
use super::tables::{Table, Tables, NONE};
use crate::error::Error;

/// Entries in a row, each larger than the one before by the same amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) count: u64,
    pub(crate) value: u64,
    pub(crate) increment: u64,
}

/// The longest run from entry `first` of a table on, at most up to entry `end`, for a space that maps `pieces`.
pub(crate) fn run(
    geometry: &Geometry,
    tables: &Tables,
    pieces: &[Piece],
    table: &Table,
    first: u64,
    end: u64,
) -> Result<Run, Error> {
    let end = end.min(first.saturating_add(MAX_PTES));
    let entry = |at| entries(geometry, tables, pieces, table, at);
    let Run { mut count, value, increment } = entry(first)?;
    while first.saturating_add(count) < end {
        let next = entry(first.saturating_add(count))?;
        if next.increment != increment || next.value != value.wrapping_add(increment.wrapping_mul(count)) {
            break;
        }
        count = count.saturating_add(next.count);
    }
    Ok(Run { count: count.min(end.saturating_sub(first)), value, increment })
}

/// Some entries from `at` on that are easily seen to be a run: one at least.
fn entries(geometry: &Geometry, tables: &Tables, pieces: &[Piece], table: &Table, at: u64) -> Result<Run, Error> {
    let child = table.child(at);
    if child != NONE {
        let home = tables.get(child)?.home.ok_or(Error::Invalid)?;
        return Ok(Run { count: 1, value: geometry.table_entry(home.addr), increment: TABLE_BYTES });
    }
    let (level, page) = (table.level, table.page_of(at));
    let shift = Geometry::shift(level);
    match ranges::from(pieces, page) {
        Some(piece) if piece.start <= page => {
            let order = piece.block_order(geometry, page);
            if geometry.block_level(order, piece.is_prt()) < level {
                return Ok(ZERO);
            }
            let (_, block_end) = ranges::block(page, order);
            let count = block_end.saturating_sub(page).wrapping_shr(shift).max(1);
            let in_directory = if level == 0 { 0 } else { pte::PDE_PTE };
            let value = piece.entry_at(page) | in_directory;
            Ok(if piece.is_handed_over() {
                Run { count: piece.end().saturating_sub(page), ..ZERO }
            } else if piece.is_prt() {
                Run { count, value, increment: 0 }
            } else {
                let increment = uvm_spec::PAGE_SIZE.wrapping_shl(shift);
                Run { count, value: value | geometry.fragment(order, level), increment }
            })
        }
        Some(next) if level == 0 => Ok(Run { count: next.start.saturating_sub(page), ..ZERO }),
        None if level == 0 => Ok(Run { count: u64::MAX, ..ZERO }),
        _ => Ok(ZERO),
    }
}

const ZERO: Run = Run { count: 1, value: 0, increment: 0 };
