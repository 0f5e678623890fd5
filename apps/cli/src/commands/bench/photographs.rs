//! Photographs to measure with: made here, so that everybody has the same.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::codecs::jpeg::JpegEncoder;
use samovar::{RgbImage, Size};

/// What is made, by a process of its own: the memory it takes would count as that of those that are started after it.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A file, or a folder with --count
    to: PathBuf,
    #[arg(long)]
    width: u32,
    #[arg(long)]
    height: u32,
    #[arg(long, default_value_t = 0)]
    count: usize,
    #[arg(long, default_value_t = 1)]
    different: usize,
    /// Frames of a scene in which nothing moves
    #[arg(long)]
    repeats: bool,
}

/// Makes them.
pub fn run(args: &Args) -> Result<()> {
    let size = (args.width, args.height);
    match args.count {
        0 => write_one(&args.to, size, 1),
        count => write_folder(&args.to, count, args.different, size, args.repeats),
    }
}

/// Twelve megapixels, as telephones take them.
pub const LARGE: (u32, u32) = (4000, 3000);

/// Full HD, as document 000 has them.
pub const FULL_HD: (u32, u32) = (1920, 1080);

/// Of JPEG, about what cameras use.
const QUALITY: u8 = 88;

/// Different pictures that are made; the others repeat them under another content.
const DIFFERENT: usize = 10;

/// A picture like a photograph as far as decoders and encoders can tell: large soft shapes, edges, and grain at every scale.
pub fn photograph((width, height): (u32, u32), seed: u32) -> RgbImage {
    let (fx, fy) = (1.0 / f64::from(width), 1.0 / f64::from(height));
    let turn = f64::from(seed) * 0.7;
    let discs: Vec<(f64, f64, f64, [f64; 3])> = (0..7)
        .map(|disc| {
            let t = turn + f64::from(disc) * 2.4;
            let colour = [0.0, 2.1, 4.2].map(|shift| 128.0 + 100.0 * (t * 1.3 + shift).sin());
            (0.5 + 0.35 * t.sin(), 0.5 + 0.3 * (1.7 * t).cos(), 0.06 + 0.05 * (2.3 * t).sin().abs(), colour)
        })
        .collect();
    let ratio = f64::from(height) / f64::from(width);
    // One line of grain, read from another place in every row.
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let grain: Vec<f64> = (0..8191)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            f64::from(state >> 24) / 16.0 - 8.0
        })
        .collect();
    RgbImage::from_fn(Size::new(width, height), |x, y| {
        let (u, v) = (f64::from(x) * fx, f64::from(y) * fy);
        let inside = discs.iter().find(|(cx, cy, radius, _)| (u - cx).hypot((v - cy) * ratio) < *radius);
        let base = inside.map_or([60.0 + 110.0 * v, 90.0 + 60.0 * u, 170.0 - 90.0 * v], |disc| disc.3);
        let noise = grain[(x as usize + (y as usize) * 977) % grain.len()];
        base.map(|value| (value + noise).clamp(0.0, 255.0) as u8)
    })
}

/// As a JPEG with `number` in a comment, so that no two files are the same.
fn jpeg(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (width, height) = (picture.width(), picture.height());
    JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode(
        picture.pixels(),
        width,
        height,
        image::ExtendedColorType::Rgb8,
    )?;
    Ok(bytes)
}

/// Writes one.
fn write_one(path: &Path, size: (u32, u32), seed: u32) -> Result<()> {
    let shown = || format!("\"{}\"", path.display());
    std::fs::write(path, jpeg(&photograph(size, seed))?).with_context(shown)
}

/// Writes a folder of `count` photographs of this size. Beyond the first `different`, 10 at most, they show what one of those
/// shows; their files differ, unless `repeats` is set, as a camera's frames of a scene in which nothing moves.
fn write_folder(
    folder: &Path,
    count: usize,
    different: usize,
    size: (u32, u32),
    repeats: bool,
) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("\"{}\"", folder.display()))?;
    let different = different.clamp(1, if repeats { count.max(1) } else { DIFFERENT });
    let mut made: Vec<Vec<u8>> = Vec::new();
    for number in 0..count {
        if made.len() < different.min(count) {
            made.push(jpeg(&photograph(size, number as u32))?);
        }
        let bytes = &made[number % made.len()];
        let path = folder.join(format!("{number:05}.jpg"));
        let write = || -> io::Result<()> {
            let mut file = std::fs::File::create(&path)?;
            // After the two bytes that begin a JPEG comes a comment of 8 digits.
            file.write_all(&bytes[..2])?;
            if !repeats {
                file.write_all(&[0xFF, 0xFE, 0, 10])?;
                file.write_all(format!("{number:08}").as_bytes())?;
            }
            file.write_all(&bytes[2..])
        };
        write().with_context(|| format!("\"{}\"", path.display()))?;
    }
    Ok(())
}
