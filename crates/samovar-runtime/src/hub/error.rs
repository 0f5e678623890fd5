//! What can go wrong with the hub: what happened, where, and what to do next.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

pub(super) type Result<T, E = HubError> = std::result::Result<T, E>;

/// The class of a [`HubError`], for code that has to decide; people read the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HubErrorKind {
    /// The name of the repository, revision or file cannot be one.
    InvalidName,
    /// 401: the hub wants a token, refuses the one it got, or hides whether the repository exists.
    Unauthorized,
    /// 403: the account of the token has no access, usually because the model's terms are not accepted yet.
    Forbidden,
    /// There is no such repository, revision or file.
    NotFound,
    /// The server could not be reached, or the connection broke.
    Network,
    /// The server answered that it cannot answer now (429, 5xx).
    Server,
    /// The answer is not one that a hub gives.
    Protocol,
    /// The file that arrived is not the file that the hub describes. The partial was removed.
    Checksum,
    /// The disk is full.
    DiskFull,
    /// Reading or writing the cache failed.
    Cache,
    /// The network is switched off and the cache does not hold the files.
    Offline,
    /// The progress callback said stop.
    Cancelled,
}

/// An error of the hub. Prints as `facebook/sam-vit-base model.safetensors: what happened; what next`, where options
/// are called as the fields of [`HubOptions`](super::HubOptions) are; who sets them from elsewhere tells from
/// [`HubError::kind`] what else to name.
#[derive(Debug)]
pub struct HubError {
    kind: HubErrorKind,
    place: String,
    what: String,
    next_step: String,
    source: Option<Box<dyn Error + Send + Sync>>,
    /// The revision is there, the file is not.
    is_absent_file: bool,
}

const RESUMES: &str = "what was downloaded is kept and the next run goes on from there";

impl HubError {
    fn new(
        kind: HubErrorKind,
        place: impl Into<String>,
        what: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            place: place.into(),
            what: what.into(),
            next_step: next_step.into(),
            source: None,
            is_absent_file: false,
        }
    }

    /// The class of the error.
    pub fn kind(&self) -> HubErrorKind {
        self.kind
    }

    pub(super) fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(super) fn invalid(place: &str, what: impl Into<String>) -> Self {
        let next_step = "name the model as on the hub, for example facebook/sam-vit-base";
        Self::new(HubErrorKind::InvalidName, place, what, next_step)
    }

    pub(super) fn offline(repo_id: &str, revision: &str, cache_dir: &Path) -> Self {
        Self::new(
            HubErrorKind::Offline,
            repo_id,
            format!(
                "revision {revision} is not complete in {}, and the network is switched off",
                cache_dir.display()
            ),
            "unset the option `offline`, or copy the cache from a machine that has it",
        )
    }

    pub(super) fn cancelled(repo_id: &str, file: &str) -> Self {
        Self::new(HubErrorKind::Cancelled, place(repo_id, file), "stopped on request", RESUMES)
    }

    pub(super) fn protocol(repo_id: &str, file: &str, what: impl Into<String>) -> Self {
        let next_step = "check that the option `endpoint` names a Hugging Face hub or a full mirror of it";
        Self::new(HubErrorKind::Protocol, place(repo_id, file), what, next_step)
    }

    pub(super) fn network(repo_id: &str, file: &str, what: impl fmt::Display) -> Self {
        let next_step = format!("check the network and the options `proxy` and `endpoint`; {RESUMES}");
        Self::new(HubErrorKind::Network, place(repo_id, file), what.to_string(), next_step)
    }

    pub(super) fn checksum(repo_id: &str, file: &str, expected: &str, found: &str) -> Self {
        Self::new(
            HubErrorKind::Checksum,
            place(repo_id, file),
            format!("the checksum should be {expected} and is {found}; the download was removed"),
            "run it again; if it happens twice, something between here and the hub changes the bytes",
        )
    }

    /// A failed operation on the cache.
    pub(super) fn cache(place: &str, path: &Path, error: io::Error) -> Self {
        let folder = path.parent().unwrap_or(path).display();
        let (kind, next_step) = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
                HubErrorKind::DiskFull,
                format!(
                    "free space there, or let `cache_dir` be on a larger disk; {RESUMES} (from {folder})"
                ),
            ),
            _ => (
                HubErrorKind::Cache,
                format!("check that {folder} is writable, or let `cache_dir` be elsewhere"),
            ),
        };
        Self::new(kind, place, format!("{}: {error}", path.display()), next_step).caused_by(error)
    }

    /// An answer that is not a success. `code` is what the hub says in `X-Error-Code`.
    pub(super) fn status(
        status: u16,
        code: &str,
        page: &str,
        had_token: bool,
        repo_id: &str,
        file: &str,
    ) -> Self {
        let place = place(repo_id, file);
        let get_access = format!(
            "ask for access at {page} with your account, make a read token at \
             https://huggingface.co/settings/tokens and give it as the option `token`"
        );
        match status {
            401 if had_token => Self::new(
                HubErrorKind::Unauthorized,
                place,
                "the hub refuses the token (401): it is invalid or expired, or there is no such model",
                format!("check the name; {get_access}"),
            ),
            401 => Self::new(
                HubErrorKind::Unauthorized,
                place,
                "the hub wants a token (401): the model is gated or private, or there is no such model",
                format!("check the name; {get_access}"),
            ),
            403 => Self::new(
                HubErrorKind::Forbidden,
                place,
                "the account of the token has no access to this model (403)",
                get_access,
            ),
            404 => {
                let what = match code {
                    "RepoNotFound" => "there is no such model (404)",
                    "RevisionNotFound" => "the model has no such revision (404)",
                    "EntryNotFound" => "the model has no such file at this revision (404)",
                    _ => "there is no such model, revision or file (404)",
                };
                let error =
                    Self::new(HubErrorKind::NotFound, place, what, format!("see what there is at {page}"));
                Self { is_absent_file: code == "EntryNotFound", ..error }
            }
            408 | 429 | 500..=599 => Self::new(
                HubErrorKind::Server,
                place,
                format!("the server answered {status}, several times"),
                format!("wait a little and run it again; {RESUMES}"),
            ),
            _ => Self::new(
                HubErrorKind::Protocol,
                place,
                format!("unexpected answer {status}"),
                "check that the option `endpoint` names a Hugging Face hub or a full mirror of it",
            ),
        }
    }

    /// Whether the hub said that the revision has no such file.
    pub(super) fn is_absent_file(&self) -> bool {
        self.is_absent_file
    }

    /// Whether the same request may succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self.kind, HubErrorKind::Network | HubErrorKind::Server)
    }
}

fn place(repo_id: &str, file: &str) -> String {
    format!("{repo_id} {file}")
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.next_step)
    }
}

impl Error for HubError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as &(dyn Error + 'static))
    }
}
