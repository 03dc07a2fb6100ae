// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The extents of a segment: an address-ordered AVL tree threaded with a doubly linked list, in one table.
//!
//! Every page of the segment belongs to exactly one extent, free or not. Each node knows the length of the
//! longest free extent below it, so a search descends only where a fit can be. Links are slots of the table;
//! a slot that does not exist reads as [`ABSENT`], an empty leaf, and writes to it go nowhere: a broken link
//! could lose space but not touch memory or panic.

use alloc::vec::Vec;

use super::BlockKind;
use crate::error::Error;
use crate::ids::next_generation;
use crate::table::try_push;

/// "No node".
pub(super) const NIL: u32 = u32::MAX;

/// An AVL tree of fewer than 2^32 nodes is at most 46 high.
pub(super) const MAX_HEIGHT: usize = 48;

#[derive(Clone, Copy)]
pub(super) struct Extent {
    /// First page.
    pub(super) start: u64,
    /// Length in pages; zero only while the slot is vacant.
    pub(super) len: u64,
    /// Longest free extent of the subtree, in pages.
    pub(super) longest: u64,
    pub(super) left: u32,
    pub(super) right: u32,
    parent: u32,
    /// Neighbours by address; `next` also chains vacant slots.
    pub(super) prev: u32,
    pub(super) next: u32,
    pub(super) generation: u32,
    height: u8,
    /// `None` while the slot is vacant.
    pub(super) kind: Option<BlockKind>,
}

const ABSENT: Extent = Extent {
    start: 0,
    len: 0,
    longest: 0,
    left: NIL,
    right: NIL,
    parent: NIL,
    prev: NIL,
    next: NIL,
    generation: 0,
    height: 0,
    kind: None,
};

impl Extent {
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }

    pub(super) fn is_free(&self) -> bool {
        self.kind == Some(BlockKind::Free)
    }

    fn free_len(&self) -> u64 {
        if self.is_free() {
            self.len
        } else {
            0
        }
    }
}

pub(super) struct Tree {
    table: Vec<Extent>,
    root: u32,
    vacant: u32,
    vacant_count: usize,
}

impl Tree {
    /// A tree of one free extent `[0, len)`.
    pub(super) fn try_new(len: u64) -> Result<Self, Error> {
        let mut tree = Self { table: Vec::new(), root: NIL, vacant: NIL, vacant_count: 0 };
        tree.reserve_slots(1)?;
        let slot = tree.take_slot(0, len, BlockKind::Free);
        tree.root = slot;
        tree.retrace(slot);
        Ok(tree)
    }

    pub(super) fn root(&self) -> u32 {
        self.root
    }

    pub(super) fn get(&self, slot: u32) -> &Extent {
        self.table.get(slot as usize).unwrap_or(&ABSENT)
    }

    pub(super) fn edit(&mut self, slot: u32, change: impl FnOnce(&mut Extent)) {
        if let Some(extent) = self.table.get_mut(slot as usize) {
            change(extent);
        }
    }

    /// Makes sure that `count` calls of `insert_*` find a slot. The only place where the table grows.
    pub(super) fn reserve_slots(&mut self, count: usize) -> Result<(), Error> {
        let missing = count.saturating_sub(self.vacant_count);
        if missing == 0 {
            return Ok(());
        }
        if self.table.len().saturating_add(missing) >= NIL as usize {
            return Err(Error::NoMemory);
        }
        for _ in 0..missing {
            let slot = u32::try_from(self.table.len()).map_err(|_| Error::NoMemory)?;
            try_push(&mut self.table, Extent { next: self.vacant, ..ABSENT })?;
            self.vacant = slot;
            self.vacant_count = self.vacant_count.saturating_add(1);
        }
        Ok(())
    }

    fn take_slot(&mut self, start: u64, len: u64, kind: BlockKind) -> u32 {
        let slot = self.vacant;
        let Extent { next, generation, .. } = *self.get(slot);
        self.vacant = next;
        self.vacant_count = self.vacant_count.saturating_sub(1);
        let generation = next_generation(generation);
        self.edit(slot, |e| *e = Extent { start, len, kind: Some(kind), generation, ..ABSENT });
        slot
    }

