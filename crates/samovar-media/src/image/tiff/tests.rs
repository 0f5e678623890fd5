//! Kinds of TIFF that were refused, or shown white or dark. All are made here.

use std::io::Cursor;

use ::tiff::encoder::{Compression, TiffEncoder, colortype};

use super::super::decode::{decode_bytes, metadata_of_bytes};
use super::super::rgb::RgbImage;
use super::*;

fn decoded(bytes: &[u8]) -> RgbImage {
    let limits = DecodeLimits::default();
    let image = decode_bytes(bytes, &limits).unwrap();
    assert_eq!(metadata_of_bytes(bytes, &limits).unwrap().size, image.size());
    image
}

/// A picture of 4x2 of one colour type.
fn of_kind<C: colortype::ColorType>(values: &[C::Inner]) -> Vec<u8>
where
    [C::Inner]: ::tiff::encoder::TiffValue,
{
    let mut bytes = Cursor::new(Vec::new());
    TiffEncoder::new(&mut bytes).unwrap().write_image::<C>(4, 2, values).unwrap();
    bytes.into_inner()
}

fn greys(image: &RgbImage) -> Vec<u8> {
    image.pixels().chunks_exact(3).map(|pixel| pixel[0]).collect()
}

/// A TIFF by hand, for kinds that no encoder at hand writes: tags, then data. Places are LONG, all else SHORT.
fn by_hand(tags: &[(u16, Vec<u32>)], data: &[u8], is_big: bool) -> Vec<u8> {
    let mut tags = tags.to_vec();
    let (header, entry, place) = if is_big { (16, 20, 8) } else { (8, 12, 4) };
    let directory = header + if is_big { 8 } else { 2 } + (tags.len() + 2) * entry + place;
    let beyond = |values: usize| if values * 2 > place { values * 2 } else { 0 };
    let long: usize = tags.iter().map(|(_, values)| beyond(values.len())).sum();
    tags.extend([(273, vec![(directory + long) as u32]), (279, vec![data.len() as u32])]);
    tags.sort();
    let number = |value: usize| (value as u64).to_le_bytes()[..place].to_vec();
    let start = if is_big { &b"II+\0\x08\0\0\0"[..] } else { b"II*\0" };
    let mut bytes = [start, &number(header)].concat();
    bytes.extend(&number(tags.len())[..if is_big { 8 } else { 2 }]);
    let mut outside = Vec::new();
    for (tag, values) in &tags {
        let is_long = [273, 279].contains(tag);
        bytes.extend(tag.to_le_bytes());
        bytes.extend(if is_long { 4u16 } else { 3 }.to_le_bytes());
        bytes.extend(number(values.len()));
        let content: Vec<u8> = match is_long {
            true => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            false => values.iter().flat_map(|&value| (value as u16).to_le_bytes()).collect(),
        };
        if content.len() > place {
            bytes.extend(number(directory + outside.len()));
            outside.extend(content);
        } else {
            bytes.extend([&content[..], &[0; 8][..place - content.len()]].concat());
        }
    }
    bytes.extend(number(0));
    assert_eq!(bytes.len(), directory);
    [bytes, outside, data.to_vec()].concat()
}

fn tags(width: u32, height: u32, bits: &[u32], photometric: u32) -> Vec<(u16, Vec<u32>)> {
    let samples = bits.len() as u32;
    vec![
        (256, vec![width]),
        (257, vec![height]),
        (258, bits.to_vec()),
        (259, vec![1]),
        (262, vec![photometric]),
        (277, vec![samples]),
        (278, vec![height]),
    ]
}

#[test]
fn floats_of_0_to_255_became_white_and_greys_of_floats_were_unknown_32() {
    let to_255 = [0.0f32, 15.0, 30.0, 60.0, 90.0, 120.0, 200.0, 241.0];
    let image = decoded(&of_kind::<colortype::Gray32Float>(&to_255));
    assert_eq!(greys(&image), [0, 15, 30, 60, 90, 120, 200, 241]);
    assert!(image.notes()[0].contains("taken as 0 to 255"), "{:?}", image.notes());
    let to_1 = to_255.map(|value| value / 255.0);
    let image = decoded(&of_kind::<colortype::Gray32Float>(&to_1));
    assert_eq!((greys(&image), image.notes()), (vec![0, 15, 30, 60, 90, 120, 200, 241], &[][..]));
    let rgb: Vec<f32> = to_255.iter().flat_map(|&value| [value, 0.0, 255.0]).collect();
    assert_eq!(decoded(&of_kind::<colortype::RGB32Float>(&rgb)).pixel(3, 1), [241, 0, 255]);
    let deep = to_1.map(f64::from);
    assert_eq!(greys(&decoded(&of_kind::<colortype::Gray64Float>(&deep)))[7], 241);
}

