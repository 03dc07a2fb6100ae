// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! One run from start to verdict: everything that happens arrives as an event, and the first that ends the run decides.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use images::Overlay;
use rustix::termios::{tcgetattr, tcsetattr, OptionalActions, Termios};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::accel::KVM_GAVE_UP;
use crate::ask::Asker;
use crate::backend;
use crate::failure::Failure;
use crate::lab::Lab;
use crate::process::Process;
use crate::qemu::{self, Files};
use crate::qmp;
use crate::size::Size;
use crate::streams::{follow, Door, Event, Lines, Source, Tail};

/// How long QEMU may take to end once the guest is through, and the backend once QEMU is gone.
const ENDING: Duration = Duration::from_secs(5);
/// How long the last words of a process that ended may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How many lines of a log a failure shows.
const SHOWN: usize = 30;
/// What the kernel says when it is at its end.
const PANIC: &str = "Kernel panic - not syncing";

/// Where the story of a panic begins.
const PANIC_BEGINS: [&str; 4] = ["BUG:", "Oops", "kernel BUG at", PANIC];

/// What a guest is to do.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// Its command, environment and files; the folders and modules of the options come on top.
    pub overlay: Overlay,
    /// Lets the command ask the device about itself: [`crate::ask`].
    pub ask: bool,
    /// Joins this process's terminal to the command's.
    pub interactive: bool,
    /// Passes what the guest says on: the command's words to stdout, the kernel's to stderr.
    pub show: bool,
    /// Tells each stage of the boot with its time instead of what the kernel says before the command runs.
    pub stages: bool,
    /// Ends the run on SIGINT, SIGTERM and SIGHUP. For a program; a test keeps the defaults.
    pub signals: bool,
    /// How long all of it may take.
    pub limit: Option<Duration>,
}

impl Job {
    /// A job that runs a command.
    pub fn command<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        let overlay = Overlay { args: words.into_iter().map(Into::into).collect(), ..Overlay::default() };
        Self { overlay, ..Self::default() }
    }
}

/// What a guest that came to its end said.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Status of the command as a shell counts it.
    pub status: i32,
    /// Lines of the kernel log that should not be there; none: the guest did not say.
    pub kmsg_warnings: Option<usize>,
    /// The first of those lines.
    pub kmsg: Vec<String>,
    /// What the command printed.
    pub output: Vec<String>,
    /// Bytes of the memory manager's record that were carried out.
    pub record: Option<u64>,
    /// When init came to a point, counted from the start of QEMU: `init`, `module NAME`, `run`, `exit`.
    pub stages: Vec<(String, Duration)>,
}

impl Report {
    /// When a stage was reached.
    pub fn stage(&self, name: &str) -> Option<Duration> {
        self.stages.iter().find(|(stage, _)| stage == name).map(|(_, time)| *time)
    }
}

