use super::*;
use SignalKind::{Appeared, Area, Flicker, Score, Swap, Vanished};

/// A rectangle of a frame: left, top, width, height.
type Block = (u32, u32, u32, u32);

fn block((left, top, width, height): Block) -> BitMask {
    let mut mask = BitMask::new(Size::new(300, 200));
    (top..top + height).for_each(|y| mask.set_run(y, left, left + width));
    mask
}

/// Object, place, IoU score, object score, whether it was prompted.
type Object = (ObjectId, Block, f32, Option<f32>, bool);

/// The objects in each frame; frames count from 1001.
struct Shot(Vec<Vec<Object>>);

impl Shot {
    /// One object with an IoU score of 0.9.
    fn of(blocks: impl IntoIterator<Item = Block>) -> Self {
        Self(blocks.into_iter().map(|block| vec![(1, block, 0.9, None, false)]).collect())
    }

    fn walk(&self, is_backward: bool) -> Vec<Signal> {
        let mut frames: Vec<_> = (1001..).zip(&self.0).collect();
        if is_backward {
            frames.reverse();
        }
        let mut signals = Signals::new();
        let mut told = Vec::new();
        for (frame, objects) in frames {
            let masks: Vec<BitMask> = objects.iter().map(|&(_, at, ..)| block(at)).collect();
            let seen = objects.iter().zip(&masks);
            let seen = seen.map(|(&(object, _, iou_score, object_score, is_prompted), mask)| Seen {
                object,
                mask,
                iou_score,
                object_score,
                is_prompted,
            });
            told.extend(signals.take(frame, &seen.collect::<Vec<_>>()));
        }
        told
    }

    fn told(&self) -> Vec<(i64, ObjectId, SignalKind)> {
        self.walk(false).iter().map(|signal| (signal.frame, signal.object, signal.kind)).collect()
    }

    fn told_backward(&self) -> Vec<(i64, ObjectId, SignalKind)> {
        self.walk(true).iter().map(|signal| (signal.frame, signal.object, signal.kind)).collect()
    }
}

/// An object that moves by 3 pixels a frame.
fn moving(frames: u32) -> Vec<Block> {
    (0..frames).map(|frame| (10 + 3 * frame, 50, 40, 30)).collect()
}

#[test]
fn a_clean_moving_object_is_silent() {
    let mut shot = Shot::of(moving(60));
    for (index, frame) in shot.0.iter_mut().enumerate() {
        let wobble = (index * 7 % 5) as f32;
        (frame[0].2, frame[0].3) = (0.8 + 0.02 * wobble, Some(6.0 + 0.5 * wobble));
    }
    assert_eq!((shot.told(), shot.told_backward()), (vec![], vec![]));
}

#[test]
fn an_object_that_grows_steadily_is_silent() {
    // From 400 pixels to 9,801, by at most 10 % a frame.
    let shot = Shot::of((0..80).map(|frame| (5, 5, 20 + frame, 20 + frame)));
    assert_eq!((shot.told(), shot.told_backward()), (vec![], vec![]));
}

#[test]
fn a_jump_of_the_area_is_found_once_on_its_frame() {
    let mut blocks = moving(30);
    // It takes in something else, and keeps that.
    blocks[12..].iter_mut().for_each(|block| block.3 = 60);
    let shot = Shot::of(blocks);
    assert_eq!(shot.told(), [(1013, 1, Area)]);
    assert_eq!(shot.told_backward(), [(1012, 1, Area)]);
    assert_eq!(shot.walk(false)[0].words, "the area is 2.00 times what it was");
    assert_eq!(shot.walk(true)[0].words, "the area is 0.50 times what it was");
    let severity = |times: u32| {
        let mut blocks = moving(30);
        blocks[12..].iter_mut().for_each(|block| block.3 *= times);
        Shot::of(blocks).walk(false)[0].severity
    };
    assert!(severity(2) > 0.5 && severity(4) > severity(2) && severity(4) < 1.0);
    // 1.47 times is within the limit, 1.53 times is not.
    for (height, told) in [(44, 0), (46, 1)] {
        let mut blocks = moving(30);
        blocks[12..].iter_mut().for_each(|block| block.3 = height);
        assert_eq!(Shot::of(blocks).told().len(), told, "{height}");
    }
}

#[test]
fn the_area_right_after_a_prompt_is_compared_with_what_was_said() {
    let mut blocks = moving(10);
    blocks[1..].iter_mut().for_each(|block| block.3 = 60);
    let mut shot = Shot::of(blocks);
    shot.0[0][0].4 = true;
    assert_eq!(shot.told(), [(1002, 1, Area)]);
}

#[test]
fn a_flicker_is_found_once_on_its_frame() {
    let mut blocks = moving(30);
    blocks[12] = (200, 150, 40, 30);
    let shot = Shot::of(blocks.clone());
    assert_eq!(shot.told(), [(1013, 1, Flicker)]);
    assert_eq!(shot.told_backward(), [(1013, 1, Flicker)]);
    assert_eq!(shot.walk(false)[0].severity, 1.0);
    // It goes there and stays.
    blocks[12..].fill((200, 150, 40, 30));
    assert_eq!(Shot::of(blocks.clone()).told(), []);
    // To and fro: every other frame.
    let to_and_fro = Shot::of((0..12).map(|frame| (40 + 100 * (frame % 2), 50, 40, 30)));
    let frames: Vec<i64> = to_and_fro.told().iter().map(|&(frame, ..)| frame).collect();
    assert_eq!(frames, [1002, 1004, 1006, 1008, 1010]);
}

