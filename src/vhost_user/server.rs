// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The device served on a socket: threads, and the end of a session.

use super::backend::{Backend, AGAIN};
use super::engine;
use super::shared::SharedGpu;
use super::shmem::Mapper;
use super::socket::{Socket, SocketError};
use super::window::Identity;
use crate::bus::SystemMemory;
use crate::device::{Config, Gpu};
use crate::gmc::Mmu;
use parking_lot::Mutex;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use thiserror::Error;
use uvm_spec::window::cap;
use vhost::vhost_user::{Error as ProtocolError, Listener};
use vhost_user_backend::{Error as DaemonError, VhostUserDaemon};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// Why a session cannot start or how it ended badly.
#[derive(Debug, Error)]
pub enum ServeError {
    /// A thread, an event or a copy of a descriptor.
    #[error("{what}: {source}")]
    System {
        /// What was asked of the system.
        what: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// The vhost-user library gave up; its error may hold a thread's panic and is kept as text.
    #[error("{0}")]
    Daemon(String),
    /// The socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The front end sent something that is no vhost-user.
    #[error("the front end broke the protocol: {0}")]
    Protocol(ProtocolError),
}

impl ServeError {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
    fn daemon(e: DaemonError) -> Self {
        Self::Daemon(e.to_string())
    }
}

/// A device that serves one front end.
pub struct Server {
    device: Arc<SharedGpu>,
    finished: Arc<EventFd>,
    outcome: Arc<Mutex<Option<Result<(), ServeError>>>>,
}

/// The device of a [`Server`], for who looks at it meanwhile.
#[derive(Clone)]
pub struct Handle(Arc<SharedGpu>);

impl Handle {
    /// Lets `look` see the device. Everybody else waits: it is to be quick.
    pub fn look<R>(&self, look: impl FnOnce(&Gpu) -> R) -> R {
        self.0.look(look)
    }
    /// Lets `change` change the device, and the engines go on from there.
    pub fn change<R>(&self, change: impl FnOnce(&mut Gpu) -> R) -> R {
        self.0.change(change)
    }
}

impl Server {
    /// Serves `gpu` on `socket`. `memory` is the map that `gpu` was made with.
    pub fn start(gpu: Gpu, config: &Config, memory: SystemMemory, socket: Socket) -> Result<Self, ServeError> {
        let uma = gpu.vram().file().is_none();
        let visible = config.segments.visible(config.vram_size);
        let caps = [
            (cap::RETRY_FAULTS, true),
            (cap::ACCESS, true),
            (cap::UMA, uma),
            (cap::VIDMM, config.mmu == Mmu::Vidmm),
            (cap::SMALL_BAR, visible < config.vram_size),
            (cap::CHECKS, gpu.checks().is_on()),
        ];
        let caps = caps.iter().filter(|(_, has)| *has).map(|(bit, _)| bit).sum();
        let segments = config.segments.describe(config.vram_size);
        let identity = Identity { caps, vram_size: config.vram_size, levels: config.levels, segments };
        let mapper = match gpu.vram().file() {
            Some(vram) => {
                let vram = vram.try_clone().map_err(ServeError::system("VRAM's descriptor"))?;
                Mapper::new(vram, visible).map_err(ServeError::system("a thread"))?
            }
            None => Mapper::idle(),
        };
        let device = Arc::new(SharedGpu::new(gpu, identity, memory.clone(), mapper));
        let backend = Backend::new(Arc::clone(&device), if uma { None } else { Some(visible) })
            .map_err(ServeError::system("an event"))?;
        let backend = Arc::new(backend);
        let daemon =
            VhostUserDaemon::new("vhost-user".into(), Arc::clone(&backend), memory).map_err(ServeError::daemon)?;
        for handler in daemon.get_epoll_handlers() {
            handler
                .register_listener(backend.again.as_raw_fd(), EventSet::IN, AGAIN)
                .map_err(ServeError::system("an event"))?;
        }
        engine::spawn(&device).map_err(ServeError::system("a thread"))?;

        let finished = Arc::new(EventFd::new(EFD_NONBLOCK).map_err(ServeError::system("an event"))?);
        let outcome = Arc::new(Mutex::new(None));
        let server = Self { device, finished, outcome };
        let listener = socket.into_listener()?;
        server.spawn_session(daemon, listener)?;
        Ok(server)
    }

    fn spawn_session(&self, mut daemon: VhostUserDaemon<Arc<Backend>>, listener: Listener) -> Result<(), ServeError> {
        let (device, finished, outcome) =
            (Arc::clone(&self.device), Arc::clone(&self.finished), Arc::clone(&self.outcome));
        let session = move || {
            let result = session(&mut daemon, listener, &device);
            device.shut_down();
            *outcome.lock() = Some(result);
            if let Err(e) = finished.write(1) {
                log::error!("cannot tell of the session's end: {e}");
            }
        };
        std::thread::Builder::new().name("session".into()).spawn(session).map_err(ServeError::system("a thread"))?;
        Ok(())
    }

    /// The device, for who looks at it meanwhile.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.device))
    }

    /// Readable once the session has ended.
    pub fn finished(&self) -> &EventFd {
        &self.finished
    }

    /// How the session ended: `Ok` where the front end simply left. None while it lasts.
    pub fn outcome(&self) -> Option<Result<(), ServeError>> {
        self.outcome.lock().take()
    }

    /// Whether a front end is being served.
    pub fn is_serving(&self) -> bool {
        self.device.was_spoken_to() && self.outcome.lock().is_none()
    }

    /// Ends the device's work; what was traced is written out.
    pub fn shut_down(&self) {
        self.device.shut_down();
    }
}

/// One front end, from its connection to its end. A peer that connects and leaves without a word, as a launcher does that
/// looks whether the socket is there, is none.
fn session(
    daemon: &mut VhostUserDaemon<Arc<Backend>>,
    mut listener: Listener,
    device: &SharedGpu,
) -> Result<(), ServeError> {
    loop {
        daemon.start(&mut listener).map_err(ServeError::daemon)?;
        log::debug!("a front end has connected");
        let result = daemon.wait();
        let left = match result {
            Ok(()) => Ok(()),
            Err(DaemonError::HandleRequest(ProtocolError::Disconnected | ProtocolError::PartialMessage)) => Ok(()),
            Err(DaemonError::HandleRequest(e)) => Err(ServeError::Protocol(e)),
            Err(e) => return Err(ServeError::daemon(e)),
        };
        if device.was_spoken_to() {
            return left.inspect(|()| log::info!("the front end has left"));
        }
        match left {
            Ok(()) => log::debug!("a peer has left without a word; waiting for the next"),
            Err(e) => log::warn!("{e}; waiting for the next"),
        }
    }
}
