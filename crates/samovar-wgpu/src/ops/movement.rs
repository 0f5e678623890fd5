//! Operators that only move numbers.

use samovar_tensor::{Result, Tensor, checks};

use crate::backend::{Backend, word};
use crate::operand::Operand;
use crate::source::Shader;

/// Stretches of `len` numbers: where the first begins, and how far it is from one to the next.
struct Stretches<'a> {
    operand: &'a Operand,
    first: usize,
    step: usize,
}

/// Copies `count` stretches; the source begins anew after `from_len` numbers.
fn copy(
    backend: &Backend,
    [len, count]: [usize; 2],
    from: &Stretches,
    from_len: usize,
    to: &Stretches,
) -> Result<()> {
    let params = [
        word(len * count),
        word(len),
        from.operand.first + word(from.first),
        word(from.step),
        word(from_len),
        to.operand.first + word(to.first),
        word(to.step),
    ];
    backend.launch_each(Shader::Move, &[], &[from.operand, to.operand], &params, len * count)
}

pub(crate) fn concat(backend: &Backend, parts: &[&Tensor], axis: usize, out: &Tensor) -> Result<()> {
    checks::result("concat", out, &checks::concat(parts, axis)?)?;
    let inner: usize = out.dims()[axis + 1..].iter().product();
    let outer: usize = out.dims()[..axis].iter().product();
    let to = backend.operand(out)?;
    let mut first = 0;
    for part in parts {
        let len = part.dims()[axis] * inner;
        let operand = backend.operand(part)?;
        let from = Stretches { operand: &operand, first: 0, step: len };
        let to = Stretches { operand: &to, first, step: out.dims()[axis] * inner };
        // A part of batch 1 has fewer outer entries than the result, and repeats.
        copy(backend, [len, outer], &from, part.shape().len(), &to)?;
        first += len;
    }
    Ok(())
}

pub(crate) fn slice(backend: &Backend, x: &Tensor, axis: usize, start: usize, out: &Tensor) -> Result<()> {
    let len = out.dims().get(axis).copied().unwrap_or(0);
    checks::result("slice", out, &checks::slice(x, axis, start, len)?)?;
    let inner: usize = x.dims()[axis + 1..].iter().product();
    let outer: usize = x.dims()[..axis].iter().product();
    let (from, to) = (backend.operand(x)?, backend.operand(out)?);
    let from = Stretches { operand: &from, first: start * inner, step: x.dims()[axis] * inner };
    let to = Stretches { operand: &to, first: 0, step: len * inner };
    copy(backend, [len * inner, outer], &from, usize::MAX, &to)
}

pub(crate) fn transpose(backend: &Backend, x: &Tensor, out: &Tensor) -> Result<()> {
    checks::transpose(x, out)?;
    if out.shape().is_empty() {
        return Ok(());
    }
    let (batch, columns) = (x.dims()[0], x.shape().channels());
    let rows = x.shape().rows() / batch;
    let (from, to) = (backend.operand(x)?, backend.operand(out)?);
    let (row_tiles, column_tiles) = (rows.div_ceil(32), columns.div_ceil(32));
    let sizes = [rows, columns, row_tiles, column_tiles].map(word);
    let mut params = sizes.to_vec();
    params.extend([from.first, to.first]);
    let groups = (batch * row_tiles * column_tiles) as u64;
    backend.launch(Shader::Transpose, &[], &[&from, &to], &params, groups, out.shape().len() as u64)
}
