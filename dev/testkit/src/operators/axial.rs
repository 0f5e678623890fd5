//! Cases of attention with keys by column and row.

use samovar_tensor::AxialAttention;

use super::cases::Cases;
use crate::Tolerance;

pub(super) fn add(cases: &mut Cases) {
    for (queries, maps, grid, beside, channels, [key_channels, value_channels]) in [
        (1, 1, [1, 1], 0, 4, [1, 1]),
        (3, 1, [2, 3], 2, 8, [3, 5]),
        (70, 2, [3, 5], 1, 12, [7, 9]),
        (17, 8, [4, 4], 9, 32, [16, 16]),
        (130, 9, [2, 6], 20, 64, [24, 40]),
        (33, 17, [3, 2], 3, 32, [20, 33]),
        // Of a row more than is worked on at once.
        (40, 3, [2, 300], 4, 16, [40, 20]),
        // As SAM 2 has them, on a smaller map.
        (200, 7, [10, 12], 64, 256, [64, 64]),
    ] {
        let [rows, columns] = grid;
        let sizes = format!(
            "{queries} over {maps} maps of {rows}x{columns} and {beside}, {channels} channels by {key_channels}, {value_channels}"
        );
        let tolerance = Tolerance::Softmax { terms: 2 * (channels + key_channels) };
        cases.add(format!("axial_attention {sizes}"), tolerance, move |device, random| {
            let cells = maps * rows * columns;
            let q = random.on(device, [1, queries, channels], 1.0)?;
            let keys = random.on(device, [cells, key_channels], 1.0)?;
            let placeless =
                (beside > 0).then(|| random.on(device, [beside, key_channels], 1.0)).transpose()?;
            let values = random.on(device, [cells + beside, value_channels], 1.0)?;
            let size = 1.0 / (key_channels as f32).sqrt();
            let by_column = random.on(device, [columns, key_channels + 1, channels / 2], size)?;
            let by_row = random.on(device, [rows, key_channels + 1, channels / 2], size)?;
            device.axial_attention(&AxialAttention {
                q: &q,
                keys: &keys,
                beside: placeless.as_ref(),
                values: &values,
                columns: &by_column,
                rows: &by_row,
                scale: 1.0 / (channels as f32).sqrt(),
            })
        });
    }
}
