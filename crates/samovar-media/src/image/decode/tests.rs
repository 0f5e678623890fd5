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

/// Largest difference to PIL's values that is still right, by kind of file. JPEG leaves the inverse transform, chroma
/// upsampling and colour conversion to the decoder, so libjpeg's values are one answer of several.
fn tolerance(file: &str) -> u8 {
    match file {
        "420.jpg" => 5,
        _ if file.ends_with(".jpg") => 2,
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

fn encoded(name: &str) -> Vec<u8> {
    std::fs::read(golden::folder().join("images").join(name)).unwrap()
}

fn kind_of(bytes: &[u8], limits: DecodeLimits) -> MediaErrorKind {
    decode_bytes(bytes, &limits).unwrap_err().kind()
}

#[test]
fn limits_hold_before_anything_is_decoded() {
    let few_pixels = DecodeLimits { max_pixels: 13 * 9 - 1, ..DecodeLimits::default() };
    let just_enough = DecodeLimits { max_pixels: 13 * 9, ..DecodeLimits::default() };
    for name in ["rgb.png", "rgb.bmp", "rgb.tif", "palette.gif", "lossless.webp", "rgb.ppm"] {
        assert_eq!(kind_of(&encoded(name), few_pixels), MediaErrorKind::TooLarge, "{name}");
        assert!(decode_bytes(&encoded(name), &just_enough).is_ok(), "{name}");
        let path = golden::folder().join("images").join(name);
        assert_eq!(read_metadata(&path, &few_pixels).unwrap_err().kind(), MediaErrorKind::TooLarge);
    }
    let few_bytes = DecodeLimits { max_bytes: 13 * 9 * 6 - 1, ..DecodeLimits::default() };
    assert_eq!(
        kind_of(&encoded("rgb.png"), few_bytes),
        MediaErrorKind::TooLarge,
        "what decoding takes counts"
    );
    assert_eq!(
        kind_of(&encoded("420.jpg"), DecodeLimits { max_bytes: 100, ..few_bytes }),
        MediaErrorKind::TooLarge
    );
}

#[test]
fn a_picture_that_is_too_large_was_refused_with_advice_for_programmers() {
    // A header is enough: 16-bit RGBA takes 8 bytes a pixel, and 3 more as RGB.
    let mut header = encoded("rgb.png");
    (header[24], header[25]) = (16, 6);
    for (side, pixels) in [(20_000u32, 20_000 * 20_000 * 11 / 8), (16_000, 16_000 * 16_000 * 11 / 8)] {
        header[16..20].copy_from_slice(&side.to_be_bytes());
        header[20..24].copy_from_slice(&side.to_be_bytes());
        header.splice(29..33, crc_of(&header[12..29]).to_be_bytes());
        let refuse = |limits| metadata_of_bytes(&header, &limits).map_err(|error| error.to_string());
        let words = refuse(DecodeLimits::default()).unwrap_err();
        assert!(words.contains(&format!("--max-pixels {pixels}")), "{words}");
        assert!(refuse(DecodeLimits::of_pixels(pixels)).is_ok(), "the number named is enough");
        assert!(refuse(DecodeLimits::of_pixels(pixels - 1)).is_err(), "and no more than that");
    }
    let tiff =
        decode_bytes(&encoded("rgb.tif"), &DecodeLimits::of_pixels(13 * 9 - 1)).unwrap_err().to_string();
    assert!(tiff.contains("--max-pixels 117"), "{tiff}");
    let small = DecodeLimits::of_pixels(1);
    assert!(small.max_bytes >= 1 << 20, "metadata may be larger than a small picture");
    assert_eq!(DecodeLimits::default(), DecodeLimits { max_pixels: 256 << 20, max_bytes: 2 << 30 });
}

#[test]
fn a_bomb_is_refused_by_its_header() {
    // 50,000 x 50,000 pixels in a header, with nothing behind it.
    let mut png = encoded("rgb.png");
    png[16..20].copy_from_slice(&50_000u32.to_be_bytes());
    png[20..24].copy_from_slice(&50_000u32.to_be_bytes());
    png.splice(29..33, crc_of(&png[12..29]).to_be_bytes());
    assert_eq!(kind_of(&png, DecodeLimits::default()), MediaErrorKind::TooLarge);
    assert_eq!(kind_of(b"P6 65000 65000 255\n", DecodeLimits::default()), MediaErrorKind::TooLarge);
}

#[test]
fn a_webp_frame_larger_than_its_picture_is_refused() {
    for (name, claim) in [
        (b"VP8 ", &[0, 0, 0, 0x9d, 1, 0x2a, 0xff, 0x3f, 0xff, 0x3f][..]),
        (b"VP8L", &[0x2f, 255, 255, 255, 15]),
    ] {
        for animated in [false, true] {
            let chunk = |name: &[u8], content: &[u8]| {
                let padding = &[0][..content.len() % 2];
                [name, &(content.len() as u32).to_le_bytes(), content, padding].concat()
            };
            let mut frame = chunk(name, claim);
            if animated {
                frame = [chunk(b"ANIM", &[0; 6]), chunk(b"ANMF", &[&[0; 16][..], &frame].concat())].concat();
            }
            let flags = if animated { 2 } else { 0 };
            let body =
                [b"WEBP".to_vec(), chunk(b"VP8X", &[flags, 0, 0, 0, 12, 0, 0, 8, 0, 0]), frame].concat();
            let error = decode_bytes(&chunk(b"RIFF", &body), &DecodeLimits::default()).unwrap_err();
            assert_eq!(error.kind(), MediaErrorKind::Damaged);
        }
    }
}

#[test]
fn webp_frames_nested_without_end_do_not_fill_the_stack() {
    let depth = 200_000u32;
    let mut bytes = [&b"RIFF"[..], &(depth * 24 + 4).to_le_bytes(), b"WEBP"].concat();
    for level in (0..depth).rev() {
        bytes.extend([&b"ANMF"[..], &(level * 24 + 16).to_le_bytes(), &[0; 16]].concat());
    }
    assert!(webp::frames_fit(&bytes, Size::new(13, 9)));
    assert!(decode_bytes(&bytes, &DecodeLimits::default()).is_err());
}

fn crc_of(bytes: &[u8]) -> u32 {
    golden::crc32(bytes)
}

#[test]
fn files_cut_short_are_damaged() {
    for name in [
        "rgb.png",
        "420.jpg",
        "progressive.jpg",
        "exif_6.jpg",
        "rgb.bmp",
        "rgb.tif",
        "palette.gif",
        "lossless.webp",
        "lossy.webp",
        "rgb.ppm",
    ] {
        let bytes = encoded(name);
        for part in [bytes.len() - 13, bytes.len() * 3 / 4, bytes.len() / 2, 30] {
            let error = decode_bytes(&bytes[..part], &DecodeLimits::default()).expect_err(name);
            assert!(
                matches!(error.kind(), MediaErrorKind::Damaged | MediaErrorKind::Unsupported),
                "{name} at {part}: {error}"
            );
        }
    }
}

#[test]
fn a_palette_of_part_of_a_colour_is_damaged() {
    // Eight bytes, which the `png` crate reads as three colours.
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, content) in [
        (b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 3, 0, 0, 0][..]),
        (b"PLTE", &[0; 8]),
        (b"IDAT", &[0x78, 1, 1, 2, 0, 0xfd, 0xff, 0, 0, 0, 2, 0, 1]),
        (b"IEND", &[]),
    ] {
        bytes.extend((content.len() as u32).to_be_bytes());
        let checked = [name, content].concat();
        bytes.extend([&checked[..], &crc_of(&checked).to_be_bytes()].concat());
    }
    let error = decode_bytes(&bytes, &DecodeLimits::default()).unwrap_err().to_string();
    assert!(error.contains("colour table"), "{error}");
    bytes[25] = 2; // true colours have no need of the table
    assert!(
        !decode_bytes(&bytes, &DecodeLimits::default()).unwrap_err().to_string().contains("colour table")
    );
}

