//! The text of a document: its encoding, and where in it something is wrong.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Bytes shown of a document around what is wrong with it.
const SHOWN_BYTES: usize = 24;

/// A document as UTF-8 without a mark. Windows' editors and shells write UTF-16, and marks before UTF-8.
///
/// # Errors
/// [`Error::Usage`] for what is neither, with its place.
pub fn of_bytes(bytes: &[u8]) -> Result<Cow<'_, str>> {
    let wide = |from_bytes: fn([u8; 2]) -> u16, bytes: &[u8]| {
        let units = bytes.chunks_exact(2).map(|pair| from_bytes([pair[0], pair[1]]));
        let text: Result<String, _> = char::decode_utf16(units).collect();
        text.ok().filter(|_| bytes.len().is_multiple_of(2))
    };
    let decoded = match bytes {
        [0xff, 0xfe, rest @ ..] => wide(u16::from_le_bytes, rest),
        [0xfe, 0xff, rest @ ..] => wide(u16::from_be_bytes, rest),
        _ => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            return std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| {
                let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
                Error::usage(format!(
                    "line {line} is no UTF-8 text; save the file as UTF-8 (of Chinese Windows: iconv -f gb18030 -t utf-8)"
                ))
            });
        }
    };
    decoded.map(Cow::Owned).ok_or_else(|| Error::usage("its UTF-16 text is damaged; save the file as UTF-8"))
}

/// Reads a document; an error shows the text where it is, for documents are often one line of megabytes.
///
/// # Errors
/// [`Error::Usage`] with `expected` for what is no such document.
pub fn read<T: DeserializeOwned>(text: &str, expected: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let near = near(text, error.line(), error.column());
        let nan = ["NaN", "Infinity", "-Infinity"].iter().find(|name| near.trim_start().starts_with(*name));
        let hint = nan.map_or(String::new(), |name| format!("; {name} is no number of JSON"));
        Error::usage(format!("{error}, at `{near}`{hint}; expected {expected}"))
    })
}

/// What stands at a line and column, both from 1, as serde_json counts them.
fn near(text: &str, line: usize, column: usize) -> String {
    let bytes = text.split('\n').nth(line.saturating_sub(1)).unwrap_or("").as_bytes();
    let at = column.saturating_sub(1).min(bytes.len());
    // A word that is none is reported at its second character or its end.
    let word = bytes[..at].iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).take(8).count();
    let from = if word > 0 { at - word } else { at };
    let end = (from + SHOWN_BYTES).min(bytes.len());
    String::from_utf8_lossy(&bytes[from..end]).trim_end().to_owned()
}
