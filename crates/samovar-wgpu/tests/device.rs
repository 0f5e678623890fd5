//! What a device owes beside its operators: order, budgets, errors that leave it working.

mod common;

use std::sync::Arc;

use samovar_tensor::{
    Activation, DType, Device, Download, Epilogue, Error, Kernels, Pool, Result, Shape, Tensor, Transfers,
};
use samovar_testkit::Random;
use samovar_wgpu::{OpenError, WgpuKernels, WgpuOptions, adapters};

fn values(device: &Device, tensor: &Tensor) -> Result<Vec<f32>> {
    device.download(tensor)?.wait()?.to_f32_vec()
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
    values(device, &y)
}

#[test]
fn a_number_beyond_the_list_is_an_error_that_says_how_many_there_are() {
    let count = common::usable().len();
    match WgpuKernels::open(1_000, WgpuOptions::default()) {
        Err(OpenError::NoSuchAdapter { index: 1_000, count: listed }) => assert!(listed >= count),
        Err(OpenError::NoAdapters(error)) => {
            assert!(count == 0 && error.to_string().contains("driver"), "{error}")
        }
        Err(error) => panic!("{error}"),
        Ok(kernels) => panic!("{}", kernels.name()),
    }
}

/// The name of the variable in which a child process is told that it has no driver.
const NO_DRIVER: &str = "SAMOVAR_TEST_NO_DRIVER";

