//! HTTP to the hub: redirects by hand, so that headers are read where the hub puts them and the token stays with it.

use std::fmt;
use std::time::Duration;

use ureq::http::{HeaderMap, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy};

use super::cache::is_commit;
use super::checksum::Checksum;
use super::error::{HubError, HubErrorKind, Result};
use super::options::HubOptions;
use super::remote_file::RemoteFile;
use super::waiting::{Ask, aside, pause};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest silence, before the first byte of an answer or between two reads of its body.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_REDIRECTS: usize = 10;

/// What to fetch.
pub(super) struct Target<'a> {
    pub(super) repo_id: &'a str,
    pub(super) revision: &'a str,
    pub(super) file: &'a str,
}

/// A connection pool to one hub.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    retries: u32,
    retry_wait: Duration,
}

/// How far to follow redirects.
#[derive(Clone, Copy, PartialEq)]
enum Follow {
    /// Only within the hub: what it says about a file is in its own answers.
    Hub,
    /// To wherever the bytes are.
    Everywhere,
}

impl Client {
    pub(super) fn new(options: &HubOptions) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("samovar/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(SILENCE_TIMEOUT))
            .timeout_per_read(Some(SILENCE_TIMEOUT))
            .tls_config(TlsConfig::builder().root_certs(root_certs(&options.endpoint)).build());
        // Given or not: by itself the client would look into the environment.
        config = config.proxy(proxy(options).filter(|_| !is_loopback(&options.endpoint)));
        Self {
            agent: config.build().into(),
            endpoint: options.endpoint.clone(),
            token: options.token.clone(),
            retries: options.retries,
            retry_wait: options.retry_wait,
        }
    }

