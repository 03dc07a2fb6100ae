// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A stencil of five points in two dimensions, swept back and forth between two grids.

use anyhow::Result;
use uvm_spec::access::{func, update};
use uvm_spec::packet::atomic;

use super::{compare, share, Outcome};
use crate::rng::Rng;
use crate::uvm::program::{Operand, Program};
use crate::uvm::{Uvm, LANES};

const SWEEPS: usize = 3;
/// Weight of the middle; each neighbour's is one.
const MIDDLE: u32 = 4;

pub fn run(uvm: &Uvm, bytes: u64, seed: u64) -> Result<Outcome> {
    // A square with a border that stays.
    let side = share(bytes, 2, 64)?.isqrt();
    let (w, inner) = (i32::try_from(side)?, side - 2);
    let cells = side as usize * side as usize;
    let size = 4 * cells as u64;
    let grids = [uvm.alloc(size)?, uvm.alloc(size)?];
    let mut rng = Rng::new(seed);
    let mut now: Vec<u32> = (0..cells).map(|_| rng.next32()).collect();
    grids[0].write(0, &now)?;
    grids[1].write(0, &now)?;
    let mut programs = Vec::new();
    for sweep in 0..SWEEPS {
        let (from, to) = (grids[sweep % 2].address(), grids[(sweep + 1) % 2].address());
        let at = |base, offset: i32| Operand::affine(base, w + 1 + offset, [1, w, 0]);
        // The middle is stored, then each neighbour added.
        let nest = |func, update, offset| Program::Nest {
            element: 2,
            func,
            update,
            reduce: false,
            trips: [inner, inner, 1],
            immediate: MIDDLE.into(),
            a: at(from, offset),
            b: Operand::none(),
            d: at(to, 0),
        };
        programs.push(nest(func::MULTIPLY_ADD, update::STORE, 0));
        programs.extend([-1, 1, -w, w].map(|offset| nest(func::A, atomic::ADD, offset)));
    }
    uvm.launch(&programs, LANES)?.wait()?;
    let side = side as usize;
    for _ in 0..SWEEPS {
        let mut next = now.clone();
        for (at, cells) in now.windows(2 * side + 1).enumerate() {
            // From the cell above to the one below; columns at the border stay.
            if !(1..side - 1).contains(&(at % side)) {
                continue;
            }
            let [up, left, middle, right, down] = [0, side - 1, side, side + 1, 2 * side].map(|n| cells[n]);
            let around = left.wrapping_add(right).wrapping_add(up).wrapping_add(down);
            next[at + side] = middle.wrapping_mul(MIDDLE).wrapping_add(around);
        }
        now = next;
    }
    let checked = compare("the grid", &grids[SWEEPS % 2].read(cells)?, &now)?;
    Ok(Outcome { bytes: 2 * size, checked })
}
