//! Memory watched: figures, levels, what a clean-up gives back, and whether a model would fit.
//!
//!     cargo run --release -p samovar --example memory

use std::error::Error;

use samovar::memory::{MemoryThresholds, bytes};
use samovar::planning::ModelPlan;
use samovar::resources::cache::{Store, StoreOptions, content_keys};
use samovar::source::ModelSource;
use samovar::{Engine, LazyImage, ModelConfig, Options, Precision, RgbImage, Size};

fn main() -> Result<(), Box<dyn Error>> {
    let thresholds = MemoryThresholds { pressure: 0.80, warning: 0.85, critical: 0.95 };
    let options =
        Options { memory_budget_bytes: Some(1 << 30), memory_thresholds: thresholds, ..Options::default() };
    let engine = Engine::new(options)?;
    // It watches the machine, this process and the engine's pool, whose idle blocks it can give back.
    let memory = engine.memory();
    let mut out = std::io::stdout();
    println!("before:");
    memory.print_summary(&mut out)?;

    // Would these fit? Known from shapes alone, before anything is loaded.
    println!();
    for name in ["facebook/sam-vit-base", "facebook/sam-vit-huge"] {
        let config = ModelConfig::from_catalogue(name).ok_or("the catalogue has it")?;
        let plan = ModelPlan::of(engine.device(), &config, Precision::F32)?;
        let fits = memory.can_load_model(plan.peak_bytes(), &engine.device().name());
        println!("{name} takes {}: {}", bytes(plan.peak_bytes()), if fits { "fits" } else { "does not fit" });
    }

    // Features of images are kept, and can be had again: a model's cache is asked for memory too.
    let store = Store::new(StoreOptions::default());
    let source = ModelSource::resolve("nano", None)?;
    let weights = source.key(&content_keys(&store, false))?;
    let model = engine.load_from(&source)?.with_cache(&store, weights);
    let folder = tempfile::tempdir()?;
    for shade in 0..6 {
        let path = folder.path().join(format!("{shade}.png"));
        samovar::media::write::write_rgb_png(
            &path,
            &RgbImage::from_fn(Size::new(320, 240), |x, _| [shade * 40, x as u8, 90]),
        )?;
        model.embed(&LazyImage::open(&path))?;
    }
    println!("\nwith a model and features of six pictures:");
    memory.print_summary(&mut out)?;
    println!("kept: {}", store.stats(None));

    println!("\na clean-up as under pressure, and one that gives all that can be made again:");
    println!("{}", memory.cleanup(false));
    println!("{}", memory.cleanup(true));
    println!("{}", memory.cleanup(false));
    println!("kept: {}", store.stats(None));
    println!("pressure now: {}", if memory.check_memory_pressure() { "yes" } else { "no" });
    println!("{} figures in the history", memory.usage_history().len());
    Ok(())
}
