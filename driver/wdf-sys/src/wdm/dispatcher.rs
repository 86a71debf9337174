//! Dispatcher objects: events, semaphores, mutexes, timers, DPCs, work items; lists and strings.
#![allow(missing_docs, non_camel_case_types, non_snake_case, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;

use crate::layout::layouts;
use crate::ntstatus::NTSTATUS;
use crate::types::*;
use crate::wdm::*;

layouts! {
    struct UNICODE_STRING = 16 {
        0 Length: u16, 2 MaximumLength: u16, 8 Buffer: *mut u16,
    }
    struct OBJECT_ATTRIBUTES = 48 {
        0 Length: u32, 8 RootDirectory: HANDLE, 16 ObjectName: *mut UNICODE_STRING, 24 Attributes: u32,
        32 SecurityDescriptor: *mut c_void, 40 SecurityQualityOfService: *mut c_void,
    }
    struct LIST_ENTRY = 16 {
        0 Flink: *mut LIST_ENTRY, 8 Blink: *mut LIST_ENTRY,
    }
    struct TIME_FIELDS = 16 {
        0 Year: i16, 2 Month: i16, 4 Day: i16, 6 Hour: i16, 8 Minute: i16, 10 Second: i16, 12 Milliseconds: i16,
        14 Weekday: i16,
    }
    struct KWAIT_BLOCK = 48 {
        0 WaitListEntry: LIST_ENTRY, 16 Thread: *mut c_void, 24 Object: *mut c_void, 32 NextWaitBlock: *mut KWAIT_BLOCK,
        40 WaitKey: u16, 42 WaitType: u8, 43 BlockState: u8, 44 SpareLong: i32,
    }
    struct KDPC = 64 {
        0 Type: u8, 1 Importance: u8, 2 Number: u16, 8 DpcListEntry: LIST_ENTRY, 24 DeferredRoutine: PKDEFERRED_ROUTINE,
        32 DeferredContext: *mut c_void, 40 SystemArgument1: *mut c_void, 48 SystemArgument2: *mut c_void,
        56 DpcData: *mut c_void,
    }
    struct DISPATCHER_HEADER = 24 {
        0 Type: u8, 1 Signalling: BOOLEAN, 2 Size: u8, 3 Inserted: u8, 4 SignalState: i32, 8 WaitListHead: LIST_ENTRY,
    }
    struct KEVENT = 24 {
        0 Header: DISPATCHER_HEADER,
    }
    struct KSEMAPHORE = 32 {
        0 Header: DISPATCHER_HEADER, 24 Limit: i32,
    }
    struct KMUTANT = 56 {
        0 Header: DISPATCHER_HEADER, 24 MutantListEntry: LIST_ENTRY, 40 OwnerThread: *mut c_void, 48 Abandoned: BOOLEAN,
        49 ApcDisable: u8,
    }
    struct KTIMER = 64 {
        0 Header: DISPATCHER_HEADER, 24 DueTime: u64, 32 TimerListEntry: LIST_ENTRY, 48 Dpc: *mut KDPC, 56 Processor: u32,
        60 Period: u32,
    }
    struct FAST_MUTEX = 56 {
        0 Count: i32, 8 Owner: *mut c_void, 16 Contention: u32, 24 Event: KEVENT, 48 OldIrql: u32,
    }
    struct WORK_QUEUE_ITEM = 32 {
        0 List: LIST_ENTRY, 16 WorkerRoutine: PWORKER_THREAD_ROUTINE, 24 Parameter: *mut c_void,
    }
    struct SECURITY_SUBJECT_CONTEXT = 32 {
        0 ClientToken: *mut c_void, 8 ImpersonationLevel: i32, 16 PrimaryToken: *mut c_void,
        24 ProcessAuditId: *mut c_void,
    }
    union POWER_STATE = 4 {
        0 SystemState: i32, 0 DeviceState: i32,
    }
    union IO_STATUS_BLOCK_u = 8 {
        0 Status: NTSTATUS, 0 Pointer: *mut c_void,
    }
    struct IO_STATUS_BLOCK = 16 {
        0 u: IO_STATUS_BLOCK_u, 8 Information: usize,
    }
    struct IO_REMOVE_LOCK_COMMON_BLOCK = 32 {
        0 Removed: BOOLEAN, 1 Reserved: [BOOLEAN; 3], 4 IoCount: i32, 8 RemoveEvent: KEVENT,
    }
}
