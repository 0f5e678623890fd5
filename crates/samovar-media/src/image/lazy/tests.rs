//! Nothing is loaded before it is asked for, once when many ask, and nothing stays when nobody holds it.

use super::*;
use crate::MediaErrorKind;
use crate::golden;

fn image_path() -> PathBuf {
    golden::folder().join("images/exif_6.jpg")
}

#[test]
fn pixels_come_on_first_use_and_go_when_nobody_holds_them() {
    let image = LazyImage::open(image_path());
    assert!(!image.is_loaded());
    assert_eq!(image.size().unwrap(), Size::new(24, 16));
    assert!(!image.is_loaded(), "metadata must not decode");
    let pixels = image.pixels().unwrap();
    assert_eq!(pixels.size(), image.size().unwrap());
    assert!(image.is_loaded());
    assert!(Arc::ptr_eq(&pixels, &image.clone().pixels().unwrap()), "one copy for all");
    drop(pixels);
    assert!(!image.is_loaded());
    assert!(image.pixels().is_ok(), "and they can come back");
}

#[test]
fn many_threads_get_the_same_pixels() {
    let bytes: Arc<[u8]> = std::fs::read(image_path()).unwrap().into();
    for image in [LazyImage::open(image_path()), LazyImage::from_bytes(bytes, DecodeLimits::default())] {
        let barrier = std::sync::Barrier::new(8);
        let all: Vec<Arc<RgbImage>> = std::thread::scope(|scope| {
            let load = || {
                barrier.wait();
                image.pixels().unwrap()
            };
            let workers: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert!(all.iter().all(|pixels| Arc::ptr_eq(pixels, &all[0])));
    }
}

#[test]
fn a_file_that_appears_later_can_then_be_read() {
    let path = std::env::temp_dir().join(format!("samovar-lazy-{}.jpg", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let image = LazyImage::open(&path);
    assert_eq!(image.size().unwrap_err().kind(), MediaErrorKind::NotFound);
    assert_eq!(image.pixels().unwrap_err().path(), Some(path.as_path()));
    std::fs::copy(image_path(), &path).unwrap();
    assert!(image.pixels().is_ok());
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn frames_are_images_too() {
    let frame = RgbImage::from_fn(Size::new(3, 2), |x, y| [x as u8, y as u8, 7]);
    let image = LazyImage::from_pixels(frame.clone());
    assert_eq!(image.metadata().unwrap().format, None);
    assert_eq!(*image.pixels().unwrap(), frame);
    assert!(image.is_loaded(), "there is nowhere to load them from again");
}

#[test]
fn limits_are_the_images_own() {
    let tight = DecodeLimits { max_pixels: 10, ..DecodeLimits::default() };
    let image = LazyImage::open_within(image_path(), tight);
    assert_eq!(image.size().unwrap_err().kind(), MediaErrorKind::TooLarge);
    assert_eq!(image.pixels().unwrap_err().kind(), MediaErrorKind::TooLarge);
}
