// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The commands on recorded traces.

use crate::cli::{Format, Offline, TraceCommand};
use anyhow::{bail, Context};
use std::fs::File;
use std::io::{BufRead, BufWriter, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use uvm_spec::lookup;
use vhost_device_uvm::trace::{self, Diff, Guest, Reader, Replay, ReplayError, Report, Selection, Stat, TraceError};
use vhost_device_uvm::view::names;

/// What a command that compares gives where things differ.
const DIFFERENT: u8 = 1;

/// Runs `command`: its exit status, or why its input cannot be used.
pub fn run(command: Offline) -> anyhow::Result<ExitCode> {
    match command {
        Offline::Replay { file, stop_at, step } => return replay(&file, stop_at, step),
        Offline::Trace(TraceCommand::Decode { file }) => {
            export(&file, None, false, trace::Format::Text, &Selection::default())?;
        }
        Offline::Trace(TraceCommand::Export { format, register, all, base, guest, force, file, out }) => {
            let format = match format {
                Format::Text => trace::Format::Text,
                Format::Json => trace::Format::Json,
                Format::Mmiotrace => trace::Format::Mmiotrace,
                Format::Perfetto => trace::Format::Perfetto,
            };
            let guest = guest.map_or(Ok(Guest::default()), |text| join(&file, &text))?;
            let selection = Selection { seam: all, base, guest, ..Selection::default() }.with_registers(&register)?;
            export(&file, out.as_deref(), force, format, &selection)?;
        }
        Offline::Trace(TraceCommand::Diff { a, b, most }) => {
            let diff = Diff::new(Reader::open(&a)?, Reader::open(&b)?)?;
            print(&diff.describe(most))?;
            return Ok(if diff.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) });
        }
        Offline::Trace(TraceCommand::Stat { file }) => {
            let mut stat = Stat::default();
            let result = stat.take(Reader::open(&file)?);
            print(&stat.to_string())?;
            result?;
        }
        Offline::Trace(TraceCommand::Report { force, file, out }) => {
            let report = judged(Report::of(|| Reader::open(&file))?, &file)?;
            let mut page = create(&out, force)?;
            page.write_all(report.html(&file.display().to_string()).as_bytes())?;
            page.flush()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `report` with what the checks find when its trace is replayed; as it is where it cannot be.
fn judged(report: Report, file: &Path) -> anyhow::Result<Report> {
    if !report.is_full() {
        return Ok(report);
    }
    let mut replay = match Replay::open(file) {
        Err(ReplayError::Unfit(_)) => return Ok(report),
        replay => replay?,
    };
    replay.judge();
    if let Err(error) = replay.run(None) {
        log::warn!("{}: judged only as far as it is replayed: {error}", file.display());
    }
    let gpu = replay.gpu();
    Ok(report.with_findings(gpu.findings(), gpu.finding_counts()))
}

/// The events of the guest's kernel in `text`, by the clock of the trace `file`.
fn join(file: &Path, text: &Path) -> anyhow::Result<Guest> {
    let name = text.display().to_string();
    let text = std::fs::read_to_string(text).with_context(|| name.clone())?;
    let guest = Guest::join(Reader::open(file)?, &text, &name)?;
    if let Some(doubt) = guest.doubt {
        log::info!("{name}: the clocks are known to {doubt} ns");
    }
    Ok(guest)
}

/// A new file, or an existing one that may be replaced.
fn create(path: &Path, force: bool) -> anyhow::Result<BufWriter<File>> {
    let file = if force { File::create(path) } else { File::create_new(path) };
    let file = file.with_context(|| match path.exists() && !force {
        true => format!("{} exists; --force replaces it", path.display()),
        false => format!("cannot write {}", path.display()),
    })?;
    Ok(BufWriter::new(file))
}

/// Prints `text`, unless whoever reads has seen enough.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

fn export(
    file: &Path,
    out: Option<&Path>,
    force: bool,
    format: trace::Format,
    selection: &Selection,
) -> anyhow::Result<()> {
    // The input first: what is no trace leaves no empty file.
    let input = Reader::open(file)?;
    let mut out: Box<dyn Write> = match out {
        Some(path) => Box::new(create(path, force)?),
        None => Box::new(BufWriter::new(std::io::stdout().lock())),
    };
    match trace::export(input, format, selection, &mut out) {
        Ok(events) => log::info!("{events} events"),
        // Whoever reads has seen enough.
        Err(TraceError::Io(e)) if e.kind() == ErrorKind::BrokenPipe => (),
        Err(e) => return Err(e.into()),
    }
    Ok(())
}

/// Replays the trace `file`: its exit status, or why it cannot be used.
pub fn replay(file: &Path, stop_at: Option<u64>, step: bool) -> anyhow::Result<ExitCode> {
    let mut replay = Replay::open(file)?;
    let result = match step {
        true => replay.run(stop_at.or(Some(0))).map_err(Into::into).and_then(|_| ask(&mut replay)),
        false => whole(&mut replay, stop_at),
    };
    match result.map_err(|e| e.downcast::<ReplayError>()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Ok(error @ ReplayError::Diverged(_))) => {
            println!("{error}");
            Ok(ExitCode::from(DIFFERENT))
        }
        Err(Ok(error)) => Err(error).context(file.display().to_string()),
        Err(Err(error)) => Err(error),
    }
}

fn whole(replay: &mut Replay, stop_at: Option<u64>) -> anyhow::Result<()> {
    let (event, more) = replay.run(stop_at)?;
    match (stop_at, more) {
        (None, _) => println!("{event} events replayed, every output as recorded"),
        (Some(stop), false) if event <= stop => bail!("event {stop} is none: the trace has {event}"),
        (Some(_), _) => {
            println!("stopped before event {event}");
            print(&state(replay))?;
        }
    }
    Ok(())
}

const HELP: &str = "Enter or s: next call   g N: go to event N   r [NAME]: registers   p: ring pointers   q: quit\n";

/// Steps as standard input says.
fn ask(replay: &mut Replay) -> anyhow::Result<()> {
    print(HELP)?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (None | Some("s"), _) => match replay.step()? {
                Some(stopped) => {
                    for (number, time, event) in stopped.events {
                        let text = trace::describe(&event);
                        print(&format!("{number:>8} {:>14.6} {text}\n", trace::seconds(time)))?;
                    }
                }
                None => {
                    print("the end of the trace, every output as recorded\n")?;
                    return Ok(());
                }
            },
            (Some("g"), Some(number)) => match number.parse() {
                Ok(number) => {
                    let (event, _) = replay.run(Some(number))?;
                    print(&format!("before event {event}\n"))?;
                }
                Err(_) => print("not a number\n")?,
            },
            (Some("r"), None) => print(&state(replay))?,
            (Some("r"), Some(name)) => match names::find(name) {
                Ok(found) => found.into_iter().try_for_each(|(index, _)| print(&register(replay, index)))?,
                Err(unknown) => print(&format!("{unknown}\n"))?,
            },
            (Some("p"), _) => print(&rings(replay))?,
            (Some("q"), _) => return Ok(()),
            _ => print(HELP)?,
        }
    }
    Ok(())
}

/// What differs from a device after reset: registers, and rings.
fn state(replay: &Replay) -> String {
    let changed = (0..uvm_spec::MMIO_DWORDS).filter(|&index| {
        let reset = lookup(index).map(|located| located.reg.reset);
        reset.is_some() && replay.gpu().peek_register(index) != reset
    });
    changed.map(|index| register(replay, index)).chain([rings(replay)]).collect()
}

fn register(replay: &Replay, index: u32) -> String {
    format!("{}\n", trace::describe_register(index, replay.gpu().peek_register(index).unwrap_or(0)))
}

fn rings(replay: &Replay) -> String {
    let rings = replay.gpu().ring_pointers().filter(|(_, rptr, wptr)| (*rptr, *wptr) != (0, 0));
    rings.map(|(ring, rptr, wptr)| format!("{ring} rptr {rptr:#x} wptr {wptr:#x}\n")).collect()
}
