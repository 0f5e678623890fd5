//! What is saved of an object is what following it takes, and nothing else is taken for that.

use std::path::{Path, PathBuf};

use samovar_media::LazyImage;

use super::*;
use crate::engine::{Engine, Options};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens/sam2_video")
}

fn frame(index: i64) -> Frame {
    let image = LazyImage::open(golden().join(format!("shot/{}.png", 1001 + index)));
    Frame { number: index, time: None, pixels: image.pixels().unwrap() }
}

fn of(model: &Model) -> Remembering {
    Remembering::new(model, frame(0).pixels.size(), Ok).unwrap()
}

#[test]
fn a_saved_object_is_gone_on_with_and_other_bytes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(golden().join("original.pt"), folder.path().join("pytorch_model.bin")).unwrap();
    std::fs::copy(golden().join("config.json"), folder.path().join("config.json")).unwrap();
    let engine = Engine::new(Options { threads: 1, ..Options::default() }).unwrap();
    let model = engine.load(folder.path().to_str().unwrap()).unwrap();
    let mut carrier = of(&model);
    let click = Prompt::default().point(20.0, 36.0);
    carrier.step(&frame(0), &[(7, Ask::Answer(&click))]).unwrap();
    for index in 1..9 {
        carrier.step(&frame(index), &[(7, Ask::Follow)]).unwrap();
    }
    let saved = carrier.save(7).unwrap();
    let expected = carrier.step(&frame(9), &[(7, Ask::Follow)]).unwrap();

    // Another carrier has come to the same frame by another number of steps.
    let mut again = of(&model);
    again.step(&frame(8), &[]).unwrap();
    again.restore(7, &saved).unwrap();
    assert_eq!(again.save(7).unwrap(), saved);
    let found = again.step(&frame(9), &[(7, Ask::Follow)]).unwrap();
    assert_eq!(found[0].object_score, expected[0].object_score);
    let logits = |found: &[Found]| found[0].mask.logits().map(RegionLogits::to_f32);
    assert_eq!(logits(&found), logits(&expected));
    assert_eq!(again.save(7).unwrap(), carrier.save(7).unwrap());

    // A shorter past of whole frames is one; nothing else is: eight others, of which six have maps, and the one with the click.
    let accepted = (1..=saved.len()).filter(|&len| again.read(&saved[..len]).is_some()).count();
    assert_eq!(accepted, 1 + 9);
    let mut other = saved.clone();
    other[0] ^= 1;
    assert!(again.restore(7, &other).unwrap_err().to_string().contains("another kind"));
    let cut = again.restore(7, &saved[..saved.len() - 1]).unwrap_err();
    assert!(cut.to_string().contains("another kind"), "{cut}");
    assert!(matches!(again.step(&frame(9), &[(8, Ask::Follow)]), Err(Error::Usage(_))), "never shown");
}
