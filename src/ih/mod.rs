// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The interrupt handler: three rings of 32-byte vectors in memory, and the line that says one of them moved.
//!
//! The line is an edge. With RPTR_REARM it fires once and again only after the driver moved the read pointer: if there
//! is more by then, at once. A full ring drops the new vector, or with WPTR_OVERFLOW_ENABLE overwrites the oldest and
//! sets RB_OVERFLOW.
//!
//! Retry faults pass the [`cam`], which tells the driver of each page once. A fault whose vector is dropped, overwritten
//! or finds the CAM full is not lost: its access waits, and tells again when the driver has made room.

pub mod cam;

use crate::gmc::{Access, Fault, Hub, Memory, Phys, Space};
use crate::regs::RegFile;
use cam::{Cam, Lookup};
use std::collections::VecDeque;
use uvm_spec::ih::*;
use uvm_spec::window::Event;
use uvm_spec::{Reg, IH_RINGS};

/// Registers of one ring, by role. Fields are ring 0's: the others have the same.
struct RingRegs {
    cntl: &'static Reg,
    base: &'static Reg,
    base_hi: &'static Reg,
    rptr: &'static Reg,
    wptr: &'static Reg,
    doorbell: &'static Reg,
}

const RINGS: [RingRegs; IH_RINGS] = [
    RingRegs {
        cntl: &IH_RB_CNTL,
        base: &IH_RB_BASE,
        base_hi: &IH_RB_BASE_HI,
        rptr: &IH_RB_RPTR,
        wptr: &IH_RB_WPTR,
        doorbell: &IH_DOORBELL_RPTR,
    },
    RingRegs {
        cntl: &IH_RB_CNTL_RING1,
        base: &IH_RB_BASE_RING1,
        base_hi: &IH_RB_BASE_HI_RING1,
        rptr: &IH_RB_RPTR_RING1,
        wptr: &IH_RB_WPTR_RING1,
        doorbell: &IH_DOORBELL_RPTR_RING1,
    },
    RingRegs {
        cntl: &IH_RB_CNTL_RING2,
        base: &IH_RB_BASE_RING2,
        base_hi: &IH_RB_BASE_HI_RING2,
        rptr: &IH_RB_RPTR_RING2,
        wptr: &IH_RB_WPTR_RING2,
        doorbell: &IH_DOORBELL_RPTR_RING2,
    },
];

/// The block's state.
#[derive(Debug)]
pub struct Ih {
    regs: RegFile,
    /// Per ring: the line may fire.
    armed: [bool; IH_RINGS],
    /// Per ring: vectors were overwritten and the driver has not moved the read pointer since. It will go on behind the
    /// write pointer, so that each further vector costs it one more.
    overrun: [bool; IH_RINGS],
    /// Line edges that the transport has not taken yet: at most one a ring, the last.
    line: VecDeque<Event>,
    /// IH_CLIENT_CFG_DATA, by client.
    clients: [u32; CLIENTS],
    cam: Cam,
    /// The driver made room since [`Ih::take_room`]: read vectors or answered.
    room: bool,
    /// Vectors written since reset.
    pub delivered: u64,
    /// Vectors dropped since reset: ring disabled, full, or nowhere.
    pub dropped: u64,
    /// Vectors overwritten since reset.
    pub overwritten: u64,
}

impl Default for Ih {
    fn default() -> Self {
        Self {
            regs: RegFile::new(&OSSSYS),
            armed: [true; IH_RINGS],
            overrun: [false; IH_RINGS],
            line: VecDeque::new(),
            clients: [0; CLIENTS],
            cam: Cam::default(),
            room: false,
            delivered: 0,
            dropped: 0,
            overwritten: 0,
        }
    }
}

impl Ih {
    /// Brings every register to its reset value and forgets pending edges.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
    /// The register file, for dispatch.
    pub fn regs(&self) -> &RegFile {
        &self.regs
    }
    /// IH_RB_WPTR of `ring`.
    pub fn wptr(&self, ring: usize) -> u32 {
        RINGS.get(ring).map_or(0, |r| self.regs.get(r.wptr, 0))
    }
    /// The next edge of the interrupt line.
    pub fn take_interrupt(&mut self) -> Option<Event> {
        self.line.pop_front()
    }
    /// Raises the edge of ring `ring` once more, with its pointer as it is now.
    pub fn fire_again(&mut self, ring: u32) {
        let wptr = self.wptr(ring as usize);
        self.line.retain(|e| e.ring != ring);
        self.line.push_back(Event { ring, wptr });
    }

