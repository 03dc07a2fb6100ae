// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Chooses the accelerator by trying: a /dev/kvm that can be opened may still not run anything.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::process::Process;
use crate::streams::{follow, Event, Source};

/// QEMU says this when KVM cannot go on with a guest; the machine is stopped then and never goes on.
pub(crate) const KVM_GAVE_UP: &str = "KVM internal error";

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// The processor's own virtualisation.
    Kvm,
    /// QEMU's translator, a host thread per virtual CPU.
    Tcg,
}

impl Accel {
    /// QEMU's arguments for it. Both CPU models offer all they can do: of those tried the quickest to boot. But the
    /// translator does `rep stosb` and `rep movsb` byte by byte, which a kernel told that they are fast clears and copies
    /// all its memory with: the guest is told that they are not.
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max,-erms,-fsrm,-fzrm,-fsrs,-fsrc"],
        }
    }

    /// As users know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        }
    }
}

/// What the kernel says first, on a machine that runs it.
const ALIVE: &str = "Linux version";
/// How long it may take to say so; a KVM that works needs a tenth of it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lets KVM boot `kernel` until it speaks: some hosts have a KVM that starts a machine and cannot run a kernel.
/// Asked once a boot of the host; the answer is kept in `folder`.
pub fn choose(qemu: impl FnOnce() -> Command, kernel: &Path, folder: &Path) -> Accel {
    if !Path::new("/dev/kvm").exists() {
        return Accel::Tcg;
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let file = folder.join("accel");
    let known = fs::read_to_string(&file).ok();
    match known.as_deref().and_then(|text| text.strip_prefix(boot.trim())) {
        Some(" kvm") => return Accel::Kvm,
        Some(" tcg") => return Accel::Tcg,
        _ => {}
    }
    let accel = if works(qemu(), kernel) { Accel::Kvm } else { Accel::Tcg };
    let word = if accel == Accel::Kvm { "kvm" } else { "tcg" };
    // Without the note the next start tries again, which costs a moment.
    let _ = fs::write(&file, format!("{} {word}", boot.trim()));
    accel
}

fn works(mut qemu: Command, kernel: &Path) -> bool {
    qemu.args(Accel::Kvm.arguments())
        .args(["-machine", "q35", "-m", "512M", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"])
        .args(["-append", "console=ttyS0 earlyprintk=ttyS0 panic=-1", "-kernel"])
        .arg(kernel)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut process) = Process::start("QEMU", qemu, true) else { return false };
    let (sender, events) = mpsc::channel();
    if let Some(output) = process.child().stdout.take() {
        follow(Source::Console, output, sender.clone());
    }
    if let Some(errors) = process.child().stderr.take() {
        follow(Source::Qemu, errors, sender.clone());
    }
    drop(sender);
    let start = Instant::now();
    let mut console = String::new();
    loop {
        match events.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) {
            Ok(Event::Said(Source::Console, bytes)) => console.push_str(&String::from_utf8_lossy(&bytes)),
            // It has nothing to say when all is well; a machine that KVM gave up stays, stopped.
            Ok(Event::Said(Source::Qemu, bytes)) if String::from_utf8_lossy(&bytes).contains(KVM_GAVE_UP) => {
                return false
            }
            Ok(_) => {}
            Err(_) => return false,
        }
        if console.contains(ALIVE) {
            return true;
        }
    }
}
