//! Names as programs and people write them, and as nobody does.

use proptest::prelude::*;

use super::*;

fn pattern(name: &str) -> Option<Pattern> {
    Pattern::parse(OsStr::new(name)).unwrap()
}

fn number(pattern_name: &str, name: &str) -> Option<FrameNumber> {
    pattern(pattern_name).unwrap().number(OsStr::new(name))
}

fn listed(names: &[&str]) -> Result<Listed> {
    frames_of(names.iter().map(OsString::from).collect())
}

fn numbers(names: &[&str]) -> Vec<FrameNumber> {
    listed(names).unwrap().frames.into_iter().map(|frame| frame.0).collect()
}

#[test]
fn a_number_is_padded_as_its_pattern_says() {
    for padded in ["shot.####.png", "shot.%04d.png"] {
        assert_eq!(number(padded, "shot.1001.png"), Some(1001));
        assert_eq!(number(padded, "shot.0007.png"), Some(7));
        assert_eq!(number(padded, "shot.10001.png"), Some(10001));
        for other in
            ["shot.00007.png", "shot.7.png", "shot.1001.jpg", "hot.1001.png", "shot.10x1.png", "shot..png"]
        {
            assert_eq!(number(padded, other), None, "{padded} {other}");
        }
    }
    assert_eq!(number("shot.#.png", "shot.0007.png"), Some(7));
    assert_eq!(number("shot.%d.png", "shot.12.png"), Some(12));
    assert_eq!(number("shot.%d.png", "shot.012.png"), None);
    assert_eq!(number("#", "999999999999999999"), Some(999_999_999_999_999_999));
    assert_eq!(number("#", "9999999999999999999"), None, "more digits than numbers have");
    assert_eq!(number("a####a", "a1a"), None, "before and behind do not overlap");
}

#[test]
fn what_is_no_pattern_is_told_from_what_is_an_ambiguous_one() {
    for name in
        ["shot.1001.png", "100%one.png", "100 %.png", "%s.png", "%4d.png", "%.png", "%0", "", "%099d.png"]
    {
        assert_eq!(pattern(name), None, "{name}");
    }
    let error = Pattern::parse(OsStr::new("v##.####.png")).unwrap_err();
    assert!(error.to_string().contains("several places"), "{error}");
    assert_eq!(pattern("shot.%04d.png").unwrap().to_string(), "shot.####.png");
}

#[test]
fn the_number_is_the_last_in_the_name_however_the_shot_begins() {
    assert_eq!(numbers(&["shot_v02.1003.png", "shot_v02.1001.png"]), [1001, 1003]);
    assert_eq!(numbers(&["00000.jpg", "00001.JPG"]), [0, 1]);
    assert_eq!(numbers(&["f9.png", "f10.png", "f101.png"]), [9, 10, 101]);
    assert_eq!(numbers(&["1001_matte.png", "1002_matte.png"]), [1001, 1002]);
    assert_eq!(numbers(&["shot.1001"]), [0], "the ending is no number");
}

#[test]
fn a_version_behind_the_number_is_no_number() {
    assert_eq!(numbers(&["shot_1001_v2.png", "shot_1002_v2.png"]), [1001, 1002]);
    assert!(listed(&["a1b1001c7.png", "a2b1002c9.png"]).is_err(), "by no group of digits one shot");
}

#[test]
fn names_without_numbers_are_counted() {
    let shot = listed(&["b.png", "a.png"]).unwrap();
    assert!(!shot.are_numbered);
    assert_eq!(shot.frames, [(0, "a.png".into()), (1, "b.png".into())]);
    let shot = listed(&["cover.png", "f1.png", "f2.png"]).unwrap();
    assert_eq!((shot.frames.len(), shot.left_out, shot.are_numbered), (2, 1, true));
}

#[test]
fn several_sequences_and_a_number_twice_are_refused_by_name() {
    let error = listed(&["a.1001.png", "a.1002.png", "b.1001.png"]).unwrap_err().to_string();
    assert!(error.contains("2 sequences") && error.contains("a.#.png (2), b.#.png (1)"), "{error}");
    assert!(error.contains("name one, as FOLDER/a.#.png"), "{error}");
    let error = listed(&["a.1.png", "a.01.png"]).unwrap_err().to_string();
    assert!(error.contains("\"a.01.png\" and \"a.1.png\" are both frame 1"), "{error}");
}

#[test]
fn gaps_are_named_and_of_many_the_first() {
    let frames =
        |numbers: &[FrameNumber]| numbers.iter().map(|&number| (number, OsString::new())).collect::<Vec<_>>();
    assert_eq!(gaps(&frames(&[1001, 1002])), None);
    assert_eq!(gaps(&[]), None);
    assert_eq!(
        gaps(&frames(&[1001, 1003, 1007, 1008])).unwrap(),
        "4 frames are missing between 1001 and 1008: 1002, 1004 to 1006"
    );
    assert_eq!(gaps(&frames(&[1, 3])).unwrap(), "1 frame is missing between 1 and 3: 2");
    let every_second: Vec<FrameNumber> = (0..100).map(|index| index * 2).collect();
    let text = gaps(&frames(&every_second)).unwrap();
    assert!(text.starts_with("99 frames") && text.ends_with("13, 15, ..."), "{text}");
    assert!(gaps(&frames(&[0, 999_999_999_999_999_999])).unwrap().starts_with("999999999999999998 frames"));
}

proptest! {
    #[test]
    fn whatever_the_name_there_is_an_answer(name in "[a#%d0-9.\\PC]{0,40}", other in "[a#%d0-9.\\PC]{0,40}") {
        if let Ok(Some(pattern)) = Pattern::parse(OsStr::new(&name)) {
            let _ = (pattern.number(OsStr::new(&other)), pattern.number(OsStr::new(&name)), pattern.to_string());
        }
        let _ = listed(&[&name, &other]);
    }

    #[test]
    fn a_number_written_is_the_number_read(number in 0..1_000_000_000_000i64, least in 1usize..18, before in "[a-z._]{0,5}") {
        let name = format!("{before}{number:0least$}.png");
        let pattern = pattern(&format!("{before}%0{least}d.png")).unwrap();
        prop_assert_eq!(pattern.number(OsStr::new(&name)), Some(number));
        prop_assert_eq!(numbers(&[&name]), [number]);
    }
}

#[test]
fn hostile_names_take_linear_time() {
    let long = "1a".repeat(1 << 20);
    let started = std::time::Instant::now();
    let _ = listed(&[&long, &format!("b{long}")]);
    let _ = Pattern::parse(OsStr::new(&"#a".repeat(1 << 10)));
    let _ = Pattern::parse(OsStr::new(&"%0".repeat(1 << 20)));
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}
