//! With the system's ffmpeg: what phones, cameras and broken downloads bring.

use std::fs;
use std::process::Command;

use super::*;
use crate::video::clips::{Folder, has_ffmpeg, numbers};

fn open(path: &Path) -> Result<VideoFile> {
    VideoFile::open(path, OsStr::new("ffmpeg"), &DecodeLimits::default())
}

/// Frames that are left, until the end or an error.
fn rest(video: &mut VideoFile) -> (Vec<Frame>, Option<MediaError>) {
    let mut frames = Vec::new();
    loop {
        match video.next() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

/// The grey of the middle, where a made video's number is seen: 4.66 a frame, after the range of video is stretched.
fn number_seen(frame: &Frame) -> FrameNumber {
    let [red, ..] = frame.pixels.pixel(frame.pixels.width() / 2, frame.pixels.height() / 2);
    (f64::from(red) / (4.0 * 255.0 / 219.0)).round() as FrameNumber
}

const X264: &str = "-pix_fmt yuv420p -c:v libx264 -qp 8 -g 12 -bf 2";

#[test]
fn frames_are_counted_seen_and_timed() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("counted");
    let mut video = open(&folder.greys("clip.mp4", 40, X264)).unwrap();
    assert_eq!((video.size(), video.expected_frames()), (Size::new(64, 48), Some(40)));
    let (frames, error) = rest(&mut video);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(frames.len(), 40);
    for (number, frame) in (0..).zip(&frames) {
        assert_eq!((frame.number, number_seen(frame)), (number, number));
        assert!((frame.time.unwrap() - number as f64 * 0.04).abs() < 1e-6, "{:?}", frame.time);
    }
    assert_eq!((video.place(39), video.place(40), video.place(-1)), (Some(39), None, None));
    assert_eq!(video.count_up_to(99).unwrap(), 40);
}

#[test]
fn any_frame_can_be_gone_to_before_and_after_it_was_seen() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("sought");
    // MPEG-4 in AVI has no time stamps to trust with B-frames, raw H.264 none at all: they are gone to from the beginning.
    for (name, how) in [
        ("a.mp4", X264),
        ("b.mkv", X264),
        ("c.avi", "-c:v mpeg4 -q:v 1 -bf 2 -g 12"),
        ("d.h264", X264),
        ("e.ts", X264),
    ] {
        let path = folder.greys(name, 50, how);
        let mut video = open(&path).unwrap();
        for number in [30, 7, 49, 0, 12, 11, 48, 1] {
            video.start(Some(number), Direction::Forward).unwrap();
            for number in number..(number + 2).min(50) {
                let frame = video.next().unwrap().unwrap();
                assert_eq!((frame.number, number_seen(&frame)), (number, number), "{name}");
            }
        }
        let error = video.start(Some(50), Direction::Forward).unwrap_err();
        assert_eq!(error.kind(), MediaErrorKind::NoSuchFrame);
        assert!(error.to_string().contains("from 0 to 49"), "{name}: {error}");
        assert!(video.start(Some(-1), Direction::Forward).is_err());
        assert!(video.start(None, Direction::Backward).is_err());
        video.start(Some(47), Direction::Forward).unwrap();
        assert_eq!(numbers(&mut video), [47, 48, 49], "{name}");
    }
}

#[test]
fn going_on_with_the_next_frame_keeps_the_child() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("kept");
    let mut video = open(&folder.greys("clip.mp4", 30, X264)).unwrap();
    let child = video.child_id();
    assert_eq!(video.next().unwrap().unwrap().number, 0);
    video.start(Some(1), Direction::Forward).unwrap();
    assert_eq!(video.next().unwrap().unwrap().number, 1);
    video.start(Some(9), Direction::Forward).unwrap();
    assert_eq!(video.next().unwrap().unwrap().number, 9);
    assert_eq!(video.child_id(), child);
    assert_eq!(video.count_up_to(16).unwrap(), 16);
    assert_eq!(video.child_id(), child, "counting is another's work");
    assert_eq!(video.next().unwrap().unwrap().number, 10);
}

