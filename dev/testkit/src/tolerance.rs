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
    /// A sum of so many products of numbers in −1..1, of which one factor was rounded to so many significant bits before: what PyTorch does
    /// with a model in 16 bits. Rounding is off by 0.4 units of the last bit on average, a sum by that times a third of the
    /// root of the number of terms; this is more than seven times as much.
    RoundedOperands {
        /// Products per result.
        terms: usize,
        /// 8 for bfloat16, 11 for half precision.
        significant_bits: i32,
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
    /// The same where queries, keys, values and weights are rounded to 8 significant bits, by 2⁻⁹ each at most. A mean of
    /// many values is small, and as their own signs do, those of their errors cancel: so errors are measured by the root mean
    /// square of the expected numbers, which says how many keys they are a mean of. [`Tolerance::check`] looks at all numbers
    /// together: attention that is wrong by a little is so everywhere.
    ReducedSoftmax {
        /// Standard deviation of what products of rounded numbers are in a logit, with the scale.
        spread: f64,
    },
}

/// Errors of [`Tolerance::ReducedSoftmax`] relative to the root mean square of the expected numbers: the root of their own
/// mean square from weights and values, and from logits of spread 1. Measured with bfloat16 over all cases, both together
/// are 0.0011 to 0.0033, a seventh below what is allowed at the nearest; scores that are 1 % too large make 0.0034 of their
/// own at a spread of a third, and 0.015 at 1.3.
const REDUCED_ERRORS: [f64; 2] = [0.003, 0.0024];

/// The largest of these errors; measured, 0.024.
const LARGEST_REDUCED_ERROR: f64 = 0.035;

impl Tolerance {
    /// Largest allowed distance from an expected number, looked at alone.
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
            Tolerance::RoundedOperands { terms, significant_bits } => {
                Tolerance::Accumulated { terms }.bound(expected)
                    + (terms as f32).sqrt() * 2f32.powi(-significant_bits)
            }
            Tolerance::Normalised { channels } => (32.0 + channels as f32 / 4.0) * f32::EPSILON * scale,
            Tolerance::Softmax { terms } => (32.0 + terms as f32) * f32::EPSILON * scale,
            // What a single value among others may be rounded by; `check` says more.
            Tolerance::ReducedSoftmax { .. } => scale / 128.0,
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
        if let Tolerance::ReducedSoftmax { spread } = self {
            return check_reduced(spread, expected, found);
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

/// Errors relative to the root mean square of what is expected: the root of their mean square, and the largest.
fn relative_errors(expected: &[f32], found: &[f32]) -> [f64; 2] {
    let size = expected.iter().map(|&e| f64::from(e).powi(2)).sum::<f64>().max(f64::MIN_POSITIVE);
    let errors = || expected.iter().zip(found).map(|(&e, &f)| (f64::from(e) - f64::from(f)).abs());
    // A maximum would forget what is not a number.
    let largest = errors().fold(0.0, |largest, error| if error <= largest { largest } else { error });
    let mean = (size / expected.len().max(1) as f64).sqrt();
    [(errors().map(|error| error * error).sum::<f64>() / size).sqrt(), largest / mean]
}

fn check_reduced(spread: f64, expected: &[f32], found: &[f32]) -> Result<(), String> {
    if expected.is_empty() {
        return Ok(());
    }
    let [mean, largest] = relative_errors(expected, found);
    let [from_weights, from_logits] = REDUCED_ERRORS;
    let allowed = from_weights.hypot(from_logits * spread);
    // An error that is not a number fails too.
    if mean <= allowed && largest <= LARGEST_REDUCED_ERROR {
        return Ok(());
    }
    Err(format!(
        "errors of {mean:.2e} (allowed {allowed:.2e}), at most {largest:.2e} (allowed {LARGEST_REDUCED_ERROR:.2e}), relative \
         to the root mean square of what is expected"
    ))
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
        let reduced = Tolerance::ReducedSoftmax { spread: 1.0 };
        assert!(reduced.check(&[1.0, 0.5], &[1.0, f32::NAN]).is_err());
        assert!(reduced.check(&[1.0, 0.5], &[1.001, 0.5]).is_ok());
        assert!(reduced.check(&[1.0, 0.5], &[1.01, 0.5]).is_err());
        assert!(reduced.check(&[0.0], &[1e-30]).is_err());
    }

    #[test]
    fn rounded_operands_are_told_from_a_product_that_is_missing() {
        for (significant_bits, allowed) in [(8, 0.03), (11, 0.004)] {
            let rounded = Tolerance::RoundedOperands { terms: 100, significant_bits };
            assert!(rounded.check(&[1.0], &[1.0 + allowed]).is_ok());
            // The mean size of a product of two numbers in −1..1 is a quarter.
            assert!(rounded.check(&[1.0], &[1.25]).is_err());
            assert!(rounded.check(&[1.0], &[1.0 + 2.0 * allowed]).is_err());
        }
    }
}
