// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Guests under QEMU with the device, from images to verdict, and that a bad end is told as what it is.
//!
//! The suites share one boot: on two cores under TCG a boot costs seconds. Guests take turns for the same reason.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use vm::size::Size;
use vm::verbs::{demo_job, run_report, run_suites, Verdict};
use vm::{Failure, Job, Lab, Options};

const SUITES: [&str; 13] = [
    "bringup",
    "bo",
    "vm",
    "vmid",
    "faults",
    "queues",
    "access",
    "hang",
    "svm",
    "heuristics",
    "migrate",
    "reload",
    "chaos",
];
/// How long suite `chaos` scribbles: two resets.
const CHAOS_SECONDS: &str = "8";
const LIMIT: Duration = Duration::from_secs(120);

/// Held while a guest runs.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed in its turn does not spoil the next one's.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| Lab::prepare(&Options::default()).unwrap_or_else(|failure| panic!("{failure}")))
}

/// The same with a device that judges the driver: a finding fails whatever runs there.
fn checking_lab() -> Lab {
    let options = Options { backend_args: vec!["--check".into()], ..Options::default() };
    Lab::prepare(&options).unwrap_or_else(|failure| panic!("{failure}"))
}

/// A guest without device and driver: for what is no matter of theirs.
fn bare_lab() -> Lab {
    let options = Options { no_device: true, no_module: true, ..Options::default() };
    Lab::prepare(&options).unwrap_or_else(|failure| panic!("{failure}"))
}

fn shell(script: &str) -> Job {
    Job { limit: Some(LIMIT), ..Job::command(["sh", "-c", script]) }
}

/// All suites in one guest, run by whichever test asks first. The driver is judged meanwhile.
fn verdict() -> &'static Verdict {
    static VERDICT: OnceLock<Result<Verdict, String>> = OnceLock::new();
    let verdict = VERDICT.get_or_init(|| {
        let _turn = turn();
        let words: Vec<String> = SUITES.into_iter().chain([CHAOS_SECONDS]).map(str::to_owned).collect();
        run_suites(&checking_lab(), &words, false, false).map_err(|failure| failure.to_string())
    });
    verdict.as_ref().unwrap_or_else(|failure| panic!("{failure}"))
}

fn suite_passes(suite: &str) {
    let verdict = verdict();
    let of_suite = |names: &[String]| names.iter().filter(|name| name.split('.').next() == Some(suite)).count();
    assert_eq!(of_suite(&verdict.summary.failed), 0, "{}", verdict.summary.reasons.join("\n"));
    assert_ne!(of_suite(&verdict.summary.passed), 0, "no case of {suite} ran:\n{}", verdict.report.output.join("\n"));
    assert_eq!(verdict.summary.problems, [""; 0], "{}", verdict.report.output.join("\n"));
}

#[test]
fn suite_bringup_passes_in_a_guest() {
    suite_passes("bringup");
}

#[test]
fn suite_bo_passes_in_a_guest() {
    suite_passes("bo");
}

#[test]
fn suite_vm_passes_in_a_guest() {
    suite_passes("vm");
}

#[test]
fn suite_vmid_passes_in_a_guest() {
    suite_passes("vmid");
}

#[test]
fn suite_faults_passes_in_a_guest() {
    suite_passes("faults");
}

#[test]
fn suite_queues_passes_in_a_guest() {
    suite_passes("queues");
}

#[test]
fn suite_access_passes_in_a_guest() {
    suite_passes("access");
}

#[test]
fn suite_hang_passes_in_a_guest() {
    suite_passes("hang");
}

#[test]
fn suite_svm_passes_in_a_guest() {
    suite_passes("svm");
}

#[test]
fn suite_heuristics_passes_in_a_guest() {
    suite_passes("heuristics");
}

#[test]
fn suite_migrate_passes_in_a_guest() {
    suite_passes("migrate");
}

#[test]
fn suite_chaos_passes_in_a_guest() {
    suite_passes("chaos");
}

#[test]
fn suite_reload_passes_in_a_guest() {
    suite_passes("reload");
}