#[test]
fn any_damage_is_a_value_or_an_error() {
    // One byte at a time, anywhere; the limits keep a damaged header from claiming too much.
    let limits = DecodeLimits { max_pixels: 1 << 16, max_bytes: 1 << 20 };
    for path in std::fs::read_dir(golden::folder().join("images")).unwrap() {
        let original = std::fs::read(path.unwrap().path()).unwrap();
        for step in 0..60 {
            let mut bytes = original.clone();
            let at = step * 7919 % bytes.len();
            bytes[at] ^= 1 << (step % 8) | 0x40;
            if let Ok(image) = decode_bytes(&bytes, &limits) {
                assert!(image.size().area() <= limits.max_pixels);
            }
        }
    }
}

#[test]
fn errors_name_the_file_and_what_next() {
    let limits = DecodeLimits::default();
    let missing = decode_file(Path::new("no/such/photo.jpg"), &limits).unwrap_err();
    assert_eq!(missing.kind(), MediaErrorKind::NotFound);
    assert_eq!(missing.to_string(), "\"no/such/photo.jpg\": there is no such file; check the path");
    let folder = read_metadata(&golden::folder(), &limits).unwrap_err();
    assert_eq!(folder.kind(), MediaErrorKind::Unsupported);
    assert!(folder.to_string().ends_with("this is a folder, not an image; name a file"), "{folder}");
    let text = decode_file(&golden::folder().join("recipe.py"), &limits).unwrap_err();
    assert_eq!(text.kind(), MediaErrorKind::Unsupported);
    assert!(text.to_string().contains("recipe.py"), "{text}");
    assert_eq!(kind_of(b"", limits), MediaErrorKind::Damaged);
    let cut = decode_bytes(&encoded("420.jpg")[..400], &limits).unwrap_err();
    assert!(cut.to_string().contains("cut short"), "{cut}");
}

