//! Files as the library and as OpenEXR's own write them.

use ::exr::prelude::{
    AnyChannel, AnyChannels, Compression, Encoding, FlatSamples, IntegerBounds, Layer, LayerAttributes, Vec2,
    WritableImage,
};

use super::super::colour::ColourSpace;
use super::super::decode::{decode_bytes, decode_bytes_as, metadata_of_bytes};
use super::*;

/// A file of these channels, at (x, y) of its data window, in a display window of its own.
fn file(
    compression: Compression,
    display: (usize, usize),
    data: ((i32, i32), (usize, usize)),
    channels: &[&str],
    sample: impl Fn(usize, usize, usize) -> f32,
) -> Vec<u8> {
    let (position, (width, height)) = data;
    let list = channels.iter().enumerate().map(|(channel, name)| {
        let values = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let values: Vec<f16> = values.map(|(x, y)| f16::from_f32(sample(channel, x, y))).collect();
        AnyChannel::new(*name, FlatSamples::F16(values))
    });
    let encoding = Encoding { compression, ..Encoding::FAST_LOSSLESS };
    let attributes =
        LayerAttributes { layer_position: Vec2(position.0, position.1), ..LayerAttributes::default() };
    let layer = Layer::new((width, height), attributes, encoding, AnyChannels::sort(list.collect()));
    let mut image = ::exr::prelude::Image::from_layer(layer);
    image.attributes.display_window = IntegerBounds::new((0, 0), display);
    let mut bytes = Cursor::new(Vec::new());
    image.write().non_parallel().to_buffered(&mut bytes).unwrap();
    bytes.into_inner()
}

fn ramp(channel: usize, x: usize, y: usize) -> f32 {
    [0.18, 0.02 * x as f32, 0.05 * y as f32][channel % 3]
}

#[test]
fn colours_are_linear_light_shown_as_srgb_whatever_the_compression() {
    use Compression::*;
    for compression in [Uncompressed, RLE, ZIP1, ZIP16, PIZ, PXR24] {
        let bytes = file(compression, (20, 12), ((0, 0), (20, 12)), &["R", "G", "B"], ramp);
        let metadata = metadata_of_bytes(&bytes, &DecodeLimits::default()).unwrap();
        assert_eq!(metadata.size, Size::new(20, 12));
        let picture = decode_bytes(&bytes, &DecodeLimits::default()).unwrap();
        for (x, y) in [(0, 0), (9, 3), (19, 11)] {
            let linear = [0.18, 0.02 * f64::from(x), 0.05 * f64::from(y)];
            let shown = linear.map(|light| match light {
                light if light <= 0.003_130_8 => light * 12.92 * 255.0,
                light => (1.055 * light.powf(1.0 / 2.4) - 0.055) * 255.0,
            });
            for (found, expected) in picture.pixel(x, y).into_iter().zip(shown) {
                assert!((f64::from(found) - expected).abs() < 1.0, "{compression}: {found}, not {expected}");
            }
        }
        assert_eq!(picture.notes(), ["its values are linear light: shown as sRGB"], "{compression}");
        let raw = decode_bytes_as(&bytes, &DecodeLimits::default(), Some(ColourSpace::Srgb)).unwrap();
        assert_eq!(raw.pixel(0, 0)[0], (0.18f32 * 255.0).round() as u8);
    }
}

#[test]
fn the_display_window_is_the_frame() {
    // Overscan on the left and above, and nothing on the right and below.
    let bytes = file(Compression::ZIP16, (8, 6), ((-2, -3), (6, 7)), &["R", "G", "B"], |_, _, _| 1.0);
    let picture = decode_bytes(&bytes, &DecodeLimits::default()).unwrap();
    assert_eq!(picture.size(), Size::new(8, 6));
    for y in 0..6 {
        for x in 0..8 {
            let expected = if x < 4 && y < 4 { [255; 3] } else { [0; 3] };
            assert_eq!(picture.pixel(x, y), expected, "{x},{y}");
        }
    }
}

