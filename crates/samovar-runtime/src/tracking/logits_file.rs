//! What SAM 2's own predictor would find, as numbers in a file: for checks from outside.

use std::collections::BTreeMap;
use std::path::Path;

use samovar_media::video::{FrameNumber, FrameSource};
use samovar_weights::{WriteTensor, write_safetensors};

use super::carrier::ObjectId;
use super::shot::Direction;
use super::upstream::{PredictedFrame, Travel};

use crate::error::{Error, Result};
use crate::model::Model;
use crate::prompt::Prompt;

/// Follows objects as `SAM2VideoPredictor` does, with all prompts given before, and writes f32 `frame_<i>.object_<id>`
/// (`[height, width]`, low-resolution logits; -1024 where the object is not in the picture) and `frame_<i>.object_<id>.score` (`[1]`, the
/// logit of its being there) as safetensors. [`Direction::Both`] is a pass forward and then one backward, each from the earliest
/// prompt. `told` hears of each frame, and says whether to go on. Says how many masks were written.
///
/// # Errors
/// [`Error::Usage`] of models without a memory, [`Error::DoesNotFit`] when the logits of all frames do not fit the budget,
/// [`Error::Stopped`].
pub fn write_logits(
    model: &Model,
    frames: Box<dyn FrameSource>,
    prompts: &[(FrameNumber, ObjectId, Prompt)],
    direction: Direction,
    out: &Path,
    told: &mut dyn FnMut(FrameNumber) -> bool,
) -> Result<usize> {
    let mut predictor = model.open_video_as_upstream(frames, None)?;
    for (frame, object, prompt) in prompts {
        predictor.prompt(*frame, *object, prompt)?;
    }
    let ways: &[Travel] = match direction {
        Direction::Forward => &[Travel::forward()],
        Direction::Backward => &[Travel::backward()],
        Direction::Both => &[Travel::forward(), Travel::backward()],
    };
    let grid = model.grid_size();
    let shape = vec![grid.height as usize, grid.width as usize];
    let mut found: BTreeMap<(FrameNumber, ObjectId), (Vec<f32>, f32)> = BTreeMap::new();
    let mut aside = Vec::new();
    for &way in ways {
        for frame in predictor.propagate(way)? {
            let PredictedFrame { frame, objects } = frame?;
            for object in objects {
                let logits = object.mask.logits()?.to_vec();
                aside.push(model.engine().set_aside("logits of all frames", size_of_val(&logits[..]))?);
                found.insert((frame.number, object.object), (logits, object.object_score));
            }
            if !told(frame.number) {
                return Err(Error::Stopped);
            }
        }
    }
    let mut tensors = Vec::with_capacity(2 * found.len());
    for ((frame, object), (logits, score)) in &found {
        let name = format!("frame_{frame}.object_{object}");
        let score = std::slice::from_ref(score);
        tensors.push(WriteTensor { name: format!("{name}.score"), shape: vec![1], values: score });
        tensors.push(WriteTensor { name, shape: shape.clone(), values: logits });
    }
    write_safetensors(out, &tensors, &BTreeMap::new()).map_err(samovar_models::Error::from)?;
    Ok(found.len())
}
