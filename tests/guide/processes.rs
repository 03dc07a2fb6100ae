// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Processes: jobs by indirect buffer, user queues, VMIDs that change hands, attributes of pages, preemption.

use crate::driver::{noise, Buffer, Driver, FB, PAGE, PDE_PTE, PRT, SYSTEM_RW, TF, TMZ, VALID, VRAM_RW};
use crate::regs::*;
use crate::rings::{Ring, RING_PAGES, RLC0};
use crate::spaces::{OnFault, Space};
use crate::{engines, machine, packets};
use vhost_device_uvm::Config;

pub const VMID: u32 = 1;
/// Needs every level: no two of its index fields are alike.
pub const VA: u64 = 0x12_3456_7000 | 5 << 39;

/// A process in VMID 1 with a mapped page for its indirect buffers.
pub fn process(driver: &mut Driver, fault: OnFault) -> (Space, Buffer) {
    let space = driver.space(0x77);
    let ib = driver.map_system(&space, 0x40_0000, 1);
    driver.assign(&space, VMID, fault);
    (space, ib)
}

/// Puts `job` into the indirect buffer and gives the packet that runs it in `VMID`.
pub fn job(driver: &Driver, ib: &Buffer, job: &[u32]) -> Vec<u32> {
    for (k, dword) in job.iter().enumerate() {
        driver.set_dword(ib, 4 * k as u64, *dword);
    }
    packets::indirect(VMID, ib.address, job.len() as u32)
}

/// A user queue whose ring and write-back page lie in the process's space.
pub fn user_queue(driver: &mut Driver, space: &Space) -> Ring {
    let memory = driver.map_system(space, 0x50_0000, RING_PAGES);
    let writeback = driver.map_system(space, 0x60_0000, 1);
    driver.invalidate(VMID);
    driver.start(1, RLC0, VMID, memory, writeback)
}

#[test]
fn a_job_copies_between_system_and_vram_pages_of_its_process() {
    let (mut driver, [mut ring, _]) = machine();
    let (space, ib) = process(&mut driver, OnFault::Stop);
    let source = driver.map_system(&space, VA, 4);
    // VRAM pages in the wrong order.
    let vram = driver.vram(4);
    let target = VA + (1 << 30);
    for k in 0..4 {
        driver.set_pte(&space, target + k * PAGE, (vram + (3 - k) * PAGE) | VRAM_RW);
    }
    driver.invalidate(VMID);
    let data = noise(11, 4 * PAGE as usize);
    driver.fill_buffer(&source, &data);
    let run = job(&driver, &ib, &packets::copy(VA + 10, target + 10, 3 * PAGE as u32));
    assert!(driver.execute(&mut ring, &run), "exception {}", driver.exception(&ring));
    let seen: Vec<u8> = (0..4).flat_map(|k| driver.vram_read(vram + (3 - k) * PAGE, PAGE as usize)).collect();
    let len = 3 * PAGE as usize;
    assert_eq!(seen[10..][..len], data[10..][..len]);
    assert!(seen[..10].iter().chain(&seen[10 + len..]).all(|b| *b == 0));
}

#[test]
fn a_user_queue_runs_packets_and_buffers_in_its_own_space() {
    let (mut driver, _rings) = machine();
    let (space, ib) = process(&mut driver, OnFault::Stop);
    let mut queue = user_queue(&mut driver, &space);
    let target = driver.map_system(&space, VA, 1);
    driver.invalidate(VMID);
    let mut p = packets::write(VA + 4, &[0x1111]);
    // The header names VMID 9: the buffer runs in the queue's all the same.
    let inner = packets::write(VA + 8, &[0x2222]);
    job(&driver, &ib, &inner);
    p.extend(packets::indirect(9, ib.address, inner.len() as u32));
    driver.handle_interrupts();
    p.extend(packets::trap(5));
    assert!(driver.execute(&mut queue, &p), "exception {}", driver.exception(&queue));
    assert_eq!((driver.dword(&target, 4), driver.dword(&target, 8)), (0x1111, 0x2222));
    let told: Vec<_> = driver.handle_interrupts().iter().map(|v| (v.client, v.source, v.vmid, v.pasid)).collect();
    assert_eq!(told, [(CLIENT_SDMA1, 224, VMID, 0x77)]);
    driver.take_down(queue);
}

