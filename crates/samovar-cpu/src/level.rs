//! Which SIMD instructions to use: detection, and the user's word.

use std::fmt;
use std::str::FromStr;

/// A set of SIMD instructions the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SimdLevel {
    /// x86-64 with AVX-512 F, BW, DQ and VL: 16 numbers at once.
    Avx512,
    /// x86-64 with AVX2, FMA and F16C: 8 numbers at once.
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
            SimdLevel::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "aarch64")]
            SimdLevel::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            SimdLevel::Scalar => true,
            #[allow(unreachable_patterns, reason = "the levels of other architectures")]
            _ => false,
        }
    }

    /// Whether this machine multiplies bfloat16 numbers beside the instructions of this level.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn has_bf16(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512 => self.is_available() && is_x86_feature_detected!("avx512bf16"),
            _ => false,
        }
    }

    /// The best level of this machine.
    pub fn detect() -> Self {
        Self::ALL.into_iter().find(|level| level.is_available()).unwrap_or(SimdLevel::Scalar)
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

/// How large products in f32 are computed. Small ones are added up in plain order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Products {
    /// Step by step along the depth.
    Plain,
    /// Two steps with one product and two additions (Winograd's inner product): up to a half faster where additions have
    /// units of their own; errors are one and a half times those of plain, more in rows with outliers side by side.
    Paired,
    /// From sums of blocks (Strassen's algorithm): an eighth less arithmetic; errors are three times those of plain.
    Strassen,
}

impl Products {
    /// All of them.
    pub const ALL: [Products; 3] = [Products::Plain, Products::Paired, Products::Strassen];

    /// The fastest on this machine, at a level that it has.
    pub fn detect(level: SimdLevel) -> Self {
        if level == SimdLevel::Avx512 && adds_beside_products() {
            Products::Paired
        } else {
            Products::Strassen
        }
    }
}

impl fmt::Display for Products {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Products::Plain => "plain",
            Products::Paired => "paired",
            Products::Strassen => "strassen",
        })
    }
}

impl FromStr for Products {
    type Err = CpuError;

    fn from_str(word: &str) -> Result<Self, CpuError> {
        let known = Self::ALL.into_iter().find(|products| products.to_string() == word);
        known.ok_or_else(|| CpuError::UnknownProducts(word.into()))
    }
}

/// Whether the processor has units for additions beside those for multiply-adds. AMD's have since Zen, the first of them
/// with AVX-512 included; Intel's units do both.
#[cfg(target_arch = "x86_64")]
fn adds_beside_products() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD"
}

#[cfg(not(target_arch = "x86_64"))]
fn adds_beside_products() -> bool {
    false
}

/// How 8-bit numbers are multiplied; with the [`SimdLevel`] this tells the instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Int8Level {
    /// Four products into one sum at once: AVX-512 VNNI, AVX-VNNI, NEON's dot product.
    Fours,
    /// Widened to 16 bits, two products into one sum: everything else.
    Pairs,
}

impl Int8Level {
    /// Both, the faster first.
    pub const ALL: [Int8Level; 2] = [Int8Level::Fours, Int8Level::Pairs];

    /// Whether this machine has the instructions beside those of `level`.
    pub fn is_available(self, level: SimdLevel) -> bool {
        match (self, level) {
            (Int8Level::Pairs, level) => level.is_available(),
            #[cfg(target_arch = "x86_64")]
            (Int8Level::Fours, SimdLevel::Avx512) => {
                level.is_available() && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            (Int8Level::Fours, SimdLevel::Avx2) => {
                level.is_available() && is_x86_feature_detected!("avxvnni")
            }
            #[cfg(target_arch = "aarch64")]
            (Int8Level::Fours, SimdLevel::Neon) => {
                level.is_available() && std::arch::is_aarch64_feature_detected!("dotprod")
            }
            _ => false,
        }
    }

    /// The better one of this machine at a level that it has.
    pub fn detect(level: SimdLevel) -> Self {
        if Int8Level::Fours.is_available(level) { Int8Level::Fours } else { Int8Level::Pairs }
    }

    /// What to call the instructions in reports.
    pub fn name(self, level: SimdLevel) -> &'static str {
        match (self, level) {
            (Int8Level::Fours, SimdLevel::Avx512) => "AVX-512 VNNI",
            (Int8Level::Fours, SimdLevel::Avx2) => "AVX-VNNI",
            (Int8Level::Fours, SimdLevel::Neon) => "NEON dot product",
            (Int8Level::Fours, SimdLevel::Scalar) => "none",
            (Int8Level::Pairs, SimdLevel::Avx512) => "AVX-512, 16-bit pairs",
            (Int8Level::Pairs, SimdLevel::Avx2) => "AVX2, 16-bit pairs",
            (Int8Level::Pairs, SimdLevel::Neon) => "NEON, 16-bit pairs",
            (Int8Level::Pairs, SimdLevel::Scalar) => "base instructions, 16-bit pairs",
        }
    }
}

/// Why a CPU backend could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CpuError {
    /// The word names no level.
    #[error("no SIMD level is called {0:?}; there are avx512, avx2, neon and scalar")]
    UnknownLevel(String),
    /// The word names no way to compute products.
    #[error("no way to compute products is called {0:?}; there are plain, paired and strassen")]
    UnknownProducts(String),
    /// This machine lacks the instructions.
    #[error("this machine has no {wanted} instructions; its best level is {best}")]
    UnavailableLevel {
        /// Level that was asked for.
        wanted: SimdLevel,
        /// What the machine has.
        best: SimdLevel,
    },
    /// This machine lacks the instructions on 8-bit numbers.
    #[error("this machine has no {}; int8 would run with {}", Int8Level::Fours.name(*.level), Int8Level::Pairs.name(*.level))]
    UnavailableInt8 {
        /// The level beside which they were asked for.
        level: SimdLevel,
    },
    /// More threads than any machine is served by.
    #[error("{0} threads are too many; choose at most {max}", max = crate::limits::MAX_THREADS)]
    TooManyThreads(usize),
    /// No memory for the scratch memory of the threads.
    #[error("there is no memory for the threads' scratch memory; choose fewer threads")]
    OutOfMemory,
    /// No memory to measure how fast it is copied.
    #[error("there is no memory to measure with: 128 MiB are copied to see how fast that is")]
    NoMemoryToMeasure,
    /// The system refused a thread.
    #[error("could not start a worker thread ({0}); choose fewer threads")]
    Thread(#[from] std::io::Error),
}
