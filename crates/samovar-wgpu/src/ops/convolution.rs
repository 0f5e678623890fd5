//! Convolutions: dense ones are products with what lies under the kernel, found by index; depthwise ones have a shader of
//! their own.

use samovar_tensor::{Conv2d, Epilogue, Error, Result, Tensor, checks};

use super::ending::Ending;
use super::product::{Left, Map, Right, product};
use crate::backend::{Backend, word};
use crate::pack::WgpuPacked;
use crate::source::Shader;

pub(crate) fn conv2d(
    backend: &Backend,
    x: &Tensor,
    layer: &Conv2d,
    epilogue: &Epilogue,
    out: &Tensor,
) -> Result<()> {
    const OP: &str = "conv2d";
    checks::result(OP, out, &checks::conv2d(OP, x, layer, epilogue)?)?;
    if out.shape().is_empty() {
        return Ok(());
    }
    let packed: &WgpuPacked = layer.weight().get(OP, backend.gpu().name())?;
    let [batch, height, width, inputs] = x.shape().fixed(OP)?;
    let [_, out_height, out_width, outputs] = out.shape().fixed(OP)?;
    let geometry = layer.geometry();
    let ending = Ending::of(backend, layer.bias(), epilogue)?;
    let map = [height, width, inputs, out_height, out_width];
    let steps = [geometry.kernel, geometry.stride, geometry.padding, geometry.dilation];
    let mut params = [0; 9];
    params.iter_mut().zip(map.iter().chain(&steps)).for_each(|(to, &size)| *to = word(size));
    let taps = geometry.kernel * geometry.kernel;
    if geometry.groups > 1 {
        return depthwise(backend, x, packed, taps, params, &ending, out);
    }
    let is_pointwise = taps == 1 && geometry.stride == 1 && geometry.padding == 0;
    let left = Left {
        x: backend.operand(x)?,
        batches: 1,
        rows: batch * out_height * out_width,
        terms: inputs * taps,
        map: (!is_pointwise).then_some(Map { inputs, params }),
    };
    product(backend, OP, &left, &Right::Packed(packed), outputs, &ending, out)
}

fn depthwise(
    backend: &Backend,
    x: &Tensor,
    packed: &WgpuPacked,
    taps: usize,
    map: [u32; 9],
    ending: &Ending,
    out: &Tensor,
) -> Result<()> {
    let channels = out.shape().channels();
    let have_bytes = packed.weights.as_ref().map_or(0, Tensor::size_bytes);
    if have_bytes != taps * channels * 4 {
        let what = format!("weights of {have_bytes} bytes for {channels} channels of {taps} taps");
        return Err(Error::Shape { op: "depthwise_conv2d", what });
    }
    let [x, w, to] = [backend.operand(x)?, backend.optional(packed.weights.as_ref())?, backend.operand(out)?];
    let [bias_first, residual_first, residual_len] = ending.params();
    let mut params = vec![word(out.shape().rows()), word(channels), word(taps)];
    params.extend([
        x.first,
        0,
        w.first,
        0,
        0,
        bias_first,
        residual_first,
        residual_len,
        to.first,
        0,
        0,
        0,
        0,
    ]);
    params.extend(map);
    let operands = [&x, &w, &ending.bias, &ending.residual, &to];
    backend.launch_each(Shader::Depthwise, &ending.choices(), &operands, &params, out.shape().len())
}

pub(crate) fn depth_to_space(
    backend: &Backend,
    x: &Tensor,
    factor: usize,
    epilogue: &Epilogue,
    out: &Tensor,
) -> Result<()> {
    const OP: &str = "depth_to_space";
    checks::result(OP, out, &checks::depth_to_space(x, factor, epilogue)?)?;
    if out.shape().is_empty() {
        return Ok(());
    }
    let [_, _, width, _] = x.shape().fixed(OP)?;
    let ending = Ending::of(backend, None, epilogue)?;
    let (x, to) = (backend.operand(x)?, backend.operand(out)?);
    let mut params =
        vec![word(out.shape().rows()), word(out.shape().channels()), word(width), word(factor), x.first];
    params.extend(ending.params());
    params.extend([to.first, 0]);
    let operands = [&x, &ending.residual, &to];
    backend.launch_each(Shader::DepthToSpace, &ending.choices(), &operands, &params, out.shape().len())
}
