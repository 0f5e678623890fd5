use std::sync::Arc;

use samovar_tensor::{Pool, Reference};

use super::*;
use crate::test_weights::{Weights, assert_near, random_on};

/// What `torch.nn.functional.interpolate(…, mode="bicubic")` makes of unit vectors.
#[test]
fn cubic_weights_are_those_of_torch() {
    let expected = [
        [1.11077881, -0.11077881, 0.0],
        [0.95031738, 0.0524292, -0.00274658],
        [0.57019043, 0.51055908, -0.08074951],
        [0.16369629, 0.92913818, -0.09283447],
        [-0.09283447, 0.92913818, 0.16369629],
        [-0.08074951, 0.51055908, 0.57019043],
        [-0.00274658, 0.0524292, 0.95031738],
        [0.0, -0.11077881, 1.11077881],
    ];
    for (found, expected) in cubic_weights(3, 8).iter().zip(expected.as_flattened()) {
        assert!((found - expected).abs() < 1e-7, "{found} instead of {expected}");
    }
    let smaller = cubic_weights(7, 5);
    for (found, expected) in
        smaller.iter().zip([0.824, 0.2, -0.024, 0.0, 0.0, 0.0, 0.0, -0.072, 0.46, 0.72, -0.108])
    {
        assert!((found - expected).abs() < 1e-7, "{found} instead of {expected}");
    }
    assert!((smaller.iter().sum::<f64>() - 5.0).abs() < 1e-12, "every cell is an average");
}

fn config() -> HieraConfig {
    let stage =
        |channels, depth, heads, window| Stage { channels, depth, hidden: 3 * channels, heads, window };
    HieraConfig {
        image_size: 256,
        stages: [stage(4, 1, 1, 4), stage(6, 2, 2, 4), stage(8, 2, 2, 6), stage(10, 1, 2, 3)],
        global_blocks: vec![4],
        background: [3, 2],
        epsilon: 1e-6,
    }
}

/// Blocks 0 to 2 and the first of the third stage look at windows of 4 x 4 tokens of maps of 64, 64, 32 and 32: 8 rows of the
/// first. The next is global.
#[test]
fn stripes_are_as_high_as_the_windows_of_the_first_blocks() {
    let config = config();
    assert_eq!(config.stripes(), (4, 32));
    let narrow = HieraConfig { image_size: 160, ..config.clone() };
    assert_eq!(narrow.stripes(), (4, 8), "40 rows are no whole stripes of 16 to 32");
    let global = HieraConfig { global_blocks: vec![0], ..config };
    assert_eq!(global.stripes().0, 0);
}

#[test]
fn the_map_in_stripes_is_the_map_as_a_whole() {
    let device = Device::new(Arc::new(Reference), Pool::new(1 << 28));
    let config = config();
    config.check().unwrap();
    let weights = Weights::default();
    let striped = Hiera::load(&Loader::new(&device, &device, &weights), &config).unwrap();
    assert_eq!((striped.near, striped.stripe), (4, 32));
    let whole = Hiera { near: 0, ..Hiera::load(&Loader::new(&device, &device, &weights), &config).unwrap() };
    let pixels = random_on(&device, "pixels", &[2, 256, 256, 3]);
    let run = |trunk: &Hiera| trunk.forward(&device, &pixels, &|_, map| Ok(map.clone())).unwrap();
    let (found, expected) = (run(&striped), run(&whole));
    assert_eq!(expected.len(), STAGES);
    for (stage, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let side = 64 >> stage;
        assert_eq!(found.dims(), [2, side, side, config.stages[stage].channels]);
        assert_near(&found.to_f32_vec().unwrap(), &expected.to_f32_vec().unwrap());
    }
}

#[test]
fn numbers_that_fit_no_trunk_are_refused() {
    let refusal = |config: HieraConfig| config.check().unwrap_err().to_string();
    assert!(refusal(HieraConfig { image_size: 100, ..config() }).contains("not a multiple of 32"));
    let mut odd = config();
    odd.stages[2].window = 5;
    assert!(refusal(odd).contains("from even windows"));
    let mut untiled = config();
    untiled.stages[0].window = 6;
    assert!(refusal(untiled).contains("do not tile 64 tokens"));
    let mut deep = config();
    deep.stages[3].depth = usize::MAX;
    assert!(refusal(deep).contains("depth"));
    let mut headless = config();
    headless.stages[1].heads = 0;
    assert!(refusal(headless).contains("heads"));
}
