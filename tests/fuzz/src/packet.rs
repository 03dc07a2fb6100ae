// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! SDMA packets: whatever lies in a ring or an indirect buffer, the device stays bounded, tells what it stopped on, and
//! the other instance goes on.
//!
//! An input is a byte of switches (see [`run`]), then the stream's dwords. The stream finds VRAM at address 0, RAM at
//! [`AGP`], and at [`GART`] pages of both, of nothing, and unmapped ones.

use uvm_spec::sdma::{self, exception, SDMA0, SDMA1};
use uvm_spec::{hub, ih, pte, Block, Reg};
use vhost_device_uvm::bus::{ManualClock, SystemMemory};
use vhost_device_uvm::{Config, Gpu, Progress};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const VRAM: u64 = 16 << 20;
const RAM: usize = 1 << 20;
/// Addresses in VMID 0: RAM, the page table's space.
const AGP: u64 = 0x0100_0000;
const GART: u64 = 0x4000_0000;
const GART_PAGES: u64 = 64;
/// VRAM offsets: rings of both instances, an indirect buffer, the page table, the other instance's mark.
const RINGS: [u64; 2] = [0x10_0000, 0x12_0000];
const RING_LOG2: u32 = 12;
const BUFFER: u64 = 0x14_0000;
const TABLE: u64 = 0x16_0000;
const MARK: u64 = 0x18_0000;
/// RAM: the IH ring.
const IH_RING: u64 = 0x8_0000;
const IH_LOG2: u32 = 14;
/// Dwords of an input that count.
const MAX_DWORDS: usize = 1 << RING_LOG2;
/// Quanta until an input is called endless, as streams that rewind their own ring are.
const QUANTA: usize = 400;

fn write(gpu: &mut Gpu, block: &Block, reg: &Reg, n: u32, value: u64) {
    gpu.mmio_write(block.index(reg, n), u32::try_from(value & 0xffff_ffff).unwrap_or(0));
}

fn bring_up(gpu: &mut Gpu, default_page: bool) {
    let role = &hub::MM_REGS;
    let mut mm = |reg: &Reg, n: u32, value: u64| write(gpu, &hub::MM_HUB, reg, n, value);
    mm(role.agp_bot, 0, AGP >> 24);
    mm(role.agp_top, 0, AGP >> 24);
    mm(role.sys_high, 0, (GART >> 18) - 1);
    mm(role.l1_tlb_cntl, 0, 3 << 3);
    mm(role.fault_default_addr, 0, 1);
    mm(role.pt_base, 0, TABLE | pte::VALID);
    mm(role.pt_start, 0, GART >> 12);
    mm(role.pt_end, 0, (GART >> 12) + GART_PAGES - 1);
    // Every fault interrupts; the default page by choice.
    mm(role.context_cntl, 0, 1 | if default_page { 0x3fff << 9 } else { 0x1555 << 9 });
    if !default_page {
        mm(role.fault_cntl, 0, 0);
    }
    let mut oss = |reg: &Reg, value: u64| write(gpu, &ih::OSSSYS, reg, 0, value);
    oss(&ih::IH_RB_BASE, IH_RING >> 8);
    oss(&ih::IH_RB_CNTL, 1 | u64::from(IH_LOG2) << 1 | 1 << 17 | u64::from(ih::mc_space::BUS) << 28);
    for (block, base) in [(&SDMA0, RINGS[0]), (&SDMA1, RINGS[1])] {
        let mut sdma = |reg: &Reg, value: u64| write(gpu, block, reg, 0, value);
        sdma(&sdma::RB_BASE, base >> 8);
        sdma(&sdma::IB_CNTL, 1);
        sdma(&sdma::CNTL, 1);
        sdma(&sdma::F32_CNTL, 0);
        sdma(&sdma::RB_CNTL, 1 | u64::from(RING_LOG2) << 1);
    }
    for page in 0..GART_PAGES {
        let entry = match page % 8 {
            0 => 0,
            1 => pte::PRT,
            2 => 1 << 40 | pte::VALID | pte::SYSTEM | pte::READABLE | pte::WRITEABLE,
            3 => (page << 12) | pte::VALID | pte::READABLE,
            4 => (page << 12) | pte::VALID | pte::SYSTEM | pte::WRITEABLE,
            5 => (page << 12) | pte::VALID | pte::SYSTEM | pte::READABLE | pte::WRITEABLE,
            _ => (page << 12) | pte::VALID | pte::READABLE | pte::WRITEABLE,
        };
        poke(gpu, TABLE + 8 * page, &entry.to_le_bytes());
    }
}

fn low(address: u64) -> u32 {
    u32::try_from(address).expect("below 4 GiB")
}

fn poke(gpu: &Gpu, offset: u64, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    gpu.vram().slice(offset, data.len()).expect("in VRAM").write_slice(data, 0).expect("in VRAM");
}

fn work(gpu: &mut Gpu, clock: &ManualClock) {
    for _ in 0..QUANTA {
        match gpu.run() {
            Progress::Idle => break,
            Progress::More => {}
            Progress::Waiting(time) => clock.advance(u64::try_from(time.as_nanos() / 10).unwrap_or(u64::MAX)),
        }
    }
}

/// The target. Switches: bit 0 default pages, bit 1 the stream lies in an indirect buffer, bit 2 that runs in VMID 3.
pub fn run(data: &[u8]) {
    let Some((&switches, stream)) = data.split_first() else { return };
    let stream = &stream[..stream.len().min(4 * MAX_DWORDS) & !3];
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).expect("memory");
    let clock = ManualClock::default();
    let config = Config { vram_size: VRAM, ..Config::default() };
    let mut gpu = Gpu::new(config, SystemMemory::new(memory), Box::new(clock.clone())).expect("a device");
    bring_up(&mut gpu, switches & 1 != 0);
    let wptr = if switches & 2 != 0 {
        poke(&gpu, BUFFER, stream);
        let vmid = if switches & 4 != 0 { 3 << 16 } else { 0 };
        let dwords = u32::try_from(stream.len() / 4).unwrap_or(0);
        let ring: Vec<u8> =
            [4 | vmid, low(BUFFER), 0, dwords, 0, 0].iter().flat_map(|dw: &u32| dw.to_le_bytes()).collect();
        poke(&gpu, RINGS[0], &ring);
        24
    } else {
        poke(&gpu, RINGS[0], stream);
        stream.len() as u64
    };
    write(&mut gpu, &SDMA0, &sdma::RB_WPTR, 0, wptr);
    work(&mut gpu, &clock);
    let stopped = gpu.mmio_read(SDMA0.index(&sdma::CONTEXT_STATUS, 0));
    assert!(sdma::CONTEXT_STATUS::EXCEPTION.get(stopped) <= exception::NESTED_IB);

    // The stream may have rewritten every register and all memory: a reset mends that, and the device works.
    gpu.reset();
    assert_eq!(gpu.run(), Progress::Idle);
    bring_up(&mut gpu, true);
    let fence: Vec<u8> = [5, low(MARK), 0, 0x600d].iter().flat_map(|dw: &u32| dw.to_le_bytes()).collect();
    poke(&gpu, MARK, &[0; 4]);
    poke(&gpu, RINGS[1], &fence);
    write(&mut gpu, &SDMA1, &sdma::RB_WPTR, 0, 16);
    work(&mut gpu, &clock);
    let mut mark = [0; 4];
    gpu.vram().slice(MARK, 4).expect("in VRAM").read_slice(&mut mark, 0).expect("in VRAM");
    assert_eq!(mark, 0x600du32.to_le_bytes());
}
