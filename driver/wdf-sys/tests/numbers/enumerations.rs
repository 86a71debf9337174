//! Enumerations and flags of the framework, version 1.15.

use wdf_sys::wdf::*;

#[test]
fn every_name_has_its_number() {
    crate::names! {
        enumeration WDF_TRI_STATE {
            WdfFalse 0, WdfTrue 1, WdfUseDefault 2,
        }
        enumeration WDF_EXECUTION_LEVEL {
            WdfExecutionLevelInvalid 0, WdfExecutionLevelInheritFromParent 1, WdfExecutionLevelPassive 2,
            WdfExecutionLevelDispatch 3,
        }
        enumeration WDF_SYNCHRONIZATION_SCOPE {
            WdfSynchronizationScopeInvalid 0, WdfSynchronizationScopeInheritFromParent 1, WdfSynchronizationScopeDevice 2,
            WdfSynchronizationScopeQueue 3, WdfSynchronizationScopeNone 4,
        }
        flags WDF_DRIVER_INIT_FLAGS {
            WdfDriverInitNonPnpDriver 1, WdfDriverInitNoDispatchOverride 2, WdfVerifyOn 4, WdfVerifierOn 8,
        }
        enumeration WDF_MEMORY_DESCRIPTOR_TYPE {
            WdfMemoryDescriptorTypeInvalid 0, WdfMemoryDescriptorTypeBuffer 1, WdfMemoryDescriptorTypeMdl 2,
            WdfMemoryDescriptorTypeHandle 3,
        }
        enumeration WDF_CHILD_LIST_RETRIEVE_DEVICE_STATUS {
            WdfChildListRetrieveDeviceUndefined 0, WdfChildListRetrieveDeviceSuccess 1,
            WdfChildListRetrieveDeviceNotYetCreated 2, WdfChildListRetrieveDeviceNoSuchDevice 3,
        }
        flags WDF_RETRIEVE_CHILD_FLAGS {
            WdfRetrieveUnspecified 0, WdfRetrievePresentChildren 1, WdfRetrieveMissingChildren 2, WdfRetrievePendingChildren 4,
            WdfRetrieveAddedChildren 5, WdfRetrieveAllChildren 7,
        }
        flags WDF_DEVICE_STATE_FLAGS {
            WdfDevStateNP 32768,
        }
        enumeration WDF_DEVICE_PNP_STATE {
            WdfDevStatePnpInvalid 0, WdfDevStatePnpObjectCreated 256, WdfDevStatePnpCheckForDevicePresence 257,
            WdfDevStatePnpEjectFailed 258, WdfDevStatePnpEjectHardware 259, WdfDevStatePnpEjectedWaitingForRemove 260,
            WdfDevStatePnpInit 261, WdfDevStatePnpInitStarting 262, WdfDevStatePnpInitSurpriseRemoved 263,
            WdfDevStatePnpHardwareAvailable 264, WdfDevStatePnpEnableInterfaces 265,
            WdfDevStatePnpHardwareAvailablePowerPolicyFailed 266, WdfDevStatePnpQueryRemoveAskDriver 267,
            WdfDevStatePnpQueryRemovePending 268, WdfDevStatePnpQueryRemoveStaticCheck 269, WdfDevStatePnpQueriedRemoving 270,
            WdfDevStatePnpQueryStopAskDriver 271, WdfDevStatePnpQueryStopPending 272, WdfDevStatePnpQueryStopStaticCheck 273,
            WdfDevStatePnpQueryCanceled 274, WdfDevStatePnpRemoved 275, WdfDevStatePnpPdoRemoved 276,
            WdfDevStatePnpRemovedPdoWait 277, WdfDevStatePnpRemovedPdoSurpriseRemoved 278,
            WdfDevStatePnpRemovingDisableInterfaces 279, WdfDevStatePnpRestarting 280, WdfDevStatePnpStarted 281,
            WdfDevStatePnpStartedCancelStop 282, WdfDevStatePnpStartedCancelRemove 283, WdfDevStatePnpStartedRemoving 284,
            WdfDevStatePnpStartingFromStopped 285, WdfDevStatePnpStopped 286, WdfDevStatePnpStoppedWaitForStartCompletion 287,
            WdfDevStatePnpStartedStopping 288, WdfDevStatePnpSurpriseRemove 289, WdfDevStatePnpInitQueryRemove 290,
            WdfDevStatePnpInitQueryRemoveCanceled 291, WdfDevStatePnpFdoRemoved 292, WdfDevStatePnpRemovedWaitForChildren 293,
            WdfDevStatePnpQueriedSurpriseRemove 294, WdfDevStatePnpSurpriseRemoveIoStarted 295,
            WdfDevStatePnpFailedPowerDown 296, WdfDevStatePnpFailedIoStarting 297, WdfDevStatePnpFailedOwnHardware 298,
            WdfDevStatePnpFailed 299, WdfDevStatePnpFailedSurpriseRemoved 300, WdfDevStatePnpFailedStarted 301,
            WdfDevStatePnpFailedWaitForRemove 302, WdfDevStatePnpFailedInit 303, WdfDevStatePnpPdoInitFailed 304,
            WdfDevStatePnpRestart 305, WdfDevStatePnpRestartReleaseHardware 306, WdfDevStatePnpRestartHardwareAvailable 307,
            WdfDevStatePnpPdoRestart 308, WdfDevStatePnpFinal 309, WdfDevStatePnpRemovedChildrenRemoved 310,
            WdfDevStatePnpQueryRemoveEnsureDeviceAwake 311, WdfDevStatePnpQueryStopEnsureDeviceAwake 312,
            WdfDevStatePnpFailedPowerPolicyRemoved 313, WdfDevStatePnpNull 314,
        }
        enumeration WDF_DEVICE_POWER_STATE {
            WdfDevStatePowerInvalid 0, WdfDevStatePowerObjectCreated 768, WdfDevStatePowerCheckDeviceType 769,
            WdfDevStatePowerCheckDeviceTypeNP 33538, WdfDevStatePowerCheckParentState 771,
            WdfDevStatePowerCheckParentStateNP 33540, WdfDevStatePowerEnablingWakeAtBus 773,
            WdfDevStatePowerEnablingWakeAtBusNP 33542, WdfDevStatePowerD0 775, WdfDevStatePowerD0NP 33544,
            WdfDevStatePowerD0BusWakeOwner 777, WdfDevStatePowerD0BusWakeOwnerNP 33546, WdfDevStatePowerD0ArmedForWake 779,
            WdfDevStatePowerD0ArmedForWakeNP 33548, WdfDevStatePowerD0DisarmingWakeAtBus 781,
            WdfDevStatePowerD0DisarmingWakeAtBusNP 33550, WdfDevStatePowerD0Starting 783,
            WdfDevStatePowerD0StartingConnectInterrupt 784, WdfDevStatePowerD0StartingDmaEnable 785,
            WdfDevStatePowerD0StartingStartSelfManagedIo 786, WdfDevStatePowerDecideD0State 787,
            WdfDevStatePowerGotoD3Stopped 788, WdfDevStatePowerStopped 789, WdfDevStatePowerStartingCheckDeviceType 790,
            WdfDevStatePowerStartingChild 791, WdfDevStatePowerDxDisablingWakeAtBus 792,
            WdfDevStatePowerDxDisablingWakeAtBusNP 33561, WdfDevStatePowerGotoDx 794, WdfDevStatePowerGotoDxNP 33563,
            WdfDevStatePowerGotoDxIoStopped 796, WdfDevStatePowerGotoDxIoStoppedNP 33565, WdfDevStatePowerGotoDxNPFailed 33566,
            WdfDevStatePowerDx 799, WdfDevStatePowerDxNP 33568, WdfDevStatePowerGotoDxArmedForWake 801,
            WdfDevStatePowerGotoDxArmedForWakeNP 33570, WdfDevStatePowerGotoDxIoStoppedArmedForWake 803,
            WdfDevStatePowerGotoDxIoStoppedArmedForWakeNP 33572, WdfDevStatePowerDxArmedForWake 805,
            WdfDevStatePowerDxArmedForWakeNP 33574, WdfDevStatePowerCheckParentStateArmedForWake 807,
            WdfDevStatePowerCheckParentStateArmedForWakeNP 33576, WdfDevStatePowerWaitForParentArmedForWake 809,
            WdfDevStatePowerWaitForParentArmedForWakeNP 33578, WdfDevStatePowerStartSelfManagedIo 811,
            WdfDevStatePowerStartSelfManagedIoNP 33580, WdfDevStatePowerStartSelfManagedIoFailed 813,
            WdfDevStatePowerStartSelfManagedIoFailedNP 33582, WdfDevStatePowerWaitForParent 815,
            WdfDevStatePowerWaitForParentNP 33584, WdfDevStatePowerWakePending 817, WdfDevStatePowerWakePendingNP 33586,
            WdfDevStatePowerWaking 819, WdfDevStatePowerWakingNP 33588, WdfDevStatePowerWakingConnectInterrupt 821,
            WdfDevStatePowerWakingConnectInterruptNP 33590, WdfDevStatePowerWakingConnectInterruptFailed 823,
            WdfDevStatePowerWakingConnectInterruptFailedNP 33592, WdfDevStatePowerWakingDmaEnable 825,
            WdfDevStatePowerWakingDmaEnableNP 33594, WdfDevStatePowerWakingDmaEnableFailed 827,
            WdfDevStatePowerWakingDmaEnableFailedNP 33596, WdfDevStatePowerReportPowerUpFailedDerefParent 829,
            WdfDevStatePowerReportPowerUpFailed 830, WdfDevStatePowerPowerFailedPowerDown 831,
            WdfDevStatePowerReportPowerDownFailed 832, WdfDevStatePowerInitialConnectInterruptFailed 833,
            WdfDevStatePowerInitialDmaEnableFailed 834, WdfDevStatePowerInitialSelfManagedIoFailed 835,
            WdfDevStatePowerInitialPowerUpFailedDerefParent 836, WdfDevStatePowerInitialPowerUpFailed 837,
            WdfDevStatePowerDxStoppedDisarmWake 838, WdfDevStatePowerDxStoppedDisarmWakeNP 33607,
            WdfDevStatePowerGotoDxStoppedDisableInterruptNP 33608, WdfDevStatePowerGotoDxStopped 841,
            WdfDevStatePowerDxStopped 842, WdfDevStatePowerGotoStopped 843, WdfDevStatePowerStoppedCompleteDx 844,
            WdfDevStatePowerDxStoppedDecideDxState 845, WdfDevStatePowerDxStoppedArmForWake 846,
            WdfDevStatePowerDxStoppedArmForWakeNP 33615, WdfDevStatePowerFinalPowerDownFailed 848, WdfDevStatePowerFinal 849,
            WdfDevStatePowerGotoImplicitD3DisarmWakeAtBus 850, WdfDevStatePowerUpFailed 851,
            WdfDevStatePowerUpFailedDerefParent 852, WdfDevStatePowerGotoDxFailed 853,
            WdfDevStatePowerGotoDxStoppedDisableInterrupt 854, WdfDevStatePowerUpFailedNP 33623,
            WdfDevStatePowerUpFailedDerefParentNP 33624, WdfDevStatePowerNotifyingD0ExitToWakeInterrupts 857,
            WdfDevStatePowerNotifyingD0EntryToWakeInterrupts 858, WdfDevStatePowerNotifyingD0ExitToWakeInterruptsNP 33627,
            WdfDevStatePowerNotifyingD0EntryToWakeInterruptsNP 33628, WdfDevStatePowerNull 861,
        }
        enumeration WDF_DEVICE_POWER_POLICY_STATE {
            WdfDevStatePwrPolInvalid 0, WdfDevStatePwrPolObjectCreated 1280, WdfDevStatePwrPolStarting 1281,
            WdfDevStatePwrPolStartingSucceeded 1282, WdfDevStatePwrPolStartingFailed 1283,
            WdfDevStatePwrPolStartingDecideS0Wake 1284, WdfDevStatePwrPolStartedIdleCapable 1285,
            WdfDevStatePwrPolTimerExpiredNoWake 1286, WdfDevStatePwrPolTimerExpiredNoWakeCompletePowerDown 1287,
            WdfDevStatePwrPolWaitingUnarmed 1288, WdfDevStatePwrPolWaitingUnarmedQueryIdle 1289,
            WdfDevStatePwrPolS0NoWakePowerUp 1290, WdfDevStatePwrPolS0NoWakeCompletePowerUp 1291,
            WdfDevStatePwrPolSystemSleepFromDeviceWaitingUnarmed 1292, WdfDevStatePwrPolSystemSleepNeedWake 1293,
            WdfDevStatePwrPolSystemSleepNeedWakeCompletePowerUp 1294, WdfDevStatePwrPolSystemSleepPowerRequestFailed 1295,
            WdfDevStatePwrPolCheckPowerPageable 1296, WdfDevStatePwrPolSleepingWakeWakeArrived 1297,
            WdfDevStatePwrPolSleepingWakeRevertArmWake 1298, WdfDevStatePwrPolSystemAsleepWakeArmed 1299,
            WdfDevStatePwrPolSystemWakeDeviceWakeEnabled 1300, WdfDevStatePwrPolSystemWakeDeviceWakeEnabledWakeCanceled 1301,
            WdfDevStatePwrPolSystemWakeDeviceWakeDisarm 1302, WdfDevStatePwrPolSystemWakeDeviceWakeTriggered 1303,
            WdfDevStatePwrPolSystemWakeDeviceWakeTriggeredS0 1304, WdfDevStatePwrPolSystemWakeDeviceWokeDisarm 1305,
            WdfDevStatePwrPolSleepingWakeWakeArrivedNP 34074, WdfDevStatePwrPolSleepingWakeRevertArmWakeNP 34075,
            WdfDevStatePwrPolSleepingWakePowerDownFailed 1308, WdfDevStatePwrPolSleepingWakePowerDownFailedWakeCanceled 1309,
            WdfDevStatePwrPolSystemAsleepWakeArmedNP 34078, WdfDevStatePwrPolSystemWakeDeviceWakeEnabledNP 34079,
            WdfDevStatePwrPolSystemWakeDeviceWakeEnabledWakeCanceledNP 34080,
            WdfDevStatePwrPolSystemWakeDeviceWakeDisarmNP 34081, WdfDevStatePwrPolSystemWakeDeviceWakeTriggeredNP 34082,
            WdfDevStatePwrPolSystemWakeDeviceWakeTriggeredS0NP 34083, WdfDevStatePwrPolSystemWakeDeviceWokeDisarmNP 34084,
            WdfDevStatePwrPolSystemWakeDeviceWakeCompletePowerUp 1317, WdfDevStatePwrPolSleeping 1318,
            WdfDevStatePwrPolSleepingNoWakePowerDown 1319, WdfDevStatePwrPolSleepingNoWakeCompletePowerDown 1320,
            WdfDevStatePwrPolSleepingNoWakeDxRequestFailed 1321, WdfDevStatePwrPolSleepingWakePowerDown 1322,
            WdfDevStatePwrPolSleepingSendWake 1323, WdfDevStatePwrPolSystemAsleepNoWake 1324,
            WdfDevStatePwrPolSystemWakeDeviceWakeDisabled 1325, WdfDevStatePwrPolSystemWakeDeviceToD0 1326,
            WdfDevStatePwrPolSystemWakeDeviceToD0CompletePowerUp 1327, WdfDevStatePwrPolSystemWakeQueryIdle 1328,
            WdfDevStatePwrPolStartedWakeCapable 1329, WdfDevStatePwrPolTimerExpiredDecideUsbSS 1330,
            WdfDevStatePwrPolTimerExpiredWakeCapablePowerDown 1331, WdfDevStatePwrPolTimerExpiredWakeCapableSendWake 1332,
            WdfDevStatePwrPolTimerExpiredWakeCapableUsbSS 1333, WdfDevStatePwrPolTimerExpiredWakeCapableWakeArrived 1334,
            WdfDevStatePwrPolTimerExpiredWakeCapableCancelWake 1335, WdfDevStatePwrPolTimerExpiredWakeCapableWakeCanceled 1336,
            WdfDevStatePwrPolTimerExpiredWakeCapableCleanup 1337, WdfDevStatePwrPolTimerExpiredWakeCapableDxAllocFailed 1338,
            WdfDevStatePwrPolTimerExpiredWakeCompletedPowerDown 1339, WdfDevStatePwrPolTimerExpiredWakeCompletedPowerUp 1340,
            WdfDevStatePwrPolWaitingArmedUsbSS 1341, WdfDevStatePwrPolWaitingArmed 1342,
            WdfDevStatePwrPolWaitingArmedQueryIdle 1343, WdfDevStatePwrPolIoPresentArmed 1344,
            WdfDevStatePwrPolIoPresentArmedWakeCanceled 1345, WdfDevStatePwrPolS0WakeDisarm 1346,
            WdfDevStatePwrPolS0WakeCompletePowerUp 1347, WdfDevStatePwrPolTimerExpiredWakeSucceeded 1348,
            WdfDevStatePwrPolTimerExpiredWakeCompletedDisarm 1349, WdfDevStatePwrPolTimerExpiredWakeCapableWakeSucceeded 1350,
            WdfDevStatePwrPolTimerExpiredWakeCapableWakeFailed 1351, WdfDevStatePwrPolWakeFailedUsbSS 1352,
            WdfDevStatePwrPolTimerExpiredWakeCapablePowerDownFailedCancelWake 1353,
            WdfDevStatePwrPolTimerExpiredWakeCapablePowerDownFailedWakeCanceled 1354,
            WdfDevStatePwrPolTimerExpiredWakeCapablePowerDownFailedUsbSS 1355, WdfDevStatePwrPolCancelingWakeForSystemSleep 1356,
            WdfDevStatePwrPolCancelingWakeForSystemSleepWakeCanceled 1357,
            WdfDevStatePwrPolDisarmingWakeForSystemSleepCompletePowerUp 1358, WdfDevStatePwrPolPowerUpForSystemSleepFailed 1359,
            WdfDevStatePwrPolWokeFromS0UsbSS 1360, WdfDevStatePwrPolWokeFromS0 1361,
            WdfDevStatePwrPolWokeFromS0NotifyDriver 1362, WdfDevStatePwrPolStoppingResetDevice 1363,
            WdfDevStatePwrPolStoppingResetDeviceCompletePowerUp 1364, WdfDevStatePwrPolStoppingResetDeviceFailed 1365,
            WdfDevStatePwrPolStoppingD0 1366, WdfDevStatePwrPolStoppingD0Failed 1367, WdfDevStatePwrPolStoppingDisarmWake 1368,
            WdfDevStatePwrPolStoppingDisarmWakeCancelWake 1369, WdfDevStatePwrPolStoppingDisarmWakeWakeCanceled 1370,
            WdfDevStatePwrPolStopping 1371, WdfDevStatePwrPolStoppingFailed 1372, WdfDevStatePwrPolStoppingSendStatus 1373,
            WdfDevStatePwrPolStoppingCancelTimer 1374, WdfDevStatePwrPolStoppingWaitForIdleTimeout 1375,
            WdfDevStatePwrPolStoppingCancelUsbSS 1376, WdfDevStatePwrPolStoppingWaitForUsbSSCompletion 1377,
            WdfDevStatePwrPolStoppingCancelWake 1378, WdfDevStatePwrPolStopped 1379, WdfDevStatePwrPolCancelUsbSS 1380,
            WdfDevStatePwrPolStarted 1381, WdfDevStatePwrPolStartedCancelTimer 1382,
            WdfDevStatePwrPolStartedWaitForIdleTimeout 1383, WdfDevStatePwrPolStartedWakeCapableCancelTimerForSleep 1384,
            WdfDevStatePwrPolStartedWakeCapableWaitForIdleTimeout 1385, WdfDevStatePwrPolStartedWakeCapableSleepingUsbSS 1386,
            WdfDevStatePwrPolStartedIdleCapableCancelTimerForSleep 1387,
            WdfDevStatePwrPolStartedIdleCapableWaitForIdleTimeout 1388, WdfDevStatePwrPolDeviceD0PowerRequestFailed 1389,
            WdfDevStatePwrPolDevicePowerRequestFailed 1390, WdfDevStatePwrPolGotoDx 1391, WdfDevStatePwrPolGotoDxInDx 1392,
            WdfDevStatePwrPolDx 1393, WdfDevStatePwrPolGotoD0 1394, WdfDevStatePwrPolGotoD0InD0 1395,
            WdfDevStatePwrPolFinal 1396, WdfDevStatePwrPolSleepingPowerDownNotProcessed 1397,
            WdfDevStatePwrPolTimerExpiredWakeCapablePowerDownNotProcessed 1398,
            WdfDevStatePwrPolTimerExpiredNoWakePowerDownNotProcessed 1399,
            WdfDevStatePwrPolTimerExpiredNoWakePoweredDownDisableIdleTimer 1400,
            WdfDevStatePwrPolStoppingWaitingForImplicitPowerDown 1401, WdfDevStatePwrPolStoppingPoweringUp 1402,
            WdfDevStatePwrPolStoppingPoweringDown 1403, WdfDevStatePwrPolPowerUpForSystemSleepNotSeen 1404,
            WdfDevStatePwrPolWaitingArmedStoppingCancelUsbSS 1405, WdfDevStatePwrPolWaitingArmedWakeFailedCancelUsbSS 1406,
            WdfDevStatePwrPolWaitingArmedIoPresentCancelUsbSS 1407, WdfDevStatePwrPolWaitingArmedWakeSucceededCancelUsbSS 1408,
            WdfDevStatePwrPolCancelingUsbSSForSystemSleep 1409, WdfDevStatePwrPolStoppingD0CancelUsbSS 1410,
            WdfDevStatePwrPolStartingPoweredUp 1411, WdfDevStatePwrPolIdleCapableDeviceIdle 1412,
            WdfDevStatePwrPolDeviceIdleReturnToActive 1413, WdfDevStatePwrPolDeviceIdleSleeping 1414,
            WdfDevStatePwrPolDeviceIdleStopping 1415, WdfDevStatePwrPolTimerExpiredNoWakeUndoPowerDown 1416,
            WdfDevStatePwrPolWakeCapableDeviceIdle 1417, WdfDevStatePwrPolWakeCapableUsbSSCompleted 1418,
            WdfDevStatePwrPolTimerExpiredWakeCapableUndoPowerDown 1419,
            WdfDevStatePwrPolTimerExpiredWakeCompletedHardwareStarted 1420, WdfDevStatePwrPolStoppedRemoving 1421,
            WdfDevStatePwrPolRemoved 1422, WdfDevStatePwrPolRestarting 1423, WdfDevStatePwrPolRestartingFailed 1424,
            WdfDevStatePwrPolStartingPoweredUpFailed 1425, WdfDevStatePwrPolTimerExpiredNoWakeReturnToActive 1426,
            WdfDevStatePwrPolWaitingArmedWakeInterruptFired 1427, WdfDevStatePwrPolSystemWakeDeviceWakeInterruptFired 1428,
            WdfDevStatePwrPolSystemWakeDeviceWakeInterruptFiredNP 34197,
            WdfDevStatePwrPolTimerExpiredWakeCapableWakeInterruptArrived 1430,
            WdfDevStatePwrPolTimerExpiredWakeCapablePowerDownFailedWakeInterruptArrived 1431,
            WdfDevStatePwrPolWaitingArmedWakeInterruptFiredDuringPowerDown 1432, WdfDevStatePwrPolNull 1433,
        }
        enumeration WDF_STATE_NOTIFICATION_TYPE {
            StateNotificationInvalid 0, StateNotificationEnterState 1, StateNotificationPostProcessState 2,
            StateNotificationLeaveState 4, StateNotificationAllStates 7,
        }
        enumeration WDF_POWER_POLICY_S0_IDLE_CAPABILITIES {
            IdleCapsInvalid 0, IdleCannotWakeFromS0 1, IdleCanWakeFromS0 2, IdleUsbSelectiveSuspend 3,
        }
        enumeration WDF_POWER_POLICY_S0_IDLE_USER_CONTROL {
            IdleUserControlInvalid 0, IdleDoNotAllowUserControl 1, IdleAllowUserControl 2,
        }
        flags WDF_POWER_POLICY_IDLE_TIMEOUT_CONSTANTS {
            IdleTimeoutDefaultConstant 0,
        }
        enumeration WDF_POWER_POLICY_SX_WAKE_USER_CONTROL {
            WakeUserControlInvalid 0, WakeDoNotAllowUserControl 1, WakeAllowUserControl 2,
        }
        enumeration WDF_POWER_DEVICE_STATE {
            WdfPowerDeviceInvalid 0, WdfPowerDeviceD0 1, WdfPowerDeviceD1 2, WdfPowerDeviceD2 3, WdfPowerDeviceD3 4,
            WdfPowerDeviceD3Final 5, WdfPowerDevicePrepareForHibernation 6, WdfPowerDeviceMaximum 7,
        }
        flags WDF_DISPATCH_IRP_TO_IO_QUEUE_FLAGS {
            WDF_DISPATCH_IRP_TO_IO_QUEUE_NO_FLAGS 0, WDF_DISPATCH_IRP_TO_IO_QUEUE_INVOKE_INCALLERCTX_CALLBACK 1,
            WDF_DISPATCH_IRP_TO_IO_QUEUE_PREPROCESSED_IRP 2,
        }
        enumeration WDF_SPECIAL_FILE_TYPE {
            WdfSpecialFileUndefined 0, WdfSpecialFilePaging 1, WdfSpecialFileHibernation 2, WdfSpecialFileDump 3,
            WdfSpecialFileBoot 4, WdfSpecialFileMax 5,
        }
        enumeration WDF_DEVICE_IO_TYPE {
            WdfDeviceIoUndefined 0, WdfDeviceIoNeither 1, WdfDeviceIoBuffered 2, WdfDeviceIoDirect 3,
            WdfDeviceIoBufferedOrDirect 4,
        }
        enumeration WDF_FILEOBJECT_CLASS {
            WdfFileObjectInvalid 0, WdfFileObjectNotRequired 1, WdfFileObjectWdfCanUseFsContext 2,
            WdfFileObjectWdfCanUseFsContext2 3, WdfFileObjectWdfCannotUseFsContexts 4, WdfFileObjectCanBeOptional 2147483648,
        }
        enumeration WDF_DEVICE_FAILED_ACTION {
            WdfDeviceFailedUndefined 0, WdfDeviceFailedAttemptRestart 1, WdfDeviceFailedNoRestart 2,
        }
        enumeration WDF_RELEASE_HARDWARE_ORDER_ON_FAILURE {
            WdfReleaseHardwareOrderOnFailureInvalid 0, WdfReleaseHardwareOrderOnFailureEarly 1,
            WdfReleaseHardwareOrderOnFailureAfterDescendants 2,
        }
        enumeration WDF_REQUEST_TYPE {
            WdfRequestTypeCreate 0, WdfRequestTypeCreateNamedPipe 1, WdfRequestTypeClose 2, WdfRequestTypeRead 3,
            WdfRequestTypeWrite 4, WdfRequestTypeQueryInformation 5, WdfRequestTypeSetInformation 6, WdfRequestTypeQueryEA 7,
            WdfRequestTypeSetEA 8, WdfRequestTypeFlushBuffers 9, WdfRequestTypeQueryVolumeInformation 10,
            WdfRequestTypeSetVolumeInformation 11, WdfRequestTypeDirectoryControl 12, WdfRequestTypeFileSystemControl 13,
            WdfRequestTypeDeviceControl 14, WdfRequestTypeDeviceControlInternal 15, WdfRequestTypeShutdown 16,
            WdfRequestTypeLockControl 17, WdfRequestTypeCleanup 18, WdfRequestTypeCreateMailSlot 19,
            WdfRequestTypeQuerySecurity 20, WdfRequestTypeSetSecurity 21, WdfRequestTypePower 22, WdfRequestTypeSystemControl 23,
            WdfRequestTypeDeviceChange 24, WdfRequestTypeQueryQuota 25, WdfRequestTypeSetQuota 26, WdfRequestTypePnp 27,
            WdfRequestTypeOther 28, WdfRequestTypeUsb 64, WdfRequestTypeNoFormat 255, WdfRequestTypeMax 256,
        }
        enumeration WDF_POWER_POLICY_IDLE_TIMEOUT_TYPE {
            DriverManagedIdleTimeout 0, SystemManagedIdleTimeout 1, SystemManagedIdleTimeoutWithHint 2,
        }
        flags WDF_REMOVE_LOCK_OPTIONS_FLAGS {
            WDF_REMOVE_LOCK_OPTION_ACQUIRE_FOR_IO 1,
        }
        enumeration WDF_INTERRUPT_POLARITY {
            WdfInterruptPolarityUnknown 0, WdfInterruptActiveHigh 1, WdfInterruptActiveLow 2,
        }
        enumeration WDF_INTERRUPT_POLICY {
            WdfIrqPolicyMachineDefault 0, WdfIrqPolicyAllCloseProcessors 1, WdfIrqPolicyOneCloseProcessor 2,
            WdfIrqPolicyAllProcessorsInMachine 3, WdfIrqPolicySpecifiedProcessors 4,
            WdfIrqPolicySpreadMessagesAcrossAllProcessors 5,
        }
        enumeration WDF_INTERRUPT_PRIORITY {
            WdfIrqPriorityUndefined 0, WdfIrqPriorityLow 1, WdfIrqPriorityNormal 2, WdfIrqPriorityHigh 3,
        }
        flags WDF_REQUEST_REUSE_FLAGS {
            WDF_REQUEST_REUSE_NO_FLAGS 0, WDF_REQUEST_REUSE_SET_NEW_IRP 1,
        }
        flags WDF_REQUEST_STOP_ACTION_FLAGS {
            WdfRequestStopActionInvalid 0, WdfRequestStopActionSuspend 1, WdfRequestStopActionPurge 2,
            WdfRequestStopRequestCancelable 268435456,
        }
        flags WDF_REQUEST_SEND_OPTIONS_FLAGS {
            WDF_REQUEST_SEND_OPTION_TIMEOUT 1, WDF_REQUEST_SEND_OPTION_SYNCHRONOUS 2,
            WDF_REQUEST_SEND_OPTION_IGNORE_TARGET_STATE 4, WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET 8,
            WDF_REQUEST_SEND_OPTION_IMPERSONATE_CLIENT 65536, WDF_REQUEST_SEND_OPTION_IMPERSONATION_IGNORE_FAILURE 131072,
        }
        flags WDF_REQUEST_FORWARD_OPTIONS_FLAGS {
            WDF_REQUEST_FORWARD_OPTION_SEND_AND_FORGET 1,
        }
        enumeration WDF_IO_TARGET_STATE {
            WdfIoTargetStateUndefined 0, WdfIoTargetStarted 1, WdfIoTargetStopped 2, WdfIoTargetClosedForQueryRemove 3,
            WdfIoTargetClosed 4, WdfIoTargetDeleted 5, WdfIoTargetPurged 6,
        }
        enumeration WDF_IO_TARGET_OPEN_TYPE {
            WdfIoTargetOpenUndefined 0, WdfIoTargetOpenUseExistingDevice 1, WdfIoTargetOpenByName 2, WdfIoTargetOpenReopen 3,
            WdfIoTargetOpenLocalTargetByFile 4,
        }
        enumeration WDF_IO_TARGET_SENT_IO_ACTION {
            WdfIoTargetSentIoUndefined 0, WdfIoTargetCancelSentIo 1, WdfIoTargetWaitForSentIoToComplete 2,
            WdfIoTargetLeaveSentIoPending 3,
        }
        enumeration WDF_IO_TARGET_PURGE_IO_ACTION {
            WdfIoTargetPurgeIoUndefined 0, WdfIoTargetPurgeIoAndWait 1, WdfIoTargetPurgeIo 2,
        }
        enumeration WDF_IO_QUEUE_DISPATCH_TYPE {
            WdfIoQueueDispatchInvalid 0, WdfIoQueueDispatchSequential 1, WdfIoQueueDispatchParallel 2,
            WdfIoQueueDispatchManual 3, WdfIoQueueDispatchMax 4,
        }
        enumeration WDF_IO_QUEUE_STATE {
            WdfIoQueueAcceptRequests 1, WdfIoQueueDispatchRequests 2, WdfIoQueueNoRequests 4, WdfIoQueueDriverNoRequests 8,
            WdfIoQueuePnpHeld 16,
        }
        enumeration WDF_IO_FORWARD_PROGRESS_ACTION {
            WdfIoForwardProgressActionInvalid 0, WdfIoForwardProgressActionFailRequest 1,
            WdfIoForwardProgressActionUseReservedRequest 2,
        }
        enumeration WDF_IO_FORWARD_PROGRESS_RESERVED_POLICY {
            WdfIoForwardProgressInvalidPolicy 0, WdfIoForwardProgressReservedPolicyAlwaysUseReservedRequest 1,
            WdfIoForwardProgressReservedPolicyUseExamine 2, WdfIoForwardProgressReservedPolicyPagingIO 3,
        }
        flags WDF_DEVICE_SHUTDOWN_FLAGS {
            WdfDeviceShutdown 1, WdfDeviceLastChanceShutdown 2,
        }
        enumeration WDF_WMI_PROVIDER_CONTROL {
            WdfWmiControlInvalid 0, WdfWmiEventControl 1, WdfWmiInstanceControl 2,
        }
        flags WDF_WMI_PROVIDER_FLAGS {
            WdfWmiProviderEventOnly 1, WdfWmiProviderExpensive 2, WdfWmiProviderTracing 4, WdfWmiProviderValidFlags 7,
        }
        enumeration WDF_DMA_PROFILE {
            WdfDmaProfileInvalid 0, WdfDmaProfilePacket 1, WdfDmaProfileScatterGather 2, WdfDmaProfilePacket64 3,
            WdfDmaProfileScatterGather64 4, WdfDmaProfileScatterGatherDuplex 5, WdfDmaProfileScatterGather64Duplex 6,
            WdfDmaProfileSystem 7, WdfDmaProfileSystemDuplex 8,
        }
        enumeration WDF_DMA_DIRECTION {
            WdfDmaDirectionReadFromDevice 0, WdfDmaDirectionWriteToDevice 1,
        }
        flags WDF_DMA_ENABLER_CONFIG_FLAGS {
            WDF_DMA_ENABLER_CONFIG_NO_SGLIST_PREALLOCATION 1,
        }
        flags WDF_BUGCHECK_CODES {
            WDF_POWER_ROUTINE_TIMED_OUT 1, WDF_RECURSIVE_LOCK 2, WDF_VERIFIER_FATAL_ERROR 3, WDF_REQUIRED_PARAMETER_IS_NULL 4,
            WDF_INVALID_HANDLE 5, WDF_REQUEST_FATAL_ERROR 6, WDF_OBJECT_ERROR 7, WDF_DMA_FATAL_ERROR 8, WDF_INVALID_INTERRUPT 9,
            WDF_QUEUE_FATAL_ERROR 10, WDF_INVALID_LOCK_OPERATION 11, WDF_PNP_FATAL_ERROR 12, WDF_POWER_MULTIPLE_PPO 13,
            WDF_VERIFIER_IRQL_MISMATCH 14, WDF_VERIFIER_CRITICAL_REGION_MISMATCH 15,
        }
        flags WDF_REQUEST_FATAL_ERROR_CODES {
            WDF_REQUEST_FATAL_ERROR_NO_MORE_STACK_LOCATIONS 1, WDF_REQUEST_FATAL_ERROR_NULL_IRP 2,
            WDF_REQUEST_FATAL_ERROR_REQUEST_ALREADY_SENT 3, WDF_REQUEST_FATAL_ERROR_INFORMATION_LENGTH_MISMATCH 4,
            WDF_REQUEST_FATAL_ERROR_REQUEST_NOT_IN_QUEUE 5,
        }
    }
}
