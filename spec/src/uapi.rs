// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The driver's ioctls, beside the common DRM ones (GEM close, PRIME, syncobj). The C header is made from this table.
//!
//! All structures have the same layout on 32 and 64 bits: naturally aligned, pointers as 64-bit integers.

/// A member of an ioctl structure, for the C header.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// C name.
    pub name: &'static str,
    /// C type.
    pub ty: &'static str,
    /// Documentation.
    pub doc: &'static str,
}

/// An ioctl structure, for the C header.
#[derive(Clone, Copy, Debug)]
pub struct Struct {
    /// C name.
    pub name: &'static str,
    /// Documentation.
    pub doc: &'static str,
    /// Members.
    pub members: &'static [Member],
    /// Bytes.
    pub size: usize,
}

/// Declares structures once, for Rust and for C.
macro_rules! uapi {
    (@c u32) => { "__u32" };
    (@c u64) => { "__u64" };
    (@c i64) => { "__s64" };
    ($(
        $(#[doc = $doc:literal])+
        $c:ident $name:ident { $($(#[doc = $mdoc:literal])+ $member:ident : $ty:tt,)* }
    )*) => {
        $(
            $(#[doc = $doc])+
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct $name { $($(#[doc = $mdoc])+ pub $member: $ty,)* }
        )*
        /// Every structure of the group, in the order of the C header.
        pub(super) const STRUCTS: &[super::Struct] = &[$(super::Struct {
            name: stringify!($c),
            doc: concat!($($doc),+),
            members: &[$(super::Member { name: stringify!($member), ty: uapi!(@c $ty), doc: concat!($($mdoc),+) }),*],
            size: core::mem::size_of::<$name>(),
        }),*];
    };
}

/// Declares constants once, for Rust and for C (there with UVM_ before the name).
macro_rules! uapi_consts {
    ($($(#[doc = $doc:literal])+ $name:ident = $value:literal;)*) => {
        $($(#[doc = $doc])+ pub const $name: u32 = $value;)*
        /// Every constant of the group.
        pub(super) const CONSTS: &[super::Const] = &[$((stringify!($name), $value, concat!($($doc),+))),*];
    };
}

mod gem;
mod param;
mod queue;
mod submit;
mod svm;
mod vm;

pub use gem::*;
pub use param::*;
pub use queue::*;
pub use submit::*;
pub use svm::*;
pub use vm::*;

/// A constant: name without UVM_, value, documentation.
pub type Const = (&'static str, u32, &'static str);

/// Every constant, group by group, in the order of the C header.
pub const CONSTS: &[&[Const]] = &[param::CONSTS, gem::CONSTS, submit::CONSTS, vm::CONSTS, queue::CONSTS, svm::CONSTS];

/// Every structure, likewise.
pub const STRUCTS: &[&[Struct]] =
    &[param::STRUCTS, gem::STRUCTS, submit::STRUCTS, vm::STRUCTS, queue::STRUCTS, svm::STRUCTS];

/// An ioctl: C name, number above DRM_COMMAND_BASE, structure.
pub const IOCTLS: &[(&str, u32, &str)] = &[
    ("GET_PARAM", nr::GET_PARAM, "drm_uvm_get_param"),
    ("GEM_CREATE", nr::GEM_CREATE, "drm_uvm_gem_create"),
    ("GEM_MMAP", nr::GEM_MMAP, "drm_uvm_gem_mmap"),
    ("GEM_INFO", nr::GEM_INFO, "drm_uvm_gem_info"),
    ("GEM_MOVE", nr::GEM_MOVE, "drm_uvm_gem_move"),
    ("GEM_WAIT", nr::GEM_WAIT, "drm_uvm_gem_wait"),
    ("SUBMIT", nr::SUBMIT, "drm_uvm_submit"),
    ("REG", nr::REG, "drm_uvm_reg"),
    ("VM_BIND", nr::VM_BIND, "drm_uvm_vm_bind"),
    ("FAULT_QUERY", nr::FAULT_QUERY, "drm_uvm_fault_query"),
    ("QUEUE_CREATE", nr::QUEUE_CREATE, "drm_uvm_queue_create"),
    ("QUEUE_DESTROY", nr::QUEUE_DESTROY, "drm_uvm_queue_destroy"),
    ("QUEUE_KICK", nr::QUEUE_KICK, "drm_uvm_queue_kick"),
    ("QUEUE_INFO", nr::QUEUE_INFO, "drm_uvm_queue_info"),
    ("VM_CONFIG", nr::VM_CONFIG, "drm_uvm_vm_config"),
    ("FAULT_NEXT", nr::FAULT_NEXT, "drm_uvm_fault_next"),
    ("HANG_QUERY", nr::HANG_QUERY, "drm_uvm_hang_query"),
    ("GEM_ADVISE", nr::GEM_ADVISE, "drm_uvm_gem_advise"),
    ("SVM_CONFIG", nr::SVM_CONFIG, "drm_uvm_svm_config"),
    ("SVM_PREFETCH", nr::SVM_PREFETCH, "drm_uvm_svm_prefetch"),
    ("SVM_RESIDENCY", nr::SVM_RESIDENCY, "drm_uvm_svm_residency"),
    ("SVM_ADVISE", nr::SVM_ADVISE, "drm_uvm_svm_advise"),
    ("SVM_ATTRIBUTES", nr::SVM_ATTRIBUTES, "drm_uvm_svm_attributes"),
    ("SVM_EVENTS", nr::SVM_EVENTS, "drm_uvm_svm_events"),
    ("GEM_ACCESS", nr::GEM_ACCESS, "drm_uvm_gem_access"),
];

/// Ioctl numbers above DRM_COMMAND_BASE (0x40). All are DRM_IOWR.
#[allow(missing_docs)]
pub mod nr {
    pub const GET_PARAM: u32 = 0;
    pub const GEM_CREATE: u32 = 1;
    pub const GEM_MMAP: u32 = 2;
    pub const GEM_INFO: u32 = 3;
    pub const GEM_MOVE: u32 = 4;
    pub const GEM_WAIT: u32 = 5;
    pub const SUBMIT: u32 = 6;
    pub const REG: u32 = 7;
    pub const VM_BIND: u32 = 8;
    pub const FAULT_QUERY: u32 = 9;
    pub const QUEUE_CREATE: u32 = 10;
    pub const QUEUE_DESTROY: u32 = 11;
    pub const QUEUE_KICK: u32 = 12;
    pub const QUEUE_INFO: u32 = 13;
    pub const VM_CONFIG: u32 = 14;
    pub const FAULT_NEXT: u32 = 15;
    pub const HANG_QUERY: u32 = 16;
    pub const GEM_ADVISE: u32 = 17;
    pub const SVM_CONFIG: u32 = 18;
    pub const SVM_PREFETCH: u32 = 19;
    pub const SVM_RESIDENCY: u32 = 20;
    pub const SVM_ADVISE: u32 = 21;
    pub const SVM_ATTRIBUTES: u32 = 22;
    pub const SVM_EVENTS: u32 = 23;
    pub const GEM_ACCESS: u32 = 27;
}
