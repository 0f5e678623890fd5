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

/// DAVIS and YouTube-VOS keep their objects so; their colours are for people.
#[test]
fn labels_by_palette_are_the_numbers_and_not_the_colours() {
    for (name, width, count) in [
        ("palette1.png", 13, 2),
        ("palette2.png", 13, 4),
        ("palette4.png", 13, 16),
        ("palette8.png", 13, 100),
    ] {
        let bytes = std::fs::read(golden::folder().join("../measures").join(name)).unwrap();
        let map = decode_labels(&bytes, &DecodeLimits::default()).unwrap();
        let expected: Vec<u16> =
            golden::noise(11, 9, width, 1).iter().map(|&byte| u16::from(byte) % count).collect();
        assert_eq!((map.size(), map.labels()), (Size::new(width, 9), &expected[..]), "{name}");
        let cut = decode_labels(&bytes[..bytes.len() - 20], &DecodeLimits::default()).unwrap_err();
        assert_eq!(cut.kind(), MediaErrorKind::Damaged, "{name}");
        let few = DecodeLimits { max_pixels: 100, ..DecodeLimits::default() };
        assert_eq!(decode_labels(&bytes, &few).unwrap_err().kind(), MediaErrorKind::TooLarge, "{name}");
    }
}

#[test]
fn a_part_is_not_hidden_by_its_whole() {
    let size = Size::new(9, 4);
    let whole = BitMask::from_fn(size, |x, _| x < 6);
    let part = BitMask::from_fn(size, |x, y| x < 2 && y < 2);
    let beside = BitMask::from_fn(size, |x, _| (4..9).contains(&x));
    for (order, labels) in [([&whole, &part, &beside], [2, 1, 3]), ([&part, &beside, &whole], [1, 3, 2])] {
        let mut painter = LabelPainter::new(size).unwrap();
        order.iter().for_each(|mask| painter.add(mask).unwrap());
        let map = painter.finish();
        let [of_part, of_whole, of_beside] = labels;
        for (label, x, y) in
            [(of_part, 1, 1), (of_whole, 1, 3), (of_whole, 3, 0), (of_beside, 4, 0), (of_beside, 8, 3)]
        {
            assert!(map.mask(label).get(x, y), "label {label} at {x},{y}: {:?}", map.labels());
        }
        assert_eq!(painted(&map), 36, "every pixel has one mask");
    }
    assert!(LabelPainter::new(size).unwrap().add(&BitMask::new(Size::new(9, 5))).is_err());
}

#[test]
fn regions_and_masks_of_chosen_labels_are_those_of_each_label() {
    let size = Size::new(70, 9);
    let labels = golden::noise(11, 9, 70, 1).iter().map(|&byte| u16::from(byte) % 5).collect();
    let map = LabelMap::from_raw(size, labels).unwrap();
    let regions = map.regions();
    assert_eq!(regions.iter().map(|region| region.label).collect::<Vec<_>>(), [1, 2, 3, 4]);
    for region in &regions {
        let mask = map.mask(region.label);
        assert_eq!((region.area, Some(region.bounds)), (mask.area(), mask.pixel_bounds()));
    }
    let chosen = [4, 1, 9, 1];
    let expected: Vec<BitMask> = chosen.iter().map(|&label| map.mask(label)).collect();
    assert_eq!(map.masks_of(&chosen), expected, "in the order asked for, empty where there is none");
    assert_eq!(map.masks(), [1, 2, 3, 4].map(|label| (label, map.mask(label))));
}

fn painted(map: &LabelMap) -> usize {
    map.labels().iter().filter(|&&label| label > 0).count()
}
