// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A well-behaved front end with its guest: the steps that QEMU goes through, one by one.

use crate::process::{eventually, PATIENCE};
use crate::ring::{Ring, WRITE};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{mpsc, Arc, Mutex};
use uvm_spec::window::{self, command, offset, status, Doorbell};
use vhost::vhost_user::message::{
    VhostUserConfigFlags, VhostUserHeaderFlag, VhostUserMMap, VhostUserProtocolFeatures as Protocol,
};
use vhost::vhost_user::{Frontend, FrontendReqHandler, VhostUserFrontend, VhostUserFrontendReqHandler};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{Address, Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

/// Where the front end pretends to have mapped guest memory.
const USER: u64 = 0x7000_0000_0000;
/// Guest memory, bytes, from address 0.
pub const RAM: usize = 64 << 20;

const VERSION_1: u64 = 1 << 32;
const PROTOCOL_FEATURES: u64 = 1 << 30;
pub const EVENT_IDX: u64 = 1 << 29;
pub const INDIRECT_DESC: u64 = 1 << 28;

pub const MESSAGES: u64 = 0x20_000;
pub const EVENTS: u64 = 0x21_000;

/// A mapping that the backend asked for.
pub struct Map {
    pub request: VhostUserMMap,
    pub file: File,
    /// Whether features had been acknowledged by then.
    pub started: bool,
}

#[derive(Default)]
struct Channel {
    started: bool,
    /// Refuse, as QEMU does where something is mapped already.
    refuse: bool,
    maps: Option<mpsc::Sender<Map>>,
}

struct Handler(Arc<Mutex<Channel>>);

impl VhostUserFrontendReqHandler for Handler {
    fn shmem_map(&self, request: &VhostUserMMap, fd: &dyn AsRawFd) -> std::io::Result<u64> {
        let channel = self.0.lock().unwrap();
        #[allow(unsafe_code, reason = "the descriptor is lent as a number")]
        // SAFETY: `fd` is open for the call; the copy is ours.
        let file = unsafe { File::from_raw_fd(libc::dup(fd.as_raw_fd())) };
        let map = Map { request: *request, file, started: channel.started };
        let _ = channel.maps.as_ref().unwrap().send(map);
        if channel.refuse {
            return Err(std::io::ErrorKind::AlreadyExists.into());
        }
        Ok(0)
    }
}

pub struct Session {
    pub front: Frontend,
    pub memory: GuestMemoryMmap,
    pub doorbells: Ring,
    pub events: Ring,
    pub maps: mpsc::Receiver<Map>,
    channel: Arc<Mutex<Channel>>,
    /// Virtio features beyond those that are always used.
    pub features: u64,
    cache: [u8; window::SIZE],
    seq: u8,
}

pub fn memfd(size: usize) -> File {
    #[allow(unsafe_code, reason = "memfd_create has no safe wrapper in std")]
    // SAFETY: the name is a C string; the result is checked and ours.
    let file = unsafe {
        let fd = libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0);
        File::from_raw_fd(fd)
    };
    file.set_len(size as u64).unwrap();
    file
}

impl Session {
    /// Connects to the socket at `path` and negotiates, as QEMU does when it starts.
    pub fn connect(path: &Path) -> Self {
        Self::over(UnixStream::connect(path).unwrap())
    }

    pub fn over(stream: UnixStream) -> Self {
        Self::negotiate(stream, true)
    }

    /// The same with a device whose VRAM is guest memory: it has no region to map.
    pub fn connect_uma(path: &Path) -> Self {
        Self::negotiate(UnixStream::connect(path).unwrap(), false)
    }

    fn negotiate(stream: UnixStream, bar: bool) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut front = Frontend::from_stream(stream, window::QUEUES as u64);
        front.set_owner().unwrap();
        let offered = front.get_features().unwrap();
        assert_ne!(offered & VERSION_1, 0);
        let protocol = front.get_protocol_features().unwrap();
        let mut wanted = Protocol::MQ | Protocol::CONFIG | Protocol::REPLY_ACK;
        if bar {
            wanted |= Protocol::BACKEND_REQ | Protocol::BACKEND_SEND_FD | Protocol::SHMEM;
        }
        assert_eq!(protocol, wanted, "QEMU fails with more, the driver with less");
        front.set_protocol_features(wanted).unwrap();
        front.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        assert_eq!(front.get_queue_num().unwrap(), window::QUEUES as u64);

        let (sender, maps) = mpsc::channel();
        let channel = Arc::new(Mutex::new(Channel { maps: Some(sender), ..Channel::default() }));
        let mut handler = FrontendReqHandler::new(Arc::new(Handler(Arc::clone(&channel)))).unwrap();
        handler.set_reply_ack_flag(true);
        if bar {
            front.set_backend_request_fd(&handler.get_tx_raw_fd()).unwrap();
        }
        std::thread::spawn(move || while handler.handle_request().is_ok() {});

