//! Where the hub is, where its cache is, and with whose token: the environment that `huggingface_hub` documents.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Where to fetch from and where to put it. [`HubOptions::from_env`] is the usual way to get one.
#[derive(Clone, PartialEq, Eq)]
pub struct HubOptions {
    /// Address of the hub, without a slash at the end.
    pub endpoint: String,
    /// The folder that holds `models--<organisation>--<name>`.
    pub cache_dir: PathBuf,
    /// Access token. Sent to `endpoint` only, never to where it redirects.
    pub token: Option<String>,
    /// Do not use the network.
    pub offline: bool,
    /// Ask the hub whether a branch has moved on even when all files are in the cache.
    pub refresh: bool,
    /// How often a broken connection or a busy server is tried again without any progress in between.
    pub retries: u32,
    /// Wait before the first of these tries; doubles with every further one.
    pub retry_wait: Duration,
}

impl HubOptions {
    /// From `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_DISABLE_IMPLICIT_TOKEN`,
    /// `HF_HUB_OFFLINE` and, as the fallback for `HF_HOME`, `XDG_CACHE_HOME`; the token file of `hf auth login` is
    /// read. Unset and empty variables are the same.
    pub fn from_env() -> Self {
        Self::from_vars(|name| env::var_os(name))
    }

    /// As [`HubOptions::from_env`], with variables from anywhere.
    pub fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        let text = |name: &str| var(name).and_then(|value| value.into_string().ok());
        let path = |name: &str| var(name).map(|value| expand_home(PathBuf::from(value)));
        let flag = |name: &str| {
            text(name)
                .is_some_and(|value| matches!(value.to_lowercase().as_str(), "1" | "on" | "true" | "yes"))
        };

        let home = path("HF_HOME").unwrap_or_else(|| {
            let caches = path("XDG_CACHE_HOME")
                .or_else(|| env::home_dir().map(|home| home.join(".cache")))
                .unwrap_or_else(env::temp_dir);
            caches.join("huggingface")
        });
        let cache_dir = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .unwrap_or_else(|| home.join("hub"));
        let token = if flag("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            None
        } else {
            text("HF_TOKEN")
                .or_else(|| text("HUGGING_FACE_HUB_TOKEN"))
                .or_else(|| {
                    fs::read_to_string(path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"))).ok()
                })
                .map(|token| token.trim().to_string())
                .filter(|token| !token.is_empty())
        };
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_string());
        Self {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            cache_dir,
            token,
            offline: flag("HF_HUB_OFFLINE"),
            refresh: false,
            retries: 5,
            retry_wait: Duration::from_millis(500),
        }
    }
}

fn expand_home(path: PathBuf) -> PathBuf {
    match (path.strip_prefix("~"), env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

/// The token stays out of logs.
impl fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("endpoint", &self.endpoint)
            .field("cache_dir", &self.cache_dir)
            .field("token", &self.token.as_ref().map(|_| "(hidden)"))
            .field("offline", &self.offline)
            .field("refresh", &self.refresh)
            .field("retries", &self.retries)
            .field("retry_wait", &self.retry_wait)
            .finish()
    }
}

#[cfg(test)]
mod tests;
