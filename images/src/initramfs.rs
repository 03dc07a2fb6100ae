// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The guest's file tree as `newc` archives. The base is cached; what one run adds follows it as a second archive,
//! which the kernel unpacks over the first.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cpio::newc;

use crate::cache::{Cache, Check};
use crate::error::{Error, Result};
use crate::key::{Key, KeyBuilder};
use crate::kmods::KernelModule;
use crate::root::Root;

/// Where `init` looks: see its own description of the files.
const MODULE_LIST: &str = "uvm/modules";
/// Where tests look for the kernel's modules that nobody loads for them: a line each, its name and what to load.
const MORE_MODULES: &str = "uvm/more";
const ARGS: &str = "uvm/args";
const ENV: &str = "uvm/env";
const PARAMETERS: &str = "uvm/parameters";
/// Names under which the tools binary is found in the guest.
const TOOLS: [&str; 4] = ["uvm-tools", "uvm-test", "uvm-demo", "uvm-bench"];
const FOLDERS: [&str; 9] = ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "uvm"];
const FOLDER: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const CONSOLE: u32 = 0o020_600;
const PROGRAM: u32 = 0o100_755;
const DATA: u32 = 0o100_644;
/// The kernel wants each archive to begin at a multiple of four.
const ALIGNMENT: u64 = 4;

/// Modules of a guest, each list in load order.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    /// What init loads.
    pub loaded: Vec<KernelModule>,
    /// What lies there to be loaded: a module, and before it what it needs.
    pub more: Vec<Vec<KernelModule>>,
}

/// Gives the archive with init, the tools, busybox and the modules, packing it where one of them changed.
///
/// # Errors
/// [`Error::Incomplete`] when the root has no static busybox, [`Error::Io`].
pub fn base(cache: &Cache, root: &Root, tools: &Path, modules: &Modules) -> Result<PathBuf> {
    let busybox = ["usr/bin/busybox", "bin/busybox"]
        .map(|name| root.path.join(name))
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| Error::Incomplete { root: root.path.clone(), what: "busybox".into() })?;
    let key = modules
        .loaded
        .iter()
        .chain(modules.more.iter().flatten())
        .fold(KeyBuilder::new().key("root", &root.key), |key, module| key.bytes(&module.name, &module.data))
        .bytes("layout", [FOLDERS.join(" "), TOOLS.join(" ")].join(";").as_bytes())
        .file("tools", tools)?
        .finish();
    let entry = pack_base(cache, &key, &busybox, tools, modules)?;
    Ok(entry.join("base.cpio"))
}

fn pack_base(cache: &Cache, key: &Key, busybox: &Path, tools: &Path, modules: &Modules) -> Result<PathBuf> {
    let waiting = || eprintln!("initramfs: another process is packing it, waiting");
    cache.entry("initramfs", key, Check::Content, waiting, |folder| {
        let mut archive = Archive::create(&folder.join("base.cpio"))?;
        for folder in FOLDERS {
            archive.folder(folder)?;
        }
        // The kernel opens it for process 1 before anything is mounted: character device 5:1.
        archive.device("dev/console", CONSOLE, 5, 1)?;
        archive.file("init", PROGRAM, &read(tools)?)?;
        for name in TOOLS {
            archive.link(&format!("bin/{name}"), "/init")?;
        }
        archive.file("bin/busybox", PROGRAM, &read(busybox)?)?;
        for applet in applets(busybox)?.iter().filter(|name| *name != "busybox") {
            archive.link(&format!("bin/{applet}"), "busybox")?;
        }
        archive.link("sbin", "bin")?;
        archive.file("etc/passwd", DATA, b"root:x:0:0:root:/root:/bin/sh\n")?;
        archive.file("etc/group", DATA, b"root:x:0:\n")?;
        archive.modules(&modules.loaded)?;
        archive.more_modules(modules)?;
        archive.finish()
    })
}

fn applets(busybox: &Path) -> Result<Vec<String>> {
    let start = |source| Error::Start { program: busybox.display().to_string(), source };
    let output = Command::new(busybox).arg("--list").output().map_err(start)?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// What one run adds to the base.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// The command and its arguments; empty: a shell.
    pub args: Vec<String>,
    /// Its environment, beside what init sets.
    pub env: Vec<(String, String)>,
    /// Parameters of the driver's module, as a kernel's command line has them.
    pub parameters: Vec<String>,
    /// Modules instead of the base's, in load order; none: the base's.
    pub modules: Option<Vec<KernelModule>>,
    /// Folders whose files go over the guest's.
    pub folders: Vec<PathBuf>,
    /// Single files: where in the guest, and from where.
    pub files: Vec<(String, PathBuf)>,
    /// Single files that can be run.
    pub programs: Vec<(String, PathBuf)>,
}

