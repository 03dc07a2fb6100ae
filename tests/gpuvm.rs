// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Address spaces at work: user queues, faults that are retried, stale translations, encryption, preemption.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::spaces::{faults, FREE, ON, RETRY};
use common::{bit, packets as p, reg, Numbers, Rig, DUMMY, MIB};

/// Bus address of the `n`th page that tests map.
fn ram(n: u64) -> u64 {
    (1 << 32) + 64 * 4096 + n * 4096
}
fn va(page: u64) -> u64 {
    page << 12
}

#[test]
fn a_retry_fault_parks_its_queue_alone_and_is_told_once() {
    let mut rig = Rig::new();
    rig.cam_on();
    rig.space(3, ON | RETRY);
    rig.space(4, ON | RETRY);
    rig.queue(0, 2, 3);
    rig.queue(0, 3, 4);
    rig.set_pte(4, FREE, ram(1) | bit::RAM);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 0x1111));
    rig.settle();
    let told = faults(&rig.take_vectors());
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].vmid, told[0].pasid, told[0].page), (3, 1003, FREE));
    assert!(told[0].write && told[0].retry);
    assert_eq!(rig.read(reg::FAULT_STATUS), 0, "a fault that is retried is no failure");
    // Another queue of the same engine and a ring of VMID 0 go on.
    rig.enqueue(0, 3, 4, &p::fence(va(FREE), 0x2222));
    rig.execute(0, &p::trap(5));
    assert!(rig.drained(0, 3) && !rig.drained(0, 2));
    assert_eq!(rig.peek32(ram(1)), 0x2222);
    assert!(faults(&rig.take_vectors()).is_empty(), "told once");
    // The page comes, the entry is answered, the access is made.
    rig.set_pte(3, FREE, ram(0) | bit::RAM);
    rig.answer(told[0].cam);
    rig.settle();
    assert!(rig.drained(0, 2));
    assert_eq!(rig.peek32(ram(0)), 0x1111);
    assert_eq!(rig.peek(DUMMY, 4096), [0; 4096], "the dummy page had no part in it");
}

#[test]
fn an_answer_without_a_page_raises_the_fault_again() {
    let mut rig = Rig::new();
    rig.cam_on();
    rig.space(3, ON | RETRY);
    rig.queue(1, 2, 3);
    rig.enqueue(1, 2, 3, &p::copy(va(FREE + 1), va(FREE), 4096));
    for _ in 0..5 {
        rig.settle();
        let told = faults(&rig.take_vectors());
        assert_eq!(told.len(), 1);
        assert!(!told[0].write);
        rig.answer(told[0].cam);
    }
    rig.settle();
    assert_eq!(faults(&rig.take_vectors()).len(), 1);
}

#[test]
fn an_invalidation_lets_the_access_go_on_but_does_not_answer_the_cam() {
    let mut rig = Rig::new();
    rig.cam_on();
    rig.space(3, ON | RETRY);
    rig.queue(0, 2, 3);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 7));
    rig.settle();
    let told = faults(&rig.take_vectors());
    // Nothing changed: the access fails again, and the driver, who knows, is not told again.
    rig.invalidate(2, 1 << 3);
    rig.settle();
    assert!(faults(&rig.take_vectors()).is_empty() && !rig.drained(0, 2));
    rig.set_pte(3, FREE, ram(0) | bit::RAM);
    rig.invalidate(2, 1 << 3);
    rig.settle();
    assert!(rig.drained(0, 2));
    assert_eq!(rig.peek32(ram(0)), 7);
    // The entry is still there until it is answered: a second fault on the page would be known.
    rig.answer(told[0].cam);
    rig.set_pte(3, FREE, 0);
    rig.invalidate(2, 1 << 3);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 8));
    rig.settle();
    assert_eq!(faults(&rig.take_vectors()).len(), 1);
}

#[test]
fn without_the_cam_the_fault_is_raised_again_until_the_page_is_there() {
    let mut rig = Rig::new();
    rig.space(3, ON | RETRY);
    rig.queue(0, 2, 3);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 9));
    let mut told = 0;
    for _ in 0..10 {
        rig.settle();
        told += faults(&rig.take_vectors()).len();
        rig.clock.advance(10_000);
    }
    assert_eq!(told, 10, "once in 100 us");
    rig.set_pte(3, FREE, ram(0) | bit::RAM);
    rig.run_to_idle();
    assert_eq!(rig.peek32(ram(0)), 9);
}

