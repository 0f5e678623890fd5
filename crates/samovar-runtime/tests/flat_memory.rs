//! A thousand jobs in one process: what it takes after the last it took after the first few.
#![cfg(target_os = "linux")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use samovar_geometry::Size;
use samovar_media::write::{encode_cut_out_png, encode_mask_png, write_mask_png, write_rgb_png};
use samovar_media::{LazyImage, RgbImage};
use samovar_resources::batch::{ItemEvent, Retry, WorkerOptions, Workers};
use samovar_resources::cache::{DiskOptions, Store, StoreOptions, content_keys};
use samovar_resources::memory::{MemoryThresholds, ProcessMemory, keep_one_heap, return_free_heap};
use samovar_runtime::automatic::{self, AutomaticOptions};
use samovar_runtime::sharing::Sharing;
use samovar_runtime::source::ModelSource;
use samovar_runtime::{Engine, Error, Model, Options, Prompt};
use samovar_testkit::{MeteredAllocator, process_bytes};

#[global_allocator]
static ALLOCATOR: MeteredAllocator = MeteredAllocator;

const JOBS: usize = 1000;
/// After so many jobs everything has been there that comes again and again.
const FIRST: usize = 50;
/// What may be held more at the end than after [`FIRST`] jobs: tables of the cache and of the journal are as full as it happens. A
/// leak of 256 bytes a job is nearly four times as much.
const HELD_TOLERANCE_BYTES: usize = 64 << 10;
/// What the system may say more of the process: allocators keep pages as they happen to be cut up.
const RESIDENT_TOLERANCE_BYTES: usize = 8 << 20;
/// Pictures that come again and again; more than the cache holds.
const PICTURES: usize = 10;

/// What the process has.
#[derive(Debug, Clone, Copy)]
struct Figures {
    held_bytes: usize,
    resident_bytes: usize,
    in_use_bytes: usize,
    reserved_bytes: usize,
    threads: usize,
    open_files: usize,
}

fn figures(engine: &Engine) -> Figures {
    return_free_heap();
    let pool = engine.device().pool().stats();
    let entries = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    Figures {
        held_bytes: process_bytes(),
        resident_bytes: ProcessMemory::now().resident_bytes,
        in_use_bytes: pool.in_use_bytes,
        reserved_bytes: pool.reserved_bytes(),
        threads: entries("/proc/self/task"),
        open_files: entries("/proc/self/fd"),
    }
}

fn engine() -> Engine {
    // Whatever else runs on the machine.
    let memory_thresholds = MemoryThresholds { pressure: 1.0, warning: 1.0, critical: 1.0 };
    let options =
        Options { threads: 2, memory_budget_bytes: Some(64 << 20), memory_thresholds, ..Options::default() };
    Engine::new(options).unwrap()
}

fn source() -> ModelSource {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens/sam1/original.pth");
    ModelSource::resolve(model.to_str().unwrap(), None).unwrap()
}

/// A picture from its file to a mask, a cut-out and all that is in it.
fn picture_job(model: &Model, picture: &Path) -> Result<(), Error> {
    let image = LazyImage::open(picture);
    let embedding = model.embed(&image)?;
    let click = Prompt::default().point(70.0, 40.0);
    let answers = embedding.segment_many(&[click.clone(), click.multimask()])?;
    encode_mask_png(&answers[0].best().mask()?)?;
    encode_cut_out_png(&*image.pixels()?, &answers[1].best().alpha()?)?;
    let options = AutomaticOptions {
        points_per_side: 2,
        pred_iou_thresh: 0.0,
        stability_score_thresh: 0.0,
        ..AutomaticOptions::for_model(model)
    };
    automatic::generate(model, &*image.pixels()?, &options, &mut |_| ControlFlow::Continue(()))?;
    Ok(())
}

/// A model that keeps what it finds, in memory for some of the pictures, and on disk.
fn caching(engine: &Engine, cache: &Path) -> Result<Model, Error> {
    let disk = Some(DiskOptions { folder: cache.to_owned(), budget_bytes: 1 << 20 });
    let options = StoreOptions { memory_budget_bytes: 24 << 10, disk, ..StoreOptions::default() };
    let store = Store::new(options);
    let key = source().key(&content_keys(&store, false))?;
    Ok(engine.load_when_needed(&source())?.with_cache(&store, key))
}

/// A folder on an engine of its own, side by side, with masks as files.
fn folder_job(pictures: &[PathBuf], cache: &Path) -> Result<(), Error> {
    let engine = engine();
    let model = caching(&engine, cache)?;
    let sharing = Sharing::of(&model, pictures.len(), None, 0)?;
    let workers = WorkerOptions { workers: sharing.at_once(), computing: sharing.computing() };
    let mut done = Ok(());
    Workers::new(workers).with_memory(engine.memory()).run(
        pictures,
        || true,
        |_: &Error| Retry::Never,
        |worker, picture| {
            let found = sharing.model(worker.index).embed(&LazyImage::open(picture))?;
            let mask = found.segment(&Prompt::default().point(20.0, 20.0))?.best().mask()?;
            Ok(write_mask_png(&picture.with_extension("mask.png"), &mask)?)
        },
        |events| {
            for event in events {
                if let ItemEvent::Ended(_, _, Err(error)) = event {
                    done = Err(error);
                }
            }
            ControlFlow::Continue(())
        },
    );
    done
}

#[test]
fn a_thousand_jobs_take_no_more_than_fifty() {
    keep_one_heap();
    let files = tempfile::tempdir().unwrap();
    let pictures: Vec<PathBuf> = (0..PICTURES as u32)
        .map(|seed| {
            let path = files.path().join(format!("{seed}.png"));
            let pixels =
                RgbImage::from_fn(Size::new(160, 120), |x, y| [(x + 9 * seed) as u8, (2 * y) as u8, 120]);
            write_rgb_png(&path, &pixels).unwrap();
            path
        })
        .collect();
    let (engine, cache) = (engine(), files.path().join("cache"));
    let model = caching(&engine, &cache).unwrap();
    let mut after = Vec::with_capacity(JOBS);
    for job in 0..JOBS {
        picture_job(&model, &pictures[job % PICTURES]).unwrap();
        if job % 10 == 0 {
            folder_job(&pictures[..4], &cache).unwrap();
        }
        after.push(figures(&engine));
    }
    let (first, last) = (after[FIRST - 1], after[JOBS - 1]);
    println!("after {FIRST} jobs {first:?}\nafter {JOBS} jobs {last:?}");
    assert!(last.held_bytes <= first.held_bytes + HELD_TOLERANCE_BYTES);
    assert!(last.resident_bytes <= first.resident_bytes + RESIDENT_TOLERANCE_BYTES);
    assert!(last.in_use_bytes <= first.in_use_bytes && last.reserved_bytes <= first.reserved_bytes);
    assert_eq!((last.threads, last.open_files), (first.threads, first.open_files));
}
