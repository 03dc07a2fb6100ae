// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Reads the kernel log while the command runs and counts what should not be there.
//!
//! It reads along, not afterwards, because the kernel's buffer is a ring: a hundred reloads would push the first
//! warning out of it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::thread::JoinHandle;

use anyhow::{anyhow, Context, Result};

use crate::kernel_log::{Record, LOG};

/// Written to the log at the end; everything before it belongs to the run.
const END_MARK: &str = "uvm-init: end of run";
/// How many lines are kept for the report; the count goes on.
const KEPT: usize = 20;
/// Around a case that provokes the driver's errors on purpose the tests write these: between them the driver's own
/// lines are expected. What the kernel itself alarms about is not.
const EXPECT_ERRORS: &str = "uvm-test: expect errors";
const EXPECT_END: &str = "uvm-test: expect end";
/// The lines of a run that should not be there.
#[derive(Default)]
pub struct Report {
    /// How many.
    pub count: usize,
    /// The first of them.
    pub lines: Vec<String>,
}

/// A thread that reads the log until the end mark.
pub struct Watch(JoinHandle<Result<Report>>);

impl Watch {
    /// Starts to read, from the first record the kernel still has.
    pub fn start() -> Result<Self> {
        let log = File::open(LOG).context(LOG)?;
        Ok(Self(std::thread::spawn(move || read_to_mark(log))))
    }

    /// Sets the end mark and gives what was found before it.
    pub fn finish(self) -> Result<Report> {
        let mut log = OpenOptions::new().write(true).open(LOG).context(LOG)?;
        log.write_all(format!("<6>{END_MARK}\n").as_bytes()).context(LOG)?;
        self.0.join().map_err(|_| anyhow!("the reader of {LOG} panicked"))?
    }
}

fn read_to_mark(mut log: File) -> Result<Report> {
    let mut report = Report::default();
    let mut errors_expected = false;
    // Each read gives one record; the kernel refuses a buffer that is too small for it.
    let mut record = vec![0; 8192];
    loop {
        let length = match log.read(&mut record) {
            Ok(length) => length,
            // The ring has moved past the reader. What was lost may have been a warning: that counts as one.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                report.add("records of the kernel log were lost");
                continue;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context(LOG),
        };
        let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
        let Some(said) = Record::parse(&text) else { continue };
        let message = said.message;
        if message.contains(END_MARK) {
            return Ok(report);
        }
        if message.contains(EXPECT_ERRORS) {
            errors_expected = true;
        } else if message.contains(EXPECT_END) {
            errors_expected = false;
        } else if said.is_alarm() || (!errors_expected && said.is_complaint()) {
            report.add(message);
        }
    }
}

impl Report {
    fn add(&mut self, line: &str) {
        self.count = self.count.saturating_add(1);
        if self.lines.len() < KEPT {
            self.lines.push(line.to_owned());
        }
    }
}
