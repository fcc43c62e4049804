//! `mote-install` with the real containerds: what it writes is what they read, and a node that it set up runs pods.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use mote_e2e::containerd::{Containerd, Series};
use mote_e2e::images::{self, Form, Image};
use mote_e2e::pod::{Pod, Spec};
use mote_e2e::{kvm, paths, vmm};

/// A node's files, some of them.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new(config: &str) -> Tree {
        let tree = Tree(tempfile::tempdir().unwrap());
        fs::create_dir_all(tree.main().parent().unwrap()).unwrap();
        fs::write(tree.main(), config).unwrap();
        tree
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn main(&self) -> PathBuf {
        self.at("etc/containerd/config.toml")
    }

    /// Runs the installer on this machine's own root, with the places of this tree.
    fn installer(&self, verb: &str, more: &[&str]) -> Output {
        let mut command = Command::new(paths::bin("mote-install"));
        command
            .arg(verb)
            .arg("--prefix")
            .arg(self.at("opt/mote"))
            .arg("--cache")
            .arg(self.at("cache"));
        command.args(more).output().unwrap()
    }

    fn install(&self, more: &[&str]) {
        let (main, from) = (self.main(), paths::root().join("bin"));
        let mut args = vec![
            "--config",
            main.to_str().unwrap(),
            "--from",
            from.to_str().unwrap(),
        ];
        args.extend(more);
        succeeded(&self.installer("install", &args));
    }

    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        collect(self.0.path(), &mut files);
        files.sort();
        files
    }
}

fn collect(dir: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            files.push((path.clone(), Vec::new()));
            collect(&path, files);
        } else {
            let bytes = match fs::read_link(&path) {
                Ok(target) => target.into_os_string().into_encoded_bytes(),
                Err(_) => fs::read(&path).unwrap(),
            };
            files.push((path, bytes));
        }
    }
}

fn succeeded(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {out}{err}", output.status);
    out
}

fn containerd(series: Series, args: &[&str]) -> String {
    let output = Command::new(series.bin("containerd"))
        .args(args)
        .output()
        .unwrap();
    succeeded(&output)
}

/// The handler's part of `containerd config dump`.
fn handler(series: Series, main: &Path) -> String {
    let dump = containerd(series, &["--config", main.to_str().unwrap(), "config", "dump"]);
    let start = dump
        .find("containerd.runtimes.mote]")
        .unwrap_or_else(|| panic!("{series:?} does not see the handler:\n{dump}"));
    dump[start..]
        .chars()
        .take(800)
        .collect::<String>()
        .replace('\'', "\"")
}

#[test]
fn each_containerd_reads_what_is_written() {
    for series in Series::ALL {
        let default = containerd(series, &["config", "default"]);
        for config in [default.as_str(), "version = 2\n"] {
            let tree = Tree::new(config);
            let before = tree.files();
            tree.install(&["--no-verify", "--no-restart"]);
            let seen = handler(series, &tree.main());
            assert!(seen.contains("mote/*"), "{series:?}: {seen}");
            let shim = tree.at("opt/mote/bin/containerd-shim-mote-v1");
            assert!(seen.contains(shim.to_str().unwrap()), "{series:?}: {seen}");
            let installed = tree.files();
            tree.install(&["--no-verify", "--no-restart"]);
            assert!(tree.files() == installed, "the second run changed something");
            succeeded(&tree.installer("uninstall", &["--no-restart"]));
            assert!(tree.files() == before, "{series:?}: not as it was");
        }
    }
}

#[test]
fn runc_stays_as_it_was() {
    for series in Series::ALL {
        let default = containerd(series, &["config", "default"]);
        let tree = Tree::new(&default);
        let runc = |dump: &str| -> String {
            let start = dump.find("containerd.runtimes.runc]").unwrap();
            dump[start..].chars().take(600).collect()
        };
        let dump = |main: &Path| containerd(series, &["--config", main.to_str().unwrap(), "config", "dump"]);
        let before = runc(&dump(&tree.main()));
        tree.install(&["--no-verify", "--no-restart"]);
        assert_eq!(runc(&dump(&tree.main())), before, "{series:?}");
    }
}

/// A node from nothing to a pod and back: the installer verifies, registers, has containerd restarted, sees the handler
/// in its CRI, and refuses to go while the pod runs.
#[test]
fn a_node_is_set_up_and_cleaned() {
    if !kvm::ready() {
        return;
    }
    // 2.1 also with a file that it was left by 1.x.
    let nodes = Series::ALL.map(|series| (series, series.schema()));
    for (series, schema) in nodes.into_iter().chain([(Series::V2_1, 2)]) {
        let daemon = Containerd::without_handler(series, schema).unwrap();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| set_up_and_clean(&daemon)));
        let stopped = daemon.stop();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        stopped.unwrap();
    }
}

fn set_up_and_clean(daemon: &Containerd) {
    let main = daemon.root.join("config.toml");
    let tree = Tree::new("");
    let original = fs::read(&main).unwrap();
    let (socket, from) = (daemon.socket(), paths::root().join("bin"));
    let restart = restart_script(&tree);
    let install = |verb: &str| {
        let mut args = vec![
            "--restart-command",
            restart.to_str().unwrap(),
            "--socket",
            socket.to_str().unwrap(),
            "--wait",
            "60",
        ];
        if verb == "install" {
            args.extend([
                "--config",
                main.to_str().unwrap(),
                "--from",
                from.to_str().unwrap(),
            ]);
        }
        std::thread::scope(|scope| {
            let running = scope.spawn(|| tree.installer(verb, &args));
            // The command asks; this process is the one that can.
            while !running.is_finished() {
                if fs::remove_file(tree.at("asked")).is_ok() {
                    daemon.restart().unwrap();
                    fs::write(tree.at("answered"), "").unwrap();
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            running.join().unwrap()
        })
    };
    assert!(succeeded(&install("install")).contains("was restarted and answers"));

    images::import_pause(daemon).unwrap();
    let image = Image::program("installer", Form::Rootfs, "probe-rust-p1");
    image.import(daemon).unwrap();
    let mut pod = Pod::run(daemon, "installed").unwrap();
    pod.start(&Spec::new("main", &image.name).args(&["sleep", "600000"]))
        .unwrap();
    pod.wait_for_output("main", "sleeping").unwrap();

    // Not the one on containerd's PATH.
    for pid in vmm::shim(&pod.id) {
        let shim = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        assert!(
            shim.starts_with(tree.at("opt/mote/releases")),
            "{}",
            shim.display()
        );
    }

    let refused = install("uninstall");
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert_ne!(fs::read(&main).unwrap(), original);
    pod.remove().unwrap();
    let give_up = Instant::now() + Duration::from_secs(10);
    let mut removed = install("uninstall");
    // A shim goes a moment after its pod.
    while removed.status.code() == Some(4) && Instant::now() < give_up {
        removed = install("uninstall");
    }
    succeeded(&removed);
    assert_eq!(fs::read(&main).unwrap(), original);
    assert!(!tree.at("opt").exists() && !tree.at("cache").exists());
    assert!(Pod::run(daemon, "after").is_err());
}

fn restart_script(tree: &Tree) -> PathBuf {
    let path = tree.at("restart");
    let (asked, answered) = (tree.at("asked"), tree.at("answered"));
    let text = format!(
        "#!/bin/sh\ntouch {}\nwhile ! rm {} 2>/dev/null; do sleep 0.05; done\n",
        asked.display(),
        answered.display()
    );
    fs::write(&path, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&path, mode).unwrap();
    path
}
