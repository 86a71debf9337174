//! What the kernel exports: the functions that drivers and the framework call here. `ntoskrnl.exe` provides them on Windows, the
//! executive on ntlet.
#![allow(missing_docs, non_camel_case_types, non_snake_case, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;

use crate::layout::kernel_functions;
use crate::ntstatus::NTSTATUS;
use crate::types::*;
use crate::wdm::*;

kernel_functions! {
    // Objects, drivers, devices, files.
    IoCreateDevice(DriverObject: *mut DRIVER_OBJECT, DeviceExtensionSize: u32, DeviceName: *mut UNICODE_STRING, DeviceType: u32, DeviceCharacteristics: u32, Exclusive: BOOLEAN, DeviceObject: *mut *mut DEVICE_OBJECT) -> NTSTATUS;
    IoDeleteDevice(DeviceObject: *mut DEVICE_OBJECT);
    IoAttachDeviceToDeviceStack(SourceDevice: *mut DEVICE_OBJECT, TargetDevice: *mut DEVICE_OBJECT) -> *mut DEVICE_OBJECT;
    IoAttachDeviceToDeviceStackSafe(SourceDevice: *mut DEVICE_OBJECT, TargetDevice: *mut DEVICE_OBJECT, AttachedToDeviceObject: *mut *mut DEVICE_OBJECT) -> NTSTATUS;
    IoDetachDevice(TargetDevice: *mut DEVICE_OBJECT);
    IoGetAttachedDevice(DeviceObject: *mut DEVICE_OBJECT) -> *mut DEVICE_OBJECT;
    IoGetAttachedDeviceReference(DeviceObject: *mut DEVICE_OBJECT) -> *mut DEVICE_OBJECT;
    IoGetLowerDeviceObject(DeviceObject: *mut DEVICE_OBJECT) -> *mut DEVICE_OBJECT;
    IoGetDeviceObjectPointer(ObjectName: *mut UNICODE_STRING, DesiredAccess: u32, FileObject: *mut *mut FILE_OBJECT, DeviceObject: *mut *mut DEVICE_OBJECT) -> NTSTATUS;
    IoGetRelatedDeviceObject(FileObject: *mut FILE_OBJECT) -> *mut DEVICE_OBJECT;
    IoCreateSymbolicLink(SymbolicLinkName: *mut UNICODE_STRING, DeviceName: *mut UNICODE_STRING) -> NTSTATUS;
    IoDeleteSymbolicLink(SymbolicLinkName: *mut UNICODE_STRING) -> NTSTATUS;
    IoRegisterDeviceInterface(PhysicalDeviceObject: *mut DEVICE_OBJECT, InterfaceClassGuid: *const GUID, ReferenceString: *mut UNICODE_STRING, SymbolicLinkName: *mut UNICODE_STRING) -> NTSTATUS;
    IoSetDeviceInterfaceState(SymbolicLinkName: *mut UNICODE_STRING, Enable: BOOLEAN) -> NTSTATUS;
    IoGetDeviceInterfaces(InterfaceClassGuid: *const GUID, PhysicalDeviceObject: *mut DEVICE_OBJECT, Flags: u32, SymbolicLinkList: *mut *mut u16) -> NTSTATUS;
    IoGetDeviceProperty(DeviceObject: *mut DEVICE_OBJECT, DeviceProperty: i32, BufferLength: u32, PropertyBuffer: *mut c_void, ResultLength: *mut u32) -> NTSTATUS;
    IoGetDevicePropertyData(Pdo: *mut DEVICE_OBJECT, PropertyKey: *const DEVPROPKEY, Lcid: u32, Flags: u32, Size: u32, Data: *mut c_void, RequiredSize: *mut u32, Type: *mut u32) -> NTSTATUS;
    IoSetDevicePropertyData(Pdo: *mut DEVICE_OBJECT, PropertyKey: *const DEVPROPKEY, Lcid: u32, Flags: u32, Type: u32, Size: u32, Data: *mut c_void) -> NTSTATUS;
    IoOpenDeviceRegistryKey(DeviceObject: *mut DEVICE_OBJECT, DevInstKeyType: u32, DesiredAccess: u32, DeviceRegKey: *mut HANDLE) -> NTSTATUS;
    IoInvalidateDeviceRelations(DeviceObject: *mut DEVICE_OBJECT, Type: i32);
    IoInvalidateDeviceState(PhysicalDeviceObject: *mut DEVICE_OBJECT);
    IoRegisterShutdownNotification(DeviceObject: *mut DEVICE_OBJECT) -> NTSTATUS;
    IoUnregisterShutdownNotification(DeviceObject: *mut DEVICE_OBJECT);
    IoRegisterPlugPlayNotification(EventCategory: i32, EventCategoryFlags: u32, EventCategoryData: *mut c_void, DriverObject: *mut DRIVER_OBJECT, CallbackRoutine: PDRIVER_NOTIFICATION_CALLBACK_ROUTINE, Context: *mut c_void, NotificationEntry: *mut *mut c_void) -> NTSTATUS;
    IoUnregisterPlugPlayNotificationEx(NotificationEntry: *mut c_void) -> NTSTATUS;
    IoReportTargetDeviceChangeAsynchronous(PhysicalDeviceObject: *mut DEVICE_OBJECT, NotificationStructure: *mut c_void, Callback: *mut c_void, Context: *mut c_void) -> NTSTATUS;
    IoAllocateDriverObjectExtension(DriverObject: *mut DRIVER_OBJECT, ClientIdentificationAddress: *mut c_void, DriverObjectExtensionSize: u32, DriverObjectExtension: *mut *mut c_void) -> NTSTATUS;
    IoGetDriverObjectExtension(DriverObject: *mut DRIVER_OBJECT, ClientIdentificationAddress: *mut c_void) -> *mut c_void;
    IoWMIRegistrationControl(DeviceObject: *mut DEVICE_OBJECT, Action: u32) -> NTSTATUS;
    IoWMIWriteEvent(WnodeEventItem: *mut c_void) -> NTSTATUS;
    IoWMIDeviceObjectToProviderId(DeviceObject: *mut DEVICE_OBJECT) -> u32;
    IoGetStackLimits(LowLimit: *mut usize, HighLimit: *mut usize);
    ObReferenceObjectByHandle(Handle: HANDLE, DesiredAccess: u32, ObjectType: *mut c_void, AccessMode: i8, Object: *mut *mut c_void, HandleInformation: *mut c_void) -> NTSTATUS;
    ObReferenceObjectByPointer(Object: *mut c_void, DesiredAccess: u32, ObjectType: *mut c_void, AccessMode: i8) -> NTSTATUS;
    ObfReferenceObject(Object: *mut c_void) -> isize;
    ObfDereferenceObject(Object: *mut c_void) -> isize;
    ObReferenceObjectByName(ObjectName: *mut UNICODE_STRING, Attributes: u32, AccessState: *mut c_void, DesiredAccess: u32, ObjectType: *mut c_void, AccessMode: i8, ParseContext: *mut c_void, Object: *mut *mut c_void) -> NTSTATUS;
    // IRPs.
    IofCallDriver(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP) -> NTSTATUS;
    IofCompleteRequest(Irp: *mut IRP, PriorityBoost: i8);
    IoAllocateIrp(StackSize: i8, ChargeQuota: BOOLEAN) -> *mut IRP;
    IoFreeIrp(Irp: *mut IRP);
    IoInitializeIrp(Irp: *mut IRP, PacketSize: u16, StackSize: i8);
    IoReuseIrp(Irp: *mut IRP, Iostatus: NTSTATUS);
    IoCancelIrp(Irp: *mut IRP) -> BOOLEAN;
    IoAcquireCancelSpinLock(Irql: *mut u8);
    IoReleaseCancelSpinLock(Irql: u8);
    IoBuildDeviceIoControlRequest(IoControlCode: u32, DeviceObject: *mut DEVICE_OBJECT, InputBuffer: *mut c_void, InputBufferLength: u32, OutputBuffer: *mut c_void, OutputBufferLength: u32, InternalDeviceIoControl: BOOLEAN, Event: *mut KEVENT, IoStatusBlock: *mut IO_STATUS_BLOCK) -> *mut IRP;
    IoBuildSynchronousFsdRequest(MajorFunction: u32, DeviceObject: *mut DEVICE_OBJECT, Buffer: *mut c_void, Length: u32, StartingOffset: *mut i64, Event: *mut KEVENT, IoStatusBlock: *mut IO_STATUS_BLOCK) -> *mut IRP;
    IoSetCompletionRoutineEx(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP, CompletionRoutine: PIO_COMPLETION_ROUTINE, Context: *mut c_void, InvokeOnSuccess: BOOLEAN, InvokeOnError: BOOLEAN, InvokeOnCancel: BOOLEAN) -> NTSTATUS;
    IoGetRequestorProcess(Irp: *mut IRP) -> *mut c_void;
    IoGetRequestorProcessId(Irp: *mut IRP) -> u32;
    IoIs32bitProcess(Irp: *mut IRP) -> BOOLEAN;
    IoGetTopLevelIrp() -> *mut IRP;
    // Power.
    PoStartNextPowerIrp(Irp: *mut IRP);
    PoCallDriver(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP) -> NTSTATUS;
    PoRequestPowerIrp(DeviceObject: *mut DEVICE_OBJECT, MinorFunction: u8, PowerState: POWER_STATE, CompletionFunction: PREQUEST_POWER_COMPLETE, Context: *mut c_void, Irp: *mut *mut IRP) -> NTSTATUS;
    PoSetPowerState(DeviceObject: *mut DEVICE_OBJECT, Type: i32, State: POWER_STATE) -> POWER_STATE;
    PoSetSystemWake(Irp: *mut IRP);
    // Interrupts.
    IoConnectInterruptEx(Parameters: *mut IO_CONNECT_INTERRUPT_PARAMETERS) -> NTSTATUS;
    IoDisconnectInterruptEx(Parameters: *mut IO_DISCONNECT_INTERRUPT_PARAMETERS);
    IoConnectInterrupt(InterruptObject: *mut *mut KINTERRUPT, ServiceRoutine: PKSERVICE_ROUTINE, ServiceContext: *mut c_void, SpinLock: *mut usize, Vector: u32, Irql: u8, SynchronizeIrql: u8, InterruptMode: i32, ShareVector: BOOLEAN, ProcessorEnableMask: usize, FloatingSave: BOOLEAN) -> NTSTATUS;
    IoDisconnectInterrupt(InterruptObject: *mut KINTERRUPT);
    IoReportInterruptActive(Parameters: *mut c_void);
    IoReportInterruptInactive(Parameters: *mut c_void);
    KeSynchronizeExecution(Interrupt: *mut KINTERRUPT, SynchronizeRoutine: PKSYNCHRONIZE_ROUTINE, SynchronizeContext: *mut c_void) -> BOOLEAN;
    KeAcquireInterruptSpinLock(Interrupt: *mut KINTERRUPT) -> u8;
    KeReleaseInterruptSpinLock(Interrupt: *mut KINTERRUPT, OldIrql: u8);
    // Work items and threads.
    IoAllocateWorkItem(DeviceObject: *mut DEVICE_OBJECT) -> *mut IO_WORKITEM;
    IoFreeWorkItem(IoWorkItem: *mut IO_WORKITEM);
    IoQueueWorkItem(IoWorkItem: *mut IO_WORKITEM, WorkerRoutine: PIO_WORKITEM_ROUTINE, QueueType: i32, Context: *mut c_void);
    ExQueueWorkItem(WorkItem: *mut WORK_QUEUE_ITEM, QueueType: i32);
    PsCreateSystemThread(ThreadHandle: *mut HANDLE, DesiredAccess: u32, ObjectAttributes: *mut OBJECT_ATTRIBUTES, ProcessHandle: HANDLE, ClientId: *mut CLIENT_ID, StartRoutine: PKSTART_ROUTINE, StartContext: *mut c_void) -> NTSTATUS;
    PsTerminateSystemThread(ExitStatus: NTSTATUS) -> NTSTATUS;
    PsGetCurrentProcessId() -> HANDLE;
    PsGetCurrentThreadId() -> HANDLE;
    IoGetCurrentProcess() -> *mut c_void;
    KeGetCurrentThread() -> *mut c_void;
    KeSetPriorityThread(Thread: *mut c_void, Priority: i32) -> i32;
    KeSetBasePriorityThread(Thread: *mut c_void, Increment: i32) -> i32;
    KeDelayExecutionThread(WaitMode: i8, Alertable: BOOLEAN, Interval: *mut i64) -> NTSTATUS;
    KeEnterCriticalRegion();
    KeLeaveCriticalRegion();
    KeAreApcsDisabled() -> BOOLEAN;
    KeAreAllApcsDisabled() -> BOOLEAN;
    // IRQL, spin locks, DPCs, processors.
    KeGetCurrentIrql() -> u8;
    KfRaiseIrql(NewIrql: u8) -> u8;
    KeLowerIrql(NewIrql: u8);
    KeRaiseIrqlToDpcLevel() -> u8;
    KeInitializeSpinLock(SpinLock: *mut usize);
    KeAcquireSpinLockRaiseToDpc(SpinLock: *mut usize) -> u8;
    KeReleaseSpinLock(SpinLock: *mut usize, NewIrql: u8);
    KeAcquireSpinLockAtDpcLevel(SpinLock: *mut usize);
    KeReleaseSpinLockFromDpcLevel(SpinLock: *mut usize);
    KeTryToAcquireSpinLockAtDpcLevel(SpinLock: *mut usize) -> BOOLEAN;
    KeInitializeDpc(Dpc: *mut KDPC, DeferredRoutine: PKDEFERRED_ROUTINE, DeferredContext: *mut c_void);
    KeInitializeThreadedDpc(Dpc: *mut KDPC, DeferredRoutine: PKDEFERRED_ROUTINE, DeferredContext: *mut c_void);
    KeInsertQueueDpc(Dpc: *mut KDPC, SystemArgument1: *mut c_void, SystemArgument2: *mut c_void) -> BOOLEAN;
    KeRemoveQueueDpc(Dpc: *mut KDPC) -> BOOLEAN;
    KeFlushQueuedDpcs();
    KeSetTargetProcessorDpc(Dpc: *mut KDPC, Number: i8);
    KeSetImportanceDpc(Dpc: *mut KDPC, Importance: i32);
    KeQueryActiveProcessorCount(ActiveProcessors: *mut usize) -> u32;
    KeQueryActiveProcessorCountEx(GroupNumber: u16) -> u32;
    KeQueryActiveProcessors() -> usize;
    KeGetCurrentProcessorNumberEx(ProcNumber: *mut c_void) -> u32;
    // Events, semaphores, mutexes, timers, waiting.
    KeInitializeEvent(Event: *mut KEVENT, Type: i32, State: BOOLEAN);
    KeSetEvent(Event: *mut KEVENT, Increment: i32, Wait: BOOLEAN) -> i32;
    KeClearEvent(Event: *mut KEVENT);
    KeResetEvent(Event: *mut KEVENT) -> i32;
    KeReadStateEvent(Event: *mut KEVENT) -> i32;
    KeInitializeSemaphore(Semaphore: *mut KSEMAPHORE, Count: i32, Limit: i32);
    KeReleaseSemaphore(Semaphore: *mut KSEMAPHORE, Increment: i32, Adjustment: i32, Wait: BOOLEAN) -> i32;
    KeReadStateSemaphore(Semaphore: *mut KSEMAPHORE) -> i32;
    KeInitializeMutex(Mutex: *mut KMUTANT, Level: u32);
    KeReleaseMutex(Mutex: *mut KMUTANT, Wait: BOOLEAN) -> i32;
    KeReadStateMutex(Mutex: *mut KMUTANT) -> i32;
    ExAcquireFastMutex(FastMutex: *mut FAST_MUTEX);
    ExReleaseFastMutex(FastMutex: *mut FAST_MUTEX);
    ExTryToAcquireFastMutex(FastMutex: *mut FAST_MUTEX) -> BOOLEAN;
    KeInitializeTimer(Timer: *mut KTIMER);
    KeInitializeTimerEx(Timer: *mut KTIMER, Type: i32);
    KeSetTimer(Timer: *mut KTIMER, DueTime: i64, Dpc: *mut KDPC) -> BOOLEAN;
    KeSetTimerEx(Timer: *mut KTIMER, DueTime: i64, Period: i32, Dpc: *mut KDPC) -> BOOLEAN;
    KeSetCoalescableTimer(Timer: *mut KTIMER, DueTime: i64, Period: u32, TolerableDelay: u32, Dpc: *mut KDPC) -> BOOLEAN;
    KeCancelTimer(Timer: *mut KTIMER) -> BOOLEAN;
    KeReadStateTimer(Timer: *mut KTIMER) -> BOOLEAN;
    KeWaitForSingleObject(Object: *mut c_void, WaitReason: i32, WaitMode: i8, Alertable: BOOLEAN, Timeout: *mut i64) -> NTSTATUS;
    KeWaitForMultipleObjects(Count: u32, Object: *mut *mut c_void, WaitType: i32, WaitReason: i32, WaitMode: i8, Alertable: BOOLEAN, Timeout: *mut i64, WaitBlockArray: *mut KWAIT_BLOCK) -> NTSTATUS;
    // Time.
    KeQueryTimeIncrement() -> u32;
    KeQueryPerformanceCounter(PerformanceFrequency: *mut i64) -> i64;
    KeQuerySystemTimePrecise(CurrentTime: *mut i64);
    KeQueryInterruptTime() -> u64;
    KeQueryInterruptTimePrecise(QpcTimeStamp: *mut u64) -> u64;
    KeQueryUnbiasedInterruptTime() -> u64;
    KeStallExecutionProcessor(MicroSeconds: u32);
    ExSystemTimeToLocalTime(SystemTime: *mut i64, LocalTime: *mut i64);
    RtlTimeToTimeFields(Time: *mut i64, TimeFields: *mut TIME_FIELDS);
    // Pool and memory.
    ExAllocatePool2(Flags: u64, NumberOfBytes: usize, Tag: u32) -> *mut c_void;
    ExAllocatePoolWithTag(PoolType: i32, NumberOfBytes: usize, Tag: u32) -> *mut c_void;
    ExFreePool(P: *mut c_void);
    ExFreePoolWithTag(P: *mut c_void, Tag: u32);
    IoAllocateMdl(VirtualAddress: *mut c_void, Length: u32, SecondaryBuffer: BOOLEAN, ChargeQuota: BOOLEAN, Irp: *mut IRP) -> *mut MDL;
    IoFreeMdl(Mdl: *mut MDL);
    IoBuildPartialMdl(SourceMdl: *mut MDL, TargetMdl: *mut MDL, VirtualAddress: *mut c_void, Length: u32);
    MmBuildMdlForNonPagedPool(Mdl: *mut MDL);
    MmProbeAndLockPages(MemoryDescriptorList: *mut MDL, AccessMode: i8, Operation: i32);
    MmUnlockPages(MemoryDescriptorList: *mut MDL);
    MmMapLockedPagesSpecifyCache(MemoryDescriptorList: *mut MDL, AccessMode: i8, CacheType: i32, RequestedAddress: *mut c_void, BugCheckOnFailure: u32, Priority: u32) -> *mut c_void;
    MmUnmapLockedPages(BaseAddress: *mut c_void, MemoryDescriptorList: *mut MDL);
    MmMapIoSpace(PhysicalAddress: i64, NumberOfBytes: usize, CacheType: i32) -> *mut c_void;
    MmMapIoSpaceEx(PhysicalAddress: i64, NumberOfBytes: usize, Protect: u32) -> *mut c_void;
    MmUnmapIoSpace(BaseAddress: *mut c_void, NumberOfBytes: usize);
    MmGetPhysicalAddress(BaseAddress: *mut c_void) -> i64;
    MmAllocateContiguousMemory(NumberOfBytes: usize, HighestAcceptableAddress: i64) -> *mut c_void;
    MmAllocateContiguousMemorySpecifyCache(NumberOfBytes: usize, LowestAcceptableAddress: i64, HighestAcceptableAddress: i64, BoundaryAddressMultiple: i64, CacheType: i32) -> *mut c_void;
    MmFreeContiguousMemory(BaseAddress: *mut c_void);
    MmFreeContiguousMemorySpecifyCache(BaseAddress: *mut c_void, NumberOfBytes: usize, CacheType: i32);
    MmIsAddressValid(VirtualAddress: *mut c_void) -> BOOLEAN;
    MmGetSystemRoutineAddress(SystemRoutineName: *mut UNICODE_STRING) -> *mut c_void;
    ProbeForRead(Address: *const c_void, Length: usize, Alignment: u32);
    ProbeForWrite(Address: *mut c_void, Length: usize, Alignment: u32);
    IoGetDmaAdapter(PhysicalDeviceObject: *mut DEVICE_OBJECT, DeviceDescription: *mut DEVICE_DESCRIPTION, NumberOfMapRegisters: *mut u32) -> *mut DMA_ADAPTER;
    // Lists that the kernel implements, lookaside.
    ExInterlockedInsertHeadList(ListHead: *mut LIST_ENTRY, ListEntry: *mut LIST_ENTRY, Lock: *mut usize) -> *mut LIST_ENTRY;
    ExInterlockedInsertTailList(ListHead: *mut LIST_ENTRY, ListEntry: *mut LIST_ENTRY, Lock: *mut usize) -> *mut LIST_ENTRY;
    ExInterlockedRemoveHeadList(ListHead: *mut LIST_ENTRY, Lock: *mut usize) -> *mut LIST_ENTRY;
    ExpInterlockedPushEntrySList(ListHead: *mut c_void, ListEntry: *mut c_void) -> *mut c_void;
    ExpInterlockedPopEntrySList(ListHead: *mut c_void) -> *mut c_void;
    // Registry.
    ZwOpenKey(KeyHandle: *mut HANDLE, DesiredAccess: u32, ObjectAttributes: *mut OBJECT_ATTRIBUTES) -> NTSTATUS;
    ZwCreateKey(KeyHandle: *mut HANDLE, DesiredAccess: u32, ObjectAttributes: *mut OBJECT_ATTRIBUTES, TitleIndex: u32, Class: *mut UNICODE_STRING, CreateOptions: u32, Disposition: *mut u32) -> NTSTATUS;
    ZwQueryValueKey(KeyHandle: HANDLE, ValueName: *mut UNICODE_STRING, KeyValueInformationClass: i32, KeyValueInformation: *mut c_void, Length: u32, ResultLength: *mut u32) -> NTSTATUS;
    ZwSetValueKey(KeyHandle: HANDLE, ValueName: *mut UNICODE_STRING, TitleIndex: u32, Type: u32, Data: *mut c_void, DataSize: u32) -> NTSTATUS;
    ZwDeleteKey(KeyHandle: HANDLE) -> NTSTATUS;
    ZwDeleteValueKey(KeyHandle: HANDLE, ValueName: *mut UNICODE_STRING) -> NTSTATUS;
    ZwEnumerateKey(KeyHandle: HANDLE, Index: u32, KeyInformationClass: i32, KeyInformation: *mut c_void, Length: u32, ResultLength: *mut u32) -> NTSTATUS;
    ZwEnumerateValueKey(KeyHandle: HANDLE, Index: u32, KeyValueInformationClass: i32, KeyValueInformation: *mut c_void, Length: u32, ResultLength: *mut u32) -> NTSTATUS;
    ZwClose(Handle: HANDLE) -> NTSTATUS;
    ZwCreateFile(FileHandle: *mut HANDLE, DesiredAccess: u32, ObjectAttributes: *mut OBJECT_ATTRIBUTES, IoStatusBlock: *mut IO_STATUS_BLOCK, AllocationSize: *mut i64, FileAttributes: u32, ShareAccess: u32, CreateDisposition: u32, CreateOptions: u32, EaBuffer: *mut c_void, EaLength: u32) -> NTSTATUS;
    ZwWaitForSingleObject(Handle: HANDLE, Alertable: BOOLEAN, Timeout: *mut i64) -> NTSTATUS;
    RtlQueryRegistryValues(RelativeTo: u32, Path: *const u16, QueryTable: *mut c_void, Context: *mut c_void, Environment: *mut c_void) -> NTSTATUS;
    // Strings and runtime.
    RtlInitUnicodeString(DestinationString: *mut UNICODE_STRING, SourceString: *const u16);
    RtlCopyUnicodeString(DestinationString: *mut UNICODE_STRING, SourceString: *const UNICODE_STRING);
    RtlCompareUnicodeString(String1: *const UNICODE_STRING, String2: *const UNICODE_STRING, CaseInSensitive: BOOLEAN) -> i32;
    RtlEqualUnicodeString(String1: *const UNICODE_STRING, String2: *const UNICODE_STRING, CaseInSensitive: BOOLEAN) -> BOOLEAN;
    RtlAppendUnicodeStringToString(Destination: *mut UNICODE_STRING, Source: *const UNICODE_STRING) -> NTSTATUS;
    RtlFreeUnicodeString(UnicodeString: *mut UNICODE_STRING);
    RtlIntegerToUnicodeString(Value: u32, Base: u32, String: *mut UNICODE_STRING) -> NTSTATUS;
    RtlStringFromGUID(Guid: *const GUID, GuidString: *mut UNICODE_STRING) -> NTSTATUS;
    RtlGUIDFromString(GuidString: *const UNICODE_STRING, Guid: *mut GUID) -> NTSTATUS;
    RtlGetVersion(VersionInformation: *mut RTL_OSVERSIONINFOW) -> NTSTATUS;
    RtlRandomEx(Seed: *mut u32) -> u32;
    RtlCaptureStackBackTrace(FramesToSkip: u32, FramesToCapture: u32, BackTrace: *mut *mut c_void, BackTraceHash: *mut u32) -> u16;
    vDbgPrintEx(ComponentId: u32, Level: u32, Format: *const u8, Arguments: *mut c_void) -> u32;
    DbgBreakPoint();
    KeBugCheck(BugCheckCode: u32) -> !;
    KeBugCheckEx(BugCheckCode: u32, BugCheckParameter1: usize, BugCheckParameter2: usize, BugCheckParameter3: usize, BugCheckParameter4: usize) -> !;
    KeRegisterBugCheckReasonCallback(CallbackRecord: *mut KBUGCHECK_REASON_CALLBACK_RECORD, CallbackRoutine: PKBUGCHECK_REASON_CALLBACK_ROUTINE, Reason: i32, Component: *const u8) -> BOOLEAN;
    KeDeregisterBugCheckReasonCallback(CallbackRecord: *mut KBUGCHECK_REASON_CALLBACK_RECORD) -> BOOLEAN;
    IoInitializeRemoveLockEx(Lock: *mut c_void, AllocateTag: u32, MaxLockedMinutes: u32, HighWatermark: u32, RemlockSize: u32);
    IoAcquireRemoveLockEx(RemoveLock: *mut c_void, Tag: *mut c_void, File: *const u8, Line: u32, RemlockSize: u32) -> NTSTATUS;
    IoReleaseRemoveLockEx(RemoveLock: *mut c_void, Tag: *mut c_void, RemlockSize: u32);
    IoReleaseRemoveLockAndWaitEx(RemoveLock: *mut c_void, Tag: *mut c_void, RemlockSize: u32);
}

#[cfg_attr(target_os = "windows", link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "win64" {
    pub fn DbgPrint(Format: *const u8, ...) -> u32;
    pub fn DbgPrintEx(ComponentId: u32, Level: u32, Format: *const u8, ...) -> u32;
}
