// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Programs of this workspace that the images and the launcher need, built by Cargo.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// The guest runs on the build machine's architecture; naming it keeps the flags from build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The checkout and the folder for everything made from it.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// Top of the checkout.
    pub source: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
}

impl Workspace {
    /// The checkout this program was compiled from, with the target folder Cargo would use there.
    pub fn locate() -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_owned();
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| source.join("target"), |name| source.join(name));
        Self { source, target }
    }

    /// Where images are kept.
    pub fn images(&self) -> PathBuf {
        self.target.join("vm")
    }

    /// Builds the guest's tools as a static binary, in a target folder of their own, and gives its path.
    ///
    /// # Errors
    /// [`Error::Start`] or [`Error::Cargo`].
    pub fn guest_tools(&self) -> Result<PathBuf> {
        let target = self.images().join("guest");
        let built = target.join(TARGET).join("release/uvm-tools");
        let mut cargo = self.cargo("uvm-tools", &target, &built);
        // The images must not depend on the flags the user builds with.
        cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", "-Ctarget-feature=+crt-static -Cstrip=symbols");
        cargo.args(["--target", TARGET]);
        run(cargo, "uvm-tools")?;
        Ok(built)
    }

    /// Builds a program of the root package in the ordinary target folder and gives its path.
    ///
    /// # Errors
    /// As [`Workspace::guest_tools`].
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let built = self.target.join("release").join(name);
        let mut cargo = self.cargo(name, &self.target, &built);
        cargo.args(["--bin", name]);
        run(cargo, name)?;
        Ok(built)
    }

    /// Runs a benchmark of a package and gives what it printed.
    ///
    /// # Errors
    /// As [`Workspace::guest_tools`].
    pub fn bench(&self, package: &str, bench: &str) -> Result<String> {
        let mut cargo = self.bare_cargo(&self.target);
        cargo.args(["bench", "--quiet", "--package", package, "--bench", bench]);
        let start = |source| Error::Start { program: "cargo".into(), source };
        let output = cargo.stdout(Stdio::piped()).stderr(Stdio::inherit()).output().map_err(start)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Error::Cargo { package: package.to_owned(), status: output.status.to_string() })
    }

    fn cargo(&self, package: &str, target: &Path, built: &Path) -> Command {
        let mut cargo = self.bare_cargo(target);
        cargo.args(["build", "--release", "--package", package]);
        // The first time takes long and shows how far it is; later ones speak only when something is wrong.
        if built.exists() {
            cargo.arg("--quiet");
        } else {
            eprintln!("building {package}");
        }
        cargo
    }

    fn bare_cargo(&self, target: &Path) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.env("CARGO_TARGET_DIR", target).current_dir(&self.source).stdin(Stdio::null()).stdout(Stdio::null());
        // What Cargo sets for the program it runs would look like a changed environment to the build scripts.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_BIN_") || text.starts_with("CARGO_MANIFEST_") {
                cargo.env_remove(name);
            }
        }
        cargo
    }
}

fn run(mut cargo: Command, name: &str) -> Result<()> {
    let program = cargo.get_program().to_string_lossy().into_owned();
    let status = cargo.status().map_err(|source| Error::Start { program, source })?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Cargo { package: name.to_owned(), status: status.to_string() })
}
