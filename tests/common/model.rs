// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A naive model of the device: memory in arrays, every byte translated on its own, packets read dword by dword from the
//! ring in that memory. Register offsets and bit positions are written out, so that nothing is shared with the device.

use super::walker::{walk, Bytes, Kind, Loc, Space, Why};
use std::collections::BTreeMap;

const MM: u32 = 0x1a000;
const IH: u32 = 0x10a0;
/// Dword index of an instance's registers.
pub const SDMA: [u32; 2] = [0x1260, 0x1460];
const CONTEXT_CNTL: u32 = MM + 0x6c0;
const FAULT_CNTL: u32 = MM + 0x687;

/// An engine's GFX ring stops with this CONTEXT_STATUS exception.
pub type Exception = u32;
const ILLEGAL: Exception = 1;
const FAULT: Exception = 2;
const NESTED: Exception = 3;

/// An instance with its GFX ring.
#[derive(Clone, Default)]
pub struct Engine {
    pub rptr: u64,
    pub wptr: u64,
    pub exception: Exception,
    pub preop: u64,
    timestamp: u64,
    /// Address space of the packet in execution.
    vmid: u32,
    reported: [bool; 2],
}

/// The whole device.
#[derive(Clone)]
pub struct Model {
    pub mem: Bytes,
    pub regs: BTreeMap<u32, u32>,
    pub now: u64,
    pub engines: [Engine; 2],
    pub fault_status: u32,
    pub fault_page: u64,
    pub ih_wptr: u32,
    /// The access at hand is an atomic's.
    atomic: bool,
    pub vectors: Vec<[u32; 8]>,
}

/// Where a packet's dwords come from.
#[derive(Clone, Copy)]
struct Source {
    vmid: u32,
    base: u64,
    /// Bytes from the base.
    pos: u64,
    /// Bytes of the ring that it wraps in.
    wrap: Option<u64>,
    /// Dwords up to the end.
    left: u64,
    nested: bool,
}

