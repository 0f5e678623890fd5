//! The weights of Pillow's triangle filter, in its fixed point.

/// Fractional bits of a weight: 32, less 8 for the pixel and 2 so that sums cannot overflow.
pub(super) const PRECISION_BITS: u32 = 32 - 8 - 2;

/// For every output position along one axis: where its input pixels start and their weights.
pub(super) struct Coefficients {
    /// First input pixel, per output position.
    starts: Vec<u32>,
    /// Number of input pixels, per output position.
    counts: Vec<u32>,
    /// `max_taps` weights per output position, the unused ones zero.
    weights: Vec<i32>,
    max_taps: usize,
}

impl Coefficients {
    /// Weights from `input` to `output` pixels, the very arithmetic of Pillow's `precompute_coeffs` and
    /// `normalize_coeffs_8bpc` for its bilinear filter, whole input.
    pub(super) fn triangle(input: u32, output: u32) -> Self {
        let scale = f64::from(input) / f64::from(output);
        let filter_scale = scale.max(1.0);
        let support = filter_scale; // the triangle reaches one (scaled) pixel to each side
        let max_taps = support.ceil() as usize * 2 + 1;
        let mut made = Self {
            starts: Vec::with_capacity(output as usize),
            counts: Vec::with_capacity(output as usize),
            weights: vec![0; max_taps * output as usize],
            max_taps,
        };
        let mut exact = vec![0.0f64; max_taps];
        for position in 0..output {
            let centre = (f64::from(position) + 0.5) * scale;
            let inverse_scale = 1.0 / filter_scale;
            // C's truncation towards zero, then its clamp: exactly what `as u32` does.
            let start = (centre - support + 0.5) as u32;
            let end = ((centre + support + 0.5) as u32).min(input);
            let count = (end - start) as usize;
            let mut sum = 0.0;
            for tap in 0..count {
                let distance = (tap as f64 + f64::from(start) - centre + 0.5) * inverse_scale;
                exact[tap] = (1.0 - distance.abs()).max(0.0);
                sum += exact[tap];
            }
            let weights = &mut made.weights[position as usize * max_taps..][..count];
            for (weight, exact) in weights.iter_mut().zip(&exact) {
                let normalised = if sum != 0.0 { exact / sum } else { *exact };
                *weight = (0.5 + normalised * f64::from(1 << PRECISION_BITS)) as i32;
            }
            made.starts.push(start);
            made.counts.push(count as u32);
        }
        made
    }

    /// First input pixel and weights of an output position.
    #[inline(always)]
    pub(super) fn at(&self, position: usize) -> (usize, &[i32]) {
        let weights = &self.weights[position * self.max_taps..][..self.counts[position] as usize];
        (self.starts[position] as usize, weights)
    }

    /// Number of output positions.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Most input pixels any output position takes.
    pub(super) fn max_taps(&self) -> usize {
        self.max_taps
    }
}
