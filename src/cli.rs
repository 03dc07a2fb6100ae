// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The command line, by the conventions of QEMU for vhost-user backend programs.

use clap::{ArgGroup, Args, Parser, Subcommand};
use std::os::fd::RawFd;
use std::path::PathBuf;
use vhost_device_uvm::inject::Spec;

/// A GPU's memory system as a vhost-user device: VRAM, registers, page tables, SDMA rings and interrupts beside stock QEMU.
///
/// Serves one front end and ends with it. SIGTERM and SIGINT end it at once. Exit status: 0 after a session or a signal,
/// 1 where it could not start or the front end broke the protocol, 2 for a wrong command line.
#[derive(Debug, Parser)]
#[command(name = "vhost-device-uvm", version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(group(ArgGroup::new("socket").args(["socket_path", "fd"]).required(true)))]
pub struct Cli {
    #[command(flatten)]
    pub serve: Serve,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Args, Debug)]
pub struct Serve {
    /// Listen on a Unix socket at PATH; the name is removed at the end
    #[arg(long, value_name = "PATH")]
    pub socket_path: Option<PathBuf>,

    /// Use the inherited file descriptor N, a listening or a connected Unix stream socket
    #[arg(long, value_name = "N")]
    pub fd: Option<RawFd>,

    /// Print what this backend can do as JSON and exit; everything else on the command line is ignored
    #[arg(long)]
    pub print_capabilities: bool,

    /// Bytes of VRAM, with K, M, G or T as suffix: a multiple of 16M, at most the machine's memory
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = size)]
    pub vram: u64,

    /// Levels of the GPUVM page tables
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=5))]
    pub levels: u32,

    /// Take VRAM out of guest RAM (UMA) instead of giving it a BAR: SIZE bytes at bus address BASE, or without BASE as
    /// high below 4 GiB as they fit with 16 MiB above them for firmware. The guest must be kept off them
    #[arg(long, value_name = "SIZE[@BASE]", conflicts_with = "vram", value_parser = carveout)]
    pub uma: Option<(u64, Option<u64>)>,

    /// How VMID 0 translates: a flat GART in VRAM, or the three-level table of the vidmm profile
    #[arg(long, value_name = "PROFILE", default_value = "gart", value_parser = ["gart", "vidmm"])]
    pub mmu: String,

    /// Entries of each SDMA instance's translation cache
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub tlb_l1: usize,

    /// Entries of the shared translation cache
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub tlb_l2: usize,

    /// Record register accesses, ring packets and interrupts in FILE
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// Let the verbs regs, walk, rings, tlb, vmids, faults and top look at the device, over a Unix socket at PATH
    #[arg(long, value_name = "PATH")]
    pub control_socket: Option<PathBuf>,

    /// Let something go wrong in the hardware; may be repeated. `vhost-device-uvm inject --help` tells what can
    #[arg(long, value_name = "SPEC")]
    pub inject: Vec<Spec>,

    /// Least severe messages to print: error, warn, info, debug, trace or off. RUST_LOG is used without it
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<log::LevelFilter>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Work on recorded traces
    #[command(subcommand)]
    Trace(TraceCommand),
    #[command(flatten)]
    Live(crate::live::Live),
}

#[derive(Debug, Subcommand)]
pub enum TraceCommand {
    /// Print the events of a trace, one a line
    Decode {
        /// What --trace recorded
        file: PathBuf,
    },
}

/// Whether the command line asks for the capabilities. The conventions want all else ignored then, even what is wrong.
pub fn wants_capabilities() -> bool {
    std::env::args_os().skip(1).take_while(|arg| arg != "--").any(|arg| arg == "--print-capabilities")
}

/// A carve-out such as `64M` or `64M@0x30000000`.
fn carveout(text: &str) -> Result<(u64, Option<u64>), String> {
    let Some((bytes, base)) = text.split_once('@') else { return Ok((size(text)?, None)) };
    let base = match base.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).map_err(|_| "not a hexadecimal address".to_string())?,
        None => size(base)?,
    };
    Ok((size(bytes)?, Some(base)))
}

/// A size such as `256M`.
fn size(text: &str) -> Result<u64, String> {
    const GRANULE: u64 = vhost_device_uvm::vram::GRANULE;
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let suffix = text.strip_prefix(digits).unwrap_or_default();
    let shift = match suffix.to_ascii_uppercase().trim_end_matches('B').trim_end_matches('I') {
        "" if suffix.is_empty() => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(format!("unknown suffix {suffix:?}: K, M, G or T is meant")),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number with K, M, G or T".to_string())?;
    let bytes = number.checked_mul(1 << shift).ok_or("too large")?;
    if bytes == 0 || bytes % GRANULE != 0 {
        return Err(format!("not a multiple of {}M", GRANULE >> 20));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_take_binary_suffixes() {
        for (text, bytes) in
            [("16777216", 16 << 20), ("32768K", 32 << 20), ("256M", 256 << 20), ("1g", 1 << 30), ("2GiB", 2 << 30)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_that_are_none_are_refused() {
        for text in [
            "",
            "M",
            "0",
            "-1",
            "1.5G",
            "17M",
            "8M",
            "256Q",
            "256MM",
            "16777216T",
            "99999999999999999999",
            "256 M",
            "16777216B",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
