use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use samovar_tensor::Precision;

use crate::{Checkpoint, WeightSource, WriteTensor, quantise, stored_precision, write_safetensors};

/// A folder of its own for every test.
fn folder(test: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("samovar-quantise-{test}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn source(values: &[f32]) -> Checkpoint {
    let folder = folder("source");
    let path = folder.join(format!("{}.safetensors", values.len()));
    let tensor = |name: &str, shape: &[usize], values| WriteTensor {
        name: name.into(),
        shape: shape.to_vec(),
        values,
    };
    let tensors =
        [tensor("fc.weight", &[3, values.len() / 3], values), tensor("fc.bias", &[3], &values[..3])];
    let metadata = BTreeMap::from([("model".to_owned(), "a test".to_owned())]);
    write_safetensors(&path, &tensors, &metadata).unwrap();
    Checkpoint::open(&path).unwrap()
}

fn numbers() -> Vec<f32> {
    (0..300).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect()
}

#[test]
fn a_file_of_rounded_weights_is_what_rounding_at_load_gives() {
    let source = source(&numbers());
    let folder = folder("same");
    let weight = source.tensor("fc.weight", &[3, 100]).unwrap();
    for precision in Precision::ALL {
        let path = folder.join(format!("{precision}.safetensors"));
        let precisions = BTreeMap::from([("fc.weight".to_owned(), precision)]);
        let report = quantise(&source, precision, &precisions, &path).unwrap();
        let rounded = Checkpoint::open(&path).unwrap();
        assert_eq!(stored_precision(&rounded).unwrap(), precision);
        assert_eq!(rounded.metadata("model").as_deref(), Some("a test"));
        assert_eq!(report.rounded, usize::from(precision != Precision::F32));
        let (expected, found) =
            (weight.to_precision(precision).unwrap(), rounded.tensor("fc.weight", &[3, 100]).unwrap());
        assert_eq!(found.dtype(), precision.dtype());
        assert_eq!(found.raw(), expected.raw());
        assert_eq!(found.scales(), expected.scales());
        let bias = rounded.tensor("fc.bias", &[3]).unwrap();
        assert_eq!(bias.to_f32_vec().unwrap(), numbers()[..3]);

        // Once more changes nothing, and back to f32 gives the rounded numbers.
        let again = folder.join("again.safetensors");
        quantise(&rounded, precision, &precisions, &again).unwrap();
        let kept = Checkpoint::open(&again).unwrap();
        assert_eq!(kept.names(), rounded.names());
        assert_eq!(kept.any_tensor("fc.weight").unwrap().raw(), expected.raw());
        let wide = BTreeMap::from([("fc.weight".to_owned(), Precision::F32)]);
        quantise(&rounded, Precision::F32, &wide, &again).unwrap();
        let wide = Checkpoint::open(&again).unwrap();
        assert_eq!(wide.names(), ["fc.bias", "fc.weight"]);
        let values = wide.any_tensor("fc.weight").unwrap().to_f32_vec().unwrap();
        assert_eq!(values, expected.to_f32_vec().unwrap());
    }
    let size = |name: &str| fs::metadata(folder.join(name)).unwrap().len();
    assert!(size("int8.safetensors") < size("f16.safetensors"));
    assert!(size("f16.safetensors") < size("f32.safetensors"));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn weights_that_are_not_finite_leave_no_file() {
    let mut values = numbers();
    values[150] = f32::NAN;
    values.truncate(297);
    let source = source(&values);
    let folder = folder("nan");
    let path = folder.join("int8.safetensors");
    let precisions = BTreeMap::from([("fc.weight".to_owned(), Precision::Int8)]);
    let error = quantise(&source, Precision::Int8, &precisions, &path).unwrap_err().to_string();
    assert!(error.contains("tensor `fc.weight`") && error.contains("not finite"), "{error}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn eight_bits_without_scales_are_damaged() {
    let header = r#"{"w":{"dtype":"I8","shape":[2,2],"data_offsets":[0,4]}}"#;
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[1, 2, 3, 4]].concat();
    let file = Checkpoint::from_bytes("the file", bytes).unwrap();
    let refusal = file.tensor("w", &[2, 2]).unwrap_err().to_string();
    assert!(
        ["the file", "`w`", "`w_scale`", "damaged"].iter().all(|word| refusal.contains(word)),
        "{refusal}"
    );
}

/// A safetensors file with an int8 tensor `w` of `[2, 2]` and its scales.
fn int8_file(values: [i8; 4], scales: &str, scale_bytes: &[u8], metadata: &str) -> Checkpoint {
    let end = 4 + scale_bytes.len();
    let mut header = format!(
        r#"{{"__metadata__":{{{metadata}}},"w":{{"dtype":"I8","shape":[2,2],"data_offsets":[0,4]}},"w_scale":{{{scales},"data_offsets":[4,{end}]}}}}"#
    );
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(values.map(|value| value as u8));
    bytes.extend(scale_bytes);
    Checkpoint::from_bytes("hostile", bytes).unwrap()
}

#[test]
fn scales_of_files_are_checked_before_they_are_used() {
    let two = |a: f32, b: f32| [a.to_le_bytes(), b.to_le_bytes()].concat();
    const TWO: &str = r#""dtype":"F32","shape":[2]"#;
    let good = int8_file([1, -2, 3, 127], TWO, &two(0.5, 2.0), r#""samovar.precision":"int8""#);
    assert_eq!(good.tensor("w", &[2, 2]).unwrap().to_f32_vec().unwrap(), [0.5, -1.0, 6.0, 254.0]);
    assert_eq!(stored_precision(&good).unwrap(), Precision::Int8);

    let refused = |file: Checkpoint| file.tensor("w", &[2, 2]).unwrap_err().to_string();
    let infinite = refused(int8_file([1, 2, 3, 4], TWO, &two(1.0, f32::INFINITY), ""));
    assert!(infinite.contains("scale of output 1 is inf"), "{infinite}");
    assert!(refused(int8_file([1, 2, 3, 4], TWO, &two(f32::NAN, 1.0), "")).contains("output 0"));
    assert!(refused(int8_file([1, -128, 3, 4], TWO, &two(1.0, 1.0), "")).contains("-128"));
    assert!(refused(int8_file([1, 2, 3, 4], TWO, &two(1.0, -0.5), "")).contains("negative scale"));
    let one = int8_file([1, 2, 3, 4], r#""dtype":"F32","shape":[1]"#, &1.0f32.to_le_bytes(), "");
    assert!(refused(one).contains("1 scales for 2 outputs"));
    let integers = int8_file([1, 2, 3, 4], r#""dtype":"I32","shape":[2]"#, &[0; 8], "");
    assert!(refused(integers).contains("scales of type i32"));
    let word = int8_file([1, 2, 3, 4], TWO, &two(1.0, 1.0), r#""samovar.precision":"int3""#);
    assert!(stored_precision(&word).unwrap_err().to_string().contains("int3"));
}
