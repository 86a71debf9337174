//! What the foreign drivers and programs import, by module: an import library is made of it.

/// The WDM driver, that of a device, and the framework driver.
pub(crate) const KERNEL: &str = "DbgPrint DbgBreakPoint _snprintf RtlInitUnicodeString IoCreateDevice IoDeleteDevice IoCreateSymbolicLink IoDeleteSymbolicLink \
    IofCompleteRequest ExAllocatePool2 ExFreePoolWithTag KeInitializeEvent KeSetEvent KeWaitForSingleObject KeWaitForMultipleObjects \
    KeInitializeTimer KeSetTimer KeCancelTimer KeInitializeDpc KeInsertQueueDpc KeInitializeSpinLock KeAcquireSpinLockRaiseToDpc \
    KeReleaseSpinLock IoAllocateWorkItem IoQueueWorkItem IoFreeWorkItem ProbeForRead ProbeForWrite MmMapLockedPagesSpecifyCache \
    ExRaiseStatus IoCsqInitialize IoCsqInsertIrp IoCsqRemoveNextIrp PsCreateSystemThread PsTerminateSystemThread \
    ObReferenceObjectByHandle ObfDereferenceObject ZwClose ZwOpenKey MmGetSystemRoutineAddress KeBugCheckEx __C_specific_handler memset \
    memcpy __chkstk PsThreadType KeEnterCriticalRegion KeDelayExecutionThread IoAttachDeviceToDeviceStack IoDetachDevice IofCallDriver \
    PoStartNextPowerIrp PoCallDriver IoInitializeRemoveLockEx IoAcquireRemoveLockEx IoReleaseRemoveLockEx \
    IoReleaseRemoveLockAndWaitEx KeInitializeMutex KeReleaseMutex KeInitializeSemaphore KeReleaseSemaphore IoFreeIrp MmMapIoSpace \
    IoConnectInterruptEx NumberSeven@7";
/// The framework driver.
pub(crate) const FRAMEWORK: &str = "WdfVersionBind WdfVersionUnbind";
/// The library that is a framework of its own.
pub(crate) const LIBRARY: &str = "WdfRegisterLibrary WdfLdrDiagnosticsValueByNameAsULONG";
/// The driver that tries what samples use.
pub(crate) const WDK: &str = "DbgPrint KeInitializeEvent KeSetEvent KeWaitForSingleObject KeEnterCriticalRegion KeLeaveCriticalRegion \
    PsCreateSystemThread PsTerminateSystemThread ObReferenceObjectByHandle ObfDereferenceObject ZwClose RtlInitUnicodeString \
    MmMapLockedPagesSpecifyCache MmUnmapLockedPages IoCreateDevice IoDeleteDevice KeBugCheckEx __C_specific_handler memset memcpy \
    ExInitializePushLock ExAcquirePushLockExclusiveEx ExAcquirePushLockSharedEx ExReleasePushLockExclusiveEx \
    ExReleasePushLockSharedEx KeInitializeQueue KeInsertQueue KeInsertHeadQueue KeRemoveQueue KeRundownQueue KeIpiGenericCall \
    KeQueryActiveProcessorCount ExCreateCallback ExRegisterCallback ExUnregisterCallback ExNotifyCallback MmAllocatePagesForMdlEx \
    MmFreePagesFromMdl ExFreePool ExInitializeResourceLite ExAcquireResourceExclusiveLite ExIsResourceAcquiredExclusiveLite \
    ExReleaseResourceLite ExDeleteResourceLite ExInterlockedAddUlong ExInterlockedPushEntryList ExInterlockedPopEntryList \
    ExUuidCreate RtlInitString RtlEqualString RtlCompareString RtlUTF8ToUnicodeN RtlUnicodeToUTF8N RtlCharToInteger \
    RtlHashUnicodeString RtlTimeToSecondsSince1970 RtlSecondsSince1970ToTime RtlFindMostSignificantBit \
    RtlFindLeastSignificantBit IoIsWdmVersionAvailable isdigit _strupr strtok_s strcmp RtlCaptureContext RtlLookupFunctionEntry \
    RtlVirtualUnwind RtlUnwindEx IoStartPacket IoStartNextPacket IoAllocateIrp IoFreeIrp IoInitializeTimer IoStartTimer \
    IoStopTimer IoRegisterDriverReinitialization IoAttachDevice IoMakeAssociatedIrp IoDetachDevice IofCompleteRequest";
