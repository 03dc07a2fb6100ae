// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Page faults as values, and how the fault status register tells them.

use super::Access;
use serde::{Deserialize, Serialize};
use std::fmt;
use uvm_spec::hub::{mm, permission, walker_error, Cid};
use uvm_spec::{ih, Field, Reg};

/// Why an address does not translate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Outside the space's limits, or the space is disabled.
    Range,
    /// The directory entry of this level (0 is the one above the page table) is not valid.
    Pde(u8),
    /// The page table entry is not valid.
    Valid,
    /// The entry denies the access.
    Permission,
    /// A table or page lies where no memory is.
    Nack,
    /// The page is the one that nothing should reach.
    DummyPage,
    /// An untranslated address (system aperture) that lies in no memory.
    Unmapped,
    /// The entry is marked as not worth a retry; told as not valid.
    NoRetry,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range => f.write_str("outside of the address space"),
            Self::Pde(level) => write!(f, "PDB{level}'s entry is not valid"),
            Self::Valid => f.write_str("the page table entry is not valid"),
            Self::Permission => f.write_str("the entry denies the access"),
            Self::Nack => f.write_str("no memory is there"),
            Self::Unmapped => f.write_str("in the system aperture, but in no memory"),
            Self::DummyPage => f.write_str("it leads to the dummy page"),
            Self::NoRetry => f.write_str("marked as not worth a retry"),
        }
    }
}

/// A failed translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// Address space.
    pub vmid: u8,
    /// Virtual address, any byte of the page.
    pub va: u64,
    /// What was wanted.
    pub access: Access,
    /// Why it failed.
    pub cause: Cause,
    /// The access waits and may be retried.
    pub retry: bool,
}

impl Fault {
    /// The fault that `vector` tells of, if it does; why it failed is not told, and stands as not valid.
    pub fn of_vector(vector: &ih::Vector) -> Option<Self> {
        let hub = matches!(vector.client, ih::client::VMC | ih::client::UTCL2);
        (hub && vector.source == ih::source::PAGE_FAULT).then(|| {
            let told = ih::PageFault::unpack(vector.data);
            let access = match (told.atomic, told.write) {
                (true, _) => Access::Atomic,
                (_, true) => Access::Write,
                _ => Access::Read,
            };
            Self { vmid: vector.vmid, va: told.va, access, cause: Cause::Valid, retry: told.retry }
        })
    }
    /// The status register's value, as if by client `cid`.
    pub fn status(&self, cid: Cid) -> u32 {
        use mm::VM_L2_PROTECTION_FAULT_STATUS as S;
        let wanted = match self.access {
            Access::Read => permission::READ,
            Access::Write | Access::Atomic => permission::WRITE,
            Access::Execute => permission::EXECUTE,
        };
        let write = self.access.writes();
        let (walker, permissions) = match self.cause {
            Cause::Range => (walker_error::RANGE, 0),
            Cause::Pde(level) => {
                ((walker_error::PDE0 + u32::from(level)).min(walker_error::PDE2), permission::VALID | wanted)
            }
            Cause::Valid | Cause::NoRetry => (walker_error::NONE, permission::VALID | wanted),
            Cause::Permission => (walker_error::NONE, wanted),
            Cause::Nack => (walker_error::NACK, 0),
            Cause::DummyPage => (walker_error::DUMMY_PAGE, 0),
            Cause::Unmapped => (walker_error::NONE, 0),
        };
        S::WALKER_ERROR.of(walker)
            | S::PERMISSION_FAULTS.of(permissions)
            | S::MAPPING_ERROR.of(u32::from(self.cause == Cause::Unmapped))
            | S::CID.of(if write { cid.write } else { cid.read })
            | S::RW.of(u32::from(write))
            | S::ATOMIC.of(u32::from(self.access == Access::Atomic))
            | S::VMID.of(u32::from(self.vmid))
    }

