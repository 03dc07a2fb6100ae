// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! `cargo vm bench evict`: what it costs to have more buffers than VRAM holds, by rule of eviction, as a table and a plot;
//! and how fast the policy gives ranges out on this machine.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use images::Workspace;

use crate::failure::Failure;
use crate::lab::Lab;
use crate::watch::Job;

const LIMIT: Duration = Duration::from_secs(1800);
/// The figure of the policy's own benchmark that has a bar here: pairs a second.
const PAIRS: &str = "policy_alloc_free ";
/// The plot's size and margins, in pixels.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 40.0;
/// Line colours that can be told apart in print too.
const COLOURS: [&str; 3] = ["#1b6ca8", "#c8553d", "#3a7d44"];

/// A line of the guest's.
#[derive(Clone, Debug, PartialEq)]
struct Point {
    rule: String,
    pattern: String,
    /// Of VRAM, in percent.
    share: f64,
    /// Microseconds a job.
    time: f64,
    /// The same with buffers that fit.
    base: f64,
    /// Jobs that had to wait for their buffer, and all.
    misses: f64,
    jobs: f64,
}

impl Point {
    fn parse(line: &str) -> Option<Self> {
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

/// Measures, prints figures and table, and writes the plot.
///
/// # Errors
/// [`Failure::TestsFailed`] when a figure misses its bar or is not there; as [`Lab::run`].
pub fn bench(lab: &Lab, signals: bool) -> Result<(), Failure> {
    let workspace = Workspace::locate();
    let mut missed = Vec::new();
    let host = workspace.bench("uvm-policy", "alloc")?;
    let mut seen = 0;
    for line in host.lines().filter(|line| line.starts_with("figure ")) {
        println!("{line}");
        // The other one is compared only.
        if line.contains(PAIRS) {
            seen += 1;
            missed.extend(below_its_bar(line, "value"));
        }
    }
    let limit = lab.options().time_limit(Some(LIMIT));
    let report = lab.run(&Job { signals, limit, ..Job::command(["uvm-bench", "evict"]) }, &mut |line| {
        if line.starts_with("figure ") {
            println!("{line}");
        }
    })?;
    for line in report.output.iter().filter(|line| line.starts_with("figure evict_throughput ")) {
        seen += 1;
        missed.extend(below_its_bar(line, "ratio"));
    }
    let points: Vec<Point> = report.output.iter().filter_map(|line| Point::parse(line)).collect();
    if seen != 2 || points.is_empty() {
        let said = report.output.join("\n");
        return Err(Failure::TestsFailed(format!(
            "figures are missing; the guest ended with {}:\n{said}",
            report.status
        )));
    }
    print!("{}", table(&points));
    let file = plot_file(&workspace);
    std::fs::write(&file, page(&points)).map_err(Failure::system(file.display().to_string()))?;
    println!("plot: {}", file.display());
    if missed.is_empty() {
        Ok(())
    } else {
        Err(Failure::TestsFailed(missed.join("\n")))
    }
}

fn plot_file(workspace: &Workspace) -> PathBuf {
    workspace.images().join("evict.html")
}

/// What to say of a figure whose `word` is less than its bar, or that has none of either.
fn below_its_bar(line: &str, word: &str) -> Option<String> {
    let number = |key: &str| -> Option<f64> {
        let value = line.split(' ').find_map(|part| part.strip_prefix(key)?.strip_prefix('='))?;
        value.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok()
    };
    match (number(word), number("bar")) {
        (Some(value), Some(bar)) if value >= bar => None,
        _ => Some(format!("misses its bar: {line}")),
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

/// Times slower than with buffers that fit, and the share of jobs that had to wait, by pattern, rule and share of VRAM.
fn table(points: &[Point]) -> String {
    let mut text = String::from("slowdown against buffers that fit (jobs whose buffer was not in VRAM)\n");
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
                    format!("{:.2} ({:.0} %)", point.slowdown(), 100.0 * point.misses / point.jobs)
                });
                let _ = write!(text, "{cell:>18}");
            }
            text.push('\n');
        }
    }
    text
}

/// A page with the table and a plot a pattern, which needs nothing else.
fn page(points: &[Point]) -> String {
    let mut text = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Eviction</title>\n\
         <style>body{font:14px sans-serif;margin:2em}svg{margin:1em 2em 1em 0}</style>\n\
         <h1>More buffers than VRAM holds</h1>\n",
    );
    for pattern in names(points, |point| &point.pattern) {
        let of: Vec<&Point> = points.iter().filter(|point| point.pattern == pattern).collect();
        text.push_str(&plot(pattern, &of, &names(points, |point| &point.rule)));
    }
    let _ = writeln!(text, "<pre>{}</pre>\n</html>", table(points));
    text
}

