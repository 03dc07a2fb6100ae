// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A rig: the device in this process on RAM of its own, a clock that the test winds, and the naive model beside it.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

pub mod access;
pub mod data;
pub mod memory;
pub mod model;
pub mod packets;
pub mod spaces;
pub mod walker;

use memory::Ram;
use model::{Model, SDMA};
use std::os::unix::fs::FileExt;
use vhost_device_uvm::bus::ManualClock;
use vhost_device_uvm::{Config, Gpu, Progress};
use vm_memory::GuestMemoryAtomic;

pub const MIB: u64 = 1 << 20;
/// Two regions side by side, a hole, and one above 4 GiB.
pub const RAM: [(u64, u64); 3] = [(0, 2 * MIB), (2 * MIB, MIB), (1 << 32, 2 * MIB)];
pub const VRAM: u64 = 16 * MIB;

/// Where VRAM, system memory from bus address 0 on, and the GART lie in VMID 0.
pub const FB: u64 = 0xf4_0000_0000;
pub const AGP: u64 = 0xf1_0000_0000;
pub const GART: u64 = 0x40_0000_0000;
pub const GART_PAGES: u64 = 1024;
/// Inside the system aperture, but in no memory.
pub const NOWHERE: u64 = 0xf2_0000_0000;

/// System memory that the rig itself uses, by bus address.
pub const DUMMY: u64 = 0x1000;
pub const IH_WPTR: u64 = 0x2000;
pub const IH_BASE: u64 = 0x8_0000;
/// log2 of the IH ring's dwords: 64 KiB.
pub const IH_LOG2: u32 = 14;
/// VRAM that the rig itself uses, by offset.
pub const TABLE: u64 = MIB;
pub const SYS_DEFAULT: u64 = 2 * MIB;

/// GART pages of the rig: two rings of 16 KiB, the RPTR write-backs, indirect buffers; data from `DATA` on.
pub const RING_PAGES: u64 = 4;
pub const WRITE_BACK: u64 = GART + 8 * 4096;
pub const IB: u64 = GART + 16 * 4096;
pub const IB_PAGES: u64 = 16;
pub const DATA: u64 = GART + 32 * 4096;
pub const DATA_PAGES: u64 = GART_PAGES - 32;
/// Log2 of a ring's dwords.
pub const RING_LOG2: u32 = 12;
pub const RING_BYTES: u64 = 4 << RING_LOG2;

/// PTE bits.
pub mod bit {
    pub const VALID: u64 = 1;
    pub const SYSTEM: u64 = 2;
    pub const READ: u64 = 1 << 5;
    pub const WRITE: u64 = 1 << 6;
    pub const PRT: u64 = 1 << 51;
    pub const PDE_PTE: u64 = 1 << 54;
    /// A readable and writeable page of system memory.
    pub const RAM: u64 = VALID | SYSTEM | READ | WRITE;
    /// A readable and writeable page of VRAM.
    pub const VRAM: u64 = VALID | READ | WRITE;
}

/// Registers by dword index.
pub mod reg {
    pub const MM: u32 = 0x1a000;
    pub const FAULT_CNTL: u32 = MM + 0x687;
    pub const FAULT_STATUS: u32 = MM + 0x68b;
    pub const FAULT_ADDR: u32 = MM + 0x68c;
    pub const DEFAULT_ADDR: u32 = MM + 0x68e;
    pub const CONTEXT0: u32 = MM + 0x6c0;
    pub const CONTEXTS_DISABLE: u32 = MM + 0x6d0;
    pub const PT_BASE: u32 = MM + 0x72b;
    pub const PT_START: u32 = MM + 0x74b;
    pub const PT_END: u32 = MM + 0x76b;
    pub const FB_OFFSET: u32 = MM + 0x817;
    pub const IH: u32 = 0x10a0;
    pub const IH_CNTL: u32 = IH + 0x80;
    pub const IH_RPTR: u32 = IH + 0x83;
    pub const IH_WPTR: u32 = IH + 0x84;
    /// Offsets in an SDMA instance.
    pub const CNTL: u32 = 0x1c;
    pub const F32_CNTL: u32 = 0x2a;
    pub const PREOP: u32 = 0x3a;
    pub const RB_CNTL: u32 = 0x80;
    pub const RB_RPTR: u32 = 0x83;
    pub const RB_WPTR: u32 = 0x85;
    pub const IB_CNTL: u32 = 0x8a;
    pub const CONTEXT_STATUS: u32 = 0x91;
    pub const SCRATCH: u32 = 0x58;
}

