// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `segments`: how the driver divides what the device has, how full and how fragmented it says that is, and how
//! bytes are reached in each. Suite `small_bar`: where the CPU reaches only a part of VRAM.

use std::collections::BTreeMap;

use anyhow::{ensure, Context, Result};
use uvm_spec::uapi;
use uvm_spec::window::cap;

use super::case::{eventually, same, settled, Case, Ctx, Run, PATIENCE};
use super::reload::debugfs;
use crate::drm::{Bo, Domain};

mod reach;
mod unsnooped;

/// Segments by the names that debugfs has for them.
pub const VISIBLE: &str = "local";
pub const INVISIBLE: &str = "local-invisible";
const UNSNOOPED: &str = "pcie-unsnooped";

const fn once(name: &'static str, run: fn(&Ctx) -> Result<()>) -> Case {
    Case { name, run: Run::Once(run) }
}

/// The cases.
pub const CASES: &[Case] = &[
    once("what_the_cpu_reaches_is_as_the_device_says", what_the_cpu_reaches_is_as_the_device_says),
    once("bytes_are_read_and_written_wherever_they_are", reach::bytes_are_read_and_written_wherever_they_are),
    once("accesses_that_cannot_be_are_refused", reach::accesses_that_cannot_be_are_refused),
    once("debugger_reaches_what_is_mapped", reach::debugger_reaches_what_is_mapped),
    once("access_to_a_mapping_of_itself_ends", reach::access_to_a_mapping_of_itself_ends),
    once("unsnooped_buffer_is_not_cached", unsnooped::unsnooped_buffer_is_not_cached),
    once("unsnooped_buffer_keeps_its_bytes", unsnooped::unsnooped_buffer_keeps_its_bytes),
    once("unsnooped_segment_makes_room", unsnooped::unsnooped_segment_makes_room),
    once("segments_cover_vram_and_gart", segments_cover_vram_and_gart),
    once("use_of_a_segment_follows_its_buffers", use_of_a_segment_follows_its_buffers),
    once("fragmentation_is_told", fragmentation_is_told),
];

/// The cases of `small_bar`.
pub const SMALL_BAR: &[Case] = &[
    once("mapping_brings_a_buffer_into_reach", reach::mapping_brings_a_buffer_into_reach),
    once("buffer_for_the_cpu_stays_in_its_reach", reach::buffer_for_the_cpu_stays_in_its_reach),
    once("mapping_is_served_when_the_reachable_part_is_full", reach::mapping_is_served_when_the_reachable_part_is_full),
];

/// The numbers of each segment, by kind and by name.
fn segments() -> Result<BTreeMap<String, BTreeMap<String, u64>>> {
    let text = debugfs("uvm_mm")?;
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(kind, rest)| Ok((kind.to_owned(), numbers(rest).with_context(|| rest.to_owned())?))).collect()
}

/// Names of one or more words, each before its number.
fn numbers(text: &str) -> Result<BTreeMap<String, u64>> {
    let (mut all, mut name) = (BTreeMap::new(), Vec::new());
    for word in text.split_whitespace() {
        match word.parse() {
            Ok(number) => {
                all.insert(std::mem::take(&mut name).join(" "), number);
            }
            Err(_) => name.push(word),
        }
    }
    ensure!(name.is_empty(), "{name:?} has no number");
    Ok(all)
}

/// One of the numbers of a segment.
pub fn number(kind: &str, name: &str) -> Result<u64> {
    let all = segments()?;
    all.get(kind)
        .and_then(|segment| segment.get(name))
        .copied()
        .with_context(|| format!("{kind} has no {name}: {all:?}"))
}

/// Waits until as much of a segment is used as before.
fn given_back(kind: &str, before: u64) -> Result<()> {
    eventually(PATIENCE, || Ok(number(kind, "used")? == before))?;
    same(format_args!("{kind} used after all"), number(kind, "used")?, before)
}

/// Where a pageable buffer goes that is best used in VRAM.
fn best_of_vram() -> Result<&'static str> {
    Ok(if segments()?.contains_key(INVISIBLE) { INVISIBLE } else { VISIBLE })
}

