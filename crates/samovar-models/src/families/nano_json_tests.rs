use std::path::Path;

use samovar_weights::{Checkpoint, WeightSource};

use super::NanoConfig;

/// Defaults and file must agree, or the catalogue describes another model than the one that ships. Which mask to take
/// is a finding of the training and the file's own.
#[test]
fn defaults_are_the_shipped_model() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samovar-runtime/assets/nano.safetensors");
    let json = Checkpoint::open(path).unwrap().metadata("samovar_config").unwrap();
    let shipped = NanoConfig::from_json(&json).unwrap();
    assert_eq!(NanoConfig { mask_rule: NanoConfig::default().mask_rule, ..shipped }, NanoConfig::default());
}

#[test]
fn trunks_must_reach_the_four_strides() {
    let check = |taps: &[usize]| NanoConfig { taps: taps.to_vec(), ..NanoConfig::default() }.check();
    assert!(check(&[0, 2, 5, 9]).is_ok(), "another block of the same stride may be tapped");
    assert!(check(&[0, 2, 5]).unwrap_err().to_string().contains("taps"));
    assert!(check(&[0, 2, 5, 99]).is_err());
    assert!(check(&[16, 5, 2, 0]).is_err());
    assert!(NanoConfig { trunk: Vec::new(), ..NanoConfig::default() }.check().is_err());
}
