//! Seeded random numbers, the same on every machine.

use samovar_tensor::{Device, Result, Shape, Tensor};

/// A generator of numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator that always yields the same numbers for a name.
    pub fn new(name: &str) -> Self {
        // FNV-1a.
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in −1..1.
    pub fn number(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// A whole number in `low..=high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + (self.bits() % (high - low + 1) as u64) as usize
    }

    /// One of the choices.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.between(0, choices.len() - 1)]
    }

    /// A tensor of numbers in −scale..scale.
    pub fn tensor(&mut self, shape: impl Into<Shape>, scale: f32) -> Tensor {
        let shape = shape.into();
        let values: Vec<f32> = (0..shape.len()).map(|_| self.number() * scale).collect();
        Tensor::from_values(shape, &values)
    }

    /// The same on a device.
    ///
    /// # Errors
    /// As [`Device::upload`].
    pub fn on(&mut self, device: &Device, shape: impl Into<Shape>, scale: f32) -> Result<Tensor> {
        device.load(&self.tensor(shape, scale))
    }
}
