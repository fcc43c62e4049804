//! A guest that submits what it likes about files, with two directories granted.
//!
//! Whatever it does, nothing panics, nobody waits, and what is outside of the directories stays as it is.
#![no_main]

use std::ffi::CString;
use std::fs::{self, File};
use std::mem::offset_of;
use std::os::fd::FromRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Once;

use libfuzzer_sys::fuzz_target;
use mote_abi::layout::{CONTROL_PAGE, MMAP_START, SUBMISSION_RING};
use mote_abi::ring::{ControlPage, FIRST_PREOPEN, Submission};
use mote_vmm::device::files::Directory;
use mote_vmm::device::server::Server;
use mote_vmm::device::stream::Stream;
use mote_vmm::memory::{Reservation, Space};
use mote_vmm::vm::data_gpa;
use vm_memory::Bytes;

/// Paths that lie in guest memory, [`SLOT`] bytes apart.
const PATHS: [&str; 24] = [
    "a", "d", "d/x", "d/y", ".", "..", "../out", "/", "/etc", "up", "up/out", "root", "root/etc", "fifo", "loop", "d/up",
    "d/../a", "d/", "a/", "d/.", "new", "new/z", "out", "dir\0",
];
const SLOT: usize = 16;
/// Bytes of one submission in the input.
const STEP: usize = 16;
const MAPPED: u64 = 4 << 20;

/// Keeps the disk from being filled.
fn limit_file_size() {
    static ONCE: Once = Once::new();
    // SAFETY: pointers to locals and constants.
    ONCE.call_once(|| unsafe {
        let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
        libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit);
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    });
}

fn pipe() -> (File, File) {
    let mut fds = [0; 2];
    // SAFETY: room for two descriptors, which are new and unowned.
    unsafe {
        assert_eq!(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (File::from_raw_fd(fds[0]), File::from_raw_fd(fds[1]))
    }
}

fn populate(dir: &Path) {
    fs::create_dir_all(dir.join("d")).expect("a directory");
    fs::write(dir.join("a"), "text").expect("a file");
    fs::write(dir.join("d/x"), "more").expect("a file");
    for (name, text) in [("up", ".."), ("d/up", "../.."), ("root", "/"), ("loop", "loop")] {
        symlink(text, dir.join(name)).expect("a link");
    }
    let fifo = CString::new(dir.join("fifo").to_str().expect("UTF-8")).expect("no zero");
    // SAFETY: the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
}

/// Operations, handles, addresses and numbers of which most are near something that there is.
fn submission(step: &[u8]) -> Submission {
    let byte = |i: usize| u64::from(step[i]);
    let word = u64::from_le_bytes(std::array::from_fn(|i| step[8 + i]));
    let op = match byte(0) {
        n @ 0..64 => 1 + n % 5,
        n => 16 + n % 19,
    };
    let handle = |n: u64| if n < 224 { n % 40 } else { word };
    let text = |n: u64| {
        let slot = n as usize % PATHS.len();
        (MMAP_START + (slot * SLOT) as u64, PATHS[slot].len() as u64)
    };
    let number = |n: u64| match n {
        0..96 => n,
        96..160 => n << 10,
        160..192 => MMAP_START + (n << 9),
        192..224 => MAPPED - 8 + n % 16,
        _ => word,
    };
    let (address, len) = if byte(1) & 1 == 0 { text(byte(2)) } else { (number(byte(2)), number(byte(3))) };
    let (offset, second_len) = if byte(1) & 2 == 0 { text(byte(4)) } else { (number(byte(4)), number(byte(5))) };
    let first = if byte(1) & 4 == 0 { handle(byte(6)) } else { byte(6) | byte(7) << 8 };
    Submission {
        op,
        token: byte(7) % 8,
        handle: if byte(1) & 8 == 0 { FIRST_PREOPEN + byte(7) % 4 } else { handle(byte(7)) },
        address,
        len,
        offset,
        extra: [first, second_len],
    }
}

fuzz_target!(|data: &[u8]| {
    limit_file_size();
    let temp = tempfile::tempdir().expect("a directory");
    let outside = temp.path().join("out");
    fs::write(&outside, "outside").expect("a file");
    let dirs = ["rw", "ro"].map(|name| temp.path().join(name));
    for dir in &dirs {
        populate(dir);
    }

    let Ok(mem) = Reservation::new(32 << 20) else { return };
    let mut space = Space::new(mem, 8 << 20, 32 << 20, 8 << 20);
    space.map(MMAP_START, MAPPED).expect("room for it");
    for (i, path) in PATHS.iter().enumerate() {
        let at = MMAP_START + (i * SLOT) as u64;
        let parts = space.resolve(at, path.len() as u64, true).expect("it is mapped");
        parts[0].write_slice(path.as_bytes(), 0).expect("it fits");
    }
    let ((input, _writer), (_reader, output), (_other, errors)) = (pipe(), pipe(), pipe());
    let mut server = Server::new([input, output, errors].map(|end| Stream::new(end.into())));
    for (dir, read_only) in dirs.iter().zip([false, true]) {
        let fd = File::open(dir).expect("a directory").into();
        server.preopen(Directory::preopened(fd, read_only)).expect("a handle");
    }

    let mem = space.memory();
    let ring = mem.slice(data_gpa(SUBMISSION_RING), 4096).expect("the ring's page");
    let control = mem.slice(data_gpa(CONTROL_PAGE), 4096).expect("the control page");
    for (i, step) in data.chunks_exact(STEP).take(256).enumerate() {
        ring.write_obj(submission(step).to_words(), i % 64 * 64).expect("an entry fits");
        let tail = u32::try_from(i + 1).expect("few");
        control.write_obj(tail, offset_of!(ControlPage, submission_tail)).expect("the tail fits");
        if server.serve(&space).is_err() {
            break;
        }
        server.watch();
        let written: u32 = control.read_obj(offset_of!(ControlPage, completion_tail)).expect("it is there");
        control.write_obj(written, offset_of!(ControlPage, completion_head)).expect("the head fits");
    }
    drop(server);

    assert_eq!(fs::read(&outside).expect("still there"), b"outside");
    assert_eq!(fs::read_dir(temp.path()).expect("still there").count(), 3);
    assert_eq!(fs::read(dirs[1].join("a")).expect("still there"), b"text");
    assert_eq!(fs::read_dir(&dirs[1]).expect("still there").count(), 6);
    assert_eq!(fs::read_dir(dirs[1].join("d")).expect("still there").count(), 2);
});
