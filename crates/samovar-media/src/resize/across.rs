//! The rows' pass: one row of pixels resized across.
//!
//! Three channels side by side suit no vector unit, so on x86-64 with AVX2 four pixels are taken at a time and
//! shuffled into pairs per channel, which one instruction multiplies and adds. It multiplies 16-bit numbers; weights
//! have 23 bits, so they go in two parts, and the sums are put together at the end: the same integers to the bit.

use super::coefficients::{Coefficients, PRECISION_BITS};

/// Bytes behind a row's pixels that may be read (and are given no weight).
pub(super) const ROW_SLACK: usize = 64;

/// Half of the unit that is rounded away.
pub(super) const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Weights along a row, in the forms that the loops want.
pub(super) struct Across {
    coefficients: Coefficients,
    #[cfg(target_arch = "x86_64")]
    avx2: Option<avx2::Weights>,
}

impl Across {
    pub(super) fn new(coefficients: Coefficients) -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            avx2: avx2::Weights::new(&coefficients),
            coefficients,
        }
    }

    /// `source` has [`ROW_SLACK`] bytes more than its pixels.
    pub(super) fn resize(&self, source: &[u8], output: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(weights) = &self.avx2 {
            return weights.resize(&self.coefficients, source, output);
        }
        plain(&self.coefficients, source, output);
    }
}

/// The formula, for any machine.
fn plain(coefficients: &Coefficients, source: &[u8], output: &mut [u8]) {
    for (position, pixel) in output.chunks_exact_mut(3).enumerate() {
        let (start, weights) = coefficients.at(position);
        let mut sums = [HALF; 3];
        for (taps, &weight) in source[start * 3..].chunks_exact(3).zip(weights) {
            for channel in 0..3 {
                sums[channel] += i32::from(taps[channel]) * weight;
            }
        }
        for channel in 0..3 {
            pixel[channel] = (sums[channel] >> PRECISION_BITS).clamp(0, 255) as u8;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    #![allow(
        unsafe_code,
        reason = "vector loads and stores; every one is of a slice whose length was checked"
    )]

    use std::arch::x86_64::*;

    use super::{Coefficients, HALF, PRECISION_BITS};

    /// Bits of the lower part of a weight.
    const LOW_BITS: u32 = 12;

    /// Taps beyond which the sums of the lower parts could overflow 32 bits.
    const MAX_TAPS: usize = 2000;

    /// Per output position, for every four taps: lower parts of taps 0, 1 and 2, 3, higher parts of 0, 1 and 2, 3;
    /// each pair in the halves of one number.
    pub(super) struct Weights {
        groups: Vec<[i32; 4]>,
        groups_per_position: usize,
    }

    impl Weights {
        /// `None` if this machine or these weights do not suit.
        pub(super) fn new(coefficients: &Coefficients) -> Option<Self> {
            if !is_x86_feature_detected!("avx2") || coefficients.max_taps() > MAX_TAPS {
                return None;
            }
            let groups_per_position = coefficients.max_taps().div_ceil(4);
            let mut groups = vec![[0; 4]; groups_per_position * coefficients.len()];
            for position in 0..coefficients.len() {
                for (tap, &weight) in coefficients.at(position).1.iter().enumerate() {
                    let group = &mut groups[position * groups_per_position + tap / 4];
                    let (pair, half) = (tap % 4 / 2, tap % 2 * 16);
                    group[pair] |= (weight & ((1 << LOW_BITS) - 1)) << half;
                    group[pair + 2] |= (weight >> LOW_BITS) << half;
                }
            }
            Some(Self { groups, groups_per_position })
        }

        pub(super) fn resize(&self, coefficients: &Coefficients, source: &[u8], output: &mut [u8]) {
            // SAFETY: there is no `Weights` on a machine without AVX2.
            unsafe { self.resize_avx2(coefficients, source, output) }
        }

        #[target_feature(enable = "avx2")]
        fn resize_avx2(&self, coefficients: &Coefficients, source: &[u8], output: &mut [u8]) {
            // Four pixels, R0 G0 B0 R1 … B3, in both halves; from the lower half R0 R1 G0 G1 B0 B1, from the upper
            // R2 R3 G2 G3 B2 B3, each widened to 16 bits (a negative index gives zero).
            let pairs = _mm256_setr_epi8(
                0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, //
                6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
            );
            let low_parts = _mm256_setr_epi32(
                0x03020100, 0x03020100, 0x03020100, 0x03020100, 0x07060504, 0x07060504, 0x07060504,
                0x07060504,
            );
            let high_parts = _mm256_add_epi8(low_parts, _mm256_set1_epi8(8));
            for (position, pixel) in output.chunks_exact_mut(3).enumerate() {
                let (start, weights) = coefficients.at(position);
                let groups = &self.groups[position * self.groups_per_position..][..weights.len().div_ceil(4)];
                let pixels = &source[start * 3..][..groups.len() * 12 + 4];
                let mut low = _mm256_setzero_si256();
                let mut high = _mm256_setzero_si256();
                for (index, group) in groups.iter().enumerate() {
                    // SAFETY: 16 bytes from `index * 12` on lie within `pixels`; a group is 16 bytes.
                    let (taps, group) = unsafe {
                        (
                            _mm_loadu_si128(pixels.as_ptr().add(index * 12).cast()),
                            _mm_loadu_si128(group.as_ptr().cast()),
                        )
                    };
                    let taps = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(taps), pairs);
                    let group = _mm256_broadcastsi128_si256(group);
                    let low_weights = _mm256_shuffle_epi8(group, low_parts);
                    let high_weights = _mm256_shuffle_epi8(group, high_parts);
                    low = _mm256_add_epi32(low, _mm256_madd_epi16(taps, low_weights));
                    high = _mm256_add_epi32(high, _mm256_madd_epi16(taps, high_weights));
                }
                let sum = _mm256_add_epi32(low, _mm256_slli_epi32::<{ LOW_BITS as i32 }>(high));
                let sum = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
                let rounded =
                    _mm_srai_epi32::<{ PRECISION_BITS as i32 }>(_mm_add_epi32(sum, _mm_set1_epi32(HALF)));
                let words = _mm_packs_epi32(rounded, rounded);
                let bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words)).to_le_bytes();
                pixel.copy_from_slice(&bytes[..3]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
