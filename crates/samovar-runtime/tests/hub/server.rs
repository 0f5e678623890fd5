//! A hub on loopback: real sockets, the hub's headers and redirects, and faults on demand.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// One file of the repository.
#[derive(Debug, Clone)]
pub struct HubFile {
    pub bytes: Vec<u8>,
    /// In large-file storage: sha256, and the bytes are on the other server.
    pub is_large: bool,
}

impl HubFile {
    pub fn small(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), is_large: false }
    }

    pub fn large(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), is_large: true }
    }

    pub fn checksum(&self) -> String {
        let digest = match self.is_large {
            true => Sha256::digest(&self.bytes).to_vec(),
            false => Sha1::new_with_prefix(format!("blob {}\0", self.bytes.len()))
                .chain_update(&self.bytes)
                .finalize()
                .to_vec(),
        };
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What the server does, and what it saw. Change it between requests.
#[derive(Default)]
pub struct State {
    pub commit: String,
    pub files: BTreeMap<String, HubFile>,
    /// Requests without this token get 401.
    pub token: Option<String>,
    /// Answers for the next requests to the hub, before anything else: status and `X-Error-Code`.
    pub refusals: Vec<(u16, &'static str)>,
    /// Answer to every request for this file: status and `X-Error-Code`.
    pub refused_file: Option<(&'static str, u16, &'static str)>,
    /// For the next bodies: close the connection after so many bytes.
    pub cuts: Vec<usize>,
    /// Answer 200 with everything whatever the range.
    pub ignores_ranges: bool,
    /// Change the bytes after the checksum was taken.
    pub is_corrupt: bool,
    /// Announce this size instead of the true one.
    pub claimed_size: Option<usize>,
    /// Report this checksum instead of the true one.
    pub claimed_etag: Option<String>,
    /// Redirect small files to this folder of the same server first, as the hub does.
    pub resolve_cache: bool,
    pub hub_requests: Vec<Request>,
    pub cdn_requests: Vec<Request>,
}

/// The hub and, on a port of its own, the server its large files are on.
pub struct FakeHub {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

pub const REPO: &str = "tea-house/samovar-tiny";
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

impl FakeHub {
    pub fn start(files: &[(&str, HubFile)]) -> Self {
        let state = State {
            commit: COMMIT.to_string(),
            files: files.iter().map(|(name, file)| (name.to_string(), file.clone())).collect(),
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let cdn = serve(&state, |stream, request, state| {
            lock(state).cdn_requests.push(request.clone());
            let name = request.path.split('?').next().unwrap().trim_start_matches("/cdn/").to_string();
            send_body(stream, &request, state, &name, &[]);
        });
        let endpoint = serve(&state, move |stream, request, state| hub(stream, request, state, &cdn));
        Self { endpoint, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Forgets the requests so far and returns them: hub's, other server's.
    pub fn take_requests(&self) -> (Vec<Request>, Vec<Request>) {
        let mut state = self.state();
        (std::mem::take(&mut state.hub_requests), std::mem::take(&mut state.cdn_requests))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn serve(
    state: &Arc<Mutex<State>>,
    handle: impl Fn(&mut TcpStream, Request, &Mutex<State>) + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let state = Arc::clone(state);
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let (state, handle) = (Arc::clone(&state), Arc::clone(&handle));
            thread::spawn(move || {
                if let Some(request) = read_request(&stream) {
                    handle(&mut stream, request, &state);
                }
            });
        }
    });
    address
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_string());
    }
    Some(Request { method, path, headers })
}

fn hub(stream: &mut TcpStream, request: Request, state: &Mutex<State>, cdn: &str) {
    let mut held = lock(state);
    held.hub_requests.push(request.clone());
    if !held.refusals.is_empty() {
        let (status, code) = held.refusals.remove(0);
        return send_head(stream, status, &[("X-Error-Code", code), ("Content-Length", "0")]);
    }
    if let Some((name, status, code)) = held.refused_file
        && request.path.ends_with(name)
    {
        return send_head(stream, status, &[("X-Error-Code", code), ("Content-Length", "0")]);
    }
    if let Some(token) = &held.token
        && request.header("authorization") != Some(&format!("Bearer {token}"))
    {
        return send_head(stream, 401, &[("X-Error-Code", "GatedRepo"), ("Content-Length", "0")]);
    }
    let cached = request.path.strip_prefix("/api/resolve-cache/");
    let resolve = format!("/{REPO}/resolve/");
    let Some(name) = cached.or_else(|| Some(request.path.strip_prefix(&resolve)?.split_once('/')?.1)) else {
        return send_head(stream, 404, &[("X-Error-Code", "RepoNotFound"), ("Content-Length", "0")]);
    };
    let name = name.to_string();
    let Some(file) = held.files.get(&name) else {
        return send_head(stream, 404, &[("X-Error-Code", "EntryNotFound"), ("Content-Length", "0")]);
    };
    let etag = format!("\"{}\"", held.claimed_etag.clone().unwrap_or_else(|| file.checksum()));
    let size = held.claimed_size.unwrap_or(file.bytes.len()).to_string();
    let commit = held.commit.clone();
    if file.is_large {
        let location = format!("{cdn}/cdn/{name}?signature=secret");
        return send_head(
            stream,
            302,
            &[
                ("Location", &location),
                ("X-Repo-Commit", &commit),
                ("X-Linked-Etag", &etag),
                ("X-Linked-Size", &size),
                ("ETag", "\"of-the-redirect-itself\""),
                ("Content-Length", "0"),
            ],
        );
    }
    if held.resolve_cache && cached.is_none() {
        let location = format!("/api/resolve-cache/{name}");
        return send_head(
            stream,
            307,
            &[("Location", &location), ("X-Repo-Commit", &commit), ("Content-Length", "0")],
        );
    }
    drop(held);
    send_body(stream, &request, state, &name, &[("X-Repo-Commit", &commit), ("ETag", &etag)]);
}

fn send_body(
    stream: &mut TcpStream,
    request: &Request,
    state: &Mutex<State>,
    name: &str,
    headers: &[(&str, &str)],
) {
    let mut held = lock(state);
    let mut bytes = held.files[name].bytes.clone();
    if held.is_corrupt {
        bytes[0] ^= 1;
    }
    let total = bytes.len();
    let range = request.header("range").filter(|_| !held.ignores_ranges);
    let start: usize =
        range.map_or(0, |range| range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap());
    let is_get = request.method == "GET";
    let cut = if is_get && !held.cuts.is_empty() { Some(held.cuts.remove(0)) } else { None };
    drop(held);

    let body = &bytes[start.min(total)..];
    let length = body.len().to_string();
    let content_range = format!("bytes {start}-{}/{total}", total.saturating_sub(1));
    let mut headers = headers.to_vec();
    headers.push(("Content-Length", &length));
    if range.is_some() {
        headers.push(("Content-Range", &content_range));
    }
    send_head(stream, if range.is_some() { 206 } else { 200 }, &headers);
    if is_get {
        let _ = stream.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())]);
    }
}

fn send_head(stream: &mut TcpStream, status: u16, headers: &[(&str, &str)]) {
    let mut head = format!("HTTP/1.1 {status} Status\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let _ = stream.write_all(format!("{head}\r\n").as_bytes());
}
