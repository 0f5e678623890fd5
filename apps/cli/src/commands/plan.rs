//! `samovar plan`: bytes and operations, before any work.

use std::path::{Path, PathBuf};

use anyhow::Result;
use samovar::memory::bytes;
use samovar::planning::{ModelPlan, PROMPTS_AT_ONCE};
use samovar::tensor::Plan;
use samovar::{
    CatalogueEntry, Engine, Image, LazyImage, ModelConfig, PictureBytes, PictureUse, Precision, Size,
};
use serde_json::{Value, json};

use super::segment::print;
use crate::model_args::{ModelArgs, resolve};

/// Tell what a model takes, in bytes and operations, before any work is done
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A picture: what it and its masks take beside the model, by its header alone
    image: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  samovar plan                                  the embedded model
  samovar plan --model facebook/sam-vit-huge    no download is needed
  samovar plan --model sam_vit_b_01ec64.pth --json
  samovar plan panorama.jpg                     what to give --memory for it

The model runs on shapes alone: nothing is computed, and no weights are read. One multiply-add is two operations. The prompts that are decoded at once \
are the most that are: with points, box and mask each; fewer are taken together where memory is short.";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let engine = args.model.engine()?;
    let (name, config, stored) = config(&args.model.model)?;
    let precision = args.model.precision()?.unwrap_or(stored);
    let plan = ModelPlan::of(engine.device(), &config, precision)?;
    let picture = args.image.as_ref().map(|path| Picture::of(path, &engine, &plan)).transpose()?;
    if args.json {
        let mut document = document(&name, precision, &plan, &engine);
        if let Some(picture) = picture {
            document["picture"] = picture.document();
        }
        return print(&document);
    }
    table(&name, precision, &plan, &engine, picture.as_ref())
}

