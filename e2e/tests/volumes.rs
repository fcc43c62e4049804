//! Volumes and the root file system of pods, as the kubelet hands them over: bind mounts of the host's folders and files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use mote_e2e::containerd::{Containerd, matrix};
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

/// What a container prints.
fn output(pod: &mut Pod<'_>, spec: &Spec) -> String {
    let (status, log) = pod.run_container(spec).unwrap();
    assert_eq!(status.exit_code, 0, "{status:?} {log:?}");
    log.stdout
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
            output(&mut pod, &read),
            "/etc/app.conf: from the image\n/etc/config/key: one\n/etc/app/one.conf: a single file\n/none: NotFound\n"
        );
        let write = spec("write").args(&["write", "/data/deep/new", "hello"]);
        assert_eq!(output(&mut pod, &write), "/data/deep/new: written\n");
        assert_eq!(fs::read_to_string(empty.join("new")).unwrap(), "hello");
        // Another container of the pod sees it.
        let again = spec("again").args(&["read", "/data/deep/new"]);
        assert_eq!(output(&mut pod, &again), "/data/deep/new: hello\n");
        let refused = spec("refused").args(&["write", "/etc/config/new", "x"]);
        assert_eq!(
            output(&mut pod, &refused),
            "/etc/config/new: ReadOnlyFilesystem\n"
        );
        let refused = spec("refused-file").args(&["write", "/etc/app/one.conf", "x"]);
        assert_eq!(
            output(&mut pod, &refused),
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
        assert_eq!(output(&mut pod, &refused), "/etc/new: ReadOnlyFilesystem\n");
        let written = spec("volume").args(&["write", "/data/new", "x"]);
        assert_eq!(output(&mut pod, &written), "/data/new: written\n");
        // Without it the container has a layer of its own to write to.
        let own = Spec::new("own", &image).args(&["write", "/etc/new", "x"]);
        assert_eq!(output(&mut pod, &own), "/etc/new: written\n");
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
        let text = output(&mut pod, &relative);
        assert!(text.starts_with("here.txt: in the working directory\n"), "{text}");
        let user = |name: &str, path: &str| {
            Spec::new(name, &image)
                .args(&["write", path, "x"])
                .user(1234)
                .mount(&mine, "/mine", false)
                .mount(&others, "/others", false)
        };
        assert_eq!(output(&mut pod, &user("own", "/mine/f")), "/mine/f: written\n");
        assert_eq!(fs::metadata(mine.join("f")).unwrap().uid(), 1234);
        assert_eq!(
            output(&mut pod, &user("foreign", "/others/f")),
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
