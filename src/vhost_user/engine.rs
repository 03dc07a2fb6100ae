// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The engine thread and what wakes it.

use super::shared::SharedGpu;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Wakes one thread. A ring before the wait is not lost; two rings are one.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    /// Ends the current wait, or the next one.
    pub(super) fn ring(&self) {
        *self.rung.lock() = true;
        self.changed.notify_one();
    }

    /// Waits until the bell is rung.
    pub(super) fn wait(&self) {
        let mut rung = self.rung.lock();
        self.changed.wait_while(&mut rung, |rung| !*rung);
        *rung = false;
    }

    /// Waits until the bell is rung, at most for `time`.
    pub(super) fn wait_for(&self, time: Duration) {
        let mut rung = self.rung.lock();
        self.changed.wait_while_for(&mut rung, |rung| !*rung, time);
        *rung = false;
    }
}

/// Starts the thread that works on what outlasts a quantum. It lives as long as the process.
pub(super) fn spawn(device: &Arc<SharedGpu>) -> io::Result<()> {
    let device = Arc::clone(device);
    std::thread::Builder::new().name("engine".into()).spawn(move || device.run_engine())?;
    Ok(())
}
