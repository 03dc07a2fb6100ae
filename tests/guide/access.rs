// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The access engine and the access counters, from their chapter.

use crate::driver::{Buffer, Driver, PAGE, SYSTEM_RW};
use crate::processes::{process, VA, VMID};
use crate::regs::*;
use crate::rings::{Ring, ACCESS, RING_PAGES};
use crate::spaces::{OnFault, Space};
use crate::{machine, packets};

/// An operand: nothing, or element after element, `stride` apart.
fn operand(at: Option<(u64, u32)>) -> [u32; 12] {
    let mut dwords = [0; 12];
    if let Some((base, stride)) = at {
        (dwords[0], dwords[1]) = (base as u32, (base >> 32) as u32);
        (dwords[4], dwords[6]) = (1, stride);
    }
    dwords
}

/// NEST of `count` iterations of one loop over dwords, for `lanes` lanes.
fn nest(lanes: u32, count: u32, func: u32, update: u32, operands: [Option<(u64, u32)>; 3]) -> Vec<u32> {
    let mut packet = vec![0x40 | (lanes - 1) << 16, 2 | func << 4 | update << 8, count, 1, 1, 1, 0, 0, 0];
    packet.extend(operands.iter().flat_map(|at| operand(*at)));
    packet
}

/// Queue 0 of the engine, in the process's space.
fn queue(driver: &mut Driver, space: &Space) -> Ring {
    driver.start_engine(ACCESS);
    let memory = driver.map_system(space, 0x50_0000, RING_PAGES);
    let writeback = driver.map_system(space, 0x60_0000, 1);
    driver.invalidate(VMID);
    driver.start(ACCESS, 0, VMID, memory, writeback)
}

fn fill(driver: &mut Driver, buffer: &Buffer, value: impl Fn(u64) -> u32) {
    for k in 0..buffer.pages.len() as u64 * PAGE / 4 {
        driver.set_dword(buffer, 4 * k, value(k));
    }
}

#[test]
fn a_program_adds_two_arrays_and_a_fence_follows_it() {
    let (mut driver, _rings) = machine();
    let (space, _) = process(&mut driver, OnFault::Stop);
    let [a, b, d] = [0, 1, 2].map(|n| driver.map_system(&space, VA + n * 0x10_0000, 3));
    let mut queue = queue(&mut driver, &space);
    fill(&mut driver, &a, |k| 3 * k as u32);
    fill(&mut driver, &b, |k| 5 + k as u32);
    driver.handle_interrupts();
    let mut program = nest(32, 3000, 1, 1, [Some((a.address, 1)), Some((b.address, 1)), Some((d.address, 1))]);
    program.extend(packets::trap(0x5a));
    assert!(driver.execute(&mut queue, &program), "exception {}", driver.exception(&queue));
    for k in 0..3072 {
        assert_eq!(driver.dword(&d, 4 * k), if k < 3000 { 4 * k as u32 + 5 } else { 0 }, "element {k}");
    }
    let told: Vec<_> = driver.handle_interrupts().iter().map(|v| (v.client, v.source, v.vmid, v.data[0])).collect();
    assert_eq!(told, [(0x0a, 224, VMID, 0x5a)]);
    driver.take_down(queue);
}

