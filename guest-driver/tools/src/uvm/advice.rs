// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a process says about its memory beforehand. Nothing of it has to be followed; the driver's policy knows it.

use anyhow::{ensure, Result};
use uvm_spec::uapi;

use super::{Memory, Uvm};
use crate::drm::{Device, Domain, May};

/// What a process says about memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The GPU is to have it near.
    PreferDevice,
    /// The CPU is to have it near.
    PreferHost,
    /// Who uses it has it near.
    PreferNobody,
    /// The GPU is to find it mapped wherever it is, and moves nothing by its faults.
    Accessed(bool),
    /// It is read much and written little, and by nobody but with [`Memory::write`]: both sides may have their copy.
    ReadMostly(bool),
    /// log2 of the pages that a fault of the GPU brings; None: as usual.
    Granule(Option<u8>),
    /// It is in the group of that number; None: in none.
    Group(Option<u32>),
    /// Nothing was said.
    Nothing,
}

/// Ranges of memory that move together, or not at all while they are held. Gone with the value.
pub struct Group {
    device: Device,
    number: u32,
}

impl Group {
    /// By which [`Advice::Group`] names it.
    pub fn number(&self) -> u32 {
        self.number
    }
    /// Nothing of it moves from now on.
    pub fn hold(&self) -> Result<()> {
        self.device.advise(0, 0, uapi::SVM_HOLD_GROUP, self.number)?;
        Ok(())
    }
    /// It may move again.
    pub fn free(&self) -> Result<()> {
        self.device.advise(0, 0, uapi::SVM_FREE_GROUP, self.number)?;
        Ok(())
    }
    /// Brings all of it near the GPU, or back; tells how many bytes moved.
    pub fn prefetch(&self, to_device: bool) -> Result<u64> {
        let domain = if to_device { Domain::Vram } else { Domain::System };
        Ok(self.device.prefetch_group(self.number, domain)?.moved)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = self.device.advise(0, 0, uapi::SVM_END_GROUP, self.number) {
            eprintln!("# group {}: {error}", self.number);
        }
    }
}

impl Uvm {
    /// A new group, of no memory yet. The process's own memory only has such.
    pub fn group(&self) -> Result<Group> {
        let number = self.device.advise(0, 0, uapi::SVM_NEW_GROUP, 0)?;
        Ok(Group { device: self.device.clone(), number })
    }

    /// Says something about memory. A buffer knows only where it is best, and is moved there.
    pub fn advise(&self, memory: &Memory, advice: Advice) -> Result<()> {
        if memory.bo.is_some() {
            ensure!(matches!(advice, Advice::PreferDevice | Advice::PreferHost), "buffers know no {advice:?}");
            return self.prefetch(memory, advice == Advice::PreferDevice).map(drop);
        }
        let (what, value) = match advice {
            Advice::PreferDevice => (uapi::SVM_PREFERRED, uapi::SVM_IN_VRAM),
            Advice::PreferHost => (uapi::SVM_PREFERRED, uapi::SVM_IN_SYSTEM),
            Advice::PreferNobody => (uapi::SVM_PREFERRED, uapi::SVM_ANYWHERE),
            Advice::Accessed(on) => (uapi::SVM_ACCESSED, on.into()),
            Advice::ReadMostly(on) => (uapi::SVM_DUPLICATE, on.into()),
            Advice::Granule(order) => (uapi::SVM_GRANULE, order.map_or(uapi::SVM_ANYWHERE, Into::into)),
            Advice::Group(group) => (uapi::SVM_GROUP, group.unwrap_or(0)),
            Advice::Nothing => (uapi::SVM_RESET, 0),
        };
        self.device.advise(memory.at, memory.bytes, what, value)?;
        if let Advice::ReadMostly(on) = advice {
            let map = memory.map()?;
            map.protect(0, map.len(), if on { May::Read } else { May::ReadWrite })?;
            memory.read_mostly.set(on);
        }
        Ok(())
    }
}
