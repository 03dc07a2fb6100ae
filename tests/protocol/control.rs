// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The control socket: the verbs against a process that serves, and clients that do not behave.

use crate::guest::{copy, fence, Guest, DATA, FB, FENCE};
use crate::process::{eventually, Process, PROGRAM};
use crate::session::Session;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use vmm_sys_util::tempdir::TempDir;

struct Lab {
    process: Process,
    folder: TempDir,
}

impl Lab {
    fn new() -> Self {
        Self::with(&[])
    }
    fn with(options: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.as_path().join("control");
        let process =
            Process::start(&[&["--vram", "16M", "--control-socket", path.to_str().unwrap()], options].concat());
        Self { process, folder }
    }
    fn path(&self) -> PathBuf {
        self.folder.as_path().join("control")
    }
    fn guest(&self) -> Guest {
        let mut session = Session::connect(&self.process.socket());
        session.start();
        session.vram();
        Guest::new(session)
    }
    fn client(&self) -> Client {
        Client(BufReader::new(connect(&self.path())))
    }
    fn run(&self, args: &[&str]) -> Output {
        run(&self.path(), args)
    }
    fn text(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[args, &["--json"]].concat())).unwrap()
    }
}

fn run(path: &Path, args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).arg("--control-socket").arg(path).env_remove("RUST_LOG").output().unwrap()
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(crate::process::PATIENCE)).unwrap();
    stream
}

struct Client(BufReader<UnixStream>);

impl Client {
    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }
    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"))
    }
    fn ask(&mut self, line: &str) -> Value {
        self.send(line.as_bytes());
        self.send(b"\n");
        self.answer()
    }
}

#[test]
fn verbs_show_a_guests_work() {
    let lab = Lab::new();
    let mut guest = lab.guest();
    guest.submit(&[copy(DATA, FB, 4096), fence(1)].concat());
    eventually("the fence", || guest.session.dword(FENCE) == 1);

    let text = lab.text(&["regs", "SDMA0_GFX_RB_CNTL"]);
    assert!(text.starts_with("[0x012e0] SDMA0_GFX_RB_CNTL = 0x") && text.contains("RB_ENABLE = 0x1"), "{text}");
    let all = lab.text(&["regs"]);
    assert!(all.lines().count() > 500 && all.contains("MMHUB.VM_CONTEXT15_CNTL"), "{all}");
    let regs = lab.json(&["regs", "vm_context0_cntl"]);
    assert_eq!(regs.as_array().unwrap().len(), 2, "one a hub: {regs}");

    let walk = lab.text(&["walk", "--vmid", "0", &format!("{:#x}", FB + 0x234)]);
    assert!(walk.contains("aperture") && walk.contains("VRAM 0x234"), "{walk}");
    let rings = lab.json(&["rings"]);
    let gfx = &rings[0];
    assert_eq!((gfx["ring"].as_str(), gfx["state"].as_str()), (Some("GFX"), Some("idle")));
    assert_eq!(gfx["rptr"], gfx["wptr"]);
    assert!(lab.text(&["rings"]).contains("SDMA1 RLC1 disabled"));
    assert!(lab.text(&["tlb"]).contains("L2: "));
    assert!(lab.text(&["vmids"]).contains("disabled: "));
    assert!(lab.text(&["faults"]).starts_with("0 faults since reset"));
    let top = lab.text(&["top", "--once", "--interval", "0.05"]);
    assert!(top.contains("packets") && top.contains("SDMA0 GFX"), "{top}");
    let top = lab.json(&["top", "--once", "--interval", "0.05"]);
    assert!(top["summary"]["counters"]["bytes"].as_u64().unwrap() >= 4096, "{top}");
    // The device works on as before.
    guest.submit(&fence(2));
    eventually("the fence", || guest.session.dword(FENCE) == 2);
    lab.process.assert_sane();
}

