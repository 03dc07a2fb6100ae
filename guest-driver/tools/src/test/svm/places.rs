// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Where memory is: faults bring it to VRAM and the CPU gets it back, unless the process says otherwise; and it is told.

use anyhow::{ensure, Result};
use rustix::io::Errno;
use uvm_spec::uapi;

use super::changes::fails;
use super::{bytes, copy, mirror, run, PAGE};
use crate::drm::{Mapping, Mirror, HUGE};
use crate::ib::{FillSize, Ib, Place};
use crate::test::case::{refused, same, same_bytes, settled, stamps, Ctx};

const PAGES: usize = 32;
const BYTES: usize = PAGES * PAGE;

fn fill(map: &Mapping, value: u32) -> Ib {
    let mut ib = Ib::new();
    ib.fill(Place::Raw(map.va()), value, FillSize::Dword, map.len() as u64);
    ib
}

/// Bytes of a mapping in system memory, in VRAM, and in the page tables.
fn places(mirror: &Mirror, map: &Mapping) -> Result<(u64, u64, u64)> {
    let seen = mirror.device().residency(map.va(), map.len() as u64)?;
    Ok((seen.system, seen.vram, seen.mapped))
}

pub fn memory_goes_to_vram_and_comes_back(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let device = mirror.device();
    let (map, to) = (Mapping::private(BYTES)?, Mapping::private(BYTES)?);
    let data = stamps(41, BYTES);
    map.write(0, &data);
    same("at first", places(&mirror, &map)?, (BYTES as u64, 0, 0))?;
    let before = device.param(uapi::PARAM_DEVMEM_TO_VRAM)?;
    for round in 0..3 {
        run(&mirror, round % 2, &copy(map.va(), to.va(), BYTES))?;
        let (system, vram, mapped) = places(&mirror, &map)?;
        same("what the device has read", (system + vram, mapped), (BYTES as u64, BYTES as u64))?;
        ensure!(round > 0 || vram == BYTES as u64, "{system} bytes stay in system memory");
        same_bytes("the copy", &bytes(&to, 0, BYTES), &data)?;
        // The CPU looks at one page, and writes another one.
        same("a word", map.load(5 * PAGE), u64::from_le_bytes(data[5 * PAGE..5 * PAGE + 8].try_into()?))?;
        map.write(9 * PAGE, &data[9 * PAGE..10 * PAGE]);
        ensure!(places(&mirror, &map)?.0 >= 2 * PAGE as u64, "the CPU did not get its pages");
    }
    ensure!(device.param(uapi::PARAM_DEVMEM_TO_VRAM)? >= before + BYTES as u64, "nothing went to VRAM");
    same_bytes("the source", &bytes(&map, 0, BYTES), &data)?;
    same("afterwards", places(&mirror, &map)?.0, BYTES as u64)
}

pub fn memory_that_nobody_touched_begins_in_vram(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let map = Mapping::private(BYTES)?;
    same("at first", places(&mirror, &map)?, (0, 0, 0))?;
    run(&mirror, 0, &fill(&map, 0x1234_5678))?;
    same("what the device wrote is in VRAM", places(&mirror, &map)?.1, BYTES as u64)?;
    let expected: Vec<u8> = 0x1234_5678_u32.to_le_bytes().repeat(BYTES / 4);
    same_bytes("as the CPU sees it", &bytes(&map, 0, BYTES), &expected)
}

