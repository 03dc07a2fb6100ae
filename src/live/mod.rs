// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The verbs that ask a running device: `regs`, `walk`, `rings`, `tlb`, `vmids`, `faults`, `findings`, `inject`, `top`.

mod text;
mod top;

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde::Serialize;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use vhost_device_uvm::control::{ask, ClientError, Request};
use vhost_device_uvm::inject;
use vhost_device_uvm::view::{AddressSpace, Faults, Findings, Hex, Register, Ring, Tlbs, Walk};

/// Exit status of a question that makes no sense: a register or an address that does not exist.
const REFUSED: u8 = 2;

#[derive(Debug, Subcommand)]
pub enum Live {
    /// Show registers of a running device, with their fields
    Regs {
        /// The vendor's name, with or without the block's prefix; * at the end stands for any rest. Without it: all
        name: Option<String>,
        #[command(flatten)]
        to: To,
    },
    /// Walk the page tables of a running device: each level's entry, and why the walk ends
    Walk {
        /// Address space
        #[arg(long, value_name = "N")]
        vmid: u32,
        /// Virtual address, decimal or with 0x
        va: Hex,
        #[command(flatten)]
        to: To,
    },
    /// Show where a range of addresses lies and the SHA-256 of what is there
    Digest {
        /// Address space
        #[arg(long, value_name = "N")]
        vmid: u32,
        /// Virtual address, decimal or with 0x
        va: Hex,
        /// Bytes, decimal or with 0x
        len: Hex,
        #[command(flatten)]
        to: To,
    },
    /// Show the rings and queues of a running device and the packets that they stand at
    Rings {
        #[command(flatten)]
        to: To,
    },
    /// Show what the translation caches of a running device hold
    Tlb {
        /// Of this address space alone
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..16))]
        vmid: Option<u8>,
        /// At most N entries of each cache
        #[arg(long, value_name = "N", default_value_t = 32)]
        most: usize,
        #[command(flatten)]
        to: To,
    },
    /// Show the address spaces of a running device
    Vmids {
        #[command(flatten)]
        to: To,
    },
    /// Show what a running device knows of page faults
    Faults {
        #[command(flatten)]
        to: To,
    },
    /// Show what a running device with --check found the driver to do wrong
    Findings {
        #[command(flatten)]
        to: To,
    },
    /// Let something go wrong in the hardware of a running device, or show what is injected
    #[command(after_help = inject::HELP)]
    Inject {
        /// What goes wrong; without it: show what is injected
        spec: Option<inject::Spec>,
        /// End all that is injected: rings go on, pages are sound. What was corrupted or lost stays so
        #[arg(long, conflicts_with = "spec")]
        heal: bool,
        #[command(flatten)]
        to: To,
    },
    /// Watch the rates of a running device
    Top {
        /// Seconds from one look to the next
        #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
        interval: f64,
        /// Print one look as text and end
        #[arg(long)]
        once: bool,
        #[command(flatten)]
        to: To,
    },
}

#[derive(Args, Debug)]
pub struct To {
    /// The device's control socket
    #[arg(long, value_name = "PATH")]
    pub control_socket: PathBuf,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

fn interval(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|s| (0.05..=3600.0).contains(s)).ok_or("0.05 to 3600 seconds are possible".into())
}

/// Asks and prints.
pub fn run(command: &Live) -> ExitCode {
    let result = match command {
        Live::Regs { name, to } => {
            let detailed = name.is_some();
            show(to, &Request::Regs { name: name.clone() }, |out, regs: Vec<Register>| {
                text::registers(out, &regs, detailed)
            })
        }
        Live::Walk { vmid, va, to } => {
            show(to, &Request::Walk { vmid: *vmid, va: *va }, |out, walk: Walk| text::walk(out, &walk))
        }
        Live::Digest { vmid, va, len, to } => {
            show(to, &Request::Digest { vmid: *vmid, va: *va, len: *len }, |out, digest| text::digest(out, &digest))
        }
        Live::Rings { to } => show(to, &Request::Rings {}, |out, rings: Vec<Ring>| text::rings(out, &rings)),
        Live::Tlb { vmid, most, to } => {
            show(to, &Request::Tlb { vmid: *vmid, most: Some(*most) }, |out, tlbs: Tlbs| text::tlbs(out, &tlbs))
        }
        Live::Vmids { to } => show(to, &Request::Vmids {}, |out, spaces: Vec<AddressSpace>| text::vmids(out, &spaces)),
        Live::Faults { to } => show(to, &Request::Faults {}, |out, faults: Faults| text::faults(out, &faults)),
        Live::Findings { to } => {
            show(to, &Request::Findings {}, |out, findings: Findings| text::findings(out, &findings))
        }
        Live::Inject { spec, heal, to } => {
            let request = match (spec, heal) {
                (Some(spec), _) => Request::Inject { spec: spec.to_string() },
                (None, true) => Request::Heal {},
                (None, false) => Request::Injected {},
            };
            show(to, &request, |out, lines: Vec<String>| lines.iter().try_for_each(|line| writeln!(out, "{line}")))
        }
        Live::Top { interval, once, to } => top::run(to, *interval, *once),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough.
        Err(Failure::Output(e)) if e.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("vhost-device-uvm: {e}");
            ExitCode::from(if matches!(e, Failure::Client(ClientError::Refused(_))) { REFUSED } else { 1 })
        }
    }
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Asks one thing and prints the answer, as JSON or as `print` does.
fn show<T: DeserializeOwned + Serialize>(
    to: &To,
    request: &Request,
    print: impl FnOnce(&mut dyn Write, T) -> io::Result<()>,
) -> Result<(), Failure> {
    let answer = ask(&to.control_socket, request)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if to.json {
        json(&mut out, &answer)?;
    } else {
        print(&mut out, answer)?;
    }
    Ok(out.flush()?)
}

fn json(out: &mut dyn Write, answer: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, answer)?;
    writeln!(out)
}
