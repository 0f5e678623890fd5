//! Cases of SiLU wherever an activation can stand. (Seeds are names with a number, so what is new comes behind what was there.)

use samovar_tensor::{Activation, Conv2dGeometry};

use super::cases::Cases;
use super::convolution::conv2d;
use super::ending::Ending;
use super::linear::linear;
use crate::Tolerance;

pub(super) fn add(cases: &mut Cases) {
    for len in [1, 7, 16, 33, 1000, 70_001] {
        cases.add(format!("activation Silu of {len}"), Tolerance::Function, move |device, random| {
            device.activation(&random.on(device, [len], 90.0)?, Activation::Silu)
        });
    }
    let silu = Ending::act(Activation::Silu);
    for ending in [silu, silu.residual(true, 1), silu.residual(false, 5), silu.residual(true, 35)] {
        linear(cases, 35, 19, 37, true, ending);
        linear(cases, 35, 1100, 37, true, ending);
    }
    let same = Conv2dGeometry::same;
    for ending in [silu, silu.residual(false, 1)] {
        conv2d(cases, [1, 12, 12, 64], 40, same(3), ending);
        conv2d(cases, [2, 8, 8, 5], 6, same(3).stride(2), ending);
        conv2d(cases, [1, 13, 18, 20], 20, same(5).depthwise(20), ending);
        conv2d(cases, [1, 6, 5, 17], 31, same(1), ending);
    }
}
