//! What the operands of an operator must be to each other, and the shape of its result.
//!
//! The door checks every call with these functions. A backend whose kernels write through pointers does so once more,
//! because nothing but [`crate::Device`] itself makes callers take the door.

use crate::{
    Attention, AttentionBias, AxialAttention, Conv2d, ConvTranspose2d, DeformableAttention, Epilogue, Error,
    FoldedAttention, LayerNorm, Linear, MaskHead, Result, Rows, Shape, Tensor, TokenLayout,
};

/// Checks that a result is to be written to a tensor of its shape.
///
/// # Errors
/// [`Error::Shape`]; so for all functions here.
pub fn result(op: &'static str, out: &Tensor, shape: &Shape) -> Result<()> {
    if out.shape() == shape {
        return Ok(());
    }
    Err(Error::shape(op, format!("a result of {shape} does not go into {}", out.shape())))
}

/// Of [`crate::Kernels::linear`].
///
/// # Errors
/// See [`result`].
pub fn linear(x: &Tensor, layer: &Linear, epilogue: &Epilogue) -> Result<Shape> {
    const OP: &str = "linear";
    let shape = x.shape().result_with_channels(OP, layer.outputs)?;
    if x.shape().channels() != layer.inputs {
        return Err(Error::shape(OP, format!("{} into {} inputs", x.shape(), layer.inputs)));
    }
    bias(OP, layer.bias.as_ref(), layer.outputs)?;
    epilogue.check(OP, &shape)?;
    Ok(shape)
}

/// Of [`crate::Kernels::conv2d`], in reports under the name `op`.
///
/// # Errors
/// See [`result`].
pub fn conv2d(op: &'static str, x: &Tensor, layer: &Conv2d, epilogue: &Epilogue) -> Result<Shape> {
    let [batch, height, width, channels] = x.shape().fixed(op)?;
    let sides = (layer.geometry.output_side(height), layer.geometry.output_side(width));
    let (Some(out_height), Some(out_width), true) = (sides.0, sides.1, channels == layer.inputs) else {
        let what = format!("{} into {} channels with {:?}", x.shape(), layer.inputs, layer.geometry);
        return Err(Error::shape(op, what));
    };
    let shape = Shape::of_result(op, &[batch, out_height, out_width, layer.outputs])?;
    bias(op, layer.bias.as_ref(), layer.outputs)?;
    epilogue.check(op, &shape)?;
    Ok(shape)
}

/// Of a transposed convolution of `x`.
///
/// # Errors
/// See [`result`].
pub(crate) fn conv_transpose2d(x: &Tensor, layer: &ConvTranspose2d, epilogue: &Epilogue) -> Result<Shape> {
    const OP: &str = "conv_transpose2d";
    let [batch, height, width, _] = x.shape().fixed(OP)?;
    let sides = [height, width].map(|side| side.saturating_mul(layer.factor));
    let shape = Shape::of_result(OP, &[batch, sides[0], sides[1], layer.outputs])?;
    epilogue.check(OP, &shape)?;
    Ok(shape)
}

/// Of [`crate::Kernels::depth_to_space`].
///
/// # Errors
/// See [`result`].
pub fn depth_to_space(x: &Tensor, factor: usize, epilogue: &Epilogue) -> Result<Shape> {
    const OP: &str = "depth_to_space";
    let [batch, height, width, channels] = x.shape().fixed(OP)?;
    let taps = factor.checked_mul(factor).filter(|&taps| taps > 0 && channels.is_multiple_of(taps));
    let Some(taps) = taps else {
        return Err(Error::shape(OP, format!("channels of {} in squares of {factor}", x.shape())));
    };
    let sides = [height, width].map(|side| side.saturating_mul(factor));
    let shape = Shape::of_result(OP, &[batch, sides[0], sides[1], channels / taps])?;
    epilogue.check(OP, &shape)?;
    Ok(shape)
}

