//! A guest that submits whatever it likes about sockets, and a broker that answers whatever it likes.
#![no_main]

use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use mote_abi::layout::{CONTROL_PAGE, MMAP_START, SUBMISSION_RING};
use mote_abi::ring::{Submission, op};
use mote_vmm::device::server::Server;
use mote_vmm::device::sockets::{Grants, Network, Reach};
use mote_vmm::device::stream::Stream;
use mote_vmm::memory::{Reservation, Space};
use mote_vmm::vm::data_gpa;
use vm_memory::Bytes;

/// What is behind the addresses that the guest names is a network namespace with nothing in it, or else nothing may be
/// reached but one port of this machine.
fn reach() -> Reach {
    static ISOLATED: OnceLock<bool> = OnceLock::new();
    // SAFETY: plain flags and the kernel's own handler; the process has one thread when the first input is tried.
    let isolated = ISOLATED.get_or_init(|| unsafe {
        // As the standard library does it before main, which is libFuzzer's here.
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) == 0
    });
    if *isolated { Reach::Everything } else { Reach::Only(vec![([127, 0, 0, 1], 9).into()]) }
}

fn pair() -> (OwnedFd, OwnedFd) {
    let mut fds = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK;
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) }, 0);
    // SAFETY: both are new and unowned.
    unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) }
}

fn hand_over(to: &OwnedFd, bytes: &[u8], fd: Option<RawFd>) {
    let mut bytes = bytes.to_vec();
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = [0_u64; 4];
    // SAFETY: an all-zero header is a valid value; the message points to locals with room for one descriptor.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
        if let Some(fd) = fd {
            (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), 24);
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = 20;
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
        }
        libc::sendmsg(to.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL);
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(mem) = Reservation::new(32 << 20) else { return };
    let mut space = Space::new(mem, 8 << 20, 32 << 20, 8 << 20);
    space.map(MMAP_START, 1 << 20).expect("room for a megabyte");
    let stream = || Stream::new(File::options().read(true).write(true).open("/dev/null").expect("null").into());
    let mut server = Server::new([stream(), stream(), stream()]);
    let ((broker, theirs), (front, front_theirs)) = (pair(), pair());
    server.grant(Network::new(Grants {
        tcp: reach(),
        udp: reach(),
        broker: Some(theirs),
        front: Some(front_theirs),
        http: true,
        name_lookup: true,
    }));
    let mut tail = 0_u32;
    // Each round: what the helpers send, then a submission; what it points to is the input itself.
    for round in data.chunks(32) {
        let at = |i: usize| round.get(i).copied().unwrap_or(0);
        match at(0) % 8 {
            0 => {
                let udp = UdpSocket::bind("127.0.0.1:0").ok();
                udp.iter().for_each(|s| drop(s.set_nonblocking(true)));
                hand_over(&broker, &0_i32.to_le_bytes(), udp.as_ref().map(AsRawFd::as_raw_fd));
            }
            1 => {
                let tcp = TcpListener::bind("127.0.0.1:0").ok();
                tcp.iter().for_each(|s| drop(s.set_nonblocking(true)));
                hand_over(&broker, &0_i32.to_le_bytes(), tcp.as_ref().map(AsRawFd::as_raw_fd));
            }
            2 => hand_over(&broker, &round[1.min(round.len())..], None),
            3 => hand_over(&front, &round[1.min(round.len())..round.len().min(3)], Some(front.as_raw_fd())),
            _ => {}
        }
        let word = |i: usize| u64::from(at(i));
        let address = |i: usize| match at(i) {
            255 => u64::MAX,
            n => MMAP_START + u64::from(n) * 8,
        };
        let operation = op::SOCKET + word(1) % (op::NAME_TO_ASCII - op::SOCKET + 1);
        let submission = Submission {
            op: if at(2) % 4 == 0 { word(1) % 6 } else { operation },
            token: word(3) % 8,
            handle: word(4) % 24,
            address: address(5),
            len: word(6) * word(7),
            offset: address(8),
            extra: [word(9) % 12, word(10) << (at(11) % 64)],
        };
        let mem = space.memory();
        for part in space.resolve(MMAP_START, 4096, true).expect("mapped") {
            part.write_slice(&data[..data.len().min(4096)], 0).expect("a page");
        }
        let ring = mem.slice(data_gpa(SUBMISSION_RING), 4096).expect("the ring's page");
        let slot = (tail % 64) as usize * 64;
        ring.write_obj(submission.to_words(), slot).expect("a slot");
        tail += 1;
        let control = mem.slice(data_gpa(CONTROL_PAGE), 4096).expect("the control page");
        control.write_obj(tail, 0).expect("the tail");
        // Some rounds are served together.
        if at(13) % 4 == 0 && tail % 32 != 0 {
            continue;
        }
        if server.serve(&space).is_err() {
            return;
        }
        let _ = server.is_answered(word(3) % 8);
        let _ = server.watch();
        let done: u32 = control.read_obj(68).expect("the completions' tail");
        control.write_obj(done, 4).expect("the completions' head");
    }
});
