//! What `kubectl exec -it` and `kubectl attach` do: CRI's Exec and Attach, and the streams behind their URLs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use mote_e2e::containerd::{Containerd, matrix};
use mote_e2e::cri::messages::{AttachRequest, ExecRequest};
use mote_e2e::cri::stream::Streams;
use mote_e2e::images::{Form, Image};
use mote_e2e::pod::{Pod, Spec};
use mote_e2e::{kvm, vmm};

fn probe(daemon: &Containerd) -> String {
    let image = Image::program("streams", Form::Rootfs, "probe-rust-p1");
    image.import(daemon).unwrap();
    image.name
}

fn exec(pod: &Pod<'_>, id: &str, words: &[&str], stdin: bool, tty: bool) -> Streams {
    let request = ExecRequest {
        container_id: id.into(),
        cmd: words.iter().map(ToString::to_string).collect(),
        tty,
        stdin,
        stdout: true,
        // A terminal has one output.
        stderr: !tty,
    };
    Streams::open(&pod.cri.exec(request).unwrap().url).unwrap()
}

/// The size of the terminal that is a process's standard input, in characters.
fn terminal_size(pid: u32) -> (u16, u16) {
    let terminal = File::options()
        .read(true)
        .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
        .open(format!("/proc/{pid}/fd/0"))
        .unwrap();
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes a winsize, to which the pointer leads.
    let answer = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    assert_eq!(answer, 0);
    (size.ws_col, size.ws_row)
}

fn wait_for_size(pid: u32, size: (u16, u16)) {
    let give_up = Instant::now() + Duration::from_secs(5);
    while terminal_size(pid) != size {
        assert!(Instant::now() < give_up, "{:?}", terminal_size(pid));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn exec_has_streams_a_terminal_and_an_exit_code() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = probe(daemon);
        let mut pod = Pod::run(daemon, "exec-streams").unwrap();
        let id = pod
            .start(&Spec::new("main", &image).args(&["sleep", "600000"]))
            .unwrap();
        let app = "/app.wasm";
        let mut streams = exec(&pod, &id, &[app, "stderr"], false, false);
        streams.finish().unwrap();
        assert_eq!(
            (streams.stdout.as_str(), streams.stderr.as_str()),
            ("to stdout\n", "to stderr\n")
        );
        assert!(streams.status.contains("\"Success\""), "{}", streams.status);
        let mut streams = exec(&pod, &id, &[app, "exit", "7"], false, false);
        streams.finish().unwrap();
        let status: serde_json::Value = serde_json::from_str(&streams.status).unwrap();
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"][0]["message"], "7");

        let mut streams = exec(&pod, &id, &[app, "cat"], true, false);
        streams.input("one\n").unwrap();
        streams.until("one\n").unwrap();
        streams.input("two\n").unwrap();
        streams.until("one\ntwo\n").unwrap();
        // Its input ends with the client, and it with its input.
        drop(streams);
        let give_up = Instant::now() + Duration::from_secs(10);
        while vmm::of_cgroup(pod.cgroup()).len() > 1 {
            assert!(Instant::now() < give_up, "it outlives its client");
            std::thread::sleep(Duration::from_millis(10));
        }

        let mut streams = exec(&pod, &id, &[app, "cat"], true, true);
        streams.input("typed\n").unwrap();
        // Once the echo, once the program.
        streams.until("typed\r\ntyped\r\n").unwrap();
        let mut vms = vmm::of_cgroup(pod.cgroup());
        vms.sort_unstable();
        let terminal = *vms.last().unwrap();
        streams.resize(111, 37).unwrap();
        wait_for_size(terminal, (111, 37));
        // Ctrl-D ends the input.
        streams.input("\x04").unwrap();
        streams.finish().unwrap();
        assert!(streams.status.contains("\"Success\""), "{}", streams.status);
        pod.remove().unwrap();
    });
}

#[test]
fn a_terminal_can_be_attached_to() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = probe(daemon);
        let mut pod = Pod::run(daemon, "attach").unwrap();
        let spec = Spec::new("main", &image).args(&["cat"]).stdin().tty();
        let id = pod.start(&spec).unwrap();
        let attach = |pod: &Pod<'_>| {
            let request = AttachRequest {
                container_id: id.clone(),
                stdin: true,
                tty: true,
                stdout: true,
                stderr: false,
            };
            Streams::open(&pod.cri.attach(request).unwrap().url).unwrap()
        };
        let mut streams = attach(&pod);
        streams.input("first\n").unwrap();
        streams.until("first\r\nfirst\r\n").unwrap();
        streams.resize(99, 33).unwrap();
        wait_for_size(vmm::of_cgroup(pod.cgroup())[0], (99, 33));
        // A client may leave, and another come.
        drop(streams);
        let mut streams = attach(&pod);
        streams.input("second\n").unwrap();
        streams.until("second\r\nsecond\r\n").unwrap();
        streams.input("\x04").unwrap();
        assert_eq!(pod.wait(&id).unwrap().exit_code, 0);
        pod.remove().unwrap();
    });
}
