// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Finds the kernel modules another one needs, in load order, and unpacks them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use object::read::elf::ElfFile64;
use object::{Object, ObjectSection};

use crate::error::{Error, Result};

/// A module as it goes into the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelModule {
    /// Its name, with underscores.
    pub name: String,
    /// The ELF file.
    pub data: Vec<u8>,
}

/// `wanted` and all they depend on, each after what it needs. Dependencies come from `modules`, the folder of a
/// kernel's own modules; one that is built into that kernel needs nothing.
///
/// # Errors
/// [`Error::BadModule`] when a file is no module or needs one that the kernel does not come with.
pub fn closure(modules: &Path, wanted: &[PathBuf]) -> Result<Vec<KernelModule>> {
    let index = Index::read(modules)?;
    let mut ordered: Vec<KernelModule> = Vec::new();
    // Wanted modules find each other first, then the kernel's.
    let own: HashMap<String, &PathBuf> = wanted.iter().map(|path| (name_of(path), path)).collect();
    let mut stack: Vec<(PathBuf, bool)> = wanted.iter().rev().map(|path| (path.clone(), false)).collect();
    while let Some((path, needs_are_in)) = stack.pop() {
        let name = name_of(&path);
        if ordered.iter().any(|module| module.name == name) {
            continue;
        }
        let data = unpack(&path)?;
        let needs = dependencies(&path, &data)?;
        if needs_are_in {
            ordered.push(KernelModule { name, data });
            continue;
        }
        let depth_bound = index.paths.len().saturating_add(wanted.len());
        if stack.len() > depth_bound.saturating_mul(2) {
            return Err(bad(&path, "its dependencies go round in a circle"));
        }
        stack.push((path.clone(), true));
        for need in needs.iter().rev() {
            if let Some(found) = own.get(need).copied().or_else(|| index.paths.get(need)) {
                stack.push((found.clone(), false));
            } else if !index.is_built_in(need) {
                return Err(bad(
                    &path,
                    &format!("needs the module {need}, which the kernel in {} lacks", modules.display()),
                ));
            }
        }
    }
    Ok(ordered)
}

/// The kernel's own module `name` and all it depends on, in load order; nothing where it is built in or the kernel comes
/// without it.
///
/// # Errors
/// As [`closure`].
pub fn of_kernel(modules: &Path, name: &str) -> Result<Vec<KernelModule>> {
    match Index::read(modules)?.paths.get(name) {
        Some(path) => closure(modules, std::slice::from_ref(path)),
        None => Ok(Vec::new()),
    }
}

/// Modules in the order given, for a kernel whose own modules are not at hand.
///
/// # Errors
/// [`Error::BadModule`] when a file is no module.
pub fn as_given(paths: &[PathBuf]) -> Result<Vec<KernelModule>> {
    let one = |path: &PathBuf| {
        let data = unpack(path)?;
        dependencies(path, &data)?;
        Ok(KernelModule { name: name_of(path), data })
    };
    paths.iter().map(one).collect()
}

struct Index {
    paths: HashMap<String, PathBuf>,
    built_in: Vec<String>,
}

impl Index {
    fn read(modules: &Path) -> Result<Self> {
        let lines = |file: &str| {
            let path = modules.join(file);
            fs::read_to_string(&path).map_err(Error::io(path))
        };
        // modules.order names `.ko` or `.o` whatever the files are compressed with.
        let mut paths = HashMap::new();
        for line in lines("modules.order")?.lines() {
            let base = modules.join(line).with_extension("ko");
            let on_disk = ["", ".xz"].map(|suffix| PathBuf::from(format!("{}{suffix}", base.display())));
            if let Some(path) = on_disk.into_iter().find(|path| path.exists()) {
                paths.insert(name_of(&path), path);
            }
        }
        let built_in = lines("modules.builtin")?.lines().map(|line| name_of(Path::new(line))).collect();
        Ok(Self { paths, built_in })
    }

    fn is_built_in(&self, name: &str) -> bool {
        self.built_in.iter().any(|built_in| built_in == name)
    }
}

fn bad(path: &Path, reason: &str) -> Error {
    Error::BadModule { path: path.to_owned(), reason: reason.to_owned() }
}

/// `drm-exec.ko.xz` is the module `drm_exec`.
fn name_of(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.split(".ko").next().unwrap_or_default().replace('-', "_")
}

fn unpack(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|extension| extension == "xz") {
        let mut packed = BufReader::new(File::open(path).map_err(Error::io(path))?);
        let mut data = Vec::new();
        lzma_rs::xz_decompress(&mut packed, &mut data).map_err(|error| bad(path, &error.to_string()))?;
        Ok(data)
    } else {
        fs::read(path).map_err(Error::io(path))
    }
}

/// What the module's own information section says it needs.
fn dependencies(path: &Path, data: &[u8]) -> Result<Vec<String>> {
    let file: ElfFile64 = ElfFile64::parse(data).map_err(|_| bad(path, "not a 64-bit kernel module"))?;
    let section = file.section_by_name(".modinfo").ok_or_else(|| bad(path, "not a kernel module"))?;
    let info = section.data().map_err(|error| bad(path, &error.to_string()))?;
    let needs = info.split(|&byte| byte == 0).find_map(|field| field.strip_prefix(b"depends="));
    let needs = String::from_utf8_lossy(needs.unwrap_or_default()).into_owned();
    Ok(needs.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_underscores_and_no_suffix() {
        assert_eq!(name_of(Path::new("a/drm/gpu-sched.ko.xz")), "gpu_sched");
        assert_eq!(name_of(Path::new("uvm.ko")), "uvm");
    }

    #[test]
    fn a_file_that_is_no_module_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for list in ["modules.order", "modules.builtin"] {
            fs::write(folder.path().join(list), "").unwrap();
        }
        let file = folder.path().join("x.ko");
        fs::write(&file, "text").unwrap();
        let error = closure(folder.path(), &[file]).unwrap_err().to_string();
        assert!(error.contains("x.ko"), "{error}");
        // An executable is an ELF file, but no module.
        let own = std::env::current_exe().unwrap();
        assert!(closure(folder.path(), &[own]).unwrap_err().to_string().contains("not a kernel module"));
    }
}
