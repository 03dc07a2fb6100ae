// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a case is and what all cases use.

use std::fmt::{Debug, Display};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use uvm_spec::uapi;

use super::ktap;
use crate::drm::{self, Bo, Device, Domain, FenceState};
use crate::ib::Ib;
use crate::rng::{mix, Rng};

/// How long a submission that should end may take: longer than the driver's own timeout, so that the driver speaks first.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long to watch for something that must not happen.
pub const GLANCE: Duration = Duration::from_millis(100);

/// A test case.
pub struct Case {
    /// Name within its suite.
    pub name: &'static str,
    /// What it does.
    pub run: Run,
}

/// What a case does.
#[derive(Clone, Copy)]
pub enum Run {
    /// Runs once.
    Once(fn(&Ctx) -> Result<()>),
    /// Runs for each SDMA instance.
    PerRing(fn(&Ctx, u32) -> Result<()>),
}

/// The error of a case that cannot run here.
#[derive(Debug, thiserror::Error)]
#[error("skipped: {0}")]
pub struct Skip(pub String);

/// What a case gets.
pub struct Ctx {
    name: String,
    seed: u64,
    seconds: Option<u64>,
}

impl Ctx {
    /// For the case `name` under the run's `seed`.
    pub fn new(name: &str, seed: u64) -> Self {
        Self { name: name.to_owned(), seed, seconds: None }
    }

    /// The same with as long as cases that can take any time shall take.
    pub fn lasting(self, seconds: Option<u64>) -> Self {
        Self { seconds, ..self }
    }

    /// How long the command wants cases to take that can take any time.
    pub fn seconds(&self) -> Option<u64> {
        self.seconds
    }

    /// The case's full name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Numbers of the case's own: the same for the same seed, whatever other cases run.
    pub fn rng(&self) -> Rng {
        Rng::new(self.name.bytes().fold(self.seed, |seed, byte| mix(seed ^ u64::from(byte))))
    }

    /// A diagnostic line.
    pub fn note(&self, text: impl Display) {
        // A console that is gone ends the run by itself.
        let _ = ktap::comment(std::io::stdout(), text);
    }

    /// A client of the driver.
    pub fn device(&self) -> Result<Device> {
        Ok(Device::open()?)
    }

    /// The same where the device has the feature `cap`, one of `uvm_spec::window::cap`; else the case is skipped.
    pub fn device_with(&self, cap: u64, name: &str) -> Result<Device> {
        let device = self.device()?;
        if device.param(uapi::PARAM_CAPABILITIES)? & cap == 0 {
            return Err(Skip(format!("the device is not {name}")).into());
        }
        Ok(device)
    }
}

/// A seed for runs that name none.
pub fn seed_from_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Short enough to type.
    mix(now.as_secs() ^ u64::from(now.subsec_nanos()) << 32) >> 40
}

/// Fails unless the two are equal, and says what was expected.
pub fn same<T: PartialEq + Debug>(what: impl Display, seen: T, expected: T) -> Result<()> {
    ensure!(seen == expected, "{what}: expected {}, seen {}", show(&expected), show(&seen));
    Ok(())
}

/// A value as people read it: a larger number also in hexadecimal, the way registers and addresses are known.
fn show(value: &impl Debug) -> String {
    let plain = format!("{value:?}");
    let is_number = plain.len() > 1 && plain.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        format!("{plain} ({value:#x?})")
    } else {
        plain
    }
}

/// Fails unless the bytes are equal, and says where they first differ and in how many places.
pub fn same_bytes(what: impl Display, seen: &[u8], expected: &[u8]) -> Result<()> {
    same(format_args!("{what}: bytes"), seen.len(), expected.len())?;
    if seen == expected {
        return Ok(());
    }
    let wrong = || seen.iter().zip(expected).enumerate().filter(|(_, (seen, expected))| seen != expected);
    let first = wrong().next().map_or(0, |(at, _)| at);
    let last = wrong().next_back().map_or(0, |(at, _)| at);
    let part =
        |bytes: &[u8]| bytes.iter().skip(first).take(8).map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    anyhow::bail!(
        "{what}: {} of {} bytes are wrong, from {first:#x} to {last:#x}; at {first:#x} expected {}, seen {}",
        wrong().count(),
        seen.len(),
        part(expected),
        part(seen)
    )
}

