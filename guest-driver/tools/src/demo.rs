// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! `uvm-demo FILE`: a file's bytes go SYSTEM -> GTT -> VRAM -> VRAM -> GTT -> SYSTEM by SDMA; SHA-256 tells at each stop
//! whether they are still the file's.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use sha2::{Digest, Sha256};
use uvm_spec::{uapi, PAGE_SIZE};

use crate::drm::{Bo, Device, Domain, FenceState, Mapping};
use crate::ib::{Ib, Place};

/// Bytes that are hashed at a time; small enough for the caches.
const CHUNK: usize = 128 << 10;
/// Longest wait for one copy.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was done to the bytes, and what they were then.
struct Stop {
    name: &'static str,
    by: &'static str,
    time: Duration,
    hash: Sha256,
}

impl Stop {
    fn new(name: &'static str, by: &'static str) -> Self {
        Self { name, by, time: Duration::ZERO, hash: Sha256::new() }
    }

    /// Times `work`, then hashes the first `length` bytes behind `map`.
    fn pass(&mut self, map: &Mapping, length: usize, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let start = Instant::now();
        work().with_context(|| self.name.to_owned())?;
        self.arrived(map, length, start.elapsed());
        Ok(())
    }

    /// The bytes are behind `map`, which took `time`.
    fn arrived(&mut self, map: &Mapping, length: usize, time: Duration) {
        self.time += time;
        let mut chunk = vec![0; CHUNK];
        let mut at = 0;
        while at < length {
            let part = chunk.get_mut(..CHUNK.min(length - at)).unwrap_or_default();
            map.read(at, part);
            self.hash.update(&*part);
            at += part.len();
        }
    }
}

