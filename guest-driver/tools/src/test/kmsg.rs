// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The kernel log: marks around errors that a case provokes, and a look for what should never be there.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};

use super::case::Ctx;
use super::purpose::OnPurpose;
use crate::kernel_log::{Record, LOG};

/// While it lives, errors of the driver in the kernel log are expected: whoever checks the log afterwards passes over
/// them, and so do the device's checks. What the kernel itself complains about is never expected.
pub struct ExpectErrors(#[allow(dead_code, reason = "its end is what counts")] OnPurpose);

impl ExpectErrors {
    /// Sets the mark.
    pub fn begin(ctx: &Ctx) -> Self {
        mark(&format!("expect errors {}", ctx.name()));
        Self(OnPurpose::begin())
    }
}

impl Drop for ExpectErrors {
    fn drop(&mut self) {
        mark("expect end");
    }
}

fn mark(text: &str) {
    let written = OpenOptions::new()
        .write(true)
        .open(LOG)
        .and_then(|mut log| log.write_all(format!("<6>uvm-test: {text}\n").as_bytes()));
    if let Err(error) = written {
        eprintln!("# {LOG}: {error}");
    }
}

/// Reads the log from where it stood when this was made.
pub struct Watch(File);

impl Watch {
    /// Starts at the log's present end.
    pub fn start() -> Result<Self> {
        let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits())?;
        let mut log = OpenOptions::new().read(true).custom_flags(nonblock).open(LOG).context(LOG)?;
        log.seek(SeekFrom::End(0)).context(LOG)?;
        Ok(Self(log))
    }

    /// The driver's complaints and the kernel's alarms since the last call, without their prefixes.
    pub fn complaints(&mut self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut record = vec![0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default()).into_owned();
                    found.extend(Record::parse(&text).filter(wrong).map(|said| said.message.to_owned()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(found),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => found.push("records were lost".to_owned()),
                Err(error) => return Err(error).context(LOG),
            }
        }
    }
}

fn wrong(said: &Record<'_>) -> bool {
    said.is_alarm() || said.is_complaint()
}