/// Runs `job` in a guest of `lab`. Whatever happens, nothing of it is left when this returns.
pub(crate) fn run(lab: &Lab, job: &Job, on_line: &mut dyn FnMut(&str)) -> Result<Report, Failure> {
    let folder = tempfile::Builder::new().prefix("uvm-").tempdir().map_err(Failure::system("temporary folder"))?;
    let at = |name: &str| folder.path().join(name);
    let (sender, events) = mpsc::channel();
    let _signals = if job.signals { Some(SignalWatch::start(sender.clone())?) } else { None };

    let initramfs = at("initramfs");
    lab.overlay(job)?.write(&lab.base, &initramfs)?;

    let device = at("device");
    let device_control = lab.options.control_socket.clone().or(job.ask.then(|| at("control")));
    let disk = lab.options.disk.map(|size| make_disk(at("disk"), size)).transpose()?;
    let mut backend = match &lab.backend {
        Some(program) => Some(start_backend(program, &device, device_control.as_deref(), lab, &sender)?),
        None => None,
    };

    let (console, status, control) = (at("console"), at("status"), at("qmp"));
    let _doors =
        [Door::open(&console, Source::Console, sender.clone())?, Door::open(&status, Source::Status, sender.clone())?];
    let files = Files {
        kernel: &lab.kernel,
        initramfs: &initramfs,
        console: &console,
        status: &status,
        qmp: &control,
        device: lab.backend.as_ref().map(|_| device.as_path()),
        disk: disk.as_deref(),
    };
    let mut command = lab.qemu.command();
    command.args(qemu::arguments(&lab.options, lab.accel, &files, job.interactive)).stderr(Stdio::piped());
    let _terminal = if job.interactive {
        Some(Terminal::keep())
    } else {
        command.stdin(if job.ask { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped());
        None
    };
    let mut qemu = Process::start("QEMU", command, !job.interactive)?;
    qemu.notify(sender.clone(), Event::QemuEnded)?;
    if let Some(output) = qemu.child().stdout.take() {
        follow(Source::Terminal, output, sender.clone());
    }
    if let Some(errors) = qemu.child().stderr.take() {
        follow(Source::Qemu, errors, sender.clone());
    }
    drop(sender);

    let mut watch = Watch::new(job, &events, on_line);
    watch.asker = device_control.and_then(|path| Some(Asker::new(&path, qemu.child().stdin.take()?)));
    // What nobody follows counts as closed.
    if job.interactive {
        watch.closed.push(Source::Terminal);
    }
    if backend.is_none() {
        watch.closed.push(Source::Backend);
    }
    let end = watch.until_end();
    let report = finish(&mut watch, end, &mut qemu, backend.as_mut(), &control)?;
    if let Some(file) = &lab.options.record {
        check_record(file, report.record)?;
    }
    Ok(report)
}

/// All of what the guest sent is there.
fn check_record(file: &Path, sent: Option<u64>) -> Result<(), Failure> {
    let sent = sent.ok_or(Failure::NoRecord { sent: None, there: 0 })?;
    let there = std::fs::metadata(file).map_err(Failure::system(file.display().to_string()))?.len();
    if there == sent {
        Ok(())
    } else {
        Err(Failure::NoRecord { sent: Some(sent), there })
    }
}

/// An empty disk takes no room until it is written.
fn make_disk(path: PathBuf, size: Size) -> Result<PathBuf, Failure> {
    let made = std::fs::File::create(&path).and_then(|file| file.set_len(size.bytes()));
    made.map_err(Failure::system(path.display().to_string()))?;
    Ok(path)
}

fn start_backend(
    program: &Path,
    socket: &Path,
    control: Option<&Path>,
    lab: &Lab,
    sender: &Sender<Event>,
) -> Result<Process, Failure> {
    let mut process = backend::start(program, socket, control, &lab.options)?;
    let errors = process.child().stderr.take();
    if let Err(reason) = backend::wait_until_listening(&mut process, socket) {
        process.kill();
        let mut log = String::new();
        if let Some(mut errors) = errors {
            // What cannot be read is not shown.
            let _ = std::io::Read::read_to_string(&mut errors, &mut log);
        }
        return Err(Failure::BackendNotStarted { reason, log });
    }
    process.notify(sender.clone(), Event::BackendEnded)?;
    if let Some(errors) = errors {
        follow(Source::Backend, errors, sender.clone());
    }
    Ok(process)
}

/// Why the watcher stopped watching.
#[derive(Debug)]
enum End {
    /// The guest reported its command's status.
    Exit,
    Qemu,
    Backend,
    Signal(i32),
    TimedOut(Duration),
}

/// Ends both processes in order and gives the verdict.
fn finish(
    watch: &mut Watch<'_>,
    end: End,
    qemu: &mut Process,
    backend: Option<&mut Process>,
    control: &Path,
) -> Result<Report, Failure> {
    // A guest that is through, or whose device is gone, ends its QEMU by itself.
    let through = matches!(end, End::Exit | End::Qemu | End::Backend) && !watch.qemu_tail.any(KVM_GAVE_UP);
    let grace = if through { ENDING } else { Duration::ZERO };
    let mut qemu_status = qemu.wait(grace);
    if qemu_status.is_none() {
        // An orderly end lets the backend see a disconnection; where QEMU does not answer, killing is all there is.
        if qmp::quit(control).is_ok() {
            qemu_status = qemu.wait(ENDING);
        }
        qemu.kill();
    }
    let backend_status = backend.and_then(|backend| {
        let by_itself = backend.wait(ENDING);
        if by_itself.is_none() {
            backend.terminate();
            backend.wait(ENDING);
            backend.kill();
        }
        // One that had to be told is no failure of the guest's, but worth a line.
        if by_itself.is_none() {
            eprintln!("vm: the backend did not end with QEMU and was ended");
        }
        by_itself
    });
    watch.drain(&SOURCES);
    watch.take_rests();
    let panicked = watch.console_tail.any(PANIC);
    let backend_log = watch.backend_tail.last(SHOWN);
    match end {
        _ if panicked => Err(Failure::GuestPanicked { console: watch.console_tail.since_first(&PANIC_BEGINS, SHOWN) }),
        End::Signal(signal) => Err(Failure::Interrupted(signal)),
        End::Exit if backend_status.is_some_and(|status| status.code() == Some(CHECKS_FOUND)) => {
            Err(Failure::DriverFaulty { log: backend_log })
        }
        End::TimedOut(after) => Err(Failure::TimedOut { after, console: watch.said_last() }),
        // QEMU aborts when the backend dies, so the backend is the one to name, whichever was seen first.
        End::Backend | End::Qemu | End::Exit if backend_status.is_some_and(|status| !status.success()) => {
            Err(Failure::BackendDied { status: backend_status.unwrap_or_default(), log: backend_log })
        }
        End::Backend => Err(Failure::BackendDied { status: backend_status.unwrap_or_default(), log: backend_log }),
        End::Qemu => {
            let log = watch.qemu_tail.last(SHOWN) + &watch.said_last();
            Err(Failure::QemuDied { status: qemu_status.unwrap_or_default(), log })
        }
        End::Exit => match watch.failed_module.take() {
            Some(module) => Err(Failure::ModuleFailed(module)),
            None => after_exit(watch, qemu_status),
        },
    }
}

/// Exit status of a backend whose checks found something.
const CHECKS_FOUND: i32 = 3;

fn after_exit(watch: &mut Watch<'_>, qemu_status: Option<ExitStatus>) -> Result<Report, Failure> {
    if let Some(status) = qemu_status.filter(|status| !status.success()) {
        return Err(Failure::QemuDied { status, log: watch.qemu_tail.last(SHOWN) });
    }
    Ok(std::mem::take(&mut watch.report))
}

/// Takes events and keeps what they say.
struct Watch<'a> {
    job: &'a Job,
    events: &'a Receiver<Event>,
    on_line: &'a mut dyn FnMut(&str),
    asker: Option<Asker>,
    start: Instant,
    report: Report,
    exited: bool,
    failed_module: Option<String>,
    closed: Vec<Source>,
    lines: [Lines; 5],
    console_tail: Tail,
    terminal_tail: Tail,
    qemu_tail: Tail,
    backend_tail: Tail,
}