#[test]
fn metadata_says_what_decoding_will_give() {
    let path = golden::folder().join("images/exif_6.jpg");
    let metadata = read_metadata(&path, &DecodeLimits::default()).unwrap();
    assert_eq!(metadata.format, Some(ImageFormat::Jpeg));
    assert_eq!(metadata.orientation, Orientation::Rotate90);
    assert_eq!(metadata.size, Size::new(24, 16), "stored as 16x24");
}

#[test]
fn a_thumbnails_end_is_not_the_pictures_end() {
    // An EXIF segment with a whole JPEG inside, then the picture without its end.
    let whole = encoded("420.jpg");
    let mut bytes = whole[..2].to_vec();
    bytes.extend([0xff, 0xe1]);
    bytes.extend((whole.len() as u16 + 2).to_be_bytes());
    bytes.extend(&whole);
    bytes.extend(&whole[2..whole.len() - 2]);
    assert_eq!(kind_of(&bytes, DecodeLimits::default()), MediaErrorKind::Damaged);
    bytes.extend([0xff, 0xd9]);
    assert!(decode_bytes(&bytes, &DecodeLimits::default()).is_ok());
}

#[test]
fn significant_bits_that_a_png_states_are_no_guess() {
    let picture = ::image::ImageBuffer::<::image::Luma<u16>, _>::from_vec(2, 1, vec![300u16, 600]).unwrap();
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ::image::ImageFormat::Png).unwrap();
    let mut bytes = bytes.into_inner();
    let guessed = decode_bytes(&bytes, &DecodeLimits::default()).unwrap();
    assert_eq!(guessed.pixels(), [75, 75, 75, 150, 150, 150]);
    assert!(guessed.notes()[0].contains("taken as 10 bits"), "{:?}", guessed.notes());
    // Behind the header: length, name, content, check sum.
    let chunk = [&b"sBIT"[..], &[12]].concat();
    let chunk = [&1u32.to_be_bytes()[..], &chunk, &crc_of(&chunk).to_be_bytes()].concat();
    bytes.splice(33..33, chunk);
    let stated = decode_bytes(&bytes, &DecodeLimits::default()).unwrap();
    assert_eq!((stated.pixels(), stated.notes()), (&[18, 18, 18, 37, 37, 37][..], &[][..]));
}

#[test]
fn which_picture_of_an_animation_is_read_is_said() {
    let image = decode_bytes(&encoded("animated.gif"), &DecodeLimits::default()).unwrap();
    assert_eq!(image.notes(), ["the first of 2 pictures of an animation is read"]);
    let still = decode_bytes(&encoded("palette.gif"), &DecodeLimits::default()).unwrap();
    assert!(still.notes().is_empty());
    let mut png = encoded("rgb.png");
    let chunk = [&b"acTL"[..], &3u32.to_be_bytes(), &[0; 4]].concat();
    png.splice(33..33, [&8u32.to_be_bytes()[..], &chunk, &crc_of(&chunk).to_be_bytes()].concat());
    let image = decode_bytes(&png, &DecodeLimits::default()).unwrap();
    assert_eq!(image.notes(), ["the first of 3 pictures of an animation is read"]);
}

#[test]
fn a_format_that_is_not_read_is_named() {
    let name = |bytes: &[u8]| decode_bytes(bytes, &DecodeLimits::default()).unwrap_err().to_string();
    let heic = name(b"\0\0\0\x18ftypheic\0\0\0\0heicmif1");
    assert!(heic.starts_with("this is HEIC, which cannot be read here; convert it: `heif-convert"), "{heic}");
    let avif = name(b"\0\0\0\x18ftypavif\0\0\0\0mif1avif");
    assert!(avif.starts_with("this is AVIF, which cannot be read here; convert it: `avifdec"), "{avif}");
}
