// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! `uvm-test`: suites that drive the device through its driver, reported as KTAP.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{bail, Context, Result};

mod access;
mod beside;
mod blame;
mod bo;
mod borrowed;
mod bringup;
mod case;
mod chaos;
mod evict;
mod fdinfo;
mod gart;
mod hang;
mod heuristics;
pub(crate) mod hmm;
mod inject;
mod kmsg;
mod ktap;
mod prime;
mod purpose;
mod queues;
pub(crate) mod reload;
mod retry;
mod segments;
mod stress;
mod svm;
mod svm_migrate;
mod swap;
mod uma;
mod vidmm;
mod vm;
mod vmid;
mod workers;

use case::{Case, Ctx, Run, Skip};
use ktap::{Ktap, Outcome};

const USAGE: &str = "usage: uvm-test [--seed N] [--list] [SUITE | SUITE.CASE]... [SECONDS [SEED]]";

/// Suites in the order they run.
const SUITES: &[(&str, &[Case])] = &[
    ("bringup", bringup::CASES),
    ("bo", bo::CASES),
    ("vm", vm::CASES),
    ("vmid", vmid::CASES),
    ("faults", vm::FAULTS),
    ("queues", queues::CASES),
    ("access", access::CASES),
    ("hang", hang::CASES),
    ("segments", segments::CASES),
    ("small_bar", segments::SMALL_BAR),
    ("evict", evict::CASES),
    ("limits", evict::LIMITS),
    ("swap", evict::SWAP),
    ("swap", swap::CASES),
    ("swap", svm::SWAP),
    ("purge", evict::PURGE),
    ("svm", svm::CASES),
    ("heuristics", heuristics::CASES),
    ("prime", prime::CASES),
    ("fdinfo", fdinfo::CASES),
    ("migrate", svm_migrate::CASES),
    ("stress", stress::CASES),
    ("uma", uma::CASES),
    ("vidmm", vidmm::CASES),
    ("reload", reload::CASES),
    ("chaos", chaos::CASES),
    ("inject", inject::CASES),
    ("hmm", hmm::CASES),
    ("removal", inject::REMOVAL),
    ("blame", blame::CASES),
];

/// Suites that run only where they are named.
const ON_REQUEST: &[&str] = &["blame"];

/// What a planned case calls.
type Call = Box<dyn Fn(&Ctx) -> Result<()>>;

/// A case that will run: its full name and what it calls.
struct Planned {
    name: String,
    run: Call,
}

struct Options {
    seed: Option<u64>,
    /// Of suites `chaos` and `stress`.
    seconds: Option<u64>,
    list: bool,
    wanted: Vec<String>,
}

/// Entry point.
pub fn main(args: &[String]) -> Result<ExitCode> {
    if let [first, rest @ ..] = args {
        if first == bo::WORKER {
            return bo::worker(rest);
        }
        if first == hang::WORKER {
            return hang::worker(rest);
        }
        if first == vmid::BUSY_WORKER {
            return vmid::busy_worker(rest);
        }
        if first == vmid::WORKER {
            return vmid::worker(rest);
        }
        if first == evict::WORKER {
            return evict::worker(rest);
        }
        if first == swap::WORKER {
            return swap::worker(rest);
        }
        if first == vm::WORKER {
            return vm::worker();
        }
        if first == access::WORKER {
            return access::worker();
        }
        if first == svm_migrate::WORKER {
            return svm_migrate::worker(rest);
        }
        if first == queues::WORKER {
            return queues::worker(rest);
        }
        if first == svm::WORKER {
            return svm::worker(rest);
        }
        if first == stress::WORKER {
            return stress::worker(rest);
        }
    }
    let options = match parse(args) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("uvm-test: {error:#}\n{USAGE}");
            return Ok(ExitCode::from(2));
        }
    };
    let planned = match plan(SUITES, &options.wanted) {
        Ok(planned) => planned,
        Err(error) => {
            eprintln!("uvm-test: {error:#}");
            return Ok(ExitCode::from(2));
        }
    };
    if options.list {
        planned.iter().for_each(|case| println!("{}", case.name));
        return Ok(ExitCode::SUCCESS);
    }
    let seed = options.seed.unwrap_or_else(case::seed_from_clock);
    let ok = run(&planned, seed, options.seconds)?;
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options { seed: None, seconds: None, list: false, wanted: Vec::new() };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--list" => options.list = true,
            "--seed" => {
                let seed = args.next().context("--seed needs a number")?;
                options.seed = Some(seed.parse().with_context(|| format!("--seed {seed}"))?);
            }
            option if option.starts_with('-') => bail!("unknown option {option}"),
            name => match name.parse() {
                Ok(seed) if options.seconds.is_some() => options.seed = Some(seed),
                Ok(seconds) => options.seconds = Some(seconds),
                Err(_) => options.wanted.push(name.to_owned()),
            },
        }
    }
    Ok(options)
}