/// Of [`crate::Kernels::layer_norm`].
///
/// # Errors
/// See [`result`].
pub fn layer_norm(x: &Tensor, norm: &LayerNorm) -> Result<Shape> {
    if norm.gamma.dims() != [x.shape().channels()] || norm.beta.shape() != norm.gamma.shape() {
        let (x, gamma, beta) = (x.shape(), norm.gamma.shape(), norm.beta.shape());
        return Err(Error::shape("layer_norm", format!("{x} with scale {gamma} and shift {beta}")));
    }
    Ok(*x.shape())
}

/// Of [`crate::Kernels::matmul_transposed`].
///
/// # Errors
/// See [`result`].
pub fn matmul_transposed(a: &Tensor, c: &Tensor) -> Result<Shape> {
    const OP: &str = "matmul_transposed";
    let [batch, m, k] = a.shape().fixed(OP)?;
    let [c_batch, n, c_k] = c.shape().fixed(OP)?;
    if k != c_k || !(c_batch == batch || c_batch == 1) {
        return Err(Error::shape(OP, format!("{} with {}", a.shape(), c.shape())));
    }
    Shape::of_result(OP, &[batch, m, n])
}

/// Of [`crate::Kernels::binary`].
///
/// # Errors
/// See [`result`].
pub fn binary(a: &Tensor, b: &Tensor) -> Result<Shape> {
    Epilogue::add(b).check("binary", a.shape())?;
    Ok(*a.shape())
}

/// Of [`crate::Kernels::resize`] to a height and width.
///
/// # Errors
/// See [`result`].
pub fn resize(x: &Tensor, height: usize, width: usize) -> Result<Shape> {
    const OP: &str = "resize";
    let [batch, from_height, from_width, channels] = x.shape().fixed(OP)?;
    if from_height == 0 || from_width == 0 {
        return Err(Error::shape(OP, format!("nothing to resize in {}", x.shape())));
    }
    Shape::of_result(OP, &[batch, height, width, channels])
}

/// Of [`crate::Kernels::max_pool2d`] of so many columns.
///
/// # Errors
/// See [`result`].
pub fn max_pool2d(x: &Rows, channels: usize, factor: usize) -> Result<Shape> {
    const OP: &str = "max_pool2d";
    let [batch, height, width, columns] = x.tensor.shape().fixed(OP)?;
    let last = x.first_column.checked_add(channels);
    if factor == 0 || last.is_none_or(|last| last > columns) {
        let what =
            format!("columns {}..+{channels} of {} in squares of {factor}", x.first_column, x.tensor.shape());
        return Err(Error::shape(OP, what));
    }
    Shape::of_result(OP, &[batch, height / factor, width / factor, channels])
}

/// Of [`crate::Kernels::fourier_features`].
///
/// # Errors
/// See [`result`].
pub fn fourier_features(x: &Tensor, gaussian: &Tensor) -> Result<Shape> {
    const OP: &str = "fourier_features";
    let [two, features] = gaussian.shape().fixed(OP)?;
    if two != 2 || x.shape().channels() != 2 {
        return Err(Error::shape(OP, format!("{} with {}", x.shape(), gaussian.shape())));
    }
    x.shape().result_with_channels(OP, features.saturating_mul(2))
}

/// Of [`crate::Kernels::rotate`].
///
/// # Errors
/// See [`result`].
pub fn rotate(x: &Rows, table: &Tensor) -> Result<Shape> {
    const OP: &str = "rotate";
    let (channels, rows) = (table.shape().channels(), table.shape().rows());
    let last = x.first_column.checked_add(channels);
    let columns_fit =
        last.is_some_and(|last| last <= x.stride()) && channels > 0 && channels.is_multiple_of(2);
    if !columns_fit || rows == 0 || !x.tensor.shape().rows().is_multiple_of(rows) {
        let (x, first) = (x.tensor.shape(), x.first_column);
        return Err(Error::shape(OP, format!("columns {first}..+{channels} of {x} by {}", table.shape())));
    }
    x.tensor.shape().result_with_channels(OP, channels)
}

/// Whole numbers up to this are their own in f32: the longest row of which places are told.
const MOST_PLACES: usize = 1 << 24;