impl Model {
    pub fn new(ram: Vec<(u64, Vec<u8>)>, vram: usize) -> Self {
        Self {
            mem: Bytes { ram, vram: vec![0; vram] },
            regs: BTreeMap::from([(MM + 0x82f, 0xff_ffff), (FAULT_CNTL, 0x3fff_fffc)]),
            now: 0,
            engines: Default::default(),
            fault_status: 0,
            fault_page: 0,
            ih_wptr: 0,
            atomic: false,
            vectors: Vec::new(),
        }
    }
    /// A register as it was last written.
    pub fn reg(&self, index: u32) -> u32 {
        self.regs.get(&index).copied().unwrap_or(0)
    }
    fn reg64(&self, index: u32) -> u64 {
        u64::from(self.reg(index)) | u64::from(self.reg(index + 1)) << 32
    }
    /// The address space of `vmid`.
    pub fn space(&self, vmid: u32) -> Space {
        let cntl = self.reg(CONTEXT_CNTL + vmid);
        Space {
            enabled: cntl & 1 == 1 && self.reg(MM + 0x6d0) >> vmid & 1 == 0,
            depth: cntl >> 1 & 3,
            block_bits: 9 + (cntl >> 3 & 15),
            root: self.reg64(MM + 0x72b + 2 * vmid),
            first_page: self.reg64(MM + 0x74b + 2 * vmid),
            last_page: self.reg64(MM + 0x76b + 2 * vmid),
            fb_offset: u64::from(self.reg(MM + 0x817)) << 24,
        }
    }
    /// Where one byte is.
    pub fn locate(&mut self, vmid: u32, va: u64, kind: Kind) -> Result<Loc, Why> {
        let in_system = (u64::from(self.reg(MM + 0x831))..=u64::from(self.reg(MM + 0x832))).contains(&(va >> 18));
        let direct = vmid == 0
            && match self.reg(MM + 0x833) >> 3 & 3 {
                0 => true,
                1 => false,
                2 => !in_system,
                _ => in_system,
            };
        let loc = if direct {
            let unit = va >> 24;
            let unit_of = |index| u64::from(self.reg(index));
            let (fb_base, fb_top) = (unit_of(MM + 0x82c), unit_of(MM + 0x82d));
            let (agp_top, agp_bot, agp_base) = (unit_of(MM + 0x82e), unit_of(MM + 0x82f), unit_of(MM + 0x830));
            let offset = va.wrapping_sub(fb_base << 24);
            if unit >= fb_base && unit <= fb_top && offset < self.mem.vram.len() as u64 {
                Loc::Vram(offset)
            } else if unit >= agp_bot && unit <= agp_top {
                Loc::System(va - (agp_bot << 24) + (agp_base << 24))
            } else {
                return Err(Why::Unmapped);
            }
        } else {
            let space = self.space(vmid);
            let kind = if self.atomic && kind == Kind::Write { Kind::Atomic } else { kind };
            walk(&mut self.mem, &space, va, kind)?
        };
        match loc {
            Loc::Nothing => Ok(loc),
            _ if self.mem.at(loc).is_some() => Ok(loc),
            _ => Err(Why::Nack),
        }
    }
    /// Like [`Self::locate`], with the fault that follows: what stands in, or the end of the ring.
    fn access(&mut self, e: usize, va: u64, kind: Kind) -> Result<Loc, Exception> {
        let vmid = self.engines[e].vmid;
        self.access_as(e, vmid, va, kind)
    }
    fn access_as(&mut self, e: usize, vmid: u32, va: u64, kind: Kind) -> Result<Loc, Exception> {
        let why = match self.locate(vmid, va, kind) {
            Ok(loc) => return Ok(loc),
            Err(why) => why,
        };
        let want = if kind == Kind::Write { 4 } else { 2 };
        let (walker, permissions, mapping) = match why {
            Why::Range => (1, 0, 0),
            Why::Pde(level) => (2 + level, 1 | want, 0),
            Why::Valid => (0, 1 | want, 0),
            Why::Permission => (0, want, 0),
            Why::Nack => (6, 0, 0),
            Why::Unmapped => (0, 0, 1),
        };
        if self.fault_status == 0 {
            let rw = u32::from(kind == Kind::Write);
            // By instance, reads and writes.
            let cid = [[46, 15], [15, 46]][e][rw as usize];
            self.fault_status = walker << 1
                | permissions << 4
                | mapping << 8
                | cid << 9
                | rw << 18
                | vmid << 20
                | u32::from(self.atomic) << 19;
            self.fault_page = va >> 12;
        }
        // Interrupt bit of the context's control (the default-page bit is the next), default-page bit of the hub.
        let (interrupt, hub) = match why {
            Why::Range | Why::Unmapped => (9, 2),
            Why::Pde(level) => (13, 3 + level),
            Why::Nack => (15, 7),
            Why::Valid => (15, 9),
            Why::Permission if kind == Kind::Write => (19, 11),
            Why::Permission => (17, 10),
        };
        let context = self.reg(CONTEXT_CNTL + vmid);
        let seen = std::mem::replace(&mut self.engines[e].reported[usize::from(kind == Kind::Write)], true);
        if !seen && context >> interrupt & 1 == 1 {
            let top = (va >> 48) as u32 & 0x1ff;
            let (write, atomic) = (u32::from(kind == Kind::Write), u32::from(self.atomic));
            let dw5 = (va >> 44) as u32 & 15 | write << 5 | top << 8 | atomic << 17;
            self.raise(0x12, 0, 0, vmid, [(va >> 12) as u32, dw5, 0, 0]);
        }
        if context >> (interrupt + 1) & 1 == 0 && self.reg(FAULT_CNTL) >> hub & 1 == 0 {
            return Err(FAULT);
        }
        let loc = match why {
            Why::Unmapped => Loc::Vram((self.reg64(MM + 0x818) << 12) + va % 4096),
            _ => Loc::System((self.reg64(MM + 0x68e) << 12) + va % 4096),
        };
        Ok(if self.mem.at(loc).is_some() { loc } else { Loc::Nothing })
    }
    fn get(&mut self, loc: Loc) -> u8 {
        self.mem.at(loc).map_or(0, |b| *b)
    }
    fn put(&mut self, loc: Loc, value: u8) {
        if let Some(b) = self.mem.at(loc) {
            *b = value;
        }
    }
    fn load(&mut self, e: usize, va: u64, bytes: u32, kind: Kind) -> Result<u64, Exception> {
        let mut value = 0;
        for i in 0..bytes {
            let loc = self.access(e, va + u64::from(i), kind)?;
            value |= u64::from(self.get(loc)) << (8 * i);
        }
        Ok(value)
    }
    fn store(&mut self, e: usize, va: u64, bytes: u32, value: u64) -> Result<(), Exception> {
        for i in 0..bytes {
            let loc = self.access(e, va + u64::from(i), Kind::Write)?;
            self.put(loc, (value >> (8 * i)) as u8);
        }
        Ok(())
    }

