//! The operator set of samovar-tensor for NVIDIA's cards: own kernels, driver found at run time, no CUDA to build.
//!
//! | module | what |
//! |---|---|
//! | `kernels` | the operators' entrance: [`CudaKernels`] |
//! | `driver` | the driver, its devices, one context and one queue for each that is opened |
//! | `memory` | blocks of a card's memory, uploads and downloads through pinned buffers |
//! | `weights` | how weights lie there |
//! | `products`, `attention`, `operators` | which kernel for which shape, and with which numbers; `work` is what they share |
//! | `args`, `kernel_names` | the structs kernels take, and their names |
//!
//! The kernels themselves are CUDA C++ in `kernels/`. `kernels/build.sh` makes `kernels/samovar.fatbin` of them, for
//! architectures 8.0 to 12.0, with compilers from pinned Python packages; it is checked in, beside a hash of its sources, so that
//! nothing of CUDA is needed to build samovar. `kernels/shim` runs the same sources on a CPU, and is a driver of its own
//! for tests: everything above it runs unchanged.

mod args;
mod attention;
mod detectors;
mod driver;
mod kernel_names;
mod kernels;
mod memory;
mod operators;
mod products;
mod weights;
mod work;

pub use driver::{CudaDevice, devices};
pub use kernels::{CudaKernels, CudaOptions};
pub use products::Arithmetic;
