// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Everything a guest needs, ready: made once, used for as many guests as wanted.

use std::path::PathBuf;

use images::{initramfs, kmods, Cache, Kernel, Module, Overlay, Root, Workspace};

use crate::accel::{self, Accel};
use crate::ask;
use crate::failure::Failure;
use crate::options::Options;
use crate::qemu::Qemu;
use crate::watch::{self, Job, Report};

/// The backend's program, which is also its Cargo name.
const BACKEND: &str = "vhost-device-uvm";

/// Modules of the kernel's that tests may load: another driver that shares buffers, disks, and a file system on them.
const MORE: [&str; 3] = ["vgem", "virtio_blk", "ext4"];

/// Most MiB of a record: millions of events.
const RECORD_MB: u32 = 64;

/// Prepared images, programs and choices.
#[derive(Clone, Debug)]
pub struct Lab {
    pub(crate) options: Options,
    pub(crate) kernel: PathBuf,
    pub(crate) base: PathBuf,
    /// None: no device.
    pub(crate) backend: Option<PathBuf>,
    pub(crate) qemu: Qemu,
    pub(crate) accel: Accel,
    /// Modules instead of the base's.
    modules: Option<Vec<kmods::KernelModule>>,
}

impl Lab {
    /// Checks the options, then makes whatever is missing, and says so on stderr while it does.
    ///
    /// # Errors
    /// [`Failure::BadInput`] before anything is made; [`Failure::Images`], [`Failure::NoQemu`].
    pub fn prepare(options: &Options) -> Result<Self, Failure> {
        options.check()?;
        // What the user named is looked at before minutes are spent.
        let given = options.kernel.as_deref().map(Kernel::open).transpose()?;
        let workspace = Workspace::locate();
        let cache = Cache::new(workspace.images());
        let root = Root::prepare(&cache)?;
        let kernel = match given {
            Some(kernel) => kernel,
            None => Kernel::open(&root.kernel()?)?,
        };
        // Modules fit the kernel they were built for and no other.
        let is_own = kernel.release.as_deref().is_none_or(|release| release == root.release);
        if !is_own && options.modules.is_empty() && !options.no_module {
            return Err(Failure::BadInput(format!(
                "--kernel {}: its release is {}, uvm.ko is for {}: name a module built for it with --module, or --no-module",
                kernel.path.display(),
                kernel.release.unwrap_or_default(),
                root.release
            )));
        }
        let mut base = initramfs::Modules::default();
        let mut modules = None;
        if options.no_module {
            modules = Some(Vec::new());
        } else if options.modules.is_empty() {
            let module = Module::prepare_variant(&cache, &root, &workspace.source, options.driver)?;
            base.loaded = kmods::closure(&root.modules(), &[module.path])?;
        } else if is_own {
            modules = Some(kmods::closure(&root.modules(), &options.modules)?);
        } else {
            modules = Some(kmods::as_given(&options.modules)?);
        }
        if is_own {
            base.more =
                MORE.into_iter().map(|name| kmods::of_kernel(&root.modules(), name)).collect::<Result<_, _>>()?;
        }
        let tools = workspace.guest_tools()?;
        let base = initramfs::base(&cache, &root, &tools, &base)?;
        let backend = match (&options.backend, options.no_device) {
            (_, true) => None,
            (Some(program), false) => Some(program.clone()),
            (None, false) => Some(workspace.program(BACKEND)?),
        };
        let qemu = Qemu::find(&root)?;
        let accel = accel::choose(|| qemu.command(), &root.kernel()?, cache.folder());
        Ok(Self { options: options.clone(), kernel: kernel.path, base, backend, qemu, accel, modules })
    }

    /// The same with other choices that need nothing else prepared, such as a device or none.
    #[must_use]
    pub fn without_device(&self) -> Self {
        let mut other = self.clone();
        other.options.no_device = true;
        other.options.trace = None;
        other.backend = None;
        other
    }

    /// The kernel image that guests boot.
    pub fn kernel(&self) -> &std::path::Path {
        &self.kernel
    }

    /// What runs the guests' instructions.
    pub fn accel(&self) -> Accel {
        self.accel
    }

    /// The options it was prepared with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Boots a guest for `job`; each line its command prints goes to `on_line`.
    ///
    /// # Errors
    /// A [`Failure`] when the guest did not come to its end by itself. A command that failed is none: see
    /// [`Report::status`].
    pub fn run(&self, job: &Job, on_line: &mut dyn FnMut(&str)) -> Result<Report, Failure> {
        watch::run(self, job, on_line)
    }

    /// The job's overlay with what the options add.
    pub(crate) fn overlay(&self, job: &Job) -> Result<Overlay, Failure> {
        let mut overlay = job.overlay.clone();
        if overlay.modules.is_none() {
            overlay.modules.clone_from(&self.modules);
        }
        if self.options.record.is_some() {
            overlay.parameters.push(format!("record_mb={RECORD_MB}"));
        }
        overlay.folders.extend(self.options.overlays.iter().cloned());
        // So that a test can hold the device's word against what was asked for.
        overlay.env.push(("UVM_VRAM_MIB".into(), (self.options.video_memory().bytes() >> 20).to_string()));
        if let Some(bar) = self.options.bar {
            overlay.env.push(("UVM_BAR_MIB".into(), (bar.bytes() >> 20).to_string()));
        }
        if let Some(carveout) = self.options.carveout()? {
            overlay.env.push(("UVM_UMA".into(), carveout.to_string()));
        }
        if job.ask {
            overlay.env.push((ask::ANSWERED.into(), "1".into()));
        }
        if let Some((name, _)) = overlay.env.iter().find(|(name, _)| name.is_empty() || name.contains('=')) {
            return Err(Failure::BadInput(format!("{name:?} is no name of an environment variable")));
        }
        Ok(overlay)
    }
}
