// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Counters: one set an address space, and one of all that is gone.

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// What happened since the start. Pages where not said otherwise.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct SvmStats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl SvmStats {
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)*
            }
        }
    };
}

counts! {
    /// Faults that came in, a count.
    faults
    /// Those on a page that another one of the same batch was on too.
    duplicates
    /// Those on a page that is believed to be mapped as needed: told before it was.
    stale
    /// Blocks served, one a batch each, a count.
    blocks
    /// Pages planned to be mapped where they are.
    mapped
    /// Pages planned to be mapped in system memory, because they should stay there.
    remote
    /// Pages planned to come to VRAM, prefetched ones included.
    to_vram
    /// Pages planned to go to system memory.
    to_system
    /// Pages planned to get a second copy.
    duplicated
    /// Faults that were refused, a count.
    denied
    /// Pages that a fault brought besides its own because of the granule.
    granule
    /// Pages prefetched by density.
    density
    /// Pages prefetched by correlation.
    correlated
    /// Pages prefetched because somebody asked.
    asked
    /// Pages that came to VRAM.
    came
    /// Those of them that were prefetched.
    prefetched
    /// Pages that went back because the CPU wanted them.
    cpu_faults
    /// Pages that left VRAM for want of room.
    evicted
    /// Pages that could not be moved.
    failed
    /// Pages that went back within the lapse.
    bounced
    /// Pages that were found to thrash.
    thrashing
    /// Accesses that had to wait for the other side's slice, a count.
    throttled
    /// Pages that were pinned.
    pinned
    /// Blocks that should have been watched and could not be, a count.
    unwatched
    /// Notifications of access counters, a count.
    notifications
    /// Pages that they bring to VRAM.
    counted
    /// Pages mapped again for those who always want them mapped.
    remapped
    /// Blocks forgotten to make room for others, a count.
    forgotten
    /// Records that tools did not read in time, a count.
    records_lost
}
