//! Raw frames with times in a stream: as much of Matroska (RFC 9559) as a decoder wants, with EBML's numbers (RFC 8794).

use samovar_geometry::{Image, Size};

/// Nanoseconds of a time stamp's unit.
const TIME_STAMP_SCALE: u64 = 1000;

fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
    [id, &size(content.len() as u64), content].concat()
}

/// A size of 8 bytes.
fn size(bytes: u64) -> [u8; 8] {
    (bytes | 1 << 56).to_be_bytes()
}

fn number(id: &[u8], value: u64) -> Vec<u8> {
    element(id, &value.to_be_bytes())
}

/// What stands before the first frame of a video of 8-bit RGB, with so many frames a second.
pub(super) fn header(frame: Size<Image>, rate: f64) -> Vec<u8> {
    const UNKNOWN_SIZE: [u8; 8] = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let ebml = [
        number(&[0x42, 0x86], 1),
        number(&[0x42, 0xf7], 1),
        number(&[0x42, 0xf2], 4),
        number(&[0x42, 0xf3], 8),
        element(&[0x42, 0x82], b"matroska"),
        number(&[0x42, 0x87], 4),
        number(&[0x42, 0x85], 2),
    ];
    let info = [
        number(&[0x2a, 0xd7, 0xb1], TIME_STAMP_SCALE),
        element(&[0x4d, 0x80], b"samovar"),
        element(&[0x57, 0x41], b"samovar"),
    ];
    let video = [
        number(&[0xb0], u64::from(frame.width)),
        number(&[0xba], u64::from(frame.height)),
        // Red, green and blue in 24 bits.
        element(&[0x2e, 0xb5, 0x24], b"RGB\x18"),
    ];
    let track = [
        number(&[0xd7], 1),
        number(&[0x73, 0xc5], 1),
        number(&[0x83], 1),
        element(&[0x86], b"V_UNCOMPRESSED"),
        number(&[0x23, 0xe3, 0x83], (1e9 / rate.clamp(1e-3, 1e6)).round() as u64),
        element(&[0xe0], &video.concat()),
    ];
    let tracks = element(&[0xae], &track.concat());
    [
        element(&[0x1a, 0x45, 0xdf, 0xa3], &ebml.concat()),
        [&[0x18, 0x53, 0x80, 0x67][..], &UNKNOWN_SIZE].concat(),
        element(&[0x15, 0x49, 0xa9, 0x66], &info.concat()),
        element(&[0x16, 0x54, 0xae, 0x6b], &tracks),
    ]
    .concat()
}

/// What stands before a frame of so many bytes: a cluster of its own, at a time in microseconds.
pub(super) fn block_header(microseconds: u64, frame_bytes: u64) -> Vec<u8> {
    let time = number(&[0xe7], microseconds);
    // Track 1, no time of its own, a frame that needs no other.
    let block = [0x81, 0, 0, 0x80];
    let block_bytes = block.len() as u64 + frame_bytes;
    let cluster_bytes = time.len() as u64 + 9 + block_bytes;
    [&[0x1f, 0x43, 0xb6, 0x75][..], &size(cluster_bytes), &time, &[0xa3], &size(block_bytes), &block].concat()
}
