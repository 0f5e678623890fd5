//! Exactly one route answers any call, and what the table says of files is true.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;

use samovar_tensor::Conv2dGeometry;

use super::call::{DepthwiseCall, Machine, ProductCall, TransposedCall, Weights};
use super::table::{self, ATTENTION, DEPTHWISE, Entry, PRODUCTS, TRANSPOSED};
use crate::attention::shape::{AttentionShape, BiasShape};
use crate::level::{Int8Level, Products, SimdLevel};

/// All that this machine can be.
fn machines() -> Vec<Machine> {
    let mut machines = Vec::new();
    for level in SimdLevel::ALL.into_iter().filter(|level| level.is_available()) {
        #[cfg(target_arch = "x86_64")]
        let bf16: &[bool] = if level.has_bf16() { &[false, true] } else { &[false] };
        #[cfg(not(target_arch = "x86_64"))]
        let bf16 = &[false];
        for products in Products::ALL {
            machines.extend(bf16.iter().map(|&has_bf16| Machine {
                level,
                int8: Int8Level::detect(level),
                products,
                has_bf16,
            }));
        }
    }
    machines
}

/// Asks a table on all machines, and wants every route to be taken by some call.
fn ask<Call: Display, Choice: Copy>(table: &'static [Entry<Call, Choice>], calls: &[Call]) {
    let mut taken = BTreeSet::new();
    let mut open = BTreeSet::new();
    for machine in machines() {
        open.extend(table.iter().filter(|entry| (entry.is_open)(&machine)).map(|entry| entry.route.name));
        for call in calls {
            let answers = table.iter().filter(|entry| entry.answers(&machine, call));
            let answers: Vec<_> = answers.map(|entry| entry.route.name).collect();
            assert_eq!(answers.len(), 1, "{call} on {machine:?} is answered by {answers:?}");
            assert_eq!(Entry::pick(table, &machine, call).1.name, answers[0]);
            taken.insert(answers[0]);
        }
    }
    assert_eq!(taken, open);
}

/// All combinations of some sizes.
fn combinations<const N: usize>(sizes: [&[usize]; N]) -> Vec<[usize; N]> {
    let mut all = vec![[0; N]];
    for (i, sizes) in sizes.into_iter().enumerate() {
        let with = |&before: &[usize; N]| {
            sizes.iter().map(move |&size| {
                let mut combination = before;
                combination[i] = size;
                combination
            })
        };
        all = all.iter().flat_map(with).collect();
    }
    all
}

#[test]
fn one_route_answers_any_product() {
    let sizes = combinations([
        &[0, 1, 14, 1023, 1024, 4096],
        &[0, 1, 47, 48, 95, 96, 255, 256, 512, 3072],
        &[0, 1, 63, 64, 191, 192, 768],
    ]);
    let mut calls = Vec::new();
    for [rows, depth, columns] in sizes {
        for weights in [Weights::F32, Weights::Bits16, Weights::Int8] {
            let for_pairs =
                weights != Weights::Int8 && table::packs_for_pairs(Products::Paired, columns, depth);
            // Weights that another backend packed may meet any.
            for for_pairs in [false, for_pairs] {
                calls.push(ProductCall { rows, depth, columns, weights, for_pairs });
            }
        }
    }
    ask(&PRODUCTS, &calls);
    let transposed = |[rows, depth, columns]: [usize; 3]| TransposedCall { batch: 2, rows, depth, columns };
    let sizes = combinations([&[0, 1, 7, 300], &[0, 1, 95, 96, 1000], &[1, 33]]);
    ask(&TRANSPOSED, &sizes.into_iter().map(transposed).collect::<Vec<_>>());
}

#[test]
fn one_route_answers_any_depthwise_convolution() {
    let depthwise = |[kernel, stride, padding, dilation]: [usize; 4]| DepthwiseCall {
        geometry: Conv2dGeometry { kernel, stride, padding, dilation, groups: 8 },
        rows: 64,
        channels: 8,
    };
    let sizes = combinations([&[1, 2, 3, 5, 7], &[1, 2, 3], &[0, 1, 3], &[1, 2, 4]]);
    ask(&DEPTHWISE, &sizes.into_iter().map(depthwise).collect::<Vec<_>>());
}

#[test]
fn one_route_answers_any_attention() {
    let mut shapes = Vec::new();
    let sizes = combinations([
        &[1, 5, 32, 64, 80, 256, 513, 5000],
        &[1, 16, 20, 64, 4000],
        &[1, 14, 28, 31, 64, 128, 511, 512, 4096],
        &[0, 1, 7, 31, 32, 127, 128, 512, 4096],
        &[1, 3],
    ]);
    for [channels, value_channels, queries, keys, groups] in sizes {
        for bias in [
            BiasShape::None,
            BiasShape::Relative { grid: [keys.div_ceil(300), keys.min(300)] },
            BiasShape::Relative { grid: [keys.div_ceil(14), keys.min(14)] },
            BiasShape::Table,
            BiasShape::KeyPositions,
        ] {
            for (is_sequence, is_reduced) in [(false, false), (false, true), (true, false), (true, true)] {
                for most_queries in [queries, 64 * queries] {
                    shapes.push(AttentionShape {
                        heads: 2,
                        channels,
                        value_channels,
                        groups,
                        queries,
                        most_queries,
                        keys,
                        is_sequence,
                        bias,
                        is_reduced,
                    });
                }
            }
        }
    }
    ask(ATTENTION, &shapes);
}

#[test]
fn names_and_files_are_as_the_table_says() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    for route in table::routes(None) {
        assert!(names.insert(route.name), "two routes are called {}", route.name);
        assert!(here.join("src").join(route.file).is_file(), "{}: there is no {}", route.name, route.file);
        for cases in route.cases.split(", ") {
            let cases = here.join("../../dev/testkit/src/operators").join(cases);
            assert!(cases.is_file(), "{}: there is no {}", route.name, cases.display());
        }
        assert!(!route.operators.is_empty(), "{}", route.name);
    }
}
