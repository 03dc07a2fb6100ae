// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Errors that are provoked on purpose while other processes do the same: one at a time, for marks in the log do not nest.

use std::fs::File;

use anyhow::{Context, Result};
use rustix::fs::{flock, FlockOperation};

use crate::test::case::Ctx;
use crate::test::kmsg::ExpectErrors;

const LOCK: &str = "/tmp/uvm-stress.lock";

/// While it lives, errors of the driver are expected, and nobody else's are. A process that dies lets go of it.
pub struct Quiet {
    // In this order: who comes next begins when this has ended.
    _expected: ExpectErrors,
    _lock: File,
}

impl Quiet {
    /// Waits for its turn.
    pub fn begin(ctx: &Ctx) -> Result<Self> {
        let lock = File::options().create(true).append(true).open(LOCK).context(LOCK)?;
        flock(&lock, FlockOperation::LockExclusive).context(LOCK)?;
        Ok(Self { _expected: ExpectErrors::begin(ctx), _lock: lock })
    }
}
