// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The guest's userland: one static binary that is `init` and every tool, told apart by the name it is called by.

use std::process::ExitCode;

mod ask;
mod bench;
mod demo;
mod drm;
mod ib;
mod init;
mod model;
mod rng;
mod test;
mod uvm;

/// A tool: its name and its entry point, which gets the arguments after the name.
type Tool = (&'static str, fn(&[String]) -> anyhow::Result<ExitCode>);

const TOOLS: &[Tool] =
    &[("init", init::main), ("uvm-test", test::main), ("uvm-demo", demo::main), ("uvm-bench", bench::main)];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let called_as = args.first().map(|path| path.rsplit('/').next().unwrap_or_default().to_owned());
    // `uvm-test bo` and `uvm-tools uvm-test bo` mean the same.
    let (name, rest) = match &called_as {
        Some(name) if TOOLS.iter().any(|(tool, _)| tool == name) => (name.as_str(), args.get(1..).unwrap_or_default()),
        _ => (args.get(1).map_or("", String::as_str), args.get(2..).unwrap_or_default()),
    };
    let Some((name, tool)) = TOOLS.iter().find(|(tool, _)| *tool == name) else {
        let names: Vec<&str> = TOOLS.iter().map(|(tool, _)| *tool).collect();
        eprintln!("usage: uvm-tools {} [ARGUMENT...]", names.join("|"));
        return ExitCode::from(2);
    };
    match tool(rest) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
