// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A full trace runs again, bit by bit, and what was tampered with is told.

use crate::common::data::{scatter, sequence, Mapping, Op, Player};
use crate::common::{
    model::SDMA,
    packets as p,
    spaces::{ON, RETRY},
    *,
};
use crate::scripted::*;
use proptest::prelude::*;
use uvm_spec::nbio;
use vhost_device_uvm::device::Uma;
use vhost_device_uvm::gmc::{Mmu, Phys};
use vhost_device_uvm::trace::{Depth, Event, Replay, ReplayError, Tracer, Who};
use vhost_device_uvm::Config;

fn attempt(events: &[(u64, Event)]) -> Result<Replay, ReplayError> {
    let events = events.to_vec();
    Replay::new(events.into_iter().map(Ok))
}
fn replay(events: &[(u64, Event)]) -> Replay {
    attempt(events).unwrap()
}

/// Replays all of `events`, and says where it diverges.
fn whole(events: &[(u64, Event)]) -> Result<u64, ReplayError> {
    let (event, more) = replay(events).run(None)?;
    assert!(!more);
    Ok(event)
}

/// A device that is recorded from its first breath.
fn recorded(config: Config) -> (Rig, Memory) {
    let memory = Memory::default();
    let mut rig = Rig::with(config);
    memory.attach(&mut rig, Depth::Full);
    (rig, memory)
}

/// A few ops by each engine, and what a guest does meanwhile.
#[derive(Clone, Debug)]
enum Act {
    Play(usize, Vec<Op>),
    /// Memory that the device does not see being written: bus address or offset, seed.
    Scribble(bool, u32, u64),
    Read(u32),
    Indirect(u32),
    Line,
    Reset,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..2usize, sequence(Mapping::Holes)).prop_map(|(e, ops)| Act::Play(e, ops)),
        4 => (any::<bool>(), any::<u32>(), any::<u64>()).prop_map(|(vram, at, seed)| Act::Scribble(vram, at, seed)),
        4 => (0..0x1b000u32).prop_map(Act::Read),
        2 => any::<u32>().prop_map(Act::Indirect),
        4 => Just(Act::Line),
        1 => Just(Act::Reset),
    ]
}

