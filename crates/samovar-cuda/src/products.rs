//! Matrix products and dense convolutions: which kernel, and on how many blocks.

use samovar_tensor::{Conv2d, Epilogue, Linear, Packed, Precision, Result, Tensor, checks};

use crate::args::{
    Address, ConvolutionShape, DepthwiseArgs, ProductArgs, ROW_SCALE_BYTES, RoundRowsArgs, ScaleRowsArgs,
};
use crate::kernel_names::KernelName;
use crate::weights::CudaWeights;
use crate::work::{SCRATCH_BYTES, Work};

/// In what activations are multiplied with weights of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Arithmetic {
    /// In f32, as the reference does it: an activation is three bfloat16 numbers, whose products are added up.
    #[default]
    Exact,
    /// Rounded to the 16-bit type of the weights, as `torch` does it with a model in bfloat16 or half precision; sums are f32.
    Rounded,
}

/// A kernel with the size of its tiles and the shared memory it takes.
#[derive(Debug, Clone, Copy)]
struct Route {
    kernel: KernelName,
    rows: u32,
    columns: u32,
    shared_bytes: u32,
}

/// Bytes of two stages of tiles, 32 deep, of so many 16-bit pieces; see `Product` in `kernels/product.h`.
const fn shared_bytes(x_rows: u32, x_pieces: u32, w_rows: u32, w_pieces: u32) -> u32 {
    2 * (x_rows * x_pieces + w_rows * w_pieces) * 40 * 2
}

/// The same of `Product8`.
const INT8_SHARED_BYTES: u32 = 2 * 128 * 80;

/// Shared memory of `Product16`.
const ROUNDED_SHARED_BYTES: u32 = 4 * 256 * 40 * 2;

/// Depth up to which scratch memory has room for a tile of rounded rows.
const MOST_ROUNDED_DEPTH: u32 = (SCRATCH_BYTES / 2) as u32 / LARGE;

/// Sides of tiles.
const SMALL: u32 = 64;
const LARGE: u32 = 128;

/// Of activations as they are.
fn route(precision: Precision, arithmetic: Arithmetic, convolution: bool) -> Route {
    use KernelName::*;
    let pieces = |x, w| shared_bytes(SMALL, x, SMALL, w);
    let (product, of_convolution, shared_bytes) = match (precision, arithmetic) {
        (Precision::F32, _) => (ProductF32, ConvolutionF32, pieces(3, 3)),
        (Precision::F16, Arithmetic::Exact) => (ProductF16, ConvolutionF16, pieces(3, 2)),
        (Precision::Bf16, Arithmetic::Exact) => (ProductBf16, ConvolutionBf16, pieces(3, 1)),
        (Precision::F16, Arithmetic::Rounded) => (ProductF16Rounded, ConvolutionF16Rounded, pieces(1, 1)),
        (Precision::Bf16, Arithmetic::Rounded) => (ProductBf16Rounded, ConvolutionBf16Rounded, pieces(1, 1)),
        (Precision::Int8, _) => (ProductInt8, ConvolutionInt8, INT8_SHARED_BYTES),
    };
    let kernel = if convolution { of_convolution } else { product };
    Route { kernel, rows: SMALL, columns: SMALL, shared_bytes }
}

/// Of activations that are rounded before, and the kernel that rounds them.
fn rounding_route(precision: Precision, convolution: bool) -> Option<(KernelName, Route)> {
    use KernelName::*;
    let (product, rows, patches) = match precision {
        Precision::Bf16 => (ProductOfBf16, RoundRowsToBf16, RoundPatchesToBf16),
        Precision::F16 => (ProductOfF16, RoundRowsToF16, RoundPatchesToF16),
        Precision::F32 | Precision::Int8 => return None,
    };
    let route = Route { kernel: product, rows: LARGE, columns: LARGE, shared_bytes: ROUNDED_SHARED_BYTES };
    Some((if convolution { patches } else { rows }, route))
}

/// Whether rows of `stride` numbers from this address on can be read four at a time.
pub(crate) fn is_vector(address: Address, stride: usize) -> u32 {
    (address.is_multiple_of(16) && stride.is_multiple_of(4)).into()
}

