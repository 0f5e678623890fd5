//! Everything on a device whose memory the host cannot read: from pixels to a mask, with few copies and no forgotten
//! read; and whatever is admitted runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use samovar_cpu::{CpuKernels, CpuOptions};
use samovar_geometry::Size;
use samovar_media::{BitMask, RgbImage};
use samovar_runtime::automatic::{self, AutomaticOptions};
use samovar_runtime::planning::{ModelPlan, Planner};
use samovar_runtime::source::ModelSource;
use samovar_runtime::{Engine, Error, Model, Options, Prompt};
use samovar_tensor::{Kernels, Precision, Transfers};
use samovar_testkit::remote::{Remote, RemoteOptions};
use samovar_testkit::{Poisoned, Random};

fn remote() -> Arc<Remote> {
    let kernels = CpuKernels::new(CpuOptions { threads: 2, ..CpuOptions::default() }).unwrap();
    Remote::new(Arc::new(Poisoned(Arc::new(kernels))), RemoteOptions::default())
}

fn options() -> Options {
    Options { threads: 2, ..Options::default() }
}

fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens").join(name);
    path.to_str().unwrap().to_owned()
}

/// A picture with things in it.
fn picture() -> RgbImage {
    RgbImage::from_fn(Size::new(120, 90), |x, y| {
        let inside = (x as i32 - 70).pow(2) + (y as i32 - 40).pow(2) < 500;
        if inside { [200, 40, 30] } else { [(x + 40) as u8, (2 * y) as u8, 120] }
    })
}

fn prompts() -> Vec<Prompt> {
    vec![
        Prompt::default().point(70.0, 40.0),
        Prompt::default().point(70.0, 40.0).without(5.0, 5.0).within(45.0, 15.0, 95.0, 65.0),
        Prompt::default().point(20.0, 70.0).multimask(),
    ]
}

fn masks(model: &Model) -> Vec<BitMask> {
    let embedding = model.embed_pixels(&picture()).unwrap();
    let first = embedding.segment_many(&prompts()).unwrap();
    let refined = Prompt::default().point(70.0, 40.0).refine(first[1].best().mask().unwrap());
    let answers = first.into_iter().chain([embedding.segment(&refined).unwrap()]);
    answers.flat_map(|answer| answer.into_ranked()).map(|mask| mask.mask().unwrap()).collect()
}

#[test]
fn masks_are_the_same_on_a_device_that_hides_its_memory() {
    for name in [
        "nano".to_owned(),
        golden("sam1"),
        golden("mobile_sam/mobile_sam.pt"),
        golden("sam_hq/light.pth"),
        golden("sam2"),
    ] {
        let here = Engine::new(options()).unwrap().load(&name).unwrap();
        let there = Engine::on(remote(), options()).unwrap().load(&name).unwrap();
        assert!(there.engine().cpu().is_err() && there.engine().device().name().contains("test device"));
        assert_eq!(masks(&here), masks(&there), "{name}");
        let all = |model: &Model| {
            let options = AutomaticOptions { points_per_side: 3, ..AutomaticOptions::for_model(model) };
            let go_on = &mut |_: &_| std::ops::ControlFlow::Continue(());
            automatic::generate(model, &picture(), &options, go_on).unwrap()
        };
        assert_eq!(all(&here), all(&there), "{name}: everything");
    }
}

