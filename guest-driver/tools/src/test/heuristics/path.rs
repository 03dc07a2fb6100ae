// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Correlation: a way through memory that was gone before.

use anyhow::{ensure, Result};

use super::{faults, places, shared, switches, BLOCK, CORRELATION, MIGRATE};
use crate::test::case::{same, Ctx};
use crate::test::svm::heuristics::Parameter;
use crate::uvm::program::Program;
use crate::uvm::LANES;

/// A list of nodes on pages of their own, from block to block in no order, followed twice; between that the CPU takes
/// all of it back. Faults of the first walk, and of the second.
fn walks(ctx: &Ctx, value: u32) -> Result<(u64, u64)> {
    const BLOCKS: u64 = 6;
    const PAGES: u64 = 20;
    let _switches = switches(value)?;
    let uvm = shared(ctx)?;
    let (memory, heads) = (uvm.alloc(BLOCKS * BLOCK)?, uvm.alloc(4096)?);
    let mut rng = ctx.rng();
    let mut order: Vec<u64> = (0..BLOCKS).collect();
    for n in (1..order.len()).rev() {
        order.swap(n, rng.index(n + 1));
    }
    let nodes: Vec<u64> =
        order.iter().flat_map(|block| (0..PAGES).map(move |n| block * BLOCK + n * 17 % 512 * 4096 + 64 * n)).collect();
    let place = |node: u64| usize::try_from(node / 8);
    let mut expected = 0_u64;
    for (n, node) in nodes.iter().enumerate() {
        let next = nodes.get(n + 1).map_or(0, |next| memory.address() + next);
        memory.write_wide(place(*node)?, &[next, n as u64 + 7])?;
        expected += n as u64 + 7;
    }
    heads.write_wide(0, &[memory.address() + nodes[0]])?;
    let (hops, next) = (u32::try_from(nodes.len())?, 0);
    let chase = || -> Result<u64> {
        let before = faults(&uvm)?;
        let chase = Program::Chase { heads: heads.address(), chains: 1, hops, next, value: 8 };
        same("the sum along the way", uvm.launch(&[chase], LANES)?.wait()?, expected)?;
        Ok(faults(&uvm)? - before)
    };
    let first = chase()?;
    uvm.prefetch(&memory, false)?;
    same("what is left in VRAM", places(&uvm, &memory, BLOCKS * BLOCK)?.1, 0)?;
    Ok((first, chase()?))
}

pub fn path_of_pointers_is_learnt(ctx: &Ctx) -> Result<()> {
    let _granule = Parameter::set("svm_granule", 0)?;
    let without = walks(ctx, MIGRATE)?;
    let with = walks(ctx, MIGRATE | CORRELATION)?;
    ctx.note(format_args!("faults of the first and the second walk: {without:?}, with correlation {with:?}"));
    ensure!(without.1 * 10 >= without.0 * 9, "the second walk faults less where nothing is learnt: {without:?}");
    ensure!(with.1 * 5 <= with.0, "the second walk faults as before: {with:?}");
    Ok(())
}
