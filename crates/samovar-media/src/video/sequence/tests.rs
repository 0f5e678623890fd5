//! Sequences on disk: numbers, gaps, damage, sizes.

use super::*;
use crate::image::RgbImage;
use crate::write::write_rgb_png;

/// A folder that goes when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("samovar-sequence-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Pictures whose first value is the number's last digits.
    fn with(self, numbers: impl IntoIterator<Item = FrameNumber>) -> Self {
        for number in numbers {
            let picture = RgbImage::from_fn(Size::new(6, 4), |x, _| [number as u8, x as u8, 0]);
            write_rgb_png(&self.0.join(format!("shot_v01.{number:04}.png")), &picture).unwrap();
        }
        self
    }

    fn open(&self) -> Result<Sequence> {
        Sequence::open(&self.0, &DecodeLimits::default())
    }

    fn open_pattern(&self, pattern: &str) -> Result<Sequence> {
        Sequence::open(&self.0.join(pattern), &DecodeLimits::default())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Numbers of what is left, whose pixels are those of their numbers.
fn rest(source: &mut impl FrameSource) -> Vec<FrameNumber> {
    let frames = std::iter::from_fn(|| source.next().unwrap());
    let number = |frame: Frame| {
        assert_eq!(frame.pixels.pixels()[0], frame.number as u8);
        frame.number
    };
    frames.map(number).collect()
}

#[test]
fn frames_have_their_own_numbers_and_gaps_are_said() {
    let folder = Folder::new("numbers").with((1001..=1012).filter(|number| ![1004, 1005].contains(number)));
    let shown = [1001, 1002, 1003, 1006, 1007, 1008, 1009, 1010, 1011, 1012];
    for mut shot in
        [folder.open(), folder.open_pattern("shot_v01.####.png"), folder.open_pattern("shot_v01.%04d.png")]
            .map(Result::unwrap)
    {
        assert_eq!(rest(&mut shot), shown);
        assert_eq!(shot.next().unwrap().map(|frame| frame.number), None);
        assert_eq!(shot.notes(), ["2 frames are missing between 1001 and 1012: 1004 to 1005"]);
        assert_eq!((shot.place(1006), shot.place(1004), shot.place(0)), (Some(3), None, None));
        assert_eq!((shot.count_up_to(16).unwrap(), shot.expected_frames()), (10, Some(10)));
        shot.start(Some(1007), Direction::Backward).unwrap();
        assert_eq!(rest(&mut shot), [1007, 1006, 1003, 1002, 1001]);
        shot.start(None, Direction::Backward).unwrap();
        assert_eq!(shot.next().unwrap().unwrap().number, 1012);
        shot.start(Some(1011), Direction::Forward).unwrap();
        assert_eq!(rest(&mut shot), [1011, 1012]);
        let error = shot.start(Some(1004), Direction::Forward).unwrap_err();
        assert_eq!(error.kind(), MediaErrorKind::NoSuchFrame);
        assert!(error.to_string().contains("frame 1004 is missing between 1001 and 1012"), "{error}");
    }
}

#[test]
fn starting_with_what_comes_next_decodes_nothing_anew() {
    let folder = Folder::new("same").with(0..8);
    let mut shot = folder.open().unwrap();
    assert_eq!(shot.next().unwrap().unwrap().number, 0);
    let thread = std::ptr::from_ref(shot.ahead.as_ref().unwrap());
    // What is ahead is there already: the files may go.
    std::thread::sleep(std::time::Duration::from_millis(300));
    fs::remove_dir_all(&folder.0).unwrap();
    shot.start(Some(1), Direction::Forward).unwrap();
    assert_eq!(thread, std::ptr::from_ref(shot.ahead.as_ref().unwrap()));
    assert_eq!((shot.next().unwrap().unwrap().number, shot.next().unwrap().unwrap().number), (1, 2));
    shot.start(Some(1), Direction::Forward).unwrap();
    assert_eq!(shot.next().unwrap_err().kind(), MediaErrorKind::NotFound);
}

#[test]
fn a_damaged_frame_is_named_and_the_shot_goes_on_behind_it() {
    let folder = Folder::new("damaged").with(1001..=1005);
    for damaged in [1001, 1003] {
        let path = folder.0.join(format!("shot_v01.{damaged}.png"));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..if damaged == 1001 { 10 } else { bytes.len() / 2 }]).unwrap();
    }
    let mut shot = folder.open().unwrap();
    assert_eq!(shot.size(), Size::new(6, 4), "of the first that can be read");
    let error = shot.next().unwrap_err();
    assert_eq!(error.kind(), MediaErrorKind::Damaged);
    assert!(error.to_string().contains("shot_v01.1001.png\": frame 1001: "), "{error}");
    assert!(shot.next().unwrap().is_none(), "an error ends the pass");
    shot.start(Some(1002), Direction::Forward).unwrap();
    assert_eq!(shot.next().unwrap().unwrap().number, 1002);
    assert!(shot.next().unwrap_err().to_string().contains("frame 1003"));
    shot.start(Some(1004), Direction::Forward).unwrap();
    assert_eq!(rest(&mut shot), [1004, 1005]);
}