    /// Commit, checksum and size of a file.
    pub(super) fn describe<'a>(
        &self,
        repo_id: &str,
        revision: &str,
        file: &'a str,
        ask: &mut Ask<'_>,
    ) -> Result<RemoteFile<'a>> {
        let target = &Target { repo_id, revision, file };
        let mut described = Described::default();
        let mut attempt = 0;
        let answer = loop {
            let read = &mut |headers: &HeaderMap| described.read(headers);
            let answer = self.send("HEAD", target, 0, Follow::Hub, read, ask);
            match answer.and_then(|answer| self.check_status(answer, target)) {
                Err(error) if error.kind() == HubErrorKind::Server && attempt < self.retries => {
                    pause(self.wait_before(attempt), ask)?;
                    attempt += 1;
                }
                answer => break answer?,
            }
        };
        let missing = |what: &str| {
            HubError::protocol(repo_id, file, format!("the server does not report the file's {what}"))
        };
        let etag = described.linked_etag.or_else(|| header(answer.headers(), "etag").map(str::to_string));
        let size = described.linked_size.or_else(|| header(answer.headers(), "content-length")?.parse().ok());
        Ok(RemoteFile {
            name: file,
            commit: described.commit.filter(|commit| is_commit(commit)).ok_or_else(|| missing("commit"))?,
            checksum: etag.and_then(|etag| Checksum::from_etag(&etag)).ok_or_else(|| missing("checksum"))?,
            size: size.ok_or_else(|| missing("size"))?,
        })
    }

    /// The file's bytes from `start` on, if the server can; the status (200 or 206) says which.
    pub(super) fn get(&self, target: &Target<'_>, start: u64, ask: &mut Ask<'_>) -> Result<Response<Body>> {
        let answer = self.send("GET", target, start, Follow::Everywhere, &mut |_| (), ask)?;
        self.check_status(answer, target)
    }

    pub(super) fn retries(&self) -> u32 {
        self.retries
    }

    /// How long to wait before trying again after `attempt` failures before this one.
    pub(super) fn wait_before(&self, attempt: u32) -> Duration {
        self.retry_wait.saturating_mul(1 << attempt.min(6))
    }

    fn send(
        &self,
        method: &str,
        target: &Target<'_>,
        start: u64,
        follow: Follow,
        on_headers: &mut dyn FnMut(&HeaderMap),
        ask: &mut Ask<'_>,
    ) -> Result<Response<Body>> {
        let mut url = format!(
            "{}/{}/resolve/{}/{}",
            self.endpoint,
            target.repo_id,
            percent_encode(target.revision, ""),
            percent_encode(target.file, "/")
        );
        for _ in 0..=MAX_REDIRECTS {
            let request = if method == "HEAD" { self.agent.head(&url) } else { self.agent.get(&url) };
            let mut request = request.header("Accept-Encoding", "identity");
            if start > 0 {
                request = request.header("Range", format!("bytes={start}-"));
            }
            if let Some(token) = &self.token
                && is_same_origin(&url, &self.endpoint)
            {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let unreachable = |what: String| HubError::network(target.repo_id, target.file, what);
            let answer = aside(move || request.call(), ask)?
                .ok_or_else(|| unreachable(format!("{} did not answer", origin(&url))))?
                .map_err(|error| unreachable(reason(&url, &error)).caused_by(error))?;
            on_headers(answer.headers());
            let location = match answer.status().as_u16() {
                301 | 302 | 303 | 307 | 308 => header(answer.headers(), "location"),
                _ => None,
            };
            let Some(location) = location else { return Ok(answer) };
            let next = resolve(&url, location);
            if follow == Follow::Hub && !is_same_origin(&next, &self.endpoint) {
                return Ok(answer);
            }
            if !next.starts_with("https://") && (!next.starts_with("http://") || url.starts_with("https://"))
            {
                let what = format!("{} redirects to {next}, which is not encrypted", without_query(&url));
                return Err(HubError::protocol(target.repo_id, target.file, what));
            }
            url = next;
        }
        Err(HubError::protocol(target.repo_id, target.file, format!("more than {MAX_REDIRECTS} redirects")))
    }

    fn check_status(&self, answer: Response<Body>, target: &Target<'_>) -> Result<Response<Body>> {
        let status = answer.status();
        if status.is_success() || status.is_redirection() {
            return Ok(answer);
        }
        let code = header(answer.headers(), "x-error-code").unwrap_or_default();
        let page = format!("{}/{}", self.endpoint, target.repo_id);
        let had_token = self.token.is_some();
        Err(HubError::status(status.as_u16(), code, &page, had_token, target.repo_id, target.file))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// What the hub's answers said on the way; the first word counts, later hops may speak of themselves.
#[derive(Default)]
struct Described {
    commit: Option<String>,
    linked_etag: Option<String>,
    linked_size: Option<u64>,
}

impl Described {
    fn read(&mut self, headers: &HeaderMap) {
        let text = |name| header(headers, name).map(str::to_string);
        self.commit = self.commit.take().or_else(|| text("x-repo-commit"));
        self.linked_etag = self.linked_etag.take().or_else(|| text("x-linked-etag"));
        self.linked_size = self.linked_size.or_else(|| text("x-linked-size")?.parse().ok());
    }
}

/// Where a `206` answer starts and how long it says the whole file is: `bytes 100-199/200`.
pub(super) fn content_range(answer: &Response<Body>) -> Option<(u64, u64)> {
    let range = header(answer.headers(), "content-range")?.trim().strip_prefix("bytes")?.trim_start();
    let (span, total) = range.split_once('/')?;
    Some((span.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The machine's certificates, so that company proxies and private mirrors work; Mozilla's where it has none.
fn root_certs(endpoint: &str) -> RootCerts {
    if endpoint.starts_with("http://") {
        return RootCerts::WebPki;
    }
    let certs: Vec<Certificate<'static>> = rustls_native_certs::load_native_certs()
        .certs
        .iter()
        .map(|cert| Certificate::from_der(cert).to_owned())
        .collect();
    if certs.is_empty() { RootCerts::WebPki } else { RootCerts::new_with_certs(&certs) }
}

/// `scheme://host:port` of a URL.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    &url[..end]
}

fn is_same_origin(left: &str, right: &str) -> bool {
    origin(left).eq_ignore_ascii_case(origin(right))
}

/// The proxy of the options, with its exceptions.
fn proxy(options: &HubOptions) -> Option<Proxy> {
    let given = Proxy::new(options.proxy.as_deref()?).ok()?;
    let mut proxy = Proxy::builder(given.protocol()).host(given.host()).port(given.port());
    if let Some(name) = given.username() {
        proxy = proxy.username(name);
    }
    if let Some(password) = given.password() {
        proxy = proxy.password(password);
    }
    let hosts = options.no_proxy.iter();
    hosts.fold(proxy, |proxy, host| proxy.no_proxy(host)).build().ok()
}

fn is_loopback(endpoint: &str) -> bool {
    let authority = origin(endpoint).split("://").last().unwrap_or_default();
    let host =
        if authority.starts_with('[') { authority } else { authority.split(':').next().unwrap_or_default() };
    host == "localhost" || host.starts_with("127.") || host.starts_with("[::1]")
}

/// The URL a `Location` header means.
fn resolve(url: &str, location: &str) -> String {
    let scheme = url.split("://").next().unwrap_or("https");
    if location.split('/').next().is_some_and(|first| first.ends_with(':')) {
        location.to_string()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{}{location}", origin(url))
    } else {
        let path = without_query(url);
        format!("{}/{location}", path.rsplit_once('/').map_or(path, |(folder, _)| folder))
    }
}

/// Signed addresses carry credentials in their query; messages leave it out.
fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

fn reason(url: &str, error: &ureq::Error) -> String {
    format!("{} did not answer: {error}", origin(url))
}

fn percent_encode(text: &str, keep: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain =
            byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.as_bytes().contains(&byte);
        match plain {
            true => encoded.push(byte as char),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
