//! Objects through video against the own predictors of SAM 2 and EdgeTAM, and what holds whatever the model: objects know nothing of each other, passes
//! can be cut anywhere, and corrections count.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use samovar_media::video::{Direction as Way, Frame, FrameNumber, FrameSource, FramesInMemory};
use samovar_media::{
    BitMask, DecodeLimits, LazyImage, MediaError, MediaErrorKind, RgbImage, decode_mask_file,
};
use samovar_runtime::certificate::{Bounds, PendingCase, certify};
use samovar_runtime::source::ModelSource;
use samovar_runtime::tracking::upstream::{PredictedFrame, Predictor, Travel};
use samovar_runtime::tracking::{Direction, ObjectId, Shot, ShotOptions, TrackedFrame};
use samovar_runtime::{Engine, Model, Options, Prompt};
use samovar_tensor::{Precision, Reference};
use samovar_weights::{Checkpoint, WeightSource, WriteTensor, write_safetensors};
use serde_json::Value;

const FIRST: FrameNumber = 1001;

fn golden() -> PathBuf {
    golden_of("sam2_video")
}

fn golden_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens").join(name)
}

/// A folder with the golden's model as a hub would have it.
fn folder(version: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut config = std::fs::read_to_string(golden().join("config.json")).unwrap();
    if version == "2.1" {
        std::fs::copy(golden().join("original.pt"), folder.path().join("pytorch_model.bin")).unwrap();
    } else {
        for key in ["enable_occlusion_spatial_embedding", "enable_temporal_pos_encoding_for_object_pointers"]
        {
            config = config.replace(&format!("\"{key}\": true"), &format!("\"{key}\": false"));
        }
        let file = Checkpoint::open(golden().join("original.pt")).unwrap();
        let is_of_2_1 =
            |name: &String| name.contains("no_obj_embed_spatial") || name.contains("obj_ptr_tpos_proj");
        let names: Vec<String> = file.names().into_iter().filter(|name| !is_of_2_1(name)).collect();
        let tensors: Vec<_> = names.iter().map(|name| file.any_tensor(name).unwrap()).collect();
        let values: Vec<_> = tensors.iter().map(|tensor| tensor.to_f32_vec().unwrap()).collect();
        let written: Vec<WriteTensor> = (names.iter().zip(&tensors).zip(&values))
            .map(|((name, tensor), values)| WriteTensor {
                name: name.clone(),
                shape: tensor.dims().to_vec(),
                values,
            })
            .collect();
        write_safetensors(folder.path().join("model.safetensors"), &written, &BTreeMap::new()).unwrap();
    }
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    folder
}

/// A model, and its folder, which has to stay until the tracker is there.
struct Loaded {
    model: Model,
    _folder: tempfile::TempDir,
}

impl std::ops::Deref for Loaded {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.model
    }
}

fn load(engine: &Engine, version: &str) -> Loaded {
    let folder = folder(version);
    Loaded { model: engine.load(folder.path().to_str().unwrap()).unwrap(), _folder: folder }
}

fn frames(count: usize) -> Vec<RgbImage> {
    let read = |number: i64| {
        let image = LazyImage::open(golden().join(format!("shot/{number}.png")));
        RgbImage::clone(&image.pixels().unwrap())
    };
    (FIRST..FIRST + count as i64).map(read).collect()
}

fn source(count: usize) -> Box<dyn FrameSource> {
    Box::new(FramesInMemory::new(FIRST, frames(count)).unwrap())
}

/// As upstream follows objects, and as users want it.
fn open_as_upstream(model: &Model, count: usize) -> Predictor {
    model.open_video_as_upstream(source(count), None).unwrap()
}

fn open(model: &Model, log: Option<&Path>) -> Shot {
    let options = ShotOptions { log: log.map(Path::to_owned), checkpoint_every: 4, ..ShotOptions::default() };
    model.open_video(source(20), &options).unwrap()
}

fn sessions_of(golden: &Path) -> BTreeMap<String, Value> {
    serde_json::from_str(&std::fs::read_to_string(golden.join("sessions.json")).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(parts) => parts.iter().flat_map(numbers).collect(),
        Value::Number(number) => vec![number.as_f64().unwrap()],
        _ => Vec::new(),
    }
}

fn mask(file: &str) -> BitMask {
    decode_mask_file(&golden().join(file), &DecodeLimits::default()).unwrap()
}