#[test]
fn turned_videos_stand_upright() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("turned");
    let source =
        "-f lavfi -i color=black:size=64x48:rate=25,drawbox=x=0:y=0:w=32:h=24:c=white:t=fill -frames:v 3";
    let flat = folder.make("flat.mp4", &format!("{source} {X264}"));
    let turned =
        folder.make("turned.mp4", &format!("-i {} -c copy -metadata:s:v:0 rotate=90", flat.display()));
    let mut video = open(&turned).unwrap();
    assert_eq!(video.size(), Size::new(48, 64));
    let frame = video.next().unwrap().unwrap();
    let is_white = |x, y| frame.pixels.pixel(x, y)[0] > 127;
    let corners = [is_white(4, 4), is_white(43, 4), is_white(4, 59), is_white(43, 59)];
    assert_eq!(corners.iter().filter(|white| **white).count(), 1);
    assert!(corners[1] || corners[2], "a quarter turn takes the first corner to a neighbour: {corners:?}");
}

#[test]
fn variable_frame_rates_keep_their_times() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("variable");
    let source =
        "color=black:size=64x48:rate=25,format=yuv444p,geq=lum='16+4*N':cb=128:cr=128,setpts=N*(N+1)/2/25/TB";
    let arguments =
        format!("-f lavfi -i {source} -frames:v 12 -fps_mode passthrough -c:v ffv1 -pix_fmt yuv444p");
    let mut video = open(&folder.make("clip.mkv", &arguments)).unwrap();
    let (frames, error) = rest(&mut video);
    assert!(error.is_none());
    assert_eq!(frames.len(), 12, "none dropped, none repeated");
    for (number, frame) in (0..).zip(&frames) {
        assert_eq!(number_seen(frame), number);
        let seconds = (number * (number + 1) / 2) as f64 / 25.0;
        assert!((frame.time.unwrap() - seconds).abs() < 2e-3, "{number}: {:?}", frame.time);
    }
    video.start(Some(7), Direction::Forward).unwrap();
    assert_eq!(number_seen(&video.next().unwrap().unwrap()), 7);
}

#[test]
fn ten_bits_odd_sizes_and_other_starts_are_read() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("kinds");
    let ten = folder.greys("ten.mkv", 5, "-pix_fmt yuv420p10le -c:v ffv1");
    let odd = folder.greys("odd.mkv", 5, "-vf scale=51:37:flags=neighbor -pix_fmt yuv444p -c:v ffv1");
    let late = folder.greys("late.mkv", 5, &format!("{X264} -output_ts_offset 1000.5"));
    for (path, size) in [(ten, Size::new(64, 48)), (odd, Size::new(51, 37)), (late, Size::new(64, 48))] {
        let mut video = open(&path).unwrap();
        assert_eq!(video.size(), size);
        let (frames, error) = rest(&mut video);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(frames.iter().map(number_seen).collect::<Vec<_>>(), [0, 1, 2, 3, 4], "{}", path.display());
        video.start(Some(3), Direction::Forward).unwrap();
        assert_eq!(number_seen(&video.next().unwrap().unwrap()), 3, "{}", path.display());
    }
}

#[test]
fn names_that_look_like_options_or_addresses_are_names() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("names");
    let made = folder.greys("clip.mkv", 3, "-c:v ffv1 -pix_fmt yuv444p");
    let here = std::env::current_dir().unwrap();
    for name in ["-i.mkv", "concat:a.mkv", "http:b.mkv", "-", "a%03d.mkv", "ü 'x\".mkv", "pipe:0"] {
        let path = folder.0.join(name);
        fs::copy(&made, &path).unwrap();
        // Relative too, as far as the test may go without changing its folder.
        let relative = pathdiff(&path, &here);
        for path in [path, relative] {
            let mut video = open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(numbers(&mut video), [0, 1, 2], "{name}");
        }
    }
    #[cfg(unix)]
    {
        let path = folder.0.join("a\n[Parsed_showinfo_0 @ 0x1] n:0 pts:0 s:9x9 checksum:0.mkv");
        fs::copy(&made, &path).unwrap();
        assert!(open(&path).unwrap_err().to_string().contains("control characters"));
    }
    // A list of other files, and one that asks for the network.
    fs::write(folder.0.join("list.ffconcat"), "ffconcat version 1.0\nfile /etc/hostname\n").unwrap();
    fs::write(
        folder.0.join("list.m3u8"),
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n",
    )
    .unwrap();
    for name in ["list.ffconcat", "list.m3u8"] {
        let error = open(&folder.0.join(name)).unwrap_err();
        assert!(error.to_string().contains("a list of videos"), "{name}: {error}");
    }
}

