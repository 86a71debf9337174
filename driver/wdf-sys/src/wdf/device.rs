//! Structures of the device, PnP and power calls.
#![allow(missing_docs, non_camel_case_types, non_snake_case, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;

use crate::layout::layouts;
use crate::types::*;
use crate::wdf::*;
use crate::wdm::*;

layouts! {
    struct WDF_CHILD_IDENTIFICATION_DESCRIPTION_HEADER = 4 {
        0 IdentificationDescriptionSize: u32,
    }
    struct WDF_CHILD_ADDRESS_DESCRIPTION_HEADER = 4 {
        0 AddressDescriptionSize: u32,
    }
    struct WDF_CHILD_RETRIEVE_INFO = 40 {
        0 Size: u32, 8 IdentificationDescription: *mut WDF_CHILD_IDENTIFICATION_DESCRIPTION_HEADER,
        16 AddressDescription: *mut WDF_CHILD_ADDRESS_DESCRIPTION_HEADER, 24 Status: WDF_CHILD_LIST_RETRIEVE_DEVICE_STATUS,
        32 EvtChildListIdentificationDescriptionCompare: PFN_WDF_CHILD_LIST_IDENTIFICATION_DESCRIPTION_COMPARE,
    }
    struct WDF_CHILD_LIST_CONFIG = 96 {
        0 Size: u32, 4 IdentificationDescriptionSize: u32, 8 AddressDescriptionSize: u32,
        16 EvtChildListCreateDevice: PFN_WDF_CHILD_LIST_CREATE_DEVICE,
        24 EvtChildListScanForChildren: PFN_WDF_CHILD_LIST_SCAN_FOR_CHILDREN,
        32 EvtChildListIdentificationDescriptionCopy: PFN_WDF_CHILD_LIST_IDENTIFICATION_DESCRIPTION_COPY,
        40 EvtChildListIdentificationDescriptionDuplicate: PFN_WDF_CHILD_LIST_IDENTIFICATION_DESCRIPTION_DUPLICATE,
        48 EvtChildListIdentificationDescriptionCleanup: PFN_WDF_CHILD_LIST_IDENTIFICATION_DESCRIPTION_CLEANUP,
        56 EvtChildListIdentificationDescriptionCompare: PFN_WDF_CHILD_LIST_IDENTIFICATION_DESCRIPTION_COMPARE,
        64 EvtChildListAddressDescriptionCopy: PFN_WDF_CHILD_LIST_ADDRESS_DESCRIPTION_COPY,
        72 EvtChildListAddressDescriptionDuplicate: PFN_WDF_CHILD_LIST_ADDRESS_DESCRIPTION_DUPLICATE,
        80 EvtChildListAddressDescriptionCleanup: PFN_WDF_CHILD_LIST_ADDRESS_DESCRIPTION_CLEANUP,
        88 EvtChildListDeviceReenumerated: PFN_WDF_CHILD_LIST_DEVICE_REENUMERATED,
    }
    struct WDF_CHILD_LIST_ITERATOR = 40 {
        0 Size: u32, 4 Flags: u32, 8 Reserved: [*mut c_void; 4],
    }
    struct WDF_FILEOBJECT_CONFIG = 40 {
        0 Size: u32, 8 EvtDeviceFileCreate: PFN_WDF_DEVICE_FILE_CREATE, 16 EvtFileClose: PFN_WDF_FILE_CLOSE,
        24 EvtFileCleanup: PFN_WDF_FILE_CLEANUP, 32 AutoForwardCleanupClose: WDF_TRI_STATE,
        36 FileObjectClass: WDF_FILEOBJECT_CLASS,
    }
    struct WDF_DEVICE_PNP_NOTIFICATION_DATA_Data_EnterState = 8 {
        0 CurrentState: WDF_DEVICE_PNP_STATE, 4 NewState: WDF_DEVICE_PNP_STATE,
    }
    struct WDF_DEVICE_PNP_NOTIFICATION_DATA_Data_PostProcessState = 4 {
        0 CurrentState: WDF_DEVICE_PNP_STATE,
    }
    struct WDF_DEVICE_PNP_NOTIFICATION_DATA_Data_LeaveState = 8 {
        0 CurrentState: WDF_DEVICE_PNP_STATE, 4 NewState: WDF_DEVICE_PNP_STATE,
    }
    union WDF_DEVICE_PNP_NOTIFICATION_DATA_Data = 8 {
        0 EnterState: WDF_DEVICE_PNP_NOTIFICATION_DATA_Data_EnterState,
        0 PostProcessState: WDF_DEVICE_PNP_NOTIFICATION_DATA_Data_PostProcessState,
        0 LeaveState: WDF_DEVICE_PNP_NOTIFICATION_DATA_Data_LeaveState,
    }
    struct WDF_DEVICE_PNP_NOTIFICATION_DATA = 12 {
        0 Type: WDF_STATE_NOTIFICATION_TYPE, 4 Data: WDF_DEVICE_PNP_NOTIFICATION_DATA_Data,
    }
    struct WDF_DEVICE_POWER_NOTIFICATION_DATA_Data_EnterState = 8 {
        0 CurrentState: WDF_DEVICE_POWER_STATE, 4 NewState: WDF_DEVICE_POWER_STATE,
    }
    struct WDF_DEVICE_POWER_NOTIFICATION_DATA_Data_PostProcessState = 4 {
        0 CurrentState: WDF_DEVICE_POWER_STATE,
    }
    struct WDF_DEVICE_POWER_NOTIFICATION_DATA_Data_LeaveState = 8 {
        0 CurrentState: WDF_DEVICE_POWER_STATE, 4 NewState: WDF_DEVICE_POWER_STATE,
    }
    union WDF_DEVICE_POWER_NOTIFICATION_DATA_Data = 8 {
        0 EnterState: WDF_DEVICE_POWER_NOTIFICATION_DATA_Data_EnterState,
        0 PostProcessState: WDF_DEVICE_POWER_NOTIFICATION_DATA_Data_PostProcessState,
        0 LeaveState: WDF_DEVICE_POWER_NOTIFICATION_DATA_Data_LeaveState,
    }
    struct WDF_DEVICE_POWER_NOTIFICATION_DATA = 12 {
        0 Type: WDF_STATE_NOTIFICATION_TYPE, 4 Data: WDF_DEVICE_POWER_NOTIFICATION_DATA_Data,
    }
    struct WDF_DEVICE_POWER_POLICY_NOTIFICATION_DATA_Data_EnterState = 8 {
        0 CurrentState: WDF_DEVICE_POWER_POLICY_STATE, 4 NewState: WDF_DEVICE_POWER_POLICY_STATE,
    }
    struct WDF_DEVICE_POWER_POLICY_NOTIFICATION_DATA_Data_PostProcessState = 4 {
        0 CurrentState: WDF_DEVICE_POWER_POLICY_STATE,
    }
    struct WDF_DEVICE_POWER_POLICY_NOTIFICATION_DATA_Data_LeaveState = 8 {
        0 CurrentState: WDF_DEVICE_POWER_POLICY_STATE, 4 NewState: WDF_DEVICE_POWER_POLICY_STATE,
    }
    union WDF_DEVICE_POWER_POLICY_NOTIFICATION_DATA_Data = 8 {
        0 EnterState: WDF_DEVICE_POWER_POLICY_NOTIFICATION_DATA_Data_EnterState,
        0 PostProcessState: WDF_DEVICE_POWER_POLICY_NOTIFICATION_DATA_Data_PostProcessState,
        0 LeaveState: WDF_DEVICE_POWER_POLICY_NOTIFICATION_DATA_Data_LeaveState,
    }
    struct WDF_DEVICE_POWER_POLICY_NOTIFICATION_DATA = 12 {
        0 Type: WDF_STATE_NOTIFICATION_TYPE, 4 Data: WDF_DEVICE_POWER_POLICY_NOTIFICATION_DATA_Data,
    }
    struct WDF_PNPPOWER_EVENT_CALLBACKS = 144 {
        0 Size: u32, 8 EvtDeviceD0Entry: PFN_WDF_DEVICE_D0_ENTRY,
        16 EvtDeviceD0EntryPostInterruptsEnabled: PFN_WDF_DEVICE_D0_ENTRY_POST_INTERRUPTS_ENABLED,
        24 EvtDeviceD0Exit: PFN_WDF_DEVICE_D0_EXIT,
        32 EvtDeviceD0ExitPreInterruptsDisabled: PFN_WDF_DEVICE_D0_EXIT_PRE_INTERRUPTS_DISABLED,
        40 EvtDevicePrepareHardware: PFN_WDF_DEVICE_PREPARE_HARDWARE,
        48 EvtDeviceReleaseHardware: PFN_WDF_DEVICE_RELEASE_HARDWARE,
        56 EvtDeviceSelfManagedIoCleanup: PFN_WDF_DEVICE_SELF_MANAGED_IO_CLEANUP,
        64 EvtDeviceSelfManagedIoFlush: PFN_WDF_DEVICE_SELF_MANAGED_IO_FLUSH,
        72 EvtDeviceSelfManagedIoInit: PFN_WDF_DEVICE_SELF_MANAGED_IO_INIT,
        80 EvtDeviceSelfManagedIoSuspend: PFN_WDF_DEVICE_SELF_MANAGED_IO_SUSPEND,
        88 EvtDeviceSelfManagedIoRestart: PFN_WDF_DEVICE_SELF_MANAGED_IO_RESTART,
        96 EvtDeviceSurpriseRemoval: PFN_WDF_DEVICE_SURPRISE_REMOVAL,
        104 EvtDeviceQueryRemove: PFN_WDF_DEVICE_QUERY_REMOVE, 112 EvtDeviceQueryStop: PFN_WDF_DEVICE_QUERY_STOP,
        120 EvtDeviceUsageNotification: PFN_WDF_DEVICE_USAGE_NOTIFICATION,
        128 EvtDeviceRelationsQuery: PFN_WDF_DEVICE_RELATIONS_QUERY,
        136 EvtDeviceUsageNotificationEx: PFN_WDF_DEVICE_USAGE_NOTIFICATION_EX,
    }
    struct WDF_POWER_POLICY_EVENT_CALLBACKS = 64 {
        0 Size: u32, 8 EvtDeviceArmWakeFromS0: PFN_WDF_DEVICE_ARM_WAKE_FROM_S0,
        16 EvtDeviceDisarmWakeFromS0: PFN_WDF_DEVICE_DISARM_WAKE_FROM_S0,
        24 EvtDeviceWakeFromS0Triggered: PFN_WDF_DEVICE_WAKE_FROM_S0_TRIGGERED,
        32 EvtDeviceArmWakeFromSx: PFN_WDF_DEVICE_ARM_WAKE_FROM_SX,
        40 EvtDeviceDisarmWakeFromSx: PFN_WDF_DEVICE_DISARM_WAKE_FROM_SX,
        48 EvtDeviceWakeFromSxTriggered: PFN_WDF_DEVICE_WAKE_FROM_SX_TRIGGERED,
        56 EvtDeviceArmWakeFromSxWithReason: PFN_WDF_DEVICE_ARM_WAKE_FROM_SX_WITH_REASON,
    }
    struct WDF_DEVICE_POWER_POLICY_IDLE_SETTINGS = 36 {
        0 Size: u32, 4 IdleCaps: WDF_POWER_POLICY_S0_IDLE_CAPABILITIES, 8 DxState: i32, 12 IdleTimeout: u32,
        16 UserControlOfIdleSettings: WDF_POWER_POLICY_S0_IDLE_USER_CONTROL, 20 Enabled: WDF_TRI_STATE,
        24 PowerUpIdleDeviceOnSystemWake: WDF_TRI_STATE, 28 IdleTimeoutType: WDF_POWER_POLICY_IDLE_TIMEOUT_TYPE,
        32 ExcludeD3Cold: WDF_TRI_STATE,
    }
    struct WDF_DEVICE_POWER_POLICY_WAKE_SETTINGS = 20 {
        0 Size: u32, 4 DxState: i32, 8 UserControlOfWakeSettings: WDF_POWER_POLICY_SX_WAKE_USER_CONTROL,
        12 Enabled: WDF_TRI_STATE, 16 ArmForWakeIfChildrenAreArmedForWake: BOOLEAN,
        17 IndicateChildWakeOnParentWake: BOOLEAN,
    }
    struct WDF_DEVICE_STATE = 28 {
        0 Size: u32, 4 Disabled: WDF_TRI_STATE, 8 DontDisplayInUI: WDF_TRI_STATE, 12 Failed: WDF_TRI_STATE,
        16 NotDisableable: WDF_TRI_STATE, 20 Removed: WDF_TRI_STATE, 24 ResourcesChanged: WDF_TRI_STATE,
    }
    struct WDF_DEVICE_PNP_CAPABILITIES = 48 {
        0 Size: u32, 4 LockSupported: WDF_TRI_STATE, 8 EjectSupported: WDF_TRI_STATE, 12 Removable: WDF_TRI_STATE,
        16 DockDevice: WDF_TRI_STATE, 20 UniqueID: WDF_TRI_STATE, 24 SilentInstall: WDF_TRI_STATE,
        28 SurpriseRemovalOK: WDF_TRI_STATE, 32 HardwareDisabled: WDF_TRI_STATE, 36 NoDisplayInUI: WDF_TRI_STATE,
        40 Address: u32, 44 UINumber: u32,
    }
    struct WDF_DEVICE_POWER_CAPABILITIES = 80 {
        0 Size: u32, 4 DeviceD1: WDF_TRI_STATE, 8 DeviceD2: WDF_TRI_STATE, 12 WakeFromD0: WDF_TRI_STATE,
        16 WakeFromD1: WDF_TRI_STATE, 20 WakeFromD2: WDF_TRI_STATE, 24 WakeFromD3: WDF_TRI_STATE, 28 DeviceState: [i32; 7],
        56 DeviceWake: i32, 60 SystemWake: i32, 64 D1Latency: u32, 68 D2Latency: u32, 72 D3Latency: u32,
        76 IdealDxStateForSx: i32,
    }
    struct WDF_REMOVE_LOCK_OPTIONS = 8 {
        0 Size: u32, 4 Flags: u32,
    }
    struct WDF_POWER_FRAMEWORK_SETTINGS = 72 {
        0 Size: u32, 8 EvtDeviceWdmPostPoFxRegisterDevice: PFN_WDFDEVICE_WDM_POST_PO_FX_REGISTER_DEVICE,
        16 EvtDeviceWdmPrePoFxUnregisterDevice: PFN_WDFDEVICE_WDM_PRE_PO_FX_UNREGISTER_DEVICE, 24 Component: *mut c_void,
        32 ComponentActiveConditionCallback: *mut c_void, 40 ComponentIdleConditionCallback: *mut c_void,
        48 ComponentIdleStateCallback: *mut c_void, 56 PowerControlCallback: *mut c_void,
        64 PoFxDeviceContext: *mut c_void,
    }
    struct WDF_IO_TYPE_CONFIG = 16 {
        0 Size: u32, 4 ReadWriteIoType: WDF_DEVICE_IO_TYPE, 8 DeviceControlIoType: WDF_DEVICE_IO_TYPE,
        12 DirectTransferThreshold: u32,
    }
    struct WDF_DEVICE_PROPERTY_DATA = 24 {
        0 Size: u32, 8 PropertyKey: *const DEVPROPKEY, 16 Lcid: u32, 20 Flags: u32,
    }
    struct WDF_FDO_EVENT_CALLBACKS = 32 {
        0 Size: u32, 8 EvtDeviceFilterAddResourceRequirements: PFN_WDF_DEVICE_FILTER_RESOURCE_REQUIREMENTS,
        16 EvtDeviceFilterRemoveResourceRequirements: PFN_WDF_DEVICE_FILTER_RESOURCE_REQUIREMENTS,
        24 EvtDeviceRemoveAddedResources: PFN_WDF_DEVICE_REMOVE_ADDED_RESOURCES,
    }
    struct WDF_PDO_EVENT_CALLBACKS = 64 {
        0 Size: u32, 8 EvtDeviceResourcesQuery: PFN_WDF_DEVICE_RESOURCES_QUERY,
        16 EvtDeviceResourceRequirementsQuery: PFN_WDF_DEVICE_RESOURCE_REQUIREMENTS_QUERY,
        24 EvtDeviceEject: PFN_WDF_DEVICE_EJECT, 32 EvtDeviceSetLock: PFN_WDF_DEVICE_SET_LOCK,
        40 EvtDeviceEnableWakeAtBus: PFN_WDF_DEVICE_ENABLE_WAKE_AT_BUS,
        48 EvtDeviceDisableWakeAtBus: PFN_WDF_DEVICE_DISABLE_WAKE_AT_BUS,
        56 EvtDeviceReportedMissing: PFN_WDF_DEVICE_REPORTED_MISSING,
    }
    struct WDF_POWER_ROUTINE_TIMED_OUT_DATA = 32 {
        0 PowerState: WDF_DEVICE_POWER_STATE, 4 PowerPolicyState: WDF_DEVICE_POWER_POLICY_STATE,
        8 DeviceObject: *mut DEVICE_OBJECT, 16 Device: WDFDEVICE, 24 TimedOutThread: *mut c_void,
    }
}
