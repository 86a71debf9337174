//! Numbers of the kernel's interface: IRP function codes, flags, object types, wait reasons, resource types.
#![allow(missing_docs, reason = "names and meaning are the DDI documentation's")]

pub const IRP_MJ_CREATE: u8 = 0x00;
pub const IRP_MJ_CLOSE: u8 = 0x02;
pub const IRP_MJ_READ: u8 = 0x03;
pub const IRP_MJ_WRITE: u8 = 0x04;
pub const IRP_MJ_QUERY_INFORMATION: u8 = 0x05;
pub const IRP_MJ_SET_INFORMATION: u8 = 0x06;
pub const IRP_MJ_FLUSH_BUFFERS: u8 = 0x09;
pub const IRP_MJ_DEVICE_CONTROL: u8 = 0x0e;
pub const IRP_MJ_INTERNAL_DEVICE_CONTROL: u8 = 0x0f;
pub const IRP_MJ_SHUTDOWN: u8 = 0x10;
pub const IRP_MJ_CLEANUP: u8 = 0x12;
pub const IRP_MJ_POWER: u8 = 0x16;
pub const IRP_MJ_SYSTEM_CONTROL: u8 = 0x17;
pub const IRP_MJ_PNP: u8 = 0x1b;
pub const IRP_MJ_MAXIMUM_FUNCTION: u8 = 0x1b;

pub const IRP_MN_START_DEVICE: u8 = 0x00;
pub const IRP_MN_QUERY_REMOVE_DEVICE: u8 = 0x01;
pub const IRP_MN_REMOVE_DEVICE: u8 = 0x02;
pub const IRP_MN_CANCEL_REMOVE_DEVICE: u8 = 0x03;
pub const IRP_MN_STOP_DEVICE: u8 = 0x04;
pub const IRP_MN_QUERY_STOP_DEVICE: u8 = 0x05;
pub const IRP_MN_CANCEL_STOP_DEVICE: u8 = 0x06;
pub const IRP_MN_QUERY_DEVICE_RELATIONS: u8 = 0x07;
pub const IRP_MN_QUERY_INTERFACE: u8 = 0x08;
pub const IRP_MN_QUERY_CAPABILITIES: u8 = 0x09;
pub const IRP_MN_QUERY_RESOURCES: u8 = 0x0a;
pub const IRP_MN_QUERY_RESOURCE_REQUIREMENTS: u8 = 0x0b;
pub const IRP_MN_QUERY_DEVICE_TEXT: u8 = 0x0c;
pub const IRP_MN_FILTER_RESOURCE_REQUIREMENTS: u8 = 0x0d;
pub const IRP_MN_READ_CONFIG: u8 = 0x0f;
pub const IRP_MN_WRITE_CONFIG: u8 = 0x10;
pub const IRP_MN_EJECT: u8 = 0x11;
pub const IRP_MN_SET_LOCK: u8 = 0x12;
pub const IRP_MN_QUERY_ID: u8 = 0x13;
pub const IRP_MN_QUERY_PNP_DEVICE_STATE: u8 = 0x14;
pub const IRP_MN_QUERY_BUS_INFORMATION: u8 = 0x15;
pub const IRP_MN_DEVICE_USAGE_NOTIFICATION: u8 = 0x16;
pub const IRP_MN_SURPRISE_REMOVAL: u8 = 0x17;
pub const IRP_MN_DEVICE_ENUMERATED: u8 = 0x19;

pub const IRP_MN_WAIT_WAKE: u8 = 0x00;
pub const IRP_MN_POWER_SEQUENCE: u8 = 0x01;
pub const IRP_MN_SET_POWER: u8 = 0x02;
pub const IRP_MN_QUERY_POWER: u8 = 0x03;

pub const IRP_MN_QUERY_ALL_DATA: u8 = 0x00;
pub const IRP_MN_QUERY_SINGLE_INSTANCE: u8 = 0x01;
pub const IRP_MN_CHANGE_SINGLE_INSTANCE: u8 = 0x02;
pub const IRP_MN_CHANGE_SINGLE_ITEM: u8 = 0x03;
pub const IRP_MN_ENABLE_EVENTS: u8 = 0x04;
pub const IRP_MN_DISABLE_EVENTS: u8 = 0x05;
pub const IRP_MN_ENABLE_COLLECTION: u8 = 0x06;
pub const IRP_MN_DISABLE_COLLECTION: u8 = 0x07;
pub const IRP_MN_REGINFO: u8 = 0x08;
pub const IRP_MN_EXECUTE_METHOD: u8 = 0x09;
pub const IRP_MN_REGINFO_EX: u8 = 0x0b;

