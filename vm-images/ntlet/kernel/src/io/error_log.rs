//! Error log entries: on Windows they end in the event log, here in the guest's.

use core::ffi::c_void;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::DEVICE_OBJECT;
use wdf_sys::wdm::constants::POOL_FLAG_NON_PAGED;
use wdf_sys::wdm::functions::{ExAllocatePool2, ExFreePool};

use super::device;

const TAG: u32 = u32::from_le_bytes(*b"IoEr");
/// `ERROR_LOG_MAXIMUM_SIZE`.
const LARGEST: u8 = 240;
/// Bytes before the packet: the device or driver it is about.
const HEAD: usize = 16;

/// `IO_ERROR_LOG_PACKET`, up to its dump data.
#[repr(C)]
struct Packet {
    major_function: u8,
    retry_count: u8,
    dump_data_size: u16,
    number_of_strings: u16,
    string_offset: u16,
    event_category: u16,
    error_code: u32,
    unique_value: u32,
    final_status: NTSTATUS,
    sequence: u32,
    io_control_code: u32,
    device_offset: i64,
}

const _: () = assert!(core::mem::offset_of!(Packet, error_code) == 12 && size_of::<Packet>() == 40);

/// # Safety
/// As the documentation of IoAllocateErrorLogEntry demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoAllocateErrorLogEntry(IoObject: *mut c_void, EntrySize: u8) -> *mut c_void {
    if usize::from(EntrySize) < size_of::<Packet>() || EntrySize > LARGEST {
        return core::ptr::null_mut();
    }
    // SAFETY: the block is as large as head and packet; it begins with what it is about.
    unsafe {
        let block: *mut u8 = ExAllocatePool2(POOL_FLAG_NON_PAGED, HEAD + usize::from(EntrySize), TAG).cast();
        if block.is_null() {
            return core::ptr::null_mut();
        }
        block.cast::<*mut c_void>().write(IoObject);
        block.add(HEAD).cast()
    }
}

/// # Safety
/// As the documentation of IoFreeErrorLogEntry demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoFreeErrorLogEntry(ElEntry: *mut c_void) {
    // SAFETY: the caller's promise: an entry that was allocated here.
    unsafe { ExFreePool(ElEntry.byte_sub(HEAD)) };
}

/// # Safety
/// As the documentation of IoWriteErrorLogEntry demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoWriteErrorLogEntry(ElEntry: *mut c_void) {
    // SAFETY: the caller's promise: an entry that was allocated here, which is given up by this call.
    unsafe {
        let object: *mut DEVICE_OBJECT = ElEntry.byte_sub(HEAD).cast::<*mut DEVICE_OBJECT>().read();
        let packet = &*ElEntry.cast::<Packet>();
        let name = if device::is_device(object) { device::driver_name(object) } else { "a driver".into() };
        crate::log!(
            "{name} logs an error: code {:#010x}, unique value {:#x}, final status {}",
            packet.error_code,
            packet.unique_value,
            packet.final_status
        );
        IoFreeErrorLogEntry(ElEntry);
    }
}