    /// Whether the driver made room for vectors or CAM entries since the last call.
    pub fn take_room(&mut self) -> bool {
        std::mem::take(&mut self.room)
    }
    /// Whether the retry CAM filters.
    pub fn cam_enabled(&self) -> bool {
        self.regs.field(&IH_RETRY_INT_CAM_CNTL, 0, IH_RETRY_INT_CAM_CNTL::ENABLE) != 0
    }
    /// Whether the driver has been told of the fault's page and has not answered.
    pub fn knows(&self, fault: &Fault) -> bool {
        self.cam.knows(fault)
    }
    /// Whether retry CAM entry `index` waits for an answer.
    pub fn waits(&self, index: u32) -> bool {
        u16::try_from(index).is_ok_and(|i| self.cam.waits(i))
    }
    /// Whether the doorbell at dword offset `dw` answers retry CAM entries.
    pub fn is_cam_doorbell(&self, dw: u32) -> bool {
        let cam = self.regs.get(&IH_DOORBELL_RETRY_CAM, 0);
        IH_DOORBELL_RETRY_CAM::ENABLE.is_set(cam) && IH_DOORBELL_RETRY_CAM::OFFSET.get(cam) == dw
    }
    /// Read pointers of the rings, bytes.
    pub fn rptrs(&self) -> [u32; IH_RINGS] {
        RINGS.map(|r| self.regs.get(r.rptr, 0))
    }
    /// The retry CAM.
    pub fn cam(&self) -> &Cam {
        &self.cam
    }
    /// The PASID that vectors of the MM hub's VMID `vmid` carry.
    pub fn pasid(&self, vmid: u8) -> u32 {
        self.regs.field(&IH_VMID_LUT_MM, vmid.into(), IH_VMID_LUT::PASID)
    }
    /// Retry faults that the driver has been told of and has not answered.
    pub fn outstanding(&self) -> usize {
        self.cam.outstanding()
    }

