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
    checked processors {
        KeQueryActiveProcessorCount KeQueryActiveProcessorCountEx KeQueryActiveProcessors KeGetCurrentProcessorNumberEx
    }
    plain processors {
        KeQueryMaximumProcessorCount KeQueryMaximumProcessorCountEx KeQueryActiveGroupCount KeQueryGroupAffinity
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
    checked pool { ExAllocatePool2 ExAllocatePoolWithTag ExFreePool ExFreePoolWithTag }
    plain pool { ExAllocatePool3 ExAllocatePool ExAllocatePoolWithQuotaTag ExAllocatePoolWithTagPriority }
    checked strings {
        RtlInitUnicodeString RtlCopyUnicodeString RtlCompareUnicodeString RtlEqualUnicodeString RtlAppendUnicodeStringToString
        RtlFreeUnicodeString RtlIntegerToUnicodeString RtlStringFromGUID RtlGUIDFromString
    }
    plain strings {
        RtlInitUnicodeStringEx RtlPrefixUnicodeString RtlAppendUnicodeToString RtlUpcaseUnicodeString RtlUpcaseUnicodeChar
        RtlDowncaseUnicodeChar RtlInt64ToUnicodeString RtlUnicodeStringToInteger RtlInitAnsiString RtlAnsiStringToUnicodeString
        RtlUnicodeStringToAnsiString RtlFreeAnsiString
    }
    checked print { vDbgPrintEx DbgBreakPoint }
    plain print { DbgPrint DbgPrintEx vDbgPrintExWithPrefix DbgQueryDebugFilterState }
    named print {
        "_vsnprintf" = c_vsnprintf, "_vsnwprintf" = c_vsnwprintf, "_snprintf" = c_snprintf, "_snwprintf" = c_snwprintf,
        "sprintf" = c_sprintf, "swprintf" = c_swprintf,
    }
    checked bug_check { KeBugCheck KeBugCheckEx KeRegisterBugCheckReasonCallback KeDeregisterBugCheckReasonCallback }
    plain bug_check { KeRegisterBugCheckCallback KeDeregisterBugCheckCallback }
    plain exception::raise { ExRaiseStatus ExRaiseAccessViolation ExRaiseDatatypeMisalignment RtlRaiseStatus }
    plain exception::dispatch { __C_specific_handler RtlLookupFunctionEntry RtlCaptureContext RtlPcToFileHeader }
    checked exception::back_trace { RtlCaptureStackBackTrace }
    checked exports::runtime { RtlGetVersion RtlRandomEx MmGetSystemRoutineAddress }
    named exports::runtime {
        "memcpy" = rt_memcpy, "memmove" = rt_memmove, "memset" = rt_memset, "memcmp" = rt_memcmp, "RtlCopyMemory" = rt_memmove,
        "RtlMoveMemory" = rt_memmove, "RtlCopyMemoryNonTemporal" = rt_memmove, "RtlZeroMemory" = rt_zero, "RtlFillMemory" = rt_fill,
        "RtlCompareMemory" = rt_compare, "__chkstk" = rt_chkstk,
        "strlen" = c_strlen, "strnlen" = c_strnlen, "strcmp" = c_strcmp, "strncmp" = c_strncmp, "_stricmp" = c_stricmp,
        "_strnicmp" = c_strnicmp, "strcpy" = c_strcpy, "strncpy" = c_strncpy, "strcat" = c_strcat, "strchr" = c_strchr,
        "strrchr" = c_strrchr, "strstr" = c_strstr, "wcslen" = c_wcslen, "wcsnlen" = c_wcsnlen, "wcscmp" = c_wcscmp,
        "wcsncmp" = c_wcsncmp, "_wcsicmp" = c_wcsicmp, "_wcsnicmp" = c_wcsnicmp, "wcscpy" = c_wcscpy, "wcsncpy" = c_wcsncpy,
        "wcscat" = c_wcscat, "wcschr" = c_wcschr, "wcsrchr" = c_wcsrchr, "wcsstr" = c_wcsstr, "toupper" = c_toupper,
        "tolower" = c_tolower, "towupper" = c_towupper, "towlower" = c_towlower, "atoi" = c_atoi, "_wtoi" = c_wtoi,
    }
    data exports::runtime {
        "KdDebuggerEnabled" = DEBUGGER_ENABLED, "KdDebuggerNotPresent" = DEBUGGER_NOT_PRESENT, "NtBuildNumber" = BUILD_NUMBER,
        "InitSafeBootMode" = SAFE_BOOT_MODE, "MmUserProbeAddress" = USER_PROBE_ADDRESS, "MmHighestUserAddress" = HIGHEST_USER_ADDRESS,
        "MmSystemRangeStart" = SYSTEM_RANGE_START,
    }
}