/// The way from a folder to a file.
fn pathdiff(path: &Path, from: &Path) -> PathBuf {
    let up: PathBuf = from.components().skip(1).map(|_| "..").collect();
    up.join(path.strip_prefix("/").unwrap())
}

#[test]
fn what_is_no_video_is_refused_in_words() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("refused");
    let refused = |path: &Path| {
        let error = open(path).unwrap_err();
        (error.kind(), error.to_string())
    };
    let sound = folder.make("sound.m4a", "-f lavfi -i sine=duration=0.2 -c:a aac");
    let (kind, text) = refused(&sound);
    assert_eq!(kind, MediaErrorKind::Unsupported);
    assert!(text.contains("no video in this file"), "{text}");
    let none = folder.greys("none.mkv", 0, "-c:v ffv1");
    assert!(matches!(
        refused(&none).0,
        MediaErrorKind::Empty | MediaErrorKind::Damaged | MediaErrorKind::Unsupported
    ));
    fs::write(folder.0.join("text.mp4"), "no video").unwrap();
    let (kind, text) = refused(&folder.0.join("text.mp4"));
    assert_eq!(kind, MediaErrorKind::Damaged);
    assert!(text.contains("ffmpeg cannot read it") && text.contains("text.mp4"), "{text}");
    fs::write(folder.0.join("empty.mp4"), "").unwrap();
    assert_eq!(refused(&folder.0.join("empty.mp4")).0, MediaErrorKind::Damaged);
    assert_eq!(refused(&folder.0.join("absent.mp4")).0, MediaErrorKind::NotFound);
    assert_eq!(refused(&folder.0).0, MediaErrorKind::Unsupported);
}

#[test]
fn without_ffmpeg_it_is_said_how_to_get_it() {
    let folder = Folder::new("missing");
    let path = folder.0.join("clip.mp4");
    fs::write(&path, "anything").unwrap();
    let error = VideoFile::open(&path, OsStr::new("no-such-ffmpeg"), &DecodeLimits::default()).unwrap_err();
    assert_eq!(error.kind(), MediaErrorKind::MissingProgram);
    let text = error.to_string();
    assert!(text.contains("there is no no-such-ffmpeg") && text.contains("apt install ffmpeg"), "{text}");
}

#[test]
fn frames_beyond_the_limit_are_refused_before_they_are_decoded() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("limits");
    let path = folder.greys("clip.mp4", 3, X264);
    let open = |pixels| VideoFile::open(&path, OsStr::new("ffmpeg"), &DecodeLimits::of_pixels(pixels));
    assert!(open(64 * 48).is_ok());
    assert_eq!(open(64 * 48 - 1).unwrap_err().kind(), MediaErrorKind::TooLarge);
}

#[test]
fn damage_in_the_middle_is_an_error_and_the_video_goes_on_behind_it() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("damage");
    let path =
        folder.greys("clip.mp4", 60, "-pix_fmt yuv420p -c:v libx264 -qp 8 -g 10 -bf 0 -movflags faststart -bsf:v filter_units=remove_types=6");
    let mut bytes = fs::read(&path).unwrap();
    let start = bytes.windows(4).position(|window| window == b"mdat").unwrap();
    let middle = start + (bytes.len() - start) / 2;
    bytes[middle..middle + 60].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    let mut video = open(&path).unwrap();
    let (frames, error) = rest(&mut video);
    let error = error.expect("damage is told of");
    assert_eq!(error.kind(), MediaErrorKind::Damaged);
    let failed = frames.len() as FrameNumber;
    assert!((10..50).contains(&failed), "{failed}: {error}");
    assert!(error.to_string().contains(&format!("frame {failed} (")), "{error}");
    assert!(frames.iter().all(|frame| number_seen(frame) == frame.number), "what was given before is good");
    assert!(video.next().unwrap().is_none(), "an error ends the pass");
    let mut from = failed;
    let mut given = 0;
    for _ in 0..60 {
        from += 1;
        if video.start(Some(from), Direction::Forward).is_err() {
            break;
        }
        let (frames, error) = rest(&mut video);
        given += frames.len();
        from += frames.len() as FrameNumber;
        if error.is_none() {
            break;
        }
    }
    assert!(given > 5, "frames behind it are given: {given}");
    video.start(Some(failed), Direction::Forward).unwrap();
    assert_eq!(video.next().unwrap_err().kind(), MediaErrorKind::Damaged, "and told of again");
    // A download that stopped.
    fs::write(&path, &bytes[..middle - 60]).unwrap();
    let mut video = open(&path).unwrap();
    let (frames, error) = rest(&mut video);
    assert_eq!(error.expect("a cut is told of").kind(), MediaErrorKind::Damaged);
    assert!(frames.len() > 5 && frames.iter().all(|frame| number_seen(frame) == frame.number));
}

