// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Bring-up of VMID 0, and memory as the driver hands it out.

use crate::ih::IhRing;
use crate::regs::*;
use std::collections::BTreeSet;
use vhost_device_uvm::bus::{ManualClock, SystemMemory};
use vhost_device_uvm::check::Finding;
use vhost_device_uvm::gmc::Mmu;
use vhost_device_uvm::{Config, Gpu, Progress};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryMmap};

pub const PAGE: u64 = 4096;
pub const VALID: u64 = 1 << 0;
pub const SYSTEM: u64 = 1 << 1;
pub const SNOOPED: u64 = 1 << 2;
pub const TMZ: u64 = 1 << 3;
pub const EXECUTABLE: u64 = 1 << 4;
pub const READABLE: u64 = 1 << 5;
pub const WRITEABLE: u64 = 1 << 6;
pub const PRT: u64 = 1 << 51;
pub const PDE_PTE: u64 = 1 << 54;
pub const TF: u64 = 1 << 56;
/// A system page that may be read and written.
pub const SYSTEM_RW: u64 = VALID | SYSTEM | SNOOPED | READABLE | WRITEABLE;
/// A VRAM page that may be read and written.
pub const VRAM_RW: u64 = VALID | READABLE | WRITEABLE;

const SYSTEM_BYTES: u64 = 64 << 20;
const VRAM_BYTES: u64 = 64 << 20;
/// Where this driver lays VMID 0's apertures.
pub const FB: u64 = 0x80_0000_0000;
pub const AGP: u64 = 0x90_0000_0000;
pub const GART: u64 = 0x1000_0000;
const GART_PAGES: u64 = 4096;
const GART_TABLE: u64 = 1 << 20;
/// The invalidation engine that this driver uses.
pub const ENGINE: u32 = 17;

/// Where the carve-out lies under UMA.
pub const CARVEOUT: u64 = 0x4000_0000;

/// Scattered system pages behind one range of addresses.
#[derive(Clone)]
pub struct Buffer {
    pub address: u64,
    pub pages: Vec<u64>,
}

impl Buffer {
    /// Bus address of byte `offset`.
    pub fn bus(&self, offset: u64) -> u64 {
        self.pages[(offset / PAGE) as usize] + offset % PAGE
    }
}

pub struct Driver {
    pub gpu: Gpu,
    pub memory: SystemMemory,
    pub clock: ManualClock,
    pub ih: Vec<IhRing>,
    /// How often interrupt vectors were lost.
    pub overflows: u32,
    /// Rules of the guide that the test breaks on purpose.
    breaks: BTreeSet<&'static str>,
    pub dummy: u64,
    pub in_nothing: u64,
    vidmm: bool,
    /// Of processes' page tables.
    pub levels: u32,
    next_system: u64,
    next_vram: u64,
    next_gart: u64,
}

impl Driver {
    /// The chapters "VMID 0" and "Interrupts", on a device made of `config`.
    pub fn bring_up(config: Config) -> Driver {
        let config = Config { vram_size: VRAM_BYTES, ..config };
        let ram = [(GuestAddress(0), SYSTEM_BYTES as usize), (GuestAddress(CARVEOUT), VRAM_BYTES as usize)];
        let memory = SystemMemory::new(GuestMemoryMmap::<()>::from_ranges(&ram).unwrap());
        let clock = ManualClock::default();
        let mut gpu = Gpu::new(config, memory.clone(), Box::new(clock.clone())).unwrap();
        gpu.set_checks(true);
        let vidmm = config.mmu == Mmu::Vidmm;
        let mut driver = Driver {
            gpu,
            memory,
            clock,
            ih: Vec::new(),
            overflows: 0,
            breaks: BTreeSet::new(),
            dummy: 0,
            in_nothing: 0,
            vidmm,
            levels: config.levels,
            next_system: 0,
            next_vram: 2 << 20,
            next_gart: 0,
        };
        driver.dummy = driver.system_page();
        driver.in_nothing = driver.vram(1);
        driver.apertures();
        if vidmm {
            driver.three_level_table();
        } else {
            driver.flat_table();
        }
        driver.write(VM_CONTEXT_CNTL, 1 | FAULT_INTERRUPTS | FAULT_DEFAULTS);
        driver.pair(INV_ADDR_RANGE + 2 * ENGINE, 0x1f_ffff_ffff);
        driver.invalidate(0);
        driver.interrupts();
        driver
    }

