// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Address spaces of processes, of two levels or more: directories in VRAM, page tables in system memory.

use crate::driver::{Buffer, Driver, PAGE, SNOOPED, SYSTEM, SYSTEM_RW, VALID};
use crate::regs::*;

const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// What happens to a faulting access of a space.
#[derive(Clone, Copy)]
pub enum OnFault {
    Stop,
    Retry,
    DummyPage,
}

/// A process.
#[derive(Clone, Copy)]
pub struct Space {
    root: u64,
    pub pasid: u32,
}

impl Driver {
    pub fn space(&mut self, pasid: u32) -> Space {
        Space { root: self.vram(1), pasid }
    }

    /// Gives `vmid` to a process: no job of the one before may run.
    pub fn assign(&mut self, space: &Space, vmid: u32, fault: OnFault) {
        self.pair(PAGE_TABLE_BASE + 2 * vmid, space.root | VALID);
        self.pair(PAGE_TABLE_START + 2 * vmid, 0);
        self.pair(PAGE_TABLE_END + 2 * vmid, (1 << (9 * self.levels)) - 1);
        self.write(IH_VMID_LUT_MM + vmid, space.pasid);
        let switches = match fault {
            OnFault::Stop => FAULT_INTERRUPTS,
            OnFault::Retry => FAULT_INTERRUPTS | RETRY_FAULTS,
            OnFault::DummyPage => FAULT_INTERRUPTS | FAULT_DEFAULTS,
        };
        let depth = (self.levels - 1).min(3);
        self.write(VM_CONTEXT_CNTL + vmid, 1 | depth << 1 | switches);
        self.invalidate(vmid);
    }

    /// Writes the entry of the page at `va`, and the directories above it.
    pub fn set_pte(&mut self, space: &Space, va: u64, pte: u64) {
        let pdb0 = self.directory(space, va);
        let slot = pdb0 + 8 * (va >> 21 & 511);
        let mut pde = self.vram_u64(slot);
        if pde & VALID == 0 {
            pde = self.system_page() | VALID | SYSTEM | SNOOPED;
            self.vram_write(slot, &pde.to_le_bytes());
        }
        self.system_write((pde & ADDRESS) + 8 * (va >> 12 & 511), &pte.to_le_bytes());
    }

    /// Writes the directory entry of the 2 MiB at `va`.
    pub fn set_pde0(&mut self, space: &Space, va: u64, pde: u64) {
        let pdb0 = self.directory(space, va);
        self.vram_write(pdb0 + 8 * (va >> 21 & 511), &pde.to_le_bytes());
    }

    /// VRAM offset of PDB0, the last directory on the way to `va`.
    fn directory(&mut self, space: &Space, va: u64) -> u64 {
        let mut table = space.root;
        for shift in (0..self.levels - 2).rev().map(|k| 30 + 9 * k) {
            let slot = table + 8 * (va >> shift & 511);
            let mut pde = self.vram_u64(slot);
            if pde & VALID == 0 {
                pde = self.vram(1) | VALID;
                self.vram_write(slot, &pde.to_le_bytes());
            }
            table = pde & ADDRESS;
        }
        table
    }

    fn vram_u64(&self, offset: u64) -> u64 {
        u64::from_le_bytes(self.vram_read(offset, 8).try_into().unwrap())
    }

    /// Maps fresh system pages at `va` for reading and writing.
    pub fn map_system(&mut self, space: &Space, va: u64, pages: u64) -> Buffer {
        let pages: Vec<u64> = (0..pages).map(|_| self.system_page()).collect();
        for (k, page) in pages.iter().enumerate() {
            self.set_pte(space, va + k as u64 * PAGE, page | SYSTEM_RW);
        }
        Buffer { address: va, pages }
    }
}