#[test]
fn layers_alpha_and_grey_are_found() {
    let limits = DecodeLimits::default();
    let values = |channel: usize, _: usize, _: usize| [0.5, 0.1, 0.2, 0.3, 0.7, 0.8][channel];
    let layers =
        file(Compression::ZIP16, (4, 4), ((0, 0), (4, 4)), &["A", "B", "G", "R", "depth.Z", "key.R"], values);
    let picture = decode_bytes(&layers, &limits).unwrap();
    assert!(picture.alpha().unwrap().iter().all(|&alpha| alpha == 128));
    // The colours were multiplied by the alpha: 0.3 of 0.5 is 0.6.
    assert_eq!(picture.pixel(0, 0)[0], 203);
    let prefixed = file(
        Compression::ZIP16,
        (4, 4),
        ((0, 0), (4, 4)),
        &["beauty.B", "beauty.G", "beauty.R"],
        |_, _, _| 1.0,
    );
    assert!(decode_bytes(&prefixed, &limits).unwrap().notes()[0].contains("\"beauty\" is read"));
    let grey = file(Compression::ZIP16, (4, 4), ((0, 0), (4, 4)), &["Y"], |_, _, _| 0.18);
    assert_eq!(decode_bytes(&grey, &limits).unwrap().pixel(1, 1), [118; 3]);
    let none = file(Compression::ZIP16, (4, 4), ((0, 0), (4, 4)), &["Z"], |_, _, _| 0.18);
    let error = decode_bytes(&none, &limits).unwrap_err();
    assert_eq!(error.kind(), MediaErrorKind::Unsupported);
    assert!(error.to_string().contains("no channels R, G and B, and no Y (but Z)"), "{error}");
}

#[test]
fn damage_and_limits_are_errors_before_pixels() {
    let bytes = file(Compression::PIZ, (64, 48), ((0, 0), (64, 48)), &["R", "G", "B"], ramp);
    for cut in [4, 40, bytes.len() / 2, bytes.len() - 1] {
        let error = decode_bytes(&bytes[..cut], &DecodeLimits::default()).unwrap_err();
        assert_eq!(error.kind(), MediaErrorKind::Damaged, "{cut}: {error}");
    }
    let tight = DecodeLimits::of_pixels(64 * 48 - 1);
    for error in [decode_bytes(&bytes, &tight).unwrap_err(), metadata_of_bytes(&bytes, &tight).unwrap_err()] {
        assert_eq!(error.kind(), MediaErrorKind::TooLarge);
    }
}

#[test]
fn light_that_is_no_light_is_cut_off_and_said() {
    let values = |_: usize, x: usize, _: usize| [-1.0, 0.5, 12.0, f32::NAN, f32::INFINITY][x];
    let bytes = file(Compression::ZIP1, (5, 1), ((0, 0), (5, 1)), &["R", "G", "B"], values);
    let picture = decode_bytes(&bytes, &DecodeLimits::default()).unwrap();
    let shown: Vec<u8> = (0..5).map(|x| picture.pixel(x, 0)[0]).collect();
    assert_eq!(shown, [0, 188, 255, 0, 255]);
    let cut_off = [
        "values over 1 are shown white",
        "values below 0 are shown black",
        "values that are no numbers are shown black",
    ];
    assert_eq!(picture.notes()[1..], cut_off);
}

/// Seeds of the fuzzer, which `dev/fuzz/make_seeds.py` has OpenEXR write: red, green and alpha are one ramp.
#[test]
fn files_of_openexrs_own_library_are_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/fuzz/corpus/exr");
    for name in ["no", "rle", "zips", "zip", "piz", "pxr24", "b44a", "dwaa", "dwab"] {
        let bytes = std::fs::read(folder.join(format!("{name}.exr"))).unwrap();
        let picture =
            decode_bytes(&bytes, &DecodeLimits::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(picture.size(), Size::new(20, 12));
        let [red, green, blue] = picture.pixel(10, 6);
        assert!(red > 240 && green > 240 && blue > 240, "{name}: what alpha was multiplied into is 1");
        let alpha = picture.alpha().unwrap()[6 * 20 + 10];
        assert!((i32::from(alpha) - 139).abs() < 6, "{name}: {alpha}");
    }
    let tiled =
        decode_bytes(&std::fs::read(folder.join("tiled.exr")).unwrap(), &DecodeLimits::default()).unwrap();
    assert_eq!((tiled.pixel(0, 0)[0], tiled.pixel(19, 11)[0]), (0, 255));
}