    /// The test will break `rule` of the guide.
    pub fn breaks(&mut self, rule: &'static str) {
        self.breaks.insert(rule);
    }

    fn apertures(&mut self) {
        self.write(MC_VM_FB_LOCATION_BASE, (FB >> 24) as u32);
        self.write(MC_VM_FB_LOCATION_TOP, ((FB + VRAM_BYTES - 1) >> 24) as u32);
        self.write(MC_VM_FB_OFFSET, 0);
        self.write(MC_VM_AGP_BASE, 0);
        self.write(MC_VM_AGP_BOT, (AGP >> 24) as u32);
        self.write(MC_VM_AGP_TOP, ((AGP + SYSTEM_BYTES - 1) >> 24) as u32);
        self.write(SYSTEM_APERTURE_LOW, (FB >> 18) as u32);
        self.write(SYSTEM_APERTURE_HIGH, ((AGP + SYSTEM_BYTES - 1) >> 18) as u32);
        self.pair(SYSTEM_APERTURE_DEFAULT, self.in_nothing / PAGE);
        self.write(MX_L1_TLB_CNTL, 1 | 3 << 3);
        self.pair(FAULT_DEFAULT_ADDR, self.dummy / PAGE);
        // The contexts' own switches say which faults the dummy page saves.
        self.write(FAULT_CNTL, 0);
        self.write(VM_L2_CNTL, 1 | 1 << 1);
    }

    fn flat_table(&mut self) {
        let unused = (self.dummy | SYSTEM_RW).to_le_bytes().repeat(GART_PAGES as usize);
        self.vram_write(GART_TABLE, &unused);
        self.pair(PAGE_TABLE_BASE, GART_TABLE | VALID);
        self.pair(PAGE_TABLE_START, GART / PAGE);
        self.pair(PAGE_TABLE_END, GART / PAGE + GART_PAGES - 1);
    }

    /// The window is 16 MiB: eight third-level tables side by side in the place of the flat one.
    fn three_level_table(&mut self) {
        let unused = (self.dummy | SYSTEM_RW).to_le_bytes().repeat(GART_PAGES as usize);
        self.vram_write(GART_TABLE, &unused);
        let second = self.vram(1);
        for k in 0..GART_PAGES / 512 {
            let slot = (GART >> 21) % 512 + k;
            self.vram_write(second + 8 * slot, &((GART_TABLE + k * PAGE) | VALID).to_le_bytes());
        }
        self.pair(MMIO_MMU_START_ADDRESS + 2 * (GART >> 30) as u32, second | VALID);
        self.write(MMIO_MMU_CNTL, 1);
    }

    pub fn write(&mut self, index: u32, value: u32) {
        self.gpu.mmio_write(index, value);
    }

    pub fn read(&mut self, index: u32) -> u32 {
        self.gpu.mmio_read(index)
    }

    /// A value of two registers, low dword first.
    pub fn pair(&mut self, index: u32, value: u64) {
        self.write(index, value as u32);
        self.write(index + 1, (value >> 32) as u32);
    }

    /// Invalidates all that is cached of `vmid` and waits for the ACK.
    pub fn invalidate(&mut self, vmid: u32) {
        let took = (0..100).any(|_| self.read(INV_SEM + ENGINE) & 1 == 1);
        assert!(took, "nobody else has the semaphore");
        self.write(INV_REQ + ENGINE, 1 << vmid | 0x1f << 18);
        let done = (0..100).any(|_| self.read(INV_ACK + ENGINE) & (1 << vmid) != 0);
        self.write(INV_SEM + ENGINE, 0);
        assert!(done, "the invalidation of VMID {vmid} has no ACK");
    }

    /// Invalidates what is cached of one page of `vmid`.
    pub fn invalidate_page(&mut self, vmid: u32, va: u64) {
        self.pair(INV_ADDR_RANGE + 2 * ENGINE, (va / PAGE) << 1);
        self.invalidate(vmid);
        self.pair(INV_ADDR_RANGE + 2 * ENGINE, 0x1f_ffff_ffff);
    }

