//! From a picture to a written cut-out, with the system refusing memory at one large request after the other: every refusal
//! is an error, none ends the process. GIF and WebP are not among them, nor are TIFFs of rare samples: there a library takes the memory
//! itself, which is tried just before, and lost only if somebody else takes it in between.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI64, Ordering};

use samovar_geometry::{ResizeRule, Size};
use samovar_media::error::{MediaErrorKind, Result};
use samovar_media::flow::{DenseFlow, Grey};
use samovar_media::image::{DecodeLimits, RgbImage, decode_file, decode_mask_file};
use samovar_media::resize::resize_bilinear;
use samovar_media::upscale::Upscaler;
use samovar_media::write::{write_cut_out_png, write_mask_png, write_rgb_png};

/// Requests of so many bytes may be refused: those whose size the picture decides. Libraries' windows and chunks, which are the same for
/// any picture, are smaller.
const LARGE_BYTES: usize = 400 << 10;

/// Large requests until one is refused; below zero for none.
static REMAINING: AtomicI64 = AtomicI64::new(-1);

/// Which request a run refuses, which file it reads, and where it writes; how the test calls itself.
const RUN: &str = "SAMOVAR_TEST_OUT_OF_MEMORY";

struct Refusing;

fn is_refused(bytes: usize) -> bool {
    bytes >= LARGE_BYTES
        && REMAINING.load(Ordering::SeqCst) >= 0
        && REMAINING.fetch_sub(1, Ordering::SeqCst) == 0
}

// SAFETY: calls go to the system's allocator unchanged, or are answered as it answers when it has no memory.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the one `System` asks for; so below.
        if is_refused(layout.size()) { null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        if is_refused(layout.size()) { null_mut() } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if new_size > layout.size() && is_refused(new_size) {
            return null_mut();
        }
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Refusing = Refusing;

const SIZE: Size<samovar_geometry::Image> = Size::new(2000, 1700);

/// What is read.
fn write_inputs(folder: &Path) {
    let picture = RgbImage::from_fn(SIZE, |x, y| [x as u8, y as u8, (x ^ y) as u8]);
    write_rgb_png(&folder.join("rgb.png"), &picture).unwrap();
    let mask = picture_mask(&picture).unwrap();
    write_mask_png(&folder.join("grey.png"), &mask).unwrap();
    let alpha = Upscaler::new(Size::square(64), ResizeRule::LongestSide { target: 256 }, SIZE).unwrap();
    let alpha = alpha.prepare(&logits()).unwrap().alpha().unwrap();
    write_cut_out_png(&folder.join("rgba.png"), &picture, &alpha).unwrap();
    for name in ["rgb.jpg", "rgb.bmp"] {
        let pixels = image::RgbImage::from_raw(SIZE.width, SIZE.height, picture.pixels().to_vec()).unwrap();
        pixels.save(folder.join(name)).unwrap();
    }
    let deep = |x: u32, y: u32| image::Rgba([x as u16 * 32, y as u16 * 38, (x * y) as u16, 60_000]);
    let deep = image::ImageBuffer::from_fn(SIZE.width, SIZE.height, deep);
    deep.save(folder.join("deep.png")).unwrap();
    deep.save(folder.join("deep.tif")).unwrap();
    image::DynamicImage::ImageRgba16(deep).to_rgb8().save(folder.join("rgb.tif")).unwrap();
    let upright = std::fs::read(folder.join("rgb.jpg")).unwrap();
    // A segment of EXIF behind the start of the picture: one entry, the orientation, which is a quarter of a turn.
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    std::fs::write(folder.join("turned.jpg"), [&upright[..2], exif, &upright[2..]].concat()).unwrap();
}

fn logits() -> Vec<f32> {
    (0..64 * 64).map(|i| ((i % 64) as f32 - 30.0) * 0.3 + ((i / 64) as f32 * 0.2).sin()).collect()
}

fn picture_mask(picture: &RgbImage) -> Result<samovar_media::mask::BitMask> {
    Upscaler::new(Size::square(64), ResizeRule::LongestSide { target: 256 }, picture.size())?.mask(
        &logits(),
        0.0,
        1,
    )
}

/// Reads, enlarges and writes.
fn work(picture: &Path, folder: &Path) -> Result<()> {
    let limits = DecodeLimits::default();
    let image = decode_file(picture, &limits)?;
    assert_eq!(image.size() != SIZE, picture.ends_with("turned.jpg"), "turned");
    decode_mask_file(&folder.join("grey.png"), &limits)?;
    image.crop(100, 100, 1900, 1600)?;
    resize_bilinear(&image, Size::new(1000, 850), 1)?;
    if picture.ends_with("rgb.png") {
        let grey = Grey::of(&image, Size::new(1000, 850), 1)?;
        DenseFlow::new().between(&grey, &grey)?;
    }
    let upscaler = Upscaler::new(Size::square(64), ResizeRule::LongestSide { target: 256 }, image.size())?;
    let logits = logits();
    let prepared = upscaler.prepare(&logits)?;
    let mask = prepared.mask(0.0, 1)?;
    write_mask_png(&folder.join("mask.png"), &mask)?;
    write_cut_out_png(&folder.join("cut-out.png"), &image, &prepared.alpha()?)
}

/// What a run of its own said: how many large requests it made, or its error.
fn run_apart(refused: i64, picture: &Path, folder: &Path) -> String {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .args(["--exact", "--nocapture", "every_large_request_that_is_refused_is_an_error"])
        .env(RUN, format!("{refused}|{}|{}", picture.display(), folder.display()))
        .output()
        .unwrap();
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let outcome =
        said.lines().find_map(|line| line.split_once("outcome: ").map(|(_, after)| after.to_owned()));
    outcome.unwrap_or_else(|| format!("ended with {}: {complained}", output.status))
}

#[test]
fn every_large_request_that_is_refused_is_an_error() {
    if let Ok(run) = std::env::var(RUN) {
        let mut parts = run.split('|');
        let refused: i64 = parts.next().unwrap().parse().unwrap();
        let [picture, folder] = [(); 2].map(|()| PathBuf::from(parts.next().unwrap()));
        let most = i64::MAX;
        REMAINING.store(if refused < 0 { most } else { refused }, Ordering::SeqCst);
        let outcome = work(&picture, &folder);
        let made = most - REMAINING.swap(-1, Ordering::SeqCst);
        match outcome {
            Ok(()) => println!("outcome: made {made}"),
            Err(error) => println!("outcome: {:?} {error}", error.kind()),
        }
        return;
    }
    let folder = std::env::temp_dir().join(format!("samovar-out-of-memory-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    write_inputs(&folder);
    let mut wrong = Vec::new();
    let pictures = [
        "rgb.png",
        "grey.png",
        "rgba.png",
        "deep.png",
        "rgb.jpg",
        "turned.jpg",
        "rgb.bmp",
        "rgb.tif",
        "deep.tif",
    ];
    for name in pictures {
        let picture = folder.join(name);
        let made = run_apart(-1, &picture, &folder);
        let made: i64 =
            made.strip_prefix("made ").and_then(|made| made.parse().ok()).unwrap_or_else(|| panic!("{made}"));
        assert!(made >= 8, "{name}: only {made} large requests");
        for refused in 0..made {
            let outcome = run_apart(refused, &picture, &folder);
            if !outcome.starts_with(&format!("{:?}", MediaErrorKind::OutOfMemory)) {
                wrong.push(format!("{name}, request {refused} of {made}: {outcome}"));
            }
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
