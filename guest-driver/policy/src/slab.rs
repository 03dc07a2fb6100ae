// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A table of objects named by slot and generation, which grows only where it may fail.

use alloc::vec::Vec;

use crate::error::Error;
use crate::ids::{next_generation, Key};
use crate::table::try_push;

struct Entry<T> {
    generation: u32,
    /// The next vacant slot while this one is vacant.
    next_vacant: Option<u32>,
    value: Option<T>,
}

/// Objects of one kind. `insert` may fail with [`Error::NoMemory`]; `remove` never allocates.
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    vacant: Option<u32>,
    len: u32,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), vacant: None, len: 0 }
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Number of slots, vacant ones included.
    pub(crate) fn slots(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    /// Makes sure that as many objects in all find a slot without an allocation.
    pub(crate) fn ensure(&mut self, count: u32) -> Result<(), Error> {
        while self.slots() < count {
            let slot = self.slots();
            try_push(&mut self.entries, Entry { generation: 0, next_vacant: self.vacant, value: None })?;
            self.vacant = Some(slot);
        }
        Ok(())
    }

    /// What is in a slot, for those who know that it is still the one they mean.
    pub(crate) fn at(&self, slot: u32) -> Option<&T> {
        self.entries.get(slot as usize)?.value.as_ref()
    }

    pub(crate) fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.entries.get_mut(slot as usize)?.value.as_mut()
    }

    /// The present key of a slot in use.
    pub(crate) fn key(&self, slot: u32) -> Option<Key> {
        let entry = self.entries.get(slot as usize)?;
        entry.value.as_ref().map(|_| Key { slot, generation: entry.generation })
    }

    pub(crate) fn insert(&mut self, value: T) -> Result<Key, Error> {
        let slot = match self.vacant {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.entries.len()).map_err(|_| Error::NoMemory)?;
                try_push(&mut self.entries, Entry { generation: 0, next_vacant: None, value: None })?;
                slot
            }
        };
        let entry = self.entries.get_mut(slot as usize).ok_or(Error::Unknown)?;
        entry.generation = next_generation(entry.generation);
        entry.value = Some(value);
        self.vacant = entry.next_vacant.take();
        self.len = self.len.saturating_add(1);
        Ok(Key { slot, generation: entry.generation })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| entry.value.as_ref())
    }

    pub(crate) fn get(&self, key: Key) -> Result<&T, Error> {
        let entry = self.entries.get(key.slot as usize).ok_or(Error::Unknown)?;
        if entry.generation != key.generation {
            return Err(Error::Unknown);
        }
        entry.value.as_ref().ok_or(Error::Unknown)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Result<&mut T, Error> {
        let entry = self.entries.get_mut(key.slot as usize).ok_or(Error::Unknown)?;
        if entry.generation != key.generation {
            return Err(Error::Unknown);
        }
        entry.value.as_mut().ok_or(Error::Unknown)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Result<T, Error> {
        let entry = self.entries.get_mut(key.slot as usize).ok_or(Error::Unknown)?;
        if entry.generation != key.generation {
            return Err(Error::Unknown);
        }
        let value = entry.value.take().ok_or(Error::Unknown)?;
        entry.next_vacant = self.vacant.replace(key.slot);
        self.len = self.len.saturating_sub(1);
        Ok(value)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn stale_key_after_slot_reuse_is_unknown() {
        let mut slab = Slab::new();
        let old = slab.insert('a').unwrap();
        slab.remove(old).unwrap();

        let new = slab.insert('b').unwrap();

        assert_eq!(new.slot, old.slot);
        assert_eq!(slab.get(old), Err(Error::Unknown));
        assert_eq!(slab.remove(old), Err(Error::Unknown));
        assert_eq!(slab.get(new), Ok(&'b'));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn removed_slots_are_reused_before_the_table_grows() {
        let mut slab = Slab::new();
        let keys: alloc::vec::Vec<_> = (0..8).map(|i| slab.insert(i).unwrap()).collect();
        for key in &keys {
            slab.remove(*key).unwrap();
        }

        let again = slab.insert(9).unwrap();

        assert!(again.slot < 8);
        assert_eq!(slab.len(), 1);
    }
}