        let file = FileOffset::new(memfd(RAM), 0);
        let memory = GuestMemoryMmap::from_ranges_with_files([(GuestAddress(0), RAM, Some(file))]).unwrap();
        let doorbells = Ring::new(memory.clone(), 0x1000, 16);
        let events = Ring::new(memory.clone(), 0x5000, 8);
        let features = EVENT_IDX | INDIRECT_DESC;
        Self { front, memory, doorbells, events, maps, channel, features, cache: [0; window::SIZE], seq: 0 }
    }

    pub fn refuse_maps(&self) {
        self.channel.lock().unwrap().refuse = true;
    }

    /// DRIVER_OK, or the end of a pause: everything is told anew.
    pub fn start(&mut self) {
        self.channel.lock().unwrap().started = true;
        self.front.set_features(VERSION_1 | PROTOCOL_FEATURES | self.features).unwrap();
        self.set_memory();
        for n in 0..window::QUEUES {
            let ring = if n == window::DOORBELL_QUEUE { &self.doorbells } else { &self.events };
            self.front.set_vring_num(n, ring.size).unwrap();
            // Where a driver left off, QEMU says so.
            self.front.set_vring_base(n, ring.used_index()).unwrap();
            self.front.set_vring_addr(n, &Self::addresses(ring)).unwrap();
            self.front.set_vring_kick(n, &ring.kick).unwrap();
            self.front.set_vring_call(n, &ring.call).unwrap();
            self.front.set_vring_enable(n, true).unwrap();
        }
    }

    pub fn addresses(ring: &Ring) -> VringConfigData {
        VringConfigData {
            queue_max_size: 1024,
            queue_size: ring.size,
            flags: 0,
            desc_table_addr: USER + ring.base,
            used_ring_addr: USER + ring.used(),
            avail_ring_addr: USER + ring.avail(),
            log_addr: None,
        }
    }

    pub fn set_memory(&self) {
        let region = self.memory.iter().next().unwrap();
        let info = VhostUserMemoryRegionInfo {
            guest_phys_addr: region.start_addr().raw_value(),
            memory_size: region.len(),
            userspace_addr: USER,
            mmap_offset: 0,
            mmap_handle: region.file_offset().unwrap().file().as_raw_fd(),
        };
        self.front.set_mem_table(&[info]).unwrap();
    }

    /// The stop of the device: a virtio reset, or a pause.
    pub fn stop(&mut self) {
        for n in 0..window::QUEUES {
            self.front.get_vring_base(n).unwrap();
        }
        self.channel.lock().unwrap().started = false;
    }

    /// A guest's load from the config space.
    pub fn load(&mut self, at: usize) -> u32 {
        let size = u32::try_from(window::SIZE).unwrap();
        let (_, block) = self.front.get_config(0, size, VhostUserConfigFlags::empty(), &[0; window::SIZE]).unwrap();
        self.cache.copy_from_slice(&block);
        u32::from_le_bytes(self.cache[at..at + 4].try_into().unwrap())
    }

    /// A guest's store to the config space.
    pub fn store(&mut self, at: usize, value: u32) {
        self.cache[at..at + 4].copy_from_slice(&value.to_le_bytes());
        self.front.set_config(0, VhostUserConfigFlags::empty(), &self.cache).unwrap();
    }

    pub fn read(&mut self, index: u32) -> u32 {
        self.seq = self.seq.wrapping_add(1);
        self.store(offset::CMD, command(self.seq, false, index));
        self.load(offset::DATA)
    }

    pub fn write(&mut self, index: u32, value: u32) {
        self.seq = self.seq.wrapping_add(1);
        self.store(offset::DATA, value);
        self.store(offset::CMD, command(self.seq, true, index));
    }

    /// Waits for the mapping of VRAM and for the bit that tells of it.
    pub fn vram(&mut self) -> Map {
        let map = self.maps.recv_timeout(PATIENCE).unwrap();
        eventually("VRAM_READY", || self.load(offset::STATUS) & status::VRAM_READY != 0);
        map
    }

    /// Posts `doorbells` in one buffer and waits until it is used; its length is told.
    pub fn ring(&mut self, doorbells: &[Doorbell]) -> u32 {
        self.ring_only(doorbells);
        self.doorbells.next_used().1
    }

    /// Posts `doorbells` in one buffer.
    pub fn ring_only(&mut self, doorbells: &[Doorbell]) {
        let bytes: Vec<u8> = doorbells.iter().flat_map(|d| d.pack()).collect();
        self.memory.write_slice(&bytes, GuestAddress(MESSAGES)).unwrap();
        self.doorbells.descriptor(0, MESSAGES, u32::try_from(bytes.len()).unwrap(), 0, 0);
        self.doorbells.post(0);
        self.doorbells.kick();
    }

    /// Posts event buffer `n`.
    pub fn post_event_buffer(&mut self, n: u16) {
        self.events.descriptor(n, EVENTS + 16 * u64::from(n), 16, WRITE, 0);
        self.events.post(n);
        self.events.kick();
    }

    /// Waits for an interrupt: IH ring and write pointer.
    pub fn event(&mut self) -> (u32, u32) {
        let (head, len) = self.events.next_used();
        assert_eq!(len, 16);
        let at = EVENTS + 16 * u64::from(head);
        (self.dword(at), self.dword(at + 4))
    }

    pub fn dword(&self, at: u64) -> u32 {
        self.memory.load(GuestAddress(at), std::sync::atomic::Ordering::Acquire).unwrap()
    }
}
