// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Wrong things done on purpose, so that the device's checks pass over them.

use uvm_spec::annotate::{self, op};

use crate::drm::Device;

/// While it lives, the device's checks find nothing.
pub struct OnPurpose(());

impl OnPurpose {
    /// Tells the device.
    pub fn begin() -> Self {
        annotate(op::EXPECT);
        Self(())
    }
}

impl Drop for OnPurpose {
    fn drop(&mut self) {
        annotate(op::EXPECT_END);
    }
}

/// Through a client of its own, since a case may take the driver away meanwhile. Without a driver or the right to touch
/// registers nobody is told, and the checks judge.
fn annotate(what: u32) {
    if let Ok(device) = Device::open() {
        let _ = device.set_reg(annotate::ANNOTATE.index(&annotate::ANNOTATE_OP, 0), what);
    }
}
