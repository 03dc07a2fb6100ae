// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Access counters: what is reached over the bus often comes to VRAM, and what is not stays.

use anyhow::{ensure, Result};
use uvm_spec::uapi;

use super::{counter, numbers, places, shared, sum_of, switches, COUNTERS, COUNTERS_FIRST, MIGRATE, PAGE};
use crate::test::case::{eventually, same, settled, Ctx, PATIENCE};
use crate::uvm::Advice;

/// Sixteen granules.
const BYTES: u64 = 1 << 20;
const GRANULE: u64 = 64 << 10;

pub fn counted_pages_come_to_vram(ctx: &Ctx) -> Result<()> {
    for on in [false, true] {
        // What counters of a mirror that ends have told is looked at until it has ended: then it has no blocks.
        let _switches = switches(MIGRATE)?;
        ensure!(eventually(PATIENCE, || Ok(counter("blocks")? == 0))?, "somebody else mirrors memory");
        let (before, left) = (counter("brought")?, counter("evicted")?);
        let _counters = on.then(|| switches(MIGRATE | COUNTERS)).transpose()?;
        let uvm = shared(ctx)?;
        let ((hot, sum), (cold, _)) = (numbers(&uvm, BYTES)?, numbers(&uvm, BYTES)?);
        for memory in [&hot, &cold] {
            uvm.advise(memory, Advice::Accessed(true))?;
        }
        uvm.device().keep_records(4000)?;
        // A page of the cold one is reached once; each granule of the hot one 16384 times.
        sum_of(&uvm, &cold, BYTES, PAGE)?;
        same("the sum over the bus", sum_of(&uvm, &hot, BYTES, 4)?, sum)?;
        if on {
            let all = eventually(PATIENCE, || Ok(places(&uvm, &hot, BYTES)?.1 == BYTES))?;
            ensure!(all, "what is hot: {:?}", places(&uvm, &hot, BYTES)?);
        } else {
            settled(|| uvm.device().param(uapi::PARAM_ACCESS_NOTIFICATIONS).map_err(Into::into))?;
            same("what is hot, and nobody moves it", places(&uvm, &hot, BYTES)?.1, 0)?;
        }
        // At its edges are granules that have something of others.
        let (inner, bytes) = (cold.address() + GRANULE, BYTES - 2 * GRANULE);
        let seen = uvm.device().residency(inner, bytes)?;
        same("what is cold", (seen.system, seen.mapped), (bytes, bytes))?;
        let brought = counter("brought")? - before;
        same("pages that left for want of room", counter("evicted")? - left, 0)?;
        let expected = if on { BYTES / PAGE..=(BYTES + 2 * GRANULE) / PAGE } else { 0..=0 };
        let told = uvm.device().records(4000)?.0;
        ensure!(expected.contains(&brought), "{brought} pages that counters brought, {expected:?} expected");
        let of_counters = told.iter().filter(|record| record.kind == uapi::SVM_REC_COUNTER).count();
        ensure!(of_counters as u64 >= BYTES / GRANULE, "{of_counters} records of counters");
        same("the sum in VRAM or not", sum_of(&uvm, &hot, BYTES, 4)?, sum)?;
        same("the first number as the CPU reads it", hot.read(2)?, vec![1, 2_654_435_762])?;
    }
    Ok(())
}

/// A process that says nothing: the first fault maps over the bus, and use alone brings pages.
pub fn first_touch_is_remote_where_counters_decide(ctx: &Ctx) -> Result<()> {
    let _switches = switches(MIGRATE | COUNTERS | COUNTERS_FIRST)?;
    let uvm = shared(ctx)?;
    let (memory, sum) = numbers(&uvm, BYTES)?;
    sum_of(&uvm, &memory, BYTES, PAGE)?;
    same("what was touched once", places(&uvm, &memory, BYTES)?, (BYTES, 0, BYTES))?;
    same("the sum", sum_of(&uvm, &memory, BYTES, 4)?, sum)?;
    let all = eventually(PATIENCE, || Ok(places(&uvm, &memory, BYTES)?.1 == BYTES))?;
    ensure!(all, "what was used often: {:?}", places(&uvm, &memory, BYTES)?);
    Ok(())
}
