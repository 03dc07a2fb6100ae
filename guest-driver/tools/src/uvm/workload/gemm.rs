// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Matrix multiplication in blocks: each block of two matrices is read many times, by rows and by columns.

use anyhow::Result;
use uvm_spec::access::func;
use uvm_spec::packet::atomic;

use super::{compare, share, Outcome};
use crate::rng::Rng;
use crate::uvm::program::{Operand, Program};
use crate::uvm::{Uvm, LANES};

/// Side of a block.
const BLOCK: u32 = 16;
/// Largest side: the work grows with its third power.
const MOST: u32 = 96;

pub fn run(uvm: &Uvm, bytes: u64, seed: u64) -> Result<Outcome> {
    // Of whole blocks. What is left of the bytes lies between the rows: those of large matrices are far apart.
    let dwords = share(bytes, 3, 1024)?;
    let side = (dwords.isqrt() / BLOCK * BLOCK).clamp(BLOCK, MOST);
    let pitch = dwords / side;
    let (n, row) = (side as usize, i32::try_from(pitch)?);
    let size = 4 * u64::from(pitch) * u64::from(side);
    let [a, b, c] = [uvm.alloc(size)?, uvm.alloc(size)?, uvm.alloc(size)?];
    let mut rng = Rng::new(seed);
    let [x, y]: [Vec<u32>; 2] = std::array::from_fn(|_| (0..n * n).map(|_| rng.next32()).collect());
    for (memory, numbers) in [(&a, &x), (&b, &y)] {
        for (i, line) in numbers.chunks_exact(n).enumerate() {
            memory.write(i * pitch as usize, line)?;
        }
    }
    let none = Operand::none();
    let mut programs = vec![Program::store(
        func::IMMEDIATE,
        [side, side, 1],
        none,
        none,
        Operand::affine(c.address(), 0, [1, row, 0]),
    )];
    let blocks = i32::try_from(side / BLOCK)?;
    let step = i32::try_from(BLOCK)?;
    for (i, j, k) in (0..blocks).flat_map(|i| (0..blocks).flat_map(move |j| (0..blocks).map(move |k| (i, j, k)))) {
        let (i, j, k) = (i * step, j * step, k * step);
        programs.push(Program::Nest {
            element: 2,
            func: func::MUL,
            update: atomic::ADD,
            reduce: true,
            trips: [BLOCK; 3],
            immediate: 0,
            a: Operand::affine(a.address(), i * row + k, [1, 0, row]),
            b: Operand::affine(b.address(), k * row + j, [row, 1, 0]),
            d: Operand::affine(c.address(), i * row + j, [0, 1, row]),
        });
    }
    uvm.launch(&programs, LANES)?.wait()?;
    let all = c.read(pitch as usize * (n - 1) + n)?;
    let seen: Vec<u32> = all.chunks(pitch as usize).flat_map(|line| line.iter().take(n).copied()).collect();
    let mut expected = vec![0u32; n * n];
    for (i, line) in expected.chunks_exact_mut(n).enumerate() {
        for (k, &factor) in x[i * n..(i + 1) * n].iter().enumerate() {
            for (slot, &other) in line.iter_mut().zip(&y[k * n..(k + 1) * n]) {
                *slot = slot.wrapping_add(factor.wrapping_mul(other));
            }
        }
    }
    let checked = compare("the product", &seen, &expected)?;
    Ok(Outcome { bytes: 3 * size, checked })
}
