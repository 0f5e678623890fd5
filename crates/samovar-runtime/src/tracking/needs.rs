//! What following objects takes of the host's memory beside the model's own work, known before the first frame is decoded.

use samovar_media::video::{Direction, FrameSource};

use super::carried::FLOW_WITHIN;
use crate::picture_bytes::{PictureUse, result_bytes};

/// Bytes of the host's memory, none of which grows with the length of the shot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShotNeeds {
    /// Frames decoded ahead with what decoding takes, and the one at hand.
    pub frame_bytes: usize,
    /// Masks of a frame, and what is made of them for a file.
    pub result_bytes: usize,
    /// What else is kept of objects from frame to frame, without the memories of models that have some.
    pub object_bytes: usize,
    /// Finding the flow from frame to frame, and how objects look, where the model has no memory.
    pub flow_bytes: usize,
}

impl ShotNeeds {
    /// Logits of an object as they were found and as they are carried, and its records on their way into a file.
    const OBJECT_BYTES: u64 = 1_300 << 10;
    /// What is learnt of how objects look, and the maps of a frame that it is learnt from and asked with; measured, nano.
    const APPEARANCE_BYTES: u64 = 8 << 20;
    /// By pixel of the flow: two pictures in grey with their pyramids, and the flow of each size.
    const FLOW_PIXEL_BYTES: u64 = 22;

    /// Of so many objects through frames that come in these directions; `has_memory` tells models that remember from those whose masks are
    /// carried by flow.
    pub fn of(
        frames: &dyn FrameSource,
        directions: &[Direction],
        objects: usize,
        has_memory: bool,
        made: PictureUse,
    ) -> Self {
        let area = frames.size().area();
        let held = directions.iter().map(|&direction| frames.held_bytes(direction)).max().unwrap_or(0);
        // Its mask, that of the frame before (signals compare them), and a part of one at work.
        let more_masks = (area * 23 / 80).saturating_mul(objects.saturating_sub(1) as u64);
        let flow = match has_memory {
            true => 0,
            false => {
                let flow = area.min(FLOW_WITHIN.area()).saturating_mul(Self::FLOW_PIXEL_BYTES);
                flow.saturating_add(Self::APPEARANCE_BYTES)
            }
        };
        let host = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            frame_bytes: host(held.saturating_add(area.saturating_mul(3))),
            result_bytes: result_bytes(area, made),
            object_bytes: host(more_masks.saturating_add(Self::OBJECT_BYTES.saturating_mul(objects as u64))),
            flow_bytes: host(flow),
        }
    }

    /// What is there as long as objects are followed, whatever is made of them.
    pub fn while_following_bytes(&self) -> usize {
        self.frame_bytes.saturating_add(self.object_bytes).saturating_add(self.flow_bytes)
    }

    /// All together.
    pub fn peak_bytes(&self) -> usize {
        self.while_following_bytes().saturating_add(self.result_bytes)
    }
}
