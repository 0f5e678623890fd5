//! The environment, read in this file alone: every variable, what it means, and the options made of them.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use samovar::hub::{DEFAULT_ENDPOINT, HubErrorKind, HubOptions};

use crate::meant::nearest;
use crate::settings::{SETTINGS, Setting};

/// What a variable is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// Where settings come from.
    Settings,
    /// Where models come from, and where they are kept.
    Hub,
    /// Where folders lie that no other variable names.
    Folders,
}

/// How samovar's own variables begin.
const OURS: &str = "SAMOVAR_";

/// The variable that names a preset.
const PRESET: &str = "SAMOVAR_PRESET";

/// Every variable that is read beside those of the [settings](SETTINGS), with what it means. Unset and empty are the same.
const VARIABLES: &[(About, &str, &str)] = &[
    (About::Settings, PRESET, "settings by name or from a file, as --preset"),
    (
        About::Folders,
        "SAMOVAR_CACHE",
        "folder of what is kept of images, of what `samovar doctor` measured, and of which files samovar made",
    ),
    (About::Hub, "HF_ENDPOINT", "address of another server than huggingface.co"),
    (About::Hub, "HF_HOME", "folder of Hugging Face's tools [default: ~/.cache/huggingface]"),
    (About::Hub, "HF_HUB_CACHE", "folder of fetched models [default: hub in HF_HOME]"),
    (About::Hub, "HUGGINGFACE_HUB_CACHE", "the former name of HF_HUB_CACHE"),
    (About::Hub, "HF_HUB_OFFLINE", "1 for no network"),
    (About::Hub, "HF_TOKEN", "your access"),
    (About::Hub, "HUGGING_FACE_HUB_TOKEN", "the former name of HF_TOKEN"),
    (About::Hub, "HF_TOKEN_PATH", "file of the token [default: token in HF_HOME]"),
    (About::Hub, "HF_HUB_DISABLE_IMPLICIT_TOKEN", "1 for no token"),
    (About::Hub, "ALL_PROXY", "address of a proxy; or HTTPS_PROXY, or HTTP_PROXY"),
    (About::Hub, "all_proxy", ""),
    (About::Hub, "HTTPS_PROXY", ""),
    (About::Hub, "https_proxy", ""),
    (About::Hub, "HTTP_PROXY", ""),
    (About::Hub, "http_proxy", ""),
    (About::Hub, "NO_PROXY", "hosts without a proxy, separated by commas; or no_proxy"),
    (About::Hub, "no_proxy", ""),
    (About::Folders, "XDG_CACHE_HOME", "folder of all caches [default: ~/.cache]"),
    (About::Folders, "HOME", "your folder"),
    (About::Folders, "LOCALAPPDATA", "folder of all caches on Windows"),
];

/// The variables for the help of the program, one a line.
pub fn help() -> String {
    let settings = SETTINGS.iter().map(|setting| {
        let flag = setting.flag.map(|flag| format!(", as --{flag}")).unwrap_or_default();
        format!("  {:30} {}{flag}\n", setting.variable, setting.meaning)
    });
    format!("Environment:\n{}{}", settings.collect::<String>(), lines(|_| true))
}

/// The variables for the help of commands that fetch models.
pub fn hub_help() -> String {
    format!("Environment:\n{}", lines(|about| about == About::Hub))
}

fn lines(is_shown: impl Fn(About) -> bool) -> String {
    let shown = VARIABLES.iter().filter(|(about, _, meaning)| is_shown(*about) && !meaning.is_empty());
    let lines: Vec<String> = shown.map(|(_, name, meaning)| format!("  {name:30} {meaning}")).collect();
    lines.join("\n")
}

/// What is wrong with variables that have samovar's name and that nothing reads, each in a line.
pub fn unknown() -> Vec<String> {
    unknown_among(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))
}

fn unknown_among(names: impl Iterator<Item = String>) -> Vec<String> {
    let known = || VARIABLES.iter().map(|(_, name, _)| *name).chain(SETTINGS.iter().map(|one| one.variable));
    let ours = || known().filter(|name| name.starts_with(OURS));
    // Those of the tests are for the tests.
    let is_unknown = |name: &String| {
        name.starts_with(OURS) && !name.starts_with("SAMOVAR_TEST_") && ours().all(|ours| ours != name)
    };
    let mut unknown: Vec<String> = names.filter(is_unknown).collect();
    unknown.sort();
    let ends = || ours().filter_map(|name| name.strip_prefix(OURS));
    let words = |name: &String| match nearest(&name[OURS.len()..], ends()) {
        Some(near) => format!("the variable {name} means nothing to samovar; did you mean {OURS}{near}?"),
        None => {
            format!("the variable {name} means nothing to samovar; `samovar --help` lists those it reads")
        }
    };
    unknown.iter().map(words).collect()
}

/// What variables say of settings, unchecked.
pub fn settings() -> Vec<(&'static Setting, String)> {
    Environment::of_this_process().settings()
}

/// The preset that a variable names.
pub fn preset() -> Option<String> {
    Environment::of_this_process().text(PRESET)
}

