// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Carries the memory manager's record out of the guest.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};

const PORTS: &str = "/sys/class/virtio-ports";
/// Name of the port whose other end takes it.
const PORT: &str = "uvm.record";
const DEVICES: &str = "/sys/kernel/debug/dri";
const RECORD: &str = "uvm_record";

/// Copies it to its port, and tells its bytes; `None` where nobody wants it.
pub fn carry_out() -> Result<Option<u64>> {
    let Some(port) = port() else { return Ok(None) };
    let record = record().with_context(|| format!("{DEVICES} has no {RECORD}"))?;
    let mut from = File::open(&record).with_context(|| record.display().to_string())?;
    let mut to = OpenOptions::new().write(true).open(&port).with_context(|| port.display().to_string())?;
    Ok(Some(io::copy(&mut from, &mut to).context("copying it")?))
}

fn port() -> Option<PathBuf> {
    let ports = fs::read_dir(PORTS).ok()?.flatten();
    let is_it = |name: String| name.trim() == PORT;
    let mut mine = ports.filter(|port| fs::read_to_string(port.path().join("name")).is_ok_and(is_it));
    Some(PathBuf::from("/dev").join(mine.next()?.file_name()))
}

fn record() -> Option<PathBuf> {
    let devices = fs::read_dir(DEVICES).ok()?.flatten();
    devices.map(|device| device.path().join(RECORD)).find(|path| path.exists())
}
