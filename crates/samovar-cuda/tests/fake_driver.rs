//! The backend as it is shipped, on a driver that runs its kernels on the CPU (`kernels/shim`).
//!
//! A driver is found when a process starts, so each test runs in a process of its own. Without a C++ compiler they say so and pass;
//! `SAMOVAR_TEST_CXX=1` makes its absence a failure.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use samovar_cuda::{Arithmetic, CudaKernels, CudaOptions};
use samovar_tensor::{
    Activation, Attention, AttentionBias, Conv2dGeometry, Device, Epilogue, Error, Kernels, Pool, Precision,
    Reference, ResizeMode, Result, Rows, Tensor, TokenLayout,
};
use samovar_testkit::Random;
use samovar_testkit::operators::Suite;

/// The variable that tells a process that it is one of those.
const IS_CHILD: &str = "SAMOVAR_TEST_ON_FAKE_DRIVER";

/// The folder with the fake driver, or `None` where nothing can build it.
fn fake_driver() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        if Command::new("g++").arg("--version").output().is_err() {
            assert!(std::env::var_os("SAMOVAR_TEST_CXX").is_none(), "no g++");
            eprintln!("no g++, so no fake driver: not tested");
            return None;
        }
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fake_cuda");
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kernels/shim/build.sh");
        let built = Command::new(script).arg(&folder).output().expect("a shell");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Some(folder)
    };
    FOLDER.get_or_init(build).clone()
}

/// Whether this process has the fake driver. Elsewhere runs the test of this name in one that has, with these variables.
fn on_fake_driver(test: &str, variables: &[(&str, &str)]) -> bool {
    if std::env::var_os(IS_CHILD).is_some() {
        return true;
    }
    if let Some(folder) = fake_driver() {
        let output = child(test, &folder).envs(variables.iter().copied()).output().unwrap();
        let text =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{variables:?}: {}\n{text}",
            output.status
        );
    }
    false
}

/// The test of this name, in a process with the fake driver.
fn child(test: &str, folder: &std::path::Path) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]).env(IS_CHILD, "1").env("LD_LIBRARY_PATH", folder);
    child
}

/// What the fake driver counts and fails on demand.
struct Fake {
    library: libloading::Library,
}

#[derive(Clone, Copy)]
enum Failure {
    Allocation,
    Launch,
    Work,
    Pinning,
}

impl Fake {
    fn new() -> Self {
        // SAFETY: the process has it already.
        Self { library: unsafe { libloading::Library::new("libcuda.so") }.unwrap() }
    }

    fn fail_after(&self, what: Failure, count: i64) {
        // SAFETY: as `fake_libcuda.cc` has it.
        unsafe { self.library.get::<extern "C" fn(i32, i64)>(b"fake_fail").unwrap()(what as i32, count) }
    }

    fn count(&self, what: i32) -> u64 {
        // SAFETY: as above.
        unsafe { self.library.get::<extern "C" fn(i32) -> u64>(b"fake_count").unwrap()(what) }
    }

    fn used_bytes(&self) -> u64 {
        self.count(0)
    }

    fn is_failure_to_come(&self) -> bool {
        self.count(4) > 0
    }
}

fn device(arithmetic: Arithmetic) -> Device {
    device_with_budget(arithmetic, usize::MAX)
}

fn device_with_budget(arithmetic: Arithmetic, budget_bytes: usize) -> Device {
    let kernels = Arc::new(CudaKernels::open(0, CudaOptions { arithmetic }).unwrap());
    let pool = Pool::on(kernels.memory(), budget_bytes);
    Device::new(kernels, pool)
}

fn values(device: &Device, tensor: &Tensor) -> Result<Vec<f32>> {
    device.download(tensor)?.wait()?.to_f32_vec()
}

#[test]
fn every_operator_agrees_with_the_reference() {
    if on_fake_driver("every_operator_agrees_with_the_reference", &[]) {
        Suite::new().check_device(&device(Arithmetic::Exact));
    }
}