/// Entry point.
pub fn main(args: &[String]) -> Result<ExitCode> {
    let [path] = args else {
        eprintln!("usage: uvm-demo FILE");
        return Ok(ExitCode::from(2));
    };
    let start = Instant::now();
    let device = Device::open()?;
    let mut file = File::open(path).with_context(|| format!("opening {path}"))?;
    ensure!(file.metadata().with_context(|| path.clone())?.is_file(), "{path} is not a file");
    let before = Counted::now(&device)?;
    let (length, windows, original, stops) = send(&device, &mut file).with_context(|| path.clone())?;
    let counted = Counted::now(&device)?.since(&before);

    println!("demo: {path}, {}, SHA-256 {original}", Size(length));
    if windows > 1 {
        println!("demo: more than VRAM holds twice: it went in {windows} windows");
    }
    println!("  {:<14} {:<14} {:>10} {:>9} {:>11}  SHA-256", "step", "by", "size", "ms", "MiB/s");
    let mut wrong = 0;
    for stop in stops {
        let hash = hex(stop.hash);
        let verdict = if hash == original { "equal" } else { "WRONG" };
        wrong += u32::from(hash != original);
        let (ms, rate) = (stop.time.as_secs_f64() * 1e3, mib(length) / stop.time.as_secs_f64().max(1e-9));
        let (name, by, size) = (stop.name, stop.by, Size(length).to_string());
        println!("  {name:<14} {by:<14} {size:>10} {ms:>9.2} {rate:>11.1}  {verdict}");
    }
    println!("{counted}");
    if wrong != 0 {
        bail!("the bytes were not the file's at {wrong} of the stops");
    }
    println!("demo: ok, {} through 6 stops, equal at each, in {:.2} s", Size(length), start.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

/// Sends all of `file` through the domains. Gives its length, the windows it took, its hash, and the stops.
fn send(device: &Device, file: &mut File) -> Result<(u64, u32, String, [Stop; 6])> {
    let length = file.metadata()?.len();
    let free = |size, used| Ok::<_, anyhow::Error>(device.param(size)?.saturating_sub(device.param(used)?));
    // Two objects are in VRAM at once, one in the GART.
    let room = (free(uapi::PARAM_VRAM_VISIBLE, uapi::PARAM_VRAM_USED)? / 2)
        .min(free(uapi::PARAM_GTT_SIZE, uapi::PARAM_GTT_USED)?);
    // Some is left to others, and to the pieces that free memory is in.
    let room = (room - room / 8) / PAGE_SIZE * PAGE_SIZE;
    ensure!(room > 0, "no free VRAM, or no free room in the GART");
    ensure!(length > 0, "it is empty: there is nothing to send");
    let mut original = Sha256::new();
    let mut stops = [
        Stop::new("file -> SYSTEM", "CPU"),
        Stop::new("SYSTEM -> GTT", "GART binding"),
        Stop::new("GTT -> VRAM", "SDMA 0 move"),
        Stop::new("VRAM -> VRAM", "SDMA 1 packets"),
        Stop::new("VRAM -> GTT", "SDMA 0 move"),
        Stop::new("GTT -> SYSTEM", "GART unbinding"),
    ];
    let (mut sent, mut windows) = (0, 0);
    while sent < length {
        let window = room.min(length - sent);
        send_window(device, file, usize::try_from(window)?, &mut original, &mut stops)?;
        sent += window;
        windows += 1;
    }
    Ok((length, windows, hex(original), stops))
}

fn send_window(
    device: &Device,
    file: &mut File,
    length: usize,
    original: &mut Sha256,
    stops: &mut [Stop; 6],
) -> Result<()> {
    let [filled, bound, in_vram, copied, left, unbound] = stops;
    let first = Bo::new(device, length as u64, Domain::System)?;
    let map = first.map()?;
    let time = fill(file, &map, length, original).context(filled.name)?;
    filled.arrived(&map, length, time);
    bound.pass(&map, length, || Ok(first.move_to(Domain::Gtt, 0)?))?;
    in_vram.pass(&map, length, || Ok(first.move_to(Domain::Vram, 0)?))?;
    let second = Bo::new(device, length as u64, Domain::Vram)?;
    let second_map = second.map()?;
    copied.pass(&second_map, length, || {
        let mut ib = Ib::new();
        ib.copy(Place::Bo(first.handle(), 0), Place::Bo(second.handle(), 0), length as u64);
        match device.run(1, &ib, PATIENCE)? {
            FenceState::Done => Ok(()),
            state => bail!("the copy ended as {state:?}"),
        }
    })?;
    // What comes now is the copy; the first object is no longer needed.
    drop((map, first));
    left.pass(&second_map, length, || Ok(second.move_to(Domain::Gtt, 0)?))?;
    unbound.pass(&second_map, length, || Ok(second.move_to(Domain::System, 0)?))
}

/// Reads `length` bytes of the file into the mapping and into the hash. Gives the time without that of the hash.
fn fill(file: &mut File, map: &Mapping, length: usize, original: &mut Sha256) -> Result<Duration> {
    let mut chunk = vec![0; CHUNK];
    let (mut at, mut time) = (0, Duration::ZERO);
    while at < length {
        let part = chunk.get_mut(..CHUNK.min(length - at)).unwrap_or_default();
        let start = Instant::now();
        file.read_exact(part).context("it became shorter while it was read")?;
        map.write(at, part);
        time += start.elapsed();
        original.update(&*part);
        at += part.len();
    }
    Ok(time)
}

/// What the device and the driver count, each with the parameter that tells it.
const COUNTERS: [(&str, &str, u32); 10] = [
    ("device", "packets", uapi::PARAM_DEVICE_PACKETS),
    ("device", "bytes", uapi::PARAM_DEVICE_BYTES),
    ("device", "interrupts", uapi::PARAM_DEVICE_INTERRUPTS),
    ("device", "page-table walks", uapi::PARAM_DEVICE_WALKS),
    ("device", "faults", uapi::PARAM_DEVICE_FAULTS),
    ("driver", "bytes moved", uapi::PARAM_BYTES_MOVED),
    ("driver", "fences", uapi::PARAM_FENCES),
    ("driver", "interrupts", uapi::PARAM_INTERRUPTS),
    ("driver", "faults", uapi::PARAM_FAULTS),
    ("driver", "timeouts", uapi::PARAM_TIMEOUTS),
];

/// What has been counted at some time.
struct Counted([u64; COUNTERS.len()]);

impl Counted {
    fn now(device: &Device) -> Result<Self> {
        let mut values = [0; COUNTERS.len()];
        for (value, (_, _, param)) in values.iter_mut().zip(COUNTERS) {
            *value = device.param(param)?;
        }
        Ok(Self(values))
    }

    fn since(mut self, before: &Self) -> Self {
        self.0.iter_mut().zip(before.0).for_each(|(now, before)| *now = now.saturating_sub(before));
        self
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = "";
        for (value, (who, what, _)) in self.0.iter().zip(COUNTERS) {
            match last {
                "" => write!(f, "{who}: {value} {what}")?,
                last if last == who => write!(f, ", {value} {what}")?,
                _ => write!(f, "\n{who}: {value} {what}")?,
            }
            last = who;
        }
        Ok(())
    }
}

/// Bytes, for people.
struct Size(u64);

#[allow(clippy::cast_precision_loss)]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes @ 0..10_240 => write!(f, "{bytes} B"),
            bytes => write!(f, "{:.1} MiB", mib(bytes)),
        }
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_the_published_one() {
        let mut hash = Sha256::new();
        hash.update(b"abc");
        assert_eq!(hex(hash), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn counters_are_listed_by_who_counts() {
        let text = Counted([7; COUNTERS.len()]).since(&Counted([4; COUNTERS.len()])).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("device: 3 packets, 3 bytes, 3 interrupts"));
        assert!(lines[1].starts_with("driver: 3 bytes moved, 3 fences"));
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(Size(37).to_string(), "37 B");
        assert_eq!(Size(3 << 19).to_string(), "1.5 MiB");
    }
}