#[test]
fn a_long_copy_goes_on_where_it_stopped() {
    let mut rig = Rig::new();
    rig.cam_on();
    rig.space(3, ON | RETRY);
    rig.queue(0, 2, 3);
    let data = Numbers(1).bytes(64 * 4096);
    for page in 0..64 {
        rig.poke(ram(page), &data[page as usize * 4096..][..4096]);
    }
    rig.enqueue(0, 2, 3, &p::copy(va(1000) + 77, va(100) + 5, 63 * 4096));
    let mut answered = 0;
    for _ in 0..200 {
        rig.settle();
        for f in faults(&rig.take_vectors()) {
            let (base, at) = if f.write { (1000, 6 * MIB) } else { (100, 0) };
            let entry = if f.write { (at + (f.page - base) * 4096) | bit::VRAM } else { ram(f.page - base) | bit::RAM };
            rig.set_pte(3, f.page, entry);
            rig.answer(f.cam);
            answered += 1;
        }
    }
    assert!(rig.drained(0, 2));
    assert_eq!(answered, 64 + 64, "each page of either side once");
    assert_eq!(rig.peek_vram(6 * MIB + 77, 63 * 4096), data[5..5 + 63 * 4096]);
}

#[test]
fn an_entry_marked_against_retries_fails_at_once() {
    let mut rig = Rig::new();
    rig.cam_on();
    rig.space(3, ON | RETRY);
    rig.queue(0, 2, 3);
    rig.set_pte(3, FREE, 1 << 4 | 1 << 54 | 1 << 56);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 0x77));
    rig.settle();
    let told = faults(&rig.take_vectors());
    assert_eq!(told.len(), 1);
    assert!(!told[0].retry);
    assert!(rig.drained(0, 2));
    assert_eq!(rig.peek32(DUMMY), 0x77);
    assert_eq!(rig.read(reg::FAULT_STATUS) >> 4 & 15, 5);
}

/// Every queue of both engines faults on page after page, the IH ring is tiny and overwrites, the CAM is smaller than the
/// queues are many, the driver answers late and in any order: each page is written once, and none is lost.
#[test]
fn ten_thousand_faults_through_a_ring_that_overflows_are_all_answered() {
    let mut rig = Rig::new();
    rig.cam_on();
    rig.write(reg::IH + 0xe9, 1 << 16 | 3);
    // 256 bytes: eight vectors.
    rig.write(reg::IH_CNTL, 0);
    rig.write(reg::IH_CNTL, 1 | 6 << 1 | 1 << 8 | 1 << 16 | 1 << 17 | 1 << 21 | 2 << 28);
    let mut numbers = Numbers(42);
    let queues: [(usize, u32, u64); 4] = [(0, 2, 3), (0, 3, 4), (1, 2, 5), (1, 3, 6)];
    for (e, ring, vmid) in queues {
        rig.space(vmid, ON | RETRY);
        rig.queue(e, ring, vmid);
    }
    let mut next = [0u64; 4];
    let mut mapped = std::collections::HashSet::new();
    let (mut served, mut reset_at) = (0, 0);
    const EACH: u64 = 2500;
    while served < 4 * EACH {
        for (i, (e, ring, vmid)) in queues.into_iter().enumerate() {
            if next[i] < EACH && rig.drained(e, ring) {
                rig.enqueue(e, ring, vmid, &p::fence(va(FREE + next[i]), (vmid << 16 | next[i]) as u32));
                next[i] += 1;
            }
        }
        rig.settle();
        // Now and then the driver looks away, and the ring fills.
        if numbers.below(3) == 0 {
            rig.clock.advance(100);
            continue;
        }
        for f in take_small_ring(&mut rig) {
            assert!(f.retry && f.write);
            if mapped.insert((f.vmid, f.page)) {
                // All pages of a queue share one page of memory: a fence shows itself before the next is given.
                rig.set_pte(f.vmid, f.page, ram(f.vmid) | bit::RAM);
                served += 1;
            }
            rig.answer(f.cam);
            rig.settle();
            assert_eq!(rig.peek32(ram(f.vmid)), (f.vmid << 16 | (f.page - FREE)) as u32);
        }
        reset_at += 1;
        assert!(reset_at < 100_000, "stuck after {served} faults");
    }
    rig.settle();
    for (e, ring, _) in queues {
        assert!(rig.drained(e, ring));
    }
    assert_eq!(mapped.len() as u64, 4 * EACH);
}

