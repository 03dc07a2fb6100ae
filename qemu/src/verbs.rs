// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The launcher's verbs over [`Lab`] and [`Job`].

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::hmm;
use crate::inject;
use crate::ktap;
use crate::lab::Lab;
use crate::options::Options;
use crate::size::Size;
use crate::watch::{Job, Report};
use images::Variant;

/// Under TCG on a busy machine the slowest suite stays well under this.
const TEST_LIMIT: Duration = Duration::from_secs(900);
const DEMO_LIMIT: Duration = Duration::from_secs(300);
/// Suites that swap.
const SWAPPING: [&str; 2] = ["swap", "stress"];
/// The disk that they get, for a swap file.
const SWAP_DISK: Size = Size::mib(512);
/// Where the demo's input lies in the guest.
const INPUT_FOLDER: &str = "/root";

/// Boots a guest with a shell on this terminal.
///
/// # Errors
/// As [`Lab::run`].
pub fn shell(options: &Options) -> Result<i32, Failure> {
    let lab = Lab::prepare(options)?;
    let job = Job { interactive: true, show: true, signals: true, limit: options.time_limit(None), ..Job::default() };
    Ok(lab.run(&job, &mut |_| ())?.status)
}

/// Runs one command in a guest and gives its status.
///
/// # Errors
/// As [`Lab::run`].
pub fn run(options: &Options, words: &[String]) -> Result<i32, Failure> {
    let lab = Lab::prepare(options)?;
    let job = Job { show: true, signals: true, limit: options.time_limit(None), ..Job::command(words) };
    Ok(lab.run(&job, &mut |_| ())?.status)
}

/// Runs suites in one guest and judges the report, the kernel log and the status.
///
/// # Errors
/// [`Failure::TestsFailed`] with every reason not to be content; as [`Lab::run`].
pub fn test(options: &Options, suites: &[String], original: bool) -> Result<i32, Failure> {
    if original && !suites.iter().all(|suite| suite == hmm::SUITE) {
        return Err(Failure::BadInput(format!("--original is for suite {} alone", hmm::SUITE)));
    }
    if hmm::is_wanted(suites) {
        return test_hmm(options, suites, original);
    }
    let mut options = if inject::is_wanted(suites) { inject::arm(options) } else { options.clone() };
    // They swap to it, which costs nothing where a suite does not.
    if suites.iter().any(|suite| suite.split('.').next().is_some_and(|suite| SWAPPING.contains(&suite))) {
        options.disk = options.disk.or(Some(SWAP_DISK));
    }
    let lab = Lab::prepare(&options)?;
    let verdict = run_suites(&lab, suites, true, true)?;
    eprintln!("{}", verdict.summary.line());
    verdict.check()?;
    Ok(0)
}

/// The kernel's own test, over the driver or over the kernel's own module.
fn test_hmm(options: &Options, suites: &[String], original: bool) -> Result<i32, Failure> {
    let options = if original { hmm::original(options)? } else { hmm::options(options, Variant::Dmirror) };
    let lab = Lab::prepare(&options)?;
    let limit = options.time_limit(Some(TEST_LIMIT));
    let verdict = hmm::run(&lab, suites, Job { show: true, signals: true, limit, ..Job::default() })?;
    eprintln!("{}", verdict.summary.line());
    if let Some(totals) = hmm::totals(&verdict) {
        eprintln!("hmm-tests: {totals}");
    }
    verdict.check()?;
    Ok(0)
}

/// What a run of suites came to.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The report of the tests.
    pub summary: ktap::Summary,
    /// The report of the guest.
    pub report: Report,
}

impl Verdict {
    /// Good only when tests, log and status all are.
    ///
    /// # Errors
    /// [`Failure::TestsFailed`] with all that is wrong.
    pub fn check(&self) -> Result<(), Failure> {
        let mut reasons = self.summary.reasons.clone();
        reasons.extend(self.summary.problems.iter().map(|problem| format!("report: {problem}")));
        match self.report.kmsg_warnings {
            Some(0) => {}
            Some(count) => {
                reasons.push(format!("kernel log: {count} lines that should not be there"));
                reasons.extend(self.report.kmsg.iter().map(|line| format!("  {line}")));
            }
            None => reasons.push("kernel log: not looked at".into()),
        }
        if self.report.status != 0 {
            reasons.push(format!("uvm-test ended with status {}", self.report.status));
        }
        if reasons.is_empty() {
            Ok(())
        } else {
            Err(Failure::TestsFailed(reasons.join("\n")))
        }
    }
}

