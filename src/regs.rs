// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The register file of a block instance: values, access rules and reset values out of the block's table.

use uvm_spec::{Access, Block, Field, Reg};

/// The registers of one block instance.
#[derive(Debug)]
pub struct RegFile {
    block: &'static Block,
    values: Vec<u32>,
    /// Per offset: index into `block.regs` plus one, zero where nothing is defined.
    index: Vec<u16>,
}

/// A register that a write reached.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// The register.
    pub reg: &'static Reg,
    /// Which of its elements.
    pub element: u32,
    /// The dword as the guest wrote it, before access rules.
    pub raw: u32,
}

impl Written {
    /// Whether the write went to (any element of) `reg`.
    pub fn is(&self, reg: &Reg) -> bool {
        self.reg.offset == reg.offset
    }
}

impl RegFile {
    /// The registers of `block`, at their reset values.
    pub fn new(block: &'static Block) -> Self {
        let dwords = block.dwords() as usize;
        let mut index = vec![0; dwords];
        for (i, reg) in (1u16..).zip(block.regs) {
            for n in 0..reg.count {
                if let Some(slot) = index.get_mut(reg.at(n) as usize) {
                    *slot = i;
                }
            }
        }
        let mut file = Self { block, values: vec![0; dwords], index };
        file.reset();
        file
    }
    /// Brings every register to its reset value.
    pub fn reset(&mut self) {
        for reg in self.block.regs {
            for n in 0..reg.count {
                self.set(reg, n, reg.reset);
            }
        }
    }
    /// Offset of the register space's dword `index` in this block, if it lies inside.
    pub fn offset_of(&self, index: u32) -> Option<u32> {
        index.checked_sub(self.block.base).filter(|&o| (o as usize) < self.values.len())
    }
    /// The register defined at `offset`.
    pub fn find(&self, offset: u32) -> Option<(&'static Reg, u32)> {
        let i = self.index.get(offset as usize)?.checked_sub(1)?;
        let reg = self.block.regs.get(usize::from(i))?;
        let n = offset.checked_sub(reg.offset)?.checked_div(reg.stride).unwrap_or(0);
        Some((reg, n))
    }
    /// A guest's read: the value and the register, or None where nothing is defined.
    pub fn read(&self, offset: u32) -> Option<(u32, &'static Reg, u32)> {
        let (reg, n) = self.find(offset)?;
        let value = if reg.access == Access::Wo { 0 } else { self.get(reg, n) };
        Some((value, reg, n))
    }
    /// A guest's write: stored as the register's access rule says. None where nothing is defined.
    pub fn write(&mut self, offset: u32, raw: u32) -> Option<Written> {
        let (reg, element) = self.find(offset)?;
        if reg.access != Access::Ro {
            self.set(reg, element, raw & reg.writable());
        }
        Some(Written { reg, element, raw })
    }
    /// Element `n` of `reg`.
    pub fn get(&self, reg: &Reg, n: u32) -> u32 {
        self.values.get(reg.at(n) as usize).copied().unwrap_or(0)
    }
    /// Sets element `n` of `reg`, past all access rules.
    pub fn set(&mut self, reg: &Reg, n: u32, value: u32) {
        if let Some(slot) = self.values.get_mut(reg.at(n) as usize) {
            *slot = value;
        }
    }
    /// A field of element `n` of `reg`.
    pub fn field(&self, reg: &Reg, n: u32, field: Field) -> u32 {
        field.get(self.get(reg, n))
    }
    /// Sets a field of element `n` of `reg`.
    pub fn set_field(&mut self, reg: &Reg, n: u32, field: Field, value: u32) {
        self.set(reg, n, field.set(self.get(reg, n), value));
    }
    /// Elements `n` (low dword) and `n + 1` (high dword) of `reg` as one number.
    pub fn pair(&self, reg: &Reg, n: u32) -> u64 {
        u64::from(self.get(reg, n)) | u64::from(self.get(reg, n + 1)) << 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uvm_spec::sdma::{self, SDMA1};

    #[test]
    fn a_write_keeps_only_the_bits_of_its_fields() {
        let mut file = RegFile::new(&SDMA1);
        let offset = sdma::RB_CNTL.at(2);
        assert_eq!(file.read(offset).map(|r| r.0), Some(sdma::RB_CNTL.reset));
        let written = file.write(offset, u32::MAX).unwrap();
        assert_eq!((written.element, written.raw), (2, u32::MAX));
        assert_eq!(file.read(offset).map(|r| r.0), Some(sdma::RB_CNTL.writable()));
        file.reset();
        assert_eq!(file.read(offset).map(|r| r.0), Some(sdma::RB_CNTL.reset));
    }

    #[test]
    fn a_read_only_register_keeps_its_value() {
        let mut file = RegFile::new(&SDMA1);
        file.write(sdma::VERSION.at(0), 0);
        assert_eq!(file.get(&sdma::VERSION, 0), sdma::VERSION.reset);
    }

    #[test]
    fn a_hole_is_no_register() {
        let mut file = RegFile::new(&SDMA1);
        assert!(file.read(0x3).is_none() && file.write(0x3, 1).is_none() && file.read(u32::MAX).is_none());
    }
}
