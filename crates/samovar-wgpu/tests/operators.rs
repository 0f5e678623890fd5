//! Every operator against the scalar reference, on all graphics devices there are: in CI the software Vulkan driver.

mod common;

use std::sync::Arc;

use samovar_tensor::{Device, Kernels, Pool};
use samovar_testkit::Poisoned;
use samovar_testkit::operators::Suite;

/// With shaders that check what they read and write, as tests of models have them, and without, as programs do.
#[test]
fn every_operator_agrees_with_the_reference() {
    let suite = Suite::new();
    for bounds_checks in [true, false] {
        for kernels in common::open(bounds_checks) {
            let kernels: Arc<dyn Kernels> = Arc::new(Poisoned(kernels));
            let pool = Pool::on(kernels.memory(), usize::MAX);
            suite.check_device(&Device::new(kernels, pool));
        }
    }
}
