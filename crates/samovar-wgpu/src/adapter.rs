//! What the drivers of this machine offer.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wgpu::{
    Adapter, Backend, Backends, CooperativeScalarType, DeviceType, Features, Instance, InstanceDescriptor,
};

/// The ways to a card that this crate knows.
const BACKENDS: Backends = Backends::VULKAN.union(Backends::METAL).union(Backends::DX12);

/// Share of the memory that a driver calls free, in percent, beyond which it refuses; where it tells at all.
const DRIVER_BUDGET_PERCENT: u8 = 95;

/// What kind of device an adapter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdapterKind {
    /// A card with memory of its own.
    Discrete,
    /// Part of a processor, in the host's memory.
    Integrated,
    /// A card lent to a virtual machine.
    Virtual,
    /// The processor itself: a driver for tests, slower than samovar-cpu.
    Software,
    /// The driver does not say.
    Unknown,
}

/// One adapter.
#[derive(Debug, Clone)]
pub struct AdapterReport {
    /// Its number in the list, which [`crate::WgpuKernels::open`] takes.
    pub index: usize,
    /// As the driver calls it: `NVIDIA GeForce RTX 4090`.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: &'static str,
    /// Name and version of the driver.
    pub driver: String,
    /// What it is.
    pub kind: AdapterKind,
    /// Bytes of its largest memory; `None` where the driver does not tell.
    pub memory_bytes: Option<u64>,
    /// Most bytes of one block of memory.
    pub max_block_bytes: u64,
    /// Most bytes of one operand of an operator.
    pub max_operand_bytes: u64,
    /// Arithmetic on 16-bit floats in shaders.
    pub has_f16: bool,
    /// Operations over the threads that run in step, and how many these are at least and at most.
    pub subgroups: Option<[u32; 2]>,
    /// Sides of the matrices that its matrix units multiply, from f16 to f32: rows, columns, depth. Empty without such units.
    pub cooperative_matrices: Vec<[u32; 3]>,
    /// Whether it can tell how long its work took.
    pub has_timestamps: bool,
    /// Why it cannot be used here, if it cannot.
    pub unusable: Option<String>,
}

impl fmt::Display for AdapterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.backend, self.driver)
    }
}

/// There is no adapter at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no driver for a graphics card was found: {hint}")]
pub struct NoAdapters {
    hint: &'static str,
}

/// What stands between this machine and a card, most likely.
const HINT: &str = if cfg!(target_vendor = "apple") {
    "Metal lists no device"
} else if cfg!(windows) {
    "neither DirectX 12 nor Vulkan (vulkan-1.dll) lists a device; install the driver of the card's vendor"
} else {
    "Vulkan's loader (libvulkan.so.1) is missing or lists no device; install it and the driver of the card's vendor"
};

/// All adapters, in the drivers' order; some may be listed by more than one backend.
///
/// # Errors
/// [`NoAdapters`], with what is most likely missing.
pub fn adapters() -> Result<Vec<AdapterReport>, NoAdapters> {
    Ok(enumerate()?.iter().enumerate().map(|(index, adapter)| report(index, adapter)).collect())
}

/// The adapters themselves, in the same order.
pub(crate) fn enumerate() -> Result<Vec<Adapter>, NoAdapters> {
    let mut descriptor = InstanceDescriptor::new_without_display_handle();
    descriptor.backends = BACKENDS;
    descriptor.memory_budget_thresholds.for_resource_creation = Some(DRIVER_BUDGET_PERCENT);
    let adapters = ready(Instance::new(descriptor).enumerate_adapters(BACKENDS));
    match adapters {
        Some(adapters) if !adapters.is_empty() => Ok(adapters),
        _ => Err(NoAdapters { hint: HINT }),
    }
}

/// The value of a future that needs no waiting, as all of wgpu's outside of browsers.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// What must be there: parameters in the commands themselves.
pub(crate) const REQUIRED: Features = Features::IMMEDIATES;

/// Bytes of parameters that launches take at most.
pub(crate) const PARAMETER_BYTES: u32 = 128;

/// Bytes of memory that workgroups share at most: that of the smallest tiles.
const LEAST_SHARED_BYTES: u32 = 16 << 10;

/// Threads of a workgroup.
const THREADS: u32 = 256;

pub(crate) fn report(index: usize, adapter: &Adapter) -> AdapterReport {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let f16_products = |one: &wgpu::CooperativeMatrixProperties| {
        (one.ab_type == CooperativeScalarType::F16 && one.cr_type == CooperativeScalarType::F32)
            .then_some([one.m_size, one.n_size, one.k_size])
    };
    AdapterReport {
        index,
        name: info.name,
        backend: match info.backend {
            Backend::Vulkan => "vulkan",
            Backend::Metal => "metal",
            Backend::Dx12 => "dx12",
            _ => "other",
        },
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        kind: match info.device_type {
            DeviceType::DiscreteGpu => AdapterKind::Discrete,
            DeviceType::IntegratedGpu => AdapterKind::Integrated,
            DeviceType::VirtualGpu => AdapterKind::Virtual,
            DeviceType::Cpu => AdapterKind::Software,
            DeviceType::Other => AdapterKind::Unknown,
        },
        memory_bytes: memory_bytes(adapter),
        max_block_bytes: limits.max_buffer_size,
        max_operand_bytes: limits.max_storage_buffer_binding_size,
        has_f16: features.contains(Features::SHADER_F16),
        subgroups: features
            .contains(Features::SUBGROUP)
            .then_some([info.subgroup_min_size, info.subgroup_max_size]),
        cooperative_matrices: adapter
            .cooperative_matrix_properties()
            .iter()
            .filter_map(f16_products)
            .collect(),
        has_timestamps: features.contains(Features::TIMESTAMP_QUERY),
        unusable: unusable(features, &limits),
    }
}

fn unusable(features: Features, limits: &wgpu::Limits) -> Option<String> {
    if !features.contains(REQUIRED) || limits.max_immediate_size < PARAMETER_BYTES {
        return Some(format!(
            "its driver takes fewer than {PARAMETER_BYTES} bytes of parameters in commands"
        ));
    }
    if limits.max_compute_invocations_per_workgroup < THREADS || limits.max_compute_workgroup_size_x < THREADS
    {
        return Some(format!("its workgroups have fewer than {THREADS} threads"));
    }
    if limits.max_compute_workgroup_storage_size < LEAST_SHARED_BYTES {
        return Some(format!("its workgroups share less than {LEAST_SHARED_BYTES} bytes of memory"));
    }
    (limits.max_storage_buffers_per_shader_stage < 7)
        .then(|| "its shaders read fewer than 7 blocks of memory at a time".to_owned())
}

/// Bytes of the largest memory on the device's side, as Vulkan tells it.
#[cfg(not(target_vendor = "apple"))]
fn memory_bytes(adapter: &Adapter) -> Option<u64> {
    // SAFETY: the adapter is only asked for what it is.
    let vulkan = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let instance = vulkan.shared_instance().raw_instance();
    // SAFETY: the physical device is one of the instance's, and both live as long as the adapter.
    let memory = unsafe { instance.get_physical_device_memory_properties(vulkan.raw_physical_device()) };
    let heaps = memory.memory_heaps.iter().take(memory.memory_heap_count as usize);
    // DEVICE_LOCAL is the first bit.
    heaps.filter(|heap| heap.flags.as_raw() & 1 == 1).map(|heap| heap.size).max()
}

#[cfg(target_vendor = "apple")]
fn memory_bytes(_: &Adapter) -> Option<u64> {
    None
}
