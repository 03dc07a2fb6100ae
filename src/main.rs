// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The backend program: command line, the process's own event loop, exit status.

mod cli;
mod live;
mod offline;

use anyhow::{bail, Context};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use cli::{Cli, Command, Serve};
use event_manager::{EventManager, EventOps, Events, MutEventSubscriber, SubscriberOps};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use vhost_device_uvm::bus::{RealClock, SystemMemory};
use vhost_device_uvm::check::Checks;
use vhost_device_uvm::control::Control;
use vhost_device_uvm::device::Uma;
use vhost_device_uvm::gmc::{Mmu, TlbSizes};
use vhost_device_uvm::segments::Segments;
use vhost_device_uvm::trace::{Recorder, Tracer};
use vhost_device_uvm::vhost_user::{Server, Socket};
use vhost_device_uvm::{Config, Gpu};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::signal;

/// What `--print-capabilities` prints. QEMU's schema of backend programs has no type for a device like this one, and one
/// of its types would make management software start us as that: a type of our own says that it should not.
const CAPABILITIES: &str = r#"{"type": "uvm", "features": []}"#;

fn main() -> ExitCode {
    if cli::wants_capabilities() {
        println!("{CAPABILITIES}");
        return ExitCode::SUCCESS;
    }
    let cli = Cli::parse();
    let mut logger = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"));
    if let Some(level) = cli.serve.log_level {
        logger.filter_level(level);
    }
    logger.init();
    let (result, failure) = match cli.command {
        None => (serve(&cli.serve), ExitCode::FAILURE),
        Some(Command::Live(command)) => return live::run(&command),
        Some(Command::Offline(command)) => (offline::run(command), ExitCode::from(2)),
    };
    result.unwrap_or_else(|e| {
        eprintln!("vhost-device-uvm: {e:#}");
        failure
    })
}

fn serve(args: &Serve) -> anyhow::Result<ExitCode> {
    // Before any thread starts: they inherit the mask, and only the event loop sees the signals.
    let signals = block_signals().context("cannot watch for signals")?;
    let recording = args.recording().unwrap_or_else(|why| Cli::command().error(ErrorKind::InvalidValue, why).exit());
    if args.uma.is_none() {
        check_memory(args.vram)?;
    }
    let (vram_size, uma) = match args.uma {
        None => (args.vram, Uma::Off),
        Some((size, None)) => (size, Uma::Top),
        Some((size, Some(base))) => (size, Uma::At(base)),
    };
    let config = Config {
        vram_size,
        levels: args.levels,
        tlb: TlbSizes { l1: args.tlb_l1, l2: args.tlb_l2 },
        mmu: if args.mmu == "vidmm" { Mmu::Vidmm } else { Mmu::Gart },
        uma,
        segments: Segments { bar: args.bar, unsnooped: args.unsnooped },
    };
    config.validate()?;
    let trace = match recording {
        Some((depth, path)) => Tracer::new(depth, Box::new(Recorder::create(&path, depth).context("cannot trace")?)),
        None => Tracer::default(),
    };
    let memory = SystemMemory::new(GuestMemoryMmap::new());
    let mut gpu = Gpu::new(config, memory.clone(), Box::new(RealClock::default()))?;
    gpu.set_trace(trace);
    gpu.set_checks(args.check);
    let checks = gpu.checks().clone();
    args.inject.iter().cloned().for_each(|spec| gpu.inject(spec));

    // Before the other: who waits for that one finds this one too.
    let control = args.control_socket.as_deref().map(Socket::bind_private).transpose()?;
    // The name is removed when this function ends.
    let (socket, _name) = match (&args.socket_path, args.fd) {
        (Some(path), None) => Socket::bind(path).map(|(socket, name)| (socket, Some(name)))?,
        (None, Some(fd)) => (Socket::inherit(fd)?, None),
        _ => bail!("either --socket-path or --fd is needed"),
    };
    let server = Server::start(gpu, &config, memory, socket)?;
    match &args.socket_path {
        Some(path) => log::info!("{} MiB of VRAM; waiting for QEMU on {}", vram_size >> 20, path.display()),
        None => log::info!("{} MiB of VRAM; serving an inherited socket", vram_size >> 20),
    }

    let over = Arc::new(AtomicBool::new(false));
    let mut events = EventManager::<Box<dyn MutEventSubscriber>>::new()?;
    events.add_subscriber(Box::new(Signals { file: signals, over: Arc::clone(&over) }));
    let finished = server.finished().try_clone().context("cannot watch for the session's end")?;
    events.add_subscriber(Box::new(Finished { event: finished, over: Arc::clone(&over) }));
    // As the socket's name above.
    let _control_name = match control {
        Some((listener, name)) => {
            let control = Control::new(listener, server.handle()).context("the control socket")?;
            events.add_subscriber(Box::new(control));
            Some(name)
        }
        None => None,
    };
    while !over.load(Ordering::Relaxed) {
        events.run().context("the event loop failed")?;
    }
    if server.is_serving() {
        log::warn!("QEMU is still there: it aborts when the guest next touches the device, and cannot reconnect");
    }
    server.shut_down();
    server.outcome().unwrap_or(Ok(()))?;
    Ok(judgement(&checks))
}

