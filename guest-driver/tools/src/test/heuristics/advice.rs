// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a process says about its memory, and what follows from it; and what follows where it says nothing.

use anyhow::{ensure, Result};

use super::{faults_in, fill, number, numbers, places, rises, shared, sum_of, switches, MIGRATE, PAGE};
use crate::test::case::{eventually, same, Ctx, PATIENCE};
use crate::test::svm::heuristics::Parameter;
use crate::uvm::{Advice, Uvm};

const BYTES: u64 = 256 << 10;

/// Pages of 64 KiB that a CPU's access brings back, and that a fault brings.
const COMPANY: u64 = 64 << 10;

pub fn preferred_location_is_kept(ctx: &Ctx) -> Result<()> {
    let _switches = switches(MIGRATE)?;
    let uvm = shared(ctx)?;
    for (advice, vram) in [
        (Advice::PreferHost, 0),
        (Advice::PreferDevice, BYTES),
        (Advice::PreferNobody, BYTES),
        (Advice::Nothing, BYTES),
    ] {
        let (memory, sum) = numbers(&uvm, BYTES)?;
        uvm.advise(&memory, Advice::PreferHost)?;
        uvm.advise(&memory, advice)?;
        same("the sum", sum_of(&uvm, &memory, BYTES, 4)?, sum)?;
        same(format_args!("{advice:?}"), places(&uvm, &memory, BYTES)?, (BYTES - vram, vram, BYTES))?;
        // What the CPU takes from VRAM, and prefers it from now on, does not go there again.
        uvm.advise(&memory, Advice::PreferHost)?;
        let middle = u32::try_from(BYTES / 8)?;
        memory.write(middle as usize, &[number(middle, 1)])?;
        same("the sum then", sum_of(&uvm, &memory, BYTES, 4)?, sum)?;
        let vram = vram.saturating_sub(COMPANY);
        same(format_args!("{advice:?} no more"), places(&uvm, &memory, BYTES)?, (BYTES - vram, vram, BYTES))?;
    }
    Ok(())
}

/// The device finds accessed memory mapped, also where the CPU has just taken it back; other memory it has to ask for.
pub fn accessed_memory_stays_mapped(ctx: &Ctx) -> Result<()> {
    let _switches = switches(MIGRATE)?;
    for accessed in [false, true] {
        let uvm = shared(ctx)?;
        let (memory, sum) = numbers(&uvm, BYTES)?;
        uvm.advise(&memory, Advice::Accessed(accessed))?;
        same("the sum", sum_of(&uvm, &memory, BYTES, 4)?, sum)?;
        let first = places(&uvm, &memory, BYTES)?;
        same("after a fault", first, if accessed { (BYTES, 0, BYTES) } else { (0, BYTES, BYTES) })?;
        if accessed {
            same("bytes brought to VRAM", uvm.prefetch(&memory, true)?, BYTES)?;
        }
        let sum = fill(&memory, BYTES, 9)?;
        if accessed {
            let again = eventually(PATIENCE, || Ok(places(&uvm, &memory, BYTES)? == (BYTES, 0, BYTES)))?;
            ensure!(again, "it is not mapped again: {:?}", places(&uvm, &memory, BYTES)?);
        } else {
            same("what the CPU took", places(&uvm, &memory, BYTES)?, (BYTES, 0, 0))?;
        }
        let work = || same("the new sum", sum_of(&uvm, &memory, BYTES, 4)?, sum);
        let faulted = faults_in(&uvm, &memory, BYTES, work)?;
        ensure!((faulted == 0) == accessed, "accessed {accessed}: {faulted} faults");
    }
    Ok(())
}

pub fn granule_is_what_a_fault_brings(ctx: &Ctx) -> Result<()> {
    let _switches = switches(MIGRATE)?;
    for (order, pages) in [(Some(0), 1), (Some(3), 8), (Some(6), 64), (None, 16)] {
        let uvm = shared(ctx)?;
        // Aligned, so that no granule goes over its edge.
        let bytes = 2 << 20;
        let (memory, _) = numbers(&uvm, bytes)?;
        uvm.device().prefetch(memory.address(), bytes, crate::drm::Domain::System)?;
        uvm.advise(&memory, Advice::Granule(order))?;
        sum_of(&uvm, &memory, 4, 4)?;
        same(format_args!("granule {order:?}"), places(&uvm, &memory, bytes)?.1, pages * PAGE)?;
    }
    Ok(())
}

pub fn group_moves_together_or_not_at_all(ctx: &Ctx) -> Result<()> {
    let _switches = switches(MIGRATE)?;
    let uvm = shared(ctx)?;
    let all = [numbers(&uvm, BYTES)?, numbers(&uvm, BYTES)?, numbers(&uvm, BYTES)?];
    let [(one, sum), (two, _), (other, _)] = &all;
    let in_vram = |uvm: &Uvm| -> Result<[u64; 3]> {
        Ok([places(uvm, one, BYTES)?.1, places(uvm, two, BYTES)?.1, places(uvm, other, BYTES)?.1])
    };
    let group = uvm.group()?;
    for memory in [one, two] {
        uvm.advise(memory, Advice::Group(Some(group.number())))?;
    }
    same("bytes that moved", group.prefetch(true)?, 2 * BYTES)?;
    same("in VRAM", in_vram(&uvm)?, [BYTES, BYTES, 0])?;
    group.hold()?;
    same("bytes of a held group that moved", group.prefetch(false)?, 0)?;
    group.free()?;
    same("bytes that moved back", group.prefetch(false)?, 2 * BYTES)?;
    group.hold()?;
    for memory in [one, other] {
        same("the sum", sum_of(&uvm, memory, BYTES, 4)?, *sum)?;
    }
    same("bytes of held memory that moved", uvm.prefetch(two, true)?, 0)?;
    same("with the group held", in_vram(&uvm)?, [0, 0, BYTES])?;
    same("held memory is mapped", places(&uvm, one, BYTES)?, (BYTES, 0, BYTES))?;
    drop(group);
    fill(one, BYTES, 1)?;
    uvm.prefetch(one, true)?;
    same("with the group gone", in_vram(&uvm)?, [BYTES, 0, BYTES])
}

/// What was brought before is there and mapped; what was not is asked for page by page.
pub fn prefetched_memory_does_not_fault(ctx: &Ctx) -> Result<()> {
    let _switches = switches(MIGRATE)?;
    // Nothing comes along with its neighbours.
    let _granule = Parameter::set("svm_granule", 0)?;
    for before in [false, true] {
        let uvm = shared(ctx)?;
        let ((memory, sum), (warm, _)) = (numbers(&uvm, BYTES)?, numbers(&uvm, PAGE)?);
        // The queue's own pages come first.
        sum_of(&uvm, &warm, PAGE, 4)?;
        let asked = rises("asked", || {
            if before {
                same("bytes that moved", uvm.prefetch(&memory, true)?, BYTES)?;
                same("afterwards", places(&uvm, &memory, BYTES)?, (0, BYTES, BYTES))?;
            }
            Ok(())
        })?;
        same("pages asked for", asked, if before { BYTES / PAGE } else { 0 })?;
        let work = || same("the sum", sum_of(&uvm, &memory, BYTES, 4)?, sum);
        let faulted = faults_in(&uvm, &memory, BYTES, work)?;
        ensure!((faulted == 0) == before, "prefetched {before}: {faulted} faults");
    }
    Ok(())
}
