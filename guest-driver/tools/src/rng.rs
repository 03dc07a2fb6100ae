// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Seeded numbers: the same seed gives the same run (SplitMix64).

/// A generator.
#[derive(Clone, Debug)]
pub struct Rng(u64);

/// Mixes a number's bits; neighbours give unrelated results.
pub const fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

impl Rng {
    /// A generator for `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// The next 32 bits.
    pub fn next32(&mut self) -> u32 {
        (self.next() >> 32).try_into().unwrap_or(0)
    }

    /// A number below `bound`; zero for a bound of zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product: even enough, without a division.
        ((u128::from(self.next()) * u128::from(bound)) >> 64).try_into().unwrap_or(0)
    }

    /// An index below `bound`.
    pub fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap_or(0)
    }

    /// A size of 1 to `most`, each order of magnitude as likely as the next.
    pub fn size(&mut self, most: u64) -> u64 {
        let bits = u64::from(64 - most.max(1).leading_zeros());
        let top = 1_u64.checked_shl(u32::try_from(self.below(bits) + 1).unwrap_or(1)).unwrap_or(u64::MAX);
        (self.below(top) + 1).min(most.max(1))
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// Random bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length.saturating_add(8));
        while bytes.len() < length {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_the_same_bytes() {
        assert_eq!(Rng::new(5).bytes(33), Rng::new(5).bytes(33));
        assert_ne!(Rng::new(5).bytes(33), Rng::new(6).bytes(33));
    }

    #[test]
    fn sizes_cover_small_and_large_and_stay_in_range() {
        let mut rng = Rng::new(1);
        let sizes: Vec<u64> = (0..2000).map(|_| rng.size(1 << 20)).collect();
        assert!(sizes.iter().all(|&s| (1..=1 << 20).contains(&s)));
        assert!(sizes.iter().any(|&s| s < 8) && sizes.iter().any(|&s| s > 1 << 19));
        assert_eq!(rng.size(1), 1);
    }

    #[test]
    fn below_stays_below() {
        let mut rng = Rng::new(2);
        assert!((0..1000).all(|_| rng.below(3) < 3));
        assert_eq!(rng.below(0), 0);
    }
}