fn prompt_of(given: &Value) -> Prompt {
    let mut prompt = Prompt::default();
    for (point, label) in numbers(&given["points"]).chunks(2).zip(numbers(&given["labels"])) {
        prompt =
            if label > 0.0 { prompt.point(point[0], point[1]) } else { prompt.without(point[0], point[1]) };
    }
    if let [x0, y0, x1, y1] = numbers(&given["box"])[..] {
        prompt = prompt.within(x0, y0, x1, y1);
    }
    match given["mask"].as_str() {
        Some(file) => prompt.refine(mask(file)),
        None => prompt,
    }
}

/// A click on the disc, and a box around the square, on the first frame.
fn click() -> Prompt {
    Prompt::default().point(20.0, 36.0)
}

fn around() -> Prompt {
    Prompt::default().within(64.0, 50.0, 88.0, 70.0)
}

fn two(log: Option<&Path>, model: &Model) -> Shot {
    let mut shot = open(model, log);
    shot.prompt(FIRST, 1, &click()).unwrap();
    shot.prompt(FIRST, 2, &around()).unwrap();
    shot
}

/// What was found of an object, by frame: its mask, and its score to the bit where it was computed.
type Found = BTreeMap<FrameNumber, (BitMask, Option<u32>)>;

/// All that a pass finds, by object.
fn run(shot: &mut Shot, direction: Direction) -> BTreeMap<ObjectId, Found> {
    let mut all: BTreeMap<ObjectId, Found> = BTreeMap::new();
    for frame in shot.propagate(direction).unwrap() {
        let TrackedFrame { number, objects, .. } = frame.unwrap();
        for object in objects {
            let found = (object.mask.mask().clone(), object.object_score.map(f32::to_bits));
            assert!(all.entry(object.object).or_default().insert(number, found).is_none());
        }
    }
    all
}

/// The same as upstream follows them, by the bits of logits and score.
fn run_as_upstream(
    predictor: &mut Predictor,
    travel: impl Into<Travel>,
) -> BTreeMap<ObjectId, BTreeMap<FrameNumber, Vec<u32>>> {
    let mut all: BTreeMap<ObjectId, BTreeMap<FrameNumber, Vec<u32>>> = BTreeMap::new();
    for frame in predictor.propagate(travel).unwrap() {
        let PredictedFrame { frame, objects } = frame.unwrap();
        for object in objects {
            let logits = object.mask.logits().unwrap().iter().chain([&object.object_score]);
            let bits = logits.map(|logit| logit.to_bits()).collect();
            all.entry(object.object).or_default().insert(frame.number, bits);
        }
    }
    all
}

fn model() -> Loaded {
    load(&Engine::new(Options { threads: 1, ..Options::default() }).unwrap(), "2.1")
}

fn say(shot: &mut Predictor, given: &Value) {
    let number = |key: &str| given[key].as_i64().unwrap();
    shot.prompt(FIRST + number("frame"), number("object") as ObjectId, &prompt_of(given)).unwrap();
}

/// All numbers of a kind that a session has, found and expected; what is hidden counts for nothing, and must be hidden.
#[derive(Default)]
struct Compared(BTreeMap<&'static str, (Vec<f32>, Vec<f32>)>);

impl Compared {
    fn add(&mut self, kind: &'static str, found: Vec<f32>, expected: &[f32]) {
        assert_eq!(found.len(), expected.len(), "{kind}");
        let (all_found, all_expected) = self.0.entry(kind).or_default();
        for (found, &expected) in found.into_iter().zip(expected) {
            assert_eq!(found == -1024.0, expected == -1024.0, "{kind}");
            if expected != -1024.0 {
                all_found.push(found);
                all_expected.push(expected);
            }
        }
    }

    /// The largest difference over the spread, and the difference over what is expected, at worst.
    fn worst(&self) -> (f64, f64) {
        let of = |(found, expected): &(Vec<f32>, Vec<f32>)| {
            let n = expected.len() as f64;
            let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
                found.iter().zip(expected).map(|(&a, &b)| f(a.into(), b.into())).sum()
            };
            let mean = sum(&|_, b| b) / n;
            let spread = (sum(&|_, b| (b - mean).powi(2)) / (n - 1.0)).sqrt();
            let largest =
                found.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
            (largest / spread, (sum(&|a, b| (a - b).powi(2)) / sum(&|_, b| b * b)).sqrt())
        };
        let all = self.0.values().map(of);
        all.fold((0.0, 0.0), |worst, this| (f64::max(worst.0, this.0), f64::max(worst.1, this.1)))
    }
}

