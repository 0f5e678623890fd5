//! What the machine could do at most: the yardstick of the profiler and the benches.

use std::time::{Duration, Instant};

use crate::simd::Simd;
use crate::threads::Threads;

/// Independent sums; enough to hide the latency of a multiply-add (4 cycles, two at a time), few enough for the
/// registers of every instruction set.
const SUMS: usize = 10;

/// Multiply-adds of each sum in one burst.
const LENGTH: usize = 200_000;

/// Operations per second of multiply-adds in registers on all threads, the best burst within about `limit` by a clock
/// in seconds.
pub(crate) fn peak<S: Simd>(threads: &Threads, s: S, limit: Duration, clock: impl Fn() -> f64) -> f64 {
    let operations = (2 * S::LANES * SUMS * LENGTH * threads.count()) as f64;
    let start = Instant::now();
    let mut best = 0.0f64;
    while best == 0.0 || start.elapsed() < limit {
        let burst = clock();
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
        best = best.max(operations / (clock() - burst));
    }
    best
}
