//! `samovar models pull` against a real HTTP server on loopback.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use common::Bench;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Serves `config.json` and `model.safetensors` of the tiny golden model as the hub does, at any repository's name.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            thread::spawn(move || answer(stream));
        }
    });
    format!("http://{address}")
}

fn answer(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut first, mut range) = (String::new(), None);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end();
            if first.is_empty() {
                first = line.to_owned();
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                range = value.trim_end_matches('-').parse::<usize>().ok();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let name = path.rsplit('/').next().unwrap_or("");
        let golden =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens/sam1").join(name);
        let Ok(body) = std::fs::read(golden) else {
            let _ = stream.write_all(
                b"HTTP/1.1 404 Not Found\r\nX-Error-Code: EntryNotFound\r\nContent-Length: 0\r\n\r\n",
            );
            continue;
        };
        let etag = git_blob_sha1(&body);
        let start = range.unwrap_or(0).min(body.len());
        let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{}\r\nAccept-Ranges: bytes\r\n\
             ETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\n\r\n",
            body.len() - start,
            body.len() - 1,
            body.len()
        );
        let _ = stream.write_all(head.as_bytes());
        if method == "GET" {
            let _ = stream.write_all(&body[start..]);
        }
    }
}

/// What the hub calls a small file: sha1 of `blob <length>\0<contents>`.
fn git_blob_sha1(body: &[u8]) -> String {
    use sha1::{Digest, Sha1};
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", body.len()));
    hash.update(body);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn pulled_models_are_found_by_name() {
    let bench = Bench::new();
    let endpoint = serve();
    bench.picture("photo.png", 60, 40, &[(30.0, 20.0, 9.0)]);
    let run = |arguments: &[&str]| {
        common::Run::from(bench.command().env("HF_ENDPOINT", &endpoint).args(arguments).output().unwrap())
    };
    let pulled = run(&["models", "pull", "facebook/sam-vit-base"]);
    assert_eq!(pulled.code, 0, "{pulled:?}");
    let snapshot = format!("hf/hub/models--facebook--sam-vit-base/snapshots/{COMMIT}/model.safetensors");
    assert!(bench.path(&snapshot).is_file(), "the layout of Hugging Face's own tools");
    let listed = run(&["models"]);
    assert!(listed.stdout.lines().any(|line| line.contains("sam-vit-base") && line.contains("here")));
    let used = run(&[
        "segment",
        "photo.png",
        "--point",
        "30,20",
        "--model",
        "facebook/sam-vit-base",
        "--out",
        "cut.png",
    ]);
    assert_eq!(used.code, 0, "{used:?}");
    let missing = run(&["models", "pull", "facebook/sam-vit-base", "--revision", "main/../../x"]);
    assert_ne!(missing.code, 0);

    // A repository that is in no catalogue, and another revision of one.
    let point = ["segment", "photo.png", "--point", "30,20", "--overwrite", "--out", "cut.png", "--model"];
    let unfetched = run(&[&point[..], &["somebody/else@v2"]].concat());
    assert!(
        unfetched.code == 2 && unfetched.stderr.contains("models pull somebody/else@v2"),
        "{unfetched:?}"
    );
    for (pull, model) in [
        (&["somebody/else"][..], "somebody/else"),
        (&["somebody/else", "--revision", "v2"], "somebody/else@v2"),
        (&["facebook/sam-vit-base@v3"], "facebook/sam-vit-base@v3"),
    ] {
        let pulled = run(&[&["models", "pull"], pull].concat());
        assert!(pulled.code == 0 && pulled.stderr.contains(&format!("--model {model}")), "{pulled:?}");
        let used = run(&[&point[..], &[model]].concat());
        assert_eq!(used.code, 0, "{used:?}");
    }
    let refused = common::Run::from(
        bench
            .command()
            .env("HF_ENDPOINT", "http://127.0.0.1:1")
            .args(["models", "pull", "a/b"])
            .output()
            .unwrap(),
    );
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("a/b") && refused.stderr.contains("(set by HTTPS_PROXY, HF_ENDPOINT)"),
        "{refused:?}"
    );
}

/// A server that takes the connection and says nothing does not keep anybody from stopping.
#[cfg(unix)]
#[test]
fn a_silent_server_can_be_left() {
    use std::process::Stdio;
    use std::time::{Duration, Instant};
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let child = bench
        .command()
        .env("HF_ENDPOINT", endpoint)
        .args(["models", "pull", "a/b"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _held = listener.accept().unwrap();
    // Longer than the program is patient.
    thread::sleep(Duration::from_secs(5));
    let asked = Instant::now();
    assert!(
        std::process::Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let ended = common::Run::from(child.wait_with_output().unwrap());
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!(ended.code, 1);
    assert!(
        ended.stderr.contains("waiting for the server") && ended.stderr.contains("fetched is kept"),
        "{ended:?}"
    );
    assert!(!ended.stderr.contains("image at hand"), "{ended:?}");
}
