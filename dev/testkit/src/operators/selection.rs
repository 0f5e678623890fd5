//! Cases of operators that weigh and choose numbers and rows.

use samovar_tensor::{Activation, BinaryOp, Rows};

use super::cases::Cases;
use crate::Tolerance;

pub(super) fn add(cases: &mut Cases) {
    for op in [BinaryOp::Maximum, BinaryOp::Minimum] {
        for (rows, b_rows, channels) in [(1, 1, 1), (6, 3, 5), (3000, 1, 32), (64, 2, 1000)] {
            let name = format!("binary {op:?} {rows}x{channels} with {b_rows}");
            cases.add(name, Tolerance::Exact, move |device, random| {
                let a = random.on(device, [rows, channels], 2.0)?;
                device.binary(op, &a, &random.on(device, [b_rows, channels], 2.0)?, Activation::Identity)
            });
        }
    }
    for (rows, columns, scale) in
        [(1, 1, 1.0), (5, 7, 3.0), (1200, 33, 8.0), (3, 1000, 40.0), (300, 132, 90.0)]
    {
        let name = format!("softmax {rows}x{columns} of {scale}");
        cases.add(name, Tolerance::Function, move |device, random| {
            device.softmax(&random.on(device, [rows, columns], scale)?)
        });
    }
    for (rows, columns, k, kinds) in [
        (1, 1, 1, 0),
        (3, 5, 5, 0),
        (7, 33, 4, 0),
        // Many equal numbers, of which the first come first.
        (6, 50, 20, 3),
        (4, 9, 3, 1),
        (1, 8400, 300, 0),
        (5000, 80, 1, 0),
        (1200, 33, 4, 7),
    ] {
        let name = format!("top_k {k} of {rows}x{columns}, {kinds} kinds of numbers");
        cases.add(name, Tolerance::Exact, move |device, random| {
            let x = random.tensor([1, rows, columns], 1.0);
            let x = match kinds {
                0 => device.load(&x)?,
                kinds => {
                    let few: Vec<f32> = x.f32()?.iter().map(|x| (x * kinds as f32).round()).collect();
                    device.upload([1, rows, columns], &few)?
                }
            };
            device.top_k(&x, k)
        });
    }
    cases.add("top_k 4 of numbers that are none", Tolerance::Exact, |device, _| {
        let x = [f32::NAN, 1.0, f32::NEG_INFINITY, f32::INFINITY, -0.0, 0.0, f32::NAN, -5.0];
        device.top_k(&device.upload([2, 4], &x)?, 4)
    });
    for (batch, x_batch, rows, channels, first, count) in [
        (1, 1, 1, 1, 0, 1),
        (2, 2, 5, 3, 1, 7),
        (2, 1, 6, 4, 3, 3),
        (1, 1, 8400, 256, 300, 300),
        (3, 3, 40, 33, 0, 40),
        (1, 1, 3, 5, 0, 0),
    ] {
        let name =
            format!("gather_rows {batch}x{count} of {x_batch}x{rows}x{channels} by columns from {first}");
        cases.add(name, Tolerance::Exact, move |device, random| {
            let x = random.on(device, [x_batch, rows, channels], 1.0)?;
            // Some lie beyond the ends, and between two places.
            let places = random.tensor([batch, first + count + 2], 0.6 * rows as f32);
            let places: Vec<f32> = places.f32()?.iter().map(|place| place + 0.5 * rows as f32).collect();
            let places = device.upload([batch, first + count + 2], &places)?;
            device.gather_rows(&x, Rows::columns(&places, first), count)
        });
    }
}
