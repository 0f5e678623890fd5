// Every kernel of the backend by its name; src/kernel_names.rs has the same list.
#include "attention.h"
#include "detectors.h"
#include "operators.h"
#include "product.h"

#define PRODUCT(name, XP, WP, W, HALF, CONVOLUTION, BM, BN, WM, WN) \
  KERNEL(WM * WN * 32, name, ProductArgs) { Product<XP, WP, W, HALF, CONVOLUTION, BM, BN, WM, WN>::run(a); }
// Exact: f32 as three bfloat16 numbers, f16 as two.
PRODUCT(product_f32, 3, 3, W_F32, false, false, 64, 64, 2, 2)
PRODUCT(convolution_f32, 3, 3, W_F32, false, true, 64, 64, 2, 2)
PRODUCT(product_f16, 3, 2, W_F16, false, false, 64, 64, 2, 2)
PRODUCT(convolution_f16, 3, 2, W_F16, false, true, 64, 64, 2, 2)
PRODUCT(product_bf16, 3, 1, W_BF16, false, false, 64, 64, 2, 2)
PRODUCT(convolution_bf16, 3, 1, W_BF16, false, true, 64, 64, 2, 2)
// Of rounded activations.
PRODUCT(product_f16_rounded, 1, 1, W_F16, true, false, 64, 64, 2, 2)
PRODUCT(convolution_f16_rounded, 1, 1, W_F16, true, true, 64, 64, 2, 2)
PRODUCT(product_bf16_rounded, 1, 1, W_BF16, false, false, 64, 64, 2, 2)
PRODUCT(convolution_bf16_rounded, 1, 1, W_BF16, false, true, 64, 64, 2, 2)
// Of activations that were rounded before.
KERNEL(256, round_rows_to_bf16, RoundRowsArgs) { round_rows<false, false>(a); }
KERNEL(256, round_rows_to_f16, RoundRowsArgs) { round_rows<true, false>(a); }
KERNEL(256, round_patches_to_bf16, RoundRowsArgs) { round_rows<false, true>(a); }
KERNEL(256, round_patches_to_f16, RoundRowsArgs) { round_rows<true, true>(a); }
KERNEL(256, product_of_bf16, ProductArgs) { Product16<false>::run(a); }
KERNEL(256, product_of_f16, ProductArgs) { Product16<true>::run(a); }
// Of 8 bits.
KERNEL(128, product_int8, ProductArgs) { Product8<false>::run(a); }
KERNEL(128, convolution_int8, ProductArgs) { Product8<true>::run(a); }
KERNEL(128, scale_rows_of_product, ScaleRowsArgs) { scale_rows<false>(a.product, a.to, a.count); }
KERNEL(128, scale_rows_of_convolution, ScaleRowsArgs) { scale_rows<true>(a.product, a.to, a.count); }

// Of large heads.
KERNEL(256, attention_f32_64, AttentionArgs) { AttentionF32<4>::run(a); }
KERNEL(256, attention_f32_128, AttentionArgs) { AttentionF32<8>::run(a); }
KERNEL(256, attention_f32_256, AttentionArgs) { AttentionF32<16>::run(a); }
#define ATTENTION(name, CK, CV, PIECES, WARPS) KERNEL(WARPS * 32, name, AttentionArgs) { AttentionMma<CK, CV, PIECES, WARPS>::run(a); }
// Exact: f32 as three bfloat16 numbers.
ATTENTION(attention_exact_16, 16, 16, 3, 4)
ATTENTION(attention_exact_32, 32, 32, 3, 4)
ATTENTION(attention_exact_64, 64, 64, 3, 4)
// Of rounded operands and weights.
ATTENTION(attention_rounded_16, 16, 16, 1, 8)
ATTENTION(attention_rounded_32, 32, 32, 1, 8)
ATTENTION(attention_rounded_64, 64, 64, 1, 8)
ATTENTION(attention_rounded_80, 80, 80, 1, 8)
ATTENTION(attention_rounded_128, 128, 128, 1, 8)
ATTENTION(attention_rounded_256, 256, 64, 1, 4)
KERNEL(256, attention_combine, AttentionArgs) { combine(a); }

KERNEL(256, depthwise, DepthwiseArgs) { depthwise_numbers(a); }
KERNEL(256, depth_to_space, DepthToSpaceArgs) { depth_to_space_numbers(a); }
KERNEL(256, layer_norm, NormArgs) { norm_rows(a); }
KERNEL(256, binary, BinaryArgs) { binary_numbers(a); }
KERNEL(256, resize, ResizeArgs) { resize_numbers(a); }
KERNEL(256, max_pool2d, PoolArgs) { pool_numbers(a); }
KERNEL(256, fourier_features, FourierArgs) { fourier_numbers(a); }
KERNEL(256, rotate, RotateArgs) { rotate_numbers(a); }
KERNEL(256, copy_rows, CopyRowsArgs) { copy_rows_numbers(a); }
KERNEL(256, transpose, TransposeArgs) { transpose_squares(a); }
KERNEL(256, fill, FillArgs) { fill_numbers(a); }

KERNEL(256, softmax, SoftmaxArgs) { softmax_rows(a); }
KERNEL(256, top_k, TopKArgs) { top_k_numbers(a); }
KERNEL(256, gather_rows, GatherArgs) { gather_numbers(a); }
KERNEL(256, deformable_attention, DeformableArgs) { deformable_numbers(a); }
