//! Where the hub is, where its cache is, and with whose token.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The public hub.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Where to fetch from and where to put it.
#[derive(Clone, PartialEq, Eq)]
pub struct HubOptions {
    /// Address of the hub, without a slash at the end.
    pub endpoint: String,
    /// The folder that holds `models--<organisation>--<name>`.
    pub cache_dir: PathBuf,
    /// Access token. Sent to `endpoint` only, never to where it redirects.
    pub token: Option<String>,
    /// Address of a proxy, as `http://user:password@host:port`; for a hub on this machine it is not used. What is no
    /// address counts as none.
    pub proxy: Option<String>,
    /// Hosts to which the proxy is not asked: `host`, `.domain`, `*.domain` or `*`.
    pub no_proxy: Vec<String>,
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
    /// The public hub without a token, with this folder as its cache.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: DEFAULT_ENDPOINT.to_string(),
            cache_dir: cache_dir.into(),
            token: None,
            proxy: None,
            no_proxy: Vec::new(),
            offline: false,
            refresh: false,
            retries: 5,
            retry_wait: Duration::from_millis(500),
        }
    }
}

/// The token stays out of logs, and the proxy, which may hold a password.
impl fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("endpoint", &self.endpoint)
            .field("cache_dir", &self.cache_dir)
            .field("token", &self.token.as_ref().map(|_| "(hidden)"))
            .field("proxy", &self.proxy.as_ref().map(|_| "(hidden)"))
            .field("no_proxy", &self.no_proxy)
            .field("offline", &self.offline)
            .field("refresh", &self.refresh)
            .field("retries", &self.retries)
            .field("retry_wait", &self.retry_wait)
            .finish()
    }
}

#[cfg(test)]
mod tests;
