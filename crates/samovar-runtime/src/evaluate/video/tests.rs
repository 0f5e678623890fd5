//! J and F against davis2017-evaluation's own figures; what does not belong together is refused.

use std::fs;

use samovar_geometry::Size;
use samovar_media::LabelMap;
use samovar_media::write::{
    encode_label_png, encode_mask_png, encode_rgb_png, write_label_png, write_mask_png,
};
use serde_json::Value;
use tempfile::TempDir;

use super::*;

fn goldens() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens/measures")
}

fn measure(found: &Path, truth: &Path, all_frames: bool) -> Result<VideoEvaluation> {
    evaluate_video(found, truth, all_frames, &DecodeLimits::default(), &mut |_| ControlFlow::Continue(()))
}

fn assert_agrees(found: &VideoEvaluation, expected: &Value) {
    let of_davis = expected.as_object().unwrap();
    assert_eq!(found.objects, of_davis.len());
    for (name, expected) in of_davis {
        let (sequence, object) = name.rsplit_once('_').unwrap();
        let figures = found.sequences[sequence].objects[&object.parse().unwrap()].figures;
        for (ours, theirs) in [(figures.j, &expected["J"]), (figures.f, &expected["F"])] {
            for (index, ours) in [ours.mean, ours.recall, ours.decay].into_iter().enumerate() {
                let theirs = theirs[index].as_f64().unwrap();
                assert!((ours - theirs).abs() < 1e-12, "{name}, {index}: {ours} for {theirs}");
            }
        }
        assert_eq!(figures.j_and_f, (figures.j.mean + figures.f.mean) / 2.0);
    }
    let mean: f64 = of_davis.values().map(|object| object["J"][0].as_f64().unwrap()).sum();
    assert!(
        (found.mean.j.mean - mean / of_davis.len() as f64).abs() < 1e-12,
        "over objects, not over sequences"
    );
}

#[test]
fn j_and_f_are_those_of_the_davis_evaluation() {
    let expected: Value = serde_json::from_slice(&fs::read(goldens().join("davis.json")).unwrap()).unwrap();
    let (found, truth) = (goldens().join("found"), goldens().join("truth"));
    assert_agrees(&measure(&found, &truth, false).unwrap(), &expected["without_first_and_last"]);
    assert_agrees(&measure(&found, &truth, true).unwrap(), &expected["all_frames"]);
}

/// Label maps of the goldens, by sequence and frame.
fn maps(kind: &str) -> Vec<(String, String, LabelMap)> {
    let mut maps = Vec::new();
    for sequence in ["leaving", "two-discs"] {
        let mut files: Vec<PathBuf> = fs::read_dir(goldens().join(kind).join(sequence))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        for file in files {
            let map = samovar_media::mask::decode_labels(&fs::read(&file).unwrap(), &DecodeLimits::default())
                .unwrap();
            let frame = file.file_stem().unwrap().to_string_lossy().into_owned();
            maps.push((sequence.to_owned(), frame, map));
        }
    }
    maps
}

#[test]
fn a_folder_for_each_object_and_a_pack_of_frames_give_the_same_figures() {
    let folder = tempfile::tempdir().unwrap();
    let expected = measure(&goldens().join("found"), &goldens().join("truth"), false).unwrap();
    for (sequence, frame, map) in maps("found") {
        let last = if sequence == "leaving" { 1 } else { 2 };
        for object in 1..=last {
            let place = folder.path().join("found").join(&sequence).join(format!("{object:03}"));
            fs::create_dir_all(&place).unwrap();
            write_mask_png(&place.join(format!("{frame}.png")), &map.mask(object)).unwrap();
        }
    }
    let found = folder.path().join("found");
    let mut records = Vec::new();
    // Frames of both sequences in turns, and backwards.
    let mut truths = maps("truth");
    truths.sort_by(|a, b| b.1.cmp(&a.1));
    for (sequence, frame, map) in truths {
        let image = samovar_media::RgbImage::from_fn(map.size(), |_, _| [9; 3]);
        let number: u32 = frame.parse().unwrap();
        let header = format!(
            r#"{{"id":"{sequence}/{frame}","src":"s","seq":"{sequence}","frame":{number},"w":1,"h":1,"layers":[{{"kind":"instances"}}]}}"#
        );
        records.push(record(
            header.as_bytes(),
            &encode_rgb_png(&image).unwrap(),
            &encode_label_png(&map).unwrap(),
        ));
    }
    let pack = folder.path().join("truth.segpack");
    fs::write(&pack, [b"SEGPACK1".to_vec(), records.concat()].concat()).unwrap();
    let from_pack = measure(&found, &pack, false).unwrap();
    assert_eq!((from_pack.mean, &from_pack.sequences), (expected.mean, &expected.sequences));

    fs::remove_dir_all(found.join("two-discs/002")).unwrap();
    refused(&found, &pack, "object 2 has no such file");
}

