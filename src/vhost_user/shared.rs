// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The device as the transport's threads share it.
//!
//! One lock guards the whole device: its inputs are totally ordered, and since the engines work in short quanta, nobody
//! waits long for it. Three kinds of thread meet here: the one that serves the front end's requests (register accesses,
//! start and stop), the one that serves the virtqueues, and the engine's, which works on when a job outlasts the quantum
//! that the two others run at once.
//!
//! # Reset
//! A virtio reset reaches a backend only as the stop of its queues, and so does a pause of the virtual machine. What
//! follows tells them apart: no guest runs during a pause, so a config access while stopped means that the driver has
//! let go of the device. It is reset then, and once more when the driver starts it: a driver finds every register at its
//! reset value at DRIVER_OK, and loses nothing when the machine was merely paused.

use super::engine::Bell;
use super::queues::{Interrupts, Vring};
use super::shmem::Mapper;
use super::window::{Access, Identity, Live, Window};
use crate::bus::SystemMemory;
use crate::device::{Gpu, Progress};
use crate::trace::Tracer;
use parking_lot::lock_api::{Mutex, MutexGuard, RawMutexFair};
use parking_lot::RawMutex;
use std::sync::atomic::{AtomicBool, Ordering};
use uvm_spec::window::{Doorbell, SIZE};
use vm_memory::GuestAddressSpace;

/// Where the device stands between two drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// No driver has started it since power-on or reset.
    Off,
    /// Started: the engines may run once a queue is there.
    On,
    /// Stopped; a pause until shown otherwise.
    Paused,
}

struct Machine {
    gpu: Gpu,
    window: Window,
    life: Life,
    /// Started queues, a bit each.
    queues: u32,
    /// The engine thread is in the middle of a job and comes back by itself.
    engine_busy: bool,
}

impl Machine {
    fn may_run(&self) -> bool {
        self.life == Life::On && self.queues != 0
    }
}

/// The device and what it needs around it. The lock is a parameter, so that a test may decide who gets it next.
pub(super) struct SharedGpu<R = RawMutex> {
    machine: Mutex<R, Machine>,
    memory: SystemMemory,
    pub(super) interrupts: Interrupts,
    pub(super) mapper: Mapper,
    bell: Bell,
    spoken_to: AtomicBool,
}

impl<R: RawMutexFair> SharedGpu<R> {
    pub(super) fn new(gpu: Gpu, identity: Identity, memory: SystemMemory, mapper: Mapper) -> Self {
        let window = Window::new(identity);
        Self {
            machine: Mutex::new(Machine { gpu, window, life: Life::Off, queues: 0, engine_busy: false }),
            memory,
            interrupts: Interrupts::default(),
            mapper,
            bell: Bell::default(),
            spoken_to: AtomicBool::new(false),
        }
    }

    /// System memory, as the front end last told it.
    pub(super) fn memory(&self) -> &SystemMemory {
        &self.memory
    }

    /// The front end has told system memory anew. Returns once no engine works on the old map; says so where VRAM was to
    /// be a part of it and is not.
    pub(super) fn memory_changed(&self) {
        let memory = self.memory.memory();
        if let Some(why) = self.machine.lock().gpu.vram().why_nowhere(&memory) {
            log::error!("{why}");
        }
    }

    /// Notes that a front end has asked something.
    pub(super) fn speak(&self) {
        self.spoken_to.store(true, Ordering::Relaxed);
    }

    /// Whether a front end has ever asked anything.
    pub(super) fn was_spoken_to(&self) -> bool {
        self.spoken_to.load(Ordering::Relaxed)
    }

    /// The config space as the guest sees it.
    pub(super) fn config(&self) -> [u8; SIZE] {
        let mut machine = self.machine.lock();
        self.note_config_access(&mut machine);
        let ih_wptr = std::array::from_fn(|ring| machine.gpu.ih_wptr(ring));
        let vram_base = machine.gpu.vram_base();
        // A carve-out needs no mapping, only guest memory that has it.
        let vram_ready = vram_base.is_some() || self.mapper.is_ready();
        let vram_base = vram_base.unwrap_or(0);
        let counters = machine.gpu.counters();
        if machine.gpu.is_removed() {
            // Nobody drives the bus.
            return [0xff; SIZE];
        }
        machine.window.get(Live { vram_ready, ih_wptr, vram_base, counters })
    }

