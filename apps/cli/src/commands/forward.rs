//! `samovar forward`: tensors in, tensors out.

use std::path::{Path, PathBuf};

use anyhow::Result;
use samovar::Capability;
use samovar::forward::{forward_detector_file, forward_file};

use crate::inputs::Sources;
use crate::model_args::{ModelArgs, resolve};
use crate::outputs::check_place;

/// Run a model on tensors: no pre- and post-processing, names and layouts as in transformers
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// safetensors with pixel_values [B,3,S,S] and any of input_points [B,P,N,2], input_labels [B,P,N], input_boxes
    /// [B,P,4], input_masks [B,1,s,s], multimask_output [1]
    #[arg(long, value_name = "IN.safetensors")]
    inputs: PathBuf,
    /// safetensors to write: image_embeddings[.i], pred_masks, iou_scores; of a detector logits, pred_boxes
    #[arg(long, value_name = "OUT.safetensors")]
    outputs: PathBuf,
}

const EXAMPLES: &str = "\
Example:
  samovar forward --model facebook/sam-vit-base --inputs in.safetensors --outputs out.safetensors

Points and boxes are in pixels of the model's input square. Masks are multimask unless multimask_output is 0.";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let sources = Sources::of([args.inputs.as_path(), Path::new(&args.model.model)]);
    check_place(&args.outputs, "--outputs takes a file", &sources)?;
    let source = resolve(&args.model.model)?;
    let shapes = match source.open()?.config.capabilities().contains(&Capability::Detector) {
        true => {
            let detector = args.model.engine()?.load_detector_from(&source)?;
            forward_detector_file(&detector, &args.inputs, &args.outputs)?
        }
        false => forward_file(&args.model.load()?, &args.inputs, &args.outputs)?,
    };
    for (name, shape) in shapes {
        say!("{name} {shape:?}");
    }
    Ok(())
}
