// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The structures and numbers of the C border. Docs are kernel-doc: they become the header's.

use uvm_policy::{Action, Allocation, BoInfo, Domain, Location, SegmentStats, Started};

/// System pages that the GPU has no address for.
pub const UVM_POLICY_DOMAIN_SYSTEM: u32 = 0;
/// System pages bound in the GART.
pub const UVM_POLICY_DOMAIN_GTT: u32 = 1;
/// The device's own memory.
pub const UVM_POLICY_DOMAIN_VRAM: u32 = 2;
/// Number of domains; a mask of domains has bits 1 << domain.
pub const UVM_POLICY_DOMAINS: usize = 3;

/// Request: search from the highest address down.
pub const UVM_POLICY_TOP_DOWN: u32 = 1;

/// Placement: the CPU touches it about as often as the GPU does.
pub const UVM_POLICY_PLACE_CPU_ACCESS: u32 = 1;
/// Placement: @preferred names a domain.
pub const UVM_POLICY_PLACE_PREFERRED: u32 = 2;

/// Move: the buffer holds nothing yet; nobody wrote it, no page of it exists.
pub const UVM_POLICY_MOVE_EMPTY: u32 = 1;
/// Move: to another range even if the buffer is in that domain already.
pub const UVM_POLICY_MOVE_RELOCATE: u32 = 2;
/// Move: take the new range from the top of its segment.
pub const UVM_POLICY_MOVE_TOP_DOWN: u32 = 4;

/// Make sure the buffer's system pages exist, zeroed if new, and stay (pin).
pub const UVM_POLICY_OP_POPULATE: u32 = 1;
/// GART entries of [@to, @to + @size) onto the buffer's system pages; invalidate.
pub const UVM_POLICY_OP_BIND: u32 = 2;
/// GART entries of [@from, @from + @size) onto the dummy page; invalidate, await the ACK.
pub const UVM_POLICY_OP_UNBIND: u32 = 3;
/// Copy @size bytes from @from to @to and await the fence; see @window.
pub const UVM_POLICY_OP_COPY: u32 = 4;
/// Fill [@to, @to + @size) with zeros and await the fence.
pub const UVM_POLICY_OP_CLEAR: u32 = 5;
/// The system pages hold nothing any more: give them back.
pub const UVM_POLICY_OP_RELEASE_PAGES: u32 = 6;

/// Most actions of one move.
pub const UVM_POLICY_MAX_ACTIONS: usize = 4;

/// struct uvm_policy_config - what the device has
/// @page_size: granule of all segments in bytes, a power of two
/// @vram_base: offset that VRAM ranges count from, a multiple of the page size
/// @vram_size: bytes of VRAM, a multiple of the page size; 0: no VRAM
/// @gart_base: offset that GTT ranges count from, a multiple of the page size
/// @gart_size: bytes that the GART maps, a multiple of the page size; 0: no GART
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // said in kernel-doc above, here and below
pub struct UvmPolicyConfig {
    pub page_size: u64,
    pub vram_base: u64,
    pub vram_size: u64,
    pub gart_base: u64,
    pub gart_size: u64,
}

/// struct uvm_policy_request - what range is wanted
/// @size: bytes, not 0; rounded up to pages
/// @align: a power of two; less than a page means a page
/// @min: lowest offset the range may have
/// @max: offset that the range must end at or before; 0: no limit
/// @flags: UVM_POLICY_TOP_DOWN
/// @pad: must be 0
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct UvmPolicyRequest {
    pub size: u64,
    pub align: u64,
    pub min: u64,
    pub max: u64,
    pub flags: u32,
    pub pad: u32,
}

/// struct uvm_policy_range - a range that was given
/// @id: names it from now on; never 0
/// @offset: first byte, counted from the segment's base
/// @size: bytes, a multiple of the page size
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicyRange {
    pub id: u64,
    pub offset: u64,
    pub size: u64,
}

/// struct uvm_policy_stats - how full a segment is
/// @size: bytes of the segment
/// @used: bytes given out, reserved ones included
/// @reserved: bytes reserved
/// @longest_free: bytes of the longest free range
/// @blocks: number of ranges given out, reserved ones included
/// @holes: number of free ranges
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicyStats {
    pub size: u64,
    pub used: u64,
    pub reserved: u64,
    pub longest_free: u64,
    pub blocks: u64,
    pub holes: u64,
}

/// struct uvm_policy_placement - what is known of a buffer when its place is chosen
/// @size: bytes, not 0
/// @allowed: mask of domains it may be in, bits 1 << domain
/// @preferred: the domain its user would like, if @flags says so
/// @flags: UVM_POLICY_PLACE_*
/// @pad: must be 0
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct UvmPolicyPlacement {
    pub size: u64,
    pub allowed: u32,
    pub preferred: u32,
    pub flags: u32,
    pub pad: u32,
}

/// struct uvm_policy_domains - domains to try, best first
/// @count: how many of @domain are valid; 0: none can ever hold the buffer
/// @domain: UVM_POLICY_DOMAIN_*
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicyDomains {
    pub count: u32,
    pub domain: [u32; UVM_POLICY_DOMAINS],
}

