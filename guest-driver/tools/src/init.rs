// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Process 1 of the guest: mounts, loads the modules, runs one command, reports, ends the machine.
//!
//! What to do comes from files that the launcher put into the initramfs:
//!
//! The command's terminal is the virtio console where there is one, else the kernel's console.
//!
//! | file           | content                                                                        |
//! |----------------|--------------------------------------------------------------------------------|
//! | `/uvm/modules` | paths of kernel modules in load order, one a line; the last is the driver       |
//! | `/uvm/args`    | the command's arguments, each ended by NUL; missing or empty: a shell          |
//! | `/uvm/env`     | `NAME=VALUE` strings, each ended by NUL                                        |
//! | `/uvm/parameters` | parameters of the driver's module; missing: none                            |
//!
//! What happened goes to the second serial port, a line each, for the launcher to read: `init`, `module NAME`,
//! `module-failed NAME: REASON`, `run`, `kmsg LINE`, `kmsg-warnings N`, `record BYTES`, `exit N`. The `exit` line is
//! always the last. Where there is a virtio port called `uvm.record`, the memory manager's record goes there in the end.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result};
use rustix::mount::{mount, MountFlags};
use rustix::system::{finit_module, reboot, RebootCommand};
use rustix::termios::{isatty, tcdrain, tcgetattr, tcsetattr, OptionalActions, OutputModes};

mod kmsg;
mod record;

const MODULES: &str = "/uvm/modules";
const ARGS: &str = "/uvm/args";
const ENV: &str = "/uvm/env";
const PARAMETERS: &str = "/uvm/parameters";
const STATUS_PORT: &str = "/dev/ttyS1";
/// The command's terminal, apart from the kernel's console: no kernel message ever falls into one of its lines.
const TERMINAL: &str = "/dev/hvc0";

/// The command could not be started: the shells' own number for it.
const STATUS_NOT_STARTED: i32 = 127;
/// A module did not load, so that the command was not run.
const STATUS_NO_MODULE: i32 = 125;

/// Where a file system goes: source and type, target, options.
const MOUNTS: &[(&str, &str, &str)] = &[
    ("devtmpfs", "/dev", "mode=0755"),
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devpts", "/dev/pts", "mode=0620,ptmxmode=0666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("tmpfs", "/tmp", "mode=1777"),
    ("tmpfs", "/run", "mode=0755"),
    ("debugfs", "/sys/kernel/debug", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
];

/// Runs as process 1; as anything else it refuses, because its last act is to end the machine.
pub fn main(_args: &[String]) -> Result<ExitCode> {
    anyhow::ensure!(std::process::id() == 1, "only the kernel starts this, as process 1");
    let mut status = Status(None);
    let code = match boot(&mut status) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("init: {error:#}");
            STATUS_NOT_STARTED
        }
    };
    status.line(&format!("exit {code}"));
    end_machine(&mut status)
}

fn boot(status: &mut Status) -> Result<i32> {
    mount_all()?;
    *status = Status::open();
    status.line("init");
    let watch = kmsg::Watch::start();
    let code = if load_modules(status)? { run_command(status)? } else { STATUS_NO_MODULE };
    match record::carry_out() {
        Ok(Some(bytes)) => status.line(&format!("record {bytes}")),
        Ok(None) => {}
        Err(error) => eprintln!("init: the record: {error:#}"),
    }
    match watch.and_then(kmsg::Watch::finish) {
        Ok(report) => {
            for line in &report.lines {
                status.line(&format!("kmsg {line}"));
            }
            status.line(&format!("kmsg-warnings {}", report.count));
        }
        Err(error) => eprintln!("init: the kernel log was not read: {error:#}"),
    }
    Ok(code)
}

fn mount_all() -> Result<()> {
    for (kind, target, options) in MOUNTS {
        fs::create_dir_all(target).with_context(|| format!("making {target}"))?;
        let options = CString::new(*options).context("mount options")?;
        mount(*kind, *target, *kind, MountFlags::empty(), Some(options.as_c_str()))
            .with_context(|| format!("mounting {kind} on {target}"))?;
    }
    for (link, target) in [("/dev/fd", "/proc/self/fd"), ("/dev/stdin", "fd/0"), ("/dev/stdout", "fd/1")] {
        symlink(target, link).with_context(|| format!("linking {link}"))?;
    }
    Ok(())
}

