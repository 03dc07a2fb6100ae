// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A run with one of everything, and what keeps its events.

use crate::common::{packets as p, *};
use std::path::Path;
use std::sync::{Arc, Mutex};
use vhost_device_uvm::trace::{Depth, Event, Reader, Recorder, Sink, Tracer};

/// Keeps events in memory.
#[derive(Clone, Default)]
pub struct Memory(pub Arc<Mutex<Vec<(u64, Event)>>>);

impl Sink for Memory {
    fn record(&mut self, time: u64, event: &Event) {
        self.0.lock().unwrap().push((time, event.clone()));
    }
}

impl Memory {
    /// What was recorded so far.
    pub fn events(&self) -> Vec<(u64, Event)> {
        self.0.lock().unwrap().clone()
    }
    /// Records what `rig`'s device does from now on.
    pub fn attach(&self, rig: &mut Rig, depth: Depth) {
        rig.gpu.set_trace(Tracer::new(depth, Box::new(self.clone())));
    }
}

/// Every event of the trace at `path`.
pub fn read(path: &Path) -> Vec<(u64, Event)> {
    Reader::open(path).unwrap().map(Result::unwrap).collect()
}

/// Records what `rig`'s device does from now on in a file.
pub fn record(rig: &mut Rig, depth: Depth, path: &Path) {
    rig.gpu.set_trace(Tracer::new(depth, Box::new(Recorder::create(path, depth).unwrap())));
}

/// A file with these events.
pub fn write(path: &Path, events: &[(u64, Event)]) {
    let mut sink = Recorder::create(path, Depth::Full).unwrap();
    for (time, event) in events {
        sink.record(*time, event);
    }
}

/// Compares `text` with the file that holds what was looked at and found good; UPDATE_GENERATED=1 writes it.
pub fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/trace/{name}.golden"));
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{}", path.display());
}

/// A short run with one of everything: registers, a doorbell, packets of ring and buffer, a fault, a drop, a reset.
pub fn scripted_run(rig: &mut Rig) {
    rig.clock.advance(150);
    rig.write(0x0de0, 1);
    rig.write(0x0ef0, 0x1e0 << 2 | 4 << 16);
    rig.write(0x1260 + 0xab, 0x1e0 << 2);
    rig.write(0x1260 + 0x92, 1 << 28);
    rig.read(0x1a000 + 0x68b);
    rig.read(0x57);
    let raw: Vec<u8> = p::fence(FB + 8 * MIB, 5).iter().flat_map(|dw| dw.to_le_bytes()).collect();
    rig.poke_va(IB, &raw);
    let ring = [
        p::copy(FB + 8 * MIB + 64, GART + 40 * 4096, 256),
        p::indirect(0, IB, 4),
        p::srbm_write(reg::SCRATCH, 0x1234, 15),
        p::poll_reg(reg::SCRATCH, 3, 0x34, 0xff, 1000, 2),
        p::trap(0xabc),
    ];
    rig.push(0, &ring.concat());
    let wptr = rig.model.engines[0].wptr;
    rig.gpu.doorbell(0xf0, wptr);
    rig.gpu.doorbell(0x10, 1);
    rig.run_to_idle();
    rig.clock.advance(1_000_000);
    rig.map(100, 0);
    rig.execute(1, &p::fence(GART + 100 * 4096 + 8, 1));
    while rig.gpu.take_interrupt().is_some() {}
    rig.write(reg::IH_CNTL, 0);
    rig.execute(1, &p::trap(1));
    rig.gpu.reset();
}
