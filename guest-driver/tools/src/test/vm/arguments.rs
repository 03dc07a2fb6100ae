// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Wrong arguments are refused, and change nothing.

use anyhow::Result;
use rustix::io::Errno;
use uvm_spec::uapi::{self, Submit, VmBind};

use super::{copy, far, space, stride, vm_size, BASE, PACKETS, PAGE};
use crate::drm::{Bo, Domain, RW};
use crate::test::case::{content, filled, refused, same_bytes, stamps, Ctx};

pub fn wrong_binds_are_refused(ctx: &Ctx) -> Result<()> {
    let space = space(ctx)?;
    let device = space.device();
    let data = stamps(1, 4 * 4096);
    let (bo, target) = (filled(device, Domain::Gtt, &data)?, Bo::new(device, 4 * PAGE, Domain::Vram)?);
    device.bind(BASE, &bo, 0, 4 * PAGE, RW)?;
    device.bind(BASE + (1 << 20), &target, 0, 4 * PAGE, RW)?;
    let size = vm_size(device)?;
    let good = VmBind {
        op: uapi::VM_OP_MAP,
        flags: RW | uapi::VM_REPLACE,
        handle: bo.handle(),
        va: BASE,
        size: 4 * PAGE,
        ..Default::default()
    };
    let handles = [9999_u32];
    let unknown = crate::drm::address(&handles);
    let none = VmBind { op: uapi::VM_OP_UNMAP, va: BASE, size: PAGE, ..Default::default() };
    let wrong = [
        ("operation 0", VmBind { op: 0, ..good }, Errno::INVAL),
        ("operation 4", VmBind { op: 4, ..good }, Errno::INVAL),
        ("unknown flag", VmBind { flags: RW | 64, ..good }, Errno::INVAL),
        ("memory type 4", VmBind { mtype: 4, ..good }, Errno::INVAL),
        ("handle 0", VmBind { handle: 0, ..good }, Errno::NOENT),
        ("unknown handle", VmBind { handle: 9999, ..good }, Errno::NOENT),
        ("offset within a page", VmBind { bo_offset: 8, size: PAGE, ..good }, Errno::INVAL),
        ("offset past the end", VmBind { bo_offset: 4 * PAGE, size: PAGE, ..good }, Errno::INVAL),
        ("size past the end", VmBind { bo_offset: PAGE, ..good }, Errno::INVAL),
        ("offset that overflows", VmBind { bo_offset: 0u64.wrapping_sub(PAGE), ..good }, Errno::INVAL),
        ("size 0", VmBind { size: 0, ..good }, Errno::INVAL),
        ("size within a page", VmBind { size: 100, ..good }, Errno::INVAL),
        ("address within a page", VmBind { va: BASE + 8, ..good }, Errno::INVAL),
        ("address past the end", VmBind { va: size, ..good }, Errno::INVAL),
        ("range past the end", VmBind { va: size - PAGE, ..good }, Errno::INVAL),
        ("range that overflows", VmBind { va: 0u64.wrapping_sub(PAGE), size: 2 * PAGE, ..good }, Errno::INVAL),
        ("unknown in-syncobj", VmBind { in_syncs: unknown, in_sync_count: 1, ..good }, Errno::NOENT),
        ("unknown out-syncobj", VmBind { out_syncs: unknown, out_sync_count: 1, ..good }, Errno::NOENT),
        ("syncobjs nowhere", VmBind { in_syncs: 8, in_sync_count: 1, ..good }, Errno::FAULT),
        ("too many syncobjs", VmBind { out_sync_count: uapi::MAX_SYNCS + 1, ..good }, Errno::INVAL),
        ("unmap of a buffer", VmBind { handle: bo.handle(), ..none }, Errno::INVAL),
        ("unmap with access", VmBind { flags: uapi::VM_READ, ..none }, Errno::INVAL),
    ];
    for (what, mut arg, errno) in wrong {
        refused(what, device.bind_raw(&mut arg), &[errno])?;
    }
    let taken = VmBind { flags: RW, va: BASE + 3 * PAGE, ..good };
    refused("overlap without REPLACE", device.bind_raw(&mut { taken }), &[Errno::EXIST])?;
    let sparse = VmBind { op: uapi::VM_OP_PRT, va: BASE, size: 8 * PAGE, ..Default::default() };
    refused("overlap of a sparse range without REPLACE", device.bind_raw(&mut { sparse }), &[Errno::EXIST])?;
    // Nothing has changed, and what was never mapped may be unmapped.
    device.unbind(far(device, 10)?, stride(device)?)?;
    copy(&space, 0, BASE, BASE + (1 << 20), 4 * PAGE)?;
    same_bytes("a copy afterwards", &content(&target, data.len())?, &data)
}

pub fn wrong_submissions_are_refused(ctx: &Ctx) -> Result<()> {
    let space = space(ctx)?;
    let good = Submit { flags: uapi::SUBMIT_VM, ib: PACKETS, ib_dwords: 8, ..Default::default() };
    let relocs = [uapi::Reloc::default()];
    let wrong = [
        ("unknown flag", Submit { flags: 2, ..good }),
        ("packets at 4", Submit { ib: PACKETS + 4, ..good }),
        ("7 dwords", Submit { ib_dwords: 7, ..good }),
        ("no packets", Submit { ib_dwords: 0, ..good }),
        ("too many packets", Submit { ib_dwords: uapi::MAX_IB_DWORDS + 8, ..good }),
        ("ring 2", Submit { ring: 2, ..good }),
        ("relocations", Submit { reloc_count: 1, relocs: crate::drm::address(&relocs), ..good }),
    ];
    for (what, mut arg) in wrong {
        refused(what, space.device().submit_raw(&mut arg), &[Errno::INVAL])?;
    }
    space.device().submit_raw(&mut { good })?;
    Ok(())
}