#[test]
fn a_user_queue_may_not_touch_registers() {
    let (mut driver, _rings) = machine();
    let (space, _) = process(&mut driver, OnFault::Stop);
    let mut queue = user_queue(&mut driver, &space);
    assert!(!driver.execute(&mut queue, &packets::srbm_write(BIOS_SCRATCH, 1)));
    assert_eq!(driver.exception(&queue), 1);
    assert_eq!(driver.read(BIOS_SCRATCH), 0);
    driver.reset(&mut queue, VMID);
    assert!(driver.execute(&mut queue, &packets::nop(0)));
}

#[test]
fn a_vmid_that_changed_hands_shows_the_new_process_its_own_pages() {
    let (mut driver, [mut ring, _]) = machine();
    let (first, ib) = process(&mut driver, OnFault::Stop);
    let old = driver.map_system(&first, VA, 1);
    driver.invalidate(VMID);
    let run = job(&driver, &ib, &packets::write(VA, &[0x0101]));
    assert!(driver.execute(&mut ring, &run));

    let second = driver.space(0x78);
    let new_ib = driver.map_system(&second, 0x40_0000, 1);
    let new = driver.map_system(&second, VA, 1);
    driver.assign(&second, VMID, OnFault::Stop);
    let run = job(&driver, &new_ib, &packets::write(VA + 4, &[0x0202]));
    assert!(driver.execute(&mut ring, &run));
    assert_eq!((driver.dword(&old, 0), driver.dword(&old, 4)), (0x0101, 0));
    assert_eq!((driver.dword(&new, 0), driver.dword(&new, 4)), (0, 0x0202));
}

#[test]
fn an_encrypted_page_is_clear_to_tmz_entries_and_noise_to_the_bar() {
    let (mut driver, [mut ring, _]) = machine();
    driver.breaks("tmz_copied_to_clear");
    let (space, ib) = process(&mut driver, OnFault::Stop);
    let secret = driver.vram(1);
    driver.set_pte(&space, VA, secret | VRAM_RW | TMZ);
    driver.set_pte(&space, VA + PAGE, secret | VRAM_RW);
    let target = driver.map_system(&space, VA + 2 * PAGE, 2);
    driver.invalidate(VMID);
    let data = noise(21, 256);
    let mut p = packets::write(VA, &crate::dwords(&data));
    p.extend(packets::copy(VA, VA + 2 * PAGE, 256));
    p.extend(packets::copy(VA + PAGE, VA + 3 * PAGE, 256));
    let run = job(&driver, &ib, &p);
    assert!(driver.execute(&mut ring, &run));
    let seen = driver.buffer(&target);
    assert_eq!(seen[..256], data, "through the TMZ entry");
    assert_ne!(seen[PAGE as usize..][..256], data, "through an entry without TMZ");
    assert_eq!(seen[PAGE as usize..][..256], driver.vram_read(secret, 256), "what the BAR shows");
}

#[test]
fn a_directory_entry_maps_two_megabytes_and_prt_reads_zero() {
    let (mut driver, [mut ring, _]) = machine();
    let (space, ib) = process(&mut driver, OnFault::Stop);
    let large = driver.vram_aligned(512);
    let at = 0x8000_0000;
    driver.set_pde0(&space, at, large | VRAM_RW | PDE_PTE);
    let target = driver.map_system(&space, VA, 1);
    driver.set_pte(&space, VA + PAGE, PRT);
    driver.invalidate(VMID);
    driver.set_dword(&target, 8, 0xffff_ffff);
    let mut p = packets::write(at + 0x12_3450, &[0x9999]);
    p.extend(packets::write(VA + PAGE, &[1]));
    p.extend(packets::copy(VA + PAGE, VA + 8, 4));
    let run = job(&driver, &ib, &p);
    assert!(driver.execute(&mut ring, &run));
    assert_eq!(driver.vram_read(large + 0x12_3450, 4), 0x9999_u32.to_le_bytes());
    assert_eq!(driver.dword(&target, 8), 0);
}

