//! Sequences with damage in them.

use super::super::Sequence;
use super::super::clips::{Folder, numbers};
use super::*;
use crate::image::{DecodeLimits, RgbImage};
use crate::write::write_rgb_png;

/// Frames 1 to 8, of which these are cut short.
fn damaged(folder: &Folder, which: &[u32]) -> Sequence {
    for number in 1..=8 {
        let path = folder.0.join(format!("shot.{number:04}.png"));
        write_rgb_png(&path, &RgbImage::from_fn(Size::new(6, 4), |x, _| [number as u8, x as u8, 0])).unwrap();
        if which.contains(&number) {
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }
    }
    Sequence::open(&folder.0, &DecodeLimits::default()).unwrap()
}

#[test]
fn damaged_frames_are_passed_over_both_ways_and_named() {
    let folder = Folder::new("skipping");
    let mut shot = Skipping::new(damaged(&folder, &[1, 4, 5, 8]), BTreeSet::new());
    let skipped = shot.skipped();
    assert_eq!(numbers(&mut shot), [2, 3, 6, 7]);
    let news = skipped.news();
    assert!(news.len() == 4 && news[2].contains("shot.0005.png"), "{news:?}");
    let named = skipped.frames();
    assert_eq!(named.keys().copied().collect::<Vec<_>>(), [1, 4, 5, 8]);
    assert!(named[&4].contains("shot.0004.png\": frame 4: "), "{named:?}");
    shot.start(None, Direction::Backward).unwrap();
    assert_eq!(numbers(&mut shot), [7, 6, 3, 2]);
    shot.start(Some(5), Direction::Forward).unwrap();
    assert_eq!(numbers(&mut shot), [6, 7]);
    assert_eq!((skipped.count(), skipped.news().len()), (4, 0), "each is named once");
}

#[test]
fn a_frame_that_is_needed_is_an_error() {
    let folder = Folder::new("needed");
    let mut shot = Skipping::new(damaged(&folder, &[2, 4]), BTreeSet::from([4]));
    assert_eq!(shot.next().unwrap().unwrap().number, 1);
    assert_eq!(shot.next().unwrap().unwrap().number, 3);
    let error = shot.next().unwrap_err();
    assert!(error.kind() == MediaErrorKind::Damaged && error.to_string().contains("frame 4"), "{error}");
    assert_eq!(shot.skipped().count(), 1);
}
