// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The command line, by QEMU's conventions for backend programs.

use crate::process::{Process, PROGRAM};
use crate::session::Session;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use uvm_spec::window::offset;
use vmm_sys_util::tempdir::TempDir;

fn run(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).env_remove("RUST_LOG").output().unwrap()
}

/// Fails with `code` and a message that contains `text`; a failed start is one line.
fn refused(args: &[&str], code: i32, text: &str) {
    let output = run(args);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    assert!(error.contains(text), "{args:?}: {error}");
    assert!(output.stdout.is_empty());
    if code == 1 {
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn capabilities_are_json_whatever_else_is_asked() {
    for args in [&["--print-capabilities"][..], &["--nonsense", "--print-capabilities", "--vram", "3"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(json["type"].is_string(), "{json}");
        assert!(json["features"].is_array(), "{json}");
    }
}

#[test]
fn wrong_values_are_usage_errors() {
    for size in ["0", "1", "17M", "lots", "-256M", "99999999999999999999G", "1.5G", ""] {
        refused(&["--socket-path", "x", &format!("--vram={size}")], 2, "--vram");
    }
    for size in ["0", "1", "17M", "lots"] {
        refused(&["--socket-path", "x", &format!("--bar={size}")], 2, "--bar");
    }
    refused(&["--socket-path", "x", "--bar=32M", "--uma=32M"], 2, "cannot be used with");
    refused(&["--socket-path", "x", "--vram=16M", "--bar=32M"], 1, "a BAR of 33554432 bytes: VRAM has 16777216");
    refused(&["--socket-path", "x", "--unsnooped=100"], 1, "multiple of 4 KiB");
    for levels in ["0", "6", "four"] {
        refused(&["--socket-path", "x", "--levels", levels], 2, "--levels");
    }
    refused(&[], 2, "--socket-path");
    refused(&["--socket-path", "x", "--fd", "3"], 2, "cannot be used with");
    refused(&["--fd", "three"], 2, "--fd");
    refused(&["--socket-path", "x", "--log-level", "loud"], 2, "--log-level");
    refused(&["--socket-path", "x", "--nonsense"], 2, "--nonsense");
    refused(&["trace"], 2, "decode");
    refused(&["--socket-path", "x", "--trace", "deep", "file"], 2, "off, mmio or full");
    refused(&["--socket-path", "x", "--trace", "file"], 2, "--trace");
}

#[test]
fn more_vram_than_memory_is_refused() {
    refused(&["--socket-path", "x", "--vram", "1024T"], 1, "more than the machine's memory");
}

#[test]
fn file_at_the_path_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.as_path().join("file");
    std::fs::write(&path, "precious").unwrap();
    refused(&["--socket-path", path.to_str().unwrap()], 1, "exists and is not a socket");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn socket_of_a_running_program_is_left_alone() {
    let process = Process::start(&[]);
    refused(&["--socket-path", process.socket().to_str().unwrap()], 1, "in use by a running program");
    // The check was not taken for a front end.
    Session::connect(&process.socket()).load(offset::MAGIC);
}

#[test]
fn socket_of_a_dead_program_is_replaced() {
    let mut dead = Process::start(&[]);
    dead.signal(libc::SIGKILL);
    assert!(dead.socket().exists());
    let mut command = Command::new(PROGRAM);
    command.arg("--socket-path").arg(dead.socket());
    let process = Process::spawn(command, TempDir::new().unwrap());
    crate::process::eventually("a connection", || UnixStream::connect(dead.socket()).is_ok());
    Session::connect(&dead.socket()).load(offset::MAGIC);
    drop(process);
}

#[test]
fn path_that_cannot_be_bound_is_one_clear_line() {
    refused(&["--socket-path", "/nonexistent/folder/socket"], 1, "cannot listen on /nonexistent/folder/socket");
    refused(&["--socket-path", &format!("/tmp/{}", "x".repeat(120))], 1, "cannot listen on");
}

#[test]
fn trace_that_cannot_be_written_is_one_clear_line() {
    let folder = TempDir::new().unwrap();
    let socket = folder.as_path().join("socket");
    let socket_path = socket.to_str().unwrap();
    refused(&["--socket-path", socket_path, "--trace", "full", "/nonexistent/trace"], 1, "/nonexistent/trace");
    assert!(!socket.exists());
}

#[test]
fn signals_end_it_fast_and_clean_before_and_during_a_session() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        for connected in [false, true] {
            let mut process = Process::start(&[]);
            let session = connected.then(|| Session::connect(&process.socket())).map(|mut session| {
                session.start();
                session
            });
            let (status, time) = process.signal(signal);
            assert_eq!(status.code(), Some(0), "{}", process.log());
            assert!(time < Duration::from_secs(1), "{time:?}");
            assert!(!process.socket().exists());
            process.assert_sane();
            drop(session);
        }
    }
}

/// Starts the program with `file` as an inherited descriptor.
fn inherit(file: OwnedFd) -> Process {
    let copy = file.try_clone().unwrap();
    #[allow(unsafe_code, reason = "descriptors are inherited where close-on-exec is off")]
    // SAFETY: the descriptor is open and ours.
    let fd = unsafe { libc::fcntl(copy.as_raw_fd(), libc::F_DUPFD, 100) };
    assert!(fd >= 100);
    let mut command = Command::new(PROGRAM);
    command.args(["--fd", &fd.to_string()]);
    let process = Process::spawn(command, TempDir::new().unwrap());
    #[allow(unsafe_code, reason = "the copy is the child's")]
    // SAFETY: made above, used nowhere else.
    unsafe {
        libc::close(fd)
    };
    process
}

#[test]
fn inherited_listening_socket_serves() {
    let folder = TempDir::new().unwrap();
    let path = folder.as_path().join("inherited");
    let listener = UnixListener::bind(&path).unwrap();
    let mut process = inherit(listener.into());
    let mut session = Session::connect(&path);
    session.start();
    session.vram();
    drop(session);
    assert_eq!(process.wait().code(), Some(0), "{}", process.log());
    assert!(path.exists(), "the name is its maker's");
}

#[test]
fn inherited_connection_serves() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut process = inherit(theirs.into());
    let mut session = Session::over(ours);
    session.start();
    session.vram();
    assert_eq!(session.load(offset::LEVELS), 4);
    drop(session);
    assert_eq!(process.wait().code(), Some(0), "{}", process.log());
    process.assert_sane();
}