fn perform(rig: &mut Rig, acts: &[Act], seed: u64) {
    rig.bring_up();
    scatter(rig, seed, Mapping::Holes);
    for act in acts {
        rig.clock.advance(7);
        match act {
            // The model cannot follow what runs here beside it; the device is what counts.
            Act::Play(e, ops) => Player::new(rig, *e, Mapping::Holes).play(ops),
            Act::Scribble(vram, at, seed) => {
                let bytes = Numbers(*seed).bytes(64);
                let at = u64::from(*at) % MIB;
                // Data only: tables that point anywhere are another test's.
                if *vram {
                    rig.poke_vram(8 * MIB + at, &bytes)
                } else {
                    rig.poke(MIB + at % (MIB - 64), &bytes)
                }
            }
            Act::Read(index) => drop(rig.read(*index)),
            Act::Indirect(at) => {
                rig.gpu.mmio_write(nbio::MM_INDEX.offset, 1 << 31 | (*at % (VRAM as u32)) & !3);
                rig.gpu.mmio_read(nbio::MM_DATA.offset);
            }
            Act::Line => while rig.gpu.take_interrupt().is_some() {},
            Act::Reset => {
                rig.gpu.reset();
                rig.bring_up();
                scatter(rig, seed, Mapping::Holes);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_random_session_replays_as_it_was(acts in prop::collection::vec(act(), 1..8), seed in any::<u64>()) {
        let (mut rig, memory) = recorded(Config::default());
        perform(&mut rig, &acts, seed);
        let events = memory.events();
        prop_assert_eq!(whole(&events).map_err(|e| TestCaseError::fail(e.to_string()))?, events.len() as u64);
    }
}

/// Lanes of a program that wait for several pages at once, in the access engine, and counters that tell.
#[test]
fn lanes_and_access_counters_replay_as_they_were() {
    use crate::common::access::{Operand, Program};
    let (mut rig, memory) = recorded(Config::default());
    rig.bring_up();
    rig.cam_on();
    rig.space(4, ON | RETRY);
    rig.access_queue(1, 4);
    // Counters on, for the access engine alone, told after 8.
    rig.write(0x1e101, 8);
    rig.write(0x1e100, 1 | 4 << 8);
    let page = |n: u64| ((1 << 32) + 0x8_0000 + n * 4096) | bit::RAM;
    for n in (0..16).filter(|n| n % 3 == 0) {
        rig.set_pte(4, 64 + n, page(n));
    }
    let d = Operand::affine(64 << 12, 0, [1024, 4, 0]);
    let (a, b) = (Operand::default(), Operand::default());
    let trips = [16, 40, 1];
    let program =
        Program::Nest { element: 2, func: 12, update: 0x0f, reduce: false, trips, imm: 1, sum: 64 << 12, a, b, d };
    rig.access(1, &[program.packet(24), p::trap(5)].concat());
    let mut told = 0;
    for _ in 0..100 {
        rig.settle();
        let vectors = rig.take_vectors();
        told += vectors.iter().filter(|v| v[0] & 0xff == 0x1d).count();
        for fault in crate::common::spaces::faults(&vectors) {
            rig.set_pte(4, fault.page, page(fault.page - 64));
            rig.answer(fault.cam);
        }
        while rig.gpu.take_interrupt().is_some() {}
    }
    assert!(rig.access_drained(1));
    assert!(told > 0);
    let events = memory.events();
    assert_eq!(whole(&events).unwrap(), events.len() as u64);
    let text: Vec<String> = events.iter().map(|(_, event)| vhost_device_uvm::trace::describe(event)).collect();
    for wanted in [
        "packet ACCESS Q1 vmid 4",
        "NEST header=",
        "retried by ACCESS Q1",
        "UTCL2LOG access counter: 8 accesses",
        "ACCESS TRAP",
    ] {
        assert!(text.iter().any(|line| line.contains(wanted)), "{wanted} is not told");
    }
    // Each fault that was raised is retried, or shares the retry of another lane's.
    let raised = text.iter().filter(|l| l.contains("raised: atomic") && l.contains("ACCESS Q1 waits")).count();
    let retried = text.iter().filter(|l| l.contains("retried by ACCESS Q1")).count();
    assert!(raised >= retried && retried >= 10, "{raised} raised, {retried} retried");
}

/// A run with retried faults of two queues, one of them answered without a mapping, and encrypted pages.
fn faulting_run(rig: &mut Rig) {
    const TMZ: u64 = 1 << 3;
    rig.bring_up();
    rig.cam_on();
    for vmid in [3, 5] {
        rig.space(vmid, spaces::ON | RETRY);
        rig.queue(0, vmid as u32 / 2 + 1, vmid);
    }
    rig.set_pte(3, 8, (9 * MIB) | bit::VRAM | TMZ);
    rig.poke_vram(9 * MIB, &Numbers(8).bytes(4096));
    rig.enqueue(0, 2, 3, &[p::fence(8 * 4096 + 4, 7), p::copy(9 * 4096, 8 * 4096, 4096)].concat());
    rig.enqueue(0, 3, 5, &p::fence(20 * 4096, 9));
    rig.settle();
    let parked = spaces::faults(&rig.take_vectors());
    assert_eq!(parked.len(), 2);
    // An answer without a page faults again; then it is mapped.
    rig.clock.advance(100);
    rig.answer(parked[0].cam);
    rig.settle();
    rig.set_pte(3, 9, 0x4000 | bit::RAM);
    rig.set_pte(5, 20, (9 * MIB + 4096) | bit::VRAM);
    rig.invalidate(3, 1 << 3 | 1 << 5);
    rig.settle();
    assert!(rig.drained(0, 2) && rig.drained(0, 3));
    while rig.gpu.take_interrupt().is_some() {}
}

#[test]
fn retried_faults_and_encrypted_pages_replay() {
    let (mut rig, memory) = recorded(Config::default());
    faulting_run(&mut rig);
    let events = memory.events();
    let retries = events.iter().filter(|(_, e)| describe(e).contains("retried")).count();
    assert!(retries >= 3, "{retries}");
    assert_eq!(whole(&events).unwrap(), events.len() as u64);
}

fn describe(event: &Event) -> String {
    vhost_device_uvm::trace::describe(event)
}

#[test]
fn what_was_injected_replays_with_the_rest() {
    for (spec, live) in [
        ("hang:ring=sdma0.gfx,after=2", false),
        ("lose-irq:after=0,every=2", false),
        ("delay-irq:after=0,by=20us", true),
        ("corrupt-pte:vmid=0,after=1,xor=0x1000", true),
        ("ecc:page=0x800000", false),
        ("slow-dma:factor=7", true),
        ("stuck-invalidate:after=0,by=10us", false),
        ("ih-storm:count=20,rate=1000,client=0x1b", true),
        ("remove", true),
    ] {
        let spec: vhost_device_uvm::inject::Spec = spec.parse().unwrap_or_else(|e| panic!("{e}"));
        let (mut rig, memory) = recorded(Config::default());
        if !live {
            rig.gpu.inject(spec.clone());
        }
        rig.bring_up();
        if live {
            rig.gpu.inject(spec.clone());
        }
        rig.gpu.mmio_write(reg::MM + 0x6e3, 1 | 0x1f << 18);
        rig.submit(0, &[p::copy(FB + 9 * MIB, FB + 8 * MIB, 4096), p::trap(1), p::fence(DATA, 1), p::trap(2)].concat());
        for _ in 0..50 {
            rig.clock.advance(10_000);
            rig.gpu.run();
            while rig.gpu.take_interrupt().is_some() {}
            rig.gpu.mmio_read(reg::MM + 0x6f5);
        }
        assert!(rig.gpu.injections()[0].contains("(struck"), "{:?}", rig.gpu.injections());
        rig.gpu.clear_injected();
        rig.settle();
        let events = memory.events();
        assert!(events.iter().any(|(_, e)| describe(e) == format!("call: inject {spec}")), "{spec}");
        assert_eq!(whole(&events).map_err(|e| panic!("{spec}: {e}")), Ok::<_, ()>(events.len() as u64));
    }
}

#[test]
fn a_checked_run_replays_without_the_checks() {
    let (mut rig, memory) = recorded(Config::default());
    rig.gpu.set_checks(true);
    faulting_run(&mut rig);
    scripted_run(&mut rig);
    assert!(!rig.gpu.findings().is_empty(), "nothing was judged");
    let events = memory.events();
    assert_eq!(whole(&events).unwrap(), events.len() as u64);
}

#[test]
fn every_kind_of_device_replays() {
    for config in [
        Config { mmu: Mmu::Vidmm, ..Config::default() },
        Config { levels: 1, tlb: vhost_device_uvm::gmc::TlbSizes { l1: 1, l2: 1 }, ..Config::default() },
    ] {
        let (mut rig, memory) = recorded(config);
        rig.bring_up();
        scripted_run(&mut rig);
        let events = memory.events();
        assert_eq!(whole(&events).unwrap(), events.len() as u64);
    }
}

#[test]
fn memory_that_is_mapped_otherwise_on_the_way_and_vram_in_system_memory_replay() {
    let ram = [(0, 64 * MIB)];
    let memory = Memory::default();
    let mut rig = Rig::on(&ram, Config { uma: Uma::At(32 * MIB), ..Config::default() });
    rig.vram_at = Some(32 * MIB);
    memory.attach(&mut rig, Depth::Full);
    rig.gpu.mmio_write(nbio::MM_INDEX.offset, 1 << 31 | 0x100);
    rig.poke(32 * MIB + 0x100, &0x1234_5678_u32.to_le_bytes());
    assert_eq!(rig.gpu.mmio_read(nbio::MM_DATA.offset), 0x1234_5678);
    // The region grows: a transport replaces the map as a whole.
    let grown = memory::Ram::new(&[(0, 48 * MIB), (1 << 32, MIB)]);
    rig.gpu.system_memory().lock().unwrap().replace(grown.map());
    grown.write(32 * MIB + 0x100, &0x9abc_def0_u32.to_le_bytes());
    assert_eq!(rig.gpu.mmio_read(nbio::MM_DATA.offset), 0x9abc_def0);
    rig.gpu.mmio_write(nbio::MM_DATA.offset, 1);
    let events = memory.events();
    assert_eq!(events.iter().filter(|(_, e)| matches!(e, Event::Map { .. })).count(), 2);
    assert_eq!(whole(&events).unwrap(), events.len() as u64);
}

#[test]
fn the_clock_of_the_host_replays() {
    let config = Config { vram_size: VRAM, ..Config::default() };
    let ram = memory::Ram::new(&RAM);
    let system = vm_memory::GuestMemoryAtomic::new(ram.map());
    let clock = Box::new(vhost_device_uvm::bus::RealClock::default());
    let mut gpu = vhost_device_uvm::Gpu::new(config, system, clock).unwrap();
    let sink = Memory::default();
    gpu.set_trace(Tracer::new(Depth::Full, Box::new(sink.clone())));
    for n in 0..100 {
        gpu.mmio_write(reg::SCRATCH, n);
        gpu.run();
    }
    let events = sink.events();
    assert!(events.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    assert!(events.last().unwrap().0 > events[0].0);
    assert_eq!(whole(&events).unwrap(), events.len() as u64);
}

/// The run that the tests below tamper with.
fn session() -> Vec<(u64, Event)> {
    let (mut rig, memory) = recorded(Config::default());
    rig.bring_up();
    rig.poke(MIB, &Numbers(3).bytes(8192));
    scripted_run(&mut rig);
    memory.events()
}

/// Where the replay of `events` diverges.
fn divergence(events: &[(u64, Event)]) -> u64 {
    match whole(events) {
        Err(ReplayError::Diverged(divergence)) => divergence.event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_output_that_was_tampered_with_is_named() {
    let good = session();
    whole(&good).unwrap();
    type Change = fn(&mut Event) -> bool;
    let changes: [(&str, Change); 6] = [
        ("a register's value", |e| match e {
            Event::Register { who: Who::Driver, write: false, value, .. } => {
                *value ^= 1;
                true
            }
            _ => false,
        }),
        ("a write's digest", |e| match e {
            Event::Store { digest, .. } => {
                *digest ^= 1 << 40;
                true
            }
            _ => false,
        }),
        ("a write's place", |e| match e {
            Event::Store { at: Phys { addr, .. }, .. } => {
                *addr += 4;
                true
            }
            _ => false,
        }),
        ("a vector", |e| match e {
            Event::Interrupt { vector, .. } => {
                vector[4] ^= 1;
                true
            }
            _ => false,
        }),
        ("a packet", |e| match e {
            Event::Packet { dwords, .. } => {
                dwords[0] ^= 1 << 27;
                true
            }
            _ => false,
        }),
        ("a doorbell's taker", |e| match e {
            Event::Doorbell { taken, .. } => {
                *taken = !*taken;
                true
            }
            _ => false,
        }),
    ];
    for (what, change) in changes {
        let mut events = good.clone();
        let at = events.iter_mut().position(|(_, event)| change(event)).expect(what);
        assert_eq!(divergence(&events), at as u64, "{what}");
    }
}

#[test]
fn an_input_that_was_tampered_with_shows_in_what_follows() {
    let good = session();
    for what in ["a table entry", "data"] {
        let mut events = good.clone();
        let loads = events.iter_mut().enumerate().filter_map(|(n, (_, event))| match event {
            Event::Load { data, .. } if (data.len() >= 64) == (what == "data") => Some((n, data)),
            _ => None,
        });
        let (at, data) = loads.into_iter().next().expect(what);
        data[0] ^= 0x40;
        let found = divergence(&events);
        assert!(found > at as u64 && found < at as u64 + 12, "{what}: {found}, changed {at}");
    }
    // An earlier clock.
    let mut events = good.clone();
    let at = events.iter().position(|(_, e)| matches!(e, Event::Interrupt { .. })).unwrap();
    let clock = (0..at).rev().find(|&n| matches!(events[n].1, Event::Clock)).unwrap();
    events[clock].0 -= 1;
    assert!(divergence(&events) > clock as u64);
}

#[test]
fn an_event_at_another_time_is_named() {
    let good = session();
    let kinds: [fn(&Event) -> bool; 4] = [
        |e| matches!(e, Event::Register { .. }),
        |e| matches!(e, Event::Load { .. }),
        |e| matches!(e, Event::Store { .. }),
        |e| matches!(e, Event::Packet { .. }),
    ];
    for kind in kinds {
        let at = good.iter().position(|(_, event)| kind(event)).unwrap();
        let mut events = good.clone();
        events[at].0 += 1;
        assert_eq!(divergence(&events), at as u64, "{:?}", good[at]);
    }
}

#[test]
fn an_event_that_is_missing_or_too_many_is_named() {
    let good = session();
    for at in [5, good.len() / 2, good.len() - 2] {
        let mut events = good.clone();
        events.remove(at);
        let found = divergence(&events);
        assert!((at as u64..at as u64 + 2).contains(&found), "without {at}: {found}");
        let mut events = good.clone();
        events.insert(at, (good[at].0, Event::Tlb { hits: 1 << 60, walks: 0 }));
        assert_eq!(divergence(&events), at as u64);
    }
}

#[test]
fn a_trace_that_cannot_be_replayed_is_refused() {
    let unfit = |events: &[(u64, Event)]| match attempt(events) {
        Err(ReplayError::Unfit(why)) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it is replayed"),
    };
    assert!(unfit(&[]).contains("what device"));
    assert!(unfit(&[(0, Event::Reset)]).contains("what device"));
    for (depth, pristine, why) in [(Depth::Mmio, true, "full"), (Depth::Full, false, "begin")] {
        let memory = Memory::default();
        let mut rig = Rig::bare();
        if !pristine {
            rig.read(0);
        }
        memory.attach(&mut rig, depth);
        assert!(unfit(&memory.events()).contains(why));
    }
    let mut events = session();
    events.insert(40, (events[40].0, Event::Lost { events: 3 }));
    assert!(matches!(whole(&events), Err(ReplayError::Unfit(why)) if why.contains("lost")));
}

#[test]
fn a_device_that_no_memory_can_hold_is_an_error() {
    let mut events = session();
    let Event::Device { config, .. } = &mut events[0].1 else { panic!("no header") };
    config.levels = 77;
    assert!(matches!(attempt(&events), Err(ReplayError::Device(_))));
    let mut events = session();
    let at = events.iter().position(|(_, e)| matches!(e, Event::Map { .. })).unwrap();
    events[at].1 = Event::Map { regions: vec![(0, u64::MAX)] };
    assert_eq!(divergence(&events), at as u64);
}

#[test]
fn it_stops_where_it_is_told_and_shows_the_device_there() {
    let events = session();
    let scratch = SDMA[0] + 0xab;
    let at = events
        .iter()
        .position(|(_, e)| matches!(e, Event::Register { write: true, index, .. } if *index == scratch))
        .unwrap() as u64;
    let mut replay = replay(&events);
    let (event, more) = replay.run(Some(at - 2)).unwrap();
    assert!(more && event <= at);
    assert_eq!(replay.gpu().peek_register(scratch), Some(0));
    let (event, more) = replay.run(Some(at)).unwrap();
    assert!(more && event > at);
    assert_eq!(replay.gpu().peek_register(scratch), Some(0x1e0 << 2));
    let before = event;
    let stopped = replay.step().unwrap().unwrap();
    assert!(stopped.event > before);
    assert!(stopped.events.iter().all(|(n, time, e)| events[*n as usize] == (*time, e.clone()) && !e.is_seam()));
    while replay.step().unwrap().is_some() {}
    assert_eq!(replay.step().unwrap(), None);
}

#[test]
fn looking_at_the_semaphore_does_not_take_it() {
    let (mut rig, _) = recorded(Config::default());
    let sem = reg::MM + 0x6d1;
    assert_eq!(rig.gpu.peek_register(sem), rig.gpu.peek_register(sem));
    let value = rig.gpu.mmio_read(sem);
    assert_ne!(rig.gpu.mmio_read(sem), value, "reading takes it");
}
