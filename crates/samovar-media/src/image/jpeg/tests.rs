//! Whole JPEGs of all kinds pass; the same ones cut, with an end marker put behind, do not.

use super::*;
use crate::golden;

fn jpegs() -> Vec<(String, Vec<u8>)> {
    let listed = std::fs::read_dir(golden::folder().join("images")).unwrap();
    let paths = listed.map(|entry| entry.unwrap().path());
    let jpegs = paths.filter(|path| path.extension().is_some_and(|ending| ending == "jpg"));
    let found: Vec<_> =
        jpegs.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect();
    assert!(found.len() >= 8);
    found
}

/// Where the last scan's data begins.
fn last_scan(bytes: &[u8]) -> usize {
    let at = bytes.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
    at + 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]))
}

#[test]
fn whole_files_pass() {
    for (name, bytes) in jpegs() {
        assert_eq!(cut_of(&bytes, 1 << 20), None, "{name}");
        // What other programs put behind the end is none of the picture.
        assert_eq!(cut_of(&[&bytes[..], b"behind"].concat(), 1 << 20), None, "{name}");
    }
}

#[test]
fn a_cut_jpeg_with_an_end_marker_was_accepted() {
    for (name, bytes) in jpegs() {
        let (start, end) = (last_scan(&bytes), bytes.len() - 2);
        for part in [0, 1, 2, 3] {
            let mut at = start + (end - start) * part / 4;
            // Not within a stuffed byte, which would hide the marker.
            while bytes[at - 1] == 0xff {
                at -= 1;
            }
            let cut = [&bytes[..at], &[0xff, 0xd9]].concat();
            assert!(matches!(cut_of(&cut, 1 << 20), Some(Cut::InScan(_))), "{name} at {at} of {end}");
        }
    }
}

#[test]
fn a_jpeg_without_scans_has_no_data() {
    for (name, bytes) in jpegs() {
        let first = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        assert_eq!(cut_of(&[&bytes[..first], &[0xff, 0xd9]].concat(), 1 << 20), Some(Cut::NoScan), "{name}");
    }
}

#[test]
fn a_jpeg_whose_tables_lie_elsewhere_has_data() {
    for (name, mut bytes) in jpegs() {
        // As in a TIFF, which has the tables once for all its strips.
        while let Some(at) = bytes.windows(2).position(|pair| pair == [0xff, 0xc4]) {
            let length = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
            bytes.drain(at..at + 2 + length);
        }
        assert_eq!(cut_of(&bytes, 1 << 20), None, "{name}");
    }
}
