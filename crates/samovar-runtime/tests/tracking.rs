//! Objects through frames: followed, gone on with, corrected, each for itself.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use samovar_geometry::{Image, Size};
use samovar_media::video::{Direction as Way, Frame, FrameNumber, FrameSource, FramesInMemory};
use samovar_media::{BitMask, RgbImage};
use samovar_runtime::tracking::{Direction, News, Shot, ShotOptions, TrackedFrame};
use samovar_runtime::{Engine, Error, Model, Options, Prompt};

const SIZE: Size<Image> = Size::new(160, 120);
const FIRST: i64 = 1001;
const FRAMES: usize = 14;

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    Engine::new(Options { threads: 2, ..Options::default() }).unwrap().load("nano").unwrap()
});

/// Where the disc `object` is in frame `index`.
fn disc(object: u32, index: usize) -> (f64, f64) {
    match object {
        1 => (40.0 + 4.0 * index as f64, 50.0 + 1.5 * index as f64),
        _ => (130.0 - index as f64, 99.0 - 0.5 * index as f64),
    }
}

fn is_in(object: u32, index: usize, x: u32, y: u32) -> bool {
    let (cx, cy) = disc(object, index);
    (f64::from(x) - cx).hypot(f64::from(y) - cy) < 16.0
}

/// Two discs that move over a pattern.
fn picture(index: usize) -> RgbImage {
    RgbImage::from_fn(SIZE, |x, y| match () {
        () if is_in(1, index, x, y) => [220, 40, 30],
        () if is_in(2, index, x, y) => [30, 60, 220],
        () => [120 + ((x * 7 + y * 3) % 17) as u8, 150 + ((x * 3 + y * 5) % 13) as u8, 110],
    })
}

fn truth(object: u32, index: usize) -> BitMask {
    BitMask::from_fn(SIZE, |x, y| is_in(object, index, x, y))
}

fn frames() -> Box<dyn FrameSource> {
    Box::new(FramesInMemory::new(FIRST, (0..FRAMES).map(picture).collect()).unwrap())
}

fn click(object: u32, index: usize) -> Prompt {
    let (x, y) = disc(object, index);
    Prompt::default().point(x, y)
}

fn shot(log: Option<&Path>) -> Shot {
    let options = ShotOptions { log: log.map(Path::to_owned), checkpoint_every: 4, ..ShotOptions::default() };
    MODEL.open_video(frames(), &options).unwrap()
}

fn walk(shot: &mut Shot, direction: Direction) -> Vec<TrackedFrame> {
    shot.propagate(direction).unwrap().collect::<Result<_, _>>().unwrap()
}

fn mask_of(frames: &[TrackedFrame], number: i64, object: u32) -> BitMask {
    let frame = frames.iter().find(|frame| frame.number == number).unwrap();
    let found = frame.objects.iter().find(|found| found.object == object);
    found.unwrap_or_else(|| panic!("no object {object} in {number}")).mask.mask().clone()
}

fn changed(frames: &[TrackedFrame], object: u32, news: News) -> Vec<i64> {
    let has = |frame: &&TrackedFrame| {
        frame.objects.iter().any(|found| found.object == object && found.news == news)
    };
    frames.iter().filter(has).map(|frame| frame.number).collect()
}

#[test]
fn objects_are_followed_both_ways_from_a_frame_in_the_middle() {
    let mut shot = shot(None);
    shot.prompt(FIRST + 6, 1, &click(1, 6)).unwrap();
    shot.prompt(FIRST + 2, 2, &click(2, 2)).unwrap();
    let found = walk(&mut shot, Direction::Both);
    assert_eq!(found.len(), FRAMES);
    for (index, frame) in found.iter().enumerate() {
        assert_eq!(frame.number, FIRST + index as i64);
        for object in [1, 2] {
            let iou = mask_of(&found, frame.number, object).iou(&truth(object, index)).unwrap();
            assert!(iou > 0.75, "object {object} in {}: IoU {iou}", frame.number);
        }
    }
    let ahead = walk(&mut shot, Direction::Forward);
    assert!(ahead[..2].iter().all(|frame| frame.objects.is_empty()), "nothing is known yet");
    assert_eq!(ahead[3].objects.len(), 1);
    let back = walk(&mut shot, Direction::Backward);
    let numbers: Vec<i64> = back.iter().map(|frame| frame.number).collect();
    assert_eq!(numbers, (FIRST..=FIRST + 6).rev().collect::<Vec<_>>());
}