#[test]
fn a_frame_of_another_size_is_named() {
    let folder = Folder::new("sizes").with(1..=3);
    let picture = RgbImage::from_fn(Size::new(5, 4), |_, _| [0; 3]);
    write_rgb_png(&folder.0.join("shot_v01.0002.png"), &picture).unwrap();
    let mut shot = folder.open().unwrap();
    assert_eq!(shot.next().unwrap().unwrap().number, 1);
    let error = shot.next().unwrap_err();
    assert_eq!(error.kind(), MediaErrorKind::Mismatch);
    assert!(error.to_string().contains("0002.png\": frame 2 is 5x4 pixels, the shot's first 6x4"), "{error}");
}

#[test]
fn limits_hold_for_every_frame() {
    let folder = Folder::new("limits").with(1..=1);
    let error = Sequence::open(&folder.0, &DecodeLimits::of_pixels(23)).unwrap_err();
    assert_eq!(error.kind(), MediaErrorKind::TooLarge);
    let picture = RgbImage::from_fn(Size::new(60, 40), |_, _| [0; 3]);
    write_rgb_png(&folder.0.join("shot_v01.0002.png"), &picture).unwrap();
    let mut shot = Sequence::open(&folder.0, &DecodeLimits::of_pixels(24)).unwrap();
    assert_eq!(rest_until_error(&mut shot), (vec![1], MediaErrorKind::TooLarge));
}

fn rest_until_error(source: &mut impl FrameSource) -> (Vec<FrameNumber>, MediaErrorKind) {
    let mut numbers = Vec::new();
    loop {
        match source.next() {
            Ok(frame) => numbers.push(frame.expect("an error comes before the end").number),
            Err(error) => return (numbers, error.kind()),
        }
    }
}

#[test]
fn what_is_no_sequence_is_refused_in_words() {
    let folder = Folder::new("none").with(7..=7);
    let refused = |name: &str| {
        let error = folder.open_pattern(name).unwrap_err();
        (error.kind(), error.to_string())
    };
    assert_eq!(refused("nothing").0, MediaErrorKind::NotFound);
    let (kind, text) = refused("other.####.png");
    assert_eq!(kind, MediaErrorKind::NotFound);
    assert!(text.contains("is called other.####.png"), "{text}");
    let (kind, text) = refused("shot_v01.0007.png");
    assert_eq!(kind, MediaErrorKind::Mismatch);
    assert!(text.contains("one picture"), "{text}");
    let empty = Folder::new("empty");
    assert!(empty.open().unwrap_err().to_string().contains("no picture in this folder"));
    fs::write(empty.0.join("shot.1001.psd"), b"").unwrap();
    fs::write(empty.0.join("notes.txt"), b"").unwrap();
    let error = empty.open().unwrap_err();
    assert_eq!(error.kind(), MediaErrorKind::Unsupported);
    assert!(error.to_string().contains("1 pictures of a format that is not read here: Photoshop"), "{error}");
}

#[test]
fn a_file_that_is_called_like_a_pattern_is_a_file() {
    let folder = Folder::new("called");
    assert!(is_pattern(&folder.0.join("shot.#.png")));
    fs::write(folder.0.join("shot.#.png"), b"").unwrap();
    assert!(!is_pattern(&folder.0.join("shot.#.png")));
    assert!(!is_pattern(&folder.0.join("#/clip.mp4")), "folders may be called anything");
}

#[test]
fn sixteen_bits_have_one_range_in_all_frames() {
    let folder = Folder::new("sixteen");
    // A fade from black: by themselves the first frames would be taken as 8 and 10 bits, and flash.
    for (number, value) in [(1, 200u16), (2, 900), (3, 30_000), (4, 60_000)] {
        let picture = ::image::ImageBuffer::from_pixel(4, 3, ::image::Rgb([value; 3]));
        ::image::DynamicImage::ImageRgb16(picture).save(folder.0.join(format!("fade.{number}.png"))).unwrap();
    }
    let values = |mut shot: Sequence| -> Vec<u8> {
        std::iter::from_fn(|| shot.next().unwrap()).map(|frame| frame.pixels.pixels()[0]).collect()
    };
    assert_eq!(values(folder.open().unwrap()), [0, 3, 117, 234]);
    let range = FrameRange { end: Some(2), ..FrameRange::default() };
    let dark = folder.open().unwrap().within(&range).unwrap();
    assert!(
        dark.notes().iter().any(|note| note.contains("all frames are taken as 10 bits")),
        "{:?}",
        dark.notes()
    );
    assert_eq!(values(dark), [50, 225]);
}
