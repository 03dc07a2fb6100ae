// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Builds the kernel module inside the build root: the Rust crates into one object, then Kbuild with the C around it.
//!
//! rustc is called directly, with the flags the kernel itself uses for Rust where they matter to objtool, the loader
//! and the mitigations. No kernel Rust metadata is involved, so the same object fits any kernel of the architecture.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, Check};
use crate::command::run_logged;
use crate::error::{Error, Result};
use crate::guards;
use crate::key::{Key, KeyBuilder};
use crate::progress::Stage;
use crate::root::Root;

/// Name of the module, and of its file without the suffix.
pub const MODULE: &str = "uvm";
/// The name under which Kbuild finds the Rust object.
const BUILT_OBJECT: &str = "uvm_rust.built";
/// The sources inside the root, and what panic messages are freed of.
const SOURCES: &str = "/mnt/src";
const LIBRARY: &str = "/usr/lib/rustlib/src/rust/library";

/// Flags of each rustc call.
const RUST_FLAGS: &[&str] = &[
    "--edition=2021",
    "--sysroot=/dev/null",
    "--target=/mnt/target.json",
    "--remap-path-prefix=/mnt/src/=",
    "-Zplt=yes",
    "-Zno-jump-tables",
    "-Zcf-protection=branch",
    "-Zfunction-return=thunk-extern",
    "-Zpatchable-function-entry=16,16",
    "-Zfunction-sections=n",
    "-Ztune-cpu=generic",
    "-Cpanic=abort",
    "-Ccodegen-units=1",
    "-Copt-level=2",
    "-Coverflow-checks=y",
    "-Csymbol-mangling-version=v0",
    "-Crelocation-model=static",
    "-Ccode-model=kernel",
    "-Cno-redzone=y",
    "-Cforce-unwind-tables=n",
    "-Ctarget-cpu=x86-64",
    "-Ctarget-feature=-sse,-sse2,-sse3,-ssse3,-sse4.1,-sse4.2,-avx,-avx2",
];

/// The kernel's target: no vector or x87 registers, indirect calls through the kernel's thunks.
const TARGET: &str = r#"{
  "arch": "x86_64",
  "data-layout": "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64-S128",
  "features": "-mmx,+soft-float,+retpoline-external-thunk,+retpoline-indirect-branches,+retpoline-indirect-calls,+harden-sls-ijmp,+harden-sls-ret",
  "llvm-target": "x86_64-linux-gnu",
  "target-pointer-width": "64",
  "emit-debug-gdb-scripts": false,
  "frame-pointer": "may-omit",
  "panic-strategy": "abort",
  "stack-probes": { "kind": "none" }
}
"#;

/// rustc wants a crate of this name under every other; the kernel provides memcpy and its kin, and the rest must not be used.
const COMPILER_BUILTINS: &str = "#![feature(compiler_builtins)]\n#![compiler_builtins]\n#![no_builtins]\n#![no_std]\n\
                                 #![allow(internal_features)]\n";

/// One of the project's crates that go into the object.
struct Crate {
    /// As rustc knows it.
    name: &'static str,
    /// As Cargo knows it.
    package: &'static str,
    /// From the top of the sources.
    folder: &'static str,
}

const SPEC: Crate = Crate { name: "uvm_spec", package: "uvm-spec", folder: "spec" };
const POLICY: Crate = Crate { name: "uvm_policy", package: "uvm-policy", folder: "guest-driver/policy" };
const FFI: Crate = Crate { name: "uvm_kmod_ffi", package: "uvm-kmod-ffi", folder: "guest-driver/kmod/ffi" };
const CRATES: [Crate; 3] = [SPEC, POLICY, FFI];
/// The C side.
const KMOD: &str = "guest-driver/kmod";

/// Which driver is built: what `CONFIG_` options Kbuild is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// The driver as users get it.
    #[default]
    Plain,
    /// With /dev/hmm_dmirror0 and 1, the devices of the kernel's own test of heterogeneous memory management.
    Dmirror,
    /// [`Variant::Dmirror`] that leaves all pages in system memory and says that they moved: a test must notice.
    NeverMigrates,
}

impl Variant {
    /// The cache keeps each kind's latest, so that one does not push out another.
    fn kind(self) -> &'static str {
        match self {
            Self::Plain => "module",
            Self::Dmirror => "dmirror",
            Self::NeverMigrates => "mutant",
        }
    }

    /// For make.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &[],
            Self::Dmirror => &["CONFIG_UVM_DMIRROR=y"],
            Self::NeverMigrates => &["CONFIG_UVM_DMIRROR=y", "CONFIG_UVM_NEVER_MIGRATES=y"],
        }
    }
}

/// A built module.
#[derive(Clone, Debug)]
pub struct Module {
    /// The file `uvm.ko`.
    pub path: PathBuf,
    /// Of everything it was made of.
    pub key: Key,
}

impl Module {
    /// Gives the driver as users get it for the root's kernel, building it where an input changed.
    ///
    /// # Errors
    /// A compiler's or Kbuild's failure with the tail of its log; [`Error::Guard`] when the result must not be loaded.
    pub fn prepare(cache: &Cache, root: &Root, source: &Path) -> Result<Self> {
        Self::prepare_variant(cache, root, source, Variant::Plain)
    }