/// Without a driver, and without Vulkan's loader: a file of its name that is none stands for its absence.
#[cfg(target_os = "linux")]
#[test]
fn without_a_driver_the_list_is_a_sentence() {
    if std::env::var_os(NO_DRIVER).is_some() {
        let error = adapters().unwrap_err().to_string();
        assert!(
            error.contains("no driver for a graphics card") && error.contains("libvulkan.so.1"),
            "{error}"
        );
        assert!(matches!(WgpuKernels::open(0, WgpuOptions::default()), Err(OpenError::NoAdapters(_))));
        return;
    }
    let folder = std::env::temp_dir().join(format!("samovar-no-loader-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("libvulkan.so.1"), "no library").unwrap();
    std::fs::write(folder.join("libvulkan.so"), "no library").unwrap();
    let none = folder.join("none.json");
    for variables in [
        vec![("VK_ICD_FILENAMES", none.clone()), ("VK_DRIVER_FILES", none)],
        vec![("LD_LIBRARY_PATH", folder.clone())],
    ] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "without_a_driver_the_list_is_a_sentence"]);
        let output = child.env(NO_DRIVER, "1").envs(variables.clone()).output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{variables:?}: {said}");
        assert!(said.contains("1 passed"), "{variables:?}: {said}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_list_tells_names_memory_and_limits() {
    for adapter in common::usable() {
        assert!(
            !adapter.name.is_empty()
                && adapter.max_operand_bytes >= 1 << 20
                && adapter.max_block_bytes >= 1 << 20
        );
        assert_eq!(adapters().unwrap()[adapter.index].name, adapter.name);
        if adapter.backend == "vulkan" {
            assert!(adapter.memory_bytes.is_some_and(|bytes| bytes > 1 << 24), "{adapter:?}");
        }
    }
}

#[test]
fn the_host_reads_what_it_has_downloaded_and_nothing_else() {
    for kernels in common::open(true) {
        let device = common::device(&kernels);
        let x = device.upload([2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        assert!(matches!(x.f32(), Err(Error::NotOnHost { .. })));
        assert_eq!(values(&device, &x).unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(values(&device, &x.narrow(1, 1).unwrap()).unwrap(), [4.0, 5.0, 6.0]);
        assert_eq!(values(&device, &device.upload([0, 3], &[]).unwrap()).unwrap(), [0.0; 0]);
        let expected = Transfers { uploads: 2, uploaded_bytes: 24, downloads: 3, downloaded_bytes: 36 };
        assert_eq!(device.transfers(), expected);
    }
}

#[test]
fn a_block_serves_again_while_work_on_it_is_still_to_come() {
    for kernels in common::open(true) {
        let device = common::device(&kernels);
        let mut sums = Vec::new();
        let mut downloads = Vec::new();
        for round in 0..50 {
            // Each round takes the blocks of the one before; uploads come between launches. Nothing waits.
            let x = device.upload([70_000], &vec![round as f32; 70_000]).unwrap();
            let y = device.add(&x, &x).unwrap();
            sums.push(device.slice(&y, 0, 69_999, 1).unwrap());
            downloads.push(device.download(&device.slice(&y, 0, 0, 1).unwrap()).unwrap());
        }
        assert!(device.pool().stats().system_allocations < 110);
        for (round, (sum, download)) in sums.iter().zip(downloads).enumerate() {
            assert_eq!(values(&device, sum).unwrap(), [2.0 * round as f32]);
            assert_eq!(download.wait().unwrap().to_f32_vec().unwrap(), [2.0 * round as f32]);
        }
    }
}

/// Operands that begin anywhere in a block, as narrowed tensors do, are read there: vectors need aligned beginnings.
#[test]
fn operands_may_begin_anywhere() {
    for kernels in common::open(true) {
        let device = common::device(&kernels);
        let numbers: Vec<f32> = (0..40).map(|i| i as f32).collect();
        let x = device.upload([10, 4], &numbers).unwrap();
        let flat = x.reshape([40]).unwrap();
        let layer =
            device.load_linear(&Tensor::from_values([1, 4], &[1.0, 10.0, 100.0, 1000.0]), None).unwrap();
        for start in 0..8 {
            let from = flat.narrow(start, 8).unwrap().reshape([2, 4]).unwrap();
            let y = values(&device, &device.linear(&from, &layer, &Epilogue::NONE).unwrap()).unwrap();
            let expected =
                |row: usize| (0..4).map(|c| numbers[start + 4 * row + c] * 10f32.powi(c as i32)).sum::<f32>();
            assert_eq!(y, [expected(0), expected(1)], "from {start}");
        }
    }
}

#[test]
fn the_budget_is_an_end_of_memory_and_what_is_dropped_comes_back() {
    let budget_bytes = Some(64 << 20);
    for kernels in common::open_with(WgpuOptions { budget_bytes, bounds_checks: true }) {
        let device = common::device(&kernels);
        assert_eq!(kernels.budget_bytes(), 64 << 20);
        let expected = job(&device).unwrap();
        let held: Vec<Tensor> = (0..).map_while(|_| device.filled([1 << 20], 1.0).ok()).collect();
        assert!((8..16).contains(&held.len()), "{} tensors of 4 MiB", held.len());
        let refusal = device.filled([1 << 20], 1.0);
        assert!(matches!(refusal, Err(Error::OutOfMemory { needed_bytes: 4_194_304, .. })), "{refusal:?}");
        assert_eq!(values(&device, &device.slice(&held[0], 0, 5, 2).unwrap()).unwrap(), [1.0; 2]);
        drop(held);
        assert_eq!(job(&device).unwrap(), expected);
        // Blocks of another size take the place of idle ones.
        let large = device.filled([10 << 20], 2.0).unwrap();
        assert_eq!(values(&device, &device.slice(&large, 0, 0, 1).unwrap()).unwrap(), [2.0]);
        drop(large);
        device.pool().trim();
        device.synchronise().unwrap();
        assert!(kernels.taken_bytes() < 1 << 20, "{} bytes", kernels.taken_bytes());
    }
}

#[test]
fn a_tensor_beyond_what_operators_see_is_an_error_and_the_device_lives_on() {
    for kernels in common::open(true) {
        let adapter = kernels.adapter();
        let len = (adapter.max_operand_bytes / 4 + 1) as usize;
        // Only where so large a block can be had at all.
        if adapter.max_block_bytes < 4 * len as u64 || adapter.max_operand_bytes > 1 << 30 {
            continue;
        }
        let device = common::device(&kernels);
        let error = device.filled([len], 1.0).unwrap_err();
        assert!(matches!(&error, Error::Backend { what, .. } if what.contains("operators see")), "{error}");
        // Part of a large block is as good as a block of its own.
        let large = Tensor::allocate(device.pool(), Shape::new(&[len + 1000]), DType::F32).unwrap();
        let part = large.narrow(len - 3, 70).unwrap();
        let mut out = Tensor::allocate(device.pool(), Shape::new(&[70]), DType::F32).unwrap();
        let filled = device.filled([70], 3.0).unwrap();
        device
            .kernels()
            .binary(samovar_tensor::BinaryOp::Add, &part, &filled, Activation::Identity, &mut out)
            .unwrap();
        assert_eq!(values(&device, &out).unwrap(), [3.0; 70]);
    }
}

#[test]
fn a_block_beyond_all_limits_is_out_of_memory_and_the_device_lives_on() {
    for kernels in common::open(true) {
        let device = common::device(&kernels);
        let expected = job(&device).unwrap();
        let len = (kernels.adapter().max_block_bytes / 4 + 1024) as usize;
        assert!(matches!(device.filled([len], 0.0), Err(Error::OutOfMemory { .. })));
        assert_eq!(job(&device).unwrap(), expected);
    }
}

#[test]
fn many_threads_share_a_device() {
    for kernels in common::open(true) {
        let device = common::device(&kernels);
        let expected = job(&device).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5).for_each(|_| assert_eq!(job(&device).unwrap(), expected)));
            }
        });
    }
}

