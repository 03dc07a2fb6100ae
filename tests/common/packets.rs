// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! SDMA packets as dwords, written out from the packet tables by hand: the device's own layout constants stay out of it.

fn lo(v: u64) -> u32 {
    v as u32
}
fn hi(v: u64) -> u32 {
    (v >> 32) as u32
}

/// NOP with `count` more dwords, which are filled with what would be illegal headers.
pub fn nop(count: u32) -> Vec<u32> {
    let mut p = vec![count << 16];
    p.resize(1 + count as usize, 0xdead_beff);
    p
}
/// COPY_LINEAR of `bytes` (1 to 4 MiB).
pub fn copy(dst: u64, src: u64, bytes: u32) -> Vec<u32> {
    vec![0x01, bytes - 1, 0, lo(src), hi(src), lo(dst), hi(dst)]
}
/// WRITE_LINEAR of `data`.
pub fn write(dst: u64, data: &[u32]) -> Vec<u32> {
    let mut p = vec![0x02, lo(dst), hi(dst), data.len() as u32 - 1];
    p.extend(data);
    p
}
/// INDIRECT: run `dwords` at `base` in VMID `vmid`.
pub fn indirect(vmid: u32, base: u64, dwords: u32) -> Vec<u32> {
    vec![0x04 | vmid << 16, lo(base), hi(base), dwords, 0, 0]
}
/// FENCE.
pub fn fence(addr: u64, value: u32) -> Vec<u32> {
    vec![0x05, lo(addr), hi(addr), value]
}
/// TRAP.
pub fn trap(context: u32) -> Vec<u32> {
    vec![0x06, context]
}
/// POLL_REGMEM on memory; `retries` 0xfff polls for ever.
pub fn poll_mem(addr: u64, func: u32, reference: u32, mask: u32, interval: u32, retries: u32) -> Vec<u32> {
    vec![0x08 | func << 28 | 1 << 31, lo(addr), hi(addr), reference, mask, interval | retries << 16]
}
/// POLL_REGMEM on the register at dword `index`.
pub fn poll_reg(index: u32, func: u32, reference: u32, mask: u32, interval: u32, retries: u32) -> Vec<u32> {
    vec![0x08 | func << 28, index * 4, 0, reference, mask, interval | retries << 16]
}
/// COND_EXE: skip `dwords` unless memory holds `reference`.
pub fn cond_exe(addr: u64, reference: u32, dwords: u32) -> Vec<u32> {
    vec![0x09, lo(addr), hi(addr), reference, dwords]
}
/// ATOMIC with the seven-bit operation `op`.
pub fn atomic(op: u32, addr: u64, src: u64, cmp: u64) -> Vec<u32> {
    vec![0x0a | op << 25, lo(addr), hi(addr), lo(src), hi(src), lo(cmp), hi(cmp), 0]
}
/// ATOMIC that repeats every `interval` clocks until it finds `cmp`.
pub fn atomic_loop(op: u32, addr: u64, src: u64, cmp: u64, interval: u32) -> Vec<u32> {
    let mut p = atomic(op, addr, src, cmp);
    p[0] |= 1 << 16;
    p[7] = interval;
    p
}
/// CONST_FILL of `bytes`; `size` 0 byte, 1 half word, 2 dword.
pub fn fill(dst: u64, size: u32, value: u32, bytes: u32) -> Vec<u32> {
    vec![0x0b | size << 30, lo(dst), hi(dst), value, bytes - 1]
}
/// PTEPDE: `count` entries `flags | value + i * increment`.
pub fn ptepde(dst: u64, flags: u64, value: u64, increment: u64, count: u32) -> Vec<u32> {
    vec![0x0c, lo(dst), hi(dst), lo(flags), hi(flags), lo(value), hi(value), lo(increment), hi(increment), count - 1]
}
/// TIMESTAMP SET.
pub fn timestamp_set(value: u64) -> Vec<u32> {
    vec![0x0d, lo(value), hi(value)]
}
/// TIMESTAMP GET (sub-opcode 1) or GET_GLOBAL (2).
pub fn timestamp_get(global: bool, addr: u64) -> Vec<u32> {
    vec![0x0d | if global { 0x200 } else { 0x100 }, lo(addr), hi(addr)]
}
/// SRBM_WRITE with a byte-enable bit per byte.
pub fn srbm_write(index: u32, value: u32, byte_enable: u32) -> Vec<u32> {
    vec![0x0e | byte_enable << 28, index, value]
}
