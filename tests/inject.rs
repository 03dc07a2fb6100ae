// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Injected faults: each strikes where and when it was asked to, and nothing else goes wrong.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::spaces::{FREE, ON};
use common::{bit, packets as p, reg, Numbers, Rig, FB, MIB};
use vhost_device_uvm::Progress;

const SCRATCH: u32 = 0x58;
const ACK: u32 = reg::MM + 0x6f5;
const REQ: u32 = reg::MM + 0x6e3;

fn va(page: u64) -> u64 {
    page << 12
}
fn inject(rig: &mut Rig, spec: &str) {
    rig.gpu.inject(spec.parse().unwrap());
}
/// Submits and lets the device run as far as it goes by itself.
fn go(rig: &mut Rig, e: usize, dwords: &[u32]) {
    rig.submit(e, dwords);
    rig.settle();
}
fn edges(rig: &mut Rig) -> Vec<u32> {
    std::iter::from_fn(|| rig.gpu.take_interrupt()).map(|edge| edge.ring).collect()
}
/// The driver reads all vectors: the line may fire again.
fn acknowledge(rig: &mut Rig) {
    let wptr = rig.gpu.ih_wptr(0) & !3;
    rig.gpu.mmio_write(reg::IH_RPTR, wptr);
}
fn struck(rig: &Rig) -> Vec<String> {
    rig.gpu.injections().iter().map(|line| line.split(" (").nth(1).unwrap().trim_end_matches(')').into()).collect()
}
fn fence_at(n: u64) -> u64 {
    FB + 9 * MIB + 8 * n
}
fn fenced(rig: &Rig, n: u64) -> bool {
    rig.peek_vram(9 * MIB + 8 * n, 1) == [1]
}

#[test]
fn a_ring_hangs_at_its_packet_alone_and_goes_on_after_it_was_switched() {
    let mut rig = Rig::new();
    inject(&mut rig, "hang:ring=sdma0.gfx,after=2");
    let fences: Vec<u32> = (0..5).flat_map(|n| p::fence(fence_at(n), 1)).collect();
    go(&mut rig, 0, &fences);
    go(&mut rig, 1, &p::fence(fence_at(10), 1));
    assert_eq!([0, 1, 2, 10].map(|n| fenced(&rig, n)), [true, true, false, true]);
    // It says that it works, and that nothing is wrong.
    let status = rig.read(0x1260 + reg::CONTEXT_STATUS);
    assert_eq!((status >> 2 & 1, status >> 4 & 7, rig.read(0x1260 + reg::RB_RPTR)), (0, 0, 32));
    assert_eq!(rig.gpu.view_rings()[0].state, "hung");
    // Time and doorbells do not help; nor does preemption.
    rig.clock.advance(1 << 30);
    rig.write(0x1260 + 0xb0, 1);
    go(&mut rig, 0, &p::fence(fence_at(5), 1));
    assert!(!fenced(&rig, 2) && rig.read(0x1260 + 0xb0) == 1);
    assert_eq!(struck(&rig), ["struck 1 times"]);
    rig.write(0x1260 + 0xb0, 0);
    rig.write(0x1260 + reg::RB_CNTL, common::RB_ON & !1);
    rig.write(0x1260 + reg::RB_CNTL, common::RB_ON);
    rig.run_to_idle();
    assert!((0..6).all(|n| fenced(&rig, n)));
}

#[test]
fn a_hang_waits_through_resets_for_its_packet() {
    let mut rig = Rig::new();
    inject(&mut rig, "hang:after=1");
    rig.gpu.reset();
    rig.bring_up();
    go(&mut rig, 0, &[p::fence(fence_at(0), 1), p::fence(fence_at(1), 1)].concat());
    assert!(fenced(&rig, 0) && !fenced(&rig, 1));
}

#[test]
fn lost_interrupts_leave_their_vectors_and_late_ones_come_late() {
    let mut rig = Rig::new();
    inject(&mut rig, "lose-irq:after=1,every=2");
    let mut seen = Vec::new();
    for n in 0..6 {
        go(&mut rig, 0, &p::trap(n));
        seen.push(edges(&mut rig).len());
        acknowledge(&mut rig);
    }
    assert_eq!(seen, [1, 0, 1, 0, 1, 0]);
    assert_eq!(rig.gpu.counters().interrupts, 6, "the vectors are in memory all the same");
    assert_eq!(struck(&rig), ["struck 3 times"]);

    let mut rig = Rig::new();
    inject(&mut rig, "delay-irq:by=20ms");
    rig.submit(0, &p::trap(1));
    let Progress::Waiting(time) = std::iter::repeat_with(|| rig.gpu.run()).find(|p| *p != Progress::More).unwrap()
    else {
        panic!("nobody would look again");
    };
    assert_eq!((time.as_millis(), edges(&mut rig)), (20, vec![]));
    rig.clock.advance(1_999_999);
    rig.settle();
    assert!(edges(&mut rig).is_empty());
    rig.clock.advance(1);
    rig.settle();
    assert_eq!(edges(&mut rig), [0]);
    // That was the one.
    acknowledge(&mut rig);
    go(&mut rig, 0, &p::trap(2));
    assert_eq!(edges(&mut rig), [0]);
}

