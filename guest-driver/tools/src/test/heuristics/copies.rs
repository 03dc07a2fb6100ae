// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Second copies of what is read mostly: CPU and device both read what is near, until somebody writes.

use anyhow::{ensure, Result};
use uvm_spec::uapi;

use super::{faults_in, fill, numbers, places, rises, shared, sum_of, switches, COUNTERS, DUPLICATION, MIGRATE, PAGE};
use crate::test::case::{same, settled, Ctx};
use crate::uvm::{Advice, Uvm};

const BYTES: u64 = 256 << 10;

/// Pages that CPUs had to ask for.
fn cpu_faults(uvm: &Uvm) -> Result<u64> {
    Ok(uvm.device().param(uapi::PARAM_DEVMEM_CPU_FAULTS)?)
}

pub fn read_mostly_memory_is_near_to_both(ctx: &Ctx) -> Result<()> {
    for (on, value) in [(false, MIGRATE | COUNTERS), (true, MIGRATE | COUNTERS | DUPLICATION)] {
        let _switches = switches(value)?;
        let uvm = shared(ctx)?;
        let (memory, sum) = numbers(&uvm, BYTES)?;
        uvm.advise(&memory, Advice::ReadMostly(true))?;
        let doubled = rises("doubled", || same("the sum", sum_of(&uvm, &memory, BYTES, 4)?, sum))?;
        same("pages with a second copy", doubled, if on { BYTES / PAGE } else { 0 })?;
        let expected = (if on { BYTES } else { 0 }, BYTES, BYTES);
        same("where it is", places(&uvm, &memory, BYTES)?, expected)?;
        // Both read it over and over: nobody has to ask, nothing goes over the bus.
        let notified = || Ok(uvm.device().param(uapi::PARAM_ACCESS_NOTIFICATIONS)?);
        let (before, bus) = (cpu_faults(&uvm)?, settled(notified)?);
        let mut own = 0;
        let faulted = faults_in(&uvm, &memory, BYTES, || {
            for _ in 0..3 {
                let numbers = memory.read(usize::try_from(BYTES / 4)?)?;
                own += cpu_faults(&uvm)? - before;
                same("the sum by the CPU", numbers.iter().map(|n| u64::from(*n)).sum(), sum)?;
                same("the sum by the device", sum_of(&uvm, &memory, BYTES, 4)?, sum)?;
            }
            Ok(())
        })?;
        ctx.note(format_args!("on {on}: {own} faults of the CPU, {faulted} of the device"));
        if on {
            // The page that tells of a program's end goes to and fro, one of a time.
            ensure!(faulted == 0 && own <= 9, "{faulted} faults of the device, {own} of the CPU");
            same("granules reached over the bus", settled(notified)? - bus, 0)?;
        } else {
            ensure!(
                faulted > 0 && own > 9,
                "it does not go to and fro: {faulted} faults of the device, {own} of the CPU"
            );
        }
        // A write ends the copies, and nobody reads what was.
        for round in 2..6 {
            let sum = fill(&memory, BYTES, round)?;
            same("copies of what was written", places(&uvm, &memory, BYTES)?.1, 0)?;
            same("the new sum", sum_of(&uvm, &memory, BYTES, 4)?, sum)?;
            same("where it is then", places(&uvm, &memory, BYTES)?, expected)?;
        }
        // Another use of VRAM.
        uvm.advise(&memory, Advice::ReadMostly(false))?;
        let sum = fill(&memory, BYTES, 9)?;
        same("the sum of other memory", sum_of(&uvm, &memory, BYTES, 4)?, sum)?;
        same("other memory", places(&uvm, &memory, BYTES)?.1, BYTES)?;
    }
    Ok(())
}
