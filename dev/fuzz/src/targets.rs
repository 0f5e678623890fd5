//! The table of targets, one per parser.

use std::io::{Cursor, Write};
use std::time::Duration;

use samovar_geometry::{Image, Size};
use samovar_media::image::{DecodeLimits, LazyImage, decode_bytes};
use samovar_media::mask::{Rle, decode_labels};
use samovar_media::segpack::{SegpackLimits, SegpackReader};
use samovar_media::write::CocoDataset;
use samovar_models::{Capability, MemoryPlace, Model, ModelConfig, ObjectPast, Parts, TrackedImage};
use samovar_runtime::prompt_file::PromptFile;
use samovar_tensor::{DType, Device, Shape, Tensor};
use samovar_testkit::{cpu_time, peak_bytes};
use samovar_weights::{Checkpoint, ShapeSource, WeightSource};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::png;

/// A function of untrusted bytes, and the memory it may take.
#[derive(Debug)]
pub struct Target {
    /// Name of the target and of its folder in `corpus/`.
    pub name: &'static str,
    /// Must return, whatever the bytes.
    pub run: fn(&[u8]),
    /// Peak memory allowed: this much,
    pub memory_bytes: usize,
    /// and this many times the input's length.
    pub memory_factor: usize,
}

/// Decoding within these limits.
const IMAGE_LIMITS: DecodeLimits = DecodeLimits { max_pixels: 1 << 20, max_bytes: 8 << 20 };
const CANVAS: Size<Image> = Size::new(64, 48);

/// Bytes of the files that [`torch_growth`] makes.
const GROWN_BYTES: usize = 128 << 10;
/// Most time per byte of them: a hundred times what reading takes. Where the time grows with the square, it is a thousand
/// times.
const MAX_TIME_PER_BYTE: Duration = Duration::from_nanos(if cfg!(debug_assertions) { 20_000 } else { 2_000 });

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "safetensors", run: checkpoint, memory_bytes: 1 << 20, memory_factor: 64 },
    // The zip library makes room for as many entries as the file claims, up to 65,535 of 232 bytes.
    Target { name: "torch_zip", run: checkpoint, memory_bytes: 16 << 20, memory_factor: 64 },
    Target { name: "torch_pickle", run: torch_pickle, memory_bytes: 2 << 20, memory_factor: 64 },
    // Judges itself, by the larger files it makes of its input.
    Target { name: "torch_growth", run: torch_growth, memory_bytes: 64 << 20, memory_factor: 64 },
    Target { name: "image", run: image_but_tiff, memory_bytes: 32 << 20, memory_factor: 8 },
    // The TIFF library reserves up to 256 MiB, untouched, for a table of values before it looks whether the file
    // holds them; its limits can be set only after that.
    Target { name: "tiff", run: image, memory_bytes: 288 << 20, memory_factor: 8 },
    // The library makes room for what a chunk says it holds, and for a few tables of half a megabyte.
    Target { name: "exr", run: image, memory_bytes: 64 << 20, memory_factor: 8 },
    Target { name: "labels", run: labels, memory_bytes: 32 << 20, memory_factor: 8 },
    Target { name: "segpack", run: segpack, memory_bytes: 32 << 20, memory_factor: 64 },
    Target { name: "rle", run: rle, memory_bytes: 1 << 20, memory_factor: 64 },
    Target { name: "config", run: config, memory_bytes: 64 << 20, memory_factor: 1024 },
    Target { name: "preprocessor", run: preprocessor, memory_bytes: 1 << 20, memory_factor: 256 },
    Target { name: "coco", run: coco, memory_bytes: 4 << 20, memory_factor: 256 },
    Target { name: "prompts", run: prompts, memory_bytes: 4 << 20, memory_factor: 256 },
];

/// A weight file: opened, and every tensor looked at.
fn checkpoint(data: &[u8]) {
    if let Ok(checkpoint) = Checkpoint::from_bytes("fuzz", data.to_vec()) {
        read_all(&checkpoint);
    }
}

/// A pickle inside a well-formed archive, so that mutations reach the pickle's reader.
fn torch_pickle(data: &[u8]) {
    checkpoint(&archive_of(data));
}

