// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The kernel's own test of heterogeneous memory management, as it is: the program `hmm-tests`, and the module `test_hmm`,
//! which pretends to be a device, as the baseline.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, Check};
use crate::command::run_logged;
use crate::error::{Error, Result};
use crate::guards;
use crate::kernel_source;
use crate::key::KeyBuilder;
use crate::progress::Stage;
use crate::root::Root;

/// Builds both in the build root, with the flags that the kernel's own makefile for them has.
const BUILD: &str = r#"cd /mnt/source/tools/testing/selftests/mm
gcc -O2 -U_FORTIFY_SOURCE -D_GNU_SOURCE= -static -I/mnt/source -I.. -o /mnt/hmm-tests \
    hmm-tests.c vm_util.c hugepage_settings.c -lrt -lpthread -lm
mkdir /mnt/kbuild
cp /mnt/source/lib/test_hmm* /mnt/kbuild
echo 'obj-m := test_hmm.o' >/mnt/kbuild/Kbuild
make -C "/lib/modules/$1/build" M=/mnt/kbuild modules
cp /mnt/kbuild/test_hmm.ko /mnt"#;

/// The test and its baseline.
#[derive(Clone, Debug)]
pub struct Selftest {
    /// The program, statically linked.
    pub program: PathBuf,
    /// The kernel's own module for it, which has no device behind it.
    pub original: PathBuf,
}

impl Selftest {
    /// Gives both for the root's kernel, fetching and building what is missing.
    ///
    /// # Errors
    /// As [`kernel_source::prepare`]; a compiler's failure with the tail of its log.
    pub fn prepare(cache: &Cache, root: &Root) -> Result<Self> {
        let source = kernel_source::prepare(cache, root)?;
        let key =
            KeyBuilder::new().key("root", &root.key).bytes("build", BUILD.as_bytes()).tree("source", &source)?.finish();
        let waiting = || eprintln!("kernel's test: another process is building it, waiting");
        let entry =
            cache.entry("selftest", &key, Check::Content, waiting, |folder| build(cache, root, &source, folder))?;
        Ok(Self { program: entry.join("hmm-tests"), original: entry.join("test_hmm.ko") })
    }
}

fn build(cache: &Cache, root: &Root, source: &Path, folder: &Path) -> Result<()> {
    let stage = Stage::start("kernel's test", "building hmm-tests and test_hmm");
    let scratch = folder.join("scratch");
    crate::module::copy_tree(source, &scratch.join("source"))?;
    let mut command = root.command(&scratch, "sh")?;
    command.args(["-euc", BUILD, "build", &root.release]);
    let said = run_logged("building the kernel's test", &mut command, &cache.folder().join("selftest.log"), |_| ())?;
    guards::check_kbuild_log(&said)?;
    for name in ["hmm-tests", "test_hmm.ko"] {
        fs::copy(scratch.join(name), folder.join(name)).map_err(Error::io(folder.join(name)))?;
    }
    fs::remove_dir_all(&scratch).map_err(Error::io(&scratch))?;
    stage.done();
    Ok(())
}
