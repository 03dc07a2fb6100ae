// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Guests on the device made otherwise: VRAM in system memory (UMA), the three-level GART (vidmm), both; and guests that
//! such a device must not serve.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use vm::size::Size;
use vm::verbs::run_suites;
use vm::{Failure, Job, Lab, Options, Report};

/// Held while a guest runs: two cores, no more than one guest.
static TURN: Mutex<()> = Mutex::new(());

fn uma() -> Options {
    Options { uma: "64M".parse().ok(), ..Options::default() }
}

fn vidmm(options: Options) -> Options {
    Options { backend_args: vec!["--mmu=vidmm".into(), "--check".into()], ..options }
}

/// Every case of `suites` passes; what is skipped was not tested.
fn suites_pass(options: &Options, suites: &[&str]) {
    let lab = Lab::prepare(options).unwrap_or_else(|failure| panic!("{failure}"));
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let suites: Vec<String> = suites.iter().map(|&suite| suite.to_owned()).collect();
    let verdict = run_suites(&lab, &suites, false, false).unwrap_or_else(|failure| panic!("{failure}"));
    let output = || verdict.report.output.join("\n");
    verdict.check().unwrap_or_else(|failure| panic!("{failure}\n{}", output()));
    for suite in &suites {
        let of_suite = |names: &[String]| names.iter().filter(|name| name.split('.').next() == Some(suite)).count();
        assert!(of_suite(&verdict.summary.passed) > 0, "no case of {suite} ran:\n{}", output());
        assert_eq!(of_suite(&verdict.summary.skipped), 0, "{}", output());
    }
}

/// The carve-out with a flat GART adds nothing to what this and the guests of `e2e.rs` do, but seconds.
#[test]
fn carve_out_with_a_three_level_gart_does_all_that_vram_and_gart_do() {
    suites_pass(&vidmm(uma()), &["uma", "vidmm", "bringup", "bo", "vm", "segments"]);
}

#[test]
fn three_level_gart_in_a_bar_passes_its_suite() {
    suites_pass(&vidmm(Options::default()), &["vidmm", "segments"]);
}

/// The driver's tables, its copies and every buffer that the CPU maps have a part of VRAM to share.
#[test]
fn small_bar_does_all_that_a_whole_one_does() {
    let options = Options {
        vram: Size::mib(64),
        bar: Some(Size::mib(32)),
        backend_args: vec!["--check".into()],
        ..Options::default()
    };
    suites_pass(&options, &["small_bar", "segments", "bringup", "bo", "vm", "evict", "limits", "purge"]);
}

/// The driver tells which VRAM is nobody's, and so what is done with it is found.
#[test]
fn use_of_vram_that_the_driver_gave_back_is_found() {
    let options = Options { backend_args: vec!["--check".into()], ..Options::default() };
    let lab = Lab::prepare(&options).unwrap_or_else(|failure| panic!("{failure}"));
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let run = |case: &str| run_suites(&lab, &[format!("blame.{case}")], false, false);
    let verdict = run("vram_is_used_while_it_is_somebodys").unwrap_or_else(|failure| panic!("{failure}"));
    verdict.check().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(verdict.summary.passed.len(), 1, "{}", verdict.report.output.join("\n"));
    match run("vram_is_used_after_it_was_freed") {
        Err(Failure::DriverFaulty { log }) => assert!(log.contains("vram_used_after_free"), "{log}"),
        Err(failure) => panic!("{failure}"),
        Ok(verdict) => panic!("nothing was found:\n{}", verdict.report.output.join("\n")),
    }
}

/// Without a segment for them, unsnooped buffers are refused and the rest goes on.
#[test]
fn device_without_an_unsnooped_segment_is_served() {
    let options = Options { backend_args: vec!["--unsnooped=0".into()], ..Options::default() };
    let lab = Lab::prepare(&options).unwrap_or_else(|failure| panic!("{failure}"));
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let verdict = run_suites(&lab, &["segments".into()], false, false).unwrap_or_else(|failure| panic!("{failure}"));
    verdict.check().unwrap_or_else(|failure| panic!("{failure}\n{}", verdict.report.output.join("\n")));
    assert_eq!(verdict.summary.skipped.len(), 3, "{}", verdict.report.output.join("\n"));
}

/// What the kernel says of the driver, in a guest where it must not come up.
fn driver_log(options: &Options) -> Report {
    let lab = Lab::prepare(options).unwrap_or_else(|failure| panic!("{failure}"));
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let script = "dmesg | grep 'uvm virtio'; test ! -e /dev/dri/renderD128";
    let job = Job { limit: Some(Duration::from_secs(120)), ..Job::command(["sh", "-c", script]) };
    let report = lab.run(&job, &mut |_| ()).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(report.status, 0, "a render node without VRAM:\n{}", report.output.join("\n"));
    report
}

#[test]
fn kernel_that_uses_the_carve_out_is_left_alone() {
    // The later words give the kernel back what the launcher kept it off.
    let all = "memmap=exactmap memmap=640K@0 memmap=1000M@1M";
    let report = driver_log(&Options { append: vec![all.into()], ..uma() });
    let line = "VRAM lies in memory that the kernel uses: boot with memmap=0x4000000$0x3b000000";
    assert_eq!(report.output.iter().filter(|seen| seen.contains(line)).count(), 1, "{}", report.output.join("\n"));
}

#[test]
fn carve_out_that_is_not_in_memory_is_refused_by_the_driver() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("backend");
    let backend = env!("CARGO_BIN_EXE_vhost-device-uvm");
    fs::write(&program, format!("#!/bin/sh\nexec {backend} --socket-path \"$2\" --uma 64M@0x7f000000\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let report = driver_log(&Options { backend: Some(program), ..Options::default() });
    let line = "no VRAM: the machine's memory does not have the device's 64 MiB of it";
    assert_eq!(report.output.iter().filter(|seen| seen.contains(line)).count(), 1, "{}", report.output.join("\n"));
}
