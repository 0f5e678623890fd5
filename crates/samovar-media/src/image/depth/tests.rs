//! Every line of the table of rules.

use super::*;

fn of(samples: Samples, stated: Stated) -> (Vec<u8>, bool) {
    let (bytes, note) = to_eight_bits(samples, stated, None).unwrap();
    (bytes, note.is_some())
}

#[test]
fn twelve_bits_in_sixteen_came_out_dark() {
    assert_eq!(of(Samples::Sixteen(vec![0, 2048, 4080]), Stated::Nothing), (vec![0, 128, 255], true));
    assert_eq!(of(Samples::Sixteen(vec![0, 512, 1020]), Stated::Nothing), (vec![0, 128, 255], true));
    assert_eq!(of(Samples::Sixteen(vec![0, 8192, 16383]), Stated::Nothing), (vec![0, 128, 255], true));
    assert_eq!(of(Samples::Sixteen(vec![0, 7, 255]), Stated::Nothing), (vec![0, 7, 255], true));
}

#[test]
fn sixteen_bits_lose_their_low_byte_as_pil_does() {
    assert_eq!(of(Samples::Sixteen(vec![255, 256, 65535]), Stated::Nothing), (vec![0, 1, 255], false));
    assert_eq!(of(Samples::Sixteen(vec![0, 0]), Stated::Nothing), (vec![0, 0], false));
}

#[test]
fn stated_bits_are_no_guess() {
    assert_eq!(of(Samples::Sixteen(vec![0, 300, 600]), Stated::Bits(12)), (vec![0, 18, 37], false));
    // Spread over 16 bits, as the PNG standard asks.
    assert_eq!(of(Samples::Sixteen(vec![0, 65520]), Stated::Bits(12)), (vec![0, 255], false));
    assert_eq!(
        of(Samples::Sixteen(vec![0, 500, 1000]), Stated::Range(0.0, 1000.0)),
        (vec![0, 128, 255], false)
    );
}

#[test]
fn floats_to_255_became_white() {
    assert_eq!(of(Samples::Float(vec![0.0, 0.5, 1.0]), Stated::Nothing), (vec![0, 128, 255], false));
    assert_eq!(of(Samples::Float(vec![0.0, 127.6, 241.0]), Stated::Nothing), (vec![0, 128, 241], true));
    assert_eq!(of(Samples::Float(vec![-1.0, 0.0, 1.0]), Stated::Nothing), (vec![0, 128, 255], true));
    assert_eq!(of(Samples::Float(vec![0.0, 1.0]), Stated::Range(0.0, 2.0)), (vec![0, 128], false));
}

#[test]
fn heights_are_stretched_without_their_holes() {
    let heights = Samples::Integer(vec![845.0, 1184.0, 1523.0, -32768.0]);
    let (bytes, note) = to_eight_bits(heights, Stated::Nothing, Some(-32768.0)).unwrap();
    assert_eq!(bytes, [0, 128, 255, 0]);
    let note = note.unwrap();
    assert!(note.contains("from 845 to 1523") && note.contains("1 of 4 values"), "{note}");
}

#[test]
fn values_that_are_no_numbers_are_black() {
    let odd = vec![f32::NAN, f32::INFINITY, 0.5, f32::MIN, f32::MAX];
    let (bytes, _) = to_eight_bits(Samples::Float(odd), Stated::Nothing, None).unwrap();
    assert_eq!(bytes, [0, 0, 128, 0, 255]);
    assert_eq!(to_eight_bits(Samples::Float(vec![f32::NAN]), Stated::Nothing, None).unwrap().0, [0]);
    assert_eq!(of(Samples::Float(vec![7.0, 7.0]), Stated::Nothing).0, [0, 0]);
}
