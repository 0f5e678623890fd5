//! Positions as sines and cosines of falling frequencies: of the cells of a map, and along a line.

/// Frequencies fall from 1 to about one over this.
const TEMPERATURE: f32 = 10_000.0;
/// Keeps the last cell below a full turn, as upstream's `PositionEmbeddingSine`.
const EPSILON: f32 = 1e-6;

/// What coordinates are divided by, for `features` sines and cosines that come in pairs.
fn periods(features: usize) -> impl Iterator<Item = f32> {
    (0..features).map(move |i| TEMPERATURE.powf((2 * (i / 2)) as f32 / features as f32))
}

/// Positions of the cells of a map, `[rows · columns, channels]`: the first half of the channels says how far down a cell is,
/// the second how far to the right, sine and cosine in turn. (DETR's, `sam2/modeling/position_encoding.py` upstream.)
pub(crate) fn of_cells([rows, columns]: [usize; 2], channels: usize) -> Vec<f32> {
    let periods: Vec<f32> = periods(channels / 2).collect();
    let along = |index: usize, cells: usize| -> Vec<f32> {
        let turn = (index + 1) as f32 / (cells as f32 + EPSILON) * std::f32::consts::TAU;
        let wave = |(i, period): (usize, &f32)| {
            let angle = f64::from(turn / period);
            (if i % 2 == 0 { angle.sin() } else { angle.cos() }) as f32
        };
        periods.iter().enumerate().map(wave).collect()
    };
    let across: Vec<Vec<f32>> = (0..columns).map(|column| along(column, columns)).collect();
    (0..rows)
        .flat_map(|row| {
            let down = along(row, rows);
            across.iter().flat_map(move |across| [down.as_slice(), across].concat()).collect::<Vec<_>>()
        })
        .collect()
}

/// Position of a point of a line, `channels` numbers: the sines, then the cosines. (`get_1d_sine_pe` upstream.)
pub(crate) fn of_point(place: f32, channels: usize) -> Vec<f32> {
    let angles: Vec<f64> = periods(channels / 2).map(|period| f64::from(place / period)).collect();
    let waves = angles.iter().map(|angle| angle.sin()).chain(angles.iter().map(|angle| angle.cos()));
    waves.map(|wave| wave as f32).collect()
}

/// Positions of the cells of a map in quarters of `channels`, `[rows · columns, channels]`: sines and cosines of how far down a
/// cell is, then of how far to the right, by frequencies from 1 to about one over [`TEMPERATURE`]. (RT-DETR's
/// `build_2d_sincos_position_embedding`, whose rows and columns agree with transformers' on square maps.)
pub(crate) fn of_rows_and_columns([rows, columns]: [usize; 2], channels: usize) -> Vec<f32> {
    let quarter = channels / 4;
    let along = |index: usize| -> Vec<f32> {
        let angle = |i: usize| index as f64 / f64::from(TEMPERATURE).powf(i as f64 / quarter as f64);
        let waves = (0..quarter).map(|i| angle(i).sin()).chain((0..quarter).map(|i| angle(i).cos()));
        waves.map(|wave| wave as f32).collect()
    };
    let across: Vec<Vec<f32>> = (0..columns).map(along).collect();
    (0..rows)
        .flat_map(|row| {
            let down = along(row);
            across.iter().flat_map(move |across| [down.as_slice(), across].concat()).collect::<Vec<_>>()
        })
        .collect()
}
