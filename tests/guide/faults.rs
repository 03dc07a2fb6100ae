// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Faults that stop a ring, and faults that wait for the driver.

use crate::driver::{Driver, EXECUTABLE, PAGE, PDE_PTE, READABLE, SNOOPED, SYSTEM, SYSTEM_RW, TF, VALID};
use crate::ih::Vector;
use crate::processes::{job, process, user_queue, VA, VMID};
use crate::regs::*;
use crate::spaces::OnFault;
use crate::{machine, packets};

/// Why the status says that an access failed.
const NOT_VALID: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
/// WALKER_ERROR.
const RANGE: u32 = 1;
const PDE2: u32 = 4;

/// The first fault's status register, in fields.
#[derive(Debug, PartialEq, Eq)]
struct Status {
    vmid: u32,
    walker: u32,
    permission: u32,
    client: u32,
    write: bool,
    page: u64,
}

/// Reads the status and clears it.
fn status(driver: &mut Driver) -> Status {
    let status = driver.read(FAULT_STATUS);
    let page = u64::from(driver.read(FAULT_ADDR)) | u64::from(driver.read(FAULT_ADDR + 1)) << 32;
    let control = driver.read(FAULT_CNTL);
    driver.write(FAULT_CNTL, control | 1);
    driver.write(FAULT_CNTL, control & !1);
    assert_eq!(driver.read(FAULT_STATUS), 0, "cleared");
    Status {
        vmid: status >> 20 & 0xf,
        walker: status >> 1 & 7,
        permission: status >> 4 & 0xf,
        client: status >> 9 & 0x1ff,
        write: status >> 18 & 1 == 1,
        page,
    }
}

fn page_faults(vectors: &[Vector]) -> Vec<&Vector> {
    vectors.iter().filter(|v| v.client == CLIENT_VMC).collect()
}

#[test]
fn a_fault_stops_the_ring_that_made_it_and_tells_where() {
    let (mut driver, [mut ring, mut other]) = machine();
    let (space, ib) = process(&mut driver, OnFault::Stop);
    driver.handle_interrupts();
    let run = job(&driver, &ib, &packets::write(VA + 0x123 * 4, &[1]));
    assert!(!driver.execute(&mut ring, &run));
    assert_eq!(driver.exception(&ring), 2);
    let (permission, page) = (NOT_VALID | WRITE, VA / PAGE);
    let expected = Status { vmid: VMID, walker: PDE2, permission, client: 15, write: true, page };
    assert_eq!(status(&mut driver), expected);
    let vectors = driver.handle_interrupts();
    let faults = page_faults(&vectors);
    assert_eq!(faults.len(), 1, "{vectors:x?}");
    let fault = faults[0];
    assert_eq!((fault.ring, fault.source, fault.vmid, fault.pasid, fault.mm_hub), (1, 0, VMID, 0x77, true));
    assert_eq!((fault.page(), fault.is_write(), fault.is_retry()), (VA, true, false));
    let stopped: Vec<_> = vectors.iter().filter(|v| v.source == 247).map(|v| (v.client, v.data[0])).collect();
    assert_eq!(stopped, [(CLIENT_SDMA0, 2)]);
    // The other engine does not care, and the ring works again after its reset.
    assert!(driver.execute(&mut other, &packets::nop(0)));
    driver.reset(&mut ring, 0);
    let page = driver.map_system(&space, VA, 1);
    driver.invalidate(VMID);
    assert!(driver.execute(&mut ring, &run));
    assert_eq!(driver.dword(&page, 0x123 * 4), 1);
}

#[test]
fn a_write_to_a_page_that_may_only_be_read_is_denied() {
    let (mut driver, [mut ring, _]) = machine();
    let (space, ib) = process(&mut driver, OnFault::Stop);
    let page = driver.system_page();
    driver.set_pte(&space, VA, page | VALID | SYSTEM | SNOOPED | READABLE);
    driver.invalidate(VMID);
    let run = job(&driver, &ib, &packets::write(VA, &[1]));
    assert!(!driver.execute(&mut ring, &run));
    let expected = Status { vmid: VMID, walker: 0, permission: WRITE, client: 15, write: true, page: VA / PAGE };
    assert_eq!(status(&mut driver), expected);
    assert_eq!(driver.system_read(page, 4), [0; 4]);
}

