use samovar_geometry::Image;

use super::*;

const FRAME: Size<Image> = Size::new(40, 20);

/// Asked of the whole frame by cells of 4 pixels: columns 0 to 4 were carried, and the cells look like the object as `alike` says by
/// their column.
fn asked(alike: Option<fn(usize) -> f32>) -> Asked {
    let by_column = |value: &dyn Fn(usize) -> f32| (0..50).map(|at| value(at % 10)).collect::<Vec<f32>>();
    Asked {
        region: Region::whole(FRAME),
        grid: Size::new(10, 5),
        scale: (0.25, 0.25),
        logits: by_column(&|column| if column < 5 { 10.0 } else { -10.0 }),
        alike: alike.map(|alike| by_column(&alike)),
    }
}

fn mask_of(columns: &[(u32, u32)]) -> BitMask {
    BitMask::from_fn(FRAME, |x, y| y > 2 && columns.iter().any(|&(start, end)| x >= start && x < end))
}

#[test]
fn parts_that_were_not_carried_are_left_out_unless_all_are() {
    let both = mask_of(&[(2, 8), (30, 36)]);
    assert_eq!(asked(None).parts_of(&both).unwrap(), mask_of(&[(2, 8)]));
    let elsewhere = mask_of(&[(24, 28), (30, 36)]);
    assert_eq!(asked(None).parts_of(&elsewhere).unwrap(), elsewhere);
}

#[test]
fn parts_that_look_less_like_the_object_than_another_are_left_out() {
    let both = mask_of(&[(2, 8), (12, 18)]);
    assert_eq!(asked(None).parts_of(&both).unwrap(), both);
    assert_eq!(
        asked(Some(|column| if column < 3 { -0.2 } else { 0.9 })).parts_of(&both).unwrap(),
        mask_of(&[(12, 18)])
    );
    // Neither looks like it does elsewhere: the light has changed.
    assert_eq!(asked(Some(|column| if column < 3 { -0.7 } else { -0.5 })).parts_of(&both).unwrap(), both);
}

#[test]
fn a_speck_that_looks_just_like_the_object_does_not_cost_the_rest() {
    let with_speck = mask_of(&[(0, 10), (16, 17)]);
    let parts = asked(Some(|column| if column == 4 { 1.0 } else { 0.1 }));
    assert_eq!(parts.parts_of(&with_speck).unwrap(), with_speck);
}

#[test]
fn likeness_is_the_mean_over_the_mask_and_of_nothing_there_is_none() {
    assert_eq!(asked(None).likeness(&mask_of(&[(0, 20)])), None);
    let asked = asked(Some(|column| if column < 5 { 1.0 } else { -0.5 }));
    assert_eq!(asked.likeness(&mask_of(&[(0, 20)])), Some(1.0));
    assert_eq!(asked.likeness(&mask_of(&[(16, 24)])), Some(0.25));
    assert_eq!(asked.likeness(&mask_of(&[])), None);
}

#[test]
fn of_what_is_positive_the_strongest_part_stays_and_not_the_largest() {
    let mut logits = vec![-3.0, 1.0, 1.0, 1.0, -3.0, 9.0, -3.0, 0.0];
    keep_strongest_part(&mut logits, Size::new(8, 1)).unwrap();
    assert_eq!(logits, [-3.0, -CERTAIN, -CERTAIN, -CERTAIN, -3.0, 9.0, -3.0, 0.0]);
}
