//! Which SIMD instructions to use: detection, and the user's word.

use std::fmt;
use std::str::FromStr;

/// Environment variable that forces a SIMD level.
const VARIABLE: &str = "SAMOVAR_SIMD";

/// A set of SIMD instructions the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SimdLevel {
    /// x86-64 with AVX-512 F, BW, DQ and VL: 16 numbers at once.
    Avx512,
    /// x86-64 with AVX2 and FMA: 8 numbers at once.
    Avx2,
    /// 64-bit ARM: 4 numbers at once.
    Neon,
    /// Plain Rust; what the compiler makes of it for the base instruction set.
    Scalar,
}

impl SimdLevel {
    /// All levels, best first.
    pub const ALL: [SimdLevel; 4] = [SimdLevel::Avx512, SimdLevel::Avx2, SimdLevel::Neon, SimdLevel::Scalar];

    /// Whether this machine has the instructions.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512 => {
                SimdLevel::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "aarch64")]
            SimdLevel::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            SimdLevel::Scalar => true,
            #[allow(unreachable_patterns, reason = "the levels of other architectures")]
            _ => false,
        }
    }

    /// The best level of this machine.
    pub fn detect() -> Self {
        Self::ALL.into_iter().find(|level| level.is_available()).unwrap_or(SimdLevel::Scalar)
    }

    /// The level `SAMOVAR_SIMD` asks for, or `None` when the variable is unset or empty.
    ///
    /// Kernels never look at the environment; whoever builds [`crate::CpuOptions`] does, through this function.
    ///
    /// # Errors
    /// [`CpuError::UnknownLevel`] for another word.
    pub fn from_environment() -> Result<Option<Self>, CpuError> {
        match std::env::var(VARIABLE) {
            Ok(word) if !word.is_empty() => word.parse().map(Some),
            _ => Ok(None),
        }
    }
}

impl fmt::Display for SimdLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SimdLevel::Avx512 => "avx512",
            SimdLevel::Avx2 => "avx2",
            SimdLevel::Neon => "neon",
            SimdLevel::Scalar => "scalar",
        })
    }
}

impl FromStr for SimdLevel {
    type Err = CpuError;

    fn from_str(word: &str) -> Result<Self, CpuError> {
        let known = Self::ALL.into_iter().find(|level| level.to_string() == word);
        known.ok_or_else(|| CpuError::UnknownLevel(word.into()))
    }
}

/// Why a CPU backend could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CpuError {
    /// The word names no level.
    #[error("no SIMD level is called {0:?}; {VARIABLE} takes avx512, avx2, neon or scalar")]
    UnknownLevel(String),
    /// This machine lacks the instructions.
    #[error("this machine has no {wanted} instructions; its best level is {best}")]
    UnavailableLevel {
        /// Level that was asked for.
        wanted: SimdLevel,
        /// What the machine has.
        best: SimdLevel,
    },
    /// The system refused a thread.
    #[error("could not start a worker thread")]
    Thread(#[from] std::io::Error),
}
