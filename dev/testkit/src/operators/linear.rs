//! Cases of fully connected layers, products and layer normalisation.

use samovar_tensor::{Activation, Shape};

use super::cases::Cases;
use super::ending::{ACTIVATIONS, Ending, PLAIN};
use crate::{Random, Tolerance};

pub(super) fn add(cases: &mut Cases) {
    // Around the tiles of all instruction sets (4, 6, 12, 14 rows; panels of 8, 16, 32 columns) and depth steps.
    let shapes = [
        (1, 1, 1),
        (1, 3, 2),
        (1, 256, 256),
        (2, 16, 31),
        (3, 17, 33),
        (4, 32, 8),
        (5, 256, 128),
        (6, 7, 16),
        (7, 128, 257),
        (13, 64, 15),
        (14, 64, 32),
        (15, 65, 32),
        (28, 511, 64),
        (29, 512, 65),
        (30, 513, 3),
        (60, 128, 320),
        (100, 1025, 36),
        (197, 96, 288),
        (300, 24, 144),
        (1030, 16, 16),
        (500, 33, 7),
        (3, 20, 5000),
    ];
    for (rows, inputs, outputs) in shapes {
        linear(cases, rows, inputs, outputs, true, PLAIN);
    }
    // Large enough to be cut into quarters, with odd ends in all directions.
    for (rows, inputs, outputs, ending) in [
        (1024, 256, 192, PLAIN),
        (1045, 259, 231, Ending::act(Activation::Gelu).residual(true, 5)),
        (1060, 1541, 193, Ending::act(Activation::Relu).residual(false, 1)),
        (1100, 777, 192, Ending::act(Activation::Relu6)),
    ] {
        linear_within(cases, Tolerance::Recombined { terms: inputs }, rows, inputs, outputs, true, ending);
    }
    for activation in ACTIVATIONS {
        for ending in [
            Ending::act(activation),
            Ending::act(activation).residual(true, 1),
            Ending::act(activation).residual(false, 5),
            Ending::act(activation).residual(true, 35),
        ] {
            linear(cases, 35, 19, 37, true, ending);
            // With several depth steps the epilogue must wait for the last.
            linear(cases, 35, 1100, 37, true, ending);
        }
    }
    let mut random = Random::new("linear shapes");
    for _ in 0..60 {
        let (rows, inputs, outputs) = (random.between(1, 90), random.between(1, 140), random.between(1, 140));
        let (bias, ending) = (random.pick(&[true, false]), Ending::any(&mut random, rows));
        linear(cases, rows, inputs, outputs, bias, ending);
    }

    let products =
        [(1, 1, 1, 1, 1), (2, 2, 4, 300, 32), (3, 1, 7, 17, 5), (1, 1, 33, 65, 64), (2, 2, 1, 520, 600)];
    for (batch, c_batch, m, n, k) in products {
        let name = format!("matmul_transposed {batch}x{m}x{k} by {c_batch}x{n}x{k}");
        cases.add(name, Tolerance::Accumulated { terms: k }, move |device, random| {
            let (a, c) = (random.on(device, [batch, m, k], 1.0)?, random.on(device, [c_batch, n, k], 1.0)?);
            device.matmul_transposed(&a, &c)
        });
    }

    for channels in [1, 2, 15, 16, 17, 33, 64, 100, 768] {
        for rows in [1, 37] {
            for activation in [Activation::Identity, Activation::Gelu] {
                layer_norm(cases, rows, channels, activation, 0.0);
            }
        }
        layer_norm(cases, 5, channels, Activation::Identity, 10.0);
    }
}

pub(super) fn linear(
    cases: &mut Cases,
    rows: usize,
    inputs: usize,
    outputs: usize,
    bias: bool,
    ending: Ending,
) {
    linear_within(cases, Tolerance::Accumulated { terms: inputs }, rows, inputs, outputs, bias, ending);
}

fn linear_within(
    cases: &mut Cases,
    tolerance: Tolerance,
    rows: usize,
    inputs: usize,
    outputs: usize,
    bias: bool,
    ending: Ending,
) {
    let name = format!("linear {rows}x{inputs} to {outputs}, bias {bias}, {ending:?}");
    cases.add(name, tolerance, move |device, random| {
        let weight = random.tensor([outputs, inputs], 1.0);
        let bias = bias.then(|| random.tensor([outputs], 1.0));
        let layer = device.load_linear(&weight, bias.as_ref())?;
        let residual = ending.tensor(device, random, Shape::new(&[rows, outputs]))?;
        device.linear(&random.on(device, [rows, inputs], 1.0)?, &layer, &ending.epilogue(&residual))
    });
}

fn layer_norm(cases: &mut Cases, rows: usize, channels: usize, activation: Activation, mean: f32) {
    let name = format!("layer_norm {rows}x{channels} about {mean}, {activation:?}");
    cases.add(name, Tolerance::Normalised { channels }, move |device, random| {
        let (gamma, beta) = (random.tensor([channels], 1.0), random.tensor([channels], 1.0));
        let norm = device.load_layer_norm(&gamma, &beta, 1e-3)?;
        let x = random.tensor([rows, channels], 1.0);
        let x: Vec<f32> = x.f32()?.iter().map(|x| x + mean).collect();
        device.layer_norm(&device.upload([rows, channels], &x)?, &norm, activation)
    });
}
