// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a fault brings besides its page, and where to: the policy at work, seen by its counters and by the bytes.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use uvm_spec::uapi;

use super::{bytes, copy, mirror, run, PAGE};
use crate::drm::{Device, Mapping};
use crate::ib::{Ib, Place};
use crate::test::case::{same, same_bytes, stamps, Ctx};
use crate::test::reload::debugfs;

/// Switches as the module parameter `svm_switches` has them.
const MIGRATE: u32 = 1;
const DENSITY: u32 = 2;
const CORRELATION: u32 = 4;
const THRASH: u32 = 8;

/// A module parameter that gets its old value back.
pub struct Parameter {
    path: PathBuf,
    old: String,
}

impl Parameter {
    /// Sets it.
    pub fn set(name: &str, value: u32) -> Result<Self> {
        let path = PathBuf::from("/sys/module/uvm/parameters").join(name);
        let old = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        fs::write(&path, value.to_string())?;
        Ok(Self { path, old })
    }
}

impl Drop for Parameter {
    fn drop(&mut self) {
        // What a test cannot put back, the next one finds.
        let _ = fs::write(&self.path, self.old.trim());
    }
}

/// The number that follows a word in the policy's counters.
pub fn counter(word: &str) -> Result<u64> {
    let text = debugfs("uvm_svm")?;
    let (_, rest) = text.split_once(&format!("{word} ")).with_context(|| format!("no {word} in {text}"))?;
    let number = rest.split(|digit: char| !digit.is_ascii_digit()).next().with_context(|| text.clone())?;
    Ok(number.parse()?)
}

fn faults(device: &Device) -> Result<u64> {
    Ok(device.param(uapi::PARAM_SVM_FAULTS)?)
}

/// Has the device copy `pages` pages of new memory to other new memory: faults that it took, and bytes that went to VRAM.
fn sequential(ctx: &Ctx, pages: usize) -> Result<(u64, u64)> {
    let mirror = mirror(ctx)?;
    let device = mirror.device();
    let (from, to) = (Mapping::private(pages * PAGE)?, Mapping::private(pages * PAGE)?);
    let data = stamps(11, pages * PAGE);
    from.write(0, &data);
    to.write(0, &stamps(12, pages * PAGE));
    let (before, moved) = (faults(device)?, device.param(uapi::PARAM_DEVMEM_TO_VRAM)?);
    run(&mirror, 0, &copy(from.va(), to.va(), pages * PAGE))?;
    let (faults, moved) = (faults(device)? - before, device.param(uapi::PARAM_DEVMEM_TO_VRAM)? - moved);
    same_bytes("what was copied", &bytes(&to, 0, pages * PAGE), &data)?;
    same_bytes("what was read", &bytes(&from, 0, pages * PAGE), &data)?;
    Ok((faults, moved))
}

/// One page at a time: each fault brings its own; density brings the rest of what is dense.
pub fn density_removes_most_faults(ctx: &Ctx) -> Result<()> {
    const PAGES: usize = 512;
    let _granule = Parameter::set("svm_granule", 0)?;
    let alone = {
        let _switches = Parameter::set("svm_switches", MIGRATE)?;
        sequential(ctx, PAGES)?
    };
    let dense = {
        let _switches = Parameter::set("svm_switches", MIGRATE | DENSITY)?;
        sequential(ctx, PAGES)?
    };
    let all = 2 * PAGES as u64;
    ensure!(alone.0 >= all, "{} faults on {all} pages", alone.0);
    ensure!(alone.1 >= all * PAGE as u64, "{} bytes went to VRAM", alone.1);
    ensure!(dense.1 >= all * PAGE as u64, "{} bytes went to VRAM", dense.1);
    ensure!(dense.0 * 5 <= alone.0, "{} faults of {} are left", dense.0, alone.0);
    Ok(())
}

/// Nothing moves that may not, and it is no less the device's to use.
pub fn switched_off_nothing_moves(ctx: &Ctx) -> Result<()> {
    let _switches = Parameter::set("svm_switches", 0)?;
    let (faults, moved) = sequential(ctx, 64)?;
    ensure!(faults > 0, "no fault");
    same("bytes that went to VRAM", moved, 0)
}

