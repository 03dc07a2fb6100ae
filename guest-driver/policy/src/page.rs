// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Bytes and pages.

use crate::error::Error;

/// The granule of all segments: a power of two, kept as its logarithm so that no division is needed and no
/// shift can be too far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageSize {
    shift: u32,
}

impl PageSize {
    pub(crate) fn new(bytes: u64) -> Result<Self, Error> {
        if !bytes.is_power_of_two() {
            return Err(Error::Invalid);
        }
        Ok(Self { shift: bytes.trailing_zeros() })
    }

    pub(crate) fn bytes(self) -> u64 {
        1u64.wrapping_shl(self.shift)
    }

    fn mask(self) -> u64 {
        self.bytes().wrapping_sub(1)
    }

    pub(crate) fn is_aligned(self, bytes: u64) -> bool {
        bytes & self.mask() == 0
    }

    /// Whole pages in so many bytes.
    pub(crate) fn pages_down(self, bytes: u64) -> u64 {
        bytes.wrapping_shr(self.shift)
    }

    /// Pages that so many bytes touch.
    pub(crate) fn pages_up(self, bytes: u64) -> u64 {
        self.pages_down(bytes).saturating_add(u64::from(!self.is_aligned(bytes)))
    }

    /// Bytes of so many pages of a segment, whose size in bytes fits 64 bits.
    pub(crate) fn to_bytes(self, pages: u64) -> u64 {
        pages.wrapping_shl(self.shift)
    }

    /// The size of an object in bytes rounded up to pages; zero and overflow are errors.
    pub(crate) fn round_up(self, bytes: u64) -> Result<u64, Error> {
        match bytes.checked_add(self.mask()).ok_or(Error::Invalid)? & !self.mask() {
            0 => Err(Error::Invalid),
            rounded => Ok(rounded),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rounding_refuses_what_does_not_fit() {
        let page = PageSize::new(4096).unwrap();

        assert_eq!(page.round_up(1), Ok(4096));
        assert_eq!(page.round_up(0), Err(Error::Invalid));
        assert_eq!(page.round_up(u64::MAX), Err(Error::Invalid));
        assert_eq!(page.pages_up(u64::MAX), 1 << 52);
        assert_eq!(page.pages_down(u64::MAX), (1 << 52) - 1);
    }

    #[test]
    fn page_of_any_power_of_two_is_accepted() {
        assert_eq!(PageSize::new(1).unwrap().pages_up(u64::MAX), u64::MAX);
        assert_eq!(PageSize::new(1 << 63).unwrap().pages_down(u64::MAX), 1);
        assert_eq!(PageSize::new(0).err(), Some(Error::Invalid));
        assert_eq!(PageSize::new(4095).err(), Some(Error::Invalid));
    }
}
