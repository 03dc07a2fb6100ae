// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a user can choose about the machine, the same with each verb.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::failure::Failure;
use crate::size::Size;
use crate::uma::{Carveout, Uma};

/// Least memory the guest's kernel and archive fit in.
const LEAST_MEMORY: Size = Size::mib(192);
/// Most virtual CPUs the machine type takes without more devices.
const MOST_CPUS: u8 = 255;

/// The machine, its guest and its device.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Boot this bzImage instead of the build root's kernel.
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Load this module instead of uvm.ko; repeated: in the order given.
    #[arg(long = "module", value_name = "FILE")]
    pub modules: Vec<PathBuf>,
    /// Load no module at all.
    #[arg(long, conflicts_with = "modules")]
    pub no_module: bool,
    /// Put the files of this folder over the guest's; may be repeated.
    #[arg(long = "overlay", value_name = "DIR")]
    pub overlays: Vec<PathBuf>,
    /// Memory of the guest, in MiB or with the suffix M or G.
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    pub mem: Size,
    /// Virtual CPUs of the guest.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub cpus: u8,
    /// Video memory of the device, in MiB or with the suffix M or G.
    #[arg(long, value_name = "SIZE", default_value = "256M")]
    pub vram: Size,
    /// How much of video memory the CPU reaches: the first SIZE of it.
    #[arg(long, value_name = "SIZE", conflicts_with_all = ["uma", "no_device"])]
    pub bar: Option<Size>,
    /// Take video memory out of the guest's memory instead: SIZE, at bus address BASE or as high as it fits.
    #[arg(long, value_name = "SIZE[@BASE]", conflicts_with_all = ["vram", "no_device"])]
    pub uma: Option<Uma>,
    /// Boot without the device.
    #[arg(long)]
    pub no_device: bool,
    /// Let the device write a trace, off, mmio or full, to this file.
    #[arg(long, num_args = 2, value_names = ["DEPTH", "FILE"], conflicts_with = "no_device")]
    pub trace: Option<Vec<PathBuf>>,
    /// Let the device be looked at meanwhile, over a Unix socket at this path.
    #[arg(long, value_name = "PATH", conflicts_with = "no_device")]
    pub control_socket: Option<PathBuf>,
    /// Write what the memory manager was told and what it asked for to this file, for `cargo vm replay`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["no_device", "no_module"])]
    pub record: Option<PathBuf>,
    /// Give the guest an empty disk, in MiB or with the suffix M or G.
    #[arg(long, value_name = "SIZE")]
    pub disk: Option<Size>,
    /// Use this backend program instead of building the checkout's.
    #[arg(long, value_name = "FILE")]
    pub backend: Option<PathBuf>,
    /// Pass an argument on to QEMU; may be repeated.
    #[arg(long = "qemu-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub qemu_args: Vec<String>,
    /// Pass an argument on to the backend; may be repeated.
    #[arg(long = "backend-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub backend_args: Vec<String>,
    /// Add to the guest kernel's command line; may be repeated.
    #[arg(long = "append", value_name = "WORDS")]
    pub append: Vec<String>,
    /// Which driver is built where none is named.
    #[arg(skip)]
    pub driver: images::Variant,
    /// End the guest after this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kernel: None,
            modules: Vec::new(),
            no_module: false,
            overlays: Vec::new(),
            mem: Size::mib(1024),
            cpus: 2,
            vram: Size::mib(256),
            bar: None,
            uma: None,
            no_device: false,
            trace: None,
            control_socket: None,
            record: None,
            disk: None,
            backend: None,
            qemu_args: Vec::new(),
            backend_args: Vec::new(),
            append: Vec::new(),
            driver: images::Variant::Plain,
            timeout: None,
        }
    }
}

