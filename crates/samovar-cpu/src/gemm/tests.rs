//! What comes out must not depend on how the work was cut, and be as exact as it is said to be.

use std::sync::Arc;

use samovar_tensor::{Device, Epilogue, Pool, Tensor};
use samovar_testkit::Random;

use crate::{CpuKernels, CpuOptions, Products, SimdLevel};

/// Large enough for every way to compute it, and no multiple of anything.
const SIZES: [usize; 3] = [1100, 290, 420];

/// Numbers in −1..1, always the same.
fn numbers(count: usize) -> Vec<f32> {
    let mut random = Random::new("products");
    (0..count).map(|_| random.number()).collect()
}

fn product(threads: usize, level: SimdLevel, products: Products, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let [rows, inputs, outputs] = SIZES;
    let options = CpuOptions { threads, level: Some(level), products: Some(products) };
    let device = Device::new(Arc::new(CpuKernels::new(options).unwrap()), Pool::new(usize::MAX));
    let layer = device.load_linear(&Tensor::from_values([outputs, inputs], weight), None).unwrap();
    let x = device.upload([rows, inputs], x).unwrap();
    device.linear(&x, &layer, &Epilogue::NONE).unwrap().f32().unwrap().to_vec()
}

/// Errors relative to the root of the sum of squares of a result's products, which is what it is likely to be: the root
/// of their mean square, and the largest.
fn errors(found: &[f32], x: &[f32], weight: &[f32]) -> [f64; 2] {
    let [_, inputs, outputs] = SIZES;
    let (mut squares, mut largest) = (0.0, 0.0f64);
    for (i, &found) in found.iter().enumerate() {
        let (row, column) = (&x[i / outputs * inputs..][..inputs], &weight[i % outputs * inputs..][..inputs]);
        let (mut exact, mut size) = (0.0, 0.0);
        for (&a, &b) in row.iter().zip(column) {
            let product = f64::from(a) * f64::from(b);
            exact += product;
            size += product * product;
        }
        let error = ((f64::from(found) - exact) / size.sqrt()).abs();
        assert!(error.is_finite(), "number {i}: {found}, exactly {exact}");
        squares += error * error;
        largest = largest.max(error);
    }
    [(squares / found.len() as f64).sqrt(), largest]
}

fn everywhere() -> impl Iterator<Item = (SimdLevel, Products)> {
    let levels = SimdLevel::ALL.into_iter().filter(|level| level.is_available());
    levels.flat_map(|level| Products::ALL.map(|products| (level, products)))
}

#[test]
fn the_same_on_any_number_of_threads() {
    let [rows, inputs, outputs] = SIZES;
    let (x, weight) = (numbers(rows * inputs), numbers(outputs * inputs));
    for (level, products) in everywhere() {
        let alone = product(1, level, products, &x, &weight);
        let is_plain = alone == product(1, level, Products::Plain, &x, &weight);
        assert_eq!(is_plain, products == Products::Plain, "{level}: large enough for another way");
        for threads in [2, 3, 16] {
            assert!(
                product(threads, level, products, &x, &weight) == alone,
                "{level}, {products}, {threads}"
            );
        }
    }
}

#[test]
fn errors_are_as_stated() {
    let [rows, inputs, outputs] = SIZES;
    let (x, weight) = (numbers(rows * inputs), numbers(outputs * inputs));
    for (level, products) in everywhere() {
        let [mean, largest] = errors(&product(2, level, products, &x, &weight), &x, &weight);
        let stated = if products == Products::Strassen { 2e-6 } else { 5e-7 };
        assert!(
            mean < stated && largest < 40.0 * stated,
            "{level}, {products}: {mean:e}, at most {largest:e}"
        );
    }
}

/// Additions of a number and a weight must not cost digits when one is larger.
#[test]
fn pairs_are_exact_for_rows_and_columns_of_all_sizes() {
    let [rows, inputs, outputs] = SIZES;
    let size = |i: usize| 10f32.powi(i as i32 % 25 - 12);
    let scaled = |count: usize| -> Vec<f32> {
        numbers(count * inputs).iter().enumerate().map(|(i, x)| x * size(i / inputs)).collect()
    };
    let (x, weight) = (scaled(rows), scaled(outputs));
    for level in SimdLevel::ALL.into_iter().filter(|level| level.is_available()) {
        let [mean, largest] = errors(&product(2, level, Products::Paired, &x, &weight), &x, &weight);
        assert!(mean < 5e-7 && largest < 2e-5, "{level}: {mean:e}, at most {largest:e}");
    }
}

/// What is no number in one row or one column stays there.
#[test]
fn pairs_keep_rows_and_columns_apart() {
    let [rows, inputs, outputs] = SIZES;
    let (mut x, mut weight) = (numbers(rows * inputs), numbers(outputs * inputs));
    let clean = SimdLevel::ALL
        .map(|level| level.is_available().then(|| product(2, level, Products::Paired, &x, &weight)));
    let (row, column) = (17, 33);
    x[row * inputs + 47] = f32::NAN;
    weight[column * inputs + 1] = f32::INFINITY;
    for (level, clean) in SimdLevel::ALL.into_iter().zip(clean) {
        let Some(clean) = clean else { continue };
        let found = product(2, level, Products::Paired, &x, &weight);
        for (i, (&found, &clean)) in found.iter().zip(&clean).enumerate() {
            if i / outputs == row || i % outputs == column {
                assert!(!found.is_finite(), "{level}: number {i} is {found}");
            } else {
                assert_eq!(found.to_bits(), clean.to_bits(), "{level}: number {i}");
            }
        }
    }
}

/// Sizes near the ends of f32, where plain order has no trouble.
#[test]
fn pairs_stay_finite_where_plain_order_does() {
    let [rows, inputs, outputs] = SIZES;
    for (of_x, of_weight) in [(1e36f32, 1e-20f32), (1e-30, 1e30), (1e30, 1e-36), (1.0, 1e-35)] {
        let x: Vec<f32> = numbers(rows * inputs).iter().map(|x| x * of_x).collect();
        let weight: Vec<f32> = numbers(outputs * inputs).iter().map(|w| w * of_weight).collect();
        let found = product(2, SimdLevel::detect(), Products::Paired, &x, &weight);
        let [mean, largest] = errors(&found, &x, &weight);
        assert!(mean < 5e-7 && largest < 2e-5, "{of_x:e}, {of_weight:e}: {mean:e}, at most {largest:e}");
    }
}

/// Numbers that are a hundred times larger than the others of a row and make a pair.
#[test]
fn pairs_stand_outliers_side_by_side() {
    let [rows, inputs, outputs] = SIZES;
    let (mut x, weight) = (numbers(rows * inputs), numbers(outputs * inputs));
    for row in x.chunks_exact_mut(inputs) {
        row[6..8].iter_mut().for_each(|x| *x = 100.0);
    }
    for level in SimdLevel::ALL.into_iter().filter(|level| level.is_available()) {
        let [mean, largest] = errors(&product(2, level, Products::Paired, &x, &weight), &x, &weight);
        assert!(mean < 1e-6 && largest < 4e-5, "{level}: {mean:e}, at most {largest:e}");
    }
}
