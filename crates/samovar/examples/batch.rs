//! Many pictures in batches whose size follows memory, and that halve when memory runs out.
//!
//!     cargo run --release -p samovar --example batch              made pictures
//!     cargo run --release -p samovar --example batch -- FOLDER    the pictures of a folder

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use samovar::memory::{MemoryManager, MemoryOptions, bytes};
use samovar::resources::batch::{BatchOptions, BatchProcessor, Retry};
use samovar::{Engine, ErrorKind, LazyImage, Model, Options, Prompt, RgbImage, Size};

/// Pictures that are made where no folder is given.
const MADE: u32 = 12;

fn main() -> Result<(), Box<dyn Error>> {
    let made = tempfile::tempdir()?;
    let pictures = match std::env::args_os().nth(1) {
        Some(folder) => pictures_of(Path::new(&folder))?,
        None => make_pictures(made.path())?,
    };
    let Some(first) = pictures.first() else { return Err("there is no picture in this folder".into()) };
    let engine = Engine::new(Options::default())?;
    let model = engine.load("nano")?;

    // A batch holds its decoded pictures and what the model found in them; one tells what the others will take.
    let memory = Arc::new(MemoryManager::new(MemoryOptions::default())?);
    let image = LazyImage::open(first).pixels()?;
    let bytes_per_item = image.pixels().len() + model.embed_pixels(&image)?.size_bytes();
    let options = BatchOptions { max_batch_size: 8, ..BatchOptions::default() };
    let processor = BatchProcessor::new(options).with_memory(&memory);
    let size = processor.get_optimal_batch_size(bytes_per_item);
    println!("{} pictures of {} each: batches of {size}", pictures.len(), bytes(bytes_per_item));

    // A batch that does not fit is halved and done again, so that no picture is lost or done twice.
    let mut began = Instant::now();
    let mut sizes = Vec::new();
    let areas = processor.process_in_batches(
        &pictures,
        Some(size),
        |error: &samovar::Error| match error.kind() {
            ErrorKind::OutOfMemory => Retry::Halved,
            _ => Retry::Never,
        },
        |batch| {
            let found = segment(&model, batch)?;
            sizes.push(batch.len());
            Ok(found)
        },
        |done, all| {
            println!(
                "{done} of {all} pictures, the last batch in {:.0} ms",
                began.elapsed().as_secs_f64() * 1e3
            );
            began = Instant::now();
        },
    )?;
    for (picture, area) in pictures.iter().zip(&areas) {
        println!("{}  {area} pixels", picture.file_name().unwrap_or_default().to_string_lossy());
    }
    println!("{} masks in batches of {sizes:?}", areas.len());
    Ok(())
}

/// The object in the middle of each picture: how many pixels it has.
fn segment(model: &Model, batch: &[PathBuf]) -> samovar::Result<Vec<usize>> {
    let images =
        batch.iter().map(|path| Ok(LazyImage::open(path).pixels()?)).collect::<samovar::Result<Vec<_>>>()?;
    let embeddings =
        images.iter().map(|image| model.embed_pixels(image)).collect::<samovar::Result<Vec<_>>>()?;
    let areas = embeddings.iter().map(|embedding| {
        let size = embedding.image_size();
        let middle = (f64::from(size.width) / 2.0, f64::from(size.height) / 2.0);
        let answer = embedding.segment(&Prompt::default().point(middle.0, middle.1))?;
        Ok(answer.best().mask()?.area() as usize)
    });
    areas.collect()
}

fn pictures_of(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let endings = ["jpg", "jpeg", "png", "webp"];
    let is_picture = |path: &PathBuf| {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        endings.contains(&ending.as_str())
    };
    let paths =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    let mut pictures: Vec<PathBuf> = paths.into_iter().filter(is_picture).collect();
    pictures.sort();
    Ok(pictures)
}

fn make_pictures(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    (0..MADE)
        .map(|number| {
            let path = folder.join(format!("disc-{number:02}.png"));
            let radius = 20.0 + 4.0 * f64::from(number);
            let is_inside = |x, y| (f64::from(x) - 160.0).hypot(f64::from(y) - 120.0) < radius;
            let picture = RgbImage::from_fn(Size::new(320, 240), |x, y| {
                if is_inside(x, y) { [210, 40, 30] } else { [30, 60, 160] }
            });
            samovar::media::write::write_rgb_png(&path, &picture)?;
            Ok(path)
        })
        .collect()
}