#[test]
fn what_comes_past_the_door_is_refused_where_it_does_not_fit() {
    for kernels in common::open(true) {
        let device = common::device(&kernels);
        let numbers = |shape: &[usize]| device.filled(shape, 0.5).unwrap();
        let host = |shape: &[usize]| Tensor::from_values(shape, &vec![0.5; shape.iter().product()]);
        let layer = |outputs, inputs| device.load_linear(&host(&[outputs, inputs]), None).unwrap();
        let is_shape = |result: Result<()>| matches!(result, Err(Error::Shape { .. }));
        let x = numbers(&[100, 16]);
        let (small, large) = (layer(8, 16), layer(4096, 16));
        let swapped = large.rehoused(small.weight().clone(), None);
        assert!(is_shape(kernels.linear(&x, &swapped, &Epilogue::NONE, &mut numbers(&[100, 4096]))));
        assert!(is_shape(kernels.linear(&x, &small, &Epilogue::NONE, &mut numbers(&[100, 7]))));
        assert!(is_shape(kernels.activation(&x, Activation::Relu, &mut numbers(&[99, 16]))));
        assert!(is_shape(kernels.transpose(&x, &mut numbers(&[99, 16]))));
        assert!(is_shape(kernels.slice(&x, 0, 95, &mut numbers(&[6, 16]))));
        assert!(is_shape(kernels.concat(&[&x, &x], 0, &mut numbers(&[199, 16]))));
        let foreign = Tensor::from_values([100, 16], &[0.0; 1600]);
        let result = kernels.activation(&foreign, Activation::Relu, &mut numbers(&[100, 16]));
        assert!(matches!(result, Err(Error::Backend { .. })), "a tensor of the host");
    }
}

/// What the dry run admits must run: sizes are those that packing takes, in memory of exactly that size.
#[test]
fn packing_takes_what_is_counted() {
    for kernels in common::open(true) {
        let kernels = kernels as Arc<dyn Kernels>;
        let device = Device::new(Arc::clone(&kernels), Pool::on(kernels.memory(), 1 << 24));
        let plan = |device: &Device| {
            let mut random = Random::new("plan");
            for precision in samovar_tensor::Precision::ALL {
                let device = device.with_weight_precision(precision);
                drop(device.load_linear(&random.tensor([33, 101], 1.0), None)?);
                let geometry = samovar_tensor::Conv2dGeometry::same(3);
                drop(device.load_conv2d(&random.tensor([7, 13, 3, 3], 1.0), None, geometry)?);
            }
            Ok::<(), Error>(())
        };
        let peak_bytes = device.plan(|device| plan(device), |_, ()| Ok(())).unwrap().load_bytes;
        let exact = Device::new(Arc::clone(&kernels), Pool::on(kernels.memory(), peak_bytes));
        plan(&exact).unwrap();
    }
}

#[test]
fn downloads_may_be_waited_for_in_any_order_and_dropped() {
    for kernels in common::open(true) {
        let device = common::device(&kernels);
        let tensors: Vec<Tensor> = (0..4).map(|i| device.filled([100], i as f32).unwrap()).collect();
        let mut downloads: Vec<Download> =
            tensors.iter().map(|tensor| device.download(tensor).unwrap()).collect();
        drop(downloads.remove(1));
        for (download, expected) in downloads.into_iter().rev().zip([3.0, 2.0, 0.0]) {
            assert_eq!(download.wait().unwrap().f32().unwrap(), [expected; 100]);
        }
    }
}
