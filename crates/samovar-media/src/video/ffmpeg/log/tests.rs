//! Lines of ffmpeg 5 and 7, and of nobody.

use proptest::prelude::*;

use super::*;

const FRAME: &str = "[Parsed_showinfo_0 @ 0x55da2cafee40] [info] n:  49 pts:  25088 pts_time:1.96    pos:    17683 \
                     fmt:yuv420p sar:1/1 s:102x76 i:P iskey:0 type:P checksum:765B44C5 plane_checksum:[8707BA2F] mean:[124]";

#[test]
fn a_frame_is_announced_with_time_size_and_checksum() {
    let (size, whites) = (Size::new(102, 76), [255 << 8; 2]);
    let frame =
        Announced { number: 49, time_stamp: Some(25088), size, whites, checksum: 0x765b_44c5, is_key: false };
    assert_eq!(parse(FRAME), Some(Line::Frame(frame)));
    let newer = "[Parsed_showinfo_0 @ 0x7f] [info] n:   0 pts:-512 pts_time:-0.04 duration:    512 duration_time:0.04    fmt:gbrp \
                 cl:left sar:0/1 s:8x6 i:P iskey:1 type:I checksum:0000000A plane_checksum:[0]";
    let size = Size::new(8, 6);
    let frame = Announced { number: 0, time_stamp: Some(-512), size, whites, checksum: 10, is_key: true };
    assert_eq!(parse(newer), Some(Line::Frame(frame)));
    let whites = |format: &str| match parse(&newer.replace("fmt:gbrp ", &format!("fmt:{format} "))) {
        Some(Line::Frame(frame)) => frame.whites,
        other => panic!("{other:?}"),
    };
    let all = ["yuv422p10le", "p012le", "gbrp12le", "gray10le", "nv12"].map(whites);
    let expected = [[0xff00, 0xffc0], [0xff00, 0xfff0], [0xffff; 2], [0xffc0; 2], [0xff00; 2]];
    assert_eq!(all, expected);
    let untimed = FRAME.replace("pts:  25088 pts_time:1.96", "pts:NOPTS pts_time:NOPTS");
    assert!(matches!(parse(&untimed), Some(Line::Frame(Announced { time_stamp: None, .. }))));
}

#[test]
fn time_base_and_duration_are_read() {
    let config = "[Parsed_showinfo_0 @ 0x5] [info] config in time_base: 1/12800, frame_rate: 30000/1001";
    assert_eq!(parse(config), Some(Line::TimeBase(1.0 / 12800.0, Some(30000.0 / 1001.0))));
    let variable = "[Parsed_showinfo_0 @ 0x5] [info] config in time_base: 1/90000, frame_rate: 1/0";
    assert_eq!(parse(variable), Some(Line::TimeBase(1.0 / 90000.0, None)));
    assert_eq!(parse("[Parsed_showinfo_0 @ 0x5] [info] config out time_base: 0/0, frame_rate: 0/0"), None);
    let header = "[info]   Duration: 01:02:03.50, start: 0.000000, bitrate: 75 kb/s";
    assert_eq!(parse(header), Some(Line::Duration(3723.5)));
    assert_eq!(parse("[info]   Duration: N/A, start: 0.000000, bitrate: N/A"), None);
    for (said, meaning) in [
        ("#0:0: Video: h264 (High 10), yuv420p10le(pc, progressive), 64x48, 25 fps", Some(Line::Video(true))),
        (
            "#0:1[0x2](und): Video: prores (apcn / 0x6E), yuv422p10le(tv, bt709, progressive)",
            Some(Line::Video(false)),
        ),
        ("#0:2: Video: mjpeg (Baseline), yuvj444p(pc, bt470bg), 512x512, 90k tbn (attached pic)", None),
        ("#0:3: Audio: aac (LC), 48000 Hz", None),
    ] {
        assert_eq!(parse(&format!("[info]   Stream {said}")), meaning, "{said}");
    }
}

#[test]
fn what_is_lost_is_told_from_what_decoders_grumble_about() {
    let lost = "[error] Error while decoding stream #0:0: Invalid data found when processing input";
    let text = "Error while decoding stream #0:0: Invalid data found when processing input".to_owned();
    assert_eq!(parse(lost), Some(Line::Damage(text)));
    let lost = "[vist#0:0/h264 @ 0x55] [warning] corrupt decoded frame";
    assert_eq!(parse(lost), Some(Line::Damage("vist#0:0/h264: corrupt decoded frame".to_owned())));
    let painted = "[h264 @ 0x55] [info] concealing 12 DC, 12 AC, 12 MV errors in P frame";
    assert!(matches!(parse(painted), Some(Line::Damage(_))));
    assert_eq!(parse("[info]     title           : [error] partial file"), None, "metadata");
    let grumble = "[h264 @ 0x55] [error] mmco: unref short failure";
    assert_eq!(parse(grumble), Some(Line::Error("h264: mmco: unref short failure".to_owned())));
    assert_eq!(parse("[info] frame=   50 fps=0.0 q=-0.0 Lsize=    1136kB"), None);
}

#[test]
fn metadata_does_not_pass_for_a_frame() {
    for title in
        [format!("[info]     title           : {FRAME}"), format!("[info]                     : {FRAME}")]
    {
        assert_eq!(parse(&title), None);
    }
}

proptest! {
    #[test]
    fn whatever_the_line_there_is_an_answer(line in "\\PC{0,200}") {
        let _ = parse(&line);
    }

    #[test]
    fn whatever_is_changed_in_a_line_there_is_an_answer(at in 0usize..200, put in "\\PC{0,4}", cut in 0usize..8) {
        let mut line: Vec<char> = FRAME.chars().collect();
        let at = at.min(line.len());
        line.splice(at..(at + cut).min(line.len()), put.chars());
        let _ = parse(&line.into_iter().collect::<String>());
    }
}

#[test]
fn hostile_lines_take_linear_time() {
    let started = std::time::Instant::now();
    for unit in ["[", "[a @ b] ", "] ", " pts:", " s:1x", "n:", "[error]"] {
        let _ = parse(&unit.repeat(1 << 18));
        let _ = parse(&format!("[Parsed_showinfo_0 @ 0] n: {}", unit.repeat(1 << 18)));
    }
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}
