//! The address of a value: a hash of all that made it.

use std::fmt;
use std::str::FromStr;

/// A BLAKE3 hash of everything that a value depends on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The hash of some content itself.
    pub fn of_content(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// 64 hexadecimal digits in lower case, as written by `Display`.
impl FromStr for Key {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.as_bytes();
        let is_hex = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != 64 || !digits.iter().all(is_hex) {
            return Err(());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| ())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ())?;
        }
        Ok(Self(bytes))
    }
}

/// What a value was made of, to find it again when that changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// The image.
    pub image: Option<Key>,
    /// The model.
    pub model: Option<Key>,
}

/// Makes a [`Key`] of named parts. Names and lengths are hashed too, so parts cannot run into each other.
#[derive(Clone)]
pub struct KeyBuilder(blake3::Hasher);

impl KeyBuilder {
    /// A key for one purpose; keys of different purposes never meet. Put a version into it: a purpose whose values change
    /// their meaning needs another name.
    pub fn new(purpose: &str) -> Self {
        Self(blake3::Hasher::new_derive_key(purpose))
    }

    /// Another part.
    #[must_use]
    pub fn part(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        self.0.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        self.0.update(&(content.len() as u64).to_le_bytes()).update(content);
        self
    }

    /// The key.
    pub fn finish(self) -> Key {
        Key(*self.0.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = |parts: &[(&str, &str)]| {
            parts
                .iter()
                .fold(KeyBuilder::new("test 1"), |key, (name, content)| key.part(name, content))
                .finish()
        };
        let all = [
            key(&[]),
            key(&[("a", "bc")]),
            key(&[("ab", "c")]),
            key(&[("a", "b"), ("", "c")]),
            key(&[("a", ""), ("b", "c")]),
            KeyBuilder::new("test 2").part("a", "bc").finish(),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one));
            assert_eq!(one.to_string().parse(), Ok(*one));
        }
        for bad in ["", "0", &"A".repeat(64), &"g".repeat(64), &"é".repeat(32)] {
            assert!(bad.parse::<Key>().is_err(), "{bad}");
        }
    }
}
