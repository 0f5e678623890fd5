//! Frames in memory: both ways, from anywhere.

use std::collections::BTreeSet;

use super::*;
use crate::video::Skipping;

fn shot(first: FrameNumber, frames: u32) -> FramesInMemory {
    let picture = |value: u32| RgbImage::from_fn(Size::new(3, 2), |_, _| [value as u8; 3]);
    FramesInMemory::new(first, (0..frames).map(picture).collect()).unwrap()
}

/// Numbers and first values of what is left.
fn rest(source: &mut impl FrameSource) -> Vec<(FrameNumber, u8)> {
    let frames = std::iter::from_fn(|| source.next().unwrap());
    frames.map(|frame| (frame.number, frame.pixels.pixels()[0])).collect()
}

#[test]
fn frames_come_from_anywhere_and_both_ways() {
    let mut shot = shot(1001, 4);
    assert_eq!(rest(&mut shot), [(1001, 0), (1002, 1), (1003, 2), (1004, 3)]);
    assert_eq!(rest(&mut shot), []);
    shot.start(Some(1003), Direction::Backward).unwrap();
    assert_eq!(rest(&mut shot), [(1003, 2), (1002, 1), (1001, 0)]);
    shot.start(None, Direction::Backward).unwrap();
    assert_eq!(shot.next().unwrap().unwrap().number, 1004);
    shot.start(Some(1002), Direction::Forward).unwrap();
    assert_eq!(rest(&mut shot), [(1002, 1), (1003, 2), (1004, 3)]);
    assert_eq!((shot.place(1001), shot.place(1004), shot.place(1005)), (Some(0), Some(3), None));
    assert_eq!((shot.count_up_to(3).unwrap(), shot.count_up_to(16).unwrap()), (3, 4));
}

#[test]
fn a_frame_that_is_not_there_is_refused_and_the_pass_stays() {
    let mut shot = shot(-2, 3);
    assert_eq!(shot.next().unwrap().unwrap().number, -2);
    for number in [-3, 1, i64::MIN, i64::MAX] {
        let error = shot.start(Some(number), Direction::Forward).unwrap_err();
        assert_eq!(error.kind(), MediaErrorKind::NoSuchFrame);
        assert!(error.to_string().contains("from -2 to 0"), "{error}");
    }
    assert_eq!(shot.next().unwrap().unwrap().number, -1);
}

#[test]
fn shots_without_frames_or_of_several_sizes_are_refused() {
    assert_eq!(FramesInMemory::new(0, Vec::new()).unwrap_err().kind(), MediaErrorKind::Empty);
    let frames = [2, 3].map(|width| RgbImage::from_fn(Size::new(width, 2), |_, _| [0; 3]));
    let error = FramesInMemory::new(7, frames.to_vec()).unwrap_err();
    assert_eq!(error.kind(), MediaErrorKind::Mismatch);
    assert!(error.to_string().contains("frame 8 is 3x2"), "{error}");
    let frame = RgbImage::from_fn(Size::new(1, 1), |_, _| [0; 3]);
    assert!(FramesInMemory::new(i64::MAX, vec![frame]).is_err());
}

/// Says something of its own of everything.
struct Talkative;

impl FrameSource for Talkative {
    fn size(&self) -> Size<Image> {
        Size::new(7, 5)
    }

    fn start(&mut self, _: Option<FrameNumber>, _: Direction) -> Result<()> {
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Frame>> {
        Ok(None)
    }

    fn place(&self, number: FrameNumber) -> Option<i64> {
        Some(number + 1)
    }

    fn number_at(&self, place: i64) -> Option<FrameNumber> {
        Some(place - 1)
    }

    fn count_up_to(&mut self, most: usize) -> Result<usize> {
        Ok(most / 2)
    }

    fn expected_frames(&self) -> Option<u64> {
        Some(33)
    }

    fn frame_rate(&self) -> Option<f64> {
        Some(23.5)
    }

    fn file(&self, number: FrameNumber) -> Option<PathBuf> {
        Some(PathBuf::from(number.to_string()))
    }

    fn held_bytes(&self, direction: Direction) -> u64 {
        11 + direction as u64
    }

    fn notes(&self) -> Vec<String> {
        vec!["a note".to_owned()]
    }
}

#[test]
fn a_source_that_wraps_another_says_what_that_says() {
    let says = |source: &mut dyn FrameSource| {
        let held = [Direction::Forward, Direction::Backward].map(|way| source.held_bytes(way));
        assert_eq!(
            (source.size(), source.place(-4), source.number_at(9)),
            (Size::new(7, 5), Some(-3), Some(8))
        );
        assert_eq!((source.count_up_to(10).unwrap(), source.expected_frames()), (5, Some(33)));
        assert_eq!((source.frame_rate(), source.file(6)), (Some(23.5), Some(PathBuf::from("6"))));
        assert_eq!((held, source.notes()), ([11, 12], vec!["a note".to_owned()]));
    };
    let mut boxed: Box<dyn FrameSource> = Box::new(Talkative);
    says(&mut boxed);
    says(&mut Skipping::new(boxed, BTreeSet::new()));
}
