// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The device's trace against what the guest's kernel saw of the same run: its mmiotrace, access by access, and its
//! events, on one time line.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use uvm_spec::window::{self, offset as off};
use vhost_device_uvm::trace::{Depth, Event, Guest, GuestEvent, JoinError, Reader, Stage, Who};
use vm::size::Size;
use vm::{Job, Lab, Options};

/// Held while a guest runs: two cores, no more than one guest.
static TURN: Mutex<()> = Mutex::new(());

/// Runs `script` in a guest whose device records into `trace`; the lines it prints, without carriage returns.
fn run(trace: &Path, depth: &str, script: &str) -> Vec<String> {
    let options = Options {
        vram: Size::mib(16),
        backend_args: vec!["--trace".into(), depth.into(), trace.display().to_string()],
        ..Options::default()
    };
    let lab = Lab::prepare(&options).unwrap_or_else(|failure| panic!("{failure}"));
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let job = Job { limit: Some(Duration::from_secs(180)), ..Job::command(["sh", "-c", script]) };
    let report = lab.run(&job, &mut |_| ()).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(report.status, 0, "{}", report.output.join("\n"));
    report.output.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// A register access: whether it writes, dword index, value.
type Access = (bool, u32, u32);

/// The register accesses that went through the window, by the lines of an mmiotrace.
fn through_the_window(lines: &[String]) -> Vec<Access> {
    let mut window = None;
    let (mut data, mut command, mut accesses) = (0, 0, Vec::new());
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [way @ ("R" | "W"), "4", _, _, addr, value, ..] = words[..] else { continue };
        let number = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap();
        let (addr, value) = (number(addr), u32::try_from(number(value)).unwrap());
        // The driver reads the magic number before it does anything else there.
        if way == "R" && value == window::MAGIC && window.is_none() {
            window = Some(addr - off::MAGIC as u64);
        }
        let Some(offset) = window.and_then(|base| addr.checked_sub(base)) else { continue };
        match (way, usize::try_from(offset).unwrap()) {
            ("W", off::DATA) => data = value,
            ("W", off::CMD) => {
                command = value;
                if command & window::CMD_WRITE != 0 {
                    accesses.push((true, command & window::CMD_INDEX, data));
                }
            }
            ("R", off::DATA) => accesses.push((false, command & window::CMD_INDEX, value)),
            _ => {}
        }
    }
    accesses
}

#[test]
fn the_guests_own_mmiotrace_agrees_access_by_access() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    // Mappings that are there already are not traced: the bus is bound anew. A small GART is written soon.
    let script = r#"
        set -e
        tracing=/sys/kernel/tracing
        [ -d $tracing/events ] || mount -t tracefs none $tracing
        rmmod uvm
        for device in /sys/bus/virtio/devices/*; do
            [ -e "$device/driver" ] || pci=$(basename $(dirname $(readlink -f $device)))
        done
        echo $pci > /sys/bus/pci/drivers/virtio-pci/unbind
        echo 65536 > $tracing/buffer_size_kb
        echo mmiotrace > $tracing/current_tracer
        echo $pci > /sys/bus/pci/drivers/virtio-pci/bind
        insmod $(tail -n 1 /uvm/modules | cut -d ' ' -f 1) gart_mb=16
        uvm-test bringup.ib_on_sdma0_works > /dev/null || true
        rmmod uvm
        echo $pci > /sys/bus/pci/drivers/virtio-pci/unbind
        grep '^[RW] 4 ' $tracing/trace
        echo nop > $tracing/current_tracer
    "#;
    let seen = through_the_window(&run(&trace, "mmio", script));

    let mut told: Vec<Access> = Vec::new();
    for item in Reader::open(&trace).unwrap() {
        if let (_, Event::Register { who: Who::Driver, write, index, value }) = item.unwrap() {
            told.push((write, index, value));
        }
    }
    assert!(seen.len() > 100, "the guest saw {} accesses", seen.len());
    assert!(seen.iter().any(|access| !access.0) && seen.iter().any(|access| access.0));
    // What came before is of the module that was loaded at boot.
    assert!(told.len() > seen.len(), "the device {} accesses, the guest {}", told.len(), seen.len());
    let told = &told[told.len() - seen.len()..];
    let differs = seen.iter().zip(told).position(|(seen, told)| seen != told);
    assert_eq!(differs, None, "{:x?}", differs.map(|at| (seen[at], told[at])));
}

#[test]
fn the_guests_events_join_the_devices_on_one_time_line() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    // No case that loads the driver anew: that empties the kernel's buffer.
    let script = r#"
        set -e
        tracing=/sys/kernel/tracing
        [ -d $tracing/events ] || mount -t tracefs none $tracing
        echo 16384 > $tracing/buffer_size_kb
        echo 1 > $tracing/events/uvm/enable
        uvm-test bringup faults.sdma0_unmapped_read_fails_alone faults.sdma1_denied_write_fails_alone \
            faults.sdma0_missing_page_of_a_write_comes_later faults.sdma1_missing_packets_come_later \
            faults.long_copy_asks_for_page_after_page > /dev/null
        echo 0 > $tracing/events/uvm/enable
        cat $tracing/trace
    "#;
    let text = run(&trace, "full", script).join("\n");
    let read = || Reader::open(&trace).unwrap();

    let guest = Guest::join(read(), &text, "guest").unwrap();

    let named = |name: &str| -> Vec<&GuestEvent> { guest.events().iter().filter(|event| event.name == name).collect() };
    let mut delivered = BTreeMap::new();
    let (mut reached, mut vectors) = (0, 0);
    for item in read() {
        match item.unwrap() {
            (time, Event::Fault { id, stage: Stage::Delivered { .. } }) => {
                delivered.insert(id, time);
            }
            (_, Event::Interrupt { delivered: true, .. }) => vectors += 1,
            (_, Event::Packet { indirect: false, .. }) => reached += 1,
            _ => {}
        }
    }
    let faults = named("uvm_page_fault");
    assert!(faults.len() > 10, "{} faults", faults.len());
    for event in faults {
        // Each is the device's, and was read after it was written.
        let id = event.fault.unwrap_or_else(|| panic!("{event:?}"));
        assert!(event.time >= delivered[&id], "{event:?} at {}", delivered[&id]);
    }
    let jobs = named("uvm_job_run");
    assert!(jobs.len() > 50 && reached > jobs.len(), "{} jobs", jobs.len());
    assert!(jobs.iter().all(|event| event.fence.is_some()));
    assert!(named("uvm_vector").len() > 50 && vectors >= named("uvm_vector").len());
    // Both ends of the interval are known, and it is no longer than an interrupt takes.
    assert!(guest.doubt.unwrap() < 1_000_000_000, "{:?}", guest.doubt);

    // Half a second earlier an effect would precede its cause; another run's stamps are nobody's.
    let other: String = text.lines().map(|line| line.replace("stamp=0x", "stamp=0xf00") + "\n").collect();
    assert!(matches!(Guest::join(read(), &other, "guest"), Err(JoinError::Stranger(_))));
    assert!(matches!(Guest::join(read(), "nothing", "guest"), Err(JoinError::Foreign(_))));
    assert!(matches!(read().next(), Some(Ok((_, Event::Device { depth: Depth::Full, .. })))));
}
