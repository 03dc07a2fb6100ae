// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Numbers that people read in hexadecimal, in JSON too: 64 bits are more than many JSON readers keep.

use serde::{de, Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A number shown as `0x..`. Read from such a string, a decimal string, or a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hex(pub u64);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:#x}", self.0))
    }
}

impl From<u32> for Hex {
    fn from(value: u32) -> Self {
        Self(value.into())
    }
}

impl std::str::FromStr for Hex {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.replace('_', "");
        let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => digits.parse(),
        };
        number.map(Self).map_err(|_| format!("{text:?} is no number: decimal, or hexadecimal with 0x"))
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Hex;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a string such as 0x1000")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Hex, E> {
                Ok(Hex(value))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Hex, E> {
                value.parse().map_err(E::custom)
            }
        }
        from.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_went() {
        for value in [0, 1, 0x1000, u64::MAX] {
            let text = serde_json::to_string(&Hex(value)).unwrap();
            assert_eq!(text, format!("\"{value:#x}\""));
            assert_eq!(serde_json::from_str::<Hex>(&text).unwrap(), Hex(value));
        }
        assert_eq!(serde_json::from_str::<Hex>("4096").unwrap(), Hex(4096));
        assert_eq!("0x7f_ffff".parse(), Ok(Hex(0x7f_ffff)));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "0x", "-1", "12g", "0x1_0000_0000_0000_0000", "ten"] {
            assert!(text.parse::<Hex>().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Hex>("-1").is_err() && serde_json::from_str::<Hex>("[]").is_err());
    }
}
