// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Registers that a test changes for a while.

use anyhow::Result;

use crate::drm::Device;

/// A register with its old value, which comes back when this goes.
pub struct Borrowed<'a> {
    device: &'a Device,
    index: u32,
    old: u32,
}

impl<'a> Borrowed<'a> {
    /// Keeps the value that the register has now.
    pub fn new(device: &'a Device, index: u32) -> Result<Self> {
        Ok(Self { device, index, old: device.reg(index)? })
    }

    /// Gives the register another value meanwhile.
    pub fn set(device: &'a Device, index: u32, value: u32) -> Result<Self> {
        let old = Self::new(device, index)?;
        device.set_reg(index, value)?;
        Ok(old)
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.device.set_reg(self.index, self.old) {
            eprintln!("# register {:#x} was not restored: {error}", self.index);
        }
    }
}
