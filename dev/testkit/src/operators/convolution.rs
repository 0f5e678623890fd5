//! Cases of convolutions, dense, depthwise and transposed.

use samovar_tensor::{Conv2dGeometry, Shape};

use super::cases::Cases;
use super::ending::{Ending, PLAIN};
use crate::{Random, Tolerance};

/// An image of which a product becomes that may be cut into quarters.
const LARGE: [usize; 4] = [1, 32, 33, 30];

pub(super) fn add(cases: &mut Cases) {
    let same = Conv2dGeometry::same;
    let dense = [
        ([1, 5, 7, 3], 8, same(3)),
        ([2, 9, 6, 16], 33, same(3)),
        ([1, 12, 12, 64], 40, same(3)),
        ([1, 9, 11, 3], 16, same(3).stride(2)),
        ([2, 8, 8, 5], 6, same(3).stride(2)),
        ([1, 7, 7, 4], 5, same(5)),
        ([1, 10, 13, 6], 7, same(3).dilated(2)),
        ([1, 9, 9, 2], 3, same(3).dilated(4).stride(2)),
        ([1, 32, 48, 3], 20, Conv2dGeometry::patches(16)),
        ([2, 8, 6, 4], 9, Conv2dGeometry::patches(2)),
        ([1, 6, 5, 17], 31, same(1)),
        ([1, 7, 5, 3], 4, same(1).stride(2)),
        ([1, 1, 1, 1], 1, same(3)),
        ([1, 2, 1, 3], 2, same(7)),
        ([1, 40, 3, 1], 1, same(3)),
        ([3, 16, 16, 32], 32, same(3)),
        ([1, 4, 4, 70], 9, same(3)),
        (LARGE, 195, same(3)),
    ];
    for (x, outputs, geometry) in dense {
        conv2d(cases, x, outputs, geometry, PLAIN);
    }
    let mut random = Random::new("convolution shapes");
    for _ in 0..30 {
        let (height, width) = (random.between(1, 14), random.between(1, 14));
        let geometry = Conv2dGeometry {
            kernel: random.between(1, 4),
            stride: random.between(1, 3),
            padding: random.between(0, 3),
            dilation: random.between(1, 2),
            groups: 1,
        };
        let inputs = random.between(1, 20);
        any(cases, &mut random, [1, height, width, inputs], None, geometry);
        let channels = random.pick(&[1, 2, 8, 15, 16, 24, 33, 70]);
        any(cases, &mut random, [2, height, width, channels], Some(channels), geometry.depthwise(channels));
    }
    for channels in [1, 3, 16, 20, 64, 100] {
        for kernel in [3, 5, 7] {
            for stride in [1, 2] {
                if channels > 1 {
                    let geometry = same(kernel).depthwise(channels).stride(stride);
                    conv2d(cases, [1, 13, 18, channels], channels, geometry, PLAIN);
                }
            }
        }
    }

    for (x, outputs, factor) in
        [([1, 3, 4, 8], 5, 2), ([2, 5, 3, 16], 32, 2), ([1, 2, 2, 3], 1, 3), ([1, 4, 4, 4], 17, 1)]
    {
        let [batch, height, width, inputs] = x;
        let shape = Shape::new(&[batch, height * factor, width * factor, outputs]);
        for ending in [PLAIN, Ending::any(&mut random, shape.rows())] {
            let name = format!("conv_transpose2d {x:?} to {outputs} by {factor}, {ending:?}");
            cases.add(name, Tolerance::Accumulated { terms: inputs }, move |device, random| {
                let weight = random.tensor([inputs, outputs, factor, factor], 1.0);
                let bias = random.tensor([outputs], 1.0);
                let layer = device.load_conv_transpose2d(&weight, Some(&bias))?;
                let residual = ending.tensor(device, random, shape)?;
                device.conv_transpose2d(&random.on(device, x, 1.0)?, &layer, &ending.epilogue(&residual))
            });
        }
    }
}

/// A case with a random ending, if the kernel fits at all.
fn any(
    cases: &mut Cases,
    random: &mut Random,
    x: [usize; 4],
    outputs: Option<usize>,
    geometry: Conv2dGeometry,
) {
    let outputs = outputs.unwrap_or_else(|| random.between(1, 40));
    let (height, width) = (geometry.output_side(x[1]), geometry.output_side(x[2]));
    if let (Some(height), Some(width)) = (height, width) {
        let ending = Ending::any(random, x[0] * height * width);
        conv2d(cases, x, outputs, geometry, ending);
    }
}

pub(super) fn conv2d(
    cases: &mut Cases,
    x: [usize; 4],
    outputs: usize,
    geometry: Conv2dGeometry,
    ending: Ending,
) {
    let name = format!("conv2d {x:?} to {outputs}, {geometry:?}, {ending:?}");
    let inputs = x[3] / geometry.groups;
    let terms = inputs * geometry.kernel * geometry.kernel;
    let tolerance =
        if x == LARGE { Tolerance::Recombined { terms } } else { Tolerance::Accumulated { terms } };
    cases.add(name, tolerance, move |device, random| {
        let weight = random.tensor([outputs, inputs, geometry.kernel, geometry.kernel], 1.0);
        let bias = random.tensor([outputs], 1.0);
        let layer = device.load_conv2d(&weight, Some(&bias), geometry)?;
        let side = |side| geometry.output_side(side).expect("the kernel fits");
        let output = Shape::new(&[x[0], side(x[1]), side(x[2]), outputs]);
        let residual = ending.tensor(device, random, output)?;
        device.conv2d(&random.on(device, x, 1.0)?, &layer, &ending.epilogue(&residual))
    });
}
