use super::*;

#[test]
fn nano_is_always_there() {
    let opened = ModelSource::resolve("nano", None).unwrap().open().unwrap();
    assert_eq!(opened.config.family(), samovar_models::Family::Nano);
}

#[test]
fn unknown_names_come_with_advice() {
    let cache = tempfile::tempdir().unwrap();
    for (name, advice) in [
        ("no-such-model", "known are nano"),
        ("./sam_vit_b.pth", "check the path"),
        ("weights.safetensors", "check the path"),
        ("mobile_sam", "mobile_sam.pt"),
        ("nobody/nothing@v2", "samovar models pull nobody/nothing@v2"),
        ("nano@v2", "known are nano"),
    ] {
        let refusal = ModelSource::resolve(name, Some(cache.path())).unwrap_err().to_string();
        assert!(refusal.contains(advice), "{name}: {refusal}");
    }
}

#[test]
fn folders_without_a_model_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = ModelSource::resolve(folder.path().to_str().unwrap(), None).unwrap();
    let refusal = source.open().err().unwrap().to_string();
    assert!(refusal.contains("no model in this folder"), "{refusal}");
    std::fs::write(folder.path().join("config.json"), "{\"model_type\": \"bert\"}").unwrap();
    assert!(source.open().is_err());
}

#[test]
fn without_a_cache_names_of_the_hub_are_refused_with_advice() {
    let refusal = ModelSource::resolve("nobody/nothing", None).unwrap_err().to_string();
    assert!(refusal.contains("Options::hub_cache"), "{refusal}");
}