#[test]
fn a_vector_that_is_skipped_after_an_overflow_went_on_is_told_again() {
    let mut rig = Rig::new();
    rig.cam_on();
    // 128 bytes: four vectors.
    rig.write(reg::IH_CNTL, 0);
    rig.write(reg::IH_CNTL, 1 | 5 << 1 | 1 << 8 | 1 << 16 | 1 << 17 | 1 << 21 | 2 << 28);
    rig.space(3, ON | RETRY);
    rig.queue(0, 2, 3);
    rig.execute(0, &p::trap(0));
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 1));
    rig.settle();
    // The third of these overwrites the first vector: the fault's is the next that a driver passes over.
    for n in 2..5 {
        rig.execute(1, &p::trap(n));
    }
    assert_eq!(rig.read(reg::IH_WPTR), 32 | 1);
    let cntl = rig.read(reg::IH_CNTL);
    rig.write(reg::IH_CNTL, cntl | 1 << 31);
    rig.write(reg::IH_CNTL, cntl & !(1 << 31));
    rig.write(reg::IH_RPTR, 32);
    rig.settle();
    assert_eq!(rig.read(reg::IH_WPTR), 64);
    let raw = rig.peek(common::IH_BASE + 32, 32);
    let told = faults(&[std::array::from_fn(|i| u32::from_le_bytes(raw[4 * i..][..4].try_into().unwrap()))]);
    assert_eq!((told[0].page, told[0].retry), (FREE, true));
    rig.set_pte(3, FREE, ram(0) | bit::RAM);
    rig.answer(told[0].cam);
    rig.settle();
    assert!(rig.drained(0, 2));
}

/// The vectors of a ring of eight, as a driver reads it that knows of overflow.
fn take_small_ring(rig: &mut Rig) -> Vec<common::spaces::FaultVector> {
    let wptr = rig.read(reg::IH_WPTR);
    let mut rptr = rig.read(reg::IH_RPTR);
    if wptr & 1 == 1 {
        rptr = (wptr & !31).wrapping_add(32) & 0xff;
        let cntl = rig.read(reg::IH_CNTL);
        rig.write(reg::IH_CNTL, cntl | 1 << 31);
        rig.write(reg::IH_CNTL, cntl & !(1 << 31));
    }
    let mut vectors = Vec::new();
    while rptr != wptr & 0xe0 {
        let raw = rig.peek(common::IH_BASE + u64::from(rptr), 32);
        vectors.push(std::array::from_fn(|i| u32::from_le_bytes(raw[4 * i..][..4].try_into().unwrap())));
        rptr = (rptr + 32) & 0xff;
    }
    rig.write(reg::IH_RPTR, rptr);
    faults(&vectors)
}

#[test]
fn faults_go_to_the_ih_ring_that_their_client_is_routed_to() {
    for ring in 0..3u32 {
        let mut rig = Rig::new();
        rig.cam_on();
        let base = 0x9_0000 + u64::from(ring) * 0x1000;
        let first = [0x80, 0x88, 0x90][ring as usize];
        rig.write(reg::IH + first + 1, (base >> 8) as u32);
        rig.write(reg::IH + first, 1 | 10 << 1 | 1 << 17 | 1 << 21 | 2 << 28);
        rig.write(reg::IH + 0x188, 0x12);
        rig.write(reg::IH + 0x189, ring << 22);
        rig.space(3, ON | RETRY);
        rig.queue(0, 2, 3);
        rig.enqueue(0, 2, 3, &p::fence(va(FREE), 1));
        rig.settle();
        assert_eq!(rig.gpu.ih_wptr(ring as usize), 32);
        let event = rig.gpu.take_interrupt().unwrap();
        assert_eq!((event.ring, event.wptr), (ring, 32));
        assert_eq!(rig.peek32(base), 0x12 | 3 << 24 | 1 << 31);
    }
}