    /// A write to the config space, and with it perhaps a register access.
    pub(super) fn set_config(&self, offset: usize, bytes: &[u8]) {
        let mut machine = self.machine.lock();
        self.note_config_access(&mut machine);
        if machine.gpu.is_removed() {
            return;
        }
        match machine.window.set(offset, bytes) {
            None => (),
            Some(Access::Read(index)) => {
                let value = machine.gpu.mmio_read(index);
                machine.window.complete(value);
                self.collect(&mut machine);
                drop(machine);
                self.deliver();
            }
            Some(Access::Write { index, value }) => {
                machine.gpu.mmio_write(index, value);
                self.run_inline(machine);
            }
        }
    }

    /// Lets `look` see the device.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Gpu) -> T) -> T {
        look(&self.machine.lock().gpu)
    }

    /// Lets `change` change the device.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Gpu) -> T) -> T {
        let mut machine = self.machine.lock();
        let result = change(&mut machine.gpu);
        self.run_inline(machine);
        result
    }

    /// Rings `doorbells` in their order.
    pub(super) fn ring(&self, doorbells: &[Doorbell]) {
        let mut machine = self.machine.lock();
        for doorbell in doorbells {
            machine.gpu.doorbell(doorbell.slot, doorbell.value);
        }
        self.run_inline(machine);
    }

    /// Runs the engines for one quantum on this thread, so that a small job costs no switch to another, and leaves the
    /// rest to the engine thread.
    fn run_inline(&self, mut machine: MutexGuard<'_, R, Machine>) {
        let idle =
            if machine.engine_busy || !machine.may_run() { true } else { matches!(machine.gpu.run(), Progress::Idle) };
        self.collect(&mut machine);
        drop(machine);
        self.deliver();
        if !idle {
            self.bell.ring();
        }
    }

    /// The engine thread: works whenever there is work, for ever.
    pub(super) fn run_engine(&self) {
        loop {
            match self.turn() {
                Progress::More => (),
                Progress::Waiting(time) => self.bell.wait_for(time),
                Progress::Idle => self.bell.wait(),
            }
        }
    }

    /// A turn of the engine thread: one quantum under the lock.
    fn turn(&self) -> Progress {
        let mut machine = self.machine.lock();
        let progress = if machine.may_run() { machine.gpu.run() } else { Progress::Idle };
        machine.engine_busy = matches!(progress, Progress::More);
        self.collect(&mut machine);
        MutexGuard::unlock_fair(machine);
        self.deliver();
        progress
    }

    /// Takes raised interrupts from the device, under its lock and so in their order.
    fn collect(&self, machine: &mut Machine) {
        while let Some(event) = machine.gpu.take_interrupt() {
            self.interrupts.post(event);
        }
    }

    /// Hands waiting interrupts to the guest.
    pub(super) fn deliver(&self) {
        self.interrupts.deliver(&self.memory);
    }

    /// The driver has acknowledged its features: DRIVER_OK follows at once, or the end of a pause.
    pub(super) fn start(&self) {
        let mut machine = self.machine.lock();
        // Without a queue there was nothing whose stop could have been told: it may be a new driver.
        let resumed = machine.life == Life::Paused || machine.life == Life::On && machine.queues != 0;
        if !resumed {
            machine.gpu.reset();
            self.interrupts.clear();
        }
        machine.life = Life::On;
        drop(machine);
        log::debug!("{}", if resumed { "device resumed" } else { "device started by a driver" });
        self.mapper.start(resumed);
    }

    /// Queue `index` has been started or was kicked.
    pub(super) fn queue_started(&self, index: u16, vring: &Vring) {
        let Some(bit) = 1u32.checked_shl(u32::from(index)) else { return };
        let mut machine = self.machine.lock();
        // The stop of a queue marks the vring before it comes here: a late kick does not bring the queue back.
        if machine.queues & bit != 0 || !super::queues::is_started(vring) {
            return;
        }
        machine.queues |= bit;
        drop(machine);
        self.bell.ring();
    }

    /// Queue `index` is stopped. After this the device touches no memory of the guest until it is started again.
    pub(super) fn queue_stopped(&self, index: u32) {
        self.mapper.stop();
        let mut machine = self.machine.lock();
        machine.queues &= !1u32.checked_shl(index).unwrap_or(0);
        if machine.life == Life::On {
            machine.life = Life::Paused;
            drop(machine);
            log::debug!("device stopped");
        }
    }

    /// A config access while stopped: the driver has reset the device.
    fn note_config_access(&self, machine: &mut Machine) {
        if machine.life == Life::Paused {
            machine.gpu.reset();
            machine.window.reset();
            self.interrupts.clear();
            machine.life = Life::Off;
            log::debug!("device reset by the driver");
        }
    }

    /// Ends all work, for good.
    pub(super) fn shut_down(&self) {
        let mut machine = self.machine.lock();
        machine.life = Life::Off;
        machine.queues = 0;
        machine.gpu.set_trace(Tracer::default());
    }
}

#[cfg(test)]
mod interleavings;
