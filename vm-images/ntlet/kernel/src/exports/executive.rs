//! What the dispatcher, the pool, the loader and the runtime export.

use super::exports;

exports! { LISTS =
    checked dispatcher::irql { KeGetCurrentIrql KfRaiseIrql KeLowerIrql KeRaiseIrqlToDpcLevel }
    plain dispatcher::irql { KfLowerIrql }
    checked dispatcher::spin_lock {
        KeInitializeSpinLock KeAcquireSpinLockRaiseToDpc KeReleaseSpinLock KeAcquireSpinLockAtDpcLevel KeReleaseSpinLockFromDpcLevel
        KeTryToAcquireSpinLockAtDpcLevel
    }
    plain dispatcher::spin_lock {
        KeTestSpinLock KeAcquireInStackQueuedSpinLock KeReleaseInStackQueuedSpinLock KeAcquireInStackQueuedSpinLockAtDpcLevel
        KeReleaseInStackQueuedSpinLockFromDpcLevel ExAcquireSpinLockShared ExAcquireSpinLockSharedAtDpcLevel ExReleaseSpinLockShared
        ExReleaseSpinLockSharedFromDpcLevel ExAcquireSpinLockExclusive ExAcquireSpinLockExclusiveAtDpcLevel
        ExReleaseSpinLockExclusive ExReleaseSpinLockExclusiveFromDpcLevel
    }
    checked dispatcher::dpc {
        KeInitializeDpc KeInitializeThreadedDpc KeInsertQueueDpc KeRemoveQueueDpc KeFlushQueuedDpcs KeSetTargetProcessorDpc
        KeSetImportanceDpc
    }
    plain dispatcher::dpc { KeSetTargetProcessorDpcEx }
    checked dispatcher::event { KeInitializeEvent KeSetEvent KeClearEvent KeResetEvent KeReadStateEvent }
    plain dispatcher::event { KePulseEvent }
    checked dispatcher::semaphore { KeInitializeSemaphore KeReleaseSemaphore KeReadStateSemaphore }
    checked dispatcher::mutex { KeInitializeMutex KeReleaseMutex KeReadStateMutex }
    checked dispatcher::fast_mutex { ExAcquireFastMutex ExReleaseFastMutex ExTryToAcquireFastMutex }
    plain dispatcher::fast_mutex {
        ExAcquireFastMutexUnsafe ExReleaseFastMutexUnsafe KeInitializeGuardedMutex KeAcquireGuardedMutex KeTryToAcquireGuardedMutex
        KeReleaseGuardedMutex
    }
    checked dispatcher::timer {
        KeInitializeTimer KeInitializeTimerEx KeSetTimer KeSetTimerEx KeSetCoalescableTimer KeCancelTimer KeReadStateTimer
    }
    plain dispatcher::timer { KeQueryTimerDueTime }
    checked dispatcher::wait { KeWaitForSingleObject KeWaitForMultipleObjects KeDelayExecutionThread }
    plain dispatcher::wait { KeAlertThread KeTestAlertThread }
    plain dispatcher::resource {
        ExInitializeResourceLite ExReinitializeResourceLite ExDeleteResourceLite ExAcquireResourceExclusiveLite
        ExAcquireResourceSharedLite ExAcquireSharedStarveExclusive ExReleaseResourceLite ExConvertExclusiveToSharedLite
        ExEnterCriticalRegionAndAcquireResourceExclusive ExEnterCriticalRegionAndAcquireResourceShared
        ExReleaseResourceAndLeaveCriticalRegion ExIsResourceAcquiredExclusiveLite ExIsResourceAcquiredSharedLite
        ExGetExclusiveWaiterCount ExGetSharedWaiterCount ExReleaseResourceForThreadLite ExSetResourceOwnerPointer
        ExSetResourceOwnerPointerEx ExAcquireSharedWaitForExclusive ExEnterCriticalRegionAndAcquireSharedWaitForExclusive
    }
    plain dispatcher::rundown {
        ExInitializeRundownProtection ExReInitializeRundownProtection ExAcquireRundownProtection ExAcquireRundownProtectionEx
        ExReleaseRundownProtection ExReleaseRundownProtectionEx ExWaitForRundownProtectionRelease ExRundownCompleted
        ExSizeOfRundownProtectionCacheAware ExInitializeRundownProtectionCacheAware ExAllocateCacheAwareRundownProtection
        ExFreeCacheAwareRundownProtection
    }
    named dispatcher::rundown {
        "ExAcquireRundownProtectionCacheAware" = ExAcquireRundownProtection,
        "ExAcquireRundownProtectionCacheAwareEx" = ExAcquireRundownProtectionEx,
        "ExReleaseRundownProtectionCacheAware" = ExReleaseRundownProtection,
        "ExReleaseRundownProtectionCacheAwareEx" = ExReleaseRundownProtectionEx,
        "ExWaitForRundownProtectionReleaseCacheAware" = ExWaitForRundownProtectionRelease,
        "ExRundownCompletedCacheAware" = ExRundownCompleted,
        "ExReInitializeRundownProtectionCacheAware" = ExReInitializeRundownProtection,
    }
    plain dispatcher::run_once {
        RtlRunOnceInitialize RtlRunOnceBeginInitialize RtlRunOnceComplete RtlRunOnceExecuteOnce
    }
    plain dispatcher::push_lock {
        ExInitializePushLock ExAcquirePushLockExclusiveEx ExAcquirePushLockSharedEx ExTryAcquirePushLockExclusiveEx
        ExReleasePushLockExclusiveEx ExReleasePushLockSharedEx
    }
    plain dispatcher::queue {
        KeInitializeQueue KeInsertQueue KeInsertHeadQueue KeRemoveQueue KeRundownQueue KeReadStateQueue
    }
    plain dispatcher::ipi { KeIpiGenericCall }
    plain executive_callback { ExCreateCallback ExRegisterCallback ExUnregisterCallback ExNotifyCallback }
    plain dispatcher::device_queue {
        KeInitializeDeviceQueue KeInsertDeviceQueue KeInsertByKeyDeviceQueue KeRemoveDeviceQueue KeRemoveByKeyDeviceQueue
        KeRemoveEntryDeviceQueue
    }
    checked lists {
        ExInterlockedInsertHeadList ExInterlockedInsertTailList ExInterlockedRemoveHeadList ExpInterlockedPushEntrySList
        ExpInterlockedPopEntrySList
    }
    plain lists { InitializeSListHead ExpInterlockedFlushSList ExQueryDepthSList }
    plain lookaside {
        ExInitializeNPagedLookasideList ExInitializePagedLookasideList ExDeleteNPagedLookasideList ExDeletePagedLookasideList
        ExInitializeLookasideListEx ExFlushLookasideListEx ExDeleteLookasideListEx
    }
    plain dispatcher::apc { KeInitializeApc KeInsertQueueApc KeRemoveQueueApc }
    checked dispatcher::critical_region { KeEnterCriticalRegion KeLeaveCriticalRegion KeAreApcsDisabled KeAreAllApcsDisabled }
    plain dispatcher::critical_region { KeEnterGuardedRegion KeLeaveGuardedRegion }
    checked dispatcher::thread::exported {
        KeGetCurrentThread PsGetCurrentThreadId PsTerminateSystemThread KeSetPriorityThread KeSetBasePriorityThread IoGetStackLimits
    }
    plain dispatcher::thread::exported {
        PsGetCurrentThread PsGetThreadId PsIsThreadTerminating PsIsSystemThread KeQueryPriorityThread KeSetSystemAffinityThreadEx
        KeSetSystemAffinityThread KeRevertToUserAffinityThreadEx KeRevertToUserAffinityThread ZwYieldExecution
        IoGetRemainingStackSize ExGetPreviousMode
    }
    plain dispatcher::thread::lookup { PsLookupThreadByThreadId }
    plain dispatcher::thread::expand { KeExpandKernelStackAndCallout KeExpandKernelStackAndCalloutEx }
    checked processors {
        KeQueryActiveProcessorCount KeQueryActiveProcessorCountEx KeQueryActiveProcessors KeGetCurrentProcessorNumberEx
    }
    plain processors {
        KeQueryMaximumProcessorCount KeQueryMaximumProcessorCountEx KeQueryActiveGroupCount KeQueryGroupAffinity
        KeGetProcessorNumberFromIndex KeGetProcessorIndexFromNumber
    }
    checked interrupt {
        IoConnectInterruptEx IoDisconnectInterruptEx IoConnectInterrupt IoDisconnectInterrupt IoReportInterruptActive
        IoReportInterruptInactive KeSynchronizeExecution KeAcquireInterruptSpinLock KeReleaseInterruptSpinLock
    }
    checked work { IoAllocateWorkItem IoFreeWorkItem IoQueueWorkItem ExQueueWorkItem }
    plain work { IoQueueWorkItemEx IoSizeofWorkItem IoInitializeWorkItem IoUninitializeWorkItem }
    checked time {
        KeQueryTimeIncrement KeQueryPerformanceCounter KeQuerySystemTimePrecise KeQueryInterruptTime KeQueryInterruptTimePrecise
        KeQueryUnbiasedInterruptTime KeStallExecutionProcessor ExSystemTimeToLocalTime RtlTimeToTimeFields
    }
    plain time { KeQuerySystemTime KeQueryTickCount ExLocalTimeToSystemTime ExSetTimerResolution RtlTimeFieldsToTime }
    data time { "KeTickCount" = TICK_COUNT }
    data processors { "KeNumberProcessors" = COUNT }
    checked pool { ExAllocatePool2 ExAllocatePoolWithTag ExFreePool ExFreePoolWithTag }
    plain pool { ExAllocatePool3 ExAllocatePool ExAllocatePoolWithQuotaTag ExAllocatePoolWithTagPriority }
    checked strings {
        RtlInitUnicodeString RtlCopyUnicodeString RtlCompareUnicodeString RtlEqualUnicodeString RtlAppendUnicodeStringToString
        RtlFreeUnicodeString RtlIntegerToUnicodeString RtlStringFromGUID RtlGUIDFromString
    }
    plain strings {
        RtlInitUnicodeStringEx RtlPrefixUnicodeString RtlAppendUnicodeToString RtlUpcaseUnicodeString RtlUpcaseUnicodeChar
        RtlDowncaseUnicodeChar RtlCompareUnicodeStrings RtlInt64ToUnicodeString RtlUnicodeStringToInteger RtlInitAnsiString RtlAnsiStringToUnicodeString
        RtlUnicodeStringToAnsiString RtlFreeAnsiString
    }
    checked print { vDbgPrintEx }
    plain print { DbgPrint DbgPrintEx vDbgPrintExWithPrefix DbgQueryDebugFilterState DbgPrompt }
    named print {
        "_vsnprintf" = c_vsnprintf, "_vsnwprintf" = c_vsnwprintf, "_snprintf" = c_snprintf, "_snwprintf" = c_snwprintf,
        "sprintf" = c_sprintf, "swprintf" = c_swprintf,
    }
    checked bug_check { KeBugCheck KeBugCheckEx KeRegisterBugCheckReasonCallback KeDeregisterBugCheckReasonCallback }
    plain bug_check { KeRegisterBugCheckCallback KeDeregisterBugCheckCallback }
    plain exception::raise { ExRaiseStatus ExRaiseAccessViolation ExRaiseDatatypeMisalignment RtlRaiseStatus }
    plain exception::unwinding { RtlUnwindEx RtlVirtualUnwind _local_unwind }
    named exception::unwinding { "RtlUnwind" = RtlUnwindEx }
    named exports::byte_strings {
        "RtlAnsiStringToUnicodeSize" = RtlxAnsiStringToUnicodeSize, "RtlUnicodeStringToAnsiSize" = RtlxUnicodeStringToAnsiSize,
    }
    plain exception::dispatch { __C_specific_handler RtlLookupFunctionEntry RtlCaptureContext RtlPcToFileHeader }
    checked exception::back_trace { RtlCaptureStackBackTrace }
    plain exports::byte_strings {
        RtlUpperChar RtlCompareString RtlEqualString RtlxAnsiStringToUnicodeSize RtlxUnicodeStringToAnsiSize
        RtlMultiByteToUnicodeN RtlUnicodeToMultiByteN RtlUTF8ToUnicodeN RtlUnicodeToUTF8N RtlCharToInteger RtlCopyString
        RtlUpperString RtlPrefixString
    }
    named exports::c_text {
        "strlen" = c_strlen, "strnlen" = c_strnlen, "strcmp" = c_strcmp, "strncmp" = c_strncmp, "_stricmp" = c_stricmp,
        "_strnicmp" = c_strnicmp, "strcpy" = c_strcpy, "strncpy" = c_strncpy, "strcat" = c_strcat, "strchr" = c_strchr,
        "strrchr" = c_strrchr, "strstr" = c_strstr, "wcslen" = c_wcslen, "wcsnlen" = c_wcsnlen, "wcscmp" = c_wcscmp,
        "wcsncmp" = c_wcsncmp, "_wcsicmp" = c_wcsicmp, "_wcsnicmp" = c_wcsnicmp, "wcscpy" = c_wcscpy, "wcsncpy" = c_wcsncpy,
        "wcscat" = c_wcscat, "wcschr" = c_wcschr, "wcsrchr" = c_wcsrchr, "wcsstr" = c_wcsstr, "toupper" = c_toupper,
        "tolower" = c_tolower, "towupper" = c_towupper, "towlower" = c_towlower, "atoi" = c_atoi, "_wtoi" = c_wtoi,
        "isalpha" = c_isalpha, "isdigit" = c_isdigit, "isalnum" = c_isalnum, "isxdigit" = c_isxdigit, "isupper" = c_isupper,
        "islower" = c_islower, "ispunct" = c_ispunct, "isspace" = c_isspace, "isprint" = c_isprint, "iscntrl" = c_iscntrl,
        "_strlwr" = c_strlwr, "_strupr" = c_strupr, "strspn" = c_strspn, "strcspn" = c_strcspn, "strtok_s" = c_strtok_s,
        "abs" = c_abs, "labs" = c_abs, "_abs64" = c_abs64, "strncat" = c_strncat, "wcsncat" = c_wcsncat, "strpbrk" = c_strpbrk,
        "iswalpha" = c_iswalpha, "iswdigit" = c_iswdigit, "iswalnum" = c_iswalnum, "iswspace" = c_iswspace,
        "iswupper" = c_iswupper, "iswlower" = c_iswlower, "atol" = c_atoi, "_wtol" = c_wtoi,
    }
    plain exports::handles { ZwSetEvent ZwResetEvent ZwClearEvent ZwOpenSymbolicLinkObject ZwQuerySymbolicLinkObject }
    plain exports::interlocked {
        ExInterlockedAddUlong ExInterlockedAddLargeInteger ExInterlockedPushEntryList ExInterlockedPopEntryList
    }
    checked exports::leaves { DbgBreakPoint }
    named exports::leaves {
        "memcpy" = rt_memcpy, "memmove" = rt_memmove, "memset" = rt_memset, "memcmp" = rt_memcmp, "RtlCopyMemory" = rt_memmove,
        "RtlMoveMemory" = rt_memmove, "RtlCopyMemoryNonTemporal" = rt_memmove, "RtlZeroMemory" = rt_zero,
        "RtlFillMemory" = rt_fill, "RtlCompareMemory" = rt_compare, "__chkstk" = rt_chkstk,
    }
    plain exports::leaves { DbgBreakPointWithStatus RtlCompareMemoryUlong RtlPrefetchMemoryNonTemporal }
    checked exports::numbers { RtlRandomEx }
    plain exports::numbers { RtlFindLeastSignificantBit RtlFindMostSignificantBit ExUuidCreate RtlRandom }
    plain exports::processor_state {
        KeGetRecommendedSharedDataAlignment KeAcquireSpinLockForDpc KeReleaseSpinLockForDpc KeIsExecutingDpc
        KeQueryUnbiasedInterruptTimePrecise KeSaveFloatingPointState KeRestoreFloatingPointState KeSaveExtendedProcessorState
        KeRestoreExtendedProcessorState RtlGetEnabledExtendedFeatures KeQueryHighestNodeNumber KeGetCurrentNodeNumber
        ExIsProcessorFeaturePresent KeQueryMaximumGroupCount KeSetSystemGroupAffinityThread KeRevertToUserGroupAffinityThread
    }
    plain exports::seconds {
        RtlTimeToSecondsSince1970 RtlTimeToSecondsSince1980 RtlSecondsSince1970ToTime RtlSecondsSince1980ToTime
    }
    checked exports::system { MmGetSystemRoutineAddress }
    plain exports::system {
        ExFreePool2 PsGetCurrentProcess MmIsDriverVerifying MmIsDriverVerifyingByAddress PoSetSystemState PoRegisterSystemState
        PoUnregisterSystemState PoRegisterDeviceForIdleDetection RtlAssert _purecall RtlWalkFrameChain
        ExEnterCriticalRegionAndAcquireFastMutexUnsafe ExReleaseFastMutexUnsafeAndLeaveCriticalRegion
    }
    plain exports::unicode_strings {
        RtlDowncaseUnicodeString RtlHashUnicodeString RtlSuffixUnicodeString RtlDuplicateUnicodeString RtlCreateUnicodeString
    }
    data exports::variables {
        "KdDebuggerEnabled" = DEBUGGER_ENABLED, "KdDebuggerNotPresent" = DEBUGGER_NOT_PRESENT, "NtBuildNumber" = BUILD_NUMBER,
        "InitSafeBootMode" = SAFE_BOOT_MODE, "MmUserProbeAddress" = USER_PROBE_ADDRESS,
        "MmHighestUserAddress" = HIGHEST_USER_ADDRESS, "MmSystemRangeStart" = SYSTEM_RANGE_START,
    }
    plain exports::variables { KdRefreshDebuggerNotPresent }
    checked exports::version { RtlGetVersion }
    plain exports::version { IoIsWdmVersionAvailable RtlIsNtDdiVersionAvailable ExVerifySuite PsGetVersion }
    named exports::c_runtime {
        "strcpy_s" = c_strcpy_s, "strncpy_s" = c_strncpy_s, "strcat_s" = c_strcat_s, "strncat_s" = c_strncat_s,
        "wcscpy_s" = c_wcscpy_s, "wcsncpy_s" = c_wcsncpy_s, "wcscat_s" = c_wcscat_s, "wcsncat_s" = c_wcsncat_s,
        "memcpy_s" = c_memcpy_s, "memmove_s" = c_memcpy_s, "sprintf_s" = c_sprintf_s, "swprintf_s" = c_swprintf_s,
        "vsprintf_s" = c_vsprintf_s, "vswprintf_s" = c_vswprintf_s, "_vsnprintf_s" = c_vsnprintf_s,
        "_snprintf_s" = c_snprintf_s, "qsort" = c_qsort, "bsearch" = c_bsearch, "strtoul" = c_strtoul, "strtol" = c_strtol,
        "rand" = c_rand, "srand" = c_srand, "memchr" = c_memchr, "_wcslwr" = c_wcslwr, "_wcsupr" = c_wcsupr,
    }
    plain exports::version { VerSetConditionMask RtlVerifyVersionInfo }
    named dispatcher::wait { "KeWaitForMutexObject" = KeWaitForSingleObject }
    named dispatcher::fast_mutex {
        "KeAcquireGuardedMutexUnsafe" = ExAcquireFastMutexUnsafe, "KeReleaseGuardedMutexUnsafe" = ExReleaseFastMutexUnsafe,
    }
    named strings { "RtlInitString" = RtlInitAnsiString }
    plain tables::splay {
        RtlSplay RtlDelete RtlDeleteNoSplay RtlSubtreeSuccessor RtlSubtreePredecessor RtlRealSuccessor RtlRealPredecessor
        RtlInitializeGenericTable RtlInsertElementGenericTable RtlInsertElementGenericTableFull RtlDeleteElementGenericTable
        RtlLookupElementGenericTable RtlLookupElementGenericTableFull RtlEnumerateGenericTable
        RtlEnumerateGenericTableWithoutSplaying RtlGetElementGenericTable RtlNumberGenericTableElements RtlIsGenericTableEmpty
    }
    plain tables::avl {
        RtlInitializeGenericTableAvl RtlInsertElementGenericTableAvl RtlInsertElementGenericTableFullAvl
        RtlDeleteElementGenericTableAvl RtlLookupElementGenericTableAvl RtlLookupElementGenericTableFullAvl
        RtlLookupFirstMatchingElementGenericTableAvl RtlEnumerateGenericTableAvl RtlEnumerateGenericTableWithoutSplayingAvl
        RtlEnumerateGenericTableLikeADirectory RtlGetElementGenericTableAvl RtlNumberGenericTableElementsAvl
        RtlIsGenericTableEmptyAvl
    }
    plain dispatcher::ex_timer { ExAllocateTimer ExSetTimer ExCancelTimer ExDeleteTimer }
    plain bitmap {
        RtlInitializeBitMap RtlClearAllBits RtlSetAllBits RtlClearBits RtlSetBits RtlClearBit RtlSetBit RtlTestBit RtlAreBitsClear
        RtlAreBitsSet RtlFindClearBits RtlFindSetBits RtlFindClearBitsAndSet RtlFindSetBitsAndClear RtlNumberOfSetBits
        RtlFindNextForwardRunClear RtlFindFirstRunClear RtlFindLongestRunClear RtlFindLastBackwardRunClear
        RtlNumberOfClearBits
    }
    plain tracing {
        EtwRegister EtwRegisterClassicProvider EtwUnregister EtwSetInformation EtwEventEnabled EtwProviderEnabled EtwWrite
        EtwWriteTransfer EtwWriteEx EtwWriteString EtwActivityIdControl WmiQueryTraceInformation WmiTraceMessage
    }
}
