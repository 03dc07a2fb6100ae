// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Migration by the device against the kernel's own module for its test, whose device is the CPU: the same ioctls of
//! /dev/hmm_dmirror0, in the same guest, by turns. The way there includes what both do with it: the device reads what it
//! has got, and the caller gets that.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use rustix::system::{delete_module, finit_module};

use super::{middle, Better, Figure};
use crate::drm::Mapping;
use crate::test::hmm::dmirror::{Command, Dmirror};
use crate::test::reload::while_unloaded;

/// Where the launcher puts the kernel's module.
const ORIGINAL: &str = "/uvm/test_hmm.ko";
const DEVICE: &str = "/dev/hmm_dmirror0";
/// Bytes that migrate at once.
const BYTES: usize = 64 << 20;
/// Turns of each, and how often each turn measures.
const TURNS: usize = 3;
const TIMES: usize = 5;
/// No slower than the CPU.
const BAR: f64 = 1.0;

/// Times of the ways there and back.
#[derive(Default)]
struct Times {
    there: Vec<Duration>,
    back: Vec<Duration>,
}

impl Times {
    fn measure(&mut self, huge: bool) -> Result<()> {
        let device = Dmirror::open(0)?;
        let memory = if huge { Mapping::transparent(BYTES)? } else { Mapping::private(BYTES)? };
        memory.write(0, &vec![0xa5; BYTES]);
        let mut read = vec![0; BYTES];
        let (mut rounds, mut missed) = (0, 0);
        while rounds <= TIMES {
            let start = Instant::now();
            let went = device.run(Command::ToDevice, memory.va(), &mut read);
            let there = start.elapsed();
            // A page that somebody holds for the moment stays, which both drivers tell so: not all was moved then.
            let Err(error) = went else {
                let start = Instant::now();
                device.run(Command::ToSystem, memory.va(), &mut read)?;
                // The first is not counted.
                if rounds > 0 {
                    self.there.push(there);
                    self.back.push(start.elapsed());
                }
                rounds += 1;
                continue;
            };
            missed += 1;
            if missed > TIMES || error.downcast_ref::<Errno>() != Some(&Errno::NOENT) {
                return Err(error);
            }
        }
        ensure!(read.iter().all(|&byte| byte == 0xa5), "the device reads something else");
        Ok(())
    }
}

/// The kernel's module instead of this driver, while `run` runs.
fn with_original(run: impl FnOnce() -> Result<()>) -> Result<()> {
    while_unloaded(|| {
        let file = File::open(ORIGINAL).context(ORIGINAL)?;
        finit_module(file.as_fd(), c"", 0).context(ORIGINAL)?;
        let result = run();
        delete_module(c"test_hmm", 0).context("unloading test_hmm")?;
        result
    })
}

/// Whether both are at hand.
pub fn is_possible() -> bool {
    Path::new(DEVICE).exists() && Path::new(ORIGINAL).exists()
}

/// Migration of 64 MiB, by pages and by folios. Nothing may have the driver open.
pub fn migration() -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (huge, names) in [
        (false, ["dmirror_pages_to_device", "dmirror_pages_to_system"]),
        (true, ["dmirror_folios_to_device", "dmirror_folios_to_system"]),
    ] {
        let (mut ours, mut theirs) = (Times::default(), Times::default());
        for _ in 0..TURNS {
            ours.measure(huge)?;
            with_original(|| theirs.measure(huge))?;
        }
        let rate = |times| Ok::<_, anyhow::Error>(f64::from(64) / middle(times)?.as_secs_f64().max(1e-9));
        for (name, ours, theirs) in [(names[0], ours.there, theirs.there), (names[1], ours.back, theirs.back)] {
            let (value, limit) = (rate(ours)?, rate(theirs)?);
            figures.push(Figure { name, unit: "MiB/s", value, limit, better: Better::More, bar: Some(BAR) });
        }
    }
    Ok(figures)
}
