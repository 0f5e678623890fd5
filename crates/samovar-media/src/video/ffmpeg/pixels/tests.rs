//! White of every kind of format, and levels that eight bits do not have, by the system's ffmpeg.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use super::*;
use crate::video::clips::{Folder, has_ffmpeg};
use crate::video::source::{Direction, FrameSource};
use crate::video::{Reversed, VideoFile};

#[test]
fn white_is_where_the_scaler_of_ffmpeg_puts_it() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("white");
    for (format, white) in [
        ("yuv420p", "lum=235:cb=128:cr=128"),
        ("yuv422p10le", "lum=940:cb=512:cr=512"),
        ("yuv444p12le", "lum=3760:cb=2048:cr=2048"),
        ("yuva444p10le", "lum=940:cb=512:cr=512:a=1023"),
        ("gray", "lum=255"),
        ("gray10le", "lum=1023"),
        ("gray12le", "lum=4095"),
        ("gray16le", "lum=65535"),
        ("gbrp", "r=255:g=255:b=255"),
        ("gbrp10le", "r=1023:g=1023:b=1023"),
        ("gbrap12le", "r=4095:g=4095:b=4095:a=4095"),
        ("gbrp16le", "r=65535:g=65535:b=65535"),
    ] {
        let arguments = format!(
            "-f lavfi -i color=black:size=16x16,format={format},geq={white} -frames:v 1 \
             -vf scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp -pix_fmt rgb48le -f rawvideo"
        );
        let bytes = std::fs::read(folder.make("white.raw", &arguments)).unwrap();
        let (white, of_white) = (white_of(format, false), u16::from_le_bytes([bytes[0], bytes[1]]));
        assert!(of_white.abs_diff(white) <= 4, "{format}: {of_white}, not {white}");
    }
}

#[test]
fn a_dark_logarithmic_gradient_of_ten_bits_has_more_levels_than_eight_bits_give() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new("levels");
    let shown = |value: f64| {
        let linear = ColourSpace::VLog.to_linear(value).max(0.0);
        let screen =
            if linear <= 0.0031308 { linear * 12.92 } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 };
        screen * 255.0
    };
    let levels = |row: &[u8]| row.iter().copied().collect::<BTreeSet<u8>>().len();
    // Of the range of video, and of all codes: the least code and how many there are from black to white.
    for (range, least, black, codes) in [("tv", 150, 64.0, 876.0), ("pc", 120, 0.0, 1023.0)] {
        // A column of the picture after the other, one code brighter every second.
        let path = folder.make(
            &format!("{range}.mkv"),
            &format!(
                "-f lavfi -i color=black:size=640x4:rate=25,format=yuv444p10le,geq=lum='{least}+X/2':cb=512:cr=512 \
                 -frames:v 3 -vf setparams=range={range} -color_range {range} -c:v ffv1 -pix_fmt yuv444p10le"
            ),
        );
        let (limits, space) = (DecodeLimits::default(), Some(ColourSpace::VLog));
        let mut video = VideoFile::open_as(&path, OsStr::new("ffmpeg"), &limits, space).unwrap();
        assert!(video.notes().concat().contains("vlog"), "{:?}", video.notes());
        let mut frames = Vec::new();
        while let Some(frame) = video.next().unwrap() {
            frames.push(frame);
        }
        assert_eq!(frames.len(), 3);
        let value = |x: u32| (f64::from(least + x / 2) - black) / codes;
        for frame in &frames {
            let row = frame.pixels.row(2);
            let errors: Vec<f64> = (0..640)
                .zip(row.chunks_exact(3))
                .map(|(x, pixel)| {
                    f64::from(pixel.iter().map(|&byte| u32::from(byte)).sum::<u32>()) / 3.0 - shown(value(x))
                })
                .collect();
            let worst = errors.iter().copied().fold(0.0, |worst: f64, error| worst.max(error.abs()));
            let mean = errors.iter().sum::<f64>() / errors.len() as f64;
            assert!(worst < 0.75 && mean.abs() < 0.1, "{range}: wrong by {worst}, {mean} in the mean");
            // What would be shown of values that were 8 bits on the way.
            let coarse = |x| shown((value(x) * 255.0).round() / 255.0).round() as u8;
            let (fine, coarse) = (levels(row), levels(&(0..640).map(coarse).collect::<Vec<u8>>()));
            assert!(2 * fine > 3 * coarse, "{range}: {fine} levels, and {coarse} by way of 8 bits");
        }
        let mut back = Reversed::new(video, 1 << 20);
        back.start(None, Direction::Backward).unwrap();
        let last = back.next().unwrap().unwrap();
        assert_eq!((last.number, last.pixels.pixels()), (2, frames[2].pixels.pixels()));
    }
}

#[test]
fn frames_of_many_strips_are_read_whole() {
    let size = Size::<Image>::new(257, 401);
    let code = |at: usize| (at * 7919 % 65536) as u16;
    let stream: Vec<u8> = (0..size.area() as usize * 3).flat_map(|at| code(at).to_ne_bytes()).collect();
    assert!(size.area() as usize * 3 > 3 * STRIP_SAMPLES, "several strips");
    let mut pixels = Pixels::new(DecodeLimits::default(), Some(ColourSpace::Linear));
    let frame = pixels.next(&mut &stream[..], size, u16::MAX).unwrap().unwrap();
    let view = View::new(ColourSpace::Linear, None);
    let values: Vec<u16> = (0..size.area() as usize * 3).map(code).collect();
    assert_eq!(frame.pixels(), view.of_integers(&values, u16::MAX, 3).unwrap().0);
    let cut = &stream[..stream.len() - 1];
    assert!(pixels.next(&mut &cut[..], size, u16::MAX).unwrap().is_none(), "a frame that was cut");
    let small = DecodeLimits { max_pixels: 16, ..DecodeLimits::default() };
    assert!(Pixels::new(small, Some(ColourSpace::Linear)).next(&mut &stream[..], size, u16::MAX).is_err());
}
