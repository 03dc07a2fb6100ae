// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Finds a QEMU that has the device's front end, and writes its command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use images::Root;

use crate::accel::Accel;
use crate::failure::Failure;
use crate::options::Options;

const PROGRAM: &str = "qemu-system-x86_64";
/// The first release whose generic vhost-user device maps a backend's shared memory.
const LEAST_MAJOR: u32 = 11;
/// A number in QEMU's table of virtio devices that Linux has no driver for; the driver looks for a magic number behind it.
const VIRTIO_ID: u32 = 39;
/// The largest configuration space the front end takes: the register window.
const CONFIG_SIZE: u32 = 256;
/// Doorbells, and events.
const QUEUES: u32 = 2;
/// Debian's kernel clears each page twice, when it is given out and when it is used as zeros; under TCG that is most of
/// what moving a page costs. And memory that nobody cleared shows who forgot to.
const NO_CLEARING: &str = "init_on_alloc=0";
/// On a busy host a guest may get no tick in the time in which it looks for one, and would panic.
const NO_TIMER_CHECK: &str = "no_timer_check";

/// A QEMU that can be started.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
    before: Vec<OsString>,
    module_folder: Option<PathBuf>,
}

impl Qemu {
    /// The one on the PATH where it is new enough, else the build root's.
    ///
    /// # Errors
    /// [`Failure::NoQemu`] when the root's does not run here.
    pub fn find(root: &Root) -> Result<Self, Failure> {
        let own =
            images::find_program(PROGRAM).map(|program| Self { program, before: Vec::new(), module_folder: None });
        if let Some(own) = own.filter(|own| own.major().is_some_and(|major| major >= LEAST_MAJOR)) {
            return Ok(own);
        }
        let inside = Self::in_root(&root.path);
        match inside.major() {
            Some(major) if major >= LEAST_MAJOR => Ok(inside),
            Some(major) => Err(Failure::NoQemu(format!("QEMU {LEAST_MAJOR} is needed, the build root has {major}"))),
            None => Err(Failure::NoQemu(format!("the build root's QEMU does not run: {}", inside.program.display()))),
        }
    }

    /// The root's QEMU runs outside it, under the root's own loader with the root's own libraries.
    fn in_root(root: &Path) -> Self {
        let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|name| root.join(name));
        let mut path = OsString::new();
        for folder in &libraries {
            if !path.is_empty() {
                path.push(":");
            }
            path.push(folder);
        }
        let mut before = vec!["--library-path".into(), path, root.join("usr/bin").join(PROGRAM).into()];
        for folder in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
            before.extend(["-L".into(), root.join(folder).into_os_string()]);
        }
        let module_folder = Some(root.join("usr/lib/x86_64-linux-gnu/qemu"));
        Self { program: root.join("lib64/ld-linux-x86-64.so.2"), before, module_folder }
    }

    /// A command that starts it; arguments are still to come.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.before);
        if let Some(folder) = &self.module_folder {
            command.env("QEMU_MODULE_DIR", folder);
        }
        command
    }

    fn major(&self) -> Option<u32> {
        let output = self.command().arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        major_of(&String::from_utf8_lossy(&output.stdout))
    }
}

/// `QEMU emulator version 11.1.3 (...)`.
fn major_of(version: &str) -> Option<u32> {
    version.split_once("version ")?.1.split('.').next()?.parse().ok()
}

/// Where QEMU finds what one run uses.
pub(crate) struct Files<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// Kernel's console: a socket that is listened on.
    pub(crate) console: &'a Path,
    /// Init's report: a socket that is listened on.
    pub(crate) status: &'a Path,
    /// QEMU's own control socket, which QEMU makes.
    pub(crate) qmp: &'a Path,
    /// The backend's socket; none: no device.
    pub(crate) device: Option<&'a Path>,
    /// The guest's disk; none: it has none.
    pub(crate) disk: Option<&'a Path>,
}

