// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A few files of the kernel's own source, for what the kernel brings its tests along for: Debian's `linux-source` package
//! of the build root's kernel, fetched where something asks for it. The package is 150 MB and holds it all; only
//! what is named in [`FILES`] is kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{Cache, Check};
use crate::command::run_logged;
use crate::error::{Error, Result};
use crate::key::KeyBuilder;
use crate::progress::Stage;
use crate::root::Root;

/// What is kept, by its path in the kernel's tree.
const FILES: &[&str] = &[
    "lib/test_hmm.c",
    "lib/test_hmm_uapi.h",
    "mm/gup_test.h",
    "tools/testing/selftests/kselftest.h",
    "tools/testing/selftests/kselftest_harness.h",
    "tools/testing/selftests/mm/hmm-tests.c",
    "tools/testing/selftests/mm/hugepage_settings.c",
    "tools/testing/selftests/mm/hugepage_settings.h",
    "tools/testing/selftests/mm/vm_util.c",
    "tools/testing/selftests/mm/vm_util.h",
];
/// Where Debian keeps the keys its packages are signed with.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Unpacks the package $1 into the folder source, in the build root: dpkg-deb there knows how the package is packed, and
/// busybox how the tree in it is.
const UNPACK: &str = r#"set -o pipefail
package=$1; shift
cd /mnt; mkdir source
dpkg-deb --fsys-tarfile "$package" | tar -x -O --wildcards '*/linux-source-*.tar.xz' | busybox xzcat |
    tar -x -C source --strip-components=1 --wildcards "$@""#;

/// Gives the folder with the files of the kernel that `root` boots, at their paths in the kernel's tree.
///
/// # Errors
/// A failed apt, such as for a kernel whose source the mirror no longer has; [`Error::NotRoot`].
pub fn prepare(cache: &Cache, root: &Root) -> Result<PathBuf> {
    let key = KeyBuilder::new().key("root", &root.key).bytes("files", FILES.join(" ").as_bytes()).finish();
    let waiting = || eprintln!("kernel source: another process is fetching it, waiting");
    let entry = cache.entry("source", &key, Check::Content, waiting, |folder| {
        let stage = Stage::start("kernel source", "fetching Debian's package of it, 150 MB this once");
        let (package, version) = wanted(root)?;
        fetch(cache, root, folder, &package, &version)?;
        let deb = one_package(folder)?;
        stage.say(&format!("unpacking {deb}"));
        let mut unpack = root.command(folder, "bash")?;
        // Each name is anchored by the top folder, which has the series in its name.
        let members = FILES.iter().map(|file| format!("linux-source-*/{file}"));
        unpack.args(["-euc", UNPACK, "unpack", &deb]).args(members);
        run_logged("unpacking the kernel's source", &mut unpack, &cache.folder().join("source.log"), |_| ())?;
        remove_all_but(folder, "source")?;
        stage.done();
        Ok::<(), Error>(())
    })?;
    Ok(entry.join("source"))
}

/// Name and version of the package that the root's kernel was built from.
fn wanted(root: &Root) -> Result<(String, String)> {
    let status = root.path.join("var/lib/dpkg/status");
    let status = fs::read_to_string(&status).map_err(Error::io(&status))?;
    let missing = |what: String| Error::Incomplete { root: root.path.clone(), what };
    let series = series_of(&root.release).ok_or_else(|| missing(format!("kernel series in {}", root.release)))?;
    let headers = format!("linux-headers-{}", root.release);
    let version = version_of(&status, &headers).ok_or_else(|| missing(headers))?;
    Ok((format!("linux-source-{series}"), version))
}

/// `7.2` of `7.2.12+deb13-amd64`.
fn series_of(release: &str) -> Option<String> {
    let mut parts = release.split(['.', '-', '+']);
    let (major, minor) = (parts.next()?.parse::<u32>().ok()?, parts.next()?.parse::<u32>().ok()?);
    Some(format!("{major}.{minor}"))
}