#[test]
fn every_operator_is_within_what_rounding_allows_where_activations_are_rounded() {
    let test = "every_operator_is_within_what_rounding_allows_where_activations_are_rounded";
    // Work done at once instead of late, threads backwards.
    if on_fake_driver(test, &[("FAKE_CUDA_EAGER", "1"), ("SHIM_EARLY", "1"), ("SHIM_ORDER", "1")]) {
        Suite::new().check_rounding_device(&device(Arithmetic::Rounded));
    }
}

/// Weights of all kinds, uploads, operators of all kinds, a download: with odd ends in all directions.
fn job(device: &Device) -> Result<Vec<f32>> {
    let mut random = Random::new("job");
    let mut sum = random.on(device, [2, 37, 24], 1.0)?;
    for precision in Precision::ALL {
        let device = device.with_weight_precision(precision);
        let (weight, bias) = (random.tensor([131, 24], 0.2), random.tensor([131], 1.0));
        let wide = device.load_linear(&weight, Some(&bias))?;
        let back = device.load_linear(&random.tensor([24, 131], 0.1), None)?;
        let x = device.linear(&sum, &wide, &Epilogue::act(Activation::Gelu))?;
        // Deep and wide enough to be held in less than f32, and for tiles of all sizes.
        let middle = device.load_linear(&random.tensor([131, 131], 0.1), None)?;
        let x = device.linear(&x, &middle, &Epilogue::act(Activation::Relu))?;
        sum = device.linear(&x, &back, &Epilogue::add(&sum))?;
    }
    let (gamma, beta) = (random.tensor([24], 1.0), random.tensor([24], 1.0));
    let norm = device.load_layer_norm(&gamma, &beta, 1e-3)?;
    let x = device.layer_norm(&sum, &norm, Activation::Identity)?;
    // Few queries, and keys that several blocks share.
    let (q, kv) = (random.on(device, [5, 16], 1.0)?, random.on(device, [300, 32], 1.0)?);
    let gathered = device.attention(&Attention {
        q: Rows::whole(&q),
        k: Rows::whole(&kv),
        v: Rows::columns(&kv, 16),
        heads: 1,
        head_channels: 16,
        value_channels: 16,
        scale: 0.3,
        layout: TokenLayout::Sequence { batch: 1, key_batch: 1, queries: 5, keys: 300 },
        bias: AttentionBias::None,
        precision: Precision::F32,
    })?;
    let (rows, columns) = (random.on(device, [9, 8], 1.0)?, random.on(device, [9, 8], 1.0)?);
    let padding = random.on(device, [1, 24], 1.0)?;
    let map = device.slice(&x, 1, 0, 36)?.reshape([2, 6, 6, 24])?;
    for precision in [Precision::F32, Precision::Int8] {
        let attended = device.attention(&Attention {
            q: Rows::columns(&map, 0),
            k: Rows::columns(&map, 8),
            v: Rows::columns(&map, 16),
            heads: 1,
            head_channels: 8,
            value_channels: 8,
            scale: 0.4,
            layout: TokenLayout::Windows {
                batch: 2,
                grid: [6, 6],
                window: 5,
                query_stride: 1,
                padding: Some(&padding),
            },
            bias: AttentionBias::RelativePosition { rows: &rows, columns: &columns, grid: [5, 5] },
            precision,
        })?;
        let geometry = Conv2dGeometry::same(3);
        let weight = random.tensor([10, attended.shape().channels(), 3, 3], 0.2);
        let layer = device.load_conv2d(&weight, None, geometry)?;
        let depthwise =
            device.load_conv2d(&random.tensor([10, 1, 3, 3], 0.5), None, geometry.depthwise(10))?;
        let y = device.conv2d(&attended.reshape([2, 6, 6, 8])?, &layer, &Epilogue::NONE)?;
        let y = device.conv2d(&y, &depthwise, &Epilogue::act(Activation::Sigmoid))?;
        let y = device.resize(&y, 6, 6, ResizeMode::Bilinear)?.reshape([2, 36, 10])?;
        let y = device.channels_first(&y.reshape([2, 6, 6, 10])?)?.reshape([2, 36, 10])?;
        sum = device.concat(&[&device.slice(&sum, 1, 0, 36)?, &y], 2)?;
        sum = device.slice(&sum, 2, 10, 24)?;
    }
    let mut answer = values(device, &sum)?;
    answer.extend(values(device, &gathered)?);
    Ok(answer)
}

