// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The kernel's own test of heterogeneous memory management over the driver, with the device's word for what it did; and
//! a driver that only says so.
//!
//! The first run fetches the kernel's source, 150 MB.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use images::Variant;
use vm::verbs::Verdict;
use vm::{hmm, Job, Lab, Options};

/// A quiet machine takes a minute and a half; a test of the kernel's may take two.
const LIMIT: Duration = Duration::from_secs(600);

/// Guests take turns.
static TURN: Mutex<()> = Mutex::new(());

fn run(variant: Variant, cases: &[&str]) -> Verdict {
    let options = hmm::options(&Options::default(), variant);
    let lab = Lab::prepare(&options).unwrap_or_else(|failure| panic!("{failure}"));
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let cases: Vec<String> = cases.iter().map(|&case| case.to_owned()).collect();
    let job = Job { limit: Some(LIMIT), ..Job::default() };
    hmm::run(&lab, &cases, job).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn kernels_own_test_passes_and_the_device_did_it() {
    let verdict = run(Variant::Dmirror, &[hmm::SUITE]);
    let output = || verdict.report.output.join("\n");
    verdict.check().unwrap_or_else(|failure| panic!("{failure}\n{}", output()));
    assert_eq!(verdict.summary.skipped, [""; 0], "{}", output());
    let totals = hmm::totals(&verdict).unwrap();
    // 37 in the kernels of series 7.2, one more in 7.3.
    let passed =
        totals.strip_prefix("# Totals: pass:").and_then(|rest| rest.split_once(" fail:0 ")?.0.parse::<u32>().ok());
    assert!(passed >= Some(37), "{totals}");
}

/// What the device says is believed, not what the driver says: this one says that pages moved, and lets them lie.
#[test]
fn driver_that_never_migrates_is_caught() {
    let proofs = ["hmm.migrated_data_lies_in_vram", "hmm.device_copies_what_migrates"];
    let harmless = "hmm.device_reads_and_writes_by_itself";
    let verdict = run(Variant::NeverMigrates, &[proofs[0], proofs[1], harmless]);
    let output = verdict.report.output.join("\n");
    assert_eq!(verdict.summary.failed, proofs, "{output}");
    assert_eq!(verdict.summary.passed, [harmless], "{output}");
    assert_eq!(verdict.report.kmsg_warnings, Some(0), "{:?}", verdict.report.kmsg);
    // For the reason meant: all went well, but for the bytes.
    assert!(output.contains("bytes that the device finds in VRAM: expected 4194304 (0x400000), seen 0"), "{output}");
    assert!(output.contains("the device's copies brought 0 bytes to VRAM and 0 from there"), "{output}");
}
