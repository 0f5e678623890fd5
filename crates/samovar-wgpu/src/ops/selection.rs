//! What detectors need: the largest numbers of rows, rows by their places, softmax of rows, attention to places of maps.

use samovar_tensor::{DeformableAttention, Result, Rows, Tensor, checks};

use crate::backend::{Backend, word};
use crate::source::Shader;

pub(crate) fn softmax(backend: &Backend, x: &Tensor, out: &Tensor) -> Result<()> {
    checks::result("softmax", out, x.shape())?;
    if out.shape().is_empty() {
        return Ok(());
    }
    let (rows, columns) = (x.shape().rows(), x.shape().channels());
    let (from, to) = (backend.operand(x)?, backend.operand(out)?);
    let params = [word(columns), from.first, to.first];
    let operations = 8 * (rows * columns) as u64;
    backend.launch(Shader::Softmax, &[], &[&from, &to], &params, rows as u64, operations)
}

pub(crate) fn top_k(backend: &Backend, x: &Tensor, k: usize, out: &Tensor) -> Result<()> {
    checks::result("top_k", out, &checks::top_k(x, k)?)?;
    let (from, to) = (backend.operand(x)?, backend.operand(out)?);
    let len = x.shape().len();
    let params = [word(len), word(x.shape().channels()), word(k), from.first, to.first];
    backend.launch_each(Shader::TopK, &[], &[&from, &to], &params, len)
}

pub(crate) fn gather_rows(backend: &Backend, x: &Tensor, places: &Rows, out: &Tensor) -> Result<()> {
    const OP: &str = "gather_rows";
    let [_, count, channels] = out.shape().fixed(OP)?;
    checks::result(OP, out, &checks::gather_rows(x, places, count)?)?;
    let [x_batch, rows, _] = x.shape().fixed(OP)?;
    let [from, by, to] = [backend.operand(x)?, backend.operand(places.tensor)?, backend.operand(out)?];
    let len = out.shape().len();
    let sizes = [len, count, channels, rows, x_batch].map(word);
    let mut params = sizes.to_vec();
    params.extend([from.first, by.first + word(places.first_column), word(places.stride()), to.first]);
    backend.launch_each(Shader::Gather, &[], &[&from, &by, &to], &params, len)
}

pub(crate) fn deformable_attention(backend: &Backend, a: &DeformableAttention, out: &Tensor) -> Result<()> {
    const OP: &str = "deformable_attention";
    checks::result(OP, out, &checks::deformable_attention(a)?)?;
    let [_, queries, columns] = out.shape().fixed(OP)?;
    let points: usize = a.maps.iter().map(|map| map.points).sum();
    let values = backend.operand(a.values)?;
    let (offsets, logits) = (backend.operand(a.offsets.tensor)?, backend.operand(a.logits.tensor)?);
    let (boxes, to) = (backend.operand(a.boxes)?, backend.operand(out)?);
    let firsts = [
        values.first,
        offsets.first + word(a.offsets.first_column),
        word(a.offsets.stride()),
        logits.first + word(a.logits.first_column),
        word(a.logits.stride()),
        boxes.first,
        to.first,
    ];
    let len = out.shape().len();
    let (mut first_point, mut first_cell) = (0, 0);
    for (i, map) in a.maps.iter().enumerate() {
        let sizes = [len, queries, a.heads, columns / a.heads, a.values.dims()[1], points];
        let of_map = [map.rows, map.columns, map.points, first_point, first_cell];
        let mut params: Vec<u32> = sizes.into_iter().chain(of_map).map(word).collect();
        params.extend(firsts);
        let choices = [("ADD", u32::from(i > 0))];
        let operands = [&values, &offsets, &logits, &boxes, &to];
        backend.launch_each(Shader::Deformable, &choices, &operands, &params, len)?;
        first_point += map.points;
        first_cell += map.rows * map.columns;
    }
    Ok(())
}
