// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The server's side: a subscriber of the process's event loop.
//!
//! No client can hold up another, or the device: nothing here blocks, each client holds one request and one answer at
//! most, and where too many are there the one that was quiet for longest has to go. The device's lock is held while an
//! answer is collected, not while it is written down or sent.

use super::{Answer, Request, MAX_REQUEST, MAX_TLB_ENTRIES};
use crate::inject::{Spec, MOST_INJECTIONS};
use crate::vhost_user::Handle;
use event_manager::{EventOps, Events, MutEventSubscriber};
use serde::Serialize;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use vmm_sys_util::epoll::EventSet;

/// Clients at once.
const MAX_CLIENTS: usize = 8;
/// Token of the listener; clients have their number.
const LISTENER: u32 = u32::MAX;

/// Serves the control socket.
pub struct Control {
    listener: UnixListener,
    device: Handle,
    clients: [Option<Client>; MAX_CLIENTS],
    /// Counts events, to tell who was quiet for longest.
    events: u64,
}

struct Client {
    stream: UnixStream,
    /// What came since the last whole line.
    input: Vec<u8>,
    /// What is still to be sent, and how much of it has been.
    output: Vec<u8>,
    sent: usize,
    /// Closed once the output is sent.
    closing: bool,
    last_event: u64,
}

/// What is left of a client after its turn.
#[derive(PartialEq, Eq)]
enum State {
    Reads,
    Writes,
    Gone,
}

impl Control {
    /// Serves what asks on `listener` about `device`.
    pub fn new(listener: UnixListener, device: Handle) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener, device, clients: Default::default(), events: 0 })
    }

    fn accept(&mut self, ops: &mut EventOps) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        if let Err(e) = stream.set_nonblocking(true) {
            log::warn!("control socket: {e}");
            return;
        }
        let free = self.clients.iter().position(Option::is_none).unwrap_or_else(|| {
            let quiet = self.clients.iter().enumerate().min_by_key(|(_, c)| c.as_ref().map_or(0, |c| c.last_event));
            quiet.map_or(0, |(n, _)| n)
        });
        self.drop_client(free, ops);
        let token = u32::try_from(free).unwrap_or(LISTENER);
        if let Err(e) = ops.add(Events::with_data(&stream, token, EventSet::IN)) {
            log::warn!("control socket: {e}");
            return;
        }
        let client =
            Client { stream, input: Vec::new(), output: Vec::new(), sent: 0, closing: false, last_event: self.events };
        if let Some(slot) = self.clients.get_mut(free) {
            *slot = Some(client);
        }
    }
    fn drop_client(&mut self, n: usize, ops: &mut EventOps) {
        if let Some(client) = self.clients.get_mut(n).and_then(Option::take) {
            let token = u32::try_from(n).unwrap_or(LISTENER);
            if let Err(e) = ops.remove(Events::with_data(&client.stream, token, EventSet::empty())) {
                log::warn!("control socket: {e}");
            }
        }
    }
    fn serve(&mut self, token: u32, ops: &mut EventOps) {
        let n = token as usize;
        let Some(Some(client)) = self.clients.get_mut(n) else { return };
        client.last_event = self.events;
        let before = client.waits_for();
        let after = client.turn(&self.device);
        if after == State::Gone {
            self.drop_client(n, ops);
        } else if after != before {
            let set = if after == State::Writes { EventSet::OUT } else { EventSet::IN };
            if let Err(e) = ops.modify(Events::with_data(&client.stream, token, set)) {
                log::warn!("control socket: {e}");
                self.drop_client(n, ops);
            }
        }
    }
}

impl MutEventSubscriber for Control {
    fn process(&mut self, events: Events, ops: &mut EventOps) {
        self.events += 1;
        match events.data() {
            LISTENER => self.accept(ops),
            token => self.serve(token, ops),
        }
    }
    fn init(&mut self, ops: &mut EventOps) {
        if let Err(e) = ops.add(Events::with_data(&self.listener, LISTENER, EventSet::IN)) {
            log::error!("control socket: {e}");
        }
    }
}