/// struct uvm_policy_bo_config - what a new buffer is to be
/// @size: bytes, not 0; rounded up to pages
/// @align: alignment wherever it has an address: a power of two; less than a page means a page
/// @allowed: mask of domains it may ever be in; SYSTEM, where it begins, always is
/// @pad: must be 0
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct UvmPolicyBoConfig {
    pub size: u64,
    pub align: u64,
    pub allowed: u32,
    pub pad: u32,
}

/// struct uvm_policy_bo_info - a buffer as it is now
/// @size: bytes, a multiple of the page size
/// @offset: where in its domain; 0 in SYSTEM
/// @moving: token of the move in flight; 0: none
/// @domain: where its bytes are valid; during a move, where they come from
/// @pins: how many users need it to stay
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicyBoInfo {
    pub size: u64,
    pub offset: u64,
    pub moving: u64,
    pub domain: u32,
    pub pins: u32,
}

/// struct uvm_policy_action - one step of a move
/// @op: UVM_POLICY_OP_*; says which of the others count
/// @from_domain: domain of @from
/// @to_domain: domain of @to
/// @pad: 0
/// @from: offset in @from_domain; 0 in SYSTEM
/// @to: offset in @to_domain; 0 in SYSTEM
/// @size: bytes
/// @window: GART offset of the window for a copy whose one end is in SYSTEM: bind the next
///          @window_size bytes of system pages there, copy them, unbind, until @size is done
/// @window_size: bytes of the window; 0: both ends have GPU addresses, copy at once
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicyAction {
    pub op: u32,
    pub from_domain: u32,
    pub to_domain: u32,
    pub pad: u32,
    pub from: u64,
    pub to: u64,
    pub size: u64,
    pub window: u64,
    pub window_size: u64,
}

/// struct uvm_policy_move - a move that has begun
/// @token: names it for uvm_policy_move_complete(); 0: the buffer is there already, nothing begun
/// @offset: where in @domain the buffer will be
/// @domain: UVM_POLICY_DOMAIN_*
/// @count: how many of @actions are valid
/// @actions: what to do, in order
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicyMove {
    pub token: u64,
    pub offset: u64,
    pub domain: u32,
    pub count: u32,
    pub actions: [UvmPolicyAction; UVM_POLICY_MAX_ACTIONS],
}

const _: () = assert!(UVM_POLICY_MAX_ACTIONS == uvm_policy::Actions::MAX);
const _: () = assert!(UVM_POLICY_DOMAIN_SYSTEM == Domain::System as u32);
const _: () = assert!(UVM_POLICY_DOMAIN_GTT == Domain::Gtt as u32);
const _: () = assert!(UVM_POLICY_DOMAIN_VRAM == Domain::Vram as u32);

impl From<Allocation> for UvmPolicyRange {
    fn from(range: Allocation) -> Self {
        Self { id: range.id.raw(), offset: range.offset, size: range.size }
    }
}

impl From<SegmentStats> for UvmPolicyStats {
    fn from(stats: SegmentStats) -> Self {
        let SegmentStats { size, used, reserved, longest_free, blocks, holes } = stats;
        Self { size, used, reserved, longest_free, blocks, holes }
    }
}

impl From<BoInfo> for UvmPolicyBoInfo {
    fn from(info: BoInfo) -> Self {
        Self {
            size: info.size,
            offset: info.location.offset,
            moving: info.moving.map_or(0, |token| token.raw()),
            domain: info.location.domain as u32,
            pins: info.pins,
        }
    }
}

impl From<Location> for UvmPolicyMove {
    /// The buffer is there already.
    fn from(at: Location) -> Self {
        Self { offset: at.offset, domain: at.domain as u32, ..Self::default() }
    }
}

impl From<Started> for UvmPolicyMove {
    fn from(started: Started) -> Self {
        let mut plan = Self { token: started.token.raw(), ..Self::from(started.to) };
        for (place, action) in plan.actions.iter_mut().zip(started.actions.as_slice()) {
            *place = (*action).into();
            plan.count = plan.count.saturating_add(1);
        }
        plan
    }
}

impl From<Action> for UvmPolicyAction {
    fn from(action: Action) -> Self {
        let none = Self::default();
        match action {
            Action::Populate => Self { op: UVM_POLICY_OP_POPULATE, ..none },
            Action::Bind { offset, size } => {
                Self { op: UVM_POLICY_OP_BIND, to_domain: UVM_POLICY_DOMAIN_GTT, to: offset, size, ..none }
            }
            Action::Unbind { offset, size } => {
                Self { op: UVM_POLICY_OP_UNBIND, from_domain: UVM_POLICY_DOMAIN_GTT, from: offset, size, ..none }
            }
            Action::Copy { from, to, size, window, window_size } => Self {
                op: UVM_POLICY_OP_COPY,
                from_domain: from.domain as u32,
                to_domain: to.domain as u32,
                from: from.offset,
                to: to.offset,
                size,
                window,
                window_size,
                ..none
            },
            Action::Clear { at, size } => {
                Self { op: UVM_POLICY_OP_CLEAR, to_domain: at.domain as u32, to: at.offset, size, ..none }
            }
            Action::ReleasePages => Self { op: UVM_POLICY_OP_RELEASE_PAGES, ..none },
        }
    }
}
