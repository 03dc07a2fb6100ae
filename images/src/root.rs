// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The build root: one Debian tree with a compiler, a kernel with its headers, and QEMU.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{Cache, Check};
use crate::command::{find_program, output_of, run_logged};
use crate::error::{Error, Result};
use crate::key::{Key, KeyBuilder};
use crate::progress::Stage;

/// The release whose packages, with its backports, make up the root.
const SUITE: &str = "trixie";
const PACKAGES: &str = include_str!("../recipe/packages");
const PREFERENCES: &str = include_str!("../recipe/preferences");
const KERNEL_SCRIPT: &str = include_str!("../recipe/kernel.sh");
/// Names a Debian mirror (a URL as in a sources list) where apt's own is not to be used.
pub const MIRROR_VARIABLE: &str = "UVM_DEBIAN_MIRROR";
/// Documentation has no reader in there.
const LEFT_OUT: [&str; 4] = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"];

/// A whole build root.
#[derive(Clone, Debug)]
pub struct Root {
    /// Its top folder.
    pub path: PathBuf,
    /// The release of its kernel, such as `uname -r` says in the guest.
    pub release: String,
    /// Of the recipe and of what it gave: changes when the root is made anew with other packages.
    pub key: Key,
}

impl Root {
    /// Gives the root, making it first where it is missing, broken or of another recipe.
    ///
    /// # Errors
    /// Missing privileges or mirror, a failed mmdebstrap with the tail of its log.
    pub fn prepare(cache: &Cache) -> Result<Self> {
        let recipe = KeyBuilder::new()
            .bytes("suite", SUITE.as_bytes())
            .bytes("packages", PACKAGES.as_bytes())
            .bytes("preferences", PREFERENCES.as_bytes())
            .bytes("kernel", KERNEL_SCRIPT.as_bytes())
            .bytes("left out", LEFT_OUT.join(" ").as_bytes())
            .finish();
        let waiting = || eprintln!("build root: another process is making it, waiting");
        let path = cache.entry("root", &recipe, Check::Size, waiting, |folder| make(cache, folder))?;
        Self::open(path, &recipe)
    }

    fn open(path: PathBuf, recipe: &Key) -> Result<Self> {
        let modules = path.join("usr/lib/modules");
        let mut releases: Vec<String> = fs::read_dir(&modules)
            .map_err(Error::io(&modules))?
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .filter(|release| modules.join(release).join("modules.order").exists())
            .collect();
        releases.sort();
        let release =
            releases.pop().ok_or_else(|| Error::Incomplete { root: path.clone(), what: "kernel modules".into() })?;
        // The package list tells two roots of one recipe apart that were made at different times.
        let key = KeyBuilder::new().key("recipe", recipe).file("status", &path.join("var/lib/dpkg/status"))?.finish();
        Ok(Self { path, release, key })
    }

    /// The kernel image that belongs to [`Root::release`].
    ///
    /// # Errors
    /// [`Error::Incomplete`] when the root has none.
    pub fn kernel(&self) -> Result<PathBuf> {
        [format!("usr/lib/modules/{}/vmlinuz", self.release), format!("boot/vmlinuz-{}", self.release)]
            .iter()
            .map(|name| self.path.join(name))
            .find(|file| file.is_file())
            .ok_or_else(|| Error::Incomplete { root: self.path.clone(), what: format!("kernel {}", self.release) })
    }

    /// The folder of the kernel's own modules.
    pub fn modules(&self) -> PathBuf {
        self.path.join("usr/lib/modules").join(&self.release)
    }

    /// A command that runs `program` inside the root, with `work` at `/mnt`. The root itself is read-only there, so
    /// that nothing a build does can change it; the mounts are in a namespace of their own and end with the command.
    ///
    /// # Errors
    /// [`Error::NotRoot`].
    pub(crate) fn command(&self, work: &Path, program: &str) -> Result<Command> {
        require_root("building in the build root")?;
        let mut command = with_own_mounts();
        command
            .arg(
                r#"root=$1 work=$2; shift 2
                mount --bind "$root" "$root"
                mount --bind "$work" "$root/mnt"
                mount -o remount,bind,ro "$root"
                mount -t proc proc "$root/proc"
                mount -t tmpfs tmpfs "$root/tmp"
                mount --rbind /dev "$root/dev"
                exec chroot "$root" "$@""#,
            )
            .args([&self.path, work, Path::new(program)])
            .env_clear()
            .envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C.UTF-8"), ("HOME", "/mnt")]);
        Ok(command)
    }
}

/// A shell whose mounts are its own and end with it. Its first argument is the script, the others are the script's.
fn with_own_mounts() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "unchanged", "--fork", "--kill-child", "--", "sh", "-euc"]).args([
        r#"# In a chroot / is no mount point and refuses; then the namespace must be private already.
        mount --make-rprivate / 2>/dev/null || ! grep -q ' shared:' /proc/self/mountinfo
        script=$1; shift
        eval "$script""#,
        "sh",
    ]);
    command
}

fn require_root(what: &'static str) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err(Error::NotRoot { what })
    }
}

