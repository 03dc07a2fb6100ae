// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A device of the kernel's test of heterogeneous memory management, over this driver or over the kernel's own module.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::AsFd;

use anyhow::{Context, Result};

use super::{Skip, PAGE};
use crate::drm::{dmirror, DmirrorCmd};

/// What can be asked for of a range of this process's memory; the number is the ioctl's.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    /// The device reads it.
    Read = 0,
    /// The device writes it.
    Write = 1,
    /// It goes to the device, which then reads it.
    ToDevice = 2,
    /// It comes back.
    ToSystem = 3,
}

/// What was done.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Pages dealt with.
    pub pages: u64,
    /// Page faults of the device.
    pub faults: u64,
}

/// An open device: it mirrors this process's memory.
pub struct Dmirror(File);

impl Dmirror {
    /// Opens device `number`; without one, the case is skipped.
    pub fn open(number: u32) -> Result<Self> {
        let path = format!("/dev/hmm_dmirror{number}");
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Ok(Self(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Skip(format!("this driver has no {path}")).into()),
            Err(error) => Err(error).context(path),
        }
    }

    /// Runs a command on the memory at `address`; `data` is what is read or written, and says how much.
    pub fn run(&self, command: Command, address: u64, data: &mut [u8]) -> Result<Done> {
        let pages = (data.len() / PAGE) as u64;
        let mut cmd = DmirrorCmd::new(address, pages);
        dmirror(self.0.as_fd(), command as u8, &mut cmd, data)
            .with_context(|| format!("{command:?} of {pages} pages"))?;
        Ok(Done { pages: cmd.done, faults: cmd.faults })
    }
}
