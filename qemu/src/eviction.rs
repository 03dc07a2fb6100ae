// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! `cargo vm bench evict`: what it costs to have more buffers than VRAM holds, by rule of eviction, as a table and a plot;
//! and how fast the policy gives ranges out on this machine.

use std::path::PathBuf;
use std::time::Duration;

use images::Workspace;

use crate::failure::Failure;
use crate::lab::Lab;
use crate::plot;
use crate::slowdown::{self, Point};
use crate::watch::Job;

const LIMIT: Duration = Duration::from_secs(1800);
/// The figure of the policy's own benchmark that has a bar here: pairs a second.
const PAIRS: &str = "policy_alloc_free ";

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
pub(crate) fn below_its_bar(line: &str, word: &str) -> Option<String> {
    let number = |key: &str| -> Option<f64> {
        let value = line.split(' ').find_map(|part| part.strip_prefix(key)?.strip_prefix('='))?;
        value.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok()
    };
    match (number(word), number("bar")) {
        (Some(value), Some(bar)) if value >= bar => None,
        _ => Some(format!("misses its bar: {line}")),
    }
}

fn table(points: &[Point]) -> String {
    slowdown::table("slowdown against buffers that fit (jobs whose buffer was not in VRAM)", points)
}

/// A page with the table and a plot a pattern, which needs nothing else.
fn page(points: &[Point]) -> String {
    let plots = slowdown::plots("times slower than buffers that fit, by % of VRAM", points);
    plot::page("More buffers than VRAM holds", &format!("{plots}<pre>{}</pre>\n", table(points)))
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
