// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Vector addition: three streams, each in order.

use anyhow::{ensure, Result};
use uvm_spec::access::func;

use super::{compare, share, Outcome};
use crate::rng::Rng;
use crate::uvm::program::{Operand, Program};
use crate::uvm::{Uvm, LANES};

pub fn run(uvm: &Uvm, bytes: u64, seed: u64) -> Result<Outcome> {
    let n = share(bytes, 3, 16)?;
    let size = 4 * u64::from(n);
    let [a, b, d] = [uvm.alloc(size)?, uvm.alloc(size)?, uvm.alloc(size)?];
    let mut rng = Rng::new(seed);
    let [x, y]: [Vec<u32>; 2] = std::array::from_fn(|_| (0..n).map(|_| rng.next32()).collect());
    a.write(0, &x)?;
    b.write(0, &y)?;
    let linear = |m: &crate::uvm::Memory| Operand::linear(m.address());
    let add = Program::store(func::ADD, [n, 1, 1], linear(&a), linear(&b), linear(&d));
    let sum = uvm.launch(&[add], LANES)?.wait()?;
    let expected: Vec<u32> = x.iter().zip(&y).map(|(x, y)| x.wrapping_add(*y)).collect();
    ensure!(sum == expected.iter().map(|n| u64::from(*n)).sum::<u64>(), "the sum of the vector is {sum}");
    let checked = compare("the vector", &d.read(expected.len())?, &expected)?;
    Ok(Outcome { bytes: 3 * size, checked })
}
