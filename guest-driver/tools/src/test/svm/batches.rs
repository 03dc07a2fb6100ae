// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! How many faults are served at a time: as many as wait, up to the switch.

use anyhow::{ensure, Result};
use uvm_spec::access::{func, update, MAX_LANES};
use uvm_spec::{uapi, window};

use super::heuristics::Parameter;
use super::PAGE;
use crate::drm::{Mapping, Queue};
use crate::test::case::{same, Ctx};
use crate::test::queues::drained;
use crate::uvm::program::{Operand, Program};

/// Where the rings are bound: far from what a process maps.
const RINGS: u64 = 1 << 34;
/// Pages of a program, one a lane.
const LANES: usize = MAX_LANES as usize;
/// Programs at a time, each in a queue of its own.
const QUEUES: usize = 2;

/// Each of the lanes writes its number to the first dword of a page of its own.
fn page_a_lane(va: u64, first: u64) -> Program {
    Program::Nest {
        element: 2,
        func: func::NUMBER,
        update: update::STORE,
        reduce: false,
        trips: [MAX_LANES, 1, 1],
        immediate: first,
        a: Operand::none(),
        b: Operand::none(),
        d: Operand::affine(va, 0, [1024, 0, 0]),
    }
}

pub fn faults_are_served_256_at_a_time(ctx: &Ctx) -> Result<()> {
    let device = ctx.device_with(window::cap::ACCESS, "one with an access engine")?;
    device.mirror()?;
    // A fault brings its page alone, where it is.
    let _switches = Parameter::set("svm_switches", 0)?;
    let _granule = Parameter::set("svm_granule", 0)?;
    let counts = || -> Result<(u64, u64)> {
        Ok((device.param(uapi::PARAM_SVM_FAULTS)?, device.param(uapi::PARAM_SVM_BATCHES)?))
    };
    let mut queues = Vec::new();
    for n in 0..QUEUES as u64 {
        queues.push(Queue::of_access_engine(&device, RINGS + n * (1 << 21), 1 << 14)?);
    }
    for most in [1, 4, 16, 64, 256] {
        let _batch = Parameter::set("svm_batch", most)?;
        let map = Mapping::private(QUEUES * LANES * PAGE)?;
        let before = counts()?;
        for (n, queue) in (0_u64..).zip(&mut queues) {
            let va = map.va() + n * (LANES * PAGE) as u64;
            queue.push_dwords(&page_a_lane(va, 1 + 1000 * n).packet(MAX_LANES, 0));
        }
        for queue in &mut queues {
            queue.kick()?;
        }
        queues.iter().try_for_each(drained)?;
        let (faults, batches) = counts()?;
        let (faults, batches) = (faults - before.0, batches - before.1);
        ctx.note(format_args!("at most {most}: {faults} faults in {batches} batches"));
        let pages = (QUEUES * LANES) as u64;
        ensure!(faults >= pages, "{faults} faults of {pages} pages");
        ensure!(batches * u64::from(most) >= faults, "a batch was larger than {most}");
        // What comes while a batch is served is the next one, however long that takes.
        ensure!(most == 256 || batches >= pages / u64::from(most), "too few batches");
        ensure!(batches <= 2 * (pages / u64::from(most)) + 16, "the batches were small");
        for n in 0..QUEUES {
            for lane in 0..LANES {
                let value = map.load((n * LANES + lane) * PAGE) & 0xffff_ffff;
                same("what a lane wrote", value, (1 + 1000 * n + lane) as u64)?;
            }
        }
    }
    same("the largest batch", device.param(uapi::PARAM_SVM_LARGEST_BATCH)?, 256)
}