/// A queue's copy from `VA` to the page behind it waits for each of the two pages in turn.
fn resolve_two_faults(answer: fn(&mut Driver, u32)) {
    let (mut driver, [mut gfx, _]) = machine();
    let (space, _) = process(&mut driver, OnFault::Retry);
    let mut queue = user_queue(&mut driver, &space);
    driver.handle_interrupts();
    let (source, target) = (driver.system_page(), driver.system_page());
    driver.system_write(source, &0x7e57_u32.to_le_bytes());
    assert!(!driver.execute(&mut queue, &packets::copy(VA, VA + PAGE, 4)));
    let mut told = Vec::new();
    while !driver.reached(&queue) {
        assert!(told.len() < 3, "{told:x?}");
        assert!(driver.waits_for_page(&queue));
        assert!(driver.execute(&mut gfx, &packets::nop(0)), "other rings go on");
        let vectors = driver.handle_interrupts();
        assert_eq!(vectors.len(), 1, "a page is told once: {vectors:x?}");
        let fault = &vectors[0];
        assert_eq!((fault.ring, fault.client, fault.vmid, fault.pasid), (1, CLIENT_VMC, VMID, 0x77));
        assert!(fault.is_retry());
        told.push((fault.page(), fault.is_write()));
        let page = if fault.is_write() { target } else { source };
        driver.set_pte(&space, fault.page(), page | SYSTEM_RW);
        driver.invalidate(VMID);
        answer(&mut driver, fault.data[2]);
        driver.settle();
    }
    told.sort_unstable();
    assert_eq!(told, [(VA, false), (VA + PAGE, true)]);
    assert_eq!(driver.system_read(target, 4), 0x7e57_u32.to_le_bytes());
    assert_eq!(driver.handle_interrupts(), []);
    assert_eq!(driver.exception(&queue), 0);
}

#[test]
fn a_retried_access_succeeds_once_its_page_is_there_and_the_cam_is_answered() {
    resolve_two_faults(|driver, entry| driver.write(IH_RETRY_CAM_ACK, entry));
}

#[test]
fn the_cam_can_be_answered_by_doorbell() {
    resolve_two_faults(Driver::answer_by_doorbell);
}

#[test]
fn an_answer_without_a_page_brings_a_new_vector() {
    let (mut driver, _rings) = machine();
    let (space, _) = process(&mut driver, OnFault::Retry);
    let mut queue = user_queue(&mut driver, &space);
    driver.handle_interrupts();
    assert!(!driver.execute(&mut queue, &packets::write(VA, &[4])));
    for _ in 0..5 {
        let vectors = driver.handle_interrupts();
        assert_eq!(vectors.len(), 1, "{vectors:x?}");
        assert_eq!(vectors[0].page(), VA);
        driver.write(IH_RETRY_CAM_ACK, vectors[0].data[2]);
        driver.settle();
        assert!(!driver.reached(&queue));
    }
}

#[test]
fn a_queue_that_waits_for_a_page_can_be_taken_down_and_its_place_used_again() {
    let (mut driver, _rings) = machine();
    let (space, _) = process(&mut driver, OnFault::Retry);
    let mut queue = user_queue(&mut driver, &space);
    driver.handle_interrupts();
    assert!(!driver.execute(&mut queue, &packets::write(VA, &[4])));
    driver.take_down(queue);
    driver.settle();
    for fault in driver.handle_interrupts() {
        driver.write(IH_RETRY_CAM_ACK, fault.data[2]);
    }
    let page = driver.map_system(&space, VA, 1);
    let mut queue = user_queue(&mut driver, &space);
    assert!(driver.execute(&mut queue, &packets::write(VA + 4, &[5])));
    assert_eq!((driver.dword(&page, 0), driver.dword(&page, 4)), (0, 5), "what it was doing is dropped");
}