/// What a picture takes beside the model, for each thing that is made of it.
struct Picture {
    size: Size<Image>,
    uses: [(&'static str, PictureBytes); 5],
    /// Of the model and its work.
    beside_bytes: usize,
}

impl Picture {
    fn of(path: &Path, engine: &Engine, plan: &ModelPlan) -> Result<Self> {
        let metadata = LazyImage::open_within(path, *engine.decode_limits()).metadata()?;
        let uses = [
            ("masks", PictureUse::Masks),
            ("cut-outs", PictureUse::CutOut),
            ("label maps", PictureUse::Labels),
            ("masks found in crops", PictureUse::Crops),
            ("overlays", PictureUse::Overlay),
        ];
        let uses = uses.map(|(name, made)| (name, PictureBytes::of(&metadata, made)));
        Ok(Self { size: metadata.size, uses, beside_bytes: plan.peak_bytes() })
    }

    /// With the model.
    fn peak_bytes(&self, needs: &PictureBytes) -> usize {
        self.beside_bytes.saturating_add(needs.peak_bytes())
    }

    fn document(&self) -> Value {
        let peaks = self.uses.iter().map(|(name, needs)| ((*name).to_owned(), json!(self.peak_bytes(needs))));
        let (_, any) = &self.uses[0];
        json!({
            "width": self.size.width, "height": self.size.height, "decoding_bytes": any.decoding_bytes,
            "pixel_bytes": any.pixel_bytes, "peak_bytes": peaks.collect::<serde_json::Map<_, _>>(),
        })
    }
}

/// A model's dimensions; of models of the catalogue also when their weights are elsewhere.
fn config(model: &str) -> Result<(String, ModelConfig, Precision)> {
    match resolve(model) {
        Ok(source) => {
            let opened = source.open()?;
            let stored = opened.stored_precision()?;
            Ok((source.name(), opened.config, stored))
        }
        Err(error) => match CatalogueEntry::find(model).and_then(|entry| {
            Some((entry.id.to_owned(), ModelConfig::from_catalogue(entry.id)?, Precision::F32))
        }) {
            Some(known) => Ok(known),
            None => Err(error.into()),
        },
    }
}

fn document(name: &str, precision: Precision, plan: &ModelPlan, engine: &Engine) -> Value {
    json!({
        "model": name,
        "dtype": precision.to_string(),
        // One number for a square, as all models of the catalogue have.
        "input_size": match (plan.input_size.width, plan.input_size.height) {
            (width, height) if width == height => json!(width),
            (width, height) => json!([width, height]),
        },
        "weight_bytes": plan.encode.weight_bytes,
        "embedding_bytes": plan.embedding_bytes,
        "scratch_bytes": plan.encode.scratch_bytes,
        "peak_bytes": plan.peak_bytes(),
        "budget_bytes": engine.budget_bytes(),
        "fits": plan.peak_bytes() <= engine.budget_bytes(),
        "load_bytes": plan.encode.load_bytes,
        "prompts_at_once": PROMPTS_AT_ONCE,
        "batch_peak_bytes": plan.batch_peak_bytes(),
        "encode": work(&plan.encode),
        "decode": work(&plan.decode),
        "decode_batch": work(&plan.decode_batch),
    })
}

fn work(plan: &Plan) -> Value {
    let operators: Vec<Value> = plan
        .operators
        .iter()
        .map(|((stage, op), total)| {
            json!({
                "stage": stage, "operator": op, "calls": total.calls,
                "operations": total.cost.operations, "bytes": total.cost.bytes,
            })
        })
        .collect();
    json!({
        "operations": plan.cost().operations,
        "gflop": plan.cost().operations as f64 / 1e9,
        "bytes": plan.cost().bytes,
        "activation_bytes": plan.activation_bytes,
        "operators": operators,
    })
}

fn table(
    name: &str,
    precision: Precision,
    plan: &ModelPlan,
    engine: &Engine,
    picture: Option<&Picture>,
) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{name}, {precision}, input {} x {}\n", plan.input_size.width, plan.input_size.height)?;
    let batch = format!("decode {PROMPTS_AT_ONCE} at once");
    for (what, work) in [
        ("encode one image", &plan.encode),
        ("decode one prompt", &plan.decode),
        (&batch, &plan.decode_batch),
    ] {
        writeln!(
            out,
            "{what:18} {:>9.3} GFLOP   {:>9} activations",
            work.cost().operations as f64 / 1e9,
            bytes(work.activation_bytes).to_string()
        )?;
    }
    writeln!(out)?;
    let fits = if plan.peak_bytes() <= engine.budget_bytes() { "fits" } else { "does not fit" };
    for (what, count) in [
        ("weights", plan.encode.weight_bytes),
        ("more to load them", plan.encode.load_bytes),
        ("one encoded image", plan.embedding_bytes),
        ("scratch", plan.encode.scratch_bytes),
        ("all at the peak", plan.peak_bytes()),
        ("with a batch", plan.batch_peak_bytes()),
    ] {
        writeln!(out, "{what:18} {:>9}", bytes(count).to_string())?;
    }
    writeln!(out, "{:18} {:>9}   {fits}", "memory budget", bytes(engine.budget_bytes()).to_string())?;
    if let Some(picture) = picture {
        let (_, any) = &picture.uses[0];
        writeln!(out, "\npicture of {}", picture.size)?;
        writeln!(out, "{:18} {:>9}", "decoding it", bytes(any.decoding_bytes).to_string())?;
        writeln!(out, "{:18} {:>9}", "its pixels", bytes(any.pixel_bytes).to_string())?;
        for (name, needs) in &picture.uses {
            let peak = picture.peak_bytes(needs);
            let fits = if peak <= engine.budget_bytes() { "fits" } else { "does not fit" };
            writeln!(out, "{:18} {:>9}   {fits}", format!("all for {name}"), bytes(peak).to_string())?;
        }
    }
    writeln!(out, "\n{:12} {:18} {:>6} {:>10} {:>10}", "stage", "operator", "calls", "GFLOP", "traffic")?;
    for work in [&plan.encode, &plan.decode] {
        for ((stage, op), total) in &work.operators {
            let giga = total.cost.operations as f64 / 1e9;
            let traffic = bytes(total.cost.bytes as usize).to_string();
            writeln!(out, "{stage:12} {op:18} {:>6} {giga:>10.3} {traffic:>10}", total.calls)?;
        }
    }
    Ok(())
}
