//! What the I/O manager, the object manager, PnP, power and the registry export.

use super::exports;

exports! { LISTS =
    checked object::exports {
        ObReferenceObjectByHandle ObReferenceObjectByPointer ObfReferenceObject ObfDereferenceObject ObReferenceObjectByName ZwClose
    }
    plain object::tagged {
        ObfReferenceObjectWithTag ObfDereferenceObjectWithTag ObDereferenceObjectDeferDeleteWithTag
        ObReferenceObjectByHandleWithTag ObReferenceObjectByPointerWithTag ZwCreateEvent IoCreateNotificationEvent
        IoCreateSynchronizationEvent
    }
    plain object::exports { ObDereferenceObjectDeferDelete ObOpenObjectByPointer }
    data object::exports {
        "IoDeviceObjectType" = IoDeviceObjectType, "IoDriverObjectType" = IoDriverObjectType, "IoFileObjectType" = IoFileObjectType,
        "ExEventObjectType" = ExEventObjectType, "PsThreadType" = PsThreadType, "PsProcessType" = PsProcessType,
    }
    checked io::device {
        IoCreateDevice IoDeleteDevice IoAttachDeviceToDeviceStack IoAttachDeviceToDeviceStackSafe IoDetachDevice IoGetAttachedDevice
        IoGetAttachedDeviceReference IoGetLowerDeviceObject IoGetRelatedDeviceObject
    }
    plain io::device { IoGetDeviceAttachmentBaseRef }
    checked io::open { IoGetDeviceObjectPointer }
    checked io::driver {
        IoCreateSymbolicLink IoDeleteSymbolicLink IoAllocateDriverObjectExtension IoGetDriverObjectExtension
    }
    plain io::driver { IoRegisterDriverReinitialization }
    checked wmi::registration { IoWMIRegistrationControl IoWMIDeviceObjectToProviderId }
    checked wmi::event { IoWMIWriteEvent }
    plain wmi::block { IoWMIOpenBlock IoWMISetNotificationCallback }
    plain wmi::query {
        IoWMIQueryAllData IoWMIQueryAllDataMultiple IoWMIQuerySingleInstance IoWMIQuerySingleInstanceMultiple IoWMISetSingleInstance
        IoWMISetSingleItem IoWMIExecuteMethod
    }
    plain wmi::names {
        IoWMIAllocateInstanceIds IoWMIDeviceObjectToInstanceName IoWMIHandleToInstanceName IoWMISuggestInstanceName
    }
    plain io::legacy {
        IoAttachDevice IoMakeAssociatedIrp IoGetConfigurationInformation HalGetBusData HalSetBusData HalGetBusDataByOffset
        HalSetBusDataByOffset
    }
    plain io::share_access {
        IoCheckShareAccess IoSetShareAccess IoUpdateShareAccess IoRemoveShareAccess IoValidateDeviceIoControlAccess
    }
    checked io::irp { IoAllocateIrp IoFreeIrp IoInitializeIrp IoReuseIrp }
    checked io::call { IofCallDriver IoSetCompletionRoutineEx }
    plain io::error_log { IoAllocateErrorLogEntry IoFreeErrorLogEntry IoWriteErrorLogEntry }
    plain io::wait { IoForwardIrpSynchronously }
    checked io::complete { IofCompleteRequest }
    checked io::cancel { IoCancelIrp IoAcquireCancelSpinLock IoReleaseCancelSpinLock }
    plain io::build { IoBuildAsynchronousFsdRequest }
    plain io::start_io {
        IoStartPacket IoStartNextPacket IoStartNextPacketByKey IoInitializeTimer IoStartTimer IoStopTimer
    }
    plain io::cancel_safe_queue {
        IoCsqInitialize IoCsqInitializeEx IoCsqInsertIrp IoCsqInsertIrpEx IoCsqRemoveIrp IoCsqRemoveNextIrp
    }
    checked io::build {
        IoBuildDeviceIoControlRequest IoBuildSynchronousFsdRequest IoGetRequestorProcess IoGetRequestorProcessId IoIs32bitProcess
        IoGetTopLevelIrp IoGetCurrentProcess PsGetCurrentProcessId
    }
    plain io::information { ZwQueryInformationFile ZwSetInformationFile ZwFlushBuffersFile }
    plain io::miscellany {
        IoGetInitialStack IoWithinStackLimits IoSetTopLevelIrp IoIsSystemThread
        IoIsOperationSynchronous IoGetIoPriorityHint IoSetIoPriorityHint IoGetRequestorSessionId IoGetFileObjectGenericMapping
        IoCreateFile
    }
    named io::driver {
        "IoCreateUnprotectedSymbolicLink" = IoCreateSymbolicLink,
        "IoRegisterBootDriverReinitialization" = IoRegisterDriverReinitialization,
    }
    plain system_call::information { ZwQuerySystemInformation }
    plain io::shutdown { IoRegisterLastChanceShutdownNotification }
    plain pnp::interface { IoGetDeviceInterfaceAlias IoOpenDeviceInterfaceRegistryKey }
    plain security::sid {
        RtlValidSid RtlEqualSid RtlLengthSid RtlLengthRequiredSid RtlInitializeSid RtlSubAuthoritySid RtlSubAuthorityCountSid RtlCopySid
    }
    plain security::acl {
        RtlCreateAcl RtlValidAcl RtlAddAccessAllowedAce RtlAddAccessAllowedAceEx RtlAddAccessDeniedAce RtlGetAce
    }
    plain security::descriptor {
        RtlCreateSecurityDescriptor RtlValidSecurityDescriptor RtlLengthSecurityDescriptor RtlSetDaclSecurityDescriptor
        RtlSetOwnerSecurityDescriptor RtlSetGroupSecurityDescriptor RtlGetDaclSecurityDescriptor RtlGetSaclSecurityDescriptor
        RtlGetOwnerSecurityDescriptor RtlGetGroupSecurityDescriptor RtlAbsoluteToSelfRelativeSD RtlMapGenericMask
        SeCaptureSecurityDescriptor
    }
    plain security::device { ZwSetSecurityObject ZwQuerySecurityObject }
    plain security::access {
        SeAccessCheck SeCaptureSubjectContext SeLockSubjectContext SeUnlockSubjectContext SeReleaseSubjectContext
        SeValidSecurityDescriptor RtlValidRelativeSecurityDescriptor
    }
    plain security::well_known { SeSinglePrivilegeCheck }
    data security::well_known { "SeExports" = EXPORTS }
    plain process::notify {
        PsSetCreateProcessNotifyRoutine PsSetCreateProcessNotifyRoutineEx PsSetCreateProcessNotifyRoutineEx2
        PsSetCreateThreadNotifyRoutine PsRemoveCreateThreadNotifyRoutine PsSetLoadImageNotifyRoutine PsRemoveLoadImageNotifyRoutine
        PsLookupProcessByProcessId PsGetProcessId PsGetProcessExitStatus PsGetThreadProcess PsGetThreadProcessId
    }
    plain process::attach { KeStackAttachProcess KeUnstackDetachProcess KeAttachProcess KeDetachProcess }
    named process::notify { "IoThreadToProcess" = PsGetThreadProcess }
    data process { "PsInitialSystemProcess" = SYSTEM }
    checked io::remove_lock {
        IoInitializeRemoveLockEx IoAcquireRemoveLockEx IoReleaseRemoveLockEx IoReleaseRemoveLockAndWaitEx
    }
    checked io::shutdown { IoRegisterShutdownNotification IoUnregisterShutdownNotification }
    checked io::services { ZwCreateFile ZwWaitForSingleObject PsCreateSystemThread }
    plain io::services { ZwOpenFile ZwReadFile ZwWriteFile ZwDeviceIoControlFile ObCloseHandle }
    checked memory::mdl {
        IoAllocateMdl IoFreeMdl IoBuildPartialMdl MmBuildMdlForNonPagedPool MmProbeAndLockPages MmUnlockPages
        MmMapLockedPagesSpecifyCache MmUnmapLockedPages
    }
    plain memory::pages {
        MmAllocatePagesForMdl MmAllocatePagesForMdlEx MmFreePagesFromMdl MmAllocateNonCachedMemory MmFreeNonCachedMemory MmMapLockedPages
    }
    checked memory::map { MmMapIoSpace MmMapIoSpaceEx MmUnmapIoSpace MmGetPhysicalAddress }
    checked memory::contiguous {
        MmAllocateContiguousMemory MmAllocateContiguousMemorySpecifyCache MmFreeContiguousMemory MmFreeContiguousMemorySpecifyCache
    }
    checked memory::probe { MmIsAddressValid ProbeForRead ProbeForWrite }
    plain memory::paging {
        MmLockPagableDataSection MmLockPagableSectionByHandle MmUnlockPagableImageSection MmPageEntireDriver MmResetDriverPaging
        MmSizeOfMdl MmQuerySystemSize MmIsThisAnNtAsSystem
    }
    checked dma { IoGetDmaAdapter }
    checked pnp::events { IoInvalidateDeviceRelations IoInvalidateDeviceState IoReportTargetDeviceChangeAsynchronous }
    plain pnp::events { IoRequestDeviceEject }
    checked pnp::interface { IoRegisterDeviceInterface IoSetDeviceInterfaceState IoGetDeviceInterfaces }
    checked pnp::notification { IoRegisterPlugPlayNotification IoUnregisterPlugPlayNotificationEx }
    plain pnp::notification { IoUnregisterPlugPlayNotification }
    checked pnp::properties { IoGetDeviceProperty IoGetDevicePropertyData IoSetDevicePropertyData IoOpenDeviceRegistryKey }
    checked power { PoStartNextPowerIrp PoCallDriver PoSetPowerState PoSetSystemWake }
    plain power { PoGetSystemWake }
    checked power::request { PoRequestPowerIrp }
    plain power::settings {
        PoRegisterPowerSettingCallback PoUnregisterPowerSettingCallback PoCreatePowerRequest PoSetPowerRequest PoClearPowerRequest
        PoDeletePowerRequest
    }
    checked registry::keys {
        ZwOpenKey ZwCreateKey ZwQueryValueKey ZwSetValueKey ZwDeleteKey ZwDeleteValueKey ZwEnumerateKey ZwEnumerateValueKey
    }
    plain registry::keys { ZwQueryKey ZwFlushKey }
    plain registry::paths { RtlCheckRegistryKey RtlCreateRegistryKey RtlWriteRegistryValue RtlDeleteRegistryValue }
    checked registry::query { RtlQueryRegistryValues }
}