#[test]
fn from_pixels_to_scores_there_is_one_small_download() {
    let engine = Engine::on(remote(), options()).unwrap();
    let model = engine.load("nano").unwrap();
    let copies = || engine.device().transfers();
    let since = |before: Transfers| {
        let now = copies();
        (
            now.uploads - before.uploads,
            now.downloads - before.downloads,
            now.downloaded_bytes - before.downloaded_bytes,
        )
    };
    let start = copies();
    let embedding = model.embed_pixels(&picture()).unwrap();
    assert_eq!(since(start), (1, 0, 0), "the pixels go up, nothing comes back");
    let before = copies();
    let answer = embedding.segment(&Prompt::default().point(70.0, 40.0).multimask()).unwrap();
    let (_, downloads, bytes) = since(before);
    assert_eq!((downloads, bytes), (1, 3 * 4), "three scores");
    let before = copies();
    let first = answer.best().mask().unwrap();
    assert_eq!(since(before), (0, 1, 96 * 96 * 4), "the mask that was asked for");
    let before = copies();
    assert_eq!(answer.best().mask().unwrap(), first);
    assert_eq!(since(before), (0, 0, 0), "it is here now");
}

/// A model, an image and its prompts.
fn job(engine: &Engine, name: &str) -> Result<Vec<BitMask>, Error> {
    let embedding = engine.load(name)?.embed_pixels(&picture())?;
    let answers = embedding.segment_many(&prompts())?;
    answers.iter().map(|answer| answer.best().mask()).collect()
}

#[test]
fn failing_work_is_an_error_and_the_next_run_succeeds() {
    let name = golden("sam1");
    let expected = job(&Engine::new(options()).unwrap(), &name).unwrap();
    let remote = remote();
    let engine = Engine::on(Arc::clone(&remote) as Arc<dyn Kernels>, options()).unwrap();
    let before = remote.work_done();
    job(&engine, &name).unwrap();
    let pieces = remote.work_done() - before;
    for piece in (0..pieces).step_by(7) {
        remote.fail_work_after(piece);
        let failure = job(&engine, &name).and_then(|_| Ok(engine.device().synchronise()?));
        assert!(failure.is_err(), "piece {piece} of {pieces}");
        let _ = engine.device().synchronise();
        assert_eq!(job(&engine, &name).unwrap(), expected, "after a failure of piece {piece}");
    }
}

fn models() -> Vec<ModelSource> {
    let source = |name: &str| ModelSource::resolve(name, None).unwrap();
    let goldens = ["sam1", "mobile_sam/mobile_sam.pt", "sam_hq", "sam2"].map(|name| source(&golden(name)));
    [source("nano")].into_iter().chain(goldens).collect()
}

fn any_prompts(random: &mut Random) -> Vec<Prompt> {
    let count = random.between(1, 20);
    let points = random.pick(&[0, 1, 2, 7, 16, 40]);
    let (bounds, multimask) = (points == 0 || random.pick(&[false, true]), random.pick(&[false, true]));
    let with_mask = random.pick(&[false, false, true]);
    let one = |i: usize| {
        let place = |n: usize| (1.0 + (13 * n % 117) as f64, 1.0 + (7 * n % 87) as f64);
        let mut prompt = (0..points).fold(Prompt::default(), |prompt, n| {
            let (x, y) = place(i + n);
            prompt.point(x, y)
        });
        if bounds {
            prompt = prompt.within(10.0, 10.0, 90.0, 70.0);
        }
        if with_mask {
            prompt = prompt.refine(BitMask::from_fn(Size::new(120, 90), |x, y| x > 30 && y > 20));
        }
        if multimask { prompt.multimask() } else { prompt }
    };
    (0..count).map(one).collect()
}

