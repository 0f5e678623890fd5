//! Every kernel of `kernels/samovar.cu`: its name there, and the threads of a block.

macro_rules! kernels {
    ($($variant:ident $name:literal $threads:literal,)*) => {
        /// A kernel.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum KernelName { $($variant,)* }

        impl KernelName {
            /// All of them, in the order of their numbers.
            pub(crate) const ALL: &[KernelName] = &[$(KernelName::$variant,)*];

            /// Its name in the image, with a zero behind.
            pub(crate) fn symbol(self) -> &'static std::ffi::CStr {
                match self { $(KernelName::$variant => $name,)* }
            }

            /// Threads of a block.
            pub(crate) const fn threads(self) -> u32 {
                match self { $(KernelName::$variant => $threads,)* }
            }
        }
    };
}

kernels! {
    ProductF32 c"product_f32" 128,
    ConvolutionF32 c"convolution_f32" 128,
    ProductF16 c"product_f16" 128,
    ConvolutionF16 c"convolution_f16" 128,
    ProductBf16 c"product_bf16" 128,
    ConvolutionBf16 c"convolution_bf16" 128,
    ProductF16Rounded c"product_f16_rounded" 128,
    ConvolutionF16Rounded c"convolution_f16_rounded" 128,
    ProductBf16Rounded c"product_bf16_rounded" 128,
    ConvolutionBf16Rounded c"convolution_bf16_rounded" 128,
    RoundRowsToBf16 c"round_rows_to_bf16" 256,
    RoundRowsToF16 c"round_rows_to_f16" 256,
    RoundPatchesToBf16 c"round_patches_to_bf16" 256,
    RoundPatchesToF16 c"round_patches_to_f16" 256,
    ProductOfBf16 c"product_of_bf16" 256,
    ProductOfF16 c"product_of_f16" 256,
    ProductInt8 c"product_int8" 128,
    ConvolutionInt8 c"convolution_int8" 128,
    ScaleRowsOfProduct c"scale_rows_of_product" 128,
    ScaleRowsOfConvolution c"scale_rows_of_convolution" 128,
    AttentionF32By64 c"attention_f32_64" 256,
    AttentionF32By128 c"attention_f32_128" 256,
    AttentionF32By256 c"attention_f32_256" 256,
    AttentionExact16 c"attention_exact_16" 128,
    AttentionExact32 c"attention_exact_32" 128,
    AttentionExact64 c"attention_exact_64" 128,
    AttentionRounded16 c"attention_rounded_16" 256,
    AttentionRounded32 c"attention_rounded_32" 256,
    AttentionRounded64 c"attention_rounded_64" 256,
    AttentionRounded80 c"attention_rounded_80" 256,
    AttentionRounded128 c"attention_rounded_128" 256,
    AttentionRounded256 c"attention_rounded_256" 128,
    AttentionCombine c"attention_combine" 256,
    Depthwise c"depthwise" 256,
    DepthToSpace c"depth_to_space" 256,
    LayerNorm c"layer_norm" 256,
    Binary c"binary" 256,
    Resize c"resize" 256,
    MaxPool2d c"max_pool2d" 256,
    FourierFeatures c"fourier_features" 256,
    Rotate c"rotate" 256,
    CopyRows c"copy_rows" 256,
    Transpose c"transpose" 256,
    Fill c"fill" 256,
    Softmax c"softmax" 256,
    TopK c"top_k" 256,
    GatherRows c"gather_rows" 256,
    DeformableAttention c"deformable_attention" 256,
}
