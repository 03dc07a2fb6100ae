// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The text of a panic, formatted where nothing can be allocated any more.

use core::fmt::{self, Write};

/// A message as long as fits; the rest is dropped.
pub(crate) struct Message {
    text: [u8; Self::MAX],
    len: usize,
}

impl Message {
    /// What a line of the kernel's log holds beside its prefix, and small enough for its stack.
    const MAX: usize = 256;

    /// Formats anything into a message.
    pub(crate) fn of(what: &dyn fmt::Display) -> Self {
        let mut message = Self { text: [0; Self::MAX], len: 0 };
        // Only a Display of its own could fail, and then what it wrote so far is the message.
        let _ = write!(message, "{what}");
        message
    }

    /// The text; not terminated, and cut wherever it was full.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }
}

impl Write for Message {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = self.text.get_mut(self.len..).unwrap_or_default();
        for (place, byte) in room.iter_mut().zip(s.bytes()) {
            *place = byte;
            self.len = self.len.saturating_add(1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    #[test]
    fn message_is_what_was_formatted() {
        let message = Message::of(&format_args!("{}:{}: {:#x}", "tree.rs", 7, 0xfee));

        assert_eq!(message.bytes(), b"tree.rs:7: 0xfee");
    }

    #[test]
    fn long_message_is_cut_at_the_buffers_end() {
        let long = String::from_iter(('a'..='z').cycle().take(1000));

        let message = Message::of(&format_args!("{}{}", &long[..255], long));

        assert_eq!(message.bytes().len(), 256);
        assert_eq!(message.bytes()[..255], long.as_bytes()[..255]);
        assert_eq!(message.bytes()[255], b'a');
    }
}
