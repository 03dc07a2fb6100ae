// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Packets, as the guide's table lays them out.

fn lo_hi(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

fn packet(parts: &[&[u32]]) -> Vec<u32> {
    parts.concat()
}

pub fn nop(skipped: u32) -> Vec<u32> {
    let mut p = vec![skipped << 16];
    p.resize(1 + skipped as usize, 0xffff_ffff);
    p
}

pub fn copy(src: u64, dst: u64, bytes: u32) -> Vec<u32> {
    packet(&[&[1, bytes - 1, 0], &lo_hi(src), &lo_hi(dst)])
}

pub fn write(dst: u64, data: &[u32]) -> Vec<u32> {
    packet(&[&[2], &lo_hi(dst), &[data.len() as u32 - 1], data])
}

pub fn indirect(vmid: u32, buffer: u64, dwords: u32) -> Vec<u32> {
    packet(&[&[4 | vmid << 16], &lo_hi(buffer), &[dwords, 0, 0]])
}

pub fn fence(address: u64, value: u32) -> Vec<u32> {
    packet(&[&[5], &lo_hi(address), &[value]])
}

pub fn trap(context: u32) -> Vec<u32> {
    vec![6, context]
}

pub const EQUAL: u32 = 3;
pub const GREATER_OR_EQUAL: u32 = 5;
pub const FOR_EVER: u32 = 0xfff;

pub fn poll(func: u32, address: u64, reference: u32, retries: u32) -> Vec<u32> {
    packet(&[&[8 | func << 28 | 1 << 31], &lo_hi(address), &[reference, !0, 10 | retries << 16]])
}

/// A register is named by its byte offset here, by its dword index in `srbm_write`.
pub fn poll_register(func: u32, index: u32, reference: u32, mask: u32) -> Vec<u32> {
    packet(&[&[8 | func << 28], &lo_hi(u64::from(index) * 4), &[reference, mask, 10 | 3 << 16]])
}

pub fn cond_exe(address: u64, reference: u32, skipped: u32) -> Vec<u32> {
    packet(&[&[9], &lo_hi(address), &[reference, skipped]])
}

pub fn atomic(op: u32, address: u64, operand: u64, compare: u64) -> Vec<u32> {
    packet(&[&[10 | op << 25], &lo_hi(address), &lo_hi(operand), &lo_hi(compare), &[0]])
}

/// `size`: 0 bytes, 1 half words, 2 dwords.
pub fn fill(size: u32, dst: u64, value: u32, bytes: u32) -> Vec<u32> {
    packet(&[&[11 | size << 30], &lo_hi(dst), &[value, bytes - 1]])
}

pub fn ptepde(dst: u64, flags: u64, first: u64, step: u64, entries: u32) -> Vec<u32> {
    packet(&[&[12], &lo_hi(dst), &lo_hi(flags), &lo_hi(first), &lo_hi(step), &[entries - 1]])
}

pub fn timestamp_get_global(address: u64) -> Vec<u32> {
    packet(&[&[13 | 2 << 8], &lo_hi(address)])
}

pub fn srbm_write(index: u32, value: u32) -> Vec<u32> {
    vec![14 | 0xf << 28, index, value]
}
