// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Mirrored memory at rest, as it is while the machine is put to sleep.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use uvm_spec::uapi;

use super::{bytes, copy, mirror, run};
use crate::drm::{Device, Domain, FenceState, Mapping, Queue, Space};
use crate::ib::Ib;
use crate::test::case::{refused, same, same_bytes, stamps, Ctx, PATIENCE};
use crate::test::kmsg::ExpectErrors;
use crate::test::reload::DEBUGFS;

const BYTES: usize = 2 << 20;

/// The switch of an administrator; off again when it is dropped.
pub struct Rest(PathBuf);

impl Rest {
    /// No page of a process is in VRAM when this returns.
    pub fn begin() -> Result<Self> {
        let entries = fs::read_dir(DEBUGFS).context(DEBUGFS)?.flatten();
        let path = entries.map(|entry| entry.path().join("uvm_suspend")).find(|path| path.exists());
        let rest = Self(path.with_context(|| format!("{DEBUGFS} has no uvm_suspend"))?);
        fs::write(&rest.0, "1")?;
        same("the switch", fs::read_to_string(&rest.0)?.as_str(), "1\n")?;
        Ok(rest)
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        // What a test cannot put back, the next one finds.
        let _ = fs::write(&self.0, "0");
    }
}

pub fn memory_at_rest_is_left_alone(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let device = mirror.device();
    let (from, to) = (Mapping::private(BYTES)?, Mapping::private(BYTES)?);
    let (va, size) = (from.va(), BYTES as u64);
    let other = Device::open()?;
    for round in 0..3 {
        let data = stamps(60 + round, BYTES);
        from.write(0, &data);
        device.prefetch(va, size, Domain::Vram)?;
        ensure!(device.residency(va, size)?.vram > 0, "nothing came to VRAM");
        let rest = Rest::begin()?;
        let again = [Errno::AGAIN];
        refused("residency", device.residency(va, size), &again)?;
        refused("a prefetch", device.prefetch(va, size, Domain::Vram), &again)?;
        refused("advice", device.advise(va, size, uapi::SVM_EAGER, 1), &again)?;
        refused("attributes", device.attributes(va), &again)?;
        refused("records", device.records(4), &again)?;
        refused("a submission", mirror.run(0, Ib::new().nop(1), PATIENCE), &again)?;
        refused("a queue", Queue::new(device, 0, 1 << 34, 4096), &again)?;
        refused("a mirror", other.mirror(), &again)?;
        same("bytes in VRAM", device.param(uapi::PARAM_DEVMEM_USED)?, 0)?;
        // The CPU has its memory, and buffers their device.
        same_bytes("memory at rest", &bytes(&from, 0, BYTES), &data)?;
        let space = Space::new(&ctx.device()?, 0x10_0000, 4096)?;
        same("a buffer's submission", space.run(1, Ib::new().nop(1), PATIENCE)?, FenceState::Done)?;
        same("bytes in VRAM then", device.param(uapi::PARAM_DEVMEM_USED)?, 0)?;
        drop(rest);
        run(&mirror, 1, &copy(va, to.va(), BYTES))?;
        same_bytes("what was copied afterwards", &bytes(&to, 0, BYTES), &data)?;
    }
    other.mirror()?;
    Ok(())
}

/// What puts the machine to sleep, up to a stage that it goes back from.
fn sleep(stage: &str) -> Result<std::io::Result<()>> {
    let (test, state) = (Path::new("/sys/power/pm_test"), Path::new("/sys/power/state"));
    fs::write(test, stage).with_context(|| test.display().to_string())?;
    let slept = fs::write(state, "freeze");
    fs::write(test, "none")?;
    Ok(slept)
}

pub fn machine_sleeps_without_the_device(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let device = mirror.device();
    let (from, to) = (Mapping::private(BYTES)?, Mapping::private(BYTES)?);
    let (va, size) = (from.va(), BYTES as u64);
    // Processes stand still for a while; then the device would have to sleep, which it does not.
    for (stage, sleeps) in [("freezer", true), ("devices", false)] {
        let data = stamps(70 + u64::from(sleeps), BYTES);
        from.write(0, &data);
        device.prefetch(va, size, Domain::Vram)?;
        let expected = ExpectErrors::begin(ctx);
        let slept = sleep(stage)?;
        drop(expected);
        same(stage, slept.is_ok(), sleeps)?;
        if let Err(error) = slept {
            same("why not", error.raw_os_error(), Some(Errno::BUSY.raw_os_error()))?;
        }
        // It was taken out of VRAM meanwhile, and is used again.
        same("bytes in VRAM", device.residency(va, size)?.vram, 0)?;
        run(&mirror, 0, &copy(va, to.va(), BYTES))?;
        same_bytes("what was copied afterwards", &bytes(&to, 0, BYTES), &data)?;
    }
    Ok(())
}
