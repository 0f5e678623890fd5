//! Against PIL on every kind of file, and hostile bytes.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::golden;

#[derive(Deserialize)]
struct Case {
    file: String,
    width: u32,
    height: u32,
    rgb: String,
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[i * 2..i * 2 + 2], 16).unwrap()).collect()
}

/// Largest difference to PIL's values that is still right, by kind of file. JPEG and lossy WebP leave the inverse
/// transform, chroma upsampling and colour conversion to the decoder, so libjpeg's values are one answer of several.
fn tolerance(file: &str) -> u8 {
    match file {
        "420.jpg" | "422.jpg" => 8,
        "lossy.webp" => 4,
        "ycck.jpg" => 4,
        _ if file.ends_with(".jpg") => 3,
        _ => 0,
    }
}

#[test]
fn pixels_are_pils() {
    let cases: Vec<Case> = golden::cases("decode.json");
    assert!(cases.len() >= 40);
    let mut worst: BTreeMap<String, u8> = BTreeMap::new();
    for case in cases {
        let path = golden::folder().join("images").join(&case.file);
        let image = decode_file(&path, &DecodeLimits::default()).unwrap();
        assert_eq!((image.width(), image.height()), (case.width, case.height), "{}", case.file);
        let metadata = read_metadata(&path, &DecodeLimits::default()).unwrap();
        assert_eq!(metadata.size, image.size(), "{}: the header must say what decoding gives", case.file);
        let expected = bytes_of(&case.rgb);
        let difference = image.pixels().iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        worst.insert(case.file.clone(), difference);
    }
    let over: Vec<_> = worst.iter().filter(|(file, difference)| **difference > tolerance(file)).collect();
    assert!(over.is_empty(), "beyond tolerance: {over:?}; all: {worst:?}");
}
