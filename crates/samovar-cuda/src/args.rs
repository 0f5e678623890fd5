//! What kernels are called with: the structs of `kernels/*.h`, field by field.

use samovar_tensor::{Activation, BinaryOp};

/// Where a number of the device's memory lies; 0 for none.
pub(crate) type Address = u64;

/// A struct that a kernel takes.
///
/// # Safety
/// It must be `repr(C)` and have the fields of the struct of that name in `kernels/`.
pub(crate) unsafe trait Args: Copy {}

macro_rules! args {
    ($(#[$doc:meta] $name:ident { $($field:ident: $kind:ty,)* })*) => {$(
        #[$doc]
        #[repr(C)]
        #[derive(Debug, Clone, Copy, Default)]
        pub(crate) struct $name { $(pub(crate) $field: $kind,)* }
        // SAFETY: `repr(C)`, and the operator suite runs the kernels on the fake driver with it.
        unsafe impl Args for $name {}
    )*};
}

args! {
    /// What happens to a result before it is stored.
    EndingArgs {
        residual: Address,
        residual_rows: u32,
        before_activation: u32,
        activation: u32,
        pad: u32,
    }
    /// A convolution's numbers.
    ConvolutionShape {
        height: u32,
        width: u32,
        inputs: u32,
        out_height: u32,
        out_width: u32,
        kernel: u32,
        stride: u32,
        padding: u32,
        dilation: u32,
        pad: u32,
    }
    /// Of matrix products.
    ProductArgs {
        x: Address,
        w: Address,
        bias: Address,
        out: Address,
        w_scales: Address,
        w_sums: Address,
        rows: Address,
        ending: EndingArgs,
        m: u32,
        n: u32,
        k: u32,
        w_stride: u32,
        x_stride: u64,
        x_batch: u64,
        w_batch: u64,
        out_batch: u64,
        first_row: u32,
        x_vector: u32,
        w_vector: u32,
        column_blocks: u32,
        shape: ConvolutionShape,
    }
    /// Of the rounding of rows to 8 bits.
    ScaleRowsArgs {
        product: ProductArgs,
        to: Address,
        count: u32,
        pad: u32,
    }
    /// Of the rounding of rows to 16 bits.
    RoundRowsArgs {
        product: ProductArgs,
        to: Address,
        count: u32,
        pad: u32,
    }
    /// Of attention.
    AttentionArgs {
        q: Address,
        k: Address,
        v: Address,
        padding_k: Address,
        padding_v: Address,
        bias: Address,
        bias_columns: Address,
        out: Address,
        q_stride: u32,
        k_stride: u32,
        v_stride: u32,
        heads: u32,
        channels: u32,
        value_channels: u32,
        scale: f32,
        groups: u32,
        queries: u32,
        keys: u32,
        key_batch: u32,
        window: u32,
        query_stride: u32,
        height: u32,
        width: u32,
        kind: u32,
        relative_height: u32,
        relative_width: u32,
        relative_cached: u32,
        query_blocks: u32,
        value_blocks: u32,
        k_vector: u32,
        v_vector: u32,
        splits: u32,
        split_keys: u32,
        pad: u32,
        partial: Address,
    }
    /// Of depthwise convolutions.
    DepthwiseArgs {
        x: Address,
        w: Address,
        bias: Address,
        out: Address,
        ending: EndingArgs,
        count: u64,
        height: u32,
        width: u32,
        channels: u32,
        out_height: u32,
        out_width: u32,
        kernel: u32,
        stride: u32,
        padding: u32,
        dilation: u32,
        pad: u32,
    }
    /// Of moves from channels to pixels.
    DepthToSpaceArgs {
        x: Address,
        out: Address,
        ending: EndingArgs,
        count: u64,
        height: u32,
        width: u32,
        factor: u32,
        channels: u32,
    }
    /// Of layer normalisation.
    NormArgs {
        x: Address,
        gamma: Address,
        beta: Address,
        out: Address,
        rows: u64,
        channels: u32,
        epsilon: f32,
        activation: u32,
        pad: u32,
    }
    /// Of element-wise functions.
    BinaryArgs {
        a: Address,
        b: Address,
        out: Address,
        count: u64,
        b_count: u64,
        op: u32,
        activation: u32,
    }
    /// Of resizing.
    ResizeArgs {
        x: Address,
        out: Address,
        count: u64,
        height: u32,
        width: u32,
        channels: u32,
        out_height: u32,
        out_width: u32,
        bilinear: u32,
    }
    /// Of pooling.
    PoolArgs {
        x: Address,
        out: Address,
        count: u64,
        height: u32,
        width: u32,
        columns: u32,
        channels: u32,
        out_height: u32,
        out_width: u32,
        factor: u32,
        pad: u32,
    }
    /// Of Fourier features.
    FourierArgs {
        x: Address,
        gaussian: Address,
        out: Address,
        count: u64,
        features: u32,
        pad: u32,
    }
    /// Of rotations.
    RotateArgs {
        x: Address,
        table: Address,
        out: Address,
        count: u64,
        half: u32,
        x_stride: u32,
        table_rows: u64,
    }
    /// Of copies of rows.
    CopyRowsArgs {
        x: Address,
        out: Address,
        count: u64,
        len: u64,
        from_rows: u64,
        from_stride: u64,
        to_stride: u64,
    }
    /// Of transpositions.
    TransposeArgs {
        x: Address,
        out: Address,
        rows: u32,
        columns: u32,
        row_blocks: u32,
        column_blocks: u32,
    }
    /// Of the softmax of rows.
    SoftmaxArgs {
        x: Address,
        out: Address,
        rows: u64,
        columns: u32,
        pad: u32,
    }
    /// Of the largest numbers of rows.
    TopKArgs {
        x: Address,
        out: Address,
        count: u64,
        columns: u32,
        k: u32,
    }
    /// Of rows by their places.
    GatherArgs {
        x: Address,
        places: Address,
        out: Address,
        count: u64,
        gathered: u32,
        channels: u32,
        rows: u32,
        x_batch: u32,
        places_stride: u32,
        pad: u32,
    }
    /// Of attention to places of a map.
    DeformableArgs {
        values: Address,
        offsets: Address,
        logits: Address,
        boxes: Address,
        out: Address,
        count: u64,
        queries: u32,
        heads: u32,
        channels: u32,
        cells: u32,
        points: u32,
        rows: u32,
        columns: u32,
        map_points: u32,
        first_point: u32,
        first_cell: u32,
        offsets_stride: u32,
        logits_stride: u32,
        add: u32,
        pad: u32,
    }
    /// Of filling.
    FillArgs {
        out: Address,
        count: u64,
        value: f32,
        pad: u32,
    }
}

/// Bytes of `RowScale` in `kernels/product.h`.
pub(crate) const ROW_SCALE_BYTES: usize = 16;

/// `BinaryArgs::op` of an activation alone.
pub(crate) const NO_SECOND: u32 = 2;

/// An activation's number in `kernels/numbers.h`.
pub(crate) fn activation_number(activation: Activation) -> u32 {
    match activation {
        Activation::Identity => 0,
        Activation::Relu => 1,
        Activation::Relu6 => 2,
        Activation::Gelu => 3,
        Activation::Sigmoid => 4,
        Activation::Silu => 5,
    }
}

/// An operation's number in `kernels/operators.h`.
pub(crate) fn binary_number(op: BinaryOp) -> u32 {
    match op {
        BinaryOp::Add => 0,
        BinaryOp::Multiply => 1,
        BinaryOp::Maximum => 3,
        BinaryOp::Minimum => 4,
    }
}