/// Follows a session of a golden, and compares what is recorded. The manifest has the tolerance under the key.
fn follow(model: &Model, golden: &Path, tolerance: &str, name: &str, session: &Value) {
    let manifest: Value =
        serde_json::from_str(&std::fs::read_to_string(golden.join("manifest.json")).unwrap()).unwrap();
    let outputs = Checkpoint::open(golden.join("outputs.safetensors")).unwrap();
    let most = usize::try_from(session["max_cond_frames"].as_i64().unwrap()).ok();
    let source = source(session["frames"].as_u64().unwrap() as usize);
    let mut shot = model.open_video_as_upstream(source, most).unwrap();
    let mut compared = Compared::default();
    for step in session["steps"].as_array().unwrap() {
        if step["prompt"].is_object() {
            say(&mut shot, &step["prompt"]);
            continue;
        }
        let start = step["start"].as_i64().unwrap();
        let travel = if step["reverse"] == true { Travel::backward() } else { Travel::forward() };
        let mut travel = travel.from(FIRST + start);
        if let Some(most) = step["most"].as_u64() {
            travel = travel.at_most(most as usize);
        }
        let mut count = 0;
        for frame in shot.propagate(travel).unwrap() {
            let PredictedFrame { frame, objects } = frame.unwrap();
            count += 1;
            let prefix = format!("{name}.{}.{}", step["run"].as_str().unwrap(), frame.number - FIRST);
            let expected = |kind: &str| {
                let name = format!("{prefix}.{kind}");
                outputs.shape(&name).map(|_| outputs.any_tensor(&name).unwrap().to_f32_vec().unwrap())
            };
            let scores = objects.iter().map(|object| object.object_score).collect();
            compared.add("scores", scores, &expected("scores").unwrap());
            let pointers = objects.iter().flat_map(|object| object.pointer().to_vec()).collect();
            compared.add("pointers", pointers, &expected("pointers").unwrap());
            if let Some(expected) = expected("masks") {
                let masks =
                    objects.iter().flat_map(|object| object.mask.logits().unwrap().to_vec()).collect();
                compared.add("masks", masks, &expected);
            }
            for object in &objects {
                assert_eq!(object.is_hidden(), object.mask.mask().unwrap().is_empty(), "{prefix}");
            }
        }
        let all =
            if step["reverse"] == true { start + 1 } else { session["frames"].as_i64().unwrap() - start };
        assert_eq!(count, step["most"].as_i64().unwrap_or(all), "N means N");
    }
    let (largest, relative) = compared.worst();
    println!("{name}, {}: {largest:.1e} / {relative:.1e}", model.engine().device().name());
    let tolerance = |key: &str| manifest[tolerance][key].as_f64().unwrap();
    assert!(largest < tolerance("max_abs_over_std") && relative < tolerance("relative_l2"), "{name}");
}

#[test]
fn all_sessions_are_followed_as_upstream() {
    let exact = Engine::on(Arc::new(Reference), Options::default()).unwrap();
    let fast = Engine::new(Options { threads: 1, ..Options::default() }).unwrap();
    for engine in [exact, fast] {
        let models = ["2.1", "2.0"].map(|version| (version, load(&engine, version)));
        for (name, session) in sessions_of(&golden()) {
            let version = session["version"].as_str().unwrap();
            let (_, model) = models.iter().find(|(of, _)| *of == version).unwrap();
            follow(model, &golden(), "tolerance", &name, &session);
        }
    }
}

/// The memories of EdgeTAM are tokens to which a perceiver compresses them, not the cells of a map.
#[test]
fn all_sessions_of_edgetam_are_followed_as_upstream() {
    let (golden, folder) = (golden_of("edgetam"), tempfile::tempdir().unwrap());
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(golden.join(file), folder.path().join(file)).unwrap();
    }
    let exact = Engine::on(Arc::new(Reference), Options::default()).unwrap();
    let fast = Engine::new(Options { threads: 1, ..Options::default() }).unwrap();
    for engine in [exact, fast] {
        let model = engine.load(folder.path().to_str().unwrap()).unwrap();
        for (name, session) in sessions_of(&golden) {
            follow(&model, &golden, "tolerance_of_video", &name, &session);
        }
    }
}