pub fn advice_is_followed_and_told(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let device = mirror.device();
    let map = Mapping::private(BYTES)?;
    let (va, size) = (map.va(), BYTES as u64);
    device.advise(va, size, uapi::SVM_PREFERRED, uapi::SVM_IN_SYSTEM)?;
    let said = device.attributes(va + size / 2)?;
    same("what was said", (said.start, said.end, said.preferred), (va, va + size, uapi::SVM_IN_SYSTEM))?;
    run(&mirror, 0, &fill(&map, 7))?;
    same("what prefers system memory", places(&mirror, &map)?, (size, 0, size))?;
    same("as the CPU sees it", map.load(BYTES - 8), 0x7_0000_0007)?;
    // In the middle something else.
    let (middle, half) = (va + size / 4, size / 2);
    device.advise(middle, half, uapi::SVM_READ_ONLY, 1)?;
    same("what was said", device.attributes(va)?.end, middle)?;
    map.advise(0, BYTES, rustix::mm::Advice::LinuxDontNeed)?;
    let mut ib = Ib::new();
    fails(ctx, &mirror, ib.fence(Place::Raw(middle), 1), middle, true)?;
    device.advise(va, size, uapi::SVM_RESET, 0)?;
    same("what was said then", device.attributes(middle)?.flags, 0)?;
    run(&mirror, 1, &fill(&map, 8))?;
    same("what nothing is said of", places(&mirror, &map)?.1, size)?;
    // A group that is held.
    let group = device.advise(0, 0, uapi::SVM_NEW_GROUP, 0)?;
    device.advise(va, size, uapi::SVM_GROUP, group)?;
    device.advise(0, 0, uapi::SVM_HOLD_GROUP, group)?;
    same("as the CPU sees it", map.load(0), 0x8_0000_0008)?;
    map.write(0, &vec![0; BYTES]);
    run(&mirror, 0, &fill(&map, 9))?;
    same("what must not move", places(&mirror, &map)?.1, 0)?;
    device.advise(0, 0, uapi::SVM_END_GROUP, group)?;
    refused("a group that is gone", device.advise(0, 0, uapi::SVM_HOLD_GROUP, group), &[Errno::NOENT])?;
    for (va, size, advice, value) in [
        (va + 1, size, uapi::SVM_RESET, 0),
        (va, 0, uapi::SVM_RESET, 0),
        (va, u64::MAX, uapi::SVM_RESET, 0),
        (va, size, 20, 0),
        (va, size, uapi::SVM_PREFERRED, 9),
        (1, 0, uapi::SVM_NEW_GROUP, 0),
    ] {
        refused("wrong advice", device.advise(va, size, advice, value), &[Errno::INVAL])?;
    }
    refused("residency of nothing", device.residency(va, 0), &[Errno::INVAL])
}

pub fn what_happens_is_recorded(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let device = mirror.device();
    let map = Mapping::private(BYTES)?;
    run(&mirror, 0, &fill(&map, 1))?;
    ensure!(!device.has_records()?, "records without a wish");
    device.keep_records(500)?;
    map.write(0, &vec![2; BYTES]);
    run(&mirror, 0, &fill(&map, 3))?;
    settled(|| Ok(device.param(uapi::PARAM_SVM_BATCHES)?))?;
    ensure!(device.has_records()?, "no records wait");
    let (records, lost) = device.records(1000)?;
    same("records lost", lost, 0)?;
    let of_kind = |kind: u32| records.iter().filter(|record| record.kind == kind).count();
    ensure!(of_kind(uapi::SVM_REC_FAULT) > 0, "no fault is recorded: {records:?}");
    ensure!(of_kind(uapi::SVM_REC_MIGRATION) > 0, "no migration is recorded: {records:?}");
    let range = map.va() & !(HUGE as u64 - 1)..map.va() + BYTES as u64;
    let own = mirror.packets().va();
    let strange =
        records.iter().find(|record| !range.contains(&record.va) && record.va.abs_diff(own) > 4 * HUGE as u64);
    ensure!(strange.is_none(), "a record of elsewhere: {strange:?}");
    ensure!(records.windows(2).all(|pair| pair[0].time <= pair[1].time), "records are out of order");
    ensure!(!device.has_records()?, "records that were read");
    device.keep_records(2)?;
    map.write(0, &vec![4; BYTES]);
    run(&mirror, 1, &fill(&map, 5))?;
    settled(|| Ok(device.param(uapi::PARAM_SVM_BATCHES)?))?;
    let (records, lost) = device.records(10)?;
    ensure!(records.len() == 2 && lost > 0, "{} records, {lost} lost", records.len());
    Ok(())
}
