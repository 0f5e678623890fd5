//! For tests: the goldens in `dev/goldens/media`, and the integer formulas their inputs are made with.

use std::path::PathBuf;

use samovar_geometry::{Image, Size};
use serde::de::DeserializeOwned;

use crate::image::RgbImage;
use crate::mask::BitMask;

/// The folder of the goldens.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens/media")
}

/// The cases of one golden file.
pub(crate) fn cases<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let path = folder().join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; make it with dev/goldens/media/recipe.py", path.display())
    });
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Bytes from a hash of position and seed, row by row, channels interleaved.
pub(crate) fn noise(seed: u32, height: u32, width: u32, channels: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for c in 0..channels {
                bytes.push(noise_at(seed, y, x, c));
            }
        }
    }
    bytes
}

fn noise_at(seed: u32, y: u32, x: u32, c: u32) -> u8 {
    let mut h = x
        .wrapping_mul(374_761_393)
        .wrapping_add(y.wrapping_mul(668_265_263))
        .wrapping_add(c.wrapping_mul(2_246_822_519))
        .wrapping_add(seed.wrapping_mul(3_266_489_917));
    h ^= h >> 15;
    h = h.wrapping_mul(2_246_822_519);
    h ^= h >> 13;
    h as u8
}

/// A noisy picture.
pub(crate) fn noise_image(seed: u32, height: u32, width: u32) -> RgbImage {
    RgbImage::from_raw(Size::new(width, height), noise(seed, height, width, 3)).unwrap()
}

/// A slowly varying picture.
pub(crate) fn smooth_image(seed: u32, height: u32, width: u32) -> RgbImage {
    let wave = |v: i64, period: i64| (v % (2 * period) - period).abs() * 200 / period;
    RgbImage::from_fn(Size::new(width, height), |x, y| {
        std::array::from_fn(|c| {
            let (x64, y64, c64) = (i64::from(x), i64::from(y), c as i64);
            let value = (wave(x64 + 7 * c64, 41) + wave(y64 + 13 * c64, 29)) / 2;
            (value + i64::from(noise_at(seed, y, x, c as u32)) / 8) as u8
        })
    })
}

/// A mask of specks, two pixels wide at least; `density` of 256.
pub(crate) fn speckle(seed: u32, height: u32, width: u32, density: u32) -> BitMask {
    let on = |x: u32, y: u32| u32::from(noise_at(seed, y, x, 0)) < density;
    BitMask::from_fn(Size::<Image>::new(width, height), |x, y| on(x, y) || (x > 0 && on(x - 1, y)))
}

/// Low-resolution logits: soft blobs with a little noise.
pub(crate) fn logits(seed: u32, side: u32) -> Vec<f32> {
    let pick = |blob: u32, index: u32| i64::from(noise_at(seed * 8 + blob, 0, index, 0));
    let side64 = i64::from(side);
    let mut values = Vec::new();
    for y in 0..side64 {
        for x in 0..side64 {
            let mut total = -6 * 64;
            for blob in 0..3 {
                let (cx, cy) = (pick(blob, 0) * side64 / 256, pick(blob, 1) * side64 / 256);
                let r = side64 / 12 + pick(blob, 2) * side64 / 1024;
                let d2 = (x - cx) * (x - cx) + (y - cy) * (y - cy);
                total += (16 * 64 - 16 * 64 * d2 / (2 * r * r)).max(0);
            }
            total += i64::from(noise_at(seed, y as u32, x as u32, 0)) / 4 - 32;
            values.push(total as f32 / 64.0);
        }
    }
    values
}

/// The checksum the goldens carry (zlib's CRC-32).
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}
