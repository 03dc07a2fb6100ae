// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a successful module build does not tell: it may still be refused by the loader, or run without mitigations.

use std::fs;
use std::path::Path;

use object::elf::{R_X86_64_GOTPCREL, R_X86_64_GOTPCRELX, R_X86_64_REX_GOTPCRELX};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget};

use crate::error::{Error, Result};

/// What the panic handler calls. It is there, but nothing may need it: a panic in the kernel is a BUG.
const PANIC: &str = "uvm_rust_panic";

/// What the Rust object may leave to others: the C side's services to it, and what the compiler calls by itself.
fn may_be_undefined(symbol: &str) -> bool {
    const OF_THE_COMPILER: [&str; 6] = ["memcpy", "memset", "memmove", "memcmp", "bcmp", "strlen"];
    ["uvm_rust_alloc", "uvm_rust_free"].contains(&symbol)
        || OF_THE_COMPILER.contains(&symbol)
        || symbol == "__x86_return_thunk"
        || symbol.starts_with("__x86_indirect_thunk_")
}

/// Fails on a panic that the linked object can reach, on relocations that the loader refuses though objtool and modpost are silent about them, and on symbols
/// the kernel does not have, such as the helpers for floats and 128-bit division.
pub(crate) fn check_rust_object(path: &Path) -> Result<()> {
    let data = fs::read(path).map_err(Error::io(path))?;
    let problem = |reason: String| Error::Guard(format!("Rust object: {reason}"));
    let file: ElfFile64 = ElfFile64::parse(&*data).map_err(|error| problem(error.to_string()))?;
    for section in file.sections() {
        for (offset, relocation) in section.relocations() {
            let RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
            if [R_X86_64_GOTPCREL, R_X86_64_GOTPCRELX, R_X86_64_REX_GOTPCRELX].contains(&r_type) {
                let target = match relocation.target() {
                    RelocationTarget::Symbol(index) => {
                        file.symbol_by_index(index).ok().and_then(|symbol| symbol.name().ok()).unwrap_or("?")
                    }
                    _ => "?",
                };
                let section = section.name().unwrap_or("?");
                return Err(problem(format!(
                    "{section}+{offset:#x} reaches {target} through a GOT (relocation {r_type})"
                )));
            }
        }
    }
    let strangers: Vec<&str> = file
        .symbols()
        .filter(|symbol| symbol.is_undefined())
        .filter_map(|symbol| symbol.name().ok())
        .filter(|name| !name.is_empty() && !may_be_undefined(name))
        .collect();
    if strangers.contains(&PANIC) {
        Err(problem(format!("it can panic: it refers to {PANIC}")))
    } else if strangers.is_empty() {
        Ok(())
    } else {
        Err(problem(format!("needs what no kernel has: {}", strangers.join(", "))))
    }
}

/// Fails on any warning: a missing mitigation flag, for one, only warns, and the module still loads.
pub(crate) fn check_kbuild_log(log: &str) -> Result<()> {
    let warnings: Vec<&str> = log.lines().filter(|line| line.to_ascii_lowercase().contains("warning:")).collect();
    if warnings.is_empty() {
        Ok(())
    } else {
        Err(Error::Guard(format!("Kbuild warns:\n{}", warnings.join("\n"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_in_the_log_fails_the_build() {
        let log = "  CC [M]  uvm.o\nuvm.o: warning: objtool: f+0x0: 'naked' return found in MITIGATION_RETHUNK build\n";
        assert!(check_kbuild_log(log).unwrap_err().to_string().contains("naked"));
        assert!(check_kbuild_log("  LD [M]  uvm.ko\n").is_ok());
    }

    #[test]
    fn float_helpers_are_strangers_and_thunks_are_not() {
        assert!(!may_be_undefined(PANIC));
        assert!(!may_be_undefined("__muldf3"));
        assert!(!may_be_undefined("__udivti3"));
        assert!(may_be_undefined("__x86_indirect_thunk_r11"));
        assert!(may_be_undefined("uvm_rust_alloc"));
    }

    /// What the guards say of C code compiled with these flags.
    fn judge(flags: &[&str], code: &str) -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let (source, object) = (folder.path().join("a.c"), folder.path().join("a.o"));
        fs::write(&source, code).unwrap();
        let mut compiler = std::process::Command::new("cc");
        compiler.args(["-O2", "-c", "-fno-asynchronous-unwind-tables"]).args(flags).arg("-o").args([&object, &source]);
        assert!(compiler.status().unwrap().success());
        check_rust_object(&object)
    }

    const REACHES_OUT: &str = "extern int uvm_rust_alloc; int f(void) { return uvm_rust_alloc; }";

    #[test]
    fn an_object_that_reaches_through_a_got_is_refused() {
        let error = judge(&["-fPIC"], REACHES_OUT).unwrap_err().to_string();
        assert!(error.contains("uvm_rust_alloc through a GOT"), "{error}");
        judge(&["-fno-pic", "-mcmodel=kernel", "-mno-red-zone"], REACHES_OUT).unwrap();
    }

    #[test]
    fn an_object_that_can_panic_is_refused() {
        let code = "extern void uvm_rust_panic(void); void f(void) { uvm_rust_panic(); }";
        let error = judge(&["-fno-pic", "-mcmodel=kernel"], code).unwrap_err().to_string();
        assert!(error.contains("it can panic"), "{error}");
    }

    #[test]
    fn an_object_with_a_wide_division_is_refused() {
        let code = "unsigned __int128 f(unsigned __int128 a, unsigned __int128 b) { return a / b; }";
        let error = judge(&["-fno-pic", "-mcmodel=kernel"], code).unwrap_err().to_string();
        assert!(error.contains("__udivti3"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_object_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(check_rust_object(file.path()).is_err());
    }
}
