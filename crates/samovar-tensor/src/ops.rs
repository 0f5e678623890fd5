//! Operands of the operators: prepared weights, options, layouts.

use crate::conv2d_geometry::Conv2dGeometry;
use crate::packed::Packed;
use crate::{Error, Precision, Result, Shape, Tensor};

/// Function applied to every element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// x
    #[default]
    Identity,
    /// max(x, 0)
    Relu,
    /// min(max(x, 0), 6)
    Relu6,
    /// x Φ(x) with the exact error function, as `torch.nn.GELU()`
    Gelu,
    /// 1 / (1 + exp(−x))
    Sigmoid,
    /// x / (1 + exp(−x)), as `torch.nn.SiLU()`
    Silu,
}

/// A tensor added to an operator's result.
///
/// Its rows repeat when it has fewer than the result (a position embedding over a batch).
#[derive(Debug, Clone, Copy)]
pub struct Residual<'a> {
    /// Same number of channels as the result; its row count divides that of the result.
    pub tensor: &'a Tensor,
    /// Add before the activation (`act(y + r)`) instead of after it (`act(y) + r`).
    pub before_activation: bool,
}

/// What happens to a result before it is stored: bias is part of the weights, then activation and residual.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Applied to every element.
    pub activation: Activation,
    /// Added to the result.
    pub residual: Option<Residual<'a>>,
}

impl<'a> Epilogue<'a> {
    /// Nothing but the bias.
    pub const NONE: Epilogue<'static> = Epilogue { activation: Activation::Identity, residual: None };

    /// `act(y)`
    pub fn act(activation: Activation) -> Self {
        Self { activation, residual: None }
    }

    /// `y + residual`
    pub fn add(tensor: &'a Tensor) -> Self {
        Self::act_then_add(Activation::Identity, tensor)
    }

    /// `act(y) + residual`
    pub fn act_then_add(activation: Activation, tensor: &'a Tensor) -> Self {
        Self { activation, residual: Some(Residual { tensor, before_activation: false }) }
    }

    /// `act(y + residual)`
    pub fn add_then_act(tensor: &'a Tensor, activation: Activation) -> Self {
        Self { activation, residual: Some(Residual { tensor, before_activation: true }) }
    }

    pub(crate) fn check(&self, op: &'static str, output: &Shape) -> Result<()> {
        let Some(residual) = self.residual else { return Ok(()) };
        let shape = residual.tensor.shape();
        let rows_fit = shape.rows() > 0 && output.rows().is_multiple_of(shape.rows());
        if shape.channels() != output.channels() || !rows_fit {
            return Err(Error::shape(op, format!("residual {shape} does not repeat over {output}")));
        }
        Ok(())
    }
}

/// A fully connected layer, prepared for a device: `y = x Wᵀ + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) weight: Packed,
    pub(crate) bias: Option<Tensor>,
}

impl Linear {
    /// Channels read.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Channels written.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// `W`, `[outputs, inputs]` before packing.
    pub fn weight(&self) -> &Packed {
        &self.weight
    }

    /// `b`, `[outputs]`, always f32.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The precision in which the weight is held.
    pub fn precision(&self) -> Precision {
        self.weight.precision()
    }

    /// The same layer with its numbers elsewhere, for a backend that wraps another.
    #[must_use]
    pub fn rehoused(&self, weight: Packed, bias: Option<Tensor>) -> Self {
        Self { weight, bias, ..*self }
    }
}

/// A convolution, prepared for a device.
#[derive(Debug, Clone)]
pub struct Conv2d {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) geometry: Conv2dGeometry,
    pub(crate) weight: Packed,
    pub(crate) bias: Option<Tensor>,
}

impl Conv2d {
    /// Channels read.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Channels written.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Kernel, stride, padding, dilation, groups.
    pub fn geometry(&self) -> Conv2dGeometry {
        self.geometry
    }

    /// Weights, `[outputs, inputs / groups, kernel, kernel]` before packing.
    pub fn weight(&self) -> &Packed {
        &self.weight
    }

    /// `[outputs]`, always f32.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The same layer with its numbers elsewhere, for a backend that wraps another.
    #[must_use]
    pub fn rehoused(&self, weight: Packed, bias: Option<Tensor>) -> Self {
        Self { weight, bias, ..*self }
    }
}

/// A transposed convolution whose kernel equals its stride, so that outputs do not overlap: a fully connected layer from
/// `inputs` to `factor · factor · outputs`, ordered `[row, column, channel]`, and a move of channels to pixels.
#[derive(Debug, Clone)]
pub struct ConvTranspose2d {
    pub(crate) outputs: usize,
    pub(crate) factor: usize,
    pub(crate) taps: Linear,
}

impl ConvTranspose2d {
    /// Channels read.
    pub fn inputs(&self) -> usize {
        self.taps.inputs
    }

    /// Channels written.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Kernel side and stride: the factor by which height and width grow.
    pub fn factor(&self) -> usize {
        self.factor
    }
}

/// Layer normalisation over the last dimension.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    pub(crate) gamma: Tensor,
    pub(crate) beta: Tensor,
    pub(crate) epsilon: f32,
}