/// A space whose pages hold numbers of their own.
fn mapped() -> Rig {
    let mut rig = Rig::new();
    for vmid in [3, 4] {
        rig.space(vmid, ON);
        for page in 0..8 {
            rig.set_pte(vmid, FREE + page, (8 * MIB + (vmid * 8 + page) * 4096) | bit::VRAM);
        }
    }
    rig.poke_vram(8 * MIB, &Numbers(3).bytes(64 * 4096));
    rig.queue(0, 2, 3);
    rig.queue(0, 3, 4);
    rig
}

#[test]
fn a_corrupted_entry_faults_in_its_address_space_alone() {
    let mut rig = mapped();
    inject(&mut rig, &format!("corrupt-pte:vmid=3,va={:#x},xor=1", va(FREE + 1)));
    for (ring, vmid) in [(2, 3), (3, 4)] {
        for page in 0..2 {
            rig.enqueue(0, ring, vmid, &p::fence(va(FREE + page), 7));
        }
    }
    rig.settle();
    let table = common::spaces::table(3);
    assert_eq!(rig.peek_vram(table + 8 * (FREE + 1), 1)[0] & 1, 0, "the entry in memory is changed");
    assert_eq!(rig.read(reg::FAULT_STATUS) >> 20 & 15, 3);
    assert_eq!(rig.read(reg::FAULT_ADDR), (FREE + 1) as u32);
    assert_eq!(rig.gpu.counters().faults, 1);
    let written = |vmid: u64, page: u64| rig.peek_vram(8 * MIB + (vmid * 8 + page) * 4096, 4) == [7, 0, 0, 0];
    assert_eq!([written(3, 0), written(3, 1), written(4, 0), written(4, 1)], [true, false, true, true]);
}

#[test]
fn a_random_corruption_is_the_same_for_the_same_seed() {
    let strike = |seed: u64| {
        let mut rig = mapped();
        rig.gpu.inject(format!("corrupt-pte:vmid=3,seed={seed}").parse().unwrap());
        let before = rig.peek_vram(common::spaces::table(3), 4096);
        for round in 0..64 {
            for page in 0..8 {
                rig.enqueue(0, 2, 3, &p::fence(va(FREE + page), round));
            }
            rig.settle();
            rig.invalidate(0, 1 << 3);
        }
        let after = rig.peek_vram(common::spaces::table(3), 4096);
        let changed: Vec<(usize, u8)> = before
            .iter()
            .zip(&after)
            .enumerate()
            .filter(|(_, (a, b))| a != b)
            .map(|(at, (a, b))| (at, a ^ b))
            .collect();
        assert_eq!(changed.len(), 1, "one byte of one entry");
        changed[0]
    };
    assert_eq!(strike(5), strike(5));
    let all: std::collections::BTreeSet<_> = (0..12).map(strike).collect();
    assert!(all.len() > 3, "seeds differ: {all:?}");
    assert!(all.iter().all(|(at, bits)| at % 8 == 0 && [1, 0x20, 0x40].contains(bits)), "{all:?}");
}

#[test]
fn a_page_with_an_error_stops_who_reads_it_and_is_reported() {
    let mut rig = Rig::new();
    rig.poke_vram(10 * MIB, &Numbers(9).bytes(16 * 4096));
    inject(&mut rig, "ecc:page=0xa03000");
    let bad = FB + 0xa0_3000;
    // Writes go through; reads around it too.
    rig.execute_checked(1, &[p::fence(bad, 1), p::copy(FB + 11 * MIB, FB + 10 * MIB, 3 * 4096)].concat());
    rig.take_vectors();
    go(&mut rig, 0, &[p::copy(FB + 12 * MIB, FB + 10 * MIB, 8 * 4096), p::fence(fence_at(0), 1)].concat());
    assert_eq!(rig.exception(0), 4);
    assert!(!fenced(&rig, 0));
    // What is before the page is copied, nothing of it and behind it.
    assert_eq!(rig.peek_vram(12 * MIB, 3 * 4096), rig.peek_vram(10 * MIB, 3 * 4096));
    assert!(rig.peek_vram(12 * MIB + 3 * 4096, 5 * 4096).iter().all(|&b| b == 0));
    let told: Vec<[u32; 2]> = rig.take_vectors().iter().map(|v| [v[0] & 0xffff, v[4]]).collect();
    assert_eq!(told, [[0x17, 0xa03], [0x08 | 247 << 8, 4]], "the page, then the ring");
    // The other instance is not concerned, until it reads there itself.
    go(&mut rig, 1, &p::copy(FB + 13 * MIB, FB + 10 * MIB, 4096));
    assert_eq!(rig.exception(1), 0);
    // An atomic reads before it writes.
    go(&mut rig, 1, &p::atomic(7, bad, 1, 0));
    assert_eq!(rig.exception(1), 4);
    rig.gpu.clear_injected();
    rig.start_ring(0, 0);
    rig.execute(0, &p::copy(FB + 12 * MIB, FB + 10 * MIB, 8 * 4096));
    assert_eq!(rig.peek_vram(12 * MIB, 8 * 4096), rig.peek_vram(10 * MIB, 8 * 4096));
}

