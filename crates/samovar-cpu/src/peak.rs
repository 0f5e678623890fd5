//! What the machine could do at most: the yardstick of the profiler and the benches.

use std::time::{Duration, Instant};

use crate::simd::Simd;
use crate::simd::dot::Dot;
use crate::simd::product::Product;
use crate::threads::Threads;

/// Independent sums; enough to hide the latency of a multiply-add (4 cycles, two at a time), few enough for the
/// registers of every instruction set.
const SUMS: usize = 10;

/// Multiply-adds of each sum in one burst.
const LENGTH: usize = 200_000;

/// Bytes of one of the two arrays that are copied: larger than most caches, as the maps of an encoder are.
const COPIED_BYTES: usize = 64 << 20;

/// What this machine does at most, on all threads of a backend together, as measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceilings {
    /// Multiply-adds of f32 in registers, two operations each, per second.
    pub f32_per_s: f64,
    /// Those of pairs of bf16, where the machine has them.
    pub bf16_per_s: Option<f64>,
    /// Those of 8-bit integers.
    pub int8_per_s: f64,
    /// Bytes read and written per second while copying memory.
    pub bytes_per_s: f64,
    /// Seconds of handing work that is nothing to all threads.
    pub hand_over_s: f64,
}

impl Ceilings {
    /// Bytes of memory that measuring takes.
    pub const BYTES: usize = 2 * COPIED_BYTES;
}

/// Operations per second, the best burst within about `limit` by a clock in seconds; `burst` does `operations`.
fn best(operations: f64, limit: Duration, clock: impl Fn() -> f64, burst: impl Fn()) -> f64 {
    let start = Instant::now();
    let mut best = 0.0f64;
    while best == 0.0 || start.elapsed() < limit {
        let began = clock();
        burst();
        // A clock may be coarser than a short burst.
        best = best.max(operations / (clock() - began).max(1e-9));
    }
    best
}

/// As [`peak`], of 8-bit integers.
pub(crate) fn int8_peak<D: Dot>(threads: &Threads, d: D, limit: Duration, clock: impl Fn() -> f64) -> f64 {
    let operations = 2 * D::S::LANES * D::GROUP * SUMS * LENGTH * threads.count();
    best(operations as f64, limit, clock, || {
        threads.run(threads.count(), u64::MAX, |_, scratch| {
            let [to] = scratch.split([D::S::LANES]);
            // Zeros are as long in coming as other numbers, and are valid whatever a machine's form of an activation is.
            let (numbers, starts) = (std::hint::black_box([0i8; 256]), [0i32; 64]);
            d.vectorize(
                #[inline(always)]
                || {
                    // SAFETY: a vector has 16 lanes at most, each with 4 numbers of at most 2 bytes.
                    let (x, w) =
                        unsafe { (d.activations(numbers.as_ptr().cast()), d.weights(numbers.as_ptr())) };
                    // SAFETY: as many numbers as the longest vector has lanes.
                    let mut sums = [unsafe { d.multiply(starts.as_ptr(), 1) }; SUMS];
                    for _ in 0..LENGTH {
                        for sum in &mut sums {
                            *sum = d.dot(*sum, x, w);
                        }
                    }
                    for sum in sums {
                        // SAFETY: a whole vector.
                        unsafe { d.simd().store(to.as_mut_ptr(), d.floats(sum)) };
                        std::hint::black_box(&mut *to);
                    }
                },
            );
        });
    })
}

/// As [`peak`], of numbers narrower than a lane.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no other machine has such products yet"))]
pub(crate) fn narrow_peak<P: Product>(
    threads: &Threads,
    p: P,
    limit: Duration,
    clock: impl Fn() -> f64,
) -> f64 {
    let operations = 2 * P::S::LANES * P::GROUP * SUMS * LENGTH * threads.count();
    best(operations as f64, limit, clock, || {
        threads.run(threads.count(), u64::MAX, |_, scratch| {
            let [to] = scratch.split([P::S::LANES]);
            p.vectorize(
                #[inline(always)]
                || {
                    let s = p.simd();
                    let mut sums = [s.splat(1.0); SUMS];
                    let (x, y) = (s.splat(std::hint::black_box(0.999)), s.splat(std::hint::black_box(1e-3)));
                    for _ in 0..LENGTH {
                        for sum in &mut sums {
                            *sum = p.dot(*sum, x, y);
                        }
                    }
                    for sum in sums {
                        // SAFETY: a whole vector.
                        unsafe { s.store(to.as_mut_ptr(), sum) };
                        std::hint::black_box(&mut *to);
                    }
                },
            );
        });
    })
}

/// Bytes per second that all threads together read and write while they copy; `None` where there is no memory for it.
pub(crate) fn bandwidth(threads: &Threads, limit: Duration, clock: impl Fn() -> f64) -> Option<f64> {
    let numbers = COPIED_BYTES / size_of::<f32>();
    let array = || -> Option<Vec<f32>> {
        let mut array = Vec::new();
        array.try_reserve_exact(numbers).ok()?;
        array.resize(numbers, 1.0);
        Some(array)
    };
    let (from, mut to) = (array()?, array()?);
    let part = numbers.div_ceil(threads.count());
    let start = Instant::now();
    let mut best = 0.0f64;
    while best == 0.0 || start.elapsed() < limit {
        let began = clock();
        threads.run_each(to.chunks_mut(part).zip(from.chunks(part)), u64::MAX, |_, (to, from)| {
            to.copy_from_slice(from);
        });
        std::hint::black_box(&mut to);
        best = best.max((2 * COPIED_BYTES) as f64 / (clock() - began).max(1e-9));
    }
    Some(best)
}

/// Operations per second of multiply-adds in registers on all threads, the best burst within about `limit` by a clock
/// in seconds.
pub(crate) fn peak<S: Simd>(threads: &Threads, s: S, limit: Duration, clock: impl Fn() -> f64) -> f64 {
    let operations = (2 * S::LANES * SUMS * LENGTH * threads.count()) as f64;
    best(operations, limit, clock, || {
        threads.run(threads.count(), u64::MAX, |_, scratch| {
            let [to] = scratch.split([S::LANES]);
            s.vectorize(
                #[inline(always)]
                || {
                    let mut sums = [s.splat(1.0); SUMS];
                    let (x, y) = (s.splat(std::hint::black_box(0.999)), s.splat(std::hint::black_box(1e-3)));
                    for _ in 0..LENGTH {
                        for sum in &mut sums {
                            *sum = s.fma(*sum, x, y);
                        }
                    }
                    for sum in sums {
                        // SAFETY: a whole vector. Storing keeps the compiler from dropping the sums.
                        unsafe { s.store(to.as_mut_ptr(), sum) };
                        std::hint::black_box(&mut *to);
                    }
                },
            );
        });
    })
}
