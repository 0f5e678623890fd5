//! Every operator of every backend against the scalar reference.

use std::collections::BTreeSet;
use std::sync::Arc;

use samovar_cpu::{CpuKernels, CpuOptions, Int8Level, Products, SimdLevel};
use samovar_tensor::Kernels;
use samovar_testkit::Shortened;
use samovar_testkit::operators::Suite;

/// One and several threads: cutting work must not change what comes out. And no route of the table goes untried.
#[test]
fn cpu_at_every_simd_level() {
    let suite = Suite::new();
    let (mut open, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for level in SimdLevel::ALL.into_iter().filter(|level| level.is_available()) {
        let int8 = Int8Level::ALL.into_iter().filter(|int8| int8.is_available(level));
        let ways = int8.flat_map(|int8| [(int8, 1, Products::Strassen), (int8, 3, Products::Paired)]);
        for (int8, threads, products) in ways {
            let options = CpuOptions { threads, level: Some(level), products: Some(products) };
            let kernels = CpuKernels::new(options).expect("an available level").with_int8_level(int8);
            let kernels = Arc::new(kernels.expect("available instructions on 8 bits"));
            kernels.record_routes();
            suite.check(kernels.clone());
            open.extend(kernels.routes().into_iter().map(|route| route.name));
            taken.extend(kernels.take_routes().into_iter().map(|taken| taken.route));
        }
    }
    let untried: Vec<_> = open.difference(&taken).collect();
    assert!(untried.is_empty(), "no case reaches {untried:?}");
    assert!(taken.is_subset(&open), "routes that the table does not have");
}

/// Whatever the dry run admits must run.
#[test]
fn every_case_runs_in_what_the_dry_run_counts() {
    let suite = Suite::new();
    suite.check_plans(&(Arc::new(samovar_tensor::Reference) as Arc<dyn Kernels>));
    for level in SimdLevel::ALL.into_iter().filter(|level| level.is_available()) {
        for products in Products::ALL {
            let options = CpuOptions { threads: 2, level: Some(level), products: Some(products) };
            let kernels = CpuKernels::new(options).expect("an available level");
            suite.check_plans(&(Arc::new(kernels) as Arc<dyn Kernels>));
        }
    }
}

/// A case that is not the same every time it runs would make every other answer worthless.
#[test]
fn the_reference_agrees_with_itself() {
    Suite::new().check(Arc::new(samovar_tensor::Reference));
}

/// Kernels write through pointers, and whoever holds a backend may call it directly: results, operands and weights that are
/// too short must be refused by name, before anything is written.
#[test]
fn what_comes_past_the_door_is_refused_where_it_is_too_short() {
    let suite = Suite::new();
    for products in Products::ALL {
        let options = CpuOptions { threads: 2, products: Some(products), ..CpuOptions::default() };
        let kernels = CpuKernels::new(options).expect("the best level");
        suite.check(Arc::new(Shortened(Arc::new(kernels))));
    }
}
