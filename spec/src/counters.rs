// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Access counters of the MM hub: which system pages an engine keeps reaching over the bus, told by granule.

use crate::Block;

/// The counters. No original part of this family has them; they follow what later GPUs of others have.
pub const COUNTERS: Block = Block { prefix: "ACCESS_COUNTER_", base: 0x1e100, regs: REGS };

/// Granules that are counted at once.
pub const GRANULES: usize = 4096;
/// log2 of the pages of the smallest granule, 64 KiB.
pub const LEAST_SHIFT: u32 = 4;
/// Largest value of GRANULARITY: 2 MiB.
pub const MOST_GRANULARITY: u32 = 5;

registers! {
    /// Counting: a granule has 64 KiB << GRANULARITY (0 to 5, 2 MiB; more is 5); CLIENTS has a bit each for SDMA0, SDMA1 and the access engine. A write forgets every count.
    CNTL = "CNTL" @ 0x0 Rw = 0x0000_0400 { ENABLE 0, GRANULARITY 6:4, CLIENTS 10:8 }
    /// Accesses of a granule after which its vector is raised, once until it is cleared; 0 counts as 1.
    THRESHOLD = "THRESHOLD" @ 0x1 Rw = 0x0000_0100 { ACCESSES 15:0 }
    /// A write of 1 to ALL forgets every count; without it the count of the granule in ADDR and VMID.
    CLEAR = "CLEAR" @ 0x2 Wo { ALL 0 }
    /// Page number, low and high dword, that COUNT and CLEAR are about.
    ADDR = "ADDR_{}" @ 0x3 [2; 1] Rw {}
    /// Address space that COUNT and CLEAR are about.
    VMID = "VMID" @ 0x5 Rw { VMID 3:0 }
    /// Accesses counted of the granule in ADDR and VMID.
    COUNT = "COUNT" @ 0x6 Ro {}
    /// Granules that are counted now, at most 4096.
    TRACKED = "TRACKED" @ 0x7 Ro {}
    /// Vectors raised since reset.
    NOTIFIED = "NOTIFIED" @ 0x8 Ro {}
    /// Accesses since reset that found no counter free.
    MISSED = "MISSED" @ 0x9 Ro {}
}
