// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Access programs: whatever lies in a queue's ring, the device stays bounded, tells what it stopped on, and the other
//! queues go on.
//!
//! An input is a byte of switches (see [`run`]), then the ring's dwords. The queue runs in VMID 3, whose space has at
//! [`PAGES`]: VRAM, RAM, nothing, read-only and unmapped pages in turn, its ring among them.

use uvm_spec::access::{self, ACCESS};
use uvm_spec::sdma::exception;
use uvm_spec::{counters, hub, ih, pte, Block, Reg};
use vhost_device_uvm::bus::{ManualClock, SystemMemory};
use vhost_device_uvm::{Config, Gpu, Progress};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const VRAM: u64 = 16 << 20;
const RAM: usize = 1 << 20;
const VMID: u32 = 3;
/// Pages of the space, from address 0 on.
const PAGES: u64 = 512;
/// VRAM offset of the page table; the space's other pages lie one to one with VRAM or RAM.
const TABLE: u64 = 0x80_0000;
/// Addresses of the rings of queues 0 and 1, of a mark.
const RINGS: [u64; 2] = [0x10_0000, 0x11_0000];
const RING_LOG2: u32 = 10;
const MARK: u64 = 0x12_0000;
const MAX_DWORDS: usize = 1 << RING_LOG2;
/// Quanta until an input may be cut off: programs of 2^32 iterations are legal.
const QUANTA: usize = 60;

fn write(gpu: &mut Gpu, block: &Block, reg: &Reg, n: u32, value: u64) {
    gpu.mmio_write(block.index(reg, n), u32::try_from(value & 0xffff_ffff).unwrap_or(0));
}

fn poke(gpu: &Gpu, offset: u64, data: &[u8]) {
    if !data.is_empty() {
        gpu.vram().slice(offset, data.len()).expect("in VRAM").write_slice(data, 0).expect("in VRAM");
    }
}

fn bring_up(gpu: &mut Gpu, switches: u8) {
    let role = &hub::MM_REGS;
    let retry = if switches & 2 != 0 { 1 << 7 } else { 0 };
    let default_page = switches & 1 != 0;
    let mut mm = |reg: &Reg, n: u32, value: u64| write(gpu, &hub::MM_HUB, reg, n, value);
    mm(role.fault_default_addr, 0, 1);
    mm(role.pt_base, 2 * VMID, TABLE | pte::VALID);
    mm(role.pt_end, 2 * VMID, PAGES - 1);
    mm(role.context_cntl, VMID, 1 | retry | if default_page { 0x3fff << 9 } else { 0x1555 << 9 });
    mm(role.fault_cntl, 0, 0);
    let mut oss = |reg: &Reg, value: u64| write(gpu, &ih::OSSSYS, reg, 0, value);
    oss(&ih::IH_RB_BASE, 0x800);
    oss(&ih::IH_RB_CNTL, 1 | 14 << 1 | 1 << 16 | 1 << 17 | u64::from(ih::mc_space::BUS) << 28);
    if switches & 4 != 0 {
        oss(&ih::IH_RETRY_INT_CAM_CNTL, 1 << 16 | 0x1f);
    }
    write(gpu, &counters::COUNTERS, &counters::THRESHOLD, 0, 2);
    write(gpu, &counters::COUNTERS, &counters::CNTL, 0, 0x701);
    for page in 0..PAGES {
        let at = page << 12;
        let entry = match page % 8 {
            _ if (0x100..0x140).contains(&page) => at | pte::VALID | pte::READABLE | pte::WRITEABLE,
            0 => 0,
            1 => pte::PRT,
            2 => 1 << 40 | pte::VALID | pte::SYSTEM | pte::READABLE | pte::WRITEABLE,
            3 => at | pte::VALID | pte::READABLE,
            4 => (at % RAM as u64) | pte::VALID | pte::SYSTEM | pte::WRITEABLE,
            5 => (at % RAM as u64) | pte::VALID | pte::SYSTEM | pte::READABLE | pte::WRITEABLE,
            _ => at | pte::VALID | pte::READABLE | pte::WRITEABLE,
        };
        poke(gpu, TABLE + 8 * page, &entry.to_le_bytes());
    }
    for (q, ring) in (0u32..).zip(RINGS) {
        let mut access = |reg: &Reg, n: u32, value: u64| write(gpu, &ACCESS, reg, n, value);
        access(&access::RB_CNTL, q, 0);
        access(&access::RB_BASE, q, ring >> 8);
        access(&access::CNTL, 0, 1);
        access(&access::F32_CNTL, 0, 0);
        access(&access::RB_CNTL, q, 1 | u64::from(RING_LOG2) << 1 | u64::from(VMID) << 24);
    }
}