    /// The same for any variant.
    ///
    /// # Errors
    /// As [`Module::prepare`].
    pub fn prepare_variant(cache: &Cache, root: &Root, source: &Path, variant: Variant) -> Result<Self> {
        let (object, object_key) = rust_object(cache, root, source)?;
        let mut key =
            KeyBuilder::new().key("Rust object", &object_key).bytes("options", variant.options().join(" ").as_bytes());
        for file in c_files(source)? {
            key = key.file(&file.file_name().unwrap_or_default().to_string_lossy(), &file)?;
        }
        let key = key.finish();
        let waiting = || eprintln!("kernel module: another process is building it, waiting");
        let entry = cache.entry(variant.kind(), &key, Check::Content, waiting, |folder| {
            let stage = Stage::start("kernel module", "building with Kbuild");
            let scratch = folder.join("scratch");
            fs::create_dir(&scratch).map_err(Error::io(&scratch))?;
            copy(&object, &scratch.join(BUILT_OBJECT))?;
            Build { cache, root, folder: &scratch }.kbuild(source, variant)?;
            // Only results are kept: what the tools leave beside them would be listed and compared each time.
            copy(&scratch.join("kbuild").join(file_name()), &folder.join(file_name()))?;
            fs::remove_dir_all(&scratch).map_err(Error::io(&scratch))?;
            stage.done();
            Ok::<(), Error>(())
        })?;
        Ok(Self { path: entry.join(file_name()), key })
    }
}

/// Everything Rust as one object, the same for each variant.
fn rust_object(cache: &Cache, root: &Root, source: &Path) -> Result<(PathBuf, Key)> {
    let mut key = KeyBuilder::new()
        .key("root", &root.key)
        .bytes("flags", RUST_FLAGS.join(" ").as_bytes())
        .bytes("target", TARGET.as_bytes());
    for part in &CRATES {
        let folder = source.join(part.folder);
        key = key.tree(part.name, &folder.join("src"))?.file("manifest", &folder.join("Cargo.toml"))?;
    }
    let key = key.finish();
    let waiting = || eprintln!("Rust object: another process is building it, waiting");
    let entry = cache.entry("object", &key, Check::Content, waiting, |folder| {
        let core = rust_core(cache, root)?;
        let stage = Stage::start("kernel module", "compiling the Rust crates");
        let scratch = folder.join("scratch");
        fs::create_dir(&scratch).map_err(Error::io(&scratch))?;
        Build { cache, root, folder: &scratch }.rust_object(source, &core)?;
        copy(&scratch.join(BUILT_OBJECT), &folder.join(BUILT_OBJECT))?;
        fs::remove_dir_all(&scratch).map_err(Error::io(&scratch))?;
        stage.done();
        Ok::<(), Error>(())
    })?;
    Ok((entry.join(BUILT_OBJECT), key))
}

fn file_name() -> String {
    format!("{MODULE}.ko")
}

/// The C sources, headers and the Kbuild file: every file of the folder itself.
fn c_files(source: &Path) -> Result<Vec<PathBuf>> {
    let folder = source.join(KMOD);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .map_err(Error::io(&folder))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    Ok(files)
}

/// Without the handler of allocation failure, allocation that may fail without saying so does not compile.
const ALLOC_FLAGS: [&str; 3] = ["--cfg=no_fp_fmt_parse", "--cfg=no_global_oom_handling", "--cap-lints=allow"];

/// core, alloc and the stub under them, which change only with the root.
fn rust_core(cache: &Cache, root: &Root) -> Result<PathBuf> {
    let key = KeyBuilder::new()
        .key("root", &root.key)
        .bytes("flags", RUST_FLAGS.join(" ").as_bytes())
        .bytes("target", TARGET.as_bytes())
        .bytes("builtins", COMPILER_BUILTINS.as_bytes())
        .bytes("alloc", ALLOC_FLAGS.join(" ").as_bytes())
        .finish();
    let waiting = || eprintln!("Rust core: another process is building it, waiting");
    cache.entry("core", &key, Check::Content, waiting, |folder| {
        let stage =
            Stage::start("Rust core", "compiling Rust's core and alloc for the kernel, half a minute this once");
        let build = Build { cache, root, folder };
        write(&folder.join("target.json"), TARGET)?;
        write(&folder.join("compiler_builtins.rs"), COMPILER_BUILTINS)?;
        let library = |part: &str| format!("{LIBRARY}/{part}/src/lib.rs");
        build.rustc("core", &library("core"), &["--cfg=no_fp_fmt_parse", "--cap-lints=allow"])?;
        build.rustc("compiler_builtins", "/mnt/compiler_builtins.rs", &["--cap-lints=allow"])?;
        build.rustc("alloc", &library("alloc"), &ALLOC_FLAGS)?;
        stage.done();
        Ok(())
    })
}

