//! Masks to labels and back, 8 and 16 bits.

use super::*;
use crate::golden;
use crate::write::write_label_png;

fn stripes(count: u32) -> Vec<BitMask> {
    (0..count).map(|i| BitMask::from_fn(Size::new(700, 2), |x, _| x / 2 == i)).collect()
}

#[test]
fn masks_come_back_from_a_file() {
    let folder = std::env::temp_dir().join(format!("samovar-labels-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for count in [1, 255, 256, 300] {
        let masks = stripes(count);
        let map = LabelMap::from_masks(Size::new(700, 2), &masks).unwrap();
        let path = folder.join(format!("{count}.png"));
        write_label_png(&path, &map).unwrap();
        let read = decode_labels(&std::fs::read(&path).unwrap(), &DecodeLimits::default()).unwrap();
        assert_eq!(read, map, "{count} labels");
        let found = read.masks();
        assert_eq!(found.len(), count as usize);
        for ((label, mask), (index, expected)) in found.iter().zip(masks.iter().enumerate()) {
            assert_eq!((*label as usize, mask), (index + 1, expected));
            assert_eq!(&read.mask(*label), expected);
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_colour_picture_is_no_label_map() {
    let bytes = std::fs::read(golden::folder().join("images/rgb.png")).unwrap();
    let error = decode_labels(&bytes, &DecodeLimits::default()).unwrap_err();
    assert_eq!(error.kind(), MediaErrorKind::Unsupported);
}

#[test]
fn later_masks_win_and_wrong_sizes_are_refused() {
    let size = Size::new(2, 1);
    let map =
        LabelMap::from_masks(size, [&BitMask::full(size), &BitMask::from_fn(size, |x, _| x == 1)]).unwrap();
    assert_eq!(map.labels(), [1, 2]);
    assert!(LabelMap::from_masks(size, [&BitMask::full(Size::new(1, 2))]).is_err());
    assert!(LabelMap::from_raw(size, vec![0; 3]).is_err());
    assert!(LabelMap::from_raw(Size::new(0, 0), vec![]).unwrap().masks().is_empty());
}
