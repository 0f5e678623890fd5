//! Files written are read back.

use std::path::PathBuf;

use super::*;
use crate::golden;
use crate::image::{DecodeLimits, decode_dynamic, decode_file};

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("samovar-png-{}-{name}", std::process::id()))
}

#[test]
fn masks_are_black_and_white() {
    let mask = golden::speckle(1, 37, 101, 100);
    let path = temporary("mask.png");
    write_mask_png(&path, &mask).unwrap();
    let image = decode_dynamic(&std::fs::read(&path).unwrap(), &DecodeLimits::default()).unwrap();
    assert_eq!(image.color(), ::image::ColorType::L8);
    assert_eq!(image.as_bytes(), mask.to_bytes(255));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn cut_outs_keep_colours_where_something_shows() {
    let image = golden::smooth_image(1, 20, 30);
    let alpha = AlphaMask::from_raw(image.size(), golden::noise(2, 20, 30, 1)).unwrap();
    let path = temporary("cut_out.png");
    write_cut_out_png(&path, &image, &alpha).unwrap();
    let read = decode_dynamic(&std::fs::read(&path).unwrap(), &DecodeLimits::default()).unwrap();
    let rgba = read.into_rgba8().into_raw();
    for (index, pixel) in rgba.chunks_exact(4).enumerate() {
        let alpha = alpha.values()[index];
        let expected = if alpha == 0 { &[0; 3] } else { &image.pixels()[index * 3..][..3] };
        assert_eq!(pixel[..3], *expected);
        assert_eq!(pixel[3], alpha);
    }
    let hard = AlphaMask::from(&golden::speckle(1, 20, 30, 100));
    assert!(hard.values().iter().all(|&value| value == 0 || value == 255));
    let other = AlphaMask::from_raw(Size::new(3, 3), vec![0; 9]).unwrap();
    assert!(write_cut_out_png(&path, &image, &other).is_err());
    std::fs::remove_file(path).unwrap();
}

#[test]
fn pictures_come_back() {
    let image = golden::noise_image(9, 11, 23);
    let path = temporary("rgb.png");
    write_rgb_png(&path, &image).unwrap();
    assert_eq!(decode_file(&path, &DecodeLimits::default()).unwrap(), image);
    std::fs::remove_file(path).unwrap();
}

fn profile() -> Vec<u8> {
    let mut profile = vec![7; 300];
    profile[16..20].copy_from_slice(b"RGB ");
    profile
}

#[test]
fn cut_outs_lost_the_colour_profile() {
    let picture =
        RgbImage::from_fn(Size::new(5, 3), |x, y| [x as u8, y as u8, 9]).with_icc_profile(profile());
    let mask = BitMask::from_fn(picture.size(), |x, _| x > 1);
    let cut_out = encode_cut_out_png(&picture, &AlphaMask::from(&mask)).unwrap();
    // Whatever holds a profile, read again and cut out again, still has it.
    for png in [cut_out, encode_rgb_png(&picture).unwrap()] {
        let read = crate::image::decode_bytes(&png, &DecodeLimits::default()).unwrap();
        assert_eq!(read.icc_profile(), Some(&profile()[..]));
    }
}

#[test]
fn transparent_pixels_of_the_source_became_opaque() {
    let picture = RgbImage::from_fn(Size::new(4, 1), |_, _| [200, 100, 50]);
    let picture = picture.with_alpha(vec![0, 128, 255, 128]).unwrap();
    let alpha = AlphaMask::from_raw(picture.size(), vec![255, 255, 255, 128]).unwrap();
    let rgba = cut_out(&picture, &alpha).unwrap();
    let alphas: Vec<u8> = rgba.chunks_exact(4).map(|pixel| pixel[3]).collect();
    assert_eq!(alphas, [0, 128, 255, 64]);
    assert_eq!(rgba[..4], [0; 4], "nothing is left of what nobody sees");
}
