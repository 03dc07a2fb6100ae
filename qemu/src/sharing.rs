// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! `cargo vm bench uvm`: figures of memory that processes and the device share, as tables and plots. Migration is measured
//! in a large guest, beside the kernel's own module for its test; faults and workloads in one whose VRAM is small.

use std::fmt::Write;
use std::time::Duration;

use images::{Variant, Workspace};

use crate::eviction::below_its_bar;
use crate::failure::Failure;
use crate::hmm;
use crate::lab::Lab;
use crate::options::Options;
use crate::plot;
use crate::size::Size;
use crate::slowdown::{self, Point};
use crate::watch::Job;

const LIMIT: Duration = Duration::from_secs(1800);
/// Room for the workloads, and little to boot with.
const VRAM: Size = Size::mib(64);

/// Lines of both guests that are for tables.
#[derive(Default)]
struct Lines {
    figures: Vec<String>,
    services: Vec<Service>,
    batches: Vec<Batch>,
    prefetches: Vec<Prefetch>,
    points: Vec<Point>,
}

/// A fault's time and its parts, microseconds.
struct Service {
    kind: String,
    total: f64,
    driver: f64,
    copy: f64,
}

/// Pages a second with batches of a size.
struct Batch {
    size: f64,
    pages: f64,
    mean: f64,
}

/// Faults without prefetch and with it, and pages that came unasked.
struct Prefetch {
    by: String,
    workload: String,
    alone: f64,
    faults: f64,
    guessed: f64,
}

impl Prefetch {
    /// Faults that it spared.
    fn spared(&self) -> f64 {
        (self.alone - self.faults).max(0.0)
    }

    /// Of what came unasked, what would have been asked for.
    fn accuracy(&self) -> Option<f64> {
        (self.guessed > 0.0).then(|| (self.spared() / self.guessed).min(1.0))
    }

    /// Of what would have been asked for, what had come.
    fn hit_rate(&self) -> f64 {
        self.spared() / self.alone.max(1.0)
    }
}

impl Lines {
    /// Keeps a line if it is one of these.
    fn take(&mut self, line: &str) {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.collect();
        let number = |at: usize| rest.get(at)?.trim().parse::<f64>().ok();
        let word = |at: usize| rest.get(at).map(|word| (*word).to_owned());
        let service = || Some(Service { kind: word(0)?, total: number(1)?, driver: number(2)?, copy: number(3)? });
        let batch = || Some(Batch { size: number(0)?, pages: number(1)?, mean: number(2)? });
        let prefetch = || {
            let (by, workload) = (word(0)?, word(1)?);
            Some(Prefetch { by, workload, alone: number(2)?, faults: number(3)?, guessed: number(4)? })
        };
        match kind {
            "figure" => self.figures.push(line.to_owned()),
            "service" => self.services.extend(service()),
            "batch" => self.batches.extend(batch()),
            "prefetch" => self.prefetches.extend(prefetch()),
            "slowdown" => self.points.extend(Point::parse(line)),
            _ => (),
        }
    }

    /// Why the figures do not do.
    fn missed(&self) -> Vec<String> {
        let barred = self.figures.iter().filter(|line| !line.trim_end().ends_with("bar=none"));
        barred.filter_map(|line| below_its_bar(line, "ratio")).collect()
    }

    fn tables(&self) -> String {
        let mut text = String::from("a fault, served alone: microseconds (share)\n");
        let _ = writeln!(text, "{:<12}{:>12}{:>18}{:>18}{:>18}", "", "all", "device and way", "driver", "copy");
        for Service { kind, total, driver, copy } in &self.services {
            let part = |part: f64| format!("{part:.0} ({:.0} %)", 100.0 * part / total.max(f64::MIN_POSITIVE));
            let device = (total - driver - copy).max(0.0);
            let _ =
                writeln!(text, "{kind:<12}{total:>12.0}{:>18}{:>18}{:>18}", part(device), part(*driver), part(*copy));
        }
        text.push_str("\nfaults served together, and pages a second\n");
        for Batch { size, pages, mean } in &self.batches {
            let _ = writeln!(text, "{size:>6} at most, {mean:>6.1} on average {pages:>12.0} pages/s");
        }
        text.push_str("\nprefetch: hit rate, accuracy (faults without, with)\n");
        for prefetch in &self.prefetches {
            let Prefetch { by, workload, alone, faults, .. } = prefetch;
            let hits = format!("{:.0} %", 100.0 * prefetch.hit_rate());
            let accuracy = prefetch.accuracy().map_or("-".to_owned(), |share| format!("{:.0} %", 100.0 * share));
            let _ = writeln!(text, "{workload:<12}{by:>14}{hits:>8}{accuracy:>8} ({alone}, {faults})");
        }
        text.push('\n');
        text.push_str(&slowdown::table(
            "programs' time against the first policy with memory that fits (pages that were evicted, of those that came)",
            &self.points,
        ));
        text
    }