/// Of [`crate::Kernels::top_k`].
///
/// # Errors
/// See [`result`].
pub fn top_k(x: &Tensor, k: usize) -> Result<Shape> {
    const OP: &str = "top_k";
    let columns = x.shape().channels();
    if k == 0 || k > columns || columns > MOST_PLACES {
        return Err(Error::shape(OP, format!("the {k} largest numbers of each row of {}", x.shape())));
    }
    x.shape().result_with_channels(OP, 2 * k)
}

/// Of [`crate::Kernels::gather_rows`] of so many rows of each entry of the batch.
///
/// # Errors
/// See [`result`].
pub fn gather_rows(x: &Tensor, places: &Rows, count: usize) -> Result<Shape> {
    const OP: &str = "gather_rows";
    let [x_batch, rows, channels] = x.shape().fixed(OP)?;
    let [batch, _] = places.tensor.shape().fixed(OP)?;
    let last = places.first_column.checked_add(count);
    let fits =
        (x_batch == batch || x_batch == 1) && last.is_some_and(|last| last <= places.stride()) && rows > 0;
    if !fits {
        let (x, places, first) = (x.shape(), places.tensor.shape(), places.first_column);
        return Err(Error::shape(OP, format!("rows of {x} by columns {first}..+{count} of {places}")));
    }
    Shape::of_result(OP, &[batch, count, channels])
}

/// Of [`crate::Kernels::deformable_attention`].
///
/// # Errors
/// See [`result`].
pub fn deformable_attention(a: &DeformableAttention) -> Result<Shape> {
    const OP: &str = "deformable_attention";
    let [batch, cells, columns] = a.values.shape().fixed(OP)?;
    let [box_batch, queries, four] = a.boxes.shape().fixed(OP)?;
    let total = |of: fn(&crate::SampledMap) -> Option<usize>| {
        a.maps.iter().try_fold(0usize, |sum, map| sum.checked_add(of(map)?))
    };
    let points = total(|map| Some(map.points)).and_then(|points| points.checked_mul(a.heads));
    let fit = |rows: &Rows, count: Option<usize>| {
        let last = count.and_then(|count| count.checked_add(rows.first_column));
        rows.tensor.dims() == [batch, queries, rows.stride()]
            && last.is_some_and(|last| last <= rows.stride())
    };
    let fits = a.heads > 0
        && columns.is_multiple_of(a.heads)
        && points.is_some_and(|points| points > 0)
        && total(|map| map.rows.checked_mul(map.columns)) == Some(cells)
        && (box_batch, four) == (batch, 4)
        && fit(&a.offsets, points.and_then(|points| points.checked_mul(2)))
        && fit(&a.logits, points);
    if !fits {
        let what = format!(
            "values {}, offsets {}, logits {}, boxes {}, {} heads in {:?}",
            a.values.shape(),
            a.offsets.tensor.shape(),
            a.logits.tensor.shape(),
            a.boxes.shape(),
            a.heads,
            a.maps
        );
        return Err(Error::shape(OP, what));
    }
    Shape::of_result(OP, &[batch, queries, columns])
}

/// Of [`crate::Kernels::concat`].
///
/// # Errors
/// See [`result`].
pub fn concat(parts: &[&Tensor], axis: usize) -> Result<Shape> {
    const OP: &str = "concat";
    let first = parts.first().ok_or_else(|| Error::shape(OP, "nothing to concatenate"))?;
    let batch = parts.iter().map(|part| part.dims().first().copied().unwrap_or(1)).max().unwrap_or(1);
    let mut dims = first.dims().to_vec();
    if axis >= dims.len() {
        return Err(Error::shape(OP, format!("axis {axis} of {}", first.shape())));
    }
    for part in parts {
        let fits = part.shape().rank() == dims.len()
            && part.dims().iter().enumerate().all(|(i, &dim)| {
                i == axis || dim == first.dims()[i] || (i == 0 && (dim == 1 || first.dims()[0] == 1))
            })
            && (axis == 0 || part.dims()[0] == batch || part.dims()[0] == 1);
        if !fits {
            return Err(Error::shape(OP, format!("{} beside {}", part.shape(), first.shape())));
        }
    }
    if axis > 0 {
        dims[0] = batch;
    }
    dims[axis] = parts.iter().map(|part| part.dims()[axis]).fold(0, usize::saturating_add);
    Shape::of_result(OP, &dims)
}