fn plot(pattern: &str, points: &[&Point], rules: &[&str]) -> String {
    let bounds = |of: fn(&Point) -> f64| {
        points.iter().map(|point| of(point)).fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)))
    };
    let ((first, last), (_, most)) = (bounds(|point| point.share), bounds(Point::slowdown));
    let top = most.max(1.0) * 1.05;
    let x = |share: f64| LEFT + (share - first) / (last - first).max(1.0) * (WIDTH - LEFT - 20.0);
    let y = |slowdown: f64| HEIGHT - BOTTOM - slowdown / top * (HEIGHT - BOTTOM - 30.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{pattern}\">\n\
         <text x=\"{LEFT}\" y=\"16\">{pattern}: times slower than buffers that fit, by % of VRAM</text>\n\
         <path d=\"M{LEFT} {} V{} H{}\" fill=\"none\" stroke=\"#444\"/>\n",
        y(top),
        y(0.0),
        x(last)
    );
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let _ =
            writeln!(text, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{value:.1}</text>", LEFT - 6.0, y(value) + 4.0);
    }
    for point in points.iter().filter(|point| point.rule == rules.first().copied().unwrap_or_default()) {
        let (at, below) = (x(point.share), HEIGHT - BOTTOM + 18.0);
        let _ = writeln!(text, "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{}</text>", point.share);
    }
    for (n, (rule, colour)) in (0_u32..).zip(rules.iter().zip(COLOURS)) {
        let of = || points.iter().filter(|point| point.rule == *rule);
        let line: Vec<String> = of().map(|point| format!("{:.1},{:.1}", x(point.share), y(point.slowdown()))).collect();
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        for point in of() {
            let _ = writeln!(
                text,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"><title>{rule}, {} %: {:.2}</title></circle>",
                x(point.share),
                y(point.slowdown()),
                point.share,
                point.slowdown()
            );
        }
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{}\" fill=\"{colour}\">{rule}</text>",
            LEFT + 12.0,
            36.0 + 16.0 * f64::from(n)
        );
    }
    text.push_str("</svg>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> Vec<Point> {
        [
            "lru zipf 80 10.0 10.0 0 50",
            "lru zipf 200 25.0 10.0 10 50",
            "2q zipf 200 20.0 10.0 5 50",
            "lru loop 80 1 1 0 9",
        ]
        .map(|line| Point::parse(&format!("slowdown {line}")).unwrap())
        .to_vec()
    }

    #[test]
    fn table_has_a_row_a_rule_and_a_column_a_share() {
        let table = table(&points());
        let rows: Vec<&str> = table.lines().collect();
        assert!(rows[1].starts_with("zipf") && rows[1].ends_with("200 % of VRAM"), "{table}");
        assert!(rows[2].contains("1.00 (0 %)") && rows[2].ends_with("2.50 (20 %)"), "{table}");
        assert!(rows[3].contains("2q") && rows[3].ends_with("2.00 (10 %)") && rows[3].contains(" - "), "{table}");
    }

    #[test]
    fn page_needs_nothing_from_elsewhere_and_has_each_point() {
        let page = page(&points());
        assert_eq!(page.matches("<circle").count(), 4);
        assert_eq!((page.matches("<svg").count(), page.matches("</svg>").count()), (2, 2));
        assert!(!page.contains("src=") && !page.contains("href="), "{page}");
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }

    #[test]
    fn bars_are_held_against_value_or_ratio() {
        let line = "figure evict_throughput value=70.0MiB/s limit=100.0MiB/s ratio=0.700 bar=0.7";
        assert_eq!(below_its_bar(line, "ratio"), None);
        assert!(below_its_bar(&line.replace("0.700", "0.699"), "ratio").is_some());
        assert!(below_its_bar("figure policy_alloc_free value=999999 limit=5 ratio=1 bar=1000000", "value").is_some());
        assert!(below_its_bar("figure x value=5", "value").is_some());
    }

    #[test]
    fn other_lines_are_no_points() {
        assert_eq!(Point::parse("slowdown lru zipf 80"), None);
        assert_eq!(Point::parse("figure x"), None);
    }
}
