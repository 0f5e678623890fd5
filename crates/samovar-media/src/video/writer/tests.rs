//! What ffmpeg reads again of what it was given.

use super::super::clips::{Folder, has_ffmpeg};
use super::super::{FrameSource, VideoFile};
use super::*;
use crate::image::DecodeLimits;

fn frame(size: Size<Image>, grey: u8) -> RgbImage {
    RgbImage::from_fn(size, |_, _| [grey; 3])
}

#[test]
fn frames_come_back_at_their_times_also_where_these_vary() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("written");
    let times = [0.0, 0.04, 0.08, 0.5, 0.52, 2.0];
    for name in ["a.mp4", "a.mov", "a.mkv"] {
        let path = folder.0.join(name);
        let size = Size::new(65, 47);
        write_video::<MediaError>(&path, size, 25.0, "ffmpeg".as_ref(), |writer| {
            times
                .iter()
                .enumerate()
                .try_for_each(|(index, &time)| writer.add(&frame(size, 40 * index as u8), time))
        })
        .unwrap();
        let mut video = VideoFile::open(&path, "ffmpeg".as_ref(), &DecodeLimits::default()).unwrap();
        assert_eq!(video.size(), Size::new(66, 48), "{name}: sides are even");
        for (index, time) in times.iter().enumerate() {
            let frame = video.next().unwrap().unwrap_or_else(|| panic!("{name}: frame {index}"));
            assert!((frame.time.unwrap() - time).abs() < 3e-3, "{name}: {:?}, not {time}", frame.time);
            let grey = frame.pixels.pixel(10, 10)[0];
            assert!(grey.abs_diff(40 * index as u8) < 8, "{name}, frame {index}: {grey}");
        }
        assert!(video.next().unwrap().is_none(), "{name}");
    }
}

#[test]
fn what_cannot_be_written_leaves_what_was_there() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("unwritten");
    let path = folder.0.join("a.mp4");
    std::fs::write(&path, "before").unwrap();
    let size = Size::new(64, 48);
    let kind = |fill: &dyn Fn(&mut VideoWriter) -> Result<()>, program: &str| {
        write_video::<MediaError>(&path, size, 25.0, program.as_ref(), fill).unwrap_err().kind()
    };
    assert_eq!(kind(&|_| Ok(()), "ffmpeg"), MediaErrorKind::Empty);
    assert_eq!(
        kind(&|writer| writer.add(&frame(Size::new(8, 8), 0), 0.0), "ffmpeg"),
        MediaErrorKind::Mismatch
    );
    assert_eq!(kind(&|_| Ok(()), "no-such-ffmpeg"), MediaErrorKind::MissingProgram);
    let killed = |writer: &mut VideoWriter| {
        writer.child.kill().unwrap();
        (0..100).try_for_each(|index| writer.add(&frame(size, 0), f64::from(index)))
    };
    let error = write_video::<MediaError>(&path, size, 25.0, "ffmpeg".as_ref(), killed).unwrap_err();
    assert!(error.kind() == MediaErrorKind::Write && error.to_string().contains("killed"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"before");
    let left: Vec<_> =
        std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["a.mp4"], "nothing is left of what failed");
    let error = check_video(&folder.0.join("a.avi"), "ffmpeg".as_ref()).unwrap_err();
    assert!(error.to_string().contains(".mp4"), "{error}");
    assert_eq!(
        check_video(&path, "no-such-ffmpeg".as_ref()).unwrap_err().kind(),
        MediaErrorKind::MissingProgram
    );
}
