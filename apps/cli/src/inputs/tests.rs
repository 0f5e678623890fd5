//! Folders of every oddity.

use super::*;

/// A PNG of one pixel.
fn png() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(1, 1).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn files_were_left_out_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let names = ["a.png", "b.jfif", "c.jpe", "e.mpo", "f.apng", "g.btf", "h.PNG", "image.heic", "no_ending"];
    names.iter().for_each(|name| write(name, &png()));
    write("damaged.jpg", b"text");
    write("real.heic", b"\0\0\0\x18ftypheic\0\0\0\0");
    write("real.avif", b"\0\0\0\x18ftypavif\0\0\0\0");
    write("photo.nef", b"MM\0*\0\0\0\x08");
    write("named.jp2", b"?");
    write("text.txt", b"P1 is a name");
    write(".hidden", b"");
    let words = |inputs: &Inputs| inputs.left_out.describe().unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("nowhere.png", folder.path().join("link.png")).unwrap();
    let inputs = list(&[folder.path().to_owned()], false).unwrap();
    let taken: Vec<_> =
        inputs.images.iter().map(|image| image.path.file_name().unwrap().to_owned()).collect();
    let mut expected = names.to_vec();
    expected.push("damaged.jpg");
    expected.sort_unstable();
    assert_eq!(taken, expected);
    let words = words(&inputs);
    for part in [
        "1 of HEIC, which is not read (real.heic)",
        "1 of AVIF, which is not read (real.avif)",
        "1 of JPEG 2000, which is not read (named.jp2)",
        "1 of a camera's raw file, which is not read (photo.nef)",
        "1 that is no image (text.txt)",
        "convert images to PNG or JPEG",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(!cfg!(unix) || words.contains("1 broken link (link.png)"), "{words}");
    assert!(!words.contains("hidden"), "{words}");
}

#[test]
fn a_folder_without_images_says_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.heic"), b"\0\0\0\x18ftypheic\0\0\0\0").unwrap();
    let words = list(&[folder.path().to_owned()], false).unwrap_err().to_string();
    assert!(words.contains("no images in this folder") && words.contains("a.heic"), "{words}");
}

fn named(names: &[&str]) -> Vec<InputImage> {
    let image = |name: &&str| {
        let result_name = Path::new(name).with_extension("").to_string_lossy().into_owned();
        InputImage { path: name.into(), in_folder: name.into(), result_name, frame: None }
    };
    names.iter().map(image).collect()
}

/// One file, or numbered ones where the image is called so.
fn files(image: &InputImage) -> Vec<PathBuf> {
    let name = &image.result_name;
    match image.in_folder.ends_with("many.png") {
        true => (1..=2).map(|number| format!("{name}-{number}.png").into()).collect(),
        false => vec![format!("{name}.png").into()],
    }
}

#[test]
fn endings_stay_where_names_would_clash() {
    let names = |images: &[&str]| {
        let mut images = named(images);
        keep_apart(&mut images, true, files)
            .map(|()| images.into_iter().map(|image| image.result_name).collect::<Vec<_>>())
    };
    assert_eq!(names(&["a.png", "b.png"]).unwrap(), ["a", "b"]);
    assert_eq!(names(&["a.png", "a.jpg", "b.png"]).unwrap(), ["a.png", "a.jpg", "b"]);
    assert_eq!(names(&["a.png", "A.jpg"]).unwrap(), ["a.png", "A.jpg"]);
    assert_eq!(names(&["e\u{301}.png", "\u{e9}.jpg"]).unwrap(), ["e\u{301}.png", "\u{e9}.jpg"]);
    assert_eq!(names(&["many.png", "many-2.jpg"]).unwrap(), ["many.png", "many-2.jpg"]);
    assert_eq!(names(&["a.jpg", "a.png/b.png"]).unwrap(), ["a.jpg", "a.png/b.png"]);
    let words = names(&["a.png", "A.PNG"]).unwrap_err().to_string();
    assert!(words.contains("\"a.png\" and \"A.PNG\" would both have a result at"), "{words}");
    assert!(keep_apart(&mut named(&["a.png", "A.PNG"]), false, files).is_ok());
    assert!(keep_apart(&mut named(&["a.png", "a.png"]), false, files).is_err());
}
