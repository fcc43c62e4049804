//! Volumes and the root file system of pods, as the kubelet hands them over: bind mounts of the host's folders and files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use mote_e2e::containerd::{Containerd, matrix};
use mote_e2e::cri::messages::ContainerState;
use mote_e2e::images::{Form, Image};
use mote_e2e::kvm;
use mote_e2e::pod::{Pod, Spec};

fn image(daemon: &Containerd, name: &str) -> String {
    let image = Image::program(name, Form::Rootfs, "probe-rust-p1")
        .file("/etc/app.conf", b"from the image\n")
        .file("/work/here.txt", b"in the working directory\n");
    image.import(daemon).unwrap();
    image.name
}

/// What the kubelet makes of a ConfigMap: the names are links through `..data`, which changes in one step.
fn project(volume: &Path, version: &str, text: &str) {
    let data = volume.join(version);
    fs::create_dir(&data).unwrap();
    fs::write(data.join("key"), text).unwrap();
    let next = volume.join("..data_tmp");
    symlink(version, &next).unwrap();
    fs::rename(&next, volume.join("..data")).unwrap();
    if !volume.join("key").exists() {
        symlink("..data/key", volume.join("key")).unwrap();
    }
}

/// A mount that goes with the value.
struct Mounted(PathBuf);

impl Mounted {
    fn new(words: &[&str], point: &Path) -> Mounted {
        let made = Command::new("mount").args(words).arg(point).status().unwrap();
        assert!(made.success(), "mount {words:?}");
        Mounted(point.into())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn the_image_is_the_root_and_volumes_are_in_it() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let (config, empty, file) = (
            daemon.folder("config").unwrap(),
            daemon.folder("empty").unwrap(),
            daemon.folder("file").unwrap().join("f"),
        );
        project(&config, "..v1", "one\n");
        fs::write(&file, "a single file\n").unwrap();
        let image = image(daemon, "volumes-root");
        let mut pod = Pod::run(daemon, "volumes").unwrap();
        let spec = |name: &str| {
            Spec::new(name, &image)
                .mount(&config, "/etc/config", true)
                .mount(&empty, "/data/deep", false)
                .mount(&file, "/etc/app/one.conf", true)
        };
        let read = spec("read").args(&[
            "read",
            "/etc/app.conf",
            "/etc/config/key",
            "/etc/app/one.conf",
            "/none",
        ]);
        assert_eq!(
            pod.output(&read).unwrap(),
            "/etc/app.conf: from the image\n/etc/config/key: one\n/etc/app/one.conf: a single file\n/none: NotFound\n"
        );
        let write = spec("write").args(&["write", "/data/deep/new", "hello"]);
        assert_eq!(pod.output(&write).unwrap(), "/data/deep/new: written\n");
        assert_eq!(fs::read_to_string(empty.join("new")).unwrap(), "hello");
        // Another container of the pod sees it.
        let again = spec("again").args(&["read", "/data/deep/new"]);
        assert_eq!(pod.output(&again).unwrap(), "/data/deep/new: hello\n");
        let refused = spec("refused").args(&["write", "/etc/config/new", "x"]);
        assert_eq!(
            pod.output(&refused).unwrap(),
            "/etc/config/new: ReadOnlyFilesystem\n"
        );
        let refused = spec("refused-file").args(&["write", "/etc/app/one.conf", "x"]);
        assert_eq!(
            pod.output(&refused).unwrap(),
            "/etc/app/one.conf: ReadOnlyFilesystem\n"
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), "a single file\n");
        pod.remove().unwrap();
    });
}