/// Of [`crate::Kernels::slice`], of entries `start..start + len`.
///
/// # Errors
/// See [`result`].
pub fn slice(x: &Tensor, axis: usize, start: usize, len: usize) -> Result<Shape> {
    let mut dims = x.dims().to_vec();
    let end = start.checked_add(len);
    if axis >= dims.len() || end.is_none_or(|end| end > dims[axis]) {
        return Err(Error::shape("slice", format!("{start}..+{len} of axis {axis} of {}", x.shape())));
    }
    dims[axis] = len;
    Shape::of_result("slice", &dims)
}

/// That a transposition of `x` goes into `out`, whatever the dimensions between batch and channels are called there.
///
/// # Errors
/// See [`result`].
pub fn transpose(x: &Tensor, out: &Tensor) -> Result<()> {
    let fits = x.shape().rank() >= 2
        && x.shape().len() == out.shape().len()
        && x.dims().first() == out.dims().first();
    if fits {
        return Ok(());
    }
    Err(Error::shape("transpose", format!("{} does not go into {}", x.shape(), out.shape())))
}

/// Of [`crate::Kernels::folded_attention`].
///
/// # Errors
/// See [`result`].
pub fn folded_attention(a: &FoldedAttention) -> Result<Shape> {
    const OP: &str = "folded_attention";
    let [x_batch, rows, channels] = a.x.shape().fixed(OP)?;
    let [batch, tokens, key_columns] = a.keys.shape().fixed(OP)?;
    let fits = (x_batch == batch || x_batch == 1)
        && a.heads > 0
        && tokens > 0
        && a.positions.dims() == [1, rows, channels]
        && channels.checked_add(1).and_then(|c| c.checked_mul(a.heads)) == Some(key_columns)
        && a.values.dims() == [batch, tokens, a.heads * channels]
        && a.norm.gamma.dims() == [channels]
        && a.norm.beta.dims() == [channels];
    if !fits {
        let (x, positions, keys, values) =
            (a.x.shape(), a.positions.shape(), a.keys.shape(), a.values.shape());
        let what = format!("x {x}, positions {positions}, keys {keys}, values {values}, {} heads", a.heads);
        return Err(Error::shape(OP, what));
    }
    Shape::of_result(OP, &[batch, rows, channels])
}

/// What the operands of an [`AxialAttention`] make.
#[derive(Debug, Clone, Copy)]
pub struct AxialSizes {
    /// Of the result.
    pub shape: Shape,
    /// Rows of `q`.
    pub queries: usize,
    /// Cells of all maps over those of one.
    pub maps: usize,
    /// Rows and columns of a map.
    pub grid: [usize; 2],
    /// Keys that have no cell.
    pub beside: usize,
    /// Of a query.
    pub channels: usize,
    /// Of a key as it is given.
    pub key_channels: usize,
    /// Of a value and of the result.
    pub value_channels: usize,
}

impl AxialSizes {
    /// Multiplications of two ways to the same result: with the matrices on the side of the queries, where a sum counts as half of one; and
    /// with keys that are made first.
    pub fn multiplications(&self) -> [u64; 2] {
        let &Self {
            queries,
            maps,
            grid: [rows, columns],
            beside,
            channels,
            key_channels,
            value_channels,
            ..
        } = self;
        let product =
            |factors: &[usize]| factors.iter().fold(1u64, |product, &f| product.saturating_mul(f as u64));
        let cells = product(&[rows, columns]);
        let keys = product(&[maps, rows, columns]).saturating_add(beside as u64);
        let of_query = product(&[rows + columns, key_channels + 1, channels / 2])
            .saturating_add(cells.saturating_mul(key_channels as u64) / 2)
            .saturating_add(keys.saturating_mul((key_channels + value_channels) as u64));
        let of_key = product(&[key_channels + 1, channels]);
        let by_keys =
            product(&[queries, channels + value_channels]).saturating_add(of_key).saturating_mul(keys);
        [of_query.saturating_mul(queries as u64), by_keys]
    }
}

