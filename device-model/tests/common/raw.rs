//! A vfio-user client that says exactly what it is told to say.

use std::io::Read;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use device_model::serve::vfio_user::message::*;
use vfio_bindings::bindings::vfio::VFIO_PCI_CONFIG_REGION_INDEX as CONFIG;
use vmm_sys_util::sock_ctrl_msg::ScmSocket;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::Served;

/// Raw bytes in, raw bytes out.
pub(crate) struct Raw {
    pub(crate) stream: UnixStream,
    pub(crate) next_id: u16,
}

pub(crate) type Outcome = Result<Vec<u8>, u32>;

impl Raw {
    pub(crate) fn connect(served: &Served) -> Self {
        let stream = UnixStream::connect(&served.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self { stream, next_id: 100 }
    }

    pub(crate) fn negotiated(served: &Served) -> Self {
        let mut raw = Self::connect(served);
        raw.call(command::VERSION, Version { major: 0, minor: 1 }.as_bytes()).expect("a plain version is fine");
        raw
    }

    pub(crate) fn header(&mut self, command: u16, size: usize, flags: u32) -> Header {
        self.next_id += 1;
        Header { id: self.next_id, command, size: size as u32, flags, error: 0 }
    }

    pub(crate) fn call(&mut self, command: u16, body: &[u8]) -> Outcome {
        self.call_with(command, body, &[])
    }

    pub(crate) fn call_with(&mut self, command: u16, body: &[u8], fds: &[RawFd]) -> Outcome {
        let header = self.header(command, HEADER_SIZE + body.len(), 0);
        self.stream.send_with_fds(&[header.as_bytes(), body], fds).unwrap();
        self.reply()
    }

    pub(crate) fn reply(&mut self) -> Outcome {
        let mut bytes = [0; HEADER_SIZE];
        self.stream.read_exact(&mut bytes).expect("a reply");
        let header = Header::read_from_bytes(&bytes).unwrap();
        assert_eq!((header.id, header.flags & FLAG_TYPE), (self.next_id, FLAG_REPLY));
        let mut body = vec![0; header.size as usize - HEADER_SIZE];
        self.stream.read_exact(&mut body).unwrap();
        if header.flags & FLAG_ERROR == 0 { Ok(body) } else { Err(header.error) }
    }

    /// Whether the stream is still in step: the ids can be read.
    pub(crate) fn works(&mut self) {
        let body = self.read(CONFIG, 0, 4).expect("the next message still works");
        assert_eq!(body[16..], [0xf4, 0x1a, 0x55, 0x10]);
    }

    pub(crate) fn read(&mut self, region: u32, offset: u64, count: u32) -> Outcome {
        self.call(command::REGION_READ, RegionAccess { offset, region, count }.as_bytes())
    }

    pub(crate) fn refused<T: IntoBytes + Immutable>(&mut self, command: u16, body: &T, error: u32) {
        assert_eq!(self.call(command, body.as_bytes()), Err(error));
        self.works();
    }
}
