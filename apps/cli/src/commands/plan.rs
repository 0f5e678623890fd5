//! `samovar plan`: bytes and operations, before any work.

mod queue;
mod video;

use std::path::PathBuf;

use self::queue::{Queue, Way, program_bytes};
use anyhow::Result;
use samovar::automatic::AutomaticOptions;
use samovar::media::video::is_video;
use samovar::memory::{bytes, bytes_needed};
use samovar::planning::{ModelPlan, PROMPTS_AT_ONCE};
use samovar::sharing::usual;
use samovar::tensor::Plan;
use samovar::{Engine, Precision};
use serde_json::{Value, json};

use self::video::Video;
use super::segment::print;
use crate::model_args::{ModelArgs, resolve};
use crate::planned::Planned;
use crate::{cache_args, inputs};

/// Tell what a model takes, in bytes and operations, before any work is done
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Pictures, or folders of pictures: what they and their masks take beside the model, by their headers alone, and how far the
    /// memory budget carries them. Or one video or pattern of frames: what `track` and `everything` take
    #[arg(value_name = "IMAGE|DIR|VIDEO")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    /// So many pictures under way at once, if they fit [default: as many as `segment` and `everything` have]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    images_at_once: Option<u16>,
    /// So many objects are followed through a video
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=255))]
    objects: u32,
    /// Folders: also images in the folders within
    #[arg(long, short)]
    recursive: bool,
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
  samovar plan photos/ --memory 2GB             how many of them fit, how many at once, and which would be refused
  samovar plan clip.mp4 --objects 3             what to give `track` and `everything` for it

Memory is that of the whole program: `segment` and `everything` run with the least that is said here, and take what is expected \
where there is more, because blocks are kept for the next picture. Pictures that are read ahead count among those at once.

The model runs on shapes alone: nothing is computed, and no weights are read. One multiply-add is two operations. The prompts that are decoded at once \
are the most that are: with points, box and mask each; fewer are taken together where memory is short.";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let engine = args.model.engine()?;
    let model = Planned::of(&args.model, &engine)?;
    let (usual, computing) = usual(model.plan.encode.cost().operations, engine.threads());
    let settings = args.model.settings()?.with_flag("images_at_once", args.images_at_once);
    let asked = settings.count("images_at_once").unwrap_or(usual);
    let at_once = if engine.optimizes() { asked } else { 1 };
    let is_embedded = resolve(&args.model.model).is_ok_and(|source| source.path().is_none());
    let keeps = engine.optimizes() && cache_args::keeps(&settings, is_embedded);
    let way = Way {
        at_once: (at_once, computing.min(at_once)),
        clicks: settings
            .count("points_per_batch")
            .unwrap_or_else(|| AutomaticOptions::default().points_per_batch),
        cache_bytes: settings.bytes("cache_memory").filter(|_| keeps).unwrap_or(0),
    };
    let video = match &args.images[..] {
        [path] if is_video(path) => Some(Video::of(path, &engine, &model, way, args.objects as usize)?),
        _ => None,
    };
    let Planned { name, config, precision, plan } = model;
    let queue = match args.images.is_empty() || video.is_some() {
        true => None,
        false => {
            let inputs = inputs::list(&args.images, args.recursive)?;
            Some(Queue::of(&inputs, way, &engine, &plan, &config, precision)?)
        }
    };
    if args.json {
        let mut document = document(&name, precision, &plan, &engine);
        if let Some(queue) = queue {
            if let Some(picture) = &queue.single {
                document["picture"] = picture.document();
            }
            document["queue"] = queue.document();
        }
        if let Some(video) = video {
            document["video"] = video.document();
        }
        return print(&document);
    }
    table(&name, precision, &plan, &engine, queue.as_ref(), video.as_ref())
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
        "program_bytes": program_bytes(engine),
        "peak_bytes": program_bytes(engine) + plan.peak_bytes(),
        "budget_bytes": engine.budget_bytes(),
        "fits": program_bytes(engine) + plan.peak_bytes() <= engine.budget_bytes(),
        "load_bytes": plan.encode.load_bytes,
        "prompts_at_once": PROMPTS_AT_ONCE,
        "batch_peak_bytes": program_bytes(engine) + plan.batch_peak_bytes(),
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
    queue: Option<&Queue>,
    video: Option<&Video>,
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
    let program = program_bytes(engine);
    let fits = if program + plan.peak_bytes() <= engine.budget_bytes() { "fits" } else { "does not fit" };
    for (what, count) in [
        ("weights", plan.encode.weight_bytes),
        ("more to load them", plan.encode.load_bytes),
        ("one encoded image", plan.embedding_bytes),
        ("scratch", plan.encode.scratch_bytes),
        ("the program", program),
        ("all at the peak", program + plan.peak_bytes()),
        ("with a batch", program + plan.batch_peak_bytes()),
    ] {
        writeln!(out, "{what:18} {:>9}", bytes_needed(count).to_string())?;
    }
    writeln!(out, "{:18} {:>9}   {fits}", "memory budget", bytes(engine.budget_bytes()).to_string())?;
    if let Some(queue) = queue {
        queue.write(&mut out, engine.budget_bytes())?;
    }
    if let Some(video) = video {
        video.write(&mut out, engine.budget_bytes())?;
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
