//! The termination message: why a program ended, in the file that the kubelet reads afterwards.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Longest message that the kubelet takes (`pkg/kubelet/container`, `MaxContainerTerminationMessageLength`).
const MAX_LEN: usize = 4096;

/// Writes `message` into the kubelet's file. A program may have written its own reason there, which counts more.
pub(crate) fn write(path: &Path, message: &str) {
    let mut end = message.len().min(MAX_LEN);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > 0) {
        return;
    }
    // The file exists already: it is the source of a bind mount. A link in its place is not followed.
    let file = std::fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    if let Err(error) = file.and_then(|mut file| file.write_all(&message.as_bytes()[..end])) {
        log::warn!("termination message to {}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_and_do_not_replace_the_programs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        write(&path, "no file, no message");
        assert!(!path.exists());
        std::fs::write(&path, "").unwrap();
        write(&path, &"ä".repeat(3000));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ä".repeat(2048));
        write(&path, "second");
        assert_eq!(std::fs::read(&path).unwrap().len(), 4096);
    }
}