/// Boots one guest for all of `suites`.
///
/// # Errors
/// As [`Lab::run`].
pub fn run_suites(lab: &Lab, suites: &[String], show: bool, signals: bool) -> Result<Verdict, Failure> {
    let words = std::iter::once("uvm-test".to_owned()).chain(suites.iter().cloned());
    // A number says how long a suite shall last.
    let lasts = suites.iter().find_map(|word| word.parse().ok()).map_or(Duration::ZERO, Duration::from_secs);
    let limit = lab.options().time_limit(Some(TEST_LIMIT.saturating_add(lasts)));
    run_report(lab, &Job { show, signals, limit, ..Job::command(words) })
}

/// Runs a job whose command prints a KTAP report.
///
/// # Errors
/// As [`Lab::run`].
pub fn run_report(lab: &Lab, job: &Job) -> Result<Verdict, Failure> {
    let mut reader = ktap::Reader::default();
    let report = lab.run(job, &mut |line| reader.line(line))?;
    Ok(Verdict { summary: reader.finish(), report })
}

/// Sends a file through the device's memory domains in a guest.
///
/// # Errors
/// [`Failure::BadInput`] for a file that cannot be read or does not fit; as [`Lab::run`].
pub fn demo(options: &Options, file: Option<&Path>) -> Result<i32, Failure> {
    let start = Instant::now();
    if let Some(file) = file {
        check_input(file, options)?;
    }
    let lab = Lab::prepare(options)?;
    eprintln!("images ready after {:.1} s; booting under {}", start.elapsed().as_secs_f64(), lab.accel().name());
    let job = demo_job(&lab, file, true)?;
    let job = Job { show: true, stages: true, signals: true, ..job };
    let report = lab.run(&job, &mut |_| ())?;
    let took = |name: &str| report.stage(name).map_or(0.0, |time| time.as_secs_f64());
    eprintln!(
        "boot {:.1} s, demo {:.1} s, all with the images {:.1} s",
        took("run"),
        took("exit") - took("run"),
        start.elapsed().as_secs_f64()
    );
    if let Some(count) = report.kmsg_warnings.filter(|&count| count > 0) {
        eprintln!("the kernel log has {count} lines that should not be there:\n  {}", report.kmsg.join("\n  "));
        return Ok(report.status.max(1));
    }
    Ok(report.status)
}

/// The demo's job: the file goes in with this run's archive.
///
/// # Errors
/// [`Failure::BadInput`] for a file that cannot be read.
pub fn demo_job(lab: &Lab, file: Option<&Path>, show: bool) -> Result<Job, Failure> {
    let file = file.unwrap_or(lab.kernel());
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let inside = format!("{INPUT_FOLDER}/{name}");
    let mut job = Job::command(["uvm-demo", inside.as_str()]);
    job.show = show;
    job.limit = lab.options().time_limit(Some(DEMO_LIMIT));
    job.overlay.files.push((inside, PathBuf::from(file)));
    Ok(job)
}

fn check_input(file: &Path, options: &Options) -> Result<(), Failure> {
    let bad = |reason: String| Err(Failure::BadInput(format!("{}: {reason}", file.display())));
    let size = match std::fs::File::open(file).and_then(|file| file.metadata()) {
        Ok(meta) if meta.is_file() => meta.len(),
        Ok(_) => return bad("not a file".into()),
        Err(error) => return bad(error.to_string()),
    };
    // The guest holds it as a file, in the archive while that is unpacked, and in buffers of the demo.
    let room = options.mem.bytes() / 4;
    match size {
        0 => bad("empty".into()),
        size if size > room => bad(format!("{size} bytes, a guest with --mem {} has room for {room}", options.mem)),
        _ => Ok(()),
    }
}