#[test]
fn what_does_not_exist_is_one_clear_line_and_status_2() {
    let lab = Lab::new();
    for (args, text) in [
        (&["regs", "SDMA0_GFX_RB_WTPR"][..], "is SDMA0_GFX_RB_WPTR meant?"),
        (&["walk", "--vmid", "16", "0"], "no VMID 16"),
        (&["walk", "--vmid", "5", "0x1000"], "VMID 5 is disabled"),
    ] {
        let output = lab.run(args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(text) && error.lines().count() == 1, "{error}");
        assert!(output.stdout.is_empty());
    }
    // Wrong command lines never reach the device.
    for args in
        [&["walk", "--vmid", "1", "here"][..], &["walk", "0"], &["tlb", "--vmid", "16"], &["top", "--interval", "0"]]
    {
        assert_eq!(lab.run(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn an_address_outside_of_the_space_is_refused() {
    use uvm_spec::hub::{mm, MM_HUB};
    let lab = Lab::new();
    let mut guest = lab.guest();
    guest.session.write(MM_HUB.index(&mm::VM_CONTEXT_PAGE_TABLE_END_ADDR, 6), 0xff);
    guest.session.write(MM_HUB.index(&mm::VM_CONTEXT_CNTL, 3), 1);
    let output = lab.run(&["walk", "--vmid", "3", "0x100000"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert_eq!(error.trim(), "vhost-device-uvm: 0x100000 lies outside of VMID 3's space, 0x0 to 0xfffff");
    let walk = lab.text(&["walk", "--vmid", "3", "0xff000"]);
    assert!(walk.contains("PTB") && walk.contains("fault:"), "{walk}");
}

#[test]
fn nobody_there_is_one_clear_line() {
    let folder = TempDir::new().unwrap();
    let output = run(&folder.as_path().join("nothing"), &["rings"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("no device answers on") && error.lines().count() == 1, "{error}");
}

#[test]
fn socket_is_the_users_alone_and_goes_with_the_process() {
    let mut lab = Lab::new();
    let meta = std::fs::symlink_metadata(lab.path()).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    lab.process.signal(libc::SIGTERM);
    assert!(!lab.path().exists());
    // A name in use, or one that is a file, is left alone.
    let file = lab.folder.as_path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let socket = lab.folder.as_path().join("socket");
    let mut command = Command::new(PROGRAM);
    let output = command.arg("--socket-path").arg(&socket).arg("--control-socket").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert!(!socket.exists());
}

#[test]
fn malformed_requests_are_answered_and_harm_nobody() {
    let lab = Lab::new();
    let mut client = lab.client();
    for wrong in [
        "",
        "rings",
        "{}",
        "[]",
        "null",
        "{\"verb\":\"dance\"}",
        "{\"verb\":\"walk\"}",
        "{\"verb\":\"walk\",\"vmid\":-1,\"va\":0}",
        "{\"verb\":\"walk\",\"vmid\":1,\"va\":\"0xfffffffffffffffff\"}",
        "{\"verb\":\"rings\",\"extra\":1}",
        "{\"verb\":\"rings\"} {\"verb\":\"rings\"}",
        "{\"verb\":\"regs\",\"name\":7}",
        "\u{0}\u{1}",
    ] {
        let answer = client.ask(wrong);
        assert!(answer["error"].is_string() && answer["ok"].is_null(), "{wrong}: {answer}");
    }
    client.send(b"\xff\xfe{\n");
    assert!(client.answer()["error"].is_string());
    // Deep nesting is refused, not followed.
    assert!(client.ask(&"[".repeat(4000))["error"].is_string());
    assert!(client.ask("{\"verb\":\"rings\"}")["ok"].is_array(), "the same connection still works");
    // Requests that arrive together are answered in order; one that arrives in pieces, when it is whole.
    client.send(b"{\"verb\":\"vmids\"}\n{\"verb\":\"rings\"}\n{\"verb\":");
    assert_eq!(client.answer()["ok"].as_array().unwrap().len(), 16);
    assert_eq!(client.answer()["ok"].as_array().unwrap().len(), 12);
    client.send(b"\"faults\"}\n");
    assert_eq!(client.answer()["ok"]["count"], 0);
    lab.process.assert_sane();
}

#[test]
fn a_request_without_an_end_is_refused_and_its_client_dropped() {
    let lab = Lab::new();
    let mut client = lab.client();
    // The rest of it may not be read any more.
    let _ = client.0.get_mut().write_all(&[b'x'; 1 << 16]);
    let mut all = String::new();
    let _ = client.0.read_to_string(&mut all);
    assert!(all.is_empty() || all.contains("more than 4096 bytes"), "{all}");
    assert!(lab.client().ask("{\"verb\":\"rings\"}")["ok"].is_array());
}

#[test]
fn a_client_that_hangs_holds_up_nobody() {
    let mut lab = Lab::new();
    let mut guest = lab.guest();
    // One says half a word, one asks for much and reads nothing, several say nothing at all.
    let mut half = lab.client();
    half.send(b"{\"verb\":");
    let mut deaf = lab.client();
    deaf.0.get_ref().set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    for _ in 0..1000 {
        if deaf.0.get_mut().write_all(b"{\"verb\":\"regs\"}\n").is_err() {
            break;
        }
    }
    let idle: Vec<UnixStream> = (0..20).map(|_| connect(&lab.path())).collect();
    let mut client = lab.client();
    assert!(client.ask("{\"verb\":\"summary\"}")["ok"].is_object());
    guest.submit(&fence(3));
    eventually("the fence", || guest.session.dword(FENCE) == 3);
    assert!(lab.json(&["rings"]).is_array());
    // And the end is not held up either.
    let (status, time) = lab.process.signal(libc::SIGTERM);
    assert_eq!(status.code(), Some(0));
    assert!(time < Duration::from_secs(1), "{time:?}");
    lab.process.assert_sane();
    drop((half, deaf, idle));
}

#[test]
fn two_clients_at_once_each_get_their_own_answers() {
    let lab = Lab::new();
    let mut guest = lab.guest();
    std::thread::scope(|scope| {
        for (request, len) in [("{\"verb\":\"vmids\"}", 16), ("{\"verb\":\"rings\"}", 12)] {
            let lab = &lab;
            scope.spawn(move || {
                let mut client = lab.client();
                for _ in 0..200 {
                    assert_eq!(client.ask(request)["ok"].as_array().unwrap().len(), len);
                }
            });
        }
        for n in 1..50 {
            guest.submit(&[copy(DATA, FB, 4096), fence(n)].concat());
            eventually("the fence", || guest.session.dword(FENCE) == n);
        }
    });
    lab.process.assert_sane();
}

#[test]
fn clients_may_look_before_a_front_end_is_there() {
    let lab = Lab::new();
    assert!(lab.text(&["rings"]).contains("SDMA0 GFX  disabled"));
    assert!(lab.text(&["walk", "--vmid", "0", "0"]).contains("VMID 0"));
    lab.guest();
}

#[test]
fn findings_are_told_while_they_are_made() {
    let lab = Lab::with(&["--check"]);
    let mut guest = lab.guest();
    assert!(!lab.text(&["findings"]).contains("read_only_written"));
    // STATUS_REG of SDMA0 is read-only.
    guest.session.write(0x1260 + 0x25, 1);
    let told = lab.json(&["findings"]);
    let last = told["findings"].as_array().unwrap().last().unwrap();
    assert_eq!(last["rule"], "read_only_written", "{told}");
    assert_eq!(told["counts"]["read_only_written"], 1, "{told}");
    let text = lab.text(&["findings"]);
    assert!(text.contains("SDMA0_STATUS_REG") && text.contains("registers.md"), "{text}");

    let silent = Lab::new();
    let output = silent.run(&["findings"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--check"));
}

#[test]
fn faults_are_injected_into_a_running_device_and_healed() {
    let lab = Lab::new();
    let mut guest = lab.guest();
    assert_eq!(lab.text(&["inject"]), "");
    let said = lab.text(&["inject", "hang:ring=sdma0.gfx,after=1"]);
    assert_eq!(said, "hang:ring=sdma0.gfx,after=1 (has not struck yet)\n");
    guest.submit(&[fence(1), fence(2)].concat());
    eventually("the first fence", || guest.session.dword(FENCE) == 1);
    eventually("the hang", || lab.json(&["rings"])[0]["state"] == "hung");
    assert_eq!(guest.session.dword(FENCE), 1);
    assert!(lab.text(&["top", "--once", "--interval", "0.05"]).contains("struck 1 times"));
    assert_eq!(lab.text(&["inject", "--heal"]), "");
    eventually("the second fence", || guest.session.dword(FENCE) == 2);

    // An interrupt that is late comes by itself, with nobody touching the device meanwhile.
    guest.session.post_event_buffer(0);
    lab.text(&["inject", "delay-irq:by=100ms"]);
    guest.submit(&crate::guest::trap());
    let before = guest.session.events.used_index();
    eventually("the interrupt", || guest.session.events.used_index() != before);

    for wrong in ["jam", "hang:ring=left", "slow-dma"] {
        let output = lab.run(&["inject", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
    let mut client = lab.client();
    assert!(client.ask("{\"verb\":\"inject\",\"spec\":\"jam\"}")["error"].as_str().unwrap().contains("no such kind"));
    lab.process.assert_sane();
}

#[test]
fn a_removed_device_reads_all_ones_and_the_process_stays() {
    use uvm_spec::nbio::{BIOS_SCRATCH, NBIO};
    use uvm_spec::window::offset;
    let lab = Lab::new();
    let mut guest = lab.guest();
    lab.text(&["inject", "remove"]);
    assert_eq!(guest.session.load(offset::MAGIC), u32::MAX);
    guest.session.write(NBIO.index(&BIOS_SCRATCH, 0), 1);
    assert_eq!(guest.session.read(NBIO.index(&BIOS_SCRATCH, 0)), u32::MAX);
    guest.submit(&fence(9));
    let mut session = guest.session;
    session.stop();
    assert_eq!(session.load(offset::MAGIC), u32::MAX);
    session.doorbells.clear();
    session.events.clear();
    session.start();
    assert_eq!(session.load(offset::MAGIC), u32::MAX);
    assert_eq!(session.dword(FENCE), 0);
    lab.process.assert_sane();
}
