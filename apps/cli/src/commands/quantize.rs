//! `samovar quantize`: a model's large weights rounded, in one file.

use std::path::{Path, PathBuf};

use anyhow::Result;
use samovar::Precision;
use samovar::memory::bytes;
use samovar::rounding::write_rounded;
use serde_json::json;

use super::segment::print;
use crate::failure::usage;
use crate::inputs::Sources;
use crate::model_args::resolve;
use crate::outputs::check_place;
use crate::progress;

/// Write a model with its large weights rounded to f16, bf16 or int8
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// `nano`, an id of `samovar models`, a Hugging Face folder, or a checkpoint file
    #[arg(long, short, value_name = "MODEL")]
    model: String,
    /// f16, bf16 or int8
    #[arg(long, value_name = "DTYPE")]
    dtype: Precision,
    /// safetensors file to write; give it as --model afterwards
    #[arg(long, short, value_name = "FILE.safetensors")]
    out: PathBuf,
    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  samovar quantize --model facebook/sam-vit-base --dtype int8 --out vit_b-int8.safetensors
  samovar doctor --model facebook/sam-vit-base --images photos/      what int8 costs and saves here
  samovar segment photo.jpg --model vit_b-int8.safetensors --point 420,300

There is no --memory here: weights are read from the mapped file and rounded one tensor after the other, so that of any model two or \
three of its largest tensors are in memory.

int8: one scale per output of a layer in the file, activations rounded row by row while running, so nothing has to be \
calibrated; layers whose errors would reach the masks stay as they are. `--dtype` of the other commands does the same \
while loading, to the bit. While running, int8 also does attention in bf16 where the processor multiplies bf16 numbers.";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if args.dtype == Precision::F32 {
        return Err(usage("f32 rounds nothing; choose f16, bf16 or int8"));
    }
    check_place(&args.out, "--out takes a file", &Sources::of([Path::new(&args.model)]))?;
    let source = resolve(&args.model)?;
    let stored = source.open()?.stored_precision()?;
    if stored != Precision::F32 && stored != args.dtype {
        return Err(usage(format!(
            "{} is rounded to {stored} already, and rounding it twice would lose twice; name the model it was made from",
            source.name()
        )));
    }
    let wait = progress::spinner("rounding weights");
    let report = write_rounded(&source, args.dtype, &args.out)?;
    wait.finish_and_clear();
    if args.json {
        return print(&json!({
            "model": source.name(), "dtype": args.dtype.to_string(), "file": args.out.display().to_string(),
            "rounded": report.rounded, "kept": report.kept, "bytes": report.bytes, "left_out": report.left_out,
        }));
    }
    say!(
        "{}  {}; {} tensors in {}, {} as they were",
        args.out.display(),
        bytes(report.bytes as usize),
        report.rounded,
        args.dtype,
        report.kept
    );
    for name in &report.left_out {
        say!("left out, its values cannot be read: {name}");
    }
    Ok(())
}