#[test]
fn a_page_table_with_an_error_is_a_nack() {
    let mut rig = mapped();
    let table = common::spaces::table(3);
    inject(&mut rig, &format!("ecc:page={:#x}", table & !0xfff));
    rig.enqueue(0, 3, 4, &p::fence(va(FREE), 7));
    rig.settle();
    assert_eq!(rig.read(reg::FAULT_STATUS), 0);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 7));
    rig.settle();
    assert_eq!(rig.read(reg::FAULT_STATUS) >> 1 & 7, 6);
}

#[test]
fn slow_dma_takes_its_time_by_the_clock() {
    let mut rig = Rig::new();
    rig.poke_vram(10 * MIB, &Numbers(2).bytes(MIB as usize));
    inject(&mut rig, "slow-dma:factor=100");
    rig.submit(0, &[p::copy(FB + 12 * MIB, FB + 10 * MIB, MIB as u32), p::fence(fence_at(0), 1)].concat());
    let mut quanta = 0;
    while !fenced(&rig, 0) {
        match rig.gpu.run() {
            Progress::Waiting(time) => {
                quanta += 1;
                // Registers answer meanwhile.
                assert_eq!(rig.read(SCRATCH), 0);
                rig.clock.advance(time.as_nanos() as u64 / 10);
            }
            Progress::More => {}
            Progress::Idle => assert!(fenced(&rig, 0), "given up: {:?}", rig.gpu.view_rings()[0]),
        }
    }
    use vhost_device_uvm::bus::Clock;
    // 1 MiB at 16 MB/s; the last piece is not waited for.
    let expected = MIB * 100 / 16;
    assert!((expected / 2..=expected).contains(&rig.clock.now()), "{} of {expected}", rig.clock.now());
    assert!(quanta >= 3);
    assert_eq!(rig.peek_vram(12 * MIB, MIB as usize), rig.peek_vram(10 * MIB, MIB as usize));
}

#[test]
fn a_stuck_invalidation_is_not_done_and_blocks_all_until_a_reset() {
    let mut rig = mapped();
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 1));
    rig.settle();
    inject(&mut rig, "stuck-invalidate:after=1");
    rig.invalidate(0, 1 << 4);
    rig.set_pte(3, FREE, (8 * MIB + 40 * 4096) | bit::VRAM);
    rig.write(REQ, 1 << 3 | 0x1f << 18);
    rig.clock.advance(1 << 40);
    rig.settle();
    assert_eq!(rig.read(ACK), 0, "the old acknowledge is gone as well");
    // It is not done: the stale translation is still used.
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 2));
    rig.settle();
    assert_eq!(rig.peek_vram(8 * MIB + 24 * 4096, 4), [2, 0, 0, 0]);
    for engine in 0..18 {
        rig.write(REQ + engine, 1 << 4 | 0x1f << 18);
        assert_eq!(rig.read(ACK + engine), 0, "engine {engine}");
    }
    rig.gpu.reset();
    rig.bring_up();
    rig.invalidate(0, 1 << 3);
}

#[test]
fn a_late_invalidation_is_done_when_it_is_acknowledged() {
    let mut rig = mapped();
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 1));
    rig.settle();
    inject(&mut rig, "stuck-invalidate:by=5ms");
    rig.set_pte(3, FREE, (8 * MIB + 40 * 4096) | bit::VRAM);
    rig.write(reg::MM + 0x707 + 4, u32::MAX);
    rig.write(reg::MM + 0x708 + 4, 0x1f);
    rig.write(REQ + 2, 1 << 3 | 0x1f << 18);
    assert!(matches!(rig.gpu.run(), Progress::Waiting(time) if time.as_millis() == 5));
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 2));
    rig.settle();
    assert_eq!((rig.read(ACK + 2), rig.peek_vram(8 * MIB + 40 * 4096, 1)[0] == 2), (0, false));
    rig.invalidate(3, 1 << 4);
    rig.clock.advance(500_000);
    rig.settle();
    assert_eq!(rig.read(ACK + 2), 1 << 3);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 3));
    rig.settle();
    assert_eq!(rig.peek_vram(8 * MIB + 40 * 4096, 1), [3]);
}

