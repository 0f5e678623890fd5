//! A small job on a device that refuses memory: at one request after the other, and with less and less of it in all. Whatever is
//! refused is an error or is done with less, no image is lost, and afterwards the same engine does all of it, with as much
//! memory in use as before and as many copies as ever.
//!
//! Of the requests of an engine that uses no block again, which are thousands, the first and last of each operator in each stage are
//! refused, and one in [`STRIDE`]; all of them, which takes some minutes:
//!
//! ```text
//! SAMOVAR_TEST_EVERY_REQUEST=1 cargo test --release -p samovar-runtime --test out_of_memory -- --nocapture
//! ```

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use samovar_cpu::{CpuKernels, CpuOptions};
use samovar_geometry::Size;
use samovar_media::{BitMask, RgbImage};
use samovar_resources::batch::{BatchOptions, BatchProcessor, ItemEvent, Retry, WorkerOptions, Workers};
use samovar_resources::cache::{DiskOptions, Store, StoreOptions, content_keys};
use samovar_resources::instruments::{EventSink, Events};
use samovar_resources::memory::MemoryThresholds;
use samovar_runtime::automatic::{self, AutomaticMask, AutomaticOptions};
use samovar_runtime::feature_cache::{FEATURES, key_of_pixels};
use samovar_runtime::forward::forward_file;
use samovar_runtime::sharing::Sharing;
use samovar_runtime::source::ModelSource;
use samovar_runtime::{Embedding, Engine, Error, ErrorKind, Model, Options, Prompt};
use samovar_tensor::{Instrument, Kernels, Span, Transfers};
use samovar_testkit::Poisoned;
use samovar_testkit::remote::{Remote, RemoteOptions};

/// Which requests of very many are refused: a prime, so that it is not always the same one of a loop.
const STRIDE: usize = 31;
/// Requests up to which each is refused.
const FEW: u64 = 300;
/// Sizes of a device, from what all of the job takes: each leaves this share of the one before to what is not the model.
const RUNG: f64 = 0.93;
const RUNGS: i32 = 40;
/// Pictures of a folder, of which one comes twice.
const PICTURES: usize = 5;

fn remote(memory_bytes: usize) -> Arc<Remote> {
    let kernels = CpuKernels::new(CpuOptions { threads: 1, ..CpuOptions::default() }).unwrap();
    let options = RemoteOptions { memory_bytes, ..RemoteOptions::default() };
    Remote::new(Arc::new(Poisoned(Arc::new(kernels))), options)
}

fn engine(remote: &Arc<Remote>, enable_optimizations: bool, events: &Events) -> Engine {
    // Whatever else runs on the machine.
    let memory_thresholds = MemoryThresholds { pressure: 1.0, warning: 1.0, critical: 1.0 };
    let events = events.clone();
    let options =
        Options { threads: 2, enable_optimizations, memory_thresholds, events, ..Options::default() };
    Engine::on(Arc::clone(remote) as Arc<dyn Kernels>, options).unwrap()
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens").join(name)
}

fn source() -> ModelSource {
    ModelSource::resolve(golden("sam1/original.pth").to_str().unwrap(), None).unwrap()
}

fn picture(seed: u32) -> RgbImage {
    RgbImage::from_fn(Size::new(120, 90), |x, y| {
        let inside = (x as i32 - 70).pow(2) + (y as i32 - 40).pow(2) < 500;
        if inside { [200, 40, 30] } else { [(x + 40 + seed) as u8, (2 * y) as u8, 120] }
    })
}

type Result<T> = std::result::Result<T, Error>;

/// Prompts of every form, several of one, and what becomes of their masks.
fn answer(embedding: &Embedding) -> Result<Vec<BitMask>> {
    let click = || Prompt::default().point(70.0, 40.0);
    let mut prompts = vec![click(), click().within(45.0, 15.0, 95.0, 65.0)];
    prompts.extend((0..6).map(|at| Prompt::default().point(20.0 * f64::from(at), 70.0).multimask()));
    let mut answers = embedding.segment_many(&prompts)?;
    answers.push(embedding.segment(&click().without(5.0, 5.0).refine(answers[0].best().mask()?))?);
    answers[0].best().alpha()?;
    answers.iter().map(|answer| answer.best().mask()).collect()
}

fn everything(model: &Model) -> Result<Vec<AutomaticMask>> {
    let options = AutomaticOptions {
        points_per_side: 2,
        crop_n_layers: 1,
        crop_n_points_downscale_factor: 2,
        pred_iou_thresh: 0.0,
        stability_score_thresh: 0.0,
        ..AutomaticOptions::for_model(model)
    };
    Ok(automatic::generate(model, &picture(0), &options, &mut |_| ControlFlow::Continue(()))?.to_vec())
}

