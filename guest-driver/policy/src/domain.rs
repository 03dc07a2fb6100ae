// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Whose addresses an offset is one of.

use crate::error::Error;

/// Where bytes can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Domain {
    /// System pages that the GPU has no address for but in page tables of processes.
    System = 0,
    /// System pages bound in the GART.
    Gtt = 1,
    /// The device's own memory.
    Vram = 2,
}

impl Domain {
    /// From its number.
    pub fn from_raw(raw: u32) -> Result<Self, Error> {
        match raw {
            0 => Ok(Domain::System),
            1 => Ok(Domain::Gtt),
            2 => Ok(Domain::Vram),
            _ => Err(Error::Invalid),
        }
    }
}

/// A set of domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainMask(u32);

impl DomainMask {
    /// From bits `1 << domain`; bits that name no domain are an error.
    pub fn from_bits(bits: u32) -> Result<Self, Error> {
        if bits & !0b111 != 0 {
            return Err(Error::Invalid);
        }
        Ok(Self(bits))
    }

    /// Whether a domain is in the set.
    pub fn has(self, domain: Domain) -> bool {
        self.0 & 1u32.wrapping_shl(domain as u32) != 0
    }
}

/// A domain and the offset in it (bytes from the segment's base on; zero in SYSTEM).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Which kind of memory.
    pub domain: Domain,
    /// Where in it.
    pub offset: u64,
}
