use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use samovar_geometry::Size;
use samovar_media::LazyImage;
use samovar_resources::cache::{DiskOptions, StoreOptions, content_keys};
use samovar_resources::instruments::{EventSink, Events};

use super::*;
use crate::engine::Options;
use crate::model::Model;
use crate::picture_bytes::{PictureUse, of_image};
use crate::prompt::Prompt;
use crate::source::ModelSource;

const NANO: ModelSource = ModelSource::Embedded { id: "nano" };

fn engine() -> Engine {
    Engine::new(Options { threads: 1, ..Options::default() }).unwrap()
}

fn store(folder: Option<&Path>) -> Arc<Store> {
    let disk = folder.map(|folder| DiskOptions { folder: folder.to_owned(), budget_bytes: 1 << 30 });
    Store::new(StoreOptions { disk, ..StoreOptions::default() })
}

fn picture(seed: u8) -> RgbImage {
    RgbImage::from_fn(Size::new(90, 60), |x, y| [x as u8 ^ seed, (3 * y) as u8, (x * y) as u8])
}

/// nano whose features all go to disk, however quickly they were found.
fn nano(store: &Arc<Store>) -> Model {
    let weights = NANO.key(&content_keys(store, false)).unwrap();
    let model = engine().load_when_needed(&NANO).unwrap().with_cache(store, weights);
    model.caching_all()
}

fn logits(model: &Model, image: &RgbImage) -> Vec<f32> {
    let answer = model.embed_pixels(image).unwrap().segment(&Prompt::default().point(40.0, 30.0)).unwrap();
    answer.best().logits().unwrap().to_vec()
}

#[test]
fn another_process_answers_to_the_bit_without_the_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let whole = engine().load("nano").unwrap();
    let first = nano(&store(Some(folder.path())));
    assert!(!first.has_encoder());
    let expected = logits(&whole, &picture(1));
    assert_eq!(logits(&first, &picture(1)), expected);
    assert!(first.has_encoder());
    let second_store = store(Some(folder.path()));
    let second = nano(&second_store);
    assert_eq!(logits(&second, &picture(1)), expected);
    assert!(!second.has_encoder(), "features came from the disk");
    assert_eq!(second_store.stats(Some(FEATURES)).hits_on_disk, 1);
    assert_ne!(logits(&second, &picture(2)), expected);
    assert!(second.has_encoder());
    assert!(second.unload_encoder() && !second.has_encoder());
    assert_eq!(logits(&second, &picture(3)), logits(&whole, &picture(3)));
}

#[test]
fn without_optimisations_nothing_is_kept() {
    let options = Options { enable_optimizations: false, threads: 1, ..Options::default() };
    let (engine, store, asked) = (Engine::new(options).unwrap(), store(None), AtomicUsize::new(0));
    let weights = NANO.key(&content_keys(&store, false)).unwrap();
    let model = engine.load_when_needed(&NANO).unwrap().with_cache(&store, weights);
    let image = picture(1);
    for _ in 0..2 {
        let pixels = || {
            asked.fetch_add(1, Ordering::SeqCst);
            Ok(&image)
        };
        model.embed_keyed(key_of_pixels(&image), image.size(), pixels).unwrap();
    }
    assert_eq!(asked.into_inner(), 2);
    let stats = store.stats(Some(FEATURES));
    assert_eq!((stats.entries, stats.misses), (0, 0));
}

#[test]
fn inference_mode_holds_the_encoder() {
    let events = samovar_resources::instruments::Events::default();
    let model = engine().load_when_needed(&NANO).unwrap();
    let [outer, inner] = [model.inference_mode(&events).unwrap(), model.inference_mode(&events).unwrap()];
    assert!(model.has_encoder(), "it is loaded at once");
    drop(outer);
    assert!(!model.unload_encoder() && model.has_encoder(), "one still holds it");
    drop(inner);
    assert!(model.unload_encoder() && !model.has_encoder());
}

#[test]
fn pixels_are_looked_at_only_when_they_are_needed() {
    let store = store(None);
    let (model, image, asked) = (nano(&store), picture(1), AtomicUsize::new(0));
    for _ in 0..3 {
        let pixels = || {
            asked.fetch_add(1, Ordering::SeqCst);
            Ok(&image)
        };
        model.embed_keyed(key_of_pixels(&image), image.size(), pixels).unwrap();
    }
    assert_eq!(asked.into_inner(), 1);
}