fn retry(error: &Error) -> Retry {
    match error.kind() {
        ErrorKind::OutOfMemory => Retry::Halved,
        _ => Retry::Never,
    }
}

/// A folder as the command line does it: a model whose encoder is loaded when it is needed, a cache, images side by side. Those that
/// run out of memory all by themselves are told; the others must be there.
fn folder(engine: &Engine, expected: Option<&[BitMask]>) -> Result<Vec<BitMask>> {
    let store = Store::new(StoreOptions::default());
    let key = source().key(&content_keys(&store, false))?;
    let model = engine.load_when_needed(&source())?.with_cache(&store, key);
    let sharing = Sharing::of(&model, PICTURES, Some(3), 0)?;
    let options = WorkerOptions { workers: sharing.at_once(), computing: sharing.computing() };
    let workers = Workers::new(options).with_memory(engine.memory());
    let seeds: Vec<u32> = (0..PICTURES as u32).map(|number| number % 4).collect();
    let mut ended: Vec<Option<Result<BitMask>>> = std::iter::repeat_with(|| None).take(PICTURES).collect();
    let report = workers.run(
        &seeds,
        || true,
        retry,
        |worker, &seed| {
            let model = sharing.model(worker.index);
            let found = worker.compute("encode", || model.embed_pixels(&picture(seed)))?;
            worker.compute("prompts", || found.segment(&Prompt::default().point(70.0, 40.0))?.best().mask())
        },
        |events| {
            for event in events {
                if let ItemEvent::Ended(number, _, result) = event {
                    assert!(ended[number].replace(result).is_none(), "image {number} ended twice");
                }
            }
            ControlFlow::Continue(())
        },
    );
    assert_eq!(report.left, 0);
    let ended: Vec<_> = ended.into_iter().map(|ended| ended.expect("no image is lost")).collect();
    if let Some(expected) = expected {
        let sound =
            |(found, expected): (&Result<BitMask>, _)| found.as_ref().map_or(true, |found| found == expected);
        assert!(ended.iter().zip(expected).all(sound), "an image beside one that failed");
    }
    ended.into_iter().collect()
}

/// What a user does with a processor of batches and a loaded model.
fn batches(engine: &Engine, model: &Model) -> Result<Vec<BitMask>> {
    let options = BatchOptions { default_batch_size: 4, ..BatchOptions::default() };
    let processor = BatchProcessor::new(options).with_memory(engine.memory());
    let seeds: Vec<u32> = (0..6).collect();
    let segment = |batch: &[u32]| {
        let found =
            batch.iter().map(|&seed| model.embed_pixels(&picture(seed))).collect::<Result<Vec<_>>>()?;
        let click = Prompt::default().point(70.0, 40.0);
        found.iter().map(|embedding| embedding.segment(&click)?.best().mask()).collect()
    };
    processor.process_in_batches(&seeds, None, retry, segment, |_, _| ())
}

fn forward(model: &Model, folder: &Path) -> Result<Vec<u8>> {
    let out = folder.join("out.safetensors");
    forward_file(model, &golden("sam1/forward_in.safetensors"), &out)?;
    Ok(std::fs::read(out).unwrap())
}

/// Who made the requests for memory of a run: the first and the last one of every operator in every stage.
struct Requests {
    remote: Arc<Remote>,
    by: Mutex<BTreeMap<(&'static str, &'static str), [u64; 2]>>,
}

impl Instrument for Requests {
    fn record(&self, span: &Span) {
        // An operator tells when it is done: what was asked for last was asked for by it.
        let last = self.remote.requests();
        self.by.lock().unwrap().entry((span.stage, span.op)).or_insert([last, last])[1] = last;
    }
}

/// What refusing requests one by one led to.
#[derive(Debug, Default)]
struct Refused {
    errors: usize,
    /// Done all the same.
    with_less: usize,
}

/// An engine on the test device, and who asks for its memory.
struct Bench {
    remote: Arc<Remote>,
    engine: Engine,
    requests: Arc<Requests>,
}

impl Bench {
    fn new(enable_optimizations: bool) -> Self {
        let remote = remote(usize::MAX);
        let engine = engine(&remote, enable_optimizations, &Events::default());
        let requests = Arc::new(Requests { remote: Arc::clone(&remote), by: Mutex::default() });
        Self { engine: engine.with_instrument(Arc::clone(&requests) as _), remote, requests }
    }