impl LayerNorm {
    /// Scale, `[channels]`.
    pub fn gamma(&self) -> &Tensor {
        &self.gamma
    }

    /// Shift, `[channels]`.
    pub fn beta(&self) -> &Tensor {
        &self.beta
    }

    /// Added to the variance.
    pub fn epsilon(&self) -> f32 {
        self.epsilon
    }

    /// The same layer with its numbers elsewhere, for a backend that wraps another.
    #[must_use]
    pub fn rehoused(&self, gamma: Tensor, beta: Tensor) -> Self {
        Self { gamma, beta, epsilon: self.epsilon }
    }
}

/// Columns of a matrix of rows: a head-major slice of a fused `qkv`, or a whole tensor.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// Its last dimension is the row.
    pub tensor: &'a Tensor,
    /// First column of the slice.
    pub first_column: usize,
}

impl<'a> Rows<'a> {
    /// The rows from their first column on.
    pub fn whole(tensor: &'a Tensor) -> Self {
        Self { tensor, first_column: 0 }
    }

    /// The rows from `first_column` on.
    pub fn columns(tensor: &'a Tensor, first_column: usize) -> Self {
        Self { tensor, first_column }
    }

    /// Distance between two rows, in elements.
    pub fn stride(&self) -> usize {
        self.tensor.shape().channels()
    }
}

/// Which tokens attend to which.
#[derive(Debug, Clone, Copy)]
pub enum TokenLayout<'a> {
    /// Every query to every key of its batch entry. Keys and values of batch 1 serve all queries.
    Sequence {
        /// Batch entries of the queries.
        batch: usize,
        /// Batch entries of the keys and values: `batch`, or 1 for shared ones.
        key_batch: usize,
        /// Queries per batch entry.
        queries: usize,
        /// Keys per batch entry.
        keys: usize,
    },
    /// Tokens of a grid attend within square windows. Rows stay in grid order; windows are found by index.
    ///
    /// A window over the right or lower edge is filled with padding tokens whose keys and values are the columns of
    /// `padding`; they take part in the softmax, as upstream (they are not masked).
    Windows {
        /// Images.
        batch: usize,
        /// Grid rows and columns.
        grid: [usize; 2],
        /// Window side.
        window: usize,
        /// Keys per query along both sides, 1 where every token asks: queries are those of a grid that is so many times
        /// smaller, and see the keys of the window they lie in, as Hiera's pooled queries. Divides grid and window.
        query_stride: usize,
        /// One row `[1, columns]` like those of `k` and `v`; needed when the window does not divide the grid.
        padding: Option<&'a Tensor>,
    },
}

/// What is added to the attention logits.
#[derive(Debug, Clone, Copy)]
pub enum AttentionBias<'a> {
    /// Nothing.
    None,
    /// ViTDet's decomposed relative position, with unscaled queries: `q·R_row[y_q − y_k + side − 1] + q·R_col[…]`.
    ///
    /// Tables are `[2 * side − 1, head_channels]`, shared by all heads. Tokens form a grid: that of the window, or
    /// `grid` for a sequence.
    RelativePosition {
        /// Table for the vertical distance.
        rows: &'a Tensor,
        /// Table for the horizontal distance.
        columns: &'a Tensor,
        /// Rows and columns of the token grid one softmax sees.
        grid: [usize; 2],
    },
    /// `[heads, queries, keys]`, the same for every batch entry or window.
    Table(&'a Tensor),
    /// `[keys, heads · head_channels]`: positions of the keys, added to them: `scale · q · position`. The same for every
    /// batch entry or window.
    KeyPositions(&'a Tensor),
}

/// Multi-head attention: `softmax(scale · q kᵀ + bias) v`, heads side by side in the columns.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// Queries.
    pub q: Rows<'a>,
    /// Keys.
    pub k: Rows<'a>,
    /// Values.
    pub v: Rows<'a>,
    /// Number of heads.
    pub heads: usize,
    /// Channels of one head in `q` and `k`.
    pub head_channels: usize,
    /// Channels of one head in `v` and the result.
    pub value_channels: usize,
    /// Factor on `q kᵀ`.
    pub scale: f32,
    /// Who attends to whom.
    pub layout: TokenLayout<'a>,
    /// Added to the logits.
    pub bias: AttentionBias<'a>,
    /// That of the layer. With [`Precision::Int8`] a backend may round operands and weights to 8 significant bits on the
    /// way into its products (bfloat16); with all others it computes in f32, unless it was opened to round to 16 bits wherever
    /// weights have 16.
    pub precision: Precision,
}

/// How values between grid points are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResizeMode {
    /// The nearest cell (`floor` of the scaled index), as `torch` mode `nearest`.
    Nearest,
    /// Bilinear between cell centres, `align_corners = false`, no antialias.
    Bilinear,
}

/// Element-wise functions of two tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    /// a + b
    Add,
    /// a · b
    Multiply,
    /// The larger
    Maximum,
    /// The smaller
    Minimum,
}
