//! Is a JPEG all there? The decoder fills what is missing and says nothing, so this is asked first.
//!
//! An end marker alone proves nothing: tools that repair downloads add one. So the picture's entropy-coded data is walked
//! symbol by symbol, without making pixels of it, and every block that the header promises must be there.

mod frame;
mod scan;

use self::frame::{Frame, Tables};

/// Where a JPEG ends too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// There is no end marker.
    NoEnd,
    /// The data of a scan ends, or stops making sense, after this share of the picture, in percent.
    InScan(u8),
    /// There is an end marker, and nothing of some colour component before it.
    NoScan,
}

impl Cut {
    /// The same in words.
    pub(super) fn describe(self) -> String {
        match self {
            Self::NoEnd => "the JPEG is cut short: its end marker is missing".to_owned(),
            Self::InScan(percent) => {
                format!("the JPEG is cut short or damaged: its data is good for {percent} % of the picture")
            }
            Self::NoScan => "the JPEG is cut short: a colour component has no data".to_owned(),
        }
    }
}

/// More scans than any encoder writes; the decoder refuses them too.
const MAX_SCANS: usize = 100;

/// Where the JPEG's first image ends too early, if it does. Walks the segments, so a thumbnail inside EXIF, which has an
/// end marker of its own, does not count. Only Huffman-coded files are walked to the last block, as the decoder reads no
/// others, and no larger ones than `max_pixels`.
pub(super) fn cut_of(bytes: &[u8], max_pixels: u64) -> Option<Cut> {
    const END_OF_IMAGE: u8 = 0xd9;
    let mut tables = Tables::default();
    let mut frame: Option<Frame> = None;
    let mut scans = 0;
    // After the start-of-image marker (2 bytes) come segments: 0xff, marker, length (2 bytes, with itself), payload.
    let mut at = 2;
    while at + 1 < bytes.len() {
        if bytes[at] != 0xff {
            // Entropy-coded data that was not walked, or garbage between segments: on to the next marker.
            let Some(step) = bytes[at..].iter().position(|&byte| byte == 0xff) else {
                return Some(Cut::NoEnd);
            };
            at += step;
            continue;
        }
        let marker = bytes[at + 1];
        match marker {
            0xff => at += 1, // fill byte
            END_OF_IMAGE => return frame.filter(|frame| !frame.has_all_components()).map(|_| Cut::NoScan),
            0x00 | 0x01 | 0xd0..=0xd8 => at += 2, // stuffed byte, or a marker without payload
            _ => {
                let Some(length) = bytes.get(at + 2..at + 4) else { return Some(Cut::NoEnd) };
                let end = at + 2 + usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
                let Some(payload) = bytes.get(at + 4..end) else { return Some(Cut::NoEnd) };
                at = end;
                match marker {
                    0xc4 => tables.define(payload),
                    0xdd => tables.set_restart_interval(payload),
                    0xc0..=0xc2 => frame = Frame::parse(payload, marker == 0xc2, max_pixels),
                    0xda => {
                        scans += 1;
                        let Some(frame) = frame.as_mut().filter(|_| scans <= MAX_SCANS) else { continue };
                        // A scan that cannot be followed is the decoder's to judge.
                        let Some(scan) = frame.scan(payload, &tables) else { continue };
                        match scan::walk(&scan, frame, &bytes[at..]) {
                            Ok(used) => at += used,
                            Err(percent) => return Some(Cut::InScan(percent)),
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    Some(Cut::NoEnd)
}

/// Bytes that the decoder takes for the coefficients of a progressive file, of which this is the start: it holds them all.
pub(super) fn coefficient_bytes(start: &[u8], max_pixels: u64) -> u64 {
    const BLOCK_BYTES: usize = 64 * size_of::<i16>();
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = start.get(at..).and_then(|rest| rest.first_chunk()) {
        let end = at + 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
        match marker {
            0xc2 => {
                let payload = start.get(at + 4..end).unwrap_or_default();
                // What is not zero is not of interest here, and would take memory itself.
                let Some(frame) = Frame::parse(payload, false, max_pixels) else { return 0 };
                let blocks = |component: &frame::Component| {
                    frame.units[0] * frame.units[1] * component.sampling[0] * component.sampling[1]
                };
                return (frame.components.iter().map(blocks).sum::<usize>() * BLOCK_BYTES) as u64;
            }
            0xc0 | 0xc1 | 0xda => return 0,
            _ => at = end,
        }
    }
    0
}

#[cfg(test)]
mod tests;
