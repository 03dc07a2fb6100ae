// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The command line, by the conventions of QEMU for vhost-user backend programs.

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use vhost_device_uvm::inject::Spec;
use vhost_device_uvm::trace::Depth;

/// A GPU's memory system as a vhost-user device: VRAM, registers, page tables, SDMA rings and interrupts beside stock QEMU.
///
/// Serves one front end and ends with it. SIGTERM and SIGINT end it at once. Exit status: 0 after a session or a signal,
/// 1 where it could not start or the front end broke the protocol, 2 for a wrong command line, 3 where --check found
/// something. The commands on traces: 0
/// where all is well, 1 where two traces differ or a replay diverges, 2 where a file cannot be used.
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

    /// Bytes of VRAM behind the BAR: the first ones, a multiple of 16M; all of it without this. Its size is the next power
    /// of two
    #[arg(long, value_name = "SIZE", conflicts_with = "uma", value_parser = size)]
    pub bar: Option<u64>,

    /// Most bytes of the GART that the driver should give to a segment whose accesses do not snoop: 0 for none, whole pages
    #[arg(long, value_name = "SIZE", default_value = "32M", value_parser = bytes)]
    pub unsnooped: u64,

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

    /// Record what happens in FILE, a new one. DEPTH is mmio (register accesses, doorbells, faults, interrupts), full
    /// (everything, with all that a replay needs) or off
    #[arg(long, num_args = 2, value_names = ["DEPTH", "FILE"])]
    pub trace: Option<Vec<OsString>>,

    /// Judge what the driver does by the rules of the programming guide: each finding is a line in the log, and the exit
    /// status is 3 if there was any
    #[arg(long)]
    pub check: bool,

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
    #[command(flatten)]
    Offline(Offline),
    #[command(flatten)]
    Live(crate::live::Live),
}

/// Commands on recorded traces.
#[derive(Debug, Subcommand)]
pub enum Offline {
    /// Work on recorded traces
    #[command(subcommand)]
    Trace(TraceCommand),
    /// Run a full trace again without QEMU: every output of the device must be the recorded one, bit by bit
    Replay {
        /// What --trace full recorded
        file: PathBuf,
        /// Stop once event N has happened and show the device's state; events are counted as `trace decode` shows
        #[arg(long, value_name = "N")]
        stop_at: Option<u64>,
        /// Stop after each call of the device and ask on standard input what to do
        #[arg(long)]
        step: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum TraceCommand {
    /// Print the events of a trace, one a line
    Decode {
        /// What --trace recorded
        file: PathBuf,
    },
    /// Write a trace in another format
    Export {
        /// What to write
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        /// Only accesses of this register; may be repeated. Without its block's name it is meant in every block
        #[arg(long, value_name = "NAME")]
        register: Vec<String>,
        /// What a replay needs too: calls, clock values, memory read and written
        #[arg(long)]
        all: bool,
        /// Where the registers lie, for mmiotrace: bus address
        #[arg(long, value_name = "ADDR", default_value = "0xf0000000", value_parser = address)]
        base: u64,
        /// The trace of the guest's kernel in the same run, as /sys/kernel/tracing/trace or trace-cmd report give it with
        /// the driver's events on: its events are put between the device's, by the device's clock
        #[arg(long, value_name = "TEXT")]
        guest: Option<PathBuf>,
        /// Replace OUT if it exists
        #[arg(long)]
        force: bool,
        /// What --trace recorded
        file: PathBuf,
        /// Where to write; standard output without it
        out: Option<PathBuf>,
    },
    /// Compare the register programming of two runs
    Diff {
        /// A trace
        a: PathBuf,
        /// Another
        b: PathBuf,
        /// Most differences to print
        #[arg(long, value_name = "N", default_value_t = 50)]
        most: usize,
    },
    /// Count what a trace holds
    Stat {
        /// What --trace recorded
        file: PathBuf,
    },
    /// Make a page of a trace: one HTML file that needs nothing else
    Report {
        /// Replace OUT if it exists
        #[arg(long)]
        force: bool,
        /// What --trace recorded
        file: PathBuf,
        /// Where to write
        out: PathBuf,
    },
}

/// Format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One line an event
    Text,
    /// One JSON object a line
    Json,
    /// What Linux's mmiotrace writes
    Mmiotrace,
    /// Protobuf for Perfetto
    Perfetto,
}

impl Serve {
    /// How deep to trace and where to, if at all; the message of a wrong DEPTH.
    pub fn recording(&self) -> Result<Option<(Depth, PathBuf)>, String> {
        let Some([depth, file]) = self.trace.as_deref() else { return Ok(None) };
        let depth = match depth.to_str() {
            Some("off") => return Ok(None),
            Some("mmio") => Depth::Mmio,
            Some("full") => Depth::Full,
            _ => return Err(format!("--trace {}: off, mmio or full is meant", depth.to_string_lossy())),
        };
        Ok(Some((depth, file.into())))
    }
}

/// Whether the command line asks for the capabilities. The conventions want all else ignored then, even what is wrong.
pub fn wants_capabilities() -> bool {
    std::env::args_os().skip(1).take_while(|arg| arg != "--").any(|arg| arg == "--print-capabilities")
}

/// A carve-out such as `64M` or `64M@0x30000000`.
fn carveout(text: &str) -> Result<(u64, Option<u64>), String> {
    let Some((bytes, base)) = text.split_once('@') else { return Ok((size(text)?, None)) };
    let base = if base.starts_with("0x") { address(base)? } else { size(base)? };
    Ok((size(bytes)?, Some(base)))
}

/// An address such as `0xf0000000`.
fn address(text: &str) -> Result<u64, String> {
    let hex = text.strip_prefix("0x").ok_or("an address starts with 0x")?;
    u64::from_str_radix(hex, 16).map_err(|_| "not a hexadecimal address".to_string())
}

/// A size of VRAM such as `256M`.
fn size(text: &str) -> Result<u64, String> {
    const GRANULE: u64 = vhost_device_uvm::vram::GRANULE;
    let bytes = bytes(text)?;
    if bytes == 0 || bytes % GRANULE != 0 {
        return Err(format!("not a multiple of {}M", GRANULE >> 20));
    }
    Ok(bytes)
}

/// A number with or without one of K, M, G, T.
fn bytes(text: &str) -> Result<u64, String> {
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
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
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