pub const WMIREG_ACTION_REGISTER: u32 = 1;
pub const WMIREG_ACTION_DEREGISTER: u32 = 2;
pub const WMIREG_ACTION_REREGISTER: u32 = 3;
pub const WMIREG_ACTION_UPDATE_GUIDS: u32 = 4;
pub const WMIREG_ACTION_BLOCK_IRPS: u32 = 5;
/// `Parameters.WMI.DataPath` of a request for registration information: all of it, or what has changed.
pub const WMIREGISTER: usize = 0;
pub const WMIUPDATE: usize = 1;

pub const WMIREG_FLAG_EXPENSIVE: u32 = 0x1;
pub const WMIREG_FLAG_INSTANCE_LIST: u32 = 0x4;
pub const WMIREG_FLAG_INSTANCE_BASENAME: u32 = 0x8;
pub const WMIREG_FLAG_INSTANCE_PDO: u32 = 0x20;
pub const WMIREG_FLAG_EVENT_ONLY_GUID: u32 = 0x40;
pub const WMIREG_FLAG_TRACE_CONTROL_GUID: u32 = 0x1000;
pub const WMIREG_FLAG_REMOVE_GUID: u32 = 0x1_0000;
pub const WMIREG_FLAG_TRACED_GUID: u32 = 0x8_0000;

pub const WNODE_FLAG_ALL_DATA: u32 = 0x1;
pub const WNODE_FLAG_SINGLE_INSTANCE: u32 = 0x2;
pub const WNODE_FLAG_SINGLE_ITEM: u32 = 0x4;
pub const WNODE_FLAG_EVENT_ITEM: u32 = 0x8;
pub const WNODE_FLAG_FIXED_INSTANCE_SIZE: u32 = 0x10;
pub const WNODE_FLAG_TOO_SMALL: u32 = 0x20;
pub const WNODE_FLAG_STATIC_INSTANCE_NAMES: u32 = 0x80;
pub const WNODE_FLAG_EVENT_REFERENCE: u32 = 0x2000;
pub const WNODE_FLAG_METHOD_ITEM: u32 = 0x8000;
pub const WNODE_FLAG_PDO_INSTANCE_NAMES: u32 = 0x1_0000;
pub const WNODE_FLAG_TRACED_GUID: u32 = 0x2_0000;
pub const WNODE_FLAG_LOG_WNODE: u32 = 0x4_0000;

pub const SL_PENDING_RETURNED: u8 = 0x01;
pub const SL_ERROR_RETURNED: u8 = 0x02;
pub const SL_INVOKE_ON_CANCEL: u8 = 0x20;
pub const SL_INVOKE_ON_SUCCESS: u8 = 0x40;
pub const SL_INVOKE_ON_ERROR: u8 = 0x80;

pub const IO_NO_INCREMENT: i8 = 0;
pub const IO_TYPE_ADAPTER: i16 = 1;
pub const IO_TYPE_DEVICE: i16 = 3;
pub const IO_TYPE_DRIVER: i16 = 4;
pub const IO_TYPE_FILE: i16 = 5;
pub const IO_TYPE_IRP: i16 = 6;

pub const IRP_NOCACHE: u32 = 0x0000_0001;
pub const IRP_PAGING_IO: u32 = 0x0000_0002;
pub const IRP_SYNCHRONOUS_API: u32 = 0x0000_0004;
pub const IRP_BUFFERED_IO: u32 = 0x0000_0010;
pub const IRP_DEALLOCATE_BUFFER: u32 = 0x0000_0020;
pub const IRP_INPUT_OPERATION: u32 = 0x0000_0040;
pub const IRP_CREATE_OPERATION: u32 = 0x0000_0080;
pub const IRP_READ_OPERATION: u32 = 0x0000_0100;
pub const IRP_WRITE_OPERATION: u32 = 0x0000_0200;
pub const IRP_CLOSE_OPERATION: u32 = 0x0000_0400;

pub const DO_BUFFERED_IO: u32 = 0x0000_0004;
pub const DO_EXCLUSIVE: u32 = 0x0000_0008;
pub const DO_DIRECT_IO: u32 = 0x0000_0010;
pub const DO_DEVICE_HAS_NAME: u32 = 0x0000_0040;
pub const DO_DEVICE_INITIALIZING: u32 = 0x0000_0080;
pub const DO_BUS_ENUMERATED_DEVICE: u32 = 0x0000_1000;
pub const DO_POWER_PAGABLE: u32 = 0x0000_2000;
pub const DO_POWER_INRUSH: u32 = 0x0000_4000;