    /// An interrupt vector: ring 0, bus address, never full here.
    fn raise(&mut self, client: u32, source: u32, ring: u32, vmid: u32, data: [u32; 4]) {
        let cntl = self.reg(IH + 0x80);
        let pasid = self.reg(IH + 0x10 + vmid) & 0xffff;
        let time = self.now & 0xffff_ffff_ffff;
        let [a, b, c, d] = data;
        let dw0 = client | source << 8 | ring << 16 | vmid << 24 | 1 << 31;
        let vector = [dw0, time as u32, (time >> 32) as u32, pasid, a, b, c, d];
        self.vectors.push(vector);
        let size = 4 << (cntl >> 1 & 31);
        let base = u64::from(self.reg(IH + 0x81)) << 8 | u64::from(self.reg(IH + 0x82)) << 40;
        for (i, byte) in vector.iter().flat_map(|dw| dw.to_le_bytes()).enumerate() {
            self.put(Loc::System(base + u64::from(self.ih_wptr) + i as u64), byte);
        }
        self.ih_wptr = (self.ih_wptr + 32) % size;
        if cntl >> 8 & 1 == 1 {
            let at = u64::from(self.reg(IH + 0x86)) | u64::from(self.reg(IH + 0x85)) << 32;
            for (i, byte) in self.ih_wptr.to_le_bytes().into_iter().enumerate() {
                self.put(Loc::System(at + i as u64), byte);
            }
        }
    }

