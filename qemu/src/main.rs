// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! `cargo vm`: guests with the device, from a fresh machine to an exit status.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use vm::{bench, replay, verbs, Options};

/// Boots a Linux guest with the GPU memory device under QEMU; makes whatever that takes first.
#[derive(Parser)]
#[command(name = "cargo vm", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Sends a file through every memory domain of the device and checks it at each stop.
    Demo {
        /// The file; the guest's kernel image where none is named.
        file: Option<PathBuf>,
        #[command(flatten)]
        options: Options,
    },
    /// Gives a shell in a guest.
    Shell {
        #[command(flatten)]
        options: Options,
    },
    /// Runs one command in a guest and ends with its status.
    Run {
        #[command(flatten)]
        options: Options,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Runs test suites in one guest; ends with 0 only when all is well.
    Test {
        /// The suites, such as bringup, bo, reload.
        #[arg(required = true)]
        suites: Vec<String>,
        /// Of suite hmm: run the kernel's test over the kernel's own module, as a baseline.
        #[arg(long)]
        original: bool,
        #[command(flatten)]
        options: Options,
    },
    /// Replays what `--record` recorded through this build's policy; ends with 0 when that does the same again.
    Replay {
        /// The record.
        file: PathBuf,
    },
    /// Measures: `boot`, `trace` and `evict` from outside, other suites inside a guest; all but `trace` and `evict` where none is named.
    Bench {
        /// The suites.
        suites: Vec<String>,
        #[command(flatten)]
        options: Options,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Demo { file, options } => verbs::demo(&options, file.as_deref()),
        Verb::Shell { options } => verbs::shell(&options),
        Verb::Run { options, command } => verbs::run(&options, &command),
        Verb::Test { suites, original, options } => verbs::test(&options, &suites, original),
        Verb::Replay { file } => replay::replay(&file).map(|done| {
            println!("{} events, {} actions: the same again", done.events, done.actions);
            0
        }),
        Verb::Bench { suites, options } => bench::bench(&options, &suites),
    };
    match result {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
        Err(failure) => {
            eprintln!("vm: {failure}");
            ExitCode::from(failure.exit_status())
        }
    }
}