/// QEMU's arguments. The command's own terminal is QEMU's standard input and output.
pub(crate) fn arguments(options: &Options, accel: Accel, files: &Files<'_>, interactive: bool) -> Vec<OsString> {
    let mut list: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| list.extend(words.iter().map(OsString::from));
    // No firmware menu, no default devices, no option ROMs: what is not there is not waited for.
    add(&["-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-no-reboot"]);
    add(&accel.arguments());
    let memory = options.mem.to_string();
    add(&["-m", &memory, "-smp", &options.cpus.to_string()]);
    // The backend works on the guest's memory, so it must be a file both can map.
    add(&["-object", &format!("memory-backend-memfd,id=ram,size={memory},share=on")]);
    add(&["-machine", "q35,memory-backend=ram,usb=off,i8042=off"]);
    for (id, path) in [("console", files.console), ("status", files.status)] {
        add(&["-chardev", &format!("socket,id={id},path={}", escaped(path))]);
        add(&["-serial", &format!("chardev:{id}")]);
    }
    // The command speaks through a port of its own, so that a kernel message never falls into one of its lines.
    let signals = if interactive { ",signal=off" } else { "" };
    add(&["-chardev", &format!("stdio,id=terminal{signals}")]);
    add(&["-device", "virtio-serial-pci,max_ports=2", "-device", "virtconsole,chardev=terminal"]);
    if let Some(record) = &options.record {
        add(&["-chardev", &format!("file,id=record,path={}", escaped(record))]);
        add(&["-device", "virtserialport,chardev=record,name=uvm.record"]);
    }
    if let Some(disk) = files.disk {
        // What is on it is worth nothing once the guest has ended.
        add(&["-drive", &format!("file={},if=none,id=disk,format=raw,cache=unsafe", escaped(disk))]);
        add(&["-device", "virtio-blk-pci,drive=disk"]);
    }
    add(&["-qmp", &format!("unix:{},server=on,wait=off", escaped(files.qmp))]);
    if let Some(socket) = files.device {
        add(&["-chardev", &format!("socket,id=device,path={}", escaped(socket))]);
        add(&[
            "-device",
            &format!(
                "vhost-user-test-device-pci,chardev=device,virtio-id={VIRTIO_ID},config_size={CONFIG_SIZE},num_vqs={QUEUES}"
            ),
        ]);
    }
    let mut line = format!("console=ttyS0 quiet loglevel=5 panic=-1 oops=panic {NO_CLEARING} {NO_TIMER_CHECK}");
    if let Ok(Some(carveout)) = options.carveout() {
        line.push(' ');
        line.push_str(&carveout.kernel_words());
    }
    for words in &options.append {
        line.push(' ');
        line.push_str(words);
    }
    add(&["-append", &line]);
    list.extend(["-kernel".into(), files.kernel.into(), "-initrd".into(), files.initramfs.into()]);
    list.extend(options.qemu_args.iter().map(OsString::from));
    list
}

/// A path inside one of QEMU's option lists, where a comma is written twice.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_number_is_found() {
        assert_eq!(major_of("QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)\n"), Some(11));
        assert_eq!(major_of("bash: no such thing"), None);
    }

    #[test]
    fn carve_out_stands_in_the_kernels_words() {
        let path = Path::new("/x");
        let files = Files {
            kernel: path,
            initramfs: path,
            console: path,
            status: path,
            qmp: path,
            device: Some(path),
            disk: None,
        };
        let options = Options { uma: "64M".parse().ok(), ..Options::default() };
        let list = arguments(&options, Accel::Tcg, &files, false);
        let at = list.iter().position(|word| word == "-append").unwrap();
        assert!(list[at + 1].to_string_lossy().contains(" memmap=0x4000000$0x3b000000"), "{list:?}");
    }

    #[test]
    fn record_and_disk_are_there_when_they_are_wanted() {
        let path = Path::new("/x");
        let files = Files {
            kernel: path,
            initramfs: path,
            console: path,
            status: path,
            qmp: path,
            device: None,
            disk: Some(path),
        };
        let options = Options { record: Some("/r,s".into()), ..Options::default() };
        let list = arguments(&options, Accel::Tcg, &files, false);
        for word in ["file,id=record,path=/r,,s", "virtio-blk-pci,drive=disk"] {
            assert!(list.iter().any(|other| other == word), "{list:?}");
        }
    }

    #[test]
    fn no_device_means_no_vhost_user() {
        let path = Path::new("/x,y");
        let files =
            Files { kernel: path, initramfs: path, console: path, status: path, qmp: path, device: None, disk: None };
        let list = arguments(&Options::default(), Accel::Tcg, &files, false);
        assert!(!list.iter().any(|word| word.to_string_lossy().contains("vhost-user")));
        assert!(list.iter().any(|word| word.to_string_lossy().contains("path=/x,,y")));
    }
}