#[test]
fn a_removed_device_reads_all_ones_and_does_nothing() {
    let mut rig = Rig::new();
    rig.submit(0, &p::fence(fence_at(0), 1));
    inject(&mut rig, "remove");
    for index in [0, SCRATCH, reg::FAULT_STATUS, reg::IH_WPTR, 0x1_ffff, 0x12e0] {
        assert_eq!(rig.gpu.mmio_read(index), u32::MAX, "{index:#x}");
    }
    rig.gpu.mmio_write(SCRATCH, 5);
    rig.gpu.doorbell(0xf0, 64);
    assert_eq!(rig.gpu.run(), Progress::Idle);
    assert!(!fenced(&rig, 0) && rig.gpu.take_interrupt().is_none());
    rig.gpu.reset();
    assert_eq!(rig.gpu.mmio_read(SCRATCH), u32::MAX, "a reset does not bring it back");
    rig.gpu.clear_injected();
    assert_eq!(rig.gpu.mmio_read(SCRATCH), 0);
}

#[test]
fn a_storm_has_its_number_and_its_rate_and_lets_work_go_on() {
    let mut rig = Rig::new();
    inject(&mut rig, "ih-storm:count=500,rate=100,client=15");
    let mut raised = Vec::new();
    let mut n = 0;
    for _ in 0..100 {
        // 100 us.
        rig.clock.advance(10_000);
        n += 1;
        go(&mut rig, 0, &p::fence(fence_at(n), 1));
        let vectors = rig.take_vectors();
        assert!(vectors.len() <= 64 && vectors.iter().all(|v| v[0] & 0xff == 15));
        raised.push(vectors.len());
    }
    assert!((1..=n).all(|n| fenced(&rig, n)));
    assert_eq!(raised[..50], [10; 50], "100 a millisecond");
    assert_eq!(raised.iter().sum::<usize>(), 500);
    assert_eq!(rig.gpu.run(), Progress::Idle, "it is over");
}

#[test]
fn a_trigger_starts_a_fault_and_others_do_not() {
    let mut rig = Rig::new();
    inject(&mut rig, "hang:ring=sdma0.gfx,at=BIOS_SCRATCH_7=3");
    inject(&mut rig, "remove:at=BIOS_SCRATCH_7=4");
    go(&mut rig, 0, &p::fence(fence_at(0), 1));
    rig.gpu.mmio_write(SCRATCH + 7, 2);
    rig.gpu.mmio_write(SCRATCH + 6, 3);
    go(&mut rig, 0, &p::fence(fence_at(1), 1));
    assert!(fenced(&rig, 0) && fenced(&rig, 1));
    assert_eq!(struck(&rig), ["waits for its trigger", "waits for its trigger"]);
    rig.gpu.mmio_write(SCRATCH + 7, 3);
    go(&mut rig, 0, &p::fence(fence_at(2), 1));
    assert!(!fenced(&rig, 2));
    assert_eq!(struck(&rig), ["struck 1 times", "waits for its trigger"]);
    assert_eq!(rig.gpu.mmio_read(SCRATCH + 7), 3, "the register itself is written");
    rig.gpu.mmio_write(SCRATCH + 7, 4);
    assert_eq!(rig.gpu.mmio_read(SCRATCH + 7), u32::MAX);
}

#[test]
fn a_device_that_waits_for_triggers_does_all_as_without() {
    let mut rig = Rig::new();
    for kind in
        ["hang", "lose-irq", "corrupt-pte:vmid=0", "ecc", "slow-dma:factor=9", "stuck-invalidate", "remove", "ih-storm"]
    {
        let separator = if kind.contains(':') { ',' } else { ':' };
        inject(&mut rig, &format!("{kind}{separator}at=BIOS_SCRATCH_1=9"));
    }
    rig.poke_vram(8 * MIB, &Numbers(1).bytes(MIB as usize));
    for e in 0..2 {
        let at = common::DATA + e as u64 * MIB;
        for page in 0..256 {
            rig.map(32 + e as u64 * 256 + page, (10 * MIB + (e as u64 * 256 + page) * 4096) | bit::VRAM);
        }
        rig.execute_checked(e, &[p::copy(at, FB + 8 * MIB, MIB as u32), p::trap(e as u32)].concat());
        assert_eq!(edges(&mut rig), [0]);
        acknowledge(&mut rig);
        rig.model.ih_wptr = rig.gpu.ih_wptr(0);
    }
}
