//! The vector loop against the formula.

use super::*;
use crate::golden;

#[test]
fn wide_and_plain_loops_agree() {
    for (input, output) in [(1, 9), (9, 1), (50, 49), (1000, 31), (31, 1000), (5000, 2), (5000, 3)] {
        let mut source = golden::noise(input, 1, input, 3);
        source.resize(source.len() + ROW_SLACK, 0xaa);
        let across = Across::new(Coefficients::triangle(input, output));
        let (mut wide, mut scalar) = (vec![0; output as usize * 3], vec![0; output as usize * 3]);
        across.resize(&source, &mut wide);
        plain(&across.coefficients, &source, &mut scalar);
        assert_eq!(wide, scalar, "{input} -> {output}");
    }
}

#[test]
fn white_stays_white_at_any_scale() {
    // The largest sums there are.
    for (input, output) in [(3000, 3), (3000, 2), (60_000, 1), (4, 4000)] {
        let source = vec![255; input as usize * 3 + ROW_SLACK];
        let mut resized = vec![0; output as usize * 3];
        Across::new(Coefficients::triangle(input, output)).resize(&source, &mut resized);
        assert!(resized.iter().all(|&value| value == 255), "{input} -> {output}");
    }
}
