//! Base64, as JSON documents hold pictures.

/// The bytes; nothing where there is a character that is none of base64's. White space and the padding's absence do no harm.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    // A data URL names the kind of picture before it.
    let text = match text.strip_prefix("data:") {
        Some(rest) => rest.split_once(";base64,")?.1,
        None => text,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0u32, 0);
    for character in text.trim_end().trim_end_matches('=').bytes().filter(|byte| !byte.is_ascii_whitespace())
    {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}
