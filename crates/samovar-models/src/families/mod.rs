//! Model families: each states its numbers and limits, and how its blocks are wired. None knows another's encoder, and
//! none knows what is made of it.

pub(crate) mod coco;
pub(crate) mod d_fine;
pub(crate) mod d_fine_checkpoint;
pub(crate) mod d_fine_json;
pub(crate) mod edgetam;
pub(crate) mod edgetam_checkpoint;
pub(crate) mod edgetam_json;
mod json_side;
pub(crate) mod mobile_sam;
pub(crate) mod mobile_sam_checkpoint;
pub(crate) mod nano;
pub(crate) mod nano_json;
pub(crate) mod prompted;
pub(crate) mod sam1;
pub(crate) mod sam1_checkpoint;
pub(crate) mod sam1_json;
pub(crate) mod sam2;
pub(crate) mod sam2_checkpoint;
pub(crate) mod sam2_json;
pub(crate) mod sam2_memory;
pub(crate) mod sam2_memory_json;
pub(crate) mod sam_checkpoint;
pub(crate) mod sam_heads;