#[test]
fn page_tables_written_by_an_engine_translate_like_those_by_the_cpu() {
    let (mut driver, [mut ring, _]) = machine();
    let (space, ib) = process(&mut driver, OnFault::Stop);
    let table = driver.vram(1);
    driver.set_pde0(&space, 0x4000_0000, table | VALID);
    // Sixteen pages that translate alike, so that a cache may keep them as one.
    let vram = driver.vram_aligned(16);
    let fragment = 4 << 7;
    assert!(driver.execute(&mut ring, &packets::ptepde(FB + table, VRAM_RW | fragment, vram, PAGE, 16)));
    driver.invalidate(VMID);
    let run = job(&driver, &ib, &packets::write(0x4000_0000 + 6 * PAGE, &[0x600d]));
    assert!(driver.execute(&mut ring, &run));
    assert_eq!(driver.vram_read(vram + 6 * PAGE, 4), 0x600d_u32.to_le_bytes());
}

#[test]
fn an_unmapped_page_is_out_of_reach_once_the_ack_came() {
    let (mut driver, [mut ring, _]) = machine();
    driver.breaks("dummy_page_saved");
    let (space, ib) = process(&mut driver, OnFault::DummyPage);
    let page = driver.map_system(&space, VA, 1);
    driver.invalidate(VMID);
    let run = job(&driver, &ib, &packets::write(VA, &[1]));
    assert!(driver.execute(&mut ring, &run));
    driver.set_pte(&space, VA, 0);
    driver.invalidate(VMID);
    let run = job(&driver, &ib, &packets::write(VA, &[2]));
    assert!(driver.execute(&mut ring, &run));
    assert_eq!(driver.dword(&page, 0), 1);
    assert_eq!(driver.system_read(driver.dummy, 4), 2_u32.to_le_bytes());
    driver.set_pte(&space, VA, page.pages[0] | SYSTEM_RW);
    driver.invalidate(VMID);
    let run = job(&driver, &ib, &packets::write(VA, &[3]));
    assert!(driver.execute(&mut ring, &run));
    assert_eq!(driver.dword(&page, 0), 3);
}

#[test]
fn a_preempted_buffer_ends_and_its_ring_goes_on() {
    let (mut driver, [mut ring, _]) = machine();
    let (space, ib) = process(&mut driver, OnFault::Stop);
    let target = driver.map_system(&space, VA, 1);
    driver.invalidate(VMID);
    let before = packets::write(VA, &[1]);
    let mut p = before.clone();
    p.extend(packets::poll(packets::EQUAL, VA + 8, 1, packets::FOR_EVER));
    p.extend(packets::write(VA + 4, &[2]));
    let run = job(&driver, &ib, &p);
    driver.handle_interrupts();
    assert!(!driver.execute(&mut ring, &run), "it polls");
    driver.preempt(&ring);
    driver.settle();
    assert!(driver.reached(&ring), "the ring went on behind the INDIRECT packet");
    assert_eq!(driver.ib_offset(&ring), before.len() as u32);
    assert_eq!((driver.dword(&target, 0), driver.dword(&target, 4)), (1, 0));
    let told: Vec<_> = driver.handle_interrupts().iter().map(|v| (v.client, v.source, v.data[0])).collect();
    assert_eq!(told, [(CLIENT_SDMA0, 219, VMID)]);
    // What is left of it runs from where it ended.
    driver.set_dword(&target, 8, 1);
    let rest = job(&driver, &ib, &p[before.len()..]);
    assert!(driver.execute(&mut ring, &rest));
    assert_eq!(driver.dword(&target, 4), 2);
}

