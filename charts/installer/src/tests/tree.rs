//! File trees of nodes, and their comparison.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::distribution::Distribution;
use crate::error::Error;
use crate::host::Host;
use crate::install::{Install, Installed, Step};
use crate::node::Node;
use crate::release::EXECUTABLES;
use crate::restart::{Restart, Service};
use crate::uninstall::{Uninstall, Uninstalled};

pub(super) const MAIN: &str = "/etc/containerd/config.toml";
pub(super) const DROP_IN: &str = "/etc/containerd/conf.d/mote.toml";
pub(super) const K3S: &str = "/var/lib/rancher/k3s/agent/etc/containerd";
pub(super) const RKE2: &str = "/var/lib/rancher/rke2/agent/etc/containerd";
pub(super) const MICROK8S: &str = "/var/snap/microk8s/current/args/containerd-template.toml";

/// A node with executables to install beside it.
#[derive(Debug)]
pub(super) struct Tree {
    root: TempDir,
    pub(super) bin: TempDir,
}

/// All that a tree is: paths, kinds, modes, contents.
pub(super) type Picture = BTreeMap<PathBuf, (u32, Vec<u8>)>;

impl Tree {
    /// A node with these files.
    pub(super) fn new(files: &[(&str, &str)]) -> Tree {
        let tree = Tree {
            root: tempfile::tempdir().unwrap(),
            bin: tempfile::tempdir().unwrap(),
        };
        for dir in ["opt", "var/lib", "run", "etc"] {
            fs::create_dir_all(tree.root.path().join(dir)).unwrap();
        }
        for (path, text) in files {
            tree.put(path, text);
        }
        tree.release("one");
        tree
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    pub(super) fn put(&self, path: &str, text: &str) {
        let real = self.at(path);
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        fs::write(&real, text).unwrap();
        // Not the mode of a new file, so that it shows whether it is kept.
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    }

    pub(super) fn text(&self, path: &str) -> String {
        let text = self.node().host.read(Path::new(path)).unwrap();
        text.unwrap_or_else(|| panic!("{path} is not there"))
    }

    /// Other executables to install.
    pub(super) fn release(&self, name: &str) {
        for file in EXECUTABLES {
            let bytes = [b"\x7fELF", file.as_bytes(), name.as_bytes()].concat();
            fs::write(self.bin.path().join(file), bytes).unwrap();
        }
    }

    pub(super) fn node(&self) -> Node {
        Node {
            host: Host::new(self.root.path()).unwrap(),
            prefix: "/opt/mote".into(),
            cache: "/var/lib/mote".into(),
            distribution: None,
            config: None,
        }
    }

    pub(super) fn job(&self) -> Install {
        Install {
            node: self.node(),
            from: self.bin.path().into(),
            service: service(Restart::Never),
            verify: false,
        }
    }

    pub(super) fn install(&self) -> Result<Installed, Error> {
        self.job().run()
    }

    pub(super) fn install_until(&self, step: Step) {
        self.job().run_until(step).unwrap();
    }

    pub(super) fn uninstall(&self) -> Result<Uninstalled, Error> {
        self.removal().run()
    }

    pub(super) fn removal(&self) -> Uninstall {
        Uninstall {
            node: self.node(),
            service: service(Restart::Never),
            force: false,
        }
    }

    pub(super) fn picture(&self) -> Picture {
        let mut picture = Picture::new();
        look(self.root.path(), self.root.path(), &mut picture);
        picture
    }

    /// Installs twice and uninstalls; the file that names Mote in between, and its text.
    pub(super) fn there_and_back(&self, distribution: Distribution) -> (PathBuf, String) {
        let before = self.picture();
        let first = self.install().unwrap();
        assert_eq!(first.target.distribution, distribution);
        assert!(!first.changed.is_empty());
        let installed = self.picture();
        assert_ne!(installed, before);
        let second = self.install().unwrap();
        assert!(second.same_release && second.changed.is_empty());
        assert_same(&self.picture(), &installed);
        let file = first.target.place.file().to_path_buf();
        let text = self.text(file.to_str().unwrap());
        assert!(self.uninstall().unwrap().found);
        assert_same(&self.picture(), &before);
        assert!(!self.uninstall().unwrap().found);
        assert_same(&self.picture(), &before);
        (file, text)
    }
}

pub(super) fn service(restart: Restart) -> Service {
    Service {
        distribution: Distribution::Containerd,
        restart,
        socket: None,
        patience: Duration::from_millis(200),
        handler: false,
    }
}

pub(super) fn assert_same(now: &Picture, then: &Picture) {
    let paths = |a: &Picture, b: &Picture| -> Vec<PathBuf> {
        a.iter()
            .filter(|(path, is)| b.get(*path) != Some(*is))
            .map(|(path, _)| path.clone())
            .collect()
    };
    assert!(
        now == then,
        "more or different: {:?}; less or different: {:?}",
        paths(now, then),
        paths(then, now)
    );
}

fn look(root: &Path, dir: &Path, picture: &mut Picture) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_symlink() {
            fs::read_link(&path)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes()
        } else if meta.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        picture.insert(path.strip_prefix(root).unwrap().into(), (meta.mode(), content));
        if meta.is_dir() {
            look(root, &path, picture);
        }
    }
}
