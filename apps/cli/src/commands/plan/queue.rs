//! Pictures that are to be worked on, and how far the memory budget carries them.

use std::io::Write;

use anyhow::Result;
use samovar::automatic::AutomaticOptions;
use samovar::forecast::{Beside, Forecast, Job, PROCESS_BYTES, Queued, job_bytes, unbounded_pool_bytes};
use samovar::media::ImageMetadata;
use samovar::memory::{bytes, bytes_needed};
use samovar::planning::ModelPlan;
use samovar::{Engine, Image, ModelConfig, PictureBytes, PictureUse, PictureWork, Precision, Size};
use serde_json::{Value, json};

use crate::failure::describe;
use crate::inputs::Inputs;
use crate::say::one_line;

/// What a picture is made into, by the names of the report.
pub(super) const USES: [(&str, PictureUse); 6] = [
    ("masks", PictureUse::Masks),
    ("outlines", PictureUse::Outlines),
    ("cut-outs", PictureUse::CutOut),
    ("label maps", PictureUse::Labels),
    ("masks found in crops", PictureUse::Crops),
    ("overlays", PictureUse::Overlay),
];

/// Pictures named in the report that are refused; the JSON document has all.
const REFUSED_SHOWN: usize = 10;

/// What the program has beside the engine's work, where the budget is that of the host.
pub(super) fn program_bytes(engine: &Engine) -> usize {
    if engine.device().pool().is_host() { PROCESS_BYTES } else { 0 }
}

/// How pictures are worked on.
#[derive(Clone, Copy)]
pub(super) struct Way {
    /// So many are under way, and so many of them compute.
    pub(super) at_once: (usize, usize),
    /// So many clicks together, where everything is looked for.
    pub(super) clicks: usize,
    /// Of features that are kept.
    pub(super) cache_bytes: usize,
}

impl Way {
    /// Bytes of features that are kept of so many pictures: as many as fit whole; one is there anyway.
    pub(super) fn cached_bytes(&self, plan: &ModelPlan, pictures: usize) -> usize {
        let fitting = self.cache_bytes / plan.embedding_bytes.max(1);
        fitting.min(pictures).saturating_sub(1) * plan.embedding_bytes
    }
}

/// What pictures take beside the model, for each thing that is made of them.
pub(super) struct Queue {
    /// If it is one that was named.
    pub(super) single: Option<Picture>,
    uses: Vec<Use>,
    /// Pictures whose headers cannot be read, and why.
    unreadable: Vec<(String, String)>,
}

/// What `everything` asks of a picture that `made` is made of, with the parameters that the model's authors recommend; to find masks
/// in crops, with a layer of them.
pub(super) fn everything_of(config: &ModelConfig, made: PictureUse) -> PictureWork {
    let recommended = config.recommendations();
    let mut options = AutomaticOptions::recommended(&recommended);
    options.crop_n_layers = usize::from(made == PictureUse::Crops);
    options.work(made, &recommended)
}

struct Use {
    name: &'static str,
    /// By one prompt.
    segment: Forecast,
    /// See [`everything_of`].
    everything: Forecast,
}

/// One picture.
pub(super) struct Picture {
    size: Size<Image>,
    metadata: ImageMetadata,
    /// Of the program, the model and its work.
    beside_bytes: usize,
}

impl Queue {
    pub(super) fn of(
        inputs: &Inputs,
        way: Way,
        engine: &Engine,
        plan: &ModelPlan,
        config: &ModelConfig,
        precision: Precision,
    ) -> Result<Self> {
        inputs.report_left_out();
        let (mut headers, mut unreadable) = (Vec::new(), Vec::new());
        for input in &inputs.images {
            let name = input.path.display().to_string();
            match input.open(engine.decode_limits(), None).and_then(|image| Ok(image.metadata()?)) {
                Ok(metadata) => headers.push((name, metadata)),
                Err(error) if inputs.is_single => return Err(error),
                Err(error) => unreadable.push((name, describe(&error))),
            }
        }
        let program = program_bytes(engine);
        let job = if program > 0 && !inputs.is_single { job_bytes(inputs.images.len()) } else { 0 };
        let pool = |job| unbounded_pool_bytes(engine.device(), config, precision, job);
        let segment = pool(Job::Segment { prompts: 1 })?;
        let everything = pool(Job::Everything { clicks: way.clicks })?;
        let cached_bytes = way.cached_bytes(plan, headers.len());
        let of = |(name, made): (&'static str, PictureUse)| {
            let forecast = |work: PictureWork, pool_bytes| {
                let queued = |(name, metadata): &(String, ImageMetadata)| Queued {
                    name: name.clone(),
                    needs: PictureBytes::of(metadata, work),
                };
                let queue: Vec<Queued> = headers.iter().map(queued).collect();
                // Cut-outs of all that is in a picture are a folder, and making it a job.
                let is_job = job == 0 && work.masks_held > 0 && made == PictureUse::CutOut;
                let job = if is_job { job_bytes(1) } else { job };
                let beside = Beside { pool_bytes, cached_bytes, process_bytes: program + job };
                Forecast::of(plan, beside, engine.budget_bytes(), &queue, way.at_once)
            };
            let work = everything_of(config, made);
            Use { name, segment: forecast(made.into(), segment), everything: forecast(work, everything) }
        };
        let single = match &headers[..] {
            [(_, metadata)] if inputs.is_single => Some(Picture {
                size: metadata.size,
                metadata: *metadata,
                beside_bytes: program + plan.peak_bytes(),
            }),
            _ => None,
        };
        Ok(Self { single, uses: USES.into_iter().map(of).collect(), unreadable })
    }