/// RB_CNTL of the rig's rings: enabled, size, write-back.
pub const RB_ON: u32 = 1 | RING_LOG2 << 1 | 1 << 12;
/// IH_RB_CNTL: enabled, size, write-back, overflow, interrupts, rearm, bus addresses.
pub const IH_ON: u32 = 1 | IH_LOG2 << 1 | 1 << 8 | 1 << 16 | 1 << 17 | 1 << 21 | 2 << 28;
/// VM_CONTEXT_CNTL: a flat table, every fault interrupts and gets the default page.
pub const CONTEXT_ON: u32 = 1 | 0x3fff << 9;

pub struct Rig {
    pub gpu: Gpu,
    pub clock: ManualClock,
    pub ram: Ram,
    pub model: Model,
    /// Where VRAM lies in system memory, if the device was made so.
    pub vram_at: Option<u64>,
}

impl Rig {
    /// A device after power-on.
    pub fn bare() -> Self {
        Self::with(Config::default())
    }
    /// The same, made otherwise than by default.
    pub fn with(config: Config) -> Self {
        Self::on(&RAM, config)
    }
    /// The same, on other RAM: (bus address, bytes).
    pub fn on(ranges: &[(u64, u64)], config: Config) -> Self {
        let ram = Ram::new(ranges);
        let clock = ManualClock::default();
        let memory = GuestMemoryAtomic::new(ram.map());
        let gpu = Gpu::new(Config { vram_size: VRAM, ..config }, memory, Box::new(clock.clone())).unwrap();
        let model = Model::new(ranges.iter().map(|&(at, len)| (at, vec![0; len as usize])).collect(), VRAM as usize);
        Self { gpu, clock, ram, model, vram_at: None }
    }
    /// A device that a driver brought up: apertures, GART, IH ring and both GFX rings.
    pub fn new() -> Self {
        let mut rig = Self::bare();
        rig.bring_up();
        rig
    }
    pub fn bring_up(&mut self) {
        use reg::*;
        let unit = |va: u64| (va >> 24) as u32;
        for (index, value) in [
            (MM + 0x82c, unit(FB)),
            (MM + 0x82d, unit(FB + VRAM - 1)),
            (MM + 0x82e, unit(AGP)),
            (MM + 0x82f, unit(AGP)),
            (MM + 0x830, 0),
            (MM + 0x831, (AGP >> 18) as u32),
            (MM + 0x832, ((FB + VRAM - 1) >> 18) as u32),
            (MM + 0x833, 1 | 3 << 3),
            (MM + 0x818, (SYS_DEFAULT >> 12) as u32),
            (DEFAULT_ADDR, (DUMMY >> 12) as u32),
            (PT_BASE, (TABLE | bit::VALID) as u32),
            (PT_START, (GART >> 12) as u32),
            (PT_END, ((GART >> 12) + GART_PAGES - 1) as u32),
            (CONTEXT0, CONTEXT_ON),
        ] {
            self.write(index, value);
        }
        for page in 0..GART_PAGES {
            self.map(page, DUMMY | bit::RAM);
        }
        for page in 0..2 * RING_PAGES {
            // The rings' pages lie in memory the wrong way round.
            self.map(page, ((1 << 32) + (2 * RING_PAGES - 1 - page) * 4096) | bit::RAM);
        }
        self.map(8, 0x3000 | bit::RAM);
        for i in 0..IB_PAGES {
            let at =
                if i % 2 == 0 { (3 * MIB + i * 4096) | bit::VRAM } else { ((1 << 32) + (16 + i) * 4096) | bit::RAM };
            self.map(16 + i, at);
        }
        self.write(IH + 0x81, (IH_BASE >> 8) as u32);
        self.write(IH + 0x86, IH_WPTR_BUS);
        self.write(IH_CNTL, IH_ON);
        for e in 0..2 {
            self.start_ring(e, 0);
        }
    }
    /// (Re)starts instance `e`'s GFX ring with both pointers at `pointer`.
    pub fn start_ring(&mut self, e: usize, pointer: u64) {
        let base = self.ring_base(e) >> 8;
        let write_back = WRITE_BACK + 8 * e as u64;
        for (offset, value) in [
            (reg::RB_CNTL, 0),
            (0x81, base as u32),
            (0x82, (base >> 32) as u32),
            (0x83, pointer as u32),
            (0x84, (pointer >> 32) as u32),
            (0x86, (pointer >> 32) as u32),
            (0x85, pointer as u32),
            (0x88, (write_back >> 32) as u32),
            (0x89, write_back as u32),
            (reg::IB_CNTL, 1),
            (reg::CNTL, 3),
            (reg::F32_CNTL, 0),
            (reg::RB_CNTL, RB_ON),
        ] {
            self.write(SDMA[e] + offset, value);
        }
        let engine = &mut self.model.engines[e];
        (engine.rptr, engine.wptr, engine.exception) = (pointer, pointer, 0);
    }
    /// GPU address of instance `e`'s ring.
    pub fn ring_base(&self, e: usize) -> u64 {
        GART + e as u64 * RING_PAGES * 4096
    }