/// The hub and its cache.
pub fn hub_options() -> HubOptions {
    Environment::of_this_process().hub_options()
}

/// The variables by which a user removes the cause of an error of the hub, if there are any.
pub fn behind(error: HubErrorKind) -> &'static [&'static str] {
    match error {
        HubErrorKind::Unauthorized | HubErrorKind::Forbidden => &["HF_TOKEN"],
        HubErrorKind::Network => &["HTTPS_PROXY", "HF_ENDPOINT"],
        HubErrorKind::Protocol => &["HF_ENDPOINT"],
        HubErrorKind::DiskFull | HubErrorKind::Cache => &["HF_HOME"],
        HubErrorKind::Offline => &["HF_HUB_OFFLINE"],
        _ => &[],
    }
}

/// The folder of the hub's cache.
pub fn hub_cache() -> PathBuf {
    Environment::of_this_process().hub_cache()
}

/// The folder in which samovar keeps what can be made again; `None` where no variable tells.
pub fn cache_folder() -> Option<PathBuf> {
    Environment::of_this_process().cache_folder()
}

/// Where features of images are kept; `None` where no variable tells a folder.
pub fn feature_folder() -> Option<PathBuf> {
    Some(cache_folder()?.join("features"))
}

/// Where running samovars tell of themselves; `None` where no variable tells a folder.
pub fn run_folder() -> Option<PathBuf> {
    Some(cache_folder()?.join("run"))
}

/// The value of a variable by its name.
type Lookup = dyn Fn(&str) -> Option<OsString>;

/// Variables, and the folders that the system knows.
struct Environment {
    variable: Box<Lookup>,
    home: Option<PathBuf>,
    temporary: PathBuf,
}

impl Environment {
    fn of_this_process() -> Self {
        let variable = Box::new(|name: &str| std::env::var_os(name));
        Self { variable, home: std::env::home_dir(), temporary: std::env::temp_dir() }
    }
}

impl Environment {
    fn value(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.value(name)?.into_string().ok()
    }

    fn flag(&self, name: &str) -> bool {
        let text = self.text(name).unwrap_or_default().to_lowercase();
        matches!(text.as_str(), "1" | "on" | "true" | "yes")
    }

    /// A path; `~` at its start is the user's folder.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.value(name)?);
        match (path.strip_prefix("~"), &self.home) {
            (Ok(rest), Some(home)) => Some(home.join(rest)),
            _ => Some(path),
        }
    }

    fn settings(&self) -> Vec<(&'static Setting, String)> {
        let said = |setting: &'static Setting| Some((setting, self.text(setting.variable)?));
        let said = SETTINGS.iter().filter_map(said);
        said.filter(|(_, text)| !text.trim().is_empty()).collect()
    }

    /// The folder of Hugging Face's tools.
    fn hugging_face(&self) -> PathBuf {
        self.path("HF_HOME").unwrap_or_else(|| {
            let caches = self
                .path("XDG_CACHE_HOME")
                .or_else(|| self.home.as_ref().map(|home| home.join(".cache")))
                .unwrap_or_else(|| self.temporary.clone());
            caches.join("huggingface")
        })
    }

    fn hub_cache(&self) -> PathBuf {
        self.path("HF_HUB_CACHE")
            .or_else(|| self.path("HUGGINGFACE_HUB_CACHE"))
            .unwrap_or_else(|| self.hugging_face().join("hub"))
    }

    /// The token of a variable, or of the file that `hf auth login` writes.
    fn token(&self) -> Option<String> {
        if self.flag("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            return None;
        }
        let file = || self.path("HF_TOKEN_PATH").unwrap_or_else(|| self.hugging_face().join("token"));
        let text = self.text("HF_TOKEN").or_else(|| self.text("HUGGING_FACE_HUB_TOKEN"));
        let token = text.or_else(|| fs::read_to_string(file()).ok())?;
        Some(token.trim().to_string()).filter(|token| !token.is_empty())
    }

    /// As `huggingface_hub` documents them, and curl the proxies.
    fn hub_options(&self) -> HubOptions {
        let endpoint = self.text("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_string());
        let proxies = ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
        let no_proxy = ["NO_PROXY", "no_proxy"].into_iter().find_map(|name| self.text(name));
        HubOptions {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            token: self.token(),
            proxy: proxies.into_iter().find_map(|name| self.text(name)),
            no_proxy: no_proxy.iter().flat_map(|hosts| hosts.split(',')).map(str::to_string).collect(),
            offline: self.flag("HF_HUB_OFFLINE"),
            ..HubOptions::new(self.hub_cache())
        }
    }

    fn cache_folder(&self) -> Option<PathBuf> {
        let folder = |name: &str| self.value(name).map(PathBuf::from);
        folder("SAMOVAR_CACHE").or_else(|| {
            let caches = folder("XDG_CACHE_HOME")
                .or_else(|| folder("HOME").map(|home| home.join(".cache")))
                .or_else(|| folder("LOCALAPPDATA"))?;
            Some(caches.join("samovar"))
        })
    }
}

#[cfg(test)]
mod tests;
