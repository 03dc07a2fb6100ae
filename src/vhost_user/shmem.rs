// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! VRAM as shared memory region 0.
//!
//! The front end maps VRAM's memfd into the BAR when it is asked to, and forgets the mapping with each virtio reset. It
//! may only be asked while the device is started, and it answers from the loop that also sends us requests: so a thread of
//! its own asks, each time the driver has acknowledged features, and the guest waits for VRAM_READY. A driver that resets
//! the device at once instead of waiting can overtake the request, which QEMU 11.1 does not survive: what was sent cannot
//! be taken back.

use parking_lot::{Condvar, Mutex};
use std::fs::File;
use std::io;
use std::sync::Arc;
use vhost::vhost_user::message::{VhostUserMMap, VhostUserMMapFlags};
use vhost::vhost_user::{Backend, VhostUserFrontendReqHandler};

/// Id of VRAM's shared memory region.
pub(super) const REGION: u8 = 0;

#[derive(Default)]
struct State {
    channel: Option<Backend>,
    /// A start that wants VRAM, and whether the front end may still hold the mapping of the one before.
    wanted: Option<Start>,
    /// Counts starts and stops, so that an answer to an older start is known as one.
    epoch: u64,
    ready: bool,
}

#[derive(Clone, Copy)]
struct Start {
    resumed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Asks the front end for VRAM's mapping.
pub(super) struct Mapper(Arc<Shared>);

impl Mapper {
    /// A mapper of the first `size` bytes of `vram`, with its thread.
    pub(super) fn new(vram: File, size: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new().name("shmem".into()).spawn(move || theirs.run(&vram, size))?;
        Ok(Self(shared))
    }

    /// A mapper that has nothing to map: VRAM is guest RAM, which the guest reaches anyway.
    pub(super) fn idle() -> Self {
        Self(Arc::default())
    }

    /// The channel on which to ask.
    pub(super) fn set_channel(&self, channel: Backend) {
        self.0.state.lock().channel = Some(channel);
    }

    /// The driver starts the device. `resumed`: it was merely paused.
    pub(super) fn start(&self, resumed: bool) {
        let mut state = self.0.state.lock();
        state.epoch = state.epoch.wrapping_add(1);
        state.ready = false;
        state.wanted = Some(Start { resumed });
        self.0.changed.notify_one();
    }

    /// The device is stopped: the mapping is gone or of no use, and none may be asked for.
    pub(super) fn stop(&self) {
        let mut state = self.0.state.lock();
        state.epoch = state.epoch.wrapping_add(1);
        state.ready = false;
        state.wanted = None;
    }

    /// Whether the front end has mapped VRAM.
    pub(super) fn is_ready(&self) -> bool {
        self.0.state.lock().ready
    }
}

impl Shared {
    fn run(&self, vram: &File, size: u64) {
        loop {
            let mut state = self.state.lock();
            let start = loop {
                match state.wanted.take() {
                    Some(start) => break start,
                    None => self.changed.wait(&mut state),
                }
            };
            let epoch = state.epoch;
            let Some(channel) = state.channel.clone() else {
                log::error!("the front end gave no channel for shared memory: the guest has no VRAM BAR");
                continue;
            };
            drop(state);
            let answer = map(&channel, vram, size);
            let mut state = self.state.lock();
            if state.epoch != epoch {
                log::debug!("VRAM's mapping was answered after the device had been stopped: {answer:?}");
                continue;
            }
            state.ready = match answer {
                Ok(_) => {
                    log::debug!("VRAM is mapped");
                    true
                }
                // A pause leaves the mapping where it was; the front end then refuses a second one.
                Err(e) if start.resumed => {
                    log::debug!("VRAM is mapped since before the pause: {e}");
                    true
                }
                Err(e) => {
                    log::error!("the front end does not map VRAM: {e}");
                    false
                }
            };
        }
    }
}

fn map(channel: &Backend, vram: &File, size: u64) -> io::Result<u64> {
    let request = VhostUserMMap {
        shmid: REGION,
        fd_offset: 0,
        shm_offset: 0,
        len: size,
        flags: VhostUserMMapFlags::WRITABLE.bits(),
        ..Default::default()
    };
    channel.shmem_map(&request, vram)
}