/// Bytes of a file, of which those between these hundredths are nonsense.
fn spoil(path: &Path, from: usize, to: usize) {
    let mut bytes = fs::read(path).unwrap();
    let length = bytes.len();
    bytes[length * from / 100..length * to / 100].fill(0xff);
    fs::write(path, &bytes).unwrap();
}

/// What becomes of every frame: its pixels, or what is wrong with it.
fn frames_of(path: &Path, from_the_end: bool) -> Vec<std::result::Result<Frame, String>> {
    use crate::video::Reversed;
    let mut video = Reversed::new(open(path).unwrap(), 1 << 20);
    let count = video.count_up_to(usize::MAX).unwrap();
    let mut frames = Vec::new();
    let direction = if from_the_end { Direction::Backward } else { Direction::Forward };
    for index in 0..count {
        let number = if from_the_end { count - 1 - index } else { index } as FrameNumber;
        video.start(Some(number), direction).unwrap();
        let frame = video.next().map(|frame| frame.expect("there are as many as were counted"));
        assert!(frame.as_ref().map_or(true, |frame| frame.number == number));
        frames.push(frame.map_err(|error| error.to_string()));
    }
    if from_the_end {
        frames.reverse();
    }
    frames
}

/// Frames of a damaged video are those of the good one at the same number, or errors; the same every time. Which are errors.
fn check_against(good: &Path, damaged: &Path) -> Vec<usize> {
    let whole = frames_of(good, false);
    let frames = frames_of(damaged, false);
    let mut refused = Vec::new();
    for (index, frame) in frames.iter().enumerate() {
        match frame {
            Ok(frame) => assert!(
                frame.pixels == whole[index].as_ref().unwrap().pixels,
                "{}: frame {index} is not what it was",
                damaged.display()
            ),
            Err(error) => {
                assert!(error.contains(&format!("frame {index}")), "{error}");
                refused.push(index);
            }
        }
    }
    let errors = |frames: &[std::result::Result<Frame, String>]| -> Vec<Option<String>> {
        frames.iter().map(|frame| frame.as_ref().err().cloned()).collect()
    };
    for again in 0..2 {
        assert_eq!(errors(&frames_of(damaged, again % 2 == 1)), errors(&frames), "{}", damaged.display());
    }
    refused
}

#[test]
fn of_a_damaged_video_those_frames_are_given_that_are_what_they_were_at_their_numbers() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("spoilt");
    let source = "-f lavfi -i testsrc2=size=96x72:rate=24 -frames:v 60 -pix_fmt yuv420p";
    for (name, how, group) in [
        ("with-b.mp4", "-c:v libx264 -g 4 -bf 2", 4),
        ("without-b.mp4", "-c:v libx264 -g 4 -bf 0", 4),
        ("long.mkv", "-c:v libx264 -g 12 -bf 3", 12),
        ("mpeg4.mp4", "-c:v mpeg4 -q:v 3 -bf 2 -g 6", 6),
        ("stills.mov", "-c:v mjpeg -q:v 3", 1),
    ] {
        let good = folder.make(name, &format!("{source} {how}"));
        for (from, to) in [(45, 55), (70, 73)] {
            let damaged = folder.0.join(format!("{from}-{name}"));
            fs::copy(&good, &damaged).unwrap();
            spoil(&damaged, from, to);
            let refused = check_against(&good, &damaged);
            assert_eq!(frames_of(&damaged, false).len(), 60, "{name}: numbers stay");
            let most = 60 * (to - from) / 100 * 2 + 2 * group;
            assert!((1..=most).contains(&refused.len()), "{name} {from}: {refused:?}");
        }
    }
}

