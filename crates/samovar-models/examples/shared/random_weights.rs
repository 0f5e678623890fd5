//! Models of full size without their files: weights of the right shapes and sizes.

use samovar_tensor::{Shape, Tensor};
use samovar_weights::WeightSource;

/// Weights of any name and shape.
pub struct RandomWeights;

impl WeightSource for RandomWeights {
    fn contains(&self, _: &str) -> bool {
        true
    }

    fn is_open(&self) -> bool {
        true
    }

    fn shape(&self, _: &str) -> Option<Shape> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn origin(&self) -> String {
        "random".into()
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> samovar_weights::Result<Tensor> {
        let inputs: usize = shape[1..].iter().product();
        let scale = if shape.len() > 1 { (3.0 / inputs as f32).sqrt() } else { 0.5 };
        let shift = if name.contains("norm") && name.ends_with("weight") { 1.0 } else { 0.0 };
        Ok(random(shape, scale, shift))
    }
}

/// Numbers in ±`scale`, around `shift`.
pub fn random(shape: &[usize], scale: f32, shift: f32) -> Tensor {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale + shift
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::from_values(shape, &values)
}
