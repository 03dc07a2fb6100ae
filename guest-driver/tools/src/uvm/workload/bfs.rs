// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Breadth-first search on a generated graph: rows in order, columns in bursts, levels anywhere.

use std::collections::VecDeque;

use anyhow::{ensure, Result};

use super::{compare, share, Outcome};
use crate::rng::Rng;
use crate::uvm::program::Program;
use crate::uvm::{Uvm, LANES};

/// Edges a vertex, on average.
const DEGREE: u32 = 4;

/// Rows and columns of a graph: some vertices have many neighbours, most few, as in the graphs that people search.
fn graph(vertices: u32, rng: &mut Rng) -> (Vec<u32>, Vec<u32>) {
    let (mut rows, mut columns) = (vec![0], Vec::new());
    for _ in 0..vertices {
        let degree = rng.size(u64::from(4 * DEGREE)) - 1;
        columns.extend((0..degree).map(|_| u32::try_from(rng.below(vertices.into())).unwrap_or(0)));
        rows.push(u32::try_from(columns.len()).unwrap_or(u32::MAX));
    }
    (rows, columns)
}

/// Neighbours of `v`.
fn neighbours<'a>(rows: &[u32], columns: &'a [u32], v: usize) -> &'a [u32] {
    &columns[rows[v] as usize..rows[v + 1] as usize]
}

/// Each vertex' distance from the first, by a queue.
fn distances(rows: &[u32], columns: &[u32]) -> Vec<u32> {
    let mut levels = vec![u32::MAX; rows.len() - 1];
    levels[0] = 0;
    let mut queue = VecDeque::from([0]);
    while let Some(v) = queue.pop_front() {
        for &u in neighbours(rows, columns, v) {
            if levels[u as usize] == u32::MAX {
                levels[u as usize] = levels[v] + 1;
                queue.push_back(u as usize);
            }
        }
    }
    levels
}

pub fn run(uvm: &Uvm, bytes: u64, seed: u64) -> Result<Outcome> {
    let vertices = share(bytes, u64::from(2 + DEGREE), 64)?;
    let (rows, columns) = graph(vertices, &mut Rng::new(seed));
    let size = |n: usize| 4 * n.max(1) as u64;
    let [r, c] = [uvm.alloc(size(rows.len()))?, uvm.alloc(size(columns.len()))?];
    let levels = uvm.alloc(size(rows.len() - 1))?;
    r.write(0, &rows)?;
    c.write(0, &columns)?;
    levels.write(0, &vec![u32::MAX; vertices as usize])?;
    levels.write(0, &[0])?;
    let mut reached = 1;
    for depth in 0.. {
        let (rows, columns, levels) = (r.address(), c.address(), levels.address());
        let found = uvm.launch(&[Program::Expand { vertices, depth, rows, columns, levels }], LANES)?.wait()?;
        reached += found;
        ensure!(depth < vertices, "the search does not end");
        if found == 0 {
            break;
        }
    }
    let expected = distances(&rows, &columns);
    let count = expected.iter().filter(|level| **level != u32::MAX).count() as u64;
    ensure!(reached == count, "{reached} vertices were reached, expected {count}");
    let checked = compare("the levels", &levels.read(expected.len())?, &expected)?;
    Ok(Outcome { bytes: size(rows.len()) + size(columns.len()) + size(expected.len()), checked })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_reaches_far_and_its_distances_hold() {
        let (rows, columns) = graph(2000, &mut Rng::new(3));
        let levels = distances(&rows, &columns);
        let reached = levels.iter().filter(|l| **l != u32::MAX).count();
        assert!(reached > 1000, "{reached} of 2000");
        // No edge skips a level.
        for v in (0..2000).filter(|v| levels[*v] != u32::MAX) {
            assert!(neighbours(&rows, &columns, v).iter().all(|u| levels[*u as usize] <= levels[v] + 1));
        }
    }
}
