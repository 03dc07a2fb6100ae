// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The same driver under the other profiles.

use crate::driver::{noise, Driver, CARVEOUT, FB, PAGE, VRAM_RW};
use crate::processes::{job, process, VA, VMID};
use crate::rings::Ring;
use crate::spaces::OnFault;
use crate::{engines, packets};
use vhost_device_uvm::device::Uma;
use vhost_device_uvm::gmc::Mmu;
use vhost_device_uvm::Config;

/// Scattered system pages through VRAM to a process's pages; where in VRAM they went.
fn works(driver: &mut Driver, rings: [Ring; 2]) -> (u64, Vec<u8>) {
    let [mut ring, mut other] = rings;
    let source = driver.gart(3);
    let vram = driver.vram(3);
    let data = noise(31, 3 * PAGE as usize);
    driver.fill_buffer(&source, &data);
    assert!(driver.execute(&mut ring, &packets::copy(source.address, FB + vram, 3 * PAGE as u32)));
    let (space, ib) = process(driver, OnFault::Stop);
    let target = driver.map_system(&space, VA, 3);
    for k in 0..3 {
        driver.set_pte(&space, 0x9000_0000 + k * PAGE, (vram + k * PAGE) | VRAM_RW);
    }
    driver.invalidate(VMID);
    let run = job(driver, &ib, &packets::copy(0x9000_0000, VA, 3 * PAGE as u32));
    assert!(driver.execute(&mut other, &run));
    assert_eq!(driver.buffer(&target), data);
    (vram, data)
}

#[test]
fn under_uma_vram_is_the_carve_out_of_system_memory() {
    let mut driver = Driver::bring_up(Config { uma: Uma::At(CARVEOUT), ..Config::default() });
    assert_eq!(driver.gpu.vram_base(), Some(CARVEOUT));
    let rings = engines(&mut driver);
    let (vram, data) = works(&mut driver, rings);
    assert_eq!(driver.system_read(CARVEOUT + vram, data.len()), data);
}

#[test]
fn under_vidmm_three_levels_take_the_place_of_the_flat_table() {
    let mut driver = Driver::bring_up(Config { mmu: Mmu::Vidmm, ..Config::default() });
    let rings = engines(&mut driver);
    works(&mut driver, rings);
}

#[test]
fn under_vidmm_stray_accesses_land_on_the_dummy_page() {
    let mut driver = Driver::bring_up(Config { mmu: Mmu::Vidmm, ..Config::default() });
    driver.breaks("dummy_page_saved");
    let [mut ring, _] = engines(&mut driver);
    driver.handle_interrupts();
    for (k, stray) in [driver.unbound(), driver.outside()].into_iter().enumerate() {
        let at = 8 * k as u64;
        assert!(driver.execute(&mut ring, &packets::write(stray + at, &[0x5ead])));
        assert_eq!(driver.system_read(driver.dummy + at, 4), 0x5ead_u32.to_le_bytes());
    }
    let faults: Vec<_> = driver.handle_interrupts().iter().map(|v| v.page()).collect();
    assert_eq!(faults, [driver.outside()]);
}