fn segments_cover_vram_and_gart(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let all = segments()?;
    for (kinds, end) in [
        ([VISIBLE, "own-local", INVISIBLE], device.param(uapi::PARAM_VRAM_SIZE)?),
        (["pcie-snooped", UNSNOOPED, "paging"], device.param(uapi::PARAM_GTT_SIZE)?),
    ] {
        let mut ranges = Vec::new();
        for (kind, segment) in all.iter().filter(|(kind, _)| kinds.contains(&kind.as_str())) {
            let number = |name| segment.get(name).copied().with_context(|| format!("{kind} has no {name}"));
            ranges.push((number("base")?, number("size")?));
        }
        ranges.sort_unstable();
        // One begins where the other ends.
        let mut next = 0;
        for (base, size) in ranges {
            same(format_args!("base of the next of {kinds:?}"), base, next)?;
            next += size;
        }
        same(format_args!("end of {kinds:?}"), next, end)?;
    }
    Ok(())
}

fn what_the_cpu_reaches_is_as_the_device_says(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let visible = device.param(uapi::PARAM_VRAM_VISIBLE)?;
    same("VRAM that the CPU reaches", number(VISIBLE, "size")? + number("own-local", "size")?, visible)?;
    let small = visible < device.param(uapi::PARAM_VRAM_SIZE)?;
    same("whether some is beyond the BAR", segments()?.contains_key(INVISIBLE), small)?;
    same("SMALL_BAR", device.param(uapi::PARAM_CAPABILITIES)? & cap::SMALL_BAR != 0, small)?;
    // The driver's tables are in its own part, and the CPU writes them.
    let own = number("own-local", "base")?;
    let first = device.param(uapi::PARAM_CAPABILITIES)? & cap::VIDMM != 0;
    same("base of the driver's own part", own, if first { 0 } else { number(VISIBLE, "size")? })?;
    ensure!(number("own-local", "used")? > 0, "no table lies in the driver's own part");
    match std::env::var("UVM_BAR_MIB") {
        Ok(asked) => same("VRAM that the launcher asked for", visible >> 20, asked.parse()?),
        Err(_) => Ok(()),
    }
}

fn use_of_a_segment_follows_its_buffers(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    for (kind, domain) in [(VISIBLE, Domain::Vram), ("pcie-snooped", Domain::Gtt)] {
        let before = settled(|| number(kind, "used"))?;
        let bo = Bo::new(&device, 3 << 20, domain)?;
        same(format_args!("{kind} used"), number(kind, "used")?, before + (3 << 20))?;
        let pageable = Bo::pageable_as(&device, 2 << 20, domain, uapi::GEM_CPU_ACCESS)?;
        same(format_args!("{kind} used, with one that was not yet"), number(kind, "used")?, before + (3 << 20))?;
        pageable.move_to(domain, 0)?;
        same(format_args!("{kind} used, with both"), number(kind, "used")?, before + (5 << 20))?;
        drop((bo, pageable));
        given_back(kind, before)?;
    }
    Ok(())
}

fn fragmentation_is_told(ctx: &Ctx) -> Result<()> {
    const PIECE: u64 = 64 << 10;
    const WHOLE: &str = "whole 2MiB free";
    let device = ctx.device()?;
    let before = settled(|| Ok((number(VISIBLE, "holes")?, number(VISIBLE, WHOLE)?)))?;
    let mut kept = (0..64).map(|_| Bo::new(&device, PIECE, Domain::Vram)).collect::<Result<Vec<_>, _>>()?;
    let mut n = 0;
    kept.retain(|_| {
        n += 1;
        n % 2 == 0
    });
    let now = settled(|| number(VISIBLE, "holes"))?;
    ensure!(now >= before.0 + 30, "holes of VRAM: {} before, {now} with every second piece of 64 freed", before.0);
    // Half of 4 MiB is free, and none of it in one piece.
    let whole = number(VISIBLE, WHOLE)?;
    ensure!(whole < before.1, "whole 2 MiB of VRAM: {} before, {whole} with pieces in them", before.1);
    drop(kept);
    let told = || anyhow::Ok((number(VISIBLE, "holes")?, number(VISIBLE, WHOLE)?));
    eventually(PATIENCE, || Ok(told()? == before))?;
    same("holes and whole 2 MiB after all was freed", told()?, before)
}