/// Of little VRAM there is soon too little.
#[test]
fn suites_of_the_memory_manager_pass_in_a_guest_with_little_vram() {
    let lab = Lab::prepare(&Options { vram: Size::mib(32), ..Options::default() }).unwrap();
    let _turn = turn();

    let verdict =
        run_suites(&lab, &["segments", "evict", "limits", "swap", "purge"].map(str::to_owned), false, false).unwrap();

    let output = || verdict.report.output.join("\n");
    assert_eq!(verdict.summary.failed, [""; 0], "{}", output());
    // Those that fill memory have a guest of their own below, with less of it.
    let skipped: Vec<&String> = verdict.summary.skipped.iter().filter(|case| !case.starts_with("swap.")).collect();
    assert_eq!(skipped, [""; 0], "{}", output());
    assert!(verdict.summary.passed.len() > 15, "{}", output());
    assert_eq!(verdict.summary.problems, [""; 0], "{}", output());
}

/// What is shared with other drivers, and what monitors read of all that.
#[test]
fn suites_of_sharing_and_statistics_pass_in_a_guest() {
    let lab = checking_lab();
    let _turn = turn();

    let verdict = run_suites(&lab, &["prime", "fdinfo"].map(str::to_owned), false, false).unwrap();

    verdict.check().unwrap_or_else(|failure| panic!("{failure}\n{}", verdict.report.output.join("\n")));
    assert_eq!(verdict.summary.skipped, [""; 0]);
    assert!(verdict.summary.passed.len() > 20, "{}", verdict.report.output.join("\n"));
}

/// Little memory is soon full, and so is a disk that is smaller still. What was decided meanwhile is decided again.
#[test]
fn memory_and_disk_are_filled_and_the_record_replays() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    let (mem, vram, disk) = (Size::mib(256), Size::mib(32), Some(Size::mib(512)));
    let options = Options { mem, vram, disk, record: Some(record.clone()), ..Options::default() };
    let lab = Lab::prepare(&options).unwrap();
    let _turn = turn();

    let verdict = run_suites(&lab, &["swap".to_owned()], false, false).unwrap();

    verdict.check().unwrap_or_else(|failure| panic!("{failure}\n{}", verdict.report.output.join("\n")));
    assert_eq!(verdict.summary.skipped, [""; 0]);
    let replayed = vm::replay::replay(&record).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(replayed.events > 500 && replayed.actions > 300, "{replayed:?}");
}

/// What depends on the depth of page tables most, each also with tables in system memory and written by SDMA.
const DEPTH: [&str; 11] = [
    "access.vector_add_in_system_memory_and_vram",
    "access.shared_memory_comes_and_goes",
    "vm.sdma0_mapped_memory_is_copied",
    "vm.large_buffer_is_mapped_by_large_blocks",
    "vm.random_binds_match_the_model",
    "vm.highest_address_works",
    "vm.partially_resident_range_reads_zero",
    "vm.tables_in_system_memory_serve",
    "vm.tables_written_by_sdma_serve",
    "vmid.twelve_processes_keep_apart",
    "faults.sdma1_unmapped_read_fails_alone",
];

#[test]
fn page_tables_of_every_depth_serve() {
    // Four levels are the device's own choice, and have all suites.
    for levels in [1, 2, 3, 5] {
        let options = Options { backend_args: vec![format!("--levels={levels}")], ..Options::default() };
        let lab = Lab::prepare(&options).unwrap_or_else(|failure| panic!("{failure}"));
        let _turn = turn();
        let verdict = run_suites(&lab, &DEPTH.map(str::to_owned), false, false).unwrap_or_else(|f| panic!("{f}"));
        verdict.check().unwrap_or_else(|failure| panic!("{levels} levels: {failure}"));
    }
}

#[test]
fn suites_leave_a_clean_kernel_log_and_a_good_status() {
    verdict().check().unwrap_or_else(|failure| panic!("{failure}"));
}

