use std::sync::Arc;

use samovar_tensor::{Device, Error, Kernels, Pool};
use samovar_testkit::graphics;

use super::{WgpuKernels, default_budget_bytes};
use crate::adapter::{AdapterKind, adapters};
use crate::open::WgpuOptions;

/// A launch that no driver can follow: what comes after it must not be read as if it had been computed.
#[test]
fn failing_work_is_told_until_somebody_has_waited_and_then_the_device_works_again() {
    let usable = adapters().map(|found| found.into_iter().filter(|one| one.unusable.is_none()).collect());
    for adapter in graphics(usable) {
        let kernels = Arc::new(WgpuKernels::open(adapter.index, WgpuOptions::default()).unwrap());
        let device =
            Device::new(Arc::clone(&kernels) as Arc<dyn Kernels>, Pool::on(kernels.memory(), 1 << 24));
        let x = device.upload([4], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        device.synchronise().unwrap();
        let y = device.filled([4], 5.0).unwrap();
        // More workgroups than any driver has.
        kernels.backend.gpu().launch(1, |pass| pass.dispatch_workgroups(u32::MAX, 1, 1)).unwrap();
        let fails = |result: samovar_tensor::Result<()>| matches!(result, Err(Error::Backend { .. }));
        let download = device.download(&y).and_then(|download| download.wait());
        assert!(fails(download.map(drop)), "nothing is read that was lost on the way");
        assert!(fails(device.filled([4], 1.0).map(drop)), "everybody is told");
        assert!(fails(device.upload([1], &[1.0]).map(drop)), "everybody is told");
        assert!(fails(device.synchronise()), "who waits is told");
        device.synchronise().unwrap();
        let read = device.download(&x).unwrap().wait().unwrap();
        assert_eq!(read.f32().unwrap(), [1.0, 2.0, 3.0, 4.0]);
    }
}

#[test]
fn budgets_leave_something_to_others() {
    let Ok(adapters) = adapters() else { return };
    let Some(adapter) = adapters.first() else { return };
    let mut adapter = adapter.clone();
    adapter.max_block_bytes = 123;
    for (kind, memory_bytes, budget_bytes) in [
        (AdapterKind::Discrete, Some(1000), 900),
        (AdapterKind::Integrated, Some(1000), 500),
        (AdapterKind::Software, Some(1000), 500),
        (AdapterKind::Discrete, None, 123),
    ] {
        (adapter.kind, adapter.memory_bytes) = (kind, memory_bytes);
        assert_eq!(default_budget_bytes(&adapter), budget_bytes, "{kind:?} with {memory_bytes:?}");
    }
}