impl Work {
    pub(crate) fn linear(
        &self,
        arithmetic: Arithmetic,
        x: &Tensor,
        layer: &Linear,
        epilogue: &Epilogue,
        out: &Tensor,
    ) -> Result<()> {
        const OP: &str = "linear";
        checks::result(OP, out, &checks::linear(x, layer, epilogue)?)?;
        let weights = self.weights(OP, layer.weight())?;
        let [m, n, k] = self.numbers([x.shape().rows(), layer.outputs(), layer.inputs()])?;
        let x_address = self.address(x)?;
        let args = ProductArgs {
            x: x_address,
            bias: self.address_of(layer.bias())?,
            out: self.address(out)?,
            ending: self.ending(epilogue)?,
            m,
            n,
            k,
            x_stride: k.into(),
            x_vector: is_vector(x_address, layer.inputs()),
            ..self.weight_args(weights)?
        };
        self.product(weights, arithmetic, false, args)
    }

    pub(crate) fn conv2d(
        &self,
        arithmetic: Arithmetic,
        x: &Tensor,
        layer: &Conv2d,
        epilogue: &Epilogue,
        out: &Tensor,
    ) -> Result<()> {
        const OP: &str = "conv2d";
        checks::result(OP, out, &checks::conv2d(OP, x, layer, epilogue)?)?;
        let weights = self.weights(OP, layer.weight())?;
        let g = layer.geometry();
        let [_, height, width, channels] = self.numbers(x.shape().fixed(OP)?)?;
        let [_, out_height, out_width, _] = self.numbers(out.shape().fixed(OP)?)?;
        let [kernel, stride, padding, dilation] =
            self.numbers([g.kernel, g.stride, g.padding, g.dilation])?;
        // The last cell that a kernel reaches, where coordinates are largest.
        self.number(g.dilation * g.kernel + g.stride * out.dims()[1].max(out.dims()[2]) + g.padding)?;
        let (x_address, bias, out_address) =
            (self.address(x)?, self.address_of(layer.bias())?, self.address(out)?);
        if g.groups > 1 {
            let args = DepthwiseArgs {
                x: x_address,
                w: self.address(&weights.values)?,
                bias,
                out: out_address,
                ending: self.ending(epilogue)?,
                count: out.shape().len() as u64,
                height,
                width,
                channels,
                out_height,
                out_width,
                kernel,
                stride,
                padding,
                dilation,
                pad: 0,
            };
            self.number(out.shape().rows())?;
            if weights.stride != layer.outputs() || weights.values.shape().rows() != g.kernel * g.kernel {
                return Err(self.failure("weights of another convolution"));
            }
            // SAFETY: shapes are checked, and addresses with the lengths that go with them.
            return unsafe { self.each(KernelName::Depthwise, out.shape().len(), &args) };
        }
        let depth = g.kernel * g.kernel * layer.inputs();
        let [m, n, k] = self.numbers([out.shape().rows(), layer.outputs(), depth])?;
        let shape = ConvolutionShape {
            height,
            width,
            inputs: channels,
            out_height,
            out_width,
            kernel,
            stride,
            padding,
            dilation,
            pad: 0,
        };
        let args = ProductArgs {
            x: x_address,
            bias,
            out: out_address,
            ending: self.ending(epilogue)?,
            m,
            n,
            k,
            x_vector: is_vector(x_address, layer.inputs()),
            shape,
            ..self.weight_args(weights)?
        };
        self.product(weights, arithmetic, true, args)
    }

    pub(crate) fn matmul_transposed(&self, a: &Tensor, c: &Tensor, out: &Tensor) -> Result<()> {
        const OP: &str = "matmul_transposed";
        checks::result(OP, out, &checks::matmul_transposed(a, c)?)?;
        let [batch, m, k] = a.shape().fixed(OP)?;
        let [c_batch, n, _] = c.shape().fixed(OP)?;
        if batch * m * n == 0 {
            return Ok(());
        }
        let (x, w) = (self.address(a)?, self.address(c)?);
        let route = route(Precision::F32, Arithmetic::Exact, false);
        // More entries than the third side of a grid takes go one grid after the other.
        const MOST_ENTRIES: usize = 65_535;
        for first in (0..batch).step_by(MOST_ENTRIES) {
            let entries = MOST_ENTRIES.min(batch - first);
            let [m, n, k] = self.numbers([m, n, k])?;
            let of = |numbers: u32| u64::from(numbers) * u64::from(k);
            let entry = if c_batch == 1 { 0 } else { first as u64 };
            let (x, w) = (x + 4 * first as u64 * of(m), w + 4 * entry * of(n));
            let args = ProductArgs {
                x,
                w,
                out: self.address(out)? + 4 * first as u64 * u64::from(m) * u64::from(n),
                m,
                n,
                k,
                w_stride: k,
                x_stride: k.into(),
                x_batch: of(m),
                w_batch: if c_batch == 1 { 0 } else { of(n) },
                out_batch: u64::from(m) * u64::from(n),
                x_vector: is_vector(x, k as usize),
                w_vector: is_vector(w, k as usize),
                ..ProductArgs::default()
            };
            self.launch_product(route, args, m, entries)?;
        }
        Ok(())
    }