pub const FILE_DEVICE_BUS_EXTENDER: u32 = 0x2a;
pub const FILE_DEVICE_SERIAL_PORT: u32 = 0x1b;
pub const FILE_DEVICE_UNKNOWN: u32 = 0x22;
pub const FILE_DEVICE_SECURE_OPEN: u32 = 0x0000_0100;
pub const FILE_AUTOGENERATED_DEVICE_NAME: u32 = 0x0000_0080;

pub const METHOD_BUFFERED: u32 = 0;
pub const METHOD_IN_DIRECT: u32 = 1;
pub const METHOD_OUT_DIRECT: u32 = 2;
pub const METHOD_NEITHER: u32 = 3;

/// `KPROCESSOR_MODE`.
pub const KERNEL_MODE: i8 = 0;
pub const USER_MODE: i8 = 1;

/// `EVENT_TYPE`.
pub const NOTIFICATION_EVENT: i32 = 0;
pub const SYNCHRONIZATION_EVENT: i32 = 1;
/// `TIMER_TYPE`.
pub const NOTIFICATION_TIMER: i32 = 0;
pub const SYNCHRONIZATION_TIMER: i32 = 1;
/// `WAIT_TYPE`.
pub const WAIT_ALL: i32 = 0;
pub const WAIT_ANY: i32 = 1;
/// `KWAIT_REASON`.
pub const EXECUTIVE: i32 = 0;
/// `WORK_QUEUE_TYPE`.
pub const CRITICAL_WORK_QUEUE: i32 = 0;
pub const DELAYED_WORK_QUEUE: i32 = 1;

/// `LOCK_OPERATION`.
pub const IO_READ_ACCESS: i32 = 0;
pub const IO_WRITE_ACCESS: i32 = 1;
pub const IO_MODIFY_ACCESS: i32 = 2;
/// `MEMORY_CACHING_TYPE`.
pub const MM_NON_CACHED: i32 = 0;
pub const MM_CACHED: i32 = 1;
pub const MM_WRITE_COMBINED: i32 = 2;
pub const NORMAL_PAGE_PRIORITY: u32 = 16;
pub const MDL_MAPPING_NO_EXECUTE: u32 = 0x4000_0000;

pub const MDL_MAPPED_TO_SYSTEM_VA: i16 = 0x0001;
pub const MDL_PAGES_LOCKED: i16 = 0x0002;
pub const MDL_SOURCE_IS_NONPAGED_POOL: i16 = 0x0004;
pub const MDL_ALLOCATED_FIXED_SIZE: i16 = 0x0008;
pub const MDL_PARTIAL: i16 = 0x0010;
pub const MDL_PARTIAL_HAS_BEEN_MAPPED: i16 = 0x0020;
pub const MDL_WRITE_OPERATION: i16 = 0x0080;

/// `POOL_TYPE`.
pub const NON_PAGED_POOL: i32 = 0;
pub const PAGED_POOL: i32 = 1;
pub const NON_PAGED_POOL_NX: i32 = 512;
pub const POOL_FLAG_USE_QUOTA: u64 = 0x01;
pub const POOL_FLAG_UNINITIALIZED: u64 = 0x02;
pub const POOL_FLAG_CACHE_ALIGNED: u64 = 0x08;
pub const POOL_FLAG_RAISE_ON_FAILURE: u64 = 0x20;
pub const POOL_FLAG_NON_PAGED: u64 = 0x40;
pub const POOL_FLAG_NON_PAGED_EXECUTE: u64 = 0x80;
pub const POOL_FLAG_PAGED: u64 = 0x100;

pub const CM_RESOURCE_TYPE_NULL: u8 = 0;
pub const CM_RESOURCE_TYPE_PORT: u8 = 1;
pub const CM_RESOURCE_TYPE_INTERRUPT: u8 = 2;
pub const CM_RESOURCE_TYPE_MEMORY: u8 = 3;
pub const CM_RESOURCE_TYPE_MEMORY_LARGE: u8 = 7;
pub const CM_RESOURCE_INTERRUPT_LEVEL_SENSITIVE: u16 = 0;
pub const CM_RESOURCE_INTERRUPT_LATCHED: u16 = 1;
pub const CM_RESOURCE_INTERRUPT_MESSAGE: u16 = 2;
pub const CM_RESOURCE_INTERRUPT_MESSAGE_TOKEN: u32 = 0xffff_fffe;
pub const CM_RESOURCE_MEMORY_READ_WRITE: u16 = 0;
pub const CM_RESOURCE_PORT_IO: u16 = 1;
/// `CM_SHARE_DISPOSITION`.
pub const CM_RESOURCE_SHARE_DEVICE_EXCLUSIVE: u8 = 1;
pub const CM_RESOURCE_SHARE_SHARED: u8 = 3;
/// `KINTERRUPT_MODE`.
pub const LEVEL_SENSITIVE: i32 = 0;
pub const LATCHED: i32 = 1;
/// `IO_CONNECT_INTERRUPT_PARAMETERS::Version`.
pub const CONNECT_FULLY_SPECIFIED: u32 = 1;
pub const CONNECT_LINE_BASED: u32 = 2;
pub const CONNECT_MESSAGE_BASED: u32 = 3;
pub const CONNECT_FULLY_SPECIFIED_GROUP: u32 = 4;