/// Two objects side by side that both move to the right, and are exchanged from a frame on.
fn swapping(at: usize, heights: [u32; 2]) -> Shot {
    let of = |frame: usize| {
        let places = |object: usize| (10 + 3 * frame as u32 + 60 * object as u32, 50, 40, heights[object]);
        let (first, second) = if frame < at { (0, 1) } else { (1, 0) };
        vec![(3, places(first), 0.9, None, false), (8, places(second), 0.9, None, false)]
    };
    Shot((0..30).map(of).collect())
}

#[test]
fn a_swap_is_found_once_on_its_frame() {
    for heights in [[30, 30], [30, 90]] {
        let shot = swapping(12, heights);
        assert_eq!(shot.told(), [(1013, 3, Swap)], "{heights:?}");
        assert_eq!(shot.told_backward(), [(1012, 3, Swap)], "{heights:?}");
        let swap = &shot.walk(false)[0];
        assert_eq!(swap.other, Some(8));
        assert!(swap.severity > 0.5 && swap.words.contains("object 8"), "{swap:?}");
    }
    // For one frame: there and back, and no flicker besides.
    let mut shot = swapping(12, [30, 30]);
    let before = swapping(30, [30, 30]);
    shot.0[13..].clone_from_slice(&before.0[13..]);
    assert_eq!(shot.told(), [(1013, 3, Swap), (1014, 3, Swap)]);
}

#[test]
fn objects_beside_and_upon_each_other_do_not_swap() {
    // One behind the other, each where the other one was just now; two masks of one thing; a part and its whole.
    let queue = |frame: u32| [(10 + 40 * (frame % 5), 50, 40, 30), (50 + 40 * (frame % 5), 50, 40, 30)];
    let twins = |frame: u32| [(10 + frame % 3, 50, 40, 30), (10 + (frame + 1) % 3, 50, 40, 30)];
    let part = |frame: u32| [(10 + 4 * frame, 50, 40, 30), (15 + 4 * frame, 50, 10, 10)];
    let of = |places: &dyn Fn(u32) -> [Block; 2], frames: u32| {
        let frame = |frame: u32| {
            let [first, second] = places(frame);
            vec![(1, first, 0.9, None, false), (2, second, 0.9, None, false)]
        };
        Shot((0..frames).map(frame).collect()).told()
    };
    assert_eq!(of(&queue, 5), []);
    assert_eq!(of(&twins, 30), []);
    assert_eq!(of(&part, 30), []);
}

#[test]
fn vanishing_and_appearing_are_found_once_each() {
    let mut blocks = moving(40);
    blocks[12..20].iter_mut().for_each(|block| block.3 = 0);
    // From behind something, by and by.
    (20..24).for_each(|frame| blocks[frame].3 = 4 * (frame as u32 - 18));
    let mut shot = Shot::of(blocks);
    let expected = [(1013, 1, Vanished), (1021, 1, Appeared)];
    assert_eq!(shot.told(), expected);
    assert_eq!(shot.walk(false)[0].severity, 1.0);
    // With a model that says so, the same; and where nothing is found, IoU scores say nothing.
    for (index, frame) in shot.0.iter_mut().enumerate() {
        let is_seen = !(12..20).contains(&index);
        (frame[0].2, frame[0].3) = (if is_seen { 0.9 } else { 0.0 }, Some(if is_seen { 7.0 } else { -5.0 }));
    }
    assert_eq!(shot.told(), expected);
    assert_eq!(shot.told_backward().len(), 2 + 1, "and the area while it goes behind something");
}

#[test]
fn an_object_that_leaves_the_picture_is_less_severe_than_one_that_is_lost() {
    let severity = |left: u32| {
        let shrinks = Shot::of((0..20).map(|frame| (left, 50, 60_u32.saturating_sub(4 * frame), 30)));
        let vanished = shrinks.walk(false).into_iter().filter(|signal| signal.kind == Vanished);
        let vanished: Vec<f32> = vanished.map(|signal| signal.severity).collect();
        assert_eq!(vanished.len(), 1);
        vanished[0]
    };
    assert!(severity(0) < 0.25, "at the border: {}", severity(0));
    assert!((0.5..0.75).contains(&severity(1)), "within: {}", severity(1));
}

