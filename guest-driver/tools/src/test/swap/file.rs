// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A swap file, on a file system that has the guest's disk to itself.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{ensure, Context, Result};
use rustix::fs::{fadvise, statvfs, Advice};
use rustix::mount::{mount, unmount, MountFlags, UnmountFlags};

use crate::test::case::{eventually, Skip, GLANCE};
use crate::test::prime::load;

const DISK: &str = "/dev/vda";
const MOUNTED: &str = "/tmp/uvm-swap";
const FILE: &str = "/tmp/uvm-swap/file";
/// Bytes that are written at a time.
const PIECE: usize = 1 << 20;
/// One block in so many tells where the others are, and a few lie at the ends.
const TELLING: u64 = 1000;
const ENDS: u64 = 64 << 10;

/// Swap space in a file, given up with the value, and what else is on the disk with it.
pub struct Swap {
    bytes: u64,
}

impl Swap {
    /// `bytes` of it.
    pub fn on(bytes: u64) -> Result<Self> {
        Self::between(bytes, bytes)
    }

    /// As much as the disk holds, but no more than `most` bytes; skips the case where that is less than `least`.
    pub fn between(least: u64, most: u64) -> Result<Self> {
        if !Path::new(DISK).exists() {
            load("virtio_blk")?;
        }
        let there = eventually(GLANCE * 20, || Ok(Path::new(DISK).exists()))?;
        if !there {
            return Err(Skip(format!("the guest has no disk: --disk {}M", for_file(least))).into());
        }
        load("ext4")?;
        // Few files, nothing kept for root.
        run("mke2fs", &["-F", "-b", "4096", "-I", "256", "-i", "1048576", "-m", "0", DISK])?;
        fs::create_dir_all(MOUNTED)?;
        mount(DISK, MOUNTED, "ext4", MountFlags::empty(), None).context("mounting the disk")?;
        // From here on, what fails takes back what there is.
        let mut swap = Self { bytes: 0 };
        let room = statvfs(MOUNTED).context("room on the disk")?;
        let free = room.f_bavail * room.f_frsize;
        let holds = free.saturating_sub(free / TELLING + ENDS) >> 20 << 20;
        if holds < least {
            let wanted = for_file(least);
            return Err(Skip(format!("the disk holds {} MiB of swap file: --disk {wanted}M", holds >> 20)).into());
        }
        let bytes = most.min(holds);
        fill(bytes).with_context(|| format!("writing {} MiB of swap file", bytes >> 20))?;
        run("mkswap", &[FILE])?;
        run("swapon", &[FILE])?;
        swap.bytes = bytes;
        Ok(swap)
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        let off = if self.bytes > 0 { run("swapoff", &[FILE]) } else { Ok(()) };
        let off = off.and_then(|()| unmount(MOUNTED, UnmountFlags::empty()).context("unmounting the disk"));
        if let Err(error) = off.and_then(|()| Ok(fs::remove_dir(MOUNTED)?)) {
            eprintln!("# {error:#}");
        }
    }
}

/// MiB of a disk that holds a file of `bytes`.
fn for_file(bytes: u64) -> u64 {
    (bytes >> 20) + (bytes >> 20) / 64 + 8
}

/// A file without holes: the kernel writes pages where the file's blocks are, and never asks for one.
fn fill(bytes: u64) -> Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(FILE)?;
    let zeros = vec![0; PIECE];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(PIECE as u64);
        file.write_all(zeros.get(..usize::try_from(now)?).context("a piece")?)?;
        left -= now;
    }
    file.sync_all()?;
    // Memory is what the case is about.
    fadvise(&file, 0, None, Advice::DontNeed).context("dropping it from memory")
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program).args(args).output().with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
