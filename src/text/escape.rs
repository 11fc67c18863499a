//! Makes harmless what an attacker wrote: nothing that comes out of here can end a line, open or close a
//! bracket, or hide from whoever reads the log.
#![forbid(unsafe_code)]

use std::io::{self, Write};

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// Most bytes of one text that reach the log; what is longer ends in [`CUT`].
pub const MAX_TEXT: usize = 256;

/// The mark of a text that was too long. Where `%` itself is escaped, no input can produce it.
pub const CUT: &[u8] = b"%...";

/// What stands around the text, and so must not occur in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// `user[…]`: brackets are escaped, quotes and `%` stay.
    Brackets,
    /// `user="…"`: `"` and `%` are escaped as well, so that decoding gives back the very bytes.
    Quotes,
    /// A JSON string: as in brackets, with JSON's own escapes for `"` and `\`.
    Json,
}

/// Writes `text` so that it can't mislead: percent-encoded are brackets, controls, invisible characters and
/// bytes that are not UTF-8; letters of any script stay. `is_cut` says that it is only the beginning of a text.
pub fn write(out: &mut impl Write, text: &[u8], is_cut: bool, context: Context) -> io::Result<()> {
    let kept = bounded(text, MAX_TEXT);
    if kept.iter().all(|&byte| context.keeps(byte)) {
        out.write_all(kept)?;
    } else {
        write_escaped(out, kept, context)?;
    }
    if is_cut || kept.len() < text.len() { out.write_all(CUT) } else { Ok(()) }
}

#[cold]
fn write_escaped(out: &mut impl Write, text: &[u8], context: Context) -> io::Result<()> {
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            let mut utf8 = [0; 4];
            let bytes = char.encode_utf8(&mut utf8).as_bytes();
            if context == Context::Json && matches!(char, '"' | '\\') {
                out.write_all(b"\\")?;
                out.write_all(bytes)?;
            } else if if char.is_ascii() { context.keeps(bytes[0]) } else { is_visible(char) } {
                out.write_all(bytes)?;
            } else {
                write_percent(out, bytes)?;
            }
        }
        write_percent(out, chunk.invalid())?;
    }
    Ok(())
}

fn write_percent(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        out.write_all(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]])?;
    }
    Ok(())
}

impl Context {
    /// Whether an ASCII byte stays as it is; bytes beyond ASCII need a closer look.
    fn keeps(self, byte: u8) -> bool {
        match byte {
            b'[' | b']' => false,
            b'"' => self == Context::Brackets,
            b'%' => self != Context::Quotes,
            b'\\' => self != Context::Json,
            b' '..=b'~' => true,
            _ => false,
        }
    }
}

/// Whether a character beyond ASCII shows itself as what it is. Letters, marks, numbers, punctuation and
/// symbols do; separators, controls, format characters and unassigned ones do not, nor do the few letters
/// and marks that Unicode has one ignore when displaying, nor look-alikes of our brackets.
fn is_visible(char: char) -> bool {
    let shown = !matches!(
        char.general_category_group(),
        GeneralCategoryGroup::Separator | GeneralCategoryGroup::Other
    );
    shown
        && !matches!(char,
            '\u{034F}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
            | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FFA0}' | '\u{E0100}'..='\u{E01EF}'
            | '\u{FE47}' | '\u{FE48}' | '\u{FF3B}' | '\u{FF3D}')
}

/// At most so many bytes, not ending amid a character.
pub fn bounded(text: &[u8], most: usize) -> &[u8] {
    if text.len() <= most {
        return text;
    }
    let is_start = |end: &usize| text[*end] & 0xC0 != 0x80;
    let end = (most.saturating_sub(3)..=most).rev().find(is_start).unwrap_or(most);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: impl AsRef<[u8]>, context: Context) -> String {
        let mut out = Vec::new();
        write(&mut out, text.as_ref(), false, context).unwrap();
        String::from_utf8(out).expect("escaped text is UTF-8")
    }

    #[test]
    fn a_name_that_cannot_mislead_stays_byte_for_byte() {
        for name in
            ["1009", "o'brien", "\"quoted\"", "张三", "üser", "$(id)", "%00nul", "*97", "a b", "नमस्ते", "😀"]
        {
            assert_eq!(escaped(name, Context::Brackets), name);
        }
    }

    #[test]
    fn what_misleads_is_percent_encoded() {
        for (name, expected) in [
            ("x] ip[8.8.8.8] at[", "x%5D ip%5B8.8.8.8%5D at%5B"),
            ("fold\r\n A", "fold%0D%0A A"),
            ("tab\tx", "tab%09x"),
            ("esc\u{1b}[31m", "esc%1B%5B31m"),
            ("ls\u{2028}x", "ls%E2%80%A8x"),
            ("rtl\u{202e}x", "rtl%E2%80%AEx"),
            ("c1\u{85}x", "c1%C2%85x"),
            ("nbsp\u{a0}x", "nbsp%C2%A0x"),
            ("filler\u{3164}", "filler%E3%85%A4"),
            ("wide\u{ff3b}", "wide%EF%BC%BB"),
        ] {
            assert_eq!(escaped(name, Context::Brackets), expected);
        }
        assert_eq!(escaped(b"bad\xff\xfe", Context::Brackets), "bad%FF%FE");
        assert_eq!(escaped(r#"50% "x" \"#, Context::Quotes), r"50%25 %22x%22 \");
        assert_eq!(escaped(r#"50% "x" \"#, Context::Json), r#"50% \"x\" \\"#);
        // Each by itself: what holds none of these takes a shorter way.
        assert_eq!(escaped(r"x\", Context::Json), r"x\\");
        assert_eq!(escaped("x\"", Context::Json), "x\\\"");
        assert_eq!(escaped("x%", Context::Quotes), "x%25");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character_with_a_visible_mark() {
        assert_eq!(escaped("a".repeat(256), Context::Brackets).len(), 256);
        assert_eq!(escaped("a".repeat(300), Context::Brackets), "a".repeat(256) + "%...");
        assert_eq!(escaped("张".repeat(100), Context::Brackets), "张".repeat(85) + "%...");
        assert!(escaped([0x80; 5000], Context::Quotes).len() <= 3 * MAX_TEXT + CUT.len());
        let mut out = Vec::new();
        write(&mut out, b"kept", true, Context::Quotes).unwrap();
        assert_eq!(out, b"kept%...");
    }
}