#[test]
fn features_of_other_pixels_precisions_and_preprocessing_have_other_keys() {
    let store = store(None);
    let model = nano(&store);
    let mut keys = vec![key_of_pixels(&picture(1)), key_of_pixels(&picture(2))];
    let tall = RgbImage::from_fn(Size::new(2, 3), |_, _| [7; 3]);
    let wide = RgbImage::from_fn(Size::new(3, 2), |_, _| [7; 3]);
    keys.extend([key_of_pixels(&tall), key_of_pixels(&wide)]);
    let (planner, preprocessing) = (model.planner(), *model.preprocessing());
    let weights = Key::of_content(b"weights");
    let made_by = |weights, precision, preprocessing: &Preprocessing| {
        ModelCache::new(&store, weights, &engine(), precision, preprocessing, planner.features()).made_by
    };
    let other = Preprocessing { mean: [0.25; 3], ..preprocessing };
    keys.extend([
        made_by(weights, Precision::F32, &preprocessing),
        made_by(weights, Precision::Int8, &preprocessing),
        made_by(weights, Precision::F32, &other),
        made_by(Key::of_content(b"others"), Precision::F32, &preprocessing),
    ]);
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

#[test]
fn bytes_that_are_no_features_of_this_model_are_foreign() {
    let store = store(None);
    let model = nano(&store);
    let shapes = model.planner().features().clone();
    let codec = FeaturesOnDisk { device: model.engine().device().clone(), shapes };
    let found = model.embed_pixels(&picture(1)).unwrap();
    let bytes = codec.encode(found.features()).unwrap();
    let Decoded::Value(again) = codec.decode(&bytes) else { panic!("its own bytes") };
    for (a, b) in again.maps().zip(found.features().maps()) {
        assert_eq!((a.dims(), a.f32().unwrap()), (b.dims(), b.f32().unwrap()));
    }
    for length in [0, 1, 5, 17, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(matches!(codec.decode(&bytes[..length]), Decoded::Foreign), "{length}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(codec.decode(&longer), Decoded::Foreign));
    for at in 0..17 {
        let mut other = bytes.clone();
        other[at] ^= 0xff;
        assert!(matches!(codec.decode(&other), Decoded::Foreign), "{at}");
    }
    let tight = Engine::new(Options { memory_budget_bytes: Some(1 << 12), threads: 1, ..Options::default() });
    let shapes = codec.shapes;
    let tight = FeaturesOnDisk { device: tight.unwrap().device().clone(), shapes };
    assert!(matches!(tight.decode(&bytes), Decoded::NoRoom));
}

#[test]
fn cached_features_make_room_for_work() {
    let folder = tempfile::tempdir().unwrap();
    let source = NANO;
    let whole = engine().load_from(&source).unwrap();
    let used = whole.engine().device().pool().stats().in_use_bytes;
    let budget = used + whole.planner().encode_bytes(true) + 2 * whole.planner().features().size_bytes();
    let options = Options { threads: 1, memory_budget_bytes: Some(budget), ..Options::default() };
    let store = store(Some(folder.path()));
    let weights = source.key(&content_keys(&store, false)).unwrap();
    let model = Engine::new(options).unwrap().load_when_needed(&source).unwrap().with_cache(&store, weights);
    // Each stays in the cache until the next has no room beside it.
    for seed in 0..12 {
        model.embed_pixels(&picture(seed)).unwrap();
    }
    assert!(store.stats(Some(FEATURES)).entries < 12);
}

#[test]
fn features_that_are_kept_make_room_for_the_next_picture() {
    let needed = engine().load_from(&NANO).unwrap().planner().peak_bytes().unwrap();
    let of = |seed| LazyImage::from_pixels(picture(seed));
    let (picture_bytes, _) = of_image(&of(0), PictureUse::Masks).unwrap();
    let budget = needed + picture_bytes.peak_bytes();
    let options = Options { threads: 1, memory_budget_bytes: Some(budget), ..Options::default() };
    let store = store(None);
    let weights = NANO.key(&content_keys(&store, false)).unwrap();
    let model = Engine::new(options).unwrap().load_when_needed(&NANO).unwrap();
    let model = model.with_cache(&store, weights).caching_all();
    for seed in 0..4 {
        let _room = model.reserve_picture(&of(seed), PictureUse::Masks).unwrap();
        logits(&model, &picture(seed));
        assert_eq!(store.stats(Some(FEATURES)).entries, 1, "kept until the next needs its place");
    }
}

#[test]
fn an_idle_encoder_goes_and_comes_back_by_itself() {
    let log = Log::default();
    let options = Options {
        threads: 1,
        unload_after: Some(Duration::from_millis(1500)),
        events: Events::to(Arc::new(log.clone())),
        ..Options::default()
    };
    let engine = Engine::new(options).unwrap();
    let model = engine.load_when_needed(&NANO).unwrap();
    let expected = logits(&model, &picture(1));
    let in_use = || engine.device().pool().stats().in_use_bytes;
    let loaded = in_use();
    std::thread::sleep(Duration::from_millis(150));
    engine.tend();
    assert!(model.has_encoder(), "not idle for long");
    let quiet = Events::default();
    let pinned = model.inference_mode(&quiet).unwrap();
    std::thread::sleep(Duration::from_millis(1600));
    engine.tend();
    assert!(model.has_encoder(), "held ready");
    drop(pinned);
    std::thread::sleep(Duration::from_millis(200));
    engine.tend();
    assert!(!model.has_encoder());
    let bytes = loaded - in_use();
    assert!(bytes > 5_000_000, "{bytes}");
    let unloaded: Vec<_> =
        log.lines().into_iter().filter(|line| line.starts_with("model_unloaded")).collect();
    assert_eq!(unloaded, [format!("model_unloaded model=\"encoder of nano\" freed_bytes={bytes}")]);
    assert_eq!(logits(&model, &picture(1)), expected);
}

#[test]
fn a_clean_up_gives_back_features_and_idle_encoders_and_the_next_answer_is_the_same() {
    let store = store(None);
    let model = nano(&store);
    let expected = logits(&model, &picture(1));
    let before = model.engine().device().pool().stats().reserved_bytes();
    let cleanup = model.engine().memory().cleanup(true);
    let by: Vec<_> = cleanup.freed.iter().map(|(name, bytes)| (name.as_str(), *bytes > 0)).collect();
    assert_eq!(by, [("encoder of nano", true), ("cache", true), ("idle blocks", true)]);
    assert!(cleanup.time < Duration::from_millis(100), "{:?}", cleanup.time);
    let after = model.engine().device().pool().stats().reserved_bytes();
    assert_eq!(before - after, cleanup.freed.last().unwrap().1, "blocks of all three went to the system");
    assert!(!model.has_encoder() && store.stats(Some(FEATURES)).entries == 0);
    assert_eq!(logits(&model, &picture(1)), expected);
}

/// One model's idle encoder makes room for another's.
#[test]
fn a_second_model_has_room_when_the_first_lies_idle() {
    let whole = engine().load("nano").unwrap();
    let budget = whole.planner().peak_bytes().unwrap() + 7_000_000;
    let options = Options { threads: 1, memory_budget_bytes: Some(budget), ..Options::default() };
    let engine = Engine::new(options).unwrap();
    let first = engine.load_when_needed(&NANO).unwrap();
    let expected = logits(&first, &picture(1));
    let second = engine.load_when_needed(&NANO);
    let second = second.expect("the first one's encoder went");
    assert!(!first.has_encoder());
    assert_eq!(logits(&second, &picture(1)), expected);
    assert_eq!(logits(&first, &picture(1)), expected, "and back again");
}

#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<String>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl EventSink for Log {
    fn event(&self, _: f64, name: &str, fields: &[(&str, serde_json::Value)]) {
        let fields: String = fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        self.0.lock().unwrap().push(format!("{name}{fields}"));
    }
}

/// What was admitted failed midway: packing the encoder took place beside the decoder, and was planned without it.
#[test]
fn what_the_plan_says_is_enough_for_an_encoder_that_is_loaded_when_an_image_needs_it() {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens/sam1/original.pth");
    for source in [NANO, ModelSource::resolve(tiny.to_str().unwrap(), None).unwrap()] {
        let needed = engine().load_from(&source).unwrap().planner().peak_bytes().unwrap();
        let within = |budget| {
            let options = Options { threads: 1, memory_budget_bytes: Some(budget), ..Options::default() };
            Engine::new(options).unwrap().load_when_needed(&source)
        };
        let model = within(needed).unwrap();
        let answer = model.embed_pixels(&picture(1)).unwrap().segment(&Prompt::default().point(40.0, 30.0));
        assert!(answer.is_ok(), "{}: {:?}", source.name(), answer.err());
        assert!(matches!(within(needed - 1), Err(crate::error::Error::DoesNotFit { .. })));
    }
}
