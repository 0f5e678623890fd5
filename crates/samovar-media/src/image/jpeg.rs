//! Is a JPEG all there? The decoder fills what is missing with grey and says nothing, so this is asked first.

/// Whether the JPEG's first image runs to its end marker. Walks the segments, so a thumbnail inside EXIF, which has
/// an end marker of its own, does not count.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xd9;
    // After the start-of-image marker (2 bytes) come segments: 0xff, marker, length (2 bytes, with itself), payload.
    let mut at = 2;
    while at + 1 < bytes.len() {
        if bytes[at] != 0xff {
            // Entropy-coded data, or garbage between segments: on to the next marker.
            let Some(step) = bytes[at..].iter().position(|&byte| byte == 0xff) else { return false };
            at += step;
            continue;
        }
        match bytes[at + 1] {
            0xff => at += 1, // fill byte
            END_OF_IMAGE => return true,
            0x00 | 0x01 | 0xd0..=0xd8 => at += 2, // stuffed byte, or a marker without payload
            _ => {
                let Some(length) = bytes.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
            }
        }
    }
    false
}