    /// Inserts `[start, start + len)` right after the extent `at`. A slot must have been reserved.
    pub(super) fn insert_after(&mut self, at: u32, start: u64, len: u64, kind: BlockKind) -> u32 {
        let slot = self.take_slot(start, len, kind);
        let next = self.get(at).next;
        self.edit(slot, |e| (e.prev, e.next) = (at, next));
        self.edit(at, |e| e.next = slot);
        self.edit(next, |e| e.prev = slot);
        // The successor of a node with a right child is the leftmost node under it, which has no left child.
        if self.get(at).right == NIL {
            self.attach(at, slot, |e| &mut e.right);
        } else {
            self.attach(next, slot, |e| &mut e.left);
        }
        slot
    }

    /// Inserts `[start, start + len)` right before the extent `at`. A slot must have been reserved.
    pub(super) fn insert_before(&mut self, at: u32, start: u64, len: u64, kind: BlockKind) -> u32 {
        let slot = self.take_slot(start, len, kind);
        let prev = self.get(at).prev;
        self.edit(slot, |e| (e.prev, e.next) = (prev, at));
        self.edit(at, |e| e.prev = slot);
        self.edit(prev, |e| e.next = slot);
        if self.get(at).left == NIL {
            self.attach(at, slot, |e| &mut e.left);
        } else {
            self.attach(prev, slot, |e| &mut e.right);
        }
        slot
    }

    fn attach(&mut self, parent: u32, child: u32, side: impl FnOnce(&mut Extent) -> &mut u32) {
        self.edit(parent, |e| *side(e) = child);
        self.edit(child, |e| e.parent = parent);
        self.retrace(child);
    }

    /// Takes an extent out; its pages must have been given to a neighbour, which the caller then retraces.
    pub(super) fn remove(&mut self, slot: u32) {
        let Extent { left, right, parent, prev, next, height, .. } = *self.get(slot);
        let lowest_changed = if left == NIL || right == NIL {
            self.replace_child(parent, slot, if left == NIL { right } else { left });
            parent
        } else {
            // `next` is the leftmost node under `right`: it takes this node's place.
            let next_parent = self.get(next).parent;
            let lowest = if next_parent == slot {
                next
            } else {
                let orphan = self.get(next).right;
                self.replace_child(next_parent, next, orphan);
                self.edit(next, |e| e.right = right);
                self.edit(right, |e| e.parent = next);
                next_parent
            };
            // With its height too, or a walk from below could stop short of it.
            self.edit(next, |e| (e.left, e.height) = (left, height));
            self.edit(left, |e| e.parent = next);
            self.replace_child(parent, slot, next);
            lowest
        };
        self.edit(prev, |e| e.next = next);
        self.edit(next, |e| e.prev = prev);
        let vacant = self.vacant;
        self.edit(slot, |e| *e = Extent { next: vacant, generation: e.generation, ..ABSENT });
        self.vacant = slot;
        self.vacant_count = self.vacant_count.saturating_add(1);
        self.retrace(lowest_changed);
        if left != NIL && right != NIL {
            self.retrace(next);
        }
    }

    fn replace_child(&mut self, parent: u32, old: u32, new: u32) {
        if parent == NIL {
            self.root = new;
        } else {
            self.edit(parent, |e| {
                if e.left == old {
                    e.left = new;
                } else {
                    e.right = new;
                }
            });
        }
        self.edit(new, |e| e.parent = parent);
    }

    /// Recomputes heights and longest lengths from `slot` up, as far as they change, and rebalances on the way.
    /// Due for each node whose extent or children were edited.
    pub(super) fn retrace(&mut self, mut slot: u32) {
        while slot != NIL {
            let changed = self.recompute(slot);
            let top = match self.lean(slot) {
                2.. => {
                    let right = self.get(slot).right;
                    if self.lean(right) < 0 {
                        self.rotate_right(right);
                    }
                    self.rotate_left(slot)
                }
                ..=-2 => {
                    let left = self.get(slot).left;
                    if self.lean(left) > 0 {
                        self.rotate_left(left);
                    }
                    self.rotate_right(slot)
                }
                _ if !changed => return,
                _ => slot,
            };
            slot = self.get(top).parent;
        }
    }

