// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! VRAM as a part of the guest's memory (UMA): where it lies, and how the guest's kernel is kept off it.

use std::fmt;
use std::str::FromStr;

use crate::size::Size;

/// Unit of place and size: the FB aperture's.
const GRANULE: u64 = 16 << 20;
/// Left above the carve-out: the firmware puts the ACPI tables at the end of low memory.
const FIRMWARE: u64 = GRANULE;
/// From this much memory on, q35 moves the part over the first 2 GiB above 4 GiB.
const SPLIT_FROM: u64 = 0xb000_0000;
const SPLIT_AT: u64 = 0x8000_0000;
/// Least address: below are the kernel's image and what it needs early.
const LEAST_BASE: u64 = 64 << 20;

/// What the user asked for: `SIZE` or `SIZE@BASE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uma {
    /// Bytes of VRAM.
    pub size: Size,
    /// Bus address; none: as high as it fits.
    pub base: Option<u64>,
}

/// A carve-out: bytes of guest memory from a bus address on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carveout {
    size: Size,
    base: u64,
}

impl Uma {
    /// Where it lies in a q35 machine with `memory`.
    ///
    /// # Errors
    /// What is wrong with the size or the place.
    pub fn place(self, memory: Size) -> Result<Carveout, String> {
        let Self { size, base } = self;
        if size.bytes() % GRANULE != 0 {
            return Err(format!("{size} is no multiple of 16M"));
        }
        let low = if memory.bytes() >= SPLIT_FROM { SPLIT_AT } else { memory.bytes() };
        let most = (low / GRANULE * GRANULE).checked_sub(FIRMWARE).and_then(|end| end.checked_sub(size.bytes()));
        let most = most.filter(|&most| most >= LEAST_BASE);
        let most = most.ok_or_else(|| format!("{size} are too much of a guest's {memory}"))?;
        let base = base.unwrap_or(most);
        if base % GRANULE != 0 || base < LEAST_BASE || base > most {
            return Err(format!(
                "{size} at {base:#x}: with {memory} the base is a multiple of 16M from {LEAST_BASE:#x} to {most:#x}"
            ));
        }
        Ok(Carveout { size, base })
    }
}

impl FromStr for Uma {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((size, base)) = text.split_once('@') else { return Ok(Self { size: text.parse()?, base: None }) };
        let base = match base.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).map_err(|_| format!("{base:?} is no address"))?,
            None => base.parse::<Size>()?.bytes(),
        };
        Ok(Self { size: size.parse()?, base: Some(base) })
    }
}

impl Carveout {
    /// The words that keep the guest's kernel off it. No shell sees the `$`: neither here nor in QEMU.
    pub fn kernel_words(self) -> String {
        format!("memmap={:#x}${:#x}", self.size.bytes(), self.base)
    }
}

/// As the backend's `--uma` takes it.
impl fmt::Display for Carveout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:#x}", self.size, self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, memory: u64) -> Result<String, String> {
        text.parse::<Uma>()?.place(Size::mib(memory)).map(|c| c.to_string())
    }

    #[test]
    fn default_place_is_under_the_firmware_tables_in_low_memory() {
        assert_eq!(place("64M", 1024), Ok("64M@0x3b000000".into()));
        assert_eq!(place("64M", 1031), Ok("64M@0x3b000000".into()));
        // From 2.75 GiB on, low memory ends at 2 GiB.
        assert_eq!(place("256M", 2800), Ok("256M@0x9e000000".into()));
        assert_eq!(place("256M", 2816), Ok("256M@0x6f000000".into()));
        assert_eq!(place("256M", 8192), Ok("256M@0x6f000000".into()));
    }

    #[test]
    fn given_place_is_kept() {
        assert_eq!(place("32M@0x20000000", 1024), Ok("32M@0x20000000".into()));
        assert_eq!(place("32M@512M", 1024), Ok("32M@0x20000000".into()));
    }

    #[test]
    fn place_without_room_is_refused() {
        for (text, memory) in [
            ("8M", 1024),
            ("1G", 1024),
            ("960M", 1024),
            ("64M@0x3c000000", 1024),
            ("64M@0x20100000", 1024),
            ("64M@0", 1024),
            ("64M@0x80000000", 4096),
            ("64M@0xq", 1024),
            ("", 1024),
            ("@0x20000000", 1024),
        ] {
            assert!(place(text, memory).is_err(), "{text} of {memory}");
        }
    }

    #[test]
    fn kernel_is_kept_off_exactly_it() {
        let carveout = "64M".parse::<Uma>().and_then(|uma| uma.place(Size::mib(1024)));
        assert_eq!(carveout.map(Carveout::kernel_words), Ok("memmap=0x4000000$0x3b000000".into()));
    }
}
