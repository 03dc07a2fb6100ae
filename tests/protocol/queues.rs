// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Doorbells in, work done, interrupts out; and what a guest can do wrong in a ring.

use crate::guest::{copy, fence, trap, Guest, DATA, FB, FENCE, IH_RING, IH_WPTR};
use crate::process::{eventually, Process};
use crate::ring::{INDIRECT, NEXT, WRITE};
use crate::session::{Session, EVENTS, MESSAGES, RAM};
use std::os::unix::fs::FileExt;
use uvm_spec::ih;
use uvm_spec::window::{Doorbell, MAX_DOORBELLS};
use vm_memory::{Bytes, GuestAddress};

fn guest(process: &Process) -> Guest {
    let mut session = Session::connect(&process.socket());
    session.start();
    Guest::new(session)
}

fn fences(guest: &mut Guest, value: u32) {
    guest.submit(&fence(value));
    eventually("the fence", || guest.session.dword(FENCE) == value);
}

#[test]
fn doorbell_runs_the_ring_and_the_fence_lands_in_memory() {
    let process = Process::start(&[]);
    let mut guest = guest(&process);
    fences(&mut guest, 0xc0ffee);
}

#[test]
fn copy_to_vram_shows_in_the_mapped_memfd_and_back() {
    let process = Process::start(&["--vram", "16M"]);
    let mut session = Session::connect(&process.socket());
    session.start();
    let map = session.vram();
    assert!(map.started, "QEMU crashes where it is asked before the start");
    let request = map.request;
    assert_eq!(({ request.shmid }, { request.fd_offset }, { request.shm_offset }), (0, 0, 0));
    assert_eq!(({ request.len }, { request.flags }), (16 << 20, 1));
    assert_eq!(map.file.metadata().unwrap().len(), 16 << 20);

    let mut guest = Guest::new(session);
    // More than one quantum, so that the engine thread takes part.
    const LEN: usize = 3 << 20;
    let data: Vec<u8> = (0..LEN).map(|n| u8::try_from((n * 7 + (n >> 12)) % 251).unwrap()).collect();
    guest.session.memory.write_slice(&data, GuestAddress(DATA)).unwrap();
    let len = u32::try_from(LEN).unwrap();
    let back = DATA + (8 << 20);
    let job = [copy(DATA, FB + 0x1000, len), copy(FB + 0x1000, back, len), fence(1), trap()].concat();
    guest.submit(&job);
    guest.session.post_event_buffer(0);
    guest.session.event();
    assert_eq!(guest.session.dword(FENCE), 1);
    let mut seen = vec![0; LEN];
    map.file.read_exact_at(&mut seen, 0x1000).unwrap();
    assert!(seen == data, "VRAM differs");
    guest.session.memory.read_slice(&mut seen, GuestAddress(back)).unwrap();
    assert!(seen == data, "the copy back differs");
    // And the other way round: what the guest stores in the BAR is what the engine reads.
    map.file.write_all_at(&[0x5a; 64], 0x2000).unwrap();
    guest.submit(&[copy(FB + 0x2000, back, 64), fence(2)].concat());
    eventually("the fence", || guest.session.dword(FENCE) == 2);
    assert_eq!(guest.session.dword(back), 0x5a5a_5a5a);
}

#[test]
fn trap_writes_a_vector_and_fills_an_event_buffer() {
    let process = Process::start(&[]);
    let mut guest = guest(&process);
    guest.session.post_event_buffer(0);
    guest.submit(&trap());
    assert_eq!(guest.session.event(), (0, ih::VECTOR_BYTES));
    guest.session.events.call.read().expect("the guest is interrupted");
    assert_eq!(guest.session.dword(IH_WPTR), ih::VECTOR_BYTES);
    let vector: [u32; 8] = std::array::from_fn(|n| guest.session.dword(IH_RING + 4 * n as u64));
    let vector = ih::Vector::unpack(vector);
    assert_eq!((vector.client, vector.source), (ih::client::SDMA0, ih::source::SDMA_TRAP));
}

