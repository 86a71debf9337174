//! Files of the guest: where they are, how large they are, what is in them.

use alloc::format;
use alloc::string::String;
use core::ptr::{null, null_mut};

use channel::MAX_PIECE;

use crate::kernel32::{self, Owned, Refused};
use crate::text::wide;

const GENERIC_READ: u32 = 0x8000_0000;
const SHARE_ALL: u32 = 7;
const OPEN_EXISTING: u32 = 3;
const INVALID_HANDLE: isize = -1;
const INVALID_ATTRIBUTES: u32 = u32::MAX;
/// `SEM_FAILCRITICALERRORS | SEM_NOOPENFILEERRORBOX`: an empty drive is an error, and no window that somebody should close.
const NO_WINDOWS: u32 = 0x8001;
/// `ERROR_FILE_NOT_FOUND`.
const NOT_FOUND: u32 = 2;

/// Keeps the system from asking a user who is not there.
pub(crate) fn ask_nobody() {
    // SAFETY: no pointers.
    let _ = unsafe { kernel32::SetErrorMode(NO_WINDOWS) };
}

/// The root of the drive that has this file there.
pub(crate) fn find(name: &str) -> Result<String, Refused> {
    for letter in 'C'..='Z' {
        let path = wide(&format!(r"{letter}:\{name}"));
        // SAFETY: the name ends with a zero.
        if unsafe { kernel32::GetFileAttributesW(path.as_ptr()) } != INVALID_ATTRIBUTES {
            return Ok(format!(r"{letter}:\"));
        }
    }
    Err(Refused { what: "the search on every drive", code: NOT_FOUND })
}

/// A file that is read.
pub(crate) struct File(Owned);

impl File {
    /// Opens it, whoever else has it open.
    pub(crate) fn open(path: &str) -> Result<Self, Refused> {
        let path = wide(path);
        // SAFETY: the name ends with a zero; the other pointers are null, where that is allowed.
        let handle =
            unsafe { kernel32::CreateFileW(path.as_ptr(), GENERIC_READ, SHARE_ALL, null(), OPEN_EXISTING, 0, null_mut()) };
        if handle as isize == INVALID_HANDLE { Err(Refused::last("CreateFile")) } else { Ok(Self(Owned(handle))) }
    }

    /// Bytes.
    pub(crate) fn size(&self) -> Result<u64, Refused> {
        let mut size = 0;
        // SAFETY: the handle is open, and `size` a local.
        Refused::unless(unsafe { kernel32::GetFileSizeEx(self.0.0, &mut size) }, "GetFileSizeEx")?;
        Ok(u64::try_from(size).unwrap_or(0))
    }

    /// Gives `length` bytes from `offset` on, or as many as there are, in pieces with their places.
    pub(crate) fn pieces<E>(
        &self,
        offset: u64,
        length: u32,
        mut give: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, Refused> {
        let start = i64::try_from(offset).unwrap_or(i64::MAX);
        // SAFETY: the handle is open.
        Refused::unless(unsafe { kernel32::SetFilePointerEx(self.0.0, start, null_mut(), 0) }, "SetFilePointerEx")?;
        let (mut at, mut left, mut piece) = (offset, length, [0; MAX_PIECE]);
        while left > 0 {
            let (wanted, mut read) = (left.min(MAX_PIECE as u32), 0);
            // SAFETY: the buffer has room for `wanted` bytes.
            let done = unsafe { kernel32::ReadFile(self.0.0, piece.as_mut_ptr(), wanted, &mut read, null_mut()) };
            Refused::unless(done, "ReadFile")?;
            if read == 0 {
                break;
            }
            if let Err(error) = give(at, &piece[..read as usize]) {
                return Ok(Err(error));
            }
            (at, left) = (at + u64::from(read), left - read);
        }
        Ok(Ok(()))
    }
}
