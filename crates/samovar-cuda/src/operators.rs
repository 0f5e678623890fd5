//! The operators without matrix products.

use samovar_tensor::{
    Activation, BinaryOp, Epilogue, Error, LayerNorm, ResizeMode, Result, Rows, Tensor, checks,
};

use crate::args::{
    BinaryArgs, CopyRowsArgs, DepthToSpaceArgs, FillArgs, FourierArgs, NO_SECOND, NormArgs, PoolArgs,
    ResizeArgs, RotateArgs, TransposeArgs, activation_number, binary_number,
};
use crate::kernel_names::KernelName;
use crate::work::Work;

/// Rows of a block of the normalisation, a warp for each.
const NORM_ROWS: u64 = 8;

/// Side of the squares that are transposed, and the shared memory they take.
const SQUARE: u32 = 32;
const SQUARE_BYTES: u32 = SQUARE * (SQUARE + 1) * 4;

impl Work {
    pub(crate) fn depth_to_space(
        &self,
        x: &Tensor,
        factor: usize,
        epilogue: &Epilogue,
        out: &Tensor,
    ) -> Result<()> {
        const OP: &str = "depth_to_space";
        checks::result(OP, out, &checks::depth_to_space(x, factor, epilogue)?)?;
        let [_, height, width, _] = self.numbers(x.shape().fixed(OP)?)?;
        let [factor, channels, _] = self.numbers([factor, out.shape().channels(), out.shape().rows()])?;
        let args = DepthToSpaceArgs {
            x: self.address(x)?,
            out: self.address(out)?,
            ending: self.ending(epilogue)?,
            count: out.shape().len() as u64,
            height,
            width,
            factor,
            channels,
        };
        // SAFETY: shapes are checked, and addresses with the lengths that go with them; so for all kernels here.
        unsafe { self.each(KernelName::DepthToSpace, out.shape().len(), &args) }
    }

    pub(crate) fn layer_norm(
        &self,
        x: &Tensor,
        norm: &LayerNorm,
        act: Activation,
        out: &Tensor,
    ) -> Result<()> {
        checks::result("layer_norm", out, &checks::layer_norm(x, norm)?)?;
        if out.shape().is_empty() {
            return Ok(());
        }
        let args = NormArgs {
            x: self.address(x)?,
            gamma: self.address(norm.gamma())?,
            beta: self.address(norm.beta())?,
            out: self.address(out)?,
            rows: x.shape().rows() as u64,
            channels: self.number(x.shape().channels())?,
            epsilon: norm.epsilon(),
            activation: activation_number(act),
            pad: 0,
        };
        // SAFETY: as above.
        unsafe { self.context.launch(KernelName::LayerNorm, [args.rows.div_ceil(NORM_ROWS), 1, 1], 0, &args) }
    }

    pub(crate) fn binary(
        &self,
        op: BinaryOp,
        a: &Tensor,
        b: &Tensor,
        act: Activation,
        out: &Tensor,
    ) -> Result<()> {
        checks::result("binary", out, &checks::binary(a, b)?)?;
        let args = BinaryArgs {
            a: self.address(a)?,
            b: self.address(b)?,
            out: self.address(out)?,
            count: out.shape().len() as u64,
            b_count: b.shape().len() as u64,
            op: binary_number(op),
            activation: activation_number(act),
        };
        // SAFETY: as above.
        unsafe { self.each(KernelName::Binary, out.shape().len(), &args) }
    }

    pub(crate) fn activation(&self, x: &Tensor, act: Activation, out: &Tensor) -> Result<()> {
        checks::result("activation", out, x.shape())?;
        let args = BinaryArgs {
            a: self.address(x)?,
            b: 0,
            out: self.address(out)?,
            count: out.shape().len() as u64,
            b_count: 1,
            op: NO_SECOND,
            activation: activation_number(act),
        };
        // SAFETY: as above.
        unsafe { self.each(KernelName::Binary, out.shape().len(), &args) }
    }

    pub(crate) fn resize(&self, x: &Tensor, mode: ResizeMode, out: &Tensor) -> Result<()> {
        const OP: &str = "resize";
        let [_, to_height, to_width, _] = out.shape().fixed(OP)?;
        checks::result(OP, out, &checks::resize(x, to_height, to_width)?)?;
        let [_, height, width, channels] = self.numbers(x.shape().fixed(OP)?)?;
        let [out_height, out_width] = self.numbers([to_height, to_width])?;
        let args = ResizeArgs {
            x: self.address(x)?,
            out: self.address(out)?,
            count: out.shape().len() as u64,
            height,
            width,
            channels,
            out_height,
            out_width,
            bilinear: (mode == ResizeMode::Bilinear).into(),
        };
        // SAFETY: as above.
        unsafe { self.each(KernelName::Resize, out.shape().len(), &args) }
    }

    pub(crate) fn max_pool2d(&self, x: &Rows, factor: usize, out: &Tensor) -> Result<()> {
        const OP: &str = "max_pool2d";
        checks::result(OP, out, &checks::max_pool2d(x, out.shape().channels(), factor)?)?;
        let [_, height, width, columns] = self.numbers(x.tensor.shape().fixed(OP)?)?;
        let [_, out_height, out_width, channels] = self.numbers(out.shape().fixed(OP)?)?;
        let args = PoolArgs {
            x: self.address(x.tensor)? + 4 * x.first_column as u64,
            out: self.address(out)?,
            count: out.shape().len() as u64,
            height,
            width,
            columns,
            channels,
            out_height,
            out_width,
            factor: self.number(factor)?,
            pad: 0,
        };
        // SAFETY: as above.
        unsafe { self.each(KernelName::MaxPool2d, out.shape().len(), &args) }
    }