/// An archive as torch.save makes it, of this pickle and two small storages.
fn archive_of(pickle: &[u8]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let storage = [7; 64];
    for (name, content) in
        [("m/data.pkl", pickle), ("m/byteorder", b"little"), ("m/data/0", &storage), ("m/data/1", &storage)]
    {
        let written = writer.start_file(name, options).map(|()| writer.write_all(content));
        assert!(matches!(written, Ok(Ok(()))), "writing to memory does not fail");
    }
    writer.finish().map(Cursor::into_inner).unwrap_or_default()
}

/// A pickle of which one part is repeated until it is large: memory stays within 64 times the file, and time grows as the
/// file does. The first bytes say where the part begins (u16, little endian) and how long it is (u16); `%%%%` in it is
/// another text in every repetition.
fn torch_growth(data: &[u8]) {
    let Some((&[s0, s1, l0, l1], pickle)) = data.split_first_chunk() else { return };
    let start = usize::from(u16::from_le_bytes([s0, s1])).min(pickle.len());
    let (head, rest) = pickle.split_at(start);
    let (part, tail) = rest.split_at(usize::from(u16::from_le_bytes([l0, l1])).min(rest.len()));
    if part.is_empty() {
        return;
    }
    let numbered = part.windows(4).position(|window| window == b"%%%%");
    let mut large = head.to_vec();
    for number in 0..GROWN_BYTES / part.len() {
        let at = large.len();
        large.extend_from_slice(part);
        if let Some(place) = numbered {
            large[at + place..at + place + 4].copy_from_slice(format!("{:04x}", number & 0xffff).as_bytes());
        }
    }
    large.extend_from_slice(tail);
    let file = archive_of(&large);
    let len = file.len();
    let (((), time), memory) = peak_bytes(|| cpu_time(|| drop(Checkpoint::from_bytes("fuzz", file))));
    let allowed = 64 * len + (1 << 20);
    assert!(memory <= allowed, "{len} bytes of file took {memory} of memory, {allowed} are allowed");
    let allowed = MAX_TIME_PER_BYTE * len as u32;
    assert!(time <= allowed, "{len} bytes of file took {time:?}, {allowed:?} are allowed");
}

fn read_all(checkpoint: &Checkpoint) {
    let _ = ModelConfig::infer(checkpoint);
    for name in checkpoint.names() {
        let shape = checkpoint.shape(&name);
        if let Ok(tensor) = checkpoint.any_tensor(&name) {
            assert_eq!(Some(tensor.shape()), shape.as_ref(), "{name}");
        }
    }
}

/// An image file of any format that keeps to tight limits.
fn image_but_tiff(data: &[u8]) {
    if !data.starts_with(b"II*\0") && !data.starts_with(b"MM\0*") {
        image(data);
    }
}

/// An image file: header alone, then pixels.
fn image(data: &[u8]) {
    let data = &png::with_right_checksums(data);
    let metadata = LazyImage::from_bytes(data.to_vec(), IMAGE_LIMITS).metadata();
    if let Ok(pixels) = decode_bytes(data, &IMAGE_LIMITS) {
        assert_eq!(pixels.pixels().len() as u64, u64::from(pixels.width()) * u64::from(pixels.height()) * 3);
        assert!(metadata.is_ok(), "pixels without metadata");
    }
}

/// A label map in a PNG.
fn labels(data: &[u8]) {
    if let Ok(labels) = decode_labels(&png::with_right_checksums(data), &IMAGE_LIMITS) {
        assert_eq!(
            labels.labels().len() as u64,
            u64::from(labels.size().width) * u64::from(labels.size().height)
        );
    }
}

/// A pack of pictures and label maps.
fn segpack(data: &[u8]) {
    let limits = SegpackLimits { max_header_bytes: 1 << 16, max_image_bytes: 1 << 20 };
    let Ok(reader) = SegpackReader::new(data, limits) else { return };
    for record in reader.map_while(Result::ok).take(8) {
        let _ = record.image(&IMAGE_LIMITS);
        for index in 0..record.layer_bytes.len().min(8) {
            let _ = record.labels(index, &IMAGE_LIMITS);
        }
    }
}