/// The first disc passes behind a wall, and comes out somewhere else.
#[test]
fn an_object_that_was_hidden_is_found_again_where_it_is() {
    const WIDE: Size<Image> = Size::new(320, 160);
    let at = |index: usize| match index {
        0..8 => (30.0 + 8.0 * index as f64, 50.0),
        _ => (200.0 + 2.0 * index as f64, 100.0),
    };
    let is_disc = |index: usize, x: u32, y: u32| {
        let (cx, cy) = at(index);
        (f64::from(x) - cx).hypot(f64::from(y) - cy) < 16.0
    };
    let picture = |index: usize| {
        RgbImage::from_fn(WIDE, |x, y| match () {
            () if (70..150).contains(&x) => [90 + (x % 9) as u8, 80 + (y % 7) as u8, 75],
            () if is_disc(index, x, y) => [220, 40 + (y % 5) as u8 * 8, 30],
            () => [120 + ((x * 7 + y * 3) % 17) as u8, 150 + ((x * 3 + y * 5) % 13) as u8, 110],
        })
    };
    let frames = FramesInMemory::new(FIRST, (0..32).map(picture).collect()).unwrap();
    let mut shot = MODEL.open_video(Box::new(frames), &ShotOptions::default()).unwrap();
    shot.prompt(FIRST, 1, &Prompt::default().point(30.0, 50.0)).unwrap();
    let found = walk(&mut shot, Direction::Forward);
    // A crop in each frame: 18 of them are the picture.
    for index in [0, 2, 4, 26, 29, 31] {
        let truth = BitMask::from_fn(WIDE, |x, y| is_disc(index, x, y) && !(70..150).contains(&x));
        let iou = mask_of(&found, FIRST + index as i64, 1).iou(&truth).unwrap();
        assert!(iou > 0.75, "frame {index}: IoU {iou}");
    }
}

#[test]
fn a_run_that_was_stopped_goes_on_to_the_bit_and_computes_only_the_rest() {
    // A given mask also says what the object looks like, which has to be kept too.
    for prompt in [click(1, 0), Prompt::default().refine(truth(1, 0))] {
        goes_on_to_the_bit(&prompt);
    }
}

fn goes_on_to_the_bit(prompt: &Prompt) {
    let folder = tempfile::tempdir().unwrap();
    let whole = {
        let mut shot = shot(None);
        shot.prompt(FIRST, 1, prompt).unwrap();
        walk(&mut shot, Direction::Forward)
    };
    for stop_after in [1, 3, 4, 9] {
        let log = folder.path().join(format!("log{stop_after}"));
        let mut first = shot(Some(&log));
        first.prompt(FIRST, 1, prompt).unwrap();
        let some: Vec<_> = first.propagate(Direction::Forward).unwrap().take(stop_after).collect();
        assert_eq!(some.len(), stop_after);
        assert!(
            matches!(
                MODEL.open_video(frames(), &ShotOptions { log: Some(log.clone()), ..ShotOptions::default() }),
                Err(Error::File { .. })
            ),
            "two runs at once"
        );
        drop((some, first));
        // A kill in the middle of a record.
        let bytes = std::fs::read(&log).unwrap();
        std::fs::write(&log, &bytes[..bytes.len() - 7]).unwrap();
        let mut second = shot(Some(&log));
        assert_eq!(second.damaged_records(), 1);
        second.prompt(FIRST, 1, prompt).unwrap();
        let rest = walk(&mut second, Direction::Forward);
        for (was, is) in whole.iter().zip(&rest) {
            assert_eq!(was.objects[0].mask.mask(), is.objects[0].mask.mask(), "frame {}", is.number);
            assert_eq!(was.objects[0].mask.alpha().unwrap(), is.objects[0].mask.alpha().unwrap());
        }
        let new = changed(&rest, 1, News::Found);
        // What was cut is a mask, or where the object could have been gone on with.
        let kept = if stop_after % 4 == 0 { stop_after } else { stop_after - 1 };
        let expected: Vec<i64> = (FIRST + kept as i64..FIRST + FRAMES as i64).collect();
        assert_eq!(new, expected, "stopped after {stop_after}");
        assert_eq!(
            changed(&walk(&mut second, Direction::Forward), 1, News::Found),
            Vec::<i64>::new(),
            "all is known"
        );
    }
}

