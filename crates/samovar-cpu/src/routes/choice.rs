//! The ways an operator may be computed: what a route of the table stands for.

/// How a product with packed weights is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProductRoute {
    /// Weights in 16 or 32 bits.
    Float(FloatProduct),
    /// Weights in 8 bits.
    Int8,
}

/// How a product is summed in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloatProduct {
    /// Step by step along the depth, panel by panel.
    Plain,
    /// In one step, strip by strip.
    Shallow,
    /// Winograd's inner product.
    Paired,
    /// One level of Strassen's algorithm.
    Strassen,
}

/// How a depthwise convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DepthwiseRoute {
    /// Kernels of 3, a block of outputs at a time.
    BlocksOfStride1,
    /// The same where outputs are two pixels apart.
    BlocksOfStride2,
    /// Pixel by pixel.
    Pixels,
}

/// How an attention is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttentionRoute {
    /// Queries in the lanes of vectors, in narrow numbers.
    #[cfg(target_arch = "x86_64")]
    InLanes,
    /// Queries in the lanes of vectors, all keys in one block.
    FewKeys,
    /// Queries in rows.
    Rows(RowAttention),
}

/// How an attention with queries in rows is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowAttention {
    /// Plain products with packed values.
    Plain,
    /// Plain products with values read where they are.
    FewQueries,
    /// Products in pairs.
    Paired,
}