impl Client {
    fn waits_for(&self) -> State {
        if self.output.is_empty() {
            State::Reads
        } else {
            State::Writes
        }
    }
    /// Reads once, answers one request, sends what can be sent: the rest is for the next event.
    fn turn(&mut self, device: &Handle) -> State {
        if self.output.is_empty() {
            let mut chunk = [0; MAX_REQUEST];
            match self.stream.read(&mut chunk) {
                Ok(0) => return State::Gone,
                Ok(n) => self.input.extend_from_slice(chunk.get(..n).unwrap_or_default()),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return State::Gone,
            }
            self.take_line(device);
        }
        self.send(device)
    }
    /// Answers the first whole line of the input, if there is one.
    fn take_line(&mut self, device: &Handle) {
        match self.input.iter().position(|&b| b == b'\n') {
            Some(end) if end <= MAX_REQUEST => {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                self.reply(&answer(&line, device));
            }
            None if self.input.len() <= MAX_REQUEST => {}
            _ => {
                self.reply(&Answer::Error(format!("a request of more than {MAX_REQUEST} bytes")));
                self.closing = true;
            }
        }
    }
    fn reply(&mut self, answer: &Answer) {
        self.output = serde_json::to_vec(answer).unwrap_or_else(|_| br#"{"error":"no answer"}"#.to_vec());
        self.output.push(b'\n');
        self.sent = 0;
    }
    fn send(&mut self, device: &Handle) -> State {
        while !self.output.is_empty() {
            match self.stream.write(self.output.get(self.sent..).unwrap_or_default()) {
                Ok(0) => return State::Gone,
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return State::Writes,
                Err(_) => return State::Gone,
            }
            if self.sent < self.output.len() {
                continue;
            }
            self.output = Vec::new();
            if self.closing {
                return State::Gone;
            }
            // What came meanwhile raises no event of its own.
            self.take_line(device);
        }
        State::Reads
    }
}

/// Answers one request.
fn answer(line: &[u8], device: &Handle) -> Answer {
    let request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(e) => return Answer::Error(format!("not a request: {e}")),
    };
    match request {
        Request::Regs { name } => {
            device.look(|gpu| gpu.view_registers(name.as_deref())).map_or_else(refuse, |v| ok(&v))
        }
        Request::Walk { vmid, va } => device.look(|gpu| gpu.view_walk(vmid, va.0)).map_or_else(refuse, |v| ok(&v)),
        Request::Digest { vmid, va, len } => {
            device.look(|gpu| gpu.view_digest(vmid, va.0, len.0)).map_or_else(refuse, |v| ok(&v))
        }
        Request::Rings {} => ok(&device.look(crate::Gpu::view_rings)),
        Request::Tlb { vmid, most } => {
            let most = most.map_or(MAX_TLB_ENTRIES, |most| most.min(MAX_TLB_ENTRIES));
            ok(&device.look(|gpu| gpu.view_tlb(vmid, most)))
        }
        Request::Vmids {} => ok(&device.look(crate::Gpu::view_vmids)),
        Request::Faults {} => ok(&device.look(crate::Gpu::view_faults)),
        Request::Findings {} => match device.look(crate::Gpu::view_findings) {
            Some(findings) => ok(&findings),
            None => refuse("nobody judges the driver: start the device with --check"),
        },
        Request::Inject { spec } => match spec.parse::<Spec>() {
            Ok(_) if device.look(|gpu| gpu.injections().len()) >= MOST_INJECTIONS => {
                refuse(format_args!("{MOST_INJECTIONS} faults are injected already"))
            }
            Ok(spec) => ok(&device.change(|gpu| {
                gpu.inject(spec);
                gpu.injections()
            })),
            Err(e) => refuse(e),
        },
        Request::Injected {} => ok(&device.look(crate::Gpu::injections)),
        Request::Heal {} => ok(&device.change(|gpu| {
            gpu.clear_injected();
            gpu.injections()
        })),
        Request::Summary {} => ok(&device.look(crate::Gpu::view_summary)),
    }
}

fn ok(view: &impl Serialize) -> Answer {
    serde_json::to_value(view).map_or_else(refuse, Answer::Ok)
}

fn refuse(why: impl std::fmt::Display) -> Answer {
    Answer::Error(why.to_string())
}
