//! Weights for tests: random numbers that depend on a tensor's name, some of them set, or of the model mirrored.

use std::collections::BTreeMap;

use samovar_tensor::{Device, Shape, Tensor};
use samovar_weights::WeightSource;

/// Numbers between −1 and 1 that depend on a name.
pub(crate) fn random(name: &str, shape: &[usize]) -> Tensor {
    let mut state = name.bytes().fold(1u32, |hash, byte| hash.wrapping_mul(31) ^ u32::from(byte));
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::from_values(shape, &values)
}

/// The same on a device.
pub(crate) fn random_on(device: &Device, name: &str, shape: &[usize]) -> Tensor {
    device.load(&random(name, shape)).expect("memory")
}

/// Swaps two neighbouring axes of `[outer, rows, columns, inner]`.
pub(crate) fn swapped(values: &[f32], [rows, columns, inner]: [usize; 3]) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for plane in values.chunks_exact(rows * columns * inner) {
        for column in 0..columns {
            for row in 0..rows {
                out.extend(&plane[(row * columns + column) * inner..][..inner]);
            }
        }
    }
    out
}

/// Random weights of any name and shape.
#[derive(Default)]
pub(crate) struct Weights {
    /// Those that are not random.
    pub(crate) set: BTreeMap<String, Vec<f32>>,
    /// Whether they are those of the model that sees all pictures with x and y exchanged.
    pub(crate) transposed: bool,
}

impl WeightSource for Weights {
    fn tensor(&self, name: &str, shape: &[usize]) -> samovar_weights::Result<Tensor> {
        let tensor = match self.set.get(name) {
            Some(values) => Tensor::from_values(shape, values),
            None => random(name, shape),
        };
        let values = || tensor.to_f32_vec().expect("f32");
        Ok(match *shape {
            [_, _, rows, columns] if self.transposed => {
                Tensor::from_values(shape, &swapped(&values(), [rows, columns, 1]))
            }
            [2, columns] if self.transposed && name.ends_with("positional_embedding") => {
                Tensor::from_values(shape, &[&values()[columns..], &values()[..columns]].concat())
            }
            _ => tensor,
        })
    }

    fn shape(&self, _: &str) -> Option<Shape> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn origin(&self) -> String {
        "numbers".into()
    }
}

/// Checks that numbers agree but for the order of their sums.
pub(crate) fn assert_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(difference < 2e-4 * expected.abs().max(1.0), "{index}: {found} instead of {expected}");
    }
}
