use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::*;

/// What `ask` finds where these variables alone are set.
fn with<T>(variables: &[(&str, &str)], ask: impl Fn(&Environment) -> T) -> T {
    let variables: BTreeMap<String, OsString> =
        variables.iter().map(|(name, value)| ((*name).to_string(), OsString::from(value))).collect();
    let variable = Box::new(move |name: &str| variables.get(name).cloned());
    ask(&Environment { variable, home: Some("/users/me".into()), temporary: "/tmp".into() })
}

#[test]
fn all_that_is_read_is_in_the_table_and_all_of_the_table_is_read() {
    let asked = Rc::new(RefCell::new(BTreeSet::new()));
    let list = Rc::clone(&asked);
    let variable = Box::new(move |name: &str| {
        list.borrow_mut().insert(name.to_string());
        None
    });
    let environment = Environment { variable, home: None, temporary: "/tmp".into() };
    environment.settings();
    environment.text(PRESET);
    environment.hub_options();
    environment.cache_folder();
    let settings = SETTINGS.iter().map(|setting| setting.variable);
    let names: Vec<String> =
        VARIABLES.iter().map(|(_, name, _)| *name).chain(settings).map(str::to_owned).collect();
    let table: BTreeSet<String> = names.iter().cloned().collect();
    assert_eq!(*asked.borrow(), table);
    assert_eq!(table.len(), names.len(), "a variable is twice in the tables");
}

#[test]
fn variables_that_nothing_reads_are_told() {
    let names = ["PATH", "SAMOVAR_MEMORY", "SAMOVAR_THREAD", "SAMOVAR_ZZZ", "SAMOVAR_TEST_FFMPEG", "HF_HUM"];
    let said = unknown_among(names.iter().map(|name| (*name).to_owned()));
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("SAMOVAR_THREAD means nothing") && said[0].contains("mean SAMOVAR_THREADS?"));
    assert!(said[1].contains("SAMOVAR_ZZZ") && said[1].contains("--help"), "{said:?}");
}

#[test]
fn help_names_every_variable() {
    let help = help();
    assert!(
        VARIABLES.iter().all(|(_, name, _)| help.to_uppercase().contains(&name.to_uppercase())),
        "{help}"
    );
}

#[test]
fn hf_home_holds_cache_and_token_file() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("token"), "hf_from_file\n").unwrap();
    let found = with(&[("HF_HOME", home.path().to_str().unwrap())], Environment::hub_options);
    assert_eq!(found.cache_dir, home.path().join("hub"));
    assert_eq!(found.token.as_deref(), Some("hf_from_file"));
    assert_eq!(found.endpoint, "https://huggingface.co");
    assert_eq!((found.offline, found.proxy), (false, None));
}

#[test]
fn the_environment_wins_over_files_and_defaults() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("token"), "hf_from_file").unwrap();
    let variables = [
        ("HF_HOME", home.path().to_str().unwrap()),
        ("HF_HUB_CACHE", "~/elsewhere"),
        ("HF_TOKEN", " hf_from_env "),
        ("HF_ENDPOINT", "https://mirror.example/hf/"),
        ("HF_HUB_OFFLINE", "True"),
        ("https_proxy", "http://second:1"),
        ("HTTPS_PROXY", "http://first:1"),
        ("no_proxy", "a.example,.b.example"),
    ];
    let found = with(&variables, Environment::hub_options);
    assert_eq!(found.cache_dir, PathBuf::from("/users/me/elsewhere"));
    assert_eq!(found.token.as_deref(), Some("hf_from_env"));
    assert_eq!(found.endpoint, "https://mirror.example/hf");
    assert!(found.offline);
    assert_eq!(found.proxy.as_deref(), Some("http://first:1"));
    assert_eq!(found.no_proxy, ["a.example", ".b.example"]);
}

#[test]
fn no_implicit_token_when_it_is_switched_off() {
    let variables = [("HF_TOKEN", "hf_secret"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")];
    assert_eq!(with(&variables, Environment::hub_options).token, None);
}

#[test]
fn empty_variables_count_as_unset() {
    let variables = [("HF_HOME", "/h"), ("HF_HUB_CACHE", ""), ("HF_ENDPOINT", ""), ("HF_HUB_OFFLINE", "")];
    let found = with(&variables, Environment::hub_options);
    assert_eq!(found.cache_dir, PathBuf::from("/h/hub"));
    assert_eq!(found.endpoint, "https://huggingface.co");
    assert!(!found.offline);
}

#[test]
fn caches_lie_where_the_system_keeps_them() {
    assert_eq!(with(&[], Environment::hub_cache), PathBuf::from("/users/me/.cache/huggingface/hub"));
    assert_eq!(
        with(&[("XDG_CACHE_HOME", "/x")], Environment::hub_cache),
        PathBuf::from("/x/huggingface/hub")
    );
    assert_eq!(with(&[], Environment::cache_folder), None);
    let folder = |variables: &[(&str, &str)]| with(variables, Environment::cache_folder).unwrap();
    assert_eq!(folder(&[("HOME", "/h")]), PathBuf::from("/h/.cache/samovar"));
    assert_eq!(folder(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), PathBuf::from("/x/samovar"));
    assert_eq!(folder(&[("LOCALAPPDATA", "/l")]), PathBuf::from("/l/samovar"));
    assert_eq!(folder(&[("SAMOVAR_CACHE", "/s"), ("HOME", "/h")]), PathBuf::from("/s"));
}

#[test]
fn variables_that_errors_of_the_hub_name_are_in_the_table() {
    for kind in [
        HubErrorKind::Unauthorized,
        HubErrorKind::Forbidden,
        HubErrorKind::Network,
        HubErrorKind::Protocol,
        HubErrorKind::DiskFull,
        HubErrorKind::Cache,
        HubErrorKind::Offline,
    ] {
        let named = behind(kind);
        assert!(!named.is_empty(), "{kind:?}");
        for name in named {
            assert!(VARIABLES.iter().any(|(_, known, _)| known == name), "{kind:?}: {name}");
        }
    }
    assert!(behind(HubErrorKind::Checksum).is_empty(), "no variable mends a file");
}
