//! The broker: makes the sockets that `mote-vmm` is not able to make, in the network namespace of its pod.
//!
//! A thread of the parent, which ends when the VMM is gone. What it is asked by the VMM may come from a guest that
//! broke out into that process: a request has one form (`mote_config::broker`), and all that can be had for it is an
//! unbound TCP or UDP socket.

use std::{
    io,
    mem::size_of_val,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    sync::mpsc,
    thread,
};

use mote_config::broker::{Family, Kind, REQUEST_LEN, Request};

/// Starts a broker that makes its sockets in the network namespace `netns` (an open `/proc/PID/ns/net`), or in this
/// thread's own without one. The result is the VMM's end of its socket: the broker ends when the last copy is closed.
///
/// # Errors
/// If the socket or the thread cannot be made, or the namespace cannot be entered.
pub fn start(netns: Option<OwnedFd>) -> io::Result<OwnedFd> {
    let (ours, theirs) = socket_pair()?;
    let (tell, told) = mpsc::channel();
    thread::Builder::new()
        .name("broker".into())
        .stack_size(64 << 10)
        .spawn(move || {
            let entered = netns.map_or(Ok(()), |netns| enter(netns.as_fd()));
            let go_on = entered.is_ok();
            // The other end waits for this.
            let _ = tell.send(entered);
            if go_on {
                serve(ours.as_fd());
            }
        })?;
    told.recv()
        .map_err(|_| io::Error::other("the broker's thread has ended"))??;
    Ok(theirs)
}

fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds: [RawFd; 2] = [0; 2];
    // SAFETY: room for two descriptors.
    let result = unsafe {
        libc::socketpair(
            libc::AF_UNIX,
            libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC,
            0,
            fds.as_mut_ptr(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made both descriptors for us.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Moves the calling thread into a network namespace, and with it what it starts. (setns(2))
pub(crate) fn enter(netns: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointers.
    if unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Serves until the VMM is gone.
fn serve(vmm: BorrowedFd<'_>) {
    loop {
        // One byte more than a request has, so that a longer one is seen.
        let mut bytes = [0_u8; REQUEST_LEN + 1];
        // SAFETY: the buffer is valid for its length. Descriptors that come along are dropped by the kernel: there is
        // no room for them. (recv(2), unix(7))
        let len = unsafe { libc::recv(vmm.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        let Ok(len) = usize::try_from(len) else {
            if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return;
        };
        if len == 0 {
            return;
        }
        let made = match Request::from_bytes(&bytes[..len]) {
            Some(request) => socket(request),
            None => Err(libc::EINVAL),
        };
        if !answer(vmm, made) {
            return;
        }
    }
}

fn socket(request: Request) -> Result<OwnedFd, i32> {
    let family = match request.family {
        Family::Ipv4 => libc::AF_INET,
        Family::Ipv6 => libc::AF_INET6,
    };
    let kind = match request.kind {
        Kind::Tcp => libc::SOCK_STREAM,
        Kind::Udp => libc::SOCK_DGRAM,
    };
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(errno());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    if request.family == Family::Ipv6 {
        // IPv6 sockets of WASI do not reach IPv4. (wasi:sockets/tcp-create-socket)
        let yes: libc::c_int = 1;
        // SAFETY: the value is valid for its size.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_IPV6,
                libc::IPV6_V6ONLY,
                (&raw const yes).cast(),
                socklen(size_of_val(&yes)),
            )
        };
        if result < 0 {
            return Err(errno());
        }
    }
    Ok(socket)
}

/// Sends the errno, or 0 and the socket. Whether the VMM is still there.
fn answer(vmm: BorrowedFd<'_>, made: Result<OwnedFd, i32>) -> bool {
    let mut errno = made.as_ref().err().copied().unwrap_or(0).to_le_bytes();
    let mut part = libc::iovec {
        iov_base: errno.as_mut_ptr().cast(),
        iov_len: errno.len(),
    };
    // Room for one descriptor, aligned as a header has to be. (cmsg(3))
    let mut control = [0_u64; 4];
    // SAFETY: an all-zero header is a valid value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if let Ok(socket) = &made {
        let fd = socket.as_raw_fd();
        let fd_len = u32::try_from(size_of_val(&fd)).unwrap_or(0);
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: plain arithmetic.
        message.msg_controllen = socklen(unsafe { libc::CMSG_SPACE(fd_len) } as usize);
        // SAFETY: the control buffer has room for one header and one descriptor, 24 of its 32 bytes, and is aligned
        // for them; CMSG_FIRSTHDR points to its start.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = socklen(libc::CMSG_LEN(fd_len) as usize);
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
        }
    }
    loop {
        // SAFETY: the message points to locals that are valid for the lengths that it carries.
        let sent = unsafe { libc::sendmsg(vmm.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
        if sent >= 0 {
            return true;
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return false;
        }
    }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// A small length as the C library's headers have it.
fn socklen(len: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(len).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(fd: &OwnedFd, bytes: &[u8]) -> (i32, Option<OwnedFd>) {
        // SAFETY: the buffer is valid for its length.
        let sent = unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        assert_eq!(usize::try_from(sent), Ok(bytes.len()));
        let mut errno = [0_u8; 4];
        let mut part = libc::iovec {
            iov_base: errno.as_mut_ptr().cast(),
            iov_len: 4,
        };
        let mut control = [0_u64; 4];
        // SAFETY: as in `answer`.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
        (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), 32);
        // SAFETY: the message points to locals.
        assert_eq!(unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, 0) }, 4);
        // SAFETY: the kernel has filled the message.
        let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        let got = (!header.is_null()).then(|| {
            // SAFETY: the only header carries one descriptor that is now ours.
            unsafe { OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()) }
        });
        (i32::from_le_bytes(errno), got)
    }

    fn option(fd: &OwnedFd, level: i32, name: i32) -> i32 {
        let (mut value, mut len) = (0_i32, 4);
        // SAFETY: both pointers are valid.
        let result =
            unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len) };
        assert_eq!(result, 0);
        value
    }

    #[test]
    fn sockets_are_made_as_asked_for() {
        let broker = start(None).unwrap();
        for (family, domain) in [(Family::Ipv4, libc::AF_INET), (Family::Ipv6, libc::AF_INET6)] {
            for (kind, ty) in [(Kind::Tcp, libc::SOCK_STREAM), (Kind::Udp, libc::SOCK_DGRAM)] {
                let (errno, fd) = ask(&broker, &Request { family, kind }.to_bytes());
                if errno == libc::EAFNOSUPPORT {
                    continue;
                }
                assert_eq!(errno, 0);
                let fd = fd.unwrap();
                assert_eq!(option(&fd, libc::SOL_SOCKET, libc::SO_DOMAIN), domain);
                assert_eq!(option(&fd, libc::SOL_SOCKET, libc::SO_TYPE), ty);
                if family == Family::Ipv6 {
                    assert_eq!(option(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY), 1);
                }
                // SAFETY: takes no pointers.
                let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
                assert_ne!(flags & libc::O_NONBLOCK, 0);
            }
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let broker = start(None).unwrap();
        for bytes in [
            &[0_u8; 16][..],
            &[4; 16],
            &[1],
            &[0; 17],
            &[4, 0, 0, 0, 3, 0, 0, 0],
        ] {
            let (errno, fd) = ask(&broker, bytes);
            assert_eq!((errno, fd.is_none()), (libc::EINVAL, true));
        }
    }
}
