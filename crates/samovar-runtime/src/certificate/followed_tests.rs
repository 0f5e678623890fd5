//! Masks that stray, and the made clip through the model inside the binary.

use super::*;
use crate::engine::{Engine, Options};
use crate::source::ModelSource;

const LEAST: f64 = 0.95;

/// The discs of the clip, drawn where they are and so many pixels beside it for every frame that has gone by.
fn masks(drift: f64) -> Vec<BitMask> {
    let of_frame = |index: usize| {
        DISCS.iter().map(move |disc| {
            let at = |axis: usize| disc.centre[axis] + (disc.moves[axis] + drift) * index as f64;
            BitMask::from_fn(SIZE, |x, y| (f64::from(x) - at(0)).hypot(f64::from(y) - at(1)) < disc.radius)
        })
    };
    (1..FRAMES).flat_map(of_frame).collect()
}

#[test]
fn objects_that_stray_from_those_of_f32_are_refused_in_words() {
    let expected = masks(0.0);
    let same = Followed::of(&expected, Some(&expected), LEAST).unwrap().unwrap();
    assert_eq!((same.j_and_f, same.worst, same.masks, same.refused.len()), (1.0, 1.0, 16, 0));
    let strayed = Followed::of(&expected, Some(&masks(2.0)), LEAST).unwrap().unwrap();
    assert!(strayed.worst < strayed.j_and_f && strayed.j_and_f < 0.9, "{strayed:?}");
    assert!(strayed.refused[0].contains("of objects that are followed is below"), "{strayed:?}");
    let lost: Vec<BitMask> = expected.iter().map(|mask| BitMask::new(mask.size())).collect();
    assert_eq!(Followed::of(&expected, Some(&lost), LEAST).unwrap().unwrap().j_and_f, 0.0);
    let narrow = Followed::of(&expected, None, LEAST).unwrap().unwrap();
    assert!(narrow.refused[0].contains("not finite"), "{narrow:?}");
    assert_eq!(Followed::of(&lost, Some(&expected), LEAST).unwrap(), None, "f32 itself has nothing to show");
}

#[test]
fn nano_follows_the_made_clip_in_f32_and_in_eight_bits() {
    let engine = Engine::new(Options { threads: 1, ..Options::default() }).unwrap();
    let follow = |precision| {
        let model =
            engine.with_precision(precision).load_from(&ModelSource::resolve("nano", None).unwrap()).unwrap();
        Clip::follow(&model).unwrap().unwrap()
    };
    let exact = follow(samovar_tensor::Precision::F32);
    assert_eq!(exact.len(), FRAMES - 1, "one object, as nano has no memory");
    let truth: Vec<BitMask> = masks(0.0).into_iter().step_by(DISCS.len()).collect();
    let of_truth = Followed::of(&truth, Some(&exact), LEAST).unwrap().unwrap();
    assert!(of_truth.j_and_f > 0.85, "the object is followed: {of_truth:?}");
    let of_exact =
        Followed::of(&exact, Some(&follow(samovar_tensor::Precision::Int8)), LEAST).unwrap().unwrap();
    assert!(of_exact.j_and_f > 0.95 && of_exact.refused.is_empty(), "{of_exact:?}");
}
