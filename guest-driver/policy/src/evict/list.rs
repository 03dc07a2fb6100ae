// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Doubly linked lists over the slots of a table. A slot is in one list at most; only `ensure` allocates.

use alloc::vec::Vec;

use crate::error::Error;
use crate::table::try_push;

const NIL: u32 = u32::MAX;
/// In no list.
const NOWHERE: u8 = u8::MAX;

#[derive(Clone, Copy)]
struct Node {
    prev: u32,
    next: u32,
    list: u8,
}

#[derive(Clone, Copy)]
struct Ends {
    front: u32,
    back: u32,
}

/// `N` lists that share the slots.
pub(crate) struct Lists<const N: usize> {
    nodes: Vec<Node>,
    ends: [Ends; N],
}

impl<const N: usize> Lists<N> {
    pub(crate) const fn new() -> Self {
        Self { nodes: Vec::new(), ends: [Ends { front: NIL, back: NIL }; N] }
    }

    /// Makes room for slots below `slots`.
    pub(crate) fn ensure(&mut self, slots: u32) -> Result<(), Error> {
        while self.nodes.len() < slots as usize {
            try_push(&mut self.nodes, Node { prev: NIL, next: NIL, list: NOWHERE })?;
        }
        Ok(())
    }

    /// The list that a slot is in.
    pub(crate) fn list_of(&self, slot: u32) -> Option<u8> {
        self.nodes.get(slot as usize).map(|node| node.list).filter(|list| *list != NOWHERE)
    }

    pub(crate) fn front(&self, list: u8) -> Option<u32> {
        self.ends.get(usize::from(list)).map(|ends| ends.front).filter(|slot| *slot != NIL)
    }

    /// The slot behind another of the same list.
    pub(crate) fn next(&self, slot: u32) -> Option<u32> {
        self.nodes.get(slot as usize).map(|node| node.next).filter(|slot| *slot != NIL)
    }

    /// Appends a slot that is in no list; one that is in a list, or that there is no room for, stays where it is.
    pub(crate) fn push_back(&mut self, list: u8, slot: u32) {
        let Some(ends) = self.ends.get_mut(usize::from(list)) else { return };
        let Some(node) = self.nodes.get_mut(slot as usize).filter(|node| node.list == NOWHERE) else { return };
        *node = Node { prev: ends.back, next: NIL, list };
        let last = core::mem::replace(&mut ends.back, slot);
        if last == NIL {
            ends.front = slot;
        } else {
            self.edit(last, |node| node.next = slot);
        }
    }

    /// Takes a slot out of the list it is in; says whether it was in one.
    pub(crate) fn remove(&mut self, slot: u32) -> bool {
        let Some(node) = self.nodes.get_mut(slot as usize).filter(|node| node.list != NOWHERE) else { return false };
        let Node { prev, next, list } = core::mem::replace(node, Node { prev: NIL, next: NIL, list: NOWHERE });
        self.edit(prev, |node| node.next = next);
        self.edit(next, |node| node.prev = prev);
        if let Some(ends) = self.ends.get_mut(usize::from(list)) {
            if prev == NIL {
                ends.front = next;
            }
            if next == NIL {
                ends.back = prev;
            }
        }
        true
    }

    /// Takes the first slot out.
    pub(crate) fn pop(&mut self, list: u8) -> Option<u32> {
        let slot = self.front(list)?;
        self.remove(slot);
        Some(slot)
    }

    fn edit(&mut self, slot: u32, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(slot as usize) {
            change(node);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;

    /// Two lists against two queues of the library.
    #[test]
    fn lists_do_what_queues_do() {
        let mut lists = Lists::<2>::new();
        lists.ensure(16).unwrap();
        let mut queues = [VecDeque::new(), VecDeque::new()];
        let mut seed = 1u32;
        for _ in 0..10_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (slot, list, op) = (seed >> 8 & 15, u8::from(seed >> 12 & 1 == 1), seed >> 13 & 3);
            let queue = usize::from(list);
            let held = queues.iter().any(|queue| queue.contains(&slot));
            if op == 0 {
                assert_eq!(lists.pop(list), queues[queue].pop_front());
            } else if op == 1 {
                assert_eq!(lists.remove(slot), held);
                queues.iter_mut().for_each(|queue| queue.retain(|item| *item != slot));
            } else if !held {
                lists.push_back(list, slot);
                queues[queue].push_back(slot);
            }
            for (list, queue) in (0..).zip(&queues) {
                let mut here = lists.front(list);
                for slot in queue {
                    assert_eq!((here, lists.list_of(*slot)), (Some(*slot), Some(list)));
                    here = lists.next(*slot);
                }
                assert_eq!(here, None);
            }
        }
    }
}