#[test]
fn a_correction_changes_its_frame_and_those_behind_it_of_its_object_alone() {
    let mut shot = shot(None);
    shot.prompt(FIRST, 1, &click(1, 0)).unwrap();
    shot.prompt(FIRST, 2, &click(2, 0)).unwrap();
    let before = walk(&mut shot, Direction::Forward);
    // The other disc, said to be this one.
    let (at, index) = (FIRST + 6, 6);
    let (x, y) = disc(2, index);
    shot.prompt(at, 1, &Prompt::default().within(x - 16.0, y - 16.0, x + 16.0, y + 16.0)).unwrap();
    let after = walk(&mut shot, Direction::Forward);
    assert_eq!(changed(&after, 1, News::Changed), (at..FIRST + FRAMES as i64).collect::<Vec<_>>());
    assert_eq!(changed(&after, 2, News::Changed), Vec::<i64>::new());
    for number in FIRST..at {
        assert_eq!(mask_of(&before, number, 1), mask_of(&after, number, 1));
    }
    for index in index..FRAMES {
        let number = FIRST + index as i64;
        assert!(mask_of(&after, number, 1).iou(&truth(2, index)).unwrap() > 0.7, "frame {number}");
        assert_eq!(mask_of(&before, number, 2), mask_of(&after, number, 2));
    }
    assert_eq!(
        shot.prompts().filter(|(object, ..)| *object == 1).map(|(_, frame, _)| frame).collect::<Vec<_>>(),
        [FIRST, at]
    );
    assert!(shot.remove_prompt(at, 1) && !shot.remove_prompt(at, 1));
    let back = walk(&mut shot, Direction::Forward);
    for frame in &before {
        assert_eq!(mask_of(&before, frame.number, 1), mask_of(&back, frame.number, 1));
    }
}

#[test]
fn a_locked_frame_keeps_its_mask_and_following_goes_on_from_it() {
    let mut shot = shot(None);
    shot.prompt(FIRST, 1, &click(1, 0)).unwrap();
    assert!(matches!(shot.lock(FIRST + 5, 1), Err(Error::Usage(_))), "nothing was found there yet");
    let before = walk(&mut shot, Direction::Forward);
    shot.lock(FIRST + 5, 1).unwrap();
    let (x, y) = disc(2, 2);
    shot.prompt(FIRST + 2, 1, &Prompt::default().within(x - 16.0, y - 16.0, x + 16.0, y + 16.0)).unwrap();
    let after = walk(&mut shot, Direction::Forward);
    assert_ne!(mask_of(&before, FIRST + 4, 1), mask_of(&after, FIRST + 4, 1));
    assert_eq!(mask_of(&before, FIRST + 5, 1), mask_of(&after, FIRST + 5, 1));
    let iou = mask_of(&after, FIRST + 8, 1).iou(&truth(1, 8)).unwrap();
    assert!(iou > 0.7, "behind the locked frame it is the first disc again: {iou}");
}