/// `INTERFACE_TYPE`.
pub const PCI_BUS: i32 = 5;
pub const PNP_BUS: i32 = 15;
/// `WhichSpace` of configuration accesses.
pub const PCI_WHICHSPACE_CONFIG: u32 = 0;

/// `SYSTEM_POWER_STATE`.
pub const POWER_SYSTEM_WORKING: i32 = 1;
pub const POWER_SYSTEM_SLEEPING1: i32 = 2;
pub const POWER_SYSTEM_SLEEPING3: i32 = 4;
pub const POWER_SYSTEM_HIBERNATE: i32 = 5;
pub const POWER_SYSTEM_SHUTDOWN: i32 = 6;
/// `DEVICE_POWER_STATE`.
pub const POWER_DEVICE_UNSPECIFIED: i32 = 0;
pub const POWER_DEVICE_D0: i32 = 1;
pub const POWER_DEVICE_D1: i32 = 2;
pub const POWER_DEVICE_D2: i32 = 3;
pub const POWER_DEVICE_D3: i32 = 4;
/// `POWER_STATE_TYPE`.
pub const SYSTEM_POWER_STATE: i32 = 0;
pub const DEVICE_POWER_STATE: i32 = 1;

/// `DEVICE_RELATION_TYPE`.
pub const BUS_RELATIONS: i32 = 0;
pub const EJECTION_RELATIONS: i32 = 1;
pub const POWER_RELATIONS: i32 = 2;
pub const REMOVAL_RELATIONS: i32 = 3;
pub const TARGET_DEVICE_RELATION: i32 = 4;
/// `BUS_QUERY_ID_TYPE`.
pub const BUS_QUERY_DEVICE_ID: i32 = 0;
pub const BUS_QUERY_HARDWARE_IDS: i32 = 1;
pub const BUS_QUERY_COMPATIBLE_IDS: i32 = 2;
pub const BUS_QUERY_INSTANCE_ID: i32 = 3;

/// `PNP_DEVICE_STATE`.
pub const PNP_DEVICE_DISABLED: u32 = 0x01;
pub const PNP_DEVICE_FAILED: u32 = 0x04;
pub const PNP_DEVICE_REMOVED: u32 = 0x08;

pub const OBJ_CASE_INSENSITIVE: u32 = 0x40;
pub const OBJ_KERNEL_HANDLE: u32 = 0x200;
pub const FILE_OPEN: u32 = 1;
pub const FILE_SYNCHRONOUS_IO_ALERT: u32 = 0x10;
pub const FILE_SYNCHRONOUS_IO_NONALERT: u32 = 0x20;
pub const SYNCHRONIZE: u32 = 0x0010_0000;
pub const GENERIC_READ: u32 = 0x8000_0000;
pub const GENERIC_WRITE: u32 = 0x4000_0000;

/// Registry value types.
pub const REG_NONE: u32 = 0;
pub const REG_SZ: u32 = 1;
pub const REG_EXPAND_SZ: u32 = 2;
pub const REG_BINARY: u32 = 3;
pub const REG_DWORD: u32 = 4;
pub const REG_MULTI_SZ: u32 = 7;
pub const REG_QWORD: u32 = 11;
/// Access to a key: to read values, to list keys, to hear of changes.
pub const KEY_READ: u32 = 0x0002_0019;
/// `KEY_VALUE_INFORMATION_CLASS`.
pub const KEY_VALUE_PARTIAL: i32 = 2;

/// GUID_BUS_INTERFACE_STANDARD.
pub const GUID_BUS_INTERFACE_STANDARD: crate::GUID =
    crate::GUID::new((0x496b_8280, 0x6f25, 0x11d0, [0xbe, 0xaf, 0x08, 0x00, 0x2b, 0xe2, 0x09, 0x2f]));

