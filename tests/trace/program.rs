// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The program's commands on traces: what they print, their exit status, and what they leave alone.

use crate::common::*;
use crate::scripted::*;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use vhost_device_uvm::trace::{Depth, Event, Tracer};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vhost-device-uvm");

/// Files of a test.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    /// Records the scripted run of a device from its start.
    fn record(&self, name: &str, depth: Depth) -> PathBuf {
        let path = self.path(name);
        let mut rig = Rig::bare();
        record(&mut rig, depth, &path);
        rig.bring_up();
        scripted_run(&mut rig);
        rig.gpu.set_trace(Tracer::default());
        path
    }
}

fn run(args: &[&Path]) -> Output {
    Command::new(PROGRAM).args(args).env_remove("RUST_LOG").stdin(Stdio::null()).output().unwrap()
}

/// Runs `words` and then `files`.
fn call(words: &str, files: &[&Path]) -> Output {
    let words: Vec<&Path> = words.split(' ').map(Path::new).collect();
    run(&[&words[..], files].concat())
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Fails with status 2 and one line that holds `text`.
fn refused(words: &str, files: &[&Path], text: &str) {
    let output = call(words, files);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{words}: {error}");
    assert!(error.contains(text), "{words}: {error}");
    assert_eq!(error.lines().count(), 1, "{words}: {error}");
}

#[test]
fn every_command_works_on_a_trace() {
    let bench = Bench::new();
    let trace = bench.record("trace", Depth::Full);
    let decoded = stdout(&call("trace decode", &[&trace]));
    assert!(decoded.contains("write SDMA0_GFX_RB_CNTL"));
    assert_eq!(stdout(&call("trace export", &[&trace])), decoded);
    let all = stdout(&call("trace export --all", &[&trace]));
    assert_eq!(all.lines().count(), read(&trace).len());
    let json = stdout(&call("trace export --format json", &[&trace]));
    assert!(json.lines().all(|line| line.starts_with("{\"")));
    let mmio = stdout(&call("trace export --format mmiotrace --base 0xabc000", &[&trace]));
    assert!(mmio.contains("MAP 0.000000 1 0xabc000"), "{mmio}");
    let out = bench.path("out.pftrace");
    assert_eq!(call("trace export --format perfetto", &[&trace, &out]).status.code(), Some(0));
    assert!(std::fs::metadata(&out).unwrap().len() > 1000);
    assert!(stdout(&call("trace stat", &[&trace])).contains("SDMA0_GFX_RB_WPTR"));
    let page = bench.path("page.html");
    assert_eq!(call("trace report", &[&trace, &page]).status.code(), Some(0));
    assert!(std::fs::read_to_string(&page).unwrap().ends_with("</html>\n"));
    let same = call("trace diff", &[&trace, &trace]);
    assert_eq!(same.status.code(), Some(0));
    let replayed = call("replay", &[&trace]);
    assert_eq!(replayed.status.code(), Some(0));
    assert_eq!(stdout(&replayed), format!("{} events replayed, every output as recorded\n", read(&trace).len()));
}

#[test]
fn what_differs_gives_status_1_and_what_diverges_too() {
    let bench = Bench::new();
    let trace = bench.record("trace", Depth::Full);
    let mut events = read(&trace);
    let at = events
        .iter()
        .position(|(_, e)| matches!(e, Event::Register { write: true, index, .. } if *index == 0x1260 + reg::RB_CNTL))
        .unwrap();
    if let Event::Register { value, .. } = &mut events[at].1 {
        *value ^= 1 << 1;
    }
    let other = bench.path("other");
    write(&other, &events);
    let diff = call("trace diff", &[&trace, &other]);
    assert_eq!(diff.status.code(), Some(1));
    assert!(stdout(&diff).contains("SDMA0_GFX_RB_CNTL") && stdout(&diff).contains("RB_SIZE"), "{}", stdout(&diff));
    let replayed = call("replay", &[&other]);
    assert_eq!(replayed.status.code(), Some(1));
    let text = stdout(&replayed);
    assert!(text.starts_with(&format!("the replay diverges at event {at}: ")), "{text}");
    assert_eq!(text.matches("SDMA0_GFX_RB_CNTL").count(), 2, "{text}");
}

#[test]
fn a_replay_stops_steps_and_shows_registers() {
    let bench = Bench::new();
    let trace = bench.record("trace", Depth::Full);
    let decoded = stdout(&call("trace decode", &[&trace]));
    let line = decoded.lines().find(|line| line.contains("write SDMA0_GFX_DOORBELL_OFFSET")).unwrap();
    let number = line.split_whitespace().next().unwrap();
    let stopped = stdout(&call(&format!("replay --stop-at {number}"), &[&trace]));
    assert!(stopped.contains("\nSDMA0_GFX_DOORBELL_OFFSET = 0x00000780 (OFFSET=0x1e0)\n"), "{stopped}");
    assert!(!stopped.contains("SDMA0_GFX_DOORBELL = "), "{stopped}");

    let mut child = Command::new(PROGRAM)
        .args(["replay", "--step", "--stop-at", number])
        .arg(&trace)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = "r SDMA0_GFX_DOORBELL_OFFSET\nr SDMA0_GFX_DOORBELL\n\nr GFX_DOORBELL\nr GFX_DOORBEL\np\ng 100000000\n";
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    for part in [
        "\nSDMA0_GFX_DOORBELL_OFFSET = 0x00000780 (OFFSET=0x1e0)\n",
        "write SDMA0_GFX_DOORBELL = 0x10000000 (ENABLE)\n",
        "\nSDMA0_GFX_DOORBELL = 0x00000000\n",
        "\nSDMA0_GFX_DOORBELL = 0x10000000 (ENABLE)\nSDMA1_GFX_DOORBELL = 0x00000000\n",
        "no register is called GFX_DOORBEL; is ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn files_that_cannot_be_used_are_one_clear_line_and_status_2() {
    let bench = Bench::new();
    let trace = bench.record("trace", Depth::Full);
    let shallow = bench.record("shallow", Depth::Mmio);
    let raw = std::fs::read(&trace).unwrap();
    let make = |name: &str, content: &[u8]| {
        std::fs::write(bench.path(name), content).unwrap();
        bench.path(name)
    };
    let cut = make("cut", &raw[..raw.len() - 5]);
    let foreign = make("foreign", b"\x7fELF and what follows");
    let newer = make("newer", b"uvm-trace 9\n");
    let missing = bench.path("missing");
    for command in ["trace decode", "trace stat", "replay", "trace export --format json"] {
        refused(command, &[&foreign], "not a trace");
        refused(command, &[&newer], "another version");
        refused(command, &[&missing], "missing");
        refused(command, &[&cut], "broken after");
    }
    refused("trace diff", &[&trace, &foreign], "not a trace");
    refused("trace diff", &[&cut, &trace], "broken after");
    refused("replay", &[&shallow], "only a full trace");
    refused("replay --stop-at 999999999", &[&trace], "event 999999999 is none");
    let out = bench.path("out");
    for command in ["trace export", "trace report"] {
        refused(command, &[&foreign, &out], "not a trace");
        assert!(!out.exists(), "{command}");
    }
    refused("trace export --register SDMA0_GFX_RB_CTNL", &[&trace], "is SDMA0_GFX_RB_CNTL meant?");
    refused("trace export", &[&trace, &bench.path("no/such/folder/out")], "cannot write");
}

#[test]
fn nothing_is_overwritten_unless_it_may_be() {
    let bench = Bench::new();
    let trace = bench.record("trace", Depth::Full);
    let out = bench.path("precious");
    for command in ["trace export", "trace report"] {
        std::fs::write(&out, "mine").unwrap();
        refused(command, &[&trace, &out], "precious exists; --force replaces it");
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "mine");
        assert_eq!(call(&format!("{command} --force"), &[&trace, &out]).status.code(), Some(0));
        assert!(std::fs::metadata(&out).unwrap().len() > 100);
    }
    // A bad trace replaces nothing either.
    std::fs::write(&out, "mine").unwrap();
    std::fs::write(bench.path("foreign"), "x").unwrap();
    for command in ["trace export --force", "trace report --force"] {
        refused(command, &[&bench.path("foreign"), &out], "not a trace");
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "mine");
    }
}

/// A full trace is judged although nobody did when it was recorded.
#[test]
fn the_report_tells_what_the_driver_did_wrong() {
    let bench = Bench::new();
    let page_of = |name: &str, depth: Depth, wrong: bool| {
        let path = bench.path(name);
        let mut rig = Rig::bare();
        record(&mut rig, depth, &path);
        rig.bring_up();
        if wrong {
            // STATUS_REG of SDMA0 is read-only.
            rig.write(0x1260 + 0x25, 1);
        }
        rig.gpu.set_trace(Tracer::default());
        let page = bench.path(&format!("{name}.html"));
        assert_eq!(call("trace report", &[&path, &page]).status.code(), Some(0));
        std::fs::read_to_string(page).unwrap()
    };
    let wrong = page_of("wrong", Depth::Full, true);
    assert!(wrong.contains("<td>read_only_written</td>") && wrong.contains("SDMA0_STATUS_REG"), "{wrong}");
    assert!(wrong.contains("read_only_written: 1 times."), "{wrong}");
    let right = page_of("right", Depth::Full, false);
    assert!(right.contains("Findings of the checks") && !right.contains("read_only_written"), "{right}");
    assert!(page_of("shallow", Depth::Mmio, true).contains("Nobody judged the driver"));
}