#[test]
fn frames_whose_data_is_not_in_the_file_keep_their_numbers_and_a_file_that_is_cut_says_so() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("missing-data");
    let source = "-f lavfi -i testsrc2=size=96x72:rate=24 -frames:v 60 -pix_fmt yuv420p -c:v libx264 -g 12";
    let good = folder.make("clip.mkv", &format!("{source} -cluster_time_limit 500"));
    let bytes = fs::read(&good).unwrap();
    let clusters: Vec<usize> =
        (0..bytes.len() - 4).filter(|&at| bytes[at..].starts_with(b"\x1f\x43\xb6\x75")).collect();
    let damaged = folder.0.join("hole.mkv");
    let mut holed = bytes.clone();
    holed[clusters[2]..clusters[2] + 200].fill(0xff);
    fs::write(&damaged, &holed).unwrap();
    let refused = check_against(&good, &damaged);
    let (first, last) = (refused[0], refused[refused.len() - 1]);
    assert!((6..=24).contains(&refused.len()) && last - first + 1 == refused.len(), "{refused:?}");
    assert_eq!(frames_of(&damaged, false).len(), 60);
    let cut = folder.0.join("cut.mkv");
    fs::write(&cut, &bytes[..bytes.len() * 6 / 10]).unwrap();
    let refused = check_against(&good, &cut);
    let frames = frames_of(&cut, false);
    assert_eq!(refused, [frames.len() - 1], "all that are there are good");
    let error = frames.last().unwrap().as_ref().unwrap_err();
    assert!((20..55).contains(&frames.len()) && error.contains("ends in the middle"), "{error}");
}

#[test]
fn without_ffprobe_it_is_said_that_damage_needs_it() {
    if !has_ffmpeg() {
        return;
    }
    #[cfg(unix)]
    {
        let folder = Folder::new("no-ffprobe");
        let path = folder.greys(
            "clip.mp4",
            60,
            "-pix_fmt yuv420p -c:v libx264 -qp 8 -g 10 -bf 0 -movflags faststart",
        );
        spoil(&path, 50, 55);
        let program = folder.0.join("ffmpeg");
        fs::write(&program, "#!/bin/sh\nexec ffmpeg \"$@\"\n").unwrap();
        let mut mode = fs::metadata(&program).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
        fs::set_permissions(&program, mode).unwrap();
        let error = match VideoFile::open(&path, program.as_os_str(), &DecodeLimits::default()) {
            Ok(mut video) => rest(&mut video).1.expect("damage cannot be told"),
            Err(error) => error,
        };
        assert_eq!(error.kind(), MediaErrorKind::MissingProgram);
        assert!(error.to_string().contains("ffprobe"), "{error}");
    }
}

#[test]
#[cfg(unix)]
fn a_killed_child_is_an_error_and_can_be_gone_on_from() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("killed");
    // Larger than pipe and read-ahead hold.
    let source = "-f lavfi -i testsrc2=size=640x480:rate=25 -frames:v 40 -pix_fmt yuv420p -c:v libx264 -preset ultrafast -g 10";
    let mut video = open(&folder.make("clip.mp4", source)).unwrap();
    let first = video.next().unwrap().unwrap();
    let child = video.child_id().unwrap().to_string();
    assert!(Command::new("kill").args(["-9", &child]).status().unwrap().success());
    let (frames, error) = rest(&mut video);
    let error = error.expect("a killed child is told of");
    assert_eq!(error.kind(), MediaErrorKind::Read);
    assert!(
        error.to_string().contains("ffmpeg was killed") && error.to_string().contains("clip.mp4"),
        "{error}"
    );
    let next = first.number + 1 + frames.len() as FrameNumber;
    assert!(next < 40);
    video.start(Some(next), Direction::Forward).unwrap();
    assert_eq!(numbers(&mut video), (next..40).collect::<Vec<_>>());
}

#[test]
#[cfg(target_os = "linux")]
fn a_dropped_video_leaves_no_process() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("dropped");
    let source = "-f lavfi -i testsrc2=size=640x480:rate=25 -frames:v 40 -pix_fmt yuv420p -c:v libx264 -preset ultrafast";
    let mut video = open(&folder.make("clip.mp4", source)).unwrap();
    video.next().unwrap();
    let process = PathBuf::from(format!("/proc/{}", video.child_id().unwrap()));
    assert!(process.exists());
    drop(video);
    assert!(!process.exists(), "neither running nor waiting to be reaped");
}
