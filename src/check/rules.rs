// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The rules, with the chapter of the programming guide that says each.

/// Declares the rules once: variant, name, chapter.
macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $id:ident = $name:literal in $chapter:literal;)*) => {
        /// A rule of the programming guide.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $($(#[doc = $doc])+ $id,)* }
        impl Rule {
            /// Every rule.
            pub const ALL: &[Self] = &[$(Self::$id,)*];
            /// Its name, as findings and tests call it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$id => $name,)* }
            }
            /// The chapter of the guide that says it.
            pub const fn chapter(self) -> &'static str {
                match self { $(Self::$id => $chapter,)* }
            }
            /// What it demands.
            pub const fn says(self) -> &'static str {
                match self { $(Self::$id => concat!($($doc),+),)* }
            }
        }
    };
}

rules! {
    /// A table entry was changed, no invalidation followed, and work submitted later still uses the old translation; or,
    /// where faults are retried, it is in use seconds later.
    StaleTranslation = "stale_translation" in "gart.md: Invalidating";
    /// A VMID got another page table and translated without having been invalidated.
    VmidReused = "vmid_reused_without_flush" in "gpuvm.md";
    /// The page table of a VMID was changed while a ring works in it.
    BaseChanged = "base_changed_while_active" in "gpuvm.md";
    /// A table entry, or a directory entry, points where no memory is.
    Nowhere = "entry_to_nowhere" in "gart.md: A page table entry";
    /// An access went wrong and only the dummy page saved it.
    DummyPage = "dummy_page_saved" in "gart.md";
    /// A table entry was changed while a packet uses its page, in an address space whose faults are not retried.
    InFlight = "entry_changed_in_flight" in "gpuvm.md";
    /// A write pointer ran more than the ring's size ahead of its read pointer.
    Overrun = "ring_overrun" in "sdma.md";
    /// A write pointer went backwards while the ring was enabled.
    Backwards = "wptr_backwards" in "sdma.md";
    /// A doorbell rang for a ring that is not enabled.
    DoorbellDisabled = "doorbell_on_disabled_ring" in "sdma.md";
    /// A doorbell rang that is routed to nobody.
    DoorbellNobody = "doorbell_for_nobody" in "sdma.md";
    /// Work was submitted to a halted instance, and nobody starts that.
    Halted = "submitted_to_halted_engine" in "sdma.md";
    /// A ring met a packet that cannot be executed.
    IllegalPacket = "illegal_packet" in "packets.md";
    /// A fence's value went backwards.
    FenceBackwards = "fence_backwards" in "packets.md";
    /// A register was written with bits set that none of its fields has.
    ReservedBits = "reserved_bits_set" in "registers.md";
    /// A read-only register was written.
    ReadOnly = "read_only_written" in "registers.md";
    /// A register was touched that does not exist.
    Undefined = "undefined_register" in "registers.md";
    /// Something was switched on that depends on a register that was never written.
    ResetValue = "reset_value_dependence" in "device.md";
    /// A request to an invalidation engine followed another whose acknowledge was never read.
    AckNotAwaited = "ack_not_awaited" in "gart.md: Invalidating";
    /// A semaphore of an invalidation engine was taken and not given back.
    SemaphoreHeld = "semaphore_never_released" in "gart.md: Invalidating";
    /// Encrypted bytes were copied to a clear page.
    Leak = "tmz_copied_to_clear" in "gpuvm.md";
    /// A system page was written through two mappings of which one snoops and one does not.
    Alias = "snoop_alias" in "gart.md: A page table entry";
    /// VRAM was used after the driver said that it was free.
    UseAfterFree = "vram_used_after_free" in "memory.md";
    /// Vectors lie in an interrupt ring and the driver does not read them.
    Unacknowledged = "interrupt_unacknowledged" in "interrupts.md";
    /// An interrupt ring overflowed.
    IhOverflow = "ih_overflow" in "interrupts.md";
    /// A retry fault was never answered.
    RetryUnanswered = "retry_never_answered" in "faults.md: Retry";
    /// A retry fault was answered that waits for no answer.
    RetryAnsweredTwice = "retry_answered_twice" in "faults.md: Retry";
}