#[test]
fn each_lane_waits_for_a_page_of_its_own() {
    let (mut driver, [mut gfx, _]) = machine();
    let (space, _) = process(&mut driver, OnFault::Retry);
    let mut queue = queue(&mut driver, &space);
    driver.handle_interrupts();
    // Eight lanes add 1 to the first dword of eight pages, none of which is there.
    let program = nest(8, 8, 9, 0x0f, [None, None, Some((VA, 1024))]);
    assert!(!driver.execute(&mut queue, &program));
    assert!(driver.execute(&mut gfx, &packets::nop(0)), "other rings go on");
    let told = driver.handle_interrupts();
    let mut pages: Vec<u64> = told.iter().map(|v| v.page()).collect();
    pages.sort_unstable();
    assert_eq!(pages, (0..8).map(|n| VA + n * PAGE).collect::<Vec<_>>());
    // Lanes at work and waiting; CTXSW_READY.
    assert_eq!(driver.read(ACCESS_LANES), 8 | 8 << 16);
    assert!(driver.waits_for_page(&queue));
    let mut backing = Vec::new();
    for (n, fault) in (1u32..).zip(&told) {
        let page = driver.system_page();
        backing.push(page);
        driver.set_pte(&space, fault.page(), page | SYSTEM_RW);
        driver.invalidate(VMID);
        driver.write(IH_RETRY_CAM_ACK, fault.data[2]);
        driver.settle();
        // An invalidation wakes every lane of the VMID: those without a page tell again.
        assert!(driver.read(ACCESS_ITEMS) >= n || driver.reached(&queue));
        for again in driver.handle_interrupts() {
            assert!(told[n as usize..].iter().any(|f| f.page() == again.page()), "{again:x?}");
        }
    }
    assert!(driver.reached(&queue));
    for page in backing {
        assert_eq!(driver.system_read(page, 4), [1, 0, 0, 0]);
    }
}

#[test]
fn a_fault_that_is_not_retried_stops_the_queue_until_it_is_reset() {
    let (mut driver, _rings) = machine();
    let (space, _) = process(&mut driver, OnFault::Stop);
    let mut queue = queue(&mut driver, &space);
    driver.handle_interrupts();
    assert!(!driver.execute(&mut queue, &nest(4, 8, 9, 1, [None, None, Some((VA, 1024))])));
    assert_eq!(driver.exception(&queue), 2);
    // Reads are CID 48, writes 49.
    assert_eq!(driver.read(FAULT_STATUS) >> 9 & 0x1ff, 49);
    driver.write(FAULT_CNTL, 1);
    let vectors = driver.handle_interrupts();
    assert!(vectors.iter().any(|v| (v.client, v.source, v.data[0]) == (0x0a, 247, 2)), "{vectors:x?}");
    driver.reset(&mut queue, VMID);
    assert!(driver.execute(&mut queue, &packets::nop(0)));
}

#[test]
fn a_counter_tells_of_a_granule_that_is_reached_often() {
    let (mut driver, _rings) = machine();
    let (space, _) = process(&mut driver, OnFault::Stop);
    let data = driver.map_system(&space, VA, 1);
    let mut queue = queue(&mut driver, &space);
    driver.handle_interrupts();
    driver.write(ACCESS_COUNTER_THRESHOLD, 100);
    driver.write(ACCESS_COUNTER_CNTL, 1 | 4 << 8);
    let read = nest(4, 99, 0, 0, [Some((data.address, 1)), None, None]);
    assert!(driver.execute(&mut queue, &read));
    // The ring and the fence lie in other granules.
    let mine = |v: &crate::ih::Vector| v.client == 0x1d && v.page() == VA >> 16 << 16;
    assert!(!driver.handle_interrupts().iter().any(mine));
    for round in 0..3 {
        assert!(driver.execute(&mut queue, &read));
        let told: Vec<_> = driver.handle_interrupts().into_iter().filter(|v| mine(v)).collect();
        assert_eq!(told.len(), 1, "round {round}");
        assert_eq!((told[0].source, told[0].vmid, told[0].data[2], told[0].data[3]), (0, VMID, 100, 16));
        assert!(driver.execute(&mut queue, &read));
        assert!(!driver.handle_interrupts().iter().any(mine), "it is silent until it is cleared");
        driver.pair(ACCESS_COUNTER_ADDR, VA >> 12);
        driver.write(ACCESS_COUNTER_VMID, VMID);
        driver.write(ACCESS_COUNTER_CLEAR, 0);
        assert_eq!(driver.read(ACCESS_COUNTER_COUNT), 0);
        assert!(driver.execute(&mut queue, &read));
        driver.handle_interrupts();
    }
}
