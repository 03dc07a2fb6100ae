// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Memory encryption of TMZ pages in VRAM: AES-128 in XTS mode, a key per power-on, each 16-byte block tweaked by its
//! address. Who reads VRAM past the page tables (the BAR, a clear mapping) sees ciphertext.

use aes::cipher::KeyInit;
use aes::Aes128;
use std::fmt;
use xts_mode::Xts128;

/// Bytes encrypted as one; the address of each is its tweak.
pub const BLOCK: usize = 16;

/// The key, and what follows from it.
pub struct Cipher {
    key: [u8; 32],
    xts: Xts128<Aes128>,
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(..)")
    }
}

impl Cipher {
    /// A cipher with a random key.
    pub fn random() -> std::io::Result<Self> {
        let mut key = [0u8; 32];
        getrandom::fill(&mut key).map_err(std::io::Error::other)?;
        Ok(Self::new(&key))
    }
    /// A cipher with this key: 16 bytes for the data, 16 for the tweak.
    pub fn new(key: &[u8; 32]) -> Self {
        let (data, tweak) = key.split_at(16);
        let xts = Xts128::new(Aes128::new(data.into()), Aes128::new(tweak.into()));
        Self { key: *key, xts }
    }
    /// The key, for a recording that shall be replayed.
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }
    /// Encrypts the blocks in `data`, the first of which lies at `addr`; both are whole blocks.
    pub fn encrypt(&self, addr: u64, data: &mut [u8]) {
        for (block, tweak) in blocks(addr, data) {
            self.xts.encrypt_sector(block, tweak);
        }
    }
    /// The inverse of [`Cipher::encrypt`].
    pub fn decrypt(&self, addr: u64, data: &mut [u8]) {
        for (block, tweak) in blocks(addr, data) {
            self.xts.decrypt_sector(block, tweak);
        }
    }
}

fn blocks(addr: u64, data: &mut [u8]) -> impl Iterator<Item = (&mut [u8], [u8; 16])> {
    let first = addr / BLOCK as u64;
    (first..).zip(data.chunks_exact_mut(BLOCK)).map(|(n, block)| (block, u128::from(n).to_le_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_blocks_at_different_addresses_differ() {
        let key = *b"a key of 32 bytes, known to tests";
        let cipher = Cipher::new(key.first_chunk().unwrap());
        let mut data = [0x55; 64];
        cipher.encrypt(0x1000, &mut data);
        assert!(data.chunks(BLOCK).enumerate().all(|(i, a)| data.chunks(BLOCK).skip(i + 1).all(|b| a != b)));
        cipher.decrypt(0x1000, &mut data);
        assert_eq!(data, [0x55; 64]);
    }

    #[test]
    fn another_key_does_not_decrypt() {
        let mut data = [7; 32];
        Cipher::random().unwrap().encrypt(0, &mut data);
        Cipher::random().unwrap().decrypt(0, &mut data);
        assert_ne!(data, [7; 32]);
    }
}
