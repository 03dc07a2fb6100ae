// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `segments`: how the driver divides what the device has, and how full and how fragmented it says that is.

use std::collections::BTreeMap;

use anyhow::{ensure, Context, Result};
use uvm_spec::uapi;

use super::case::{same, settled, Case, Ctx, Run};
use super::reload::debugfs;
use crate::drm::{Bo, Domain};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "segments_cover_vram_and_gart", run: Run::Once(segments_cover_vram_and_gart) },
    Case { name: "use_of_a_segment_follows_its_buffers", run: Run::Once(use_of_a_segment_follows_its_buffers) },
    Case { name: "fragmentation_is_told", run: Run::Once(fragmentation_is_told) },
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

fn segments_cover_vram_and_gart(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let all = segments()?;
    for (kinds, param) in
        [(["local", "own-local"], uapi::PARAM_VRAM_SIZE), (["pcie-snooped", "paging"], uapi::PARAM_GTT_SIZE)]
    {
        // One begins where the other ends.
        let mut end = 0;
        for kind in kinds {
            let segment = all.get(kind).with_context(|| format!("no segment {kind}: {all:?}"))?;
            same(format_args!("base of {kind}"), segment.get("base").copied(), Some(end))?;
            end += segment.get("size").context("a segment without a size")?;
        }
        same(format_args!("end of {kinds:?}"), end, device.param(param)?)?;
    }
    Ok(())
}

fn use_of_a_segment_follows_its_buffers(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    for (kind, domain) in [("local", Domain::Vram), ("pcie-snooped", Domain::Gtt)] {
        let before = settled(|| number(kind, "used"))?;
        let bo = Bo::new(&device, 3 << 20, domain)?;
        same(format_args!("{kind} used"), number(kind, "used")?, before + (3 << 20))?;
        let pageable = Bo::pageable(&device, 2 << 20, domain)?;
        same(format_args!("{kind} used, with one that was not yet"), number(kind, "used")?, before + (3 << 20))?;
        pageable.move_to(domain, 0)?;
        same(format_args!("{kind} used, with both"), number(kind, "used")?, before + (5 << 20))?;
        drop((bo, pageable));
        same(format_args!("{kind} used after all"), settled(|| number(kind, "used"))?, before)?;
    }
    Ok(())
}

fn fragmentation_is_told(ctx: &Ctx) -> Result<()> {
    const PIECE: u64 = 64 << 10;
    let device = ctx.device()?;
    let before = settled(|| number("local", "holes"))?;
    let mut kept = (0..64).map(|_| Bo::new(&device, PIECE, Domain::Vram)).collect::<Result<Vec<_>, _>>()?;
    let mut n = 0;
    kept.retain(|_| {
        n += 1;
        n % 2 == 0
    });
    let now = settled(|| number("local", "holes"))?;
    ensure!(now >= before + 30, "holes of VRAM: {before} before, {now} with every second piece of 64 freed");
    drop(kept);
    same("holes after all was freed", settled(|| number("local", "holes"))?, before)
}
