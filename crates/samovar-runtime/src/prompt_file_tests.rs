use super::*;

#[test]
fn prompts_are_what_the_document_says() {
    let text = br#"{"prompts": [
        {"image": "a.jpg", "points": [[420, 300, 1], [80.5, 40, 0]]},
        {"box": [9, 8, 1, 2], "mask": "masks/a.png"}
    ]}"#;
    let file = PromptFile::parse(text).unwrap();
    let first = file.prompts[0].prompt(None);
    assert_eq!(first, Prompt::default().point(420.0, 300.0).without(80.5, 40.0));
    assert_eq!(file.prompts[0].image.as_deref(), Some("a.jpg"));
    let second = &file.prompts[1];
    assert_eq!(second.prompt(None), Prompt::default().within(1.0, 2.0, 9.0, 8.0));
    assert_eq!(second.mask.as_deref(), Some(std::path::Path::new("masks/a.png")));
    let again = serde_json::to_vec(&file).unwrap();
    assert_eq!(PromptFile::parse(&again).unwrap(), file);
    let marked = [&b"\xef\xbb\xbf"[..], text].concat();
    assert_eq!(PromptFile::parse(&marked).unwrap(), file, "a byte order mark is skipped");
}

#[test]
fn what_makes_no_sense_is_refused_with_its_place() {
    for (text, what) in [
        ("{", "EOF while parsing"),
        ("[]", "expected"),
        (r#"{"prompts": []}"#, "no prompts"),
        (r#"{"prompts": [{}]}"#, "prompt 1: it has neither"),
        (r#"{"prompts": [{"point": [[1, 2, 1]]}]}"#, "unknown field `point`"),
        (r#"{"prompts": [{"points": [[1, 2]]}]}"#, "invalid length 2"),
        (r#"{"prompts": [{"points": [[1, 2, 0.5]]}]}"#, "prompt 1: point 1,2 is labelled 0.5"),
        (r#"{"prompts": [{"points": [[1e999, 2, 1]]}]}"#, "number out of range"),
    ] {
        let error = PromptFile::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(what), "{text}: {error}");
    }
    let many = vec!["[1,2,1]"; MAX_POINTS + 1].join(",");
    let error = PromptFile::parse(format!(r#"{{"prompts": [{{"points": [{many}]}}]}}"#).as_bytes());
    assert!(error.unwrap_err().to_string().contains("4097 points"));
}
