//! Fully connected layers and products of two activations.

use samovar_tensor::{Epilogue, Linear, Result, Tensor};

use crate::gemm::cut::steps;
use crate::gemm::finish::Finish;
use crate::gemm::int8;
use crate::gemm::micro::panel_columns;
use crate::gemm::output::Output;
use crate::gemm::pack::{PackedMatrix, Storage, pack_panel};
use crate::gemm::pack_int8::Int8Panels;
use crate::gemm::plain::{BLOCK_ROWS, Pieces, StepPanels, run_step};
use crate::gemm::product::product;
use crate::gemm::rows::Matrix;
use crate::routes::choice::FloatProduct;
use crate::simd::Simd;
use crate::simd::dot::Dot;
use crate::threads::Threads;

/// Columns of the second operand one task of a product packs at a time.
const PRODUCT_COLUMNS: usize = 256;

pub(crate) fn linear<S: Simd>(
    threads: &Threads,
    s: S,
    route: FloatProduct,
    x: &Tensor,
    layer: &Linear,
    epilogue: &Epilogue,
    out: &mut Tensor,
) -> Result<()> {
    let weights = layer.weight().get::<PackedMatrix>("weights", "cpu")?;
    let source = Matrix { values: x.f32()?, stride: layer.inputs() };
    let finish = Finish::new(layer.bias(), epilogue)?;
    let rows = out.shape().rows();
    let out = Output::new(out.f32_mut()?, layer.outputs());
    product(threads, s, route, &source, rows, &weights.panels::<S>()?, &finish, out);
    Ok(())
}

/// The same with 8-bit weights.
pub(crate) fn linear_int8<D: Dot>(
    threads: &Threads,
    d: D,
    x: &Tensor,
    layer: &Linear,
    weights: &Int8Panels,
    epilogue: &Epilogue,
    out: &mut Tensor,
) -> Result<()> {
    let source = Matrix { values: x.f32()?, stride: layer.inputs() };
    let finish = Finish::new(layer.bias(), epilogue)?;
    let rows = out.shape().rows();
    let out = Output::new(out.f32_mut()?, layer.outputs());
    int8::product(threads, d, &source, rows, weights, &finish, out);
    Ok(())
}

/// `a cᵀ`; the second operand is packed on the way.
pub(crate) fn matmul_transposed<S: Simd>(
    threads: &Threads,
    s: S,
    route: FloatProduct,
    a: &Tensor,
    c: &Tensor,
    out: &mut Tensor,
) -> Result<()> {
    let [batch, m, depth] = a.shape().fixed("matmul_transposed")?;
    let [c_batch, n, _] = c.shape().fixed("matmul_transposed")?;
    let is_shallow = route == FloatProduct::Shallow;
    let (a, c) = (a.f32()?, c.f32()?);
    let width = panel_columns::<S>();
    let out = Output::new(out.f32_mut()?, n);
    let blocks = n.div_ceil(PRODUCT_COLUMNS);
    let step_len = steps(depth).map(|(range, _)| range.len()).max().unwrap_or(0);
    // Packing costs about as much as one row of the product.
    let cycles = (batch * (m + 8) * n.div_ceil(S::LANES) * depth) as u64;
    threads.run(batch * blocks, cycles, |task, scratch| {
        let (b, first) = (task / blocks, task % blocks * PRODUCT_COLUMNS);
        let columns = PRODUCT_COLUMNS.min(n - first);
        let source = Matrix { values: &a[b * m * depth..][..m * depth], stride: depth };
        let c = &c[b % c_batch * n * depth..][..n * depth];
        let [strips, tile, bias, widened] = Pieces::lengths::<S>(BLOCK_ROWS.min(m), depth, Storage::F32);
        let packed = step_len * columns.next_multiple_of(width);
        let [strips, tile, bias, widened, packed] = scratch.split([strips, tile, bias, widened, packed]);
        let mut pieces = Pieces::new([strips, tile, bias, widened]);
        s.vectorize(
            #[inline(always)]
            || {
                for (range, part) in steps(depth) {
                    let distance = range.len() * width;
                    for panel in 0..columns.div_ceil(width) {
                        let start = first + panel * width;
                        let column = |j| c[(start + j) * depth..][range.clone()].as_ptr();
                        let to = packed[panel * distance..][..distance].as_mut_ptr();
                        // SAFETY: slices of the range's length, into a piece of a panel's size.
                        unsafe { pack_panel(s, width.min(first + columns - start), range.len(), column, to) };
                    }
                    let panels = StepPanels {
                        first: packed.as_ptr().cast(),
                        distance,
                        storage: Storage::F32,
                        factors: None,
                    };
                    let out = out.from(b * m, first);
                    for row in (0..m).step_by(BLOCK_ROWS) {
                        let rows = row..(row + BLOCK_ROWS).min(m);
                        let (depth, columns) = (range.clone(), 0..columns);
                        // SAFETY: every task has its own batch entry or columns of the result.
                        unsafe {
                            run_step(
                                s,
                                &source,
                                rows,
                                depth,
                                panels,
                                columns,
                                &Finish::NONE,
                                part,
                                out,
                                is_shallow,
                                &mut pieces,
                            );
                        }
                    }
                }
            },
        );
    });
    Ok(())
}
