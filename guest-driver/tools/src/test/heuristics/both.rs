// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Pages that CPU and device both want.

use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use uvm_spec::uapi;

use super::{counter, switches, MIGRATE, THRASH};
use crate::drm::{FenceState, Mapping, Mirror};
use crate::ib::{Ib, Place};
use crate::test::case::{same, Ctx, PATIENCE};
use crate::test::svm::heuristics::Parameter;

const COUNTERS: [&str; 5] = ["bounced", "thrashing", "throttled", "pinned", "waits of the CPU"];

/// What the counters say after turns of both sides on one page: until `enough`, at most for so long. Moves, turns.
fn turns(ctx: &Ctx, enough: impl Fn(&[u64; 5], u32) -> bool) -> Result<([u64; 5], u64, u32)> {
    let mirror = Mirror::new(&ctx.device()?)?;
    let page = Mapping::private(4096)?;
    page.write(0, &[0; 4096]);
    let mut before = [0; 5];
    for (value, word) in before.iter_mut().zip(COUNTERS) {
        *value = counter(word)?;
    }
    let moved = || mirror.device().param(uapi::PARAM_DEVMEM_TO_VRAM);
    let (start, first) = (Instant::now(), moved()?);
    for turn in 1.. {
        let mut ib = Ib::new();
        ib.fence(Place::Raw(page.va() + 64), turn);
        same("the submission", mirror.run(0, &ib, PATIENCE)?, FenceState::Done)?;
        page.write(128, &turn.to_le_bytes());
        let words = [page.load(64), page.load(128)].map(|word| word & u64::from(u32::MAX));
        same("what both sides wrote", words, [u64::from(turn); 2])?;
        let mut risen = [0; 5];
        for ((value, word), before) in risen.iter_mut().zip(COUNTERS).zip(before) {
            *value = counter(word)? - before;
        }
        if enough(&risen, turn) || start.elapsed() > Duration::from_secs(20) {
            return Ok((risen, (moved()? - first) / 4096, turn));
        }
    }
    anyhow::bail!("no turn")
}

/// First each side waits for the other's slice to end, then the page stays where both reach it.
pub fn each_side_gets_its_slice_and_then_the_page_stays(ctx: &Ctx) -> Result<()> {
    // Long enough for a slow machine: what counts is which side waits, not for how long.
    let _slice = Parameter::set("svm_slice_us", 100_000)?;
    let _granule = Parameter::set("svm_granule", 0)?;
    {
        let _switches = switches(MIGRATE)?;
        let (risen, moves, turns) = turns(ctx, |_, turn| turn == 40)?;
        same("counters with the switch off", risen[1..].to_vec(), vec![0; 4])?;
        ensure!(moves >= u64::from(turns) - 1, "{moves} moves in {turns} turns");
    }
    let _switches = switches(MIGRATE | THRASH)?;
    let (risen, moves, turns) = turns(ctx, |risen, _| risen[3] > 0)?;
    ctx.note(format_args!("{moves} moves in {turns} turns: {COUNTERS:?} {risen:?}"));
    ensure!(risen.iter().all(|count| *count > 0), "{COUNTERS:?} rose by {risen:?} in {turns} turns");
    // While it is pinned, both go on without a move.
    Ok(())
}