    /// A guest's read.
    pub fn read(&self, offset: u32) -> Option<u32> {
        let (value, reg, _) = self.regs.read(offset)?;
        if reg.offset == IH_CLIENT_CFG_DATA.offset {
            let client = self.regs.get(&IH_CLIENT_CFG_INDEX, 0) as usize;
            return Some(self.clients.get(client).copied().unwrap_or(0));
        }
        Some(value)
    }
    /// A guest's write. A CAM entry that it answers is told by VMID and page.
    pub fn write(&mut self, offset: u32, value: u32) -> Option<Option<(u8, u64)>> {
        let written = self.regs.write(offset, value)?;
        // Whatever the driver changes may give a vector a place that found none.
        self.room = true;
        if written.is(&IH_CLIENT_CFG_DATA) {
            let client = self.regs.get(&IH_CLIENT_CFG_INDEX, 0) as usize;
            if let Some(slot) = self.clients.get_mut(client) {
                *slot = value & IH_CLIENT_CFG_DATA.writable();
            }
        } else if written.is(&IH_RETRY_CAM_ACK) {
            return Some(self.answer(IH_RETRY_CAM_ACK::INDEX.get(value)));
        } else if written.is(&IH_RETRY_INT_CAM_CNTL) && !self.cam_enabled() {
            // Nobody answers entries of a CAM that is off.
            self.cam = Cam::default();
        }
        for ring in 0..IH_RINGS {
            let Some(r) = RINGS.get(ring) else { break };
            if written.is(r.wptr) || written.is(r.cntl) && !IH_RB_CNTL::RB_ENABLE.is_set(value) {
                self.set_overrun(ring, false);
            }
            if written.is(r.cntl) && IH_RB_CNTL::WPTR_OVERFLOW_CLEAR.is_set(value) {
                self.regs.set_field(r.wptr, 0, IH_RB_WPTR::RB_OVERFLOW, 0);
            } else if written.is(r.rptr) {
                self.acknowledge(ring);
            }
        }
        Some(None)
    }
    fn answer(&mut self, index: u32) -> Option<(u8, u64)> {
        self.room = true;
        let answered = u16::try_from(index).ok().and_then(|i| self.cam.acknowledge(i));
        if answered.is_none() {
            log::debug!("answer to retry CAM entry {index}, which waits for none");
        }
        answered
    }
    /// A doorbell at dword offset `dw` of the aperture. None: nobody's; else the CAM entry that it answers, as in
    /// [`Ih::write`].
    pub fn doorbell(&mut self, dw: u32, value: u32) -> Option<Option<(u8, u64)>> {
        if self.is_cam_doorbell(dw) {
            return Some(self.answer(value));
        }
        let hit = RINGS.iter().position(|r| {
            let reg = self.regs.get(r.doorbell, 0);
            IH_DOORBELL_RPTR::ENABLE.is_set(reg) && IH_DOORBELL_RPTR::OFFSET.get(reg) == dw
        });
        let (ring, r) = hit.and_then(|i| Some((i, RINGS.get(i)?)))?;
        self.regs.set(r.rptr, 0, value & IH_RB_RPTR.writable());
        self.acknowledge(ring);
        Some(None)
    }
    /// The driver has read up to RPTR.
    fn acknowledge(&mut self, ring: usize) {
        let Some(r) = RINGS.get(ring) else { return };
        self.room = true;
        self.set_overrun(ring, false);
        if let Some(armed) = self.armed.get_mut(ring) {
            *armed = true;
        }
        let offset = |reg| IH_RB_RPTR::OFFSET.get(self.regs.get(reg, 0));
        let (wptr, overflow) = (offset(r.wptr), self.regs.field(r.wptr, 0, IH_RB_WPTR::RB_OVERFLOW));
        // Behind by a whole lap the pointers are equal, and the ring is full of what was never read.
        if (offset(r.rptr) != wptr || overflow != 0) && self.regs.field(r.cntl, 0, IH_RB_CNTL::RPTR_REARM) != 0 {
            self.fire(ring);
        }
    }
    fn set_overrun(&mut self, ring: usize, overrun: bool) {
        if let Some(slot) = self.overrun.get_mut(ring) {
            *slot = overrun;
        }
    }
    fn fire(&mut self, ring: usize) {
        let Some(r) = RINGS.get(ring) else { return };
        let cntl = self.regs.get(r.cntl, 0);
        let Some(armed) = self.armed.get_mut(ring) else { return };
        if !IH_RB_CNTL::ENABLE_INTR.is_set(cntl) || !*armed {
            return;
        }
        *armed = !IH_RB_CNTL::RPTR_REARM.is_set(cntl);
        let wptr = self.regs.get(r.wptr, 0);
        let Ok(number) = u32::try_from(ring) else { return };
        self.line.retain(|e| e.ring != number);
        self.line.push_back(Event { ring: number, wptr });
    }

