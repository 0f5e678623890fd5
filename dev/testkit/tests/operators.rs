//! Every operator of every backend against the scalar reference.

use std::sync::Arc;

use samovar_cpu::{CpuKernels, CpuOptions, SimdLevel};
use samovar_testkit::operators::Suite;

/// One and several threads: cutting work must not change what comes out.
#[test]
fn cpu_at_every_simd_level() {
    let suite = Suite::new();
    for level in SimdLevel::ALL.into_iter().filter(|level| level.is_available()) {
        for threads in [1, 3] {
            let kernels = CpuKernels::new(CpuOptions { threads, level: Some(level) });
            suite.check(Arc::new(kernels.expect("an available level")));
        }
    }
}

/// A case that is not the same every time it runs would make every other answer worthless.
#[test]
fn the_reference_agrees_with_itself() {
    Suite::new().check(Arc::new(samovar_tensor::Reference));
}