/// Where all prompts come first, a shot is followed as upstream does it.
#[test]
fn a_pass_from_the_only_prompts_is_upstreams() {
    let model = model();
    let outputs = Checkpoint::open(golden().join("outputs.safetensors")).unwrap();
    let mut shot = model.open_video(source(6), &ShotOptions::default()).unwrap();
    shot.prompt(FIRST, 1, &click()).unwrap();
    let given = mask("masks/short.0.2.png");
    shot.prompt(FIRST, 2, &Prompt::default().refine(given.clone())).unwrap();
    let found = run(&mut shot, Direction::Forward);
    for frame in 0..6 {
        let of = |kind: &str| {
            outputs.any_tensor(&format!("short.all.{frame}.{kind}")).unwrap().to_f32_vec().unwrap()
        };
        for (object, expected) in [1, 2].into_iter().zip(of("scores")) {
            let score = f32::from_bits(found[&object][&(FIRST + frame)].1.unwrap());
            assert!((score - expected).abs() < 1e-3, "{object} on {frame}: {score} instead of {expected}");
            assert_eq!(found[&object][&(FIRST + frame)].0.is_empty(), expected <= 0.0);
        }
    }
    assert_eq!(found[&2][&FIRST].0, given, "a mask that is given is the answer");
}

#[test]
fn objects_that_come_and_go_leave_the_others_as_they_are() {
    let model = model();
    let mut shot = two(None, &model);
    let both = run(&mut shot, Direction::Forward);
    assert_eq!(both.keys().copied().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(both[&2].len(), 20);
    let mut alone = open(&model, None);
    alone.prompt(FIRST, 2, &around()).unwrap();
    assert_eq!(run(&mut alone, Direction::Forward)[&2], both[&2], "one alone");
    let mut five = two(None, &model);
    for (object, x) in [(3, 10.0), (5, 50.0), (9, 80.0)] {
        five.prompt(FIRST + 4, object, &Prompt::default().point(x, 8.0)).unwrap();
    }
    let found = run(&mut five, Direction::Forward);
    assert_eq!((&found[&1], &found[&2]), (&both[&1], &both[&2]), "among five");
    assert!(five.remove_object(1));
    let without = run(&mut five, Direction::Forward);
    let masks = |found: &Found| found.values().map(|(mask, _)| mask.clone()).collect::<Vec<_>>();
    assert!([2, 3, 5, 9].iter().all(|object| masks(&without[object]) == masks(&found[object])));

    // The same as upstream follows them, to the bit of all logits.
    let mut predictor = open_as_upstream(&model, 20);
    predictor.prompt(FIRST, 1, &click()).unwrap();
    predictor.prompt(FIRST, 2, &around()).unwrap();
    let both = run_as_upstream(&mut predictor, Way::Forward);
    for (object, x) in [(3, 10.0), (5, 50.0), (9, 80.0)] {
        predictor.prompt(FIRST + 4, object, &Prompt::default().point(x, 8.0)).unwrap();
    }
    let five = run_as_upstream(&mut predictor, Way::Forward);
    assert_eq!((&five[&1], &five[&2]), (&both[&1], &both[&2]));
    assert!(predictor.remove_object(1) && !predictor.remove_object(1));
    let four = run_as_upstream(&mut predictor, Way::Forward);
    assert!([2, 3, 5, 9].iter().all(|object| four[object] == five[object]));
}

/// A run that goes on from what an earlier one has kept finds what one from the start finds.
#[test]
fn what_is_kept_on_the_way_is_where_one_can_go_on() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let log = folder.path().join("log");
    let correction = Prompt::default().point(40.0, 40.0).without(80.0, 10.0);
    let mut whole = two(None, &model);
    whole.prompt(FIRST + 14, 1, &correction).unwrap();
    let expected = run(&mut whole, Direction::Forward);
    // Killed after 11 frames, of which 8 are where one can go on.
    two(Some(&log), &model)
        .propagate(Direction::Forward)
        .unwrap()
        .take(11)
        .for_each(|frame| drop(frame.unwrap()));
    let mut again = two(Some(&log), &model);
    again.prompt(FIRST + 14, 1, &correction).unwrap();
    let found = run(&mut again, Direction::Forward);
    for (object, expected) in &expected {
        for (frame, (mask, score)) in expected {
            let (found, found_score) = &found[object][frame];
            assert_eq!(found, mask, "object {object} on {frame}");
            assert!(found_score == score || *frame < FIRST + 11, "object {object} on {frame}");
        }
    }
}

