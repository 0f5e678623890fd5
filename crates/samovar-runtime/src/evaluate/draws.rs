//! Numbers drawn from a name: the same on every machine and in every run.

/// SplitMix64.
pub(super) struct Draws(u64);

impl Draws {
    /// From the number of a name ([`super::fnv::fnv`]).
    pub(super) fn new(name: u64) -> Self {
        Self(name)
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..1.
    pub(super) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