    /// The switches for this cause: interrupt and default page in VM_CONTEXT_CNTL, default page in the fault control.
    pub(super) fn switches(&self) -> Switches {
        use mm::{VM_CONTEXT_CNTL as C, VM_L2_PROTECTION_FAULT_CNTL as F};
        let (interrupt, default, hub_default) = match self.cause {
            Cause::Range | Cause::Unmapped => (
                C::RANGE_PROTECTION_FAULT_ENABLE_INTERRUPT,
                C::RANGE_PROTECTION_FAULT_ENABLE_DEFAULT,
                F::RANGE_PROTECTION_FAULT_ENABLE_DEFAULT,
            ),
            Cause::Pde(level) => (
                C::PDE0_PROTECTION_FAULT_ENABLE_INTERRUPT,
                C::PDE0_PROTECTION_FAULT_ENABLE_DEFAULT,
                match level {
                    0 => F::PDE0_PROTECTION_FAULT_ENABLE_DEFAULT,
                    1 => F::PDE1_PROTECTION_FAULT_ENABLE_DEFAULT,
                    _ => F::PDE2_PROTECTION_FAULT_ENABLE_DEFAULT,
                },
            ),
            Cause::Nack => (
                C::VALID_PROTECTION_FAULT_ENABLE_INTERRUPT,
                C::VALID_PROTECTION_FAULT_ENABLE_DEFAULT,
                F::NACK_PROTECTION_FAULT_ENABLE_DEFAULT,
            ),
            Cause::DummyPage => (
                C::DUMMY_PAGE_PROTECTION_FAULT_ENABLE_INTERRUPT,
                C::DUMMY_PAGE_PROTECTION_FAULT_ENABLE_DEFAULT,
                F::DUMMY_PAGE_PROTECTION_FAULT_ENABLE_DEFAULT,
            ),
            Cause::Valid | Cause::NoRetry => (
                C::VALID_PROTECTION_FAULT_ENABLE_INTERRUPT,
                C::VALID_PROTECTION_FAULT_ENABLE_DEFAULT,
                F::VALID_PROTECTION_FAULT_ENABLE_DEFAULT,
            ),
            Cause::Permission => match self.access {
                Access::Read => (
                    C::READ_PROTECTION_FAULT_ENABLE_INTERRUPT,
                    C::READ_PROTECTION_FAULT_ENABLE_DEFAULT,
                    F::READ_PROTECTION_FAULT_ENABLE_DEFAULT,
                ),
                Access::Write | Access::Atomic => (
                    C::WRITE_PROTECTION_FAULT_ENABLE_INTERRUPT,
                    C::WRITE_PROTECTION_FAULT_ENABLE_DEFAULT,
                    F::WRITE_PROTECTION_FAULT_ENABLE_DEFAULT,
                ),
                Access::Execute => (
                    C::EXECUTE_PROTECTION_FAULT_ENABLE_INTERRUPT,
                    C::EXECUTE_PROTECTION_FAULT_ENABLE_DEFAULT,
                    F::EXECUTE_PROTECTION_FAULT_ENABLE_DEFAULT,
                ),
            },
        };
        Switches { interrupt, default, hub_default }
    }
}

/// The fields that decide what a fault does.
pub(super) struct Switches {
    /// VM_CONTEXT_CNTL: raise an interrupt.
    pub interrupt: Field,
    /// VM_CONTEXT_CNTL: the default page stands in.
    pub default: Field,
    /// VM_L2_PROTECTION_FAULT_CNTL: the default page stands in, whatever the context says.
    pub hub_default: Field,
}

/// The two hubs' registers have the same fields; this says so where a field of one is used on the other.
const _: () = {
    const fn fields(reg: &Reg) -> usize {
        reg.fields.len()
    }
    assert!(fields(&mm::VM_CONTEXT_CNTL) == fields(&uvm_spec::hub::gc::VM_CONTEXT_CNTL));
};
