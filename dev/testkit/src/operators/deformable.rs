//! Cases of attention to places of maps.

use samovar_tensor::{DeformableAttention, Rows, SampledMap};

use super::cases::Cases;
use crate::Tolerance;

pub(super) fn add(cases: &mut Cases) {
    let map = |rows, columns, points| SampledMap { rows, columns, points };
    for (batch, queries, heads, channels, maps, reach) in [
        (1, 1, 1, 1, vec![map(1, 1, 1)], 0.5),
        (2, 5, 2, 7, vec![map(3, 4, 2), map(1, 2, 3)], 1.0),
        // Places far outside of all maps.
        (1, 40, 3, 16, vec![map(6, 5, 4)], 9.0),
        (1, 30, 4, 33, vec![map(8, 8, 3), map(4, 4, 6), map(2, 2, 3)], 2.0),
        // Maps that nobody looks at, and one without cells that is not looked at.
        (1, 9, 2, 8, vec![map(4, 3, 0), map(0, 3, 0), map(2, 5, 2)], 1.0),
        // As in D-FINE; enough for several tasks.
        (2, 300, 8, 32, vec![map(20, 20, 3), map(10, 10, 6), map(5, 5, 3)], 1.5),
    ] {
        let name =
            format!("deformable_attention of {batch}x{queries} to {heads}x{channels} of {maps:?}, {reach}");
        let terms = 4 * maps.iter().map(|map| map.points).sum::<usize>() + 16;
        cases.add(name, Tolerance::Softmax { terms }, move |device, random| {
            let cells = maps.iter().map(|map| map.rows * map.columns).sum::<usize>();
            let points = heads * maps.iter().map(|map| map.points).sum::<usize>();
            let values = random.on(device, [batch, cells, heads * channels], 1.0)?;
            // Side by side behind a column of something else, as one layer may make them.
            let places = random.on(device, [batch, queries, 1 + 3 * points], reach)?;
            let boxes: Vec<f32> =
                random.tensor([batch * queries * 4], 0.5).f32()?.iter().map(|x| x + 0.5).collect();
            device.deformable_attention(&DeformableAttention {
                values: &values,
                offsets: Rows::columns(&places, 1),
                logits: Rows::columns(&places, 1 + 2 * points),
                boxes: &device.upload([batch, queries, 4], &boxes)?,
                heads,
                maps: &maps,
            })
        });
    }
}
