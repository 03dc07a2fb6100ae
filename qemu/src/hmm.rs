// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `hmm`: the kernel's own test of heterogeneous memory management over the driver's /dev/hmm_dmirror0 and 1. It needs
//! a larger guest, another build of the driver and the test itself; and the device is asked whether it did the work.

use images::{Cache, Root, Selftest, Variant, Workspace};

use crate::failure::Failure;
use crate::ktap;
use crate::lab::Lab;
use crate::options::Options;
use crate::size::Size;
use crate::verbs::{run_report, Verdict};
use crate::watch::Job;

/// The suite's name, which is `uvm-test`'s too.
pub const SUITE: &str = "hmm";
/// Memory of the guest, as the test asks for.
const MEMORY: Size = Size::mib(3072);
/// The test migrates 256 MiB at once, and page tables and the driver want some, too.
const VRAM: Size = Size::mib(512);
/// Where the test lies in the guest.
const PROGRAM: &str = "/uvm/hmm-tests";
/// The suite's case that runs the test, which needs no device of ours.
const CASE: &str = "hmm.kernel_selftest_passes";

/// Whether this suite or one of its cases is asked for.
pub fn is_wanted(suites: &[String]) -> bool {
    suites.iter().any(|name| name.split('.').next() == Some(SUITE))
}

/// The same options with what the suite needs, and the driver of this variant.
pub fn options(options: &Options, variant: Variant) -> Options {
    Options { mem: options.mem.max(MEMORY), vram: options.vram.max(VRAM), driver: variant, ..options.clone() }
}

/// The same options with the kernel's own module instead of driver and device.
///
/// # Errors
/// As [`Selftest::prepare`].
pub fn original(options: &Options) -> Result<Options, Failure> {
    let modules = vec![selftest()?.original];
    Ok(Options { mem: options.mem.max(MEMORY), no_device: true, modules, ..options.clone() })
}

/// Runs suites, this one among them, and gives the verdict.
///
/// # Errors
/// As [`Lab::run`].
pub fn run(lab: &Lab, suites: &[String], mut job: Job) -> Result<Verdict, Failure> {
    job.overlay.programs.push((PROGRAM.into(), selftest()?.program));
    job.ask = !lab.options().no_device;
    let suites = if lab.options().no_device { vec![CASE.to_owned()] } else { suites.to_vec() };
    job.overlay.args = std::iter::once("uvm-test".to_owned()).chain(suites).collect();
    run_report(lab, &job)
}

/// The totals of the kernel's test, as it printed them: it stands in its own report, which is indented in ours.
pub fn totals(verdict: &Verdict) -> Option<&str> {
    let lines = verdict.report.output.iter();
    lines.filter_map(|line| line.strip_prefix(ktap::NESTED)).find(|line| line.starts_with("# Totals: "))
}

fn selftest() -> Result<Selftest, Failure> {
    let cache = Cache::new(Workspace::locate().images());
    Ok(Selftest::prepare(&cache, &Root::prepare(&cache)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Report;

    #[test]
    fn the_suite_and_its_cases_want_it_and_others_do_not() {
        let wanted = |names: &[&str]| is_wanted(&names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>());
        assert!(wanted(&["hmm"]) && wanted(&["bo", CASE]));
        assert!(!wanted(&["bo", "reload.hmm"]) && !wanted(&[]));
    }

    #[test]
    fn guests_are_made_larger_never_smaller() {
        let big = Options { mem: Size::mib(8192), vram: Size::mib(1024), ..Options::default() };
        assert_eq!(options(&big, Variant::Dmirror).mem, big.mem);
        assert_eq!(options(&big, Variant::Dmirror).vram, big.vram);
        assert_eq!(options(&Options::default(), Variant::Dmirror).mem, MEMORY);
        assert!(options(&Options::default(), Variant::Dmirror).check().is_ok());
    }

    #[test]
    fn totals_are_those_of_the_nested_report() {
        let output = ["# Totals: pass:1 fail:0 skip:0", "  # Totals: pass:37 fail:0 xfail:0 xpass:0 skip:39 error:0"];
        let report = Report { output: output.map(str::to_owned).to_vec(), ..Report::default() };
        let verdict = Verdict { summary: ktap::Summary::default(), report };
        assert_eq!(totals(&verdict), Some("# Totals: pass:37 fail:0 xfail:0 xpass:0 skip:39 error:0"));
    }
}