/// The cases that `wanted` names; all of them where it is empty. A name that fits nothing is an error.
fn plan(suites: &[(&str, &'static [Case])], wanted: &[String]) -> Result<Vec<Planned>> {
    let mut all = Vec::new();
    for (suite, cases) in suites {
        for case in *cases {
            match case.run {
                Run::Once(run) => all.push(Planned { name: format!("{suite}.{}", case.name), run: Box::new(run) }),
                Run::PerRing(run) => all.extend((0..).take(uvm_spec::SDMA_INSTANCES).map(|ring| Planned {
                    name: format!("{suite}.sdma{ring}_{}", case.name),
                    run: Box::new(move |ctx| run(ctx, ring)),
                })),
            }
        }
    }
    let fits = |name: &str, want: &str| name == want || name.split_once('.').is_some_and(|(suite, _)| suite == want);
    for want in wanted {
        if !all.iter().any(|case| fits(&case.name, want)) {
            bail!("no suite and no case is called {want}; --list names them");
        }
    }
    let usual = |name: &str| !ON_REQUEST.iter().any(|suite| fits(name, suite));
    all.retain(|case| match wanted {
        [] => usual(&case.name),
        wanted => wanted.iter().any(|want| fits(&case.name, want)),
    });
    Ok(all)
}

fn run(planned: &[Planned], seed: u64, seconds: Option<u64>) -> Result<bool> {
    let mut ktap = Ktap::start(std::io::stdout(), planned.len())?;
    ktap.note(format_args!("seed {seed}"))?;
    for case in planned {
        let ctx = Ctx::new(&case.name, seed).lasting(seconds);
        let started = Instant::now();
        let outcome = outcome(catch_unwind(AssertUnwindSafe(|| (case.run)(&ctx))));
        let seconds = started.elapsed().as_secs_f64();
        if seconds > 1.0 || matches!(outcome, Outcome::Fail(_)) {
            ktap.note(format_args!("{}: {seconds:.1} s", case.name))?;
        }
        ktap.result(&case.name, &outcome)?;
    }
    Ok(ktap.finish()?)
}

fn outcome(result: std::thread::Result<Result<()>>) -> Outcome {
    match result {
        Ok(Ok(())) => Outcome::Pass,
        Ok(Err(error)) => match error.downcast_ref::<Skip>() {
            Some(Skip(why)) => Outcome::Skip(why.clone()),
            None => Outcome::Fail(format!("{error:#}")),
        },
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Outcome::Fail(format!("panicked: {text}"))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FEW: &[(&str, &[Case])] = &[
        ("a", &[Case { name: "x", run: Run::Once(|_| Ok(())) }, Case { name: "y", run: Run::PerRing(|_, _| Ok(())) }]),
        ("b", &[Case { name: "x", run: Run::Once(|_| Ok(())) }]),
    ];

    fn names(wanted: &[&str]) -> Vec<String> {
        let wanted: Vec<String> = wanted.iter().map(|&w| w.into()).collect();
        plan(FEW, &wanted).unwrap().into_iter().map(|case| case.name).collect()
    }

    #[test]
    fn no_name_runs_all_and_each_ring_is_a_case() {
        assert_eq!(names(&[]), ["a.x", "a.sdma0_y", "a.sdma1_y", "b.x"]);
    }

    #[test]
    fn suite_and_case_names_select() {
        assert_eq!(names(&["b"]), ["b.x"]);
        assert_eq!(names(&["a.sdma1_y", "a.x"]), ["a.x", "a.sdma1_y"]);
    }

    #[test]
    fn unknown_name_is_refused() {
        assert!(plan(FEW, &["a.z".into()]).is_err());
    }

    #[test]
    fn names_of_the_suites_are_distinct() {
        let mut names: Vec<String> = plan(SUITES, &[]).unwrap().into_iter().map(|case| case.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn panic_and_error_are_failures_and_skip_is_none() {
        assert!(matches!(outcome(Err(Box::new("x"))), Outcome::Fail(_)));
        assert!(matches!(outcome(Ok(Err(anyhow::anyhow!("x")))), Outcome::Fail(_)));
        assert!(matches!(outcome(Ok(Err(Skip("x".into()).into()))), Outcome::Skip(_)));
    }

    #[test]
    fn bad_options_are_refused() {
        assert!(parse(&["--seed".into()]).is_err());
        assert!(parse(&["--seed".into(), "x".into()]).is_err());
        assert!(parse(&["--wat".into()]).is_err());
    }
}