    /// Writes a register of the device and of the model.
    pub fn write(&mut self, index: u32, value: u32) {
        self.gpu.mmio_write(index, value);
        self.model.regs.insert(index, value);
    }
    pub fn read(&mut self, index: u32) -> u32 {
        self.gpu.mmio_read(index)
    }
    /// Writes system memory on both sides.
    pub fn poke(&mut self, bus: u64, data: &[u8]) {
        self.ram.write(bus, data);
        let mut done = 0;
        while done < data.len() {
            let rest = self.model.mem.ram_from(bus + done as u64);
            let n = rest.len().min(data.len() - done);
            rest[..n].copy_from_slice(&data[done..done + n]);
            done += n;
        }
    }
    /// Writes VRAM on both sides.
    pub fn poke_vram(&mut self, offset: u64, data: &[u8]) {
        match self.vram_at {
            Some(base) => self.poke(base + offset, data),
            None => self.gpu.vram().file().unwrap().write_all_at(data, offset).unwrap(),
        }
        self.model.mem.vram[offset as usize..][..data.len()].copy_from_slice(data);
    }
    pub fn peek(&self, bus: u64, len: usize) -> Vec<u8> {
        let mut buf = vec![0; len];
        self.ram.read(bus, &mut buf);
        buf
    }
    pub fn peek32(&self, bus: u64) -> u32 {
        u32::from_le_bytes(self.peek(bus, 4).try_into().unwrap())
    }
    pub fn peek_vram(&self, offset: u64, len: usize) -> Vec<u8> {
        if let Some(base) = self.vram_at {
            return self.peek(base + offset, len);
        }
        let mut buf = vec![0; len];
        self.gpu.vram().file().unwrap().read_exact_at(&mut buf, offset).unwrap();
        buf
    }
    /// Sets the GART entry of page `page`.
    pub fn map(&mut self, page: u64, entry: u64) {
        self.poke_vram(TABLE + 8 * page, &entry.to_le_bytes());
    }
    /// Writes at a GPU address of VMID 0 on both sides.
    pub fn poke_va(&mut self, va: u64, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let at = va + done as u64;
            let n = (data.len() - done).min((4096 - at % 4096) as usize);
            match self.model.locate(0, at, walker::Kind::Write).unwrap() {
                walker::Loc::System(bus) => self.poke(bus, &data[done..done + n]),
                walker::Loc::Vram(offset) => self.poke_vram(offset, &data[done..done + n]),
                walker::Loc::Nothing => panic!("nothing at {at:#x}"),
            }
            done += n;
        }
    }

    /// Puts `dwords` into instance `e`'s ring without telling it.
    pub fn push(&mut self, e: usize, dwords: &[u32]) {
        let base = self.ring_base(e);
        for dw in dwords {
            let wptr = self.model.engines[e].wptr;
            self.poke_va(base + wptr % RING_BYTES, &dw.to_le_bytes());
            self.model.engines[e].wptr = wptr.wrapping_add(4);
        }
    }
    /// Tells instance `e` of its write pointer.
    pub fn kick(&mut self, e: usize) {
        let wptr = self.model.engines[e].wptr;
        self.gpu.mmio_write(SDMA[e] + reg::RB_WPTR + 1, (wptr >> 32) as u32);
        self.gpu.mmio_write(SDMA[e] + reg::RB_WPTR, wptr as u32);
    }
    /// Puts `dwords` into instance `e`'s ring and starts it.
    pub fn submit(&mut self, e: usize, dwords: &[u32]) {
        self.push(e, dwords);
        self.kick(e);
    }
    /// Lets the device work until it is idle, winding the clock where it waits.
    pub fn run_to_idle(&mut self) {
        for _ in 0..20_000 {
            match self.gpu.run() {
                Progress::Idle => return,
                Progress::More => {}
                Progress::Waiting(time) => self.clock.advance((time.as_nanos() / 10) as u64),
            }
        }
        panic!("the device never gets idle");
    }
    /// Submits to instance `e` and waits for the end.
    pub fn execute(&mut self, e: usize, dwords: &[u32]) {
        self.submit(e, dwords);
        self.run_to_idle();
    }
    /// Runs the device and the model, then compares all they hold.
    pub fn execute_checked(&mut self, e: usize, dwords: &[u32]) {
        self.execute(e, dwords);
        self.model.run(e);
        self.check();
    }
    /// Compares everything that the device and the model hold.
    pub fn check(&mut self) {
        for (start, expected) in &self.model.mem.ram {
            same(&format!("RAM at {start:#x}"), &self.peek(*start, expected.len()), expected);
        }
        same("VRAM", &self.peek_vram(0, VRAM as usize), &self.model.mem.vram);
        for (e, sdma) in SDMA.into_iter().enumerate() {
            let want = self.model.engines[e].clone();
            let rptr = u64::from(self.read(sdma + reg::RB_RPTR)) | u64::from(self.read(sdma + 0x84)) << 32;
            assert_eq!((e, rptr, self.exception(e)), (e, want.rptr, want.exception));
            let preop = u64::from(self.read(sdma + reg::PREOP)) | u64::from(self.read(sdma + 0x3b)) << 32;
            assert_eq!(preop, want.preop, "the value that the last atomic of SDMA{e} found");
        }
        // MORE_FAULTS depends on how a packet is cut into pieces.
        assert_eq!(self.read(reg::FAULT_STATUS) & !1, self.model.fault_status, "fault status");
        let page = u64::from(self.read(reg::FAULT_ADDR)) | u64::from(self.read(reg::FAULT_ADDR + 1)) << 32;
        assert_eq!(page, self.model.fault_page, "fault address");
        assert_eq!(self.gpu.ih_wptr(0), self.model.ih_wptr);
        for n in 0..16 {
            assert_eq!(self.read(reg::SCRATCH + n), self.model.reg(reg::SCRATCH + n), "scratch {n}");
        }
        use vhost_device_uvm::bus::Clock;
        assert_eq!(self.clock.now(), self.model.now, "time spent waiting");
    }
    /// EXCEPTION of instance `e`'s GFX ring.
    pub fn exception(&mut self, e: usize) -> u32 {
        self.read(SDMA[e] + reg::CONTEXT_STATUS) >> 4 & 7
    }
    /// The interrupt vectors between the IH ring's read and write pointer, which they move to.
    pub fn take_vectors(&mut self) -> Vec<[u32; 8]> {
        let (mut rptr, wptr) = (self.read(reg::IH_RPTR), self.gpu.ih_wptr(0) & !3);
        let mut vectors = Vec::new();
        while rptr != wptr {
            let raw = self.peek(IH_BASE + u64::from(rptr), 32);
            vectors.push(std::array::from_fn(|i| u32::from_le_bytes(raw[4 * i..4 * i + 4].try_into().unwrap())));
            rptr = (rptr + 32) % (4 << IH_LOG2);
        }
        self.gpu.mmio_write(reg::IH_RPTR, wptr);
        vectors
    }
}

const IH_WPTR_BUS: u32 = IH_WPTR as u32;

/// Compares byte arrays and names the first difference.
pub fn same(what: &str, got: &[u8], want: &[u8]) {
    if got != want {
        let at = got.iter().zip(want).position(|(a, b)| a != b).unwrap();
        panic!("{what}: byte {at:#x} is {:#04x}, expected {:#04x}", got[at], want[at]);
    }
}

/// A stream of numbers from a seed (splitmix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(n).collect()
    }
}
