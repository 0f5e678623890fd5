use clap::CommandFactory;

use super::*;

fn parsed(text: &str) -> Result<Preset> {
    Preset::parse("my.toml", text)
}

fn refusal(text: &str) -> String {
    let error = parsed(text).unwrap_err();
    assert!(crate::failure::is_usage(&error));
    error.to_string()
}

#[test]
fn defaults_are_values_of_their_settings() {
    for setting in SETTINGS {
        assert_eq!(setting.kind.check(setting.default).as_deref(), Ok(setting.default), "{}", setting.key);
        assert_eq!(setting.default == AUTO, !setting.auto_means.is_empty(), "{}", setting.key);
        assert_eq!(Setting::find(setting.key).unwrap().variable, setting.variable, "a key is twice there");
    }
    let limit = Settings::of(None, Vec::new()).unwrap().pixels("max_pixels").unwrap();
    assert_eq!(samovar::DecodeLimits::of_pixels(limit), samovar::DecodeLimits::default());
}

/// A preset says of everything in it what it is, and everything in it is a setting.
#[test]
fn presets_have_a_comment_above_each_key_and_no_other_keys() {
    for preset in BUILT_IN {
        let read = Preset::parse(preset.name, preset.text).unwrap();
        assert!(!read.values.is_empty() && preset.purpose().len() > 10, "{}", preset.name);
        let lines: Vec<&str> = preset.text.lines().collect();
        let keys = lines.iter().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        assert_eq!(keys, read.values.len(), "{}", preset.name);
        for (setting, _, line) in &read.values {
            let (own, above) = (lines[line - 1], lines[line - 2]);
            assert!(own.starts_with(setting.key), "{}:{line}: {own}", preset.name);
            assert!(above.starts_with("# ") && above.len() > 10, "{}:{line}: {above}", preset.name);
        }
    }
}

#[test]
fn docs_have_a_row_for_each_setting_and_preset() {
    let docs = include_str!("../../../../docs/presets.md");
    let rows = SETTINGS.iter().map(|setting| {
        let flag = setting.flag.map(|flag| format!("`--{flag}`")).unwrap_or_default();
        let (key, meaning, variable) = (setting.key, setting.meaning, setting.variable);
        let (expected, default) = (setting.kind.expected(), setting.default_in_words());
        format!("| `{key}` | {meaning} | {expected} | {default} | `{variable}` | {flag} |")
    });
    let presets = BUILT_IN.iter().map(|preset| format!("| `{}` | {} |", preset.name, preset.purpose()));
    for row in rows.chain(presets) {
        assert!(docs.lines().any(|line| line == row), "docs/presets.md lacks the row\n{row}");
    }
}

#[test]
fn flags_of_settings_are_flags_of_commands() {
    let command = crate::Cli::command();
    let everything = command.find_subcommand("everything").unwrap();
    for flag in SETTINGS.iter().filter_map(|setting| setting.flag) {
        assert!(everything.get_arguments().any(|argument| argument.get_long() == Some(flag)), "--{flag}");
    }
}

#[test]
fn flags_go_before_variables_and_variables_before_presets() {
    let preset = parsed("# of mine\nthreads = 3\nmemory = \"1GB\"\ncache = \"on\"\n").unwrap();
    let variable = |key: &str, text: &str| (Setting::find(key).unwrap(), text.to_owned());
    let variables = vec![variable("threads", " 5 "), variable("memory", "2GB")];
    let settings = Settings::of(Some(&preset), variables).unwrap().with_flag("memory", Some("3GB"));
    let settings = settings.with_flag("threads", None::<usize>);
    assert_eq!((settings.count("threads"), settings.bytes("memory")), (Some(5), Some(3_000_000_000)));
    let source = |key: &str| settings.value(key).source.clone();
    assert_eq!(source("threads"), Source::Variable("SAMOVAR_THREADS"));
    assert_eq!(source("memory"), Source::Flag("memory"));
    assert_eq!(source("cache"), Source::Preset { file: "my.toml".into(), line: 4 });
    assert_eq!(source("dtype"), Source::Default);
}

