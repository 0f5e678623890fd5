//! What files say about themselves that the picture library keeps to itself: how many pictures they hold, and PNG's
//! significant bits and palette.

use super::depth::Stated;

/// Number of pictures of a GIF. Stops counting where the file makes no sense.
pub(super) fn of_gif(bytes: &[u8]) -> usize {
    // `GIF89a`, size, flags, two more bytes, the colour table.
    let table = |flags: u8| if flags & 0x80 > 0 { 3usize << ((flags & 7) + 1) } else { 0 };
    let mut at = 13 + bytes.get(10).map_or(0, |&flags| table(flags));
    let mut pictures = 0;
    loop {
        match bytes.get(at) {
            Some(0x2c) => {
                pictures += 1;
                let Some(&flags) = bytes.get(at + 9) else { return pictures };
                at += 10 + table(flags) + 1;
            }
            Some(0x21) => at += 2,
            _ => return pictures,
        }
        // Parts of up to 255 bytes, each behind its length; an empty one ends them.
        loop {
            match bytes.get(at) {
                Some(0) => break,
                Some(&length) => at += 1 + usize::from(length),
                None => return pictures,
            }
        }
        at += 1;
    }
}

/// Number of pictures of a WebP.
pub(super) fn of_webp(bytes: &[u8]) -> usize {
    let mut chunks = bytes.get(12..).unwrap_or_default();
    let mut frames = 0;
    while let Some((header, rest)) = chunks.split_first_chunk::<8>() {
        frames += usize::from(header.starts_with(b"ANMF"));
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        chunks = rest.get(length.saturating_add(length % 2)..).unwrap_or_default();
    }
    frames.max(1)
}

/// Number of pictures of a PNG: of the animation, where it has one.
pub(super) fn of_png(bytes: &[u8]) -> usize {
    let count = png_chunk(bytes, b"acTL").and_then(|chunk| chunk.first_chunk::<4>());
    count.map_or(1, |&count| u32::from_be_bytes(count) as usize)
}

/// The significant bits that a PNG states: of its colours the most.
pub(super) fn bits_of_png(bytes: &[u8]) -> Stated {
    // Grey, nothing, RGB, palette, grey and alpha, nothing, RGB and alpha.
    let colours = bytes.get(25).and_then(|&kind| [1, 0, 3, 0, 1, 0, 3].get(usize::from(kind)).copied());
    let bits = png_chunk(bytes, b"sBIT").and_then(|chunk| chunk.get(..colours?)?.iter().copied().max());
    bits.map_or(Stated::Nothing, Stated::Bits)
}

/// Whether the colours of a PNG by palette are whole: three bytes each, which the library takes for granted.
pub(super) fn png_palette_is_whole(bytes: &[u8]) -> bool {
    !png_is_by_palette(bytes) || png_chunk(bytes, b"PLTE").is_none_or(|palette| palette.len() % 3 == 0)
}

/// Whether the pixels of a PNG are numbers of colours.
pub(super) fn png_is_by_palette(bytes: &[u8]) -> bool {
    const BY_PALETTE: u8 = 3;
    bytes.get(25) == Some(&BY_PALETTE)
}

/// The content of a chunk before the pixels.
fn png_chunk<'b>(bytes: &'b [u8], name: &[u8; 4]) -> Option<&'b [u8]> {
    let mut chunks = bytes.get(8..)?;
    while let Some((header, rest)) = chunks.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        match &header[4..] {
            b"IDAT" => break,
            found if found == name => return rest.get(..length),
            _ => chunks = rest.get(length.checked_add(4)?..)?,
        }
    }
    None
}
