//! Fetches a model's files from the Hugging Face hub into the cache that its Python tools share.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use samovar_runtime::hub::{Hub, HubOptions};
//!
//! let hub = Hub::new(HubOptions::new("/var/cache/huggingface/hub"));
//! let folder = hub.pull("facebook/sam-vit-base", "main", &["config.json", "model.safetensors"], &mut |progress| {
//!     eprintln!("{} {}/{}", progress.file, progress.done_bytes, progress.total_bytes);
//!     ControlFlow::Continue(())
//! })?;
//! # Ok::<(), samovar_runtime::hub::HubError>(())
//! ```
//!
//! One pull is one commit: the first answer fixes the commit, the other files come from it, and the ref is written
//! after the last file is in place. Every file is checked against the checksum that the hub reports (sha256 of large
//! files, the Git blob's sha1 of small ones) before it gets its name. A pull that stops for any reason leaves
//! `blobs/<checksum>.incomplete`, and the next one goes on from there.
//!
//! Why not the `hf-hub` crate: its releases from 1.0 on are asynchronous only (tokio, reqwest, a chunk store; some
//! 250 crates). The last release on `ureq`, 0.5, checks no checksum, cannot be cancelled, takes any answer to a range
//! request for the range it asked for, and reads neither `HF_TOKEN` nor `HF_HUB_CACHE`. What would be left of it is
//! the cache layout, which is one short file here (`hub/cache.rs`).

mod cache;
mod checksum;
mod client;
mod download;
mod error;
mod options;
mod progress;
mod remote_file;
mod waiting;

use std::ops::ControlFlow;
use std::path::PathBuf;

pub use error::{HubError, HubErrorKind};
pub use options::{DEFAULT_ENDPOINT, HubOptions};
pub use progress::{OnProgress, Progress};

use cache::RepoCache;
use client::Client;
use error::Result;
use progress::Reporter;
use remote_file::RemoteFile;

/// A Hugging Face hub and its cache on this machine.
#[derive(Debug)]
pub struct Hub {
    options: HubOptions,
    client: Client,
}

impl Hub {
    /// A hub with these options. Opens no connection.
    pub fn new(options: HubOptions) -> Self {
        let client = Client::new(&options);
        Self { options, client }
    }

    /// The options the hub was made with.
    pub fn options(&self) -> &HubOptions {
        &self.options
    }

    /// The snapshot folder of `repo_id` at `revision` (a branch, tag or commit) if it is in the cache and holds all
    /// `files`. Never uses the network.
    pub fn cached(&self, repo_id: &str, revision: &str, files: &[&str]) -> Option<PathBuf> {
        RepoCache::new(&self.options.cache_dir, repo_id, revision).ok()?.snapshot_with(files)
    }

    /// The snapshot folder of `repo_id` at `revision`, with all `files` in it.
    ///
    /// Files in the cache are not fetched again. When all of them are there, the hub is not even asked, unless
    /// [`HubOptions::refresh`] is set; then a branch that has moved on is followed.
    ///
    /// # Errors
    ///
    /// See [`HubErrorKind`]. Whatever went wrong, files that were complete stay, and an incomplete one is resumed by
    /// the next call, except after [`HubErrorKind::Checksum`].
    pub fn pull(
        &self,
        repo_id: &str,
        revision: &str,
        files: &[&str],
        progress: &mut OnProgress<'_>,
    ) -> Result<PathBuf> {
        self.pull_with_optional(repo_id, revision, files, &[], progress)
    }

    /// The same, with those of the `optional` files that the repository has. That it has one not is remembered in the
    /// cache, as Hugging Face's own tools do.
    ///
    /// # Errors
    ///
    /// As [`Hub::pull`].
    pub fn pull_with_optional(
        &self,
        repo_id: &str,
        revision: &str,
        files: &[&str],
        optional: &[&str],
        progress: &mut OnProgress<'_>,
    ) -> Result<PathBuf> {
        let repo = RepoCache::new(&self.options.cache_dir, repo_id, revision)?;
        for file in files.iter().chain(optional) {
            cache::check_file_name(repo_id, file)?;
        }
        if let Some(folder) = repo.snapshot_with(files) {
            let is_settled = || optional.iter().all(|file| repo.is_settled(&folder, file));
            if self.options.offline || (!self.options.refresh && is_settled()) {
                return Ok(folder);
            }
        }
        if self.options.offline {
            return Err(HubError::offline(repo_id, revision, &self.options.cache_dir));
        }

        let (remote_files, absent) = self.describe(&repo, files, optional, progress)?;
        let commit = match remote_files.first() {
            Some(first) => first.commit.as_str(),
            None => return Err(HubError::invalid(repo_id, "a pull names at least one file")),
        };
        let mut reporter = Reporter {
            callback: progress,
            repo_id,
            finished_bytes: 0,
            all_total_bytes: remote_files.iter().map(|remote| remote.size).sum(),
        };
        for remote in &remote_files {
            let blob = download::fetch(&self.client, &repo, remote, &mut reporter)?;
            repo.link(commit, remote.name, &blob)?;
            reporter.finished_bytes += remote.size;
        }
        for file in absent {
            repo.note_absent(commit, file)?;
        }
        repo.write_ref(commit)?;
        Ok(repo.snapshot(commit))
    }

    /// Asks the hub for commit, checksum and size of every file; all from the commit of the first answer. Also the
    /// `optional` files it has not.
    fn describe<'a>(
        &self,
        repo: &RepoCache<'_>,
        files: &[&'a str],
        optional: &[&'a str],
        progress: &mut OnProgress<'_>,
    ) -> Result<(Vec<RemoteFile<'a>>, Vec<&'a str>)> {
        let mut remote_files: Vec<RemoteFile<'a>> = Vec::with_capacity(files.len() + optional.len());
        let mut absent = Vec::new();
        for (index, &name) in files.iter().chain(optional).enumerate() {
            let revision = match remote_files.first() {
                Some(first) => first.commit.as_str(),
                None => repo.revision,
            };
            let mut ask = || {
                let nothing = Progress {
                    file: name,
                    done_bytes: 0,
                    total_bytes: 0,
                    all_done_bytes: 0,
                    all_total_bytes: 0,
                };
                match progress(nothing) {
                    ControlFlow::Continue(()) => Ok(()),
                    ControlFlow::Break(()) => Err(HubError::cancelled(repo.repo_id, name)),
                }
            };
            let remote = match self.client.describe(repo.repo_id, revision, name, &mut ask) {
                Err(error) if index >= files.len() && error.is_absent_file() => {
                    absent.push(name);
                    continue;
                }
                described => described?,
            };
            if cache::is_commit(revision) && remote.commit != revision {
                return Err(HubError::protocol(
                    repo.repo_id,
                    name,
                    format!("asked for commit {revision}, the server answered with {}", remote.commit),
                ));
            }
            remote_files.push(remote);
        }
        Ok((remote_files, absent))
    }
}
