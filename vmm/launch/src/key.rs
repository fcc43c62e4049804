//! Names of compiled programs in the cache.

use std::fmt;

use mote_abi::cpu::Features;
use sha2::{Digest, Sha256};

/// A SHA-256 digest.
pub(crate) type Sha = [u8; 32];

/// What a compiled program depends on, as one digest: the Wasm file, the CPU features, the format of code files, and
/// the compiler. The compiler counts by the digest of its executable, which holds Wasmtime's version and every
/// setting, so that a new compiler never meets the code of an old one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(Sha);

impl Key {
    pub(crate) fn new(source: &Sha, features: Features, compiler: &Sha) -> Key {
        let mut hash = Sha256::new();
        hash.update(b"mote code file\0");
        hash.update(mote_abi::VERSION.to_le_bytes());
        hash.update(features.0.to_le_bytes());
        hash.update(compiler);
        hash.update(source);
        Key(hash.finalize().into())
    }

    /// A number below 256 that is the same for the same key.
    pub(crate) fn stripe(&self) -> u8 {
        self.0[0]
    }

    pub(crate) fn file_name(&self) -> String {
        format!("{self}{SUFFIX}")
    }
}

/// End of the names of code files.
pub(crate) const SUFFIX: &str = ".mote";

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// `bytes` as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The digest that `text` spells.
pub(crate) fn from_hex(text: &str) -> Option<Sha> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counts() {
        let key = Key::new(&[1; 32], Features(1), &[2; 32]);
        assert_eq!(key, Key::new(&[1; 32], Features(1), &[2; 32]));
        assert_ne!(key, Key::new(&[3; 32], Features(1), &[2; 32]));
        assert_ne!(key, Key::new(&[1; 32], Features(3), &[2; 32]));
        assert_ne!(key, Key::new(&[1; 32], Features(1), &[1; 32]));
        assert_eq!(from_hex(&key.to_string()), Some(key.0));
        assert_eq!(from_hex("zz"), None);
    }
}
