//! A device whose memory the host cannot read: everything runs on it, and nothing is read behind its back.

use std::sync::Arc;

use samovar_cpu::{CpuKernels, CpuOptions, Products, SimdLevel};
use samovar_tensor::{
    Activation, Block, Conv2dGeometry, DType, Device, Download, Epilogue, Error, Kernels, Memory, MemoryId,
    PendingCopy, Pool, Precision, Reference, ResizeMode, Result, Tensor, Transfers, host_memory,
};
use samovar_testkit::operators::Suite;
use samovar_testkit::remote::{Remote, RemoteOptions};
use samovar_testkit::{Poisoned, Random};

fn remote(options: RemoteOptions) -> Arc<Remote> {
    Remote::new(Arc::new(Poisoned(Arc::new(Reference))), options)
}

fn host() -> Device {
    Device::new(Arc::new(Reference), Pool::new(usize::MAX))
}

fn values(device: &Device, tensor: &Tensor) -> Result<Vec<f32>> {
    device.download(tensor)?.wait()?.to_f32_vec()
}

/// With the core alone, everything that a backend may fuse is composed.
#[test]
fn every_operator_runs_on_it_fused_and_composed() {
    let suite = Suite::new();
    for fuses in [true, false] {
        suite.check_device(&remote(RemoteOptions { fuses, ..RemoteOptions::default() }).device());
    }
}

#[test]
fn a_forgotten_download_is_an_error() {
    let device = remote(RemoteOptions::default()).device();
    let x = device.upload([2, 3], &[1.0; 6]).unwrap();
    assert!(matches!(x.f32(), Err(Error::NotOnHost { .. })));
    assert!(matches!(x.to_f32_vec(), Err(Error::NotOnHost { .. })));
    assert!(x.has_values() && x.raw().is_none());
    assert_eq!(values(&device, &x).unwrap(), [1.0; 6]);
    assert_eq!(values(&device, &x.narrow(1, 1).unwrap()).unwrap(), [1.0; 3]);
}

/// The name of the variable in which a child process is told to read what it must not.
const READ_BEHIND_ITS_BACK: &str = "SAMOVAR_TEST_READ_BEHIND_ITS_BACK";

#[test]
fn whoever_reads_its_memory_behind_its_back_is_ended() {
    if std::env::var_os(READ_BEHIND_ITS_BACK).is_some() {
        let remote = remote(RemoteOptions::default());
        let device = remote.device();
        let x = device.upload([16], &[1.0; 16]).unwrap();
        device.synchronise().unwrap();
        let address = remote.address_of(&x);
        // SAFETY: none; this is what must end the process.
        std::process::exit(i32::from(unsafe { address.read_volatile() }));
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "whoever_reads_its_memory_behind_its_back_is_ended"]);
    let status = child.env(READ_BEHIND_ITS_BACK, "1").output().unwrap().status;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGSEGV), "{status}");
}

#[test]
fn operands_of_another_device_are_an_error() {
    let (remote, host) = (remote(RemoteOptions::default()).device(), host());
    let other = Device::new(Arc::new(Reference), Pool::new(usize::MAX));
    let numbers = Tensor::from_values([3, 4], &[1.0; 12]);
    let weight = Tensor::from_values([5, 4], &[0.5; 20]);
    let here = host.load(&numbers).unwrap();
    let is_wrong = |result: Result<Tensor>| matches!(result, Err(Error::WrongDevice { .. }));
    assert!(is_wrong(remote.activation(&here, Activation::Relu)), "of a device of the host");
    assert!(is_wrong(remote.activation(&numbers, Activation::Relu)), "of no device");
    assert!(is_wrong(other.activation(&here, Activation::Relu)), "of another pool");
    assert!(is_wrong(other.add(&other.load(&numbers).unwrap(), &here)), "the second of two");
    let ending = Epilogue::add(&here);
    let layer = other.load_linear(&weight, None).unwrap();
    let x = other.load(&numbers).unwrap();
    assert!(is_wrong(other.linear(&x, &layer, &Epilogue::add(&Tensor::from_values([3, 5], &[0.0; 15])))));
    assert!(other.linear(&x, &layer, &ending).is_err(), "a residual of another device");
    let is_foreign = |result: Result<Tensor>| matches!(result, Err(Error::ForeignWeights { .. }));
    assert!(is_foreign(host.linear(&here, &layer, &Epilogue::NONE)), "weights of another pool");
    assert!(is_wrong(remote.download(&here).map(|_| numbers.clone())));
    // A pool of another memory than the backend's.
    let mixed = Device::new(Arc::new(Reference), Arc::clone(remote.pool()));
    assert!(is_wrong(mixed.load(&numbers)));
}