    pub(super) fn document(&self) -> Value {
        let uses = self.uses.iter().map(|one| {
            let Forecast { pictures, refused, largest, at_once, prompts_at_once, .. } = &one.segment;
            let named = |picture: &samovar::forecast::Refused| {
                json!({ "image": picture.name, "needed_bytes": picture.needed_bytes })
            };
            let value = json!({
                "fit": pictures - refused.len(), "refused": refused.iter().map(named).collect::<Vec<_>>(),
                "largest": largest.as_ref().map(named), "images_at_once": at_once,
                "prompts_at_once": prompts_at_once, "segment_peak_bytes": one.segment.peak_bytes,
                "everything_peak_bytes": one.everything.peak_bytes,
                "everything_largest": one.everything.largest.as_ref().map(named),
            });
            (one.name.to_owned(), value)
        });
        let unreadable = self.unreadable.iter().map(|(image, why)| json!({ "image": image, "error": why }));
        json!({
            "pictures": self.uses[0].segment.pictures, "unreadable": unreadable.collect::<Vec<_>>(),
            "for": uses.collect::<serde_json::Map<_, _>>(),
        })
    }

    pub(super) fn write(&self, out: &mut dyn Write, budget_bytes: usize) -> Result<()> {
        if let Some(picture) = &self.single {
            picture.write(out, budget_bytes)?;
        }
        let count = self.uses[0].segment.pictures;
        let pictures = if count == 1 { "1 picture".to_owned() } else { format!("{count} pictures") };
        writeln!(out, "\n{pictures} with {}", bytes(budget_bytes))?;
        writeln!(
            out,
            "{:20} {:>6} {:>8} {:>8} {:>9} {:>9} {:>18} {:>9}",
            "for", "fit", "at once", "prompts", "segment", "at most", "everything", "at most"
        )?;
        for one in &self.uses {
            let Forecast { refused, at_once, prompts_at_once, .. } = &one.segment;
            let [segment, everything] = [&one.segment, &one.everything].map(|forecast| {
                let least = forecast.largest.as_ref().map(|one| bytes_needed(one.needed_bytes).to_string());
                (least.unwrap_or_default(), bytes_needed(forecast.peak_bytes).to_string())
            });
            writeln!(
                out,
                "{:20} {:>6} {at_once:>8} {prompts_at_once:>8} {:>9} {:>9} {:>18} {:>9}",
                one.name,
                count - refused.len(),
                segment.0,
                segment.1,
                everything.0,
                everything.1,
            )?;
        }
        let masks = &self.uses[0].segment;
        if let Some(largest) = masks.largest.as_ref().filter(|_| count > 1) {
            writeln!(out, "the largest is \"{}\"", one_line(&largest.name))?;
        }
        for refused in masks.refused.iter().take(REFUSED_SHOWN) {
            let needed = refused.needed_bytes.div_ceil(1_000_000);
            writeln!(
                out,
                "refused for masks: \"{}\"; --memory {needed}MB would do",
                one_line(&refused.name)
            )?;
        }
        if masks.refused.len() > REFUSED_SHOWN {
            writeln!(
                out,
                "refused for masks: {} more; --json names all, and those for other results",
                masks.refused.len() - REFUSED_SHOWN
            )?;
        }
        for (image, why) in &self.unreadable {
            writeln!(out, "cannot be read: \"{}\": {}", one_line(image), one_line(why))?;
        }
        Ok(())
    }
}

impl Picture {
    fn uses(&self) -> impl Iterator<Item = (&'static str, PictureBytes)> {
        USES.into_iter().map(|(name, made)| (name, PictureBytes::of(&self.metadata, made)))
    }

    /// With the model.
    fn peak_bytes(&self, needs: &PictureBytes) -> usize {
        self.beside_bytes.saturating_add(needs.peak_bytes())
    }

    pub(super) fn document(&self) -> Value {
        let peaks = self.uses().map(|(name, needs)| (name.to_owned(), json!(self.peak_bytes(&needs))));
        let any = PictureBytes::of(&self.metadata, PictureUse::Masks);
        json!({
            "width": self.size.width, "height": self.size.height, "decoding_bytes": any.decoding_bytes,
            "pixel_bytes": any.pixel_bytes, "peak_bytes": peaks.collect::<serde_json::Map<_, _>>(),
        })
    }

    fn write(&self, out: &mut dyn Write, budget_bytes: usize) -> Result<()> {
        let any = PictureBytes::of(&self.metadata, PictureUse::Masks);
        writeln!(out, "\npicture of {}", self.size)?;
        writeln!(out, "{:18} {:>9}", "decoding it", bytes(any.decoding_bytes).to_string())?;
        writeln!(out, "{:18} {:>9}", "its pixels", bytes(any.pixel_bytes).to_string())?;
        for (name, needs) in self.uses() {
            let peak = self.peak_bytes(&needs);
            let fits = if peak <= budget_bytes { "fits" } else { "does not fit" };
            writeln!(out, "{:18} {:>9}   {fits}", format!("all for {name}"), bytes_needed(peak).to_string())?;
        }
        Ok(())
    }
}
