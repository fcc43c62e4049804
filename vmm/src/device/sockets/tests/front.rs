//! Streams that the HTTP front hands over.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use mote_abi::ring::{ACCEPTED_SHIFT, HTTP_INCOMING, Submission, op};

use super::{DATA, Net, Reach, hand_over, net, received};

/// Its ends: the guest's, which does not block, and the front's.
fn stream() -> (UnixStream, UnixStream) {
    let (guest, front) = UnixStream::pair().unwrap();
    guest.set_nonblocking(true).unwrap();
    (guest, front)
}

#[test]
fn streams_of_the_front() {
    let mut net = net(Reach::Nothing);
    let accept = Submission {
        op: op::ACCEPT,
        handle: HTTP_INCOMING,
        ..Submission::default()
    };
    let ask = Submission {
        op: op::HTTP_REQUEST,
        ..Submission::default()
    };
    let (asked, accepted) = (net.submit(ask), net.submit(accept));
    assert!(net.f.completions().is_empty());
    assert_eq!(received(&net.front), b"O");
    assert_eq!(received(&net.front), b"A");
    assert!(net.f.completions().is_empty());
    assert_eq!(received(&net.front), b"", "ready is said once");
    let streams = [stream(), stream()];
    hand_over(&net.front, b"R", Some(streams[0].0.as_raw_fd()));
    hand_over(&net.front, b"O", Some(streams[1].0.as_raw_fd()));
    let got = net.f.completions();
    for (token, stream) in [(accepted, 0), (asked, 1)] {
        let (_, handle) = got.iter().find(|(t, _)| *t == token).unwrap();
        let data = net.f.put(DATA, b"x");
        let write = Submission {
            op: op::WRITE,
            handle: u64::try_from(*handle).unwrap(),
            address: data,
            len: 1,
            ..Submission::default()
        };
        assert_eq!(net.result(write), 1);
        let mut byte = [0];
        (&streams[stream].1).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }
    let Net { front, mut f, .. } = net;
    drop(front);
    assert_eq!(f.call(accept), -i64::from(libc::EPIPE));
}

#[test]
fn what_is_there_of_a_request_comes_with_it() {
    let mut net = net(Reach::Nothing);
    let accept = |address, len| Submission {
        op: op::ACCEPT,
        handle: HTTP_INCOMING,
        address,
        len,
        ..Submission::default()
    };
    let address = net.f.put(DATA, b"........");
    for (sent, len, read) in [
        (&b"head"[..], 8, 4),
        (b"a longer head", 8, 8),
        (b"", 8, 0),
        (b"head", 0, 0),
    ] {
        let (guest, mut front) = stream();
        front.write_all(sent).unwrap();
        hand_over(&net.front, b"R", Some(guest.as_raw_fd()));
        drop(guest);
        let accepted = u64::try_from(net.result(accept(address, len))).unwrap();
        assert_eq!(accepted >> ACCEPTED_SHIFT, read);
        let read = usize::try_from(read).unwrap();
        assert_eq!(net.f.get(DATA, read), sent[..read]);
        let handle = accepted & u64::from(u32::MAX);
        assert_eq!(net.call(op::CLOSE, handle, 0, [1, 0]), 0);
    }
    for (address, len, errno) in [
        (1, 8, libc::EFAULT),
        (u64::MAX, 8, libc::EFAULT),
        (address, u64::MAX, libc::EINVAL),
    ] {
        let (guest, mut front) = stream();
        hand_over(&net.front, b"R", Some(guest.as_raw_fd()));
        drop(guest);
        assert_eq!(net.result(accept(address, len)), -i64::from(errno));
        assert_eq!(front.read(&mut [0]).unwrap(), 0, "it is closed");
    }
}

#[test]
fn short_writes_in_a_row_go_out_together() {
    let mut net = net(Reach::Nothing);
    let (guest, front) = stream();
    front.set_nonblocking(true).unwrap();
    hand_over(&net.front, b"R", Some(guest.as_raw_fd()));
    let handle = u64::try_from(net.call(op::ACCEPT, HTTP_INCOMING, 0, [0; 2])).unwrap();
    let address = net.f.put(DATA, &[7; 8192]);
    let write = |address, len| Submission {
        op: op::WRITE,
        handle,
        address,
        len,
        ..Submission::default()
    };
    let mut submit = |address, len| net.submit(write(address, len));
    let tokens = [
        submit(address, 10),
        submit(address, 0),
        submit(address, 20),
        submit(1, 5),
        submit(address, 30),
    ];
    let efault = -i64::from(libc::EFAULT);
    let results = tokens.into_iter().zip([10, 0, 20, efault, 30]);
    assert_eq!(net.f.completions(), results.collect::<Vec<_>>());
    let mut got = [0; 100];
    assert_eq!((&front).read(&mut got).unwrap(), 60);

    // Until nothing more goes: a part is written, the rest when there is room, in order.
    let tokens: Vec<_> = (0..60).map(|_| net.submit(write(address, 8000))).collect();
    let mut done = net.f.completions().len();
    assert!((1..60).contains(&done), "{done}");
    net.submit(Submission {
        op: op::CLOSE,
        extra: [1, 0],
        ..write(0, 0)
    });
    let mut read = 0;
    let mut buffer = vec![0; 65536];
    while read < 480_000 {
        read += (&front).read(&mut buffer).unwrap();
        done += net.f.completions().len();
    }
    assert_eq!((read, done), (480_000, tokens.len() + 1));
    drop(guest);
    assert_eq!((&front).read(&mut buffer).unwrap(), 0, "it is closed");
}

#[test]
fn a_front_may_be_first_and_may_go() {
    let mut net = net(Reach::Nothing);
    let (guest, _front) = stream();
    hand_over(&net.front, b"R", Some(guest.as_raw_fd()));
    let accept = Submission {
        op: op::ACCEPT,
        handle: HTTP_INCOMING,
        ..Submission::default()
    };
    assert!(net.result(accept) > 0);
    let token = net.submit(accept);
    assert!(net.f.completions().is_empty());
    assert_eq!(net.f.server.waits().len(), 1);
    assert!(!net.f.server.is_answered(token));
    let Net { front, mut f, .. } = net;
    drop(front);
    assert_eq!(f.completions(), [(token, -i64::from(libc::EPIPE))]);
    assert!(f.server.is_answered(token));
}