impl Overlay {
    /// Writes `base` with this after it to `target`.
    ///
    /// # Errors
    /// [`Error::Overlay`] for what cannot go into the archive, [`Error::Io`].
    pub fn write(&self, base: &Path, target: &Path) -> Result<()> {
        let mut archive = Archive::after(base, target)?;
        archive.file(ARGS, DATA, &nul_terminated(self.args.iter().map(String::as_str))?)?;
        let pairs: Vec<String> = self.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        archive.file(ENV, DATA, &nul_terminated(pairs.iter().map(String::as_str))?)?;
        if !self.parameters.is_empty() {
            archive.file(PARAMETERS, DATA, self.parameters.join(" ").as_bytes())?;
        }
        if let Some(modules) = &self.modules {
            archive.modules(modules)?;
        }
        for folder in &self.folders {
            archive.tree(folder)?;
        }
        let files = self.files.iter().map(|file| (DATA, file)).chain(self.programs.iter().map(|file| (PROGRAM, file)));
        for (mode, (inside, file)) in files {
            archive.parents(inside)?;
            archive.file(inside.trim_start_matches('/'), mode, &read(file)?)?;
        }
        archive.finish()
    }
}

fn nul_terminated<'a>(strings: impl Iterator<Item = &'a str>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for text in strings {
        if text.contains('\0') {
            return Err(Error::Overlay { path: ARGS.into(), reason: "an argument holds a NUL".into() });
        }
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    }
    Ok(bytes)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io(path))
}

/// A `newc` archive being written.
struct Archive {
    out: BufWriter<File>,
    path: PathBuf,
    next_inode: u32,
    folders: BTreeSet<String>,
}

impl Archive {
    fn create(path: &Path) -> Result<Self> {
        let out = BufWriter::new(File::create(path).map_err(Error::io(path))?);
        Ok(Self { out, path: path.to_owned(), next_inode: 1, folders: BTreeSet::new() })
    }

    /// An archive that follows a copy of another in the same file.
    fn after(base: &Path, path: &Path) -> Result<Self> {
        let mut archive = Self::create(path)?;
        let mut base_file = File::open(base).map_err(Error::io(base))?;
        let length = io::copy(&mut base_file, &mut archive.out).map_err(Error::io(path))?;
        for _ in length..length.next_multiple_of(ALIGNMENT) {
            archive.out.write_all(&[0]).map_err(Error::io(path))?;
        }
        Ok(archive)
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) -> Result<()> {
        let size = u32::try_from(data.len())
            .map_err(|_| Error::Overlay { path: name.into(), reason: "larger than 4 GiB".into() })?;
        let builder =
            newc::Builder::new(name).ino(self.next_inode).mode(mode).nlink(1).rdev_major(device.0).rdev_minor(device.1);
        self.next_inode = self.next_inode.wrapping_add(1);
        let mut writer = builder.write(&mut self.out, size);
        writer.write_all(data).and_then(|()| writer.finish().map(drop)).map_err(Error::io(&self.path))
    }

    fn folder(&mut self, name: &str) -> Result<()> {
        if self.folders.insert(name.to_owned()) {
            self.entry(name, FOLDER, (0, 0), &[])
        } else {
            Ok(())
        }
    }

    /// The folders on the way to `name`.
    fn parents(&mut self, name: &str) -> Result<()> {
        let name = name.trim_start_matches('/');
        for (at, _) in name.match_indices('/') {
            self.folder(name.get(..at).unwrap_or_default())?;
        }
        Ok(())
    }

    fn device(&mut self, name: &str, mode: u32, major: u32, minor: u32) -> Result<()> {
        self.entry(name, mode, (major, minor), &[])
    }

    fn file(&mut self, name: &str, mode: u32, data: &[u8]) -> Result<()> {
        self.entry(name, mode, (0, 0), data)
    }

    fn link(&mut self, name: &str, target: &str) -> Result<()> {
        self.entry(name, LINK, (0, 0), target.as_bytes())
    }

    fn modules(&mut self, modules: &[KernelModule]) -> Result<()> {
        let mut list = String::new();
        self.folder("uvm")?;
        self.folder("uvm/ko")?;
        for module in modules {
            let name = format!("uvm/ko/{}.ko", module.name);
            self.file(&name, DATA, &module.data)?;
            list.push_str(&format!("/{name}\n"));
        }
        self.file(MODULE_LIST, DATA, list.as_bytes())
    }