#[test]
fn clones_of_a_device_and_devices_on_one_pool_share_tensors() {
    let host = host();
    let beside = Device::new(Arc::new(Reference), Arc::clone(host.pool()));
    let x = host.upload([2], &[1.0, -2.0]).unwrap();
    assert_eq!(values(&beside, &beside.activation(&x, Activation::Relu).unwrap()).unwrap(), [1.0, 0.0]);
    let layer = host.load_linear(&Tensor::from_values([1, 2], &[1.0, 1.0]), None).unwrap();
    assert_eq!(values(&beside, &beside.linear(&x, &layer, &Epilogue::NONE).unwrap()).unwrap(), [-1.0]);
}

/// A little of everything: weights, uploads, operators, a download.
fn job(device: &Device) -> Result<Vec<f32>> {
    let mut random = Random::new("job");
    let weight = random.tensor([6, 4], 1.0);
    let layer = device.load_linear(&weight, Some(&random.tensor([6], 1.0)))?;
    let norm = device.load_layer_norm(&random.tensor([6], 1.0), &random.tensor([6], 1.0), 1e-3)?;
    let x = random.on(device, [5, 4], 1.0)?;
    let y = device.linear(&x, &layer, &Epilogue::act(Activation::Gelu))?;
    let y = device.layer_norm(&y, &norm, Activation::Identity)?;
    let z = device.concat(&[&y.reshape([1, 5, 6])?, &y.reshape([1, 5, 6])?], 2)?;
    values(device, &z)
}

#[test]
fn a_refused_allocation_at_any_place_is_an_error_and_the_next_run_succeeds() {
    let expected = job(&host()).unwrap();
    let remote = remote(RemoteOptions::default());
    let mut failed = 0;
    loop {
        let device = remote.device();
        remote.fail_allocation_after(failed);
        match job(&device) {
            Err(Error::OutOfMemory { .. }) => failed += 1,
            Err(other) => panic!("{other}"),
            Ok(values) => {
                assert_eq!(values, expected);
                break;
            }
        }
        assert_eq!(job(&device).unwrap(), expected, "after a failure of allocation {failed}");
    }
    assert!(failed >= 8, "{failed} places");
}

#[test]
fn failing_work_is_reported_by_a_later_call_and_the_next_run_succeeds() {
    let expected = job(&host()).unwrap();
    let remote = remote(RemoteOptions::default());
    let device = remote.device();
    job(&device).unwrap();
    let pieces = remote.work_done();
    for piece in 0..pieces {
        remote.fail_work_after(piece);
        let failure = job(&device).and_then(|_| device.synchronise());
        assert!(matches!(failure, Err(Error::Backend { .. })), "piece {piece} of {pieces}: {failure:?}");
        // What failed after the last call of the job is told to nobody but who asks.
        let _ = device.synchronise();
        assert_eq!(job(&device).unwrap(), expected, "after a failure of piece {piece}");
    }
}

/// A result that failed on the way was read as old memory, after another call had been told of the failure.
#[test]
fn what_failed_is_not_read_because_somebody_else_was_told() {
    let remote = remote(RemoteOptions::default());
    let device = remote.device();
    let x = device.upload([4], &[1.0; 4]).unwrap();
    device.synchronise().unwrap();
    remote.fail_work_after(0);
    let y = device.add(&x, &x);
    while device.filled([1], 0.0).is_ok() {}
    let is_failure = |result: Result<Vec<f32>>| matches!(result, Err(Error::Backend { .. }));
    assert!(is_failure(y.and_then(|y| values(&device, &y))));
    assert!(is_failure(values(&device, &x)), "nothing is read before somebody has waited");
    assert!(device.synchronise().is_err() && device.synchronise().is_ok());
    assert_eq!(values(&device, &x).unwrap(), [1.0; 4]);
}