#[test]
fn signed_heights_were_refused() {
    let image = decoded(&of_kind::<colortype::GrayI16>(&[-100, 0, 100, 200, 300, 400, 500, 600]));
    assert_eq!((greys(&image)[0], greys(&image)[7]), (0, 255));
    assert!(image.notes()[0].contains("from -100 to 600"), "{:?}", image.notes());
    let image = decoded(&of_kind::<colortype::Gray32>(&[0, 1 << 20, 0, 0, 0, 0, 0, 1 << 21]));
    assert_eq!(&greys(&image)[..2], [0, 128]);
}

#[test]
fn bigtiff_was_no_image_format() {
    let values: Vec<u8> = (0..24).map(|value| value * 10).collect();
    let mut bytes = Cursor::new(Vec::new());
    TiffEncoder::new_big(&mut bytes).unwrap().write_image::<colortype::RGB8>(4, 2, &values).unwrap();
    assert_eq!(decoded(&bytes.into_inner()).pixels(), values);
}

#[test]
fn a_palette_was_refused() {
    let mut map = vec![0u32; 256 * 3];
    (map[1], map[256 + 2], map[512 + 3]) = (255 << 8, 128 << 8, 64 << 8);
    for is_big in [false, true] {
        let mut with_map = tags(2, 2, &[8], 3);
        with_map.push((320, map.clone()));
        let image = decoded(&by_hand(&with_map, &[0, 1, 2, 3], is_big));
        assert_eq!(image.pixels(), [0, 0, 0, 255, 0, 0, 0, 128, 0, 0, 0, 64]);
    }
    let mut of_4_bits = tags(3, 2, &[4], 3);
    let short: Vec<u32> = [0, 1, 2].iter().flat_map(|channel| map[channel * 256..][..16].to_vec()).collect();
    of_4_bits.push((320, short));
    let image = decoded(&by_hand(&of_4_bits, &[0x01, 0x20, 0x32, 0x10], false));
    assert_eq!(
        (image.pixel(1, 0), image.pixel(0, 1), image.pixel(2, 1)),
        ([255, 0, 0], [0, 0, 64], [255, 0, 0])
    );
    let without = decode_bytes(&by_hand(&tags(2, 2, &[8], 3), &[0; 4], false), &DecodeLimits::default());
    assert_eq!(without.unwrap_err().kind(), MediaErrorKind::Damaged);
}

#[test]
fn more_bands_than_colours_were_refused() {
    let pixels: Vec<u8> = (0..2 * 5).collect();
    let image = decoded(&by_hand(&tags(2, 1, &[8; 5], 1), &pixels, false));
    assert_eq!(image.pixels(), [0, 1, 2, 5, 6, 7]);
    assert!(image.notes()[0].contains("5 bands"), "{:?}", image.notes());
    let image = decoded(&by_hand(&tags(2, 1, &[8; 2], 1), &pixels[..4], false));
    assert_eq!(greys(&image), [0, 2]);
}

#[test]
fn alpha_is_what_the_file_says_is_alpha() {
    let pixels = [9, 9, 9, 128, 7, 7, 7, 255];
    let mut with_alpha = tags(2, 1, &[8; 4], 2);
    assert_eq!(decoded(&by_hand(&with_alpha, &pixels, false)).alpha(), None, "a fourth band, infrared say");
    with_alpha.push((338, vec![2]));
    let straight = decoded(&by_hand(&with_alpha, &pixels, false));
    assert_eq!(straight.alpha(), Some(&[128, 255][..]));
    *with_alpha.last_mut().unwrap() = (338, vec![1]);
    let associated = decoded(&by_hand(&with_alpha, &pixels, false));
    assert_eq!(associated.alpha(), Some(&[128, 255][..]));
    let whole = |value: u8| ((f64::from(value) * 255.0 / 128.0).round() as u64).min(255) as u8;
    let first: Vec<u8> = straight.pixels()[..3].iter().map(|&value| whole(value)).collect();
    assert_eq!(associated.pixels()[..3], first);
    assert_eq!(associated.pixels()[3..], straight.pixels()[3..]);
    assert!(associated.notes()[0].contains("multiplied by its alpha"), "{:?}", associated.notes());
}