/// The version of an installed package, from dpkg's status.
fn version_of(status: &str, package: &str) -> Option<String> {
    let wanted = format!("Package: {package}");
    let paragraph = status.split("\n\n").find(|paragraph| paragraph.lines().any(|line| line == wanted))?;
    paragraph.lines().find_map(|line| line.strip_prefix("Version: ")).map(str::to_owned)
}

/// Downloads the package into `folder`, by this machine's apt with the root's sources and lists of its own.
fn fetch(cache: &Cache, root: &Root, folder: &Path, package: &str, version: &str) -> Result<()> {
    let sources = root.path.join("etc/apt/sources.list");
    let sources = fs::read_to_string(&sources).map_err(Error::io(&sources))?;
    let own = folder.join("sources.list");
    fs::write(&own, signed(&sources, Path::new(KEYRING).exists())).map_err(Error::io(&own))?;
    for part in ["lists/partial", "archives/partial", "none"] {
        let part = folder.join(part);
        fs::create_dir_all(&part).map_err(Error::io(&part))?;
    }
    let at = |name: &str| folder.join(name).display().to_string();
    let options = [
        format!("Dir::Etc::sourcelist={}", at("sources.list")),
        format!("Dir::Etc::sourceparts={}", at("none")),
        format!("Dir::Etc::preferencesparts={}", root.path.join("etc/apt/preferences.d").display()),
        format!("Dir::State::lists={}", at("lists")),
        format!("Dir::State::status={}", root.path.join("var/lib/dpkg/status").display()),
        format!("Dir::Cache={folder}", folder = folder.display()),
        format!("Dir::Cache::archives={}", at("archives")),
        "APT::Sandbox::User=root".into(),
        "Acquire::Languages=none".into(),
        "Acquire::Retries=3".into(),
    ];
    let apt = |arguments: &[&str], log: &str| {
        let mut command = Command::new("apt-get");
        command.arg("-q").args(options.iter().flat_map(|option| ["-o", option])).args(arguments);
        command.current_dir(folder).env("LC_ALL", "C.UTF-8");
        let what = format!("fetching {package} {version}");
        run_logged(&what, &mut command, &cache.folder().join(log), |_| ()).map(drop)
    };
    apt(&["update"], "source-lists.log")?;
    apt(&["download", &format!("{package}={version}")], "source-package.log")
}

/// The same sources, with the keys that vouch for them where this machine's apt does not know them by itself.
fn signed(sources: &str, has_keyring: bool) -> String {
    if !has_keyring {
        return sources.to_owned();
    }
    sources.replace("deb http", &format!("deb [signed-by={KEYRING}] http"))
}

fn one_package(folder: &Path) -> Result<String> {
    let names =
        fs::read_dir(folder).map_err(Error::io(folder))?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .into_iter()
        .find(|name| name.ends_with(".deb"))
        .ok_or_else(|| Error::Incomplete { root: folder.to_owned(), what: "package after its download".into() })
}

fn remove_all_but(folder: &Path, kept: &str) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if path.ends_with(kept) {
            continue;
        }
        let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        gone.map_err(Error::io(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_is_the_releases_first_two_numbers() {
        assert_eq!(series_of("7.2.12+deb13-amd64").as_deref(), Some("7.2"));
        assert_eq!(series_of("8.0-1-amd64").as_deref(), Some("8.0"));
        assert_eq!(series_of("next"), None);
    }

    #[test]
    fn version_is_the_named_packages() {
        let status = "Package: a\nVersion: 1\n\nPackage: a-b\nStatus: x\nVersion: 2:3~b\n\n";
        assert_eq!(version_of(status, "a-b").as_deref(), Some("2:3~b"));
        assert_eq!(version_of(status, "b"), None);
    }

    #[test]
    fn sources_name_the_keys_where_there_are_any() {
        let sources = "deb http://m.example/debian trixie main\n";
        assert_eq!(signed(sources, false), sources);
        assert_eq!(signed(sources, true), format!("deb [signed-by={KEYRING}] http://m.example/debian trixie main\n"));
    }
}
