// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Start, stop, reset, pause, and the end.

use crate::guest::{copy, fence, Guest, DATA, FB, FENCE};
use crate::process::{eventually, Process};
use crate::session::Session;
use std::time::Duration;
use uvm_spec::nbio::{self, NBIO};
use uvm_spec::packet::{header, op, poll_func, POLL_FOREVER, POLL_FUNC, POLL_MEM, POLL_RETRY};
use uvm_spec::sdma::{self, SDMA0};
use uvm_spec::window::{offset, status};

const SCRATCH: u32 = NBIO.index(&nbio::BIOS_SCRATCH, 3);

/// POLL_REGMEM on the dword at DATA, until it is 1.
fn poll() -> Vec<u32> {
    let head = header(op::POLL_REGMEM, 0) | POLL_FUNC.of(poll_func::EQUAL) | POLL_MEM.of(1);
    vec![head, u32::try_from(DATA).unwrap(), 0, 1, u32::MAX, POLL_RETRY.of(POLL_FOREVER) | 10]
}

#[test]
fn reset_by_the_driver_clears_registers_and_keeps_vram() {
    let process = Process::start(&["--vram", "16M"]);
    let mut session = Session::connect(&process.socket());
    session.start();
    session.vram();
    let mut guest = Guest::new(session);
    guest.session.write(SCRATCH, 7);
    guest.submit(&[copy(DATA, FB, 4), fence(1)].concat());
    eventually("the fence", || guest.session.dword(FENCE) == 1);

    let mut session = guest.session;
    session.stop();
    // The next driver looks at the device before it starts it.
    assert_eq!(session.load(offset::STATUS) & status::VRAM_READY, 0, "the mapping went with the reset");
    assert_eq!(session.read(SCRATCH), 0);
    assert_eq!(session.read(SDMA0.index(&sdma::F32_CNTL, 0)) & 1, 1, "halted");
    session.doorbells.clear();
    session.events.clear();
    session.start();
    session.vram();
    let mut guest = Guest::new(session);
    guest.submit(&fence(2));
    eventually("the fence", || guest.session.dword(FENCE) == 2);
}

#[test]
fn pause_keeps_registers_and_the_ring_goes_on() {
    let process = Process::start(&["--vram", "16M"]);
    let mut session = Session::connect(&process.socket());
    session.start();
    session.vram();
    let mut guest = Guest::new(session);
    guest.session.write(SCRATCH, 7);
    guest.submit(&[poll(), fence(1)].concat());

    guest.session.stop();
    // What the ring waits for comes while nothing may run.
    use vm_memory::{Bytes, GuestAddress};
    guest.session.memory.write_obj(1u32, GuestAddress(DATA)).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(guest.session.dword(FENCE), 0, "stopped");
    // QEMU refuses to map what it still has mapped.
    guest.session.refuse_maps();
    guest.session.start();
    guest.session.vram();
    eventually("the fence", || guest.session.dword(FENCE) == 1);
    assert_eq!(guest.session.read(SCRATCH), 7);
}

#[test]
fn stopped_device_leaves_guest_memory_alone() {
    let process = Process::start(&[]);
    let mut session = Session::connect(&process.socket());
    session.start();
    let mut guest = Guest::new(session);
    // An endless stream of work: copies of 4 MiB, as many as the ring holds.
    let job: Vec<u32> = (0..100).flat_map(|_| copy(DATA, DATA + (8 << 20), 4 << 20)).collect();
    guest.submit(&[job, fence(1)].concat());
    guest.session.stop();
    use vm_memory::{Bytes, GuestAddress};
    let target = GuestAddress(DATA + (8 << 20));
    guest.session.memory.write_slice(&[0x77; 4096], target).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let mut seen = [0; 4096];
    guest.session.memory.read_slice(&mut seen, target).unwrap();
    assert!(seen.iter().all(|b| *b == 0x77));
    assert_eq!(guest.session.dword(FENCE), 0);
}

#[test]
fn refused_map_leaves_vram_not_ready() {
    let process = Process::start(&[]);
    let mut session = Session::connect(&process.socket());
    session.refuse_maps();
    session.start();
    session.maps.recv_timeout(crate::process::PATIENCE).unwrap();
    eventually("an error", || process.log().contains("does not map VRAM"));
    assert_eq!(session.load(offset::STATUS) & status::VRAM_READY, 0);
}

/// A register is written and read while a long job still runs: the accesses do not wait for its end.
#[test]
fn register_access_does_not_wait_for_a_long_job() {
    let process = Process::start(&[]);
    let mut session = Session::connect(&process.socket());
    session.start();
    let mut guest = Guest::new(session);
    let copies: Vec<u32> = (0..100).flat_map(|_| copy(DATA, DATA + (8 << 20), 4 << 20)).collect();
    // A busy machine may let the job end before this thread gets its turn, but not each time.
    let overtook = (1..=10).any(|round| {
        guest.submit(&[copies.clone(), fence(round)].concat());
        guest.session.write(SCRATCH, round);
        assert_eq!(guest.session.read(SCRATCH), round);
        let running = guest.session.dword(FENCE) != round;
        eventually("the fence", || guest.session.dword(FENCE) == round);
        running
    });
    assert!(overtook, "each access came back only after the job's end");
}

#[test]
fn front_end_that_leaves_ends_the_process_well() {
    let mut process = Process::start(&[]);
    let mut session = Session::connect(&process.socket());
    session.start();
    let mut guest = Guest::new(session);
    guest.submit(&poll());
    drop(guest);
    assert_eq!(process.wait().code(), Some(0), "{}", process.log());
    assert!(!process.socket().exists());
    process.assert_sane();
}

#[test]
fn peer_that_leaves_without_a_word_is_not_the_front_end() {
    let mut process = Process::start(&[]);
    for _ in 0..3 {
        drop(std::os::unix::net::UnixStream::connect(process.socket()).unwrap());
    }
    let mut session = Session::connect(&process.socket());
    assert_ne!(session.load(offset::MAGIC), 0);
    assert!(process.ended().is_none());
}

#[test]
fn peer_that_speaks_no_vhost_user_at_all_is_turned_away() {
    use std::io::{Read, Write};
    let mut process = Process::start(&[]);
    for noise in [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], &[0; 4096], b"\n"] {
        let mut peer = std::os::unix::net::UnixStream::connect(process.socket()).unwrap();
        peer.write_all(noise).unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        // Closed without an answer: an end, or a reset where bytes were left unread.
        assert!(matches!(peer.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
    let mut session = Session::connect(&process.socket());
    assert_ne!(session.load(offset::MAGIC), 0);
    assert!(process.ended().is_none());
    process.assert_sane();
}
