// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Too little memory for the processes under test, and for them alone: a control group, and a swap file on a disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{mount, unmount, MountFlags, UnmountFlags};

use crate::test::case::Skip;
use crate::test::swap::{vmstat, Swap};

const MOUNTED: &str = "/tmp/uvm-stress-groups";
/// Bytes of swap file: more than all processes have.
const SWAP: u64 = 192 << 20;

/// The group, with somewhere for its pages to go.
pub struct Squeeze {
    group: PathBuf,
    swapped: u64,
    _swap: Swap,
}

impl Squeeze {
    /// A new group; None where the guest has no disk to swap to.
    pub fn new() -> Result<Option<Self>> {
        let swap = match Swap::on(SWAP) {
            Ok(swap) => swap,
            Err(error) if error.downcast_ref::<Skip>().is_some() => return Ok(None),
            Err(error) => return Err(error),
        };
        if !Path::new(MOUNTED).exists() {
            fs::create_dir(MOUNTED)?;
        }
        mount("cgroup2", MOUNTED, "cgroup2", MountFlags::empty(), None).context("mounting control groups")?;
        let group = Path::new(MOUNTED).join(format!("stress-{}", std::process::id()));
        let squeeze = Self { group, swapped: vmstat("pswpout")?, _swap: swap };
        fs::write(Path::new(MOUNTED).join("cgroup.subtree_control"), "+memory").context("control of memory")?;
        fs::create_dir(&squeeze.group).context("a control group")?;
        Ok(Some(squeeze))
    }

    /// Puts a process in, and the children that it will have.
    pub fn add(&self, process: u32) -> Result<()> {
        fs::write(self.group.join("cgroup.procs"), process.to_string()).context("a process into its control group")
    }

    /// Takes so many bytes from the group, or as many as can be had.
    pub fn reclaim(&self, bytes: u64) {
        // EAGAIN: fewer could be had.
        let _ = fs::write(self.group.join("memory.reclaim"), bytes.to_string());
    }

    /// Has the group live with half of what it has, for as long as `meanwhile` takes.
    pub fn halve(&self, meanwhile: impl FnOnce()) -> Result<()> {
        let current = fs::read_to_string(self.group.join("memory.current"))?.trim().parse::<u64>()?;
        let high = self.group.join("memory.high");
        fs::write(&high, (current / 2).to_string()).context("memory.high")?;
        meanwhile();
        fs::write(&high, "max").context("memory.high")
    }

    /// Pages that went to the disk so far.
    pub fn swapped(&self) -> Result<u64> {
        Ok(vmstat("pswpout")? - self.swapped)
    }
}

impl Drop for Squeeze {
    fn drop(&mut self) {
        // A group that still has a process stays, and so does its mount: a matter of a guest that ends anyway.
        let _ = fs::remove_dir(&self.group);
        let _ = unmount(MOUNTED, UnmountFlags::empty());
    }
}
