//! Sines and turns against those of upstream's own code.

use std::path::PathBuf;

use samovar_tensor::Tensor;
use samovar_weights::Checkpoint;

use super::{rotary, sine_positions};

fn golden(file: &str) -> Checkpoint {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens/sam2_video");
    Checkpoint::open(folder.join(file)).unwrap()
}

fn values(file: &Checkpoint, name: &str) -> Vec<f32> {
    file.any_tensor(name).unwrap().to_f32_vec().unwrap()
}

fn assert_near(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart < 2e-6, "{what}: {apart}");
}

#[test]
fn sines_are_those_of_upstream() {
    let positions = golden("positions.safetensors");
    assert_near("image", &sine_positions::of_cells([6, 6], 32), &values(&positions, "image"));
    assert_near("memory", &sine_positions::of_cells([6, 6], 16), &values(&positions, "memory"));
    // Those of pointers are recorded behind a layer.
    let weights = golden("original.pt");
    let [weight, bias] =
        ["weight", "bias"].map(|leaf| values(&weights, &format!("model.obj_ptr_tpos_proj.{leaf}")));
    let of = |distance: i16| -> Vec<f32> {
        let waves = sine_positions::of_point(f32::from(distance) / 15.0, 32);
        let row = |row: &[f32]| row.iter().zip(&waves).map(|(w, x)| w * x).sum::<f32>();
        weight.chunks(32).map(row).zip(&bias).map(|(sum, bias)| sum + bias).collect()
    };
    let found: Vec<f32> = (0..20).flat_map(of).collect();
    assert_near("pointers", &found, &values(&positions, "pointers"));
}

#[test]
fn a_map_that_is_no_square_counts_rows_and_columns() {
    let (rows, columns, channels) = (3, 5, 8);
    let wide = sine_positions::of_cells([rows, columns], channels);
    let square = sine_positions::of_cells([columns, columns], channels);
    for row in 0..rows {
        for column in 0..columns {
            let of = |table: &[f32]| table[(row * columns + column) * channels..][..channels].to_vec();
            assert_eq!(of(&wide)[channels / 2..], of(&square)[channels / 2..], "how far to the right");
        }
    }
    let turns = rotary::of_cells([rows, columns], channels, 10_000.0);
    assert_eq!(turns.len(), rows * columns * channels);
    // The last cell: 4 to the right, 2 down.
    let last = &turns[(rows * columns - 1) * channels..];
    assert_near("turn", &[last[0], last[2]], &[4f32.cos(), 2f32.cos()]);
}

#[test]
fn turns_are_those_of_upstream() {
    let positions = golden("positions.safetensors");
    let found = rotary::of_cells([6, 6], 32, 10_000.0);
    for (half, name) in ["rope.cos", "rope.sin"].into_iter().enumerate() {
        let found: Vec<f32> = found.chunks(32).flat_map(|row| row[16 * half..][..16].to_vec()).collect();
        assert_near(name, &found, &values(&positions, name));
    }
}

#[test]
fn pairs_are_taken_apart_row_by_row() {
    let weight = Tensor::from_values([4, 2], &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]);
    let apart = rotary::pairs_apart(&weight).unwrap();
    assert_eq!(apart.to_f32_vec().unwrap(), [0.0, 0.5, 2.0, 2.5, 1.0, 1.5, 3.0, 3.5]);
}
