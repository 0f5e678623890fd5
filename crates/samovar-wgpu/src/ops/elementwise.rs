//! Operators on single numbers, and on neighbours of a map.

use samovar_tensor::{Activation, BinaryOp, ResizeMode, Result, Rows, Tensor, checks};

use super::ending;
use crate::backend::{Backend, word};
use crate::operand::Operand;
use crate::source::Shader;

pub(crate) fn binary(
    backend: &Backend,
    op: BinaryOp,
    a: &Tensor,
    b: &Tensor,
    activation: Activation,
    out: &Tensor,
) -> Result<()> {
    checks::result("binary", out, &checks::binary(a, b)?)?;
    let op = match op {
        BinaryOp::Add => 1,
        BinaryOp::Multiply => 2,
        BinaryOp::Maximum => 4,
        BinaryOp::Minimum => 5,
    };
    let operands = [backend.operand(a)?, backend.operand(b)?];
    each(backend, op, activation, operands, b.shape().len(), 0.0, out)
}

pub(crate) fn activation(backend: &Backend, x: &Tensor, activation: Activation, out: &Tensor) -> Result<()> {
    checks::result("activation", out, x.shape())?;
    each(backend, 0, activation, [backend.operand(x)?, backend.nothing()], 1, 0.0, out)
}

pub(crate) fn fill(backend: &Backend, value: f32, out: &Tensor) -> Result<()> {
    each(backend, 3, Activation::Identity, [backend.nothing(), backend.nothing()], 1, value, out)
}

fn each(
    backend: &Backend,
    op: u32,
    activation: Activation,
    [a, b]: [Operand; 2],
    b_len: usize,
    value: f32,
    out: &Tensor,
) -> Result<()> {
    let (to, len) = (backend.operand(out)?, out.shape().len());
    let params = [word(len), a.first, b.first, word(b_len), to.first, value.to_bits()];
    let choices = [("OP", op), ("ACT", ending::activation(activation))];
    backend.launch_each(Shader::Elementwise, &choices, &[&a, &b, &to], &params, len)
}

pub(crate) fn fourier_features(backend: &Backend, x: &Tensor, gaussian: &Tensor, out: &Tensor) -> Result<()> {
    checks::result("fourier_features", out, &checks::fourier_features(x, gaussian)?)?;
    let (rows, features) = (x.shape().rows(), gaussian.shape().channels());
    let [x, g, to] = [backend.operand(x)?, backend.operand(gaussian)?, backend.operand(out)?];
    let params = [word(rows), word(features), x.first, g.first, to.first];
    backend.launch_each(Shader::Fourier, &[], &[&x, &g, &to], &params, rows * features)
}

pub(crate) fn rotate(backend: &Backend, x: &Rows, table: &Tensor, out: &Tensor) -> Result<()> {
    checks::result("rotate", out, &checks::rotate(x, table)?)?;
    let (rows, half) = (x.tensor.shape().rows(), table.shape().channels() / 2);
    let [from, angles, to] = [backend.operand(x.tensor)?, backend.operand(table)?, backend.operand(out)?];
    let x_first = from.first + word(x.first_column);
    let params = [
        word(rows),
        word(half),
        x_first,
        word(x.stride()),
        angles.first,
        word(table.shape().rows()),
        to.first,
    ];
    backend.launch_each(Shader::Rotate, &[], &[&from, &angles, &to], &params, rows * half)
}

pub(crate) fn resize(backend: &Backend, x: &Tensor, mode: ResizeMode, out: &Tensor) -> Result<()> {
    const OP: &str = "resize";
    let [_, out_height, out_width, _] = out.shape().fixed(OP)?;
    checks::result(OP, out, &checks::resize(x, out_height, out_width)?)?;
    let [_, height, width, channels] = x.shape().fixed(OP)?;
    let (from, to) = (backend.operand(x)?, backend.operand(out)?);
    let sizes = [out.shape().len(), height, width, channels, out_height, out_width].map(word);
    let scales =
        [(height, out_height), (width, out_width)].map(|(side, out_side)| side as f32 / out_side as f32);
    let mut params = sizes.to_vec();
    params.extend([from.first, to.first, scales[0].to_bits(), scales[1].to_bits()]);
    let choices = [("BILINEAR", u32::from(mode == ResizeMode::Bilinear))];
    backend.launch_each(Shader::Resize, &choices, &[&from, &to], &params, out.shape().len())
}

pub(crate) fn max_pool2d(backend: &Backend, x: &Rows, factor: usize, out: &Tensor) -> Result<()> {
    const OP: &str = "max_pool2d";
    checks::result(OP, out, &checks::max_pool2d(x, out.shape().channels(), factor)?)?;
    let [_, height, width, columns] = x.tensor.shape().fixed(OP)?;
    let [_, out_height, out_width, channels] = out.shape().fixed(OP)?;
    let (from, to) = (backend.operand(x.tensor)?, backend.operand(out)?);
    let sizes =
        [out.shape().len(), height, width, columns, channels, out_height, out_width, factor].map(word);
    let mut params = sizes.to_vec();
    params.extend([from.first + word(x.first_column), to.first]);
    backend.launch_each(Shader::MaxPool, &[], &[&from, &to], &params, out.shape().len())
}
