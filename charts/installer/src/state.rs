//! What was done to the node, so that it can be undone: a file below the prefix. It is read as if anybody had written it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::distribution::{Place, Target};
use crate::error::Error;
use crate::host::{Host, is_plain};
use crate::release;
use crate::runtime::DROP_IN_MARK;

/// The form of the file.
const VERSION: u32 = 1;
/// Most bytes of it; it has some hundred.
const LIMIT: u64 = 64 << 10;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    version: u32,
    pub(crate) target: Target,
    /// The release that was last put in use, or was about to be.
    pub(crate) release: String,
    /// Folders that were made, the outermost first.
    pub(crate) made: Vec<PathBuf>,
    /// The configuration was changed and containerd has not been seen to work with it yet.
    pub(crate) restart_due: bool,
    pub(crate) cache: PathBuf,
}

impl State {
    pub(crate) fn new(target: Target, release: &str, cache: &Path) -> State {
        State {
            version: VERSION,
            target,
            release: release.into(),
            made: Vec::new(),
            restart_due: false,
            cache: cache.into(),
        }
    }

    pub(crate) fn path(prefix: &Path) -> PathBuf {
        prefix.join("install.json")
    }

    /// What is recorded; `None` if nothing was installed.
    pub(crate) fn load(host: &Host, prefix: &Path) -> Result<Option<State>, Error> {
        let path = State::path(prefix);
        let Some(bytes) = host.read_bytes(&path, LIMIT)? else {
            return Ok(None);
        };
        let wrong = |reason: String| Error::State {
            path: path.clone(),
            reason,
        };
        let state: State = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
        state.check().map_err(wrong)?;
        Ok(Some(state))
    }

    pub(crate) fn save(&self, host: &Host, prefix: &Path) -> Result<(), Error> {
        let path = State::path(prefix);
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|e| Error::State {
            path: path.clone(),
            reason: e.to_string(),
        })?;
        bytes.push(b'\n');
        host.write(&path, &bytes, 0o600)
    }

    /// Notes folders as made by us, each once.
    pub(crate) fn note_made(&mut self, made: Vec<PathBuf>) {
        for dir in made {
            if !self.made.contains(&dir) {
                self.made.push(dir);
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!("its version is {}, not {VERSION}", self.version));
        }
        if !release::is_id(&self.release) {
            return Err(format!("{:?} names no release", self.release));
        }
        let mut paths: Vec<&Path> = self.made.iter().map(PathBuf::as_path).collect();
        paths.push(&self.cache);
        paths.extend(self.target.place.files());
        if let Place::Block { head, .. } = &self.target.place
            && !head.is_empty()
            && !head.starts_with(DROP_IN_MARK)
        {
            return Err("the start of a file is not one of ours".into());
        }
        match paths.iter().find(|path| !is_plain(path)) {
            Some(path) => Err(format!("{path:?} is not an absolute path without '..'")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::{Distribution, Schema};

    fn state() -> State {
        let place = Place::DropIn {
            file: "/etc/containerd/conf.d/mote.toml".into(),
            main: Some("/etc/containerd/config.toml".into()),
        };
        let target = Target {
            distribution: Distribution::Containerd,
            schema: Schema::V3,
            place,
        };
        State::new(target, "0123456789abcdef", Path::new("/var/lib/mote"))
    }

    fn load(text: &[u8]) -> Result<Option<State>, Error> {
        let tree = tempfile::tempdir().unwrap();
        let host = Host::new(tree.path()).unwrap();
        host.write(&State::path(Path::new("/")), text, 0o600).unwrap();
        State::load(&host, Path::new("/"))
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let tree = tempfile::tempdir().unwrap();
        let host = Host::new(tree.path()).unwrap();
        assert_eq!(State::load(&host, Path::new("/")).unwrap(), None);
        let mut state = state();
        state.note_made(vec!["/opt".into(), "/opt/mote".into()]);
        state.note_made(vec!["/opt/mote".into()]);
        state.save(&host, Path::new("/")).unwrap();
        assert_eq!(State::load(&host, Path::new("/")).unwrap(), Some(state));
    }

    #[test]
    fn what_anybody_could_have_written_is_refused() {
        let good = serde_json::to_string(&state()).unwrap();
        assert!(load(good.as_bytes()).is_ok());
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("0123456789abcdef", "../../../etc/abcd"),
            ("/var/lib/mote", "/var/lib/../../etc"),
            ("/var/lib/mote", "var/lib/mote"),
            ("/etc/containerd/conf.d/mote.toml", "/etc/../etc/passwd"),
            ("\"made\":[]", "\"made\":[\"..\"]"),
            ("\"made\":[]", "\"made\":[],\"more\":1"),
            ("drop-in", "other"),
            ("\"v3\"", "\"v9\""),
        ] {
            assert!(good.contains(from), "{from}");
            assert!(load(good.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
        }
        assert!(load(b"").is_err());
        assert!(load(&vec![b' '; 1 << 17]).is_err());
        assert!(load(&[&[b'['; 1 << 15][..], good.as_bytes()].concat()).is_err());
    }
}