/// Over models, precisions, prompts, threads and budgets around what the plan says: either a refusal before the work
/// begins, or the work gets done.
#[test]
fn whatever_is_admitted_runs() {
    let mut random = Random::new("whatever is admitted runs");
    let models = models();
    let (mut admitted, mut refused) = (0, 0);
    for round in 0..60 {
        let source = &models[random.between(0, models.len() - 1)];
        let precision = random.pick(&Precision::ALL);
        let threads = random.between(1, 3);
        let options = |budget: Option<usize>| Options {
            threads,
            precision: Some(precision),
            memory_budget_bytes: budget,
            ..Options::default()
        };
        let unbounded = Engine::new(options(Some(usize::MAX))).unwrap();
        let config = source.open().unwrap().config;
        let planner = Planner::new(unbounded.device(), &config, precision).unwrap();
        let plan = ModelPlan::of(unbounded.device(), &config, precision).unwrap();
        let least = plan.encode.peak_bytes();
        let budget = match random.between(0, 3) {
            0 => plan.peak_bytes(),
            1 => least,
            _ => random.between(least - least / 8, plan.peak_bytes() + least / 4),
        };
        let engine = Engine::new(options(Some(budget))).unwrap();
        let context =
            format!("round {round}: {}, {precision}, {threads} threads, {budget} bytes", source.name());
        let model = match engine.load_from(source) {
            Ok(model) => model,
            Err(Error::DoesNotFit { needed_bytes, .. }) => {
                assert!(needed_bytes > budget, "{context}");
                refused += 1;
                continue;
            }
            Err(other) => panic!("{context}: {other}"),
        };
        admitted += 1;
        // Several images and batches, so that blocks are used again for other sizes.
        for _ in 0..2 {
            let embedding =
                model.embed_pixels(&picture()).unwrap_or_else(|error| panic!("{context}: {error}"));
            for _ in 0..2 {
                let prompts = any_prompts(&mut random);
                match embedding.segment_many(&prompts) {
                    Ok(answers) => assert_eq!(answers.len(), prompts.len(), "{context}"),
                    // More points, or more answers to hold, than the plan of a model has room for: refused before it
                    // begins.
                    Err(Error::DoesNotFit { .. }) if prompts[0].points.len() > 16 || prompts.len() > 1 => {}
                    Err(other) => panic!("{context}: {} prompts: {other}", prompts.len()),
                }
            }
        }
        let stats = engine.device().pool().stats();
        assert!(stats.reserved_bytes() <= budget, "{context}: {stats:?}");
        assert!(planner.encode().weight_bytes <= stats.in_use_bytes, "{context}");
    }
    assert!(admitted > 20 && refused > 3, "{admitted} admitted, {refused} refused");
}

/// Asking what is left and taking it are two steps; with other threads in between, one in three ran out of memory.
#[test]
fn threads_on_one_model_wait_for_memory_instead_of_running_out_of_it() {
    for source in models() {
        let unbounded = Engine::new(options()).unwrap();
        let config = source.open().unwrap().config;
        let budget = ModelPlan::of(unbounded.device(), &config, Precision::F32).unwrap().peak_bytes();
        let engine = Engine::new(Options { memory_budget_bytes: Some(budget), ..options() }).unwrap();
        let model = engine.load_from(&source).unwrap();
        let embedding = model.embed_pixels(&picture()).unwrap();
        let expected = embedding.segment(&prompts()[1]).unwrap().best().mask().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let answer = embedding.segment(&prompts()[1]).unwrap();
                        assert_eq!(answer.best().mask().unwrap(), expected);
                    }
                });
            }
        });
    }
}

/// One mask of a batch kept all of them; of SAM 2, whose rule looks at a mask before it chooses, too.
#[test]
fn a_kept_answer_does_not_hold_its_batch() {
    for (name, side) in [("nano".to_owned(), 96), (golden("sam2"), 24)] {
        let engine = Engine::new(options()).unwrap();
        let embedding = engine.load(&name).unwrap().embed_pixels(&picture()).unwrap();
        let in_use = || engine.device().pool().stats().in_use_bytes;
        let before = in_use();
        let prompt = Prompt::default().point(70.0, 40.0).within(20.0, 10.0, 100.0, 80.0);
        let one = embedding.segment_many(&vec![prompt; 8]).unwrap().swap_remove(3);
        assert_eq!(in_use() - before, side * side * 4, "{name}");
        drop(one);
        assert_eq!(in_use(), before, "{name}");
    }
}

#[test]
fn paths_of_goldens_exist() {
    assert!(
        PathBuf::from(golden("sam1")).is_dir() && PathBuf::from(golden("mobile_sam/mobile_sam.pt")).is_file()
    );
}