/// What the job answers, with activations exact and rounded, in a process of its own with these variables; `None` where that fails.
fn job_elsewhere(test: &str, variables: &[(&str, &str)]) -> Option<Vec<u8>> {
    let name = variables.iter().flat_map(|(name, value)| [*name, *value]).collect::<Vec<_>>().join("_");
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}_{name}"));
    let _ = std::fs::remove_file(&file);
    let mut child = child(test, &fake_driver()?);
    child.env(RESULT, &file).envs(variables.iter().copied());
    let is_success = child.output().unwrap().status.success();
    let result = std::fs::read(&file).ok().filter(|_| is_success);
    let _ = std::fs::remove_file(&file);
    result
}

/// The variable that names the file for the job's answer.
const RESULT: &str = "SAMOVAR_TEST_RESULT";

/// In a process that was started by [`job_elsewhere`], does the job.
fn is_elsewhere() -> bool {
    let Some(file) = std::env::var_os(RESULT) else { return false };
    let answers =
        [Arithmetic::Exact, Arithmetic::Rounded].map(|arithmetic| job(&device(arithmetic)).unwrap());
    let bytes: Vec<u8> = answers.concat().into_iter().flat_map(f32::to_le_bytes).collect();
    std::fs::write(file, bytes).unwrap();
    true
}

const EARLY: [(&str, &str); 2] = [("SHIM_EARLY", "1"), ("FAKE_CUDA_EAGER", "1")];

/// What is computed is the same to the bit, whatever runs first and however late copies land.
#[test]
fn no_order_of_threads_and_copies_gives_another_result() {
    const TEST: &str = "no_order_of_threads_and_copies_gives_another_result";
    if is_elsewhere() || fake_driver().is_none() {
        return;
    }
    let expected = job_elsewhere(TEST, &[]).expect("a result");
    for order in ["0", "1", "2"] {
        for early in [&[][..], &EARLY] {
            let variables = [&[("SHIM_ORDER", order)][..], early].concat();
            assert!(job_elsewhere(TEST, &variables).as_ref() == Some(&expected), "{variables:?}");
        }
    }
}

/// Otherwise the test above would say nothing.
#[test]
fn a_barrier_that_is_missing_is_found_by_some_order() {
    const TEST: &str = "a_barrier_that_is_missing_is_found_by_some_order";
    if is_elsewhere() || fake_driver().is_none() {
        return;
    }
    let expected = job_elsewhere(TEST, &[]).expect("a result");
    for barrier in ["0", "1", "2", "3"] {
        let is_found = ["0", "1", "2"].iter().any(|order| {
            let answer = job_elsewhere(TEST, &[("SHIM_SKIP", barrier), ("SHIM_ORDER", order)]);
            answer.as_ref() != Some(&expected)
        });
        assert!(is_found, "barrier {barrier}");
    }
}

