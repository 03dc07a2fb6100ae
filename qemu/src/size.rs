// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Sizes as QEMU's command line takes them.

use std::fmt;
use std::str::FromStr;

/// Bytes; a whole number of MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

const MIB: u64 = 1 << 20;

impl Size {
    /// That many MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(MIB))
    }

    /// As a number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}M", self.0 / MIB)
    }
}

impl FromStr for Size {
    type Err = String;

    /// A number with the suffix M or G, or a plain number of MiB.
    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, unit) = match text.char_indices().last() {
            Some((at, 'M' | 'm')) => (text.get(..at), MIB),
            Some((at, 'G' | 'g')) => (text.get(..at), MIB << 10),
            _ => (Some(text), MIB),
        };
        digits
            .and_then(|digits| digits.parse::<u64>().ok())
            .and_then(|count| count.checked_mul(unit))
            .filter(|&bytes| bytes > 0)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no size: a number of MiB, or one with the suffix M or G"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_and_plain_numbers_parse() {
        assert_eq!("256M".parse(), Ok(Size::mib(256)));
        assert_eq!("2G".parse(), Ok(Size::mib(2048)));
        assert_eq!("64".parse(), Ok(Size::mib(64)));
        assert_eq!(Size::mib(2048).to_string(), "2048M");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "M", "0", "-1M", "1T", "99999999999999999999G", "18446744073709551615M"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