impl Options {
    /// Checks what can be checked before anything is built or started.
    ///
    /// # Errors
    /// [`Failure::BadInput`] with the option and what is wrong with it.
    pub fn check(&self) -> Result<(), Failure> {
        let bad = |message: String| Err(Failure::BadInput(message));
        if self.mem < LEAST_MEMORY {
            return bad(format!("--mem {}: the guest needs at least {LEAST_MEMORY}", self.mem));
        }
        self.carveout()?;
        if !self.no_device && self.uma.is_none() && self.vram > self.mem {
            return bad(format!("--vram {}: more than the guest's memory, --mem {}", self.vram, self.mem));
        }
        if let Some(bar) = self.bar.filter(|bar| *bar > self.vram) {
            return bad(format!("--bar {bar}: more than video memory, --vram {}", self.vram));
        }
        if self.cpus == 0 || self.cpus == MOST_CPUS {
            return bad(format!("--cpus {}: from 1 to {}", self.cpus, MOST_CPUS - 1));
        }
        for (option, file) in [("--kernel", &self.kernel), ("--backend", &self.backend)] {
            if let Some(file) = file {
                check_file(option, file)?;
            }
        }
        for module in &self.modules {
            check_file("--module", module)?;
        }
        if let Some(folder) = self.overlays.iter().find(|folder| !folder.is_dir()) {
            return bad(format!("--overlay {}: not a folder", folder.display()));
        }
        if let Some([depth, trace]) = self.trace.as_deref() {
            if !["off", "mmio", "full"].iter().any(|known| depth.as_os_str() == *known) {
                return bad(format!("--trace {}: off, mmio or full", depth.display()));
            }
            check_target("--trace", trace)?;
        }
        if let Some(record) = &self.record {
            check_target("--record", record)?;
        }
        Ok(())
    }

    /// Where video memory lies in the guest's, if it does.
    ///
    /// # Errors
    /// [`Failure::BadInput`] where it does not fit.
    pub fn carveout(&self) -> Result<Option<Carveout>, Failure> {
        let place = self.uma.map(|uma| uma.place(self.mem)).transpose();
        place.map_err(|reason| Failure::BadInput(format!("--uma: {reason}")))
    }

    /// Video memory, wherever it is.
    pub fn video_memory(&self) -> Size {
        self.uma.map_or(self.vram, |uma| uma.size)
    }

    /// The time the guest is given, where the verb's own default is `default`.
    pub fn time_limit(&self, default: Option<Duration>) -> Option<Duration> {
        self.timeout.map(Duration::from_secs).or(default)
    }
}

fn check_target(option: &str, file: &Path) -> Result<(), Failure> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if parent.is_dir() && !file.is_dir() {
        return Ok(());
    }
    Err(Failure::BadInput(format!("{option} {}: no file can be made there", file.display())))
}

fn check_file(option: &str, file: &Path) -> Result<(), Failure> {
    match std::fs::metadata(file) {
        Ok(meta) if meta.is_file() => Ok(()),
        Ok(_) => Err(Failure::BadInput(format!("{option} {}: not a file", file.display()))),
        Err(error) => Err(Failure::BadInput(format!("{option} {}: {error}", file.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut Options)) -> String {
        let mut options = Options::default();
        change(&mut options);
        let failure = options.check().unwrap_err();
        assert_eq!(failure.exit_status(), 2);
        failure.to_string()
    }

    #[test]
    fn defaults_are_fine() {
        Options::default().check().unwrap();
    }

    #[test]
    fn vram_over_memory_is_refused() {
        assert!(refusal(|o| o.vram = Size::mib(2048)).contains("--vram 2048M"));
    }

    #[test]
    fn bar_over_vram_is_refused() {
        assert!(refusal(|o| o.bar = Some(Size::mib(512))).contains("--bar 512M"));
    }

    #[test]
    fn carve_out_that_does_not_fit_is_refused() {
        assert!(refusal(|o| o.uma = "1G".parse().ok()).contains("--uma: 1024M are too much"));
    }

    #[test]
    fn little_memory_and_no_cpu_are_refused() {
        assert!(refusal(|o| o.mem = Size::mib(16)).contains("--mem"));
        assert!(refusal(|o| o.cpus = 0).contains("--cpus"));
    }

    #[test]
    fn missing_files_are_named() {
        assert!(refusal(|o| o.kernel = Some("/nowhere/vmlinuz".into())).contains("/nowhere/vmlinuz"));
        assert!(refusal(|o| o.modules = vec!["/".into()]).contains("not a file"));
        assert!(refusal(|o| o.overlays = vec!["/proc/version".into()]).contains("not a folder"));
        let trace = |depth: &str, file: &str| Some(vec![depth.into(), file.into()]);
        assert!(refusal(|o| o.trace = trace("full", "/nowhere/trace")).contains("--trace /nowhere/trace"));
        assert!(refusal(|o| o.record = Some("/nowhere/record".into())).contains("--record /nowhere/record"));
        assert!(refusal(|o| o.trace = trace("deep", "trace")).contains("--trace deep"));
    }
}
