//! The operator set of samovar-tensor, fast on CPUs: SIMD chosen at run time, threads, no global state.
//!
//! | module | what |
//! |---|---|
//! | `kernels` | the operators' entrance: asks `routes` for the way, and goes it |
//! | `routes` | which kernel runs for which shape: one table, which `samovar profile --routes` prints |
//! | `level`, `simd`, `dispatch` | which instructions, the small traits that every algorithm is written against, and the way from one to the other |
//! | `threads`, `scratch`, `limits` | the team of one [`CpuKernels`], and its bounded scratch memory |
//! | `rehearsal` | the tasks of operators with their times, for a simulation of more threads |
//! | `gemm` | matrix products: packed weights in f32, 16 and 8 bits; plain, in pairs, by Strassen's algorithm; micro-kernels, epilogues |
//! | `attention` | attention: queries in rows (plain, in pairs) or in lanes (few keys, bfloat16), and the folded attention of the decoder |
//! | `linear`, `convolution`, `depthwise`, `mask_head`, `norm`, `elementwise`, `layout`, `pooling`, `resize`, `rotation` | the other operators |
//! | `softmax`, `math` | softmax down columns; exp, erf, sin and cos of vectors, with stated errors |
//! | `peak` | the machine's limit, measured |
//!
//! A new kernel is a file under its operator, a variant in `routes/choice.rs`, an entry in `routes/table.rs` whose condition
//! excludes the others, an arm in `kernels.rs`, and a case in the operator suite (`dev/testkit`) that reaches it: tests hold
//! the last two to it.

mod attention;
mod convolution;
mod depthwise;
mod dispatch;
mod elementwise;
mod gemm;
mod kernels;
mod layout;
mod level;
mod limits;
mod linear;
mod mask_head;
mod math;
mod norm;
mod peak;
mod pooling;
mod rehearsal;
mod resize;
mod rotation;
mod routes;
mod scratch;
mod selection;
mod simd;
mod softmax;
mod threads;

pub use kernels::{CpuKernels, CpuOptions};
pub use level::{CpuError, Int8Level, Products, SimdLevel};
pub use limits::MAX_THREADS;
pub use peak::Ceilings;
#[doc(hidden)]
pub use rehearsal::Rehearsed;
pub use routes::record::RouteUse;
pub use routes::table::Route;
