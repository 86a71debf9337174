//! The framework's enumerations and flags. An enumeration is an integer with names, since what comes from the other side of the
//! ABI may be any integer.
#![allow(missing_docs, non_camel_case_types, non_snake_case, reason = "names and meaning are the DDI documentation's")]

use crate::layout::enumerations;

enumerations! {
    enumeration WDF_TRI_STATE {
        WdfFalse = 0, WdfTrue = 1, WdfUseDefault = 2,
    }
    enumeration WDF_EXECUTION_LEVEL {
        WdfExecutionLevelInvalid = 0, WdfExecutionLevelInheritFromParent = 1, WdfExecutionLevelPassive = 2,
        WdfExecutionLevelDispatch = 3,
    }
    enumeration WDF_SYNCHRONIZATION_SCOPE {
        WdfSynchronizationScopeInvalid = 0, WdfSynchronizationScopeInheritFromParent = 1,
        WdfSynchronizationScopeDevice = 2, WdfSynchronizationScopeQueue = 3, WdfSynchronizationScopeNone = 4,
    }
    flags WDF_DRIVER_INIT_FLAGS {
        WdfDriverInitNonPnpDriver = 1, WdfDriverInitNoDispatchOverride = 2, WdfVerifyOn = 4, WdfVerifierOn = 8,
    }
    enumeration WDF_MEMORY_DESCRIPTOR_TYPE {
        WdfMemoryDescriptorTypeInvalid = 0, WdfMemoryDescriptorTypeBuffer = 1, WdfMemoryDescriptorTypeMdl = 2,
        WdfMemoryDescriptorTypeHandle = 3,
    }
    enumeration WDF_CHILD_LIST_RETRIEVE_DEVICE_STATUS {
        WdfChildListRetrieveDeviceUndefined = 0, WdfChildListRetrieveDeviceSuccess = 1,
        WdfChildListRetrieveDeviceNotYetCreated = 2, WdfChildListRetrieveDeviceNoSuchDevice = 3,
    }
    flags WDF_RETRIEVE_CHILD_FLAGS {
        WdfRetrieveUnspecified = 0, WdfRetrievePresentChildren = 1, WdfRetrieveMissingChildren = 2,
        WdfRetrievePendingChildren = 4, WdfRetrieveAddedChildren = 5, WdfRetrieveAllChildren = 7,
    }
    flags WDF_DEVICE_STATE_FLAGS {
        WdfDevStateNP = 0x8000,
    }
    enumeration WDF_DEVICE_PNP_STATE {
        WdfDevStatePnpInvalid = 0, WdfDevStatePnpObjectCreated = 0x100, WdfDevStatePnpCheckForDevicePresence = 0x101,
        WdfDevStatePnpEjectFailed = 0x102, WdfDevStatePnpEjectHardware = 0x103,
        WdfDevStatePnpEjectedWaitingForRemove = 0x104, WdfDevStatePnpInit = 0x105, WdfDevStatePnpInitStarting = 0x106,
        WdfDevStatePnpInitSurpriseRemoved = 0x107, WdfDevStatePnpHardwareAvailable = 0x108,
        WdfDevStatePnpEnableInterfaces = 0x109, WdfDevStatePnpHardwareAvailablePowerPolicyFailed = 0x10a,
        WdfDevStatePnpQueryRemoveAskDriver = 0x10b, WdfDevStatePnpQueryRemovePending = 0x10c,
        WdfDevStatePnpQueryRemoveStaticCheck = 0x10d, WdfDevStatePnpQueriedRemoving = 0x10e,
        WdfDevStatePnpQueryStopAskDriver = 0x10f, WdfDevStatePnpQueryStopPending = 0x110,
        WdfDevStatePnpQueryStopStaticCheck = 0x111, WdfDevStatePnpQueryCanceled = 0x112, WdfDevStatePnpRemoved = 0x113,
        WdfDevStatePnpPdoRemoved = 0x114, WdfDevStatePnpRemovedPdoWait = 0x115,
        WdfDevStatePnpRemovedPdoSurpriseRemoved = 0x116, WdfDevStatePnpRemovingDisableInterfaces = 0x117,
        WdfDevStatePnpRestarting = 0x118, WdfDevStatePnpStarted = 0x119, WdfDevStatePnpStartedCancelStop = 0x11a,
        WdfDevStatePnpStartedCancelRemove = 0x11b, WdfDevStatePnpStartedRemoving = 0x11c,
        WdfDevStatePnpStartingFromStopped = 0x11d, WdfDevStatePnpStopped = 0x11e,
        WdfDevStatePnpStoppedWaitForStartCompletion = 0x11f, WdfDevStatePnpStartedStopping = 0x120,
        WdfDevStatePnpSurpriseRemove = 0x121, WdfDevStatePnpInitQueryRemove = 0x122,
        WdfDevStatePnpInitQueryRemoveCanceled = 0x123, WdfDevStatePnpFdoRemoved = 0x124,
        WdfDevStatePnpRemovedWaitForChildren = 0x125, WdfDevStatePnpQueriedSurpriseRemove = 0x126,
        WdfDevStatePnpSurpriseRemoveIoStarted = 0x127, WdfDevStatePnpFailedPowerDown = 0x128,
        WdfDevStatePnpFailedIoStarting = 0x129, WdfDevStatePnpFailedOwnHardware = 0x12a, WdfDevStatePnpFailed = 0x12b,
        WdfDevStatePnpFailedSurpriseRemoved = 0x12c, WdfDevStatePnpFailedStarted = 0x12d,
        WdfDevStatePnpFailedWaitForRemove = 0x12e, WdfDevStatePnpFailedInit = 0x12f, WdfDevStatePnpPdoInitFailed = 0x130,
        WdfDevStatePnpRestart = 0x131, WdfDevStatePnpRestartReleaseHardware = 0x132,
        WdfDevStatePnpRestartHardwareAvailable = 0x133, WdfDevStatePnpPdoRestart = 0x134, WdfDevStatePnpFinal = 0x135,
        WdfDevStatePnpRemovedChildrenRemoved = 0x136, WdfDevStatePnpQueryRemoveEnsureDeviceAwake = 0x137,
        WdfDevStatePnpQueryStopEnsureDeviceAwake = 0x138, WdfDevStatePnpFailedPowerPolicyRemoved = 0x139,
        WdfDevStatePnpNull = 0x13a,
    }
    enumeration WDF_DEVICE_POWER_STATE {
        WdfDevStatePowerInvalid = 0, WdfDevStatePowerObjectCreated = 0x300, WdfDevStatePowerCheckDeviceType = 0x301,
        WdfDevStatePowerCheckDeviceTypeNP = 0x8302, WdfDevStatePowerCheckParentState = 0x303,
        WdfDevStatePowerCheckParentStateNP = 0x8304, WdfDevStatePowerEnablingWakeAtBus = 0x305,
        WdfDevStatePowerEnablingWakeAtBusNP = 0x8306, WdfDevStatePowerD0 = 0x307, WdfDevStatePowerD0NP = 0x8308,
        WdfDevStatePowerD0BusWakeOwner = 0x309, WdfDevStatePowerD0BusWakeOwnerNP = 0x830a,
        WdfDevStatePowerD0ArmedForWake = 0x30b, WdfDevStatePowerD0ArmedForWakeNP = 0x830c,
        WdfDevStatePowerD0DisarmingWakeAtBus = 0x30d, WdfDevStatePowerD0DisarmingWakeAtBusNP = 0x830e,
        WdfDevStatePowerD0Starting = 0x30f, WdfDevStatePowerD0StartingConnectInterrupt = 0x310,
        WdfDevStatePowerD0StartingDmaEnable = 0x311, WdfDevStatePowerD0StartingStartSelfManagedIo = 0x312,
        WdfDevStatePowerDecideD0State = 0x313, WdfDevStatePowerGotoD3Stopped = 0x314, WdfDevStatePowerStopped = 0x315,
        WdfDevStatePowerStartingCheckDeviceType = 0x316, WdfDevStatePowerStartingChild = 0x317,
        WdfDevStatePowerDxDisablingWakeAtBus = 0x318, WdfDevStatePowerDxDisablingWakeAtBusNP = 0x8319,
        WdfDevStatePowerGotoDx = 0x31a, WdfDevStatePowerGotoDxNP = 0x831b, WdfDevStatePowerGotoDxIoStopped = 0x31c,
        WdfDevStatePowerGotoDxIoStoppedNP = 0x831d, WdfDevStatePowerGotoDxNPFailed = 0x831e, WdfDevStatePowerDx = 0x31f,
        WdfDevStatePowerDxNP = 0x8320, WdfDevStatePowerGotoDxArmedForWake = 0x321,
        WdfDevStatePowerGotoDxArmedForWakeNP = 0x8322, WdfDevStatePowerGotoDxIoStoppedArmedForWake = 0x323,
        WdfDevStatePowerGotoDxIoStoppedArmedForWakeNP = 0x8324, WdfDevStatePowerDxArmedForWake = 0x325,
        WdfDevStatePowerDxArmedForWakeNP = 0x8326, WdfDevStatePowerCheckParentStateArmedForWake = 0x327,
        WdfDevStatePowerCheckParentStateArmedForWakeNP = 0x8328, WdfDevStatePowerWaitForParentArmedForWake = 0x329,
        WdfDevStatePowerWaitForParentArmedForWakeNP = 0x832a, WdfDevStatePowerStartSelfManagedIo = 0x32b,
        WdfDevStatePowerStartSelfManagedIoNP = 0x832c, WdfDevStatePowerStartSelfManagedIoFailed = 0x32d,
        WdfDevStatePowerStartSelfManagedIoFailedNP = 0x832e, WdfDevStatePowerWaitForParent = 0x32f,
        WdfDevStatePowerWaitForParentNP = 0x8330, WdfDevStatePowerWakePending = 0x331,
        WdfDevStatePowerWakePendingNP = 0x8332, WdfDevStatePowerWaking = 0x333, WdfDevStatePowerWakingNP = 0x8334,
        WdfDevStatePowerWakingConnectInterrupt = 0x335, WdfDevStatePowerWakingConnectInterruptNP = 0x8336,
        WdfDevStatePowerWakingConnectInterruptFailed = 0x337, WdfDevStatePowerWakingConnectInterruptFailedNP = 0x8338,
        WdfDevStatePowerWakingDmaEnable = 0x339, WdfDevStatePowerWakingDmaEnableNP = 0x833a,
        WdfDevStatePowerWakingDmaEnableFailed = 0x33b, WdfDevStatePowerWakingDmaEnableFailedNP = 0x833c,
        WdfDevStatePowerReportPowerUpFailedDerefParent = 0x33d, WdfDevStatePowerReportPowerUpFailed = 0x33e,
        WdfDevStatePowerPowerFailedPowerDown = 0x33f, WdfDevStatePowerReportPowerDownFailed = 0x340,
        WdfDevStatePowerInitialConnectInterruptFailed = 0x341, WdfDevStatePowerInitialDmaEnableFailed = 0x342,
        WdfDevStatePowerInitialSelfManagedIoFailed = 0x343, WdfDevStatePowerInitialPowerUpFailedDerefParent = 0x344,
        WdfDevStatePowerInitialPowerUpFailed = 0x345, WdfDevStatePowerDxStoppedDisarmWake = 0x346,
        WdfDevStatePowerDxStoppedDisarmWakeNP = 0x8347, WdfDevStatePowerGotoDxStoppedDisableInterruptNP = 0x8348,
        WdfDevStatePowerGotoDxStopped = 0x349, WdfDevStatePowerDxStopped = 0x34a, WdfDevStatePowerGotoStopped = 0x34b,
        WdfDevStatePowerStoppedCompleteDx = 0x34c, WdfDevStatePowerDxStoppedDecideDxState = 0x34d,
        WdfDevStatePowerDxStoppedArmForWake = 0x34e, WdfDevStatePowerDxStoppedArmForWakeNP = 0x834f,
        WdfDevStatePowerFinalPowerDownFailed = 0x350, WdfDevStatePowerFinal = 0x351,
        WdfDevStatePowerGotoImplicitD3DisarmWakeAtBus = 0x352, WdfDevStatePowerUpFailed = 0x353,
        WdfDevStatePowerUpFailedDerefParent = 0x354, WdfDevStatePowerGotoDxFailed = 0x355,
        WdfDevStatePowerGotoDxStoppedDisableInterrupt = 0x356, WdfDevStatePowerUpFailedNP = 0x8357,
        WdfDevStatePowerUpFailedDerefParentNP = 0x8358, WdfDevStatePowerNotifyingD0ExitToWakeInterrupts = 0x359,
        WdfDevStatePowerNotifyingD0EntryToWakeInterrupts = 0x35a,
        WdfDevStatePowerNotifyingD0ExitToWakeInterruptsNP = 0x835b,
        WdfDevStatePowerNotifyingD0EntryToWakeInterruptsNP = 0x835c, WdfDevStatePowerNull = 0x35d,
    }
    enumeration WDF_DEVICE_POWER_POLICY_STATE {
        WdfDevStatePwrPolInvalid = 0, WdfDevStatePwrPolObjectCreated = 0x500, WdfDevStatePwrPolStarting = 0x501,
        WdfDevStatePwrPolStartingSucceeded = 0x502, WdfDevStatePwrPolStartingFailed = 0x503,
        WdfDevStatePwrPolStartingDecideS0Wake = 0x504, WdfDevStatePwrPolStartedIdleCapable = 0x505,
        WdfDevStatePwrPolTimerExpiredNoWake = 0x506, WdfDevStatePwrPolTimerExpiredNoWakeCompletePowerDown = 0x507,
        WdfDevStatePwrPolWaitingUnarmed = 0x508, WdfDevStatePwrPolWaitingUnarmedQueryIdle = 0x509,
        WdfDevStatePwrPolS0NoWakePowerUp = 0x50a, WdfDevStatePwrPolS0NoWakeCompletePowerUp = 0x50b,
        WdfDevStatePwrPolSystemSleepFromDeviceWaitingUnarmed = 0x50c, WdfDevStatePwrPolSystemSleepNeedWake = 0x50d,
        WdfDevStatePwrPolSystemSleepNeedWakeCompletePowerUp = 0x50e,
        WdfDevStatePwrPolSystemSleepPowerRequestFailed = 0x50f, WdfDevStatePwrPolCheckPowerPageable = 0x510,
        WdfDevStatePwrPolSleepingWakeWakeArrived = 0x511, WdfDevStatePwrPolSleepingWakeRevertArmWake = 0x512,
        WdfDevStatePwrPolSystemAsleepWakeArmed = 0x513, WdfDevStatePwrPolSystemWakeDeviceWakeEnabled = 0x514,
        WdfDevStatePwrPolSystemWakeDeviceWakeEnabledWakeCanceled = 0x515,
        WdfDevStatePwrPolSystemWakeDeviceWakeDisarm = 0x516, WdfDevStatePwrPolSystemWakeDeviceWakeTriggered = 0x517,
        WdfDevStatePwrPolSystemWakeDeviceWakeTriggeredS0 = 0x518, WdfDevStatePwrPolSystemWakeDeviceWokeDisarm = 0x519,
        WdfDevStatePwrPolSleepingWakeWakeArrivedNP = 0x851a, WdfDevStatePwrPolSleepingWakeRevertArmWakeNP = 0x851b,
        WdfDevStatePwrPolSleepingWakePowerDownFailed = 0x51c,
        WdfDevStatePwrPolSleepingWakePowerDownFailedWakeCanceled = 0x51d,
        WdfDevStatePwrPolSystemAsleepWakeArmedNP = 0x851e, WdfDevStatePwrPolSystemWakeDeviceWakeEnabledNP = 0x851f,
        WdfDevStatePwrPolSystemWakeDeviceWakeEnabledWakeCanceledNP = 0x8520,
        WdfDevStatePwrPolSystemWakeDeviceWakeDisarmNP = 0x8521, WdfDevStatePwrPolSystemWakeDeviceWakeTriggeredNP = 0x8522,
        WdfDevStatePwrPolSystemWakeDeviceWakeTriggeredS0NP = 0x8523,
        WdfDevStatePwrPolSystemWakeDeviceWokeDisarmNP = 0x8524,
        WdfDevStatePwrPolSystemWakeDeviceWakeCompletePowerUp = 0x525, WdfDevStatePwrPolSleeping = 0x526,
        WdfDevStatePwrPolSleepingNoWakePowerDown = 0x527, WdfDevStatePwrPolSleepingNoWakeCompletePowerDown = 0x528,
        WdfDevStatePwrPolSleepingNoWakeDxRequestFailed = 0x529, WdfDevStatePwrPolSleepingWakePowerDown = 0x52a,
        WdfDevStatePwrPolSleepingSendWake = 0x52b, WdfDevStatePwrPolSystemAsleepNoWake = 0x52c,
        WdfDevStatePwrPolSystemWakeDeviceWakeDisabled = 0x52d, WdfDevStatePwrPolSystemWakeDeviceToD0 = 0x52e,
        WdfDevStatePwrPolSystemWakeDeviceToD0CompletePowerUp = 0x52f, WdfDevStatePwrPolSystemWakeQueryIdle = 0x530,
        WdfDevStatePwrPolStartedWakeCapable = 0x531, WdfDevStatePwrPolTimerExpiredDecideUsbSS = 0x532,
        WdfDevStatePwrPolTimerExpiredWakeCapablePowerDown = 0x533,
        WdfDevStatePwrPolTimerExpiredWakeCapableSendWake = 0x534, WdfDevStatePwrPolTimerExpiredWakeCapableUsbSS = 0x535,
        WdfDevStatePwrPolTimerExpiredWakeCapableWakeArrived = 0x536,
        WdfDevStatePwrPolTimerExpiredWakeCapableCancelWake = 0x537,
        WdfDevStatePwrPolTimerExpiredWakeCapableWakeCanceled = 0x538,
        WdfDevStatePwrPolTimerExpiredWakeCapableCleanup = 0x539,
        WdfDevStatePwrPolTimerExpiredWakeCapableDxAllocFailed = 0x53a,
        WdfDevStatePwrPolTimerExpiredWakeCompletedPowerDown = 0x53b,
        WdfDevStatePwrPolTimerExpiredWakeCompletedPowerUp = 0x53c, WdfDevStatePwrPolWaitingArmedUsbSS = 0x53d,
        WdfDevStatePwrPolWaitingArmed = 0x53e, WdfDevStatePwrPolWaitingArmedQueryIdle = 0x53f,
        WdfDevStatePwrPolIoPresentArmed = 0x540, WdfDevStatePwrPolIoPresentArmedWakeCanceled = 0x541,
        WdfDevStatePwrPolS0WakeDisarm = 0x542, WdfDevStatePwrPolS0WakeCompletePowerUp = 0x543,
        WdfDevStatePwrPolTimerExpiredWakeSucceeded = 0x544, WdfDevStatePwrPolTimerExpiredWakeCompletedDisarm = 0x545,
        WdfDevStatePwrPolTimerExpiredWakeCapableWakeSucceeded = 0x546,
        WdfDevStatePwrPolTimerExpiredWakeCapableWakeFailed = 0x547, WdfDevStatePwrPolWakeFailedUsbSS = 0x548,
        WdfDevStatePwrPolTimerExpiredWakeCapablePowerDownFailedCancelWake = 0x549,
        WdfDevStatePwrPolTimerExpiredWakeCapablePowerDownFailedWakeCanceled = 0x54a,
        WdfDevStatePwrPolTimerExpiredWakeCapablePowerDownFailedUsbSS = 0x54b,
        WdfDevStatePwrPolCancelingWakeForSystemSleep = 0x54c,
        WdfDevStatePwrPolCancelingWakeForSystemSleepWakeCanceled = 0x54d,
        WdfDevStatePwrPolDisarmingWakeForSystemSleepCompletePowerUp = 0x54e,
        WdfDevStatePwrPolPowerUpForSystemSleepFailed = 0x54f, WdfDevStatePwrPolWokeFromS0UsbSS = 0x550,
        WdfDevStatePwrPolWokeFromS0 = 0x551, WdfDevStatePwrPolWokeFromS0NotifyDriver = 0x552,
        WdfDevStatePwrPolStoppingResetDevice = 0x553, WdfDevStatePwrPolStoppingResetDeviceCompletePowerUp = 0x554,
        WdfDevStatePwrPolStoppingResetDeviceFailed = 0x555, WdfDevStatePwrPolStoppingD0 = 0x556,
        WdfDevStatePwrPolStoppingD0Failed = 0x557, WdfDevStatePwrPolStoppingDisarmWake = 0x558,
        WdfDevStatePwrPolStoppingDisarmWakeCancelWake = 0x559, WdfDevStatePwrPolStoppingDisarmWakeWakeCanceled = 0x55a,
        WdfDevStatePwrPolStopping = 0x55b, WdfDevStatePwrPolStoppingFailed = 0x55c,
        WdfDevStatePwrPolStoppingSendStatus = 0x55d, WdfDevStatePwrPolStoppingCancelTimer = 0x55e,
        WdfDevStatePwrPolStoppingWaitForIdleTimeout = 0x55f, WdfDevStatePwrPolStoppingCancelUsbSS = 0x560,
        WdfDevStatePwrPolStoppingWaitForUsbSSCompletion = 0x561, WdfDevStatePwrPolStoppingCancelWake = 0x562,
        WdfDevStatePwrPolStopped = 0x563, WdfDevStatePwrPolCancelUsbSS = 0x564, WdfDevStatePwrPolStarted = 0x565,
        WdfDevStatePwrPolStartedCancelTimer = 0x566, WdfDevStatePwrPolStartedWaitForIdleTimeout = 0x567,
        WdfDevStatePwrPolStartedWakeCapableCancelTimerForSleep = 0x568,
        WdfDevStatePwrPolStartedWakeCapableWaitForIdleTimeout = 0x569,
        WdfDevStatePwrPolStartedWakeCapableSleepingUsbSS = 0x56a,
        WdfDevStatePwrPolStartedIdleCapableCancelTimerForSleep = 0x56b,
        WdfDevStatePwrPolStartedIdleCapableWaitForIdleTimeout = 0x56c, WdfDevStatePwrPolDeviceD0PowerRequestFailed = 0x56d,
        WdfDevStatePwrPolDevicePowerRequestFailed = 0x56e, WdfDevStatePwrPolGotoDx = 0x56f,
        WdfDevStatePwrPolGotoDxInDx = 0x570, WdfDevStatePwrPolDx = 0x571, WdfDevStatePwrPolGotoD0 = 0x572,
        WdfDevStatePwrPolGotoD0InD0 = 0x573, WdfDevStatePwrPolFinal = 0x574,
        WdfDevStatePwrPolSleepingPowerDownNotProcessed = 0x575,
        WdfDevStatePwrPolTimerExpiredWakeCapablePowerDownNotProcessed = 0x576,
        WdfDevStatePwrPolTimerExpiredNoWakePowerDownNotProcessed = 0x577,
        WdfDevStatePwrPolTimerExpiredNoWakePoweredDownDisableIdleTimer = 0x578,
        WdfDevStatePwrPolStoppingWaitingForImplicitPowerDown = 0x579, WdfDevStatePwrPolStoppingPoweringUp = 0x57a,
        WdfDevStatePwrPolStoppingPoweringDown = 0x57b, WdfDevStatePwrPolPowerUpForSystemSleepNotSeen = 0x57c,
        WdfDevStatePwrPolWaitingArmedStoppingCancelUsbSS = 0x57d,
        WdfDevStatePwrPolWaitingArmedWakeFailedCancelUsbSS = 0x57e,
        WdfDevStatePwrPolWaitingArmedIoPresentCancelUsbSS = 0x57f,
        WdfDevStatePwrPolWaitingArmedWakeSucceededCancelUsbSS = 0x580,
        WdfDevStatePwrPolCancelingUsbSSForSystemSleep = 0x581, WdfDevStatePwrPolStoppingD0CancelUsbSS = 0x582,
        WdfDevStatePwrPolStartingPoweredUp = 0x583, WdfDevStatePwrPolIdleCapableDeviceIdle = 0x584,
        WdfDevStatePwrPolDeviceIdleReturnToActive = 0x585, WdfDevStatePwrPolDeviceIdleSleeping = 0x586,
        WdfDevStatePwrPolDeviceIdleStopping = 0x587, WdfDevStatePwrPolTimerExpiredNoWakeUndoPowerDown = 0x588,
        WdfDevStatePwrPolWakeCapableDeviceIdle = 0x589, WdfDevStatePwrPolWakeCapableUsbSSCompleted = 0x58a,
        WdfDevStatePwrPolTimerExpiredWakeCapableUndoPowerDown = 0x58b,
        WdfDevStatePwrPolTimerExpiredWakeCompletedHardwareStarted = 0x58c, WdfDevStatePwrPolStoppedRemoving = 0x58d,
        WdfDevStatePwrPolRemoved = 0x58e, WdfDevStatePwrPolRestarting = 0x58f, WdfDevStatePwrPolRestartingFailed = 0x590,
        WdfDevStatePwrPolStartingPoweredUpFailed = 0x591, WdfDevStatePwrPolTimerExpiredNoWakeReturnToActive = 0x592,
        WdfDevStatePwrPolWaitingArmedWakeInterruptFired = 0x593,
        WdfDevStatePwrPolSystemWakeDeviceWakeInterruptFired = 0x594,
        WdfDevStatePwrPolSystemWakeDeviceWakeInterruptFiredNP = 0x8595,
        WdfDevStatePwrPolTimerExpiredWakeCapableWakeInterruptArrived = 0x596,
        WdfDevStatePwrPolTimerExpiredWakeCapablePowerDownFailedWakeInterruptArrived = 0x597,
        WdfDevStatePwrPolWaitingArmedWakeInterruptFiredDuringPowerDown = 0x598, WdfDevStatePwrPolNull = 0x599,
    }
    enumeration WDF_STATE_NOTIFICATION_TYPE {
        StateNotificationInvalid = 0, StateNotificationEnterState = 1, StateNotificationPostProcessState = 2,
        StateNotificationLeaveState = 4, StateNotificationAllStates = 7,
    }
    enumeration WDF_POWER_POLICY_S0_IDLE_CAPABILITIES {
        IdleCapsInvalid = 0, IdleCannotWakeFromS0 = 1, IdleCanWakeFromS0 = 2, IdleUsbSelectiveSuspend = 3,
    }
    enumeration WDF_POWER_POLICY_S0_IDLE_USER_CONTROL {
        IdleUserControlInvalid = 0, IdleDoNotAllowUserControl = 1, IdleAllowUserControl = 2,
    }
    flags WDF_POWER_POLICY_IDLE_TIMEOUT_CONSTANTS {
        IdleTimeoutDefaultConstant = 0,
    }
    enumeration WDF_POWER_POLICY_SX_WAKE_USER_CONTROL {
        WakeUserControlInvalid = 0, WakeDoNotAllowUserControl = 1, WakeAllowUserControl = 2,
    }
    enumeration WDF_POWER_DEVICE_STATE {
        WdfPowerDeviceInvalid = 0, WdfPowerDeviceD0 = 1, WdfPowerDeviceD1 = 2, WdfPowerDeviceD2 = 3, WdfPowerDeviceD3 = 4,
        WdfPowerDeviceD3Final = 5, WdfPowerDevicePrepareForHibernation = 6, WdfPowerDeviceMaximum = 7,
    }
    flags WDF_DISPATCH_IRP_TO_IO_QUEUE_FLAGS {
        WDF_DISPATCH_IRP_TO_IO_QUEUE_NO_FLAGS = 0, WDF_DISPATCH_IRP_TO_IO_QUEUE_INVOKE_INCALLERCTX_CALLBACK = 1,
        WDF_DISPATCH_IRP_TO_IO_QUEUE_PREPROCESSED_IRP = 2,
    }
    enumeration WDF_SPECIAL_FILE_TYPE {
        WdfSpecialFileUndefined = 0, WdfSpecialFilePaging = 1, WdfSpecialFileHibernation = 2, WdfSpecialFileDump = 3,
        WdfSpecialFileBoot = 4, WdfSpecialFileMax = 5,
    }
    enumeration WDF_DEVICE_IO_TYPE {
        WdfDeviceIoUndefined = 0, WdfDeviceIoNeither = 1, WdfDeviceIoBuffered = 2, WdfDeviceIoDirect = 3,
        WdfDeviceIoBufferedOrDirect = 4,
    }
    enumeration WDF_FILEOBJECT_CLASS {
        WdfFileObjectInvalid = 0, WdfFileObjectNotRequired = 1, WdfFileObjectWdfCanUseFsContext = 2,
        WdfFileObjectWdfCanUseFsContext2 = 3, WdfFileObjectWdfCannotUseFsContexts = 4,
        WdfFileObjectCanBeOptional = 0x80000000,
    }
    enumeration WDF_DEVICE_FAILED_ACTION {
        WdfDeviceFailedUndefined = 0, WdfDeviceFailedAttemptRestart = 1, WdfDeviceFailedNoRestart = 2,
    }
    enumeration WDF_RELEASE_HARDWARE_ORDER_ON_FAILURE {
        WdfReleaseHardwareOrderOnFailureInvalid = 0, WdfReleaseHardwareOrderOnFailureEarly = 1,
        WdfReleaseHardwareOrderOnFailureAfterDescendants = 2,
    }
    enumeration WDF_REQUEST_TYPE {
        WdfRequestTypeCreate = 0, WdfRequestTypeCreateNamedPipe = 1, WdfRequestTypeClose = 2, WdfRequestTypeRead = 3,
        WdfRequestTypeWrite = 4, WdfRequestTypeQueryInformation = 5, WdfRequestTypeSetInformation = 6,
        WdfRequestTypeQueryEA = 7, WdfRequestTypeSetEA = 8, WdfRequestTypeFlushBuffers = 9,
        WdfRequestTypeQueryVolumeInformation = 0xa, WdfRequestTypeSetVolumeInformation = 0xb,
        WdfRequestTypeDirectoryControl = 0xc, WdfRequestTypeFileSystemControl = 0xd, WdfRequestTypeDeviceControl = 0xe,
        WdfRequestTypeDeviceControlInternal = 0xf, WdfRequestTypeShutdown = 0x10, WdfRequestTypeLockControl = 0x11,
        WdfRequestTypeCleanup = 0x12, WdfRequestTypeCreateMailSlot = 0x13, WdfRequestTypeQuerySecurity = 0x14,
        WdfRequestTypeSetSecurity = 0x15, WdfRequestTypePower = 0x16, WdfRequestTypeSystemControl = 0x17,
        WdfRequestTypeDeviceChange = 0x18, WdfRequestTypeQueryQuota = 0x19, WdfRequestTypeSetQuota = 0x1a,
        WdfRequestTypePnp = 0x1b, WdfRequestTypeOther = 0x1c, WdfRequestTypeUsb = 0x40, WdfRequestTypeNoFormat = 0xff,
        WdfRequestTypeMax = 0x100,
    }
    enumeration WDF_POWER_POLICY_IDLE_TIMEOUT_TYPE {
        DriverManagedIdleTimeout = 0, SystemManagedIdleTimeout = 1, SystemManagedIdleTimeoutWithHint = 2,
    }
    flags WDF_REMOVE_LOCK_OPTIONS_FLAGS {
        WDF_REMOVE_LOCK_OPTION_ACQUIRE_FOR_IO = 1,
    }
    enumeration WDF_INTERRUPT_POLARITY {
        WdfInterruptPolarityUnknown = 0, WdfInterruptActiveHigh = 1, WdfInterruptActiveLow = 2,
    }
    enumeration WDF_INTERRUPT_POLICY {
        WdfIrqPolicyMachineDefault = 0, WdfIrqPolicyAllCloseProcessors = 1, WdfIrqPolicyOneCloseProcessor = 2,
        WdfIrqPolicyAllProcessorsInMachine = 3, WdfIrqPolicySpecifiedProcessors = 4,
        WdfIrqPolicySpreadMessagesAcrossAllProcessors = 5,
    }
    enumeration WDF_INTERRUPT_PRIORITY {
        WdfIrqPriorityUndefined = 0, WdfIrqPriorityLow = 1, WdfIrqPriorityNormal = 2, WdfIrqPriorityHigh = 3,
    }
    flags WDF_REQUEST_REUSE_FLAGS {
        WDF_REQUEST_REUSE_NO_FLAGS = 0, WDF_REQUEST_REUSE_SET_NEW_IRP = 1,
    }
    flags WDF_REQUEST_STOP_ACTION_FLAGS {
        WdfRequestStopActionInvalid = 0, WdfRequestStopActionSuspend = 1, WdfRequestStopActionPurge = 2,
        WdfRequestStopRequestCancelable = 0x10000000,
    }
    flags WDF_REQUEST_SEND_OPTIONS_FLAGS {
        WDF_REQUEST_SEND_OPTION_TIMEOUT = 1, WDF_REQUEST_SEND_OPTION_SYNCHRONOUS = 2,
        WDF_REQUEST_SEND_OPTION_IGNORE_TARGET_STATE = 4, WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET = 8,
        WDF_REQUEST_SEND_OPTION_IMPERSONATE_CLIENT = 0x10000,
        WDF_REQUEST_SEND_OPTION_IMPERSONATION_IGNORE_FAILURE = 0x20000,
    }
    flags WDF_REQUEST_FORWARD_OPTIONS_FLAGS {
        WDF_REQUEST_FORWARD_OPTION_SEND_AND_FORGET = 1,
    }
    enumeration WDF_IO_TARGET_STATE {
        WdfIoTargetStateUndefined = 0, WdfIoTargetStarted = 1, WdfIoTargetStopped = 2, WdfIoTargetClosedForQueryRemove = 3,
        WdfIoTargetClosed = 4, WdfIoTargetDeleted = 5, WdfIoTargetPurged = 6,
    }
    enumeration WDF_IO_TARGET_OPEN_TYPE {
        WdfIoTargetOpenUndefined = 0, WdfIoTargetOpenUseExistingDevice = 1, WdfIoTargetOpenByName = 2,
        WdfIoTargetOpenReopen = 3, WdfIoTargetOpenLocalTargetByFile = 4,
    }
    enumeration WDF_IO_TARGET_SENT_IO_ACTION {
        WdfIoTargetSentIoUndefined = 0, WdfIoTargetCancelSentIo = 1, WdfIoTargetWaitForSentIoToComplete = 2,
        WdfIoTargetLeaveSentIoPending = 3,
    }
    enumeration WDF_IO_TARGET_PURGE_IO_ACTION {
        WdfIoTargetPurgeIoUndefined = 0, WdfIoTargetPurgeIoAndWait = 1, WdfIoTargetPurgeIo = 2,
    }
    enumeration WDF_IO_QUEUE_DISPATCH_TYPE {
        WdfIoQueueDispatchInvalid = 0, WdfIoQueueDispatchSequential = 1, WdfIoQueueDispatchParallel = 2,
        WdfIoQueueDispatchManual = 3, WdfIoQueueDispatchMax = 4,
    }
    enumeration WDF_IO_QUEUE_STATE {
        WdfIoQueueAcceptRequests = 1, WdfIoQueueDispatchRequests = 2, WdfIoQueueNoRequests = 4,
        WdfIoQueueDriverNoRequests = 8, WdfIoQueuePnpHeld = 0x10,
    }
    enumeration WDF_IO_FORWARD_PROGRESS_ACTION {
        WdfIoForwardProgressActionInvalid = 0, WdfIoForwardProgressActionFailRequest = 1,
        WdfIoForwardProgressActionUseReservedRequest = 2,
    }
    enumeration WDF_IO_FORWARD_PROGRESS_RESERVED_POLICY {
        WdfIoForwardProgressInvalidPolicy = 0, WdfIoForwardProgressReservedPolicyAlwaysUseReservedRequest = 1,
        WdfIoForwardProgressReservedPolicyUseExamine = 2, WdfIoForwardProgressReservedPolicyPagingIO = 3,
    }
    flags WDF_DEVICE_SHUTDOWN_FLAGS {
        WdfDeviceShutdown = 1, WdfDeviceLastChanceShutdown = 2,
    }
    enumeration WDF_WMI_PROVIDER_CONTROL {
        WdfWmiControlInvalid = 0, WdfWmiEventControl = 1, WdfWmiInstanceControl = 2,
    }
    flags WDF_WMI_PROVIDER_FLAGS {
        WdfWmiProviderEventOnly = 1, WdfWmiProviderExpensive = 2, WdfWmiProviderTracing = 4, WdfWmiProviderValidFlags = 7,
    }
    enumeration WDF_DMA_PROFILE {
        WdfDmaProfileInvalid = 0, WdfDmaProfilePacket = 1, WdfDmaProfileScatterGather = 2, WdfDmaProfilePacket64 = 3,
        WdfDmaProfileScatterGather64 = 4, WdfDmaProfileScatterGatherDuplex = 5, WdfDmaProfileScatterGather64Duplex = 6,
        WdfDmaProfileSystem = 7, WdfDmaProfileSystemDuplex = 8,
    }
    enumeration WDF_DMA_DIRECTION {
        WdfDmaDirectionReadFromDevice = 0, WdfDmaDirectionWriteToDevice = 1,
    }
    flags WDF_DMA_ENABLER_CONFIG_FLAGS {
        WDF_DMA_ENABLER_CONFIG_NO_SGLIST_PREALLOCATION = 1,
    }
    flags WDF_BUGCHECK_CODES {
        WDF_POWER_ROUTINE_TIMED_OUT = 1, WDF_RECURSIVE_LOCK = 2, WDF_VERIFIER_FATAL_ERROR = 3,
        WDF_REQUIRED_PARAMETER_IS_NULL = 4, WDF_INVALID_HANDLE = 5, WDF_REQUEST_FATAL_ERROR = 6, WDF_OBJECT_ERROR = 7,
        WDF_DMA_FATAL_ERROR = 8, WDF_INVALID_INTERRUPT = 9, WDF_QUEUE_FATAL_ERROR = 0xa, WDF_INVALID_LOCK_OPERATION = 0xb,
        WDF_PNP_FATAL_ERROR = 0xc, WDF_POWER_MULTIPLE_PPO = 0xd, WDF_VERIFIER_IRQL_MISMATCH = 0xe,
        WDF_VERIFIER_CRITICAL_REGION_MISMATCH = 0xf,
    }
    flags WDF_REQUEST_FATAL_ERROR_CODES {
        WDF_REQUEST_FATAL_ERROR_NO_MORE_STACK_LOCATIONS = 1, WDF_REQUEST_FATAL_ERROR_NULL_IRP = 2,
        WDF_REQUEST_FATAL_ERROR_REQUEST_ALREADY_SENT = 3, WDF_REQUEST_FATAL_ERROR_INFORMATION_LENGTH_MISMATCH = 4,
        WDF_REQUEST_FATAL_ERROR_REQUEST_NOT_IN_QUEUE = 5,
    }
}
