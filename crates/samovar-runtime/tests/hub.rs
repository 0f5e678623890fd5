//! The hub client against a real HTTP server on loopback, with every fault it has to live with.

#[path = "hub/server.rs"]
mod server;

use std::fs;
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use samovar_runtime::hub::{Hub, HubError, HubErrorKind, HubOptions, Progress};
use server::{COMMIT, FakeHub, HubFile, REPO};
use tempfile::TempDir;

const FILES: [&str; 2] = ["config.json", "weights/model.safetensors"];
const WEIGHTS: &str = FILES[1];

/// Numbers that repeat at no short distance, so that a misplaced part cannot go unnoticed.
fn weights_bytes() -> Vec<u8> {
    (0..700_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn start() -> (FakeHub, TempDir) {
    let files =
        [(FILES[0], HubFile::small(b"{\"hidden_size\": 8}")), (WEIGHTS, HubFile::large(&weights_bytes()))];
    (FakeHub::start(&files), tempfile::tempdir().unwrap())
}

fn options(server: &FakeHub, home: &TempDir) -> HubOptions {
    HubOptions {
        endpoint: server.endpoint.clone(),
        retry_wait: Duration::from_millis(1),
        ..HubOptions::new(home.path().join("hub"))
    }
}

fn pull(options: HubOptions) -> Result<PathBuf, HubError> {
    pull_files(options, &FILES)
}

fn pull_files(options: HubOptions, files: &[&str]) -> Result<PathBuf, HubError> {
    Hub::new(options).pull(REPO, "main", files, &mut |_| ControlFlow::Continue(()))
}

fn repo_folder(home: &TempDir) -> PathBuf {
    home.path().join("hub/models--tea-house--samovar-tiny")
}

fn partial_path(server: &FakeHub, home: &TempDir) -> PathBuf {
    let checksum = server.state().files[WEIGHTS].checksum();
    repo_folder(home).join("blobs").join(format!("{checksum}.incomplete"))
}

fn assert_weights(folder: &Path) {
    assert!(fs::read(folder.join(WEIGHTS)).unwrap() == weights_bytes(), "the weights differ");
}

/// Every path below a folder, sorted, links not followed.
fn listing(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path().strip_prefix(folder).unwrap().display().to_string()),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_pull_fills_the_cache_as_the_python_client_does() {
    let (server, home) = start();
    let folder = pull(options(&server, &home)).unwrap();
    assert_weights(&folder);
    assert_eq!(fs::read(folder.join(FILES[0])).unwrap(), b"{\"hidden_size\": 8}");

    let [config, weights] = FILES.map(|name| server.state().files[name].checksum());
    let mut expected = vec![
        format!("blobs/{config}"),
        format!("blobs/{weights}"),
        "refs/main".to_string(),
        format!("snapshots/{COMMIT}/config.json"),
        format!("snapshots/{COMMIT}/{WEIGHTS}"),
    ];
    expected.sort();
    assert_eq!(listing(&repo_folder(&home)), expected);
    assert_eq!(folder, repo_folder(&home).join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(repo_folder(&home).join("refs/main")).unwrap(), COMMIT);
    #[cfg(unix)]
    {
        let link = |name: &str| fs::read_link(folder.join(name)).unwrap();
        assert_eq!(link(FILES[0]), Path::new("../../blobs").join(config));
        assert_eq!(link(WEIGHTS), Path::new("../../../blobs").join(weights));
    }
}

#[test]
fn progress_runs_from_nothing_to_everything() {
    let (server, home) = start();
    let total: u64 = server.state().files.values().map(|file| file.bytes.len() as u64).sum();
    let mut seen: Vec<(String, u64, u64, u64)> = Vec::new();
    let mut on_progress = |progress: Progress<'_>| {
        assert_eq!(progress.all_total_bytes, total);
        assert!(progress.done_bytes <= progress.total_bytes);
        seen.push((progress.file.into(), progress.done_bytes, progress.total_bytes, progress.all_done_bytes));
        ControlFlow::Continue(())
    };
    Hub::new(options(&server, &home)).pull(REPO, "main", &FILES, &mut on_progress).unwrap();
    assert!(seen.iter().map(|step| step.3).is_sorted(), "{seen:?}");
    assert_eq!((seen[0].0.as_str(), seen[0].1), (FILES[0], 0));
    let last = seen.last().unwrap();
    assert_eq!((last.0.as_str(), last.1, last.3), (WEIGHTS, last.2, total));
}

#[test]
fn a_second_pull_touches_nothing() {
    let (server, home) = start();
    let first = pull(options(&server, &home)).unwrap();
    let stamps = |folder: &Path| -> Vec<_> {
        let stamp = |path: &String| fs::symlink_metadata(folder.join(path)).unwrap().modified().unwrap();
        listing(folder).iter().map(stamp).collect()
    };
    let before = stamps(home.path());
    server.take_requests();

    let second = pull(options(&server, &home)).unwrap();
    assert_eq!(first, second);
    let (hub, cdn) = server.take_requests();
    assert!(hub.is_empty() && cdn.is_empty(), "{hub:?} {cdn:?}");
    assert_eq!(stamps(home.path()), before);

    let by_commit = Hub::new(options(&server, &home)).cached(REPO, COMMIT, &FILES);
    assert_eq!(by_commit, Some(first));
}

#[test]
fn a_cut_connection_is_resumed_where_it_broke() {
    let (server, home) = start();
    server.state().cuts = vec![18, 300_000, 100_000];
    assert_weights(&pull(options(&server, &home)).unwrap());
    let (_, cdn) = server.take_requests();
    let ranges: Vec<_> = cdn.iter().map(|request| request.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=300000-"), Some("bytes=400000-")]);
}

#[test]
fn when_retries_are_spent_the_next_pull_goes_on() {
    let (server, home) = start();
    server.state().cuts = vec![18, 250_000];
    let error = pull(HubOptions { retries: 0, ..options(&server, &home) }).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::Network);
    assert!(error.to_string().contains("250000 of 700000 bytes"), "{error}");
    assert!(error.to_string().contains("goes on from there"), "{error}");
    assert_eq!(fs::metadata(partial_path(&server, &home)).unwrap().len(), 250_000);
    assert_eq!(Hub::new(options(&server, &home)).cached(REPO, "main", &FILES), None);

    server.take_requests();
    assert_weights(&pull(options(&server, &home)).unwrap());
    let (_, cdn) = server.take_requests();
    assert_eq!(cdn.len(), 1);
    assert_eq!(cdn[0].header("range"), Some("bytes=250000-"));
    assert!(!partial_path(&server, &home).exists());
}

#[test]
fn a_server_without_ranges_sends_everything_again() {
    let (server, home) = start();
    server.state().cuts = vec![18, 250_000];
    server.state().ignores_ranges = true;
    assert_weights(&pull(options(&server, &home)).unwrap());
}

#[test]
fn wrong_bytes_are_refused_and_removed() {
    let (server, home) = start();
    server.state().is_corrupt = true;
    for files in [&FILES[..1], &FILES[1..]] {
        let error = pull_files(options(&server, &home), files).unwrap_err();
        assert_eq!(error.kind(), HubErrorKind::Checksum);
        assert!(error.to_string().contains(files[0]), "{error}");
        assert_eq!(listing(&repo_folder(&home)), Vec::<String>::new());
    }
    server.state().is_corrupt = false;
    assert_weights(&pull(options(&server, &home)).unwrap());
}

#[test]
fn a_damaged_partial_does_not_survive_the_check() {
    let (server, home) = start();
    let partial = partial_path(&server, &home);
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, vec![7; 1000]).unwrap();
    assert_eq!(pull(options(&server, &home)).unwrap_err().kind(), HubErrorKind::Checksum);
    assert_weights(&pull(options(&server, &home)).unwrap());
}