#[test]
fn a_stale_translation_stays_in_use_until_its_invalidation() {
    let mut rig = Rig::new();
    rig.space(3, ON);
    rig.queue(0, 2, 3);
    rig.set_pte(3, FREE, ram(0) | bit::RAM);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 1));
    rig.settle();
    rig.set_pte(3, FREE, ram(1) | bit::RAM);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 2));
    rig.settle();
    assert_eq!((rig.peek32(ram(0)), rig.peek32(ram(1))), (2, 0), "nobody invalidated");
    // Another space, another page, another level of the caches: none of them is this one.
    rig.invalidate(0, 1 << 4);
    rig.invalidate_range(0, 1 << 3, (FREE + 1) << 1);
    rig.write(reg::MM + 0x6e3, 1 << 3 | 1 << 22);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 3));
    rig.settle();
    assert_eq!((rig.peek32(ram(0)), rig.peek32(ram(1))), (3, 0));
    rig.invalidate_range(17, 1 << 3, FREE << 1);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 4));
    rig.settle();
    assert_eq!((rig.peek32(ram(0)), rig.peek32(ram(1))), (3, 4));
}

#[test]
fn a_fragment_is_one_entry_of_the_caches() {
    let mut rig = Rig::new();
    rig.space(3, ON);
    rig.queue(0, 2, 3);
    for page in 0..256 {
        rig.set_pte(3, 256 + page, (8 * MIB + page * 4096) | bit::VRAM | 8 << 7);
        rig.set_pte(3, 1024 + page, (9 * MIB + page * 4096) | bit::VRAM);
    }
    let walks = |rig: &mut Rig, from: u64| {
        let before = rig.gpu.counters().walks;
        rig.enqueue(0, 2, 3, &p::fill(va(from), 2, 0, 256 * 4096));
        rig.settle();
        rig.gpu.counters().walks - before
    };
    walks(&mut rig, 256);
    rig.invalidate(0, 1 << 3);
    // The ring's own page is walked too.
    assert_eq!(walks(&mut rig, 256), 2);
    rig.invalidate(0, 1 << 3);
    // Single pages are fetched by lines of sixteen, once a stream shows at its second page.
    assert_eq!(walks(&mut rig, 1024), 1 + 2 + 15);
}

#[test]
fn a_tmz_page_is_clear_to_its_mapping_and_ciphertext_to_everyone_else() {
    let mut rig = Rig::new();
    rig.space(3, ON);
    rig.queue(0, 2, 3);
    let secret = Numbers(9).bytes(8192);
    rig.poke_vram(6 * MIB, &secret);
    for (page, at) in [(0, 6 * MIB), (1, 6 * MIB + 4096), (4, 7 * MIB), (5, 7 * MIB + 4096)] {
        rig.set_pte(3, FREE + page, at | bit::VRAM | if page >= 4 { 1 << 3 } else { 0 });
        rig.set_pte(3, FREE + 10 + page, at | bit::VRAM);
    }
    // Clear to encrypted, at odd borders.
    rig.enqueue(0, 2, 3, &p::copy(va(FREE + 4) + 3, va(FREE) + 1, 8000));
    rig.enqueue(0, 2, 3, &p::atomic(0x0f, va(FREE + 4) + 4, 1, 0));
    rig.settle();
    let stored = rig.peek_vram(7 * MIB, 8192);
    let equal = stored[3..8003].iter().zip(&secret[1..]).filter(|(a, b)| a == b).count();
    assert!(equal < 200, "{equal} of 8000 bytes are as in the clear");
    // Encrypted to clear, through the same mapping.
    rig.enqueue(0, 2, 3, &p::copy(va(FREE), va(FREE + 4) + 3, 8000));
    rig.settle();
    let mut want = secret[1..8001].to_vec();
    let word = u32::from_le_bytes(want[1..5].try_into().unwrap()).wrapping_add(1);
    want[1..5].copy_from_slice(&word.to_le_bytes());
    assert_eq!(rig.peek_vram(6 * MIB, 8000), want);
    // A clear mapping of the same page sees what is stored.
    rig.enqueue(0, 2, 3, &p::copy(va(FREE), va(FREE + 14), 8192));
    rig.settle();
    assert_eq!(rig.peek_vram(6 * MIB, 8192), stored);
}

