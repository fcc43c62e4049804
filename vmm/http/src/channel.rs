//! Seqpacket sockets that carry short messages and, with some of them, a descriptor.

use std::{
    io::{self, IoSlice, IoSliceMut, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, Shutdown, SockFlag, SockType, recvmsg,
    sendmsg, shutdown, socketpair,
};
use tokio::io::unix::AsyncFd;

/// Longest message.
const MESSAGE_MAX: usize = 16;

/// One end of a seqpacket socket.
#[derive(Debug)]
pub(crate) struct Channel {
    fd: AsyncFd<OwnedFd>,
}

/// A message and the descriptor that came with it.
pub(crate) struct Received {
    bytes: [u8; MESSAGE_MAX],
    len: usize,
    pub(crate) fd: Option<OwnedFd>,
}

impl Received {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Channel {
    /// Takes the socket over.
    ///
    /// # Errors
    /// Those of fcntl(2) and epoll_ctl(2).
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Channel> {
        nonblocking(fd.as_fd())?;
        // SAFETY: an `OwnedFd` is open until it is dropped and always the same.
        let fd = unsafe { AsyncFd::register(fd)? };
        Ok(Channel { fd })
    }

    /// Sends a message, and a descriptor with it.
    pub(crate) async fn send(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        loop {
            let mut guard = self.fd.writable().await?;
            match guard.try_io(|socket| send(socket.as_raw_fd(), bytes, fd)) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// Receives the next message; `None` when the other end is closed.
    pub(crate) async fn receive(&self) -> io::Result<Option<Received>> {
        loop {
            let mut guard = self.fd.readable().await?;
            match guard.try_io(|socket| receive(socket.as_raw_fd())) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// Lets the other end know that nothing more comes, and stops [`Channel::receive`].
    pub(crate) fn shut(&self) {
        // It fails only if the other end is gone, which is as good.
        let _ = shutdown(self.fd.as_raw_fd(), Shutdown::Both);
    }
}

fn send(socket: RawFd, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let fds = fd.map(|fd| [fd.as_raw_fd()]);
    let rights = fds.as_ref().map(|fds| ControlMessage::ScmRights(fds));
    sendmsg::<()>(
        socket,
        &[IoSlice::new(bytes)],
        rights.as_slice(),
        MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
        None,
    )?;
    Ok(())
}

fn receive(socket: RawFd) -> io::Result<Option<Received>> {
    let mut bytes = [0; MESSAGE_MAX];
    let mut fds = Vec::new();
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let len = {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<()>(socket, &mut parts, Some(&mut space), flags)?;
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(numbers) = part {
                // SAFETY: the kernel has just made these descriptors for this process, and nobody else knows of them.
                fds.extend(numbers.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        message.bytes
    };
    // An end is a message of no bytes; none of ours is empty.
    if len == 0 {
        return Ok(None);
    }
    let fd = fds.pop();
    Ok(Some(Received { bytes, len, fd }))
}

/// A stream for one exchange: the front's end and the guest's. Neither blocks.
///
/// As much of `first` as goes is written before anybody knows of the stream, so that one look of the guest finds both;
/// with it comes how much that was.
pub(crate) fn stream(first: &[u8]) -> io::Result<(tokio::net::UnixStream, OwnedFd, usize)> {
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
    )?;
    let mut ours = std::os::unix::net::UnixStream::from(ours);
    let written = ours.write(first)?;
    Ok((tokio::net::UnixStream::from_std(ours)?, theirs, written))
}

fn nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointers; the flag of the socket is set, whose other users, if any, wait by poll(2) as well.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    // SAFETY: as above.
    if flags < 0 || unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
pub(crate) fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn messages_keep_their_bounds_and_descriptors() {
        let (a, b) = pair();
        let (a, b) = (Channel::new(a).unwrap(), Channel::new(b).unwrap());
        let (mut ours, theirs, written) = stream(b"head").unwrap();
        assert_eq!(written, 4);
        a.send(b"one", None).await.unwrap();
        a.send(b"R", Some(theirs.as_fd())).await.unwrap();
        drop(theirs);
        assert_eq!(b.receive().await.unwrap().unwrap().bytes(), b"one");
        let got = b.receive().await.unwrap().unwrap();
        let stream = std::os::unix::net::UnixStream::from(got.fd.unwrap());
        let mut theirs = tokio::net::UnixStream::from_std(stream).unwrap();
        let mut head = [0; 4];
        theirs.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"head");
        theirs.write_all(b"hi").await.unwrap();
        drop(theirs);
        let mut text = String::new();
        ours.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hi");
        a.shut();
        assert!(a.receive().await.unwrap().is_none() && b.receive().await.unwrap().is_none());
        assert!(b.send(b"x", None).await.is_err());
    }
}