fn make(cache: &Cache, folder: &Path) -> Result<()> {
    require_root("making the build root")?;
    let stage = Stage::start("build root", "making it from Debian's packages, some minutes this once");
    let mirror = mirror()?;
    install_tools(cache, &stage)?;
    let files = cache.folder().join("recipe");
    fs::create_dir_all(&files).map_err(Error::io(&files))?;
    let (preferences, script) = (files.join("preferences"), files.join("kernel.sh"));
    fs::write(&preferences, PREFERENCES).map_err(Error::io(&preferences))?;
    fs::write(&script, KERNEL_SCRIPT).map_err(Error::io(&script))?;

    let packages: Vec<&str> =
        PACKAGES.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    // It mounts proc, sys and devices into the folder: whatever ends it, they end with it.
    let mut command = with_own_mounts();
    command
        .args([r#"exec "$@""#, "mmdebstrap"])
        .args(["--variant=essential", "--mode=root", "--components=main", "--format=directory"])
        .arg(format!("--include={}", packages.join(",")))
        .args(["--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::Languages \"none\""])
        .args(["--aptopt=Acquire::Retries \"3\"", "--dpkgopt=force-unsafe-io"])
        .args(proxies().iter().map(|option| format!("--aptopt={option}")))
        .args(LEFT_OUT.map(|pattern| format!("--dpkgopt=path-exclude={pattern}")))
        .arg(format!("--setup-hook=install -D -m 644 {} \"$1/etc/apt/preferences.d/root\"", quoted(&preferences)))
        .arg(format!("--customize-hook=sh {} \"$1\"", quoted(&script)))
        .arg(SUITE)
        .arg(folder)
        .args([format!("deb {mirror} {SUITE} main"), format!("deb {mirror} {SUITE}-backports main")]);
    run_logged("making the build root", &mut command, &cache.folder().join("root.log"), |line| {
        // mmdebstrap names its steps this way; the rest is for the log.
        if let Some(step) = line.strip_prefix("I: ").filter(|step| step.ends_with("...")) {
            stage.say(step);
        }
    })?;
    stage.done();
    Ok(())
}

/// mmdebstrap, and mount, which a minimal Debian lacks too.
fn install_tools(cache: &Cache, stage: &Stage) -> Result<()> {
    let missing: Vec<&str> = ["mmdebstrap", "mount"].into_iter().filter(|name| find_program(name).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    stage.say(&format!("installing {}", missing.join(" and ")));
    let log = cache.folder().join("tools.log");
    let apt = |what: &str, arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-q", "-y"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        run_logged(what, &mut command, &log, |_| ()).map(drop)
    };
    apt("apt-get update", &["update"])?;
    let mut arguments = vec!["install", "--no-install-recommends"];
    arguments.extend(&missing);
    apt(&format!("installing {}", missing.join(" and ")), &arguments)
}

/// The mirror this machine takes its own packages from.
fn mirror() -> Result<String> {
    if let Some(mirror) = std::env::var(MIRROR_VARIABLE).ok().filter(|mirror| !mirror.is_empty()) {
        return Ok(mirror);
    }
    let listed = sites(&[]);
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        system.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default().trim_matches('"')
    };
    mirror_among(&listed, field("ID"), field("VERSION_CODENAME")).ok_or(Error::NoMirror { variable: MIRROR_VARIABLE })
}

/// What apt is configured to use, a `SITE RELEASE COMPONENT` line each; also on a machine that never fetched a list.
fn sites(options: &[&str]) -> String {
    let mut arguments = options.to_vec();
    arguments.extend(["indextargets", "--no-release-info", "--format", "$(SITE) $(RELEASE) $(COMPONENT)"]);
    output_of("apt-get", &arguments).unwrap_or_default()
}

/// Of `SITE RELEASE COMPONENT` lines, the site of this Debian's own release: not its updates, nor a stranger's packages.
fn mirror_among(listed: &str, id: &str, codename: &str) -> Option<String> {
    if id != "debian" {
        return None;
    }
    let own = [codename, "stable", "testing", "unstable", "sid"];
    listed
        .lines()
        .filter_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            [site, release, "main"] if own.contains(&release) => Some(site.trim_end_matches('/')),
            _ => None,
        })
        .find(|site| site.ends_with("/debian"))
        .map(str::to_owned)
}

/// The proxies that this machine's apt goes through, as apt options.
fn proxies() -> Vec<String> {
    let dump = output_of("apt-config", &["dump"]).unwrap_or_default();
    dump.lines()
        .filter(|line| line.starts_with("Acquire::http") && line.contains("::Proxy") && !line.contains("\"\""))
        .map(|line| line.trim_end_matches(';').to_owned())
        .collect()
}

/// A path as one word of a shell command.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_is_the_one_of_the_hosts_own_release() {
        let listed = "http://security.example/d bookworm-security main\nhttp://other.example/repo stable main\n\
                      http://mirror.example/debian/ bookworm main\n";
        assert_eq!(mirror_among(listed, "debian", "bookworm").as_deref(), Some("http://mirror.example/debian"));
    }

    #[test]
    fn mirror_is_found_before_any_list_was_fetched() {
        let folder = tempfile::tempdir().unwrap();
        let (list, empty) = (folder.path().join("sources.list"), folder.path().join("lists"));
        fs::create_dir(&empty).unwrap();
        fs::write(&list, "deb http://mirror.example/debian bookworm main\n").unwrap();
        let source_list = format!("-oDir::Etc::sourcelist={}", list.display());
        let lists = format!("-oDir::State::lists={}", empty.display());
        let listed = sites(&[&source_list, "-oDir::Etc::sourceparts=/dev/null", &lists]);
        assert_eq!(mirror_among(&listed, "debian", "bookworm").as_deref(), Some("http://mirror.example/debian"));
    }

    #[test]
    fn another_distributions_mirror_is_not_taken() {
        assert_eq!(mirror_among("http://mirror.example/ubuntu noble main\n", "ubuntu", "noble"), None);
    }

    #[test]
    fn no_mirror_for_an_empty_configuration() {
        assert_eq!(mirror_among("", "debian", ""), None);
    }

    #[test]
    fn a_quote_in_a_path_survives_the_shell() {
        assert_eq!(quoted(Path::new("/a'b")), r"'/a'\''b'");
    }
}