/// The suites in which the hardware fails need a guest of their own: the last takes the device away.
#[test]
fn suites_inject_and_removal_pass_in_a_guest_whose_hardware_fails() {
    let lab = Lab::prepare(&vm::inject::arm(&Options::default())).unwrap_or_else(|failure| panic!("{failure}"));
    let _turn = turn();
    let suites = ["inject", "removal"].map(str::to_owned);
    let verdict = run_suites(&lab, &suites, false, false).unwrap_or_else(|failure| panic!("{failure}"));
    verdict.check().unwrap_or_else(|failure| panic!("{failure}\n{}", verdict.report.output.join("\n")));
    assert!(verdict.summary.passed.len() >= 9, "skipped: {}", verdict.report.output.join("\n"));
}

#[test]
fn demo_carries_the_kernel_image_through_every_domain() {
    let lab = lab();
    let _turn = turn();
    let report =
        lab.run(&demo_job(lab, None, false).unwrap(), &mut |_| ()).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(report.status, 0, "{}", report.output.join("\n"));
    assert_eq!(report.kmsg_warnings, Some(0), "{:?}", report.kmsg);
    assert!(report.output.iter().any(|line| line.contains("demo: ok")), "{}", report.output.join("\n"));
}

#[test]
fn command_status_and_output_come_back() {
    let lab = bare_lab();
    let _turn = turn();
    let mut seen = Vec::new();
    let report = lab.run(&shell("echo one; echo two >&2; exit 7"), &mut |line| seen.push(line.to_owned())).unwrap();
    assert_eq!(report.status, 7);
    assert_eq!(seen, ["one", "two"]);
    assert_eq!(report.kmsg_warnings, Some(0));
}

#[test]
fn guest_panic_is_reported_with_its_console() {
    let lab = bare_lab();
    let _turn = turn();
    match lab.run(&shell("echo c >/proc/sysrq-trigger; sleep 60"), &mut |_| ()) {
        Err(Failure::GuestPanicked { console }) => assert!(console.contains("sysrq"), "{console}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn failing_suite_dirty_log_and_status_are_all_reported() {
    let lab = bare_lab();
    let _turn = turn();
    let script = "echo KTAP version 1; echo 1..2; echo ok 1 x.good; echo not ok 2 x.bad; \
                  echo '# Totals: pass:1 fail:1 skip:0'; echo '<4>uvm: complaint' >/dev/kmsg; exit 1";
    let failure = run_report(&lab, &shell(script)).unwrap().check().unwrap_err();
    assert_ne!(failure.exit_status(), 0);
    let text = failure.to_string();
    for part in ["failed: x.bad", "uvm: complaint", "status 1"] {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
}

#[test]
fn report_that_stops_half_way_is_no_success() {
    let lab = bare_lab();
    let _turn = turn();
    let verdict = run_report(&lab, &shell("echo KTAP version 1; echo 1..2; echo ok 1 x.good")).unwrap();
    assert_eq!(verdict.report.status, 0);
    assert!(verdict.check().unwrap_err().to_string().contains("2 tests planned, 1 reported"));
}

#[test]
fn guest_that_does_not_end_is_ended() {
    let lab = bare_lab();
    let _turn = turn();
    let job = Job { limit: Some(Duration::from_secs(3)), ..Job::command(["sleep", "1000"]) };
    assert!(matches!(lab.run(&job, &mut |_| ()), Err(Failure::TimedOut { .. })));
}

/// A program that stands in for the backend.
fn stand_in(folder: &tempfile::TempDir, script: &str) -> Options {
    let path = folder.path().join("backend");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Options { backend: Some(path), no_module: true, ..Options::default() }
}

#[test]
fn backend_that_does_not_start_is_named_with_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::prepare(&stand_in(&folder, "echo no memory >&2; exit 1")).unwrap();
    match lab.run(&shell("true"), &mut |_| ()) {
        Err(Failure::BackendNotStarted { log, .. }) => assert!(log.contains("no memory"), "{log}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn backend_that_dies_is_named_not_qemu() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("exec timeout -s KILL 3 {} \"$@\"", env!("CARGO_BIN_EXE_vhost-device-uvm"));
    let lab = Lab::prepare(&stand_in(&folder, &script)).unwrap();
    let _turn = turn();
    let failure = lab.run(&shell("sleep 60"), &mut |_| ()).unwrap_err();
    assert!(matches!(failure, Failure::BackendDied { .. }), "{failure}");
}