#[test]
fn jpeg_inside_was_refused_and_a_cut_one_is_damaged() {
    let mut jpeg = Vec::new();
    let picture =
        ::image::RgbImage::from_fn(16, 16, |x, _| ::image::Rgb([if x < 8 { 250 } else { 5 }, 40, 90]));
    let encoder = ::image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 95);
    picture.write_with_encoder(encoder).unwrap();
    let mut with_jpeg = tags(16, 16, &[8; 3], 6);
    with_jpeg.iter_mut().find(|(tag, _)| *tag == 259).unwrap().1 = vec![7];
    let image = decoded(&by_hand(&with_jpeg, &jpeg, false));
    for (x, red) in [(2, 250u8), (13, 5)] {
        let found = image.pixel(x, 8);
        let expected = [red, 40, 90];
        assert!(
            found.iter().zip(expected).all(|(found, expected)| found.abs_diff(expected) < 12),
            "{found:?}"
        );
    }
    let at = jpeg.len() - 12;
    let cut = [&jpeg[..at], &[0xff, 0xd9]].concat();
    let error = decode_bytes(&by_hand(&with_jpeg, &cut, false), &DecodeLimits::default()).unwrap_err();
    assert_eq!(error.kind(), MediaErrorKind::Damaged, "{error}");
}

#[test]
fn compressed_ones_are_read_and_the_rest_is_named() {
    let values = [10u8, 20, 30, 40, 50, 60, 70, 80];
    for compression in [Compression::Lzw, Compression::Packbits, Compression::Deflate(Default::default())] {
        let mut bytes = Cursor::new(Vec::new());
        let mut encoder = TiffEncoder::new(&mut bytes).unwrap().with_compression(compression);
        encoder.write_image::<colortype::Gray8>(4, 2, &values).unwrap();
        assert_eq!(greys(&decoded(&bytes.into_inner())), values);
    }
    // Zstandard: one raw block of 8 bytes.
    let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, 8, 0x41, 0, 0][..], &values].concat();
    let mut zstd = tags(4, 2, &[8], 1);
    zstd[3].1 = vec![50000];
    assert_eq!(greys(&decoded(&by_hand(&zstd, &frame, false))), values);
    zstd[3].1 = vec![34887]; // LERC
    let error = decode_bytes(&by_hand(&zstd, &frame, false), &DecodeLimits::default()).unwrap_err();
    assert_eq!(error.kind(), MediaErrorKind::Unsupported);
    assert!(error.to_string().contains("gdal_translate"), "{error}");
}

#[test]
fn which_page_is_read_is_said() {
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes).unwrap();
    for page in 0..3u8 {
        encoder.write_image::<colortype::Gray8>(4, 2, &[page * 50 + 7; 8]).unwrap();
    }
    let image = decoded(&bytes.into_inner());
    assert_eq!(greys(&image), [7; 8]);
    assert_eq!(image.notes(), ["page 1 of 3 is read"]);
}

#[test]
fn a_stated_range_and_a_mark_of_no_data_are_followed() {
    let values = [0u16, 500, 1000, 2000, 0, 0, 0, 0];
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut stated = tags(4, 2, &[16], 1);
    stated.push((281, vec![2000]));
    let image = decoded(&by_hand(&stated, &data, false));
    assert_eq!((&greys(&image)[..4], image.notes()), (&[0, 64, 128, 255][..], &[][..]));
}

#[test]
fn a_tiff_cut_short_is_damaged() {
    let whole = by_hand(&tags(4, 2, &[8], 1), &[1; 8], false);
    let error = decode_bytes(&whole[..whole.len() - 3], &DecodeLimits::default()).unwrap_err();
    assert!(error.kind() == MediaErrorKind::Damaged && error.to_string().contains("cut short"), "{error}");
}

#[test]
fn pages_that_lead_in_a_circle_are_counted_only_so_far() {
    let mut bytes = by_hand(&tags(4, 2, &[8], 1), &[1; 8], false);
    let next = bytes.len() - 8 - 4;
    bytes[next..next + 4].copy_from_slice(&8u32.to_le_bytes());
    assert_eq!(Directory::first(&bytes).unwrap().pages(), 10_000);
}
