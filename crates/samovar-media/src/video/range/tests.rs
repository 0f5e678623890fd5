//! N means N, whatever the shot's numbers.

use super::*;
use crate::image::RgbImage;
use crate::video::clips::numbers;
use crate::video::source::FramesInMemory;

fn shot(first: FrameNumber, frames: u32) -> FramesInMemory {
    let picture = |value: u32| RgbImage::from_fn(Size::new(3, 2), |_, _| [value as u8; 3]);
    FramesInMemory::new(first, (0..frames).map(picture).collect()).unwrap()
}

fn range(start: Option<i64>, end: Option<i64>, every_nth: usize, max_frames: Option<usize>) -> FrameRange {
    FrameRange { start, end, every_nth, max_frames }
}

#[test]
fn every_range_is_what_filtering_a_list_gives_both_ways() {
    for first in [0, 1001] {
        for count in [1u32, 2, 9] {
            let all: Vec<i64> = (first..first + i64::from(count)).collect();
            let bounds =
                [None, Some(first - 3), Some(first), Some(first + 3), Some(first + 8), Some(first + 20)];
            for (start, end) in bounds.iter().flat_map(|start| bounds.iter().map(move |end| (*start, *end))) {
                for (nth, most) in
                    [(1, None), (2, None), (3, Some(2)), (1, Some(1)), (1, Some(4)), (50, Some(9))]
                {
                    let range = range(start, end, nth, most);
                    let inside = all.iter().copied().filter(|number| range.contains(*number));
                    let wanted: Vec<i64> = inside.step_by(nth).take(most.unwrap_or(usize::MAX)).collect();
                    match Ranged::new(shot(first, count), &range) {
                        Err(error) => assert!(wanted.is_empty(), "{range:?}: {error}"),
                        Ok(ranged) => holds(ranged, &wanted, &range),
                    }
                }
            }
        }
    }
}

fn holds(mut ranged: Ranged<FramesInMemory>, wanted: &[i64], range: &FrameRange) {
    assert_eq!(numbers(&mut ranged), wanted, "{range:?}");
    assert_eq!(ranged.count_up_to(usize::MAX).unwrap(), wanted.len(), "{range:?}");
    assert_eq!(ranged.count_up_to(2).unwrap(), wanted.len().min(2), "{range:?}");
    assert_eq!(ranged.expected_frames(), Some(wanted.len() as u64), "{range:?}");
    for (place, &number) in (0..).zip(wanted) {
        assert_eq!((ranged.place(number), ranged.number_at(place)), (Some(place), Some(number)), "{range:?}");
    }
    ranged.start(None, Direction::Backward).unwrap();
    let backward: Vec<i64> = wanted.iter().rev().copied().collect();
    assert_eq!(numbers(&mut ranged), backward, "{range:?}");
    let middle = wanted.len() / 2;
    ranged.start(Some(wanted[middle]), Direction::Forward).unwrap();
    assert_eq!(numbers(&mut ranged), &wanted[middle..], "{range:?}");
}

#[test]
fn ranges_without_frames_are_refused_in_words() {
    for (bad, says) in [
        (range(None, None, 0, None), "every 0th"),
        (range(None, None, 1, Some(0)), "at most 0"),
        (range(Some(5), Some(4), 1, None), "begins with frame 5"),
    ] {
        let error = Ranged::new(shot(0, 3), &bad).unwrap_err();
        assert_eq!(error.kind(), MediaErrorKind::Mismatch);
        assert!(error.to_string().contains(says), "{error}");
    }
    for outside in [
        range(Some(1004), None, 1, None),
        range(None, Some(1000), 1, None),
        range(Some(i64::MAX), None, 1, None),
    ] {
        let error = Ranged::new(shot(1001, 3), &outside).unwrap_err();
        assert_eq!(error.kind(), MediaErrorKind::NoSuchFrame);
        assert!(error.to_string().contains("the shot goes from 1001 to 1003"), "{error}");
    }
    let everywhere = range(Some(i64::MIN), Some(i64::MAX), usize::MAX, Some(usize::MAX));
    assert_eq!(numbers(&mut Ranged::new(shot(1001, 3), &everywhere).unwrap()), [1001]);
}

#[test]
fn frames_outside_are_no_frames_of_the_shot() {
    let mut ranged = Ranged::new(shot(1001, 9), &range(Some(1002), Some(1007), 2, None)).unwrap();
    assert_eq!((ranged.place(1003), ranged.place(1001), ranged.place(1008)), (None, None, None));
    assert_eq!(ranged.start(Some(1003), Direction::Forward).unwrap_err().kind(), MediaErrorKind::NoSuchFrame);
    assert_eq!(numbers(&mut ranged), [1002, 1004, 1006]);
}