    fn more_modules(&mut self, modules: &Modules) -> Result<()> {
        let mut there: BTreeSet<&str> = modules.loaded.iter().map(|module| module.name.as_str()).collect();
        let mut list = String::new();
        for set in &modules.more {
            let Some(last) = set.last() else { continue };
            list.push_str(&last.name);
            for module in set {
                let name = format!("uvm/ko/{}.ko", module.name);
                if there.insert(&module.name) {
                    self.file(&name, DATA, &module.data)?;
                }
                list.push_str(&format!(" /{name}"));
            }
            list.push('\n');
        }
        self.file(MORE_MODULES, DATA, list.as_bytes())
    }

    /// Everything below `folder`, at its place from there.
    fn tree(&mut self, folder: &Path) -> Result<()> {
        for path in crate::key::files_below(folder)? {
            let problem = |reason: &str| Error::Overlay { path: path.clone(), reason: reason.to_owned() };
            let inside =
                path.strip_prefix(folder).unwrap_or(&path).to_str().ok_or_else(|| problem("name is not UTF-8"))?;
            let meta = fs::symlink_metadata(&path).map_err(Error::io(&path))?;
            self.parents(inside)?;
            if meta.is_symlink() {
                let target = fs::read_link(&path).map_err(Error::io(&path))?;
                self.link(inside, target.to_str().ok_or_else(|| problem("target is not UTF-8"))?)?;
            } else if meta.is_file() {
                self.file(inside, 0o100_000 | meta.permissions().mode() & 0o7777, &read(&path)?)?;
            } else {
                return Err(problem("neither file, folder nor symbolic link"));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        let path = self.path;
        let mut out = newc::trailer(self.out).map_err(Error::io(&path))?;
        out.flush().map_err(Error::io(&path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and contents of all archives in a file, read by the crate's reader.
    fn list(path: &Path) -> Vec<(String, u32, Vec<u8>)> {
        let mut input = io::Cursor::new(fs::read(path).unwrap());
        let mut found = Vec::new();
        let end = input.get_ref().len() as u64;
        while input.position() < end {
            let mut reader = newc::Reader::new(input).unwrap();
            let mut data = Vec::new();
            io::copy(&mut reader, &mut data).unwrap();
            let entry = reader.entry().clone();
            found.push((entry.name().to_owned(), entry.mode(), data));
            input = reader.finish().unwrap();
        }
        found
    }

    #[test]
    fn overlay_follows_the_base_and_brings_its_folders() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base");
        let mut archive = Archive::create(&base).unwrap();
        archive.file("init", PROGRAM, b"x").unwrap();
        archive.finish().unwrap();
        let files = folder.path().join("files");
        fs::create_dir_all(files.join("opt/a")).unwrap();
        fs::write(files.join("opt/a/tool"), "t").unwrap();
        fs::set_permissions(files.join("opt/a/tool"), fs::Permissions::from_mode(0o755)).unwrap();
        let target = folder.path().join("out");
        let overlay = Overlay { args: vec!["a".into(), "b c".into()], folders: vec![files], ..Overlay::default() };
        overlay.write(&base, &target).unwrap();
        let found = list(&target);
        let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["init", "TRAILER!!!", "uvm/args", "uvm/env", "opt", "opt/a", "opt/a/tool", "TRAILER!!!"]);
        assert_eq!(found[2].2, b"a\0b c\0");
        assert_eq!(found[6].1, PROGRAM);
        assert_eq!(found[6].2, b"t");
    }

    #[test]
    fn module_that_two_need_is_there_once() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        let [a, b, c] = ["a", "b", "c"].map(|name| KernelModule { name: name.into(), data: name.into() });
        let modules = Modules { loaded: vec![a.clone()], more: vec![vec![a, b.clone()], vec![b, c], vec![]] };
        let mut archive = Archive::create(&target).unwrap();
        archive.modules(&modules.loaded).unwrap();
        archive.more_modules(&modules).unwrap();
        archive.finish().unwrap();

        let found = list(&target);
        let of = |wanted: &str| found.iter().filter(|(name, ..)| name == wanted).collect::<Vec<_>>();
        assert_eq!(["uvm/ko/a.ko", "uvm/ko/b.ko", "uvm/ko/c.ko"].map(|name| of(name).len()), [1; 3]);
        let list = String::from_utf8_lossy(&of("uvm/more")[0].2).into_owned();
        assert_eq!(list, "b /uvm/ko/a.ko /uvm/ko/b.ko\nc /uvm/ko/b.ko /uvm/ko/c.ko\n");
    }

    #[test]
    fn a_socket_in_an_overlay_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base");
        fs::write(&base, "").unwrap();
        let files = folder.path().join("files");
        fs::create_dir(&files).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(files.join("s")).unwrap();
        let overlay = Overlay { folders: vec![files], ..Overlay::default() };
        let error = overlay.write(&base, &folder.path().join("out")).unwrap_err().to_string();
        assert!(error.contains("/s:"), "{error}");
    }
}