/// The one that tries more.
pub(crate) const MORE: &str = "DbgPrint ExAllocatePool2 ExFreePoolWithTag ObfDereferenceObject ZwClose RtlInitUnicodeString IoCreateDevice \
    IoDeleteDevice KeBugCheckEx memset memcpy RtlInitializeGenericTable RtlInsertElementGenericTable RtlDeleteElementGenericTable \
    RtlLookupElementGenericTable RtlEnumerateGenericTable RtlIsGenericTableEmpty RtlInitializeGenericTableAvl \
    RtlInsertElementGenericTableAvl RtlDeleteElementGenericTableAvl RtlLookupElementGenericTableAvl RtlGetElementGenericTableAvl \
    RtlEnumerateGenericTableAvl RtlNumberGenericTableElementsAvl PsSetCreateProcessNotifyRoutineEx PsSetCreateThreadNotifyRoutine \
    PsRemoveCreateThreadNotifyRoutine PsSetLoadImageNotifyRoutine PsRemoveLoadImageNotifyRoutine PsLookupProcessByProcessId \
    PsGetProcessId RtlCreateSecurityDescriptor RtlSetDaclSecurityDescriptor RtlGetDaclSecurityDescriptor RtlLengthSid RtlCreateAcl \
    RtlAddAccessAllowedAce ObOpenObjectByPointer ZwSetSecurityObject ZwQuerySecurityObject IoCheckShareAccess ZwCreateFile \
    ZwDeviceIoControlFile ZwQueryInformationFile ZwSetInformationFile ZwFlushBuffersFile IoGetConfigurationInformation \
    IoGetInitialStack IoWithinStackLimits RtlDuplicateUnicodeString RtlCreateUnicodeString RtlFreeUnicodeString ZwCreateEvent \
    ZwSetEvent ZwResetEvent ZwOpenSymbolicLinkObject ZwQuerySymbolicLinkObject KeSetSystemGroupAffinityThread \
    KeRevertToUserGroupAffinityThread";
/// The one that asks the rest of the kernel.
pub(crate) const SERVICES: &str = "DbgPrint ExAllocatePool2 ObfDereferenceObject ZwClose RtlInitUnicodeString IoCreateDevice IoDeleteDevice \
    IoCreateSymbolicLink IoDeleteSymbolicLink IofCompleteRequest KeInitializeEvent KeSetEvent KeWaitForSingleObject \
    KeDelayExecutionThread KeEnterCriticalRegion KeLeaveCriticalRegion PsCreateSystemThread PsTerminateSystemThread KeBugCheckEx memset \
    memcpy __chkstk IoWMIRegistrationControl IoWMIOpenBlock IoWMIQuerySingleInstance IoWMISetSingleInstance \
    IoWMISetNotificationCallback KeExpandKernelStackAndCallout IoGetStackLimits ExInitializeResourceLite \
    ExAcquireResourceExclusiveLite ExAcquireSharedWaitForExclusive ExReleaseResourceForThreadLite ExReleaseResourceLite \
    ExDeleteResourceLite ExSetResourceOwnerPointer KeStackAttachProcess KeUnstackDetachProcess IoGetCurrentProcess \
    SeCaptureSubjectContext SeReleaseSubjectContext SeAccessCheck RtlCreateSecurityDescriptor RtlSetDaclSecurityDescriptor \
    RtlCreateAcl PoRegisterPowerSettingCallback PoUnregisterPowerSettingCallback ZwCreateFile ZwDeviceIoControlFile \
    RtlCreateUnicodeString ExFreePoolWithTag PsGetCurrentThreadId KeGetCurrentThread PsLookupThreadByThreadId ZwCreateKey ZwSetValueKey ZwQuerySystemInformation \
    IoRegisterLastChanceShutdownNotification";
/// It, too.
pub(crate) const WMI_LIBRARY: &str = "WmiSystemControl WmiCompleteRequest WmiFireEvent";
/// The program.
pub(crate) const PROGRAM_IMPORTS: &str = "NtTerminateProcess NtCreateFile NtDeviceIoControlFile NtCancelIoFileEx NtWaitForSingleObject NtClose \
    NtDisplayString NtOpenFile NtReadFile NtWriteFile NtCancelIoFile NtCancelSynchronousIoFile \
    NtQueryInformationFile NtSetInformationFile NtCreateIoCompletion NtSetIoCompletion NtRemoveIoCompletion \
    NtCreateEvent NtSetEvent NtResetEvent NtClearEvent NtWaitForMultipleObjects NtCreateTimer NtSetTimer \
    NtCancelTimer NtYieldExecution NtQuerySystemTime NtQueryPerformanceCounter NtTestAlert NtQueueApcThread \
    NtCreateThreadEx NtQueryInformationProcess NtQuerySystemInformation NtAllocateVirtualMemory \
    NtFreeVirtualMemory NtProtectVirtualMemory NtDelayExecution NtInitiatePowerAction";
