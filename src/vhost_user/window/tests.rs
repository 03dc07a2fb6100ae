// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
use super::*;
use crate::device::Counters;
use proptest::prelude::*;
use std::collections::HashMap;
use uvm_spec::window::command;

const IDENTITY: Identity = Identity { caps: 0, vram_size: 256 << 20, levels: 4, segments: [0; 6] };

fn word(block: &[u8; SIZE], at: usize) -> u32 {
    u32::from_le_bytes(block[at..at + 4].try_into().unwrap())
}

/// A front end as QEMU is one: a cached block, read as a whole and written as a whole.
struct FrontEnd {
    window: Window,
    cache: [u8; SIZE],
    registers: HashMap<u32, u32>,
    log: Vec<Access>,
}

impl FrontEnd {
    fn new() -> Self {
        Self { window: Window::new(IDENTITY), cache: [0; SIZE], registers: HashMap::new(), log: Vec::new() }
    }
    fn load(&mut self, at: usize) -> u32 {
        self.cache = self.window.get(Live::default());
        word(&self.cache, at)
    }
    fn store(&mut self, at: usize, value: u32) {
        self.cache[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let access = self.window.set(0, &self.cache);
        match access {
            Some(Access::Read(index)) => self.window.complete(self.registers.get(&index).copied().unwrap_or(0)),
            Some(Access::Write { index, value }) => {
                self.registers.insert(index, value);
            }
            None => (),
        }
        self.log.extend(access);
    }
}

#[test]
fn first_read_shows_magic_version_and_sizes() {
    let mut window = Window::new(IDENTITY);
    let counters = Counters { packets: 3, bytes: 1 << 33, faults: 5, ..Counters::default() };
    let block = window.get(Live { vram_ready: true, ih_wptr: [32, 64, 96], vram_base: 0x3000_0000, counters });
    let wide = |at: usize| u64::from_le_bytes(block[at..][..8].try_into().unwrap());
    assert_eq!(
        [offset::VRAM_BASE, offset::PACKETS, offset::BYTES, offset::FAULTS].map(wide),
        [0x3000_0000, 3, 1 << 33, 5]
    );
    assert_eq!(&block[..4], b"UVM0");
    assert_eq!(word(&block, offset::VERSION), VERSION);
    assert_eq!(u64::from_le_bytes(block[offset::VRAM_SIZE..][..8].try_into().unwrap()), 256 << 20);
    assert_eq!(word(&block, offset::MMIO_SIZE), 512 << 10);
    assert_eq!(word(&block, offset::LEVELS), 4);
    assert_eq!(word(&block, offset::DOORBELLS), 512);
    assert_eq!(word(&block, offset::STATUS), status::VRAM_READY);
    assert_eq!([0, 4, 8].map(|n| word(&block, offset::IH_WPTR + n)), [32, 64, 96]);
}

#[test]
fn write_of_the_value_the_copy_already_holds_still_reaches_the_register() {
    let mut fe = FrontEnd::new();
    fe.registers.insert(1, 7);
    fe.store(offset::DATA, 5);
    // A read access whose result nobody fetches: the window holds 7, the front end's copy still 5.
    fe.store(offset::CMD, command(1, false, 1));
    fe.store(offset::DATA, 5);
    fe.store(offset::CMD, command(2, true, 0));
    assert_eq!(fe.log.last(), Some(&Access::Write { index: 0, value: 5 }));
}

#[test]
fn equal_command_starts_nothing() {
    let mut fe = FrontEnd::new();
    fe.store(offset::CMD, command(1, false, 0));
    fe.store(offset::CMD, command(1, false, 0));
    assert_eq!(fe.log, [Access::Read(0)]);
}

#[test]
fn undefined_register_is_told_until_the_next_command() {
    let hole = (0..MMIO_DWORDS).find(|i| lookup(*i).is_none()).unwrap();
    let known = (0..MMIO_DWORDS).find(|i| lookup(*i).is_some()).unwrap();
    let mut fe = FrontEnd::new();
    fe.store(offset::CMD, command(1, true, hole));
    assert_eq!(fe.load(offset::STATUS), status::UNDEFINED);
    fe.store(offset::CMD, command(2, false, known));
    assert_eq!(fe.load(offset::STATUS), 0);
}

#[test]
fn write_past_the_space_is_dropped_whole() {
    let mut window = Window::new(IDENTITY);
    assert_eq!(window.set(offset::CMD, &[0xff; SIZE]), None);
    assert_eq!(window.set(usize::MAX, &[1]), None);
    assert_eq!(word(&window.get(Live::default()), offset::CMD), 0);
}

#[test]
fn partial_write_of_the_command_alone_is_enough() {
    let mut window = Window::new(IDENTITY);
    assert_eq!(window.set(offset::DATA, &9u32.to_le_bytes()), None);
    let access = window.set(offset::CMD, &command(3, true, 12).to_le_bytes());
    assert_eq!(access, Some(Access::Write { index: 12, value: 9 }));
}

#[test]
fn reset_clears_the_pair_and_keeps_the_front_ends_copy() {
    let mut fe = FrontEnd::new();
    fe.store(offset::DATA, 9);
    fe.store(offset::CMD, command(1, true, 0));
    fe.window.reset();
    // The front end, which was not asked, still holds the old command: storing it again changes nothing.
    fe.store(offset::DATA, 10);
    assert_eq!(fe.log.len(), 1);
    assert_eq!(fe.load(offset::CMD), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Read {
        index: u32,
        fetch: bool,
    },
    Write {
        index: u32,
        value: u32,
    },
    Look(usize),
    /// A store to a read-only field.
    Stray {
        at: usize,
        value: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let at = (0..SIZE / 4).prop_map(|n| n * 4);
    prop_oneof![
        (0..4u32, any::<bool>()).prop_map(|(index, fetch)| Step::Read { index, fetch }),
        (0..4u32, 0..3u32).prop_map(|(index, value)| Step::Write { index, value }),
        at.clone().prop_map(Step::Look),
        (at.prop_filter("the pair", |at| ![offset::DATA, offset::CMD].contains(at)), any::<u32>())
            .prop_map(|(at, value)| Step::Stray { at, value }),
    ]
}

proptest! {
    /// Whatever a guest does between, each of its accesses comes out once, in order, with its value.
    #[test]
    fn register_file_behind_the_window_equals_one_reached_directly(steps in proptest::collection::vec(step(), 0..600)) {
        let mut fe = FrontEnd::new();
        let mut model: HashMap<u32, u32> = HashMap::new();
        let mut expected = Vec::new();
        let mut seq = 0u8;
        for step in steps {
            match step {
                Step::Read { index, fetch } => {
                    seq = seq.wrapping_add(1);
                    fe.store(offset::CMD, command(seq, false, index));
                    expected.push(Access::Read(index));
                    if fetch {
                        prop_assert_eq!(fe.load(offset::DATA), model.get(&index).copied().unwrap_or(0));
                    }
                }
                Step::Write { index, value } => {
                    seq = seq.wrapping_add(1);
                    fe.store(offset::DATA, value);
                    fe.store(offset::CMD, command(seq, true, index));
                    model.insert(index, value);
                    expected.push(Access::Write { index, value });
                }
                Step::Look(at) => {
                    fe.load(at);
                }
                Step::Stray { at, value } => fe.store(at, value),
            }
        }
        prop_assert_eq!(&fe.log, &expected);
        prop_assert_eq!(fe.load(offset::MAGIC), MAGIC);
    }

    /// No message, however odd, does more than start one access in range.
    #[test]
    fn any_message_is_harmless(messages in proptest::collection::vec((0..300usize, proptest::collection::vec(any::<u8>(), 0..300)), 0..50)) {
        let mut window = Window::new(IDENTITY);
        for (at, bytes) in messages {
            if let Some(Access::Read(index) | Access::Write { index, .. }) = window.set(at, &bytes) {
                prop_assert!(index < MMIO_DWORDS);
                prop_assert!(at + bytes.len() <= SIZE);
            }
            prop_assert_eq!(word(&window.get(Live::default()), offset::MAGIC), MAGIC);
        }
    }
}
