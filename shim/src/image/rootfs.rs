//! The program in the root file system, resolved inside of it whatever symbolic links the image has.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::describe::{START, describe};
use super::{ImageError, MAGIC, Wasm};
use crate::spec::Spec;

/// The search path of a container that sets none, as for Linux containers (containerd `pkg/oci/spec.go`).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a program is looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookup<'a> {
    /// The first argument.
    pub program: &'a str,
    path: &'a str,
    cwd: &'a str,
}

impl<'a> Lookup<'a> {
    /// The lookup that a spec asks for.
    #[must_use]
    pub(crate) fn from_spec(spec: &'a Spec) -> Lookup<'a> {
        let process = spec.process.as_ref();
        let args = process.and_then(|p| p.args.as_deref()).unwrap_or_default();
        let env = process.and_then(|p| p.env.as_deref()).unwrap_or_default();
        // Of a name that is set twice the last counts.
        let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH="));
        Lookup {
            program: args.first().map_or("", String::as_str),
            path: path.filter(|p| !p.is_empty()).unwrap_or(DEFAULT_PATH),
            cwd: process.map_or("", |p| p.cwd.as_str()),
        }
    }

    /// The paths to try, in order: the name as it is, or in the search path and the working directory.
    fn candidates(&self) -> Vec<String> {
        let in_cwd = || format!("{}/{}", self.cwd.trim_end_matches('/'), self.program);
        if self.program.starts_with('/') {
            return vec![self.program.to_owned()];
        }
        if self.program.contains('/') {
            return vec![in_cwd()];
        }
        let dirs = self.path.split(':').filter(|dir| dir.starts_with('/'));
        dirs.map(|dir| format!("{}/{}", dir.trim_end_matches('/'), self.program))
            .chain([in_cwd()])
            .collect()
    }
}

/// Opens the program; `None` if the rootfs has no such file.
///
/// # Errors
/// [`ImageError::NotWasm`] for a file of another kind, [`ImageError::Rootfs`] if it cannot be read.
pub(crate) fn find(lookup: &Lookup<'_>, rootfs: &Path) -> Result<Option<Wasm>, ImageError> {
    if lookup.program.is_empty() {
        return Ok(None);
    }
    let failed = |path: &str, source| ImageError::Rootfs {
        path: path.to_owned(),
        rootfs: rootfs.to_owned(),
        source,
    };
    let root = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_PATH)
        .open(rootfs)
        .map_err(|e| failed("/", e))?;
    for path in lookup.candidates() {
        let Some(file) = open_beneath(&root, &path).map_err(|e| failed(&path, e))? else {
            continue;
        };
        let not_wasm = |found: String| ImageError::NotWasm {
            program: path.clone(),
            found,
        };
        let kind = file.metadata().map_err(|e| failed(&path, e))?;
        if kind.is_dir() {
            return Err(not_wasm("a directory".to_owned()));
        }
        if !kind.is_file() {
            return Err(not_wasm("no regular file".to_owned()));
        }
        let mut start = [0; START];
        let read = file.read_at(&mut start, 0).map_err(|e| failed(&path, e))?;
        if !start[..read].starts_with(&MAGIC) {
            return Err(not_wasm(describe(&start[..read])));
        }
        return Ok(Some(Wasm {
            file,
            name: path,
            digest: None,
        }));
    }
    Ok(None)
}

/// Opens `path` with `root` as its root directory, symbolic links included (openat2(2), RESOLVE_IN_ROOT).
fn open_beneath(root: &File, path: &str) -> io::Result<Option<File>> {
    // Without O_NONBLOCK a FIFO in the image would hold up the shim.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    loop {
        match openat2(root, path, how) {
            Ok(fd) => return Ok(Some(fd.into())),
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            // A rename somewhere raced with a "..".
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn lookup<'a>(program: &'a str, cwd: &'a str) -> Lookup<'a> {
        Lookup {
            program,
            path: DEFAULT_PATH,
            cwd,
        }
    }

    fn image() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |p: &str| dir.path().join(p);
        std::fs::create_dir_all(at("usr/bin")).unwrap();
        std::fs::create_dir_all(at("work")).unwrap();
        std::fs::write(at("app.wasm"), b"\0asm\x01\0\0\0").unwrap();
        std::fs::write(at("usr/bin/tool.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
        std::fs::write(at("work/local.wasm"), b"\0asm\x01\0\0\0").unwrap();
        std::fs::write(at("sh"), b"\x7fELF....").unwrap();
        symlink("/app.wasm", at("absolute")).unwrap();
        symlink("../../../../../../etc/passwd", at("escape")).unwrap();
        dir
    }

    fn name(program: &str, cwd: &str) -> Option<String> {
        find(&lookup(program, cwd), image().path())
            .unwrap()
            .map(|wasm| wasm.name)
    }

    #[test]
    fn programs_are_found_as_entrypoints_are() {
        assert_eq!(name("/app.wasm", "/").as_deref(), Some("/app.wasm"));
        assert_eq!(name("tool.wasm", "/").as_deref(), Some("/usr/bin/tool.wasm"));
        assert_eq!(
            name("./local.wasm", "/work").as_deref(),
            Some("/work/./local.wasm")
        );
        assert_eq!(name("local.wasm", "/work").as_deref(), Some("/work/local.wasm"));
        assert_eq!(name("app.wasm", "").as_deref(), Some("/app.wasm"));
        assert_eq!(name("/none.wasm", "/"), None);
    }

    #[test]
    fn links_stay_inside_the_image() {
        assert_eq!(name("/absolute", "/").as_deref(), Some("/absolute"));
        assert_eq!(name("/escape", "/"), None, "it would be the host's /etc/passwd");
        assert_eq!(name("/../../../../etc/passwd", "/"), None);
    }

    #[test]
    fn other_files_are_named() {
        let message = |program| {
            find(&lookup(program, "/"), image().path())
                .unwrap_err()
                .to_string()
        };
        assert!(message("/sh").contains("ELF"), "{}", message("/sh"));
        assert!(message("/usr").contains("directory"));
        assert!(message("/sh").contains("supported are"));
    }

    #[test]
    fn a_fifo_does_not_block() {
        let dir = image();
        nix::unistd::mkfifo(
            &dir.path().join("p"),
            nix::sys::stat::Mode::from_bits_truncate(0o600),
        )
        .unwrap();
        assert!(matches!(
            find(&lookup("/p", "/"), dir.path()),
            Err(ImageError::NotWasm { .. })
        ));
    }

    #[test]
    fn the_specs_path_is_used() {
        let spec: Spec = serde_json::from_str(
            r#"{"process": {"args": ["x.wasm"], "env": ["PATH=/old", "PATH=/opt:rel"], "cwd": "/w/"}}"#,
        )
        .unwrap();
        assert_eq!(
            Lookup::from_spec(&spec).candidates(),
            ["/opt/x.wasm", "/w/x.wasm"]
        );
    }
}