    fn weights<'a>(&self, op: &'static str, packed: &'a Packed) -> Result<&'a CudaWeights> {
        packed.get(op, &self.context.name())
    }

    fn weight_args(&self, weights: &CudaWeights) -> Result<ProductArgs> {
        let scales = self.address_of(weights.scales.as_ref())?;
        let sums = weights.scales.as_ref().map_or(0, |both| scales + both.size_bytes() as u64 / 2);
        Ok(ProductArgs {
            w: self.address(&weights.values)?,
            w_scales: scales,
            w_sums: sums,
            w_stride: self.number(weights.stride)?,
            w_vector: 1,
            ..ProductArgs::default()
        })
    }

    fn product(
        &self,
        weights: &CudaWeights,
        arithmetic: Arithmetic,
        convolution: bool,
        args: ProductArgs,
    ) -> Result<()> {
        if args.m == 0 || args.n == 0 {
            return Ok(());
        }
        // Nothing but the door holds a layer to its own weights.
        if weights.values.shape().rows() != args.n as usize || args.k > args.w_stride {
            return Err(self.failure("weights of another layer"));
        }
        // Fewer large tiles than processors leave some without work.
        let tiles = u64::from(args.m.div_ceil(LARGE)) * u64::from(args.n.div_ceil(LARGE));
        let is_large =
            2 * tiles >= self.context.device.multiprocessors.into() && args.w_stride <= MOST_ROUNDED_DEPTH;
        if arithmetic == Arithmetic::Rounded
            && is_large
            && let Some((rounding, route)) = rounding_route(weights.precision, convolution)
        {
            return self.product_of_rounded(rounding, route, args);
        }
        let route = route(weights.precision, arithmetic, convolution);
        if weights.precision == Precision::Int8 {
            return self.product_int8(route, convolution, args);
        }
        self.launch_product(route, args, args.m, 1)
    }

    /// Some rows after the other, as many as there is room for in 16 bits.
    fn product_of_rounded(&self, rounding: KernelName, route: Route, args: ProductArgs) -> Result<()> {
        let most = (SCRATCH_BYTES / 2 / args.w_stride as usize) as u32 / LARGE * LARGE;
        self.with_scratch(|scratch| {
            for first_row in (0..args.m).step_by(most as usize) {
                let count = most.min(args.m - first_row);
                let product = ProductArgs { first_row, ..args };
                let round = RoundRowsArgs { product, to: scratch, count, pad: 0 };
                // SAFETY: as for all products; scratch memory has room for `count` rows.
                unsafe { self.each(rounding, count as usize * (args.w_stride as usize / 4), &round)? };
                // Rows behind these are not rounded yet.
                let product = ProductArgs { x: scratch, m: first_row + count, ..product };
                self.launch_product(route, product, count, 1)?;
            }
            Ok(())
        })
    }

    /// Some rows after the other, as many as there is room to note how they are rounded.
    fn product_int8(&self, route: Route, convolution: bool, args: ProductArgs) -> Result<()> {
        let most = (SCRATCH_BYTES / ROW_SCALE_BYTES) as u32;
        self.with_scratch(|scratch| {
            for first_row in (0..args.m).step_by(most as usize) {
                let count = most.min(args.m - first_row);
                let product = ProductArgs { first_row, rows: scratch, ..args };
                let scale = ScaleRowsArgs { product, to: scratch, count, pad: 0 };
                let kernel = if convolution {
                    KernelName::ScaleRowsOfConvolution
                } else {
                    KernelName::ScaleRowsOfProduct
                };
                // SAFETY: as for all products; scratch memory has room for `count` rows.
                unsafe { self.context.launch(kernel, [u64::from(count).div_ceil(4), 1, 1], 0, &scale)? };
                // Rows behind these have no scales yet.
                let product = ProductArgs { m: first_row + count, ..product };
                self.launch_product(route, product, count, 1)?;
            }
            Ok(())
        })
    }

    fn launch_product(&self, route: Route, args: ProductArgs, rows: u32, entries: usize) -> Result<()> {
        let column_blocks = args.n.div_ceil(route.columns);
        let args = ProductArgs { column_blocks, ..args };
        let blocks = u64::from(rows.div_ceil(route.rows)) * u64::from(column_blocks);
        // SAFETY: shapes are checked, and addresses with the lengths that go with them.
        unsafe { self.context.launch(route.kernel, [blocks, 1, entries as u64], route.shared_bytes, &args) }
    }
}
