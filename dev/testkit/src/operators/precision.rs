//! Cases of weights in less than f32: layers deep enough to be held so.

use samovar_tensor::{Activation, Conv2dGeometry, Device, Precision, Shape, Tensor};

use super::cases::Cases;
use super::ending::{ACTIVATIONS, Ending, PLAIN};
use crate::{Random, Tolerance};

pub(super) fn add(cases: &mut Cases) {
    for precision in [Precision::F16, Precision::Bf16, Precision::Int8] {
        // Around the tiles of all instruction sets, groups of 2 and 4 in depth, and depth steps.
        let shapes = [
            (1, 96, 1),
            (2, 97, 33),
            (5, 98, 8),
            (7, 99, 31),
            (12, 128, 32),
            (13, 101, 64),
            (14, 512, 16),
            (15, 513, 65),
            (29, 256, 100),
            (60, 1025, 36),
            (300, 160, 288),
            (1030, 127, 16),
            (3, 110, 3000),
            (2, 9000, 5),
            LARGE,
        ];
        for shape in shapes {
            linear(cases, precision, shape, Row::Mixed, PLAIN);
        }
        for activation in ACTIVATIONS {
            for ending in
                [Ending::act(activation).residual(true, 1), Ending::act(activation).residual(false, 5)]
            {
                linear(cases, precision, (35, 130, 37), Row::Mixed, ending);
                linear(cases, precision, (35, 1100, 64), Row::Mixed, ending);
            }
        }
        for row in [Row::Positive, Row::Negative, Row::Zero, Row::Tiny] {
            linear(cases, precision, (17, 131, 40), row, Ending::act(Activation::Relu));
        }
        linear(cases, precision, (17, 131, 40), Row::NotANumber, PLAIN);
        let same = Conv2dGeometry::same;
        let dense = [
            ([1, 5, 7, 16], 33, same(3)),
            ([2, 9, 6, 11], 8, same(3).stride(2)),
            ([1, 32, 48, 3], 20, Conv2dGeometry::patches(16)),
            ([1, 6, 5, 117], 31, same(1)),
            ([1, 10, 13, 13], 7, same(3).dilated(2)),
            ([3, 16, 16, 32], 32, same(3)),
        ];
        for (x, outputs, geometry) in dense {
            conv2d(cases, precision, x, outputs, geometry);
        }
        let name = format!("conv_transpose2d in {precision}");
        cases.add_rounding(
            name,
            tolerance(precision, 100),
            rounding(precision, 100),
            move |device, random| {
                let device = device.with_weight_precision(precision);
                let (weight, bias) = (random.tensor([100, 12, 2, 2], 1.0), random.tensor([12], 1.0));
                let layer = device.load_conv_transpose2d(&weight, Some(&bias))?;
                device.conv_transpose2d(
                    &random.on(&device, [2, 3, 5, 100], 1.0)?,
                    &layer,
                    &PLAIN.epilogue(&None),
                )
            },
        );
    }
}

/// Rows, inputs and outputs of a product that may be cut into quarters.
const LARGE: (usize, usize, usize) = (1030, 259, 225);

/// What is special about the rows.
#[derive(Debug, Clone, Copy)]
enum Row {
    /// Rows of very different sizes.
    Mixed,
    Positive,
    Negative,
    Zero,
    Tiny,
    /// One number of one row.
    NotANumber,
}

fn tolerance(precision: Precision, terms: usize) -> Tolerance {
    if precision == Precision::Int8 {
        Tolerance::Dequantised { terms }
    } else {
        Tolerance::Accumulated { terms }
    }
}

/// On a device that rounds activations to the type of the weights.
fn rounding(precision: Precision, terms: usize) -> Tolerance {
    match precision {
        Precision::F16 => Tolerance::RoundedOperands { terms, significant_bits: 11 },
        Precision::Bf16 => Tolerance::RoundedOperands { terms, significant_bits: 8 },
        Precision::F32 | Precision::Int8 => tolerance(precision, terms),
    }
}

fn rows(
    device: &Device,
    random: &mut Random,
    rows: usize,
    inputs: usize,
    special: Row,
) -> samovar_tensor::Result<Tensor> {
    let mut values = random.tensor([rows, inputs], 1.0).to_f32_vec()?;
    for (r, row) in values.chunks_exact_mut(inputs).enumerate() {
        let change: fn(usize, f32) -> f32 = match special {
            Row::Mixed => |r, x| x / (1 + r % 5) as f32 + 0.1 * (r % 3) as f32,
            Row::Positive => |_, x| x.abs(),
            Row::Negative => |_, x| -x.abs(),
            Row::Zero => |r, x| if r % 2 == 0 { 0.0 } else { x },
            Row::Tiny => |r, x| if r % 2 == 0 { x * 1e-38 } else { x * 1e-30 },
            Row::NotANumber => |_, x| x,
        };
        row.iter_mut().for_each(|x| *x = change(r, *x));
    }
    if matches!(special, Row::NotANumber) {
        values[inputs * 3 + 129] = f32::NAN;
        values[inputs * 9] = f32::INFINITY;
    }
    device.upload([rows, inputs], &values)
}

fn linear(
    cases: &mut Cases,
    precision: Precision,
    (count, inputs, outputs): (usize, usize, usize),
    special: Row,
    ending: Ending,
) {
    let name = format!("linear in {precision} {count}x{inputs} to {outputs}, {special:?}, {ending:?}");
    // In f32 an infinite number times weights of both signs is infinite or not a number, which is nobody's business.
    if matches!(special, Row::NotANumber) && precision != Precision::Int8 {
        return;
    }
    let tolerance = match precision {
        Precision::F16 | Precision::Bf16 if (count, inputs, outputs) == LARGE => {
            Tolerance::Recombined { terms: inputs }
        }
        _ => tolerance(precision, inputs),
    };
    cases.add_rounding(name, tolerance, rounding(precision, inputs), move |device: &Device, random| {
        let device = device.with_weight_precision(precision);
        let bias = random.tensor([outputs], 1.0);
        let layer = device.load_linear(&random.tensor([outputs, inputs], 1.0), Some(&bias))?;
        let residual = ending.tensor(&device, random, Shape::new(&[count, outputs]))?;
        device.linear(&rows(&device, random, count, inputs, special)?, &layer, &ending.epilogue(&residual))
    });
}

fn conv2d(cases: &mut Cases, precision: Precision, x: [usize; 4], outputs: usize, geometry: Conv2dGeometry) {
    let name = format!("conv2d in {precision} {x:?} to {outputs}, {geometry:?}");
    let terms = x[3] * geometry.kernel * geometry.kernel;
    cases.add_rounding(
        name,
        tolerance(precision, terms),
        rounding(precision, terms),
        move |device: &Device, random| {
            let device = device.with_weight_precision(precision);
            let weight = random.tensor([outputs, x[3], geometry.kernel, geometry.kernel], 1.0);
            let bias = random.tensor([outputs], 1.0);
            let layer = device.load_conv2d(&weight, Some(&bias), geometry)?;
            device.conv2d(&random.on(&device, x, 1.0)?, &layer, &PLAIN.epilogue(&None))
        },
    );
}