#[test]
fn a_read_only_root() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let empty = daemon.folder("read-only").unwrap();
        let image = image(daemon, "volumes-read-only");
        let mut pod = Pod::run(daemon, "read-only").unwrap();
        let spec = |name: &str| {
            Spec::new(name, &image)
                .mount(&empty, "/data", false)
                .readonly_rootfs()
        };
        let refused = spec("root").args(&["write", "/etc/new", "x"]);
        assert_eq!(pod.output(&refused).unwrap(), "/etc/new: ReadOnlyFilesystem\n");
        let written = spec("volume").args(&["write", "/data/new", "x"]);
        assert_eq!(pod.output(&written).unwrap(), "/data/new: written\n");
        // Without it the container has a layer of its own to write to.
        let own = Spec::new("own", &image).args(&["write", "/etc/new", "x"]);
        assert_eq!(pod.output(&own).unwrap(), "/etc/new: written\n");
        pod.remove().unwrap();
    });
}

#[test]
fn an_updated_config_map_is_seen() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let config = daemon.folder("updated").unwrap();
        project(&config, "..v1", "one\n");
        let image = image(daemon, "volumes-updated");
        let mut pod = Pod::run(daemon, "updated").unwrap();
        let spec = Spec::new("watch", &image)
            .args(&["watch", "/etc/config/key", "2"])
            .mount(&config, "/etc/config", true);
        let id = pod.start(&spec).unwrap();
        pod.wait_for_output("watch", "one").unwrap();
        project(&config, "..v2", "two\n");
        pod.wait(&id).unwrap();
        assert_eq!(pod.log("watch").unwrap().stdout, "one\ntwo\n");
        pod.remove().unwrap();
    });
}

#[test]
fn working_directory_and_user() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let (mine, others) = (daemon.folder("mine").unwrap(), daemon.folder("others").unwrap());
        std::os::unix::fs::chown(&mine, Some(1234), None).unwrap();
        let image = image(daemon, "volumes-user");
        let mut pod = Pod::run(daemon, "user").unwrap();
        let relative = Spec::new("relative", &image)
            .args(&["read", "here.txt", "../etc/app.conf"])
            .working_dir("/work");
        let text = pod.output(&relative).unwrap();
        assert!(text.starts_with("here.txt: in the working directory\n"), "{text}");
        let component = Image::program("volumes-cwd", Form::Rootfs, "given-rust").file("/work/here.txt", b"");
        component.import(daemon).unwrap();
        let told = Spec::new("told", &component.name).args(&["cwd"]);
        assert_eq!(pod.output(&told).unwrap(), "/\n");
        let told = Spec::new("told-work", &component.name)
            .args(&["cwd"])
            .working_dir("/work");
        assert_eq!(pod.output(&told).unwrap(), "/work\n");
        let user = |name: &str, path: &str| {
            Spec::new(name, &image)
                .args(&["write", path, "x"])
                .user(1234)
                .mount(&mine, "/mine", false)
                .mount(&others, "/others", false)
        };
        assert_eq!(pod.output(&user("own", "/mine/f")).unwrap(), "/mine/f: written\n");
        assert_eq!(fs::metadata(mine.join("f")).unwrap().uid(), 1234);
        assert_eq!(
            pod.output(&user("foreign", "/others/f")).unwrap(),
            "/others/f: PermissionDenied\n"
        );
        pod.remove().unwrap();
    });
}

#[test]
fn a_missing_volume_says_which() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = image(daemon, "volumes-missing");
        let mut pod = Pod::run(daemon, "missing").unwrap();
        // The kubelet makes the folder of a hostPath; what it does not make is the operator's mistake.
        let spec = Spec::new("missing", &image).args(&["list", "/"]).mount(
            Path::new("/proc/no-such-folder/at-all"),
            "/data",
            false,
        );
        let error = format!("{:#}", pod.start(&spec).unwrap_err());
        assert!(error.contains("no-such-folder"), "{error}");
        pod.remove().unwrap();
    });
}