#[test]
fn interrupt_waits_for_a_buffer_and_the_last_pointer_wins() {
    let process = Process::start(&[]);
    let mut guest = guest(&process);
    for n in 1..=3 {
        guest.submit(&[trap(), fence(n)].concat());
        eventually("the fence", || guest.session.dword(FENCE) == n);
        // Each acknowledge arms the line again: three interrupts, no buffer.
        guest.acknowledge(n * ih::VECTOR_BYTES);
    }
    assert_eq!(guest.session.events.used_index(), 0);
    guest.session.post_event_buffer(0);
    guest.session.post_event_buffer(1);
    assert_eq!(guest.session.event(), (0, 3 * ih::VECTOR_BYTES));
    fences(&mut guest, 9);
    assert_eq!(guest.session.events.used_index(), 1, "one buffer holds all three");
}

#[test]
fn thousand_jobs_lose_no_interrupt() {
    let process = Process::start(&[]);
    let mut guest = guest(&process);
    for n in 0..4 {
        guest.session.post_event_buffer(n);
    }
    for n in 1..=1000u32 {
        guest.submit(&[fence(n), trap()].concat());
        let (_, wptr) = guest.session.event();
        assert_eq!(wptr, n * ih::VECTOR_BYTES % 4096);
        assert_eq!(guest.session.dword(FENCE), n);
        guest.session.post_event_buffer(u16::try_from((n + 3) % 8).unwrap());
        guest.acknowledge(wptr);
    }
}

#[test]
fn queue_works_without_event_index_and_with_indirect_tables() {
    let process = Process::start(&[]);
    let mut session = Session::connect(&process.socket());
    session.features = crate::session::INDIRECT_DESC;
    session.start();
    let mut guest = Guest::new(session);
    fences(&mut guest, 1);
    let doorbell = guest.emit(&fence(2));
    let (memory, table) = (guest.session.memory.clone(), MESSAGES + 0x800);
    memory.write_slice(&doorbell.pack(), GuestAddress(MESSAGES)).unwrap();
    guest.session.doorbells.descriptor_at(table, 0, MESSAGES, 8, NEXT, 1);
    guest.session.doorbells.descriptor_at(table, 1, MESSAGES + 8, 8, 0, 0);
    guest.session.doorbells.descriptor(3, table, 32, INDIRECT, 0);
    guest.session.doorbells.post(3);
    guest.session.doorbells.kick();
    assert_eq!(guest.session.doorbells.next_used(), (3, 0));
    eventually("the fence", || guest.session.dword(FENCE) == 2);
}

#[test]
fn full_buffer_of_doorbells_rings_each() {
    let process = Process::start(&[]);
    let mut guest = guest(&process);
    let bells: Vec<Doorbell> = (1..=MAX_DOORBELLS).map(|n| guest.emit(&fence(u32::try_from(n).unwrap()))).collect();
    guest.session.ring(&bells);
    eventually("the last fence", || guest.session.dword(FENCE) as usize == MAX_DOORBELLS);
}

/// A doorbell buffer that no driver may post comes back with length 0, and the next one works.
#[test]
fn malformed_doorbell_buffer_comes_back_empty() {
    let process = Process::start(&[]);
    let mut guest = guest(&process);
    let outside = RAM as u64 + 0x1000;
    // Descriptors from 4 on: address, length, flags, next.
    type Chain = &'static [(u64, u32, u16, u16)];
    let cases: &[(&str, Chain)] = &[
        ("empty", &[(MESSAGES, 0, 0, 0)]),
        ("a piece of a message", &[(MESSAGES, 15, 0, 0)]),
        ("a message and a piece", &[(MESSAGES, 17, 0, 0)]),
        ("too many messages", &[(MESSAGES, 65 * 16, 0, 0)]),
        ("four gigabytes", &[(MESSAGES, u32::MAX, 0, 0)]),
        ("writable", &[(MESSAGES, 16, WRITE, 0)]),
        ("partly writable", &[(MESSAGES, 16, NEXT, 5), (MESSAGES, 16, WRITE, 0)]),
        ("outside of memory", &[(RAM as u64 + 0x1000, 16, 0, 0)]),
        ("across the end of memory", &[(RAM as u64 - 8, 16, 0, 0)]),
        ("at the end of the address space", &[(u64::MAX - 7, 16, 0, 0)]),
        ("a loop", &[(MESSAGES, 16, NEXT, 5), (MESSAGES, 16, NEXT, 4)]),
        ("a loop of nothing", &[(MESSAGES, 0, NEXT, 4)]),
        ("an indirect table in nowhere", &[(RAM as u64 + 0x1000, 16, INDIRECT, 0)]),
        ("an indirect table of odd size", &[(MESSAGES, 17, INDIRECT, 0)]),
        ("an empty indirect table", &[(MESSAGES, 0, INDIRECT, 0)]),
        ("a table that names itself", &[(0x1000 + 4 * 16, 16, INDIRECT, 0)]),
    ];
    for (n, (name, chain)) in (1u32..).zip(cases) {
        for (at, (addr, len, flags, next)) in (4..).zip(chain.iter()) {
            guest.session.doorbells.descriptor(at, *addr, *len, *flags, *next);
        }
        guest.session.doorbells.post(4);
        guest.session.doorbells.kick();
        assert_eq!(guest.session.doorbells.next_used(), (4, 0), "{name}");
        fences(&mut guest, n);
    }
    assert!(outside > RAM as u64);
    assert!(process.log().contains("doorbell buffer"), "{}", process.log());
    process.assert_sane();
}

