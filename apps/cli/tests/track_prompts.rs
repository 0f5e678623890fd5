//! What `samovar track` says of prompts and locks that cannot count.

mod common;

use common::Bench;
use samovar_testkit::has_ffmpeg;
use serde_json::{Value, json};

fn write(bench: &Bench, prompts: &Value, locked: &Value) {
    let document = json!({ "prompts": prompts, "locked": locked });
    std::fs::write(bench.path("prompts.json"), document.to_string()).unwrap();
}

fn click(frame: i64, object: u32) -> Value {
    let index = (frame - 1001) as f64;
    json!({ "frame": frame, "object": object, "points": [[60.0 + 6.0 * index, 60.0 + 2.0 * index, 1]] })
}

fn track<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["track", "shot", "--prompts", "prompts.json", "--out", "masks"], more].concat()
}

#[test]
fn a_prompt_outside_the_range_is_refused_with_the_reason_unless_its_object_has_others() {
    let bench = Bench::new();
    bench.sequence(6);
    std::fs::remove_file(bench.path("shot/plate.1005.png")).unwrap();
    write(&bench, &json!([click(1002, 1)]), &json!([]));
    for (range, words) in [
        (&["--start", "1003"][..], "frame 1002 is not among those taken: it lies before --start 1003"),
        (&["--end", "1001"], "it lies behind --end 1001"),
        (&["--max-frames", "1"], "it lies behind the frames of --max-frames 1"),
        (&["--every-nth", "2"], "--every-nth 2 passes it over"),
    ] {
        bench.refused(2, words, &track(range));
        let advice = "object 1 has no prompt on any that is; name another frame, or take it in (--start";
        bench.refused(2, advice, &track(range));
        bench.refused(2, words, &track(&[range, &["--direction", "forward"]].concat()));
    }
    write(&bench, &json!([click(1005, 1)]), &json!([]));
    bench.refused(2, "there is no frame 1005: it is missing in the shot", &track(&[]));
    write(&bench, &json!([click(1009, 1)]), &json!([]));
    bench.refused(2, "there is no frame 1009: the shot goes from 1001 to 1006", &track(&[]));
    write(&bench, &json!([click(1002, 1), click(1004, 1)]), &json!([]));
    let later = bench.done(&track(&["--start", "1003"]));
    let note =
        "note: \"prompts.json\", prompt 1: frame 1002 is not among those taken: it lies before --start 1003";
    assert!(later.stderr.contains(note), "{later:?}");
    assert!(later.stderr.contains("object 1: seen in 3 of 3 frames"), "{later:?}");
}

#[test]
fn a_prompt_behind_the_end_of_a_video_is_refused() {
    if !has_ffmpeg() {
        return;
    }
    let bench = Bench::new();
    bench.clip("clip.mkv", 4);
    let track = ["track", "clip.mkv", "--point", "60,60", "--out", "masks"];
    let words = "there is no frame 9: the last frame is 3";
    bench.refused(2, words, &[&track[..], &["--frame", "9"]].concat());
    bench.refused(2, words, &[&track[..], &["--frame", "9", "--direction", "forward"]].concat());
    bench.refused(2, "there is no frame -1", &[&track[..], &["--frame", "-1"]].concat());
    bench.refused(
        2,
        "--every-nth 2 passes it over",
        &[&track[..], &["--frame", "1", "--every-nth", "2"]].concat(),
    );
}

#[test]
fn locks_say_what_they_overrule_and_where_they_cannot_hold() {
    let bench = Bench::new();
    bench.sequence(4);
    let lock = |object: u32, frames: &[i64]| json!([{ "object": object, "frames": frames }]);
    write(&bench, &json!([click(1001, 1)]), &json!([]));
    bench.done(&track(&[]));
    let before = std::fs::read(bench.path("masks/1003.png")).unwrap();
    let correction = json!({ "frame": 1003, "object": 1, "box": [10, 10, 190, 110] });
    write(&bench, &json!([click(1001, 1), correction]), &lock(1, &[1003]));
    let locked = bench.done(&track(&[]));
    let words =
        "prompt 2: object 1 is locked on frame 1003: its mask there stays, and the prompt changes nothing";
    assert!(locked.stderr.contains(words), "{locked:?}");
    assert_eq!(std::fs::read(bench.path("masks/1003.png")).unwrap(), before);
    write(&bench, &json!([click(1001, 1)]), &lock(1, &[1002]));
    let quiet = bench.done(&track(&[]));
    assert!(!quiet.stderr.contains("is locked"), "no prompt is overruled: {quiet:?}");
    write(&bench, &json!([click(1001, 1)]), &lock(2, &[1003]));
    let words = "`locked` has frames of object 2, which has no prompt; prompt it, or take its lock away";
    bench.refused(2, words, &track(&[]));
    write(&bench, &json!([click(1001, 1)]), &lock(1, &[1010]));
    bench.refused(
        2,
        "`locked` of object 1: there is no frame 1010: the shot goes from 1001 to 1004",
        &track(&[]),
    );
    write(&bench, &json!([click(1001, 1)]), &lock(1, &[1004]));
    let outside = bench.done(&track(&["--end", "1002"]));
    let words = "`locked` of object 1: frame 1004 (it lies behind --end 1002) is not among the frames taken";
    assert!(outside.stderr.contains(words), "{outside:?}");
}

#[cfg(unix)]
#[test]
fn prompts_come_through_pipes_too() {
    let bench = Bench::new();
    bench.sequence(2);
    write(&bench, &json!([click(1001, 1)]), &json!([]));
    let binary = env!("CARGO_BIN_EXE_samovar");
    let script = |script: &str| {
        let mut command = bench.command();
        let environment: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        command = std::process::Command::new("bash");
        command.current_dir(bench.path("")).envs(environment).args(["-c", script]);
        common::Run::from(command.output().unwrap())
    };
    let track = format!("{binary} track shot --out");
    let substituted = script(&format!("{track} a --prompts <(cat prompts.json)"));
    assert_eq!(substituted.code, 0, "{substituted:?}");
    let piped = script(&format!("cat prompts.json | {track} b --prompts /dev/stdin"));
    assert_eq!(piped.code, 0, "{piped:?}");
    assert!(bench.path("a/1002.png").is_file() && bench.path("b/1002.png").is_file());
    let segment = r#"{"prompts": [{"points": [[60, 60, 1]]}]}"#;
    let segmented = script(&format!(
        "echo '{segment}' | {binary} segment shot/plate.1001.png --prompts /dev/stdin --out cut.png"
    ));
    assert_eq!(segmented.code, 0, "{segmented:?}");
    bench.refused(2, "this is no file", &["track", "shot", "--prompts", "shot", "--out", "c"]);
    let endless = ["everything", "shot/plate.1001.png", "--point-grids", "/dev/zero", "--out", "e.json"];
    bench.refused(2, "there is no end of it", &endless);
}