#[test]
fn a_score_that_drops_is_found_once_on_its_frame() {
    let scored = |score: &dyn Fn(usize) -> (f32, Option<f32>)| {
        let mut shot = Shot::of(moving(40));
        for (index, frame) in shot.0.iter_mut().enumerate() {
            (frame[0].2, frame[0].3) = score(index);
        }
        shot
    };
    // For one frame, and for good.
    for last in [13, 40] {
        let within = |index: usize| (12..last).contains(&index);
        let logits = scored(&|index| (0.9, Some(if within(index) { 4.5 } else { 8.0 })));
        assert_eq!(logits.told(), [(1013, 1, Score)]);
        assert_eq!(logits.walk(false)[0].words, "the score falls to 4.50 from 8.00");
        let ious = scored(&|index| (if within(index) { 0.6 } else { 0.9 }, None));
        assert_eq!(ious.told(), [(1013, 1, Score)]);
        let absent = scored(&|index| (0.9, Some(if within(index) { -0.5 } else { 1.5 })));
        assert_eq!(absent.told(), [(1013, 1, Score)]);
    }
    // Within the limits; with object scores the others do not count.
    assert_eq!(scored(&|index| (0.9, Some(if index < 12 { 8.0 } else { 5.5 }))).told(), []);
    assert_eq!(scored(&|index| (if index < 12 { 0.9 } else { 0.7 }, None)).told(), []);
    assert_eq!(scored(&|index| (if index < 12 { 0.9 } else { 0.1 }, Some(7.0))).told(), []);
    // No score is no reason.
    assert_eq!(scored(&|_| (f32::NAN, None)).told(), []);
}

#[test]
fn a_frame_with_a_prompt_needs_no_look_unless_nothing_came_of_it() {
    let mut blocks = moving(30);
    blocks[12..].iter_mut().for_each(|block| *block = (block.0, 120, 40, 70));
    let mut shot = Shot::of(blocks);
    for frame in &mut shot.0 {
        frame[0].2 = 0.7;
    }
    // A given mask's score is 1, and is not what the next are compared with.
    (shot.0[12][0].2, shot.0[12][0].4) = (1.0, true);
    (shot.0[0][0].2, shot.0[0][0].4) = (1.0, true);
    assert_eq!(shot.told(), []);
    shot.0[12][0].1 = (0, 0, 0, 0);
    assert_eq!(shot.told(), [(1013, 1, Vanished), (1014, 1, Appeared)]);
    shot.0[0][0].1 = (0, 0, 0, 0);
    shot.0[0][0].3 = Some(-2.0);
    assert_eq!(shot.told()[0], (1001, 1, Score));
}

#[test]
fn objects_know_nothing_of_each_other_and_begin_anew_after_they_were_gone() {
    let mut shot = Shot::of(moving(40));
    for (index, frame) in shot.0.iter_mut().enumerate() {
        if !(10..20).contains(&index) {
            let at = if index < 10 { (5, 120, 10, 10) } else { (200, 5, 90, 40) };
            frame.push((2, at, 0.9, None, false));
        }
    }
    assert_eq!(shot.told(), []);
}

#[test]
fn what_is_kept_does_not_grow_with_the_walk() {
    let mut signals = Signals::new();
    let masks: Vec<BitMask> = moving(60).into_iter().map(block).collect();
    for frame in 0..5000 {
        let mask = &masks[(frame as usize % 118).min(118 - frame as usize % 118)];
        let object = 1 + (frame / 1000) as ObjectId;
        let seen = Seen { object, mask, iou_score: 0.9, object_score: None, is_prompted: false };
        assert_eq!(signals.take(frame, &[seen]), []);
        let past = &signals.objects[&object];
        assert!(signals.objects.len() == 1 && past.scores.0.len() <= SCORES && past.areas.0.len() <= AREAS);
        assert_eq!(past.last.mask.size(), Size::new(40, 30), "of the mask, not of the frame");
    }
}

#[test]
fn a_summary_keeps_the_worst_in_order() {
    let signal = |frame: i64, severity: f32| Signal {
        frame,
        object: 1,
        kind: Area,
        other: None,
        severity,
        words: String::new(),
    };
    let mut summary = SignalSummary::new(3);
    for (frame, severity) in [(1, 0.5), (2, 0.9), (3, 0.5), (4, 0.6), (5, 0.2), (6, 0.5)] {
        summary.add(signal(frame, severity));
    }
    let frames: Vec<i64> = summary.signals().iter().map(|signal| signal.frame).collect();
    assert_eq!((frames, summary.total()), (vec![2, 4, 1], 6));
    let mut none = SignalSummary::new(0);
    none.add(signal(1, 1.0));
    assert_eq!((none.signals().len(), none.total()), (0, 1));
}

#[test]
fn signals_are_written_with_plain_names() {
    let swap = &swapping(12, [30, 30]).walk(false)[0];
    let mut summary = SignalSummary::new(5);
    summary.add(Signal { severity: 0.75, ..swap.clone() });
    summary.add(Signal { severity: 0.5, other: None, kind: Vanished, words: "gone".into(), ..swap.clone() });
    let expected = serde_json::json!({ "total": 2, "signals": [
        { "frame": 1013, "object": 3, "kind": "swap", "other": 8, "severity": 0.75,
          "words": "it takes the place of object 8, and that one its place" },
        { "frame": 1013, "object": 3, "kind": "vanished", "severity": 0.5, "words": "gone" },
    ] });
    assert_eq!(serde_json::to_value(&summary).unwrap(), expected);
}