#[test]
fn a_partial_longer_than_the_file_is_thrown_away() {
    let (server, home) = start();
    let partial = partial_path(&server, &home);
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, vec![7; 700_001]).unwrap();
    assert_weights(&pull(options(&server, &home)).unwrap());
}

#[test]
fn refusals_say_how_to_get_in() {
    let (server, home) = start();
    let refused = |status: u16, code: &'static str, token: Option<&str>| {
        server.state().refusals = vec![(status, code)];
        pull(HubOptions { token: token.map(str::to_string), ..options(&server, &home) }).unwrap_err()
    };
    for (status, code, token, kind, words) in [
        (401, "RepoNotFound", None, HubErrorKind::Unauthorized, &["gated or private", "`token`", REPO][..]),
        (401, "", Some("hf_old"), HubErrorKind::Unauthorized, &["refuses the token", "`token`"]),
        (
            403,
            "GatedRepo",
            Some("hf_mine"),
            HubErrorKind::Forbidden,
            &["no access", "ask for access at", REPO],
        ),
        (404, "RepoNotFound", None, HubErrorKind::NotFound, &["no such model"]),
        (404, "RevisionNotFound", None, HubErrorKind::NotFound, &["no such revision"]),
        (404, "EntryNotFound", None, HubErrorKind::NotFound, &["no such file", FILES[0]]),
        (418, "", None, HubErrorKind::Protocol, &["418", "`endpoint`"]),
    ] {
        let error = refused(status, code, token);
        assert_eq!(error.kind(), kind, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "{status} {code}: no {word:?} in: {error}");
        }
        assert!(token.is_none_or(|token| !error.to_string().contains(token)), "{error}");
        assert!(!error.to_string().contains("HF_"), "a library names options, not variables: {error}");
    }
}