/// Each of these wrote or read beside its memory, or ended the process.
#[test]
fn layers_that_do_not_fit_their_weights_and_results_beyond_all_memory_are_errors() {
    let kernels = CpuKernels::new(CpuOptions { threads: 1, ..CpuOptions::default() }).unwrap();
    for device in [Device::new(Arc::new(kernels), Pool::new(1 << 24)), host()] {
        let numbers = |shape: &[usize]| Tensor::from_values(shape, &vec![0.5; shape.iter().product()]);
        let layer = |outputs, inputs| device.load_linear(&numbers(&[outputs, inputs]), None).unwrap();
        let is_shape = |result: Result<Tensor>| matches!(result, Err(Error::Shape { .. }));
        let x = device.load(&numbers(&[100, 16])).unwrap();
        let (small, large) = (layer(8, 16), layer(4096, 16));
        let swapped = small.rehoused(large.weight().clone(), None);
        assert!(is_shape(device.linear(&x, &swapped, &Epilogue::NONE)), "another layer's weights");
        let short = small.rehoused(small.weight().clone(), Some(device.load(&numbers(&[1])).unwrap()));
        assert!(is_shape(device.linear(&x, &short, &Epilogue::NONE)), "another layer's bias");
        let norm = device.load_layer_norm(&numbers(&[16]), &numbers(&[16]), 1e-5).unwrap();
        let norm = norm.rehoused(device.load(&numbers(&[16])).unwrap(), device.load(&numbers(&[1])).unwrap());
        assert!(is_shape(device.layer_norm(&x, &norm, Activation::Identity)), "a norm with a short shift");

        let empty = device.upload([1 << 60, 0], &[]).unwrap();
        let nothing = device.load_linear(&numbers(&[32, 0]), None).unwrap();
        assert!(is_shape(device.linear(&empty, &nothing, &Epilogue::NONE)), "rows beyond all memory");
        let map = device.load(&numbers(&[1, 4, 4, 2])).unwrap();
        assert!(is_shape(device.resize(&map, 1 << 40, 1 << 40, ResizeMode::Nearest)));
        let wide = device.upload([1, 1 << 60, 0], &[]).unwrap();
        assert!(is_shape(device.concat(&[&wide, &wide], 1)));
        let weight = numbers(&[2, 2, 3, 3]);
        let same = Conv2dGeometry::same(3);
        for geometry in [
            same.stride(0),
            Conv2dGeometry { groups: 0, ..same },
            Conv2dGeometry { kernel: 0, ..same },
            Conv2dGeometry { padding: usize::MAX / 2, ..same },
            Conv2dGeometry { dilation: 0, ..same },
        ] {
            assert!(
                matches!(device.load_conv2d(&weight, None, geometry), Err(Error::Shape { .. })),
                "{geometry:?}"
            );
        }
        // Layers without inputs or outputs are layers.
        let bias = numbers(&[3]);
        let constant = device.load_linear(&numbers(&[3, 0]), Some(&bias)).unwrap();
        let y = device.linear(&device.upload([2, 0], &[]).unwrap(), &constant, &Epilogue::NONE).unwrap();
        assert_eq!(values(&device, &y).unwrap(), [0.5; 6]);
        let none = device.load_linear(&numbers(&[0, 16]), None).unwrap();
        assert_eq!(device.linear(&x, &none, &Epilogue::NONE).unwrap().dims(), [100, 0]);
    }
}

/// A memory is a backend's own code; a block that is too small must not be written beyond its end.
#[test]
fn blocks_smaller_than_what_was_asked_for_are_refused() {
    struct Stingy;
    impl Memory for Stingy {
        fn name(&self) -> String {
            "stingy".into()
        }
        fn id(&self) -> MemoryId {
            MemoryId::HOST
        }
        fn allocate(&self, _: usize) -> Option<Block> {
            host_memory().allocate(64)
        }
        fn upload(&self, _: &Block, _: usize, _: &[u8]) -> Result<()> {
            Ok(())
        }
        fn download(&self, _: &Block, _: usize, _: usize) -> Result<Box<dyn PendingCopy>> {
            unreachable!("host memory")
        }
        fn synchronise(&self) -> Result<()> {
            Ok(())
        }
    }
    let device = Device::new(Arc::new(Reference), Pool::on(Arc::new(Stingy), 1 << 20));
    assert!(device.filled([16], 1.0).is_ok());
    assert!(matches!(device.filled([1024], 1.0), Err(Error::OutOfMemory { .. })));
    let Some(Block::Host(block)) = host_memory().allocate(64) else { panic!("host memory") };
    assert!(matches!(Tensor::on_host_block(block, [1 << 20].into(), DType::F32), Err(Error::Shape { .. })));
}

