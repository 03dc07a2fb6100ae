// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Reads a KTAP report and trusts it only when it is whole: a test program that dies half way must not look well.

/// What the lines of a report within a report begin with; such a report's own lines are its case's affair.
pub const NESTED: &str = "  ";

/// What a report said, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Names of the cases that passed.
    pub passed: Vec<String>,
    /// Names of the cases that failed.
    pub failed: Vec<String>,
    /// Names of the cases that were skipped.
    pub skipped: Vec<String>,
    /// Why the report cannot be trusted; empty when it is whole.
    pub problems: Vec<String>,
}

impl Summary {
    /// True when all of it was seen, nothing failed and something ran.
    pub fn is_good(&self) -> bool {
        self.failed.is_empty() && self.problems.is_empty()
    }

    fn counts(&self) -> (usize, usize, usize) {
        (self.passed.len(), self.failed.len(), self.skipped.len())
    }

    /// One line with the totals.
    pub fn line(&self) -> String {
        let (passed, failed, skipped) = self.counts();
        format!("tests: {} run, {passed} passed, {failed} failed, {skipped} skipped", passed + failed + skipped)
    }
}

/// Fed line by line.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    summary: Summary,
    version_seen: bool,
    plan: Option<usize>,
    results: usize,
    totals: Option<(usize, usize, usize)>,
}

impl Reader {
    /// Takes a line of output; what is no part of a report is passed over.
    pub fn line(&mut self, line: &str) {
        let line = line.trim_end();
        if line == "KTAP version 1" {
            self.version_seen = true;
        } else if let Some(count) = line.strip_prefix("1..").and_then(|count| count.parse().ok()) {
            if self.plan.replace(count).is_some() {
                self.problem("a second plan");
            }
        } else if let Some(rest) = line.strip_prefix("ok ") {
            let (name, skipped) = self.result(rest);
            if skipped {
                self.summary.skipped.push(name)
            } else {
                self.summary.passed.push(name)
            }
        } else if let Some(rest) = line.strip_prefix("not ok ") {
            let (name, _) = self.result(rest);
            self.summary.failed.push(name);
        } else if let Some(rest) = line.strip_prefix("# Totals: ") {
            match totals(rest) {
                Some(totals) => self.totals = Some(totals),
                None => self.problem(&format!("totals that make no sense: {rest}")),
            }
        } else if let Some(reason) = line.strip_prefix("Bail out!") {
            self.problem(&format!("the tests gave up:{reason}"));
        }
    }

    /// `NUMBER NAME [# SKIP REASON]`: the name, and whether it was skipped.
    fn result(&mut self, rest: &str) -> (String, bool) {
        self.results += 1;
        let (number, text) = rest.split_once(' ').unwrap_or((rest, ""));
        if number.parse() != Ok(self.results) {
            self.problem(&format!("result {} is numbered {number}", self.results));
        }
        let (name, directive) = text.split_once('#').unwrap_or((text, ""));
        (name.trim().trim_start_matches("- ").to_owned(), directive.trim_start().starts_with("SKIP"))
    }

    fn problem(&mut self, problem: &str) {
        self.summary.problems.push(problem.to_owned());
    }

    /// The summary, with what is missing among its problems.
    pub fn finish(mut self) -> Summary {
        if !self.version_seen {
            self.problem("no KTAP report");
        }
        match self.plan {
            None => self.problem("no plan"),
            Some(0) => self.problem("a plan of no tests"),
            Some(plan) if plan != self.results => {
                let results = self.results;
                self.problem(&format!("{plan} tests planned, {results} reported"));
            }
            Some(_) => {}
        }
        let counted = self.summary.counts();
        match self.totals {
            None => self.problem("no totals: the tests did not come to their end"),
            Some(totals) if totals != counted => {
                self.problem(&format!("totals {totals:?} where {counted:?} were seen"))
            }
            Some(_) => {}
        }
        self.summary
    }
}

/// `pass:N fail:N skip:N`.
fn totals(text: &str) -> Option<(usize, usize, usize)> {
    let mut words = text.split_whitespace();
    let mut field = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix(':')?.parse().ok();
    Some((field("pass")?, field("fail")?, field("skip")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Summary {
        let mut reader = Reader::default();
        text.lines().for_each(|line| reader.line(line));
        reader.finish()
    }

    #[test]
    fn whole_report_is_good() {
        let summary = read(
            "noise\nKTAP version 1\n1..3\nok 1 bo.create\n# hint\nok 2 - bo.move\nok 3 bo.big # SKIP small guest\n\
             # Totals: pass:2 fail:0 skip:1\n",
        );
        assert!(summary.is_good(), "{summary:?}");
        assert_eq!(summary.passed, ["bo.create", "bo.move"]);
        assert_eq!(summary.skipped, ["bo.big"]);
    }

    #[test]
    fn failure_is_named() {
        let summary = read("KTAP version 1\n1..1\nnot ok 1 bo.move\n# Totals: pass:0 fail:1 skip:0\n");
        assert_eq!(summary.failed, ["bo.move"]);
        assert!(!summary.is_good());
        assert!(summary.problems.is_empty());
    }

    #[test]
    fn each_missing_part_is_a_problem() {
        let whole = ["KTAP version 1", "1..2", "ok 1 a", "ok 2 b", "# Totals: pass:2 fail:0 skip:0"];
        for left_out in 0..whole.len() {
            let mut lines = whole.to_vec();
            lines.remove(left_out);
            assert!(!read(&lines.join("\n")).is_good(), "without {:?}", whole[left_out]);
        }
        assert!(!read("").is_good());
    }

    #[test]
    fn totals_that_disagree_are_a_problem() {
        assert!(!read("KTAP version 1\n1..1\nok 1 a\n# Totals: pass:2 fail:0 skip:0\n").is_good());
    }

    #[test]
    fn plan_of_nothing_is_a_problem() {
        assert!(!read("KTAP version 1\n1..0\n# Totals: pass:0 fail:0 skip:0\n").is_good());
    }
}