#[test]
fn inherited_descriptor_that_is_no_socket_is_refused() {
    refused(&["--fd", "77"], 1, "file descriptor 77 is not open");
    refused(&["--fd", "1"], 1, "standard stream");
    refused(&["--fd=-1"], 1, "file descriptor -1");
    let file = std::fs::File::open("/dev/null").unwrap();
    let mut process = inherit(file.into());
    assert_eq!(process.wait().code(), Some(1));
    assert!(process.log().contains("is not a socket"), "{}", process.log());
    let datagram = std::os::unix::net::UnixDatagram::unbound().unwrap();
    let mut process = inherit(datagram.into());
    assert_eq!(process.wait().code(), Some(1));
    assert!(process.log().contains("is not a Unix stream socket"), "{}", process.log());
}

#[test]
fn signal_during_a_session_says_what_qemu_makes_of_it_and_writes_the_trace_out() {
    let folder = TempDir::new().unwrap();
    let path = folder.as_path().join("trace");
    let mut process = Process::start(&["--trace", "mmio", path.to_str().unwrap()]);
    let mut session = Session::connect(&process.socket());
    session.write(uvm_spec::nbio::NBIO.index(&uvm_spec::nbio::BIOS_SCRATCH, 5), 1);
    assert_eq!(process.signal(libc::SIGTERM).0.code(), Some(0));
    assert!(process.log().contains("QEMU is still there"), "{}", process.log());
    let output = run(&["trace", "decode", path.to_str().unwrap()]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("BIOS_SCRATCH_5"));
}

#[test]
fn trace_that_is_off_makes_no_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.as_path().join("trace");
    let mut process = Process::start(&["--trace", "off", path.to_str().unwrap()]);
    let mut session = Session::connect(&process.socket());
    session.start();
    session.write(uvm_spec::nbio::NBIO.index(&uvm_spec::nbio::BIOS_SCRATCH, 5), 1);
    drop(session);
    assert_eq!(process.wait().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn full_trace_of_a_session_replays() {
    let folder = TempDir::new().unwrap();
    let path = folder.as_path().join("trace");
    let mut process = Process::start(&["--trace", "full", path.to_str().unwrap()]);
    let mut session = Session::connect(&process.socket());
    session.start();
    session.vram();
    let mut guest = crate::guest::Guest::new(session);
    for n in 1..4 {
        let doorbell = guest.emit(&crate::guest::fence(n));
        guest.session.ring_only(&[doorbell]);
        crate::process::eventually("the fence", || guest.session.dword(crate::guest::FENCE) == n);
    }
    drop(guest);
    assert_eq!(process.wait().code(), Some(0));
    let output = run(&["replay", path.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("every output as recorded"), "{text}");
    let output = run(&["trace", "decode", path.to_str().unwrap()]);
    assert_eq!(String::from_utf8(output.stdout).unwrap().matches("FENCE").count(), 3);
}

#[test]
fn trace_of_a_session_decodes() {
    let folder = TempDir::new().unwrap();
    let path = folder.as_path().join("trace");
    let mut process = Process::start(&["--trace", "mmio", path.to_str().unwrap()]);
    let mut session = Session::connect(&process.socket());
    session.start();
    let scratch = uvm_spec::nbio::NBIO.index(&uvm_spec::nbio::BIOS_SCRATCH, 5);
    session.write(scratch, 0xfeed);
    drop(session);
    assert_eq!(process.wait().code(), Some(0));
    let output = run(&["trace", "decode", path.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    let line = text.lines().find(|l| l.contains("BIOS_SCRATCH_5")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("feed"), "{line}");
    refused(&["trace", "decode", "/dev/null"], 2, "not a trace");
    // A reader that has seen enough is no failure.
    let mut child = Command::new(PROGRAM).args(["trace", "decode"]).arg(&path).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
