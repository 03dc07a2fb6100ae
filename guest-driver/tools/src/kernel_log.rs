// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What counts as wrong in the kernel log, for whoever reads it.
//!
//! What the kernel says of the machine, as that its clock stood still while the host was busy, is nobody's fault here.

/// Where the kernel gives its log, a record a read.
pub const LOG: &str = "/dev/kmsg";
/// The driver's prefix in the log.
const DRIVER: &str = "uvm";
/// Syslog level 4, KERN_WARNING: the driver's own lines at or below it count.
const WARNING: u32 = 4;
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
/// What the kernel says of every module that is not its own, at the level of a warning.
const EXPECTED: &[&str] = &["loading out-of-tree module taints kernel", "module verification failed"];

/// One record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Syslog's, 0 the worst.
    pub level: u32,
    /// Without prefix and dictionary.
    pub message: &'a str,
}

impl<'a> Record<'a> {
    /// Reads `PRIORITY,SEQUENCE,TIME,FLAGS;MESSAGE`.
    pub fn parse(record: &'a str) -> Option<Self> {
        let (head, body) = record.split_once(';')?;
        let priority: u32 = head.split(',').next()?.parse().ok()?;
        Some(Self { level: priority & 7, message: body.lines().next().unwrap_or_default() })
    }

    /// The kernel found something wrong.
    pub fn is_alarm(self) -> bool {
        ALARMS.iter().any(|alarm| self.message.contains(alarm))
    }

    /// The driver said something at the level of a warning or worse.
    pub fn is_complaint(self) -> bool {
        let of_driver = self.message.starts_with(DRIVER)
            || [" uvm", "uvm:", "[uvm]"].iter().any(|part| self.message.contains(part));
        of_driver && self.level <= WARNING && !EXPECTED.iter().any(|expected| self.message.contains(expected))
    }
}

#[cfg(test)]
mod tests {
    use super::Record;

    fn said(level: u32, message: &str) -> Record<'_> {
        Record { level, message }
    }

    #[test]
    fn record_gives_level_without_facility() {
        assert_eq!(Record::parse("30,1,2,-;uvm: ring test\n SUBSYSTEM=pci\n"), Some(said(6, "uvm: ring test")));
    }

    #[test]
    fn record_without_body_gives_none() {
        assert_eq!(Record::parse("4,1,2,-"), None);
    }

    #[test]
    fn driver_warning_is_a_complaint_and_its_info_is_none() {
        assert!(said(4, "uvm 0000:00:02.0: [drm] fence timeout").is_complaint());
        assert!(said(3, "virtio1: uvm: bad magic").is_complaint());
        assert!(!said(6, "uvm 0000:00:02.0: VRAM 256 MiB").is_complaint());
    }

    #[test]
    fn kernel_warning_is_an_alarm() {
        assert!(said(4, "WARNING: CPU: 0 PID: 1 at drivers/gpu/drm/drm_gem.c:42").is_alarm());
    }

    #[test]
    fn word_on_the_machines_clock_is_neither() {
        for message in ["tsc: Marking TSC unstable", "clocksource: Long readout interval, skipping watchdog check"] {
            assert!(!said(4, message).is_alarm() && !said(4, message).is_complaint(), "{message}");
        }
    }

    #[test]
    fn taint_notice_of_an_out_of_tree_module_is_no_complaint() {
        assert!(!said(4, "uvm: loading out-of-tree module taints kernel.").is_complaint());
    }
}
