//! Attention that is wrong by a little does not pass for rounded.

use std::sync::Arc;

use samovar_tensor::{Device, Pool, Reference, Result, Tensor};

use super::*;

type Call = Box<dyn Fn(&Device, Option<Mistake>) -> Result<Tensor>>;

/// A case at reduced precision, whatever its layout.
struct Reduced {
    name: String,
    tolerance: Tolerance,
    has_bias: bool,
    /// All keys are one sequence.
    has_last_key: bool,
    call: Call,
}

/// Those in which a mistake makes a difference: one key has all the weight whatever it scores.
fn cases() -> Vec<Reduced> {
    let sequences = reduced_sequences().into_iter().filter(|case| case.keys > 1).map(|case| {
        let has_bias = case.sizes.bias != BiasCase::None;
        Reduced {
            name: format!("{case:?}"),
            tolerance: tolerance(case.sizes, sequence_scale(case.sizes)),
            has_bias,
            has_last_key: case.key_batch == 1 && !has_bias,
            call: Box::new(move |device, mistake| case.call(device, &mut Random::new("a mistake"), mistake)),
        }
    });
    let windows = reduced_windows().into_iter().map(|case| Reduced {
        name: format!("{case:?}"),
        tolerance: tolerance(case.sizes, WINDOW_SCALE),
        has_bias: case.sizes.bias != BiasCase::None,
        has_last_key: false,
        call: Box::new(move |device, mistake| case.call(device, &mut Random::new("a mistake"), mistake)),
    });
    sequences.chain(windows).collect()
}

/// The cases a mistake concerns, and the names of those in which it passes for rounding.
fn passes(mistake: Mistake, concerns: fn(&Reduced) -> bool) -> (usize, Vec<String>) {
    let device = Device::new(Arc::new(Reference), Pool::new(usize::MAX));
    let cases: Vec<_> = cases().into_iter().filter(concerns).collect();
    let passes = |case: &&Reduced| {
        let [right, wrong] = [None, Some(mistake)].map(|mistake| (case.call)(&device, mistake).unwrap());
        assert!(case.tolerance.check(right.f32().unwrap(), right.f32().unwrap()).is_ok(), "{}", case.name);
        case.tolerance.check(right.f32().unwrap(), wrong.f32().unwrap()).is_ok()
    };
    (cases.len(), cases.iter().filter(passes).map(|case| case.name.clone()).collect())
}

#[test]
fn a_key_that_is_dropped_is_found_in_every_case() {
    let (cases, passed) = passes(Mistake::KeyDropped, |case| case.has_last_key);
    assert!(cases > 5 && passed.is_empty(), "{passed:#?}");
}

#[test]
fn a_bias_that_is_shifted_by_a_row_is_found_in_every_case() {
    let (cases, passed) = passes(Mistake::BiasShifted, |case| case.has_bias);
    assert!(cases > 30 && passed.is_empty(), "{passed:#?}");
}

/// Where padding or the bias decides, scores of products hardly count; the others find it.
#[test]
fn scores_that_are_one_per_cent_too_large_are_found_in_two_cases_of_three() {
    let (cases, passed) = passes(Mistake::ScaleOff, |_| true);
    assert!(cases > 50 && 3 * passed.len() < cases, "{} of {cases} pass: {passed:#?}", passed.len());
}
