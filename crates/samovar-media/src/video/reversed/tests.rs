//! Backward through sources that go forward only.

use super::*;
use crate::error::MediaErrorKind;
use crate::image::RgbImage;
use crate::video::clips::numbers;
use crate::video::source::FramesInMemory;

/// Goes forward only, and fails at some frames; knows how many frames were read.
struct Forward {
    frames: FramesInMemory,
    bad: &'static [FrameNumber],
    has_failed: bool,
    read: usize,
}

impl FrameSource for Forward {
    fn size(&self) -> Size<Image> {
        self.frames.size()
    }

    fn start(&mut self, from: Option<FrameNumber>, direction: Direction) -> Result<()> {
        assert_eq!(direction, Direction::Forward);
        self.has_failed = false;
        self.frames.start(from, direction)
    }

    fn next(&mut self) -> Result<Option<Frame>> {
        self.read += 1;
        if self.has_failed {
            return Ok(None);
        }
        match self.frames.next()? {
            Some(frame) if self.bad.contains(&frame.number) => {
                self.has_failed = true;
                Err(MediaError::damaged(format!("frame {}", frame.number)))
            }
            frame => Ok(frame),
        }
    }

    fn place(&self, number: FrameNumber) -> Option<i64> {
        self.frames.place(number)
    }

    fn count_up_to(&mut self, most: usize) -> Result<usize> {
        self.frames.count_up_to(most)
    }
}

fn reversed(count: u32, bad: &'static [FrameNumber], frames_per_block: u64) -> Reversed<Forward> {
    let picture = |value: u32| RgbImage::from_fn(Size::new(2, 2), |_, _| [value as u8; 3]);
    let frames = FramesInMemory::new(0, (0..count).map(picture).collect()).unwrap();
    Reversed::new(Forward { frames, bad, has_failed: false, read: 0 }, frames_per_block * 12)
}

#[test]
fn every_frame_comes_once_whatever_the_block() {
    for frames_per_block in [0, 1, 3, 7, 100] {
        let mut shot = reversed(7, &[], frames_per_block);
        shot.start(None, Direction::Backward).unwrap();
        assert_eq!(numbers(&mut shot), [6, 5, 4, 3, 2, 1, 0]);
        assert_eq!(shot.source.read, 7, "none is read twice");
        shot.start(Some(2), Direction::Backward).unwrap();
        assert_eq!(numbers(&mut shot), [2, 1, 0]);
        shot.start(Some(5), Direction::Forward).unwrap();
        assert_eq!(numbers(&mut shot), [5, 6]);
        let error = shot.start(Some(7), Direction::Backward).unwrap_err();
        assert_eq!(error.kind(), MediaErrorKind::NoSuchFrame);
        assert!(shot.start(Some(-1), Direction::Backward).is_err());
    }
}

#[test]
fn going_on_with_the_next_frame_reads_nothing_anew() {
    let mut shot = reversed(7, &[], 4);
    shot.start(None, Direction::Backward).unwrap();
    assert_eq!(shot.next().unwrap().unwrap().number, 6);
    shot.start(Some(5), Direction::Backward).unwrap();
    assert_eq!(shot.next().unwrap().unwrap().number, 5);
    assert_eq!(shot.source.read, 4);
}

#[test]
fn a_bad_frame_ends_the_way_back_where_it_is_and_can_be_gone_past() {
    for frames_per_block in [1, 3, 100] {
        let mut shot = reversed(9, &[3, 6], frames_per_block);
        let mut given = Vec::new();
        shot.start(None, Direction::Backward).unwrap();
        let mut failed = Vec::new();
        loop {
            match shot.next() {
                Ok(Some(frame)) => given.push(frame.number),
                Ok(None) => break,
                Err(error) => {
                    let number = if error.to_string().contains("frame 6") { 6 } else { 3 };
                    failed.push(number);
                    assert!(shot.next().unwrap().is_none(), "an error ends the pass");
                    shot.start(Some(number - 1), Direction::Backward).unwrap();
                }
            }
        }
        assert_eq!((given, failed), (vec![8, 7, 5, 4, 2, 1, 0], vec![6, 3]), "{frames_per_block}");
    }
}