#[test]
fn a_read_of_the_other_engine_is_told_by_its_client() {
    let (mut driver, [_, mut ring]) = machine();
    let (space, ib) = process(&mut driver, OnFault::Stop);
    driver.map_system(&space, VA, 1);
    driver.set_pte(&space, VA + PAGE, 0);
    driver.invalidate(VMID);
    let run = job(&driver, &ib, &packets::copy(VA + PAGE, VA, 4));
    assert!(!driver.execute(&mut ring, &run));
    let (permission, page) = (NOT_VALID | READ, VA / PAGE + 1);
    let expected = Status { vmid: VMID, walker: 0, permission, client: 15, write: false, page };
    assert_eq!(status(&mut driver), expected);
}

#[test]
fn a_disabled_context_has_no_addresses() {
    let (mut driver, [mut ring, _]) = machine();
    let (_, ib) = process(&mut driver, OnFault::Stop);
    driver.write(VM_CONTEXTS_DISABLE, 1 << VMID);
    driver.invalidate(VMID);
    let run = job(&driver, &ib, &packets::nop(0));
    assert!(!driver.execute(&mut ring, &run));
    let told = status(&mut driver);
    assert_eq!((told.walker, told.page), (RANGE, ib.address / PAGE));
    driver.write(VM_CONTEXTS_DISABLE, 0);
    driver.reset(&mut ring, 0);
    assert!(driver.execute(&mut ring, &run));
}

#[test]
fn an_entry_that_denies_retry_stops_the_queue_at_once() {
    let (mut driver, _rings) = machine();
    let (space, _) = process(&mut driver, OnFault::Retry);
    let mut queue = user_queue(&mut driver, &space);
    driver.set_pte(&space, VA, EXECUTABLE | PDE_PTE | TF);
    driver.invalidate(VMID);
    driver.handle_interrupts();
    assert!(!driver.execute(&mut queue, &packets::write(VA, &[1])));
    assert_eq!(driver.exception(&queue), 2);
    let vectors = driver.handle_interrupts();
    let told: Vec<_> = page_faults(&vectors).iter().map(|v| (v.page(), v.is_retry())).collect();
    assert_eq!(told, [(VA, false)]);
}

#[test]
fn without_the_cam_a_waiting_access_tells_again_until_its_page_is_there() {
    let (mut driver, _rings) = machine();
    driver.write(IH_RETRY_INT_CAM_CNTL, 0);
    let (space, _) = process(&mut driver, OnFault::Retry);
    let mut queue = user_queue(&mut driver, &space);
    driver.handle_interrupts();
    driver.submit(&mut queue, &packets::write(VA, &[6]));
    let mut times = Vec::new();
    for _ in 0..40 {
        driver.gpu.run();
        driver.clock.advance(2_500);
        times.extend(driver.handle_interrupts().iter().map(|v| (v.page(), v.is_retry(), v.time)));
    }
    // A millisecond has ten times 100 us.
    assert!((8..=11).contains(&times.len()), "{times:x?}");
    assert!(times.iter().all(|t| (t.0, t.1) == (VA, true)));
    assert!(times.windows(2).all(|t| t[1].2 - t[0].2 >= 10_000), "{times:?}");
    let page = driver.map_system(&space, VA, 1);
    driver.invalidate(VMID);
    driver.settle();
    assert_eq!(driver.dword(&page, 0), 6);
}

#[test]
fn the_invalidation_alone_wakes_who_waits() {
    let (mut driver, _rings) = machine();
    let (space, _) = process(&mut driver, OnFault::Retry);
    let mut queue = user_queue(&mut driver, &space);
    driver.handle_interrupts();
    assert!(!driver.execute(&mut queue, &packets::write(VA, &[8])));
    let page = driver.map_system(&space, VA, 1);
    driver.invalidate(VMID);
    driver.settle();
    assert!(driver.reached(&queue));
    assert_eq!(driver.dword(&page, 0), 8);
    for fault in driver.handle_interrupts() {
        driver.write(IH_RETRY_CAM_ACK, fault.data[2]);
    }
}
