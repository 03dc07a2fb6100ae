// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Runs the kernel's test and reads its report, which goes into this program's own, indented.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{ensure, Context, Result};

use super::Skip;

/// Where the launcher puts the test.
const PROGRAM: &str = "/uvm/hmm-tests";
/// How a report within a report is set apart.
const NESTED: &str = "  ";
/// Cases of devices with private memory, without the one that needs a module of its own: all of them pass with the
/// kernel's own module.
const PASSING: u32 = 37;

/// What the test reported.
#[derive(Debug, Default)]
pub struct Report {
    passed: u32,
    failed: Vec<String>,
    skipped: Vec<String>,
    totals: Option<String>,
    status: Option<i32>,
}

/// Runs the test.
pub fn run() -> Result<Report> {
    if !Path::new(PROGRAM).exists() {
        return Err(Skip("the launcher brings the test with suite hmm".into()).into());
    }
    // Its complaints belong between its results.
    let mut child = Command::new("sh")
        .args(["-c", &format!("exec {PROGRAM} 2>&1")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context(PROGRAM)?;
    let mut report = Report::default();
    let output = child.stdout.take().context("no output")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("reading the test's output")?;
        let mut out = std::io::stdout().lock();
        // A console that is gone ends the run by itself.
        let _ = writeln!(out, "{NESTED}{line}").and_then(|()| out.flush());
        report.line(&line);
    }
    report.status = child.wait().context("waiting for the test")?.code();
    Ok(report)
}

impl Report {
    fn line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("ok ") {
            match rest.split_once("# SKIP") {
                Some((case, _)) => self.skipped.push(case.trim().to_owned()),
                None => self.passed += 1,
            }
        } else if let Some(case) = line.strip_prefix("not ok ") {
            self.failed.push(case.trim().to_owned());
        } else if line.starts_with("# Totals: ") {
            self.totals = Some(line.to_owned());
        }
    }

    /// Good only when all cases of private memory passed, and what was skipped is known to have no place here.
    pub fn check(&self) -> Result<()> {
        ensure!(self.failed.is_empty(), "the kernel's test failed: {}", self.failed.join(", "));
        let totals = self.totals.as_deref().context("the kernel's test did not come to its end")?;
        let skipped = self.skipped.len();
        let expected = format!("# Totals: pass:{} fail:0 xfail:0 xpass:0 skip:{skipped} error:0", self.passed);
        ensure!(totals == expected, "totals {totals:?} where {expected:?} was seen");
        ensure!(self.status == Some(0), "the kernel's test ended with {:?}", self.status);
        let known = |case: &String| case.contains("_device_coherent.") || case.contains(".hmm_gup_test");
        let surprising: Vec<&String> = self.skipped.iter().filter(|case| !known(case)).collect();
        ensure!(surprising.is_empty(), "skipped: {surprising:?}");
        ensure!(self.passed >= PASSING, "{} cases passed, {PASSING} do with the kernel's own module", self.passed);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn report(skip: &str, totals: &str, status: i32) -> Report {
        let mut report = Report { status: Some(status), ..Report::default() };
        report.line("TAP version 13");
        for case in 1..=37 {
            report.line(&format!("ok {case} hmm.hmm_device_private.case{case}"));
        }
        report.line(skip);
        report.line(totals);
        report
    }

    const SKIP: &str = "ok 38 hmm.hmm_device_coherent.migrate # SKIP DEVICE_COHERENT not available";
    const TOTALS: &str = "# Totals: pass:37 fail:0 xfail:0 xpass:0 skip:1 error:0";

    #[test]
    fn whole_report_is_good() {
        report(SKIP, TOTALS, 0).check().unwrap();
    }

    #[test]
    fn each_flaw_is_found() {
        let of_private = "ok 38 hmm.hmm_device_private.compound # SKIP Not enough huge pages";
        for (report, flaw) in [
            (report("not ok 38 hmm.hmm_device_private.x", TOTALS, 0), "failed: 38 hmm"),
            (report(SKIP, "# 39 skipped test(s) detected", 0), "did not come to its end"),
            (report(SKIP, "# Totals: pass:37 fail:0 xfail:0 xpass:0 skip:0 error:1", 0), "where"),
            (report(SKIP, TOTALS, 1), "ended with"),
            (report(of_private, TOTALS, 0), "skipped: "),
        ] {
            assert!(report.check().unwrap_err().to_string().contains(flaw), "{flaw}");
        }
        let mut few = report(SKIP, TOTALS.replace("37", "36").as_str(), 0);
        few.passed = 36;
        assert!(few.check().unwrap_err().to_string().contains("36 cases"));
    }
}
