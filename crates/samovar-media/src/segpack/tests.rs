//! Packs made here are read back; damaged ones say which record and why.

use super::*;
use crate::MediaErrorKind;
use crate::golden;

fn block(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

fn record(header: &str, layers: &[&[u8]]) -> Vec<u8> {
    let jpeg = std::fs::read(golden::folder().join("images/420.jpg")).unwrap();
    let mut bytes = [block(header.as_bytes()), block(&jpeg), vec![layers.len() as u8]].concat();
    layers.iter().for_each(|layer| bytes.extend(block(layer)));
    bytes
}

fn pack() -> Vec<u8> {
    let layer = std::fs::read(golden::folder().join("images/grey.png")).unwrap();
    let one =
        r#"{"id":"a","src":"s","w":35,"h":27,"lic":"CC0","layers":[{"kind":"binary","n":1}],"extra":[1]}"#;
    let two = r#"{"id":"b","src":"s","w":35,"h":27,"layers":[],"partial":true}"#;
    [MAGIC.to_vec(), record(one, &[&layer]), record(two, &[])].concat()
}

fn read(bytes: &[u8], limits: SegpackLimits) -> Result<Vec<SegpackRecord>> {
    SegpackReader::new(bytes, limits)?.collect()
}

#[test]
fn records_come_back() {
    let records = read(&pack(), SegpackLimits::default()).unwrap();
    assert_eq!(records.len(), 2);
    let first = &records[0];
    assert_eq!((first.header.id.as_str(), first.header.layers[0].kind.as_str()), ("a", "binary"));
    assert_eq!(first.header.other["extra"], serde_json::json!([1]));
    assert!(records[1].header.partial && !first.header.partial);
    let limits = DecodeLimits::default();
    assert_eq!(first.image(&limits).unwrap().size(), samovar_geometry::Size::new(35, 27));
    assert!(first.labels(0, &limits).unwrap().masks().len() > 1);
    assert!(first.labels(1, &limits).is_err());
}

#[test]
fn damage_anywhere_is_an_error_and_then_the_end() {
    let whole = pack();
    assert_eq!(read(b"SEGPACK2", SegpackLimits::default()).unwrap_err().kind(), MediaErrorKind::Unsupported);
    let mut ends = 0;
    for length in 0..whole.len() {
        match read(&whole[..length], SegpackLimits::default()) {
            Ok(_) => ends += 1,
            Err(error) => assert_eq!(error.kind(), MediaErrorKind::Damaged, "cut at {length}: {error}"),
        }
    }
    assert_eq!(ends, 2, "whole only right after the magic and after the first record");
    let mut reader = SegpackReader::new(&whole[..whole.len() - 1], SegpackLimits::default()).unwrap();
    assert!(reader.next().unwrap().is_ok());
    let error = reader.next().unwrap().unwrap_err();
    assert!(error.to_string().starts_with("\"record 2\""), "{error}");
    assert!(reader.next().is_none());
}

#[test]
fn lengths_are_not_believed() {
    let mut lying = MAGIC.to_vec();
    lying.extend(u32::MAX.to_le_bytes());
    assert_eq!(read(&lying, SegpackLimits::default()).unwrap_err().kind(), MediaErrorKind::TooLarge);
    let tight = SegpackLimits { max_image_bytes: 100, ..SegpackLimits::default() };
    assert_eq!(read(&pack(), tight).unwrap_err().kind(), MediaErrorKind::TooLarge);
    let layers_missing = r#"{"id":"a","src":"s","w":1,"h":1,"layers":[{"kind":"binary"}]}"#;
    let bytes = [MAGIC.to_vec(), record(layers_missing, &[])].concat();
    assert_eq!(read(&bytes, SegpackLimits::default()).unwrap_err().kind(), MediaErrorKind::Damaged);
}