/// Of [`crate::Kernels::axial_attention`].
///
/// # Errors
/// See [`result`].
pub fn axial_attention(a: &AxialAttention) -> Result<AxialSizes> {
    const OP: &str = "axial_attention";
    let [cells_of_all, key_channels] = a.keys.shape().fixed(OP)?;
    let [keys, value_channels] = a.values.shape().fixed(OP)?;
    let [columns, column_inputs, column_half] = a.columns.shape().fixed(OP)?;
    let [rows, row_inputs, row_half] = a.rows.shape().fixed(OP)?;
    let [beside, beside_channels] = match a.beside {
        Some(beside) => beside.shape().fixed(OP)?,
        None => [0, key_channels],
    };
    let (channels, cells) = (a.q.shape().channels(), rows.saturating_mul(columns));
    let fits = channels.is_multiple_of(4)
        && [channels, key_channels, value_channels].iter().all(|&count| count > 0)
        && [column_half, row_half] == [channels / 2; 2]
        && [Some(column_inputs), Some(row_inputs)] == [key_channels.checked_add(1); 2]
        && beside_channels == key_channels
        && cells > 0
        && cells_of_all > 0
        && cells_of_all.is_multiple_of(cells)
        && Some(keys) == cells_of_all.checked_add(beside);
    if !fits {
        let what = format!(
            "q {}, keys {} and {beside} beside them, values {}, columns {}, rows {}",
            a.q.shape(),
            a.keys.shape(),
            a.values.shape(),
            a.columns.shape(),
            a.rows.shape()
        );
        return Err(Error::shape(OP, what));
    }
    Ok(AxialSizes {
        shape: a.q.shape().result_with_channels(OP, value_channels)?,
        queries: a.q.shape().rows(),
        maps: cells_of_all / cells,
        grid: [rows, columns],
        beside,
        channels,
        key_channels,
        value_channels,
    })
}

/// Of [`crate::Kernels::mask_logits`].
///
/// # Errors
/// See [`result`].
pub fn mask_logits(x: &Tensor, head: &MaskHead, vectors: &Tensor) -> Result<Shape> {
    const OP: &str = "mask_logits";
    let [batch, height, width, inputs] = x.shape().fixed(OP)?;
    let [vector_batch, masks, channels] = vectors.shape().fixed(OP)?;
    let [middle, outputs] = head.channels;
    if vector_batch != batch || inputs != head.inputs || channels != outputs {
        let (x, vectors, inputs) = (x.shape(), vectors.shape(), head.inputs);
        return Err(Error::shape(
            OP,
            format!("{x} and vectors {vectors} in a head of {inputs} and {outputs}"),
        ));
    }
    let (gamma, beta) = (head.norm.gamma.shape(), head.norm.beta.shape());
    if gamma.dims() != [middle] || beta.dims() != [middle] {
        let what = format!("scale {gamma} and shift {beta} in a head of {middle} channels");
        return Err(Error::shape(OP, what));
    }
    if let Some((_, [first, second])) = head.fused() {
        bias(OP, Some(first), middle)?;
        bias(OP, Some(second), outputs)?;
    }
    let factor = head.factors[0] * head.factors[1];
    Shape::of_result(OP, &[batch, masks, height.saturating_mul(factor), width.saturating_mul(factor)])
}

/// What the operands of an attention make.
#[derive(Debug, Clone, Copy)]
pub struct AttentionSizes {
    /// Of the result.
    pub shape: Shape,
    /// Queries of all entries together.
    pub queries: usize,
    /// Keys that each of them sees.
    pub keys_per_query: usize,
}