fn record(header: &[u8], image: &[u8], labels: &[u8]) -> Vec<u8> {
    let block = |bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes(), bytes].concat();
    [block(header), block(image), vec![1], block(labels)].concat()
}

fn refused(found: &Path, truth: &Path, words: &str) {
    let error = measure(found, truth, false).unwrap_err().to_string();
    assert!(error.contains(words), "{words}: {error}");
}

/// Label maps of one row, a frame each.
fn sequence(folder: &Path, name: &str, frames: &[[u16; 6]]) {
    fs::create_dir_all(folder.join(name)).unwrap();
    for (number, labels) in frames.iter().enumerate() {
        let map = LabelMap::from_raw(Size::new(6, 1), labels.to_vec()).unwrap();
        write_label_png(&folder.join(name).join(format!("{number}.png")), &map).unwrap();
    }
}

fn folders() -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (found, truth) = (folder.path().join("found"), folder.path().join("truth"));
    (folder, found, truth)
}

#[test]
fn an_object_counts_from_the_frame_after_the_one_that_first_shows_it() {
    let (_folder, found, truth) = folders();
    let both = [1, 1, 1, 2, 2, 0];
    sequence(&truth, "late", &[[1, 1, 1, 0, 0, 0], both, both, both, both]);
    sequence(&found, "late", &[[0; 6], [1; 6], both, [1, 1, 1, 2, 2, 2], [0; 6]]);
    let measured = measure(&found, &truth, false).unwrap();
    let objects = &measured.sequences["late"].objects;
    assert_eq!((objects[&1].frames, objects[&2].frames), (3, 2));
    assert_eq!(objects[&1].figures.j.mean, (0.5 + 1.0 + 1.0) / 3.0);
    assert_eq!(objects[&2].figures.j.mean, (1.0 + 2.0 / 3.0) / 2.0);
    assert_eq!(measure(&found, &truth, true).unwrap().sequences["late"].objects[&2].frames, 5);
}

#[test]
fn frames_without_leading_zeros_are_in_order_of_their_numbers() {
    let (_folder, found, truth) = folders();
    let there = [1, 1, 1, 0, 0, 0];
    let frames: Vec<[u16; 6]> = (0..12).map(|frame| if frame < 11 { there } else { [0; 6] }).collect();
    sequence(&truth, "s", &frames);
    // Wrong in the last frame alone, which does not count; by name the last would be 9.
    let mut answers = vec![there; 12];
    answers[11] = [1; 6];
    sequence(&found, "s", &answers);
    assert_eq!(measure(&found, &truth, false).unwrap().mean.j.mean, 1.0);
}

