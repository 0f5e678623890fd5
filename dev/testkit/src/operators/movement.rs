//! Cases of operators that only move numbers.

use super::cases::Cases;
use crate::Tolerance;

pub(super) fn add(cases: &mut Cases) {
    for (batch, rows, channels) in
        [(1, 1, 1), (2, 5, 3), (1, 16, 16), (3, 17, 33), (1, 300, 70), (2, 4096, 8), (1, 64, 256)]
    {
        let name = format!("channels_first {batch}x{rows}x{channels}");
        cases.add(name, Tolerance::Exact, move |device, random| {
            device.channels_first(&random.on(device, [batch, rows, channels], 1.0)?)
        });
        let name = format!("channels_last {batch}x{channels}x{rows}x2");
        cases.add(name, Tolerance::Exact, move |device, random| {
            device.channels_last(&random.on(device, [batch, channels, rows, 2], 1.0)?)
        });
    }
    for (first, second, axis) in [
        ([1, 2, 3], [1, 4, 3], 1),
        ([4, 2, 3], [1, 4, 3], 1),
        ([1, 2, 3], [5, 2, 8], 2),
        ([2, 3, 3], [7, 3, 3], 0),
        ([3, 50, 200], [3, 1000, 200], 1),
        ([300, 1, 70], [300, 1, 90], 2),
    ] {
        let name = format!("concat {first:?} and {second:?} along {axis}");
        cases.add(name, Tolerance::Exact, move |device, random| {
            let (first, second) = (random.on(device, first, 1.0)?, random.on(device, second, 1.0)?);
            device.concat(&[&first, &second], axis)
        });
    }
    for (shape, value) in [([1, 1, 1], 0.0), ([2, 3, 5], -1.5), ([1, 300, 1000], 0.25)] {
        cases.add(format!("fill {shape:?} with {value}"), Tolerance::Exact, move |device, _| {
            device.filled(shape, value)
        });
    }
    for (shape, axis, start, len) in [
        ([2, 3, 4], 0, 1, 1),
        ([2, 3, 4], 1, 0, 2),
        ([2, 3, 4], 2, 3, 1),
        ([20, 30, 400], 2, 17, 300),
        ([1, 2, 200_000], 2, 5, 150_000),
        ([2, 3, 4], 1, 1, 0),
    ] {
        let name = format!("slice {start}..+{len} of axis {axis} of {shape:?}");
        cases.add(name, Tolerance::Exact, move |device, random| {
            device.slice(&random.on(device, shape, 1.0)?, axis, start, len)
        });
    }
}