#[test]
fn values_that_mean_nothing_are_refused_with_their_place() {
    for (text, words) in [
        ("\nthread = 3\n", "my.toml:2: no setting is called `thread`; did you mean `threads`?"),
        ("SAMOVAR-THREADS = 3", "did you mean `threads`?"),
        ("zebra = 3", "no setting is called `zebra`; settings are `device`, `threads`"),
        ("threads = 4000", "my.toml:1: threads is `4000`; expected a number from 1 to 1024, or auto"),
        ("threads = -1", "threads is `-1`; expected"),
        ("images_at_once = 0", "images_at_once is `0`; expected a number from 1 to 1024, or auto"),
        ("memory = true", "memory is `true`; expected bytes"),
        ("\n\nmemory = [\n1]", "my.toml:3: memory is no value of it; expected bytes"),
        (
            "device = \"cuda\"",
            "device is `cuda`; expected auto, cpu, vulkan, metal or dx12, or one of several as vulkan:1",
        ),
        ("threads = 1\nthreads = 2", "my.toml:2: duplicate key"),
        ("threads = 1\n= 2", "my.toml:2: "),
        ("[cache]\non = true", "my.toml:1: cache is no value of it"),
    ] {
        assert!(refusal(text).contains(words), "{text:?}: {}", refusal(text));
    }
    let threads = Setting::find("threads").unwrap();
    let error = Settings::of(None, vec![(threads, "many".to_owned())]).unwrap_err().to_string();
    assert_eq!(error, "SAMOVAR_THREADS is `many`; expected a number from 1 to 1024, or auto");
}

/// `config show` took them, and commands named fields of Rust.
#[test]
fn levels_of_memory_out_of_order_are_refused_with_their_places() {
    let preset = |text: &str| parsed(text).unwrap();
    let both = preset("memory_pressure = 0.95\nmemory_warning = 0.5\n");
    let error = Settings::of(Some(&both), Vec::new()).unwrap_err();
    assert!(crate::failure::is_usage(&error));
    let words = "my.toml:1: memory_pressure is `0.95`, and memory_warning is `0.5` (my.toml:2); expected memory_pressure";
    assert!(error.to_string().starts_with(words), "{error}");
    let critical = vec![(Setting::find("memory_critical").unwrap(), "0.5".to_owned())];
    let error = Settings::of(None, critical).unwrap_err().to_string();
    let words = "SAMOVAR_MEMORY_CRITICAL: memory_critical is `0.5`, and memory_warning is `0.85` (default); ";
    assert!(error.starts_with(words), "{error}");
    let equal = preset("memory_pressure = 1.0\nmemory_warning = 1.0\nmemory_critical = 1.0\n");
    assert!(Settings::of(Some(&equal), Vec::new()).is_ok());
}

#[test]
fn values_may_be_written_as_toml_has_them() {
    let preset = parsed("threads = 1_0\nmax_pixels = 300_000\nmemory = 2000000000\nsimd = 'scalar'\n");
    let texts: Vec<_> = preset.unwrap().values.into_iter().map(|(_, text, _)| text).collect();
    assert_eq!(texts, ["10", "300000", "2000000000", "scalar"]);
}

#[test]
fn presets_of_other_names_are_refused_with_a_suggestion() {
    let error = Preset::read("gpu-24g").unwrap_err().to_string();
    assert!(error.contains("did you mean gpu-24gb?"), "{error}");
    assert!(Preset::read("nothing.toml").unwrap_err().to_string().contains("there is no such file"));
}

/// What is read from users must not panic, whatever it is.
#[test]
fn broken_presets_are_errors() {
    let text = BUILT_IN[0].text;
    for at in (0..text.len()).filter(|&at| text.is_char_boundary(at)) {
        let _ = parsed(&text[..at]);
        let _ = parsed(&format!("{}]{}", &text[..at], &text[at..]));
    }
    assert!(parsed(&"[".repeat(100_000)).is_err());
    assert!(parsed(&format!("memory = {}", "[".repeat(100_000))).is_err());
}
