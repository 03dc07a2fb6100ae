// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Messages that no front end may send: the process answers, ignores or closes, but neither panics nor hangs.

use crate::process::{eventually, Process, PATIENCE};
use crate::session::{memfd, Session, RAM};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use uvm_spec::window::{self, offset};
use vhost::vhost_user::VhostUserFrontend;
use vhost::{VhostBackend, VringConfigData};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

const GET_FEATURES: u32 = 1;
const SET_FEATURES: u32 = 2;
const SET_OWNER: u32 = 3;
const SET_MEM_TABLE: u32 = 5;
const SET_LOG_BASE: u32 = 6;
const SET_VRING_NUM: u32 = 8;
const SET_VRING_ADDR: u32 = 9;
const SET_VRING_BASE: u32 = 10;
const GET_VRING_BASE: u32 = 11;
const SET_VRING_KICK: u32 = 12;
const SET_VRING_CALL: u32 = 13;
const GET_PROTOCOL_FEATURES: u32 = 15;
const SET_PROTOCOL_FEATURES: u32 = 16;
const SET_VRING_ENABLE: u32 = 18;
const SET_BACKEND_REQ_FD: u32 = 21;
const GET_CONFIG: u32 = 24;
const SET_CONFIG: u32 = 25;
const GET_INFLIGHT_FD: u32 = 31;
const ADD_MEM_REG: u32 = 37;

/// Version 1, and version 1 with a wish for a reply.
const V1: u32 = 1;
const REPLY: u32 = 9;

