use crate::{Precision, RowScale, Tensor};

#[test]
fn precisions_are_known_by_their_names() {
    for precision in Precision::ALL {
        assert_eq!(precision.to_string().parse(), Ok(precision));
    }
    assert!("int4".parse::<Precision>().unwrap_err().to_string().contains("int8"));
    assert_eq!(Precision::Int8.exact(), Precision::F32);
    assert_eq!(Precision::F16.exact(), Precision::F16);
    assert_eq!(Precision::Bf16.exact(), Precision::F16);
}

#[test]
fn zero_survives_rounding_and_the_rest_is_within_half_a_step() {
    for (low, high) in [(-3.0f32, 5.0f32), (0.0, 1.0), (-1.0, 0.0), (2.0, 7.0), (-9.0, -2.0), (-0.17, 30.0)] {
        let row = RowScale::of_range(low, high);
        assert_eq!(i32::from(row.quantise(0.0)), row.zero);
        for i in 0..=1000 {
            let x = low + (high - low) * i as f32 / 1000.0;
            let back = row.scale * (i32::from(row.quantise(x)) - row.zero) as f32;
            assert!((back - x).abs() <= row.scale * 1.001, "{x} became {back}, one step is {}", row.scale);
        }
    }
}

#[test]
fn rows_of_nothing_and_rows_that_are_not_numbers() {
    assert_eq!(RowScale::of_row([0.0, -0.0].into_iter()), RowScale { scale: 0.0, inverse: 0.0, zero: 0 });
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(RowScale::of_row([1.0, bad, 2.0].into_iter()).scale.is_nan());
        assert!(RowScale::of_range(bad, 1.0).scale.is_nan());
        assert!(RowScale::of_range(-1.0, bad).scale.is_nan());
    }
    assert!(RowScale::of_range(-3e38, 3e38).scale.is_nan(), "a range beyond f32");
    assert_eq!(RowScale::of_range(-1e-40, 1e-40).scale, 0.0);
}

#[test]
fn weights_come_back_from_every_precision_as_near_as_it_allows() {
    let values: Vec<f32> = (0..60).map(|i| (i * 37 % 61) as f32 / 30.0 - 1.0).collect();
    let weight = Tensor::from_values([3, 20], &values);
    for (precision, share) in [
        (Precision::F32, 0.0),
        (Precision::F16, 1.0 / 2048.0),
        (Precision::Bf16, 1.0 / 256.0),
        (Precision::Int8, 0.5 / 127.0),
    ] {
        let rounded = weight.to_precision(precision).unwrap();
        assert_eq!(rounded.dtype(), precision.dtype());
        let back = rounded.to_f32_vec().unwrap();
        for (found, expected) in back.iter().zip(&values) {
            assert!((found - expected).abs() <= share * 1.01, "{precision}: {found} for {expected}");
        }
        // What is rounded already stays as it is.
        let again = rounded.to_precision(precision).unwrap();
        assert_eq!(again.raw(), rounded.raw());
        assert_eq!(again.scales(), rounded.scales());
    }
    // Rounded weights, reordered and scaled by row, are those of the reordered and scaled matrix.
    let rounded = weight.to_precision(Precision::Int8).unwrap();
    let moved = rounded.gather_rows(&[2, 0, 1]).unwrap().scale_rows(&[2.0, -1.0, 0.5]).unwrap();
    let (back, before) = (moved.to_f32_vec().unwrap(), rounded.to_f32_vec().unwrap());
    assert_eq!(back[0], 2.0 * before[40]);
    assert_eq!(back[20], -before[0]);
    assert_eq!(back[59], 0.5 * before[39]);
}

#[test]
fn int8_needs_finite_weights_and_fitting_scales() {
    let bad = Tensor::from_values([2, 2], &[1.0, 2.0, f32::NAN, 0.0]);
    assert!(bad.to_precision(Precision::Int8).unwrap_err().to_string().contains("output 1"));
    let large = Tensor::from_values([2, 2], &[1.0, 2.0, 7e4, 0.0]);
    assert!(large.to_precision(Precision::F16).unwrap_err().to_string().contains("beyond half"));
    assert!(large.to_precision(Precision::Bf16).is_ok());
    let weight = Tensor::from_values([2, 2], &[1.0, 2.0, 3.0, 0.0]).to_precision(Precision::Int8).unwrap();
    assert!(weight.with_scales(vec![1.0]).is_err());
    assert!(weight.with_scales(vec![1.0, f32::INFINITY]).is_err());
    assert!(Tensor::from_values([1], &[1.0]).with_scales(vec![1.0]).is_err(), "not 8-bit");
}
