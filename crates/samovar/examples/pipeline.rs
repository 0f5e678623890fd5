//! From a frame to the things in it to their masks, with a detector of one's own or with D-FINE.
//!
//!     cargo run --release -p samovar --example pipeline                        a made frame, and a detector that knows red
//!     cargo run --release -p samovar --example pipeline -- PHOTO DETECTOR      a folder or file of D-FINE

use std::error::Error;

use samovar::{
    Box2, Detection, Detector, Engine, LazyImage, Options, Pipeline, PipelineOptions, RgbImage, Size,
};

/// Knows one thing: the box around all that is red.
struct Red(Vec<String>);

impl Detector for Red {
    fn name(&self) -> &str {
        "red"
    }

    fn classes(&self) -> &[String] {
        &self.0
    }

    fn detect(&self, image: &RgbImage) -> samovar::Result<Vec<Detection>> {
        let (width, pixels) = (image.width() as usize, image.pixels().as_chunks::<3>().0);
        let is_red = |&[red, green, blue]: &[u8; 3]| red > 150 && green < 90 && blue < 90;
        let places = || pixels.iter().enumerate().filter(|(_, pixel)| is_red(pixel)).map(|(at, _)| at);
        let (Some(top), Some(bottom)) =
            (places().map(|at| at / width).min(), places().map(|at| at / width).max())
        else {
            return Ok(Vec::new());
        };
        let left = places().map(|at| at % width).min().unwrap_or(0);
        let right = places().map(|at| at % width).max().unwrap_or(0);
        let [x0, y0, x1, y1] = [left, top, right + 1, bottom + 1].map(|edge| edge as f64);
        let box_in_image = Box2::new(x0, y0, x1, y1);
        Ok(vec![Detection { box_in_image, class: 0, label: "red thing".into(), score: 1.0 }])
    }
}

fn cut_out<D: Detector>(pipeline: &Pipeline<D>, frame: &RgbImage) -> samovar::Result<()> {
    let packet = pipeline.run(frame)?;
    println!("{:?}, {:?}", packet.timing(), packet.copies());
    for (detection, mask) in packet.into_parts() {
        // Here its pixels come to the host.
        let mask = mask.into_host()?;
        println!(
            "{} ({:.2}): {} pixels in {:?}",
            detection.label,
            detection.score,
            mask.area(),
            detection.box_in_image
        );
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::new(Options::default())?;
    let model = engine.load("nano")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [photo, detector] = &arguments[..] {
        let detector = engine.load_detector(detector)?;
        let frame = LazyImage::open(photo).pixels()?;
        cut_out(&Pipeline::new(detector, model, PipelineOptions::default())?, &frame)?;
        return Ok(());
    }
    let disc = |x: u32, y: u32| (f64::from(x) - 90.0).hypot(f64::from(y) - 70.0) < 30.0;
    let frame =
        RgbImage::from_fn(Size::new(200, 120), |x, y| if disc(x, y) { [210, 40, 30] } else { [30, 60, 160] });
    let detector = Red(vec!["red thing".into()]);
    Ok(cut_out(&Pipeline::new(detector, model, PipelineOptions::default())?, &frame)?)
}
