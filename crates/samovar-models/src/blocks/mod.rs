//! Building blocks shared by the families: each takes its dimensions as a config, its weights by name, and a device.

mod attention;
pub(crate) mod conv_norm;
mod cross_attention;
pub(crate) mod fpn;
pub(crate) mod hgnet;
pub(crate) mod hiera;
pub(crate) mod hq;
pub(crate) mod hybrid_encoder;
pub(crate) mod loader;
pub(crate) mod mask_decoder;
pub(crate) mod memory_attention;
pub(crate) mod memory_encoder;
pub(crate) mod mlp;
pub(crate) mod mobile_net;
pub(crate) mod neck;
pub(crate) mod perceiver;
mod placed_attention;
pub(crate) mod position;
pub(crate) mod prompt_encoder;
pub(crate) mod prompt_map;
pub(crate) mod query_selection;
pub(crate) mod refining_decoder;
pub(crate) mod repvit;
mod rotary;
pub(crate) mod self_cross_block;
pub(crate) mod sine_positions;
pub(crate) mod stage;
pub(crate) mod tiny_vit;
pub(crate) mod trunk;
pub(crate) mod two_way;
pub(crate) mod vit;
pub(crate) mod vit_block;

#[cfg(test)]
mod positions_tests;
