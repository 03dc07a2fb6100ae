// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What lies at a range of virtual addresses, and where: for who must not take the driver's word for it.

use super::*;
use crate::gmc::{Access, Translation};
use crate::view::{Digest, Hex, ViewError, MAX_DIGEST};
use sha2::Digest as _;
use uvm_spec::{PAGE_SHIFT, PAGE_SIZE, VMIDS};

impl Gpu {
    /// Looks at `len` bytes at `va` in address space `vmid`, past the caches: where they lie, and a digest of them.
    pub fn view_digest(&self, vmid: u32, va: u64, len: u64) -> Result<Digest, ViewError> {
        let number = u8::try_from(vmid).ok().filter(|&v| usize::from(v) < VMIDS).ok_or(ViewError::Vmid(vmid))?;
        if len > MAX_DIGEST {
            return Err(ViewError::Length { len: Hex(len), most: Hex(MAX_DIGEST) });
        }
        if number != 0 && !self.mm_hub.context(number).is_some_and(|context| context.enabled) {
            return Err(ViewError::Disabled(number));
        }
        let memory = Memory::new(&self.vram, &self.memory);
        let mut digest = Digest { vmid: number, va: Hex(va), vram: 0, system: 0, none: 0, sha256: String::new() };
        let mut hash = sha2::Sha256::new();
        let mut page = [0u8; 1 << PAGE_SHIFT];
        let mut done = 0;
        while done < len {
            let at = va.wrapping_add(done);
            // Never across a page: what is translated further may lie in two places all the same.
            let n = (len - done).min(PAGE_SIZE - at % PAGE_SIZE);
            done += n;
            let found = self.mm_hub.peek(&memory, number, at, Access::Read);
            let Ok(Translation { at: Some(place), .. }) = found else {
                digest.none += n;
                continue;
            };
            let part = usize::try_from(n).ok().and_then(|n| page.get_mut(..n)).unwrap_or_default();
            let slice = memory.slice(place, part.len()).filter(|slice| slice.len() == part.len());
            if slice.and_then(|slice| memory.get(&slice, part)).is_none() {
                digest.none += n;
                continue;
            }
            hash.update(&*part);
            match place.space {
                crate::gmc::Space::Vram => digest.vram += n,
                crate::gmc::Space::System => digest.system += n,
            }
        }
        digest.sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(digest)
    }
}
