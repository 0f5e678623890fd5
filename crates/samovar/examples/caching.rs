//! What is kept: features of images by their content, and the answers of any function.
//!
//!     cargo run --release -p samovar --example caching                    nano, and a picture that is made
//!     cargo run --release -p samovar --example caching -- MODEL IMAGE     the gain grows with the model

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use samovar::feature_cache::key_of_pixels;
use samovar::resources::cache::{DiskOptions, Store, StoreOptions, cached, content_keys};
use samovar::source::ModelSource;
use samovar::{Engine, LazyImage, Options, Prompt, RgbImage, Size};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let model_name = arguments.next().unwrap_or_else(|| "nano".into());
    let model_name = model_name.to_str().ok_or("the model's name is no text")?;
    let image = match arguments.next() {
        Some(path) => LazyImage::open(PathBuf::from(path)).pixels()?,
        None => Arc::new(made_picture()),
    };
    let folder = tempfile::tempdir()?;

    // Two runs of a program, one after the other: the second finds on the disk what the first one kept, unless it takes less than
    // 0.15 s to find again. That is so with nano; with a larger model the second run's first prompt is a hit, too.
    for run in ["first run", "second run"] {
        let disk = Some(DiskOptions { folder: folder.path().join("features"), budget_bytes: 1 << 30 });
        let store =
            Store::new(StoreOptions { memory_budget_bytes: 256 << 20, disk, ..StoreOptions::default() });
        let source = ModelSource::resolve(model_name, None)?;
        let weights = source.key(&content_keys(&store, false))?;
        // The encoder is loaded when an image needs it, and not before.
        let engine = Engine::new(Options::default())?;
        let model = engine.load_when_needed(&source)?.with_cache(&store, weights);
        let key = key_of_pixels(&image);
        for turn in 1..=3 {
            let began = Instant::now();
            let embedding = model.embed_keyed(key, image.size(), || Ok(Arc::clone(&image)))?;
            let answer = embedding.segment(&Prompt::default().point(middle(&image).0, middle(&image).1))?;
            let area = answer.best().mask()?.area();
            println!("{run}, prompt {turn}: {:>7.1} ms, {area} pixels", milliseconds(began.elapsed()));
        }
        println!("{run}: {}\n", store.stats(None));
    }

    // Any function can be remembered, by the content of its arguments.
    let store = Store::new(StoreOptions::default());
    let brightness = cached(
        &store,
        "brightness",
        |_| 8,
        |pixels: &Vec<u8>| {
            pixels.iter().map(|&value| f64::from(value)).sum::<f64>() / pixels.len().max(1) as f64
        },
    );
    let pixels = image.pixels().to_vec();
    println!("brightness {:.1}, and again {:.1}", brightness(&pixels), brightness(&pixels));
    println!("{}", store.stats(Some("brightness")));

    // What was made of other pixels is never an answer.
    let mut other = pixels.clone();
    other[0] ^= 1;
    brightness(&other);
    println!("{}", store.stats(Some("brightness")));
    Ok(())
}

fn middle(image: &RgbImage) -> (f64, f64) {
    (f64::from(image.size().width) / 2.0, f64::from(image.size().height) / 2.0)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn made_picture() -> RgbImage {
    RgbImage::from_fn(Size::new(640, 480), |x, y| {
        let is_inside = (f64::from(x) - 320.0).hypot(f64::from(y) - 240.0) < 120.0;
        if is_inside { [210, 40, 30] } else { [30, 60, 160] }
    })
}
