//! The two checksums of the hub: sha256 of files in large-file storage, sha1 of the Git blob of small ones.

use std::fmt::Write as _;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// A checksum as the hub reports it, in lower-case hexadecimal digits. It names the blob in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checksum(String);

impl Checksum {
    /// Reads an `ETag` or `X-Linked-Etag`. `None` when it is no checksum; it must not become a file name then.
    pub(super) fn from_etag(etag: &str) -> Option<Self> {
        let digits = etag.trim().trim_start_matches("W/").trim_matches('"');
        let is_hex = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (is_hex && matches!(digits.len(), 40 | 64)).then(|| Self(digits.to_string()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// A hasher of the right kind for a file of `size` bytes.
    pub(super) fn hasher(&self, size: u64) -> Hasher {
        match self.0.len() {
            64 => Hasher::Sha256(Sha256::new()),
            _ => Hasher::GitBlob(Sha1::new_with_prefix(format!("blob {size}\0"))),
        }
    }
}

/// Takes a file's bytes in order.
#[derive(Clone)]
pub(super) enum Hasher {
    Sha256(Sha256),
    GitBlob(Sha1),
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitBlob(hasher) => hasher.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Checksum {
        let digest = match self {
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
            Self::GitBlob(hasher) => hasher.finalize().to_vec(),
        };
        let mut digits = String::with_capacity(2 * digest.len());
        for byte in digest {
            let _ = write!(digits, "{byte:02x}");
        }
        Checksum(digits)
    }
}

#[cfg(test)]
mod tests;
