//! One file from the hub to its blob: lock, resume, check, rename.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;

use samovar_files::move_into_place;

use super::cache::RepoCache;
use super::checksum::Hasher;
use super::client::{self, Client, Target};
use super::error::{HubError, Result};
use super::progress::Reporter;
use super::remote_file::RemoteFile;
use super::waiting::{POLL_INTERVAL, pause, receive};

const CHUNK_BYTES: usize = 256 * 1024;

/// Makes sure the blob of a file is in the cache and returns its path.
pub(super) fn fetch(
    client: &Client,
    repo: &RepoCache<'_>,
    remote: &RemoteFile<'_>,
    reporter: &mut Reporter<'_, '_>,
) -> Result<PathBuf> {
    let blob = repo.blob(&remote.checksum);
    let is_here = || fs::metadata(&blob).is_ok_and(|metadata| metadata.len() == remote.size);
    if !is_here() {
        let _lock = loop {
            match repo.try_lock(&remote.checksum)? {
                Some(lock) => break lock,
                None => pause(POLL_INTERVAL, &mut || reporter.report(remote, 0))?,
            }
        };
        // Whoever held the lock may have fetched it meanwhile.
        if !is_here() {
            let mut partial = Partial::open(repo, remote, reporter)?;
            fill(client, &mut partial, reporter)?;
            partial.finish(&blob)?;
        }
    }
    reporter.report(remote, remote.size)?;
    Ok(blob)
}

/// Fetches what the partial lacks. Every byte that arrives is a reason to try once more.
fn fill(client: &Client, partial: &mut Partial<'_>, reporter: &mut Reporter<'_, '_>) -> Result<()> {
    let mut failures = 0;
    while partial.length < partial.remote.size {
        let before = partial.length;
        match stream(client, partial, reporter) {
            Ok(()) => {}
            Err(error) if error.is_transient() => {
                failures = if partial.length > before { 0 } else { failures };
                if failures >= client.retries() {
                    return Err(error);
                }
                let (remote, length) = (partial.remote, partial.length);
                pause(client.wait_before(failures), &mut || reporter.report(remote, length))?;
                failures += 1;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// One request, from where the partial ends.
fn stream(client: &Client, partial: &mut Partial<'_>, reporter: &mut Reporter<'_, '_>) -> Result<()> {
    let remote = partial.remote;
    let repo_id = partial.repo.repo_id;
    let target = Target { repo_id, revision: &remote.commit, file: remote.name };
    let start = partial.length;
    let answer = client.get(&target, start, &mut || reporter.report(remote, start))?;
    match answer.status().as_u16() {
        200 if partial.length == 0 => {}
        200 => partial.restart()?,
        206 if client::content_range(&answer) == Some((partial.length, remote.size)) => {}
        status => {
            let what = format!("asked for the bytes from {} on, got another part ({status})", partial.length);
            return Err(HubError::protocol(repo_id, remote.name, what));
        }
    }
    let mut body = answer.into_body().into_reader();
    // Read on a thread of its own, so that a silent server does not keep anybody from stopping. One chunk waits
    // while another is written.
    let (sender, chunks) = sync_channel(0);
    thread::spawn(move || {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = body.read(&mut chunk).map(|count| chunk[..count].to_vec());
            let is_last = read.as_ref().map_or(true, Vec::is_empty);
            let is_interrupted = read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted);
            if !is_interrupted && (sender.send(read).is_err() || is_last) {
                return;
            }
        }
    });
    loop {
        reporter.report(remote, partial.length)?;
        let length = partial.length;
        match receive(&chunks, &mut || reporter.report(remote, length))? {
            Some(Ok(chunk)) if !chunk.is_empty() => partial.append(&chunk)?,
            Some(Ok(_)) if partial.length == remote.size => return Ok(()),
            Some(Ok(_)) | None => {
                return Err(HubError::network(repo_id, remote.name, partial.cut("the connection ended")));
            }
            Some(Err(error)) => {
                let what = partial.cut(&format!("the connection broke ({error})"));
                return Err(HubError::network(repo_id, remote.name, what).caused_by(error));
            }
        }
    }
}

/// A download on its way: the bytes so far on disk, and their hash.
struct Partial<'a> {
    repo: &'a RepoCache<'a>,
    remote: &'a RemoteFile<'a>,
    path: PathBuf,
    file: File,
    length: u64,
    hasher: Hasher,
}

impl<'a> Partial<'a> {
    /// Opens what an earlier download left, hashing it, or starts anew.
    fn open(
        repo: &'a RepoCache<'a>,
        remote: &'a RemoteFile<'a>,
        reporter: &mut Reporter<'_, '_>,
    ) -> Result<Self> {
        let path = repo.partial(&remote.checksum);
        repo.make_parent(&path)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|error| repo.error(&path, error))?;
        let hasher = remote.checksum.hasher(remote.size);
        let mut partial = Self { repo, remote, path, file, length: 0, hasher };
        let left = partial.file.metadata().map_err(|error| partial.error(error))?.len();
        if left > remote.size {
            partial.restart()?;
            return Ok(partial);
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        while partial.length < left {
            reporter.report(remote, partial.length)?;
            let want = chunk.len().min((left - partial.length) as usize);
            partial.file.read_exact(&mut chunk[..want]).map_err(|error| partial.error(error))?;
            partial.hasher.update(&chunk[..want]);
            partial.length += want as u64;
        }
        Ok(partial)
    }

    fn restart(&mut self) -> Result<()> {
        self.hasher = self.remote.checksum.hasher(self.remote.size);
        self.length = 0;
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map(drop).map_err(|error| self.error(error))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.length + bytes.len() as u64 > self.remote.size {
            drop(fs::remove_file(&self.path));
            let what = format!("the server sends more than the {} bytes it announced", self.remote.size);
            return Err(HubError::protocol(self.repo.repo_id, self.remote.name, what));
        }
        if let Err(error) = self.file.write_all(bytes) {
            // A part of it may be on disk; cut it off, so that file and hash agree for the next try.
            drop(self.file.set_len(self.length));
            return Err(self.error(error));
        }
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Checks the whole and gives it its name.
    fn finish(self, blob: &Path) -> Result<()> {
        let found = self.hasher.clone().finish();
        if found != self.remote.checksum {
            drop(fs::remove_file(&self.path));
            let expected = self.remote.checksum.as_str();
            return Err(HubError::checksum(self.repo.repo_id, self.remote.name, expected, found.as_str()));
        }
        // On disk before it is visible: a blob that has its name is never checked again.
        move_into_place(&self.file, &self.path, blob).map_err(|error| self.error(error.into()))
    }

    fn cut(&self, what: &str) -> String {
        format!("{what} after {} of {} bytes", self.length, self.remote.size)
    }

    fn error(&self, error: io::Error) -> HubError {
        self.repo.error(&self.path, error)
    }
}
