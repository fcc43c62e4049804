//! The host's root certificates.

use std::{ffi::OsString, fs, io, path::PathBuf};

use crate::error::LaunchError;

/// Where distributions keep the bundle: Debian, Fedora, openSUSE, Alpine, RHEL 7 and later.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

/// Largest bundle in bytes; a distribution's has a quarter of a million.
const BUNDLE_MAX: u64 = 8 << 20;

/// The host's root certificates as PEM, from the file that `SSL_CERT_FILE` names or from where distributions keep
/// them. Empty if there are none, and then no server is trusted.
///
/// # Errors
/// If a file is there and cannot be read, or if the one that is named is not.
pub fn roots() -> Result<String, LaunchError> {
    bundle(std::env::var_os("SSL_CERT_FILE"), &BUNDLES)
}

fn bundle(named: Option<OsString>, usual: &[&str]) -> Result<String, LaunchError> {
    let named = named.filter(|name| !name.is_empty()).map(PathBuf::from);
    let may_be_missing = named.is_none();
    let paths = named.map_or_else(|| usual.iter().map(PathBuf::from).collect(), |path| vec![path]);
    for path in paths {
        let read = fs::metadata(&path).and_then(|meta| {
            if meta.len() > BUNDLE_MAX {
                return Err(io::Error::other(format!("it has more than {BUNDLE_MAX} bytes")));
            }
            fs::read(&path)
        });
        match read {
            // What is not UTF-8 is text about certificates, not the certificates.
            Ok(bytes) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(e) if may_be_missing && e.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(LaunchError::Roots { path, cause }),
        }
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_named_has_to_be_there() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "roots").unwrap();
        let usual = file.path().to_str().unwrap();
        assert_eq!(bundle(None, &["/does/not/exist", usual]).unwrap(), "roots");
        assert_eq!(bundle(None, &["/does/not/exist"]).unwrap(), "");
        assert_eq!(bundle(Some(usual.into()), &[]).unwrap(), "roots");
        let error = bundle(Some("/does/not/exist".into()), &[usual]).unwrap_err();
        assert!(error.to_string().contains("/does/not/exist"), "{error}");
    }
}