    fn page(&self) -> String {
        let batches = self.batches.iter().map(|batch| (batch.size, batch.pages)).collect();
        let mut body = plot::plot("pages a second, by faults served together at most", &[("", batches)], f64::log2);
        body.push_str(&slowdown::plots("times slower, by % of VRAM", &self.points));
        let _ = writeln!(body, "<pre>{}\n{}</pre>", self.tables(), self.figures.join("\n"));
        plot::page("Memory shared by processes and the device", &body)
    }
}

/// Measures, prints figures and tables, and writes the plots.
///
/// # Errors
/// [`Failure::TestsFailed`] when a figure misses its bar or is not there; as [`Lab::run`].
pub fn bench(options: &Options, signals: bool) -> Result<(), Failure> {
    let mut lines = Lines::default();
    let limit = options.time_limit(Some(LIMIT));
    let mut measure = |options: &Options, job: Job| -> Result<(), Failure> {
        let report = Lab::prepare(options)?.run(&Job { signals, limit, ..job }, &mut |line| {
            if line.starts_with("figure ") {
                println!("{line}");
            }
        })?;
        let (before, missed) = (lines.figures.len(), lines.missed().len());
        report.output.iter().for_each(|line| lines.take(line));
        // A figure that misses its bar makes it fail as well: but it says so at its end, and has measured all by then.
        let failed = report.status != 0 && (lines.missed().len() == missed || !whole(&report.output));
        if lines.figures.len() == before || failed {
            let said = report.output.join("\n");
            return Err(Failure::TestsFailed(format!("the guest ended with {}:\n{said}", report.status)));
        }
        Ok(())
    };
    let mut beside = Job::command(["uvm-bench", "uvm"]);
    beside.overlay.files.push(hmm::original_module()?);
    measure(&hmm::options(options, Variant::Dmirror), beside)?;
    measure(&Options { vram: VRAM, ..options.clone() }, Job::command(["uvm-bench", "svm"]))?;

    print!("{}", lines.tables());
    let file = Workspace::locate().images().join("uvm.html");
    std::fs::write(&file, lines.page()).map_err(Failure::system(file.display().to_string()))?;
    println!("plot: {}", file.display());
    let missed = lines.missed();
    if missed.is_empty() {
        Ok(())
    } else {
        Err(Failure::TestsFailed(missed.join("\n")))
    }
}

/// Whether a guest came to the end of its measures: an error is what it says last.
fn whole(output: &[String]) -> bool {
    !output.iter().any(|line| line.starts_with("uvm-bench: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Lines {
        let mut lines = Lines::default();
        for line in [
            "figure uvm_batch_256 value=90.0pages/s limit=10.0pages/s ratio=9.000 bar=5",
            "figure uvm_map_fault value=9.0us limit=1.0us ratio=0.111 bar=none",
            "service migrate 100.0 30.0 50.0",
            "batch 1 10 1.0",
            "batch 256 90 200.5",
            "prefetch density bfs 100 20 160",
            "prefetch none bfs 100 110 0",
            "slowdown density bfs 75 10 10 0 0",
            "slowdown density bfs 200 30 10 5 20",
            "service broken",
            "something else",
        ] {
            lines.take(line);
        }
        lines
    }

    #[test]
    fn what_prefetch_spares_is_held_against_what_came_and_what_was_needed() {
        let tables = lines().tables();
        assert!(tables.contains("density    80 %    50 % (100, 20)"), "{tables}");
        assert!(tables.contains("none     0 %       - (100, 110)"), "{tables}");
    }

    #[test]
    fn parts_of_a_fault_are_all_of_it() {
        let tables = lines().tables();
        let row = tables.lines().find(|line| line.starts_with("migrate")).unwrap();
        assert!(row.contains("20 (20 %)") && row.contains("30 (30 %)") && row.contains("50 (50 %)"), "{row}");
    }

    #[test]
    fn a_guest_that_gave_up_is_told_from_one_that_missed_a_bar() {
        let output = |last: &str| ["slowdown density bfs 75 10 10 0 0".to_owned(), last.to_owned()];
        assert!(whole(&output("slowdown density bfs 200 30 10 5 20")));
        assert!(!whole(&output("uvm-bench: the queue does not get on")));
    }

    #[test]
    fn bars_alone_are_held() {
        let mut lines = lines();
        assert!(lines.missed().is_empty());
        lines.take("figure x value=1us limit=2us ratio=0.5 bar=1");
        assert_eq!(lines.missed().len(), 1);
    }

    #[test]
    fn page_needs_nothing_from_elsewhere_and_has_each_point() {
        let page = lines().page();
        assert_eq!((page.matches("<circle").count(), page.matches("<svg").count()), (4, 2));
        assert!(!page.contains("src=") && !page.contains("href="), "{page}");
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}