    /// Bytes in use, once nothing lies idle, which would serve without a request.
    fn settle(&self) -> (usize, usize) {
        self.engine.device().synchronise().unwrap();
        let pool = self.engine.device().pool();
        pool.trim();
        (pool.stats().in_use_bytes, self.remote.allocated_bytes())
    }

    /// What a run that must succeed copies, too.
    fn copies<A>(&self, run: impl Fn() -> Result<A>) -> (A, Transfers) {
        let before = self.engine.device().transfers();
        let answer = run().unwrap();
        let now = self.engine.device().transfers();
        let copied = Transfers {
            uploads: now.uploads - before.uploads,
            uploaded_bytes: now.uploaded_bytes - before.uploaded_bytes,
            downloads: now.downloads - before.downloads,
            downloaded_bytes: now.downloaded_bytes - before.downloaded_bytes,
        };
        (answer, copied)
    }

    /// Runs a step of the job again and again, with another of its requests refused each time.
    fn refuse_each<A: PartialEq + Debug>(
        &self,
        step: &str,
        run: impl Fn(Option<&A>) -> Result<A>,
    ) -> Refused {
        let began = Instant::now();
        // What is there from now on, such as scratch memory.
        run(None).unwrap();
        let before = self.settle();
        self.requests.by.lock().unwrap().clear();
        let first = self.remote.requests();
        let (expected, usual) = self.copies(|| run(None));
        let count = self.remote.requests() - first;
        let kinds = std::mem::take(&mut *self.requests.by.lock().unwrap());
        let takes_all = count <= FEW || std::env::var_os("SAMOVAR_TEST_EVERY_REQUEST").is_some();
        let mut chosen: BTreeSet<u64> = (0..count).step_by(if takes_all { 1 } else { STRIDE }).collect();
        chosen.extend(kinds.values().flatten().filter_map(|number| number.checked_sub(first + 1)));
        assert!(count > 0 && chosen.last() < Some(&count), "{step}: {count}, {chosen:?}");
        assert_eq!(self.settle(), before, "{step}: memory in use");
        let mut refused = Refused::default();
        for (round, &number) in chosen.iter().enumerate() {
            let what = format!("{step}, request {number} of {count}");
            self.remote.fail_allocation_after(number);
            let outcome = run(Some(&expected));
            // Images side by side do not always make as many.
            let has_come = !self.remote.is_failure_to_come();
            match outcome {
                Ok(found) => {
                    assert_eq!(found, expected, "{what}");
                    refused.with_less += usize::from(has_come);
                }
                Err(error) => {
                    assert!(has_come, "{what}: {error}");
                    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{what}: {error}");
                    refused.errors += 1;
                }
            }
            assert_eq!(self.settle(), before, "{what}: memory in use");
            if round % 8 == 0 {
                let (found, copied) = self.copies(|| run(Some(&expected)));
                assert_eq!(found, expected, "after {what}");
                assert_eq!(copied, usual, "after {what}");
                assert_eq!(self.settle(), before, "after {what}: memory in use");
            }
        }
        println!(
            "{step}: {count} requests of {} kinds, {} refused: {refused:?}, {:.1} s",
            kinds.len(),
            chosen.len(),
            began.elapsed().as_secs_f64()
        );
        assert!(refused.errors + refused.with_less >= chosen.len() / 2, "{step}: {refused:?}");
        refused
    }
}

#[test]
fn a_refused_request_at_any_place_is_an_error_or_done_with_less_and_nothing_is_lost() {
    let files = tempfile::tempdir().unwrap();
    for optimizes in [true, false] {
        let bench = Bench::new(optimizes);
        let (engine, of) = (&bench.engine, if optimizes { "" } else { ", no block used again" });
        let whole = bench.refuse_each(&format!("load{of}"), |_| engine.load_from(&source()).map(drop));
        let model = engine.load_from(&source()).unwrap();
        let steps = [
            bench.refuse_each(&format!("prompts{of}"), |_| answer(&model.embed_pixels(&picture(0))?)),
            bench.refuse_each(&format!("everything{of}"), |_| everything(&model)),
            bench.refuse_each(&format!("folder{of}"), |expected: Option<&Vec<BitMask>>| {
                folder(engine, expected.map(|expected| &expected[..]))
            }),
            bench.refuse_each(&format!("batches{of}"), |_| batches(engine, &model)),
            bench.refuse_each(&format!("tensors{of}"), |_| forward(&model, files.path())),
        ];
        assert!(whole.errors > 100, "{whole:?}");
        assert!(steps[2].with_less > 0 && steps[3].with_less > 0, "{steps:?}");
    }
}

