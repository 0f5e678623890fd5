//! Names as people and programs write them.

use super::*;

fn image(folder: &str, in_folder: &str) -> InputImage {
    InputImage {
        path: Path::new(folder).join(in_folder),
        in_folder: in_folder.into(),
        result_name: in_folder.to_owned(),
        frame: None,
    }
}

#[test]
fn names_mean_one_image_or_none() {
    let images = ["a.png", "sub/a.png", "sub/b.png", "x/c.png", "y/c.png", "e\u{301}.png", "B.png"]
        .map(|name| image("/no/such/frames", name));
    let mut names = ImageNames::new(&images);
    for (name, number) in [
        ("a.png", 0),
        ("./a.png", 0),
        (".//sub/../a.png", 0),
        ("sub/a.png", 1),
        ("sub\\a.png", 1),
        ("frames/sub/a.png", 1),
        ("frames\\a.png", 0),
        ("b.png", 2),
        ("y/c.png", 4),
        ("\u{e9}.png", 5),
        ("e\u{301}.png", 5),
        ("B.png", 6),
    ] {
        assert_eq!(names.meaning(name, false), Meaning::One(number), "{name}");
    }
    assert_eq!(names.meaning("c.png", false), Meaning::Several("\"x/c.png\", \"y/c.png\"".into()));
    for (name, nearly) in [
        ("A.PNG", Some("\"a.png\"")),
        ("Sub/A.png", Some("\"sub/a.png\"")),
        ("a.jpg", Some("\"a.png\"")),
        ("a", Some("\"a.png\"")),
        ("other/b.png", Some("\"sub/b.png\"")),
        ("nothing.png", None),
        ("", None),
        ("..", None),
    ] {
        assert_eq!(names.meaning(name, false), Meaning::None, "{name}");
        assert_eq!(names.nearly(name), nearly.map(str::to_owned), "{name}");
    }
}

#[test]
fn paths_are_taken_from_the_current_folder_that_of_the_prompts_or_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let frames = folder.path().join("frames");
    std::fs::create_dir_all(frames.join("sub")).unwrap();
    let images = ["a.png", "sub/a.png"].map(|name| image(frames.to_str().unwrap(), name));
    images.iter().for_each(|image| std::fs::write(&image.path, "").unwrap());
    std::fs::write(folder.path().join("other.png"), "").unwrap();
    let mut names = ImageNames::new(&images);
    names.start_beside(&folder.path().join("prompts.json"));
    let absolute = frames.join("sub/a.png");
    assert_eq!(names.meaning(absolute.to_str().unwrap(), false), Meaning::One(1));
    assert_eq!(names.meaning("frames/../frames/a.png", false), Meaning::One(0));
    assert_eq!(names.meaning("../frames/sub/a.png", false), Meaning::None);
    assert!(names.is_elsewhere("other.png") && !names.is_elsewhere("frames/none.png"));
}

/// Every name was compared with every image once.
#[test]
fn many_images_of_one_name_take_no_time() {
    let images: Vec<_> = (0..20_000).map(|n| image("/no/such", &format!("{n}/image.png"))).collect();
    let start = std::time::Instant::now();
    let mut names = ImageNames::new(&images);
    for n in 0..20_000 {
        assert_eq!(names.meaning(&format!("{n}/image.png"), false), Meaning::One(n));
        assert_eq!(names.meaning(&format!("x{n}/image.png"), false), Meaning::None);
    }
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}