#[test]
fn a_refused_allocation_at_any_place_is_an_error_and_the_next_run_succeeds() {
    if !on_fake_driver("a_refused_allocation_at_any_place_is_an_error_and_the_next_run_succeeds", &[]) {
        return;
    }
    let fake = Fake::new();
    let expected = job(&device(Arithmetic::Exact)).unwrap();
    let mut failed = 0;
    loop {
        let device = device(Arithmetic::Exact);
        // Twice, as a pool tries again after it has given back what lies idle.
        fake.fail_after(Failure::Allocation, failed);
        let first = Pool::without_reuse(device.kernels().memory(), usize::MAX);
        let tight = Device::new(Arc::clone(device.kernels()), first);
        match job(&tight) {
            Ok(values) => assert_eq!(values, expected),
            Err(Error::OutOfMemory { .. } | Error::Backend { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        let is_over = fake.is_failure_to_come();
        fake.fail_after(Failure::Allocation, -1);
        assert_eq!(job(&device).unwrap(), expected, "after a failure of allocation {failed}");
        if is_over {
            break;
        }
        failed += 7;
    }
    assert!(failed > 40, "{failed} places");
}

#[test]
fn its_memory_has_an_end_and_its_pool_a_budget_and_both_are_out_of_memory() {
    let test = "its_memory_has_an_end_and_its_pool_a_budget_and_both_are_out_of_memory";
    if !on_fake_driver(test, &[("FAKE_CUDA_BYTES", "64000000")]) {
        return;
    }
    let fake = Fake::new();
    let small = device(Arithmetic::Exact);
    small.reserve().unwrap();
    let expected = job(&small).unwrap();
    let refused = small.filled([8_000_000], 1.0);
    assert!(matches!(refused, Err(Error::OutOfMemory { needed_bytes: 32_002_048, .. })), "{refused:?}");
    assert_eq!(job(&small).unwrap(), expected, "the device lives on");
    let kept = small.filled([4_000_000], 1.0).unwrap();
    // What lies idle is given back before a request is refused.
    assert!(small.filled([3_000_000], 1.0).is_ok());
    drop(kept);
    let in_use = small.pool().stats().in_use_bytes as u64;
    small.pool().trim();
    assert!(fake.used_bytes() <= in_use + (32 << 20), "{} of {in_use}", fake.used_bytes());
    let tight = device_with_budget(Arithmetic::Exact, 4096);
    assert!(matches!(tight.filled([2048], 0.0), Err(Error::OutOfMemory { budget_bytes: 4096, .. })));
    drop((small, tight));
    assert_eq!(fake.used_bytes(), 0, "blocks that nobody gave back");
}

#[test]
fn what_fails_is_an_error_and_nothing_is_read_that_was_not_computed() {
    if !on_fake_driver("what_fails_is_an_error_and_nothing_is_read_that_was_not_computed", &[]) {
        return;
    }
    let fake = Fake::new();
    let device = device(Arithmetic::Exact);
    let expected = job(&device).unwrap();
    // Refused at once: the device lives on.
    for launch in [0, 3, 11, 20] {
        fake.fail_after(Failure::Launch, launch);
        assert!(matches!(job(&device), Err(Error::Backend { .. })), "launch {launch}");
        assert_eq!(job(&device).unwrap(), expected, "after a failure of launch {launch}");
    }
    // No memory to pin is no failure.
    for pinned in [0, 1, 2] {
        let device = self::device(Arithmetic::Exact);
        fake.fail_after(Failure::Pinning, pinned);
        assert_eq!(job(&device).unwrap(), expected);
    }
    // Failed later, as a wrong address: a card's context answers nothing else from then on.
    let x = device.upload([4], &[1.0; 4]).unwrap();
    fake.fail_after(Failure::Work, 0);
    let y = device.add(&x, &x);
    let read = y.and_then(|y| values(&device, &y));
    assert!(
        matches!(&read, Err(Error::Backend { what, .. }) if what.contains("ILLEGAL_ADDRESS")),
        "{read:?}"
    );
    assert!(device.synchronise().is_err());
    assert!(values(&device, &x).is_err() && job(&device).is_err());
}

#[test]
fn uploads_and_downloads_of_all_sizes_arrive_in_order() {
    if !on_fake_driver("uploads_and_downloads_of_all_sizes_arrive_in_order", &[]) {
        return;
    }
    let device = device(Arithmetic::Exact);
    let mut downloads = Vec::new();
    // Less and more than the buffers, and more of them than there are.
    for (round, len) in [1, 1000, 1 << 20, (1 << 20) + 1, 5_000_000, 3, 2_000_000, 7].into_iter().enumerate()
    {
        let numbers: Vec<f32> = (0..len).map(|i| (i % 1013 + round) as f32).collect();
        let x = device.upload([len], &numbers).unwrap();
        let y = device.binary(samovar_tensor::BinaryOp::Add, &x, &x, Activation::Identity).unwrap();
        downloads.push((device.download(&y).unwrap(), numbers));
        // Their blocks are handed out again while work on them is still to come.
    }
    // One that nobody waits for.
    drop(device.download(&device.filled([100_000], 1.0).unwrap()).unwrap());
    for (download, numbers) in downloads {
        let found = download.wait().unwrap().to_f32_vec().unwrap();
        assert!(found.iter().zip(&numbers).all(|(&found, number)| found == 2.0 * number));
    }
}

#[test]
fn weights_and_tensors_of_another_device_are_an_error() {
    if !on_fake_driver("weights_and_tensors_of_another_device_are_an_error", &[("FAKE_CUDA_DEVICES", "2")]) {
        return;
    }
    assert_eq!(samovar_cuda::devices().unwrap().len(), 2);
    let other = Arc::new(CudaKernels::open(1, CudaOptions::default()).unwrap());
    let other = Device::new(other.clone(), Pool::on(other.memory(), usize::MAX));
    let here = device(Arithmetic::Exact);
    let x = other.upload([3, 4], &[1.0; 12]).unwrap();
    assert!(matches!(here.activation(&x, Activation::Relu), Err(Error::WrongDevice { .. })));
    // Nor does the backend itself read it, when nobody checks before.
    let mut out = here.filled([3, 4], 0.0).unwrap();
    assert!(here.kernels().activation(&x, Activation::Relu, &mut out).is_err());
    let host = Tensor::from_values([3, 4], &[1.0; 12]);
    assert!(here.kernels().activation(&host, Activation::Relu, &mut out).is_err());
    let layer = other.load_linear(&Tensor::from_values([4, 4], &[1.0; 16]), None).unwrap();
    let y = here.upload([3, 4], &[1.0; 12]).unwrap();
    assert!(matches!(here.linear(&y, &layer, &Epilogue::NONE), Err(Error::ForeignWeights { .. })));
    let foreign = Device::new(Arc::new(Reference), Pool::new(usize::MAX));
    let layer = foreign.load_linear(&Tensor::from_values([4, 4], &[1.0; 16]), None).unwrap();
    let direct = here.kernels().linear(&y, &layer, &Epilogue::NONE, &mut out);
    assert!(matches!(direct, Err(Error::ForeignWeights { .. })), "{direct:?}");
}

#[test]
fn cards_that_are_too_old_or_not_there_are_a_clear_sentence() {
    let test = "cards_that_are_too_old_or_not_there_are_a_clear_sentence";
    if !on_fake_driver(test, &[("FAKE_CUDA_CAPABILITY", "7")]) {
        return;
    }
    let words = |index| CudaKernels::open(index, CudaOptions::default()).err().unwrap().to_string();
    assert!(words(0).contains("architecture 7.0; 8.0 (Ampere) or later is needed"), "{}", words(0));
    assert!(words(5).contains("no such device"), "{}", words(5));
}

/// Without the fake driver this machine may have one of its own.
#[test]
fn no_driver_is_a_clear_sentence_and_no_panic() {
    if let Err(error) = samovar_cuda::devices() {
        assert!(error.to_string().contains("driver"), "{error}");
        let refused = CudaKernels::open(0, CudaOptions::default()).err().unwrap();
        assert_eq!(refused.to_string(), error.to_string());
    }
}

/// The image belongs to the sources beside it; `kernels/build.sh` makes both.
#[test]
fn the_kernels_were_made_of_these_sources() {
    use sha2::Digest;
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let list = std::fs::read_to_string(folder.join("samovar.sha256")).unwrap();
    let mut names = Vec::new();
    for line in list.lines() {
        let (expected, name) = line.split_once("  ").expect("a hash and a name");
        let found = sha2::Sha256::digest(std::fs::read(folder.join(name)).unwrap());
        let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected, "{name} has changed: run crates/samovar-cuda/kernels/build.sh");
        names.push(name.to_owned());
    }
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_source = [".h", ".cu", ".sh", ".fatbin"].iter().any(|ending| name.ends_with(ending));
        assert!(!is_source || names.contains(&name), "{name} is not in samovar.sha256");
    }
}
