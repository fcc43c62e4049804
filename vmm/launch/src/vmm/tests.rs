//! Launches with a shell script in place of `mote-vmm`. They need /dev/kvm, as every launch does.

use super::*;
use crate::Limits;
use std::{fs::Permissions, io::Read, os::unix::fs::PermissionsExt};

fn config() -> VmmConfig {
    VmmConfig::from_json(br#"{"version":3,"args":["a"],"env":[],"memory_limit":4096}"#).unwrap()
}

/// Runs `script` as mote-vmm and returns its standard output and exit.
fn launch(script: &str) -> (String, Exit) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("mote-vmm");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    let node = Node::new(temp.path(), temp.path().join("cache"), Limits::default()).unwrap();
    let code = File::open("/dev/null").unwrap();
    let (mut read, write) = io::pipe().unwrap();
    let config = config();
    let vmm = Launch::new(&node, &config, code.as_fd(), "test")
        .stdout(write)
        .new_session(true)
        .spawn()
        .unwrap();
    let mut text = String::new();
    read.read_to_string(&mut text).unwrap();
    (text, vmm.wait().unwrap())
}

#[test]
fn descriptors_stand_where_the_contract_says() {
    let (text, exit) =
        launch("cat <&3; echo; for n in 4 5 6; do readlink /proc/$$/fd/$n; done; ls /proc/$$/fd | wc -l");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(VmmConfig::from_json(lines[0].as_bytes()).unwrap(), config());
    assert_eq!(lines[1..3], ["/dev/null", "/dev/kvm"]);
    assert!(lines[3].starts_with("pipe:"), "{text}");
    // 0 to 6, and the script that the shell reads.
    assert_eq!(lines[4].trim(), "8", "{text}");
    assert_eq!((exit.code, exit.reason), (0, Reason::Internal));
}

#[test]
fn granted_directories_follow_in_order() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("mote-vmm");
    let script =
        "#!/bin/sh\nread config <&3; echo \"$config\"; for n in 7 8; do readlink /proc/$$/fd/$n; done\n";
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    let node = Node::new(temp.path(), temp.path().join("cache"), Limits::default()).unwrap();
    let code = File::open("/dev/null").unwrap();
    let mut config = config();
    for guest in ["/a", "/b"] {
        config.preopens.push(mote_config::Preopen {
            guest: guest.into(),
            read_only: false,
            fd: 0,
        });
    }
    let launch = || Launch::new(&node, &config, code.as_fd(), "test");
    let (mut read, write) = io::pipe().unwrap();
    let (one, two) = (File::open("/").unwrap(), File::open("/usr").unwrap());
    let vmm = launch().stdout(write).preopen(one).preopen(two).spawn().unwrap();
    let mut text = String::new();
    read.read_to_string(&mut text).unwrap();
    vmm.wait().unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let told = VmmConfig::from_json(lines[0].as_bytes()).unwrap();
    let numbers: Vec<i32> = told.preopens.iter().map(|p| p.fd).collect();
    assert_eq!(numbers, [7, 8]);
    assert_eq!(lines[1..], ["/", "/usr"]);
    let error = launch().spawn().unwrap_err().to_string();
    assert!(error.contains("names 2, 0 are open"), "{error}");
}

#[test]
fn report_and_status_are_merged() {
    let report = Report::Exited(Exit {
        code: 42,
        reason: Reason::Exited,
        message: None,
        stats: Stats::default(),
    });
    let line = report.to_line();
    let (_, exit) = launch(&format!("echo '{}' >&6; exit 42", line.trim()));
    assert_eq!((exit.code, exit.reason), (42, Reason::Exited));
    let (_, exit) = launch(&format!("echo '{}' >&6; exit 9", line.trim()));
    assert_eq!(exit.code, 9);
    let (_, exit) = launch("kill -9 $$");
    assert_eq!((exit.code, exit.reason), (137, Reason::Signal));
    let (_, exit) = launch("kill -SEGV $$");
    assert_eq!((exit.code, exit.reason), (139, Reason::Internal));
    let (_, exit) = launch("echo garbage >&6; exit 3");
    assert_eq!((exit.code, exit.reason), (3, Reason::Internal));
}
