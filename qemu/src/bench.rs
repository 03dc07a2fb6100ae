// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Figures measured from outside the guest, and the guest's own.

use std::time::Duration;

use crate::eviction;
use crate::failure::Failure;
use crate::lab::Lab;
use crate::options::Options;
use crate::sharing;
use crate::verbs::demo_job;
use crate::watch::Job;

/// Boots of each kind; they take turns, so that a machine that slows down slows both.
const BOOTS: usize = 5;
/// The device may make the boot this much longer.
const BOOT_BAR: f64 = 1.3;
const LIMIT: Duration = Duration::from_secs(900);

/// Demos at each depth of trace; they take turns too.
const DEMOS: usize = 5;
/// The depths of trace, and how much longer each may make the demo.
const DEPTHS: [(&str, f64); 2] = [("mmio", 1.05), ("full", 2.0)];

/// Runs `uvm-bench` with these suites in a guest; `boot`, `trace`, `evict` and `uvm` are measured here. With none, all but
/// `trace` and `evict`, and of `uvm` what needs no guest of its own.
///
/// # Errors
/// [`Failure::TestsFailed`] when a figure misses its bar; as [`Lab::run`].
pub fn bench(options: &Options, suites: &[String]) -> Result<i32, Failure> {
    let is_here = |suite: &&String| ["boot", "trace", "evict", "uvm"].contains(&suite.as_str());
    let of_guest: Vec<&String> = suites.iter().filter(|suite| !is_here(suite)).collect();
    let asked = |name: &str| suites.iter().any(|suite| suite == name);
    if asked("uvm") {
        sharing::bench(options, true)?;
        if suites.len() == 1 {
            return Ok(0);
        }
    }
    let lab = Lab::prepare(options)?;
    if suites.is_empty() || asked("boot") {
        boot(&lab, true)?;
    }
    if asked("trace") {
        trace(&lab, true)?;
    }
    if asked("evict") {
        eviction::bench(&lab, true)?;
    }
    if suites.is_empty() || !of_guest.is_empty() {
        let words = std::iter::once("uvm-bench".to_owned()).chain(of_guest.into_iter().cloned());
        let limit = options.time_limit(Some(LIMIT));
        let job = Job { show: true, signals: true, limit, ..Job::command(words) };
        return Ok(lab.run(&job, &mut |_| ())?.status);
    }
    Ok(0)
}

/// Compares the boot to the first command with the device against the boot without it, and prints the figure.
///
/// # Errors
/// [`Failure::TestsFailed`] when the ratio misses its bar; as [`Lab::run`].
pub fn boot(lab: &Lab, signals: bool) -> Result<f64, Failure> {
    let bare = lab.without_device();
    let time = |lab: &Lab| -> Result<f64, Failure> {
        let limit = lab.options().time_limit(Some(LIMIT));
        let report = lab.run(&Job { signals, limit, ..Job::command(["true"]) }, &mut |_| ())?;
        let run =
            report.stage("run").ok_or_else(|| Failure::TestsFailed("the guest did not say when it ran".into()))?;
        Ok(run.as_secs_f64())
    };
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..BOOTS {
        without.push(time(&bare)?);
        with.push(time(lab)?);
    }
    let (with, without) = (median(with), median(without));
    let ratio = with / without;
    println!("figure boot_with_device value={with:.2}s limit={without:.2}s ratio={ratio:.2} bar={BOOT_BAR}");
    if ratio <= BOOT_BAR {
        Ok(ratio)
    } else {
        Err(Failure::TestsFailed(format!("the boot with the device takes {ratio:.2} times the boot without it")))
    }
}

/// Compares the demo with the device traced against the demo without, and prints a figure a depth.
///
/// # Errors
/// [`Failure::TestsFailed`] when a ratio misses its bar; as [`Lab::run`].
pub fn trace(lab: &Lab, signals: bool) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(|error| Failure::BadInput(format!("a folder for traces: {error}")))?;
    let mut times = vec![Vec::new(); DEPTHS.len() + 1];
    for round in 0..DEMOS {
        let depths = std::iter::once("off").chain(DEPTHS.iter().map(|(depth, _)| *depth));
        for (depth, times) in depths.zip(&mut times) {
            let mut lab = lab.clone();
            let file = folder.path().join(format!("{depth}-{round}"));
            lab.options.trace = Some(vec![depth.into(), file.clone()]);
            let job = Job { signals, ..demo_job(&lab, None, false)? };
            let report = lab.run(&job, &mut |_| ())?;
            let (Some(start), Some(end)) = (report.stage("run"), report.stage("exit")) else {
                return Err(Failure::TestsFailed("the guest did not say when it ran".into()));
            };
            if report.status != 0 {
                return Err(Failure::TestsFailed(format!("the demo ended with status {}", report.status)));
            }
            times.push((end - start).as_secs_f64());
            // A full one is large.
            let _ = std::fs::remove_file(file);
        }
    }
    let mut medians = times.into_iter().map(median);
    let off = medians.next().unwrap_or(f64::NAN);
    let mut missed = Vec::new();
    for ((depth, bar), time) in DEPTHS.iter().zip(medians) {
        let ratio = time / off;
        println!("figure demo_trace_{depth} value={time:.3}s limit={off:.3}s ratio={ratio:.3} bar={bar}");
        if ratio.is_nan() || ratio > *bar {
            missed.push(format!("a {depth} trace makes the demo {ratio:.2} times as long"));
        }
    }
    if missed.is_empty() {
        Ok(())
    } else {
        Err(Failure::TestsFailed(missed.join("\n")))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    #[test]
    fn median_is_the_middle_one() {
        assert!((super::median(vec![9.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
    }
}