    /// A fault whose access waits: raises `vector` unless the driver knows of the page. Gives back the vector as written.
    pub fn raise_retry(
        &mut self,
        fault: &Fault,
        mut vector: Vector,
        now: u64,
        memory: &Memory<'_>,
        hub: &Hub,
    ) -> Option<Vector> {
        if !self.cam_enabled() {
            return self.raise(vector, now, memory, hub);
        }
        let size = cam_entries(self.regs.get(&IH_RETRY_INT_CAM_CNTL, 0));
        let Lookup::New(index) = self.cam.look_up(fault, size as usize) else { return None };
        vector.data[2] = u32::from(index);
        let ring = self.route(&vector);
        let slot = RINGS.get(ring).map_or(0, |r| IH_RB_WPTR::OFFSET.mask() & self.regs.get(r.wptr, 0));
        let written = self.raise(vector, now, memory, hub)?;
        self.cam.told(index, fault, ring, slot);
        Some(written)
    }
    /// The ring that the vector's client is routed to.
    pub fn route(&self, vector: &Vector) -> usize {
        let config = self.clients.get(usize::from(vector.client)).copied().unwrap_or(0);
        let ring = IH_CLIENT_CFG_DATA::RING_ID.get(config) as usize;
        if ring < IH_RINGS {
            ring
        } else {
            0
        }
    }
    /// Writes `vector` to its client's ring, stamped with the PASID of its VMID and the time, and fires the line.
    /// Gives back the vector as written, or None if it was dropped.
    pub fn raise(&mut self, mut vector: Vector, now: u64, memory: &Memory<'_>, hub: &Hub) -> Option<Vector> {
        let ring = self.route(&vector);
        let lut = if vector.mm { &IH_VMID_LUT_MM } else { &IH_VMID_LUT };
        vector.pasid = u16::try_from(self.regs.field(lut, u32::from(vector.vmid), IH_VMID_LUT::PASID)).unwrap_or(0);
        vector.timestamp = now & 0xffff_ffff_ffff;
        if self.push(ring, &vector, memory, hub).is_none() {
            self.dropped += 1;
            log::debug!("interrupt vector dropped: {vector:x?}");
            return None;
        }
        self.delivered += 1;
        self.fire(ring);
        Some(vector)
    }
    fn push(&mut self, ring: usize, vector: &Vector, memory: &Memory<'_>, hub: &Hub) -> Option<()> {
        let r = RINGS.get(ring)?;
        let cntl = self.regs.get(r.cntl, 0);
        // log2 of the ring's size in dwords; less than one vector is no ring.
        let size = 4u32.checked_shl(IH_RB_CNTL::RB_SIZE.get(cntl)).filter(|&s| s >= VECTOR_BYTES)?;
        if !IH_RB_CNTL::RB_ENABLE.is_set(cntl) {
            return None;
        }
        // The pointers' registers hold 256 KiB at most.
        let mask = (size - 1).min(IH_RB_WPTR.writable() | 3) & !(VECTOR_BYTES - 1);
        let wptr = self.regs.get(r.wptr, 0) & mask;
        let rptr = self.regs.get(r.rptr, 0) & mask;
        let next = wptr.wrapping_add(VECTOR_BYTES) & mask;
        let mut overflow = IH_RB_WPTR::RB_OVERFLOW.of(self.regs.field(r.wptr, 0, IH_RB_WPTR::RB_OVERFLOW));
        if next == rptr || self.overrun.get(ring) == Some(&true) {
            if !IH_RB_CNTL::WPTR_OVERFLOW_ENABLE.is_set(cntl) {
                return None;
            }
            overflow = IH_RB_WPTR::RB_OVERFLOW.of(1);
            self.overwritten += 1;
            self.set_overrun(ring, true);
        }
        if overflow != 0 {
            // What lies where this one goes was perhaps never read; and a driver that sees the overflow resumes one vector
            // further on, so it never sees the one at `next`.
            self.cam.lost(ring, wptr);
            self.cam.lost(ring, next);
        }
        let base = u64::from(self.regs.get(r.base, 0)) << 8 | u64::from(self.regs.get(r.base_hi, 0)) << 40;
        let at = locate(cntl, base.checked_add(u64::from(wptr))?, memory, hub)?;
        for (i, dword) in (0u64..).zip(vector.pack()) {
            memory.store(at.offset(4 * i)?, dword.to_le())?;
        }
        self.regs.set(r.wptr, 0, next | overflow);
        if ring == 0 && IH_RB_CNTL::WPTR_WRITEBACK_ENABLE.is_set(cntl) {
            let lo = IH_RB_WPTR_ADDR_LO::ADDR.mask() & self.regs.get(&IH_RB_WPTR_ADDR_LO, 0);
            let addr = u64::from(lo) | u64::from(self.regs.get(&IH_RB_WPTR_ADDR_HI, 0)) << 32;
            // A write-back that goes nowhere loses no vector: the register still tells.
            if let Some(at) = locate(cntl, addr, memory, hub) {
                memory.store(at, (next | overflow).to_le());
            }
        }
        Some(())
    }
}

/// Where the ring's `addr` is, as its MC_SPACE says. A vector never straddles a page, so one translation does.
fn locate(cntl: u32, addr: u64, memory: &Memory<'_>, hub: &Hub) -> Option<Phys> {
    match IH_RB_CNTL::MC_SPACE.get(cntl) {
        mc_space::BUS => Some(Phys { space: Space::System, addr }),
        mc_space::GPU_VA => hub.peek(memory, 0, addr, Access::Write).ok()?.at,
        _ => None,
    }
}