/// Run lengths in pycocotools' string form; what can be read can be written.
fn rle(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(rle) = Rle::from_coco_string(CANVAS, &text) {
        let mask = rle.to_mask().unwrap();
        assert_eq!(mask.area(), rle.area());
        let again = Rle::from_mask(&mask).unwrap();
        assert_eq!(again.to_mask().unwrap(), mask);
        let text = again.to_coco_string();
        assert_eq!(Rle::from_coco_string(CANVAS, &text).ok(), Some(again), "{text}");
    }
}

/// A model's `config.json`: what is accepted can be loaded and run, on shapes alone.
fn config(data: &[u8]) {
    let Ok(config) = ModelConfig::from_hf_json(&String::from_utf8_lossy(data)) else { return };
    let load = |device: &Device| Model::load(device, &config, &ShapeSource);
    let encode = |device: &Device, model: &Model| {
        let encoder = model.image_encoder()?;
        let pixels = Tensor::shape_only(Shape::new(&encoder.preprocessing().pixels_shape(1)), DType::F32);
        encoder.encode(device, &pixels).map(drop)
    };
    let detect = |device: &Device, model: &Model| {
        let detector = model.detector()?;
        let pixels = Tensor::shape_only(Shape::new(&detector.preprocessing().pixels_shape(1)), DType::F32);
        detector.detect(device, &pixels).map(drop)
    };
    let _ = match config.capabilities().contains(&Capability::Detector) {
        true => Device::reference().plan(load, detect),
        false => Device::reference().plan(load, encode),
    };
    // What is said about memories is looked at where a tracker is loaded.
    let whole = |device: &Device| Model::load_parts(device, &config, &ShapeSource, Parts::ALL);
    let remember = |device: &Device, model: &Model| {
        let encoder = model.image_encoder()?;
        let pixels = Tensor::shape_only(Shape::new(&encoder.preprocessing().pixels_shape(1)), DType::F32);
        let mut image = TrackedImage::new(encoder.encode(device, &pixels)?)?;
        let (tracker, segmenter) = (model.tracker()?, model.promptable_segmenter()?);
        let rule = *tracker.rule();
        let memory = Tensor::shape_only(Shape::new(&[rule.memory_tokens, rule.memory_channels]), DType::F32);
        let past =
            ObjectPast { memories: vec![(&memory, MemoryPlace::Conditioning)], ..ObjectPast::default() };
        let features = tracker.attend(device, &mut image, &past)?;
        let found = tracker.answer(device, &**segmenter, &features, None)?;
        tracker.remember(device, &mut image, &found, true).map(drop)
    };
    if config.capabilities().contains(&Capability::Tracker) {
        let _ = Device::reference().plan(whole, remember);
    }
}

/// A `preprocessor_config.json`: what is accepted is a canvas and numbers that can be divided by.
fn preprocessor(data: &[u8]) {
    let Some(config) = ModelConfig::from_catalogue("nano") else { return };
    let Ok(config) = config.with_preprocessor(&String::from_utf8_lossy(data)) else { return };
    let preprocessing = config.preprocessing();
    assert!((1..=8192).contains(&preprocessing.canvas().width), "{preprocessing:?}");
    assert!(preprocessing.std.iter().all(|std| std.is_finite() && *std > 0.0), "{preprocessing:?}");
    assert!(preprocessing.mean.iter().all(|mean| mean.is_finite()), "{preprocessing:?}");
}

/// COCO annotations: read, and every mask drawn.
fn coco(data: &[u8]) {
    let Ok(dataset) = serde_json::from_slice::<CocoDataset>(data) else { return };
    for annotation in dataset.annotations.iter().take(16) {
        if let Ok(mask) = annotation.segmentation.to_mask(CANVAS) {
            assert_eq!(mask.size(), CANVAS);
        }
    }
}

/// A file of prompts, of COCO or of labelme: what is accepted is checked against an image, its masks are drawn there, and it can
/// be written again.
fn prompts(data: &[u8]) {
    let Ok(file) = PromptFile::parse(data) else { return };
    for entry in &file.prompts {
        let _ = (entry.prompt(None).check_image(CANVAS), entry.check_size(CANVAS));
        if let Ok(Some(mask)) = entry.drawn(CANVAS) {
            assert_eq!(mask.size(), CANVAS);
        }
    }
    let again = serde_json::to_vec(&file).map(|text| PromptFile::parse(&text).ok());
    assert!(matches!(again, Ok(Some(_))), "{again:?}");
}
