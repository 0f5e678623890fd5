use super::*;

/// A grid of 8 x 8 cells of which 7 x 6 are filled: the first feature tells the object, the second is noise, the third is constant.
fn look(object: impl Fn(usize, usize) -> bool) -> Look {
    let mut values = Vec::new();
    for y in 0..8 {
        for x in 0..8 {
            let noise = ((x * 7 + y * 13) % 5) as f32 - 2.0;
            values.extend([if object(x, y) { 3.0 } else { 1.0 } + 0.2 * noise, noise, 4.0]);
        }
    }
    Look { grid: Size::new(8, 8), filled: Size::new(7, 6), channels: 3, values }
}

fn covered(object: impl Fn(usize, usize) -> bool) -> Vec<f32> {
    (0..64).map(|at| f32::from(u8::from(object(at % 8, at / 8)))).collect()
}

fn is_shown(x: usize, y: usize) -> bool {
    (1..4).contains(&x) && (1..4).contains(&y)
}

#[test]
fn what_was_learnt_on_a_frame_tells_the_object_elsewhere_in_another_and_padding_is_none_of_it() {
    let appearance = Appearance::learn(&look(is_shown), &covered(is_shown)).unwrap();
    let moved = |x: usize, y: usize| x >= 3 && y == 5;
    let scores = appearance.of(&look(moved));
    for (at, score) in scores.iter().enumerate() {
        let (x, y) = (at % 8, at / 8);
        match () {
            () if x >= 7 || y >= 6 => assert_eq!(*score, -1.0, "padding at {x}, {y}"),
            () if moved(x, y) => assert!(*score > 0.1, "{score} on the object at {x}, {y}"),
            () => assert!(*score < -0.1, "{score} beside the object at {x}, {y}"),
        }
    }
}

#[test]
fn nothing_is_learnt_of_what_covers_no_cell_or_all() {
    for all in [false, true] {
        assert_eq!(Appearance::learn(&look(is_shown), &covered(|_, _| all)), None);
    }
}

#[test]
fn frames_that_were_shown_count_alike() {
    let of = |weights: &[f32], shown| Appearance { weights: weights.to_vec(), shown };
    let two = of(&[0.0, 3.0], 1).joined(&of(&[2.0, 3.0], 1));
    assert_eq!(two, of(&[1.0, 3.0], 2));
    assert_eq!(two.joined(&of(&[4.0, 0.0], 1)), of(&[2.0, 2.0], 3));
}

#[test]
fn bytes_give_it_back_with_what_follows_and_damaged_ones_nothing() {
    let appearance = Appearance { weights: vec![0.5, -1.25, 3.0], shown: 2 };
    let mut bytes = appearance.to_bytes();
    bytes.extend([7, 8]);
    assert_eq!(Appearance::from_bytes(&bytes), Some((appearance, &[7u8, 8][..])));
    assert_eq!(Appearance::from_bytes(&bytes[..15]), None);
    bytes[4..8].fill(255);
    assert_eq!(Appearance::from_bytes(&bytes), None);
}

#[test]
fn a_coarser_map_is_interpolated_between_centres_and_a_finer_one_averaged() {
    let line = |width: u32| Size::new(width, 1);
    assert_eq!(resampled(&[0.0, 4.0], line(2), line(4)), [0.0, 1.0, 3.0, 4.0]);
    assert_eq!(resampled(&[0.0, 2.0, 5.0, 7.0], line(4), line(2)), [1.0, 6.0]);
    assert_eq!(resampled(&[0.5, 2.0], line(2), line(2)), [0.5, 2.0]);
}

#[test]
fn a_cell_has_the_mean_colour_of_the_pixels_it_covers() {
    let crop =
        RgbImage::from_fn(
            Size::new(8, 4),
            |x, _| if x < 4 { [255, 0, 0] } else { [0, 0, (x - 4) as u8 * 85] },
        );
    let mut out = vec![0.0; 2 * 2 * COLOURS];
    colours(&crop, (0.25, 0.25), Size::new(2, 2), Size::new(2, 1), &mut out, COLOURS);
    assert_eq!(out[..COLOURS], [1.0, -1.0, -1.0, 1.0, 1.0, 1.0, -1.0, -1.0, 1.0]);
    assert_eq!(out[COLOURS..COLOURS + 3], [-1.0, -1.0, 0.0]);
    assert!(out[2 * COLOURS..].iter().all(|&value| value == 0.0), "padding has no colour");
}

#[test]
fn linear_equations_are_solved_from_the_lower_triangle_and_those_without_a_solution_refused() {
    let above = f64::NAN;
    let solution =
        solved(vec![4.0, above, above, 2.0, 5.0, above, -2.0, 3.0, 9.0], vec![2.0, 21.0, 31.0]).unwrap();
    for (found, expected) in solution.iter().zip([1.0, 2.0, 3.0]) {
        assert!((found - expected).abs() < 1e-12, "{solution:?}");
    }
    assert_eq!(solved(vec![1.0, above, 2.0, 1.0], vec![1.0, 1.0]), None);
}
