//! Pictures in formats that are not read here: known by name, so that they can be told from what is no picture.

/// What a file with this ending (lower case) is, among the formats that are not read. Raw files of cameras are TIFF
/// inside, and a reader that goes by content finds their thumbnail: they are known by ending alone.
pub fn foreign_by_ending(ending: &str) -> Option<&'static str> {
    Some(match ending {
        "heic" | "heif" | "hif" => "HEIC",
        "avif" | "avifs" => "AVIF",
        "jp2" | "j2k" | "jpf" | "jpx" | "j2c" | "jpc" => "JPEG 2000",
        "jxl" => "JPEG XL",
        "jxr" | "wdp" | "hdp" => "JPEG XR",
        "dng" | "cr2" | "cr3" | "nef" | "arw" | "orf" | "rw2" | "raf" | "pef" | "srw" => {
            "a camera's raw file"
        }
        "psd" | "psb" => "Photoshop's format",
        "hdr" => "Radiance HDR",
        "dds" => "DDS",
        "tga" => "TGA",
        "ico" | "cur" => "an icon",
        "svg" | "svgz" => "SVG",
        "dcm" => "DICOM",
        "xcf" => "GIMP's format",
        "qoi" => "QOI",
        _ => return None,
    })
}

/// What turns such a file into one that is read here.
pub fn how_to_convert(name: &str) -> &'static str {
    match name {
        "HEIC" => {
            "convert it: `heif-convert IN.heic OUT.jpg` (libheif), or on a Mac `sips -s format jpeg IN.heic --out OUT.jpg`"
        }
        "AVIF" => "convert it: `avifdec IN.avif OUT.png` (libavif)",
        "JPEG XL" => "convert it: `djxl IN.jxl OUT.png` (libjxl)",
        "JPEG 2000" => "convert it: `opj_decompress -i IN.jp2 -o OUT.png` (OpenJPEG)",
        "a camera's raw file" => {
            "develop it to TIFF or JPEG: `darktable-cli IN OUT.tif`, or take the JPEG beside it"
        }
        "SVG" => "draw it: `rsvg-convert IN.svg -o OUT.png` (librsvg)",
        _ => "convert it: `magick IN OUT.png` (ImageMagick)",
    }
}

/// What a file is that begins with these bytes (32 are enough), among the formats that are not read.
pub fn foreign_by_start(start: &[u8]) -> Option<&'static str> {
    if start.get(4..8) == Some(b"ftyp") {
        return match start.get(8..12)? {
            b"avif" | b"avis" => Some("AVIF"),
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" => Some("HEIC"),
            b"crx " => Some("a camera's raw file"),
            _ => None,
        };
    }
    let known: [(&[u8], &str); 6] = [
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\x0a", "JPEG XL"),
        (b"8BPS", "Photoshop's format"),
        (b"#?RADIANCE", "Radiance HDR"),
    ];
    known.into_iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, name)| name)
}

/// Whether a file that begins with these bytes (32 are enough) holds sound alone, as formats of music do.
pub fn is_sound(start: &[u8]) -> bool {
    let of_container = |at: usize, kinds: &[&[u8; 4]]| {
        start.get(at..at + 4).is_some_and(|kind| kinds.iter().any(|known| kind == *known))
    };
    let is_mpeg = start.starts_with(b"ID3") || matches!(start, [0xff, 0xfb | 0xf3 | 0xf2, ..]);
    is_mpeg
        || start.starts_with(b"fLaC")
        || start.starts_with(b"RIFF") && of_container(8, &[b"WAVE"])
        || of_container(4, &[b"ftyp"]) && of_container(8, &[b"M4A ", b"M4B "])
}
