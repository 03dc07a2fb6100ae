// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The config space.

use crate::process::Process;
use crate::session::Session;
use uvm_spec::nbio::{self, NBIO};
use uvm_spec::window::{self, cap, offset, status};
use uvm_spec::{lookup, MMIO_DWORDS};
use vhost::vhost_user::message::VhostUserConfigFlags;
use vhost::vhost_user::VhostUserFrontend;

#[test]
fn identity_follows_the_command_line() {
    let process = Process::start(&["--vram", "48M", "--levels", "2"]);
    let mut session = Session::connect(&process.socket());
    assert_eq!(session.load(offset::MAGIC), window::MAGIC);
    assert_eq!(session.load(offset::VERSION), window::VERSION);
    assert_eq!((session.load(offset::VRAM_SIZE), session.load(offset::VRAM_SIZE + 4)), (48 << 20, 0));
    assert_eq!(session.load(offset::LEVELS), 2);
    let regions = session.front.get_shmem_config().unwrap();
    assert_eq!(({ regions.nregions }, { regions.memory_sizes }[0]), (1, 64 << 20), "a BAR's size is a power of two");
    assert_eq!(session.load(offset::STATUS) & status::VRAM_READY, 0);
    assert_eq!(session.read(NBIO.index(&nbio::RCC_CONFIG_MEMSIZE, 0)), 48);
}

#[test]
fn small_bar_shows_the_first_part_and_the_segments_say_so() {
    let process = Process::start(&["--vram", "64M", "--bar", "48M", "--unsnooped", "1M"]);
    let mut session = Session::connect(&process.socket());
    session.start();
    assert_ne!(u64::from(session.load(offset::CAPS)) & cap::SMALL_BAR, 0);
    assert_eq!(u64::from(session.load(offset::CAPS)) & cap::CHECKS, 0);
    assert_eq!(session.load(offset::VRAM_SIZE), 64 << 20);
    let words: Vec<u32> = (0..window::SEGMENTS).map(|n| session.load(offset::SEGMENTS + 8 * n)).collect();
    assert_eq!(words, [48 << 20 | 1, 16 << 20 | 2, 3, 1 << 20 | 4, 0, 0]);
    let regions = session.front.get_shmem_config().unwrap();
    assert_eq!({ regions.memory_sizes }[0], 64 << 20, "the next power of two");
    assert_eq!({ session.vram().request.len }, 48 << 20, "nothing beyond the BAR is mapped");
    assert_eq!(session.read(NBIO.index(&nbio::RCC_CONFIG_MEMSIZE, 0)), 64);
}

#[test]
fn registers_hold_what_was_written() {
    let process = Process::start(&[]);
    let mut session = Session::connect(&process.socket());
    session.start();
    let scratch = |n| NBIO.index(&nbio::BIOS_SCRATCH, n);
    for n in 0..16 {
        session.write(scratch(n), 0x1234_0000 + n);
    }
    for n in 0..16 {
        assert_eq!(session.read(scratch(n)), 0x1234_0000 + n);
    }
    // The same value twice, to two registers: the second write changes nothing in the block but the command.
    session.write(scratch(0), 5);
    session.write(scratch(1), 5);
    assert_eq!((session.read(scratch(0)), session.read(scratch(1))), (5, 5));
}

#[test]
fn undefined_register_reads_zero_and_is_told() {
    let process = Process::start(&[]);
    let mut session = Session::connect(&process.socket());
    let hole = (0..MMIO_DWORDS).find(|i| lookup(*i).is_none()).unwrap();
    session.write(hole, 1);
    assert_ne!(session.load(offset::STATUS) & status::UNDEFINED, 0);
    assert_eq!(session.read(hole), 0);
    session.read(NBIO.index(&nbio::BIOS_SCRATCH, 0));
    assert_eq!(session.load(offset::STATUS) & status::UNDEFINED, 0);
}

#[test]
fn part_of_the_space_can_be_read_and_written() {
    let process = Process::start(&[]);
    let mut session = Session::connect(&process.socket());
    let flags = VhostUserConfigFlags::empty();
    let (_, bytes) = session.front.get_config(4, 4, flags, &[0; 4]).unwrap();
    assert_eq!(bytes, window::VERSION.to_le_bytes());
    let at = u32::try_from(offset::DATA).unwrap();
    session.front.set_config(at, flags, &7u32.to_le_bytes()).unwrap();
    assert_eq!(session.load(offset::DATA), 7);
}

#[test]
fn stores_to_read_only_fields_change_nothing() {
    let process = Process::start(&[]);
    let mut session = Session::connect(&process.socket());
    let before: Vec<u32> = (0..16).map(|n| session.load(4 * n)).collect();
    for n in 0..16 {
        session.store(4 * n, 0xdead_beef);
    }
    let after: Vec<u32> = (0..16).map(|n| session.load(4 * n)).collect();
    assert_eq!(before, after);
}