/// GUID_REENUMERATE_SELF_INTERFACE_STANDARD.
pub const GUID_REENUMERATE_SELF_INTERFACE_STANDARD: crate::GUID =
    crate::GUID::new((0x2aeb_0243, 0x6a6e, 0x486b, [0x82, 0xfc, 0xd8, 0x15, 0xf6, 0xb9, 0x70, 0x06]));

/// Bug check codes that the executive raises.
pub mod bug_check {
    pub const REFERENCE_BY_POINTER: u32 = 0x18;
    pub const OBJECT_INITIALIZATION_FAILED: u32 = 0x5e;
    pub const PROCESS_INITIALIZATION_FAILED: u32 = 0x60;
    pub const DRIVER_VERIFIER_IOMANAGER_VIOLATION: u32 = 0xc9;
    pub const DRIVER_PNP_WATCHDOG: u32 = 0x1d5;
    pub const IRQL_NOT_LESS_OR_EQUAL: u32 = 0x0a;
    pub const NO_MORE_IRP_STACK_LOCATIONS: u32 = 0x35;
    pub const MULTIPLE_IRP_COMPLETE_REQUESTS: u32 = 0x44;
    pub const IRQL_GT_ZERO_AT_SYSTEM_SERVICE: u32 = 0x4a;
    pub const CANCEL_STATE_IN_COMPLETED_IRP: u32 = 0x48;
    pub const PAGE_FAULT_IN_NONPAGED_AREA: u32 = 0x50;
    pub const INVALID_PROCESS_ATTACH_ATTEMPT: u32 = 0x05;
    pub const PROCESS_HAS_LOCKED_PAGES: u32 = 0x76;
    pub const UNEXPECTED_KERNEL_MODE_TRAP: u32 = 0x7f;
    pub const SYSTEM_THREAD_EXCEPTION_NOT_HANDLED: u32 = 0x7e;
    pub const KMODE_EXCEPTION_NOT_HANDLED: u32 = 0x1e;
    pub const DRIVER_POWER_STATE_FAILURE: u32 = 0x9f;
    pub const ATTEMPTED_SWITCH_FROM_DPC: u32 = 0xb8;
    pub const BAD_POOL_CALLER: u32 = 0xc2;
    pub const BAD_POOL_HEADER: u32 = 0x19;
    pub const DRIVER_VERIFIER_DETECTED_VIOLATION: u32 = 0xc4;
    pub const DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS: u32 = 0xce;
    pub const DRIVER_IRQL_NOT_LESS_OR_EQUAL: u32 = 0xd1;
    pub const MANUALLY_INITIATED_CRASH: u32 = 0xe2;
    pub const DRIVER_OVERRAN_STACK_BUFFER: u32 = 0xf7;
    pub const WDF_VIOLATION: u32 = 0x10d;
    pub const DPC_WATCHDOG_VIOLATION: u32 = 0x133;
    pub const KERNEL_SECURITY_CHECK_FAILURE: u32 = 0x139;
    pub const APC_INDEX_MISMATCH: u32 = 0x01;
    pub const IRQL_NOT_GREATER_OR_EQUAL: u32 = 0x09;
    pub const MAXIMUM_WAIT_OBJECTS_EXCEEDED: u32 = 0x0c;
    pub const SPIN_LOCK_ALREADY_OWNED: u32 = 0x0f;
    pub const SPIN_LOCK_NOT_OWNED: u32 = 0x10;
    pub const THREAD_NOT_MUTEX_OWNER: u32 = 0x11;
    pub const SYSTEM_SERVICE_EXCEPTION: u32 = 0x3b;
    pub const NMI_HARDWARE_FAILURE: u32 = 0x80;
    pub const MACHINE_CHECK_EXCEPTION: u32 = 0x9c;
    pub const ATTEMPTED_WRITE_TO_READONLY_MEMORY: u32 = 0xbe;
    pub const TIMER_OR_DPC_INVALID: u32 = 0xc7;
    pub const IRQL_UNEXPECTED_VALUE: u32 = 0xc8;
    pub const WORKER_THREAD_RETURNED_AT_BAD_IRQL: u32 = 0xe1;
    pub const WORKER_INVALID: u32 = 0xe4;
    pub const HARDWARE_INTERRUPT_STORM: u32 = 0xf2;
    pub const ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY: u32 = 0xfc;
    pub const CLOCK_WATCHDOG_TIMEOUT: u32 = 0x101;
    pub const THREAD_TERMINATE_HELD_MUTEX: u32 = 0x4000008a;
}