    /// Lets the device work until it has nothing to do; a poll that waits gets its time, but not for ever.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            match self.gpu.run() {
                Progress::Idle => return,
                Progress::More => {}
                Progress::Waiting(time) => self.clock.advance(time.as_nanos() as u64 / 10 + 1),
            }
        }
    }

    /// Bus address of a free system page, cleared: pages come in no order.
    pub fn system_page(&mut self) -> u64 {
        let pages = SYSTEM_BYTES / PAGE;
        self.next_system += 1;
        assert!(self.next_system < pages);
        // 7919 is odd: every page comes up once.
        let bus = self.next_system * 7919 % pages * PAGE;
        self.system_write(bus, &[0; PAGE as usize]);
        bus
    }

    /// VRAM offset of `pages` free, cleared pages.
    pub fn vram(&mut self, pages: u64) -> u64 {
        let offset = self.next_vram;
        self.next_vram += pages * PAGE;
        assert!(self.next_vram <= VRAM_BYTES);
        self.vram_write(offset, &vec![0; (pages * PAGE) as usize]);
        offset
    }

    /// VRAM offset of memory aligned to its own size, a power of two of pages.
    pub fn vram_aligned(&mut self, pages: u64) -> u64 {
        self.next_vram = self.next_vram.next_multiple_of(pages * PAGE);
        self.vram(pages)
    }

    /// System pages bound into the GART window.
    pub fn gart(&mut self, pages: u64) -> Buffer {
        let pages: Vec<u64> = (0..pages).map(|_| self.system_page()).collect();
        let first = self.next_gart;
        self.next_gart += pages.len() as u64;
        assert!(self.next_gart < GART_PAGES);
        for (k, page) in pages.iter().enumerate() {
            self.vram_write(GART_TABLE + 8 * (first + k as u64), &(page | SYSTEM_RW).to_le_bytes());
        }
        self.invalidate(0);
        Buffer { address: GART + first * PAGE, pages }
    }

    /// An address in the GART window that nothing is bound to.
    pub fn unbound(&self) -> u64 {
        GART + (GART_PAGES - 1) * PAGE
    }

    /// An address that VMID 0's table does not cover.
    pub fn outside(&self) -> u64 {
        // The second-level table of vidmm covers a whole GiB.
        if self.vidmm {
            0x7000_0000
        } else {
            GART + GART_PAGES * PAGE
        }
    }

    pub fn system_write(&self, bus: u64, data: &[u8]) {
        self.memory.memory().write_slice(data, GuestAddress(bus)).unwrap();
    }

    pub fn system_read(&self, bus: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.memory.memory().read_slice(&mut data, GuestAddress(bus)).unwrap();
        data
    }

    /// Through the BAR, or under UMA through the carve-out's mapping.
    pub fn vram_write(&self, offset: u64, data: &[u8]) {
        match self.gpu.vram_base() {
            Some(base) => self.system_write(base + offset, data),
            None => self.gpu.vram().slice(offset, data.len()).unwrap().write_slice(data, 0).unwrap(),
        }
    }

    pub fn vram_read(&self, offset: u64, len: usize) -> Vec<u8> {
        let Some(base) = self.gpu.vram_base() else {
            let mut data = vec![0; len];
            self.gpu.vram().slice(offset, len).unwrap().read_slice(&mut data, 0).unwrap();
            return data;
        };
        self.system_read(base + offset, len)
    }

    pub fn fill_buffer(&self, buffer: &Buffer, data: &[u8]) {
        for (page, bytes) in buffer.pages.iter().zip(data.chunks(PAGE as usize)) {
            self.system_write(*page, bytes);
        }
    }

    pub fn buffer(&self, buffer: &Buffer) -> Vec<u8> {
        buffer.pages.iter().flat_map(|page| self.system_read(*page, PAGE as usize)).collect()
    }

    pub fn dword(&self, buffer: &Buffer, offset: u64) -> u32 {
        u32::from_le_bytes(self.system_read(buffer.bus(offset), 4).try_into().unwrap())
    }

    pub fn set_dword(&self, buffer: &Buffer, offset: u64, value: u32) {
        self.system_write(buffer.bus(offset), &value.to_le_bytes());
    }
}

/// The device's checks must have found what the test broke on purpose, and nothing else.
impl Drop for Driver {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let findings = self.gpu.findings();
            let broken: BTreeSet<&str> = findings.iter().map(|f| f.rule.name()).collect();
            assert!(broken == self.breaks, "meant to break {:?}, but:\n{}", self.breaks, lines(&findings));
        }
    }
}

fn lines(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

/// Bytes that repeat late.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        })
        .collect()
}