#[test]
fn its_memory_has_an_end_and_its_pool_a_budget() {
    let remote = remote(RemoteOptions { memory_bytes: 64 << 10, ..RemoteOptions::default() });
    let device = remote.device();
    let x = device.filled([4096], 1.0).unwrap();
    let refusal = device.filled([1 << 20], 0.0);
    assert!(matches!(refusal, Err(Error::OutOfMemory { .. })), "{refusal:?}");
    assert_eq!(remote.allocated_bytes(), 16 << 10);
    drop(x);
    assert_eq!(device.pool().trim(), 16 << 10);
    // Work in the queue may hold a block a little longer.
    device.synchronise().unwrap();
    assert_eq!(remote.allocated_bytes(), 0);
    let tight = remote.device_with_budget(4096);
    assert!(matches!(tight.filled([2048], 0.0), Err(Error::OutOfMemory { budget_bytes: 4096, .. })));
}

#[test]
fn a_block_serves_again_while_work_on_it_is_still_to_come() {
    let device = remote(RemoteOptions::default()).device();
    let mut sums = Vec::new();
    for round in 0..50 {
        // The first tensor's block becomes that of the next round; nothing waits in between.
        let x = device.filled([70_000], round as f32).unwrap();
        sums.push(device.slice(&x, 0, 69_999, 1).unwrap());
    }
    assert!(device.pool().stats().system_allocations < 60);
    for (round, sum) in sums.iter().enumerate() {
        assert_eq!(values(&device, sum).unwrap(), [round as f32]);
    }
}

#[test]
fn copies_are_counted() {
    let device = remote(RemoteOptions::default()).device();
    let x = device.upload([2, 3], &[1.0; 6]).unwrap();
    let y = device.activation(&x, Activation::Relu).unwrap();
    let both: Vec<Download> = [&x, &y].map(|tensor| device.stage("end").download(tensor).unwrap()).into();
    both.into_iter().for_each(|download| drop(download.wait().unwrap()));
    let expected = Transfers { uploads: 1, uploaded_bytes: 24, downloads: 2, downloaded_bytes: 48 };
    assert_eq!(device.transfers(), expected);
    let host = host();
    drop(values(&host, &host.upload([2], &[1.0, 2.0]).unwrap()));
    assert_eq!(host.transfers(), Transfers::default(), "in host memory nothing is copied");
}

/// The kernels that are shipped, in memory that they do not own.
#[test]
fn the_cpu_backend_runs_on_it() {
    let kernels = CpuKernels::new(CpuOptions { threads: 2, ..CpuOptions::default() }).unwrap();
    let remote = Remote::new(Arc::new(Poisoned(Arc::new(kernels))), RemoteOptions::default());
    Suite::new().check_device(&remote.device());
}

/// AVX-512 reads panels of 32 columns, AVX2 of 16: read by the other, they end behind the buffer.
#[test]
fn weights_packed_for_other_instructions_are_an_error() {
    let kernels = |level| {
        let options = CpuOptions { threads: 1, level: Some(level), products: Some(Products::Plain) };
        CpuKernels::new(options).map(|kernels| Arc::new(kernels) as Arc<dyn Kernels>)
    };
    let levels: Vec<_> = SimdLevel::ALL.into_iter().filter(|level| level.is_available()).collect();
    let weight = Tensor::from_values([40, 100], &[0.5; 4000]);
    let pool = Pool::new(usize::MAX);
    for &packs in &levels {
        for &reads in &levels {
            let packer = Device::new(kernels(packs).unwrap(), Arc::clone(&pool));
            let reader = Device::new(kernels(reads).unwrap(), Arc::clone(&pool));
            for precision in Precision::ALL {
                let layer = packer.with_weight_precision(precision).load_linear(&weight, None).unwrap();
                let x = reader.upload([3, 100], &[1.0; 300]).unwrap();
                let y = reader.linear(&x, &layer, &Epilogue::NONE);
                if packs == reads {
                    assert!((values(&reader, &y.unwrap()).unwrap()[0] - 50.0).abs() < 0.1);
                    continue;
                }
                assert!(matches!(y, Err(Error::ForeignWeights { .. })), "{packs} read by {reads}: {y:?}");
                // Nor does the backend itself read them, when nobody checks before.
                let mut out = Tensor::allocate(&pool, [3, 40].into(), DType::F32).unwrap();
                let direct = reader.kernels().linear(&x, &layer, &Epilogue::NONE, &mut out);
                assert!(direct.is_err() || levels.len() < 2, "{packs} read by {reads}");
            }
        }
    }
}
