//! How far a result may be from the reference, by name and with the reason.

/// Allowed distance between a result and the reference. Operands of the generated cases are of the order of 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// Bit for bit: the operator only moves numbers.
    Exact,
    /// A handful of roundings per number: element-wise arithmetic, interpolation.
    Rounded,
    /// A polynomial instead of the exact function, and what arithmetic surrounds it. Measured: 3e-7 for GELU.
    Function,
    /// A sum of so many products, in another order and in f32 where the reference has f64. The error of such a sum
    /// of numbers of order 1 grows with the number of terms at worst; measured it is below a tenth of this.
    Accumulated {
        /// Products per result.
        terms: usize,
    },
    /// The same in a large product, which may be made of products of sums of operands (Strassen's algorithm): what
    /// cancels leaves errors of the size of the operands behind. Measured over whole products: 3 epsilons times the root
    /// of the number of terms on average, ten times that at worst.
    Recombined {
        /// Products per result.
        terms: usize,
    },
    /// A sum of so many products of 8-bit integers, which is exact, on its way back to f32: a few roundings, relative to
    /// what the sum of that many numbers of order 1 is likely to be.
    Dequantised {
        /// Products per result.
        terms: usize,
    },
    /// Statistics over a row of so many numbers, and a division by their deviation.
    Normalised {
        /// Numbers in a row.
        channels: usize,
    },
    /// A softmax-weighted mean: the error of logits of so many terms becomes a relative error of the weights.
    Softmax {
        /// Products per logit.
        terms: usize,
    },
    /// The same where queries, keys, values and weights are rounded to 8 significant bits: by 2⁻⁹ each at most, which in
    /// a logit of so many products of order 1 grows with their root.
    ReducedSoftmax {
        /// Products per logit.
        terms: usize,
    },
}

impl Tolerance {
    /// Largest allowed distance from an expected number.
    pub fn bound(self, expected: f32) -> f32 {
        let scale = expected.abs().max(1.0);
        match self {
            Tolerance::Exact => 0.0,
            Tolerance::Rounded => 4.0 * f32::EPSILON * scale,
            Tolerance::Function => 1e-6 * scale,
            Tolerance::Accumulated { terms } => (8.0 + terms as f32 / 4.0) * f32::EPSILON * scale,
            Tolerance::Recombined { terms } => {
                (8.0 + terms as f32 / 4.0 + 64.0 * (terms as f32).sqrt()) * f32::EPSILON * scale
            }
            Tolerance::Dequantised { terms } => (8.0 + (terms as f32).sqrt()) * f32::EPSILON * scale,
            Tolerance::Normalised { channels } => (32.0 + channels as f32 / 4.0) * f32::EPSILON * scale,
            Tolerance::Softmax { terms } => (32.0 + terms as f32) * f32::EPSILON * scale,
            Tolerance::ReducedSoftmax { terms } => (2.0 + (terms as f32).sqrt()) / 512.0 * scale,
        }
    }

    /// Compares all numbers.
    ///
    /// # Errors
    /// The worst place, in words.
    pub fn check(self, expected: &[f32], found: &[f32]) -> Result<(), String> {
        if expected.len() != found.len() {
            return Err(format!("{} numbers instead of {}", found.len(), expected.len()));
        }
        let mut worst: Option<(f32, usize)> = None;
        for (i, (&e, &f)) in expected.iter().zip(found).enumerate() {
            if e.to_bits() == f.to_bits() || (e.is_nan() && f.is_nan()) {
                continue;
            }
            // A distance that is not a number fails too.
            let excess = (e - f).abs() / self.bound(e).max(f32::MIN_POSITIVE);
            let excess = if excess.is_nan() { f32::INFINITY } else { excess };
            if excess > 1.0 && worst.is_none_or(|(most, _)| excess > most) {
                worst = Some((excess, i));
            }
        }
        match worst {
            None => Ok(()),
            Some((_, i)) => {
                let (e, f) = (expected[i], found[i]);
                let distance = (e - f).abs();
                Err(format!(
                    "number {i}: {f} instead of {e}, off by {distance:e}, allowed {:e}",
                    self.bound(e)
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tolerance;

    #[test]
    fn what_is_not_a_number_is_not_near_one() {
        assert!(Tolerance::Softmax { terms: 1000 }.check(&[1.0], &[f32::NAN]).is_err());
        assert!(Tolerance::Exact.check(&[1.0, f32::NAN], &[1.0, f32::NAN]).is_ok());
        assert!(Tolerance::Exact.check(&[1.0], &[1.000_000_1]).is_err());
        assert!(Tolerance::Rounded.check(&[1.0], &[1.000_000_1]).is_ok());
        assert!(Tolerance::Rounded.check(&[1.0], &[]).is_err());
    }
}