impl<'a> Watch<'a> {
    fn new(job: &'a Job, events: &'a Receiver<Event>, on_line: &'a mut dyn FnMut(&str)) -> Self {
        Self {
            job,
            events,
            on_line,
            asker: None,
            start: Instant::now(),
            report: Report::default(),
            exited: false,
            failed_module: None,
            closed: Vec::new(),
            lines: Default::default(),
            console_tail: Tail::default(),
            terminal_tail: Tail::default(),
            qemu_tail: Tail::default(),
            backend_tail: Tail::default(),
        }
    }

    fn until_end(&mut self) -> End {
        loop {
            let left = self.job.limit.map_or(Duration::MAX, |limit| limit.saturating_sub(self.start.elapsed()));
            let event = match self.events.recv_timeout(left.min(Duration::from_secs(3600))) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => match self.job.limit {
                    Some(limit) if self.start.elapsed() >= limit => return End::TimedOut(limit),
                    _ => continue,
                },
                // Each process's end is an event, so all senders gone means both ended.
                Err(RecvTimeoutError::Disconnected) => return End::Qemu,
            };
            match event {
                event @ (Event::Said(..) | Event::Closed(_)) => self.take(event),
                Event::QemuEnded => {
                    self.drain(&[Source::Status, Source::Console]);
                    return if self.exited { End::Exit } else { End::Qemu };
                }
                Event::BackendEnded if self.exited => {}
                Event::BackendEnded => {
                    // A guest that has just finished takes QEMU and with it the backend down: its word may be under way.
                    self.drain(&[Source::Status]);
                    return if self.exited { End::Exit } else { End::Backend };
                }
                Event::Signal(signal) => return End::Signal(signal),
            }
            if self.exited {
                return End::Exit;
            }
            // The machine is stopped for good then, and QEMU would stay.
            if self.qemu_tail.any(KVM_GAVE_UP) {
                return End::Qemu;
            }
        }
    }

    /// Takes what is still under way from `sources`, until they are closed or silent.
    fn drain(&mut self, sources: &[Source]) {
        while sources.iter().any(|source| !self.closed.contains(source)) {
            match self.events.recv_timeout(LAST_WORDS) {
                Ok(event) => self.take(event),
                Err(_) => break,
            }
        }
    }

    /// A line without an end is a line when nothing more comes.
    fn take_rests(&mut self) {
        for (at, source) in SOURCES.into_iter().enumerate() {
            if let Some(rest) = self.lines.get_mut(at).and_then(Lines::rest) {
                self.line(source, rest);
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Said(source, bytes) => self.said(source, &bytes),
            Event::Closed(source) => self.closed.push(source),
            Event::QemuEnded | Event::BackendEnded | Event::Signal(_) => {}
        }
    }

    fn said(&mut self, source: Source, bytes: &[u8]) {
        if self.job.show && source == Source::Terminal {
            // Shown as it comes, so that a line that grows is seen growing. A reader that went away is no reason to stop.
            let text: Vec<u8> = bytes.iter().copied().filter(|&byte| byte != b'\r').collect();
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(&text).and_then(|()| out.flush());
        }
        let at = SOURCES.iter().position(|other| *other == source).unwrap_or_default();
        let lines = self.lines.get_mut(at).map(|lines| lines.add(bytes)).unwrap_or_default();
        for line in lines {
            self.line(source, line);
        }
    }

    fn line(&mut self, source: Source, line: String) {
        match source {
            Source::Terminal => {
                (self.on_line)(&line);
                if let Some(asker) = &mut self.asker {
                    asker.line(&line);
                }
                self.terminal_tail.add(line.clone());
                self.report.output.push(line);
            }
            Source::Console => {
                if !self.job.stages || self.report.stage("run").is_some() {
                    self.pass_on("", &line);
                }
                self.console_tail.add(line);
            }
            Source::Status => self.status(&line),
            Source::Qemu => {
                self.pass_on("qemu: ", &line);
                self.qemu_tail.add(line);
            }
            Source::Backend => {
                self.pass_on("backend: ", &line);
                self.backend_tail.add(line);
            }
        }
    }

    fn pass_on(&self, from: &str, line: &str) {
        if self.job.show {
            // A terminal in raw mode needs the carriage return.
            let end = if self.job.interactive { "\r\n" } else { "\n" };
            eprint!("{from}{line}{end}");
        }
    }

    fn status(&mut self, line: &str) {
        let time = self.start.elapsed();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "init" | "run" | "module" => {
                if self.job.stages {
                    let stage = match word {
                        "init" => "the kernel is up",
                        "module" => line,
                        _ => "the command runs",
                    };
                    eprintln!("[{:5.1} s] {stage}", time.as_secs_f64());
                }
                self.report.stages.push((line.to_owned(), time));
            }
            "module-failed" => self.failed_module = Some(rest.to_owned()),
            "record" => self.report.record = rest.parse().ok(),
            "kmsg" => self.report.kmsg.push(rest.to_owned()),
            "kmsg-warnings" => self.report.kmsg_warnings = rest.parse().ok(),
            "exit" => {
                if let Ok(status) = rest.parse() {
                    self.report.status = status;
                    self.report.stages.push(("exit".into(), time));
                    self.exited = true;
                }
            }
            _ => {}
        }
    }

    fn said_last(&self) -> String {
        self.console_tail.last(SHOWN / 2) + &self.terminal_tail.last(SHOWN / 2)
    }
}

const SOURCES: [Source; 5] = [Source::Terminal, Source::Console, Source::Status, Source::Qemu, Source::Backend];

/// Hands signals over as events until it is dropped.
struct SignalWatch(signal_hook::iterator::Handle);

impl SignalWatch {
    fn start(events: Sender<Event>) -> Result<Self, Failure> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(Failure::system("signals"))?;
        let handle = signals.handle();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                if events.send(Event::Signal(signal)).is_err() {
                    break;
                }
            }
        });
        Ok(Self(handle))
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The terminal's settings, put back in the end: a QEMU that was killed leaves it raw.
struct Terminal(Option<Termios>);

impl Terminal {
    fn keep() -> Self {
        Self(tcgetattr(std::io::stdin()).ok())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(settings) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, settings);
        }
    }
}
