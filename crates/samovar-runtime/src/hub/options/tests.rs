use super::*;

fn options(vars: &[(&str, &str)]) -> HubOptions {
    HubOptions::from_vars(|name| {
        vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    })
}

#[test]
fn hf_home_holds_cache_and_token_file() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("token"), "hf_from_file\n").unwrap();
    let found = options(&[("HF_HOME", home.path().to_str().unwrap())]);
    assert_eq!(found.cache_dir, home.path().join("hub"));
    assert_eq!(found.token.as_deref(), Some("hf_from_file"));
    assert_eq!(found.endpoint, "https://huggingface.co");
    assert!(!found.offline);
}

#[test]
fn the_environment_wins_over_files_and_defaults() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("token"), "hf_from_file").unwrap();
    let found = options(&[
        ("HF_HOME", home.path().to_str().unwrap()),
        ("HF_HUB_CACHE", "/elsewhere"),
        ("HF_TOKEN", " hf_from_env "),
        ("HF_ENDPOINT", "https://mirror.example/hf/"),
        ("HF_HUB_OFFLINE", "True"),
    ]);
    assert_eq!(found.cache_dir, PathBuf::from("/elsewhere"));
    assert_eq!(found.token.as_deref(), Some("hf_from_env"));
    assert_eq!(found.endpoint, "https://mirror.example/hf");
    assert!(found.offline);
}

#[test]
fn no_implicit_token_when_it_is_switched_off() {
    let found = options(&[("HF_TOKEN", "hf_secret"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]);
    assert_eq!(found.token, None);
}

#[test]
fn empty_variables_count_as_unset() {
    let found =
        options(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", ""), ("HF_ENDPOINT", ""), ("HF_HUB_OFFLINE", "")]);
    assert_eq!(found.cache_dir, PathBuf::from("/h/hub"));
    assert_eq!(found.endpoint, "https://huggingface.co");
    assert!(!found.offline);
}

#[test]
fn the_token_stays_out_of_debug_output() {
    let found = options(&[("HF_HOME", "/h"), ("HF_TOKEN", "hf_secret")]);
    assert!(!format!("{found:?}").contains("hf_secret"));
}