/// Sums up what the checks found.
fn judgement(checks: &Checks) -> ExitCode {
    let counts = checks.tell(|c| c.counts().clone()).unwrap_or_default();
    for (rule, count) in &counts {
        eprintln!("check: {} x {count}: {}", rule.name(), rule.says().trim());
    }
    if counts.is_empty() {
        return ExitCode::SUCCESS;
    }
    ExitCode::from(FOUND)
}

/// Exit status where the checks found something.
const FOUND: u8 = 3;

/// VRAM is memory of this machine, if only as far as the guest uses it.
fn check_memory(vram: u64) -> anyhow::Result<()> {
    let info = std::fs::read_to_string("/proc/meminfo").context("cannot tell how much memory the machine has")?;
    let total =
        info.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let total = total.context("cannot tell how much memory the machine has")?.saturating_mul(1024);
    if vram > total {
        bail!("{} MiB of VRAM are more than the machine's memory of {} MiB", vram >> 20, total >> 20);
    }
    Ok(())
}

/// SIGTERM and SIGINT as a file to poll.
#[allow(unsafe_code, reason = "signalfd has no safe wrapper in std")]
fn block_signals() -> anyhow::Result<File> {
    let numbers = [libc::SIGTERM, libc::SIGINT];
    for number in numbers {
        signal::block_signal(number).map_err(|e| anyhow::anyhow!("{e:?}"))?;
    }
    let set = signal::create_sigset(&numbers)?;
    // SAFETY: `set` is an initialised signal set; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: the kernel just gave us this descriptor and nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Ends the loop at a signal.
struct Signals {
    file: File,
    over: Arc<AtomicBool>,
}

impl MutEventSubscriber for Signals {
    fn process(&mut self, _: Events, _: &mut EventOps) {
        log::info!("ending at a signal");
        self.over.store(true, Ordering::Relaxed);
    }
    fn init(&mut self, ops: &mut EventOps) {
        watch(ops, &self.file);
    }
}

/// Ends the loop when the session is over.
struct Finished {
    event: vmm_sys_util::eventfd::EventFd,
    over: Arc<AtomicBool>,
}

impl MutEventSubscriber for Finished {
    fn process(&mut self, _: Events, _: &mut EventOps) {
        self.over.store(true, Ordering::Relaxed);
    }
    fn init(&mut self, ops: &mut EventOps) {
        watch(ops, &self.event);
    }
}

fn watch(ops: &mut EventOps, file: &impl AsRawFd) {
    if let Err(e) = ops.add(Events::new(file, EventSet::IN)) {
        log::error!("cannot watch a file: {e}");
    }
}
