// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! How much slower work is when its memory is more than VRAM holds: lines of a guest's bench, as a table and as plots.

use std::fmt::Write;

use crate::plot;

/// A line of the guest's: `slowdown RULE PATTERN SHARE TIME BASE MISSES JOBS`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    rule: String,
    pattern: String,
    /// Of VRAM, in percent.
    share: f64,
    /// Microseconds.
    time: f64,
    /// The same of work whose memory fits.
    base: f64,
    /// Of jobs, or of pages: what was not there, and all.
    misses: f64,
    jobs: f64,
}

impl Point {
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("slowdown ")?.split(' ');
        let (rule, pattern) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut number = || words.next()?.trim().parse().ok();
        Some(Self {
            rule,
            pattern,
            share: number()?,
            time: number()?,
            base: number()?,
            misses: number()?,
            jobs: number()?,
        })
    }

    fn slowdown(&self) -> f64 {
        self.time / self.base.max(f64::MIN_POSITIVE)
    }
}

/// Each name once, in the order of their first appearance.
fn names<'a>(points: &'a [Point], of: impl Fn(&'a Point) -> &'a str) -> Vec<&'a str> {
    let mut names = Vec::new();
    for name in points.iter().map(of) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Times slower than what fits, and the share of misses, by pattern, rule and share of VRAM.
pub(crate) fn table(heading: &str, points: &[Point]) -> String {
    let mut text = format!("{heading}\n");
    for pattern in names(points, |point| &point.pattern) {
        let of: Vec<&Point> = points.iter().filter(|point| point.pattern == pattern).collect();
        let mut shares: Vec<f64> = of.iter().map(|point| point.share).collect();
        shares.sort_by(f64::total_cmp);
        shares.dedup();
        // A String takes everything.
        let _ = write!(text, "{pattern:<12}");
        for share in &shares {
            let _ = write!(text, "{:>18}", format!("{share} % of VRAM"));
        }
        text.push('\n');
        for rule in names(points, |point| &point.rule) {
            let _ = write!(text, "{rule:>12}");
            for share in &shares {
                let point = of.iter().find(|point| point.rule == rule && (point.share - share).abs() < 0.5);
                let cell = point.map_or("-".to_owned(), |point| {
                    format!("{:.2} ({:.0} %)", point.slowdown(), 100.0 * point.misses / point.jobs.max(1.0))
                });
                let _ = write!(text, "{cell:>18}");
            }
            text.push('\n');
        }
    }
    text
}

/// A plot a pattern.
pub(crate) fn plots(what: &str, points: &[Point]) -> String {
    let rules = names(points, |point| &point.rule);
    let of = |pattern: &str| {
        let lines = rules.iter().map(|rule| {
            let of = points.iter().filter(|point| point.pattern == pattern && point.rule == *rule);
            (*rule, of.map(|point| (point.share, point.slowdown())).collect())
        });
        plot::plot(&format!("{pattern}: {what}"), &lines.collect::<Vec<_>>(), |share| share)
    };
    names(points, |point| &point.pattern).into_iter().map(of).collect()
}