#[test]
fn later_prompts_change_nothing_before_them_and_corrections_count() {
    let model = model();
    let before = run(&mut two(None, &model), Direction::Forward);
    for correction in [
        Prompt::default().point(28.0, 37.0).point(70.0, 60.0),
        Prompt::default().refine(mask("masks/limited.3.1.png")),
        Prompt::default().within(10.0, 20.0, 50.0, 60.0),
    ] {
        let mut shot = two(None, &model);
        shot.prompt(FIRST + 3, 1, &correction).unwrap();
        let after = run(&mut shot, Direction::Forward);
        assert_eq!(after[&2], before[&2]);
        for frame in FIRST..FIRST + 3 {
            assert_eq!(after[&1][&frame], before[&1][&frame], "frame {frame}");
        }
        assert_ne!(after[&1][&(FIRST + 3)].0, before[&1][&(FIRST + 3)].0, "{correction:?}");
        assert_ne!(
            after[&1][&(FIRST + 4)].1,
            before[&1][&(FIRST + 4)].1,
            "{correction:?}: the next frame knows"
        );
        assert!(shot.remove_prompt(FIRST + 3, 1));
        let back = run(&mut shot, Direction::Forward);
        assert!(back[&1].iter().all(|(frame, (mask, _))| *mask == before[&1][frame].0), "as if never said");
    }
    // Backward what comes first is the last.
    let mut shot = two(None, &model);
    shot.prompt(FIRST + 12, 1, &Prompt::default().point(40.0, 40.0)).unwrap();
    let back = run(&mut shot, Direction::Backward);
    assert_eq!(back[&1].keys().copied().collect::<Vec<_>>(), (FIRST..=FIRST + 12).collect::<Vec<_>>());
    let both = run(&mut shot, Direction::Both);
    assert_eq!(both[&1].len(), 20);
}

/// Frames for ever, of a few that come again; one is damaged.
struct Camera {
    frames: Vec<Arc<RgbImage>>,
    next: FrameNumber,
}

impl FrameSource for Camera {
    fn size(&self) -> samovar_geometry::Size<samovar_geometry::Image> {
        self.frames[0].size()
    }

    fn start(&mut self, from: Option<FrameNumber>, direction: Way) -> samovar_media::Result<()> {
        assert_eq!(direction, Way::Forward);
        self.next = from.unwrap_or(self.next);
        Ok(())
    }

    fn next(&mut self) -> samovar_media::Result<Option<Frame>> {
        let number = self.next;
        self.next += 1;
        if number == 150 {
            return Err(MediaError::new(MediaErrorKind::Damaged, "frame 150 is damaged"));
        }
        let pixels = Arc::clone(&self.frames[number as usize % self.frames.len()]);
        Ok(Some(Frame { number, time: Some(number as f64 / 25.0), pixels }))
    }
}