    /// Runs instance `e`'s GFX ring until it is empty or stops.
    pub fn run(&mut self, e: usize) {
        let sdma = SDMA[e];
        let size = 4u64 << (self.reg(sdma + 0x80) >> 1 & 63);
        let base = u64::from(self.reg(sdma + 0x81)) << 8 | u64::from(self.reg(sdma + 0x82)) << 40;
        while self.engines[e].exception == 0 && self.engines[e].rptr != self.engines[e].wptr {
            let ahead = self.engines[e].wptr.wrapping_sub(self.engines[e].rptr);
            let pos = self.engines[e].rptr;
            self.engines[e].vmid = 0;
            let source = Source { vmid: 0, base, pos, wrap: Some(size), left: ahead / 4, nested: false };
            let done = if ahead > size { Err(ILLEGAL) } else { self.packet(e, source) };
            self.engines[e].reported = [false; 2];
            match done {
                Ok(dwords) => {
                    let rptr = pos.wrapping_add(4 * dwords);
                    self.engines[e].rptr = rptr;
                    if self.reg(sdma + 0x80) >> 12 & 1 == 1 {
                        let at = u64::from(self.reg(sdma + 0x89)) | u64::from(self.reg(sdma + 0x88)) << 32;
                        let _ = self.store(e, at, 8, rptr);
                        self.engines[e].reported = [false; 2];
                    }
                }
                Err(exception) => {
                    self.engines[e].exception = exception;
                    let vmid = self.engines[e].vmid;
                    self.raise(8 + e as u32, 247, 0, vmid, [exception, 0, 0, 0]);
                }
            }
        }
    }
    /// Dword `i` of the packet at `source`.
    fn dword(&mut self, e: usize, source: &Source, i: u64) -> Result<u32, Exception> {
        let mut value = 0;
        for byte in 0..4 {
            let at = source.pos.wrapping_add(4 * i + byte);
            let at = source.wrap.map_or(at, |size| at % size);
            let loc = self.access_as(e, source.vmid, source.base + at, Kind::Read)?;
            value |= u32::from(self.get(loc)) << (8 * byte);
        }
        Ok(value)
    }
    /// Executes one packet: its dwords, skipped ones included.
    fn packet(&mut self, e: usize, source: Source) -> Result<u64, Exception> {
        let header = self.dword(e, &source, 0)?;
        let (op, sub) = (header & 0xff, header >> 8 & 0xff);
        let fixed: u64 = match (op, sub) {
            (0, 0) => 1,
            (1, 0) => 7,
            (2, 0) | (5, 0) => 4,
            (4, 0) | (8, 0) => 6,
            (6, 0) => 2,
            (9, 0) | (11, 0) => 5,
            (10, 0) => 8,
            (12, 0) => 10,
            (13, 0..=2) | (14, 0) => 3,
            _ => return Err(ILLEGAL),
        };
        if fixed > source.left {
            return Err(ILLEGAL);
        }
        let mut dw = [0u32; 10];
        for i in 1..fixed {
            dw[i as usize] = self.dword(e, &source, i)?;
        }
        let wide = |i: usize| u64::from(dw[i]) + (u64::from(dw[i + 1]) << 32);
        let len = match op {
            0 => 1 + u64::from(header >> 16 & 0x3fff),
            2 => 5 + u64::from(dw[3] & 0xf_ffff),
            _ => fixed,
        };
        let reserved = match op {
            1 => header >> 27 & 1 == 1,
            4 => dw[1] % 32 != 0,
            8 => header >> 28 & 7 == 7,
            10 => {
                let code = header >> 25 & 0x1f;
                !matches!(code, 7 | 8 | 15..=25) || header >> 16 & 1 == 1 && code != 8
            }
            11 => header >> 30 == 3,
            _ => false,
        };
        if reserved || len > source.left {
            return Err(ILLEGAL);
        }
        match op {
            1 => {
                for i in 0..=u64::from(dw[1] & 0x3f_ffff) {
                    let from = self.access(e, wide(3).wrapping_add(i), Kind::Read)?;
                    let to = self.access(e, wide(5).wrapping_add(i), Kind::Write)?;
                    let byte = self.get(from);
                    self.put(to, byte);
                }
            }
            2 => {
                for i in 0..len - 4 {
                    let value = self.dword(e, &source, 4 + i)?;
                    self.store(e, (wide(1) & !3).wrapping_add(4 * i), 4, u64::from(value))?;
                }
            }
            4 if source.nested => return Err(NESTED),
            4 => {
                if self.reg(SDMA[e] + 0x8a) & 1 == 0 {
                    return Err(ILLEGAL);
                }
                let vmid = header >> 16 & 15;
                let mut left = u64::from(dw[3] & 0xf_ffff);
                let mut pos = 0;
                while left > 0 {
                    self.engines[e].vmid = vmid;
                    self.engines[e].reported = [false; 2];
                    let inner = Source { vmid, base: wide(1), pos, wrap: None, left, nested: true };
                    let dwords = self.packet(e, inner)?;
                    pos += 4 * dwords;
                    left -= dwords;
                }
                self.engines[e].vmid = 0;
            }
            5 => self.store(e, wide(1) & !3, 4, u64::from(dw[3]))?,
            6 if self.reg(SDMA[e] + 0x1c) & 1 == 1 => {
                let vmid = self.engines[e].vmid;
                self.raise(8 + e as u32, 224, 0, vmid, [dw[1] & 0xfff_ffff, 0, 0, 0]);
            }
            8 => self.poll(e, header, &dw)?,
            9 if self.load(e, wide(1) & !3, 4, Kind::Read)? as u32 != dw[3] => {
                return Ok((len + u64::from(dw[4] & 0x3fff)).min(source.left));
            }
            10 => {
                self.atomic = true;
                let done = self.atomic(e, header, &dw);
                self.atomic = false;
                done?;
            }
            11 => {
                let unit = 1 << (header >> 30);
                for i in 0..=u64::from(dw[4] & 0x3f_ffff) {
                    let to = self.access(e, wide(1).wrapping_add(i), Kind::Write)?;
                    self.put(to, dw[3].to_le_bytes()[(i % unit) as usize]);
                }
            }
            12 => {
                for i in 0..=u64::from(dw[9] & 0x7_ffff) {
                    let entry = wide(3) | wide(5).wrapping_add(wide(7).wrapping_mul(i));
                    self.store(e, (wide(1) & !7).wrapping_add(8 * i), 8, entry)?;
                }
            }
            13 if sub == 0 => self.engines[e].timestamp = wide(1).wrapping_sub(self.now),
            13 => {
                let offset = if sub == 1 { self.engines[e].timestamp } else { 0 };
                self.store(e, wide(1) & !7, 8, self.now.wrapping_add(offset))?;
            }
            14 => {
                let index = dw[1] & 0x3_ffff;
                let mut bytes = self.reg(index).to_le_bytes();
                for (i, byte) in bytes.iter_mut().enumerate().filter(|(i, _)| header >> (28 + i) & 1 == 1) {
                    *byte = dw[2].to_le_bytes()[i];
                }
                self.regs.insert(index, u32::from_le_bytes(bytes));
            }
            _ => {}
        }
        Ok(len)
    }
    fn poll(&mut self, e: usize, header: u32, dw: &[u32; 10]) -> Result<(), Exception> {
        let retries = dw[5] >> 16 & 0xfff;
        let mut tries = 0;
        loop {
            let found = match header >> 31 {
                1 => self.load(e, (u64::from(dw[1]) | u64::from(dw[2]) << 32) & !3, 4, Kind::Read)? as u32,
                _ => self.reg(dw[1] / 4),
            } & dw[4];
            let passes = match header >> 28 & 7 {
                0 => true,
                1 => found < dw[3],
                2 => found <= dw[3],
                3 => found == dw[3],
                4 => found != dw[3],
                5 => found >= dw[3],
                _ => found > dw[3],
            };
            if passes {
                return Ok(());
            }
            if retries != 0xfff && tries == retries {
                let vmid = self.engines[e].vmid;
                self.raise(8 + e as u32, 246, 0, vmid, [0; 4]);
                return Ok(());
            }
            assert!(retries != 0xfff, "the model cannot wait for ever");
            tries += 1;
            self.now += u64::from(dw[5] & 0xffff).max(1000);
        }
    }
    fn atomic(&mut self, e: usize, header: u32, dw: &[u32; 10]) -> Result<(), Exception> {
        let code = header >> 25 & 0x7f;
        let bits = if code & 0x20 != 0 { 64 } else { 32 };
        let bytes = bits / 8;
        let cut = |v: u64| if bits == 64 { v } else { v & 0xffff_ffff };
        let signed = |v: u64| if bits == 64 { i128::from(v as i64) } else { i128::from(v as u32 as i32) };
        let addr = (u64::from(dw[1]) | u64::from(dw[2]) << 32) / u64::from(bytes) * u64::from(bytes);
        let src = cut(u64::from(dw[3]) | u64::from(dw[4]) << 32);
        let cmp = cut(u64::from(dw[5]) | u64::from(dw[6]) << 32);
        let old = self.load(e, addr, bytes, Kind::Write)?;
        let new = match code & 0x1f {
            7 => src,
            8 if old == cmp => src,
            8 => old,
            15 => old.wrapping_add(src),
            16 => old.wrapping_sub(src),
            17 => [old, src].into_iter().min_by_key(|&v| signed(v)).unwrap(),
            18 => old.min(src),
            19 => [old, src].into_iter().max_by_key(|&v| signed(v)).unwrap(),
            20 => old.max(src),
            21 => old & src,
            22 => old | src,
            23 => old ^ src,
            24 if old >= src => 0,
            24 => old + 1,
            _ if old == 0 || old > src => src,
            _ => old - 1,
        };
        assert!(header >> 16 & 1 == 0 || old == cmp, "the model cannot wait for ever");
        self.store(e, addr, bytes, cut(new))?;
        if code & 0x40 == 0 {
            self.engines[e].preop = old;
        }
        Ok(())
    }
}
