// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! VRAM as a part of guest memory: where it is, and what is said where the guest's memory does not have it.

use crate::guest::{copy, fence, trap, Guest, DATA, FB, FENCE};
use crate::process::{eventually, Process};
use crate::session::{Session, RAM};
use uvm_spec::window::{cap, offset, status};
use vm_memory::{Bytes, GuestAddress};

fn base(session: &mut Session) -> u64 {
    u64::from(session.load(offset::VRAM_BASE)) | u64::from(session.load(offset::VRAM_BASE + 4)) << 32
}

#[test]
fn carve_out_is_told_when_memory_is_known_and_engines_reach_it() {
    for (option, place) in [("--uma=16M", RAM as u64 - (32 << 20)), ("--uma=16M@0x1000000", 16 << 20)] {
        let process = Process::start(&[option]);
        let mut session = Session::connect_uma(&process.socket());
        assert_ne!(u64::from(session.load(offset::CAPS)) & cap::UMA, 0);
        assert_eq!((base(&mut session), session.load(offset::STATUS)), (0, 0), "no memory is known yet");
        session.start();
        assert_eq!(base(&mut session), place);
        assert_eq!(session.load(offset::STATUS), status::VRAM_READY);
        assert_eq!(session.load(offset::VRAM_SIZE), 16 << 20);
        session.post_event_buffer(0);
        let mut guest = Guest::new(session);
        let data: Vec<u8> = (0..5000u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        guest.session.memory.write_slice(&data, GuestAddress(DATA)).unwrap();
        guest.submit(&[copy(DATA, FB + (16 << 20) - 5000, 5000), fence(0x77), trap()].concat());
        guest.session.event();
        assert_eq!(guest.session.dword(FENCE), 0x77);
        let mut seen = vec![0; 5000];
        guest.session.memory.read_slice(&mut seen, GuestAddress(place + (16 << 20) - 5000)).unwrap();
        assert!(seen == data, "VRAM's end is where the guest finds it");
        process.assert_sane();
    }
}

#[test]
fn carve_out_outside_of_guest_memory_is_told_in_one_line() {
    for (option, words) in [
        ("--uma=16M@0x4000000", "16 MiB at 0x4000000"),
        ("--uma=32M@0x3000000", "32 MiB at 0x3000000"),
        ("--uma=64M", "64 MiB below 4 GiB"),
    ] {
        let mut process = Process::start(&[option]);
        let mut session = Session::connect_uma(&process.socket());
        assert!(!process.log().contains("no VRAM"), "it cannot know yet");
        session.start();
        eventually("the line", || process.log().contains("no VRAM"));
        let log = process.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("no VRAM")).collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(lines[0].contains("ERROR") && lines[0].contains(words) && lines[0].contains("0x0-0x3ffffff"), "{log}");
        // The guest sees a device without VRAM, and the process goes on.
        assert_eq!((base(&mut session), session.load(offset::STATUS)), (0, 0));
        assert_eq!(session.read(0xffff), 0);
        assert!(process.ended().is_none());
        process.assert_sane();
    }
}

#[test]
fn machine_may_have_less_memory_than_the_carve_out() {
    // The guest's memory may be larger than this machine's, so that only VRAM of its own is held against it.
    let process = Process::start(&["--uma=512G"]);
    Session::connect_uma(&process.socket()).load(offset::MAGIC);
}
