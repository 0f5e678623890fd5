//! Against Pillow to the bit, and the fused pass against the plain one.

use serde::Deserialize;

use super::*;
use crate::golden;

#[derive(Debug, Deserialize)]
struct Case {
    kind: String,
    width: u32,
    height: u32,
    new_width: u32,
    new_height: u32,
    crc: u32,
}

impl Case {
    fn source(&self) -> RgbImage {
        match self.kind.as_str() {
            "noise" => golden::noise_image(11, self.height, self.width),
            _ => golden::smooth_image(12, self.height, self.width),
        }
    }
}

#[test]
fn every_case_is_pillows_to_the_bit() {
    let cases: Vec<Case> = golden::cases("resize.json");
    assert!(cases.len() >= 40);
    for case in cases {
        let resized = resize_bilinear(&case.source(), Size::new(case.new_width, case.new_height), 1).unwrap();
        assert_eq!(golden::crc32(resized.pixels()), case.crc, "{case:?}");
    }
}

#[test]
fn threads_change_nothing() {
    let source = golden::noise_image(3, 211, 307);
    let size = Size::new(150, 401);
    let alone = resize_bilinear(&source, size, 1).unwrap();
    for threads in [0, 2, 3, 7, 1000] {
        assert_eq!(resize_bilinear(&source, size, threads).unwrap(), alone, "{threads} threads");
    }
}

#[test]
fn the_fused_pass_is_resize_then_normalise_then_pad() {
    let source = golden::smooth_image(4, 61, 97);
    let (resized_size, canvas) = (Size::<Input>::new(64, 40), Size::<Input>::square(64));
    let resized = resize_bilinear(&source, resized_size.as_frame(), 1).unwrap();
    for threads in [1, 3] {
        // A dirty buffer: every value must be written.
        let mut fused = vec![f32::NAN; 64 * 64 * 3];
        let norm = Normalisation::IMAGENET;
        resize_normalise(&source, resized_size, canvas, &norm, threads, &mut fused).unwrap();
        for y in 0..64u32 {
            for x in 0..64u32 {
                for c in 0..3 {
                    let value = fused[(y as usize * 64 + x as usize) * 3 + c];
                    let expected = if y < 40 {
                        let byte = f64::from(resized.pixel(x, y)[c]);
                        ((byte / 255.0 - f64::from(norm.mean[c])) / f64::from(norm.std[c])) as f32
                    } else {
                        0.0
                    };
                    assert_eq!(value, expected, "({x}, {y}), channel {c}");
                }
            }
        }
    }
}

#[test]
fn padding_on_the_right_is_zero_too() {
    let source = golden::smooth_image(4, 97, 61);
    let mut fused = vec![f32::NAN; 64 * 64 * 3];
    let resized = Size::new(40, 64);
    resize_normalise(&source, resized, Size::square(64), &Normalisation::HALF, 2, &mut fused).unwrap();
    for row in fused.chunks_exact(64 * 3) {
        assert!(row[..40 * 3].iter().all(|value| (-1.0..=1.0).contains(value)));
        assert!(row[40 * 3..].iter().all(|&value| value == 0.0));
    }
}

#[test]
fn buffers_and_sizes_that_do_not_fit_are_refused() {
    let source = golden::smooth_image(4, 5, 5);
    let norm = Normalisation::UNIT;
    let refused = |resized: (u32, u32), canvas: u32, values: usize| {
        let resized = Size::new(resized.0, resized.1);
        resize_normalise(&source, resized, Size::square(canvas), &norm, 1, &mut vec![0.0; values])
            .unwrap_err()
            .kind()
    };
    assert_eq!(refused((8, 8), 8, 8 * 8 * 3 - 1), MediaErrorKind::Mismatch);
    assert_eq!(refused((9, 8), 8, 8 * 8 * 3), MediaErrorKind::Mismatch);
    assert_eq!(refused((0, 8), 8, 8 * 8 * 3), MediaErrorKind::Empty);
    assert_eq!(resize_bilinear(&source, Size::new(0, 4), 1).unwrap_err().kind(), MediaErrorKind::Empty);
    let enormous = Size::square(u32::MAX);
    assert_eq!(resize_bilinear(&source, enormous, 1).unwrap_err().kind(), MediaErrorKind::TooLarge);
}

/// `cargo test --release -p samovar-media -- --ignored --nocapture bench_`
#[test]
#[ignore = "a measurement, not a check"]
fn bench_resize_normalise() {
    let mut canvas = vec![0.0; 1024 * 1024 * 3];
    for (width, height, new_width, new_height) in
        [(4000u32, 3000u32, 1024u32, 768u32), (1920, 1080, 1024, 576), (640, 480, 1024, 768)]
    {
        let source = golden::smooth_image(1, height, width);
        let mut best = f64::INFINITY;
        for _ in 0..9 {
            let start = std::time::Instant::now();
            let resized = Size::new(new_width, new_height);
            let norm = Normalisation::IMAGENET;
            resize_normalise(&source, resized, Size::square(1024), &norm, 1, &mut canvas).unwrap();
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("{width}x{height} -> {new_width}x{new_height}, one thread: {:.2} ms", best * 1e3);
    }
}
