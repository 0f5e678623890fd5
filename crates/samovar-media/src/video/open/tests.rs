//! What a path names.

use super::*;
use crate::error::MediaErrorKind;
use crate::image::RgbImage;
use crate::video::clips::{Folder, has_ffmpeg, numbers};
use crate::video::source::Direction;
use crate::write::write_rgb_png;
use samovar_geometry::Size;

#[test]
fn shots_are_told_from_pictures_by_name() {
    for shot in ["clip.mp4", "a/CLIP.MOV", "shot.####.png", "shot.%04d.exr"] {
        assert!(is_video(Path::new(shot)), "{shot}");
    }
    for other in ["photo.png", "folder", "photos/", "a.gif", ""] {
        assert!(!is_video(Path::new(other)), "{other}");
    }
}

#[test]
fn a_folder_and_a_range_make_a_shot_and_one_picture_says_of_which_it_is_part() {
    let folder = Folder::new("open");
    for number in 1001..=1009 {
        // A slate of another size is no part of the range.
        let width = if number == 1001 { 9 } else { 6 };
        let picture = RgbImage::from_fn(Size::new(width, 4), |_, _| [number as u8; 3]);
        write_rgb_png(&folder.0.join(format!("shot_v2.{number}.png")), &picture).unwrap();
    }
    let range = FrameRange { start: Some(1002), every_nth: 3, ..FrameRange::default() };
    let options = VideoOptions { range, ..VideoOptions::default() };
    let mut shot = open(&folder.0, &options).unwrap();
    assert_eq!((shot.size(), numbers(&mut shot)), (Size::new(6, 4), vec![1002, 1005, 1008]));
    assert_eq!((shot.place(1005), shot.place(1003), shot.number_at(2)), (Some(1), None, Some(1008)));
    let none = FrameRange { start: Some(1010), ..FrameRange::default() };
    let error = open(&folder.0, &VideoOptions { range: none, ..VideoOptions::default() }).err().unwrap();
    assert_eq!(error.kind(), MediaErrorKind::NoSuchFrame);
    let error = open(&folder.0.join("shot_v2.1003.png"), &VideoOptions::default()).err().unwrap().to_string();
    assert!(error.contains("one picture") && error.contains("(shot_v2.####.png)"), "{error}");
}

#[test]
fn a_part_of_a_video_comes_both_ways() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("open-video");
    let path = folder.greys("clip.mp4", 30, "-pix_fmt yuv420p -c:v libx264 -g 8 -bf 2");
    let range = FrameRange { start: Some(4), every_nth: 5, max_frames: Some(4), ..FrameRange::default() };
    // Blocks of two frames.
    let options = VideoOptions { range, backward_bytes: 2 * 64 * 48 * 3, ..VideoOptions::default() };
    let mut shot = open(&path, &options).unwrap();
    assert_eq!(numbers(&mut shot), [4, 9, 14, 19]);
    shot.start(None, Direction::Backward).unwrap();
    assert_eq!(numbers(&mut shot), [19, 14, 9, 4]);
    let mut whole = open(&path, &VideoOptions::default()).unwrap();
    whole.start(None, Direction::Backward).unwrap();
    assert_eq!(numbers(&mut whole), (0..30).rev().collect::<Vec<_>>());
    let range = FrameRange { start: Some(30), ..FrameRange::default() };
    let error = open(&path, &VideoOptions { range, ..VideoOptions::default() }).err().unwrap();
    assert!(error.to_string().contains("the shot goes from 0 to 29"), "{error}");
}