    pub(crate) fn fourier_features(&self, x: &Tensor, gaussian: &Tensor, out: &Tensor) -> Result<()> {
        checks::result("fourier_features", out, &checks::fourier_features(x, gaussian)?)?;
        let args = FourierArgs {
            x: self.address(x)?,
            gaussian: self.address(gaussian)?,
            out: self.address(out)?,
            count: out.shape().len() as u64 / 2,
            features: self.number(gaussian.shape().channels())?,
            pad: 0,
        };
        // SAFETY: as above.
        unsafe { self.each(KernelName::FourierFeatures, out.shape().len() / 2, &args) }
    }

    pub(crate) fn rotate(&self, x: &Rows, table: &Tensor, out: &Tensor) -> Result<()> {
        checks::result("rotate", out, &checks::rotate(x, table)?)?;
        let [half, x_stride] = self.numbers([table.shape().channels() / 2, x.stride()])?;
        let args = RotateArgs {
            x: self.address(x.tensor)? + 4 * x.first_column as u64,
            table: self.address(table)?,
            out: self.address(out)?,
            count: out.shape().len() as u64 / 2,
            half,
            x_stride,
            table_rows: table.shape().rows() as u64,
        };
        // SAFETY: as above.
        unsafe { self.each(KernelName::Rotate, out.shape().len() / 2, &args) }
    }

    pub(crate) fn concat(&self, parts: &[&Tensor], axis: usize, out: &Tensor) -> Result<()> {
        checks::result("concat", out, &checks::concat(parts, axis)?)?;
        let inner: usize = out.dims()[axis + 1..].iter().product();
        let rows: usize = out.dims()[..axis].iter().product();
        let (to, to_stride) = (self.address(out)?, (out.dims()[axis] * inner) as u64);
        let mut start = 0;
        for part in parts {
            let len = (part.dims()[axis] * inner) as u64;
            // A part of batch 1 has fewer rows, and repeats.
            let from_rows = part.dims()[..axis].iter().product::<usize>() as u64;
            let count = rows as u64 * len;
            if count > 0 {
                let x = self.address(part)?;
                let args = CopyRowsArgs {
                    x,
                    out: to + 4 * start,
                    count,
                    len,
                    from_rows,
                    from_stride: len,
                    to_stride,
                };
                // SAFETY: as above.
                unsafe { self.each(KernelName::CopyRows, count as usize, &args)? };
            }
            start += len;
        }
        Ok(())
    }

    pub(crate) fn slice(&self, x: &Tensor, axis: usize, start: usize, out: &Tensor) -> Result<()> {
        let entries = out.dims().get(axis).copied().unwrap_or(0);
        checks::result("slice", out, &checks::slice(x, axis, start, entries)?)?;
        let inner: usize = x.dims()[axis + 1..].iter().product();
        let rows: usize = x.dims()[..axis].iter().product();
        let (len, from_stride) = ((entries * inner) as u64, (x.dims()[axis] * inner) as u64);
        let args = CopyRowsArgs {
            x: self.address(x)? + 4 * (start * inner) as u64,
            out: self.address(out)?,
            count: out.shape().len() as u64,
            len,
            from_rows: rows as u64,
            from_stride,
            to_stride: len,
        };
        // SAFETY: as above.
        unsafe { self.each(KernelName::CopyRows, out.shape().len(), &args) }
    }

    pub(crate) fn transpose(&self, x: &Tensor, out: &Tensor) -> Result<()> {
        checks::transpose(x, out)?;
        if x.shape().is_empty() {
            return Ok(());
        }
        let batch = x.dims().first().copied().unwrap_or(1);
        let [rows, columns] = self.numbers([x.shape().rows() / batch, x.shape().channels()])?;
        let (row_blocks, column_blocks) = (rows.div_ceil(SQUARE), columns.div_ceil(SQUARE));
        let args = TransposeArgs {
            x: self.address(x)?,
            out: self.address(out)?,
            rows,
            columns,
            row_blocks,
            column_blocks,
        };
        let blocks = (batch as u64).checked_mul(u64::from(row_blocks) * u64::from(column_blocks));
        // SAFETY: as above.
        unsafe {
            self.context.launch(
                KernelName::Transpose,
                [blocks.unwrap_or(u64::MAX), 1, 1],
                SQUARE_BYTES,
                &args,
            )
        }
    }

    pub(crate) fn fill(&self, value: f32, out: &Tensor) -> Result<()> {
        if out.dtype() != samovar_tensor::DType::F32 {
            let (expected, found, shape) = (samovar_tensor::DType::F32, out.dtype(), *out.shape());
            return Err(Error::DType { expected, found, shape });
        }
        let args = FillArgs { out: self.address(out)?, count: out.shape().len() as u64, value, pad: 0 };
        // SAFETY: as above.
        unsafe { self.each(KernelName::Fill, out.shape().len(), &args) }
    }
}