fn header(request: u32, flags: u32, size: u32) -> Vec<u8> {
    [request, flags, size].iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn message(request: u32, body: &[u8]) -> Vec<u8> {
    [header(request, REPLY, u32::try_from(body.len()).unwrap()), body.to_vec()].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn longs(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// A config message: offset, size, flags, and `payload` bytes.
fn config(request: u32, offset: u32, size: u32, flags: u32, payload: usize) -> Vec<u8> {
    message(request, &[words(&[offset, size, flags]), vec![0xaa; payload]].concat())
}

/// A connection on which features and protocol features are acknowledged, so that requests get past those checks.
fn connect(process: &Process) -> UnixStream {
    let stream = UnixStream::connect(process.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = stream;
    let mut ask = |request: u32, body: &[u8], reply: usize| {
        stream.write_all(&[header(request, V1, u32::try_from(body.len()).unwrap()), body.to_vec()].concat()).unwrap();
        let mut answer = vec![0; reply];
        stream.read_exact(&mut answer).unwrap();
        answer
    };
    ask(SET_OWNER, &[], 0);
    let features = ask(GET_FEATURES, &[], 20)[12..].to_vec();
    let protocol = ask(GET_PROTOCOL_FEATURES, &[], 20)[12..].to_vec();
    ask(SET_PROTOCOL_FEATURES, &protocol, 0);
    ask(SET_FEATURES, &features, 0);
    stream
}

/// Whether the process still answers on `stream`, whatever replies lie before the answer.
fn answers(stream: &mut UnixStream) -> bool {
    if stream.write_all(&header(GET_FEATURES, V1, 0)).is_err() {
        return false;
    }
    loop {
        let mut head = [0; 12];
        if stream.read_exact(&mut head).is_err() {
            return false;
        }
        let word = |n: usize| u32::from_le_bytes(head[4 * n..][..4].try_into().unwrap());
        let mut body = vec![0; word(2) as usize];
        if stream.read_exact(&mut body).is_err() {
            return false;
        }
        if word(0) == GET_FEATURES {
            return true;
        }
    }
}

/// Sends `bytes` with `fds`, then checks that the process answers, or has closed with a reason.
fn check(name: &str, bytes: &[u8], fds: &[i32]) {
    let mut process = Process::start(&["--vram", "16M"]);
    let mut stream = connect(&process);
    let sent = stream.send_with_fds(&[bytes], fds).unwrap();
    assert_eq!(sent, bytes.len());
    if !answers(&mut stream) {
        drop(stream);
        assert_eq!(process.wait().code(), Some(1), "{name}: {}", process.log());
        assert!(process.log().contains("the front end broke the protocol: "), "{name}: {}", process.log());
    }
    process.assert_sane();
    // Nothing is left behind that the next session would stumble over.
    drop(process);
    let process = Process::start(&["--vram", "16M"]);
    Session::connect(&process.socket()).load(offset::MAGIC);
}

#[test]
fn headers_that_are_none() {
    check("unknown request", &header(999, V1, 0), &[]);
    check("request 0", &header(0, V1, 0), &[]);
    check("version 0", &header(GET_FEATURES, 0, 0), &[]);
    check("version 3", &header(GET_FEATURES, 3, 0), &[]);
    check("a reply", &header(GET_FEATURES, V1 | 4, 0), &[]);
    check("reserved flags", &header(GET_FEATURES, V1 | 0x80, 0), &[]);
    check("oversized", &header(GET_FEATURES, V1, u32::MAX), &[]);
    check("just oversized", &header(GET_FEATURES, V1, 0x1001), &[]);
    check("body where none belongs", &message(SET_OWNER, &[0; 8]), &[]);
    check("body too short", &message(SET_FEATURES, &[0; 4]), &[]);
    check("body too long", &message(SET_FEATURES, &[0; 16]), &[]);
    check("feature that was not offered", &message(SET_FEATURES, &longs(&[u64::MAX])), &[]);
    check("request that was not negotiated", &message(GET_INFLIGHT_FD, &longs(&[4096, 0, 0])), &[]);
    check("memory slots, which are not offered", &message(ADD_MEM_REG, &[0; 40]), &[]);
    check("dirty log, which is not offered", &message(SET_LOG_BASE, &longs(&[4096, 0])), &[]);
}

#[test]
fn config_messages_out_of_bounds() {
    for request in [GET_CONFIG, SET_CONFIG] {
        check("empty", &message(request, &[]), &[]);
        check("header cut short", &message(request, &[0; 8]), &[]);
        check("size 0", &config(request, 0, 0, 0, 0), &[]);
        check("size 257", &config(request, 0, 257, 0, 257), &[]);
        check("past the end", &config(request, 252, 8, 0, 8), &[]);
        check("offset at the end", &config(request, 256, 1, 0, 1), &[]);
        check("offset and size overflow", &config(request, u32::MAX, 2, 0, 2), &[]);
        check("payload shorter than size", &config(request, 0, 256, 0, 16), &[]);
        check("payload longer than size", &config(request, 0, 4, 0, 256), &[]);
        check("unknown flags", &config(request, 0, 4, 0xff, 4), &[]);
        check("all of it, from random bytes", &config(request, 0, 256, 0, 256), &[]);
    }
}

#[test]
fn vring_messages_out_of_bounds() {
    for index in [2, 255, 256, u32::MAX] {
        for request in [SET_VRING_NUM, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_ENABLE] {
            check("index", &message(request, &words(&[index, 1])), &[]);
        }
        check(
            "address of a queue that is none",
            &message(SET_VRING_ADDR, &[words(&[index, 0]), longs(&[0; 4])].concat()),
            &[],
        );
    }
    for size in [0, 3, 1025, 0x8000, 0x1_0000, u32::MAX] {
        check("size", &message(SET_VRING_NUM, &words(&[0, size])), &[]);
    }
    check("enable 2", &message(SET_VRING_ENABLE, &words(&[0, 2])), &[]);
    check("base past 16 bits", &message(SET_VRING_BASE, &words(&[0, u32::MAX])), &[]);
    check("ring without memory", &message(SET_VRING_ADDR, &[words(&[0, 0]), longs(&[0; 4])].concat()), &[]);
    check("kick without a file", &message(SET_VRING_KICK, &longs(&[0])), &[]);
    check("call without a file", &message(SET_VRING_CALL, &longs(&[1])), &[]);
    let event = EventFd::new(0).unwrap();
    check("kick with two files", &message(SET_VRING_KICK, &longs(&[0])), &[event.as_raw_fd(); 2]);
    check("kick with a file that it denies", &message(SET_VRING_KICK, &longs(&[0x100])), &[event.as_raw_fd()]);
    check("kick of a queue that is none", &message(SET_VRING_KICK, &longs(&[9])), &[event.as_raw_fd()]);
    let file = memfd(4096);
    check("kick that is no event", &message(SET_VRING_KICK, &longs(&[0])), &[file.as_raw_fd()]);
    check("file where none belongs", &header(GET_FEATURES, V1, 0), &[event.as_raw_fd()]);
    check("channel without a file", &message(SET_BACKEND_REQ_FD, &[]), &[]);
    check("channel that is no socket", &message(SET_BACKEND_REQ_FD, &[]), &[file.as_raw_fd()]);
}

#[test]
fn memory_tables_that_are_none() {
    let file = memfd(1 << 20);
    let fd = [file.as_raw_fd()];
    let table = |count: u32, regions: &[[u64; 4]]| {
        let regions: Vec<u8> = regions.iter().flat_map(|r| longs(r)).collect();
        message(SET_MEM_TABLE, &[words(&[count, 0]), regions].concat())
    };
    // Guest address, size, user address, offset in the file.
    let good = [0, 1 << 20, 1 << 32, 0];
    check("no region", &table(0, &[]), &[]);
    check("no file", &table(1, &[good]), &[]);
    check("two files", &table(1, &[good]), &[fd[0]; 2]);
    check("count too large", &table(2, &[good]), &fd);
    check("count too small", &table(1, &[good, good]), &fd);
    check("count huge", &table(u32::MAX, &[good]), &fd);
    check("size 0", &table(1, &[[0, 0, 0, 0]]), &fd);
    check("size that overflows", &table(1, &[[4096, u64::MAX - 100, 0, 0]]), &fd);
    check("user address that overflows", &table(1, &[[0, 1 << 20, u64::MAX - 100, 0]]), &fd);
    check("past the file's end", &table(1, &[[0, 1 << 20, 1 << 32, 1 << 20]]), &fd);
    check("offset not at a page", &table(1, &[[0, 4096, 1 << 32, 7]]), &fd);
    check("overlap", &table(2, &[good, good]), &[fd[0]; 2]);
    let event = EventFd::new(0).unwrap();
    check("file that cannot be mapped", &table(1, &[good]), &[event.as_raw_fd()]);
}

#[test]
fn message_cut_short_ends_the_session() {
    for bytes in [&header(GET_FEATURES, V1, 0)[..5], &message(SET_FEATURES, &[0; 8])[..15]] {
        let mut process = Process::start(&[]);
        let mut stream = connect(&process);
        stream.write_all(bytes).unwrap();
        drop(stream);
        assert!(matches!(process.wait().code(), Some(0 | 1)), "{}", process.log());
        process.assert_sane();
    }
}

#[test]
fn slow_message_is_waited_for_and_does_not_delay_a_signal() {
    let mut process = Process::start(&[]);
    let mut stream = connect(&process);
    for byte in header(GET_FEATURES, V1, 0) {
        stream.write_all(&[byte]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let mut answer = [0; 20];
    // A header in pieces is no message for the library; that it ends the session is as good as an answer.
    if stream.read_exact(&mut answer).is_ok() {
        stream.write_all(&header(GET_FEATURES, V1, 0)[..6]).unwrap();
        assert_eq!(process.signal(libc::SIGTERM).0.code(), Some(0));
    } else {
        assert_eq!(process.wait().code(), Some(0), "{}", process.log());
    }
    process.assert_sane();
}

/// Starts the doorbell queue at addresses that the front end resolves by their first byte.
fn start_doorbells(session: &mut Session, change: impl Fn(&mut VringConfigData)) {
    let mut addresses = Session::addresses(&session.doorbells);
    change(&mut addresses);
    session.front.set_features(1 << 32 | 1 << 30 | session.features).unwrap();
    session.set_memory();
    session.front.set_vring_num(0, 16).unwrap();
    session.front.set_vring_base(0, 0).unwrap();
    session.front.set_vring_addr(0, &addresses).unwrap();
    session.front.set_vring_kick(0, &session.doorbells.kick).unwrap();
    session.front.set_vring_call(0, &session.doorbells.call).unwrap();
    session.front.set_vring_enable(0, true).unwrap();
}

#[test]
fn descriptor_table_past_the_end_of_memory_gives_empty_buffers() {
    let process = Process::start(&[]);
    let mut session = Session::connect(&process.socket());
    let end = RAM as u64 - 16;
    let base = session.doorbells.base;
    start_doorbells(&mut session, |a| a.desc_table_addr += end - base);
    session.doorbells.post(5);
    session.doorbells.kick();
    assert_eq!(session.doorbells.next_used(), (5, 0));
    eventually("a warning", || process.log().contains("doorbell buffer 5"));
    process.assert_sane();
}

#[test]
fn available_ring_past_the_end_of_memory_is_reported_and_costs_no_time() {
    let process = Process::start(&[]);
    let mut session = Session::connect(&process.socket());
    // Flags and index are the last four bytes of memory.
    let end = RAM as u64 - 4;
    session.memory.write_obj(3u16, GuestAddress(end + 2)).unwrap();
    let avail = session.doorbells.avail();
    start_doorbells(&mut session, |a| a.avail_ring_addr += end - avail);
    session.doorbells.kick();
    eventually("a warning", || process.log().contains("available ring cannot be read"));
    let time = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // User and system time, ticks of 10 ms.
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = time();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(time() - before < 10, "it spins");
    assert_eq!(session.load(offset::MAGIC), window::MAGIC);
    process.assert_sane();
}

#[test]
fn used_ring_past_the_end_of_memory_is_reported() {
    let process = Process::start(&[]);
    let mut session = Session::connect(&process.socket());
    let end = RAM as u64 - 4;
    let used = session.doorbells.used();
    start_doorbells(&mut session, |a| a.used_ring_addr += end - used);
    session.doorbells.post(1);
    session.doorbells.kick();
    eventually("a warning", || process.log().contains("doorbell queue: "));
    assert_eq!(session.load(offset::MAGIC), window::MAGIC);
    process.assert_sane();
}

/// Random bytes after a good start, from a fixed seed.
#[test]
fn noise_ends_the_session_with_a_reason() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for round in 0..40 {
        let mut bytes = Vec::new();
        for _ in 0..64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.extend((state >> 24).to_le_bytes());
        }
        // Half of the rounds start as a message does.
        if round % 2 == 0 {
            let size = u32::try_from(bytes.len() - 12).unwrap();
            bytes[..12].copy_from_slice(&header(round % 44, REPLY, size));
        }
        let mut process = Process::start(&["--vram", "16M"]);
        let mut stream = connect(&process);
        let _ = stream.write_all(&bytes);
        if !answers(&mut stream) {
            drop(stream);
            assert_eq!(process.wait().code(), Some(1), "{}", process.log());
        }
        process.assert_sane();
    }
}
