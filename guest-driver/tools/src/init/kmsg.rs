// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Reads the kernel log while the command runs and counts what should not be there.
//!
//! It reads along, not afterwards, because the kernel's buffer is a ring: a hundred reloads would push the first
//! warning out of it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::thread::JoinHandle;

use anyhow::{anyhow, Context, Result};

const LOG: &str = "/dev/kmsg";
/// Written to the log at the end; everything before it belongs to the run.
const END_MARK: &str = "uvm-init: end of run";
/// The driver's prefix in the log.
const DRIVER: &str = "uvm";
/// Syslog level 4, KERN_WARNING: the driver's own lines at or below it count.
const WARNING: u32 = 4;
/// How many lines are kept for the report; the count goes on.
const KEPT: usize = 20;
/// What the kernel itself writes when something is wrong, whatever the level.
const ALARMS: &[&str] = &[
    "WARNING:",
    "BUG:",
    "Oops",
    "[ cut here ]",
    "INFO: task",
    "INFO: rcu",
    "refcount_t:",
    "possible circular locking",
];

/// Around a case that provokes the driver's errors on purpose the tests write these: between them the driver's own
/// lines are expected. What the kernel itself alarms about is not.
const EXPECT_ERRORS: &str = "uvm-test: expect errors";
const EXPECT_END: &str = "uvm-test: expect end";
/// What the kernel says of every module that is not its own, at the level of a warning.
const EXPECTED: &[&str] = &["loading out-of-tree module taints kernel", "module verification failed"];

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
        let Some((level, message)) = parse(&text) else { continue };
        if message.contains(END_MARK) {
            return Ok(report);
        }
        if message.contains(EXPECT_ERRORS) {
            errors_expected = true;
        } else if message.contains(EXPECT_END) {
            errors_expected = false;
        } else if is_alarm(message) || (!errors_expected && is_complaint(level, message)) {
            report.add(message);
        }
    }
}

/// Level and message of a record `PRIORITY,SEQUENCE,TIME,FLAGS;MESSAGE`.
fn parse(record: &str) -> Option<(u32, &str)> {
    let (head, body) = record.split_once(';')?;
    let priority: u32 = head.split(',').next()?.parse().ok()?;
    Some((priority & 7, body.lines().next().unwrap_or_default()))
}

/// The kernel found something wrong.
fn is_alarm(message: &str) -> bool {
    ALARMS.iter().any(|alarm| message.contains(alarm))
}

/// The driver said something at the level of a warning or worse.
fn is_complaint(level: u32, message: &str) -> bool {
    let of_driver = message.starts_with(DRIVER) || [" uvm", "uvm:", "[uvm]"].iter().any(|part| message.contains(part));
    of_driver && level <= WARNING && !EXPECTED.iter().any(|expected| message.contains(expected))
}

impl Report {
    fn add(&mut self, line: &str) {
        self.count = self.count.saturating_add(1);
        if self.lines.len() < KEPT {
            self.lines.push(line.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_gives_level_without_facility() {
        assert_eq!(parse("30,1,2,-;uvm: ring test\n SUBSYSTEM=pci\n"), Some((6, "uvm: ring test")));
    }

    #[test]
    fn record_without_body_gives_none() {
        assert_eq!(parse("4,1,2,-"), None);
    }

    #[test]
    fn driver_warning_is_a_complaint_and_its_info_is_none() {
        assert!(is_complaint(4, "uvm 0000:00:02.0: [drm] fence timeout"));
        assert!(is_complaint(3, "virtio1: uvm: bad magic"));
        assert!(!is_complaint(6, "uvm 0000:00:02.0: VRAM 256 MiB"));
        assert!(!is_complaint(4, "tsc: Marking TSC unstable"));
    }

    #[test]
    fn kernel_warning_is_an_alarm() {
        assert!(is_alarm("WARNING: CPU: 0 PID: 1 at drivers/gpu/drm/drm_gem.c:42"));
        assert!(!is_alarm("tsc: Marking TSC unstable"));
    }

    #[test]
    fn taint_notice_of_an_out_of_tree_module_is_no_complaint() {
        assert!(!is_complaint(4, "uvm: loading out-of-tree module taints kernel."));
    }
}