/// True if the device got idle.
fn work(gpu: &mut Gpu, clock: &ManualClock) -> bool {
    for _ in 0..QUANTA {
        match gpu.run() {
            Progress::Idle => return true,
            Progress::More => {}
            Progress::Waiting(time) => clock.advance(u64::try_from(time.as_nanos() / 10).unwrap_or(u64::MAX)),
        }
    }
    false
}

/// The target. Switches: bit 0 default pages, bit 1 faults are retried, bit 2 through the CAM.
pub fn run(data: &[u8]) {
    let Some((&switches, stream)) = data.split_first() else { return };
    let stream = &stream[..stream.len().min(4 * MAX_DWORDS) & !3];
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).expect("memory");
    let clock = ManualClock::default();
    let config = Config { vram_size: VRAM, ..Config::default() };
    let mut gpu = Gpu::new(config, SystemMemory::new(memory), Box::new(clock.clone())).expect("a device");
    bring_up(&mut gpu, switches);
    poke(&gpu, RINGS[0], stream);
    write(&mut gpu, &ACCESS, &access::RB_WPTR, 0, stream.len() as u64);
    work(&mut gpu, &clock);
    let status = gpu.mmio_read(ACCESS.index(&access::CONTEXT_STATUS, 0));
    assert!(access::CONTEXT_STATUS::EXCEPTION.get(status) <= exception::POISON);
    gpu.view_rings();

    // Another queue gets its turn beside whatever the first still does.
    write(&mut gpu, &ACCESS, &access::RB_CNTL, 1, 0);
    poke(&gpu, MARK, &[0; 4]);
    bring_up_second(&mut gpu);
    let mark = u32::try_from(MARK).expect("below 4 GiB");
    let fence: Vec<u8> = [5, mark, 0, 0x600d].iter().flat_map(|dw: &u32| dw.to_le_bytes()).collect();
    poke(&gpu, RINGS[1], &fence);
    write(&mut gpu, &ACCESS, &access::RB_WPTR, 1, 16);
    // A turn is enough: the two alternate.
    gpu.run();
    gpu.run();
    let rptr = gpu.mmio_read(ACCESS.index(&access::RB_RPTR, 1));
    assert_eq!(rptr, 16, "the second queue did not get its turn");

    // Switched off, the first reaches nothing any more.
    write(&mut gpu, &ACCESS, &access::RB_CNTL, 0, 0);
    assert!(work(&mut gpu, &clock));
}

/// Queue 1 anew: the program of the first may have written over tables and rings.
fn bring_up_second(gpu: &mut Gpu) {
    for page in [RINGS[1] >> 12, MARK >> 12] {
        let entry = page << 12 | pte::VALID | pte::READABLE | pte::WRITEABLE;
        poke(gpu, TABLE + 8 * page, &entry.to_le_bytes());
    }
    let role = &hub::MM_REGS;
    for half in 0..2 {
        write(gpu, &hub::MM_HUB, role.inv_range, half, u64::MAX);
    }
    write(gpu, &hub::MM_HUB, role.inv_req, 0, 1 << VMID | 0x1f << 18);
    for reg in [&access::RB_RPTR, &access::RB_RPTR_HI, &access::RB_WPTR, &access::RB_WPTR_HI] {
        write(gpu, &ACCESS, reg, 1, 0);
    }
    write(gpu, &ACCESS, &access::RB_CNTL, 1, 1 | u64::from(RING_LOG2) << 1 | u64::from(VMID) << 24);
}