#[test]
fn head_outside_of_the_queue_is_dropped_and_the_rings_go_on() {
    let process = Process::start(&[]);
    let mut guest = guest(&process);
    for head in [16, 0xffff] {
        guest.session.doorbells.post(head);
        guest.session.events.post(head);
    }
    guest.session.doorbells.kick();
    eventually("a warning", || process.log().contains("doorbell buffer 16"));
    fences(&mut guest, 1);
    guest.submit(&trap());
    guest.session.post_event_buffer(0);
    assert_eq!(guest.session.event(), (0, ih::VECTOR_BYTES));
    process.assert_sane();
    assert!(!process.log().contains("ERROR"), "{}", process.log());
}

#[test]
fn available_index_that_jumps_is_reported_and_does_not_hang() {
    let process = Process::start(&[]);
    let mut guest = guest(&process);
    guest.session.doorbells.set_avail_index(0x8000);
    guest.session.doorbells.kick();
    eventually("a warning", || process.log().contains("doorbell queue"));
    // The driver that broke the queue sets it up anew.
    guest.session.stop();
    guest.session.load(0);
    guest.session.doorbells.clear();
    guest.session.events.clear();
    let mut session = guest.session;
    session.start();
    let mut guest = Guest::new(session);
    fences(&mut guest, 1);
    process.assert_sane();
}

#[test]
fn event_buffer_that_holds_no_event_comes_back_empty() {
    let process = Process::start(&[]);
    let mut guest = guest(&process);
    let bad = [(EVENTS, 15, WRITE), (EVENTS, 16, 0), (EVENTS, 0, WRITE), (RAM as u64, 16, WRITE)];
    for (n, (addr, len, flags)) in (0..).zip(bad) {
        guest.session.events.descriptor(n, addr, len, flags, 0);
        guest.session.events.post(n);
    }
    guest.session.events.kick();
    guest.submit(&trap());
    for n in 0..4 {
        assert_eq!(guest.session.events.next_used(), (n, 0));
    }
    // The interrupt is still there for a buffer that can take it, in pieces if need be.
    guest.session.events.descriptor(5, EVENTS, 4, WRITE | NEXT, 6);
    guest.session.events.descriptor(6, EVENTS + 4, 12, WRITE, 0);
    guest.session.events.post(5);
    guest.session.events.kick();
    assert_eq!(guest.session.events.next_used(), (5, 16));
    assert_eq!(guest.session.dword(EVENTS + 4), ih::VECTOR_BYTES);
    process.assert_sane();
}

#[test]
fn doorbells_for_nobody_are_harmless() {
    let process = Process::start(&[]);
    let mut guest = guest(&process);
    guest.session.ring(&[
        Doorbell { slot: 0, value: u64::MAX },
        Doorbell { slot: u32::MAX, value: 1 },
        Doorbell { slot: 0x8000_0000, value: 1 },
        Doorbell { slot: 511, value: 1 },
        Doorbell { slot: 512, value: 1 },
    ]);
    fences(&mut guest, 1);
    process.assert_sane();
}
