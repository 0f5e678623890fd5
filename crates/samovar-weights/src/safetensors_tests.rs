//! safetensors made by hand: damage of every kind.

use crate::{Checkpoint, WeightSource};

fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

fn open(header: &str, data: &[u8]) -> crate::Result<Checkpoint> {
    Checkpoint::from_bytes("weights.safetensors", file(header, data))
}

fn refusal(header: &str, data: &[u8]) -> String {
    match open(header, data) {
        Ok(checkpoint) => panic!("{header}: read {:?}", checkpoint.names()),
        Err(error) => error.to_string(),
    }
}

const TWO: &str = concat!(
    r#"{"__metadata__":{"format":"pt","samovar_config":"{}"},"#,
    r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"#,
    r#""b":{"dtype":"F16","shape":[1,2],"data_offsets":[8,12]}}"#
);
const TWO_DATA: [u8; 12] = [0, 0, 128, 63, 0, 0, 0, 64, 0, 60, 0, 192];

#[test]
fn reads_tensors_and_metadata() {
    let checkpoint = open(TWO, &TWO_DATA).unwrap();
    assert_eq!(checkpoint.names(), ["a", "b"]);
    assert_eq!(checkpoint.metadata("samovar_config").as_deref(), Some("{}"));
    assert_eq!(checkpoint.tensor("a", &[2]).unwrap().to_f32_vec().unwrap(), [1.0, 2.0]);
    assert_eq!(checkpoint.tensor("b", &[1, 2]).unwrap().to_f32_vec().unwrap(), [1.0, -2.0]);
}

#[test]
fn wrong_shapes_and_names_say_what_was_expected() {
    let checkpoint = open(TWO, &TWO_DATA).unwrap();
    let error = checkpoint.tensor("a", &[3]).unwrap_err().to_string();
    assert_eq!(error, "weights.safetensors: tensor `a`: expected [3], found [2]");
    let error = checkpoint.tensor("c", &[3]).unwrap_err().to_string();
    assert_eq!(error, "weights.safetensors: no tensor `c`");
}

#[test]
fn messages_say_what_the_file_looks_like() {
    let header = r#"{"image_encoder.trunk.pos_embed":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let checkpoint = open(header, &[0; 4]).unwrap();
    let error = checkpoint.tensor("vision_encoder.pos_embed", &[1]).unwrap_err().to_string();
    assert!(error.ends_with("; the file looks like a SAM 2 checkpoint (original names)"), "{error}");
}

#[test]
fn offsets_must_be_in_order_and_inside() {
    let one = |shape: &str, from: u64, to: u64| {
        format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}}}"#)
    };
    for (what, header) in [
        ("beyond the end", one("[4]", 0, 16)),
        ("short of the end", one("[1]", 0, 4)),
        ("a gap before", one("[1]", 4, 8)),
        ("backwards", one("[2]", 8, 0)),
        ("shape too large for the bytes", one("[3]", 0, 8)),
        ("shape too small for the bytes", one("[1]", 0, 8)),
        ("shape overflows", one("[18446744073709551615,18446744073709551615]", 0, 8)),
        ("bytes overflow", one("[4611686018427387905]", 0, 4)),
        ("offsets overflow", one("[2]", 0, u64::MAX)),
    ] {
        let message = refusal(&header, &[0; 8]);
        assert!(message.contains("safetensors"), "{what}: {message}");
    }
    let overlapping = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                          "b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    assert!(refusal(overlapping, &[0; 12]).contains("overlap"));
    let same = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                   "b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    assert!(refusal(same, &[0; 8]).contains("overlap"));
    let twice = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                    "a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    assert!(refusal(twice, &[0; 8]).contains("overlap others or leave a gap"));
}

#[test]
fn headers_must_be_headers() {
    for header in ["{", "{}}", r#"{"a":1}"#, r#"{"a":{"dtype":"F33","shape":[],"data_offsets":[0,0]}}"#] {
        refusal(header, &[]);
    }
    refusal(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, &[0; 4]);
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    refusal(&deep, &[]);
    for length in [u64::MAX, 1 << 62, 1 << 40, (16 << 20) + 1] {
        let bytes = [&length.to_le_bytes()[..], b"{\"a\":1}"].concat();
        let message = Checkpoint::from_bytes("huge", bytes).err().unwrap().to_string();
        assert!(message.contains("more than 16777216"), "{message}");
    }
}

#[test]
fn types_that_are_not_read_matter_when_they_are_asked_for() {
    let header = r#"{"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]},
                     "b":{"dtype":"U8","shape":[1,1,1,1,1,1,1],"data_offsets":[8,9]},
                     "c":{"dtype":"U8","shape":[2],"data_offsets":[9,11]}}"#;
    let checkpoint = open(header, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 6]).unwrap();
    assert!(checkpoint.tensor("a", &[1]).unwrap_err().to_string().contains("C64 are not read"));
    assert!(checkpoint.tensor("b", &[1]).unwrap_err().to_string().contains("too many dimensions"));
    assert_eq!(checkpoint.tensor("c", &[2]).unwrap().to_f32_vec().unwrap(), [5.0, 6.0]);
}

/// The report: a file of f64 was "expected SAM, found a SAM checkpoint".
#[test]
fn f64_becomes_f32() {
    let header = r#"{"a":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}}"#;
    let bytes = [0.1f64.to_le_bytes(), (-3e5f64).to_le_bytes()].concat();
    let checkpoint = open(header, &bytes).unwrap();
    assert_eq!(checkpoint.tensor("a", &[2]).unwrap().to_f32_vec().unwrap(), [0.1f32, -3e5]);
}

#[test]
fn any_damage_is_survived() {
    let valid = file(TWO, &TWO_DATA);
    for len in 0..valid.len() {
        assert!(Checkpoint::from_bytes("cut", valid[..len].to_vec()).is_err(), "cut to {len} bytes");
    }
    for at in 0..valid.len() {
        for bit in 0..8 {
            let mut damaged = valid.clone();
            damaged[at] ^= 1 << bit;
            if let Ok(checkpoint) = Checkpoint::from_bytes("damaged", damaged) {
                for name in checkpoint.names() {
                    let _ = checkpoint.any_tensor(&name);
                }
            }
        }
    }
}
