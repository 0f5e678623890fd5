//! A WebP states its size twice, and the library allocates by the second word before it compares the two.

use samovar_geometry::{Image, Size};

/// Whether every lossy frame is within the picture's size. Lossless frames are compared by the library in time.
pub(super) fn frames_fit(bytes: &[u8], size: Size<Image>) -> bool {
    // Behind `RIFF`, length, `WEBP`.
    bytes.get(12..).is_none_or(|chunks| chunks_fit(chunks, size, true))
}

fn chunks_fit(mut chunks: &[u8], size: Size<Image>, at_top: bool) -> bool {
    while let Some((header, rest)) = chunks.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let content = &rest[..length.min(rest.len())];
        let fits = match &header[..4] {
            b"VP8 " => {
                frame_size(content).is_none_or(|[width, height]| width <= size.width && height <= size.height)
            }
            // A frame of an animation: 16 bytes of its own, then chunks. Frames in frames mean nothing and are not
            // followed: a hostile file could nest them until the stack is full.
            b"ANMF" if at_top => content.get(16..).is_none_or(|inner| chunks_fit(inner, size, false)),
            _ => true,
        };
        if !fits {
            return false;
        }
        // Chunks are padded to even lengths.
        chunks = rest.get(length.saturating_add(length % 2)..).unwrap_or_default();
    }
    true
}

/// Width and height in a key frame's header: three bytes of tag, three of start code, then 14 bits each.
fn frame_size(frame: &[u8]) -> Option<[u32; 2]> {
    let side =
        |at: usize| Some(u32::from(u16::from_le_bytes([*frame.get(at)?, *frame.get(at + 1)?]) & 0x3fff));
    Some([side(6)?, side(8)?])
}