#[test]
fn a_camera_is_followed_in_the_memory_of_its_first_seconds_past_a_damaged_frame() {
    let model = model();
    let frames = frames(20).into_iter().map(Arc::new).collect();
    let camera = Box::new(Camera { frames, next: 0 });
    let mut predictor = model.open_video_as_upstream(camera, Some(8)).unwrap();
    predictor.prompt(0, 1, &click()).unwrap();
    predictor.prompt(0, 2, &around()).unwrap();
    let stats = || model.engine().device().pool().stats();
    let mut figures = Vec::new();
    let mut given = 0;
    let mut pass = |predictor: &mut Predictor, travel: Travel| -> Option<String> {
        for frame in predictor.propagate(travel).unwrap() {
            match frame {
                Ok(PredictedFrame { frame, objects }) => {
                    assert_eq!((frame.number, objects.len()), (given, 2));
                    given += 1;
                    if [60, 140, 230, 340].contains(&given) {
                        drop(objects);
                        figures.push((stats().in_use_bytes, stats().peak_bytes));
                    }
                }
                Err(error) => {
                    given += 1;
                    return Some(error.to_string());
                }
            }
        }
        None
    };
    let error = pass(&mut predictor, Travel::forward().at_most(320)).unwrap();
    assert!(error.contains("frame 150"), "{error}");
    let kept = predictor.kept_bytes();
    // Seven maps, pointers and masks of the last frames and of those behind the beginning.
    assert!(kept < 2 * (13 * 36 * 16 * 2 + 32 * (2 * 32 * 4 + 24 * 24 * 4)), "{kept} bytes are kept");
    // What is behind it is followed from what is before it.
    assert_eq!(pass(&mut predictor, Travel::forward().from(151).at_most(200)), None);
    assert_eq!(given, 351);
    // What lies behind the beginning of a pass is kept, too: flat within each.
    assert!(figures.len() == 4 && figures[0] == figures[1] && figures[2] == figures[3], "{figures:?}");
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do() {
    let model = model();
    let refused = |result: samovar_runtime::Result<()>, words: &[&str]| {
        let message = result.unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    let mut shot = open_as_upstream(&model, 20);
    refused(shot.propagate(Way::Forward).map(drop), &["no object"]);
    refused(shot.prompt(FIRST + 20, 1, &click()), &["object 1 on frame 1021", "no such frame"]);
    refused(shot.prompt(FIRST, 1, &Prompt::default()), &["frame 1001", "empty prompt"]);
    refused(shot.prompt(FIRST, 1, &Prompt::default().point(200.0, 3.0)), &["outside the image"]);
    let both = click().refine(mask("masks/limited.3.1.png"));
    refused(shot.prompt(FIRST, 1, &both), &["a mask is taken as it is"]);
    refused(shot.prompt(FIRST, 1, &click().multimask()), &["one mask"]);
    shot.prompt(FIRST, 1, &click()).unwrap();
    refused(shot.propagate(Travel::forward().from(7)).map(drop), &["no frame 7"]);
    refused(model.open_video_as_upstream(source(2), Some(1)).map(drop), &["at least 2"]);
    let nano = model.engine().load("nano").unwrap();
    assert!(model.can_track() && !nano.can_track());
    let lacks = ["nano", "no tracker", "facebook/sam2.1-hiera-tiny"];
    refused(nano.open_video_as_upstream(source(2), None).map(drop), &lacks);
    // What is far behind is no longer kept, and cannot be corrected.
    let many = (0..3).flat_map(|_| frames(20)).collect();
    let many = Box::new(FramesInMemory::new(FIRST, many).unwrap());
    let mut shot = model.open_video_as_upstream(many, None).unwrap();
    shot.prompt(FIRST, 1, &click()).unwrap();
    assert_eq!(run_as_upstream(&mut shot, Way::Forward)[&1].len(), 60);
    refused(shot.prompt(FIRST + 30, 1, &click()), &["frame 1031", "no longer kept"]);
    for near in [5, 50] {
        shot.prompt(FIRST + near, 1, &click()).unwrap();
    }
}

#[test]
fn a_tracker_that_does_not_fit_is_refused_before_it_is_read() {
    let model = model();
    let taken = model.engine().device().pool().stats().in_use_bytes;
    let hog = model.engine().set_aside("others", model.engine().budget_bytes() - taken - (64 << 10)).unwrap();
    let refused = model.open_video_as_upstream(source(2), None).map(drop).unwrap_err();
    assert_eq!(refused.kind(), samovar_runtime::ErrorKind::OutOfMemory);
    assert!(refused.to_string().contains("loading a tracker"), "{refused}");
    drop(hog);
    model.open_video_as_upstream(source(2), None).unwrap();
}

#[test]
fn precisions_are_certified_on_objects_that_a_memory_follows() {
    let folder = folder("2.1");
    let source = ModelSource::resolve(folder.path().to_str().unwrap(), None).unwrap();
    let engine = Engine::new(Options { threads: 1, ..Options::default() }).unwrap();
    let certificates = |flow: ControlFlow<()>| {
        let mut cases = (0..2).map(|number| Ok(PendingCase::made(number)));
        let bounds = Bounds::default();
        certify(&engine, &source, &[Precision::Bf16], &mut cases, 2, &bounds, &mut |_| flow).unwrap()
    };
    let all = certificates(ControlFlow::Continue(()));
    let followed: Vec<_> = all.iter().map(|one| one.followed.clone().unwrap()).collect();
    // Two objects in the eight frames behind the first.
    assert_eq!((followed[0].masks, followed[0].j_and_f, followed[1].masks), (16, 1.0, 16));
    assert!(followed[1].j_and_f > 0.95 && followed[1].refused.is_empty(), "{followed:?}");
    let stopped = certificates(ControlFlow::Break(()));
    assert!(stopped.iter().all(|one| one.followed.is_none()), "whoever stops does not wait for a clip");
}
