// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The ways by which programs find their elements, one after the other: strided, gathered, random, by another's value, and
//! along chains of pointers.

use anyhow::{ensure, Result};
use uvm_spec::access::{func, mix, update};
use uvm_spec::packet::atomic;

use super::{compare, share, Outcome};
use crate::rng::Rng;
use crate::uvm::program::{Operand, Program};
use crate::uvm::{Uvm, LANES};

/// Bytes of a node of a chain, and where in it the next pointer and the value lie.
const NODE: usize = 32;
const NEXT: u32 = 8;
const VALUE: u32 = 16;
/// Elements between two of a strided program: each on a page of its own.
const STRIDE: u32 = 1024;

pub fn run(uvm: &Uvm, bytes: u64, seed: u64) -> Result<Outcome> {
    let n = share(bytes, 4, 2048)?;
    let count = n as usize;
    let size = 4 * u64::from(n);
    let [a, indices, d] = [uvm.alloc(size)?, uvm.alloc(size)?, uvm.alloc(size)?];
    let mut rng = Rng::new(seed);
    let below = |rng: &mut Rng| u32::try_from(rng.below(n.into())).unwrap_or(0);
    let x: Vec<u32> = (0..n).map(|_| below(&mut rng)).collect();
    let places: Vec<u32> = (0..n).map(|_| below(&mut rng)).collect();
    a.write(0, &x)?;
    indices.write(0, &places)?;
    let (one, none) = ([n, 1, 1], Operand::none());
    let (from, to) = (a.address(), Operand::linear(d.address()));
    let mut checked = 0;

    let gathered = Program::store(func::A, one, Operand::gather(from, indices.address()), none, to);
    uvm.launch(&[gathered], LANES)?.wait()?;
    let expected: Vec<u32> = places.iter().map(|i| x[*i as usize]).collect();
    checked += compare("what was gathered", &d.read(count)?, &expected)?;

    let random = Program::store(func::A, one, Operand::random(from, n, seed), none, to);
    uvm.launch(&[random], LANES)?.wait()?;
    let place = |i: u64| usize::try_from(mix(seed.wrapping_add(i)) % u64::from(n)).unwrap_or(0);
    let expected: Vec<u32> = (0..u64::from(n)).map(|i| x[place(i)]).collect();
    checked += compare("what was read at random", &d.read(count)?, &expected)?;

    // A histogram: each number of A adds one to where it points.
    d.write(0, &vec![0; count])?;
    let add = Program::Nest {
        element: 2,
        func: func::IMMEDIATE,
        update: atomic::ADD,
        reduce: false,
        trips: one,
        immediate: 1,
        a: Operand::linear(from),
        b: none,
        d: Operand::by_a(d.address()),
    };
    uvm.launch(&[add], LANES)?.wait()?;
    let mut histogram = vec![0; count];
    x.iter().for_each(|i| histogram[*i as usize] += 1);
    checked += compare("the histogram", &d.read(count)?, &histogram)?;

    let rows = n / STRIDE;
    let strided = Program::Nest {
        element: 2,
        func: func::A,
        update: update::NONE,
        reduce: false,
        trips: [rows, STRIDE, 1],
        immediate: 0,
        a: Operand::affine(from, 0, [i32::try_from(STRIDE)?, 1, 0]),
        b: none,
        d: none,
    };
    let sum = uvm.launch(&[strided], LANES)?.wait()?;
    let whole = (rows * STRIDE) as usize;
    ensure!(sum == x[..whole].iter().map(|n| u64::from(*n)).sum::<u64>(), "the sum of all columns is {sum}");

    checked += chains(uvm, bytes, &mut rng)? + u64::from(rows * STRIDE);
    Ok(Outcome { bytes: 4 * size, checked })
}

/// One chain through shuffled nodes, entered at several places.
fn chains(uvm: &Uvm, bytes: u64, rng: &mut Rng) -> Result<u64> {
    const HEADS: usize = 16;
    const HOPS: usize = 100;
    let nodes = usize::try_from(bytes / 4)?.max(4 * HOPS * NODE) / NODE;
    let memory = uvm.alloc((nodes * NODE) as u64)?;
    let heads = uvm.alloc(8 * HEADS as u64)?;
    let mut order: Vec<usize> = (0..nodes).collect();
    for i in (1..nodes).rev() {
        order.swap(i, rng.index(i + 1));
    }
    let at = |node: usize| memory.address() + (node * NODE) as u64;
    let mut words = vec![0_u64; nodes * NODE / 8];
    let mut values = vec![0; nodes];
    for (place, &node) in order.iter().enumerate() {
        let next = order.get(place + 1).map_or(0, |next| at(*next));
        values[place] = rng.next();
        words[(node * NODE + NEXT as usize) / 8] = next;
        words[(node * NODE + VALUE as usize) / 8] = values[place];
    }
    memory.write_wide(0, &words)?;
    let starts: Vec<usize> = (0..HEADS).map(|_| rng.index(nodes)).collect();
    heads.write_wide(0, &starts.iter().map(|place| at(order[*place])).collect::<Vec<_>>())?;
    let (chains, hops) = (u32::try_from(HEADS)?, u32::try_from(HOPS)?);
    let chase = Program::Chase { heads: heads.address(), chains, hops, next: NEXT, value: VALUE };
    let sum = uvm.launch(&[chase], LANES)?.wait()?;
    let along = starts.iter().flat_map(|place| values.iter().skip(*place).take(HOPS));
    let expected = along.fold(0_u64, |sum, value| sum.wrapping_add(*value));
    ensure!(sum == expected, "the sum along the chains is {sum:#x}, expected {expected:#x}");
    Ok((HEADS * HOPS) as u64)
}
