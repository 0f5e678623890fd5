//! The devices that tests run on.

#![allow(dead_code)] // Every test binary uses its own part.

use std::sync::Arc;

use samovar_tensor::{Device, Pool};
use samovar_testkit::graphics;
use samovar_wgpu::{AdapterReport, WgpuKernels, WgpuOptions, adapters};

/// All usable adapters; none is said, or a failure.
pub fn usable() -> Vec<AdapterReport> {
    graphics(adapters().map(|found| found.into_iter().filter(|one| one.unusable.is_none()).collect()))
}

/// All of them, open.
pub fn open(bounds_checks: bool) -> Vec<Arc<WgpuKernels>> {
    open_with(WgpuOptions { bounds_checks, ..WgpuOptions::default() })
}

/// The same with other options.
pub fn open_with(options: WgpuOptions) -> Vec<Arc<WgpuKernels>> {
    let open = |adapter: &AdapterReport| {
        Arc::new(
            WgpuKernels::open(adapter.index, options).unwrap_or_else(|error| panic!("{adapter}: {error}")),
        )
    };
    usable().iter().map(open).collect()
}

/// A device with a pool of its own.
pub fn device(kernels: &Arc<WgpuKernels>) -> Device {
    use samovar_tensor::Kernels;
    Device::new(Arc::clone(kernels) as Arc<dyn Kernels>, Pool::on(kernels.memory(), usize::MAX))
}