/// Features that are kept on disk and find no room on the device are found anew.
#[test]
fn a_refused_request_while_features_come_from_the_disk_costs_no_answer() {
    let files = tempfile::tempdir().unwrap();
    let (bench, image) = (Bench::new(true), picture(0));
    let engine = &bench.engine;
    let run = |slowness: Duration| {
        let disk = Some(DiskOptions { folder: files.path().to_owned(), budget_bytes: 1 << 20 });
        let store = Store::new(StoreOptions { disk, ..StoreOptions::default() });
        let key = source().key(&content_keys(&store, false))?;
        let model = engine.load_when_needed(&source())?.with_cache(&store, key);
        engine.device().pool().trim();
        let slow = || {
            std::thread::sleep(slowness);
            Ok(&image)
        };
        let embedding = model.embed_keyed(key_of_pixels(&image), image.size(), slow)?;
        let mask = embedding.segment(&Prompt::default().point(70.0, 40.0))?.best().mask()?;
        Ok::<_, Error>((mask, store.stats(Some(FEATURES)).hits_on_disk, model.has_encoder()))
    };
    // What is found quickly is not kept.
    let (expected, hits, _) = run(Duration::from_millis(200)).unwrap();
    assert_eq!(hits, 0);
    let found_anew = Cell::new(0);
    let refused = bench.refuse_each("from disk", |calm| {
        let (mask, hits, has_encoder) = run(Duration::ZERO)?;
        assert_eq!(hits == 0, has_encoder);
        assert!(calm.is_some() || hits == 1, "it comes from the disk");
        found_anew.set(found_anew.get() + u32::from(has_encoder));
        Ok(mask)
    });
    assert!(found_anew.get() > 0 && refused.with_less > 0, "{refused:?}");
    assert_eq!(run(Duration::ZERO).unwrap(), (expected, 1, false));
}

#[derive(Default)]
struct Halved(AtomicUsize);

impl EventSink for Halved {
    fn event(&self, _: f64, name: &str, _: &[(&str, serde_json::Value)]) {
        self.0.fetch_add(usize::from(name == "batch_halved"), Ordering::SeqCst);
    }
}

/// How a job ended on a device of some size.
struct Rung {
    outcome: Result<(Vec<BitMask>, Vec<AutomaticMask>, Vec<BitMask>)>,
    halved: usize,
    copies: Transfers,
    /// With the model alone.
    least_bytes: usize,
    most_bytes: usize,
}

fn on_a_device_of(memory_bytes: usize) -> Rung {
    let (remote, halved) = (remote(memory_bytes), Arc::new(Halved::default()));
    let engine = engine(&remote, true, &Events::to(Arc::clone(&halved) as Arc<dyn EventSink>));
    let settle = || {
        engine.device().synchronise().unwrap();
        engine.device().pool().trim();
        remote.allocated_bytes()
    };
    let mut least_bytes = 0;
    let outcome = engine.load_from(&source()).and_then(|model| {
        least_bytes = settle();
        let encoded = model.embed_pixels(&picture(0))?;
        Ok((answer(&encoded)?, everything(&model)?, batches(&engine, &model)?))
    });
    assert_eq!(settle(), 0);
    assert_eq!(engine.device().pool().stats().in_use_bytes, engine.device().reserved_bytes());
    let (halved, copies) = (halved.0.load(Ordering::SeqCst), engine.device().transfers());
    Rung { outcome, halved, copies, least_bytes, most_bytes: remote.most_allocated_bytes() }
}

#[test]
fn with_less_and_less_memory_batches_shrink_before_work_is_refused() {
    let whole = on_a_device_of(usize::MAX);
    let expected = whole.outcome.unwrap();
    assert_eq!(whole.halved, 0);
    let (mut shrunk, mut refused) = (0, 0);
    for rung in 0..RUNGS {
        let most_bytes = (whole.most_bytes - whole.least_bytes) as f64;
        let memory_bytes = whole.least_bytes + (most_bytes * RUNG.powi(rung)) as usize;
        let Rung { outcome, halved, copies, .. } = on_a_device_of(memory_bytes);
        println!("{memory_bytes} bytes: {halved} halved, {copies:?}, done: {}", outcome.is_ok());
        match outcome {
            Ok(found) => {
                assert!(found == expected, "{memory_bytes} bytes: other masks");
                assert_eq!(refused, 0, "{memory_bytes} bytes are enough, and more were not");
                shrunk += usize::from(halved > 0);
                if rung == 0 {
                    assert_eq!((halved, copies), (0, whole.copies));
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{memory_bytes} bytes: {error}");
                refused += 1;
            }
        }
    }
    assert!(shrunk > 1 && refused > 1, "{shrunk} shrunk, {refused} refused");
}
