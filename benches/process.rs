// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What the process costs beside QEMU: memory while idle, and the way of a register access and of a doorbell.
//!
//! The limits are measured in the same run: for a register access the bare round trips of its messages between two threads
//! over a socket, for a doorbell the wake-up of a thread that then writes the dword which the guest polls.
#![allow(clippy::unwrap_used, reason = "a bench that panics has failed")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::Instant;
use uvm_spec::nbio::{self, NBIO};
use vmm_sys_util::eventfd::EventFd;

#[allow(dead_code, unreachable_pub)]
#[path = "../tests/protocol/guest.rs"]
mod guest;
#[allow(dead_code, unreachable_pub)]
#[path = "../tests/protocol/process.rs"]
mod process;
#[allow(dead_code, unreachable_pub)]
#[path = "../tests/protocol/ring.rs"]
mod ring;
#[allow(dead_code, unreachable_pub)]
#[path = "../tests/protocol/session.rs"]
mod session;

const ROUNDS: u32 = 2000;
/// Most memory of an idle backend beyond VRAM and guest memory, KiB.
const MEMORY: f64 = 32.0 * 1024.0;

/// Middle of `ROUNDS` times of `work`, microseconds.
fn median(mut work: impl FnMut(u32)) -> f64 {
    let mut times: Vec<f64> = (1..=ROUNDS)
        .map(|n| {
            let start = Instant::now();
            work(n);
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn figure(name: &str, value: f64, limit: f64, bar: f64) {
    println!("figure {name} value={value:.1} limit={limit:.1} ratio={:.3} bar={bar}", value / limit);
}

/// Memory of its own, KiB: VRAM and guest memory are shared memory and count apart.
fn own_memory(id: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let field = |name: &str| -> f64 {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    field("RssAnon:") + field("RssFile:")
}

fn bare_round_trips(count: usize) -> f64 {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    std::thread::spawn(move || {
        let mut block = [0; 280];
        while theirs.read_exact(&mut block).is_ok() {
            theirs.write_all(&block).unwrap();
        }
    });
    let mut block = [0; 280];
    median(|_| {
        for _ in 0..count {
            ours.write_all(&block).unwrap();
            ours.read_exact(&mut block).unwrap();
        }
    })
}

fn bare_wakeup() -> f64 {
    let (kick, seen) = (Arc::new(EventFd::new(0).unwrap()), Arc::new(AtomicU32::new(0)));
    let (theirs, shared) = (Arc::clone(&kick), Arc::clone(&seen));
    std::thread::spawn(move || {
        while theirs.read().is_ok() {
            shared.fetch_add(1, Ordering::Release);
        }
    });
    median(|n| {
        kick.write(1).unwrap();
        while seen.load(Ordering::Acquire) != n {
            std::thread::yield_now();
        }
    })
}

fn main() {
    let process = process::Process::start(&["--vram", "256M", "--log-level", "warn"]);
    let mut session = session::Session::connect(&process.socket());
    session.start();
    session.vram();
    figure("backend_rss_idle_kib", own_memory(process.id()), MEMORY, 1.0);

    let scratch = NBIO.index(&nbio::BIOS_SCRATCH, 0);
    let read = median(|_| {
        session.read(scratch);
    });
    figure("register_read_us", read, bare_round_trips(2), 2.0);

    let mut guest = guest::Guest::new(session);
    let fence = median(|n| {
        let doorbell = guest.emit(&guest::fence(n));
        guest.session.ring_only(&[doorbell]);
        while guest.session.dword(guest::FENCE) != n {
            std::thread::yield_now();
        }
    });
    figure("doorbell_to_fence_us", fence, bare_wakeup(), 4.0);
}