#[test]
fn a_busy_server_is_asked_again() {
    let (server, home) = start();
    server.state().refusals = vec![(503, ""), (429, "")];
    assert_weights(&pull(options(&server, &home)).unwrap());

    server.state().refusals = vec![(503, ""); 9];
    let again = HubOptions { refresh: true, retries: 2, ..options(&server, &home) };
    assert_eq!(pull(again).unwrap_err().kind(), HubErrorKind::Server);
    assert_eq!(server.state().refusals.len(), 6);
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let (server, home) = start();
    server.state().token = Some("hf_secret".to_string());
    server.state().resolve_cache = true;
    pull(HubOptions { token: Some("hf_secret".to_string()), ..options(&server, &home) }).unwrap();
    let (hub, cdn) = server.take_requests();
    assert!(hub.iter().any(|request| request.path.starts_with("/api/resolve-cache/")));
    assert!(hub.iter().all(|request| request.header("authorization") == Some("Bearer hf_secret")), "{hub:?}");
    assert_eq!(cdn.len(), 1);
    assert_eq!(cdn[0].header("authorization"), None);
}

#[test]
fn a_cancelled_pull_is_resumed() {
    let (server, home) = start();
    let mut stop_halfway = |progress: Progress<'_>| match progress.done_bytes >= 300_000 {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let hub = Hub::new(options(&server, &home));
    let error = hub.pull(REPO, "main", &FILES, &mut stop_halfway).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::Cancelled);
    let kept = fs::metadata(partial_path(&server, &home)).unwrap().len();
    assert!((300_000..700_000).contains(&kept), "{kept}");

    server.take_requests();
    assert_weights(&pull(options(&server, &home)).unwrap());
    let (_, cdn) = server.take_requests();
    assert_eq!(cdn[0].header("range"), Some(format!("bytes={kept}-").as_str()));
}

#[test]
fn offline_uses_the_cache_and_says_so_when_it_cannot() {
    let (server, home) = start();
    let offline = || HubOptions { offline: true, ..options(&server, &home) };
    let error = pull(offline()).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::Offline);
    assert!(error.to_string().contains("`offline`"), "{error}");
    assert!(server.take_requests().0.is_empty());

    let folder = pull(options(&server, &home)).unwrap();
    server.take_requests();
    assert_eq!(pull(HubOptions { refresh: true, ..offline() }).unwrap(), folder);
    assert!(server.take_requests().0.is_empty());
}

#[test]
fn nobody_there_is_a_network_error() {
    let home = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = HubOptions {
        endpoint: format!("http://127.0.0.1:{port}"),
        ..HubOptions::new(home.path().join("hub"))
    };
    let error = pull(options).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::Network);
    assert!(error.to_string().contains(&format!("127.0.0.1:{port} did not answer")), "{error}");
}

#[test]
fn refresh_follows_a_branch_and_keeps_what_did_not_change() {
    let (server, home) = start();
    let old = pull(options(&server, &home)).unwrap();
    let moved = "f".repeat(40);
    server.state().commit.clone_from(&moved);
    server.state().files.insert(FILES[0].to_string(), HubFile::small(b"{}"));
    server.take_requests();

    assert_eq!(pull(options(&server, &home)).unwrap(), old);
    let new = pull(HubOptions { refresh: true, ..options(&server, &home) }).unwrap();
    assert_eq!(new.file_name().unwrap().to_str(), Some(moved.as_str()));
    assert_eq!(fs::read(new.join(FILES[0])).unwrap(), b"{}");
    assert_weights(&new);
    assert_weights(&old);
    assert!(server.take_requests().1.is_empty(), "the weights were fetched again");
    assert_eq!(fs::read_to_string(repo_folder(&home).join("refs/main")).unwrap(), moved);
}

#[test]
fn a_missing_file_is_fetched_beside_the_others() {
    let (server, home) = start();
    pull_files(options(&server, &home), &FILES[..1]).unwrap();
    let hub = Hub::new(options(&server, &home));
    assert!(hub.cached(REPO, "main", &FILES[..1]).is_some());
    assert!(hub.cached(REPO, "main", &FILES).is_none());
    assert_weights(&pull(options(&server, &home)).unwrap());
}