/// Of [`crate::Kernels::attention`].
///
/// # Errors
/// See [`result`].
pub fn attention(a: &Attention) -> Result<AttentionSizes> {
    const OP: &str = "attention";
    let shape = a.q.tensor.shape().result_with_channels(OP, a.heads.saturating_mul(a.value_channels))?;
    let product = |factors: &[usize]| {
        let product = factors.iter().try_fold(1usize, |product, &factor| product.checked_mul(factor));
        product.ok_or_else(|| Error::shape(OP, format!("{:?} is beyond all memory", a.layout)))
    };
    let fits = |rows: &Rows, count: usize, channels: usize| {
        let last = a.heads.checked_mul(channels).and_then(|columns| columns.checked_add(rows.first_column));
        rows.tensor.shape().rows() == count && last.is_some_and(|last| last <= rows.stride())
    };
    let (queries, key_rows, keys_per_query, softmax_queries) = match a.layout {
        TokenLayout::Sequence { batch, key_batch, queries, keys } => {
            let all = product(&[batch, queries])?;
            if keys == 0 && all > 0 {
                return Err(Error::shape(OP, "no keys to attend to"));
            }
            if !(key_batch == batch || key_batch == 1) {
                return Err(Error::shape(OP, format!("{key_batch} key batches for {batch} query batches")));
            }
            (all, product(&[key_batch, keys])?, keys, queries)
        }
        TokenLayout::Windows { batch, grid: [height, width], window, query_stride, padding } => {
            if window == 0 {
                return Err(Error::shape(OP, "a window of 0 tokens"));
            }
            let fits = |side: usize| query_stride > 0 && side.is_multiple_of(query_stride);
            if !fits(height) || !fits(width) || !fits(window) {
                let what =
                    format!("every {query_stride}. token of windows of {window} over {height}x{width}");
                return Err(Error::shape(OP, what));
            }
            let divides = height.is_multiple_of(window) && width.is_multiple_of(window);
            let stride = a.k.stride();
            match padding {
                None if !divides => {
                    let what = format!("windows of {window} over {height}x{width} need a padding row");
                    return Err(Error::shape(OP, what));
                }
                Some(row) if row.shape().len() != stride || a.v.stride() != stride => {
                    let what = format!("padding row {} beside keys of {stride} columns", row.shape());
                    return Err(Error::shape(OP, what));
                }
                _ => {}
            }
            let (keys, of_window) = (product(&[batch, height, width])?, product(&[window, window])?);
            let of_query = query_stride.saturating_mul(query_stride);
            (keys / of_query, keys, of_window, of_window / of_query)
        }
    };
    let q_fits = fits(&a.q, queries, a.head_channels);
    if !q_fits || !fits(&a.k, key_rows, a.head_channels) || !fits(&a.v, key_rows, a.value_channels) {
        let (q, k, v) = (a.q.tensor.shape(), a.k.tensor.shape(), a.v.tensor.shape());
        let what = format!("q {q}, k {k}, v {v} with {} heads in {:?}", a.heads, a.layout);
        return Err(Error::shape(OP, what));
    }
    match a.bias {
        AttentionBias::None => {}
        AttentionBias::Table(table) => {
            if table.dims() != [a.heads, softmax_queries, keys_per_query] {
                return Err(Error::shape(OP, format!("bias table {}", table.shape())));
            }
        }
        AttentionBias::KeyPositions(positions) => {
            if matches!(a.layout, TokenLayout::Windows { .. }) {
                return Err(Error::shape(OP, "positions of keys in windows; add them to the keys before"));
            }
            if positions.dims() != [keys_per_query, a.heads * a.head_channels] {
                return Err(Error::shape(OP, format!("positions {} of the keys", positions.shape())));
            }
        }
        AttentionBias::RelativePosition { rows, columns, grid: [height, width] } => {
            let distances = |side: usize| side.checked_mul(2).and_then(|twice| twice.checked_sub(1));
            let table_fits = |table: &Tensor, side: usize| {
                distances(side).is_some_and(|entries| table.dims() == [entries, a.head_channels])
            };
            let tables_fit = table_fits(rows, height) && table_fits(columns, width);
            if !tables_fit
                || product(&[height, width])? != softmax_queries
                || softmax_queries != keys_per_query
            {
                let what = format!("tables {} and {} for {height}x{width}", rows.shape(), columns.shape());
                return Err(Error::shape(OP, what));
            }
        }
    }
    Ok(AttentionSizes { shape, queries, keys_per_query })
}

fn bias(op: &'static str, bias: Option<&Tensor>, outputs: usize) -> Result<()> {
    match bias {
        Some(bias) if bias.dims() != [outputs] => {
            Err(Error::shape(op, format!("a bias {} for {outputs} outputs", bias.shape())))
        }
        _ => Ok(()),
    }
}
