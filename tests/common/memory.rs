// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Memory as the tests see it: through its files, past every line of the device's access code.

use std::fs::File;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};

/// Guest RAM in regions, each behind a memfd.
pub struct Ram {
    regions: Vec<(u64, u64, File)>,
}

impl Ram {
    /// RAM with regions at (address, bytes).
    pub fn new(ranges: &[(u64, u64)]) -> Self {
        Self { regions: ranges.iter().map(|&(at, len)| (at, len, memfd(len))).collect() }
    }
    /// What the device is given.
    pub fn map(&self) -> GuestMemoryMmap {
        let ranges = self.regions.iter().map(|(at, len, file)| {
            (GuestAddress(*at), *len as usize, Some(FileOffset::new(file.try_clone().unwrap(), 0)))
        });
        GuestMemoryMmap::from_ranges_with_files(ranges).unwrap()
    }
    /// Reads at bus address `at`; the range may span adjacent regions.
    pub fn read(&self, at: u64, buf: &mut [u8]) {
        self.each(at, buf.len(), |file, offset, part| file.read_exact_at(&mut buf[part], offset).unwrap());
    }
    /// Writes at bus address `at`.
    pub fn write(&self, at: u64, data: &[u8]) {
        self.each(at, data.len(), |file, offset, part| file.write_all_at(&data[part], offset).unwrap());
    }
    fn each(&self, at: u64, len: usize, mut op: impl FnMut(&File, u64, std::ops::Range<usize>)) {
        let mut done = 0;
        while done < len {
            let here = at + done as u64;
            let (start, size, file) = self
                .regions
                .iter()
                .find(|(start, size, _)| (*start..start + size).contains(&here))
                .unwrap_or_else(|| panic!("no RAM at {here:#x}"));
            let n = (len - done).min((start + size - here) as usize);
            op(file, here - start, done..done + n);
            done += n;
        }
    }
}

#[allow(unsafe_code, reason = "memfd_create has no safe wrapper in std")]
fn memfd(len: u64) -> File {
    // SAFETY: the name is a NUL-terminated string; the call has no other precondition.
    let fd = unsafe { libc::memfd_create(c"uvm-test-ram".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0, "memfd: {}", std::io::Error::last_os_error());
    // SAFETY: the kernel just gave us this descriptor and nobody else owns it.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(len).unwrap();
    file
}