/// A path through more blocks than one, walked twice: the second time what follows is brought before it is asked for.
pub fn path_is_learnt(ctx: &Ctx) -> Result<()> {
    const BLOCK: usize = 2 << 20;
    const PATH: [usize; 4] = [2, 0, 3, 1];
    let _granule = Parameter::set("svm_granule", 0)?;
    let _switches = Parameter::set("svm_switches", MIGRATE | CORRELATION)?;
    let mirror = mirror(ctx)?;
    let memory = Mapping::transparent(4 * BLOCK)?;
    memory.advise(0, 4 * BLOCK, rustix::mm::Advice::LinuxNoHugepage)?;
    memory.write(0, &stamps(13, 4 * BLOCK));
    let walk = |stamp: u32| -> Result<u64> {
        let before = faults(mirror.device())?;
        let mut ib = Ib::new();
        for block in PATH {
            for page in 0..16 {
                ib.fence(Place::Raw(memory.va() + (block * BLOCK + page * 8 * PAGE) as u64), stamp);
            }
        }
        run(&mirror, 0, &ib)?;
        Ok(faults(mirror.device())? - before)
    };
    let first = walk(1)?;
    // The CPU takes all of it.
    let _ = bytes(&memory, 0, 4 * BLOCK);
    let second = walk(2)?;
    ensure!(first >= 64, "{first} faults on 64 pages");
    ensure!(second * 2 <= first, "{second} faults where there were {first}");
    for block in PATH {
        for page in 0..16 {
            same("a stamp", memory.load(block * BLOCK + page * 8 * PAGE) & u64::from(u32::MAX), 2)?;
        }
    }
    Ok(())
}

/// Both sides write to one page: it goes to and fro no longer than until it is pinned, and no store is lost.
pub fn page_that_both_want_is_pinned(ctx: &Ctx) -> Result<()> {
    const TURNS: u32 = 60;
    let _granule = Parameter::set("svm_granule", 0)?;
    // A slice that is long enough for this machine.
    let _slice = Parameter::set("svm_slice_us", 50_000)?;
    let moves = |switches: u32| -> Result<u64> {
        let _switches = Parameter::set("svm_switches", switches)?;
        let mirror = mirror(ctx)?;
        let page = Mapping::private(PAGE)?;
        page.write(0, &[0; PAGE]);
        let before = mirror.device().param(uapi::PARAM_DEVMEM_TO_VRAM)?;
        for turn in 1..=TURNS {
            run(&mirror, 0, Ib::new().fence(Place::Raw(page.va() + 64), turn))?;
            page.write(128, &turn.to_le_bytes());
            same("the device's word", page.load(64) & u64::from(u32::MAX), u64::from(turn))?;
            same("the CPU's word", page.load(128) & u64::from(u32::MAX), u64::from(turn))?;
        }
        Ok((mirror.device().param(uapi::PARAM_DEVMEM_TO_VRAM)? - before) / PAGE as u64)
    };
    let start = Instant::now();
    let without = moves(MIGRATE)?;
    let turn = start.elapsed() / TURNS;
    let pinned = counter("pinned")?;
    let with = moves(MIGRATE | THRASH)?;
    ensure!(without >= u64::from(TURNS) - 1, "{without} moves in {TURNS} turns");
    // A machine that takes more than a slice for a turn has no page that goes to and fro quickly.
    if turn < Duration::from_millis(25) {
        ensure!(counter("pinned")? > pinned, "nothing was pinned");
        // How many fewer depends on how long turns take: tests on the host count them by a clock of their own.
        ensure!(with < without, "{with} moves where there were {without}");
    }
    Ok(())
}

/// More memory than VRAM has, walked twice: what has to leave is evicted, and no byte is lost.
pub fn more_than_vram_goes_round(ctx: &Ctx) -> Result<()> {
    const BLOCK: usize = 2 << 20;
    let _switches = Parameter::set("svm_switches", MIGRATE | DENSITY)?;
    let _granule = Parameter::set("svm_granule", 9)?;
    let mirror = mirror(ctx)?;
    let device = mirror.device();
    let blocks = usize::try_from(device.param(uapi::PARAM_VRAM_SIZE)?)? / BLOCK + 4;
    if blocks > 200 {
        // Nobody has that much of memory to spare.
        return Ok(());
    }
    let memory = Mapping::transparent(blocks * BLOCK)?;
    let evicted = device.param(uapi::PARAM_DEVMEM_EVICTED)?;
    for round in 1..=2 {
        for block in 0..blocks {
            let va = memory.va() + (block * BLOCK) as u64;
            let stamp = u32::try_from(round * 1000 + block)?;
            run(&mirror, 0, Ib::new().fence(Place::Raw(va + 8 * round as u64), stamp))?;
        }
    }
    ensure!(device.param(uapi::PARAM_DEVMEM_EVICTED)? > evicted, "nothing was evicted");
    for block in 0..blocks {
        for round in 1..=2 {
            let stamp = memory.load(block * BLOCK + 8 * round) & u64::from(u32::MAX);
            same("a stamp", stamp, (round * 1000 + block) as u64)?;
        }
    }
    Ok(())
}