/// Loads what [`MODULES`] names; false when one failed, which was reported.
fn load_modules(status: &mut Status) -> Result<bool> {
    let list = match fs::read_to_string(MODULES) {
        Ok(list) => list,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error).context(MODULES),
    };
    let mut paths = list.lines().filter(|line| !line.is_empty()).peekable();
    while let Some(path) = paths.next() {
        let parameters = if paths.peek().is_none() { parameters()? } else { CString::default() };
        let name = Path::new(path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let loaded = File::open(path).and_then(|file| Ok(finit_module(file.as_fd(), &parameters, 0)?));
        match loaded {
            Ok(()) => status.line(&format!("module {name}")),
            Err(error) => {
                eprintln!("init: {path}: {error}");
                status.line(&format!("module-failed {name}: {error}"));
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// What the driver is loaded with.
fn parameters() -> Result<CString> {
    match fs::read(PARAMETERS) {
        Ok(bytes) => CString::new(bytes).context(PARAMETERS),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(CString::default()),
        Err(error) => Err(error).context(PARAMETERS),
    }
}

/// Runs the command, or a shell where none is named; returns its status as a shell counts it.
fn run_command(status: &mut Status) -> Result<i32> {
    let mut words = nul_separated(ARGS)?;
    if words.is_empty() {
        shell_hint();
        words = vec!["/bin/sh".into(), "-l".into()];
    }
    // The command leads a session of its own with a controlling terminal, so that job control and Ctrl-C work.
    let mut command = Command::new("/bin/setsid");
    command.arg("-c").args(&words).current_dir("/root").env_clear();
    command.envs([("PATH", "/usr/bin:/bin:/sbin"), ("HOME", "/root"), ("TERM", "linux")]);
    for pair in nul_separated(ENV)? {
        if let Some((name, value)) = pair.split_once('=') {
            command.env(name, value);
        }
    }
    if let Ok(terminal) = OpenOptions::new().read(true).write(true).open(TERMINAL) {
        let clone = || terminal.try_clone().context(TERMINAL);
        command.stdin(clone()?).stdout(clone()?).stderr(clone()?);
    }
    status.line("run");
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("init: {}: {error}", words.join(" "));
            return Ok(STATUS_NOT_STARTED);
        }
    };
    Ok(shell_status(reap_until(child.id())?))
}

/// Said on the kernel's console, which the launcher passes on.
fn shell_hint() {
    if Path::new("/dev/dri").exists() {
        println!("The device's node is in /dev/dri, its counters are in /sys/kernel/debug/dri.");
    }
    println!("Ctrl-D ends the guest.");
}

/// Waits for `child`, reaping whatever else was handed to process 1 meanwhile.
fn reap_until(child: u32) -> Result<ExitStatus> {
    loop {
        let Some((pid, status)) = rustix::process::wait(rustix::process::WaitOptions::empty()).context("waiting")?
        else {
            continue;
        };
        if u32::try_from(pid.as_raw_nonzero().get()) == Ok(child) {
            return Ok(ExitStatus::from_raw(status.as_raw()));
        }
    }
}

fn shell_status(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128_i32.saturating_add(signal))).unwrap_or(STATUS_NOT_STARTED)
}

fn nul_separated(path: &str) -> Result<Vec<String>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(path.to_owned()),
    };
    let text = String::from_utf8(bytes).with_context(|| format!("{path} is not UTF-8"))?;
    Ok(text.split_terminator('\0').map(str::to_owned).collect())
}

/// The second serial port; a machine without one is fine, its launcher then learns nothing.
struct Status(Option<File>);

impl Status {
    fn open() -> Self {
        let port = OpenOptions::new().read(true).write(true).open(STATUS_PORT).ok().filter(|port| isatty(port));
        if let Some(port) = &port {
            if let Ok(mut settings) = tcgetattr(port) {
                settings.make_raw();
                settings.output_modes.remove(OutputModes::OPOST);
                // A port that keeps its cooked settings still carries the lines, with a carriage return more.
                let _ = tcsetattr(port, OptionalActions::Now, &settings);
            }
        }
        Self(port)
    }

    fn line(&mut self, line: &str) {
        if let Some(port) = &mut self.0 {
            if let Err(error) = port.write_all(format!("{line}\n").as_bytes()) {
                eprintln!("init: {STATUS_PORT}: {error}");
                self.0 = None;
            }
        }
    }
}

/// Lets both serial ports run dry, then resets: the launcher runs QEMU with `-no-reboot`, so a reset is the quickest end.
fn end_machine(status: &mut Status) -> ! {
    let _ = std::io::stdout().flush();
    let _ = tcdrain(std::io::stdout());
    if let Some(port) = &status.0 {
        let _ = tcdrain(port);
    }
    if let Err(error) = reboot(RebootCommand::Restart) {
        eprintln!("init: reset: {error}");
    }
    loop {
        std::thread::park();
    }
}
