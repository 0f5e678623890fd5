//! The driver: found at run time, one context and one in-order queue per device that was opened.

use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr::null_mut;

use cudarc::driver::sys::{self, CUresult};
use samovar_tensor::{Error, Result};

use crate::args::Args;
use crate::kernel_names::KernelName;

/// The kernels, for all architectures: made by `kernels/build.sh`, checked in.
static IMAGE: &[u8] = include_bytes!("../kernels/samovar.fatbin");

/// Shared memory that a block may have without asking.
const COMMON_SHARED_BYTES: u32 = 48 << 10;

/// Oldest architecture the kernels are made for.
const LEAST_CAPABILITY: (u32, u32) = (8, 0);

/// What a card is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CudaDevice {
    /// Its number, as the driver counts.
    pub index: usize,
    /// Its name: `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Bytes of its memory.
    pub memory_bytes: usize,
    /// Architecture: (9, 0) for Hopper. At least (8, 0) is needed.
    pub compute_capability: (u32, u32),
    /// Processors.
    pub multiprocessors: u32,
    /// Most shared memory of a block.
    pub(crate) shared_bytes: u32,
}

pub(crate) fn failure(device: &str, what: impl Into<String>) -> Error {
    Error::Backend { device: device.into(), what: what.into() }
}

/// The driver's word for an outcome that is not a success.
fn words(outcome: CUresult) -> String {
    let mut texts = [std::ptr::null::<c_char>(); 2];
    // SAFETY: the driver writes pointers to texts that live as long as it does, or null.
    unsafe {
        let _ = sys::cuGetErrorName(outcome, &mut texts[0]);
        let _ = sys::cuGetErrorString(outcome, &mut texts[1]);
    }
    let text = |text: *const c_char| {
        // SAFETY: not null, and a C string as above.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    };
    match texts.map(text) {
        [Some(name), Some(what)] if what != name => format!("{what} ({name})"),
        [Some(name), _] => name,
        _ => format!("{outcome:?}"),
    }
}

pub(crate) fn check(device: &str, call: &str, outcome: CUresult) -> Result<()> {
    match outcome {
        CUresult::CUDA_SUCCESS => Ok(()),
        other => Err(failure(device, format!("{call}: {}", words(other)))),
    }
}

/// Finds and starts the driver.
fn start() -> Result<()> {
    const DEVICE: &str = "cuda";
    // SAFETY: loads the driver's library, which has no surprises of its own; the crate's calls would panic without it.
    if !unsafe { sys::is_culib_present() } {
        let what = "no NVIDIA driver was found on this machine; where there is a card, install its driver (`nvidia-smi` tells)";
        return Err(failure(DEVICE, what));
    }
    // SAFETY: the library is there.
    check(DEVICE, "the NVIDIA driver does not start", unsafe { sys::cuInit(0) })
}

/// All cards, those that are too old included.
///
/// # Errors
/// [`Error::Backend`] where there is no driver or it does not start.
pub fn devices() -> Result<Vec<CudaDevice>> {
    start()?;
    let mut count = 0;
    // SAFETY: the driver is started.
    check("cuda", "counting devices", unsafe { sys::cuDeviceGetCount(&mut count) })?;
    (0..usize::try_from(count).unwrap_or(0)).map(|index| describe(index).map(|(device, _)| device)).collect()
}

fn describe(index: usize) -> Result<(CudaDevice, sys::CUdevice)> {
    let name = format!("cuda:{index}");
    let ordinal = i32::try_from(index).map_err(|_| failure(&name, "no such device"))?;
    let mut device = 0;
    let mut text = [0u8; 256];
    let mut memory_bytes = 0usize;
    // SAFETY: the driver is started; it writes within what it is given.
    unsafe {
        check(&name, "no such device", sys::cuDeviceGet(&mut device, ordinal))?;
        check(&name, "its name", sys::cuDeviceGetName(text.as_mut_ptr().cast(), 256, device))?;
        check(&name, "its memory", sys::cuDeviceTotalMem_v2(&mut memory_bytes, device))?;
    }
    text[255] = 0;
    let attribute = |attribute| {
        let mut value = 0;
        // SAFETY: as above.
        let outcome = unsafe { sys::cuDeviceGetAttribute(&mut value, attribute, device) };
        check(&name, "an attribute", outcome).map(|()| u32::try_from(value).unwrap_or(0))
    };
    use sys::CUdevice_attribute::*;
    let described = CudaDevice {
        index,
        name: CStr::from_bytes_until_nul(&text)
            .map_or_else(|_| name.clone(), |t| t.to_string_lossy().into_owned()),
        memory_bytes,
        compute_capability: (
            attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.max(1),
        shared_bytes: attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?
            .max(COMMON_SHARED_BYTES),
    };
    Ok((described, device))
}

/// A card with its kernels, and the one queue that all its work goes through.
pub(crate) struct Context {
    pub(crate) device: CudaDevice,
    ordinal: sys::CUdevice,
    context: sys::CUcontext,
    pub(crate) stream: sys::CUstream,
    module: sys::CUmodule,
    functions: Vec<sys::CUfunction>,
}

// SAFETY: the driver's handles may be used from every thread that has made the context its current one.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    pub(crate) fn open(index: usize) -> Result<Self> {
        start()?;
        let (device, ordinal) = describe(index)?;
        if device.compute_capability < LEAST_CAPABILITY {
            let (major, minor) = device.compute_capability;
            let what =
                format!("{} has architecture {major}.{minor}; 8.0 (Ampere) or later is needed", device.name);
            return Err(failure(&format!("cuda:{index}"), what));
        }
        let mut opened = Self {
            device,
            ordinal,
            context: null_mut(),
            stream: null_mut(),
            module: null_mut(),
            functions: Vec::new(),
        };
        // SAFETY: the driver is started, and what is made is given back when the value is dropped.
        unsafe {
            let mut context = MaybeUninit::uninit();
            opened.check("opening it", sys::cuDevicePrimaryCtxRetain(context.as_mut_ptr(), ordinal))?;
            opened.context = context.assume_init();
            opened.enter()?;
            let mut stream = MaybeUninit::uninit();
            let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
            opened.check("making a queue", sys::cuStreamCreate(stream.as_mut_ptr(), flags))?;
            opened.stream = stream.assume_init();
            let mut module = MaybeUninit::uninit();
            let outcome = sys::cuModuleLoadData(module.as_mut_ptr(), IMAGE.as_ptr().cast());
            opened.check("loading its kernels, which need a driver for CUDA 13.0 or later", outcome)?;
            opened.module = module.assume_init();
            for kernel in KernelName::ALL {
                let mut function = MaybeUninit::uninit();
                let outcome =
                    sys::cuModuleGetFunction(function.as_mut_ptr(), opened.module, kernel.symbol().as_ptr());
                opened.check(&format!("finding kernel {kernel:?}"), outcome)?;
                let function = function.assume_init();
                let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                let most = opened.device.shared_bytes as i32;
                opened
                    .check("asking for shared memory", sys::cuFuncSetAttribute(function, attribute, most))?;
                opened.functions.push(function);
            }
        }
        Ok(opened)
    }

    /// For reports and errors.
    pub(crate) fn name(&self) -> String {
        format!("cuda:{}", self.device.index)
    }

    pub(crate) fn check(&self, call: &str, outcome: CUresult) -> Result<()> {
        check(&self.name(), call, outcome)
    }

    /// Makes the context this thread's current one, as every call to the driver needs it.
    pub(crate) fn enter(&self) -> Result<()> {
        // SAFETY: the context lives as long as this.
        self.check("entering its context", unsafe { sys::cuCtxSetCurrent(self.context) })
    }

    /// Waits for everything that was asked for.
    pub(crate) fn wait(&self) -> Result<()> {
        self.enter()?;
        // SAFETY: the queue lives as long as this.
        self.check("waiting", unsafe { sys::cuStreamSynchronize(self.stream) })
    }

    /// Free and all bytes of its memory, whoever uses them.
    pub(crate) fn memory_bytes(&self) -> Result<(usize, usize)> {
        self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: plain numbers.
        self.check("asking for its memory", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) })?;
        Ok((free, total))
    }

    /// Queues a kernel.
    ///
    /// # Safety
    /// `args` must be those of this kernel, and what they point to must be there, as large as they say, until the work is
    /// done.
    pub(crate) unsafe fn launch<A: Args>(
        &self,
        kernel: KernelName,
        grid: [u64; 3],
        shared_bytes: u32,
        args: &A,
    ) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        let number = |count: u64, most: u64| {
            let count = u32::try_from(count).ok().filter(|&count| u64::from(count) <= most);
            count.ok_or_else(|| {
                failure(&self.name(), format!("{kernel:?} on {grid:?} blocks is more than a card takes"))
            })
        };
        let (x, y, z) = (number(grid[0], i32::MAX as u64)?, number(grid[1], 65535)?, number(grid[2], 65535)?);
        self.enter()?;
        let function = self.functions[kernel as usize];
        let mut parameters = [std::ptr::from_ref(args).cast_mut().cast::<c_void>()];
        // SAFETY: the caller's promise; the driver copies the arguments before it returns.
        let outcome = unsafe {
            let threads = kernel.threads();
            sys::cuLaunchKernel(
                function,
                x,
                y,
                z,
                threads,
                1,
                1,
                shared_bytes,
                self.stream,
                parameters.as_mut_ptr(),
                null_mut(),
            )
        };
        self.check(&format!("{kernel:?}"), outcome)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.context.is_null() {
            return;
        }
        // SAFETY: made by `open`, and nobody uses them any more. There is nobody to tell of a failure.
        unsafe {
            let _ = sys::cuCtxSetCurrent(self.context);
            if !self.stream.is_null() {
                let _ = sys::cuStreamSynchronize(self.stream);
                let _ = sys::cuStreamDestroy_v2(self.stream);
            }
            if !self.module.is_null() {
                let _ = sys::cuModuleUnload(self.module);
            }
            let _ = sys::cuDevicePrimaryCtxRelease_v2(self.ordinal);
        }
    }
}
