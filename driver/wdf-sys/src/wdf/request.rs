//! Structures of the request, queue and I/O target calls.
#![allow(missing_docs, non_camel_case_types, non_snake_case, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;

use crate::layout::layouts;
use crate::ntstatus::NTSTATUS;
use crate::types::*;
use crate::wdf::*;
use crate::wdm::*;

layouts! {
    struct WDF_REQUEST_PARAMETERS_Parameters_Create = 32 {
        0 SecurityContext: *mut IO_SECURITY_CONTEXT, 8 Options: u32, 12 _pad0: [u8; 4], 16 FileAttributes: u16,
        18 ShareAccess: u16, 20 _pad1: [u8; 4], 24 EaLength: u32,
    }
    struct WDF_REQUEST_PARAMETERS_Parameters_Read = 24 {
        0 Length: usize, 8 Key: u32, 16 DeviceOffset: i64,
    }
    struct WDF_REQUEST_PARAMETERS_Parameters_Write = 24 {
        0 Length: usize, 8 Key: u32, 16 DeviceOffset: i64,
    }
    struct WDF_REQUEST_PARAMETERS_Parameters_DeviceIoControl = 32 {
        0 OutputBufferLength: usize, 8 InputBufferLength: usize, 16 IoControlCode: u32, 24 Type3InputBuffer: *mut c_void,
    }
    struct WDF_REQUEST_PARAMETERS_Parameters_Others = 32 {
        0 Arg1: *mut c_void, 8 Arg2: *mut c_void, 16 IoControlCode: u32, 24 Arg4: *mut c_void,
    }
    union WDF_REQUEST_PARAMETERS_Parameters = 32 {
        0 Create: WDF_REQUEST_PARAMETERS_Parameters_Create, 0 Read: WDF_REQUEST_PARAMETERS_Parameters_Read,
        0 Write: WDF_REQUEST_PARAMETERS_Parameters_Write,
        0 DeviceIoControl: WDF_REQUEST_PARAMETERS_Parameters_DeviceIoControl,
        0 Others: WDF_REQUEST_PARAMETERS_Parameters_Others,
    }
    struct WDF_REQUEST_PARAMETERS = 40 {
        0 Size: u16, 2 MinorFunction: u8, 4 Type: WDF_REQUEST_TYPE, 8 Parameters: WDF_REQUEST_PARAMETERS_Parameters,
    }
    struct WDF_REQUEST_COMPLETION_PARAMS_Parameters_Write = 24 {
        0 Buffer: WDFMEMORY, 8 Length: usize, 16 Offset: usize,
    }
    struct WDF_REQUEST_COMPLETION_PARAMS_Parameters_Read = 24 {
        0 Buffer: WDFMEMORY, 8 Length: usize, 16 Offset: usize,
    }
    struct WDF_REQUEST_COMPLETION_PARAMS_Parameters_Ioctl_Input = 16 {
        0 Buffer: WDFMEMORY, 8 Offset: usize,
    }
    struct WDF_REQUEST_COMPLETION_PARAMS_Parameters_Ioctl_Output = 24 {
        0 Buffer: WDFMEMORY, 8 Offset: usize, 16 Length: usize,
    }
    struct WDF_REQUEST_COMPLETION_PARAMS_Parameters_Ioctl = 48 {
        0 IoControlCode: u32, 8 Input: WDF_REQUEST_COMPLETION_PARAMS_Parameters_Ioctl_Input,
        24 Output: WDF_REQUEST_COMPLETION_PARAMS_Parameters_Ioctl_Output,
    }
    union WDF_REQUEST_COMPLETION_PARAMS_Parameters_Others_Argument1 = 8 {
        0 Ptr: *mut c_void, 0 Value: usize,
    }
    union WDF_REQUEST_COMPLETION_PARAMS_Parameters_Others_Argument2 = 8 {
        0 Ptr: *mut c_void, 0 Value: usize,
    }
    union WDF_REQUEST_COMPLETION_PARAMS_Parameters_Others_Argument3 = 8 {
        0 Ptr: *mut c_void, 0 Value: usize,
    }
    union WDF_REQUEST_COMPLETION_PARAMS_Parameters_Others_Argument4 = 8 {
        0 Ptr: *mut c_void, 0 Value: usize,
    }
    struct WDF_REQUEST_COMPLETION_PARAMS_Parameters_Others = 32 {
        0 Argument1: WDF_REQUEST_COMPLETION_PARAMS_Parameters_Others_Argument1,
        8 Argument2: WDF_REQUEST_COMPLETION_PARAMS_Parameters_Others_Argument2,
        16 Argument3: WDF_REQUEST_COMPLETION_PARAMS_Parameters_Others_Argument3,
        24 Argument4: WDF_REQUEST_COMPLETION_PARAMS_Parameters_Others_Argument4,
    }
    struct WDF_REQUEST_COMPLETION_PARAMS_Parameters_Usb = 8 {
        0 Completion: *mut c_void,
    }
    union WDF_REQUEST_COMPLETION_PARAMS_Parameters = 48 {
        0 Write: WDF_REQUEST_COMPLETION_PARAMS_Parameters_Write, 0 Read: WDF_REQUEST_COMPLETION_PARAMS_Parameters_Read,
        0 Ioctl: WDF_REQUEST_COMPLETION_PARAMS_Parameters_Ioctl, 0 Others: WDF_REQUEST_COMPLETION_PARAMS_Parameters_Others,
        0 Usb: WDF_REQUEST_COMPLETION_PARAMS_Parameters_Usb,
    }
    struct WDF_REQUEST_COMPLETION_PARAMS = 72 {
        0 Size: u32, 4 Type: WDF_REQUEST_TYPE, 8 IoStatus: IO_STATUS_BLOCK,
        24 Parameters: WDF_REQUEST_COMPLETION_PARAMS_Parameters,
    }
    struct WDF_REQUEST_REUSE_PARAMS = 24 {
        0 Size: u32, 4 Flags: u32, 8 Status: NTSTATUS, 16 NewIrp: *mut IRP,
    }
    struct WDF_REQUEST_SEND_OPTIONS = 16 {
        0 Size: u32, 4 Flags: u32, 8 Timeout: i64,
    }
    struct WDF_REQUEST_FORWARD_OPTIONS = 8 {
        0 Size: u32, 4 Flags: u32,
    }
    struct WDF_IO_TARGET_OPEN_PARAMS = 136 {
        0 Size: u32, 4 Type: WDF_IO_TARGET_OPEN_TYPE, 8 EvtIoTargetQueryRemove: PFN_WDF_IO_TARGET_QUERY_REMOVE,
        16 EvtIoTargetRemoveCanceled: PFN_WDF_IO_TARGET_REMOVE_CANCELED,
        24 EvtIoTargetRemoveComplete: PFN_WDF_IO_TARGET_REMOVE_COMPLETE, 32 TargetDeviceObject: *mut DEVICE_OBJECT,
        40 TargetFileObject: *mut FILE_OBJECT, 48 TargetDeviceName: UNICODE_STRING, 64 DesiredAccess: u32,
        68 ShareAccess: u32, 72 FileAttributes: u32, 76 CreateDisposition: u32, 80 CreateOptions: u32,
        88 EaBuffer: *mut c_void, 96 EaBufferLength: u32, 104 AllocationSize: *mut i64, 112 FileInformation: u32,
        120 FileName: UNICODE_STRING,
    }
    struct WDF_IO_QUEUE_CONFIG_Settings_Parallel = 4 {
        0 NumberOfPresentedRequests: u32,
    }
    union WDF_IO_QUEUE_CONFIG_Settings = 4 {
        0 Parallel: WDF_IO_QUEUE_CONFIG_Settings_Parallel,
    }
    struct WDF_IO_QUEUE_CONFIG = 96 {
        0 Size: u32, 4 DispatchType: WDF_IO_QUEUE_DISPATCH_TYPE, 8 PowerManaged: WDF_TRI_STATE,
        12 AllowZeroLengthRequests: BOOLEAN, 13 DefaultQueue: BOOLEAN, 16 EvtIoDefault: PFN_WDF_IO_QUEUE_IO_DEFAULT,
        24 EvtIoRead: PFN_WDF_IO_QUEUE_IO_READ, 32 EvtIoWrite: PFN_WDF_IO_QUEUE_IO_WRITE,
        40 EvtIoDeviceControl: PFN_WDF_IO_QUEUE_IO_DEVICE_CONTROL,
        48 EvtIoInternalDeviceControl: PFN_WDF_IO_QUEUE_IO_INTERNAL_DEVICE_CONTROL, 56 EvtIoStop: PFN_WDF_IO_QUEUE_IO_STOP,
        64 EvtIoResume: PFN_WDF_IO_QUEUE_IO_RESUME, 72 EvtIoCanceledOnQueue: PFN_WDF_IO_QUEUE_IO_CANCELED_ON_QUEUE,
        80 Settings: WDF_IO_QUEUE_CONFIG_Settings, 88 Driver: WDFDRIVER,
    }
    struct WDF_IO_FORWARD_PROGRESS_RESERVED_POLICY_SETTINGS_Policy_ExaminePolicy = 8 {
        0 EvtIoWdmIrpForForwardProgress: PFN_WDF_IO_WDM_IRP_FOR_FORWARD_PROGRESS,
    }
    union WDF_IO_FORWARD_PROGRESS_RESERVED_POLICY_SETTINGS_Policy = 8 {
        0 ExaminePolicy: WDF_IO_FORWARD_PROGRESS_RESERVED_POLICY_SETTINGS_Policy_ExaminePolicy,
    }
    struct WDF_IO_FORWARD_PROGRESS_RESERVED_POLICY_SETTINGS = 8 {
        0 Policy: WDF_IO_FORWARD_PROGRESS_RESERVED_POLICY_SETTINGS_Policy,
    }
    struct WDF_IO_QUEUE_FORWARD_PROGRESS_POLICY = 40 {
        0 Size: u32, 4 TotalForwardProgressRequests: u32,
        8 ForwardProgressReservedPolicy: WDF_IO_FORWARD_PROGRESS_RESERVED_POLICY,
        16 ForwardProgressReservePolicySettings: WDF_IO_FORWARD_PROGRESS_RESERVED_POLICY_SETTINGS,
        24 EvtIoAllocateResourcesForReservedRequest: PFN_WDF_IO_ALLOCATE_RESOURCES_FOR_RESERVED_REQUEST,
        32 EvtIoAllocateRequestResources: PFN_WDF_IO_ALLOCATE_REQUEST_RESOURCES,
    }
    struct WDF_REQUEST_FATAL_ERROR_INFORMATION_LENGTH_MISMATCH_DATA = 40 {
        0 Request: WDFREQUEST, 8 Irp: *mut IRP, 16 OutputBufferLength: u32, 24 Information: usize, 32 MajorFunction: u8,
    }
    struct WDF_QUEUE_FATAL_ERROR_DATA = 24 {
        0 Queue: WDFQUEUE, 8 Request: WDFREQUEST, 16 Status: NTSTATUS,
    }
}
