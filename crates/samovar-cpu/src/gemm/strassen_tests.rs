//! What comes out must not depend on how the work was cut.

use std::sync::Arc;

use samovar_tensor::{Device, Epilogue, Pool, Tensor};

use crate::{CpuKernels, CpuOptions, SimdLevel};

fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn the_same_on_any_number_of_threads() {
    let (rows, inputs, outputs) = (1100, 290, 420);
    let x = Tensor::from_values([rows, inputs], &numbers(rows * inputs));
    let weight = Tensor::from_values([outputs, inputs], &numbers(outputs * inputs));
    for level in SimdLevel::ALL.into_iter().filter(|level| level.is_available()) {
        let product = |threads, plain| {
            let kernels = CpuKernels::new(CpuOptions { threads, level: Some(level) }).unwrap();
            let kernels = if plain { kernels.with_plain_products() } else { kernels };
            let device = Device::new(Arc::new(kernels), Pool::new(usize::MAX));
            let layer = device.load_linear(&weight, None).unwrap();
            device.linear(&x, &layer, &Epilogue::NONE).unwrap().f32().unwrap().to_vec()
        };
        let alone = product(1, false);
        assert_ne!(alone, product(1, true), "{level}: the product is large enough for another order");
        for threads in [2, 3, 16] {
            assert!(product(threads, false) == alone, "{level}, {threads} threads");
        }
    }
}