/// A build in a folder that the root sees as `/mnt`.
struct Build<'a> {
    cache: &'a Cache,
    root: &'a Root,
    folder: &'a Path,
}

impl Build<'_> {
    fn rustc(&self, name: &str, source: &str, more: &[&str]) -> Result<()> {
        let kind = if more.contains(&"--crate-type=staticlib") { None } else { Some("--crate-type=rlib") };
        let mut command = self.root.command(self.folder, "rustc")?;
        command.env("RUSTC_BOOTSTRAP", "1").args(RUST_FLAGS).args(kind).args(more);
        command.args([&format!("--crate-name={name}"), "-L/mnt", "--out-dir=/mnt", source]);
        let log = self.cache.folder().join(format!("rustc-{name}.log"));
        run_logged(&format!("compiling {name} for the kernel"), &mut command, &log, |_| ()).map(drop)
    }

    /// Links everything Rust into one object, [`BUILT_OBJECT`].
    fn rust_object(&self, source: &Path, core: &Path) -> Result<()> {
        write(&self.folder.join("target.json"), TARGET)?;
        for library in ["libcore.rlib", "libcompiler_builtins.rlib", "liballoc.rlib"] {
            copy(&core.join(library), &self.folder.join(library))?;
        }
        for part in &CRATES {
            let sources = source.join(part.folder).join("src");
            copy_tree(&sources, &self.folder.join("src").join(part.folder).join("src"))?;
        }
        for part in &CRATES {
            let manifest = source.join(part.folder).join("Cargo.toml");
            let manifest = fs::read_to_string(&manifest).map_err(Error::io(&manifest))?;
            let lib = format!("{SOURCES}/{}/src/lib.rs", part.folder);
            // A crate whose manifest does not name another must not see it here either.
            let mut more: Vec<String> = CRATES
                .iter()
                .filter(|other| other.package != part.package && depends_on(&manifest, other.package))
                .map(|other| format!("--extern={0}=/mnt/lib{0}.rlib", other.name))
                .collect();
            more.push("--cfg=uvm_kernel".into());
            more.push("--check-cfg=cfg(uvm_kernel,test)".into());
            if part.name == FFI.name {
                more.extend(["--crate-type=staticlib".into(), "-Clto=fat".into()]);
            }
            self.rustc(part.name, &lib, &more.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        self.take_member(&format!("lib{}.a", FFI.name))?;
        guards::check_rust_object(&self.folder.join(BUILT_OBJECT))
    }

    /// The archive's one member with code is the linked object.
    fn take_member(&self, archive: &str) -> Result<()> {
        let log = self.cache.folder().join("ar.log");
        let mut command = self.root.command(self.folder, "ar")?;
        let listed =
            run_logged("listing the Rust archive", command.args(["t", &format!("/mnt/{archive}")]), &log, |_| ())?;
        let own: Vec<&str> = listed.lines().filter(|name| name.starts_with(FFI.name) && name.ends_with(".o")).collect();
        let [member] = own[..] else {
            return Err(Error::Guard(format!(
                "the Rust archive should have one object of {}, it has: {listed}",
                FFI.name
            )));
        };
        let script = format!("ar p /mnt/{archive} {member} >/mnt/{BUILT_OBJECT}");
        let mut command = self.root.command(self.folder, "sh")?;
        run_logged("taking the Rust object out", command.args(["-c", &script]), &log, |_| ()).map(drop)
    }

    fn kbuild(&self, source: &Path, variant: Variant) -> Result<()> {
        let folder = self.folder.join("kbuild");
        fs::create_dir(&folder).map_err(Error::io(&folder))?;
        for file in c_files(source)? {
            copy(&file, &folder.join(file.file_name().unwrap_or_default()))?;
        }
        copy(&self.folder.join(BUILT_OBJECT), &folder.join(BUILT_OBJECT))?;
        let headers = format!("/lib/modules/{}/build", self.root.release);
        let log = self.cache.folder().join("kbuild.log");
        let mut command = self.root.command(self.folder, "make")?;
        command.args(["-C", &headers, "M=/mnt/kbuild", "-j2"]).args(variant.options()).arg("modules");
        let said = run_logged("building the kernel module", &mut command, &log, |_| ())?;
        guards::check_kbuild_log(&said)
    }
}

fn depends_on(manifest: &str, package: &str) -> bool {
    let normal = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    normal.split("\n[").next().unwrap_or_default().lines().any(|line| {
        line.trim_start().strip_prefix(package).is_some_and(|rest| rest.trim_start().starts_with(['=', '.']))
    })
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::io(path))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).map_err(Error::io(from))
}

pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for path in crate::key::files_below(from)? {
        let target = to.join(path.strip_prefix(from).unwrap_or(&path));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(Error::io(parent))?;
        }
        copy(&path, &target)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_normal_dependencies_count() {
        let manifest =
            "[dependencies]\nuvm-policy = { path = \"..\" }\n\n[dev-dependencies]\nuvm-spec = { path = \"..\" }\n";
        assert!(depends_on(manifest, "uvm-policy"));
        assert!(!depends_on(manifest, "uvm-spec"));
    }
}
