// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A page-table walker as one would write it from the format's description: plain byte arrays, plain arithmetic.

/// What is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    Execute,
    Atomic,
}

/// Why it fails; `Pde` counts from the directory right above the page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Range,
    Pde(u32),
    Valid,
    Permission,
    Nack,
    Unmapped,
}

/// Where a byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loc {
    System(u64),
    Vram(u64),
    /// Reads as zero, drops writes.
    Nothing,
}

/// Memory in plain arrays.
#[derive(Clone)]
pub struct Bytes {
    /// (bus address, content).
    pub ram: Vec<(u64, Vec<u8>)>,
    pub vram: Vec<u8>,
}

impl Bytes {
    /// The byte at `loc`.
    pub fn at(&mut self, loc: Loc) -> Option<&mut u8> {
        match loc {
            Loc::Vram(o) => self.vram.get_mut(usize::try_from(o).ok()?),
            Loc::System(a) => {
                let (start, data) =
                    self.ram.iter_mut().find(|(start, data)| a >= *start && a - *start < data.len() as u64)?;
                data.get_mut((a - *start) as usize)
            }
            Loc::Nothing => None,
        }
    }
    /// The rest of the region that bus address `at` lies in.
    pub fn ram_from(&mut self, at: u64) -> &mut [u8] {
        let region = self.ram.iter_mut().find(|(start, data)| at >= *start && at - *start < data.len() as u64);
        let (start, data) = region.unwrap_or_else(|| panic!("no RAM at {at:#x}"));
        &mut data[(at - *start) as usize..]
    }
    fn entry(&mut self, loc: Loc) -> Option<u64> {
        let mut value = 0;
        for i in 0..8 {
            let byte = match loc {
                Loc::Vram(o) => Loc::Vram(o.checked_add(i)?),
                Loc::System(a) => Loc::System(a.checked_add(i)?),
                Loc::Nothing => return None,
            };
            value |= u64::from(*self.at(byte)?) << (8 * i);
        }
        Some(value)
    }
}

/// An address space.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    pub enabled: bool,
    pub depth: u32,
    /// Pages that one page table maps, log2.
    pub block_bits: u32,
    pub first_page: u64,
    pub last_page: u64,
    pub root: u64,
    pub fb_offset: u64,
}

fn place(entry: u64, low_bits: u32, fb_offset: u64) -> Option<Loc> {
    let address = (entry % (1 << 48)) >> low_bits << low_bits;
    match entry >> 1 & 1 {
        1 => Some(Loc::System(address)),
        _ => Some(Loc::Vram(address.checked_sub(fb_offset)?)),
    }
}

/// Where `va` is. Pages that one entry of directory level `l` maps: 1 for the page table itself, then
/// 2^block_bits, and 512 times more each level up.
pub fn walk(memory: &mut Bytes, space: &Space, va: u64, kind: Kind) -> Result<Loc, Why> {
    let page = va / 4096;
    if !space.enabled || page < space.first_page || page > space.last_page {
        return Err(Why::Range);
    }
    let pages_of = |level: u32| match level {
        0 => 1,
        l => (1u64 << space.block_bits) * 512u64.pow(l - 1),
    };
    let relative = page - space.first_page;
    let mut parent = space.root;
    let mut level = space.depth;
    // Pages of an entry in the table at hand: a directory's BLOCK_FRAGMENT_SIZE makes its page table coarser.
    let mut coarse = 1;
    // Whether the table at hand is the one behind a coarse entry.
    let mut further = false;
    loop {
        let table = place(parent, 6, space.fb_offset).ok_or(Why::Nack)?;
        if level == 0 && !further {
            coarse = 1u64 << ((parent >> 59) as u32).min(space.block_bits);
        }
        let pages = if further { 1 } else { pages_of(level) * if level == 0 { coarse } else { 1 } };
        let mut slot = relative / pages;
        if further {
            slot %= coarse;
        } else if level < space.depth {
            // Below the root, a table has as many entries as its parent's entry covers.
            slot %= pages_of(level + 1) / pages;
        }
        let at = match table {
            Loc::System(a) => Loc::System(a + 8 * slot),
            Loc::Vram(o) => Loc::Vram(o + 8 * slot),
            Loc::Nothing => return Err(Why::Nack),
        };
        let entry = memory.entry(at).ok_or(Why::Nack)?;
        let bit = |n: u32| entry >> n & 1 == 1;
        let (valid, prt) = (bit(0), bit(51));
        if level == 0 && !further && coarse > 1 && valid && bit(56) {
            (parent, further) = (entry, true);
            continue;
        }
        let leaf = level == 0 || bit(54);
        if leaf && valid && bit(1) && prt {
            return Err(Why::Valid);
        }
        if !valid {
            return match (prt, level) {
                (true, _) => Ok(Loc::Nothing),
                (_, 0) => Err(Why::Valid),
                (_, l) => Err(Why::Pde(l - 1)),
            };
        }
        if !leaf {
            (parent, level) = (entry, level - 1);
            continue;
        }
        let allowed = match kind {
            Kind::Execute => bit(4),
            Kind::Read => bit(5),
            Kind::Write => bit(6),
            Kind::Atomic => bit(6) && !bit(52),
        };
        if !allowed {
            return Err(Why::Permission);
        }
        let within = relative % pages * 4096 + va % 4096;
        let loc = match place(entry, 12, space.fb_offset).ok_or(Why::Nack)? {
            Loc::System(a) => Loc::System(a + within),
            Loc::Vram(o) => Loc::Vram(o + within),
            Loc::Nothing => Loc::Nothing,
        };
        return Ok(loc);
    }
}