#[test]
fn an_entry_that_translates_further_leads_to_single_pages() {
    let (mut driver, [mut ring, _]) = machine();
    let (space, ib) = process(&mut driver, OnFault::Stop);
    // Entries of 16 pages each: the first maps them as one, the second points at a table of single ones.
    let (table, further) = (driver.vram(1), driver.vram(1));
    let large = driver.vram_aligned(16);
    let singles = driver.vram(16);
    driver.set_pde0(&space, 0x4000_0000, table | VALID | 4 << 59);
    driver.vram_write(table, &(large | VRAM_RW).to_le_bytes());
    driver.vram_write(table + 8, &(further | VALID | TF).to_le_bytes());
    for k in 0..16 {
        driver.vram_write(further + 8 * k, &((singles + (15 - k) * PAGE) | VRAM_RW).to_le_bytes());
    }
    driver.invalidate(VMID);
    let mut p = packets::write(0x4000_0000 + 9 * PAGE, &[0xb16]);
    p.extend(packets::write(0x4000_0000 + (16 + 3) * PAGE, &[0x517]));
    let run = job(&driver, &ib, &p);
    assert!(driver.execute(&mut ring, &run), "exception {}", driver.exception(&ring));
    assert_eq!(driver.vram_read(large + 9 * PAGE, 4), 0xb16_u32.to_le_bytes());
    assert_eq!(driver.vram_read(singles + 12 * PAGE, 4), 0x517_u32.to_le_bytes());
}

#[test]
fn an_invalidation_of_one_page_reaches_that_page() {
    let (mut driver, [mut ring, _]) = machine();
    let (space, ib) = process(&mut driver, OnFault::Stop);
    // Far enough apart that no walk finds both.
    let far = VA + 64 * PAGE;
    let (near, old) = (driver.map_system(&space, VA, 1), driver.map_system(&space, far, 1));
    driver.invalidate(VMID);
    let both = |value| [packets::write(VA, &[value]), packets::write(far, &[value])].concat();
    let run = job(&driver, &ib, &both(1));
    assert!(driver.execute(&mut ring, &run));
    let new = driver.system_page();
    driver.set_pte(&space, far, new | SYSTEM_RW);
    driver.invalidate_page(VMID, far);
    let run = job(&driver, &ib, &both(2));
    assert!(driver.execute(&mut ring, &run));
    assert_eq!((driver.dword(&near, 0), driver.dword(&old, 0)), (2, 1));
    assert_eq!(driver.system_read(new, 4), 2_u32.to_le_bytes());
}

#[test]
fn a_buffer_inside_a_buffer_stops_the_ring() {
    let (mut driver, [mut ring, _]) = machine();
    let (_, ib) = process(&mut driver, OnFault::Stop);
    let inner = packets::indirect(VMID, ib.address + 0x800, 8);
    let run = job(&driver, &ib, &inner);
    assert!(!driver.execute(&mut ring, &run));
    assert_eq!(driver.exception(&ring), 3);
}

#[test]
fn spaces_of_two_to_five_levels_translate_and_tell_their_faults() {
    for levels in 2..=5 {
        let mut driver = Driver::bring_up(Config { levels, ..Config::default() });
        let [mut ring, _] = engines(&mut driver);
        let (space, ib) = process(&mut driver, OnFault::Stop);
        // As high as the space goes.
        let va = (1 << (12 + 9 * levels)) - 3 * PAGE;
        let page = driver.map_system(&space, va, 1);
        driver.invalidate(VMID);
        let run = job(&driver, &ib, &packets::write(va + 8, &[levels]));
        assert!(driver.execute(&mut ring, &run), "{levels} levels: exception {}", driver.exception(&ring));
        assert_eq!(driver.dword(&page, 8), levels);
        driver.handle_interrupts();
        let run = job(&driver, &ib, &packets::write(va + PAGE, &[1]));
        assert!(!driver.execute(&mut ring, &run));
        let vectors = driver.handle_interrupts();
        let told: Vec<_> = vectors.iter().filter(|v| v.client == CLIENT_VMC).map(|v| v.page()).collect();
        assert_eq!(told, [va + PAGE], "{levels} levels");
    }
}
