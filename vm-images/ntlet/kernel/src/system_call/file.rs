//! Services on files and completion ports.

use alloc::vec::Vec;

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::{FILE_OBJECT, IO_STATUS_BLOCK, OBJECT_ATTRIBUTES, UNICODE_STRING};
use wdf_sys::{HANDLE, NTSTATUS};

use super::{Arguments, get, pointer, put, status};
use crate::dispatcher::thread::{self as kernel_thread, THREAD};
use crate::io::completion_port::{self, IO_COMPLETION, Packet};
use crate::io::information::{self, CLASS_POSITION};
use crate::io::open::{self as opening, OpenOptions};
use crate::io::request::{self, Buffer, Target};
use crate::io::{cancel, file};
use crate::memory::user;
use crate::object::exports::{by_handle, close_handle, open_handle};
use crate::object::{ObjectRef, handle::Entry};

fn handle(argument: u64) -> HANDLE {
    core::ptr::without_provenance_mut(argument as usize)
}

fn object(argument: u64) -> Result<Entry, NTSTATUS> {
    by_handle(handle(argument), USER_MODE)
}

pub(super) fn close(arguments: &Arguments) -> NTSTATUS {
    status(close_handle(handle(arguments[0]), USER_MODE))
}

/// Root directory and path of a program's object attributes.
pub(super) fn name(argument: u64) -> Result<(Option<ObjectRef>, Vec<u16>), NTSTATUS> {
    let attributes: OBJECT_ATTRIBUTES = get(argument)?;
    if attributes.Length as usize != size_of::<OBJECT_ATTRIBUTES>() {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    let root = opening::root_object(attributes.RootDirectory, USER_MODE)?;
    if attributes.ObjectName.is_null() {
        return Ok((root, Vec::new()));
    }
    let string: UNICODE_STRING = get(attributes.ObjectName.addr() as u64)?;
    if !string.Length.is_multiple_of(2) {
        return Err(NTSTATUS::OBJECT_NAME_INVALID);
    }
    // SAFETY: in user mode any address may be given.
    let bytes = unsafe { user::capture(USER_MODE, string.Buffer.cast(), usize::from(string.Length))? };
    Ok((root, bytes.as_chunks().0.iter().map(|&pair| u16::from_le_bytes(pair)).collect()))
}

fn open_by(handle_at: u64, attributes: u64, block_at: u64, options: OpenOptions) -> Result<(), NTSTATUS> {
    let (root, path) = name(attributes)?;
    // Both results are written at the end: an address that is bad is found before anything is opened.
    put(handle_at, &0u64)?;
    put(block_at, &[0u64; 2])?;
    let (file, information) = opening::open(root, &path, options)?;
    opening::note_handle(&file);
    let opened = open_handle(file, opening::file_access(options.access), false)?;
    let written = put(block_at, &[0, information as u64]).and_then(|()| put(handle_at, &(opened.addr() as u64)));
    if written.is_err() {
        let _ = close_handle(opened, USER_MODE);
    }
    written
}

pub(super) fn create(arguments: &Arguments) -> NTSTATUS {
    let [handle_at, access, attributes, block, _size, file_attributes, share, disposition, options, _ea, ea_length] = *arguments;
    if ea_length as u32 != 0 {
        crate::log!("NtCreateFile: extended attributes are not supported");
        return NTSTATUS::NOT_SUPPORTED;
    }
    let options = OpenOptions {
        access: access as u32,
        attributes: file_attributes as u32,
        share: share as u32,
        disposition: disposition as u32,
        options: options as u32,
        mode: USER_MODE,
    };
    status(open_by(handle_at, attributes, block, options))
}

pub(super) fn open(arguments: &Arguments) -> NTSTATUS {
    let [handle_at, access, attributes, block, share, options, ..] = *arguments;
    let options = OpenOptions {
        access: access as u32,
        attributes: 0,
        share: share as u32,
        disposition: FILE_OPEN,
        options: options as u32,
        mode: USER_MODE,
    };
    status(open_by(handle_at, attributes, block, options))
}

fn target(arguments: &Arguments) -> Target {
    Target {
        file: handle(arguments[0]),
        event: handle(arguments[1]),
        apc_routine: arguments[2] as usize,
        apc_context: arguments[3] as usize,
        block: pointer::<IO_STATUS_BLOCK>(arguments[4]),
        mode: USER_MODE,
    }
}

fn buffer(address: u64, length: u64) -> Buffer {
    Buffer { address: pointer(address), length: length as u32 }
}

pub(super) fn device_control(arguments: &Arguments) -> NTSTATUS {
    let input = buffer(arguments[6], arguments[7]);
    let output = buffer(arguments[8], arguments[9]);
    request::device_control(&target(arguments), arguments[5] as u32, input, output)
}

fn offset(argument: u64) -> Result<Option<i64>, NTSTATUS> {
    if argument == 0 { Ok(None) } else { get(argument).map(Some) }
}

pub(super) fn read(arguments: &Arguments) -> NTSTATUS {
    match offset(arguments[7]) {
        Ok(offset) => request::read(&target(arguments), buffer(arguments[5], arguments[6]), offset),
        Err(status) => status,
    }
}

pub(super) fn write(arguments: &Arguments) -> NTSTATUS {
    match offset(arguments[7]) {
        Ok(offset) => request::write(&target(arguments), buffer(arguments[5], arguments[6]), offset),
        Err(status) => status,
    }
}

/// The file object that a handle stands for.
fn file_of(argument: u64) -> Result<ObjectRef, NTSTATUS> {
    let entry = object(argument)?;
    if entry.object.is(&file::FILE) { Ok(entry.object) } else { Err(NTSTATUS::OBJECT_TYPE_MISMATCH) }
}

/// `NtCancelIoFile`: the current thread's requests; returns once they are finished.
pub(super) fn cancel(arguments: &Arguments) -> NTSTATUS {
    let run = || {
        let file = file_of(arguments[0])?;
        put(arguments[1], &[0u64; 2])?;
        let thread = kernel_thread::current().cast();
        let mut rounds = 0;
        while cancel::cancel_requests(thread, Some(file.body().cast()), None) != 0 && rounds < 60_000 {
            super::time::sleep(-10_000);
            rounds += 1;
        }
        put(arguments[1], &[0u64; 2])
    };
    status(run())
}

/// `NtCancelIoFileEx`: requests of every thread, or the one that reports to a given block.
pub(super) fn cancel_ex(arguments: &Arguments) -> NTSTATUS {
    let run = || {
        let file = file_of(arguments[0])?;
        put(arguments[2], &[0u64; 2])?;
        let wanted = (arguments[1] != 0).then_some(arguments[1] as usize);
        let threads = crate::process::current_program().map(|process| process.threads()).unwrap_or_default();
        let count: usize =
            threads.iter().map(|thread| cancel::cancel_requests(thread.body(), Some(file.body().cast()), wanted)).sum();
        let result = if count == 0 { NTSTATUS::NOT_FOUND } else { NTSTATUS::SUCCESS };
        put(arguments[2], &[u64::from(result.bits()), 0])?;
        result.ok()
    };
    status(run())
}

/// `NtCancelSynchronousIoFile`: what another thread waits for.
pub(super) fn cancel_synchronous(arguments: &Arguments) -> NTSTATUS {
    let run = || {
        let thread = object(arguments[0])?;
        if !thread.object.is(&THREAD) {
            return Err(NTSTATUS::OBJECT_TYPE_MISMATCH);
        }
        put(arguments[2], &[0u64; 2])?;
        let wanted = (arguments[1] != 0).then_some(arguments[1] as usize);
        let count = cancel::cancel_synchronous(thread.object.body(), wanted);
        let result = if count == 0 { NTSTATUS::NOT_FOUND } else { NTSTATUS::SUCCESS };
        put(arguments[2], &[u64::from(result.bits()), 0])?;
        result.ok()
    };
    status(run())
}

/// `FileCompletionInformation`.
const CLASS_COMPLETION: i32 = 30;

pub(super) fn query_information(arguments: &Arguments) -> NTSTATUS {
    let [handle, block, buffer, length, class, ..] = *arguments;
    let run = || {
        let known = information::known(&file_of(handle)?, class as i32).ok_or(NTSTATUS::INVALID_INFO_CLASS)?;
        if known.len() > length as u32 as usize {
            return Err(NTSTATUS::INFO_LENGTH_MISMATCH);
        }
        // SAFETY: an address of a program's, which is checked.
        unsafe { user::write(USER_MODE, pointer(buffer), &known)? };
        put(block, &[0u64, known.len() as u64])
    };
    status(run())
}

pub(super) fn set_information(arguments: &Arguments) -> NTSTATUS {
    let [handle, block, buffer, length, class, ..] = *arguments;
    let run = || {
        let file = file_of(handle)?;
        match class as i32 {
            CLASS_COMPLETION => {
                if (length as u32) < 16 {
                    return Err(NTSTATUS::INFO_LENGTH_MISMATCH);
                }
                let [port, key]: [u64; 2] = get(buffer)?;
                let port = object(port)?.object;
                let state = file::state(&file).ok_or(NTSTATUS::OBJECT_TYPE_MISMATCH)?;
                // SAFETY: the reference keeps the file alive.
                let is_synchronous = unsafe { (*file.body().cast::<FILE_OBJECT>()).Flags & file::FO_SYNCHRONOUS_IO != 0 };
                let mut known = state.port.lock();
                if !port.is(&IO_COMPLETION) || is_synchronous || known.is_some() {
                    return Err(NTSTATUS::INVALID_PARAMETER);
                }
                *known = Some((port, key as usize));
            }
            CLASS_POSITION => {
                if (length as u32) < 8 {
                    return Err(NTSTATUS::INFO_LENGTH_MISMATCH);
                }
                let position: i64 = get(buffer)?;
                // SAFETY: the reference keeps the file alive; positions are the program's own matter.
                unsafe { (*file.body().cast::<FILE_OBJECT>()).CurrentByteOffset = position };
            }
            _ => return Err(NTSTATUS::INVALID_INFO_CLASS),
        }
        put(block, &[0u64, 0])
    };
    status(run())
}

pub(super) fn create_port(arguments: &Arguments) -> NTSTATUS {
    let run = || {
        put(arguments[0], &0u64)?;
        let opened = open_handle(completion_port::create()?, 0x001f_0003, false)?;
        put(arguments[0], &(opened.addr() as u64))
    };
    status(run())
}

pub(super) fn post_to_port(arguments: &Arguments) -> NTSTATUS {
    let [port, key, context, result, information, ..] = *arguments;
    let run = || {
        let port = object(port)?.object;
        if !port.is(&IO_COMPLETION) {
            return Err(NTSTATUS::OBJECT_TYPE_MISMATCH);
        }
        let block = IO_STATUS_BLOCK::new(NTSTATUS(result as u32 as i32), information as usize);
        completion_port::post(&port, Packet { key: key as usize, context: context as usize, block });
        Ok(())
    };
    status(run())
}

pub(super) fn remove_from_port(arguments: &Arguments) -> NTSTATUS {
    let [port, key_at, context_at, block_at, timeout_at, ..] = *arguments;
    let run = || {
        let port = object(port)?.object;
        for at in [key_at, context_at] {
            put(at, &0u64)?;
        }
        put(block_at, &[0u64; 2])?;
        let mut timeout: i64 = if timeout_at == 0 { 0 } else { get(timeout_at)? };
        let timeout = if timeout_at == 0 { core::ptr::null_mut() } else { &raw mut timeout };
        let packet = completion_port::remove(&port, USER_MODE, timeout)?;
        put(key_at, &(packet.key as u64))?;
        put(context_at, &(packet.context as u64))?;
        put(block_at, &[u64::from(packet.block.status().bits()), packet.block.Information as u64])
    };
    status(run())
}
