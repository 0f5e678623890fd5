//! Options, grids, crops and plans; the generator itself is compared with upstream in `tests/automatic.rs`.

use samovar_geometry::{Box2, Image, Size};
use samovar_models::ModelConfig;
use samovar_tensor::{Device, Precision};

use super::suppress::just_below;
use super::*;
use crate::planning::Planner;

#[test]
fn every_parameter_is_set_by_name_and_told_again() {
    let mut options = AutomaticOptions::default();
    for parameter in PARAMETERS {
        let text = (parameter.get)(&options);
        options.set(parameter.name, &text).unwrap();
        options.set(&parameter.name.replace('_', "-"), &text).unwrap();
        assert!(!parameter.help.concat().trim().is_empty());
        let refusal = options.set(parameter.name, "-1").unwrap_err().to_string();
        assert!(refusal.contains(parameter.name) && refusal.contains(parameter.range), "{refusal}");
        assert!(options.set(parameter.name, "many").is_err());
    }
    assert_eq!(options, AutomaticOptions::default(), "refused values leave no trace");
    assert_eq!(options.crop_overlap_ratio.to_string(), "0.3413333333333333");
    assert!(options.set("points", "3").unwrap_err().to_string().contains("points_per_side"));
}

#[test]
fn options_survive_json_and_unknown_ones_are_refused() {
    let options = AutomaticOptions { crop_n_layers: 1, ..AutomaticOptions::default() };
    let text = serde_json::to_string(&options).unwrap();
    assert_eq!(serde_json::from_str::<AutomaticOptions>(&text).unwrap(), options);
    assert_eq!(serde_json::from_str::<AutomaticOptions>("{}").unwrap(), AutomaticOptions::default());
    assert!(serde_json::from_str::<AutomaticOptions>(r#"{"points": 3}"#).is_err());
}

#[test]
fn options_that_ask_for_nothing_are_refused() {
    let sound = AutomaticOptions { points_per_side: 4, crop_n_layers: 2, ..AutomaticOptions::default() };
    sound.check().unwrap();
    let no_points = AutomaticOptions { crop_n_points_downscale_factor: 3, ..sound.clone() };
    assert!(no_points.check().unwrap_err().to_string().contains("layer 2"));
    let too_many_times = AutomaticOptions { crop_n_points_downscale_factor: usize::MAX, ..sound.clone() };
    assert!(too_many_times.check().is_err());
    for grids in [vec![vec![[0.5, 0.5]]; 2], vec![vec![[0.5, 1.5]]; 3], vec![vec![[f64::NAN, 0.5]]; 3]] {
        let options = AutomaticOptions { point_grids: Some(grids), ..sound.clone() };
        assert!(options.check().unwrap_err().to_string().contains("point_grids"));
    }
    AutomaticOptions { point_grids: Some(vec![vec![[0.5, 0.5]], vec![], vec![]]), ..sound }.check().unwrap();
}

#[test]
fn grids_are_evenly_spaced() {
    let options = AutomaticOptions { points_per_side: 4, ..AutomaticOptions::default() };
    let points = grid::points(&options, 0);
    assert_eq!(points.len(), 16);
    assert_eq!((points[0], points[1], points[4]), ([0.125, 0.125], [0.375, 0.125], [0.125, 0.375]));
    assert_eq!(points[15], [0.875, 0.875]);
    let one = AutomaticOptions { points_per_side: 1, ..AutomaticOptions::default() };
    assert_eq!(grid::points(&one, 0), [[0.5, 0.5]]);
}

/// From `generate_crop_boxes((61, 97), 2, 512 / 1500)`.
#[test]
fn crops_are_upstreams() {
    let crops = grid::crops(Size::new(97, 61), 2, 512.0 / 1500.0);
    let edges = |crop: &Crop| {
        let bounds = crop.bounds();
        [bounds.x0, bounds.y0, bounds.x1, bounds.y1].map(|edge| edge as u32)
    };
    let found: Vec<_> = crops.iter().map(edges).collect();
    assert_eq!(found.len(), 21);
    assert_eq!(found[..5], CROPS_OF_97X61[..5]);
    assert_eq!(found[5..8], CROPS_OF_97X61[5..8]);
    assert_eq!(found[20], CROPS_OF_97X61[8]);
}

#[test]
fn masks_at_inner_edges_of_crops_are_cut_off() {
    let image = Size::<Image>::new(200, 100);
    let crop = Crop { x0: 100, y0: 0, size: Size::new(100, 100), layer: 1 };
    assert!(crop.cuts(Box2::new(120.0, 40.0, 150.0, 60.0), image), "20 pixels are near");
    assert!(!crop.cuts(Box2::new(121.0, 40.0, 150.0, 60.0), image));
    assert!(!crop.cuts(Box2::new(121.0, 0.0, 199.0, 99.0), image), "the image's own edges do not cut");
    let whole = Crop { x0: 0, y0: 0, size: image, layer: 0 };
    assert!(!whole.cuts(Box2::new(0.0, 0.0, 199.0, 99.0), image));
}

/// torchvision keeps the threshold in f64: the f32 next to four fifths is over 0.8.
#[test]
fn thresholds_of_suppression_are_compared_as_f64() {
    assert!(0.8f32 > just_below(0.8), "0.8f32 is larger than 0.8");
    assert_eq!(just_below(0.7), 0.7f32, "0.7f32 is smaller than 0.7");
    assert_eq!((just_below(0.5), just_below(0.0), just_below(1.0)), (0.5, 0.0, 1.0));
}

#[test]
fn plans_grow_with_points_crops_and_batches() {
    let config = ModelConfig::from_catalogue("nano").unwrap();
    let planner = Planner::new(&Device::reference(), &config, Precision::F32).unwrap();
    let plan =
        |options: &AutomaticOptions| AutomaticPlan::of(&planner, Size::new(640, 480), options, 2).unwrap();
    let plain = AutomaticOptions { points_per_side: 8, ..AutomaticOptions::default() };
    let small = plan(&plain);
    assert_eq!((small.crops, small.points), (1, 64));
    assert!(small.peak_bytes() > small.tensor_bytes);
    let wide = plan(&AutomaticOptions { points_per_batch: 64, ..plain.clone() });
    assert!(wide.tensor_bytes > small.tensor_bytes);
    let deep = plan(&AutomaticOptions { crop_n_layers: 1, ..plain });
    assert_eq!((deep.crops, deep.points), (5, 5 * 64));
    assert!(deep.cost.operations > 4 * small.cost.operations);
    assert_eq!(deep.tensor_bytes, small.tensor_bytes, "crops are encoded one by one");
}

/// The first eight and the last.
const CROPS_OF_97X61: [[u32; 4]; 9] = [
    [0, 0, 97, 61],
    [0, 0, 59, 41],
    [0, 21, 59, 61],
    [39, 0, 97, 41],
    [39, 21, 97, 61],
    [0, 0, 32, 23],
    [0, 13, 32, 36],
    [0, 26, 32, 49],
    [66, 39, 97, 61],
];
