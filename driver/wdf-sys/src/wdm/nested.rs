//! Structures that appear only inside others.
#![allow(missing_docs, non_camel_case_types, non_snake_case, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;

use crate::layout::layouts;
use crate::types::*;
use crate::wdm::*;

layouts! {
    struct KAPC = 88 {
        0 Type: u8, 1 SpareByte0: u8, 2 Size: u8, 3 SpareByte1: u8, 4 SpareLong0: u32, 8 Thread: *mut c_void,
        16 ApcListEntry: LIST_ENTRY, 32 KernelRoutine: *mut c_void, 40 RundownRoutine: *mut c_void, 48 NormalRoutine: *mut c_void,
        56 NormalContext: *mut c_void, 64 SystemArgument1: *mut c_void, 72 SystemArgument2: *mut c_void, 80 ApcStateIndex: i8,
        81 ApcMode: i8, 82 Inserted: BOOLEAN,
    }
    struct KDEVICE_QUEUE = 40 {
        0 Type: i16, 2 Size: i16, 8 DeviceListHead: LIST_ENTRY, 24 Lock: usize, 32 Busy: BOOLEAN,
    }
    struct KDEVICE_QUEUE_ENTRY = 24 {
        0 DeviceListEntry: LIST_ENTRY, 16 SortKey: u32, 20 Inserted: BOOLEAN,
    }
    struct WAIT_CONTEXT_BLOCK = 72 {
        0 WaitQueueEntry: KDEVICE_QUEUE_ENTRY, 24 DeviceRoutine: *mut c_void, 32 DeviceContext: *mut c_void,
        40 NumberOfMapRegisters: u32, 48 DeviceObject: *mut c_void, 56 CurrentIrp: *mut c_void,
        64 BufferChainingDpc: *mut KDPC,
    }
    struct GROUP_AFFINITY = 16 {
        0 Mask: usize, 8 Group: u16, 10 Reserved: [u16; 3],
    }
    struct CLIENT_ID = 16 {
        0 UniqueProcess: HANDLE, 8 UniqueThread: HANDLE,
    }
}

layouts! {
    struct KBUGCHECK_REASON_CALLBACK_RECORD = 48 {
        0 Entry: LIST_ENTRY, 16 CallbackRoutine: PKBUGCHECK_REASON_CALLBACK_ROUTINE, 24 Component: *mut u8, 32 Checksum: usize,
        40 Reason: i32, 44 State: u8,
    }
    struct IO_CONNECT_INTERRUPT_PARAMETERS = 80 {
        0 Version: u32, 8 FullySpecified: IO_CONNECT_INTERRUPT_FULLY_SPECIFIED_PARAMETERS,
    }
    struct IO_CONNECT_INTERRUPT_FULLY_SPECIFIED_PARAMETERS = 72 {
        0 PhysicalDeviceObject: *mut DEVICE_OBJECT, 8 InterruptObject: *mut *mut KINTERRUPT, 16 ServiceRoutine: PKSERVICE_ROUTINE,
        24 ServiceContext: *mut c_void, 32 SpinLock: *mut usize, 40 SynchronizeIrql: u8, 41 FloatingSave: BOOLEAN,
        42 ShareVector: BOOLEAN, 44 Vector: u32, 48 Irql: u8, 52 InterruptMode: i32, 56 ProcessorEnableMask: usize, 64 Group: u16,
    }
    struct DEVICE_RELATIONS = 16 {
        0 Count: u32, 8 Objects: [*mut DEVICE_OBJECT; 1],
    }
    struct KEY_VALUE_PARTIAL_INFORMATION = 16 {
        0 TitleIndex: u32, 4 Type: u32, 8 DataLength: u32, 12 Data: [u8; 1], 13 _pad0: [u8; 3],
    }
    struct RTL_OSVERSIONINFOW = 276 {
        0 dwOSVersionInfoSize: u32, 4 dwMajorVersion: u32, 8 dwMinorVersion: u32, 12 dwBuildNumber: u32, 16 dwPlatformId: u32,
        20 szCSDVersion: [u16; 128],
    }
}

layouts! {
    struct IO_DISCONNECT_INTERRUPT_PARAMETERS = 16 {
        0 Version: u32, 8 ConnectionContext: *mut c_void,
    }
}
