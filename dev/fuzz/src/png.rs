//! Makes the checksums of a mutated PNG right again, so that mutations get past them.

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The same bytes with the checksum of every chunk that lies within them recomputed; anything but a PNG unchanged.
pub(crate) fn with_right_checksums(data: &[u8]) -> Vec<u8> {
    let mut png = data.to_vec();
    if !png.starts_with(SIGNATURE) {
        return png;
    }
    let mut at = SIGNATURE.len();
    // Length, four letters, content, checksum of letters and content.
    while let Some(length) =
        png.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes)
    {
        let end = at.saturating_add(8).saturating_add(length as usize);
        let Some(checked) = png.get(at + 4..end) else { break };
        let checksum = crc32fast::hash(checked).to_be_bytes();
        let Some(place) = png.get_mut(end..end + 4) else { break };
        place.copy_from_slice(&checksum);
        at = end + 4;
    }
    png
}
