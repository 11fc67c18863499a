//! Text of an attacker's that is kept for a while, in room of a fixed size.
#![forbid(unsafe_code)]

use crate::text::escape;

/// At most `N` bytes of a text, and whether there were more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BoundedText<const N: usize> {
    bytes: [u8; N],
    len: u8,
    is_cut: bool,
}

impl<const N: usize> BoundedText<N> {
    /// Keeps the beginning of a text, up to the end of a character.
    pub fn new(text: &[u8]) -> BoundedText<N> {
        const { assert!(N <= u8::MAX as usize) };
        let beginning = escape::bounded(text, N);
        let mut bytes = [0; N];
        bytes[..beginning.len()].copy_from_slice(beginning);
        BoundedText { bytes, len: beginning.len() as u8, is_cut: beginning.len() < text.len() }
    }

    /// What is kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.into()]
    }

    /// Whether there was more.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// For a person to read, on one line, with the mark of a text that was cut.
    pub fn readable(&self) -> String {
        let mut out = Vec::new();
        // A Vec takes all that is written.
        let _ = escape::write(&mut out, self.bytes(), self.is_cut, escape::Context::Quotes);
        String::from_utf8_lossy(&out).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_character_and_says_so() {
        assert_eq!(BoundedText::<8>::new(b"12345678").readable(), "12345678");
        assert_eq!(BoundedText::<8>::new(b"123456789").readable(), "12345678%...");
        assert_eq!(BoundedText::<8>::new("张三李四".as_bytes()).readable(), "张三%...");
        assert_eq!(BoundedText::<8>::new(b"a\nb").readable(), "a%0Ab");
    }
}