    /// Whether anything changed.
    fn recompute(&mut self, slot: u32) -> bool {
        let old = self.get(slot);
        let (left, right) = (self.get(old.left), self.get(old.right));
        let height = left.height.max(right.height).saturating_add(1);
        let longest = left.longest.max(right.longest).max(old.free_len());
        let changed = (old.height, old.longest) != (height, longest);
        self.edit(slot, |e| (e.height, e.longest) = (height, longest));
        changed
    }

    /// Height of the right side less that of the left.
    fn lean(&self, slot: u32) -> i16 {
        let Extent { left, right, .. } = *self.get(slot);
        i16::from(self.get(right).height).wrapping_sub(i16::from(self.get(left).height))
    }

    fn rotate_left(&mut self, slot: u32) -> u32 {
        let Extent { right: top, parent, .. } = *self.get(slot);
        let inner = self.get(top).left;
        self.edit(slot, |e| (e.right, e.parent) = (inner, top));
        self.edit(inner, |e| e.parent = slot);
        self.edit(top, |e| e.left = slot);
        self.replace_child(parent, slot, top);
        self.recompute(slot);
        self.recompute(top);
        top
    }

    fn rotate_right(&mut self, slot: u32) -> u32 {
        let Extent { left: top, parent, .. } = *self.get(slot);
        let inner = self.get(top).right;
        self.edit(slot, |e| (e.left, e.parent) = (inner, top));
        self.edit(inner, |e| e.parent = slot);
        self.edit(top, |e| e.right = slot);
        self.replace_child(parent, slot, top);
        self.recompute(slot);
        self.recompute(top);
        top
    }

    /// The first extent by address.
    pub(super) fn first(&self) -> u32 {
        let mut slot = self.root;
        while self.get(slot).left != NIL {
            slot = self.get(slot).left;
        }
        slot
    }

    /// The extent that holds a page.
    pub(super) fn find(&self, page: u64) -> Option<u32> {
        let mut slot = self.root;
        while slot != NIL {
            let extent = self.get(slot);
            if page < extent.start {
                slot = extent.left;
            } else if page >= extent.end() {
                slot = extent.right;
            } else {
                return Some(slot);
            }
        }
        None
    }
}

#[cfg(test)]
impl Tree {
    /// Panics unless order, threading, balance and augmentation all hold.
    pub(super) fn check(&self) {
        fn visit(tree: &Tree, slot: u32, parent: u32, seen: &mut Vec<u32>) -> (u8, u64) {
            if slot == NIL {
                return (0, 0);
            }
            let e = tree.get(slot);
            assert_eq!(e.parent, parent, "parent link of slot {slot}");
            let (left_height, left_longest) = visit(tree, e.left, slot, seen);
            seen.push(slot);
            let (right_height, right_longest) = visit(tree, e.right, slot, seen);
            assert!(left_height.abs_diff(right_height) <= 1, "balance of slot {slot}");
            assert_eq!(e.height, left_height.max(right_height) + 1, "height of slot {slot}");
            assert_eq!(e.longest, left_longest.max(right_longest).max(e.free_len()), "longest of slot {slot}");
            (e.height, e.longest)
        }
        let mut seen = Vec::new();
        visit(self, self.root, NIL, &mut seen);
        let mut slot = self.first();
        let (mut page, mut prev) = (0, NIL);
        for expected in seen {
            assert_eq!(slot, expected, "list order equals tree order");
            let e = self.get(slot);
            assert_eq!((e.start, e.prev), (page, prev), "no gap, no overlap, threaded both ways");
            assert!(e.len > 0);
            assert!(!(e.is_free() && self.get(e.prev).is_free()), "free neighbours are merged");
            (page, prev, slot) = (e.end(), slot, e.next);
        }
        assert_eq!(slot, NIL);
    }
}