#[test]
fn one_pull_is_one_commit() {
    let (server, home) = start();
    pull(options(&server, &home)).unwrap();
    let (hub, _) = server.take_requests();
    let pinned = format!("/{REPO}/resolve/{COMMIT}/");
    assert!(hub[0].path.starts_with(&format!("/{REPO}/resolve/main/")));
    assert!(hub[1..].iter().all(|request| request.path.starts_with(&pinned)), "{hub:?}");
}

#[test]
fn a_server_cannot_write_outside_the_cache() {
    let (server, home) = start();
    for (commit, etag) in [("../../../../outside", None), (COMMIT, Some("../../../../outside"))] {
        server.state().commit = commit.to_string();
        server.state().claimed_etag = etag.map(str::to_string);
        let error = pull(options(&server, &home)).unwrap_err();
        assert_eq!(error.kind(), HubErrorKind::Protocol, "{error}");
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn more_bytes_than_announced_are_refused() {
    let (server, home) = start();
    server.state().claimed_size = Some(1000);
    let error = pull_files(options(&server, &home), &[WEIGHTS]).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::Protocol, "{error}");
    assert!(!partial_path(&server, &home).exists());
}

#[test]
fn names_that_are_no_names_reach_neither_disk_nor_network() {
    let (server, home) = start();
    let hub = Hub::new(options(&server, &home));
    for (repo, revision, file) in [
        ("../../etc", "main", "a"),
        ("a/b/c", "main", "a"),
        ("", "main", "a"),
        (REPO, "../main", "a"),
        (REPO, "", "a"),
        (REPO, "main", "../../a"),
        (REPO, "main", "/etc/passwd"),
        (REPO, "main", "a//b"),
        (REPO, "main", "..\\a"),
    ] {
        let error = hub.pull(repo, revision, &[file], &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert_eq!(error.kind(), HubErrorKind::InvalidName, "{repo:?} {revision:?} {file:?}: {error}");
    }
    assert!(server.take_requests().0.is_empty());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn two_pulls_at_once_fetch_once() {
    let (server, home) = start();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_weights(&pull(options(&server, &home)).unwrap()));
        }
    });
    assert_eq!(server.take_requests().1.len(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_as_such() {
    let (server, home) = start();
    let partial = partial_path(&server, &home);
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &partial).unwrap();
    let error = pull(options(&server, &home)).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::DiskFull, "{error}");
    assert!(error.to_string().contains("`cache_dir`"), "{error}");
}

const OPTIONAL: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];

fn pull_with_optional(options: HubOptions) -> Result<PathBuf, HubError> {
    Hub::new(options).pull_with_optional(REPO, "main", &FILES, &OPTIONAL, &mut |_| ControlFlow::Continue(()))
}

/// A repository that says how its pixels are prepared was pulled without the file that says so.
#[test]
fn optional_files_come_along_and_absent_ones_are_asked_for_once() {
    let (server, home) = start();
    server.state().files.insert(OPTIONAL[0].to_string(), HubFile::small(b"{\"resample\": 2}"));
    let folder = pull_with_optional(options(&server, &home)).unwrap();
    assert_weights(&folder);
    assert_eq!(fs::read(folder.join(OPTIONAL[0])).unwrap(), b"{\"resample\": 2}");
    assert!(!folder.join(OPTIONAL[1]).exists());
    let marker = repo_folder(&home).join(".no_exist").join(COMMIT).join(OPTIONAL[1]);
    assert_eq!(fs::read(marker).unwrap(), b"");

    let asked = server.state().hub_requests.len();
    assert_eq!(pull_with_optional(options(&server, &home)).unwrap(), folder);
    assert_eq!(server.state().hub_requests.len(), asked, "nothing is left to ask");
}

#[test]
fn a_cache_from_before_optional_files_is_completed() {
    let (server, home) = start();
    server.state().files.insert(OPTIONAL[1].to_string(), HubFile::small(b"{}"));
    let folder = pull(options(&server, &home)).unwrap();
    assert!(!folder.join(OPTIONAL[1]).exists());
    let offline = HubOptions { offline: true, ..options(&server, &home) };
    assert_eq!(pull_with_optional(offline).unwrap(), folder, "without a network, what is needed suffices");
    assert_eq!(pull_with_optional(options(&server, &home)).unwrap(), folder);
    assert!(folder.join(OPTIONAL[1]).is_file());
}

/// Only a hub that says "no such file" may leave an optional file out.
#[test]
fn a_failing_server_is_not_taken_for_an_absent_file() {
    let (server, home) = start();
    pull(options(&server, &home)).unwrap();
    for (status, code) in [(403, "GatedRepo"), (404, "RepoNotFound"), (404, "RevisionNotFound"), (404, "")] {
        server.state().refused_file = Some((OPTIONAL[0], status, code));
        assert!(pull_with_optional(options(&server, &home)).is_err(), "{status} {code}");
    }
}
