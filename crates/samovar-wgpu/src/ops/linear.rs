//! Fully connected layers, products and layer normalisation.

use samovar_tensor::{Activation, Epilogue, LayerNorm, Linear, Result, Tensor, checks};

use super::ending::{self, Ending};
use super::product::{Left, Right, product};
use crate::backend::{Backend, word};
use crate::pack::WgpuPacked;
use crate::source::Shader;

pub(crate) fn linear(
    backend: &Backend,
    x: &Tensor,
    layer: &Linear,
    epilogue: &Epilogue,
    out: &Tensor,
) -> Result<()> {
    const OP: &str = "linear";
    checks::result(OP, out, &checks::linear(x, layer, epilogue)?)?;
    let packed: &WgpuPacked = layer.weight().get(OP, backend.gpu().name())?;
    let (rows, terms) = (x.shape().rows(), layer.inputs());
    let left = Left { x: backend.operand(x)?, batches: 1, rows, terms, map: None };
    let ending = Ending::of(backend, layer.bias(), epilogue)?;
    product(backend, OP, &left, &Right::Packed(packed), layer.outputs(), &ending, out)
}

pub(crate) fn matmul_transposed(backend: &Backend, a: &Tensor, c: &Tensor, out: &Tensor) -> Result<()> {
    const OP: &str = "matmul_transposed";
    checks::result(OP, out, &checks::matmul_transposed(a, c)?)?;
    let [batches, rows, terms] = a.shape().fixed(OP)?;
    let [c_batches, columns, _] = c.shape().fixed(OP)?;
    let left = Left { x: backend.operand(a)?, batches, rows, terms, map: None };
    let right = Right::Plain { w: backend.operand(c)?, is_batched: c_batches > 1 };
    product(backend, OP, &left, &right, columns, &Ending::of(backend, None, &Epilogue::NONE)?, out)
}

pub(crate) fn layer_norm(
    backend: &Backend,
    x: &Tensor,
    norm: &LayerNorm,
    activation: Activation,
    out: &Tensor,
) -> Result<()> {
    const OP: &str = "layer_norm";
    checks::result(OP, out, &checks::layer_norm(x, norm)?)?;
    if out.shape().is_empty() {
        return Ok(());
    }
    let (rows, channels) = (x.shape().rows(), x.shape().channels());
    let [x, gamma, beta, out] = [
        backend.operand(x)?,
        backend.operand(norm.gamma())?,
        backend.operand(norm.beta())?,
        backend.operand(out)?,
    ];
    let params = [word(channels), x.first, gamma.first, beta.first, out.first, norm.epsilon().to_bits()];
    let choices = [("ACT", ending::activation(activation))];
    let operations = 8 * (rows * channels) as u64;
    backend.launch(Shader::LayerNorm, &choices, &[&x, &gamma, &beta, &out], &params, rows as u64, operations)
}