#[test]
fn white_masks_of_one_object_are_that_object() {
    let (_folder, found, truth) = folders();
    let white = |frame: &[u16; 6]| frame.map(|label| label * 255);
    let frames = [[1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 1, 0, 0, 0]];
    sequence(&truth, "s", &frames.map(|frame| white(&frame)));
    sequence(&found, "s", &frames);
    assert_eq!(measure(&found, &truth, false).unwrap().mean.j_and_f, 1.0);
    sequence(&found, "s", &frames.map(|frame| white(&frame)));
    let measured = measure(&found, &truth, false).unwrap();
    assert_eq!((measured.mean.j.mean, measured.sequences["s"].objects[&1].frames), (1.0, 2));
    sequence(&truth, "s", &frames);
    assert_eq!(measure(&found, &truth, false).unwrap().mean.j_and_f, 1.0);
    // The only sequence may lie in the folder itself.
    assert_eq!(measure(&found.join("s"), &truth.join("s"), false).unwrap().mean.j_and_f, 1.0);
    assert_eq!(measure(&found.join("s"), &truth, false).unwrap().mean.j_and_f, 1.0);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let (_folder, found, truth) = folders();
    let frames = [[1, 1, 0, 2, 0, 0]; 4];
    sequence(&found, "b", &frames);
    refused(&found, &truth, "truth");
    sequence(&truth, "a", &frames);
    refused(&found.join("nowhere"), &truth, "nowhere");
    refused(
        &found,
        &truth,
        "no masks of the truth's sequence \"a\", which has its folder here (those there: \"b\")",
    );
    sequence(&found, "a", &frames[..2]);
    refused(&found, &truth, "2.png");
    sequence(&found, "a", &[[1, 1, 0, 3, 0, 0]; 4]);
    refused(&found, &truth, "an object 3, which the truth does not have: 1, 2");
    let other = LabelMap::from_raw(Size::new(5, 1), vec![1, 1, 0, 2, 0]).unwrap();
    sequence(&found, "a", &frames);
    write_label_png(&found.join("a/2.png"), &other).unwrap();
    refused(&found, &truth, "the mask is 5x1, the truth 6x1");
    sequence(&found, "a", &frames);
    sequence(&truth, "c", &frames);
    refused(&found.join("a"), &truth, "the truth has several");
    fs::write(truth.join("stray.png"), encode_mask_png(&BitMask::new(Size::new(6, 1))).unwrap()).unwrap();
    refused(&found, &truth, "beside folders");
    sequence(&truth, "two", &frames[..2]);
    sequence(&found, "two", &frames[..2]);
    refused(&found.join("two"), &truth.join("two"), "--all-frames");
    let pack = truth.join("pictures.segpack");
    let labels = encode_label_png(&other).unwrap();
    let header = br#"{"id":"../x","src":"s","seq":"..","frame":1,"w":5,"h":1,"layers":[{"kind":"binary"}]}"#;
    fs::write(&pack, [b"SEGPACK1".to_vec(), record(header, b"", &labels)].concat()).unwrap();
    refused(&found, &pack, "names no frame of a video");
}

#[test]
fn a_stop_keeps_the_finished_sequences() {
    let stop_after = |most: usize| {
        let mut progress = |progress: VideoProgress| match progress.frames < most {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        };
        let (found, truth) = (goldens().join("found"), goldens().join("truth"));
        evaluate_video(&found, &truth, false, &DecodeLimits::default(), &mut progress)
    };
    let partial = stop_after(9).unwrap();
    assert!(!partial.complete);
    assert_eq!(partial.sequences.keys().collect::<Vec<_>>(), ["leaving"]);
    assert!(matches!(stop_after(3), Err(Error::Stopped)));
    assert!(stop_after(19).unwrap().complete);
}

#[test]
fn quarters_of_long_sequences_are_right() {
    let values: Vec<f64> = (0..1001).map(|frame| 1.0 - f64::from(frame) / 1000.0).collect();
    let statistics = Statistics::of(&values);
    assert!((statistics.decay - 0.75).abs() < 1e-9, "{statistics:?}");
    assert!((statistics.mean - 0.5).abs() < 1e-9 && (statistics.recall - 500.0 / 1001.0).abs() < 1e-9);
    assert_eq!(Statistics::of(&[0.7]), Statistics { mean: 0.7, recall: 1.0, decay: 0.0 });
}