#[test]
fn a_preempted_buffer_ends_and_the_ring_goes_on() {
    for waits_for_page in [false, true] {
        let mut rig = Rig::new();
        rig.cam_on();
        rig.space(3, ON | RETRY);
        rig.queue(0, 2, 3);
        rig.set_pte(3, FREE, ram(0) | bit::RAM);
        let wait = match waits_for_page {
            true => p::fence(va(FREE + 9), 1),
            false => p::poll_mem(va(FREE), 3, 1, u32::MAX, 100, 0xfff),
        };
        let buffer = [p::fence(va(FREE) + 4, 5), wait, p::fence(va(FREE) + 8, 6)].concat();
        for (i, dw) in buffer.iter().enumerate() {
            rig.poke_vram(13 * MIB + 7 * 4096 + 4 * i as u64, &dw.to_le_bytes());
        }
        rig.enqueue(0, 2, 3, &p::indirect(3, va(1), buffer.len() as u32));
        rig.enqueue(0, 2, 3, &p::fence(va(FREE) + 12, 7));
        rig.settle();
        assert!(!rig.drained(0, 2));
        rig.write(0x1260 + 0x80 + 2 * 0x60 + 0x30, 1);
        rig.settle();
        assert!(rig.drained(0, 2));
        let words: Vec<u32> = (0..4).map(|i| rig.peek32(ram(0) + 4 * i)).collect();
        assert_eq!(words, [0, 5, 0, 7]);
        assert_eq!(rig.read(0x1260 + 0x8c + 2 * 0x60) >> 2, 4, "IB_OFFSET: the fence before it was executed");
    }
}

/// The driver checks no packet of a user queue: the hardware keeps it at home.
#[test]
fn an_indirect_buffer_of_a_user_queue_runs_in_the_queues_own_space() {
    for named in [0, 4] {
        let mut rig = Rig::new();
        for vmid in [3, 4] {
            rig.space(vmid, ON);
            rig.set_pte(vmid, FREE, ram(vmid) | bit::RAM);
            for (i, dw) in p::fence(va(FREE), vmid as u32).iter().enumerate() {
                rig.poke_vram(13 * MIB + (2 * vmid + 1) * 4096 + 4 * i as u64, &dw.to_le_bytes());
            }
        }
        rig.queue(0, 2, 3);
        rig.enqueue(0, 2, 3, &p::indirect(named, va(1), 4));
        rig.settle();
        assert!(rig.drained(0, 2));
        assert_eq!((rig.peek32(ram(3)), rig.peek32(ram(4))), (3, 0), "naming VMID {named}");
    }
}

#[test]
fn a_write_back_whose_page_is_not_there_waits_and_is_not_lost() {
    let mut rig = Rig::new();
    rig.cam_on();
    rig.space(3, ON | RETRY);
    rig.queue(0, 2, 3);
    let base = 0x1260 + 2 * 0x60;
    let status = |rig: &mut Rig| rig.read(base + 0x91) >> 8 & 1;
    let cntl = rig.read(base + 0x80);
    rig.write(base + 0x80, 0);
    rig.write(base + 0x89, va(FREE) as u32 + 8);
    rig.write(base + 0x80, cntl | 1 << 12);
    rig.enqueue(0, 2, 3, &p::nop(3));
    rig.settle();
    let told = faults(&rig.take_vectors());
    assert_eq!((told.len(), told[0].page, told[0].write, status(&mut rig)), (1, FREE, true, 1));
    // More work does not overtake it.
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 5));
    rig.settle();
    assert!(faults(&rig.take_vectors()).is_empty());
    rig.set_pte(3, FREE, ram(0) | bit::RAM);
    rig.answer(told[0].cam);
    rig.settle();
    assert_eq!((rig.peek32(ram(0)), rig.peek32(ram(0) + 8), status(&mut rig)), (5, 32, 0));
}

#[test]
fn packets_of_a_process_do_not_reach_registers() {
    const SCRATCH: u32 = 0x58;
    for packet in [p::srbm_write(SCRATCH, 7, 0xf), p::poll_reg(SCRATCH, 0, 0, 0, 100, 10)] {
        let mut rig = Rig::new();
        rig.space(3, ON);
        for (i, dw) in packet.iter().enumerate() {
            rig.poke_vram(13 * MIB + 7 * 4096 + 4 * i as u64, &dw.to_le_bytes());
        }
        rig.execute(0, &packet);
        assert_eq!(rig.exception(0), 0, "VMID 0 may");
        rig.write(SCRATCH, 1);
        rig.execute(0, &p::indirect(3, va(1), packet.len() as u32));
        assert_eq!((rig.exception(0), rig.read(SCRATCH)), (1, 1));
    }
}