/// Fails unless the call was refused with one of `expected`.
pub fn refused<T>(what: impl Display, result: drm::Result<T>, expected: &[Errno]) -> Result<()> {
    let wanted = || expected.iter().map(Errno::to_string).collect::<Vec<_>>().join(" or ");
    match result {
        Err(error) if expected.contains(&error.errno) => Ok(()),
        Err(error) => anyhow::bail!("{what}: expected {}, seen {error}", wanted()),
        Ok(_) => anyhow::bail!("{what}: expected {}, but it succeeded", wanted()),
    }
}

/// Runs packets and fails unless they end well.
pub fn complete(device: &Device, ring: u32, ib: &Ib) -> Result<()> {
    let state = device.run(ring, ib, PATIENCE).with_context(|| format!("SDMA {ring}"))?;
    same(format_args!("fence of a submission on SDMA {ring}"), state, FenceState::Done)
}

/// Asks until the answer is yes; false when `timeout` passes first.
pub fn eventually(timeout: Duration, mut ask: impl FnMut() -> Result<bool>) -> Result<bool> {
    let start = Instant::now();
    loop {
        if ask()? {
            return Ok(true);
        }
        if start.elapsed() > timeout {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What is asked for, once it stays the same for a while: what clients that are gone had held is given back later.
pub fn settled<T: PartialEq>(mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let mut last = ask()?;
    loop {
        std::thread::sleep(GLANCE);
        let now = ask()?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
}

/// A buffer object with `content` (padded with zeros to a page).
pub fn filled(device: &Device, domain: Domain, content: &[u8]) -> Result<Bo> {
    let bo = Bo::new(device, content.len() as u64, domain)?;
    bo.map()?.write(0, content);
    Ok(bo)
}

/// The first `length` bytes of a buffer object, through a mapping of its own.
pub fn content(bo: &Bo, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    bo.map()?.read(0, &mut bytes);
    Ok(bytes)
}

/// Bytes that tell where they belong: each 64-bit word is its position mixed with `salt`, so that a swapped, shifted or
/// stale page shows.
pub fn stamps(salt: u64, length: usize) -> Vec<u8> {
    let words = (0_u64..).map(|n| stamp(salt, n).to_le_bytes());
    words.flatten().take(length).collect()
}

/// The stamp of 64-bit word `n`.
pub fn stamp(salt: u64, n: u64) -> u64 {
    mix(salt ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_well() {
        assert_eq!((show(&7), show(&0xffff_u32), show(&"x")), ("7".into(), "65535 (0xffff)".into(), "\"x\"".into()));
        assert_eq!(show(&FenceState::Failed(Errno::TIME)), "failed (Timer expired (os error 62))");
    }

    #[test]
    fn difference_is_told_by_place_and_count() {
        assert!(same_bytes("x", &[1, 2, 3], &[1, 2, 3]).is_ok());
        let told =
            same_bytes("x", &[1, 9, 3, 8], &[1, 2, 3, 4]).map_or_else(|error| error.to_string(), |()| String::new());
        assert_eq!(told, "x: 2 of 4 bytes are wrong, from 0x1 to 0x3; at 0x1 expected 02 03 04, seen 09 03 08");
    }

    #[test]
    fn stamps_differ_by_place_and_salt() {
        assert_ne!(stamps(1, 16)[..8], stamps(1, 16)[8..]);
        assert_ne!(stamps(1, 8), stamps(2, 8));
        assert_eq!(stamps(1, 8), stamp(1, 0).to_le_bytes());
    }
}
