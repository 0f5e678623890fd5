//! Cases of operators on single numbers.

use samovar_tensor::{Activation, BinaryOp, ResizeMode, Rows};

use super::cases::Cases;
use super::ending::ACTIVATIONS;
use crate::Tolerance;

/// One number, less and more than vectors, and enough for several tasks.
const LENGTHS: [usize; 6] = [1, 7, 16, 33, 1000, 70_001];

pub(super) fn add(cases: &mut Cases) {
    for len in LENGTHS {
        for activation in ACTIVATIONS {
            let name = format!("activation {activation:?} of {len}");
            cases.add(name, Tolerance::Function, move |device, random| {
                device.activation(&random.on(device, [len], 9.0)?, activation)
            });
        }
    }
    for op in [BinaryOp::Add, BinaryOp::Multiply] {
        for (rows, b_rows, channels) in
            [(1, 1, 1), (6, 3, 5), (40, 40, 33), (3000, 1, 32), (64, 2, 1000), (50, 10, 16)]
        {
            for activation in [Activation::Identity, Activation::Gelu] {
                let name = format!("binary {op:?} {rows}x{channels} with {b_rows}, {activation:?}");
                cases.add(name, Tolerance::Function, move |device, random| {
                    let (a, b) = (
                        random.on(device, [rows, channels], 2.0)?,
                        random.on(device, [b_rows, channels], 2.0)?,
                    );
                    device.binary(op, &a, &b, activation)
                });
            }
        }
    }
    for mode in [ResizeMode::Nearest, ResizeMode::Bilinear] {
        let tolerance = match mode {
            ResizeMode::Nearest => Tolerance::Exact,
            ResizeMode::Bilinear => Tolerance::Rounded,
        };
        for ([batch, height, width, channels], to) in [
            ([1, 1, 1, 1], [3, 5]),
            ([2, 4, 5, 1], [16, 20]),
            ([1, 7, 3, 4], [5, 9]),
            ([1, 16, 16, 33], [8, 8]),
            ([3, 9, 8, 16], [9, 8]),
            ([1, 64, 64, 1], [200, 150]),
            // Lines longer than any scratch memory.
            ([1, 2, 9000, 70], [3, 5]),
            ([1, 2, 3, 1], [2, 300_000]),
        ] {
            let name = format!("resize {mode:?} {batch}x{height}x{width}x{channels} to {to:?}");
            cases.add(name, tolerance, move |device, random| {
                let x = random.on(device, [batch, height, width, channels], 1.0)?;
                device.resize(&x, to[0], to[1], mode)
            });
        }
    }
    for ([batch, height, width, columns], first, channels, factor) in [
        ([1, 2, 2, 1], 0, 1, 2),
        ([2, 4, 6, 33], 0, 33, 2),
        ([1, 64, 64, 60], 20, 20, 2),
        ([3, 7, 9, 40], 7, 17, 3),
        ([1, 5, 5, 16], 0, 16, 1),
        ([2, 300, 10, 8], 2, 6, 2),
    ] {
        let name =
            format!("max_pool2d {first}..+{channels} of {batch}x{height}x{width}x{columns} by {factor}");
        cases.add(name, Tolerance::Exact, move |device, random| {
            let x = random.on(device, [batch, height, width, columns], 1.0)?;
            device.max_pool2d(Rows::columns(&x, first), channels, factor)
        });
    }
    for (columns, first, rows, table_rows, channels) in [
        (2, 0, 1, 1, 2),
        (16, 0, 7, 7, 16),
        (40, 8, 12, 4, 18),
        (33, 1, 30, 1, 32),
        (768, 256, 300, 100, 256),
        // Enough for several tasks.
        (64, 0, 4096, 1024, 64),
    ] {
        let name = format!("rotate {rows}x{channels} from {first} of {columns} by {table_rows}");
        cases.add(name, Tolerance::Rounded, move |device, random| {
            let x = random.on(device, [rows, columns], 1.0)?;
            let table = random.on(device, [table_rows, channels], 1.0)?;
            device.rotate(Rows::columns(&x, first), &table)
        });
    }
    for (rows, features, spread) in [(1, 1, 1.0), (7, 16, 1.0), (300, 128, 3.0), (5, 33, 10.0)] {
        let name = format!("fourier_features {rows} to {features}, spread {spread}");
        // The phase itself is rounded at its size, up to 40 turns here.
        cases.add(name, Tolerance::Accumulated { terms: 200 }, move |device, random| {
            let gaussian = random.on(device, [2, features], spread)?;
            let x = random.tensor([rows, 2], 0.5).f32()?.iter().map(|x| x + 0.5).collect::<Vec<_>>();
            device.fourier_features(&device.upload([rows, 2], &x)?, &gaussian)
        });
    }
}
