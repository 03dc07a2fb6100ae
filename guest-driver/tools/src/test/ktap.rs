// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Writes results as KTAP version 1: a plan, a line a case, totals.

use std::fmt::Display;
use std::io::{self, Write};

/// How a case ended.
#[derive(Debug)]
pub enum Outcome {
    /// As it should.
    Pass,
    /// It could not run here, and why.
    Skip(String),
    /// Not as it should: what was expected and seen.
    Fail(String),
}

/// The report under way.
pub struct Ktap<W: Write> {
    out: W,
    number: usize,
    passed: usize,
    skipped: usize,
    failed: usize,
}

impl<W: Write> Ktap<W> {
    /// Starts a report of `planned` cases.
    pub fn start(mut out: W, planned: usize) -> io::Result<Self> {
        writeln!(out, "KTAP version 1\n1..{planned}")?;
        Ok(Self { out, number: 0, passed: 0, skipped: 0, failed: 0 })
    }

    /// A diagnostic line.
    pub fn note(&mut self, text: impl Display) -> io::Result<()> {
        comment(&mut self.out, text)
    }

    /// The result of the next case.
    pub fn result(&mut self, name: &str, outcome: &Outcome) -> io::Result<()> {
        self.number += 1;
        let number = self.number;
        match outcome {
            Outcome::Pass => {
                self.passed += 1;
                writeln!(self.out, "ok {number} {name}")?;
            }
            Outcome::Skip(why) => {
                self.skipped += 1;
                writeln!(self.out, "ok {number} {name} # SKIP {}", why.replace('\n', " "))?;
            }
            Outcome::Fail(why) => {
                self.failed += 1;
                self.note(why)?;
                writeln!(self.out, "not ok {number} {name}")?;
            }
        }
        self.out.flush()
    }

    /// Ends the report; true when nothing failed.
    pub fn finish(mut self) -> io::Result<bool> {
        writeln!(self.out, "# Totals: pass:{} fail:{} skip:{}", self.passed, self.failed, self.skipped)?;
        self.out.flush()?;
        Ok(self.failed == 0)
    }
}

/// Writes text as comment lines.
pub fn comment(mut out: impl Write, text: impl Display) -> io::Result<()> {
    for line in text.to_string().lines() {
        writeln!(out, "# {line}")?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn report_has_plan_results_and_totals() {
        let mut out = Vec::new();
        let mut ktap = Ktap::start(&mut out, 3).unwrap();
        ktap.result("a.b", &Outcome::Pass).unwrap();
        ktap.result("a.c", &Outcome::Fail("expected 1\nseen 2".into())).unwrap();
        ktap.result("a.d", &Outcome::Skip("no room".into())).unwrap();
        assert!(!ktap.finish().unwrap());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "KTAP version 1\n1..3\nok 1 a.b\n# expected 1\n# seen 2\nnot ok 2 a.c\nok 3 a.d # SKIP no room\n\
             # Totals: pass:1 fail:1 skip:1\n"
        );
    }

    #[test]
    fn skips_alone_are_no_failure() {
        let mut ktap = Ktap::start(Vec::new(), 1).unwrap();
        ktap.result("a", &Outcome::Skip("x".into())).unwrap();
        assert!(ktap.finish().unwrap());
    }
}