#[test]
fn objects_that_come_and_go_leave_the_others_as_they_are() {
    let alone = {
        let mut shot = shot(None);
        shot.prompt(FIRST, 1, &click(1, 0)).unwrap();
        walk(&mut shot, Direction::Forward)
    };
    let mut both = shot(None);
    both.prompt(FIRST, 1, &click(1, 0)).unwrap();
    both.prompt(FIRST + 3, 2, &click(2, 3)).unwrap();
    let with_another = walk(&mut both, Direction::Forward);
    assert!(both.remove_object(2) && !both.remove_object(2));
    let without = walk(&mut both, Direction::Forward);
    for (index, frame) in alone.iter().enumerate() {
        let mask = mask_of(&alone, frame.number, 1);
        assert_eq!(mask, mask_of(&with_another, frame.number, 1));
        assert_eq!(mask, mask_of(&without, frame.number, 1));
        assert_eq!(without[index].objects.len(), 1);
    }
}

#[test]
fn prompts_that_mean_nothing_are_refused() {
    let mut empty = shot(None);
    assert!(matches!(empty.propagate(Direction::Forward), Err(Error::Usage(_))));
    assert!(matches!(empty.prompt(FIRST, 0, &click(1, 0)), Err(Error::Usage(_))));
    assert!(matches!(empty.prompt(FIRST, 1, &Prompt::default()), Err(Error::Usage(_))));
    empty.prompt(FIRST, 1, &Prompt::default().point(500.0, 20.0)).unwrap();
    let error = empty.propagate(Direction::Forward).unwrap().next().unwrap().unwrap_err().to_string();
    assert!(
        error.contains("frame 1001") && error.contains("object 1") && error.contains("outside"),
        "{error}"
    );
}

/// A camera that has no end: frames come once.
struct Camera(usize, Arc<AtomicUsize>);

impl FrameSource for Camera {
    fn size(&self) -> Size<Image> {
        SIZE
    }

    fn start(&mut self, from: Option<FrameNumber>, way: Way) -> samovar_media::Result<()> {
        assert!(from.is_none_or(|from| from == self.0 as i64) && way == Way::Forward);
        Ok(())
    }

    fn next(&mut self) -> samovar_media::Result<Option<Frame>> {
        let index = self.0;
        self.0 += 1;
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(Some(Frame { number: index as i64, time: None, pixels: Arc::new(picture(index % FRAMES)) }))
    }
}

#[test]
fn a_camera_is_followed_frame_by_frame() {
    let taken = Arc::new(AtomicUsize::new(0));
    let mut shot =
        MODEL.open_video(Box::new(Camera(0, Arc::clone(&taken))), &ShotOptions::default()).unwrap();
    shot.prompt(0, 1, &click(1, 0)).unwrap();
    for (index, frame) in shot.propagate(Direction::Forward).unwrap().take(6).enumerate() {
        let frame = frame.unwrap();
        assert_eq!(
            (frame.number, taken.load(Ordering::SeqCst)),
            (index as i64, index + 1),
            "none is read ahead"
        );
        assert!(frame.objects[0].mask.mask().iou(&truth(1, index)).unwrap() > 0.75);
    }
}

#[test]
fn only_objects_that_are_shown_behind_the_first_frame_are_followed_backward_too() {
    let goes_back = |direction: Direction, prompted: &[(u32, i64)]| {
        direction.goes_back(prompted.iter().copied(), Some(1001))
    };
    assert!(!goes_back(Direction::Both, &[(1, 1040), (2, 1001), (1, 1001)]), "the first prompt of each");
    assert!(goes_back(Direction::Both, &[(1, 1001), (2, 1002)]));
    assert!(!goes_back(Direction::Forward, &[(1, 1040)]) && goes_back(Direction::Backward, &[(1, 1001)]));
    assert!(Direction::Both.goes_back([(1, 0)].into_iter(), None), "where nobody knows the first frame");
}
