//! Messages and file descriptors over a Unix stream socket, without blocking and without allocation.
//!
//! vmm-sys-util's `ScmSocket` allocates for each message and, when a peer sends too many descriptors, drops the bytes that came with them;
//! the stream would be out of step. Hence these two calls of our own.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Most descriptors that one message may carry.
pub(super) const MAX_FDS: usize = 16;

/// Room for the control message of `MAX_FDS` descriptors, aligned as `cmsghdr` must be.
#[repr(C, align(8))]
struct Control([u8; 16 + 4 * MAX_FDS]);

// SAFETY: CMSG_SPACE computes from its argument alone.
const _: () = assert!(size_of::<Control>() == unsafe { libc::CMSG_SPACE(4 * MAX_FDS as u32) } as usize);

/// What one call brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Bytes, and whether more descriptors came with them than are taken: those are closed.
    Bytes { count: usize, too_many_fds: bool },
    /// Nothing to read now.
    Nothing,
    /// The peer is gone.
    Closed,
}

/// Read what is there into `buffer`; descriptors that came along are added to `fds`.
///
/// The kernel ends a read behind a piece of data that carries descriptors, so they belong to the last message that begins in the buffer.
pub(crate) fn receive(socket: &UnixStream, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<Received> {
    let mut control = Control([0; _]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: msghdr is plain data for which zeroes mean "absent".
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Control>();
    // SAFETY: `message` names a buffer and a control area that outlive the call, with their true sizes.
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC) };
    if count < 0 {
        return match io::Error::last_os_error() {
            error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(Received::Nothing),
            error if error.kind() == io::ErrorKind::ConnectionReset => Ok(Received::Closed),
            error => Err(error),
        };
    }
    let unclaimed = take_descriptors(&message, fds);
    if count == 0 {
        return Ok(Received::Closed);
    }
    let too_many_fds = unclaimed || message.msg_flags & libc::MSG_CTRUNC != 0;
    Ok(Received::Bytes { count: count as usize, too_many_fds })
}

/// Own every descriptor of a received message; whether some had no place left and were closed.
fn take_descriptors(message: &libc::msghdr, fds: &mut Vec<OwnedFd>) -> bool {
    let mut unclaimed = false;
    // SAFETY: `message` was filled in by the kernel and its control area is still there.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: a header that CMSG_FIRSTHDR or CMSG_NXTHDR returned lies in the control area.
        let (level, kind, length) = unsafe { ((*header).cmsg_level, (*header).cmsg_type, (*header).cmsg_len) };
        if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
            // SAFETY: as above.
            let data: *const i32 = unsafe { libc::CMSG_DATA(header) }.cast();
            // SAFETY: CMSG_LEN computes from its argument alone.
            let count = (length - unsafe { libc::CMSG_LEN(0) } as usize) / size_of::<i32>();
            for index in 0..count {
                // SAFETY: the kernel wrote `count` descriptors behind the header, not necessarily aligned, and gave them to this process.
                let fd = unsafe { OwnedFd::from_raw_fd(data.add(index).read_unaligned()) };
                if fds.len() < MAX_FDS {
                    fds.push(fd);
                } else {
                    unclaimed = true;
                }
            }
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    unclaimed
}

/// Send as much of `bytes` as the socket takes now, the descriptor with the first of them. Zero means: later.
pub(super) fn send(socket: &UnixStream, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    send_many(socket, bytes, fd.as_slice())
}

/// The same with several descriptors, at most [`MAX_FDS`].
pub(crate) fn send_many(socket: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let count = match fds {
        [] => {
            // SAFETY: the buffer is valid for reads of its length.
            unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) }
        }
        fds => send_with(socket, bytes, &fds[..fds.len().min(MAX_FDS)], flags),
    };
    if count < 0 {
        return match io::Error::last_os_error() {
            error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            error => Err(error),
        };
    }
    Ok(count as usize)
}

fn send_with(socket: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>], flags: i32) -> isize {
    let mut control = Control([0; _]);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: msghdr is plain data for which zeroes mean "absent".
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    let room = (fds.len() * size_of::<i32>()) as u32;
    // SAFETY: CMSG_SPACE and CMSG_LEN compute from their argument alone.
    let (space, length) = unsafe { (libc::CMSG_SPACE(room), libc::CMSG_LEN(room)) };
    message.msg_controllen = space as usize;
    // SAFETY: the control area is large enough for one header and `MAX_FDS` descriptors, and aligned for it.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = length as usize;
        let data = libc::CMSG_DATA(header).cast::<i32>();
        fds.iter().enumerate().for_each(|(index, fd)| data.add(index).write_unaligned(fd.as_raw_fd()));
    }
    // SAFETY: `message` names buffers that outlive the call; the kernel does not write to the one it sends.
    unsafe { libc::sendmsg(socket.as_raw_fd(), &message, flags) }
}
