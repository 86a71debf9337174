//! Driver, device and file objects, MDLs, IRPs and their stack locations.
#![allow(missing_docs, non_camel_case_types, non_snake_case, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;

use crate::layout::layouts;
use crate::ntstatus::NTSTATUS;
use crate::types::*;
use crate::wdm::*;

layouts! {
    struct MDL = 48 {
        0 Next: *mut MDL, 8 Size: i16, 10 MdlFlags: i16, 16 Process: *mut c_void, 24 MappedSystemVa: *mut c_void,
        32 StartVa: *mut c_void, 40 ByteCount: u32, 44 ByteOffset: u32,
    }
    union DEVICE_OBJECT_Queue = 72 {
        0 ListEntry: LIST_ENTRY, 0 Wcb: WAIT_CONTEXT_BLOCK,
    }
    struct DEVICE_OBJECT = 328 {
        0 Type: i16, 2 Size: u16, 4 ReferenceCount: i32, 8 DriverObject: *mut DRIVER_OBJECT,
        16 NextDevice: *mut DEVICE_OBJECT, 24 AttachedDevice: *mut DEVICE_OBJECT, 32 CurrentIrp: *mut IRP,
        40 Timer: *mut c_void, 48 Flags: u32, 52 Characteristics: u32, 56 Vpb: *mut c_void,
        64 DeviceExtension: *mut c_void, 72 DeviceType: u32, 76 StackSize: i8, 80 Queue: DEVICE_OBJECT_Queue,
        152 AlignmentRequirement: u32, 160 DeviceQueue: KDEVICE_QUEUE, 200 Dpc: KDPC, 264 ActiveThreadCount: u32,
        272 SecurityDescriptor: *mut c_void, 280 DeviceLock: KEVENT, 304 SectorSize: u16, 306 Spare1: u16,
        312 DeviceObjectExtension: *mut c_void, 320 Reserved: *mut c_void,
    }
    struct FILE_OBJECT = 216 {
        0 Type: i16, 2 Size: i16, 8 DeviceObject: *mut DEVICE_OBJECT, 16 Vpb: *mut c_void, 24 FsContext: *mut c_void,
        32 FsContext2: *mut c_void, 40 SectionObjectPointer: *mut c_void, 48 PrivateCacheMap: *mut c_void,
        56 FinalStatus: NTSTATUS, 64 RelatedFileObject: *mut FILE_OBJECT, 72 LockOperation: BOOLEAN,
        73 DeletePending: BOOLEAN, 74 ReadAccess: BOOLEAN, 75 WriteAccess: BOOLEAN, 76 DeleteAccess: BOOLEAN,
        77 SharedRead: BOOLEAN, 78 SharedWrite: BOOLEAN, 79 SharedDelete: BOOLEAN, 80 Flags: u32,
        88 FileName: UNICODE_STRING, 104 CurrentByteOffset: i64, 112 Waiters: u32, 116 Busy: u32,
        120 LastLock: *mut c_void, 128 Lock: KEVENT, 152 Event: KEVENT, 176 CompletionContext: *mut c_void,
        184 IrpListLock: usize, 192 IrpList: LIST_ENTRY, 208 FileObjectExtension: *mut c_void,
    }
    struct DRIVER_EXTENSION = 40 {
        0 DriverObject: *mut DRIVER_OBJECT, 8 AddDevice: PDRIVER_ADD_DEVICE, 16 Count: u32,
        24 ServiceKeyName: UNICODE_STRING,
    }
    struct DRIVER_OBJECT = 336 {
        0 Type: i16, 2 Size: i16, 8 DeviceObject: *mut DEVICE_OBJECT, 16 Flags: u32, 24 DriverStart: *mut c_void,
        32 DriverSize: u32, 40 DriverSection: *mut c_void, 48 DriverExtension: *mut DRIVER_EXTENSION,
        56 DriverName: UNICODE_STRING, 72 HardwareDatabase: *mut UNICODE_STRING, 80 FastIoDispatch: *mut c_void,
        88 DriverInit: PDRIVER_INITIALIZE, 96 DriverStartIo: PDRIVER_STARTIO, 104 DriverUnload: PDRIVER_UNLOAD,
        112 MajorFunction: [PDRIVER_DISPATCH; 28],
    }
    struct IO_SECURITY_CONTEXT = 24 {
        0 SecurityQos: *mut c_void, 8 AccessState: *mut c_void, 16 DesiredAccess: u32, 20 FullCreateOptions: u32,
    }
    union IRP_AssociatedIrp = 8 {
        0 MasterIrp: *mut IRP, 0 IrpCount: i32, 0 SystemBuffer: *mut c_void,
    }
    struct IRP_Overlay_AsynchronousParameters = 16 {
        0 UserApcRoutine: PIO_APC_ROUTINE, 8 UserApcContext: *mut c_void,
    }
    union IRP_Overlay = 16 {
        0 AsynchronousParameters: IRP_Overlay_AsynchronousParameters, 0 AllocationSize: i64,
    }
    struct IRP_Tail_Overlay = 80 {
        0 DriverContext: [*mut c_void; 4], 32 Thread: *mut c_void, 40 AuxiliaryBuffer: *mut i8, 48 ListEntry: LIST_ENTRY,
        64 CurrentStackLocation: *mut IO_STACK_LOCATION, 72 OriginalFileObject: *mut FILE_OBJECT,
    }
    union IRP_Tail = 88 {
        0 Overlay: IRP_Tail_Overlay, 0 Apc: KAPC, 0 CompletionKey: *mut c_void,
    }
    struct IRP = 208 {
        0 Type: i16, 2 Size: u16, 8 MdlAddress: *mut MDL, 16 Flags: u32, 24 AssociatedIrp: IRP_AssociatedIrp,
        32 ThreadListEntry: LIST_ENTRY, 48 IoStatus: IO_STATUS_BLOCK, 64 RequestorMode: i8, 65 PendingReturned: BOOLEAN,
        66 StackCount: i8, 67 CurrentLocation: i8, 68 Cancel: BOOLEAN, 69 CancelIrql: u8, 70 ApcEnvironment: i8,
        71 AllocationFlags: u8, 72 UserIosb: *mut IO_STATUS_BLOCK, 80 UserEvent: *mut KEVENT, 88 Overlay: IRP_Overlay,
        104 CancelRoutine: PDRIVER_CANCEL, 112 UserBuffer: *mut c_void, 120 Tail: IRP_Tail,
    }
    struct IO_STACK_LOCATION_Parameters_Create = 32 {
        0 SecurityContext: *mut IO_SECURITY_CONTEXT, 8 Options: u32, 12 _pad0: [u8; 4], 16 FileAttributes: u16,
        18 ShareAccess: u16, 20 _pad1: [u8; 4], 24 EaLength: u32,
    }
    struct IO_STACK_LOCATION_Parameters_CreatePipe = 32 {
        0 SecurityContext: *mut IO_SECURITY_CONTEXT, 8 Options: u32, 12 _pad0: [u8; 4], 16 Reserved: u16,
        18 ShareAccess: u16, 24 Parameters: *mut c_void,
    }
    struct IO_STACK_LOCATION_Parameters_CreateMailslot = 32 {
        0 SecurityContext: *mut IO_SECURITY_CONTEXT, 8 Options: u32, 12 _pad0: [u8; 4], 16 Reserved: u16,
        18 ShareAccess: u16, 24 Parameters: *mut c_void,
    }
    struct IO_STACK_LOCATION_Parameters_Read = 24 {
        0 Length: u32, 4 _pad0: [u8; 4], 8 Key: u32, 12 Flags: u32, 16 ByteOffset: i64,
    }
    struct IO_STACK_LOCATION_Parameters_Write = 24 {
        0 Length: u32, 4 _pad0: [u8; 4], 8 Key: u32, 12 Flags: u32, 16 ByteOffset: i64,
    }
    struct IO_STACK_LOCATION_Parameters_QueryDirectory = 32 {
        0 Length: u32, 8 FileName: *mut UNICODE_STRING, 16 FileInformationClass: i32, 20 _pad0: [u8; 4], 24 FileIndex: u32,
    }
    struct IO_STACK_LOCATION_Parameters_NotifyDirectory = 16 {
        0 Length: u32, 4 _pad0: [u8; 4], 8 CompletionFilter: u32, 12 _pad1: [u8; 4],
    }
    struct IO_STACK_LOCATION_Parameters_NotifyDirectoryEx = 24 {
        0 Length: u32, 4 _pad0: [u8; 4], 8 CompletionFilter: u32, 12 _pad1: [u8; 4],
        16 DirectoryNotifyInformationClass: i32, 20 _pad2: [u8; 4],
    }
    struct IO_STACK_LOCATION_Parameters_QueryFile = 16 {
        0 Length: u32, 4 _pad0: [u8; 4], 8 FileInformationClass: i32, 12 _pad1: [u8; 4],
    }
    struct IO_STACK_LOCATION_Parameters_SetFile = 32 {
        0 Length: u32, 4 _pad0: [u8; 4], 8 FileInformationClass: i32, 16 FileObject: *mut FILE_OBJECT,
        24 ReplaceIfExists: BOOLEAN, 25 AdvanceOnly: BOOLEAN,
    }
    struct IO_STACK_LOCATION_Parameters_QueryEa = 32 {
        0 Length: u32, 8 EaList: *mut c_void, 16 EaListLength: u32, 20 _pad0: [u8; 4], 24 EaIndex: u32,
    }
    struct IO_STACK_LOCATION_Parameters_SetEa = 4 {
        0 Length: u32,
    }
    struct IO_STACK_LOCATION_Parameters_QueryVolume = 16 {
        0 Length: u32, 4 _pad0: [u8; 4], 8 FsInformationClass: i32, 12 _pad1: [u8; 4],
    }
    struct IO_STACK_LOCATION_Parameters_SetVolume = 16 {
        0 Length: u32, 4 _pad0: [u8; 4], 8 FsInformationClass: i32, 12 _pad1: [u8; 4],
    }
    struct IO_STACK_LOCATION_Parameters_FileSystemControl = 32 {
        0 OutputBufferLength: u32, 4 _pad0: [u8; 4], 8 InputBufferLength: u32, 12 _pad1: [u8; 4], 16 FsControlCode: u32,
        24 Type3InputBuffer: *mut c_void,
    }
    struct IO_STACK_LOCATION_Parameters_LockControl = 24 {
        0 Length: *mut i64, 8 Key: u32, 16 ByteOffset: i64,
    }
    struct IO_STACK_LOCATION_Parameters_DeviceIoControl = 32 {
        0 OutputBufferLength: u32, 4 _pad0: [u8; 4], 8 InputBufferLength: u32, 12 _pad1: [u8; 4], 16 IoControlCode: u32,
        24 Type3InputBuffer: *mut c_void,
    }
    struct IO_STACK_LOCATION_Parameters_QuerySecurity = 16 {
        0 SecurityInformation: u32, 4 _pad0: [u8; 4], 8 Length: u32, 12 _pad1: [u8; 4],
    }
    struct IO_STACK_LOCATION_Parameters_SetSecurity = 16 {
        0 SecurityInformation: u32, 8 SecurityDescriptor: *mut c_void,
    }
    struct IO_STACK_LOCATION_Parameters_MountVolume = 16 {
        0 Vpb: *mut c_void, 8 DeviceObject: *mut DEVICE_OBJECT,
    }
    struct IO_STACK_LOCATION_Parameters_VerifyVolume = 16 {
        0 Vpb: *mut c_void, 8 DeviceObject: *mut DEVICE_OBJECT,
    }
    struct IO_STACK_LOCATION_Parameters_Scsi = 8 {
        0 Srb: *mut c_void,
    }
    struct IO_STACK_LOCATION_Parameters_QueryQuota = 32 {
        0 Length: u32, 8 StartSid: *mut c_void, 16 SidList: *mut c_void, 24 SidListLength: u32,
    }
    struct IO_STACK_LOCATION_Parameters_SetQuota = 4 {
        0 Length: u32,
    }
    struct IO_STACK_LOCATION_Parameters_QueryDeviceRelations = 4 {
        0 Type: i32,
    }
    struct IO_STACK_LOCATION_Parameters_QueryInterface = 32 {
        0 InterfaceType: *const GUID, 8 Size: u16, 10 Version: u16, 16 Interface: *mut INTERFACE,
        24 InterfaceSpecificData: *mut c_void,
    }
    struct IO_STACK_LOCATION_Parameters_DeviceCapabilities = 8 {
        0 Capabilities: *mut DEVICE_CAPABILITIES,
    }
    struct IO_STACK_LOCATION_Parameters_FilterResourceRequirements = 8 {
        0 IoResourceRequirementList: *mut IO_RESOURCE_REQUIREMENTS_LIST,
    }
    struct IO_STACK_LOCATION_Parameters_ReadWriteConfig = 32 {
        0 WhichSpace: u32, 8 Buffer: *mut c_void, 16 Offset: u32, 20 _pad0: [u8; 4], 24 Length: u32,
    }
    struct IO_STACK_LOCATION_Parameters_SetLock = 1 {
        0 Lock: BOOLEAN,
    }
    struct IO_STACK_LOCATION_Parameters_QueryId = 4 {
        0 IdType: i32,
    }
    struct IO_STACK_LOCATION_Parameters_QueryDeviceText = 16 {
        0 DeviceTextType: i32, 4 _pad0: [u8; 4], 8 LocaleId: u32, 12 _pad1: [u8; 4],
    }
    struct IO_STACK_LOCATION_Parameters_UsageNotification = 16 {
        0 InPath: BOOLEAN, 1 Reserved: [BOOLEAN; 3], 4 _pad0: [u8; 4], 8 Type: i32, 12 _pad1: [u8; 4],
    }
    struct IO_STACK_LOCATION_Parameters_WaitWake = 4 {
        0 PowerState: i32,
    }
    struct IO_STACK_LOCATION_Parameters_PowerSequence = 8 {
        0 PowerSequence: *mut c_void,
    }
    struct IO_STACK_LOCATION_Parameters_Power = 32 {
        0 SystemContext: u32, 4 _pad0: [u8; 4], 8 Type: i32, 12 _pad1: [u8; 4], 16 State: POWER_STATE, 20 _pad2: [u8; 4],
        24 ShutdownType: i32, 28 _pad3: [u8; 4],
    }
    struct IO_STACK_LOCATION_Parameters_StartDevice = 16 {
        0 AllocatedResources: *mut CM_RESOURCE_LIST, 8 AllocatedResourcesTranslated: *mut CM_RESOURCE_LIST,
    }
    struct IO_STACK_LOCATION_Parameters_WMI = 32 {
        0 ProviderId: usize, 8 DataPath: *mut c_void, 16 BufferSize: u32, 24 Buffer: *mut c_void,
    }
    struct IO_STACK_LOCATION_Parameters_Others = 32 {
        0 Argument1: *mut c_void, 8 Argument2: *mut c_void, 16 Argument3: *mut c_void, 24 Argument4: *mut c_void,
    }
    union IO_STACK_LOCATION_Parameters = 32 {
        0 Create: IO_STACK_LOCATION_Parameters_Create, 0 CreatePipe: IO_STACK_LOCATION_Parameters_CreatePipe,
        0 CreateMailslot: IO_STACK_LOCATION_Parameters_CreateMailslot, 0 Read: IO_STACK_LOCATION_Parameters_Read,
        0 Write: IO_STACK_LOCATION_Parameters_Write, 0 QueryDirectory: IO_STACK_LOCATION_Parameters_QueryDirectory,
        0 NotifyDirectory: IO_STACK_LOCATION_Parameters_NotifyDirectory,
        0 NotifyDirectoryEx: IO_STACK_LOCATION_Parameters_NotifyDirectoryEx,
        0 QueryFile: IO_STACK_LOCATION_Parameters_QueryFile, 0 SetFile: IO_STACK_LOCATION_Parameters_SetFile,
        0 QueryEa: IO_STACK_LOCATION_Parameters_QueryEa, 0 SetEa: IO_STACK_LOCATION_Parameters_SetEa,
        0 QueryVolume: IO_STACK_LOCATION_Parameters_QueryVolume, 0 SetVolume: IO_STACK_LOCATION_Parameters_SetVolume,
        0 FileSystemControl: IO_STACK_LOCATION_Parameters_FileSystemControl,
        0 LockControl: IO_STACK_LOCATION_Parameters_LockControl,
        0 DeviceIoControl: IO_STACK_LOCATION_Parameters_DeviceIoControl,
        0 QuerySecurity: IO_STACK_LOCATION_Parameters_QuerySecurity,
        0 SetSecurity: IO_STACK_LOCATION_Parameters_SetSecurity, 0 MountVolume: IO_STACK_LOCATION_Parameters_MountVolume,
        0 VerifyVolume: IO_STACK_LOCATION_Parameters_VerifyVolume, 0 Scsi: IO_STACK_LOCATION_Parameters_Scsi,
        0 QueryQuota: IO_STACK_LOCATION_Parameters_QueryQuota, 0 SetQuota: IO_STACK_LOCATION_Parameters_SetQuota,
        0 QueryDeviceRelations: IO_STACK_LOCATION_Parameters_QueryDeviceRelations,
        0 QueryInterface: IO_STACK_LOCATION_Parameters_QueryInterface,
        0 DeviceCapabilities: IO_STACK_LOCATION_Parameters_DeviceCapabilities,
        0 FilterResourceRequirements: IO_STACK_LOCATION_Parameters_FilterResourceRequirements,
        0 ReadWriteConfig: IO_STACK_LOCATION_Parameters_ReadWriteConfig, 0 SetLock: IO_STACK_LOCATION_Parameters_SetLock,
        0 QueryId: IO_STACK_LOCATION_Parameters_QueryId, 0 QueryDeviceText: IO_STACK_LOCATION_Parameters_QueryDeviceText,
        0 UsageNotification: IO_STACK_LOCATION_Parameters_UsageNotification,
        0 WaitWake: IO_STACK_LOCATION_Parameters_WaitWake, 0 PowerSequence: IO_STACK_LOCATION_Parameters_PowerSequence,
        0 Power: IO_STACK_LOCATION_Parameters_Power, 0 StartDevice: IO_STACK_LOCATION_Parameters_StartDevice,
        0 WMI: IO_STACK_LOCATION_Parameters_WMI, 0 Others: IO_STACK_LOCATION_Parameters_Others,
    }
    struct IO_STACK_LOCATION = 72 {
        0 MajorFunction: u8, 1 MinorFunction: u8, 2 Flags: u8, 3 Control: u8, 8 Parameters: IO_STACK_LOCATION_Parameters,
        40 DeviceObject: *mut DEVICE_OBJECT, 48 FileObject: *mut FILE_OBJECT, 56 CompletionRoutine: PIO_COMPLETION_ROUTINE,
        64 Context: *mut c_void,
    }
}
