// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Processes that do everything at once with memory that the device mirrors, in a guest that has little of all memory.
//!
//! As long as `UVM_STRESS_SECONDS` says, else a minute.
#![allow(clippy::unwrap_used, missing_docs)]

use vm::size::Size;
use vm::verbs::run_suites;
use vm::{Lab, Options};

/// What cases take so long that a busy machine comes to everything in it.
const SECONDS: &str = "60";

#[test]
fn processes_do_everything_at_once_and_no_byte_is_wrong() {
    let seconds = std::env::var("UVM_STRESS_SECONDS").unwrap_or_else(|_| SECONDS.into());
    let (mem, vram, disk) = (Size::mib(512), Size::mib(32), Some(Size::mib(512)));
    let backend_args = vec!["--check".into()];
    let lab = Lab::prepare(&Options { mem, vram, disk, backend_args, ..Options::default() }).unwrap();

    let verdict = run_suites(&lab, &["stress".to_owned(), seconds], false, false).unwrap();

    let output = verdict.report.output.join("\n");
    verdict.check().unwrap_or_else(|failure| panic!("{failure}\n{output}"));
    assert_eq!((verdict.summary.passed.len(), verdict.summary.skipped.len()), (1, 0), "{output}");
    assert!(output.contains("# seed ") && output.contains(" pages swapped out"), "{output}");
    println!("{output}");
}