#[test]
fn volumes_of_several_containers() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = image(daemon, "several");
        let shared = daemon.folder("shared").unwrap();
        let memory = daemon.folder("memory").unwrap();
        let tmpfs = Mounted::new(&["-t", "tmpfs", "-o", "size=64k", "tmpfs"], &memory);
        fs::create_dir_all(shared.join("sub/deep")).unwrap();
        fs::write(shared.join("sub/deep/file"), "below\n").unwrap();
        let mut pod = Pod::run(daemon, "shared").unwrap();
        // emptyDir: two containers that run at the same time.
        let reader = Spec::new("reader", &image)
            .args(&["watch", "/cache/news", "1"])
            .mount(&shared, "/cache", true);
        let reader = pod.start(&reader).unwrap();
        let writer = Spec::new("writer", &image)
            .args(&["write", "/out/news", "fresh"])
            .mount(&shared, "/out", false);
        assert_eq!(pod.output(&writer).unwrap(), "/out/news: written\n");
        assert_eq!(pod.wait(&reader).unwrap().exit_code, 0);
        assert_eq!(pod.log("reader").unwrap().stdout, "fresh\n");
        // medium: Memory, with a size limit.
        let small = Spec::new("small", &image)
            .args(&["write", "/memory/f", "x"])
            .mount(&memory, "/memory", false);
        assert_eq!(pod.output(&small).unwrap(), "/memory/f: written\n");
        assert_eq!(fs::read_to_string(memory.join("f")).unwrap(), "x");
        let big = Spec::new("big", &image)
            .args(&["write", "/memory/g", &"x".repeat(100_000)])
            .mount(&memory, "/memory", false);
        assert_eq!(pod.output(&big).unwrap(), "/memory/g: StorageFull\n");
        // subPath: a folder and a file of the volume, and nothing beside them.
        let sub = Spec::new("sub", &image)
            .args(&["list", "/sub"])
            .mount(&shared.join("sub"), "/sub", false);
        assert_eq!(pod.output(&sub).unwrap(), "/sub: deep\n");
        let file = Spec::new("file", &image)
            .args(&["read", "/etc/one", "/etc/one/../news"])
            .mount(&shared.join("sub/deep/file"), "/etc/one", true);
        assert_eq!(
            pod.output(&file).unwrap(),
            "/etc/one: below\n/etc/one/../news: NotADirectory\n"
        );
        pod.remove().unwrap();
        drop(tmpfs);
    });
}

#[test]
fn mounts_of_the_node_propagate_if_the_pod_says_so() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = image(daemon, "propagation");
        let volume = daemon.folder("propagation").unwrap();
        let text = volume.display().to_string();
        let bound = Mounted::new(&["--bind", &text], &volume);
        std::mem::forget(Mounted::new(&["--make-shared"], &volume));
        let later = volume.join("later");
        fs::create_dir(&later).unwrap();
        let mut pod = Pod::run(daemon, "propagation").unwrap();
        // Both ways is for privileged containers of Kubernetes, and means no more here than from the node: a Wasm
        // program mounts nothing.
        for (name, value) in [("private", 0), ("from-node", 1), ("both-ways", 2)] {
            let spec = Spec::new(name, &image)
                .args(&["watch", "/v/later/f", "1"])
                .mount(&volume, "/v", false)
                .propagation(value);
            let id = pod.start(&spec).unwrap();
            let mounted = Mounted::new(&["-t", "tmpfs", "tmpfs"], &later);
            fs::write(later.join("f"), format!("{name}\n")).unwrap();
            if value == 0 {
                thread::sleep(Duration::from_millis(300));
                assert_eq!(pod.status(&id).unwrap().state(), ContainerState::Running);
                pod.stop_container(&id, 0).unwrap();
            } else {
                assert_eq!(pod.wait(&id).unwrap().exit_code, 0);
                assert_eq!(pod.log(name).unwrap().stdout, format!("{name}\n"));
            }
            pod.remove_container(&id).unwrap();
            assert!(
                later.join("f").exists(),
                "{name}: the node's mount went with the container"
            );
            drop(mounted);
        }
        pod.remove().unwrap();
        drop(bound);
    });
}
